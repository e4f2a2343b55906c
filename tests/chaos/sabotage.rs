//! The judge is judged: what is done behind its back is seen.

use std::{
    fs,
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    field::{Kind, Order},
    harness::{Atm, is_alive, pause, signal, wait_until},
    judge::look,
    stage::Chaos,
};

/// The word that a failure begins with.
fn said(run: impl FnOnce()) -> String {
    let Err(panic) = catch_unwind(AssertUnwindSafe(run)) else { return "nothing".to_owned() };
    let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
    text.split(':').next().unwrap_or_default().to_owned()
}

fn playing(names: &[(&str, Kind)]) -> Chaos {
    static NUMBER: AtomicU64 = AtomicU64::new(1 << 40); // far from those of other tests
    let mut chaos = Chaos::down(Atm::new(), NUMBER.fetch_add(1, Ordering::Relaxed), "{}\n");
    for (name, kind) in names {
        chaos.declare_as(name, *kind);
    }
    chaos.atm.up();
    chaos.settle();
    chaos
}

/// Ends with whoever holds it.
struct Impostor(Child);

impl Impostor {
    fn of(token: &str) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000; :", token]).stdin(Stdio::null()).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        for child in crate::harness::descendants(self.0.id().cast_signed()) {
            signal(child, 9);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_session_that_is_replaced_without_a_reason_is_lost() {
    let mut chaos = playing(&[("ash", Kind::Writer)]);
    let (pid, _) = chaos.declared["ash"].process.unwrap();
    signal(pid, 9);
    assert!(wait_until(|| !is_alive(pid)));
    assert_eq!(said(|| chaos.settle()), "Lost");
}

#[test]
fn a_second_run_of_a_name_is_seen() {
    let mut chaos = playing(&[("ash", Kind::Writer)]);
    let impostor = Impostor::of(&format!("{}-ash-99", chaos.mark));
    assert!(wait_until(|| look(&chaos.mark).all.len() == 2));
    assert_eq!(said(|| chaos.settle()), "Doubled");
    drop(impostor);
    chaos.settle();
}

#[test]
fn what_was_stopped_and_runs_again_is_seen() {
    let mut chaos = playing(&[("ash", Kind::Writer)]);
    chaos.atm.ok(&["stop", "ash"]);
    let ash = chaos.declared.get_mut("ash").unwrap();
    (ash.order, ash.shaken) = (Order::Stop, true);
    chaos.settle();
    chaos.atm.ok(&["start", "ash"]);
    assert_eq!(said(|| chaos.settle()), "Doubled");
}

#[test]
fn what_nobody_declared_is_an_orphan_as_long_as_it_lives() {
    let mut chaos = playing(&[("ash", Kind::Writer)]);
    let impostor = Impostor::of(&format!("{}-elm-99", chaos.mark));
    assert!(wait_until(|| look(&chaos.mark).all.len() == 2));
    let why = chaos.unsettled(|_| true).unwrap();
    assert!(format!("{why:?}").starts_with("(Orphan"), "{why:?}");
    drop(impostor);
    chaos.settle();
}

#[test]
fn a_decoy_that_is_signalled_tells() {
    let chaos = playing(&[]);
    chaos.see_decoys();
    signal(chaos.decoys().next().unwrap(), 15);
    let told = chaos.atm.path("decoy-was-signalled");
    assert!(wait_until(|| fs::read_to_string(&told).is_ok_and(|text| text.ends_with('\n'))));
    assert_eq!(said(|| chaos.see_decoys()), "Signalled");
}

#[test]
fn output_that_is_missing_doubled_or_anothers_is_seen() {
    for damage in ["", "tokX-elm-1 4\n", "once more"] {
        let mut chaos = playing(&[("ash", Kind::Slow), ("elm", Kind::Once(3))]);
        while chaos.atm.whole_log("ash").lines().count() < 9 {
            pause();
        }
        let log = chaos.atm.path("log/ash.log");
        let text = fs::read_to_string(&log).unwrap();
        let line = text.lines().nth(5).unwrap();
        let mut file = fs::OpenOptions::new().append(true).open(&log).unwrap();
        match damage {
            // What is there already is written over by as many spaces.
            "" => fs::write(&log, text.replace(line, &" ".repeat(line.len()))).unwrap(),
            "once more" => file.write_all(format!("{line}\n").as_bytes()).unwrap(),
            other => file.write_all(other.as_bytes()).unwrap(),
        }
        // A line more, so that it is not the end that is damaged.
        let count = chaos.atm.whole_log("ash").lines().count();
        assert!(wait_until(|| chaos.atm.whole_log("ash").lines().count() > count + 1));
        assert_eq!(said(|| chaos.end()), "Output", "{damage:?}");
    }
}
