//! What everybody holds, as the kernel tells it. atm is not asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use crate::harness::{Atm, Seen, descendants, processes};

/// One process.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// Open descriptors, by kind: `socket`, `pipe`, `pidfd`, `inotify`, `timerfd`, `eventpoll`, `file`…
    pub descriptors: BTreeMap<String, usize>,
    pub threads: usize,
    /// Paths that inotify watches.
    pub watches: usize,
    /// In KiB.
    pub rss: u64,
    pub pss: u64,
    /// Private memory that was written to: what a process costs and no file gives back.
    pub private: u64,
}

impl Held {
    pub fn by(pid: i32) -> Option<Self> {
        let mut held = Self::default();
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten() {
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let target = target.to_string_lossy();
            let kind = match target.strip_prefix("anon_inode:") {
                Some(kind) => kind.trim_matches(['[', ']']),
                None if target.starts_with('/') => "file",
                None => target.split(':').next().unwrap_or("?"),
            };
            if kind == "inotify" {
                let info =
                    fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", entry.file_name().to_string_lossy()));
                held.watches += info.unwrap_or_default().matches("inotify wd:").count();
            }
            *held.descriptors.entry(kind.to_owned()).or_default() += 1;
        }
        held.threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?.count();
        let memory = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let field = |name: &str| {
            let line = memory.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().trim_end_matches(" kB").parse::<u64>().ok()
        };
        (held.rss, held.pss) = (field("Rss:")?, field("Pss:")?);
        held.private = field("Private_Dirty:")?;
        Some(held)
    }

    pub fn open(&self) -> usize {
        self.descriptors.values().sum()
    }
}

/// All of ours at one moment.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    pub daemon: Held,
    /// By pid and name.
    pub keepers: BTreeMap<(i32, String), Held>,
    pub processes: usize,
    pub zombies: usize,
    pub groups: usize,
    pub mounts: usize,
    /// Files and KiB by directory.
    pub files: BTreeMap<&'static str, (usize, u64)>,
}

impl Sample {
    pub fn take(atm: &Atm, groups: Option<&Path>) -> Self {
        let daemon = atm.daemon_pid();
        let keepers = atm.keepers().into_iter().filter_map(|keeper| {
            let held = Held::by(keeper.pid)?;
            Some(((keeper.pid, keeper.argv.last()?.clone()), held))
        });
        let mounts =
            fs::read_to_string(format!("/proc/{daemon}/mountinfo")).unwrap_or_default().lines().count();
        let directory = |name: &'static str, path: &Path| (name, size(path));
        let below = descendants(daemon);
        let of_keepers = atm.keepers().into_iter().flat_map(|keeper| descendants(keeper.pid));
        let all: BTreeSet<i32> = below.into_iter().chain(of_keepers).collect();
        Self {
            daemon: Held::by(daemon).expect("the daemon lives"),
            keepers: keepers.collect(),
            processes: all.len(),
            zombies: all.iter().filter(|pid| is_zombie(**pid)).count(),
            groups: groups.map_or(0, directories),
            mounts,
            files: [
                directory("state", &atm.path("state")),
                directory("runtime", &atm.runtime()),
                directory("log", &atm.path("log")),
            ]
            .into(),
        }
    }
}

/// Every process that is of ours: by the marker in its environment, or below one.
pub fn of_ours(atm: &Atm) -> Vec<Seen> {
    let mut pids: BTreeSet<i32> = atm.marked().into_iter().collect();
    pids.extend(pids.clone().into_iter().flat_map(descendants));
    processes().into_iter().filter(|seen| pids.contains(&seen.pid)).collect()
}

fn is_zombie(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
}

/// How many directories there are below `path`.
fn directories(path: &Path) -> usize {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let inner = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    inner.map(|entry| 1 + directories(&entry.path())).sum()
}

/// Files below `path`, and their sizes.
pub fn listing(path: &Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let mut left = vec![path.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let Ok(about) = entry.metadata() else { continue };
            if about.is_dir() {
                left.push(entry.path());
            } else {
                found.push((entry.path().strip_prefix(path).unwrap().display().to_string(), about.len()));
            }
        }
    }
    found.sort();
    found
}

fn size(path: &Path) -> (usize, u64) {
    let all = listing(path);
    (all.len(), all.iter().map(|(_, size)| size).sum::<u64>() / 1024)
}
