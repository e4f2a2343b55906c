//! Verbs that write specs: apply, edit, delete, run.

use std::fs;

use super::{
    SLEEPER,
    harness::{Atm, is_alive, script, told},
};

#[test]
fn apply_checks_everything_before_it_writes_anything() {
    let atm = Atm::start();
    let at = |name: &str| atm.path(name).display().to_string();
    fs::write(atm.path("one.yaml"), SLEEPER).unwrap();
    fs::write(atm.path("two.yaml"), "command: [a]\nmaxIdel: 1h\n").unwrap();
    let (code, out, err) = told(&atm.atm(&["apply", &at("one.yaml"), &at("two.yaml")]));
    assert_eq!((code, out.as_str()), (Some(4), ""));
    assert!(err.contains("two.yaml:2:1"), "{err}");
    assert!(!atm.spec_path("one").exists());

    fs::write(atm.path("two.yaml"), SLEEPER).unwrap();
    let out = atm.ok(&["apply", &at("one.yaml"), &at("two.yaml")]);
    assert_eq!(out, "one created\ntwo created\n");
    let pid = atm.wait_pid("one");
    assert_eq!(atm.ok(&["apply", &at("one.yaml")]), "one unchanged\n");
    fs::write(atm.path("one.yaml"), format!("{SLEEPER}priority: 4\n")).unwrap();
    assert_eq!(atm.ok(&["apply", &at("one.yaml")]), "one configured\n");
    // It waited until the daemon had seen it.
    assert_eq!(atm.get("one")["spec"]["priority"], 4);
    assert_eq!(atm.wait_pid("one"), pid);
    // From a pipe, under another name.
    let output = atm.atm_with(&[], SLEEPER, &["apply", "-", "--name", "piped"]);
    assert_eq!(told(&output).0, Some(0));
    atm.wait_pid("piped");
    let (code, _, err) = told(&atm.atm_with(&[], SLEEPER, &["apply", "-"]));
    assert!(code == Some(2) || code == Some(4), "{code:?} {err}");
    fs::write(atm.path("Bad Name.yaml"), SLEEPER).unwrap();
    assert_ne!(atm.atm(&["apply", &at("Bad Name.yaml")]).status.code(), Some(0));
}

#[test]
fn edit_puts_a_valid_copy_into_force_and_keeps_a_bad_one() {
    let atm = Atm::start();
    atm.drop_spec("a", &format!("# a person's words\n{SLEEPER}"));
    let pid = atm.wait_pid("a");
    let editor = |text: &str| {
        let path = atm.path("editor");
        script(&path, &format!("#!/bin/sh\n{text}\n"));
        path.display().to_string()
    };
    let edit = |editor: &str| told(&atm.atm_with(&[("EDITOR", editor), ("VISUAL", "")], "", &["edit", "a"]));
    let (code, out, _) = edit(&editor("true"));
    assert_eq!((code, out.as_str()), (Some(0), "a unchanged\n"));
    let (code, out, err) = edit(&editor("echo 'priority: 6' >> \"$1\""));
    assert_eq!((code, out.as_str()), (Some(0), "a configured\n"), "{err}");
    assert_eq!(atm.get("a")["spec"]["priority"], 6);
    assert!(fs::read_to_string(atm.spec_path("a")).unwrap().starts_with("# a person's words"));
    let (code, _, err) = edit(&editor("echo 'nonsense: 6' >> \"$1\""));
    assert_eq!(code, Some(4));
    assert!(err.contains("unknown key `nonsense`") && err.contains("your copy is kept"), "{err}");
    let (_, kept) = err.split_once("your copy is kept: `").unwrap();
    let (kept, _) = kept.split_once('`').unwrap();
    assert!(fs::read_to_string(kept).unwrap().contains("nonsense"));
    fs::remove_dir_all(std::path::Path::new(kept).parent().unwrap()).unwrap();
    assert_eq!(edit(&editor("exit 1")).0, Some(1));
    assert_eq!(atm.get("a")["spec"]["priority"], 6);
    assert_eq!(atm.wait_pid("a"), pid);
}

#[test]
fn delete_ends_a_session_and_keeps_its_output() {
    let atm = Atm::start();
    atm.drop_spec("a", "command: [sh, -c, 'echo last words; exec sleep 1000']\n");
    let pid = atm.wait_pid("a");
    atm.wait_output("a", "last words");
    assert_eq!(atm.ok(&["delete", "a"]), "a deleted\n");
    assert!(!is_alive(pid) && !atm.spec_path("a").exists());
    assert!(atm.get("a").is_null());
    assert!(atm.ok(&["logs", "a"]).contains("last words"));
    // A file that ends in .yml, and one that was never good.
    fs::write(atm.specs().join("b.yml"), SLEEPER).unwrap();
    atm.write_spec("bad", "command: [\n");
    atm.wait_pid("b");
    atm.wait("bad", "refused", |s| s["status"]["reason"] == "InvalidSpec");
    atm.ok(&["delete", "b", "bad"]);
    assert!(atm.list().is_empty());
}

#[test]
fn run_makes_a_session_without_yaml() {
    let atm = Atm::start();
    let out = atm.ok(&[
        "run",
        "--name",
        "job",
        "--dir",
        "/",
        "--env",
        "A=b c",
        "--no-terminal",
        "--",
        "sh",
        "-c",
        "pwd; echo $A; exec sleep 1000",
    ]);
    assert!(out.contains("job"), "{out}");
    let pid = atm.wait_pid("job");
    atm.wait_output("job", "/\nb c\n");
    let text = fs::read_to_string(atm.spec_path("job")).unwrap();
    assert!(text.contains("command:") && text.contains("A: b c"), "{text}");
    // A name that is taken is not taken over.
    let (code, _, err) = told(&atm.atm(&["run", "--name", "job", "--", "sleep", "5"]));
    assert_ne!(code, Some(0));
    assert!(err.contains("job"), "{err}");
    assert_eq!(atm.wait_pid("job"), pid);
    // Without a name one is made of the command, and another one for the next.
    let first = atm.ok(&["run", "--", "sleep", "1000"]);
    let second = atm.ok(&["run", "--", "sleep", "1000"]);
    assert!(first.contains("sleep") && second.contains("sleep") && first != second, "{first}{second}");
    // What cannot run is told.
    let (code, _, err) =
        told(&atm.atm(&["run", "--name", "nope", "--restart", "never", "--", "no-such-program"]));
    assert_eq!(code, Some(1));
    assert!(err.contains("no such file: `no-such-program`"), "{err}");
    // What is done at once is done.
    assert_eq!(
        atm.atm(&["run", "--name", "quick", "--restart", "never", "--", "true"]).status.code(),
        Some(0)
    );
    atm.wait_phase("quick", "Succeeded");
    assert_eq!(atm.atm(&["run"]).status.code(), Some(2));
}

/// What the file's name and owner say anyway changes nothing, and is waited for by nobody.
#[test]
fn a_default_written_out_is_no_change() {
    let atm = Atm::start();
    atm.drop_spec("web", SLEEPER);
    let pid = atm.wait_pid("web");
    let file = atm.path("web.yaml");
    let own = rustix::process::geteuid().as_raw();
    std::fs::write(&file, format!("{SLEEPER}identity: web\nuser: '{own}'\nworkingDir: '~'\n")).unwrap();
    assert_eq!(atm.ok(&["apply", &file.display().to_string()]), "web unchanged\n");
    std::fs::copy(&file, atm.spec_path("web")).unwrap();
    atm.drop_spec("next", SLEEPER);
    atm.wait_pid("next");
    assert_eq!((atm.get("web")["generation"].as_u64(), atm.wait_pid("web")), (Some(1), pid));
}
