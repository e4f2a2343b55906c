//! Typing for clients of the socket, at keepers that are slow and runs that end.

use super::*;
use crate::{
    api::{control::ErrorKind, keys::Key, record::Exit, send::SendParams},
    daemon::{sends::SendError, server::failure::Failure, view::Viewer},
};

const ROOT: Viewer = Viewer { uid: 0, privileged: true };

fn text(name: &SessionName) -> SendParams {
    SendParams { name: name.clone(), text: Some("x".into()), keys: Vec::new(), enter: true, run_id: None }
}

fn told(result: Result<bool, SendError>) -> (ErrorKind, String) {
    let Failure { kind, message } = result.expect_err("nothing went wrong").into();
    (kind, message)
}

#[tokio::test(start_paused = true)]
async fn who_waits_behind_one_that_hangs_is_told_in_time_and_types_nothing() {
    with_daemon("{}", async |field| {
        let name = field.write("a", "command: x\n");
        field.until_phase(&name, Phase::Running).await;
        field.keepers().behave(&name, |manner| manner.answers = None);
        let begun = tokio::time::Instant::now();
        let params = text(&name);
        let (first, others) = futures::join!(
            field.daemon.send(&params, ROOT),
            futures::future::join_all((0..10).map(|_| field.daemon.send(&params, ROOT)))
        );
        assert!(begun.elapsed() < secs(25), "a request may take no longer: {:?}", begun.elapsed());
        let (kind, message) = told(first);
        assert!(kind == ErrorKind::Failed && message.contains("withdrawn"), "{message}");
        let last = others.into_iter().next_back().map(told).unwrap();
        assert!(last.0 == ErrorKind::Conflict && last.1.contains("nothing was typed"), "{last:?}");
        // It reads again: nobody is in the way.
        field.keepers().behave(&name, |manner| manner.answers = Some(Duration::from_millis(1)));
        assert!(field.daemon.send(&params, ROOT).await.unwrap());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_enter_never_meets_another_run() {
    with_daemon("{}", async |field| {
        let name = field.write("a", "command: x\nrestartPolicy: Always\nbackoff: {initial: 0s}\n");
        field.until_phase(&name, Phase::Running).await;
        let params = text(&name);
        let ends = async {
            field.pass(Duration::from_millis(50)).await;
            field.keepers().exit(&name, Exit::Code(0));
        };
        let (sent, ()) = futures::join!(field.daemon.send(&params, ROOT), ends);
        let (kind, message) = told(sent);
        assert!(kind == ErrorKind::Failed && message.contains("all was typed but the enter: "), "{message}");
        assert!(message.contains("another one runs"), "{message}");
        // Keys alone have no enter that could come too late.
        field.until_phase(&name, Phase::Running).await;
        let keys = SendParams { text: None, keys: vec![Key::CTRL_C], ..params };
        assert!(field.daemon.send(&keys, ROOT).await.unwrap());
    })
    .await;
}
