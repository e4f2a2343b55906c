//! What an earlier daemon left: every name is classified before anything is done.
//!
//! | lock | files | the name is |
//! |---|---|---|
//! | held | a record of this instance and boot, its keeper alive | live |
//! | held | no record yet, or one that cannot be read | settling: live soon, or unknown |
//! | held | a record of another instance | foreign: kept, nothing is done to it |
//! | free | an exit of the same run | ended |
//! | free | an intent alone | never started: discarded, not counted |
//! | free | a record without an exit, this boot | keeper lost: what is left of its tree is ended |
//! | free | a record without an exit, another boot | interrupted |
//! | free | none, but processes with the marks of a run that has no keeper | abandoned: they are ended |

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
};

use serde::Deserialize;

use super::{
    paths::Paths,
    state_files::{Damaged, read_versioned},
};
use crate::{
    api::{
        name::{InstanceId, RunId, SessionName},
        record::{ExitRecord, Intent, RECORD_VERSION, Record},
        time::BootId,
    },
    host::{
        lock,
        process::Process,
        scan::{Marked, Scan},
    },
};

/// What became of a name while no daemon looked.
#[derive(Debug)]
pub enum Found {
    /// Its keeper lives.
    Live {
        /// What it runs.
        record: Box<Record>,
        /// The keeper.
        keeper: Process,
    },
    /// Its lock is held and its record is not there yet: look again soon.
    Settling {
        /// The keeper, where one was found by its marker; it is asked to make its files anew.
        keeper: Option<(RunId, Process)>,
    },
    /// Its lock is held by somebody whose record is not ours to believe.
    Foreign {
        /// Whose it is.
        why: String,
    },
    /// Its run is over, and says how.
    Ended {
        /// What ran; absent where it never came so far.
        record: Option<Box<Record>>,
        /// How it ended.
        exit: Box<ExitRecord>,
    },
    /// A start that never came to a process.
    NeverStarted,
    /// Its keeper died without a word.
    Lost {
        /// What it ran.
        record: Box<Record>,
    },
    /// Its keeper is gone and its files are too, but something of it lives.
    Abandoned {
        /// The run.
        run_id: RunId,
    },
    /// The machine went down under it.
    Interrupted {
        /// What it ran.
        record: Box<Record>,
    },
    /// Nothing that can be believed is left, and nobody holds the name.
    Nothing,
}

impl Found {
    /// Whether a process of it may live.
    pub fn may_live(&self) -> bool {
        match self {
            Self::Live { .. }
            | Self::Settling { .. }
            | Self::Foreign { .. }
            | Self::Lost { .. }
            | Self::Abandoned { .. } => true,
            Self::Ended { .. } | Self::NeverStarted | Self::Interrupted { .. } | Self::Nothing => false,
        }
    }
}

/// Everything that was found.
#[derive(Debug, Default)]
pub struct Findings {
    /// By name.
    pub names: BTreeMap<SessionName, Found>,
    /// Files that were set aside.
    pub damaged: Vec<Damaged>,
}

/// Who looks.
#[derive(Debug, Clone)]
pub struct Here {
    /// Whose keepers are ours.
    pub instance: InstanceId,
    /// Which boot this is.
    pub boot: BootId,
    /// Inode of our pid namespace.
    pub pid_namespace: u64,
}

impl Here {
    fn is(&self, intent: &Intent) -> bool {
        intent.boot_id == self.boot && intent.pid_namespace == self.pid_namespace
    }
}

/// Classifies every name that has a lock, a directory or a living keeper. Touches nothing but damaged files.
pub fn classify(paths: &Paths, here: &Here) -> io::Result<Findings> {
    let mut findings = Findings::default();
    let mut names = names_in(&paths.runs())?;
    // A lock file outlives its run by far; only a held one says something.
    for name in names_in(&paths.locks())? {
        if !names.contains(&name) && lock::is_held(&paths.lock(&name))? {
            names.insert(name);
        }
    }
    for name in names {
        let found = classify_one(paths, here, &name, &mut findings.damaged);
        findings.names.insert(name, found);
    }
    find_strays(here, &mut findings);
    Ok(findings)
}

fn names_in(directory: &Path) -> io::Result<BTreeSet<SessionName>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(error),
    };
    let mut names = BTreeSet::new();
    for entry in entries {
        if let Some(name) = entry?.file_name().to_str().and_then(|name| SessionName::new(name).ok()) {
            names.insert(name);
        }
    }
    Ok(names)
}

/// Classifies one name.
pub fn classify_one(paths: &Paths, here: &Here, name: &SessionName, damaged: &mut Vec<Damaged>) -> Found {
    // The lock is asked first: a keeper that ends between the two looks has written its exit by then.
    let held = match lock::is_held(&paths.lock(name)) {
        Ok(held) => held,
        // What cannot be asked is unknown, and the unknown is never taken for dead.
        Err(error) => return Found::Foreign { why: format!("its lock cannot be asked: {error}") },
    };
    let files = paths.run(name);
    let record: Option<Box<Record>> = read(&files.record(), damaged);
    if held {
        return classify_held(here, record);
    }
    let exit: Option<Box<ExitRecord>> = read(&files.exit(), damaged);
    match (record, exit) {
        (record, Some(exit)) if record.as_ref().is_none_or(|r| r.intent.run_id == exit.run_id) => {
            Found::Ended { record, exit }
        }
        (Some(record), _) if record.intent.instance != here.instance => Found::Nothing,
        (Some(record), _) if here.is(&record.intent) => Found::Lost { record },
        (Some(record), _) => Found::Interrupted { record },
        (None, _) => match read::<Intent>(&files.intent(), damaged) {
            Some(_) => Found::NeverStarted,
            None => Found::Nothing,
        },
    }
}

/// What the last start of `name` was to run; `None` where that cannot be read.
pub fn intent_of(paths: &Paths, name: &SessionName) -> Option<Box<Intent>> {
    read_versioned(&paths.run(name).intent(), RECORD_VERSION).ok().flatten()
}

/// Whose runs are in the runtime directory: of one that lives, else of any. Of those that were begun with our state
/// directory alone, unless `any`.
pub fn instance_of_runs(paths: &Paths, any: bool) -> Option<InstanceId> {
    let names = names_in(&paths.runs()).ok()?;
    let told = names.iter().filter_map(|name| Some((name, intent_of(paths, name)?)));
    let is_ours = |intent: &Intent| any || intent.state_dir.as_ref() == Some(&paths.directories.state);
    let told: Vec<_> = told.filter(|(_, intent)| is_ours(intent)).collect();
    let living = told.iter().find(|(name, _)| lock::is_held(&paths.lock(name)).unwrap_or(false));
    living.or(told.first()).map(|(_, intent)| intent.instance)
}

fn classify_held(here: &Here, record: Option<Box<Record>>) -> Found {
    let Some(record) = record else { return Found::Settling { keeper: None } };
    if record.intent.instance != here.instance {
        return Found::Foreign {
            why: format!("it belongs to another state directory (instance {})", record.intent.instance),
        };
    }
    match Process::find(record.keeper) {
        Ok(Some(keeper)) => Found::Live { record, keeper },
        Ok(None) => Found::Settling { keeper: None },
        Err(error) => {
            Found::Foreign { why: format!("its keeper (pid {}) cannot be seen: {error}", record.keeper.pid) }
        }
    }
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path, damaged: &mut Vec<Damaged>) -> Option<Box<T>> {
    match read_versioned(path, RECORD_VERSION) {
        Ok(value) => value.map(Box::new),
        Err(problem) => {
            damaged.push(problem);
            None
        }
    }
}

/// Finds keepers of ours whose files are not where they belong: a runtime directory that was removed under
/// them, or a record that could not be read; and what is left of runs that have neither files nor a keeper.
fn find_strays(here: &Here, findings: &mut Findings) {
    let scan = match Scan::take(here.instance) {
        Ok(scan) => scan,
        Err(error) => {
            let message = format!("cannot look for keepers in /proc: {error}");
            findings.damaged.push(Damaged { what: "/proc".into(), message });
            return;
        }
    };
    for stray in scan.keepers() {
        let Marked { id, run_id, session, .. } = stray;
        let Ok(name) = SessionName::new(session) else { continue };
        // Whoever lives by lock and record is the keeper of that name; nobody else is signalled as such.
        if matches!(findings.names.get(&name), Some(Found::Live { .. })) {
            continue;
        }
        if let Ok(Some(keeper)) = Process::find(*id) {
            findings.names.insert(name, Found::Settling { keeper: Some((*run_id, keeper)) });
        }
    }
    let kept: BTreeSet<RunId> = scan.keepers().map(|keeper| keeper.run_id).collect();
    for Marked { run_id, session, .. } in scan.marked().filter(|marked| !kept.contains(&marked.run_id)) {
        let Ok(name) = SessionName::new(session) else { continue };
        if let None | Some(Found::Nothing | Found::NeverStarted) = findings.names.get(&name) {
            findings.names.insert(name, Found::Abandoned { run_id: *run_id });
        }
    }
}
