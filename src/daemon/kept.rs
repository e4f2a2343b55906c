//! What is kept of runs that were stopped: moved from their sessions' directories to the state directory, and shown.
//!
//! Two steps, so that a daemon which is killed between them loses none: when an end is counted the file is renamed within
//! the runtime directory, out of the way of the next run; the thread that writes state takes it from there.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::sync::Semaphore;

use super::{
    core::Daemon,
    keepers::Keepers,
    paths::Paths,
    view::{HIDDEN, Viewer},
};
use crate::{
    api::{
        kept::{KEPT_RUNS, KeptRun, LONGEST_KEPT},
        name::{RunId, SessionName},
        record::ExitRecord,
    },
    host::{
        files::{self, Durability},
        kept,
    },
};

/// How many kept runs are read at once.
static READERS: Semaphore = Semaphore::const_new(2);

impl<K: Keepers> Daemon<K> {
    /// Sees to it that what the keeper left of the run that ended is kept.
    pub(super) fn keep_run(&self, name: &SessionName, exit: &ExitRecord) {
        if exit.cause.is_none() {
            return; // nothing is left of one that ended by itself but its output
        }
        let from = self.paths.run(name).kept();
        let leaving = self.paths.leaving();
        let aside = leaving.join(file_name(name, exit.run_id));
        let moved = fs::rename(&from, &aside).or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound || !from.exists() {
                return Err(error);
            }
            files::make_directory(&leaving, 0o700)?;
            fs::rename(&from, &aside)
        });
        match moved {
            Ok(()) => self.writer.keep(aside, self.paths.previous_of(name)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {} // moved already, or never written
            Err(error) => {
                tracing::warn!(%name, %error, path = %from.display(), "cannot keep what a run showed last");
            }
        }
    }

    /// Takes up what an earlier daemon, or a full disk, left on the way.
    pub(super) fn keep_what_is_leaving(&self, leaving: Vec<(SessionName, PathBuf)>) {
        for (name, path) in leaving {
            self.writer.keep(path, self.paths.previous_of(&name));
        }
    }

    /// The last kept run of `name`, or the last one before the run `before`, if `viewer` may see it. What is secret in
    /// its spec is for root and the run's own user.
    pub async fn previous(
        &self,
        name: &SessionName,
        before: Option<RunId>,
        viewer: Viewer,
    ) -> Option<KeptRun> {
        let _ = self.writer.flush().await; // what cannot be written is missing
        let directory = self.paths.previous_of(name);
        // It is megabytes in memory for a while: whoever asks for many at once waits for their turn.
        let _reading = READERS.acquire().await;
        let mut runs = tokio::task::spawn_blocking(move || kept::read(&directory)).await.unwrap_or_default();
        runs.retain(|run| run.name == *name && (viewer.privileged || run.uid == viewer.uid));
        let mut run = runs.into_iter().rev().find(|run| before.is_none_or(|before| run.run_id < before))?;
        if viewer.uid != 0 && viewer.uid != run.uid {
            run.spec.env.values_mut().for_each(|value| HIDDEN.clone_into(value));
        }
        Some(run)
    }
}

fn file_name(name: &SessionName, run_id: RunId) -> String {
    format!("{name}.{run_id}.json")
}

/// Moves what is at `from` into `directory`, where only the newest runs stay. Blocks.
pub fn store(from: &Path, directory: &Path) -> io::Result<()> {
    let bytes = match files::read_limited(from, LONGEST_KEPT) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        bytes => bytes?,
    };
    if let Ok(run) = serde_json::from_slice::<KeptRun>(&bytes) {
        files::make_directory(directory, 0o700)?;
        let path = directory.join(format!("{}.json", run.run_id));
        files::replace(&path, &bytes, Durability::Atomic)?;
        let mut kept = kept::list(directory)?;
        // Ids of runs are in the order of their times.
        kept.sort();
        for old in kept.iter().rev().skip(KEPT_RUNS) {
            fs::remove_file(old)?;
        }
    }
    fs::remove_file(from)
}

/// What is on its way to the state directory. Blocks.
pub fn leaving(paths: &Paths) -> Vec<(SessionName, PathBuf)> {
    let found = kept::list(&paths.leaving()).unwrap_or_default();
    let named = found.into_iter().filter_map(|path| {
        // A name may have dots, the id of a run has none.
        let (name, _) = path.file_stem()?.to_str()?.rsplit_once('.')?;
        Some((SessionName::new(name).ok()?, path))
    });
    named.collect()
}

/// Removes what was kept longer than `max_age` ago. Blocks.
pub fn prune(paths: &Paths, max_age: Duration) -> io::Result<()> {
    let entries = match fs::read_dir(paths.previous()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for directory in entries {
        let directory = directory?.path();
        // Something else that somebody put there is theirs.
        for file in kept::list(&directory).unwrap_or_default() {
            // A date in the future is a clock that was set back: it is kept.
            let age = fs::metadata(&file)?.modified()?.elapsed().unwrap_or_default();
            if age > max_age {
                fs::remove_file(&file)?;
            }
        }
        let _ = fs::remove_dir(&directory); // unless something is in it
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{
        config::{Config, Machine},
        control::Directories,
        record::RECORD_VERSION,
        spec::WrittenSpec,
    };

    fn kept_run(name: &str, run_id: RunId) -> KeptRun {
        let exit = serde_json::json!({"version": 1, "runId": run_id, "endedAt": "2026-01-01T00:00:00Z", "ranMillis": 1});
        let (name, file) = (SessionName::new(name).unwrap(), Path::new("a.yaml"));
        let config = Config::defaults(Machine { memory: 1 << 30 });
        KeptRun {
            version: RECORD_VERSION,
            run_id,
            uid: 1000,
            generation: 1,
            spec: WrittenSpec::parse("command: [a]", file).unwrap().resolve(&name, &config),
            exit: serde_json::from_value(exit).unwrap(),
            screen: None,
            output: "x".into(),
            output_is_cut: false,
            name,
        }
    }

    #[test]
    fn runs_on_their_way_arrive_once_the_newest_stay_and_age_removes_them() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let directories = Directories {
            config: at("c"),
            sessions: at("s"),
            runtime: at("r"),
            state: at("t"),
            log: at("l"),
        };
        let paths = Paths::new(directories, None);
        fs::create_dir_all(paths.leaving()).unwrap();
        fs::write(paths.leaving().join("odd.json"), "{}").unwrap();
        let name = SessionName::new("a.b").unwrap();
        let runs: Vec<RunId> = (0..5).map(|_| RunId::generate()).collect();
        for run_id in &runs {
            let path = paths.leaving().join(file_name(&name, *run_id));
            fs::write(path, serde_json::to_vec(&kept_run("a.b", *run_id)).unwrap()).unwrap();
        }
        let on_the_way = leaving(&paths);
        assert_eq!(on_the_way.len(), 5);
        for (found, path) in &on_the_way {
            assert_eq!(*found, name);
            store(path, &paths.previous_of(found)).unwrap();
            store(path, &paths.previous_of(found)).unwrap(); // a second time there is nothing to do
        }
        assert!(leaving(&paths).is_empty());
        let ids = || kept::read(&paths.previous_of(&name)).iter().map(|run| run.run_id).collect::<Vec<_>>();
        assert_eq!(ids(), runs[2..]);
        prune(&paths, Duration::from_secs(3600)).unwrap();
        assert_eq!(ids(), runs[2..]);
        for path in kept::list(&paths.previous_of(&name)).unwrap() {
            fs::File::options().write(true).open(path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        }
        prune(&paths, Duration::from_secs(3600)).unwrap();
        assert!(!paths.previous_of(&name).exists());
    }
}
