//! Texts and what only looks like one, and every text at all.

use proptest::{prelude::*, sample::select};

use super::*;
use crate::api::diagnose::unprintable;

/// Plain scalars, and whether they are texts. What YAML 1.1 took for something else and 1.2 does not is a text.
#[rustfmt::skip]
pub(super) const NORWAY: &[(&str, bool)] = &[
    ("no", true), ("No", true), ("NO", true), ("yes", true), ("Yes", true), ("on", true), ("off", true),
    ("ON", true), ("y", true), ("n", true), ("true", false), ("True", false), ("TRUE", false),
    ("false", false), ("False", false), ("tRUE", true), ("null", false), ("Null", false), ("NULL", false),
    ("~", false), ("", false), ("nil", true), ("none", true), ("0", false), ("-0", false), ("+1", false),
    ("-1", false), ("8080", false), ("012", false), ("-012", false), ("+0012", false), ("00", false),
    ("089", false), ("0o17", false), ("0x1F", false), ("0xFG", true), ("0b11", false), ("1_000", true),
    ("1,000", true), ("1e3", false), ("1E3", false), ("1e999", false), ("-1e999", false), ("1.10", false),
    ("1.", false), (".5", false), ("-.5", false), ("1.2.3", true), (".inf", false), ("-.Inf", false),
    (".nan", false), (".NaN", false), ("inf", true), ("NaN", true), ("12:30", true), ("12:30:45", true),
    ("190:20:30", true), ("2026-01-01", true), ("2026-01-01T00:00:00Z", true), ("127.0.0.1", true),
    ("99999999999999999999999999999999999999999999", false), ("=", true), (".", true), ("-", false),
    ("1 2", true), ("0.1-beta", true), ("a b", true),
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
fn windows_line_ends_and_a_mark_change_nothing() {
    let windows = format!("\u{feff}{}", FULL.replace('\n', "\r\n"));
    assert_eq!(good(&windows), good(FULL));
    let text = "command: |\n  a\n  b\nenv: {A: \"x\n  y\"}\n";
    assert_eq!(good(&text.replace('\n', "\r\n")), good(text));
    // A line end of YAML 1.1 is a character like any other.
    let text = "# comment\u{2028}priority: x\ncommand: [\"a\u{2028}b\", a\u{85}b, 'a\u{2029}b']\n";
    assert_eq!(meant(text).command, ["a\u{2028}b", "a\u{85}b", "a\u{2029}b"]);
}

fn arbitrary_env() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = "[A-Zé][A-Z_]{0,5}".prop_filter("reserved", |name| !name.starts_with("ATM_"));
    let scalars: Vec<&str> = NORWAY.iter().map(|(text, _)| *text).collect();
    let breaks = "[a \u{85}\u{2028}\u{2029}\n\t\"'\\\\é]{0,12}";
    let value = prop_oneof![any::<String>(), breaks, select(scalars).prop_map(str::to_owned)];
    let value = value.prop_map(|text| text.replace(['\0', '\r', '\u{feff}', '\u{fffe}', '\u{ffff}'], ""));
    prop::collection::vec((name, value), 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_keys_and_comments_mean_nothing(lines in Just(FULL.lines().collect::<Vec<_>>()).prop_shuffle()) {
        let shuffled: Vec<String> = lines.iter().map(|line| format!("# {line}\n{line} # x\r\n\n")).collect();
        prop_assert_eq!(good(&shuffled.concat()).digest(), good(FULL).digest());
    }

    #[test]
    fn a_written_spec_is_read_back_as_the_same(env in arbitrary_env(), keep in any::<u32>()) {
        let lines = FULL.lines().enumerate().filter(|(index, line)| {
            line.starts_with("command") || line.starts_with("owner") || keep & (1 << index) != 0
        });
        let lines: Vec<&str> = lines.map(|(_, line)| line).collect();
        let mut spec = good(&lines.join("\n"));
        spec.env = Some(crate::api::rules::Env(env.into_iter().collect()));
        let text = crate::api::yaml::write(&spec).unwrap();
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
