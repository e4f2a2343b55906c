//! The rounds: change files, strike, start again, judge.

use crate::{
    field::Kind,
    harness::{Atm, signal},
    stage::Chaos,
};

const NAMES: [&str; 7] = ["ash", "birch", "cedar", "elm", "fir", "hazel", "larch"];
/// Of all tests together.
const ROUNDS: u64 = 200;
const TESTS: u64 = 4;

/// One thing that a person might do to the files.
fn meddle(chaos: &mut Chaos, removed: &mut u32) {
    let name = *chaos.dice.pick(&NAMES).unwrap();
    let Some(declared) = chaos.declared.get(name) else { return chaos.declare(name, &Kind::ALL) };
    let is_once = declared.kind.is_once();
    match chaos.dice.below(10) {
        0..=1 => chaos.declare(name, &Kind::ALL),
        // A changed spec, whatever changed, lets what runs once run once more.
        2..=3 if !is_once => chaos.reprioritise(name),
        2..=5 => chaos.reformat(name),
        6..=8 if *removed < 2 => {
            *removed += 1;
            chaos.forget(name);
        }
        _ => chaos.replace(name, &Kind::ALL),
    }
}

/// SIGKILL to one keeper.
fn bereave(chaos: &mut Chaos) {
    let keepers = chaos.atm.keepers();
    let Some(keeper) = chaos.dice.pick(&keepers).cloned() else { return };
    let name = keeper.argv.last().unwrap();
    chaos.note(format!("kill the keeper of {name}, {}", keeper.pid));
    chaos.bereave(name);
    signal(keeper.pid, 9);
}

fn round(chaos: &mut Chaos, number: u64) {
    chaos.note(format!("-- round {number}"));
    let mut removed = 0;
    for _ in 0..=chaos.dice.below(4) {
        meddle(chaos, &mut removed);
        if chaos.dice.percent(30) {
            chaos.dice.pause(20);
        }
    }
    chaos.dice.pause(30);
    if chaos.dice.percent(15) {
        bereave(chaos);
    }
    chaos.note("kill the daemon");
    chaos.atm.kill_daemon();
    if chaos.dice.percent(15) {
        bereave(chaos);
    }
    if chaos.dice.percent(5) {
        chaos.wipe();
    }
    if chaos.dice.percent(40) {
        meddle(chaos, &mut removed);
    }
    if chaos.dice.percent(25) {
        // Each of these gets as far as it comes.
        for _ in 0..=chaos.dice.below(3) {
            chaos.atm.launch();
            let most = if chaos.dice.percent(50) { 15 } else { 250 };
            chaos.dice.pause(most);
            chaos.note("and again");
            chaos.atm.kill_daemon();
        }
    }
    chaos.atm.up();
    chaos.settle();
}

fn chaos(index: u64, config: &str) {
    let read = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let clock = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    let seed = read("ATM_CHAOS_SEED").unwrap_or(u64::from(clock)) + index;
    let rounds = read("ATM_CHAOS_ROUNDS").unwrap_or(ROUNDS).div_ceil(TESTS);
    eprintln!("ATM_CHAOS_SEED={} (test {index})", seed - index);
    let mut chaos = Chaos::down(Atm::new(), seed, config);
    chaos.atm.up();
    for number in 1..=rounds {
        round(&mut chaos, number);
    }
    chaos.end();
}

#[test]
fn nothing_is_lost_with_the_defaults() {
    chaos(0, "{}\n");
}

#[test]
fn nothing_is_lost_while_logs_are_rotated() {
    chaos(1, "logs: {maxSize: 4KiB, maxFiles: 1000}\n");
}

#[test]
fn nothing_is_lost_where_not_all_have_room() {
    // Who runs changes with each change of priority, so only that the limit is never passed would be certain:
    // the limit is such that all have room, but only just.
    chaos(2, "maxSessions: 7\n");
}

#[test]
fn nothing_is_lost_with_frequent_resyncs() {
    chaos(3, "resyncInterval: 1s\nlogs: {maxSize: 16KiB, maxFiles: 1000}\n");
}
