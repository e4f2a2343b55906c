//! D01, D09, D10: records that are damaged, newer or gone, while what they tell of lives.

use std::{fs, os::unix::fs::FileExt as _};

use super::{
    SLEEPER,
    harness::{Atm, is_alive, wait_until},
};

/// What becomes of a file; `None`: it is gone.
type Damage = fn(&[u8]) -> Option<Vec<u8>>;

/// What remains of a file whose damage was noticed.
fn set_aside(path: &std::path::Path) -> bool {
    std::path::PathBuf::from(format!("{}.corrupt-1", path.display())).exists()
}

#[test]
fn a_live_session_is_adopted_whatever_became_of_its_record() {
    let mut atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    let record = atm.run_file("a", "record.json");
    let damages: [(&str, Damage); 7] = [
        ("cut", |bytes| Some(bytes[..bytes.len() / 2].to_vec())),
        ("empty", |_| Some(Vec::new())),
        ("zero", |bytes| Some(vec![0; bytes.len()])),
        ("noise", |bytes| Some(bytes.iter().map(|byte| byte ^ 0x55).collect())),
        ("another thing", |_| Some(b"[]".to_vec())),
        ("newer", |bytes| {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            assert!(text.contains("\"version\":1"));
            Some(text.replace("\"version\":1", "\"version\":99").into_bytes())
        }),
        ("gone", |_| None),
    ];
    for (what, damage) in damages {
        atm.kill_daemon();
        match damage(&fs::read(&record).unwrap()) {
            Some(bytes) => fs::write(&record, bytes).unwrap(),
            None => fs::remove_file(&record).unwrap(),
        }
        atm.up();
        assert_eq!(atm.wait_pid("a"), pid, "{what}");
        assert!(is_alive(pid) && atm.marked().contains(&pid), "{what}");
        let _only = atm.keeper("a");
        let text = fs::read_to_string(&record).unwrap();
        assert!(text.contains("\"version\":1,"), "{what}: its keeper did not write it anew: {text}");
    }
    // The newer one can still be read by the program that it is from.
    let kept = (1..=6).map(|n| fs::read_to_string(format!("{}.corrupt-{n}", record.display())));
    assert!(kept.into_iter().any(|text| text.is_ok_and(|text| text.contains("\"version\":99"))));
    assert!(atm.count_events("a", "RecordDamaged") + atm.daemon_log().matches("RecordDamaged").count() > 0);
    atm.ok(&["stop", "a"]);
    assert!(!is_alive(pid));
}

#[test]
fn no_flipped_byte_of_a_record_loses_or_doubles_a_session() {
    let mut atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    let record = atm.run_file("a", "record.json");
    let mut at = 1;
    loop {
        atm.kill_daemon();
        let bytes = fs::read(&record).unwrap();
        let Some(byte) = bytes.get(at) else { break };
        // The lowest bit makes another digit or letter of most, which is damage that looks like sense.
        let file = fs::OpenOptions::new().write(true).open(&record).unwrap();
        file.write_all_at(&[byte ^ 1], at as u64).unwrap();
        atm.up();
        let met = wait_until(|| {
            let session = atm.get("a");
            session["status"]["phase"] == "Running" && session["status"]["pid"] == pid
        });
        assert!(met, "byte {at} of {:?}: {:#}", String::from_utf8_lossy(&bytes), atm.get("a"));
        let _only = atm.keeper("a");
        assert!(is_alive(pid));
        at += 37;
    }
}

/// The rest of the tree ends, the result is told as lost, and what runs once has run.
#[test]
fn a_damaged_exit_record_counts_as_a_lost_keeper() {
    let mut atm = Atm::start();
    let once = atm.counting("once", "read line < go; exit 0");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        atm.path("go"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let home = atm.path("").display().to_string();
    atm.drop_spec("once", &format!("{once}restartPolicy: Never\nworkingDir: {home}\n"));
    let pid = atm.wait_pid("once");
    atm.kill_daemon();
    fs::write(atm.path("go"), "now\n").unwrap();
    let exit = atm.run_file("once", "exit.json");
    assert!(wait_until(|| exit.exists() && !is_alive(pid) && atm.keepers().is_empty()));
    fs::write(&exit, "{").unwrap();
    atm.up();
    let session = atm.wait_phase("once", "Failed");
    assert_eq!(session["status"]["cause"]["reason"], "KeeperLost", "{session:#}");
    assert!(set_aside(&exit));
    atm.restart_daemon();
    atm.settle();
    assert_eq!(atm.wait_phase("once", "Failed")["status"]["cause"]["reason"], "KeeperLost");
    assert_eq!(atm.runs("once"), 1);
}

#[test]
fn damaged_state_loses_no_live_session_and_repeats_no_finished_one() {
    let mut atm = Atm::start();
    let once = atm.counting("once", "exit 7");
    atm.drop_spec("once", &format!("{once}restartPolicy: Never\n"));
    atm.drop_spec("live", SLEEPER);
    let pid = atm.wait_pid("live");
    atm.wait_phase("once", "Failed");
    for damage in ["", "{", "\0\0\0\0", "{\"version\":99}"] {
        atm.kill_daemon();
        for name in ["once", "live"] {
            fs::write(atm.memory_file(name), damage).unwrap();
        }
        atm.up();
        atm.settle();
        assert_eq!(atm.wait_pid("live"), pid, "{damage:?}");
        let _only = atm.keeper("live");
        let session = atm.wait_phase("once", "Failed");
        assert_eq!(session["status"]["exit"]["code"], 7, "{damage:?}");
        assert_eq!(atm.runs("once"), 1, "{damage:?}");
        assert!(set_aside(&atm.memory_file("once")));
    }
}

/// Whose keepers are ours is told by the keepers themselves, where the state does not know any more.
#[test]
fn a_damaged_instance_loses_no_live_session() {
    let mut atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    let instance = atm.path("state/instance.json");
    for damage in [Some("{"), Some(""), None] {
        let before = fs::read_to_string(&instance).unwrap();
        let id = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["instance"].clone();
        atm.kill_daemon();
        match damage {
            Some(text) => fs::write(&instance, text).unwrap(),
            None => fs::remove_file(&instance).unwrap(),
        }
        atm.up();
        atm.settle();
        // First of all, so that the test finds its processes again, whatever else goes wrong.
        let after = fs::read_to_string(&instance).unwrap();
        if id(&before) != id(&after) {
            super::signal(atm.keeper("a"), 15);
        }
        assert_eq!(id(&before), id(&after), "{damage:?}");
        assert_eq!(atm.wait_pid("a"), pid, "{damage:?}");
    }
    atm.ok(&["stop", "a"]);
    assert!(!is_alive(pid));
}
