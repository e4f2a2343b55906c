//! `docs/protocol.md` says what the types say: its second half is made of them, and a test compares the two.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde_json::Value;

use super::*;
use crate::api::{
    config::Config,
    hook::{CancelParams, CancelResult, HookParams, HookResult},
    keys::Key,
    name::{InstanceId, RunId, SessionName},
    registered::{RegisterParams, RegisterResult, UnregisterParams, UnregisterResult},
    send::SendParams,
    spec::SessionSpec,
};

/// What is below it is made here.
const MARK: &str =
    "<!-- From here on made of the types in src/api by `ATM_BLESS=1 cargo test --lib document`. -->\n";

macro_rules! described {
    ($type:ty, $name:literal, $schema:tt) => {
        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

described!(SessionName, "SessionName", {
    "type": "string", "description": "The name of a session: `[a-z0-9][a-z0-9._-]{0,62}`."
});
described!(RunId, "RunId", {"type": "string", "description": "One run of a session: a UUID of version 7, as text."});
described!(InstanceId, "InstanceId", {"type": "string", "description": "A state directory: a UUID, as text."});
described!(Key, "Key", {
    "type": "string",
    "description": "A key by its name, as `atm send --key` takes it: `enter`, `ctrl-c`, `escape`, `up`, `alt-x`, `f5`."
});
described!(SessionSpec, "SessionSpec", {
    "type": "object",
    "description": "The spec in force, every default filled in. Its keys are those of a spec file: `atm schema session`."
});
described!(Config, "Config", {
    "type": "object",
    "description": "The config in force, every default filled in. Its keys are those of the file: `atm schema config`."
});

/// The schema of every type that is sent, by name. A parameter may be left out where the daemon knows what is meant, a
/// field of an answer where the daemon leaves it out.
fn types() -> BTreeMap<String, Value> {
    let mut given = SchemaSettings::draft2020_12().into_generator();
    let mut answered = SchemaSettings::draft2020_12().for_serialize().into_generator();
    macro_rules! all {
        ($generator:ident: $($type:ty),*) => { $($generator.subschema_for::<$type>();)* };
    }
    all!(
        given: OverrideParams, UploadedParams, PreviousParams, HookParams, CancelParams, SendParams, RegisterParams, UnregisterParams, InitializeParams, NamesParams, NameParams, KillParams, EventsParams, CleanupParams, TouchParams
    );
    all!(
        answered: UploadsResult, PreviousResult, HookResult, CancelResult, RegisterResult, UnregisterResult, InitializeResult, CleanupResult, ListResult, EventsResult, VerbResult, PlanResult, ConfigResult,
        HealthResult, MetricsResult, Healthz, Removed, Snapshot, Missed, RpcError
    );
    let mut types: BTreeMap<String, Value> = given.take_definitions(true).into_iter().collect();
    types.extend(answered.take_definitions(true));
    types
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Links of rustdoc as plain code, and nothing that would end a cell of a table.
fn cell(value: &Value) -> String {
    text(value).replace("[`", "`").replace("`]", "`").replace('|', "\\|")
}

fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let named = choices.iter().filter(|choice| choice["type"] != "null").map(kind);
        return named.collect::<Vec<_>>().join(" or ");
    }
    if let Some(only) = schema["const"].as_str() {
        return format!("`\"{only}\"`");
    }
    let word = match &schema["type"] {
        Value::Array(words) => words.iter().find(|word| *word != "null").map(text).unwrap_or_default(),
        word => text(word),
    };
    match (word.as_str(), schema["format"].as_str()) {
        ("array", _) => format!("array of {}", kind(&schema["items"])),
        ("object", _) if schema["additionalProperties"].is_object() => {
            format!("object of {}", kind(&schema["additionalProperties"]))
        }
        ("string", Some("date-time")) => "time (RFC 3339)".into(),
        _ => word,
    }
}

fn describe(page: &mut String, name: &str, schema: &Value) {
    _ = writeln!(
        page,
        "\n### {name}\n\n{}",
        text(&schema["description"]).replace("[`", "`").replace("`]", "`")
    );
    if let Some(words) = schema["oneOf"].as_array() {
        page.push('\n');
        for word in words {
            let value = match word["properties"].as_object() {
                Some(fields) => {
                    let fields: Vec<_> = fields
                        .iter()
                        .map(|(field, schema)| format!("\"{field}\": {}", kind(schema).replace('`', "")))
                        .collect();
                    format!("{{{}}}", fields.join(", "))
                }
                None => text(&word["const"]),
            };
            let code = serde_json::from_value::<ErrorKind>(word["const"].clone())
                .ok()
                .filter(|_| name == "ErrorKind")
                .map(|kind| format!(" ({})", kind.code()))
                .unwrap_or_default();
            _ = writeln!(
                page,
                "- `{value}`{code}: {}",
                text(&word["description"]).replace("[`", "`").replace("`]", "`")
            );
        }
    }
    if let Some(fields) = schema["properties"].as_object().filter(|fields| !fields.is_empty()) {
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        page.push_str("\n| field | type | |\n|---|---|---|\n");
        for (field, schema) in fields {
            let optional = if required.contains(&Value::from(field.as_str())) { "" } else { "?" };
            _ = writeln!(
                page,
                "| `{field}`{optional} | {} | {} |",
                kind(schema),
                cell(&schema["description"])
            );
        }
    }
    if schema["type"] == "array" {
        _ = writeln!(page, "\nAn {}.", kind(schema));
    }
}

fn reference() -> String {
    let link = |name: &str| match name {
        "" => "none".to_owned(),
        name => format!("[{name}](#{})", name.to_lowercase()),
    };
    let mut page = format!("{MARK}\n## Methods\n\n| method | parameters | result | |\n|---|---|---|---|\n");
    for Method { name, does, params, result } in METHODS {
        _ = writeln!(page, "| `{name}` | {} | {} | {does} |", link(params), link(result));
    }
    page.push_str("\n## Notifications\n\n| method | parameters | after |\n|---|---|---|\n");
    for notice in Notice::ALL {
        let (params, after) = match notice {
            Notice::Changed => ("SessionView", "watch"),
            Notice::Removed => ("Removed", "watch"),
            Notice::Snapshot => ("Snapshot", "watch"),
            Notice::Event => ("Event", "events"),
            Notice::Missed => ("Missed", "events"),
        };
        _ = writeln!(page, "| `{}` | {} | `{after}` |", notice.method(), link(params));
    }
    page.push_str("\n## Types\n\nA field with `?` may be absent: unknown, or as nobody wrote it.\n");
    for (name, schema) in types() {
        describe(&mut page, &name, &schema);
    }
    page
}

#[test]
fn the_document_says_what_the_types_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/protocol.md");
    let written = std::fs::read_to_string(&path).unwrap();
    let prose = written.split_once(MARK).map_or(written.as_str(), |(prose, _)| prose);
    let wanted = format!("{prose}{}", reference());
    if std::env::var_os("ATM_BLESS").is_some() {
        return std::fs::write(&path, &wanted).unwrap();
    }
    assert!(
        wanted == written,
        "docs/protocol.md is old: make it anew with ATM_BLESS=1 cargo test --lib document"
    );
}

#[test]
fn every_type_that_is_named_is_described() {
    let types = types();
    for Method { name, params, result, does } in METHODS {
        assert!(!does.is_empty() && types.contains_key(result), "{name}");
        assert!(params.is_empty() || types.contains_key(params), "{name}");
    }
    for (name, schema) in &types {
        assert!(schema["description"].is_string(), "{name} has no description");
        for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
            assert!(
                !kind(schema).is_empty() && schema["description"].is_string(),
                "{name}.{field}: {schema}"
            );
        }
    }
}

#[test]
fn versions_meet_at_the_newest_that_both_speak() {
    let versions = |min, max| Supported { min, max };
    for (ours, theirs, common) in [
        (versions(1, 1), versions(1, 1), Some(1)),
        (versions(1, 3), versions(0, 2), Some(2)),
        (versions(1, 3), versions(2, 9), Some(3)),
        (versions(2, 3), versions(0, 1), None),
        (versions(1, 1), versions(2, 3), None),
    ] {
        assert_eq!(ours.common(theirs), common, "{ours:?} and {theirs:?}");
    }
}
