//! The end of the daemon: sessions stay or end with it.

use std::{rc::Rc, time::Duration};

use futures::FutureExt;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
    time::Instant,
};

use super::{
    core::{Daemon, Key},
    keepers::Keepers,
    manager,
    store::Reader,
    systemd,
};
use crate::{
    api::{
        cause::{Cause, StopReason},
        config::OnShutdown,
        event::EventKind,
        keeper::Request,
        name::SessionName,
    },
    controller::Reason,
    host::{
        failpoint::{self, Place},
        machine,
    },
    plan::{Observed, Session, fleet::Mode},
};

/// The signals that end or reload the daemon.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// From here on these signals no longer end the process by themselves.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// So long after a SIGTERM another one is the same request, not a second one: `timeout`, for one, sends it to the
/// process and then to its group. Longer than two sends of one program are apart, shorter than a person's second
/// thought.
const SAME_REQUEST: Duration = Duration::from_millis(300);

/// An order to end.
#[derive(Debug, Clone, Copy)]
enum Order {
    /// By SIGTERM, then.
    Terminate(Instant),
    /// By Ctrl-C, of which each press counts.
    Interrupt,
}

impl Signals {
    /// Waits for a further order to end, after `last`, and gives it.
    async fn again(&mut self, last: Order) -> Order {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => {
                    let now = Instant::now();
                    match last {
                        Order::Terminate(before) if now.duration_since(before) < SAME_REQUEST => {}
                        Order::Terminate(_) | Order::Interrupt => return Order::Terminate(now),
                    }
                }
                _ = self.interrupt.recv() => return Order::Interrupt,
            }
        }
    }
}

/// Waits for the order to end, and sees it through. When it returns, the loop may end.
pub async fn wait<K: Keepers>(daemon: Rc<Daemon<K>>, mut signals: Signals, reload: impl Fn()) {
    let order = loop {
        tokio::select! {
            _ = signals.terminate.recv() => break Order::Terminate(Instant::now()),
            _ = signals.interrupt.recv() => break Order::Interrupt,
            _ = signals.hangup.recv() => {
                if machine::terminal_is_lost() {
                    // The terminal that it was started from is closed: nobody can press Ctrl-C any more,
                    // and the work goes on without the daemon.
                    tracing::info!("the terminal is closed: sessions are kept");
                    return;
                }
                let _ = failpoint::hit(Place::Reload);
                reload();
            }
        }
    };
    systemd::tell_stopping().await;
    let policy = daemon.store.look().config.on_shutdown;
    if !ends_sessions(policy).await {
        tracing::info!("the daemon ends, its sessions go on");
        return;
    }
    end_all(&daemon);
    let _extending = Extending(tokio::task::spawn_local(systemd::extend()));
    if let Order::Terminate(_) = order {
        // One that came while nobody listened came with the first.
        let _ = signals.terminate.recv().now_or_never();
    }
    let reader = daemon.store.reader();
    let all_gone = all_gone(&reader);
    tokio::pin!(all_gone);
    let order = tokio::select! {
        () = &mut all_gone => return,
        order = signals.again(order) => order,
    };
    tracing::info!("asked again: sessions are killed");
    tokio::select! {
        () = async { kill_all(&daemon).await; all_gone.await } => {}
        _ = signals.again(order) => tracing::warn!("asked a third time: what is left is left"),
    }
}

/// Waits until no session lives whose end is worth waiting for.
pub(super) async fn all_gone(reader: &Reader) {
    reader.wait_until(|world| !world.sessions.values().any(|entry| may_end(&entry.plan))).await;
}

/// Whether its end is worth waiting for: what is unknown or a person's own is not ended, and what outlives SIGKILL may
/// never be.
fn may_end(session: &Session) -> bool {
    match &session.observed {
        _ if session.is_registered() => false,
        Observed::Starting { .. } | Observed::Running(_) => true,
        Observed::Stopping { unkillable, .. } => !unkillable,
        Observed::Absent | Observed::Unknown { .. } => false,
    }
}

async fn ends_sessions(policy: OnShutdown) -> bool {
    match policy {
        OnShutdown::Keep => false,
        OnShutdown::Stop => true,
        // The signal alone does not tell whether a service is to come back at once.
        OnShutdown::Auto => !systemd::is_service() || manager::is_stopping().await,
    }
}

/// While it is held, systemd does not give the stop up: graces may be longer than its patience.
struct Extending(JoinHandle<()>);

impl Drop for Extending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) fn end_all<K: Keepers>(daemon: &Daemon<K>) {
    let cause = Cause::rule(StopReason::Shutdown, "the daemon ends");
    daemon.tell_all(EventKind::ShuttingDown, "the daemon ends its sessions");
    daemon.store.edit_world(|world| world.mode = Mode::EndAll(cause));
    daemon.look_at(Key::Fleet, Reason::Requested);
}

/// Cuts every grace short. A keeper records the first cause that it hears.
async fn kill_all<K: Keepers>(daemon: &Daemon<K>) {
    let live: Vec<SessionName> = {
        let world = daemon.store.look();
        let ours = |plan: &Session| plan.observed.is_live() && !plan.is_registered();
        let live = world.sessions.iter().filter(|(_, entry)| ours(&entry.plan));
        live.map(|(name, _)| name.clone()).collect()
    };
    let asked = live.iter().map(|name| {
        let cause = Cause::rule(StopReason::Shutdown, "the daemon ends at once");
        daemon.keepers.ask(name, Request::Stop { cause, signal: None, grace_millis: Some(0) })
    });
    for (name, answer) in live.iter().zip(futures::future::join_all(asked).await) {
        if let Err(error) = answer {
            tracing::warn!(%name, %error, "cannot cut a stop short");
        }
    }
}
