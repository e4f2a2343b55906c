//! A group of processes of the test's own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::pause;

/// A cgroup of the test's own, emptied and removed at its end.
pub struct Group {
    pub path: PathBuf,
}

impl Group {
    /// `None`, with a message, where there is no cgroup2 hierarchy that one may write.
    pub fn new(name: &str) -> Option<Self> {
        let name = format!("atm-test-{}-{name}", std::process::id());
        for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new) {
            let path = root.join(&name);
            if root.join("cgroup.procs").exists() && fs::create_dir(&path).is_ok() {
                return Some(Self { path });
            }
        }
        eprintln!("skipped: no cgroup2 hierarchy that can be written");
        None
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::write(self.path.join("cgroup.kill"), "1");
        for _ in 0..1000 {
            for group in fs::read_dir(&self.path).into_iter().flatten().flatten() {
                let _ = fs::remove_dir(group.path());
            }
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            pause();
        }
    }
}
