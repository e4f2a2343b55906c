//! Output: nothing missing, nothing twice.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::UnixStream,
    },
    time::Duration,
};

use atm::api::{
    activity,
    keeper::{FrameKind, MAX_FRAME, Reply, Request, encode},
    quantity::Size,
    record::{Exit, RunAs},
    spec::Terminal,
};

use crate::support::{Bench, Keeper, eventually, is_root, pause};

fn numbers(last: u32) -> String {
    use std::fmt::Write;
    (1..=last).fold(String::new(), |mut all, number| {
        writeln!(all, "{number}").unwrap();
        all
    })
}

#[test]
fn numbered_output_is_complete_across_rotations() {
    for terminal in [false, true] {
        let bench = Bench::new();
        let mut intent = bench.intent("a", &["sh", "-c", "seq 1 200000"]);
        if terminal {
            intent.spec.terminal = Terminal::Pty { columns: 80, rows: 24 };
        }
        intent.logs.max_size = Size(100_000);
        intent.logs.max_files = 1000;
        let mut keeper = bench.start(intent);
        keeper.running();
        assert_eq!(keeper.exit().exit, Some(Exit::Code(0)));
        assert!(keeper.intent.log_file.with_extension("log.5").exists(), "it was rotated");
        assert!(keeper.log().replace('\r', "") == numbers(200_000), "each line once and in order");
    }
}

#[test]
fn what_the_terminal_holds_at_the_end_is_in_the_log() {
    for _ in 0..20 {
        let bench = Bench::new();
        let mut intent = bench.intent("a", &["sh", "-c", "stty -opost; seq 1 2500"]);
        intent.spec.terminal = Terminal::Pty { columns: 80, rows: 24 };
        let mut keeper = bench.start(intent);
        keeper.exit();
        assert_eq!(keeper.log(), numbers(2500));
    }
}

#[test]
fn output_is_appended_to_that_of_earlier_runs() {
    let bench = Bench::new();
    for _ in 0..2 {
        bench.start(bench.intent("a", &["echo", "run"])).exit();
    }
    let mut last = bench.start(bench.intent("a", &["echo", "run"]));
    last.exit();
    assert_eq!(last.log(), "run\nrun\nrun\n");
}

#[test]
fn output_of_another_users_session_of_that_name_stays_its_own() {
    if !is_root("switching users") {
        return;
    }
    let bench = Bench::new();
    fs::set_permissions(bench.root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let run = |uid: u32, text: &str| {
        let mut intent = bench.intent("a", &["echo", text]);
        intent.user = RunAs::Uid(uid);
        intent.spec.working_dir = "/".to_owned();
        assert_eq!(bench.start(intent).exit().exit, Some(Exit::Code(0)));
    };
    let files = || {
        [".2", ".1", ""].map(|end| {
            let path = bench.root.path().join(format!("log/a.log{end}"));
            let text = fs::read_to_string(&path).ok()?;
            Some((fs::metadata(&path).unwrap().uid(), text))
        })
    };
    let file = |uid: u32, text: &str| Some((uid, text.to_owned()));
    run(65534, "secret");
    run(65534, "again");
    assert_eq!(files(), [None, None, file(65534, "secret\nagain\n")]);
    run(1, "other");
    assert_eq!(files(), [None, file(65534, "secret\nagain\n"), file(1, "other\n")]);
    // Nor does root write to a file that somebody else reads.
    run(0, "root");
    assert_eq!(files(), [file(65534, "secret\nagain\n"), file(1, "other\n"), file(0, "root\n")]);
    // An empty file may be held open by its owner: it is no new one.
    let path = bench.root.path().join("log/a.log");
    fs::write(&path, "").unwrap();
    let mut held = fs::File::open(&path).unwrap();
    run(1, "fresh");
    let mut seen = String::new();
    held.read_to_string(&mut seen).unwrap();
    assert_eq!((seen.as_str(), files()[2].clone()), ("", file(1, "fresh\n")));
}

fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_session_that_closes_its_streams_lives_on_and_costs_nothing() {
    for terminal in [false, true] {
        let bench = Bench::new();
        let mut intent = bench.intent("a", &["sh", "-c", "exec <&- >&- 2>&-; sleep 1000; exit"]);
        if terminal {
            intent.spec.terminal = Terminal::Pty { columns: 80, rows: 24 };
        }
        let mut keeper = bench.start(intent);
        let child = keeper.running();
        eventually("the streams are closed", || {
            (fs::read_dir(format!("/proc/{child}/fd")).unwrap().count() == 0).then_some(())
        });
        let before = cpu_ticks(keeper.process.id());
        for _ in 0..100 {
            pause();
            assert_eq!(keeper.ask(&Request::Ping), Reply::Ok);
        }
        // A spinning keeper takes all of it: over 20 ticks.
        assert!(cpu_ticks(keeper.process.id()) - before < 10);
        keeper.stop(Some(0));
        keeper.exit();
    }
}

fn activity_of(keeper: &Keeper) -> activity::Activity {
    let page = fs::read(keeper.directory.join("activity")).unwrap();
    activity::read(&page, &keeper.intent.boot_id).unwrap()
}

#[test]
fn the_activity_page_tells_of_output() {
    let bench = Bench::new();
    let go = bench.root.path().join("go");
    let script = format!("until [ -e {} ]; do sleep 0.01; done; echo now; sleep 1000", go.display());
    let mut keeper = bench.start(bench.intent("a", &["sh", "-c", &script]));
    keeper.running();
    assert_eq!(activity_of(&keeper).output, None);
    let before = atm::host::clock::monotonic();
    fs::write(&go, "").unwrap();
    keeper.logged("now");
    let after = eventually("output is told", || activity_of(&keeper).output);
    assert!(before < after && after < atm::host::clock::monotonic());
    assert_eq!(activity_of(&keeper).output_bytes, 4);
}

fn connect(keeper: &Keeper) -> UnixStream {
    let stream = UnixStream::connect(keeper.directory.join("attach.sock")).unwrap();
    stream.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    stream
}

/// Whether the keeper has closed the connection: reads what it sent before, up to the end.
fn is_closed(mut stream: &UnixStream) -> bool {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn bad_peers_are_closed_and_slow_ones_hold_up_nobody() {
    let bench = Bench::new();
    let mut keeper = bench.start(bench.intent("a", &["sleep", "1000"]));
    keeper.running();
    let garbage: [&[u8]; 4] =
        [b"GET / HTTP/1.1\r\n\r\n", &(MAX_FRAME + 1).to_be_bytes(), &[0, 0, 0, 0], &[0, 0, 0, 1, 99]];
    for bytes in garbage {
        let mut stream = connect(&keeper);
        stream.write_all(bytes).unwrap();
        assert!(is_closed(&stream), "{bytes:?}");
    }
    let mut wrong = connect(&keeper);
    wrong.write_all(&encode(FrameKind::Request, b"{\"verb\":\"dance\"}").unwrap()).unwrap();
    wrong.shutdown(std::net::Shutdown::Write).unwrap();
    let mut told = Vec::new();
    wrong.read_to_end(&mut told).unwrap();
    let told = String::from_utf8_lossy(&told);
    assert!(told.contains("not a request"), "{told:?}");

    let half: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = connect(&keeper);
            let _ = stream.write_all(&[0, 0]); // may be gone already, to make room for a later one
            stream
        })
        .collect();
    assert_eq!(keeper.ask(&Request::Ping), Reply::Ok);
    let open = fs::read_dir(format!("/proc/{}/fd", keeper.process.id())).unwrap().count();
    assert!(open < 60, "{open} descriptors");
    drop(half);
    // One who asks and never reads.
    let mut deaf = connect(&keeper);
    deaf.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let ping = encode(FrameKind::Request, b"{\"verb\":\"ping\"}").unwrap().repeat(1000);
    for _ in 0..100 {
        if deaf.write_all(&ping).is_err() {
            break;
        }
    }
    assert_eq!(keeper.ask(&Request::Ping), Reply::Ok);
}
