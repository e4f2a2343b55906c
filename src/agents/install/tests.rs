//! Settings as people have them: with the hooks, and as they were.

use super::*;

const WISH: Wish = Wish {
    program: "/usr/bin/atm",
    places: &[],
    events: &["SessionStart", "Stop"],
    status_line: StatusLine::Report,
};

fn installed(before: &str) -> String {
    let edited = install(Some(before), &WISH).unwrap();
    let text = edited.text.unwrap();
    let again = install(Some(&text), &WISH).unwrap();
    assert_eq!((again.text.as_deref(), again.done.len()), (Some(text.as_str()), 0), "once is enough");
    text
}

fn hooks(text: &str) -> serde_json::Value {
    serde_json::from_str::<serde_json::Value>(text).unwrap()["hooks"].clone()
}

#[test]
fn a_new_file_is_whole_and_goes_when_it_is_taken_back() {
    let edited = install(None, &WISH).unwrap();
    let text = edited.text.unwrap();
    assert_eq!(
        text,
        r#"{
  "hooks": {
    "SessionStart": [
      {
        "hooks": [
          {
            "type": "command",
            "command": "/usr/bin/atm hook",
            "timeout": 3
          }
        ]
      }
    ],
    "Stop": [
      {
        "hooks": [
          {
            "type": "command",
            "command": "/usr/bin/atm hook",
            "timeout": 3
          }
        ]
      }
    ]
  },
  "statusLine": {
    "type": "command",
    "command": "/usr/bin/atm hook"
  }
}
"#
    );
    assert_eq!(edited.done, ["hooks for 2 events", "a status line that reports and shows nothing"]);
    let back = uninstall(&text, "/usr/bin/atm").unwrap();
    assert_eq!((back.text, back.done), (None, vec!["2 hooks".to_owned(), "the status line".to_owned()]));
}

/// Settings in layouts of people's; some end with a line's end and some do not.
const SETTINGS: &[&str] = &[
    "{}",
    "{ }\n",
    "{\n}\n",
    r#"{"model":"opus","env":{"A":"1"}}"#,
    "{\n  \"model\": \"opus\"\n}\n",
    "{\n\t\"model\": \"opus\",\n\t\"hooks\": {}\n}",
    "{\r\n    \"hooks\": {\r\n        \"Stop\": []\r\n    },\r\n    \"model\": \"opus\"\r\n}\r\n",
    r#"{
  "z": 1,
  "hooks": {
    "Stop": [
      { "matcher": "", "hooks": [{ "type": "command", "command": "say done" }] }
    ],
    "PreToolUse": [
      {
        "matcher": "Bash",
        "hooks": [
          {"type": "command", "command": "check \"$1\" \u00e9"}
        ]
      }
    ]
  },
  "a": [1, 2,
    3]
}
"#,
    r#"{
  "statusLine": {
    "command": "~/.claude/line.sh --it's \"on\"",
    "padding": 0,
    "type": "command"
  },
  "model": "opus"
}
"#,
    r#"{"statusLine": {"type": "command", "command": ""}}"#,
];

#[test]
fn what_was_there_stays_and_comes_back_to_the_byte() {
    for before in SETTINGS {
        let text = installed(before);
        let (was, is): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(before).unwrap(), serde_json::from_str(&text).unwrap());
        for (key, value) in was.as_object().unwrap() {
            if !["hooks", "statusLine"].contains(&key.as_str()) {
                assert_eq!(is[key], *value, "{before}");
            }
        }
        for (event, groups) in was["hooks"].as_object().into_iter().flatten() {
            for group in groups.as_array().unwrap() {
                assert!(is["hooks"][event].as_array().unwrap().contains(group), "{before}");
            }
        }
        for event in WISH.events {
            let ours = is["hooks"][event].as_array().unwrap().last().unwrap();
            assert_eq!(ours["hooks"][0]["command"], "/usr/bin/atm hook", "{text}");
        }
        let back = uninstall(&text, "/usr/bin/atm").unwrap();
        assert_eq!(back.text.as_deref(), Some(*before), "{text}");
    }
}

#[test]
fn a_status_line_is_wrapped_with_its_words_as_they_are() {
    let line = r#"~/.claude/line.sh --it's "on""#;
    let text = installed(SETTINGS[8]);
    let is: serde_json::Value = serde_json::from_str(&text).unwrap();
    let command = is["statusLine"]["command"].as_str().unwrap();
    assert_eq!(
        shell_words::split(command).unwrap(),
        ["/usr/bin/atm", "hook", "--pass", "|", "sh", "-c", line]
    );
    assert_eq!(is["statusLine"]["padding"], 0);
}

#[test]
fn a_projects_file_gets_no_status_line_that_would_hide_a_persons_own() {
    let wish = Wish { status_line: StatusLine::Wrap, ..WISH };
    let edited = install(Some("{\"a\": 1}"), &wish).unwrap();
    assert!(!edited.text.unwrap().contains("statusLine"));
    assert!(!install(None, &wish).unwrap().text.unwrap().contains("statusLine"));
    assert!(install(Some(SETTINGS[8]), &wish).unwrap().text.unwrap().contains("--pass | sh -c "));
}

#[test]
fn a_status_line_that_is_no_command_is_left_alone() {
    let edited = install(Some(r#"{"statusLine": {"type": "builtin"}}"#), &WISH).unwrap();
    assert!(edited.text.unwrap().contains(r#""statusLine": {"type": "builtin"}"#));
    assert_eq!(edited.done[1], "nothing for the status line: it is no command");
}

#[test]
fn a_program_that_moved_takes_the_place_of_the_old_one() {
    let old = Wish { program: "/home/a b/old/atm", ..WISH };
    for before in SETTINGS {
        let text = install(Some(before), &old).unwrap().text.unwrap();
        let edited = install(Some(&text), &WISH).unwrap();
        assert_eq!(edited.done, ["the command in hooks for 2 events", "the command in the status line"]);
        let text = edited.text.unwrap();
        assert_eq!(text, installed(before));
        assert_eq!(uninstall(&text, "/elsewhere/atm").unwrap().text.as_deref(), Some(*before));
    }
}

#[test]
fn where_the_daemon_is_goes_into_the_commands_and_stays_there() {
    let places = ["--socket".to_owned(), "/run/a b/s".to_owned()];
    let there = Wish { places: &places, ..WISH };
    for before in SETTINGS {
        let text = install(Some(before), &there).unwrap().text.unwrap();
        let is: serde_json::Value = serde_json::from_str(&text).unwrap();
        let ours = is["hooks"]["Stop"].as_array().unwrap().last().unwrap();
        assert_eq!(ours["hooks"][0]["command"], "/usr/bin/atm hook --socket '/run/a b/s'");
        let line = is["statusLine"]["command"].as_str().unwrap();
        assert!(line.starts_with("/usr/bin/atm hook --socket '/run/a b/s'"), "{line}");
        // Whoever installs again without a word of it, after an upgrade, means the same daemon.
        assert_eq!(installed(&text), text);
        let moved = Wish { program: "/opt/atm", ..WISH };
        let text = install(Some(&text), &moved).unwrap().text.unwrap();
        assert!(text.contains("/opt/atm hook --socket '/run/a b/s'"), "{text}");
        let other = ["--user".to_owned()];
        let edited = install(Some(&text), &Wish { places: &other, ..WISH }).unwrap();
        assert_eq!(edited.done, ["the command in hooks for 2 events", "the command in the status line"]);
        let text = edited.text.unwrap();
        assert!(text.contains("/usr/bin/atm hook --user") && !text.contains("--socket"), "{text}");
        assert_eq!(uninstall(&text, "/usr/bin/atm").unwrap().text.as_deref(), Some(*before), "{text}");
    }
}

#[test]
fn what_people_wrote_by_hand_reports_already_and_is_taken_out_too() {
    let hook = r#"{"hooks": [{"type": "command", "command": "atm hook --agent claude"}]}"#;
    let line = r#"{"type": "command", "command": "atm hook --pass | ~/.claude/statusline.sh"}"#;
    let before = format!(
        r#"{{"statusLine": {line}, "hooks": {{"SessionStart": [{hook}], "Stop": [{hook}]}}, "a": 1}}"#
    );
    let edited = install(Some(&before), &WISH).unwrap();
    assert_eq!(edited.text.as_deref(), Some(before.as_str()));
    assert_eq!(
        edited.done,
        [
            "nothing for 2 events, which a hook written by hand reports",
            "nothing for the status line, which reports by hand"
        ]
    );
    let edited = uninstall(&before, "/usr/bin/atm").unwrap();
    let after = r#"{"statusLine": {"type": "command", "command": "~/.claude/statusline.sh"}, "a": 1}"#;
    assert_eq!(edited.text.as_deref(), Some(after));
    // What does something beside it reports too, and stays: what that is nobody can tell.
    for command in ["atm hook; say done", "atm hook --pass | sh -c 'mine'", "atm hook || true"] {
        let before = format!(
            r#"{{"hooks": {{"SessionStart": [{hook}], "Stop": [{{"hooks": [{{"type": "command", "command": "{command}"}}]}}]}}}}"#
        );
        let wish = Wish { status_line: StatusLine::None, ..WISH };
        assert_eq!(install(Some(&before), &wish).unwrap().text.as_deref(), Some(before.as_str()));
        let left = uninstall(&before, "/usr/bin/atm").unwrap().text.unwrap();
        assert!(left.contains(command) && !left.contains("--agent"), "{left}");
    }
}

#[test]
fn hooks_that_a_person_moved_or_wrote_around_are_taken_out_alone() {
    let own = r#"{"type": "command", "command": "mine"}"#;
    let ours = r#"{"type": "command", "command": "/usr/bin/atm hook", "timeout": 9}"#;
    for (before, after) in [
        (
            format!(r#"{{"hooks": {{"Stop": [{{"matcher": "", "hooks": [{own}, {ours}]}}]}}}}"#),
            format!(r#"{{"hooks": {{"Stop": [{{"matcher": "", "hooks": [{own}]}}]}}}}"#),
        ),
        (
            format!(r#"{{"hooks": {{"Stop": [{{"hooks": [{ours}, {own}]}}]}}}}"#),
            format!(r#"{{"hooks": {{"Stop": [{{"hooks": [{own}]}}]}}}}"#),
        ),
        (
            format!(
                r#"{{"hooks": {{"Stop": [{{"matcher": "x", "hooks": [{ours}]}}, {{"hooks": [{own}]}}]}}}}"#
            ),
            format!(r#"{{"hooks": {{"Stop": [{{"hooks": [{own}]}}]}}}}"#),
        ),
        (
            format!(
                r#"{{"a": 1, "hooks": {{"Stop": [{{"hooks": [{ours}]}}], "Other": [{{"hooks": [{ours}]}}]}}}}"#
            ),
            r#"{"a": 1}"#.to_owned(),
        ),
    ] {
        let edited = uninstall(&before, "/usr/bin/atm").unwrap();
        assert_eq!(edited.text.as_deref(), Some(after.as_str()));
    }
    let others =
        r#"{"hooks": {"Stop": [{"hooks": [{"type": "command", "command": "/usr/bin/atmosphere hook"}]}]}}"#;
    let edited = uninstall(others, "/usr/bin/atm").unwrap();
    assert_eq!((edited.text.as_deref(), edited.done.len()), (Some(others), 0));
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_nothing_is_done() {
    for (text, expected) in [
        ("[]", "1:1 the file: expected an object"),
        ("{\n  \"hooks\": 1\n}", "2:12 hooks: expected an object"),
        ("{\"hooks\": {\"Stop\": {}}}", "1:20 hooks for Stop: expected an array"),
        ("{\n  // mine\n}", "2:3 key must be a string"),
        ("{\"a\": 1,}", "1:9 trailing comma"),
    ] {
        for outcome in [install(Some(text), &WISH), uninstall(text, "/usr/bin/atm")] {
            let wrong = outcome.unwrap_err();
            assert_eq!(format!("{}:{} {}", wrong.line, wrong.column, wrong.message), expected);
        }
    }
    assert_eq!(
        hooks(&installed("{\"hooks\": {\"Other\": 1}}"))["Other"],
        1,
        "what is not ours to judge stays"
    );
}
