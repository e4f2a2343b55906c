//! What a spec means, and when two mean the same.

use std::path::Path;

use super::*;
use crate::api::schema;

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
        let rest: Vec<&str> = FULL.lines().filter(|other| *other != line).collect();
        let rest = rest.join("\n") + "\n";
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
