//! How files are written: slowly, by rename, by editors, twice within a moment, without a trace.

use std::{
    fs::{self, FileTimes, OpenOptions},
    io::{Seek, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use super::{
    SLEEPER,
    harness::{Atm, is_alive, pause, signal, wait_until},
};

/// S01. Every prefix that ends a line is a valid spec of another meaning, so a look that believed a half-written
/// file would show as a start too many or a generation too many.
#[test]
fn a_file_that_is_written_slowly_counts_when_it_is_closed() {
    let atm = Atm::start();
    atm.drop_spec("known", SLEEPER);
    let known = atm.wait_pid("known");
    let text = "command:\n- sleep\n- '1000'\nonChange: Restart\nlabels:\n  a: x\n  b: x\n  c: x\n";
    let mut names: Vec<String> = (0..10).map(|n| format!("slow{n}")).collect();
    names.push("known".into());
    let mut files: Vec<_> = names.iter().map(|name| fs::File::create(atm.spec_path(name)).unwrap()).collect();
    for byte in text.bytes() {
        for file in &mut files {
            file.write_all(&[byte]).unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(atm.wait_pid("known"), known, "believed while it was written");
    assert_eq!(atm.get("known")["generation"], 1);
    drop(files);
    for name in &names {
        atm.wait(name, "in force whole", |s| {
            s["spec"]["labels"]["c"] == "x" && s["status"]["phase"] == "Running"
        });
        let before = usize::from(name == "known");
        assert_eq!(atm.count_events(name, "SpecChanged"), 1 + before, "{name}");
        assert_eq!(atm.count_events(name, "InvalidSpec"), 0, "{name}");
    }
    // `known` changed in labels alone.
    assert_eq!(atm.wait_pid("known"), known);
}

/// S01, the worst writer: truncates the file of a running session, writes a valid half, and never goes on.
#[test]
fn a_writer_that_never_closes_is_believed_when_it_has_been_quiet() {
    let atm = Atm::start();
    let mut file = fs::File::create(atm.spec_path("a")).unwrap();
    file.write_all(SLEEPER.as_bytes()).unwrap();
    let pid = atm.wait_pid("a");
    file.set_len(0).unwrap();
    file.rewind().unwrap();
    file.write_all(format!("{SLEEPER}priority: 3\n").as_bytes()).unwrap();
    atm.wait("a", "at priority 3", |s| s["spec"]["priority"] == 3);
    assert_eq!(atm.wait_pid("a"), pid);
}

/// S02, S39, S42.
#[test]
fn a_thousand_renames_of_equal_meaning_change_nothing() {
    let atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    for round in 0..1000 {
        let text = match round % 3 {
            0 => SLEEPER.to_owned(),
            1 => format!("# round {round}\n{SLEEPER}"),
            _ => "terminationGracePeriod: 2000ms\ncommand:\n  - sleep\n  - \"1000\"\n".to_owned(),
        };
        atm.drop_spec("a", &text);
    }
    atm.settle();
    assert_eq!(atm.wait_pid("a"), pid);
    assert_eq!(atm.get("a")["generation"], 1);
    assert_eq!(atm.count_events("a", "Started"), 1);
}

/// S39: what was there and is gone again before anybody looked never was.
#[test]
fn there_and_back_before_a_look_is_nothing() {
    let atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    signal(atm.daemon_pid(), 19);
    atm.drop_spec("a", "command: [sleep, '2000']\nonChange: Restart\n");
    atm.remove_spec("a");
    atm.drop_spec("a", SLEEPER);
    signal(atm.daemon_pid(), 18);
    atm.settle();
    assert_eq!(atm.wait_pid("a"), pid);
    assert_eq!(atm.get("a")["generation"], 1);
}

/// S42.
#[test]
fn touching_a_file_changes_nothing() {
    let atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    let path = atm.spec_path("a");
    for round in 0..200 {
        let file = OpenOptions::new().append(true).open(&path).unwrap();
        file.set_modified(std::time::SystemTime::now()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600 + 0o44 * (round % 2))).unwrap();
    }
    atm.settle();
    assert_eq!(atm.wait_pid("a"), pid);
    let session = atm.get("a");
    assert_eq!(session["generation"], 1);
    assert!(session["status"]["specError"].is_null(), "{session:#}");
}

/// S40.
#[test]
fn another_content_of_the_same_size_and_time_counts() {
    let atm = Atm::start();
    let spec = |priority: u32| format!("{SLEEPER}priority: {priority}\n");
    atm.drop_spec("a", &spec(1));
    let pid = atm.wait_pid("a");
    let path = atm.spec_path("a");
    let old = fs::metadata(&path).unwrap();
    let times = FileTimes::new().set_modified(old.modified().unwrap()).set_accessed(old.accessed().unwrap());

    // As `cp -p` over it.
    let mut file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all(spec(2).as_bytes()).unwrap();
    file.set_times(times).unwrap();
    drop(file);
    atm.wait("a", "at priority 2", |s| s["spec"]["priority"] == 2);

    // As `rsync -t`: by rename.
    let beside = atm.path("beside");
    fs::write(&beside, spec(3)).unwrap();
    OpenOptions::new().write(true).open(&beside).unwrap().set_times(times).unwrap();
    fs::rename(&beside, &path).unwrap();
    let new = fs::metadata(&path).unwrap();
    assert_eq!((new.len(), new.mtime_nsec()), (old.len(), old.mtime_nsec()));
    atm.wait("a", "at priority 3", |s| s["spec"]["priority"] == 3);

    // And backwards in time.
    fs::write(&beside, spec(4)).unwrap();
    let past = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    OpenOptions::new().write(true).open(&beside).unwrap().set_modified(past).unwrap();
    fs::rename(&beside, &path).unwrap();
    atm.wait("a", "at priority 4", |s| s["spec"]["priority"] == 4);
    assert_eq!(atm.wait_pid("a"), pid);
}

/// S41: a file that is changed through another name, as by `mmap` or from another machine, tells nothing.
#[test]
fn a_change_without_an_event_is_noticed_within_the_resync_interval() {
    let atm = Atm::start_with("resyncInterval: 1s\n");
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    fs::hard_link(atm.spec_path("a"), atm.path("elsewhere")).unwrap();
    fs::write(atm.path("elsewhere"), format!("{SLEEPER}priority: 5\n")).unwrap();
    atm.wait("a", "at priority 5", |s| s["spec"]["priority"] == 5);
    assert_eq!(atm.wait_pid("a"), pid);
}

/// S03: vim, emacs, sed and a package manager at work on the file of a running session.
#[test]
fn editors_at_work_change_what_they_saved_and_nothing_else() {
    let atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    let at = |name: &str| atm.specs().join(name);
    let put = |name: &str, text: &str| fs::write(at(name), text).unwrap();
    let saved = |priority: u32| {
        atm.wait("a", "as saved", |s| s["spec"]["priority"] == priority);
        assert_eq!(atm.wait_pid("a"), pid);
    };
    let text = |priority: u32| format!("{SLEEPER}priority: {priority}\n");

    // vim: swap files, a test file, the original renamed away, a new one written.
    put(".a.yaml.swp", "command: [sleep, '3']\n");
    put(".a.yaml.swx", "x");
    put("4913", "");
    fs::remove_file(at("4913")).unwrap();
    fs::rename(at("a.yaml"), at("a.yaml~")).unwrap();
    put("a.yaml", &text(1));
    fs::remove_file(at("a.yaml~")).unwrap();
    saved(1);
    // emacs: a lock link to nowhere, an auto-save file, the original renamed to a backup.
    std::os::unix::fs::symlink("person@host.123:1", at(".#a.yaml")).unwrap();
    put("#a.yaml#", &text(9));
    fs::rename(at("a.yaml"), at("a.yaml~")).unwrap();
    put("a.yaml", &text(2));
    saved(2);
    // sed -i: a temporary file without an ending, renamed.
    put("sedXa1b2c", &text(3));
    fs::rename(at("sedXa1b2c"), at("a.yaml")).unwrap();
    saved(3);
    // Unlinked first, as git does.
    fs::remove_file(at("a.yaml")).unwrap();
    put("a.yaml", &text(4));
    saved(4);
    for leftover in
        ["a.yaml.bak", "a.yaml.orig", "a.yaml.rej", "a.yaml.dpkg-new", "a.yaml.rpmsave", "b.tmp", ".b.yaml"]
    {
        put(leftover, "command: [sleep, '4']\n");
    }
    atm.settle();
    let names: Vec<_> = atm.list().into_iter().map(|s| s["name"].clone()).collect();
    assert_eq!(names, ["a"]);
}

/// S38: storms on one name. However it flips, one copy runs at a time, and the last word counts.
#[test]
fn a_storm_on_one_name_ends_in_its_last_state_with_never_two_copies() {
    let atm = Atm::start();
    // Two meanings that need a new run each, told apart from all other processes by their time.
    let token = format!("{}", 900_000 + std::process::id());
    let counted = token.clone();
    let spec = |last: char| {
        format!("command: [sleep, '{token}.{last}']\nonChange: Restart\nbackoff: {{initial: 0s}}\n")
    };
    let copies = Copies::count(move || running_with(&counted).len());
    for round in 0..3000 {
        atm.drop_spec("a", &spec(if round % 2 == 0 { '1' } else { '2' }));
        if round % 3 == 0 {
            atm.remove_spec("a");
        }
        if round % 100 == 0 {
            pause();
        }
    }
    atm.drop_spec("a", &spec('3'));
    let converged = wait_until(|| {
        atm.get("a")["status"]["phase"] == "Running"
            && running_with(&format!("{token}.3")).len() == 1
            && running_with(&token).len() == 1
    });
    assert!(converged, "{:#}\n{}", atm.get("a"), atm.daemon_log());
    assert_eq!(copies.most(), 1, "copies at the same time");
}

/// Counts again and again, beside a test.
pub struct Copies {
    done: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Copies {
    pub fn count(count: impl Fn() -> usize + Send + 'static) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&done);
        let thread = std::thread::spawn(move || {
            let mut most = 0;
            while !until.load(Ordering::Relaxed) {
                most = most.max(count());
                std::thread::sleep(Duration::from_millis(1));
            }
            most
        });
        Self { done, thread }
    }

    /// The most that were seen at once.
    pub fn most(self) -> usize {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Processes with a word in their arguments that begins with `token`.
pub fn running_with(token: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(words) = fs::read(process.path().join("cmdline")) else { continue };
        if words.split(|byte| *byte == 0).any(|word| word.starts_with(token.as_bytes())) && is_alive(pid) {
            found.push(pid);
        }
    }
    found
}

/// S43: the disk is full while a person writes, which leaves half a file, or an empty one.
#[test]
fn a_full_disk_under_the_writer_changes_nothing() {
    if !super::harness::is_root() {
        return;
    }
    let mut atm = Atm::new();
    let mount = format!("mount -t tmpfs -o size=64k none {} && exec \"$@\"", atm.specs().display());
    atm.through = ["unshare", "-m", "sh", "-c", &mount, "sh"].map(str::to_owned).into();
    atm.up();
    let inside = |name: &str| {
        std::path::PathBuf::from(format!(
            "/proc/{}/root{}",
            atm.daemon_pid(),
            atm.specs().join(name).display()
        ))
    };
    fs::write(inside("a.yaml"), SLEEPER).unwrap();
    let pid = atm.wait_pid("a");
    // Fills it to the last page but for what `a.yaml` has, which truncating it gives back.
    let mut filler = fs::File::create(inside("filler")).unwrap();
    while filler.write_all(&[b'x'; 1024]).is_ok() {}
    let labels: Vec<String> = (0..300).map(|n| format!("  label{n}: some value\n")).collect();
    let long = format!("{SLEEPER}labels:\n{}", labels.concat());
    assert!(fs::write(inside("a.yaml"), &long).is_err(), "the disk is not full");
    let cut = fs::metadata(inside("a.yaml")).unwrap().len();
    assert!(cut < long.len() as u64);
    // What is left of it may be a valid spec of another meaning, or none; either is told.
    let session = atm.wait("a", "told", |s| s["generation"] == 2 || !s["status"]["specError"].is_null());
    assert_eq!(session["status"]["pid"], pid, "{session:#}");
    assert_eq!(session["status"]["phase"], "Running");
    fs::remove_file(inside("filler")).unwrap();
    fs::write(inside("a.yaml"), format!("{SLEEPER}priority: 6\n")).unwrap();
    atm.wait("a", "at priority 6", |s| s["spec"]["priority"] == 6 && s["status"]["specError"].is_null());
    assert_eq!(atm.wait_pid("a"), pid);
}
