//! Files of the daemon's own: each has a version, and one that cannot be read is set aside and told.

use std::{collections::BTreeMap, io, path::PathBuf};

use serde::Deserialize;

use super::{
    memory::{Memory, STATE_VERSION},
    specs::names::escaped,
};
use crate::{api::name::SessionName, host::files};

/// A state file longer than this is damaged: a spec has at most 64 KiB.
pub const MAX_STATE: u64 = 1 << 20;

/// Characters of what is told of a damaged file.
const LONGEST_DAMAGE: usize = 300;

/// One file that could not be read and was set aside.
#[derive(Debug, Clone)]
pub struct Damaged {
    /// The session, or the file's stem.
    pub what: String,
    /// The sentence for people.
    pub message: String,
}

/// Reads a JSON file with a `version`. What is damaged or newer is set aside, so that the next writer does
/// not destroy what a newer program or a person could still read.
pub fn read_versioned<T: for<'de> Deserialize<'de>>(
    path: &std::path::Path,
    newest: u32,
) -> Result<Option<T>, Damaged> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let what = path.file_stem().map(|s| s.to_string_lossy().escape_debug().to_string()).unwrap_or_default();
    let bytes = match files::read_limited(path, MAX_STATE) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Damaged { what, message: format!("cannot read {}: {error}", path.display()) });
        }
    };
    let problem = match serde_json::from_slice::<Version>(&bytes) {
        Ok(Version { version }) if version > newest => {
            format!("was written by a newer atm (version {version}, this one reads {newest})")
        }
        Ok(_) => match serde_json::from_slice(&bytes) {
            Ok(value) => return Ok(Some(value)),
            Err(error) => damage(&error),
        },
        Err(error) => damage(&error),
    };
    let aside = set_aside(path);
    let where_to = aside.map_or_else(
        |error| format!("it could not be set aside: {error}"),
        |aside| format!("set aside as {}", aside.display()),
    );
    Err(Damaged { what, message: format!("{} {problem}; {where_to}", path.display()) })
}

/// What is wrong with a file, for people: what stands in it may be repeated in it, at any length.
fn damage(error: &serde_json::Error) -> String {
    let error: String = escaped(&error.to_string()).chars().take(LONGEST_DAMAGE).collect();
    format!("is damaged: {error}")
}

/// Renames `path` to `path.corrupt-N`, with the first N that is free.
fn set_aside(path: &std::path::Path) -> io::Result<PathBuf> {
    for number in 1..1000 {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".corrupt-{number}"));
        let aside = PathBuf::from(name);
        match std::fs::hard_link(path, &aside) {
            Ok(()) => return std::fs::remove_file(path).map(|()| aside),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("a thousand damaged copies are there already"))
}

/// What the state directory holds at start.
#[derive(Debug, Default)]
pub struct Loaded {
    /// By name.
    pub memories: BTreeMap<SessionName, Memory>,
    /// What could not be read.
    pub damaged: Vec<Damaged>,
}

/// Reads all memories. Damaged ones are set aside and told; they never keep the daemon from starting.
pub fn load(directory: &std::path::Path) -> io::Result<Loaded> {
    let mut loaded = Loaded::default();
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(loaded),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_suffix(".json"))
            .and_then(|stem| SessionName::new(stem).ok());
        let Some(name) = name else { continue };
        match read_versioned(&path, STATE_VERSION) {
            Ok(Some(memory)) => drop(loaded.memories.insert(name, memory)),
            Ok(None) => {}
            Err(damaged) => loaded.damaged.push(damaged),
        }
    }
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_a_damaged_file_is_short_and_acts_on_no_terminal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        std::fs::write(&path, format!(r#"{{"version": 1, "will": "{}"}}"#, "\\u001b".repeat(9999))).unwrap();
        let Damaged { message, .. } = read_versioned::<Memory>(&path, STATE_VERSION).unwrap_err();
        assert!(message.len() < 1000 && !message.contains(char::is_control), "{message}");
    }

    #[test]
    fn a_damaged_or_newer_file_is_set_aside_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        for text in ["", "{", r#"{"version": 99}"#, "\0\0\0"] {
            std::fs::write(&path, text).unwrap();
            read_versioned::<Memory>(&path, STATE_VERSION).unwrap_err();
            assert!(!path.exists());
        }
        for number in 1..=4 {
            assert!(dir.path().join(format!("a.json.corrupt-{number}")).exists());
        }
        assert!(read_versioned::<Memory>(&path, STATE_VERSION).unwrap().is_none());
    }
}
