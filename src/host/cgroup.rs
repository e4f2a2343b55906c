//! Cgroups (version 2) as containers of a session: its processes cannot leave by forking, and end at one
//! write.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::OpenOptionsExt,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use nix::libc;

use super::process::identify;
use crate::api::record::ProcessId;

/// A cgroup of our own.
#[derive(Debug)]
pub struct Group {
    path: PathBuf,
    directory: File,
}

impl Group {
    /// Makes the group `name` below `parent`, or takes one that is there.
    pub fn create(parent: &Path, name: &str) -> io::Result<Self> {
        let path = parent.join(name);
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let group = Self::open(&path);
        // A plain directory would be made as gladly, and contain nothing.
        if group.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Unsupported) {
            let _ = fs::remove_dir(&path); // ours or not, an empty directory is no loss
        }
        group
    }

    /// Takes the group that is at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let directory =
            OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(path)?;
        if rustix::fs::fstatfs(&directory)?.f_type != CGROUP2_SUPER_MAGIC {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "not a cgroup2 file system"));
        }
        Ok(Self { path: path.to_owned(), directory })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts a process into the group, at a cost of milliseconds.
    pub fn add(&self, pid: i32) -> io::Result<()> {
        fs::write(self.path.join("cgroup.procs"), pid.to_string())
    }

    /// Whether there is any process in it or below it that has not ended.
    pub fn is_populated(&self) -> io::Result<bool> {
        let events = fs::read_to_string(self.path.join("cgroup.events"))?;
        Ok(events.lines().any(|line| line == "populated 1"))
    }

    /// Ends all processes in it and below it, also frozen ones. `Unsupported` before Linux 5.14.
    pub fn kill(&self) -> io::Result<()> {
        match fs::write(self.path.join("cgroup.kill"), "1") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(io::Error::new(io::ErrorKind::Unsupported, "no cgroup.kill"))
            }
            other => other,
        }
    }

    /// Lets frozen processes run: a frozen one takes no signal but SIGKILL.
    pub fn thaw(&self) -> io::Result<()> {
        fs::write(self.path.join("cgroup.freeze"), "0")
    }

    /// Sets what its controllers hold it to. Where it has none of them there is nothing to set.
    pub fn limit(&self, limits: &Limits) -> io::Result<()> {
        let or_max = |limit: Option<u64>| limit.map_or_else(|| "max".to_owned(), |limit| limit.to_string());
        self.limit_memory(limits.memory)?;
        // Half a session is of no use: what was asked of it is lost in any case, and is told as one end.
        self.set("memory.oom.group", "1")?;
        self.set("pids.max", &or_max(limits.tasks))?;
        self.set("cpu.weight", &limits.cpu_weight.to_string())
    }

    /// Sets the memory that all below it may have together, where it has the controller: no less than a little more
    /// than what they use. Below that the kernel would choose there and then whom to end, without a cause and
    /// without a grace, and whoever writes the limit would wait for it.
    pub fn limit_memory(&self, limit: Option<u64>) -> io::Result<()> {
        let used = fs::read_to_string(self.path.join("memory.current")).ok();
        let used = used.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let limit = limit.map(|limit| tolerable(limit, used));
        self.set("memory.max", &limit.map_or_else(|| "max".to_owned(), |limit| limit.to_string()))
    }

    fn set(&self, file: &str, value: &str) -> io::Result<()> {
        match OpenOptions::new().write(true).open(self.path.join(file)) {
            Ok(mut file) => file.write_all(value.as_bytes()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// How many processes in it or below it the kernel ended for want of memory; 0 without the controller.
    pub fn oom_kills(&self) -> u64 {
        let events = fs::read_to_string(self.path.join("memory.events")).unwrap_or_default();
        events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok()).unwrap_or(0)
    }

    /// The processes in it and below it.
    ///
    /// Read twice: what is identified between, and is there both times, was a member when it was identified,
    /// and not a later process with a member's pid.
    pub fn members(&self) -> Vec<ProcessId> {
        let mut before = BTreeSet::new();
        read_members(&self.path, &mut before);
        let identified: Vec<_> = before.into_iter().filter_map(|pid| identify(pid).ok()).collect();
        let mut after = BTreeSet::new();
        read_members(&self.path, &mut after);
        identified.into_iter().filter(|id| after.contains(&id.pid)).collect()
    }

    /// Whether that process says to be in it or below it, by its name; also where it says nothing.
    pub fn is_group_of(&self, pid: i32) -> bool {
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/cgroup")) else { return true };
        let Some(path) = text.lines().find_map(|line| line.strip_prefix("0::")) else { return true };
        Path::new(path).components().any(|part| Some(part.as_os_str()) == self.path.file_name())
    }

    /// Removes it, with groups that the session made below it.
    pub fn remove(&self) -> io::Result<()> {
        remove_below(&self.path)
    }
}

/// What the controllers of a group hold it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub tasks: Option<u64>,
    /// Its share of the processor among its siblings; 100 is the kernel's default.
    pub cpu_weight: u16,
}

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// Processor time of all that was ever in the group at `path` and below it; `None` where it does not say.
pub fn cpu(path: &Path) -> Option<Duration> {
    let text = fs::read_to_string(path.join("cpu.stat")).ok()?;
    field(&text, "usage_usec ").map(Duration::from_micros)
}

/// Memory of the group at `path` in bytes, less what of the page cache is not in use, with what is swapped out.
/// `None` where it has no memory controller.
pub fn memory(path: &Path) -> Option<u64> {
    let number = |file: &str| fs::read_to_string(path.join(file)).ok()?.trim().parse::<u64>().ok();
    let current = number("memory.current")?;
    let text = fs::read_to_string(path.join("memory.stat")).ok()?;
    let inactive = field(&text, "inactive_file ").unwrap_or(0);
    Some(current.saturating_sub(inactive).saturating_add(number("memory.swap.current").unwrap_or(0)))
}

pub(crate) fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

/// `CGROUP2_SUPER_MAGIC` of `<linux/magic.h>`.
const CGROUP2_SUPER_MAGIC: rustix::fs::FsWord = 0x6367_7270;

fn below(path: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path())
}

/// The pids in the group at `path` and below it.
pub fn read_members(path: &Path, into: &mut BTreeSet<i32>) {
    let listed = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    // 0 stands for a process outside our pid namespace.
    into.extend(listed.lines().filter_map(|line| line.parse().ok()).filter(|pid: &i32| *pid > 0));
    for group in below(path) {
        read_members(&group, into);
    }
}

fn remove_below(path: &Path) -> io::Result<()> {
    match fs::remove_dir(path) {
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            for group in below(path) {
                remove_below(&group)?;
            }
            fs::remove_dir(path)
        }
        other => other,
    }
}

/// A limit of memory that is not passed at this moment: the one that is wanted, else a twentieth and 16 MiB more than
/// what is used.
fn tolerable(limit: u64, used: u64) -> u64 {
    if used < limit { limit } else { used.saturating_add(used / 20).saturating_add(16 << 20) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_is_below_what_is_used() {
        assert_eq!(tolerable(100 << 20, 50 << 20), 100 << 20);
        assert!(tolerable(100 << 20, 100 << 20) > 110 << 20);
        assert!(tolerable(100 << 20, 4 << 30) > 4 << 30);
        assert_eq!(tolerable(0, u64::MAX), u64::MAX);
    }

    #[test]
    fn memory_in_use_leaves_out_the_page_cache_that_can_go_and_counts_what_is_swapped_out() {
        let dir = tempfile::tempdir().unwrap();
        let put = |file: &str, text: &str| fs::write(dir.path().join(file), text).unwrap();
        assert_eq!((memory(dir.path()), cpu(dir.path())), (None, None), "no controller, no answer");
        put("memory.current", "1000\n");
        put("memory.stat", "anon 300\nactive_file 100\ninactive_file 600\n");
        assert_eq!(memory(dir.path()), Some(400));
        put("memory.swap.current", "50\n");
        assert_eq!(memory(dir.path()), Some(450));
        put("cpu.stat", "usage_usec 1500000\nuser_usec 1000000\n");
        assert_eq!(cpu(dir.path()), Some(Duration::from_millis(1500)));
    }

    fn fake(files: &[(&str, &str)]) -> (tempfile::TempDir, Group) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let group = Group { path: dir.path().to_owned(), directory: File::open(dir.path()).unwrap() };
        (dir, group)
    }

    const LIMITS: Limits = Limits { memory: Some(4096), tasks: None, cpu_weight: 50 };

    #[test]
    fn a_group_is_held_to_what_it_has_a_controller_for() {
        let (dir, group) = fake(&[("memory.max", ""), ("memory.oom.group", ""), ("pids.max", "")]);
        group.limit(&LIMITS).unwrap();
        let read = |name: &str| fs::read_to_string(dir.path().join(name));
        assert_eq!(read("memory.max").unwrap(), "4096");
        assert_eq!(read("memory.oom.group").unwrap(), "1");
        assert_eq!(read("pids.max").unwrap(), "max");
        assert!(read("cpu.weight").is_err(), "nothing is made where a controller is missing");
    }

    #[test]
    fn kills_for_memory_are_counted() {
        let (_dir, group) = fake(&[("memory.events", "low 0\noom 3\noom_kill 2\noom_group_kill 1\n")]);
        assert_eq!(group.oom_kills(), 2);
        assert_eq!(fake(&[]).1.oom_kills(), 0);
    }
}
