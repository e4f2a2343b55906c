//! One look at the processes of a session: facts for budgets and for idleness, without a judgement.
//!
//! It is done for every session again and again, so it is cheap: one short file a process, parsed in a buffer that
//! is kept, and nothing but what is asked for.

pub(crate) mod machine;
pub(crate) mod stat;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

pub use self::machine::{Reading, read_machine};
use self::stat::Stat;
use super::{cgroup, clock, process::identify};
use crate::api::{
    activity::{self, Activity, word},
    record::ProcessId,
    time::{BootId, Moment},
};

/// The most processes that a look takes in. What outgrows it is over any budget, and is told to be this large.
const MOST: usize = 1 << 16;

/// The most processes that a look takes in which somebody waits for: some milliseconds.
const MOST_AT_ONCE: usize = 256;

/// Sessions whose escaped processes are remembered before those of runs that are over are forgotten.
const REMEMBERED: usize = 128;

/// What to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The keeper: the tree is what is below it.
    pub keeper: ProcessId,
    /// The main process.
    pub child: ProcessId,
    /// The activity page.
    pub page: PathBuf,
    /// The session's own cgroup, should it have one.
    pub group: Option<PathBuf>,
    /// What its processes share is to count once where the sum of their resident sets is above this. It costs
    /// milliseconds a GiB. Never, where it is absent.
    pub exact_above: Option<u64>,
}

/// What one look showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Facts {
    /// When it began.
    pub at: Moment,
    /// What the activity page says; absent where it says nothing that can be believed.
    pub page: Option<Activity>,
    /// Processor time of the tree so far, with that of its processes that have ended and were waited for.
    pub cpu: Duration,
    /// Start time of the youngest process, in the kernel's ticks.
    pub youngest: u64,
    /// Page faults of children that have ended and were waited for.
    pub faults_of_ended: u64,
    /// All of it is stopped by a signal.
    pub stopped: bool,
    /// Processes that have not ended.
    pub processes: u32,
    /// Their memory in bytes.
    pub memory: u64,
    /// What they share counts once in `memory`.
    pub exact: bool,
    /// Never less than their memory: the sum of resident sets where `memory` is not from the cgroup.
    pub resident: u64,
    /// A process of it that is not in its cgroup, where it has one. It is counted with the others all the same.
    pub escaped: Option<ProcessId>,
}

/// Who had left the cgroup of a session when processes last came or went in it.
#[derive(Debug, Default)]
struct Outside {
    mark: (u64, u64),
    members: Vec<ProcessId>,
}

/// Looks at sessions, one at a time. Keeps its buffers.
#[derive(Debug)]
pub struct Looker {
    boot: BootId,
    ticks: u64,
    page_size: u64,
    path: String,
    buffer: Vec<u8>,
    members: Vec<Stat>,
    seen: BTreeSet<i32>,
    /// By main process, for sessions with a cgroup.
    outside: BTreeMap<ProcessId, Outside>,
    /// How many of them were left when those of runs that are over were forgotten last.
    outside_kept: usize,
    /// Children by parent, where the kernel does not tell them; as of one look at all processes.
    kin: Option<BTreeMap<i32, Vec<i32>>>,
}

impl Looker {
    /// `boot`: the one that moments of activity pages have to belong to.
    pub fn new(boot: BootId) -> Self {
        Self {
            boot,
            ticks: procfs::ticks_per_second().max(1),
            page_size: procfs::page_size(),
            path: String::new(),
            buffer: Vec::with_capacity(4096),
            members: Vec::new(),
            seen: BTreeSet::new(),
            outside: BTreeMap::new(),
            outside_kept: 0,
            kin: None,
        }
    }

    /// Has what was kept between looks read anew: to be called before sessions are looked at one after the other.
    pub fn begin(&mut self) {
        self.kin = None;
    }

    /// Looks at one session.
    ///
    /// # Errors
    /// `NotFound` where its keeper is gone; and where its processes cannot be seen: never a look that shows nothing.
    pub fn look(&mut self, target: &Target) -> io::Result<Facts> {
        self.look_up_to(target, MOST)
    }

    /// Looks at one session while somebody waits: at resident sets alone, and not at a large tree.
    ///
    /// # Errors
    /// As [`Looker::look`], and `FileTooLarge` for a tree of more than 256 processes.
    pub fn look_quickly(&mut self, target: &Target) -> io::Result<Facts> {
        self.begin();
        let facts = self.look_up_to(&Target { exact_above: None, ..target.clone() }, MOST_AT_ONCE)?;
        if facts.processes as usize >= MOST_AT_ONCE {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "too many processes for a quick look"));
        }
        Ok(facts)
    }

    fn look_up_to(&mut self, target: &Target, most: usize) -> io::Result<Facts> {
        let at = clock::monotonic();
        self.members.clear();
        self.seen.clear();
        let in_group = target.group.as_ref().is_some_and(|group| self.read_group(group, target.child, most));
        if !in_group {
            self.members.clear();
            self.seen.clear();
            self.read_tree(target.keeper, most)?;
        }
        let keeper = self.stat(target.keeper.pid)?;
        if keeper.start_time != target.keeper.start_time {
            return Err(io::Error::new(io::ErrorKind::NotFound, "its keeper is gone"));
        }
        let group = target.group.as_ref().filter(|_| in_group);
        let inside = self.members.len();
        if group.is_some() {
            self.add_outside(target, &keeper, most)?;
        }
        let mut facts = self.sum(at, &keeper, target.child);
        // What the group accounts for is without those who left it.
        let outside = self.members.get(inside..).unwrap_or_default();
        let ticks = outside.iter().map(|member| member.ticks.saturating_add(member.ticks_of_ended)).sum();
        let pages: u64 = outside.iter().map(|member| member.resident_pages).sum();
        facts.escaped = outside.first().map(Stat::id);
        if let Some(used) = group.and_then(|group| cgroup::cpu(group)) {
            facts.cpu = used + self.duration(ticks);
        }
        match group.and_then(|group| cgroup::memory(group)) {
            Some(memory) => {
                let memory = memory.saturating_add(pages.saturating_mul(self.page_size));
                (facts.memory, facts.resident, facts.exact) = (memory, memory, true);
            }
            None if target.exact_above.is_some_and(|above| facts.resident > above) => {
                (facts.memory, facts.exact) = (self.shared_once(), true);
            }
            None => {}
        }
        facts.page = self.page(&target.page);
        Ok(facts)
    }

    /// What the page says, of which nothing is read that nobody writes.
    fn page(&mut self, path: &Path) -> Option<Activity> {
        let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
        let page = fs::OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
        self.buffer.clear();
        self.buffer.resize(word::END * 8, 0);
        page.read_exact_at(&mut self.buffer, 0).ok()?;
        activity::read(&self.buffer, &self.boot).ok()
    }

    fn sum(&self, at: Moment, keeper: &Stat, child: ProcessId) -> Facts {
        let (mut ticks, mut faults) = (keeper.ticks_of_ended, keeper.faults_of_ended);
        let (mut pages, mut processes, mut youngest) = (0_u64, 0, 0);
        let (mut main_stopped, mut all_stopped) = (false, true);
        for member in &self.members {
            ticks = ticks.saturating_add(member.ticks).saturating_add(member.ticks_of_ended);
            faults = faults.saturating_add(member.faults_of_ended);
            youngest = youngest.max(member.start_time);
            if member.has_ended() {
                continue;
            }
            processes += 1;
            pages = pages.saturating_add(member.resident_pages);
            all_stopped &= member.is_stopped();
            main_stopped |= member.id() == child && member.is_stopped();
        }
        let resident = pages.saturating_mul(self.page_size);
        Facts {
            at,
            page: None,
            cpu: self.duration(ticks),
            youngest,
            faults_of_ended: faults,
            stopped: main_stopped && all_stopped,
            processes,
            memory: resident,
            exact: false,
            resident,
            escaped: None,
        }
    }

    fn duration(&self, ticks: u64) -> Duration {
        let (seconds, rest) = (ticks / self.ticks, ticks % self.ticks);
        Duration::from_secs(seconds) + Duration::from_nanos(rest * 1_000_000_000 / self.ticks)
    }

    /// The members of its cgroup. `false` where that is not where its main process is: then they say nothing.
    fn read_group(&mut self, group: &Path, child: ProcessId, most: usize) -> bool {
        let mut pids = BTreeSet::new();
        cgroup::read_members(group, &mut pids);
        for pid in pids.into_iter().take(most) {
            if let Ok(stat) = self.stat(pid) {
                self.members.push(stat);
            }
        }
        self.members.iter().any(|member| member.id() == child)
    }

    /// Adds the processes of the session that are not in its cgroup: an agent that has a scope of its own made for a
    /// child, for one. To find them costs as much as the look itself, so it is done when processes came or went.
    fn add_outside(&mut self, target: &Target, keeper: &Stat, most: usize) -> io::Result<()> {
        let all = || self.members.iter().chain([keeper]);
        let mark = (
            all().map(|member| member.start_time).max().unwrap_or_default(),
            all().map(|member| member.faults_of_ended).fold(0, u64::saturating_add),
        );
        if self.outside.get(&target.child).is_none_or(|known| known.mark != mark) {
            let inside = std::mem::take(&mut self.members);
            self.seen.clear();
            let walked = self.read_tree(target.keeper, most);
            let tree = std::mem::replace(&mut self.members, inside);
            walked?;
            let inside: BTreeSet<ProcessId> = self.members.iter().map(Stat::id).collect();
            let left = tree.iter().filter(|member| !member.has_ended() && !inside.contains(&member.id()));
            // Made since the group was read, it is in the group and only not seen there yet.
            let group = target.group.as_deref().map(cgroup::Group::open).transpose()?;
            let left =
                left.filter(|member| group.as_ref().is_some_and(|group| !group.is_group_of(member.pid)));
            let members = left.map(Stat::id).collect();
            self.remember(target.child, Outside { mark, members });
        }
        let left = self.outside.get(&target.child).map(|known| known.members.clone()).unwrap_or_default();
        for id in left {
            if let Ok(stat) = self.stat(id.pid)
                && stat.id() == id
                && !stat.has_ended()
            {
                self.members.push(stat);
            }
        }
        Ok(())
    }

    fn remember(&mut self, child: ProcessId, outside: Outside) {
        // Only when they have doubled since: each pays for a look at two of them.
        if self.outside.len() >= (2 * self.outside_kept).max(REMEMBERED) {
            self.outside.retain(|child, _| identify(child.pid).is_ok_and(|now| now == *child));
            self.outside_kept = self.outside.len();
        }
        self.outside.insert(child, outside);
    }

    /// All below the keeper, which is a subreaper: what loses its parent becomes its child.
    ///
    /// A pid whose parent is another by now is left out. The next look finds it.
    fn read_tree(&mut self, keeper: ProcessId, most: usize) -> io::Result<()> {
        let mut children = Vec::new();
        self.read_children(keeper.pid, false, &mut children)?;
        let mut next = 0;
        let mut parent = keeper.pid;
        loop {
            for pid in children.drain(..) {
                if self.members.len() >= most || !self.seen.insert(pid) {
                    continue;
                }
                if let Ok(stat) = self.stat(pid)
                    && (stat.parent == parent || stat.parent == keeper.pid)
                {
                    self.members.push(stat);
                }
            }
            let Some(member) = self.members.get(next).copied() else { return Ok(()) };
            next += 1;
            parent = member.pid;
            // One that ends meanwhile has none.
            let _ = self.read_children(parent, member.threads > 1, &mut children);
        }
    }

    fn stat(&mut self, pid: i32) -> io::Result<Stat> {
        self.read(format_args!("/proc/{pid}/stat"))?;
        Stat::parse(&self.buffer).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The children of a process: of each of its threads, where there are several.
    fn read_children(&mut self, pid: i32, threaded: bool, into: &mut Vec<i32>) -> io::Result<()> {
        if let Some(kin) = &self.kin {
            into.extend(kin.get(&pid).into_iter().flatten());
            return Ok(());
        }
        if !threaded {
            return match self.read(format_args!("/proc/{pid}/task/{pid}/children")) {
                Ok(()) => {
                    into.extend(numbers::<i32>(&self.buffer));
                    Ok(())
                }
                // The process is there, so the kernel was built without this file.
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.stat(pid).is_ok() => {
                    self.kin = Some(self.all_kin()?);
                    self.read_children(pid, threaded, into)
                }
                Err(error) => Err(error),
            };
        }
        for thread in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
            let Some(tid) = thread.file_name().to_str().and_then(|tid| tid.parse::<i32>().ok()) else {
                continue;
            };
            // A thread that has ended has none.
            if self.read(format_args!("/proc/{pid}/task/{tid}/children")).is_ok() {
                into.extend(numbers::<i32>(&self.buffer));
            }
        }
        Ok(())
    }

    fn all_kin(&mut self) -> io::Result<BTreeMap<i32, Vec<i32>>> {
        let mut kin: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if let Ok(stat) = self.stat(pid) {
                kin.entry(stat.parent).or_default().push(pid);
            }
        }
        Ok(kin)
    }

    /// Memory of the members with what they share counted once, and with what of it is swapped out.
    fn shared_once(&mut self) -> u64 {
        let members = std::mem::take(&mut self.members);
        let living = members.iter().filter(|member| !member.has_ended());
        let sum = living.map(|member| self.proportional(member.pid)).fold(0, u64::saturating_add);
        self.members = members;
        sum
    }

    /// The proportional set size of a process. Of one that may not be looked into, what it shares with nobody:
    /// less than the truth, so that nobody is ended for what is not known.
    fn proportional(&mut self, pid: i32) -> u64 {
        let told = self.read(format_args!("/proc/{pid}/smaps_rollup")).ok().and_then(|()| {
            let field = |name| machine::kib(&self.buffer, name);
            Some(field("Pss:")?.saturating_add(field("SwapPss:").unwrap_or(0)))
        });
        told.unwrap_or_else(|| {
            if self.read(format_args!("/proc/{pid}/statm")).is_err() {
                return 0; // it has ended
            }
            let mut fields = numbers(&self.buffer).skip(1);
            let resident: u64 = fields.next().unwrap_or(0);
            resident.saturating_sub(fields.next().unwrap_or(0)).saturating_mul(self.page_size)
        })
    }

    /// A file of procfs into the buffer.
    fn read(&mut self, path: std::fmt::Arguments<'_>) -> io::Result<()> {
        self.path.clear();
        let _ = self.path.write_fmt(path); // a string takes all
        read_all(&self.path, &mut self.buffer)
    }
}

/// Replaces `buffer` by what is in a file of procfs. That has no size to ask for, and is told a page at a time: a
/// read that is much shorter than a page was the last.
fn read_all(path: &str, buffer: &mut Vec<u8>) -> io::Result<()> {
    const ROOM: usize = 4096;
    let mut file = File::open(path)?;
    let mut length = 0;
    loop {
        buffer.resize(length + ROOM, 0);
        let read = match file.read(buffer.get_mut(length..).unwrap_or_default()) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // It ended while it was read.
            Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => {
                return Err(io::ErrorKind::NotFound.into());
            }
            Err(error) => return Err(error),
        };
        length += read;
        if read < ROOM / 2 {
            buffer.truncate(length);
            return Ok(());
        }
    }
}

/// The numbers in a text of numbers.
fn numbers<T: std::str::FromStr>(text: &[u8]) -> impl Iterator<Item = T> + '_ {
    text.split(u8::is_ascii_whitespace).filter_map(|word| std::str::from_utf8(word).ok()?.parse().ok())
}
