//! Attaching, leaving, and coming back.

use serde_json::Value;

use crate::{
    client::Client,
    harness::{Atm, signal, wait_until},
};

/// Prints what it reads, and its size when that changes.
const ECHO: &str = r#"
command:
  - sh
  - -c
  - 'stty -echo; trap "stty size" WINCH; echo ready; while true; do if read -r line; then echo "got $line"; fi; done'
"#;

fn with(name: &str, spec: &str) -> Atm {
    let atm = Atm::start();
    atm.drop_spec(name, spec);
    atm.wait_phase(name, "Running");
    atm
}

fn activity(atm: &Atm, name: &str) -> (u64, bool) {
    let page = std::fs::read(atm.runtime().join("sessions").join(name).join("activity")).unwrap();
    let word = |index: usize| u64::from_le_bytes(page[index * 8..index * 8 + 8].try_into().unwrap());
    (word(6), word(5) > 0)
}

#[test]
fn one_attaches_types_and_leaves_by_any_key() {
    let atm = with("a", ECHO);
    atm.wait_output("a", "ready");
    for (number, keys) in ["\x1d", "\x1b[93;5u", "\x1b[27;5;93~", "\x1cd"].into_iter().enumerate() {
        let mut client = Client::attach(&atm, 80, 24, &["a"]);
        client.said("attached to a: ctrl-]");
        client.shows("ready");
        client.types(&format!("line {number}\r"));
        client.shows(&format!("got line {number}"));
        assert_eq!(activity(&atm, "a"), (1, true));
        client.types(keys);
        assert_eq!(client.ends(), 0, "{keys:?}");
        client.shows("[detached from a]");
        client.is_restored();
        assert!(wait_until(|| activity(&atm, "a").0 == 0));
    }
    // All of it is still there, and twice the key is the key.
    let mut client = Client::attach(&atm, 80, 24, &["a"]);
    client.shows("got line 3");
    client.settle();
    client.types("x\x1d\x1dy\r");
    client.shows("got x\u{1d}y".replace('\u{1d}', "").as_str());
    atm.wait_output("a", "got x\x1dy"); // clients are told before the log
    client.types("\x1b[200~in a paste \x1d is text\x1b[201~\r");
    atm.wait_output("a", "in a paste \x1d is text");
    let own =
        Client::with(&atm, 80, 24, &[("TERM", "xterm"), ("ATM_DETACH_KEY", "ctrl-q")], &["attach", "a"]);
    let mut own = own;
    own.said("ctrl-q or ctrl-\\ d detaches");
    own.settle(); // before it is raw, the terminal keeps this key for itself
    own.types("\x11");
    assert_eq!(own.ends(), 0);
}

#[test]
fn each_way_out_leaves_the_terminal_as_it_was() {
    let modes =
        r"printf '\033[?1049h\033[?25l\033[?1000h\033[?1006h\033[?2004h\033[?1h\033=\033[>1u\033[2;5rfull'";
    let atm =
        with("a", &format!("command: [sh, -c, \"{}; exec sleep 1000\"]\n", modes.replace('\\', "\\\\")));
    for number in [15, 1, 2] {
        let mut client = Client::attach(&atm, 80, 24, &["a"]);
        client.shows("full");
        client.settle();
        assert!(
            client.mode()
                != *alacritty_terminal::Term::new(
                    alacritty_terminal::term::Config::default(),
                    &alacritty_terminal::term::test::TermSize::new(10, 10),
                    alacritty_terminal::event::VoidListener,
                )
                .mode()
        );
        client.signal(number);
        assert_eq!(client.ends(), 128 + number);
        client.is_restored();
    }
    let mut client = Client::attach(&atm, 80, 24, &["a"]);
    client.shows("full");
    atm.ok(&["detach", "a"]);
    assert_eq!(client.ends(), 0);
    client.shows("by `atm detach`");
    client.is_restored();
    let mut client = Client::attach(&atm, 80, 24, &["a"]);
    client.shows("full");
    let keeper = i32::try_from(atm.get("a")["status"]["keeperPid"].as_i64().unwrap()).unwrap();
    signal(keeper, 9);
    assert_eq!(client.ends(), 1);
    client.shows("the keeper of `a` is gone");
    client.is_restored();
}

#[test]
fn the_smallest_terminal_is_the_sessions_size_and_others_see_all_of_it() {
    let atm = with("a", ECHO);
    atm.wait_output("a", "ready");
    let mut large = Client::attach(&atm, 100, 40, &["a"]);
    atm.wait_output("a", "40 100");
    let mut small = Client::attach(&atm, 60, 10, &["a"]);
    atm.wait_output("a", "10 60");
    large.settle();
    small.settle();
    small.types("from the small one\r");
    for client in [&mut small, &mut large] {
        client.shows("got from the small one");
    }
    large.types("from the large one\r");
    for client in [&mut small, &mut large] {
        client.shows("got from the large one");
    }
    // Beyond the session's size there is nothing.
    let seen = small.text();
    large.until(&format!("as the small one, {seen}"), |large| {
        large.lines()[..10] == small.lines()[..] && large.lines()[10..].iter().all(String::is_empty)
    });
    // One who only looks counts for nothing.
    let mut looker = Client::attach(&atm, 20, 5, &["a", "--read-only"]);
    looker.shows("the large o"); // its 20 columns
    looker.types("typed by a looker\r");
    small.resize(70, 12);
    atm.wait_output("a", "12 70");
    small.types("\x1d");
    assert_eq!(small.ends(), 0);
    atm.wait_output("a", "40 100");
    large.types("again\r");
    large.shows("got again");
    looker.shows("got again");
    assert!(!atm.log("a").contains("typed by a looker"));
    // Another takes over.
    let mut taker = Client::attach(&atm, 80, 24, &["a", "--take"]);
    assert_eq!((large.ends(), looker.ends()), (0, 0));
    large.shows("another terminal took it over");
    taker.shows("got again");
    atm.wait_output("a", "24 80");
    large.is_restored();
}

#[test]
fn the_end_of_a_session_is_told_with_all_its_output() {
    let spec = "command: [sh, -c, 'echo up; read x; seq 1 2000; exit 3']\nrestartPolicy: Never\n";
    let atm = with("a", spec);
    let mut client = Client::attach(&atm, 80, 24, &["a"]);
    client.shows("up");
    client.types("\r");
    assert_eq!(client.ends(), 3);
    client.shows("[a ended: exit status 3]");
    let raw = String::from_utf8_lossy(&client.raw).into_owned();
    for number in 1..=2000 {
        assert!(raw.contains(&format!("\n{number}\r")), "{number}");
    }
    client.is_restored();
    // Attaching to it again starts it again; so does sending.
    atm.wait_phase("a", "Failed");
    let mut client = Client::attach(&atm, 80, 24, &["a"]);
    client.shows("starting a");
    client.shows("up");
    client.types("\r");
    assert_eq!(client.ends(), 3);
    atm.wait_phase("a", "Failed");
    atm.ok(&["send", "a", "text", "--no-enter"]);
    atm.wait_phase("a", "Running");
    // What a person ended stays so.
    let mut client = Client::attach(&atm, 80, 24, &["a"]);
    client.shows("up");
    atm.ok(&["kill", "a"]);
    assert_eq!(client.ends(), 137);
    atm.wait_phase("a", "Suspended");
    assert_eq!(atm.atm(&["send", "a", ""]).status.code(), Some(1));
    assert_eq!(atm.get("a")["status"]["phase"], "Suspended");
}

#[test]
fn a_restarted_session_is_attached_to_again() {
    let spec =
        "command: [sh, -c, 'echo run; read x; exit 1']\nrestartPolicy: Always\nbackoff: {initial: 0s}\n";
    let atm = with("a", spec);
    let mut client = Client::attach(&atm, 80, 24, &["a"]);
    client.shows("run");
    client.settle();
    client.types("\r");
    client.until("attached again", |client| {
        let raw = String::from_utf8_lossy(&client.raw);
        raw.contains("[a ended: exit status 1]") && raw.contains("[a was started again]")
    });
    client.shows("run");
    atm.ok(&["restart", "a"]);
    client.until("attached a third time", |client| {
        String::from_utf8_lossy(&client.raw).matches("[a was started again]").count() == 2
    });
    client.shows("run");
    client.types("\x1d");
    assert_eq!(client.ends(), 0);
    client.is_restored();
}

#[test]
fn the_daemon_is_not_in_between() {
    let mut atm = with("a", ECHO);
    let mut client = Client::attach(&atm, 80, 24, &["a"]);
    client.shows("ready");
    client.settle();
    atm.kill_daemon();
    client.types("still here\r");
    client.shows("got still here");
    let mut other = Client::attach(&atm, 80, 24, &["a"]);
    other.shows("got still here");
    other.types("\x1d");
    assert_eq!(other.ends(), 0);
    assert!(atm.ok(&["peek", "a"]).contains("got still here"));
    atm.ok(&["send", "a", "sent"]);
    client.shows("got sent");
    let none = atm.atm(&["attach", "b"]);
    assert_eq!(none.status.code(), Some(2), "not on a terminal");
    assert_eq!(atm.atm(&["peek", "b"]).status.code(), Some(69));
    atm.up();
    client.types("after\r");
    client.shows("got after");
    assert_eq!(atm.get("a")["status"]["restarts"], Value::from(0));
}

#[test]
fn what_cannot_be_attached_is_said() {
    let atm = with("a", "command: [sleep, '1000']\nterminal: false\n");
    let said = |client: &mut Client| {
        let code = client.ends();
        (code, client.text())
    };
    let (code, text) = said(&mut Client::attach(&atm, 100, 24, &["a"]));
    assert!(code == 1 && text.contains("it has no terminal") && text.contains("atm logs -f a"), "{text}");
    let (code, text) = said(&mut Client::attach(&atm, 100, 24, &["nobody"]));
    assert!(code == 3 && text.contains("no session `nobody`"), "{text}");
    let piped = atm.atm(&["attach", "a"]);
    let told = String::from_utf8_lossy(&piped.stderr).into_owned();
    assert!(piped.status.code() == Some(2) && told.contains("atm peek a"), "{told}");
    for verb in ["peek", "detach"] {
        let refused = atm.atm(&[verb, "a"]);
        assert!(String::from_utf8_lossy(&refused.stderr).contains("no terminal"), "{verb}");
    }
    // One that somebody stopped stays so, whoever looks or types.
    atm.drop_spec("s", ECHO);
    atm.wait_output("s", "ready");
    atm.ok(&["stop", "s"]);
    let (code, text) = said(&mut Client::attach(&atm, 100, 24, &["s"]));
    assert!(code == 1 && text.contains("Suspended (Stopped)") && text.contains("atm start s"), "{text}");
    let refused = atm.atm(&["send", "s", "hello"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("atm start s"), "{refused:?}");
    assert_eq!(atm.get("s")["status"]["phase"], "Suspended");
    // In a terminal that can only print, nothing else is printed.
    atm.drop_spec("t", ECHO);
    atm.wait_output("t", "ready");
    let mut dumb = Client::with(&atm, 80, 24, &[("TERM", "dumb")], &["attach", "t"]);
    dumb.shows("this terminal can only print");
    dumb.types("hello\r");
    dumb.shows("got hello");
    dumb.types("\x1d");
    assert_eq!(dumb.ends(), 0);
    assert!(!dumb.raw.contains(&0x1b), "{:?}", String::from_utf8_lossy(&dumb.raw));
}

#[test]
fn a_session_that_somebody_is_at_is_never_idle() {
    let atm = with("held", "command: [sleep, '1000']\nmaxIdle: 2s\n");
    let mut client = Client::attach(&atm, 80, 24, &["held", "--read-only"]);
    client.said("attached to held");
    // Beside one that nobody is at, and that is evicted twice meanwhile.
    let over = |s: &Value| s["status"]["phase"] == "Evicted";
    atm.drop_spec("alone", "command: [sleep, '1000']\nmaxIdle: 2s\n");
    atm.wait("alone", "evicted", over);
    atm.ok(&["start", "alone"]);
    atm.wait("alone", "evicted", over);
    let held = atm.get("held");
    assert_eq!(held["status"]["phase"], "Running", "{held:#}");
    assert_eq!(held["status"]["attached"], 1, "{held:#}");
    client.types("\x1d");
    assert_eq!(client.ends(), 0);
    atm.wait("held", "evicted", over);
}

/// Who attaches to a keeper that was stopped is told soon, and nobody else is kept waiting.
#[test]
fn a_keeper_that_does_not_answer_is_told_soon() {
    let atm = with("hung", ECHO);
    atm.wait_output("hung", "ready");
    atm.drop_spec("well", ECHO);
    atm.wait_output("well", "ready");
    let keeper = i32::try_from(atm.get("hung")["status"]["keeperPid"].as_i64().unwrap()).unwrap();
    signal(keeper, 19);
    let asked = std::time::Instant::now();
    let mut client = Client::attach(&atm, 80, 24, &["hung"]);
    let mut other = Client::attach(&atm, 80, 24, &["well"]);
    other.shows("ready");
    assert_eq!(client.ends(), 1, "{}", client.text());
    let took = asked.elapsed();
    assert!(took.as_secs() < 15, "{took:?}");
    client.shows("hung");
    client.is_restored();
    other.types("still\r");
    other.shows("got still");
    assert_eq!(atm.get("hung")["status"]["phase"], "Running");
    signal(keeper, 18);
    let mut client = Client::attach(&atm, 80, 24, &["hung"]);
    client.shows("ready");
    client.types("\x1d");
    assert_eq!(client.ends(), 0);
}
