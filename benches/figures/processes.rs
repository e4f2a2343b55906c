//! What processes take, as the kernel accounts for it.

use std::fs;

/// `Rss` and `Pss` in bytes.
pub fn memory(pid: i32) -> (f64, f64) {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
    };
    (field("Rss:"), field("Pss:"))
}

/// CPU time of all threads in nanoseconds. Threads that ended meanwhile are not in it.
pub fn cpu(pid: i32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let times = threads.filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok());
    times.map(|text| text.split(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// Those of `pids` that are keepers.
pub fn keepers(pids: &[i32]) -> Vec<i32> {
    let is_keeper = |pid: &&i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).nth(1) == Some(b"keeper")
    };
    pids.iter().filter(is_keeper).copied().collect()
}

/// Name of the file system that `path` is on.
pub fn file_system(path: &std::path::Path) -> String {
    let Ok(path) = path.canonicalize() else { return "?".into() };
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let holding = mounts.filter(|(mount, _)| path.starts_with(mount));
    holding.max_by_key(|(mount, _)| mount.len()).map_or_else(|| "?".into(), |(_, kind)| kind.to_owned())
}
