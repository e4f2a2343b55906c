//! File systems of the stage's own: made full, made read-only, emptied. And a machine that slept before it began.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};
use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::harness::{Atm, is_root};

/// A directory of atm's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    Runtime,
    State,
    Log,
    Specs,
}

impl Area {
    pub const ALL: [Self; 4] = [Self::Runtime, Self::State, Self::Log, Self::Specs];

    /// What the harness calls it, and how much it has room for.
    fn about(self) -> (&'static str, &'static str) {
        match self {
            Self::Runtime => ("run", "size=16m,mode=0755"),
            Self::State => ("state", "size=16m,mode=0755"),
            Self::Log => ("log", "size=64m,mode=0755"),
            Self::Specs => ("sessions.d", "size=4m,mode=0755"),
        }
    }

    /// The directory itself.
    pub fn of(self, atm: &Atm) -> PathBuf {
        atm.path(self.about().0)
    }

    /// Where its file system is.
    fn disk(self, atm: &Atm) -> PathBuf {
        self.of(atm).with_file_name("")
    }
}

const NONE: Option<&str> = None;

/// Puts each directory on a file system of its own, which the calling thread and what it starts see and nobody else.
/// `false`, with a word why, where that is not to be had.
pub fn part(atm: &mut Atm) -> bool {
    if !is_root() {
        return false;
    }
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    let hidden = unshare(CloneFlags::CLONE_NEWNS).and_then(|()| mount(NONE, "/", NONE, private, NONE));
    if let Err(error) = hidden {
        eprintln!("skipped: no mount namespace: {error}");
        return false;
    }
    for area in Area::ALL {
        let (name, options) = area.about();
        let disk = atm.path(&format!("disk-{name}"));
        fs::create_dir(&disk).unwrap();
        mount(Some("none"), &disk, Some("tmpfs"), MsFlags::empty(), Some(options)).unwrap();
        atm.mounts.push(disk.clone());
        atm.elsewhere.push((name, disk.join(name)));
    }
    fs::create_dir(Area::Specs.of(atm)).unwrap();
    true
}

/// Leaves no byte free.
pub fn fill(atm: &Atm, area: Area) {
    let disk = area.disk(atm);
    let mut file = File::create(disk.join("filler")).unwrap();
    let about = statvfs(&disk).unwrap();
    // Others write meanwhile: what is left after this is written page by page.
    let _ = fallocate(&file, FallocateFlags::empty(), 0, (about.f_bavail * about.f_frsize).max(1));
    std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
}

/// Makes room again.
pub fn clear(atm: &Atm, area: Area) {
    fs::remove_file(area.disk(atm).join("filler")).unwrap();
}

/// Nothing can be opened to be written, made or removed. What is open already stays writable: no kernel takes that
/// away from who has it.
pub fn forbid(atm: &Atm, area: Area) {
    let disk = area.disk(atm);
    mount(Some(&disk), &disk, NONE, MsFlags::MS_BIND, NONE).unwrap();
    remount(&disk, MsFlags::MS_RDONLY);
}

/// As before. What holds on to a directory of the time between can write by it, too.
pub fn allow(atm: &Atm, area: Area) {
    let disk = area.disk(atm);
    remount(&disk, MsFlags::empty());
    umount2(&disk, MntFlags::MNT_DETACH).unwrap();
}

fn remount(disk: &Path, flags: MsFlags) {
    mount(NONE, disk, NONE, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | flags, NONE).unwrap();
}

/// All that the calling thread starts from here on is on a machine that has been up and asleep for so long: its clocks
/// of both are ahead. `false`: this thread can start nothing any more, or has changed nothing.
pub fn sleep_before(up: u64, asleep: u64) -> bool {
    const NEW_TIME: i32 = 0x80;
    let offsets = format!("monotonic {up} 0\nboottime {} 0\n", up + asleep);
    let thread = rustix::thread::gettid().as_raw_nonzero();
    unshare(CloneFlags::from_bits_retain(NEW_TIME)).is_ok()
        && fs::write(format!("/proc/{thread}/timens_offsets"), offsets).is_ok()
        && Command::new("true").status().is_ok_and(|status| status.success())
}
