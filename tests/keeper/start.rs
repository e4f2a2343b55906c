//! Starting: what runs, what cannot, and what is told.

use atm::api::{keeper::StartReport, record::Exit};

use crate::support::Bench;

#[test]
fn a_command_runs_and_its_exit_is_told() {
    let bench = Bench::new();
    let mut keeper = bench.start(bench.intent("a", &["sh", "-c", "echo out; echo err >&2; exit 3"]));
    let Some(StartReport::Running { child, uid, .. }) = keeper.report() else {
        panic!("it runs")
    };
    assert_eq!(uid, rustix::process::geteuid().as_raw());
    let exit = keeper.exit();
    assert_eq!(
        (exit.exit, exit.cause, exit.start_error),
        (Some(Exit::Code(3)), None, None)
    );
    assert_eq!(exit.run_id, keeper.intent.run_id);
    assert_eq!(keeper.log(), "out\nerr\n");
    let record = keeper.record();
    assert!(record.executed);
    assert_eq!(
        (record.child, record.keeper.pid),
        (child, keeper.process.id().cast_signed())
    );
    assert!(keeper.marked().is_empty());
}
