//! Files that are no regular files, links, and files of absurd sizes or numbers.

use std::{
    fs::{self, File},
    os::unix::{fs::symlink, net::UnixListener},
    time::{Duration, Instant},
};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::{
    SLEEPER,
    harness::{Atm, is_root, signal},
};

/// S08, S09, S10: what a look at it must not open, read or wait for. The next spec starts at once.
#[test]
fn what_is_no_regular_file_is_told_and_delays_nothing() {
    let atm = Atm::start();
    let mut kinds = vec![("dir", "a directory"), ("fifo", "a FIFO"), ("socket", "a socket")];
    fs::create_dir(atm.spec_path("dir")).unwrap();
    fs::write(atm.spec_path("dir").join("inner.yaml"), SLEEPER).unwrap();
    let make = |name: &str, kind, device| {
        mknodat(CWD, atm.spec_path(name), kind, Mode::from_raw_mode(0o600), device).unwrap();
    };
    make("fifo", FileType::Fifo, 0);
    let _socket = UnixListener::bind(atm.spec_path("socket")).unwrap();
    if is_root() {
        make("zero", FileType::CharacterDevice, makedev(1, 5));
        make("ram", FileType::BlockDevice, makedev(1, 0));
        kinds.extend([("zero", "a character device"), ("ram", "a block device")]);
    }
    let dropped = Instant::now();
    atm.drop_spec("next", SLEEPER);
    atm.wait_pid("next");
    assert!(dropped.elapsed() < Duration::from_secs(5), "the next spec took {:?}", dropped.elapsed());
    for (name, what) in kinds {
        let session = atm.wait_error(name, &format!("it is {what}, not a regular file"));
        assert_eq!(session["status"]["phase"], "Pending", "{name}");
        assert_eq!(session["status"]["reason"], "InvalidSpec", "{name}");
    }
    assert!(atm.get("inner").is_null(), "a directory was looked into");
    // Replaced by a file it is a spec like any other.
    fs::remove_file(atm.spec_path("fifo")).unwrap();
    atm.drop_spec("fifo", SLEEPER);
    atm.wait_pid("fifo");
}

/// S09, the worst moment: the FIFO takes the place of a running session's file.
#[test]
fn a_fifo_in_place_of_a_running_sessions_file_keeps_it_running() {
    let atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    fs::remove_file(atm.spec_path("a")).unwrap();
    mknodat(CWD, atm.spec_path("a"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    atm.wait_error("a", "a FIFO");
    assert_eq!(atm.wait_pid("a"), pid);
    fs::remove_file(atm.spec_path("a")).unwrap();
    atm.drop_spec("a", SLEEPER);
    atm.wait("a", "mended", |s| s["status"]["specError"].is_null());
    assert_eq!(atm.wait_pid("a"), pid);
}

/// S05, S06, S07.
#[test]
fn links_are_followed_and_what_they_lead_to_is_looked_at_again() {
    let atm = Atm::start_with("resyncInterval: 1s\n");
    let targets = atm.path("targets");
    fs::create_dir(&targets).unwrap();
    let target = targets.join("anything");
    fs::write(&target, SLEEPER).unwrap();
    symlink(&target, atm.spec_path("a")).unwrap();
    let pid = atm.wait_pid("a");

    // The target is edited: no event tells.
    fs::write(&target, format!("{SLEEPER}priority: 4\n")).unwrap();
    atm.wait("a", "at priority 4", |s| s["spec"]["priority"] == 4);
    // A link in between is turned, as config maps do.
    fs::write(targets.join("other"), format!("{SLEEPER}priority: 5\n")).unwrap();
    symlink("other", targets.join("turned")).unwrap();
    fs::rename(targets.join("turned"), &target).unwrap();
    atm.wait("a", "at priority 5", |s| s["spec"]["priority"] == 5);

    // The name is there, so nothing is removed, wherever it leads.
    fs::remove_file(targets.join("other")).unwrap();
    atm.wait_error("a", "a link to a file that does not exist");
    fs::remove_file(atm.spec_path("a")).unwrap();
    symlink("a.yaml", atm.spec_path("a")).unwrap();
    atm.wait_error("a", "a link that leads to itself");
    assert_eq!(atm.wait_pid("a"), pid);
    fs::remove_file(atm.spec_path("a")).unwrap();
    atm.wait_gone("a");
}

/// S05, X04: in system mode a link counts only where it and its file have one owner, and what it leads to is not
/// told.
#[test]
fn a_link_to_another_owners_file_is_refused_without_a_word_of_it() {
    if !is_root() {
        return;
    }
    let atm = Atm::start();
    let file = atm.path("file");
    fs::write(&file, "canary: [secret\n").unwrap();
    std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
    symlink(&file, atm.spec_path("a")).unwrap();
    symlink("/etc/shadow", atm.spec_path("b")).unwrap();
    std::os::unix::fs::lchown(atm.spec_path("b"), Some(65534), None).unwrap();
    for name in ["a", "b"] {
        let session = atm.wait_error(name, "a link counts only where both have one owner").to_string();
        assert!(!session.contains("secret") && !session.contains("root:"), "{session}");
    }
}

/// What others could have written is not believed, where sessions run as the owners of their specs.
#[test]
fn a_spec_that_others_may_write_is_refused_in_system_mode() {
    use std::os::unix::fs::PermissionsExt;
    if !is_root() {
        return;
    }
    let atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    fs::set_permissions(atm.spec_path("a"), fs::Permissions::from_mode(0o666)).unwrap();
    atm.wait_error("a", "others than its owner may write it (mode 0666)");
    assert_eq!(atm.wait_pid("a"), pid);
    fs::set_permissions(atm.spec_path("a"), fs::Permissions::from_mode(0o644)).unwrap();
    atm.wait("a", "mended", |s| s["status"]["specError"].is_null());
    // The directory itself.
    fs::set_permissions(atm.specs(), fs::Permissions::from_mode(0o777)).unwrap();
    atm.wait_health("without specs", |h| h["specsUnavailable"].to_string().contains("mode 0777"));
    fs::set_permissions(atm.specs(), fs::Permissions::from_mode(0o755)).unwrap();
    atm.wait_health("with specs", |h| h["specsUnavailable"].is_null());
    assert_eq!(atm.wait_pid("a"), pid);
}

/// S26: neither a size that is told nor a content without an end is believed.
#[test]
fn files_without_measure_are_refused_by_reading_a_little() {
    let atm = Atm::start();
    let before = peak_memory(atm.daemon_pid());
    File::create(atm.spec_path("sparse")).unwrap().set_len(1 << 40).unwrap();
    symlink("/proc/self/environ", atm.spec_path("told-empty")).unwrap();
    atm.write_spec("long", "#".repeat(64 * 1024 + 1));
    atm.write_spec("longest", format!("{SLEEPER}{}", "#".repeat(64 * 1024 - SLEEPER.len())));
    for name in ["sparse", "long"] {
        atm.wait_error(name, "it is longer than 65536 bytes");
    }
    atm.wait_pid("longest");
    atm.wait("told-empty", "told", |s| s["status"]["reason"] == "InvalidSpec");
    let grown = peak_memory(atm.daemon_pid()) - before;
    assert!(grown < 16 * 1024, "the daemon grew by {grown} KiB");
}

/// S24, S25.
#[test]
fn bombs_are_refused_in_little_time_and_memory() {
    let atm = Atm::start();
    atm.settle();
    let before = peak_memory(atm.daemon_pid());
    let mut laughs = vec!["a0: &a0 [x, x, x, x, x, x, x, x, x]".to_owned()];
    laughs.extend((1..9).map(|n| format!("a{n}: &a{n} [{}]", vec![format!("*a{}", n - 1); 9].join(", "))));
    let quadratic = format!("a: &a {}\nb: [{}]\n", "x".repeat(30_000), vec!["*a"; 8_000].join(","));
    let block: Vec<String> = (0..350).map(|n| format!("{}a:", " ".repeat(n))).collect();
    for (name, bomb) in [
        ("laughs", laughs.join("\n")),
        ("quadratic", quadratic),
        ("flow", "[".repeat(60_000)),
        ("maps", "{a: ".repeat(15_000)),
        ("block", block.join("\n")),
        ("dashes", "- ".repeat(30_000)),
        ("merge", format!("x: &x {{command: [a]}}\n<<: [{}]\n", vec!["*x"; 12_000].join(","))),
    ] {
        assert!(bomb.len() <= 64 * 1024, "{name}");
        let dropped = Instant::now();
        atm.drop_spec(name, &bomb);
        let session = atm.wait(name, "refused", |s| s["status"]["reason"] == "InvalidSpec");
        assert!(dropped.elapsed() < Duration::from_secs(5), "{name} took {:?}", dropped.elapsed());
        let told = session["status"]["specError"].to_string();
        assert!(told.len() < 4096, "{name}: {} bytes are told", told.len());
    }
    let grown = peak_memory(atm.daemon_pid()) - before;
    assert!(grown < 16 * 1024, "the daemon grew by {grown} KiB");
    atm.drop_spec("next", SLEEPER);
    atm.wait_pid("next");
}

/// The most memory that a process has had, in KiB.
fn peak_memory(pid: i32) -> i64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// S27.
#[test]
fn ten_thousand_files_are_read_and_one_more_still_starts_at_once() {
    let mut atm = Atm::new();
    for n in 0..10_000 {
        atm.write_spec(&format!("s{n}"), format!("{SLEEPER}suspend: true\n"));
    }
    let started = Instant::now();
    atm.up();
    atm.wait_health("through with the files", |h| h["counts"]["suspended"] == 10_000);
    let read = started.elapsed();
    assert!(read < Duration::from_secs(40), "took {read:?}");
    assert_eq!(atm.list().len(), 10_000);
    let dropped = Instant::now();
    atm.drop_spec("one-more", SLEEPER);
    assert!(super::harness::wait_until(|| !atm.ok(&["get", "one-more", "-o", "json"]).contains("Pending")));
    assert!(dropped.elapsed() < Duration::from_secs(5), "took {:?}", dropped.elapsed());
    // A full listing of them stops nothing else.
    signal(atm.daemon_pid(), 1);
    let asked = Instant::now();
    atm.health();
    assert!(asked.elapsed() < Duration::from_secs(3), "took {:?}", asked.elapsed());
}
