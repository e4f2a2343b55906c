//! The thread, with real directories and a real inotify.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{
    Toy,
    world::{RULES, World, line},
};
use crate::{
    api::{diagnose::Diagnostics, time::Moment},
    daemon::{
        config_file::ConfigChange,
        specs::{Change, Handle, Known, Options, Rules, Update, spawn},
    },
    host::{clock, specfile::DirId},
};

/// Generous: a loaded machine is no failure.
const LIMIT: Duration = Duration::from_secs(20);

/// A running source over a directory of its own.
pub struct Rig {
    pub root: tempfile::TempDir,
    pub dir: PathBuf,
    pub handle: Handle,
    updates: UnboundedReceiver<Update<Toy, String>>,
    pub told: Vec<String>,
    /// What `told` leaves in force.
    pub force: BTreeMap<String, String>,
    pub configs: Vec<ConfigChange<String>>,
    /// What was told last of the directory's identity.
    pub identity: Option<DirId>,
    pub errors: Vec<Diagnostics>,
}

/// How a rig is started.
pub struct Start {
    pub rules: Rules,
    pub recorded: Option<DirId>,
    pub known: Vec<Known>,
    pub inotify: bool,
}

impl Default for Start {
    fn default() -> Self {
        Self { rules: RULES, recorded: None, known: Vec::new(), inotify: true }
    }
}

fn parse_config(bytes: &[u8], file: &Path) -> Result<String, Diagnostics> {
    let text = String::from_utf8_lossy(bytes);
    match text.trim().strip_prefix("config ") {
        Some(config) => Ok(config.to_owned()),
        None => Err(Diagnostics::whole(file.display().to_string(), "expected `config`")),
    }
}

impl Rig {
    pub fn new() -> Self {
        let mut rig = Self::start(tempfile::tempdir().unwrap(), Start::default());
        rig.wait("the first listing", |rig| rig.told.iter().any(|line| line == "first"));
        rig
    }

    pub fn start(root: tempfile::TempDir, start: Start) -> Self {
        let Start { rules, recorded, known, inotify } = start;
        let (sender, updates) = unbounded_channel();
        let dir = root.path().join("sessions.d");
        let options = Options {
            directory: dir.clone(),
            mode: 0o700,
            rules,
            recorded,
            known,
            config: root.path().join("atm.yaml"),
            parse_config: Box::new(parse_config),
            inotify,
        };
        let handle = spawn(options, sender).unwrap();
        Self {
            root,
            dir,
            handle,
            updates,
            told: Vec::new(),
            force: BTreeMap::new(),
            configs: Vec::new(),
            identity: None,
            errors: Vec::new(),
        }
    }

    pub fn at(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// Writes beside the directory and renames into it.
    pub fn rename_in(&self, file: &str, text: &str) {
        let beside = self.root.path().join(format!("{file}.new"));
        fs::write(&beside, text).unwrap();
        fs::rename(beside, self.at(file)).unwrap();
    }

    /// The same, where the directory is on another file system.
    pub fn rename_in_by_copy(&self, file: &str, text: &str) {
        let beside = self.at(".new");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, self.at(file)).unwrap();
    }

    fn take(&mut self, update: Update<Toy, String>) {
        match update {
            Update::Config(change) => self.configs.push(change),
            Update::Spec(change) => {
                if let Change::Available { identity } = &change {
                    self.identity = Some(*identity);
                }
                if let Change::Bad { error, .. } = &change {
                    self.errors.push(error.clone());
                }
                let line = line(&change);
                World::add_to_force(&mut self.force, &line);
                self.told.push(line);
            }
        }
    }

    /// Waits until `done`, for a generous time.
    #[track_caller]
    pub fn wait(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let start = clock::monotonic();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        while !done(self) {
            let left = LIMIT.checked_sub(clock::monotonic().since(start));
            let Some(left) = left else {
                panic!("not in time: {what}; told: {:?} {:?}", self.told, self.configs)
            };
            let next = runtime.block_on(async { tokio::time::timeout(left, self.updates.recv()).await });
            match next {
                Ok(Some(update)) => self.take(update),
                Ok(None) => panic!("the thread ended before: {what}; told: {:?}", self.told),
                Err(_) => {}
            }
        }
    }

    #[track_caller]
    pub fn wait_for(&mut self, wanted: &str) {
        self.wait(wanted, |rig| rig.told.iter().any(|line| line == wanted));
    }

    /// Waits until all that was done so far is told: a file that is dropped now is told last. Other files may
    /// still have a look to come, at most [`super::super::looks::PATIENCE`] later.
    #[track_caller]
    pub fn flush(&mut self, mark: &str) {
        self.rename_in(&format!("{mark}.yaml"), "ok mark");
        self.wait_for(&format!("good {mark} mark {mark}.yaml"));
    }

    #[track_caller]
    pub fn wait_in_force(&mut self, name: &str, meaning: &str) {
        self.wait(&format!("{name} {meaning}"), |rig| {
            rig.force.get(name).map(String::as_str) == Some(meaning)
        });
    }
}

fn since(start: Moment) -> Duration {
    clock::monotonic().since(start)
}

#[test]
fn dropped_changed_and_removed_within_a_second() {
    let mut rig = Rig::new();
    let start = clock::monotonic();
    rig.rename_in("a.yaml", "ok A");
    rig.wait_for("good a A a.yaml");
    fs::write(rig.at("a.yaml"), "ok B").unwrap();
    rig.wait_for("good a B a.yaml");
    fs::hard_link(rig.at("a.yaml"), rig.at("b.yaml")).unwrap();
    rig.wait_for("good b B b.yaml");
    let changed = since(start);
    let start = clock::monotonic();
    fs::remove_file(rig.at("a.yaml")).unwrap();
    rig.wait_for("removed a");
    assert!(changed < Duration::from_secs(1), "{changed:?}");
    assert!(
        (Duration::from_millis(300)..Duration::from_secs(1)).contains(&since(start)),
        "{:?}",
        since(start)
    );
    rig.handle.shutdown();
}

#[test]
fn what_editors_do_is_one_change_and_no_removal() {
    let mut rig = Rig::new();
    rig.rename_in("a.yaml", "ok 0");
    rig.wait_in_force("a", "0");
    // vim, backupcopy=no: probe 4913, move the original to a~, write anew, drop the backup.
    fs::write(rig.at("4913"), "").unwrap();
    fs::remove_file(rig.at("4913")).unwrap();
    fs::write(rig.at(".a.yaml.swp"), "ok swap").unwrap();
    fs::rename(rig.at("a.yaml"), rig.at("a.yaml~")).unwrap();
    fs::write(rig.at("a.yaml"), "ok vim").unwrap();
    fs::remove_file(rig.at("a.yaml~")).unwrap();
    fs::remove_file(rig.at(".a.yaml.swp")).unwrap();
    rig.wait_in_force("a", "vim");
    // emacs: a lock that is a dangling link, an autosave, the original renamed to a~.
    symlink("me@host.1:2", rig.at(".#a.yaml")).unwrap();
    fs::write(rig.at("#a.yaml#"), "ok autosave").unwrap();
    fs::rename(rig.at("a.yaml"), rig.at("a.yaml~")).unwrap();
    fs::write(rig.at("a.yaml"), "ok emacs").unwrap();
    fs::remove_file(rig.at("#a.yaml#")).unwrap();
    fs::remove_file(rig.at(".#a.yaml")).unwrap();
    rig.wait_in_force("a", "emacs");
    // sed -i, git checkout: unlink and re-create, or rename over.
    fs::write(rig.at("sedXyZ12"), "ok sed").unwrap();
    fs::rename(rig.at("sedXyZ12"), rig.at("a.yaml")).unwrap();
    rig.wait_in_force("a", "sed");
    fs::remove_file(rig.at("a.yaml")).unwrap();
    fs::write(rig.at("a.yaml"), "ok git").unwrap();
    rig.wait_in_force("a", "git");
    // The shell's truncation, with a writer that takes its time.
    let mut file = fs::File::create(rig.at("a.yaml")).unwrap();
    for byte in b"ok nano" {
        file.write_all(&[*byte]).unwrap();
    }
    drop(file);
    rig.wait_in_force("a", "nano");
    // A second of looking finds no more.
    fs::remove_file(rig.at("a.yaml~")).unwrap();
    rig.rename_in("z.yaml", "ok Z");
    rig.wait_in_force("z", "Z");
    fs::remove_file(rig.at("z.yaml")).unwrap();
    rig.wait_for("removed z");
    let told: Vec<_> = rig.told.iter().filter(|line| !line.contains(" z")).cloned().collect();
    assert_eq!(
        told[2..],
        ["0", "vim", "emacs", "sed", "git", "nano"].map(|meaning| format!("good a {meaning} a.yaml")),
        "{told:?}"
    );
    rig.handle.shutdown();
}

#[test]
fn a_thousand_renames_end_with_the_last_and_never_remove() {
    let mut rig = Rig::new();
    for i in 0..1000 {
        rig.rename_in("a.yaml", &format!("ok {i}"));
    }
    rig.wait_in_force("a", "999");
    for i in 0..250 {
        fs::rename(rig.at("a.yaml"), rig.at("a.yml")).unwrap();
        fs::rename(rig.at("a.yml"), rig.at("a.yaml")).unwrap();
        rig.rename_in("b.yaml", &format!("ok {i}"));
    }
    rig.wait_in_force("b", "249");
    rig.flush("mark");
    for line in &rig.told {
        assert!(!line.starts_with("removed") && !line.starts_with("bad"), "{line}");
    }
    rig.handle.shutdown();
}

#[test]
fn a_slow_writer_is_never_read_half() {
    let mut rig = Rig::new();
    // One after the other without a pause: the next truncation follows the close at once.
    let path = rig.at("a.yaml");
    let writer = std::thread::spawn(move || {
        for round in 0..200 {
            let mut file = fs::File::create(&path).unwrap();
            for byte in format!("ok whole-{round}.").bytes() {
                file.write_all(&[byte]).unwrap();
            }
        }
    });
    rig.wait_in_force("a", "whole-199.");
    writer.join().unwrap();
    // A file system that hangs in a truncation shows an empty file for as long. That is an error to tell, and
    // not half a spec.
    let empty = |error: &Diagnostics| error.to_string().ends_with("found \"\"");
    assert!(rig.errors.iter().all(empty), "{:?}", rig.errors);
    rig.told.retain(|line| !line.starts_with("bad") && !line.starts_with("cleared"));
    for line in &rig.told[2..] {
        assert!(line.starts_with("good a whole-") && line.ends_with(". a.yaml"), "{line}: {:?}", rig.errors);
    }
    rig.handle.shutdown();
}

#[test]
fn what_is_no_file_blocks_nothing_and_is_said() {
    let mut rig = Rig::new();
    nix::unistd::mkfifo(&rig.at("fifo.yaml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::create_dir(rig.at("dir.yaml")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(rig.at("socket.yaml")).unwrap();
    symlink("/dev/zero", rig.at("zero.yaml")).unwrap();
    symlink("nothing", rig.at("dangling.yaml")).unwrap();
    symlink("loop.yaml", rig.at("loop.yaml")).unwrap();
    fs::write(rig.at("long.yaml"), "ok ".repeat(30_000)).unwrap();
    fs::File::create(rig.at("sparse.yaml")).unwrap().set_len(1 << 40).unwrap();
    fs::write(rig.at("binary.yaml"), b"ok \xff\xfe").unwrap();
    fs::write(rig.at("utf16.yaml"), b"\xff\xfeo\0k\0").unwrap();
    rig.flush("next");
    for name in ["fifo", "dir", "socket", "zero", "dangling", "loop", "long", "sparse", "binary", "utf16"] {
        rig.wait_for(&format!("bad {name} invalid"));
    }
    let said: Vec<String> = rig.errors.iter().map(ToString::to_string).collect();
    for wanted in [
        "a FIFO",
        "a directory",
        "a socket",
        "a character device",
        "does not exist",
        "leads to itself",
        "longer than 65536 bytes",
        "from index 3",
        "from index 0",
    ] {
        assert!(said.iter().any(|text| text.contains(wanted)), "{wanted}: {said:?}");
    }
    rig.handle.shutdown();
}

#[test]
fn odd_names_are_said_and_foreign_ones_are_not() {
    let mut rig = Rig::new();
    for file in ["Foo.yaml", "a\u{1b}[2J.yaml", "README", "x.yaml.bak", ".hidden.yaml"] {
        fs::write(rig.at(file), "ok A").unwrap();
    }
    rig.flush("mark");
    let odd: Vec<_> = rig.told.iter().filter(|line| line.starts_with("odd")).collect();
    assert_eq!(odd.len(), 2, "{odd:?}");
    assert!(odd.iter().all(|line| !line.contains('\u{1b}')), "{odd:?}");
    rig.handle.shutdown();
}

#[test]
fn a_links_target_counts_at_once_when_the_link_is_turned_and_at_a_resync_when_it_is_edited() {
    let mut rig = Rig::new();
    let data = rig.root.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("v1"), "ok 1").unwrap();
    fs::write(data.join("v2"), "ok 2").unwrap();
    symlink(data.join("v1"), rig.at("a.yaml")).unwrap();
    rig.wait_in_force("a", "1");
    symlink(data.join("v2"), rig.at(".turn")).unwrap();
    fs::rename(rig.at(".turn"), rig.at("a.yaml")).unwrap();
    rig.wait_in_force("a", "2");
    fs::write(data.join("v2"), "ok 3").unwrap();
    rig.handle.resync();
    rig.wait_in_force("a", "3");
    rig.handle.shutdown();
}

#[test]
fn old_times_do_not_hide_other_content() {
    let mut rig = Rig::new();
    rig.rename_in("a.yaml", "ok A");
    rig.wait_in_force("a", "A");
    let times = fs::metadata(rig.at("a.yaml")).unwrap();
    // As `cp -p` or `rsync -t` would: same size, same mtime, in place, and no event believed.
    fs::write(rig.at("a.yaml"), "ok B").unwrap();
    fs::File::options()
        .write(true)
        .open(rig.at("a.yaml"))
        .unwrap()
        .set_modified(times.modified().unwrap())
        .unwrap();
    rig.wait_in_force("a", "B");
    rig.handle.shutdown();
}

#[test]
fn a_directory_that_is_removed_moved_or_replaced_stops_nothing_and_is_followed() {
    let mut rig = Rig::new();
    for name in ["a", "b"] {
        rig.rename_in(&format!("{name}.yaml"), "ok A");
        rig.handle.set_live(super::name(name), true);
    }
    rig.wait_in_force("b", "A");
    let fill = |rig: &Rig, meaning: &str| {
        for name in ["a", "b"] {
            fs::write(rig.at(&format!("{name}.yaml")), format!("ok {meaning}")).unwrap();
        }
    };
    // Removed and made again.
    fs::remove_dir_all(&rig.dir).unwrap();
    rig.wait_for("unavailable missing");
    fs::create_dir(&rig.dir).unwrap();
    fill(&rig, "2");
    rig.wait_in_force("a", "2");
    rig.wait_in_force("b", "2");
    // Moved away; what happens in the moved one is nobody's business.
    rig.told.retain(|line| line.starts_with("good"));
    let moved = rig.root.path().join("moved");
    fs::rename(&rig.dir, &moved).unwrap();
    rig.wait_for("unavailable missing");
    fs::write(moved.join("a.yaml"), "ok Foreign").unwrap();
    fs::create_dir(&rig.dir).unwrap();
    fill(&rig, "3");
    rig.wait_in_force("a", "3");
    // A new one in its place, by exchange.
    fs::write(moved.join("a.yaml"), "ok 4").unwrap();
    fs::write(moved.join("b.yaml"), "ok 4").unwrap();
    rustix::fs::renameat_with(
        rustix::fs::CWD,
        &moved,
        rustix::fs::CWD,
        &rig.dir,
        rustix::fs::RenameFlags::EXCHANGE,
    )
    .unwrap();
    rig.wait_in_force("a", "4");
    rig.wait_in_force("b", "4");
    // And it is watched: an event is enough.
    rig.rename_in("c.yaml", "ok C");
    rig.wait_in_force("c", "C");
    let told = &rig.told;
    assert!(!told.iter().any(|line| line.starts_with("removed") || line.contains("Foreign")), "{told:?}");
    rig.handle.shutdown();
}

#[test]
fn two_hundred_directories_in_a_row_are_each_followed() {
    let mut rig = Rig::new();
    rig.rename_in("a.yaml", "ok start");
    rig.wait_in_force("a", "start");
    rig.handle.set_live(super::name("a"), true);
    for round in 0..200 {
        fs::remove_dir_all(&rig.dir).unwrap();
        fs::create_dir(&rig.dir).unwrap();
        fs::write(rig.at("a.yaml"), format!("ok {round}")).unwrap();
        if round % 20 == 0 {
            rig.wait_in_force("a", &round.to_string());
        }
    }
    rig.wait_in_force("a", "199");
    // No watch was lost on the way: the next change comes by event.
    rig.rename_in("a.yaml", "ok end");
    rig.wait_in_force("a", "end");
    assert!(!rig.told.iter().any(|line| line.starts_with("removed")), "{:?}", rig.told);
    rig.handle.shutdown();
}

#[test]
fn the_parent_may_move_too() {
    let outer = tempfile::tempdir().unwrap();
    let root = tempfile::tempdir_in(outer.path()).unwrap();
    let mut rig = Rig::start(root, Start::default());
    rig.wait_for("first");
    rig.rename_in("a.yaml", "ok A");
    rig.wait_in_force("a", "A");
    rig.handle.set_live(super::name("a"), true);
    let moved = outer.path().join("moved");
    fs::rename(rig.root.path(), &moved).unwrap();
    rig.wait_for("unavailable missing");
    fs::rename(&moved, rig.root.path()).unwrap();
    rig.wait("it is back", |rig| rig.told.last().is_some_and(|line| line.starts_with("available")));
    rig.rename_in("a.yaml", "ok B");
    rig.wait_in_force("a", "B");
    rig.handle.shutdown();
}

#[test]
fn a_storm_that_overflows_the_queue_ends_with_what_is_there() {
    let mut rig = Rig::new();
    for round in 0..3 {
        for i in 0..4000 {
            let path = rig.at(&format!("s{i}.yaml"));
            fs::write(&path, format!("ok {round}")).unwrap();
            if i % 2 == 0 {
                fs::remove_file(path).unwrap();
            }
        }
    }
    rig.wait("all that stay, with their last meaning, and none that went", |rig| {
        rig.force.len() == 2000 && rig.force.values().all(|meaning| meaning == "2")
    });
    assert!(rig.force.contains_key("s3999"));
    rig.handle.shutdown();
}

#[test]
fn ten_thousand_files_are_listed_in_a_second_and_delay_no_event() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("sessions.d");
    fs::create_dir(&dir).unwrap();
    for i in 0..10_000 {
        fs::write(dir.join(format!("s{i}.yaml")), "ok A").unwrap();
    }
    let mut rig = Rig::start(root, Start::default());
    let start = clock::monotonic();
    rig.wait("all", |rig| rig.told.last().is_some_and(|line| line == "first"));
    eprintln!("10,000 specs, first listing: {:?}", since(start));
    assert_eq!(rig.force.len(), 10_000);
    rig.handle.resync();
    rig.rename_in("a.yaml", "ok A");
    rig.wait_in_force("a", "A");
    rig.handle.shutdown();
}

#[test]
fn without_inotify_all_still_happens() {
    let mut rig = Rig::start(tempfile::tempdir().unwrap(), Start { inotify: false, ..Start::default() });
    rig.wait_for("first");
    rig.wait_for("blind");
    rig.rename_in("a.yaml", "ok A");
    rig.wait_in_force("a", "A");
    fs::write(rig.at("a.yaml"), "ok B").unwrap();
    rig.wait_in_force("a", "B");
    fs::remove_file(rig.at("a.yaml")).unwrap();
    rig.wait_for("removed a");
    rig.handle.shutdown();
}

#[test]
fn a_restart_takes_up_where_state_left() {
    let mut rig = Rig::new();
    rig.rename_in("a.yaml", "ok A");
    rig.wait_in_force("a", "A");
    let Rig { root, handle, identity, dir, .. } = rig;
    handle.shutdown();
    fs::write(dir.join("a.yaml"), "no").unwrap();
    let known = super::world::known("a.yaml", "ok A", true);
    let start = Start { recorded: identity, known: vec![known], ..Start::default() };
    let mut rig = Rig::start(root, start);
    rig.wait_for("first");
    rig.wait_for("bad a invalid");
    assert_eq!(rig.force.get("a").map(String::as_str), Some("A"), "{:?}", rig.told);
    let Rig { root, handle, dir, .. } = rig;
    handle.shutdown();
    // State knows a session, so a missing directory is not made.
    fs::remove_dir_all(&dir).unwrap();
    let known = super::world::known("a.yaml", "ok A", true);
    let mut rig = Rig::start(root, Start { recorded: identity, known: vec![known], ..Start::default() });
    rig.wait_for("first");
    assert_eq!(rig.told, ["unavailable missing", "remembered a A a.yaml", "first"]);
    assert!(!rig.dir.exists());
    rig.handle.accept_removals();
    rig.wait_for("removed a");
    rig.handle.shutdown();
}

#[test]
fn the_config_is_read_first_followed_and_never_falls_back() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("atm.yaml");
    let mut rig = Rig::start(root, Start::default());
    let good = |text: &str| ConfigChange::Good(Box::new(text.to_owned()));
    let last = |rig: &Rig| rig.configs.last().cloned();
    rig.wait("defaults", |rig| last(rig) == Some(ConfigChange::Absent));
    fs::write(&path, "config 1").unwrap();
    rig.wait("1", |rig| last(rig) == Some(good("1")));
    fs::write(&path, "nonsense").unwrap();
    rig.wait("an error", |rig| matches!(last(rig), Some(ConfigChange::Bad(_))));
    fs::write(&path, "config 1").unwrap();
    rig.wait("mended", |rig| last(rig) == Some(ConfigChange::Cleared));
    fs::remove_file(&path).unwrap();
    rig.wait("removed", |rig| last(rig) == Some(ConfigChange::Removed));
    let beside = rig.root.path().join("new");
    fs::write(&beside, "config 2").unwrap();
    fs::rename(&beside, &path).unwrap();
    rig.wait("2", |rig| last(rig) == Some(good("2")));
    // By a link that leads elsewhere, as a ConfigMap does it: told by no event.
    let other = rig.root.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("c"), "config 3").unwrap();
    fs::remove_file(&path).unwrap();
    symlink(other.join("c"), &path).unwrap();
    rig.wait("3", |rig| last(rig) == Some(good("3")));
    fs::write(other.join("c"), "config 4").unwrap();
    rig.handle.resync();
    rig.wait("4", |rig| last(rig) == Some(good("4")));
    rig.handle.shutdown();
}

#[test]
fn the_thread_ends_with_its_listener_and_closes_its_channel() {
    let rig = Rig::new();
    let Rig { handle, mut updates, root: _root, .. } = rig;
    assert_eq!(handle.stuck_for(clock::monotonic()).filter(|stuck| *stuck > LIMIT), None);
    handle.shutdown();
    while let Ok(update) = updates.try_recv() {
        assert!(!matches!(update, Update::Spec(Change::Removed { .. })));
    }
    assert!(matches!(updates.try_recv(), Err(tokio::sync::mpsc::error::TryRecvError::Disconnected)));
}

/// Not a test of speed on a shared machine; run by hand: `cargo test --lib latency -- --ignored --nocapture`.
#[test]
#[ignore = "prints a figure"]
fn latency_of_a_rename_among_a_thousand() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("sessions.d");
    fs::create_dir(&dir).unwrap();
    for i in 0..1000 {
        fs::write(dir.join(format!("s{i}.yaml")), "ok A").unwrap();
    }
    let mut rig = Rig::start(root, Start::default());
    rig.wait_for("first");
    for (how, rename) in [("renamed into place", true), ("written and closed", false)] {
        let mut times = Vec::new();
        for round in 0..300 {
            let file = format!("n{round}{rename}.yaml");
            let beside = rig.root.path().join("beside");
            fs::write(&beside, "ok N").unwrap();
            let start = clock::monotonic();
            if rename {
                fs::rename(&beside, rig.at(&file)).unwrap();
            } else {
                fs::write(rig.at(&file), "ok N").unwrap();
            }
            loop {
                if let Ok(update) = rig.updates.try_recv() {
                    times.push(since(start));
                    rig.take(update);
                    break;
                }
                std::thread::yield_now();
            }
        }
        times.sort();
        eprintln!("{how}: p50 {:?}, p99 {:?}", times[150], times[297]);
    }
    rig.handle.shutdown();
}
