//! Looking and typing without being attached.

use crate::harness::{Atm, wait_until};

#[test]
fn a_look_shows_the_screen_with_history_cursor_and_title() {
    let atm = Atm::start();
    let script = r"printf '\033]2;the title\007'; seq 1 30; printf '\033[1;31mred\033[0m \302\233J end'; exec sleep 1000";
    atm.drop_spec(
        "a",
        &format!(
            "command: [sh, -c, \"{}\"]\nterminal: {{columns: 40, rows: 10}}\n",
            script.replace('\\', "\\\\")
        ),
    );
    atm.wait_output("a", "end");
    let plain = atm.ok(&["peek", "a"]);
    let lines: Vec<&str> = plain.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[8]), (10, "22", "30"), "{plain}");
    assert!(
        lines[9].starts_with("red") && !plain.contains('\u{1b}') && !plain.contains('\u{9b}'),
        "{plain:?}"
    );
    assert_eq!(atm.ok(&["peek", "a", "--history", "5"]).lines().next(), Some("17"));
    assert!(atm.ok(&["peek", "a", "--ansi"]).contains("\u{1b}[0;1;31mred\u{1b}[0m"));
    let json: serde_json::Value = serde_json::from_str(&atm.ok(&["peek", "a", "-o", "json"])).unwrap();
    assert_eq!(json["title"], "the title");
    assert_eq!((&json["cursor"]["row"], &json["size"]["columns"]), (&9.into(), &40.into()));
    assert_eq!((&json["name"], &json["history"]), (&"a".into(), &0.into()));
    assert_eq!(atm.atm(&["peek", "nobody"]).status.code(), Some(3));
}

#[test]
fn what_is_sent_arrives_as_typed_as_keys_and_as_a_paste() {
    let atm = Atm::start();
    let reader =
        r"stty raw -echo; printf ready; while true; do dd bs=1 count=1 2>/dev/null | od -An -tx1; done";
    atm.drop_spec("a", &format!("command: [sh, -c, \"{}\"]\n", reader.replace('\\', "\\\\")));
    atm.wait_output("a", "ready");
    let mut from = atm.log("a").len();
    let mut typed = |args: &[&str], expected: &str| {
        atm.ok(&[&["send", "a"], args].concat());
        let got = || {
            let log = atm.log("a");
            let bytes = log[from..].split_whitespace().filter_map(|byte| u8::from_str_radix(byte, 16).ok());
            String::from_utf8(bytes.collect()).unwrap_or_default()
        };
        assert!(wait_until(|| got() == expected), "{args:?}: {:?}", got());
        from = atm.log("a").len();
    };
    typed(&["two words"], "two words\r");
    typed(&["two", "words", "--no-enter"], "two words");
    typed(&["--key", "ctrl-c"], "\x03");
    typed(&["x", "-k", "escape", "-k", "up", "-k", "alt-f"], "x\x1b\x1b[A\x1bf\r");
    typed(&["a\nb", "--no-enter"], "a\rb");
    typed(&["漢 é"], "漢 é\r");

    let modes = r"printf '\033[?2004h\033[?1hmodes'; ";
    atm.drop_spec(
        "b",
        &format!("command: [sh, -c, \"{}\"]\n", format!("{modes}{reader}").replace('\\', "\\\\")),
    );
    atm.wait_output("b", "ready");
    atm.ok(&["send", "b", "a\nb", "--key", "up", "--no-enter"]);
    atm.wait_output("b", "1b\n 4f\n 41");
    assert!(atm.log("b").replace('\n', "").contains("1b 5b 32 30 30 7e 61 0d 62 1b 5b 32 30 31 7e"));

    atm.drop_spec("c", "command: [sh, -c, 'exec <&- >&- 2>&-; while true; do sleep 1; done']\n");
    atm.wait_phase("c", "Running");
    let says = || String::from_utf8_lossy(&atm.atm(&["send", "c", "x"]).stderr).into_owned();
    assert!(wait_until(|| says().contains("no process of the session has its terminal open")), "{}", says());

    let wrong = atm.atm(&["send", "a", "--key", "ctrl-enter-x"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert_eq!(atm.atm(&["send", "a"]).status.code(), Some(2));
    atm.drop_spec("p", "command: [sleep, '1000']\nterminal: false\n");
    atm.wait_phase("p", "Running");
    let refused = atm.atm(&["send", "p", "x"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no terminal"));
}

#[test]
fn an_enter_is_no_part_of_what_was_typed_fast() {
    let atm = Atm::start();
    let reader = "stty raw -echo; printf ready; while b=$(dd bs=1 count=1 2>/dev/null | od -An -tx1); do echo \"$b $(date +%s%3N)\"; done";
    atm.drop_spec("a", &format!("command: [sh, -c, '{reader}']\n"));
    atm.wait_output("a", "ready");
    atm.ok(&["send", "a", "go"]);
    let log = atm.wait_output("a", " 0d ");
    let times: Vec<(&str, u64)> = log
        .lines()
        .filter_map(|line| line.trim_start_matches("ready").trim().split_once(' '))
        .filter_map(|(byte, time)| Some((byte, time.trim().parse().ok()?)))
        .collect();
    let at = |byte: &str| times.iter().find(|(found, _)| *found == byte).unwrap().1;
    assert!(at("0d") - at("67") >= 150, "{times:?}");
}
