//! Names: odd ones, two files for one session, and files that are renamed.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt};

use super::{
    SLEEPER,
    harness::{Atm, assert_harmless, wait_until},
};

/// S45, S46.
#[test]
fn odd_names_are_ignored_and_never_reach_a_terminal_raw() {
    let atm = Atm::start();
    let long = [b"x".repeat(250), b".yaml".to_vec()].concat();
    for name in [
        &b"new\nline.yaml"[..],
        b"\x1b[2Jescape.yaml",
        b"\x1b]0;title\x07.yml",
        b"\xff\xfe.yaml",
        b"-dash.yaml",
        b"Upper.yaml",
        b"sp ace.yaml",
        b"dot..dot.yaml",
        "ünïcode.yaml".as_bytes(),
        "\u{202e}lmay.a.yaml".as_bytes(),
        "\u{9b}31m.yaml".as_bytes(),
        b".yaml",
        b"UPPER.YAML",
        &long,
    ] {
        fs::write(atm.specs().join(OsStr::from_bytes(name)), SLEEPER).unwrap();
    }
    atm.drop_spec("upper", SLEEPER);
    atm.wait_pid("upper");
    assert!(wait_until(|| atm.daemon_log().contains("Upper.yaml")), "{}", atm.daemon_log());
    assert!(wait_until(|| atm.daemon_log().contains("title")), "{}", atm.daemon_log());
    atm.settle();
    let names: Vec<_> = atm.list().into_iter().map(|s| s["name"].clone()).collect();
    assert_eq!(names, ["upper"]);
    for verb in
        [&["get"][..], &["get", "-o", "wide"], &["events"], &["status"], &["plan"], &["describe", "upper"]]
    {
        assert_harmless(&format!("{verb:?}"), &atm.ok(verb));
    }
    let validated = atm.atm_with_flags(&["validate"]);
    assert_harmless("validate", &String::from_utf8_lossy(&validated.stdout));
    assert_harmless("validate", &String::from_utf8_lossy(&validated.stderr));
    assert_harmless("the daemon's log", &atm.daemon_log());
}

/// S45: what stands in a file.
#[test]
fn control_characters_in_a_file_never_reach_a_terminal_raw() {
    let atm = Atm::start();
    // Valid: escapes in double quotes.
    atm.drop_spec(
        "good",
        "command: [sleep, '1000', \"\\e[31mred\\e[0m\", \"\\u009b2J\\u202e\"]\nlabels: {\"\\e]0;x\\a\": \"\\e[2J\\n\"}\nowner: \"\\e[5m\"\n",
    );
    let refused = atm.wait("good", "known", |s| !s.is_null());
    if refused["status"]["reason"] != "InvalidSpec" {
        atm.wait("good", "ended or running", |s| {
            s["status"]["phase"] != "Pending" || s["status"]["exit"].is_object()
        });
    }
    // Invalid: the line itself is shown.
    atm.write_spec("raw", "command: [\x1b[31m\nx: \x07\n");
    atm.write_spec("key", "command: [a]\n\"\\e[31mcolour\": x\n\"\u{202e}abc\": 1\n");
    atm.write_spec("type", "command: [a]\npriority: \"\\e[2J\u{9b}5m\"\n");
    for name in ["raw", "key", "type"] {
        atm.wait(name, "refused", |s| s["status"]["reason"] == "InvalidSpec");
    }
    for verb in
        [&["get"][..], &["get", "-o", "wide"], &["get", "-o", "yaml"], &["events"], &["status"], &["plan"]]
    {
        assert_harmless(&format!("{verb:?}"), &atm.ok(verb));
    }
    for name in ["good", "raw", "key", "type"] {
        assert_harmless(name, &atm.ok(&["describe", name]));
    }
    let validated = atm.atm_with_flags(&["validate"]);
    assert_harmless("validate", &String::from_utf8_lossy(&validated.stderr));
    assert_harmless("the daemon's log", &atm.daemon_log());
}

/// S19 as it is here: a session's file changes its ending, back and forth.
#[test]
fn a_file_that_changes_its_ending_keeps_its_session() {
    let atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    let (long, short) = (atm.spec_path("a"), atm.specs().join("a.yml"));
    for _ in 0..50 {
        fs::rename(&long, &short).unwrap();
        fs::rename(&short, &long).unwrap();
    }
    fs::rename(&long, &short).unwrap();
    atm.wait("a", "in the other file", |s| {
        s["status"]["specFile"].as_str().is_some_and(|f| f.ends_with("a.yml"))
    });
    assert_eq!(atm.wait_pid("a"), pid);
    let session = atm.get("a");
    assert_eq!(session["generation"], 1);
    assert!(session["status"]["specError"].is_null(), "{session:#}");
    // Another stem is another session: the first is gone for it.
    fs::rename(&short, atm.spec_path("b")).unwrap();
    atm.wait_gone("a");
    assert_ne!(atm.wait_pid("b"), pid);
}

/// S04, S18 as it is here: two files for one name.
#[test]
fn of_two_files_for_one_name_the_one_in_force_stays() {
    let atm = Atm::start();
    let yml = atm.specs().join("a.yml");
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    fs::write(&yml, "command: [sleep, '2000']\nonChange: Restart\n").unwrap();
    let session = atm.wait_error("a", "a.yml");
    assert_eq!(session["status"]["pid"], pid);
    assert_eq!(session["spec"]["command"][1], "1000");
    assert_eq!((atm.count_events("a", "SpecConflict"), atm.count_events("a", "InvalidSpec")), (1, 0));
    // The one in force may still be edited.
    atm.drop_spec("a", &format!("{SLEEPER}priority: 2\n"));
    atm.wait("a", "at priority 2", |s| s["spec"]["priority"] == 2);
    // Equal meaning takes over without a stop.
    fs::write(&yml, format!("{SLEEPER}priority: 2\n")).unwrap();
    atm.remove_spec("a");
    atm.wait("a", "in the other file", |s| {
        s["status"]["specFile"].as_str().is_some_and(|f| f.ends_with("a.yml"))
            && s["status"]["specError"].is_null()
    });
    assert_eq!(atm.wait_pid("a"), pid);
    // And in turn.
    atm.drop_spec("a", "command: [sleep, '3000']\n");
    atm.wait_error("a", "a.yaml");
    atm.remove_spec("a");
    atm.wait("a", "without a conflict", |s| s["status"]["specError"].is_null());
    assert_eq!(atm.wait_pid("a"), pid);
    assert_eq!(atm.count_events("a", "Started"), 1);
}
