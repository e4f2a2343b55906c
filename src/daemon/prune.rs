//! What is left of sessions that are forgotten: kept for `logs.maxAge`, then removed.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{kept, memory::Memory, paths::Paths, state_files::MAX_STATE, uploads::Removal};
use crate::{
    api::{name::SessionName, upload::Upload},
    host::files,
};

/// Names that are known, and the files that people gave those sessions.
#[derive(Debug, Default)]
pub struct Known {
    /// Sessions.
    pub names: BTreeSet<SessionName>,
    /// Paths of uploads: sessions may share a working directory, and what is in it.
    pub uploads: BTreeSet<PathBuf>,
}

/// Removes the memory, the output and the uploads of every session that was forgotten longer than `max_age` ago and is
/// not `known` again. Blocks, but for the uploads. The answer is how many were removed.
pub fn prune(paths: &Paths, mut known: Known, max_age: Duration) -> io::Result<u32> {
    kept::prune(paths, max_age)?;
    let mut old = Vec::new();
    for entry in fs::read_dir(paths.retired_memories())? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".json")) else { continue };
        let Ok(name) = SessionName::new(name) else { continue };
        // A date in the future is a clock that was set back: it is kept.
        let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
        let bytes = files::read_limited(&entry.path(), MAX_STATE).unwrap_or_default();
        let memory: Option<Memory> = serde_json::from_slice(&bytes).ok();
        if age > max_age {
            old.push((name, entry.path(), memory));
        } else {
            known.uploads.extend(memory.iter().flat_map(|memory| &memory.uploads).map(Upload::path));
        }
    }
    // The output goes before what tells of it: a daemon that is killed in between leaves it for the next one.
    let gone: BTreeSet<SessionName> =
        old.iter().map(|(name, ..)| name).filter(|name| !known.names.contains(*name)).cloned().collect();
    remove_outputs(&paths.directories.log, &gone)?;
    let mut removal = Removal::default();
    let mut pruned = 0;
    for (name, path, memory) in old {
        if gone.contains(&name) {
            let _ = fs::remove_dir_all(paths.previous_of(&name)); // as old, unless a clock was changed
        }
        if let Some(memory) = memory {
            removal.add(&memory, &known.uploads);
        }
        fs::remove_file(path)?;
        pruned += 1;
    }
    removal.begin();
    Ok(pruned)
}

/// Removes the logs of all these sessions, rotated ones and indices too. In one listing: one for each session would
/// take minutes where thousands of short ones were forgotten together.
fn remove_outputs(directory: &Path, gone: &BTreeSet<SessionName>) -> io::Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let file = entry.file_name();
        if file.to_str().and_then(session_of).is_some_and(|name| gone.contains(&name)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Whose output a file is: `NAME.log`, rotated `NAME.log.N`, each with its index, `.idx`.
fn session_of(file: &str) -> Option<SessionName> {
    let log = file.strip_suffix(".idx").unwrap_or(file);
    let rotated = log.rsplit_once('.').filter(|(_, number)| number.parse::<u32>().is_ok());
    SessionName::new(rotated.map_or(log, |(log, _)| log).strip_suffix(".log")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::control::Directories;

    #[test]
    fn what_is_old_and_unknown_goes_with_its_output_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let paths = Paths::new(
            Directories {
                config: at("c"),
                sessions: at("s"),
                runtime: at("r"),
                state: at("t"),
                log: at("l"),
            },
            None,
        );
        fs::create_dir_all(paths.retired_memories()).unwrap();
        fs::create_dir_all(at("l")).unwrap();
        for name in ["a", "again"] {
            fs::write(paths.retired(&SessionName::new(name).unwrap()), "{}").unwrap();
        }
        for log in [
            "a.log",
            "a.log.1",
            "a.log.12",
            "a.log.idx",
            "a.log.1.idx",
            "a.log.bak",
            "a.log.bak.idx",
            "a.log.log",
            "a.1.log",
            "ab.log",
            "again.log",
            "again.log.1",
        ] {
            fs::write(at("l").join(log), "").unwrap();
        }
        let known =
            || Known { names: BTreeSet::from([SessionName::new("again").unwrap()]), ..Known::default() };
        assert_eq!(prune(&paths, known(), Duration::from_secs(3600)).unwrap(), 0, "not yet");
        for name in ["a", "again"] {
            let file = fs::File::options()
                .write(true)
                .open(paths.retired(&SessionName::new(name).unwrap()))
                .unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }
        assert_eq!(prune(&paths, known(), Duration::from_secs(3600)).unwrap(), 2);
        let mut left: Vec<String> = fs::read_dir(at("l"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned())
            .collect();
        left.sort();
        assert_eq!(
            left,
            ["a.1.log", "a.log.bak", "a.log.bak.idx", "a.log.log", "ab.log", "again.log", "again.log.1"]
        );
    }
}
