//! The rules in a simulated directory under simulated time (`rules`, `places`, `properties`), and the thread
//! with real directories and a real inotify (`real`, `system`, `namespaces`).

use std::path::Path;

use super::Document;
use crate::api::{diagnose::Diagnostics, name::SessionName, spec::Digest};

mod namespaces;
mod places;
mod properties;
mod real;
mod rules;
mod system;
mod world;

/// A spec for tests: `ok MEANING`, with comments; anything else is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toy(pub String);

impl Document for Toy {
    fn parse_bytes(bytes: &[u8], file: &Path) -> Result<Self, Diagnostics> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| Diagnostics::whole(file.display().to_string(), format!("not UTF-8: {error}")))?;
        assert!(!text.contains("panic"), "the parser's own fault");
        let meant: Vec<&str> = text.lines().map(|line| line.split('#').next().unwrap_or("").trim()).collect();
        match meant.concat().strip_prefix("ok ") {
            Some(meaning) => Ok(Self(meaning.to_owned())),
            None => {
                Err(Diagnostics::whole(file.display().to_string(), format!("expected `ok`, found {text:?}")))
            }
        }
    }

    fn digest(&self) -> Digest {
        Digest(self.0.clone())
    }
}

fn name(text: &str) -> SessionName {
    SessionName::new(text).unwrap()
}
