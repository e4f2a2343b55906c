//! The values of specs and configs, each type with its rule: what a file may say, and what the schema promises.
//!
//! A rule stands once. The reader asks it, and the JSON Schema is derived from the same type.

use std::str::FromStr;

use super::{quantity::Wrong, yaml::read::Place};

/// The body of a `JsonSchema` that stands in place, without a definition of its own.
macro_rules! inline_schema {
    ($name:literal, $generator:ident => $json:expr) => {
        fn inline_schema() -> bool {
            true
        }
        fn schema_name() -> Cow<'static, str> {
            $name.into()
        }
        fn json_schema($generator: &mut SchemaGenerator) -> Schema {
            $json
        }
    };
}

mod amounts;
mod texts;

pub use self::{amounts::*, texts::*};

/// Reads a text that has a rule of its own.
fn parsed<T: FromStr<Err = Wrong>>(place: &Place<'_>, expected: &str) -> Option<T> {
    match place.text(expected)?.parse() {
        Ok(value) => Some(value),
        Err(wrong) => {
            place.wrong(&wrong);
            None
        }
    }
}
