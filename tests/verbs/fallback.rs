//! The runtime directory of a user without one: below `/tmp`, where anybody may have prepared it.

use std::process::Command;

use super::harness::{is_root, told};

/// A person, who needs no account to ask.
const SOMEBODY: u32 = 54_324;

/// Each in a `/tmp` of its own, which nobody else sees.
#[test]
fn a_directory_below_tmp_that_somebody_prepared_is_not_used() {
    let program = env!("CARGO_BIN_EXE_atm");
    if !is_root() || program.starts_with("/tmp/") {
        eprintln!("skipped: needs root and a program that is not below /tmp");
        return;
    }
    let fallback = format!("/tmp/atm-{SOMEBODY}");
    let own = format!("chown {SOMEBODY} {fallback}");
    let in_a_tmp = |prepare: &str, verb: &str, after: &str| {
        let script = format!(
            "mount -t tmpfs -o mode=1777 none /tmp && {prepare} && export HOME=/tmp/home && mkdir -m 777 $HOME && \
             setpriv --reuid {SOMEBODY} --regid {SOMEBODY} --clear-groups {program} --user {verb}; code=$?; {after}; exit $code"
        );
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script]).env_clear().env("PATH", "/usr/bin:/bin").current_dir("/");
        told(&command.output().unwrap())
    };
    let prepared = [
        (
            "a link",
            format!("mkdir -m 700 /tmp/real && chown {SOMEBODY} /tmp/real && ln -s /tmp/real {fallback}"),
        ),
        ("somebody else's", format!("mkdir -m 777 {fallback}")),
        ("open to others", format!("mkdir -m 755 {fallback} && {own}")),
        ("no directory", format!("touch {fallback} && {own}")),
    ];
    for (what, prepare) in &prepared {
        for verb in ["get", "daemon"] {
            let (code, out, err) = in_a_tmp(prepare, verb, "find /tmp -path '*atm-*' -mindepth 2");
            assert_ne!(code, Some(0), "{what}, {verb}: {out}");
            assert!(err.contains(&format!("will not use `{fallback}`")), "{what}, {verb}: {err}");
            assert_eq!(out, "", "{what}, {verb}: something was made there");
        }
    }
    // Nothing is there, or what is there is theirs alone: it is used.
    for prepare in [":".to_owned(), format!("mkdir -m 700 {fallback} && {own}")] {
        let (code, _, err) = in_a_tmp(&prepare, "get", ":");
        assert_eq!(code, Some(69), "{prepare}: {err}");
    }
}
