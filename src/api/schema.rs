//! JSON Schemas of what people write, for editors: completion and errors while typing.
//!
//! They promise no more than the reader: what a schema refuses, atm refuses too. A few rules only the reader has
//! (a command's quotes, `backoff.initial` against `backoff.max`).

use schemars::{JsonSchema, Schema, generate::SchemaSettings, transform::transform_subschemas};
use serde_json::Value;

use super::{config::WrittenConfig, spec::WrittenSpec};

/// The JSON Schema of a session's spec.
pub fn session() -> String {
    render::<WrittenSpec>()
}

/// The JSON Schema of the config.
pub fn config() -> String {
    render::<WrittenConfig>()
}

fn render<T: JsonSchema>() -> String {
    // Draft 7 is what the YAML language server knows best.
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let schema = settings.with_transform(tidy).into_generator().into_root_schema_for::<T>();
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

/// An `Option` here is a key that may be missing, not one that may be empty; and a description is one paragraph.
fn tidy(schema: &mut Schema) {
    transform_subschemas(&mut tidy, schema);
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    if let Some(Value::String(description)) = object.get_mut("description") {
        *description = description.replace('\n', " ");
    }
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(words)) = object.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    let Some(Value::Array(choices)) = object.get_mut("anyOf") else {
        return;
    };
    choices.retain(|choice| choice.get("type") != Some(&Value::from("null")));
    // One choice left is no choice: what it says, this says, and its own description wins over a general one.
    if let [Value::Object(only)] = choices.as_slice() {
        let only = only.clone();
        object.remove("anyOf");
        for (key, value) in only {
            object.entry(key).or_insert(value);
        }
    }
}
