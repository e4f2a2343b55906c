//! What is known of output, beside it: times, runs, streams, and limits that change while it is written.

use std::{
    fmt::Write,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use atm::api::{
    keeper::{Reply, Request},
    log_index::{Bytes, Header, Kind, LENGTH, Record, Stream},
    quantity::{Dur, Size},
    record::{Exit, Intent, RunAs},
    time::Timestamp,
};

use crate::support::{Bench, Keeper, eventually, is_root};

fn path_of(log: &Path) -> PathBuf {
    PathBuf::from(format!("{}.idx", log.display()))
}

/// All of an index; it must be whole and belong to its log.
fn read(log: &Path) -> Vec<Record> {
    let bytes = fs::read(path_of(log)).unwrap();
    let (blocks, rest) = bytes.as_chunks::<LENGTH>();
    assert_eq!(rest, [0_u8; 0], "{}", log.display());
    let about = fs::metadata(log).unwrap();
    assert_eq!(Header::decode(&blocks[0]), Some(Header { inode: about.ino() }), "{}", log.display());
    let records: Vec<_> = blocks[1..].iter().map(|block: &Bytes| Record::decode(block).unwrap()).collect();
    assert!(records.is_sorted_by_key(|record| (record.offset, record.at)), "{records:?}");
    assert!(records.iter().all(|record| record.offset <= about.len()), "{records:?}");
    records
}

fn kinds(log: &Path) -> Vec<(u64, Kind)> {
    read(log).into_iter().map(|record| (record.offset, record.kind)).collect()
}

fn run(bench: &Bench, script: &str, change: impl FnOnce(&mut Intent)) -> Keeper {
    let mut intent = bench.intent("a", &["sh", "-c", script]);
    change(&mut intent);
    let mut keeper = bench.start(intent);
    assert_eq!(keeper.exit().exit, Some(Exit::Code(0)));
    keeper
}

#[test]
fn streams_are_told_apart_and_runs_are_marked() {
    let bench = Bench::new();
    let one = run(&bench, "echo out", |_| {});
    // Each line is waited for, so that the order is the script's.
    let log = one.intent.log_file.clone();
    let wait = |size: u64| format!("until [ $(stat -c %s {}) = {size} ]; do sleep 0.01; done", log.display());
    let script = format!("echo err >&2; {}; echo out; {}; echo again", wait(8), wait(12));
    let two = run(&bench, &script, |_| {});
    assert_eq!(two.log(), "out\nerr\nout\nagain\n");
    let times = |(_, kind): &(u64, Kind)| !matches!(kind, Kind::Time(_));
    let told: Vec<_> = kinds(&log).into_iter().filter(times).collect();
    let (first, second) = (one.intent.run_id, two.intent.run_id);
    let expected = [
        (0, Kind::RunStart(first)),
        (0, Kind::Stream(Stream::Output)),
        (4, Kind::RunEnd(first)),
        (4, Kind::RunStart(second)),
        (4, Kind::Stream(Stream::Error)),
        (8, Kind::Stream(Stream::Output)),
        (18, Kind::RunEnd(second)),
    ];
    assert_eq!(told, expected);
    assert_eq!(fs::metadata(path_of(&log)).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_terminal_is_one_stream() {
    let bench = Bench::new();
    let terminal = atm::api::spec::Terminal::Pty { columns: 80, rows: 24 };
    let keeper = run(&bench, "echo out; echo err >&2", |intent| intent.spec.terminal = terminal);
    let id = keeper.intent.run_id;
    let mut told = kinds(&keeper.intent.log_file);
    told.retain(|(_, kind)| !matches!(kind, Kind::Time(_)));
    assert_eq!(told, [(0, Kind::RunStart(id)), (10, Kind::RunEnd(id))]);
}

#[test]
fn an_index_is_rotated_and_removed_with_its_log() {
    let bench = Bench::new();
    let mut intent = bench.intent("a", &["sh", "-c", "seq 1 20000"]);
    intent.logs.max_size = Size(10_000);
    intent.logs.max_files = 4;
    let mut keeper = bench.start(intent);
    keeper.exit();
    let log = &keeper.intent.log_file;
    let old = |number: u32| PathBuf::from(format!("{}.{number}", log.display()));
    let id = keeper.intent.run_id;
    for path in [old(3), old(2), old(1), log.clone()] {
        let told = kinds(&path);
        assert_eq!(told[..2], [(0, Kind::Time(id)), (0, Kind::Stream(Stream::Output))], "{}", path.display());
    }
    let mut files: Vec<_> = fs::read_dir(log.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let expected =
        ["a.log", "a.log.1", "a.log.1.idx", "a.log.2", "a.log.2.idx", "a.log.3", "a.log.3.idx", "a.log.idx"];
    assert_eq!(files, expected);
}

#[test]
fn output_that_goes_on_gets_times() {
    let bench = Bench::new();
    let keeper = run(&bench, "for i in 1 2 3 4 5 6; do echo $i; sleep 0.5; done", |_| {});
    let log = &keeper.intent.log_file;
    let told = read(log);
    let id = keeper.intent.run_id;
    let times: Vec<_> = told.iter().filter(|record| record.kind == Kind::Time(id)).collect();
    assert!((1..=3).contains(&times.len()), "about one a second: {told:?}");
    // What was written, as the file system dates it, is dated alike.
    let (begin, end) = (told.first().unwrap().at, told.last().unwrap().at);
    assert!(end.duration_since(begin).as_secs() >= 3, "{told:?}");
}

/// Times can be searched by halves also where the wall clock was set back.
#[test]
fn times_never_decrease() {
    let bench = Bench::new();
    let first = run(&bench, "echo 1", |_| {});
    let log = first.intent.log_file.clone();
    let future = Timestamp::from_second(4_000_000_000).unwrap();
    let last = Record { offset: 2, at: future, kind: Kind::Time(first.intent.run_id) };
    let mut index = fs::File::options().append(true).open(path_of(&log)).unwrap();
    std::io::Write::write_all(&mut index, &last.encode()).unwrap();
    let second = run(&bench, "echo 2", |_| {});
    let told = read(&log);
    assert_eq!(
        told.last().map(|record| (record.at, record.kind)),
        Some((future, Kind::RunEnd(second.intent.run_id)))
    );
}

/// Whatever stands in the place of an index, nothing of the output is lost, and where it can be the index is begun
/// anew.
#[test]
fn a_damaged_index_costs_no_output() {
    let bench = Bench::new();
    let first = run(&bench, "echo 1", |_| {});
    let log = first.intent.log_file.clone();
    let index = path_of(&log);
    let good = fs::read(&index).unwrap();
    let mut expected = "1\n".to_owned();
    let another = [good[..LENGTH].to_vec(), [7; LENGTH].to_vec()].concat();
    for (number, bytes) in [&b""[..], b"short", &[0xff; 4096], &another].into_iter().enumerate() {
        fs::write(&index, bytes).unwrap();
        let keeper = run(&bench, &format!("echo {number}"), |_| {});
        writeln!(expected, "{number}").unwrap();
        assert_eq!(keeper.log(), expected);
        assert_eq!(kinds(&log)[0].1, Kind::RunStart(keeper.intent.run_id), "begun anew");
    }
    // Cut off in the middle of a record: what is before it stays.
    let records = read(&log).len();
    let cut = fs::File::options().write(true).open(&index).unwrap();
    cut.set_len(cut.metadata().unwrap().len() - 7).unwrap();
    let keeper = run(&bench, "echo cut", |_| {});
    expected.push_str("cut\n");
    assert_eq!((keeper.log(), read(&log).len()), (expected.clone(), records - 1 + 3));

    let victim = bench.root.path().join("victim");
    fs::write(&victim, "safe").unwrap();
    for make in [
        (|path: &Path, _: &Path| fs::create_dir(path).unwrap()) as fn(&Path, &Path),
        |path, victim| std::os::unix::fs::symlink(victim, path).unwrap(),
        |path, _| {
            let kind = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, path, kind, rustix::fs::Mode::RUSR, 0).unwrap();
        },
    ] {
        let _ = fs::remove_file(&index);
        let _ = fs::remove_dir(&index);
        make(&index, &victim);
        let keeper = run(&bench, "echo odd", |_| {});
        expected.push_str("odd\n");
        assert_eq!(keeper.log(), expected);
    }
    assert_eq!(fs::read_to_string(&victim).unwrap(), "safe");
}

#[test]
fn an_index_belongs_to_the_sessions_user() {
    if !is_root("switching users") {
        return;
    }
    let bench = Bench::new();
    fs::set_permissions(bench.root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let user = |uid| {
        move |intent: &mut Intent| {
            intent.user = RunAs::Uid(uid);
            intent.spec.working_dir = "/".to_owned();
        }
    };
    let log = run(&bench, "echo secret", user(65534)).intent.log_file.clone();
    let owner = |log: &Path| fs::metadata(path_of(log)).unwrap().uid();
    assert_eq!(owner(&log), 65534);
    let keeper = run(&bench, "echo other", user(1));
    let old = PathBuf::from(format!("{}.1", log.display()));
    assert_eq!((owner(&old), owner(&log)), (65534, 1));
    assert_eq!(kinds(&log)[0], (0, Kind::RunStart(keeper.intent.run_id)));
    read(&old);
}

#[test]
fn a_log_that_is_emptied_gets_a_new_index() {
    let bench = Bench::new();
    let go = bench.root.path().join("go");
    let script = format!("echo many words; until [ -e {} ]; do sleep 0.01; done; echo new >&2", go.display());
    let mut keeper = bench.start(bench.intent("a", &["sh", "-c", &script]));
    keeper.logged("many words");
    let log = keeper.intent.log_file.clone();
    fs::write(&log, "").unwrap();
    fs::write(&go, "").unwrap();
    keeper.exit();
    assert_eq!(fs::read_to_string(&log).unwrap(), "new\n");
    let id = keeper.intent.run_id;
    let told = kinds(&log);
    assert_eq!(told, [(0, Kind::Time(id)), (0, Kind::Stream(Stream::Error)), (4, Kind::RunEnd(id))]);
}

#[test]
fn limits_change_while_output_is_written() {
    let bench = Bench::new();
    let step = bench.root.path().join("step");
    let script = format!(
        "seq 1 5000; until [ -e {} ]; do sleep 0.01; done; seq 5001 10000; sleep 1000",
        step.display()
    );
    let mut keeper = bench.start(bench.intent("a", &["sh", "-c", &script]));
    keeper.running();
    keeper.logged("\n5000\n");
    let old = |number: u32| PathBuf::from(format!("{}.{number}", keeper.intent.log_file.display()));
    assert!(!old(1).exists());
    let mut logs = keeper.intent.logs;
    (logs.max_size, logs.max_files) = (Size(4000), 3);
    let update = |logs| Request::Update {
        generation: 1,
        launch: keeper.intent.launch.clone(),
        spec: Box::new(keeper.intent.spec.clone()),
        logs,
    };
    assert_eq!(keeper.ask(&update(Some(logs))), Reply::Ok);
    assert_eq!(keeper.record().intent.logs, logs, "the next daemon knows them");
    // As an older daemon asks: they stay.
    assert_eq!(keeper.ask(&update(None)), Reply::Ok);
    assert_eq!(keeper.record().intent.logs, logs);
    fs::write(&step, "").unwrap();
    keeper.logged("\n10000\n");
    assert!(old(2).exists() && !old(3).exists());
    assert!(fs::metadata(old(1)).unwrap().len() <= 4000);
    // Fewer files: the others go at once, and not with the next rotation.
    logs.max_files = 2;
    logs.max_age = Dur(std::time::Duration::from_secs(60));
    assert_eq!(keeper.ask(&update(Some(logs))), Reply::Ok);
    assert!(old(1).exists() && !old(2).exists() && !path_of(&old(2)).exists());
    keeper.stop(Some(0));
    eventually("the end", || keeper.process.try_wait().unwrap());
    keeper.exit();
}
