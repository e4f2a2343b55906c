//! Leaving where something is in the way: a terminal that takes nothing, a keeper or a daemon that is not there.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixListener,
    time::{Duration, Instant},
};

use atm::api::{
    attach::ATTACH_PROTOCOL,
    keeper::{FrameKind, Hello, KEEPER_PROTOCOL, encode},
    name::{RunId, SessionName},
};

use crate::{
    client::Client,
    harness::{Atm, signal, wait_until},
};

fn with(spec: &str) -> Atm {
    let atm = Atm::start();
    atm.drop_spec("a", &format!("{spec}workingDir: {}\n", atm.path("").display()));
    atm.wait_phase("a", "Running");
    atm
}

#[test]
fn a_terminal_that_is_behind_is_restored_though_a_key_waits() {
    let modes = r"printf '\\033[?1049h\\033[?1003h\\033[?1006h\\033[?2004h\\033[>1ufull'";
    let atm = with(&format!("command: [sh, -c, \"{modes}; read x; exec yes\"]\n"));
    let mut client = Client::attach(&atm, 80, 24, &["a"]);
    client.shows("full");
    client.settle();
    client.types("\r");
    assert!(wait_until(|| client.is_stuck()));
    client.fill();
    client.types_blindly(b"\x1cd");
    assert!(wait_until(|| client.unread() == 0));
    client.types_blindly(b"x");
    assert_eq!(client.ends(), 0);
    client.said("[detached from a]");
    client.is_restored();
}

#[test]
fn who_was_away_at_the_end_is_told_how_it_ended() {
    let atm = with(
        "command: [sh, -c, \"stty -echo; echo ready; read x; seq -f '%040.f' 1 100000; exit 3\"]\nrestartPolicy: Never\n",
    );
    let mut client = Client::attach(&atm, 80, 24, &["a"]);
    client.shows("ready");
    client.settle();
    client.signal(19);
    atm.ok(&["send", "a", ""]);
    atm.ok(&["send", "a", "--key", "enter"]);
    atm.wait_phase("a", "Failed");
    client.signal(18);
    assert_eq!(client.ends(), 3, "{}", client.text());
    client.shows("[a ended: exit status 3]");
    client.is_restored();
}

#[test]
fn who_is_let_go_without_a_word_by_a_keeper_that_lives_is_detached() {
    let atm = Atm::new();
    let directory = atm.runtime().join("sessions/a");
    fs::create_dir_all(&directory).unwrap();
    let listener = UnixListener::bind(directory.join("attach.sock")).unwrap();
    let hello = Hello {
        protocol: KEEPER_PROTOCOL,
        version: String::new(),
        name: SessionName::new("a").unwrap(),
        run_id: "01890a5d-ac96-774b-bcce-b302099a8057".parse::<RunId>().unwrap(),
        keeper_pid: 1,
        attach: ATTACH_PROTOCOL,
    };
    let hello = encode(FrameKind::Hello, &serde_json::to_vec(&hello).unwrap()).unwrap();
    let mut client = Client::attach(&atm, 80, 24, &["a"]);
    let keeper = std::thread::spawn(move || {
        // One that attaches and is closed upon in the middle of a frame, and one that looks whether anybody is there.
        for last in [&[0, 0, 4, 0, 19][..], &[]] {
            let (mut peer, _) = listener.accept().unwrap();
            peer.write_all(&hello).unwrap();
            if !last.is_empty() {
                peer.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                assert!(peer.read(&mut [0; 1000]).unwrap() > 0);
                peer.write_all(last).unwrap();
            }
        }
    });
    assert_eq!(client.ends(), 0, "{}", client.text());
    client.shows("[detached from a: its keeper let go of this terminal]");
    client.is_restored();
    keeper.join().unwrap();
}

const FAILS: &str =
    "command: [sh, -c, 'echo up; read x; exit 1']\nrestartPolicy: Always\nbackoff: {initial: 1h, max: 1h}\n";

#[test]
fn a_wait_for_the_next_run_is_left_by_ctrl_c_whatever_the_detach_key() {
    let atm = with(FAILS);
    let mut client = Client::attach(&atm, 80, 24, &["a", "--detach-key", "none"]);
    client.shows("up");
    client.settle();
    client.types("\r");
    client.shows("ctrl-c leaves]");
    client.types("\x1dlost\x1cd\x03");
    assert_eq!(client.ends(), 0);
    client.is_restored();
}

#[test]
fn a_wait_for_the_next_run_is_left_though_the_daemon_hangs() {
    let atm = with(FAILS);
    let mut client = Client::attach(&atm, 80, 24, &["a"]);
    client.shows("up");
    client.settle();
    client.types("\r");
    client.shows("ctrl-c leaves]");
    signal(atm.daemon_pid(), 19);
    let begun = Instant::now();
    client.types("\x03");
    let code = client.ends();
    signal(atm.daemon_pid(), 18);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    // By the key, or because nobody says what becomes of the session.
    assert!(code == 0 || code == 1, "{code}");
    client.is_restored();
}

/// Its keeper ends while somebody is about to speak with it.
#[test]
fn a_session_that_closes_on_who_sends_is_started() {
    let atm = with(
        "command: [sh, -c, 'echo up; while read -r x; do echo got $x; [ $x != end ] || exit 0; done']\n",
    );
    atm.wait_output("a", "up");
    atm.ok(&["send", "a", "end"]);
    atm.wait_phase("a", "Succeeded");
    let socket = atm.runtime().join("sessions/a/attach.sock");
    let _ = fs::remove_file(&socket);
    fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    let ending = std::thread::spawn(move || drop(listener.accept().unwrap()));
    atm.ok(&["send", "a", "again"]);
    ending.join().unwrap();
    atm.wait_output("a", "got again");
}
