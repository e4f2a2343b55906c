//! For programs that take long: Ctrl-C ends them in good order, with all that they started.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

/// Set by the first SIGINT or SIGTERM.
static STOP: AtomicBool = AtomicBool::new(false);

/// From here on a signal only asks. By a handler and not by a mask: whoever is started from here would inherit that, and
/// could not be ended either.
pub fn hear() {
    let (ready, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut interrupt = signal(SignalKind::interrupt()).unwrap();
            let mut terminate = signal(SignalKind::terminate()).unwrap();
            ready.send(()).unwrap();
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                STOP.store(true, Ordering::Relaxed);
            }
        });
    });
    wait.recv().unwrap();
}

/// Whether somebody asked for the end.
pub fn is_told_to_stop() -> bool {
    STOP.load(Ordering::Relaxed)
}
