//! What a config may say, what it means, and what is said about one that may not.

use std::path::Path;

use super::*;
use crate::api::schema;

const MACHINE: Machine = Machine { memory: 24 << 30 };

fn parse(text: &str) -> Result<Config, Diagnostics> {
    Config::parse(text, Path::new("atm.yaml"), MACHINE)
}

fn good(text: &str) -> Config {
    parse(text).unwrap_or_else(|wrong| panic!("{text}\n{}", wrong.render()))
}

#[test]
fn the_defaults_are_those_of_the_manual() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&Config::defaults(MACHINE)).unwrap(), @r#"
    {
      "maxSessions": 100,
      "maxMemory": "19660MiB",
      "sessionMemory": "never",
      "staleAfter": "1m30s",
      "resyncInterval": "30s",
      "ageGrace": "15m",
      "emergency": {
        "maxIdle": "5m",
        "maxAge": "1h"
      },
      "onShutdown": "Auto",
      "clients": {
        "max": 10,
        "buffer": 100,
        "maxMessage": "1MiB",
        "broadcastRate": 10
      },
      "logs": {
        "maxSize": "10MiB",
        "maxFiles": 7,
        "maxAge": "7d"
      },
      "http": "off",
      "env": {},
      "daemonMemoryWarning": "100MiB"
    }
    "#);
}

#[test]
fn every_key_is_read() {
    let text = r#"maxSessions: auto
maxIdle: never
maxAge: 2d
maxMemory: 12GiB
sessionMemory: 2GB
staleAfter: 1m
resyncInterval: 100ms
ageGrace: 0s
emergency: {maxIdle: 1m, maxAge: 2m}
onShutdown: Keep
clients: {max: 1, buffer: 2, maxMessage: 4KiB, broadcastRate: 3}
logs: {maxSize: 1KiB, maxFiles: 1, maxAge: 1h}
http: "[::1]:9650"
env: {CI: "1"}
daemonMemoryWarning: 1MiB
"#;
    insta::assert_snapshot!(serde_json::to_string_pretty(&good(text)).unwrap(), @r#"
    {
      "maxSessions": 12,
      "maxIdle": "never",
      "maxAge": "2d",
      "maxMemory": "12GiB",
      "sessionMemory": "2GB",
      "staleAfter": "1m",
      "resyncInterval": "100ms",
      "ageGrace": "0s",
      "emergency": {
        "maxIdle": "1m",
        "maxAge": "2m"
      },
      "onShutdown": "Keep",
      "clients": {
        "max": 1,
        "buffer": 2,
        "maxMessage": "4KiB",
        "broadcastRate": 3
      },
      "logs": {
        "maxSize": "1KiB",
        "maxFiles": 1,
        "maxAge": "1h"
      },
      "http": "[::1]:9650",
      "env": {
        "CI": "1"
      },
      "daemonMemoryWarning": "1MiB"
    }
    "#);
    let schema: serde_json::Value = serde_json::from_str(&schema::config()).unwrap();
    for key in schema["properties"].as_object().unwrap().keys() {
        assert!(text.lines().any(|line| line.starts_with(&format!("{key}:"))), "{key}");
    }
}

#[test]
fn the_machine_sets_what_refers_to_it() {
    for (gibibytes, sessions) in [(0, 1), (1, 1), (4, 2), (24, 12), (200, 100), (4096, 100)] {
        let machine = Machine { memory: gibibytes << 30 };
        let config = Config::parse("maxSessions: auto", Path::new("a"), machine).unwrap();
        assert_eq!(config.max_sessions, sessions, "{gibibytes} GiB");
    }
    for (text, expected) in [
        ("80%", Limit::At(Size(19_660 << 20))),
        ("100%", Limit::At(Size(24 << 30))),
        ("1 %", Limit::At(Size(245 << 20))),
        ("never", Limit::Never),
        ("1.5GiB", Limit::At(Size(3 << 29))),
        ("2097152", Limit::At(Size(2 << 20))),
    ] {
        assert_eq!(good(&format!("maxMemory: {text}")).max_memory, expected, "{text}");
    }
    assert_eq!(Config::defaults(Machine { memory: u64::MAX }).max_sessions, 100);
}

#[test]
fn a_config_without_values_is_the_defaults_and_one_without_a_word_was_cut_off() {
    for text in ["# nothing\n", "{}", "---\n# nothing\n", "~", "\u{feff}# nothing\r\n"] {
        assert_eq!(good(text), Config::defaults(MACHINE), "{text:?}");
    }
    for text in ["", "\n", " \r\n", "\u{feff}"] {
        let wrong = parse(text).unwrap_err().to_string();
        assert_eq!(wrong, "atm.yaml:1:1: the file is empty (write `{}` to mean the defaults)");
    }
}

#[test]
fn every_default_of_the_schema_written_out_changes_nothing() {
    let schema: serde_json::Value = serde_json::from_str(&schema::config()).unwrap();
    let mut seen = 0;
    for (key, property) in schema["properties"].as_object().unwrap() {
        let nested = property["properties"].as_object().into_iter().flatten();
        let nested = nested.map(|(inner, of)| (format!("{{{inner}: {}}}", of["default"]), of));
        for (value, of) in nested.chain([(property["default"].to_string(), property)]) {
            if !of["default"].is_null() {
                let mut config = good(&format!("{key}: {value}"));
                assert_eq!(std::mem::take(&mut config.written), [key.as_str()]);
                // Thresholds that somebody wrote are for everyone.
                assert_eq!(std::mem::take(&mut config.emergency.everyone), key == "emergency");
                assert_eq!(config, Config::defaults(MACHINE), "{key}: {value}");
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 18);
}

/// A config, and the place and words of its error.
#[rustfmt::skip]
const WRONG: &[(&str, &str)] = &[
    ("maxSessions: -1", "1:14: expected a whole number from 0 to 10000, or `auto`, found the number `-1`"),
    ("maxSessions: many", "1:14: expected a whole number from 0 to 10000, or `auto`, found the text `many`"),
    ("maxSessions: '4'", "1:14: expected a whole number from 0 to 10000, or `auto`, found the text `4` (write it without quotes)"),
    ("maxIdle: 0", "1:10: expected a duration such as `90s`, `1h30m` or `2d`, or `never`, found the number `0` (`never` switches it off)"),
    ("maxMemory: 0%", "1:12: expected a whole share from `1%` to `100%`, found the text `0%`"),
    ("maxMemory: 101%", "1:12: expected a whole share from `1%` to `100%`, found the text `101%`"),
    ("maxMemory: most", "1:12: expected a size such as `512MiB`, `2GB` or `4096` (bytes), a share such as `80%`, or `never`, found the text `most` (units are `KiB`, `MiB`, `GiB` and `TiB`, or `kB`, `MB`, `GB` and `TB`)"),
    ("maxMemory: off", "1:12: expected a size such as `512MiB`, `2GB` or `4096` (bytes), a share such as `80%`, or `never`, found the text `off` (`never` switches it off)"),
    ("resyncInterval: 10ms", "1:17: expected a duration of at least 100ms, found the text `10ms`"),
    ("emergency: {maxIdel: 1m}", "1:13: unknown key `maxIdel` (did you mean `maxIdle`?)"),
    ("emergency: 5m", "1:12: expected `{maxIdle: 5m, maxAge: 1h}`, found the text `5m`"),
    ("onShutdown: keep", "1:13: expected `Auto`, `Keep` or `Stop`, found the text `keep` (did you mean `Keep`?)"),
    ("clients: {max: 0}", "1:16: expected a whole number from 1 to 10000, found the number `0`"),
    ("clients: {maxMessage: 1}", "1:23: expected a size of at least 4KiB, found the number `1` (a number without a unit is in bytes)"),
    ("logs: {maxFiles: 0}", "1:18: expected a whole number from 1 to 1000, found the number `0`"),
    ("http: false", "1:7: expected an address such as `127.0.0.1:9650`, or `off`, found the boolean `false` (`off` switches it off)"),
    ("http: 9650", "1:7: expected an address such as `127.0.0.1:9650`, or `off`, found the number `9650` (write the address before the port)"),
    ("http: 0.0.0.0:9650", "1:7: expected a loopback address such as `127.0.0.1:9650`, or `off`, found the text `0.0.0.0:9650` (only addresses of this machine itself, 127.0.0.0/8 or [::1], are served)"),
    ("http: localhost:9650", "1:7: expected an address such as `127.0.0.1:9650`, or `off`, found the text `localhost:9650` (an IP address and a port; names are not looked up)"),
    ("env: {ATM_X: y}", "1:7: expected a name that a session may set, found the name `ATM_X` (atm and systemd set it themselves)"),
    ("env: {A: 1}", "1:10: expected a text, found the number `1` (put it in quotes to make it a text)"),
    ("max_sessions: 4", "1:1: unknown key `max_sessions` (did you mean `maxSessions`?)"),
    ("maxSessions: 4\nmaxSessions: 5", "2:1: duplicate key `maxSessions` (first written on line 1)"),
    ("sessions: []", "1:1: unknown key `sessions` (sessions are files of their own in the specs directory)"),
    ("- a", "1:1: expected a mapping of keys such as `maxSessions: 100`, found a list"),
];

#[test]
fn wrong_values_are_told_by_their_path() {
    for (text, expected) in WRONG {
        let wrong = parse(text).expect_err(text);
        assert_eq!(wrong.to_string(), format!("atm.yaml:{expected}"));
    }
}
