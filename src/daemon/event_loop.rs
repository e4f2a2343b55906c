//! The loop itself: inputs in, reconciles out. Knows no process, so a test turns it with keepers of its own.

use std::{rc::Rc, time::Duration};

use futures::{StreamExt, stream};
use tokio::sync::mpsc::UnboundedReceiver;

use super::{
    core::{Daemon, Input},
    keepers::Keepers,
};
use crate::{
    controller::{self, Heartbeat},
    host::heap,
};

/// Reconciles at once. They wait for keepers, not for each other: a keeper that hangs holds one of these.
const CONCURRENCY: usize = 1024;

/// Turns until `shutdown` is over, and says so by `heartbeat`.
pub async fn turn<K: Keepers>(
    daemon: &Daemon<K>,
    inbox: UnboundedReceiver<Input>,
    shutdown: impl Future<Output = ()>,
    config: controller::Config,
    heartbeat: &Heartbeat,
) {
    let heard = stream::unfold(inbox, |mut inbox| async { Some((inbox.recv().await?, inbox)) });
    let triggers = heard.flat_map(|input| stream::iter(daemon.absorb(input)));
    let config = controller::Config { concurrency: CONCURRENCY, ..config };
    controller::run(daemon, triggers, shutdown, config, heartbeat).await;
}

/// Asks for a full look at everything, again and again, in any case.
pub async fn resync<K: Keepers>(daemon: Rc<Daemon<K>>) {
    let reader = daemon.store.reader();
    loop {
        let interval = daemon.store.look().config.resync_interval;
        // A changed interval holds from now, and not only after the one before is over.
        let changed = reader.wait_until(|world| world.config.resync_interval != interval);
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep(interval.0.max(Duration::from_secs(1))) => {
                let _ = daemon.inputs.send(Input::Resync); // fails when the loop has ended
                // Each listing of events, and each answer with all sessions, leaves a hole that something small keeps
                // from closing.
                heap::trim();
            }
        }
    }
}
