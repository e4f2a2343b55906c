//! Stopping: causes, graces, and trees that do not want to end.

use atm::api::{cause::StopReason, record::Exit};

use crate::support::Bench;

#[test]
fn a_stop_ends_the_command_and_tells_its_cause() {
    let bench = Bench::new();
    let mut keeper = bench.start(bench.intent("a", &["sleep", "1000"]));
    keeper.running();
    keeper.stop(None);
    let exit = keeper.exit();
    assert_eq!(exit.exit, Some(Exit::Signal(15)));
    assert_eq!(exit.cause.unwrap().reason, StopReason::ClientStop);
    assert!(
        keeper.record().stopping.is_some(),
        "the cause was in the record before the signal"
    );
}
