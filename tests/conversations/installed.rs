//! `atm hooks`: what it does to a person's files.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    process::Output,
};

use super::harness::{Atm, script, told};

const BEFORE: &str = "{\n    \"model\": \"opus\",\n    \"statusLine\": {\"type\": \"command\", \"command\": \"cat; echo \\\"it's $((1+1))\\\"\"},\n    \"hooks\": {\n        \"Stop\": [\n            {\"hooks\": [{\"type\": \"command\", \"command\": \"say done\"}]}\n        ]\n    }\n}\n";

/// Runs a verb as a person who has nothing but what is in the test's directory.
fn hooks(atm: &Atm, words: &[&str]) -> Output {
    let path = format!("{}:/usr/bin:/bin", atm.path("bin").display());
    atm.atm_with(
        &[("PATH", &path), ("CLAUDE_CONFIG_DIR", ""), ("CODEX_HOME", "")],
        "",
        &[&["hooks"], words].concat(),
    )
}

fn done(atm: &Atm, words: &[&str]) -> String {
    let (code, out, err) = told(&hooks(atm, words));
    assert_eq!(code, Some(0), "{out}{err}");
    out
}

#[test]
fn settings_get_hooks_and_are_what_they_were_without_them() {
    let atm = Atm::new();
    // Dotfiles are often links, and none is to become a file.
    let (home, dotfiles) = (atm.path(".claude"), atm.path("dotfiles"));
    fs::create_dir(&home).unwrap();
    fs::create_dir(&dotfiles).unwrap();
    let (link, file) = (home.join("settings.json"), dotfiles.join("claude.json"));
    fs::write(&file, BEFORE).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    symlink("../dotfiles/claude.json", &link).unwrap();

    let printed = done(&atm, &["install", "--claude", "--print"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), BEFORE, "it only printed");
    let said = done(&atm, &["install"]);
    assert!(said.contains("settings.json: added hooks for 14 events; the status line"), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), printed);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(!atm.path(".codex").exists(), "there is no Codex here");

    let settings: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let hook = format!("{} hook", env!("CARGO_BIN_EXE_atm"));
    assert_eq!(settings["hooks"]["Stop"][0]["hooks"][0]["command"], "say done");
    assert_eq!(settings["hooks"]["Stop"][1]["hooks"][0]["command"], hook);
    // The status line shows what it showed, of the same input.
    let status_line = settings["statusLine"]["command"].as_str().unwrap();
    let shown = std::process::Command::new("sh")
        .args(["-c", &format!("printf '{{\"cost\":1}}' | {status_line}")])
        .env("ATM_SOCKET", atm.path("none.sock"))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(shown.stdout).unwrap(), "{\"cost\":1}it's 2\n", "{status_line}");

    let again = done(&atm, &["install"]);
    assert!(again.contains("nothing to do"), "{again}");
    assert_eq!(fs::read_to_string(&file).unwrap(), printed);
    let back = done(&atm, &["uninstall"]);
    assert!(back.contains("took out 14 hooks; the status line"), "{back}");
    assert_eq!(fs::read_to_string(&file).unwrap(), BEFORE);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_dir(&dotfiles).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn files_that_are_made_go_again_and_an_old_agent_gets_what_it_knows() {
    let atm = Atm::new();
    fs::create_dir(atm.path("bin")).unwrap();
    script(&atm.path("bin/claude"), "#!/bin/sh\necho '2.1.50 (Claude Code)'\n");
    script(&atm.path("bin/codex"), "#!/bin/sh\nexit 1\n");
    let (code, out, err) = told(&hooks(&atm, &["install"]));
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("does not know Elicitation, ElicitationResult, StopFailure"), "{err}");
    assert!(err.contains("Codex asks at its next start"), "{err}");
    assert_eq!(out.lines().count(), 2, "{out}");
    let [claude, codex] = [".claude/settings.json", ".codex/hooks.json"].map(|path| atm.path(path));
    let read =
        |path| -> serde_json::Value { serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap() };
    assert_eq!(read(&claude)["hooks"].as_object().unwrap().len(), 11);
    assert!(read(&codex)["hooks"]["Interrupt"].is_array() && read(&codex)["statusLine"].is_null());
    done(&atm, &["uninstall"]);
    assert!(!claude.exists() && !codex.exists());
    assert_eq!(done(&atm, &["uninstall"]), "", "there is nothing to take out of");
}

#[test]
fn what_an_agent_writes_while_it_is_asked_is_kept() {
    let atm = Atm::new();
    fs::create_dir(atm.path("bin")).unwrap();
    // As Claude Code does at its first start.
    script(
        &atm.path("bin/claude"),
        "#!/bin/sh\nmkdir -p ~/.claude && echo '{\"model\": \"opus\"}' > ~/.claude/settings.json\necho 2.1.330\n",
    );
    done(&atm, &["install"]);
    let text = fs::read_to_string(atm.path(".claude/settings.json")).unwrap();
    assert!(text.contains("\"model\": \"opus\"") && text.contains("atm hook"), "{text}");
}

#[test]
fn one_bad_file_leaves_none_half_done_and_none_behind() {
    let atm = Atm::new();
    let [claude, codex] = [".claude/settings.json", ".codex/hooks.json"].map(|path| atm.path(path));
    for directory in [".claude", ".codex"] {
        fs::create_dir(atm.path(directory)).unwrap();
    }
    fs::write(&claude, BEFORE).unwrap();
    fs::write(&codex, "{").unwrap();
    let (code, out, err) = told(&hooks(&atm, &["install"]));
    assert_eq!((code, out.as_str()), (Some(4), ""), "{err}");
    assert!(err.contains("settings.json: left as it is too") && err.contains("hooks.json:1:"), "{err}");
    assert_eq!(fs::read_to_string(&claude).unwrap(), BEFORE);

    fs::remove_file(&codex).unwrap();
    done(&atm, &["install"]);
    fs::write(&claude, "{").unwrap();
    let (code, out, err) = told(&hooks(&atm, &["uninstall"]));
    assert_eq!(code, Some(4), "{err}");
    assert!(err.contains("settings.json:1:") && out.contains("hooks.json: took out 10 hooks"), "{out}{err}");
    assert!(!codex.exists());
    assert_eq!(fs::read_to_string(&claude).unwrap(), "{");
}

#[test]
fn agents_report_to_the_daemon_that_was_named() {
    let mut atm = Atm::new();
    atm.up();
    // Nothing in their environment says where it is.
    let socket = atm.path("run/atm.sock").display().to_string();
    done(&atm, &["--socket", &socket, "install", "--claude"]);
    let text = fs::read_to_string(atm.path(".claude/settings.json")).unwrap();
    let settings: serde_json::Value = serde_json::from_str(&text).unwrap();
    let hook = settings["hooks"]["Stop"][0]["hooks"][0]["command"].as_str().unwrap();
    assert_eq!(hook, format!("{} hook --socket {socket}", env!("CARGO_BIN_EXE_atm")));
    let status_line = settings["statusLine"]["command"].as_str().unwrap();
    assert_eq!(status_line, hook);
    done(&atm, &["uninstall", "--claude"]);
    assert!(!atm.path(".claude/settings.json").exists());
}

#[test]
fn a_made_file_goes_again_where_the_way_to_it_is_a_link() {
    let atm = Atm::new();
    fs::create_dir(atm.path("disk")).unwrap();
    symlink("disk", atm.path("home")).unwrap();
    let home = atm.path("home").display().to_string();
    for verb in ["install", "uninstall"] {
        let env = [("HOME", home.as_str()), ("PATH", "/usr/bin:/bin"), ("CLAUDE_CONFIG_DIR", "")];
        let (code, out, err) = told(&atm.atm_with(&env, "", &["hooks", verb, "--claude"]));
        assert_eq!(code, Some(0), "{out}{err}");
        assert_eq!(atm.path("disk/.claude/settings.json").exists(), verb == "install");
    }
    assert_eq!(fs::read_dir(atm.path("disk/.claude")).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_read_stays_as_it_is() {
    let atm = Atm::new();
    fs::create_dir(atm.path(".claude")).unwrap();
    let file = atm.path(".claude/settings.json");
    for (text, place) in
        [("{\n  // mine\n}\n", "settings.json:2:3: "), ("{\"hooks\": []}", "settings.json:1:11: ")]
    {
        fs::write(&file, text).unwrap();
        for verb in ["install", "uninstall"] {
            let (code, out, err) = told(&hooks(&atm, &[verb, "--claude"]));
            assert_eq!((code, out.as_str()), (Some(4), ""), "{err}");
            assert!(err.contains(place) && err.contains("nothing was changed"), "{err}");
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
    }
    fs::remove_file(&file).unwrap();
    symlink("nowhere", &file).unwrap();
    let (code, _, err) = told(&hooks(&atm, &["install", "--claude"]));
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("is a link to nothing"), "{err}");
    assert_eq!(fs::read_dir(atm.path(".claude")).unwrap().count(), 1);

    fs::remove_dir_all(atm.path(".claude")).unwrap();
    let (code, _, err) = told(&hooks(&atm, &["install"]));
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("neither Claude Code nor Codex is found"), "{err}");
}
