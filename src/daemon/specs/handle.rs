//! The loop's side of the thread [`specs`](super): what may be asked of it.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Sender},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::mpsc::UnboundedSender;

use super::{
    judge::Document,
    source::{Options, Source, Update},
    watch::{Inbox, Targets},
};
use crate::api::{name::SessionName, time::Moment};

/// What the loop asks of the thread.
pub(super) enum Input {
    /// Something came into the inbox.
    Heard,
    Resync,
    AcceptRemovals,
    Live(SessionName, bool),
    Shutdown,
}

/// The thread. When this is dropped, it ends by itself, at the latest when what it reads from answers.
pub struct Handle {
    input: Sender<Input>,
    busy_since: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Handle {
    /// Look at everything: at each `resyncInterval`, and at SIGHUP.
    pub fn resync(&self) {
        self.send(Input::Resync);
    }

    /// What is missing is meant to be (`atm cleanup --accept-removals`).
    pub fn accept_removals(&self) {
        self.send(Input::AcceptRemovals);
    }

    /// A session of this name lives, or is gone. What lives decides how carefully removals are taken.
    pub fn set_live(&self, name: SessionName, live: bool) {
        self.send(Input::Live(name, live));
    }

    /// For how long the thread has been waiting for the file system; `None` where it is not. After some
    /// seconds the directory is as good as unreadable, and worth a word in STATUS.
    pub fn stuck_for(&self, now: Moment) -> Option<Duration> {
        match self.busy_since.load(Ordering::Relaxed) {
            0 => None,
            since => Some(now.since(Moment::from_nanos(since))),
        }
    }

    /// Ends the thread and waits for it, which takes as long as its file system does.
    pub fn shutdown(self) {
        self.send(Input::Shutdown);
        // A panic in there has ended the channel of updates, which is how the loop learns of it.
        let Self { thread, .. } = self;
        let _ = thread.join();
    }

    fn send(&self, input: Input) {
        // Fails when the thread is gone, which ends the channel of updates as well.
        let _ = self.input.send(input);
    }
}

/// Starts the thread, which tells `updates` what it finds. When it ends, for whatever reason, the channel
/// closes.
pub fn spawn<S, C>(options: Options<C>, updates: UnboundedSender<Update<S, C>>) -> io::Result<Handle>
where
    S: Document,
    C: Clone + PartialEq + Send + 'static,
{
    let (input, inputs) = mpsc::channel();
    let busy_since = Arc::new(AtomicU64::new(0));
    let (wake, busy) = (input.clone(), Arc::clone(&busy_since));
    let thread = std::thread::Builder::new().name("specs".to_owned()).spawn(move || {
        let targets = Targets { directory: options.directory.clone(), config: options.config.clone() };
        let inbox = Inbox::new(targets, move || {
            let _ = wake.send(Input::Heard); // fails when the thread is ending
        });
        Source::new(options, inbox, updates, busy).run(&inputs);
    })?;
    Ok(Handle { input, busy_since, thread })
}
