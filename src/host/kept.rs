//! Files of what is kept of runs that were stopped: a directory for each session, a file for each run.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::files;
use crate::api::{
    kept::{KeptRun, LONGEST_KEPT},
    record::RECORD_VERSION,
};

/// The files in `directory`, in no order; none where there is no such directory.
pub fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        // Not what a writer that was killed left.
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && path.extension().is_some_and(|it| it == "json") {
            found.push(path);
        }
    }
    Ok(found)
}

/// The runs that are kept in `directory`, the oldest first. What cannot be read is left out.
pub fn read(directory: &Path) -> Vec<KeptRun> {
    let read = |path: &PathBuf| {
        let run: KeptRun = serde_json::from_slice(&files::read_limited(path, LONGEST_KEPT).ok()?).ok()?;
        (run.version <= RECORD_VERSION).then_some(run)
    };
    let mut runs: Vec<KeptRun> = list(directory).unwrap_or_default().iter().filter_map(read).collect();
    // Ids of runs are in the order of their times.
    runs.sort_by_key(|run| run.run_id);
    runs
}
