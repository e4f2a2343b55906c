//! What a spec may say, and what is said about one that may not.

use std::path::Path;

use proptest::{prelude::*, sample::select};

use super::*;
use crate::api::{
    config::{Config, Machine},
    diagnose::{Diagnostics, unprintable},
    name::SessionName,
    schema,
};

fn parse(text: &str) -> Result<WrittenSpec, Diagnostics> {
    WrittenSpec::parse(text, Path::new("web.yaml"))
}

fn good(text: &str) -> WrittenSpec {
    parse(text).unwrap_or_else(|wrong| panic!("{text}\n{}", wrong.render()))
}

/// What is wrong with it, in one line each.
fn bad(text: &str) -> Vec<String> {
    let wrong = parse(text).expect_err(text);
    assert!(!wrong.0.is_empty());
    wrong.0.iter().map(ToString::to_string).collect()
}

fn config() -> Config {
    Config::defaults(Machine { memory: 16 << 30 })
}

fn meant(text: &str) -> SessionSpec {
    good(text).resolve(&SessionName::new("web").unwrap(), &config())
}

#[test]
fn the_smallest_spec_means_all_the_defaults() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&meant("command: [claude]")).unwrap(), @r#"
    {
      "command": [
        "claude"
      ],
      "workingDir": "~",
      "env": {},
      "envFile": [],
      "terminal": {
        "columns": 120,
        "rows": 40
      },
      "agent": "claude",
      "resume": "auto",
      "restartPolicy": "OnFailure",
      "backoff": {
        "initial": "1s",
        "max": "5m",
        "resetAfter": "10m"
      },
      "terminationGracePeriod": "10s",
      "stopSignal": "TERM",
      "onChange": "WhenIdle",
      "maxIdle": "1h",
      "maxAge": "1d",
      "maxMemory": "never",
      "maxProcesses": "never",
      "cpuWeight": 100,
      "priority": 0,
      "pinned": false,
      "suspend": false,
      "identity": "web",
      "labels": {}
    }
    "#);
}

/// Every key, none with its default.
const FULL: &str = r#"command: [claude, --permission-mode, acceptEdits]
workingDir: ~/src/web
env: {CI: "1"}
envFile: [~/.config/atm/keys.env]
user: alice
terminal: {columns: 100, rows: 30}
agent: generic
resume: never
restartPolicy: Always
backoff: {initial: 2s, max: 10m, resetAfter: 20m}
terminationGracePeriod: 1m30s
stopSignal: SIGINT
onChange: Manual
maxIdle: 2h
maxAge: never
maxMemory: 4GiB
maxProcesses: 512
cpuWeight: 50
priority: -3
pinned: true
suspend: true
identity: arch-ctm
owner: alice
slot: chat
labels: {team: web}
"#;

#[test]
fn every_key_is_read() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&meant(FULL)).unwrap(), @r#"
    {
      "command": [
        "claude",
        "--permission-mode",
        "acceptEdits"
      ],
      "workingDir": "~/src/web",
      "env": {
        "CI": "1"
      },
      "envFile": [
        "~/.config/atm/keys.env"
      ],
      "user": "alice",
      "terminal": {
        "columns": 100,
        "rows": 30
      },
      "agent": "generic",
      "resume": "never",
      "restartPolicy": "Always",
      "backoff": {
        "initial": "2s",
        "max": "10m",
        "resetAfter": "20m"
      },
      "terminationGracePeriod": "1m30s",
      "stopSignal": "INT",
      "onChange": "Manual",
      "maxIdle": "2h",
      "maxAge": "never",
      "maxMemory": "4GiB",
      "maxProcesses": 512,
      "cpuWeight": 50,
      "priority": -3,
      "pinned": true,
      "suspend": true,
      "identity": "arch-ctm",
      "owner": "alice",
      "slot": "chat",
      "labels": {
        "team": "web"
      }
    }
    "#);
    let schema: serde_json::Value = serde_json::from_str(&schema::session()).unwrap();
    for key in schema["properties"].as_object().unwrap().keys() {
        assert!(FULL.lines().any(|line| line.starts_with(&format!("{key}:"))), "{key}");
    }
}

#[test]
fn the_config_speaks_where_the_spec_is_silent() {
    let machine = Machine { memory: 16 << 30 };
    let text = "maxIdle: 3h\nmaxAge: never\nsessionMemory: 1GiB\nenv: {A: b}\n";
    let config = Config::parse(text, Path::new("atm.yaml"), machine).unwrap();
    let name = SessionName::new("web").unwrap();
    let silent = good("command: [make]").resolve(&name, &config);
    assert_eq!(silent.max_idle.to_string(), "3h");
    assert_eq!(silent.max_age, Limit::Never);
    assert_eq!(silent.max_memory.to_string(), "1GiB");
    assert!(silent.env.is_empty(), "the config's env is below the spec's, not part of it");
    let loud = good("command: [make]\nmaxIdle: never\nmaxAge: 1h\nmaxMemory: never").resolve(&name, &config);
    assert_eq!((loud.max_idle, loud.max_memory), (Limit::Never, Limit::Never));
    assert_eq!(loud.max_age.to_string(), "1h");
}

#[test]
fn an_agent_is_known_by_its_program() {
    for (command, agent, idle) in [
        ("claude", Agent::Claude, "1h"),
        ("~/.local/bin/claude --resume", Agent::Claude, "1h"),
        ("/opt/codex", Agent::Codex, "1h"),
        ("claude-wrapper", Agent::Generic, "never"),
        ("env claude", Agent::Generic, "never"),
    ] {
        let spec = meant(&format!("command: {command}"));
        assert_eq!((spec.agent, spec.max_idle.to_string().as_str()), (agent, idle), "{command}");
    }
    assert_eq!(meant("command: x\nagent: codex").max_age.to_string(), "1d");
}

#[test]
fn a_command_is_a_list_or_words() {
    for (text, words) in [
        ("[a, b c, '']", &["a", "b c", ""][..]),
        ("a  b 'c d' \"e\\\"f\" g\\ h", &["a", "b", "c d", "e\"f", "g h"]),
        ("'a; b | c $HOME ~'", &["a;", "b", "|", "c", "$HOME", "~"]),
        ("|\n  a\n  b", &["a", "b"]),
        (r#"["a\e[31m\n"]"#, &["a\u{1b}[31m\n"]),
    ] {
        assert_eq!(meant(&format!("command: {text}")).command, words, "{text}");
    }
}

#[test]
fn terminals_are_wanted_or_sized() {
    for (text, terminal) in [
        ("true", Terminal::Pty { columns: 120, rows: 40 }),
        ("false", Terminal::PIPES),
        ("{columns: 80}", Terminal::Pty { columns: 80, rows: 40 }),
        ("{columns: 1, rows: 1000}", Terminal::Pty { columns: 1, rows: 1000 }),
        ("{}", Terminal::Pty { columns: 120, rows: 40 }),
    ] {
        assert_eq!(meant(&format!("command: x\nterminal: {text}")).terminal, terminal, "{text}");
    }
}

#[test]
fn what_means_the_same_has_the_same_digest() {
    let smallest = "command: [claude, -x]";
    for same in [
        "command: claude -x",
        "command: [\"claude\", '-x']\r\n# a comment\r\n",
        "---\ncommand:\n- claude\n- -x\n...\n",
        "\u{feff}command: [claude, -x]",
        "command: [claude, -x]\nworkingDir: ~\nenv: {}\nenvFile: []\nlabels: {}"
            .replace(": ~\n", ": '~'\n")
            .as_str(),
        "command: [claude, -x]\nterminal: true\nagent: claude\nresume: auto\nrestartPolicy: OnFailure",
        "command: [claude, -x]\nterminal: {columns: 120, rows: 40}\nbackoff: {initial: 1000ms, max: 5m, resetAfter: 600s}",
        "command: [claude, -x]\nbackoff: {}\nterminal: {}\nterminationGracePeriod: 10s\nstopSignal: 15\nonChange: WhenIdle",
        "command: [claude, -x]\nmaxProcesses: never\ncpuWeight: 100\npriority: 0\npinned: false\nsuspend: false",
    ] {
        assert_eq!(good(smallest).digest(), good(same).digest(), "{same}");
        assert_eq!(good(smallest).launch_digest(), good(same).launch_digest(), "{same}");
        assert_eq!(meant(smallest), meant(same), "{same}");
    }
    for (one, other) in [
        ("envFile: /a", "envFile: [/a]"),
        ("stopSignal: INT", "stopSignal: SIGINT"),
        ("maxIdle: 90m", "maxIdle: 1h30m"),
        ("maxMemory: 2048MiB", "maxMemory: 2GiB"),
        ("labels: {a: b, c: d}", "labels:\n  c: d\n  a: b"),
        ("terminal: {columns: 80}", "terminal: {rows: 40, columns: 80}"),
    ] {
        let with = |line: &str| good(&format!("command: x\n{line}")).digest();
        assert_eq!(with(one), with(other), "{one}");
    }
}

#[test]
fn what_depends_on_the_config_counts_as_it_is_written() {
    let silent = good("command: [claude]").digest();
    for line in ["maxIdle: 1h", "maxAge: 24h", "maxMemory: never"] {
        assert_ne!(silent, good(&format!("command: [claude]\n{line}")).digest(), "{line}");
    }
}

#[test]
fn a_change_of_any_key_changes_the_digest_and_of_few_the_launch() {
    let whole = good(FULL);
    for line in FULL.lines() {
        let key = line.split(':').next().unwrap();
        let rest: String =
            FULL.lines().filter(|other| *other != line).map(|line| format!("{line}\n")).collect();
        let changed = match key {
            "command" => good(&format!("{rest}command: [claude]")),
            "owner" => good(&format!("{rest}owner: bob")),
            _ => good(&rest),
        };
        assert_ne!(changed.digest(), whole.digest(), "{key}");
        let launch = ["command", "env", "envFile", "workingDir", "user", "terminal"].contains(&key);
        assert_eq!(changed.launch_digest() != whole.launch_digest(), launch, "{key}");
    }
}

#[test]
fn a_digest_stays_the_same_over_versions() {
    // Generations and launch digests are kept in the state: a change here restarts everyone's sessions.
    let Digest(digest) = good(FULL).digest();
    insta::assert_snapshot!(digest, @"89bb2ad1ad587cbf9b28d12cd930c01c1228d9794a01c6ad8e4917ec766f6845");
    let Digest(digest) = good(FULL).launch_digest();
    insta::assert_snapshot!(digest, @"94580a181d1a0ad84162a914adb4a1d12761d5bfa7402ea81fdf0255e44a7da0");
}

#[test]
fn every_default_of_the_schema_written_out_changes_nothing() {
    let schema: serde_json::Value = serde_json::from_str(&schema::session()).unwrap();
    let silent = good("command: [x]");
    let mut seen = 0;
    for (key, property) in schema["properties"].as_object().unwrap() {
        let nested = property["properties"].as_object().into_iter().flatten();
        let nested = nested.map(|(inner, of)| (format!("{{{inner}: {}}}", of["default"]), of));
        for (value, of) in nested.chain([(property["default"].to_string(), property)]) {
            if !of["default"].is_null() {
                let spec = good(&format!("command: [x]\n{key}: {value}"));
                assert_eq!(spec.digest(), silent.digest(), "{key}: {value}");
                seen += 1;
            }
        }
        for choice in property["oneOf"].as_array().into_iter().flatten() {
            good(&format!("command: [x]\n{key}: {}", choice["const"]));
            seen += 1;
        }
        for choice in property["anyOf"][0]["enum"].as_array().into_iter().flatten() {
            good(&format!("command: [x]\n{key}: {choice}"));
            seen += 1;
        }
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn a_mistake_is_told_with_its_place_and_what_to_do() {
    let wrong = parse(
        "comand: [claude]\nrestartPolicy: always\nbackoff: {initial: 30 parsecs}\nenv:\n  PORT: 8080\n",
    );
    insta::assert_snapshot!(wrong.unwrap_err().render(), @r#"
    error: unknown key `comand`
     --> web.yaml:1:1
      |
    1 | comand: [claude]
      | ^^^^^^
      = help: did you mean `command`?

    error: expected `Always`, `OnFailure` or `Never`, found the text `always`
     --> web.yaml:2:16
      |
    2 | restartPolicy: always
      |                ^^^^^^ restartPolicy
      = help: did you mean `Always`?

    error: expected a duration such as `90s`, `1h30m` or `2d`, found the text `30 parsecs`
     --> web.yaml:3:20
      |
    3 | backoff: {initial: 30 parsecs}
      |                    ^^^^^^^^^^ backoff.initial
      = help: units are `ms`, `s`, `m`, `h`, `d` and `w`

    error: expected a text, found the number `8080`
     --> web.yaml:5:9
      |
    5 |   PORT: 8080
      |         ^^^^ env.PORT
      = help: put it in quotes to make it a text
    "#);
    let wrong = parse("env:\n  A: a\n  command: [claude]\n  A: b\n");
    insta::assert_snapshot!(wrong.unwrap_err().render(), @r#"
    error: the key `command` is missing
     --> web.yaml:1:1
      |
    1 | env:
      | ^
      = help: `command` belongs to another key: check the indentation of line 3

    error: expected a text, found a list
     --> web.yaml:3:12
      |
    3 |   command: [claude]
      |            ^ env.command

    error: duplicate key `A`
     --> web.yaml:4:3
      |
    4 |   A: b
      |   ^ env
      = help: first written on line 2
    "#);
    let wrong = parse("restartPolicy: Never\n   command: [claude]\n");
    insta::assert_snapshot!(wrong.unwrap_err().render(), @r#"
    error: a key cannot stand here
     --> web.yaml:2:4
      |
    2 |    command: [claude]
      |    ^^^^^^^
      = help: check the indentation of this line and the one before, and put a text with `: ` in quotes
    "#);
    let wrong = parse("command: [claude, \"--x]\nenv: {}\n");
    insta::assert_snapshot!(wrong.unwrap_err().render(), @r#"
    error: this quote is not closed
     --> web.yaml:1:19
      |
    1 | command: [claude, "--x]
      |                   ^^^^^
      = help: a quote inside of a text is doubled or escaped
    "#);
    let wrong = parse("command:\n\t- claude\n");
    insta::assert_snapshot!(wrong.unwrap_err().render(), @r#"
    error: a tab cannot indent in YAML
     --> web.yaml:2:1
      |
    2 | →- claude
      | ^
      = help: use spaces
    "#);
    let wrong = parse("# nothing yet\n");
    insta::assert_snapshot!(wrong.unwrap_err().render(), @r#"
    error: the file has no content
     --> web.yaml:1:1
      |
    1 | # nothing yet
      | ^
      = help: the smallest spec is one line: `command: [claude]`
    "#);
}

#[test]
fn misspelt_keys_are_recognised() {
    for (key, hint) in [
        ("comand: x", "did you mean `command`?"),
        ("Command: x", "did you mean `command`?"),
        ("workdir: /", "did you mean `workingDir`?"),
        ("working_dir: /", "did you mean `workingDir`?"),
        ("working-directory: /", "did you mean `workingDir`?"),
        ("cwd: /", "did you mean `workingDir`?"),
        ("enviroment: {}", ""),
        ("environment: {}", "did you mean `env`?"),
        ("env_file: /", "did you mean `envFile`?"),
        ("maxidle: 1h", "did you mean `maxIdle`?"),
        ("max_memory: 1GiB", "did you mean `maxMemory`?"),
        ("restart: Never", "did you mean `restartPolicy`?"),
        ("restartpolicy: Never", "did you mean `restartPolicy`?"),
        ("label: {}", "did you mean `labels`?"),
        ("name: web", "the file's name is the session's name: NAME.yaml"),
        ("kind: Session", "a spec is one session's keys, nothing around them"),
        ("completely: other", ""),
    ] {
        let text = if hint.contains("command`") { key.to_owned() } else { format!("command: x\n{key}") };
        let word = key.split(':').next().unwrap();
        let line = if hint.contains("command`") { 1 } else { 2 };
        let hint = if hint.is_empty() { String::new() } else { format!(" ({hint})") };
        assert_eq!(bad(&text), [format!("web.yaml:{line}:1: unknown key `{word}`{hint}")]);
    }
}

/// Plain scalars, and whether they are texts. What YAML 1.1 took for something else and 1.2 does not is a text.
const NORWAY: &[(&str, bool)] = &[
    ("no", true),
    ("No", true),
    ("NO", true),
    ("yes", true),
    ("Yes", true),
    ("on", true),
    ("off", true),
    ("ON", true),
    ("y", true),
    ("n", true),
    ("true", false),
    ("True", false),
    ("TRUE", false),
    ("false", false),
    ("False", false),
    ("tRUE", true),
    ("null", false),
    ("Null", false),
    ("NULL", false),
    ("~", false),
    ("", false),
    ("nil", true),
    ("none", true),
    ("0", false),
    ("-0", false),
    ("+1", false),
    ("-1", false),
    ("8080", false),
    ("012", false),
    ("-012", false),
    ("+0012", false),
    ("00", false),
    ("089", false),
    ("0o17", false),
    ("0x1F", false),
    ("0xFG", true),
    ("0b11", false),
    ("1_000", true),
    ("1,000", true),
    ("1e3", false),
    ("1E3", false),
    ("1e999", false),
    ("-1e999", false),
    ("1.10", false),
    ("1.", false),
    (".5", false),
    ("-.5", false),
    ("1.2.3", true),
    (".inf", false),
    ("-.Inf", false),
    (".nan", false),
    (".NaN", false),
    ("inf", true),
    ("NaN", true),
    ("12:30", true),
    ("12:30:45", true),
    ("190:20:30", true),
    ("2026-01-01", true),
    ("2026-01-01T00:00:00Z", true),
    ("127.0.0.1", true),
    ("99999999999999999999999999999999999999999999", false),
    ("=", true),
    (".", true),
    ("-", false),
    ("1 2", true),
    ("0.1-beta", true),
    ("a b", true),
];

#[test]
fn text_is_text_and_nothing_else_is() {
    for (scalar, text) in NORWAY {
        let spec = parse(&format!("command: x\nenv:\n  NO: {scalar}\n"));
        assert_eq!(spec.is_ok(), *text, "{scalar}: {spec:?}");
        if let Ok(spec) = spec {
            assert_eq!(spec.env.unwrap().0["NO"], *scalar);
        }
        for quoted in [format!("'{scalar}'"), format!("\"{scalar}\""), format!("|-\n    {scalar}")] {
            if scalar.is_empty() && quoted.starts_with('|') {
                continue;
            }
            let spec = good(&format!("command: x\nenv:\n  'NO': {quoted}\n"));
            assert_eq!(spec.env.unwrap().0["NO"], *scalar, "{quoted}");
        }
    }
    assert!(NORWAY.len() >= 60);
    assert_eq!(
        bad("command: x\nenv: {PORT: 012}"),
        ["web.yaml:2:13: expected a text, found the number `012` (put it in quotes to make it a text)"]
    );
}

#[test]
fn wrong_values_are_told_by_their_path() {
    for (line, expected) in [
        ("command: ''", "1:10: the command is empty (write what to run: `[claude]`)"),
        ("command: []", "1:10: the command is empty (write what to run: `[claude]`)"),
        ("command: ['', a]", "1:10: the program has no name (write what to run: `[claude]`)"),
        (
            "command:",
            "1:9: expected a command as a list or a text, found nothing (give it a value, or leave the key out)",
        ),
        ("command: {a: b}", "1:10: expected a command as a list or a text, found a mapping"),
        (
            "command: [sleep, 1000]",
            "1:18: expected a text, found the number `1000` (put it in quotes to make it a text)",
        ),
        ("command: [sh, [x]]", "1:15: expected a text, found a list"),
        ("command: \"a\\0b\"", "1:10: a NUL character cannot stand in a value"),
        ("env: {'': a}", "1:7: expected the name of a variable, without `=`, found an empty text"),
        ("env: {A=B: a}", "1:7: expected the name of a variable, without `=`, found the name `A=B`"),
        ("env: {\"A\\0\": a}", "1:7: expected the name of a variable, without `=`, found the name `A\\u{0}`"),
        (
            "env: {ATM_SESSION: a}",
            "1:7: expected a name that a session may set, found the name `ATM_SESSION` (atm and systemd set it themselves)",
        ),
        (
            "env: {NOTIFY_SOCKET: a}",
            "1:7: expected a name that a session may set, found the name `NOTIFY_SOCKET` (atm and systemd set it themselves)",
        ),
        ("env: {A: \"\\0\"}", "1:10: a NUL character cannot stand in a value"),
        (
            "env: [A=b]",
            "1:6: expected a mapping of names to texts, found a list (write each as `NAME: \"value\"`)",
        ),
        (
            "env: {1: a}",
            "1:7: expected a text as key, found the number `1` (put it in quotes to make it a text)",
        ),
        (
            "workingDir: src",
            "1:13: expected a path that begins with `/`, `~` or `${VAR}`, found the text `src` (`~/` in front of it means the user's home)",
        ),
        (
            "workingDir: ~",
            "1:13: expected a path that begins with `/`, `~` or `${VAR}`, found nothing (give it a value, or leave the key out)",
        ),
        (
            "envFile: [/a, b]",
            "1:15: expected a path that begins with `/`, `~` or `${VAR}`, found the text `b` (`~/` in front of it means the user's home)",
        ),
        ("user: a:b", "1:7: expected the name of a user, found the text `a:b`"),
        (
            "user: 1000",
            "1:7: expected the name of a user, found the number `1000` (put it in quotes to make it a text)",
        ),
        (
            "terminal: yes",
            "1:11: expected `true`, `false` or `{columns: 120, rows: 40}`, found the text `yes`",
        ),
        ("terminal: {columns: 0}", "1:21: expected a whole number from 1 to 1000, found the number `0`"),
        ("terminal: {rows: 1001}", "1:18: expected a whole number from 1 to 1000, found the number `1001`"),
        ("terminal: {width: 80}", "1:12: unknown key `width` (did you mean `columns`?)"),
        (
            "agent: Claude",
            "1:8: expected `claude`, `codex` or `generic`, found the text `Claude` (did you mean `claude`?)",
        ),
        (
            "restartPolicy: on-failure",
            "1:16: expected `Always`, `OnFailure` or `Never`, found the text `on-failure` (did you mean `OnFailure`?)",
        ),
        (
            "restartPolicy: Sometimes",
            "1:16: expected `Always`, `OnFailure` or `Never`, found the text `Sometimes`",
        ),
        (
            "onChange: restart",
            "1:11: expected `WhenIdle`, `Restart` or `Manual`, found the text `restart` (did you mean `Restart`?)",
        ),
        ("resume: true", "1:9: expected `auto` or `never`, found the boolean `true`"),
        ("backoff: 5s", "1:10: expected `{initial: 1s, max: 5m, resetAfter: 10m}`, found the text `5s`"),
        (
            "backoff: {initial: 10m}",
            "1:20: `max` is shorter than `initial` (`max` is 5m where it is not written)",
        ),
        (
            "backoff: {max: 1ms}",
            "1:16: `max` is shorter than `initial` (`initial` is 1s where it is not written)",
        ),
        (
            "terminationGracePeriod: 10",
            "1:25: expected a duration such as `90s`, `1h30m` or `2d`, found the number `10` (add a unit: `ms`, `s`, `m`, `h`, `d` or `w`)",
        ),
        (
            "terminationGracePeriod: '10'",
            "1:25: expected a duration such as `90s`, `1h30m` or `2d`, found the text `10` (add a unit: `ms`, `s`, `m`, `h`, `d` or `w`)",
        ),
        (
            "terminationGracePeriod: 101y",
            "1:25: expected a duration of at most 100 years, found the text `101y`",
        ),
        (
            "stopSignal: KILL",
            "1:13: expected a signal that a program can act on, found the text `KILL` (SIGKILL follows by itself after terminationGracePeriod)",
        ),
        (
            "stopSignal: 19",
            "1:13: expected a signal that a program can act on, found the number `19` (SIGKILL follows by itself after terminationGracePeriod)",
        ),
        (
            "stopSignal: term",
            "1:13: expected a signal such as `TERM`, `INT` or `HUP`, found the text `term` (did you mean `TERM`?)",
        ),
        (
            "maxIdle: 0s",
            "1:10: expected a duration of at least 1ms, or `never`, found the text `0s` (`never` switches it off)",
        ),
        (
            "maxAge: off",
            "1:9: expected a duration such as `90s`, `1h30m` or `2d`, or `never`, found the text `off` (`never` switches it off)",
        ),
        (
            "maxMemory: 4",
            "1:12: expected a size of at least 1MiB, or `never`, found the number `4` (a number without a unit is in bytes)",
        ),
        (
            "maxMemory: 4GiBs",
            "1:12: expected a size such as `512MiB`, `2GB` or `4096` (bytes), or `never`, found the text `4GiBs` (units are `KiB`, `MiB`, `GiB` and `TiB`, or `kB`, `MB`, `GB` and `TB`)",
        ),
        (
            "maxMemory: -1",
            "1:12: expected a size such as `512MiB`, `2GB` or `4096` (bytes), or `never`, found the number `-1` (`never` switches it off)",
        ),
        (
            "maxProcesses: 0",
            "1:15: expected a whole number from 1 to 4194304, or `never`, found the number `0` (`never` switches it off)",
        ),
        ("cpuWeight: 10001", "1:12: expected a whole number from 1 to 10000, found the number `10001`"),
        ("cpuWeight: 1.5", "1:12: expected a whole number from 1 to 10000, found the number `1.5`"),
        (
            "priority: '1'",
            "1:11: expected a whole number from -2147483648 to 2147483647, found the text `1` (write it without quotes)",
        ),
        (
            "priority: 2147483648",
            "1:11: expected a whole number from -2147483648 to 2147483647, found the number `2147483648`",
        ),
        ("pinned: yes", "1:9: expected `true` or `false`, found the text `yes` (write `true`)"),
        ("pinned: 1", "1:9: expected `true` or `false`, found the number `1`"),
        ("identity: ''", "1:11: expected a name, found an empty text (leave the key out to mean none)"),
        (
            "identity: \"a\\e[2J\"",
            "1:11: expected a name of at most 253 printable bytes, found the text `a\\u{1b}[2J`",
        ),
        ("slot: chat", "1:7: `slot` without `owner` (a slot is its owner's: write both)"),
        (
            "labels: {a b: c}",
            "1:10: expected a label's name, without blanks, `,`, `=` and `!`, found the name `a b`",
        ),
        (
            "labels: {a: 1}",
            "1:13: expected a label's value, found the number `1` (put it in quotes to make it a text)",
        ),
        ("labels: {a: 'b,c'}", "1:13: expected a label's value without `,`, found the text `b,c`"),
        ("<<: {pinned: true}", "1:1: merge keys are not supported (write the keys out)"),
        ("? [a]\n: b", "1:3: expected a text as key, found a list (put it in quotes to make it a text)"),
    ] {
        let text =
            if line.starts_with("command") { line.to_owned() } else { format!("{line}\ncommand: [x]\n") };
        assert_eq!(bad(&text), [format!("web.yaml:{expected}")], "{text}");
    }
}

#[test]
fn doubled_keys_are_refused_at_every_level() {
    for (text, expected) in [
        ("command: x\ncommand: y", "2:1: duplicate key `command` (first written on line 1)"),
        ("command: x\n\"command\": y", "2:1: duplicate key `command` (first written on line 1)"),
        ("command: x\nenv:\n  A: a\n  B: b\n  A: c", "5:3: duplicate key `A` (first written on line 3)"),
        ("command: x\nbackoff: {max: 6m, max: 7m}", "2:20: duplicate key `max` (first written on line 2)"),
        ("command: x\nlabels: {a: b, 'a': c}", "2:16: duplicate key `a` (first written on line 2)"),
    ] {
        assert_eq!(bad(text), [format!("web.yaml:{expected}")], "{text}");
    }
}

#[test]
fn what_is_no_single_plain_document_is_refused() {
    let smallest = "(the smallest spec is one line: `command: [claude]`)";
    for (text, expected) in [
        ("", format!("1:1: the file is empty {smallest}")),
        (" \n\n", format!("1:1: the file is empty {smallest}")),
        ("# nothing\n", format!("1:1: the file has no content {smallest}")),
        ("---\n", format!("1:1: the file has no content {smallest}")),
        ("~", format!("1:1: the file has no content {smallest}")),
        ("{}", format!("1:1: the file has no content {smallest}")),
        ("[]", "1:1: expected a mapping of keys such as `command: [claude]`, found a list".into()),
        ("claude", "1:1: expected a mapping of keys such as `command: [claude]`, found the text `claude`".into()),
        ("env: {}", format!("1:1: the key `command` is missing {smallest}")),
        (
            "command: x\n---\ncommand: y",
            "2:1: a second document begins here (one file is one document: remove all but one)".into(),
        ),
        (
            "command: &a [x]\nenv: *a",
            "1:10: anchors are not supported (put a value that begins with `&` in quotes)".into(),
        ),
        ("command: [*x]", "1:11: aliases are not supported (put a value that begins with `*` in quotes)".into()),
        ("command: !x y", "1:10: tags are not supported (put a value that begins with `!` in quotes)".into()),
        ("command: !!binary eA==", "1:10: tags are not supported (put a value that begins with `!` in quotes)".into()),
        ("command: x\nenv:\n\tA: b", "3:1: a tab cannot indent in YAML (use spaces)".into()),
        ("command: x\nenv:\n  A: b\n \tB: c", "4:2: a tab cannot indent in YAML (use spaces)".into()),
        (
            "command: x\nworkingDir: @home",
            "2:13: this character cannot begin a value (put the value in quotes)".into(),
        ),
        (
            "command: [a, b\nenv: {}",
            "2:4: expected `,` or `]` (is a `[` not closed? The one of line 1 is open here)".into(),
        ),
        ("command: echo 'a", "1:10: a quote in the command is not closed (or write it as a list, one item a word: `[program, argument]`)".into()),
    ] {
        assert_eq!(bad(text), [format!("web.yaml:{expected}")], "{text}");
    }
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    let told = bad("comand: x\npriority: high\nenv: {A: 1, B: 2, ATM_X: y}\nlabels: [x]\nmaxidle: 1h\n");
    assert_eq!(told.len(), 7, "{told:#?}");
    let many: String = (0..1000).map(|index| format!("key{index}: x\n")).collect();
    assert_eq!(bad(&many).len(), 20);
}

#[test]
fn windows_line_ends_and_a_mark_change_nothing() {
    let windows = format!("\u{feff}{}", FULL.replace('\n', "\r\n"));
    assert_eq!(good(&windows), good(FULL));
    let text = "command: |\n  a\n  b\nenv: {A: \"x\n  y\"}\n";
    assert_eq!(good(&text.replace('\n', "\r\n")), good(text));
    // A line end of YAML 1.1 is a character like any other.
    let text = "# comment\u{2028}priority: x\ncommand: [\"a\u{2028}b\", a\u{85}b, 'a\u{2029}b']\n";
    assert_eq!(meant(text).command, ["a\u{2028}b", "a\u{85}b", "a\u{2029}b"]);
}

#[test]
fn an_error_shown_to_strangers_quotes_nothing() {
    for text in [
        "root:$6$hunter2:19000:0\n",
        "hunter2: x\n",
        "command: x\nenv: {hunter2: 1, ATM_hunter2: x, A: [hunter2]}\n",
        "command: x\nmaxIdle: hunter2\nagent: hunter2\nbackoff: hunter2\nstopSignal: hunter2\nuser: 'hunter2:'\n",
        "command: x\nlabels: {hunter2: a, hunter2: b, 'hunter2,': c}\n",
        "command: [hunter2\nx: hunter2",
        "command: 'hunter2 \"",
        "hunter2",
        "%hunter2\n---\nhunter2: *hunter2",
        "a: !hunter2 b",
        "command: *hunter2",
    ] {
        let wrong = parse(text).expect_err(text).without_source();
        let everything = format!("{}{wrong}{wrong:?}", wrong.render());
        assert!(!everything.contains("hunter2"), "{everything}");
    }
}

fn arbitrary_env() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = "[A-Zé][A-Z_]{0,5}".prop_filter("reserved", |name| !name.starts_with("ATM_"));
    // The emitter leaves these two bare: the parser reads them as texts, YAML 1.2 as numbers.
    let scalars: Vec<&str> =
        NORWAY.iter().map(|(text, _)| *text).filter(|text| !text.ends_with("1e999")).collect();
    let value = prop_oneof![any::<String>(), select(scalars).prop_map(str::to_owned)];
    let value = value.prop_map(|text| text.replace(['\0', '\r', '\u{feff}', '\u{fffe}', '\u{ffff}'], ""));
    prop::collection::vec((name, value), 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_keys_and_comments_mean_nothing(lines in Just(FULL.lines().collect::<Vec<_>>()).prop_shuffle()) {
        let shuffled: String = lines.iter().map(|line| format!("# {line}\n{line} # x\r\n\n")).collect();
        prop_assert_eq!(good(&shuffled).digest(), good(FULL).digest());
    }

    #[test]
    fn a_written_spec_is_read_back_as_the_same(env in arbitrary_env(), keep in any::<u32>()) {
        let lines = FULL.lines().enumerate().filter(|(index, line)| {
            line.starts_with("command") || line.starts_with("owner") || keep & (1 << index) != 0
        });
        let mut spec = good(&lines.map(|(_, line)| format!("{line}\n")).collect::<String>());
        spec.env = Some(crate::api::rules::Env(env.into_iter().collect()));
        let text = serde_yaml::to_string(&spec).unwrap();
        prop_assert_eq!(&good(&text), &spec, "{}", text);
        prop_assert_eq!(good(&text).digest(), spec.digest());
    }

    #[test]
    fn no_text_makes_the_reader_panic(
        at in any::<prop::sample::Index>(),
        length in 0..20_usize,
        noise in "[-a:{}\\[\\],&*!|>'\"%@`#?~ \t\n\r\u{85}0-9]{0,12}|\\PC{0,4}|.{0,4}",
    ) {
        let characters: Vec<char> = FULL.chars().collect();
        let from = at.index(characters.len());
        let to = (from + length).min(characters.len());
        let text: String = characters[..from].iter().copied().chain(noise.chars()).chain(characters[to..].iter().copied()).collect();
        if let Err(wrong) = parse(&text) {
            prop_assert!(!wrong.0.is_empty() && wrong.0.iter().all(|problem| !problem.message.is_empty()));
            let shown = format!("{wrong}{}", wrong.render().replace('\n', " "));
            prop_assert!(!shown.contains(unprintable), "{:?}", shown);
        }
    }
}
