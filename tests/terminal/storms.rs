//! Floods, crowds and clients that misbehave: whoever does, nobody else notices.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use atm::{
    api::{
        attach::{Attach, Detached, Typed, WindowSize},
        keeper::{Reply, Request},
    },
    cli::attach::link::{Link, Said},
    host::poll::{self, Got, Interest},
    keeper::client::{ClientError, ask},
};

use crate::{
    client::Client,
    harness::{Atm, wait_until},
};

fn directory(atm: &Atm, name: &str) -> PathBuf {
    atm.runtime().join("sessions").join(name)
}

fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<u64> =
        stat.rsplit_once(") ").unwrap().1.split(' ').filter_map(|field| field.parse().ok()).collect();
    fields[10] + fields[11]
}

/// That it uses less than a third of a core over some span: one that spins uses all that it can get.
fn rests(pid: i32) {
    let rested = wait_until(|| {
        let (used, begun) = (ticks(pid), Instant::now());
        std::thread::sleep(Duration::from_millis(500));
        let span = u64::try_from(begun.elapsed().as_millis()).unwrap();
        (ticks(pid) - used) * 10 * 3 < span
    });
    assert!(rested, "it spins");
}

fn keeper(atm: &Atm, name: &str) -> i32 {
    i32::try_from(atm.get(name)["status"]["keeperPid"].as_i64().unwrap()).unwrap()
}

fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

fn resident_kib(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn link(atm: &Atm, name: &str, columns: u16, rows: u16) -> Link {
    let size = WindowSize::of_cells(columns, rows);
    Link::open(&directory(atm, name), &Attach { size, read_only: false, take: false, history: 0 }).unwrap()
}

fn answers(atm: &Atm, name: &str) -> bool {
    ask(&directory(atm, name), &Request::Ping, Duration::from_secs(10)).unwrap() == Reply::Ok
}

/// Reads until `done` says so of all that is output.
fn read_until(link: &mut Link, mut done: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut all = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done(&all) {
        assert!(
            Instant::now() < deadline,
            "{:?}",
            String::from_utf8_lossy(&all[all.len().saturating_sub(300)..])
        );
        poll::wait(
            &[(link.fd(), Interest { read: true, write: link.unsent() > 0 })],
            Some(Duration::from_millis(50)),
        )
        .unwrap();
        link.flush().unwrap();
        assert_ne!(link.fill().unwrap(), Got::End, "the keeper closed");
        while let Some(said) = link.said().unwrap() {
            match said {
                Said::Screen(bytes) | Said::Output(bytes) => all.extend_from_slice(bytes),
                _ => {}
            }
        }
    }
    all
}

#[test]
fn four_floods_arrive_whole_and_none_in_anothers() {
    let atm = Atm::start();
    let names = ["a", "b", "c", "d"];
    let lines = 40_000;
    for name in names {
        // 40,000 lines of 50 bytes: a client that reads at all is never 4 MiB behind.
        let format = format!("session {name} %06.f {}", "x".repeat(30));
        let script =
            format!("stty -echo; echo ready; read go; seq -f '{format}' 1 {lines}; echo over; sleep 1000");
        atm.drop_spec(
            name,
            &format!("command: [sh, -c, \"{script}\"]\nterminal: {{columns: 80, rows: 24}}\n"),
        );
    }
    let mut clients: Vec<Client> = names
        .iter()
        .map(|name| {
            atm.wait_output(name, "ready");
            let mut client = Client::attach(&atm, 80, 24, &[name]);
            client.settle();
            client
        })
        .collect();
    let from: Vec<usize> = clients.iter().map(|client| client.raw.len()).collect();
    for client in &mut clients {
        client.types("go\r");
    }
    let met = wait_until(|| {
        clients.iter_mut().for_each(Client::read);
        clients.iter().zip(&from).all(|(client, from)| {
            client.raw[*from..].windows(6).rev().take(200).any(|part| part == b"over\r\n")
        })
    });
    assert!(met, "all floods end");
    for (name, (client, from)) in names.iter().zip(clients.iter().zip(from)) {
        atm.wait_output(name, "over"); // clients are told before the log
        for text in [String::from_utf8_lossy(&client.raw[from..]).into_owned(), atm.whole_log(name)] {
            let got: Vec<&str> = text.lines().filter(|line| line.contains("session ")).collect();
            assert_eq!(got.len(), lines, "{name}");
            for (number, line) in got.iter().enumerate() {
                assert_eq!(line.trim_end(), format!("session {name} {:06} {}", number + 1, "x".repeat(30)));
            }
        }
    }
}

#[test]
fn a_stopped_client_holds_up_nobody_and_is_shown_the_screen_when_it_goes_on() {
    let atm = Atm::start();
    let lines = 250_000; // 12 MB: three times what a client may be behind
    let script = format!(
        "stty -echo; echo ready; read go; seq -f '%06.f {}' 1 {lines}; echo over; read end",
        "x".repeat(40)
    );
    atm.drop_spec("a", &format!("command: [sh, -c, \"{script}\"]\n"));
    atm.wait_output("a", "ready");
    let mut stopped = Client::attach(&atm, 80, 24, &["a"]);
    stopped.settle();
    let mut other = Client::attach(&atm, 80, 24, &["a"]);
    other.settle();
    stopped.signal(19);
    other.types("go\r");
    other.shows("over");
    let before = resident_kib(keeper(&atm, "a"));
    assert!(before < 40 << 10, "{before} KiB");
    assert!(answers(&atm, "a"));
    assert!(atm.ok(&["peek", "a"]).contains("over"));
    stopped.signal(18);
    stopped.shows("over");
    stopped
        .until("the same", |stopped| stopped.lines() == other.lines() && stopped.cursor() == other.cursor());
    stopped.types("\r");
    assert_eq!((stopped.ends(), other.ends()), (0, 0));
}

#[test]
fn one_who_asks_for_the_screen_in_a_flood_misses_nothing_of_it() {
    let atm = Atm::start();
    let half = 10_000; // 410 kB: more than a socket takes, and less than a client may be behind
    let until = |file: &str| format!("while [ ! -e {file} ]; do sleep 0.02; done");
    let script = format!(
        "stty raw -echo; echo ready; {}; seq -f '%040.f' 1 {half}; echo half; {}; seq -f '%040.f' {} {}; echo over; \
         exec sleep 1000",
        until("go"),
        until("on"),
        half + 1,
        2 * half
    );
    let work = atm.path("").display().to_string();
    atm.drop_spec("a", &format!("command: [sh, -c, \"{script}\"]\nworkingDir: {work}\n"));
    atm.wait_output("a", "ready");
    let mut link = link(&atm, "a", 80, 24);
    read_until(&mut link, |all| String::from_utf8_lossy(all).contains("ready"));
    for (file, last) in [("go", "half\n"), ("on", "over\n")] {
        fs::write(atm.path(file), "").unwrap();
        assert!(wait_until(|| atm.log("a").ends_with(last)), "the flood ends");
        // As when a stopped client goes on.
        link.resize(WindowSize::of_cells(80, 24)).unwrap();
        assert!(answers(&atm, "a"));
    }
    let (mut printed, mut screens) = (Vec::new(), 0);
    assert!(
        wait_until(|| {
            link.fill().unwrap();
            while let Some(said) = link.said().unwrap() {
                match said {
                    Said::Output(bytes) => printed.extend_from_slice(bytes),
                    Said::Screen(_) => screens += 1,
                    _ => {}
                }
            }
            screens == 2 && printed.ends_with(b"over\n")
        }),
        "{screens} screens"
    );
    let printed = String::from_utf8(printed).unwrap();
    let numbers: Vec<u32> = printed.lines().filter_map(|line| line.parse().ok()).collect();
    assert!(numbers.iter().copied().eq(1..=2 * half), "{} lines", numbers.len());
}

#[test]
fn a_thousand_clients_that_die_leave_nothing_behind() {
    let atm = Atm::start();
    atm.drop_spec("a", "command: [sh, -c, 'stty -echo; echo ready; while read x; do echo got $x; done']\n");
    atm.wait_output("a", "ready");
    let pid = keeper(&atm, "a");
    let mut witness = link(&atm, "a", 80, 24);
    read_until(&mut witness, |all| !all.is_empty());
    let (fds, kib) = (descriptors(pid), resident_kib(pid));
    for number in 0..1000_u16 {
        let mut one = link(&atm, "a", 20 + number % 100, 5 + number % 50);
        if number % 3 == 0 {
            one.type_in(b"half a line").unwrap();
        }
        if number % 100 == 0 {
            let mut real = Client::attach(&atm, 80, 24, &["a"]);
            real.shows("ready");
            real.signal(9);
        }
    }
    witness.type_in(b"\rstill here\r").unwrap();
    read_until(&mut witness, |all| String::from_utf8_lossy(all).contains("got still here"));
    assert!(wait_until(|| descriptors(pid) == fds), "{} and {fds} descriptors", descriptors(pid));
    let now = resident_kib(pid);
    assert!(now < kib + (8 << 10), "{kib} KiB, then {now}");
}

#[test]
fn ten_thousand_resizes_end_at_the_last() {
    let atm = Atm::start();
    let script = "stty -echo; trap 'echo size $(stty size)' WINCH; echo ready; while true; do read x; done";
    atm.drop_spec("a", &format!("command: [sh, -c, \"{script}\"]\n"));
    atm.wait_output("a", "ready");
    let pid = keeper(&atm, "a");
    let mut link = link(&atm, "a", 80, 24);
    for number in 0..10_000_u16 {
        link.resize(WindowSize::of_cells(number % 3000, number.wrapping_mul(7))).unwrap();
        if number % 64 == 0 {
            link.fill().unwrap();
            while link.said().unwrap().is_some() {}
        }
    }
    link.resize(WindowSize::of_cells(77, 33)).unwrap();
    read_until(&mut link, |all| String::from_utf8_lossy(all).contains("size 33 77"));
    assert!(atm.wait_output("a", "size 33 77").matches("size ").count() < 2000);
    assert!(resident_kib(pid) < 120 << 10, "{} KiB", resident_kib(pid));
    assert!(answers(&atm, "a"));
}

#[test]
fn what_is_typed_at_a_program_that_does_not_read_waits_in_bounds() {
    let atm = Atm::start();
    atm.drop_spec("a", "command: [sh, -c, 'stty raw -echo; echo ready; sleep 1000']\n");
    atm.wait_output("a", "ready");
    let pid = keeper(&atm, "a");
    let before = resident_kib(pid);
    let mut typist = link(&atm, "a", 80, 24);
    let mut other = link(&atm, "a", 80, 24);
    typist.type_in(&vec![b'x'; 1 << 20]).unwrap();
    for _ in 0..50 {
        typist.flush().unwrap();
        assert!(answers(&atm, "a"));
    }
    assert!(typist.unsent() > 512 << 10, "the keeper takes no more than it must: {}", typist.unsent());
    assert!(resident_kib(pid) < before + (4 << 10));
    read_until(&mut other, |all| String::from_utf8_lossy(all).contains("ready"));
    drop(typist); // and one that leaves so does not make the keeper busy
    assert!(atm.ok(&["peek", "a"]).contains("ready"));
    rests(pid);
}

/// Floods, and reads nothing.
const DEAF_FLOOD: &str = "command: [sh, -c, \"stty raw -echo; echo ready; while [ ! -e go ]; do sleep 0.02; done; \
     seq -f '%040.f' 1 200000; echo over; exec sleep 1000\"]\n";

fn deaf_flood(atm: &Atm) {
    atm.drop_spec("a", &format!("{DEAF_FLOOD}workingDir: {}\n", atm.path("").display()));
    atm.wait_output("a", "ready");
}

fn flood(atm: &Atm) {
    fs::write(atm.path("go"), "").unwrap();
    assert!(wait_until(|| atm.log("a").ends_with("over\n")), "the flood ends");
}

#[test]
fn who_neither_reads_nor_is_read_makes_nobody_spin() {
    let atm = Atm::start();
    deaf_flood(&atm);
    // At the keeper: more typed than it takes, and more printed than the client takes.
    let mut typist = link(&atm, "a", 80, 24);
    read_until(&mut typist, |all| String::from_utf8_lossy(all).contains("ready"));
    // At the client: the same, as its terminal takes nothing.
    let mut stuck = Client::attach(&atm, 80, 24, &["a"]);
    stuck.settle();
    flood(&atm);
    typist.type_in(&vec![b'x'; 1 << 20]).unwrap();
    stuck.types_blindly(&vec![b'y'; 700 << 10]);
    assert!(wait_until(|| stuck.is_stuck()));
    rests(keeper(&atm, "a"));
    rests(stuck.pid());
    assert!(typist.unsent() > 0 && answers(&atm, "a"));
}

#[test]
fn the_last_word_reaches_a_client_that_was_behind() {
    let atm = Atm::start();
    deaf_flood(&atm);
    let mut behind = link(&atm, "a", 80, 24);
    read_until(&mut behind, |all| String::from_utf8_lossy(all).contains("ready"));
    flood(&atm);
    let size = WindowSize::of_cells(80, 24);
    let taking = Attach { size, read_only: false, take: true, history: 0 };
    let mut taker = Link::open(&directory(&atm, "a"), &taking).unwrap();
    read_until(&mut taker, |all| String::from_utf8_lossy(all).contains("over"));
    assert_eq!(atm.get("a")["status"]["attached"], 1, "who was let go counts no more");
    let (mut last, mut open) = (None, true);
    let deadline = Instant::now() + Duration::from_secs(60);
    while open && last.is_none() {
        assert!(Instant::now() < deadline, "neither a word nor the end");
        poll::wait(&[(behind.fd(), Interest::READ)], Some(Duration::from_millis(50))).unwrap();
        open = behind.fill().unwrap() != Got::End;
        while let Some(said) = behind.said().unwrap() {
            if let Said::Detached(why) = said {
                last = Some(why);
            }
        }
    }
    assert_eq!(last, Some(Detached::Taken));
}

#[test]
fn what_was_told_as_not_typed_is_never_typed() {
    let atm = Atm::start();
    let spec = "command: [sh, -c, 'stty raw -echo; echo ready; while [ ! -e go ]; do sleep 0.02; done; exec cat >got']\n";
    atm.drop_spec("a", &format!("{spec}workingDir: {}\n", atm.path("").display()));
    atm.wait_output("a", "ready");
    let typed = vec![Typed::Text("x".repeat(150 << 10))];
    let sent = ask(&directory(&atm, "a"), &Request::Type { typed }, Duration::from_millis(500));
    assert!(matches!(sent, Err(ClientError::Silent(_))), "{sent:?}");
    assert!(answers(&atm, "a"), "and so it has seen who gave up");
    fs::write(atm.path("go"), "").unwrap();
    atm.ok(&["send", "a", "--no-enter", "END"]);
    let got = || fs::read_to_string(atm.path("got")).unwrap_or_default();
    assert!(wait_until(|| got().ends_with("END")));
    let got = got();
    assert!(got.len() < 100 << 10 && got.trim_start_matches('x') == "END", "{}", got.len());
}

/// Private memory that was written to.
fn dirty_kib(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn what_a_large_terminal_took_is_given_back_although_the_output_never_pauses() {
    let atm = Atm::start();
    let script = "while :; do seq 1000000 1000300; sleep 0.05; done";
    atm.drop_spec("a", &format!("command: [sh, -c, '{script}']\nterminal: {{columns: 100, rows: 30}}\n"));
    atm.wait_output("a", "1000300");
    let pid = keeper(&atm, "a");
    let columns = |columns: u16| {
        let met = wait_until(|| {
            let json: serde_json::Value =
                serde_json::from_str(&atm.ok(&["peek", "a", "-o", "json"])).unwrap();
            json["size"]["columns"] == columns
        });
        assert!(met, "not {columns} columns");
    };
    let mut link = link(&atm, "a", 1000, 30);
    columns(1000);
    let printed = atm.log("a").len();
    assert!(wait_until(|| atm.log("a").len() > printed + (100 << 10)), "it does not print");
    link.resize(WindowSize::of_cells(40, 10)).unwrap();
    columns(40);
    drop(link);
    assert!(wait_until(|| dirty_kib(pid) < 4 << 10), "{} KiB", dirty_kib(pid));
}
