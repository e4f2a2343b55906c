//! `atm top`: live on a terminal, which it gives back however it ends, and one page in a pipe.

use alacritty_terminal::term::TermMode;

use crate::{
    client::Client,
    harness::{Atm, wait_until},
};

const SLEEPER: &str = "command: [sleep, '1000']\nterminationGracePeriod: 2s\n";
const QUIET: &str = "command: [sleep, '1000']\nsuspend: true\n";

/// What happens within this is told by the daemon, and was not asked for.
const NEVER: [&str; 2] = ["-d", "1h"];

fn with(specs: &[(&str, &str)]) -> Atm {
    let atm = Atm::start();
    for (name, spec) in specs {
        atm.drop_spec(name, spec);
    }
    for (name, spec) in specs {
        atm.wait_phase(name, if *spec == QUIET { "Suspended" } else { "Running" });
    }
    atm
}

fn top(atm: &Atm, columns: u16, rows: u16, args: &[&str]) -> Client {
    Client::with(atm, columns, rows, &[("TERM", "xterm-256color")], &[&["top"], args].concat())
}

/// The names on the screen, in order.
fn names(client: &Client) -> Vec<String> {
    let lines = client.lines();
    let rows = lines.iter().skip_while(|line| !line.starts_with("NAME ")).skip(1);
    let rows = rows.take_while(|line| !line.is_empty() && !line.contains("q quits"));
    rows.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn changes_show_as_they_happen() {
    let atm = with(&[("a", SLEEPER), ("b", QUIET)]);
    let mut client = top(&atm, 100, 20, &NEVER);
    client.shows("1-2 of 2");
    client.shows("Sessions: 1 of ");
    assert!(client.mode().contains(TermMode::ALT_SCREEN) && !client.mode().contains(TermMode::SHOW_CURSOR));
    atm.drop_spec("later", SLEEPER);
    client.until("with one more", |client| names(client) == ["a", "later", "b"]);
    atm.ok(&["stop", "a"]);
    client.shows("Stopped: ");
    atm.remove_spec("later");
    client.until("without it", |client| names(client) == ["a", "b"]);
    // Smaller, and larger again: whatever the terminal did to its lines meanwhile.
    client.resize(50, 8);
    client.until("narrow", |client| client.lines().len() == 8 && client.text().contains("1-2 of 2"));
    client.resize(100, 20);
    client.until("wide", |client| client.text().contains("MESSAGE") && client.text().contains("q quits"));
    client.types("q");
    assert_eq!(client.ends(), 0);
    client.is_restored();
    assert_eq!(client.text().trim(), "", "the screen is the one from before");
}

#[test]
fn keys_sort_and_scroll() {
    let names_of: Vec<String> = (10..30).map(|number| format!("s{number}")).collect();
    let mut specs: Vec<(&str, &str)> = names_of.iter().map(|name| (name.as_str(), QUIET)).collect();
    specs.push(("zz-runs", SLEEPER));
    let atm = with(&specs);
    let mut client = top(&atm, 100, 16, &["-s", "name", "-d", "1h"]);
    client.shows("n [name]");
    let rows = names(&client).len();
    assert!((5..15).contains(&rows), "{}", client.text());
    let first = |client: &Client, name: &str| names(client).first().is_some_and(|first| first == name);
    for (typed, name) in [
        ("\x1b[B", "s11".to_owned()),
        ("\x1b[6~", format!("s{}", 10 + rows)),
        ("\x1b[5~", "s11".to_owned()),
        ("\x1bOA", "s10".to_owned()),
        ("\x1b[A", "s10".to_owned()),
    ] {
        client.types(typed);
        client.until(&format!("at {name} after {typed:?}"), |client| first(client, &name));
    }
    client.types("\x1b[F");
    client.until("at the end", |client| names(client).last().is_some_and(|last| last == "zz-runs"));
    for (typed, shown) in [("c", "c [CPU]"), ("m", "m [memory]"), ("i", "i [idle]"), ("w", "w [waiting]")] {
        client.types(typed);
        client.shows(shown);
        client.until("with who runs first", |client| first(client, "zz-runs"));
    }
    client.types("n");
    client.until("by name", |client| first(client, "s10"));
    client.types("\x1b");
    assert_eq!(client.ends(), 0);
    client.is_restored();
}

#[test]
fn the_terminal_is_given_back_however_it_ends() {
    let mut atm = with(&[("a", SLEEPER)]);
    for (signal, status) in [(15, 143), (1, 129), (2, 130)] {
        let mut client = top(&atm, 80, 24, &[]);
        client.shows("1-1 of 1");
        client.signal(signal);
        assert_eq!(client.ends(), status);
        client.is_restored();
    }
    let mut client = top(&atm, 80, 24, &[]);
    client.shows("1-1 of 1");
    client.types("\x03");
    assert_eq!(client.ends(), 0);
    client.is_restored();
    // After so many pages, and then the last one stays.
    let mut client = top(&atm, 80, 24, &["-n", "2", "-d", "100ms"]);
    assert_eq!(client.ends(), 0);
    client.is_restored();
    client.until("with the last page", |client| names(client) == ["a"]);
    // One that takes nothing at the moment.
    let mut client = top(&atm, 80, 24, &["-d", "100ms"]);
    client.shows("1-1 of 1");
    client.fill();
    client.types_blindly(b"q");
    assert!(wait_until(|| client.unread() == 0));
    assert_eq!(client.ends(), 0);
    client.is_restored();

    // A daemon that was killed is waited for, one that was stopped is not.
    let mut client = top(&atm, 80, 24, &NEVER);
    client.shows("1-1 of 1");
    atm.kill_daemon();
    client.shows("Not up to date: the daemon closed the connection");
    atm.up();
    client.until("up to date", |client| !client.text().contains("Not up to date"));
    atm.drop_spec("b", QUIET);
    client.shows("1-2 of 2");
    atm.stop_daemon();
    assert_eq!(client.ends(), 69);
    client.is_restored();
    assert!(client.text().starts_with("error: "), "{}", client.text());
}

#[test]
fn where_nothing_can_be_drawn_pages_are_printed() {
    let mut atm = with(&[("a", SLEEPER), ("b", QUIET)]);
    let pages = |page: &str| page.matches("\nNAME ").count();
    let page = atm.ok(&["top"]);
    assert!(
        pages(&page) == 1 && !page.contains('\x1b') && page.contains("\na ") && page.contains("\nb "),
        "{page}"
    );
    let page = atm.ok(&["top", "-n", "2", "-d", "0.1", "a"]);
    assert!(pages(&page) == 2 && !page.contains("\nb "), "{page}");
    let none = atm.atm(&["top", "-l", "team=web"]);
    assert!(
        none.status.success()
            && String::from_utf8_lossy(&none.stderr).contains("no session has these labels")
    );
    let mut client = Client::with(&atm, 80, 24, &[("TERM", "dumb")], &["top", "-n", "2", "-d", "100ms"]);
    assert_eq!(client.ends(), 0);
    assert!(
        !client.raw.contains(&0x1b) && pages(&String::from_utf8_lossy(&client.raw)) == 2,
        "{}",
        client.text()
    );

    // Who is there is shown beside who is not; a view would show nothing of an error.
    let missing = atm.atm(&["top", "a", "nobody"]);
    assert_eq!(missing.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&missing.stdout).contains("\na "));
    let missing = atm.atm(&["top", "nobody"]);
    assert_eq!((missing.status.code(), missing.stdout.len()), (Some(3), 0));
    let mut client = top(&atm, 80, 24, &["a", "nobody"]);
    assert_eq!(client.ends(), 3);
    assert!(
        client.text().contains("no session `nobody`") && !client.raw.windows(5).any(|part| part == b"?1049")
    );
    atm.stop_daemon();
    assert_eq!(atm.atm(&["top"]).status.code(), Some(69));
    assert_eq!(top(&atm, 80, 24, &[]).ends(), 69);
}

#[test]
fn without_a_place_to_watch_from_it_asks() {
    let atm = Atm::start_with("clients: {max: 1}");
    atm.drop_spec("a", SLEEPER);
    atm.wait_phase("a", "Running");
    let watcher = atm.follow(&["get", "-w"]);
    watcher.wait("Running");
    let mut client = top(&atm, 80, 24, &["-d", "100ms"]);
    client.shows("watchers: 1 of 1");
    atm.drop_spec("later", SLEEPER);
    client.until("with one more", |client| names(client) == ["a", "later"]);
    client.types("q");
    assert_eq!(client.ends(), 0);
    client.is_restored();
}
