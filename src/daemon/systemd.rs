//! What systemd is told. Without `NOTIFY_SOCKET` every call does nothing.

use std::{
    ffi::OsStr,
    io,
    os::{
        fd::BorrowedFd,
        linux::net::SocketAddrExt,
        unix::{ffi::OsStrExt, net::SocketAddr},
    },
    rc::Rc,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::{
    io::Interest,
    net::UnixDatagram,
    time::{sleep, timeout},
};

use super::{
    core::{Daemon, Input},
    keepers::Keepers,
    store::Reader,
    view,
};
use crate::{api::diagnose::unprintable, controller::Heartbeat, host::socket::send_descriptor};

/// Changes within this time are one line: a thousand starts are not a thousand datagrams.
const GATHER: Duration = Duration::from_millis(50);

/// Memory that differs by less from what was told is no line of its own.
const MEMORY_STEP: u64 = 64 << 20;

/// How long the word of our end may take: nothing waits for it.
const LAST_WORD: Duration = Duration::from_secs(1);

/// While something takes its time, systemd is asked for this much more, again and again.
const EXTENSION: NotifyState = NotifyState::ExtendTimeoutUsec(30_000_000);
const EXTEND_EACH: Duration = Duration::from_secs(10);

/// A spec directory that does not answer delays specs and nothing else. After this long it may as well be the thread
/// that reads it which hangs, and another daemon loses nothing by starting afresh.
const LISTING_PATIENCE: Duration = Duration::from_secs(300);

/// What is found only by listing is taken after two looks 100 ms apart: see [`super::specs`].
const SETTLED: Duration = Duration::from_millis(250);

/// A reload that takes longer is over for systemd; what it reads late holds all the same.
const RELOADED_WITHIN: Duration = Duration::from_secs(10);

/// That systemd cannot be told has been told.
static TOLD: AtomicBool = AtomicBool::new(false);

/// Tells states, for as long as that takes. That nobody listens is no failure of the daemon's.
///
/// A manager that reads nothing lets a few datagrams wait (`net.unix.max_dgram_qlen`), and a plain send then
/// blocks, that of `sd_notify` too: on the loop's thread, every session would wait for it.
pub async fn tell(states: &[NotifyState<'_>]) {
    tell_with(states, None).await;
}

async fn tell_with(states: &[NotifyState<'_>], descriptor: Option<BorrowedFd<'_>>) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&path, &lines(states), descriptor).await
        && !TOLD.swap(true, Ordering::Relaxed)
    {
        tracing::warn!(%error, "cannot notify the service manager; this is told once");
    }
}

/// A line each. A control character would end it and begin another assignment, which the crate leaves to us; others act
/// on the terminal on which `systemctl` shows it.
fn lines(states: &[NotifyState<'_>]) -> String {
    let line = |state: &NotifyState| state.to_string().replace(unprintable, "");
    states.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Tells that the end has begun, if that can be told soon.
pub async fn tell_stopping() {
    let _ = timeout(LAST_WORD, tell(&[NotifyState::Stopping])).await;
}

/// Has systemd keep a copy of `descriptor` for the next daemon. Names have no `:`.
pub async fn store(name: &str, descriptor: BorrowedFd<'_>) {
    tell_with(&[NotifyState::FdStore, NotifyState::FdName(name)], Some(descriptor)).await;
}

/// Has systemd forget what it keeps under `name`.
pub async fn forget(name: &str) {
    tell(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]).await;
}

/// Asks for more time again and again: for as long as this is polled, a start or a stop goes on.
pub async fn extend() {
    loop {
        tell(&[EXTENSION]).await;
        sleep(EXTEND_EACH).await;
    }
}

async fn send(path: &OsStr, lines: &str, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    let socket = std::os::unix::net::UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    let socket = UnixDatagram::from_std(socket)?;
    match descriptor {
        None => socket.send(lines.as_bytes()).await.map(drop),
        Some(descriptor) => {
            let send = || send_descriptor(&socket, lines.as_bytes(), descriptor);
            socket.async_io(Interest::WRITABLE, send).await
        }
    }
}

/// Reads specs and config again, and tells when that begins and when it is done.
pub async fn reload<K: Keepers>(daemon: Rc<Daemon<K>>) {
    let mut states = vec![NotifyState::Reloading];
    states.extend(NotifyState::monotonic_usec_now());
    tell(&states).await;
    let _ = daemon.inputs.send(Input::Resync); // the loop has ended
    let settled = async {
        sleep(SETTLED).await;
        while stuck_for(&daemon).is_some() {
            sleep(GATHER).await;
        }
    };
    let _ = timeout(RELOADED_WITHIN, settled).await;
    tell(&[NotifyState::Ready]).await;
}

fn stuck_for<K: Keepers>(daemon: &Daemon<K>) -> Option<Duration> {
    daemon.specs.borrow().as_ref().and_then(|specs| specs.stuck_for(daemon.clock.now()))
}

/// How often systemd wants to hear of us; `None` where it does not.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero())
}

/// Beats while the loop turns and the specs can be listed, for ever. A loop that does not turn any more is thereby
/// ended by systemd and begun anew, and no session is lost.
pub async fn beat<K: Keepers>(daemon: Rc<Daemon<K>>, heartbeat: Heartbeat) {
    let Some(interval) = watchdog() else { return };
    loop {
        let turned = heartbeat.age() < interval / 2;
        let listed = stuck_for(&daemon).is_none_or(|stuck| stuck < LISTING_PATIENCE.max(interval));
        if turned && listed && !daemon.store.look().source_ended {
            tell(&[NotifyState::Watchdog]).await;
        }
        sleep(interval / 4).await;
    }
}

/// Tells `STATUS=` at each change, for ever.
pub async fn tell_status(reader: Reader) {
    let mut told = String::new();
    let mut told_memory = 0;
    loop {
        let changed = reader.changed();
        tokio::pin!(changed);
        // What changes while the line is told is told next.
        changed.as_mut().enable();
        let line = {
            let world = reader.look();
            let step = if told_memory == 0 || world.memory == 0 { 0 } else { MEMORY_STEP };
            if world.memory.abs_diff(told_memory) > step {
                told_memory = world.memory;
            }
            view::summary(&world, told_memory)
        };
        let told_now = line != told;
        if told_now {
            tell(&[NotifyState::Status(&line)]).await;
            told = line;
        }
        changed.as_mut().await;
        if told_now {
            sleep(GATHER).await;
        }
    }
}

/// Whether systemd started this very process as a service.
pub fn is_service() -> bool {
    let own = std::process::id().to_string();
    std::env::var("SYSTEMD_EXEC_PID").is_ok_and(|pid| pid == own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manager_that_reads_nothing_holds_up_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        let mut sent = 0;
        // Ends when the queue is full; that this test goes on at all is what it tests.
        while timeout(Duration::from_millis(200), send(path.as_os_str(), "STATUS=x", None)).await.is_ok() {
            sent += 1;
            assert!(sent < 100_000, "a queue without end");
        }
        let waiting = send(path.as_os_str(), "READY=1", None);
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        let mut buffer = [0; 64];
        for _ in 0..sent {
            manager.recv(&mut buffer).unwrap();
        }
        waiting.await.unwrap();
        let length = manager.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
    }

    #[test]
    fn no_status_begins_another_assignment() {
        let states = [NotifyState::Ready, NotifyState::Status("a\nMAINPID=1\r\u{1b}b")];
        assert_eq!(lines(&states), "READY=1\nSTATUS=aMAINPID=1b");
    }

    #[tokio::test]
    async fn an_abstract_socket_is_heard() {
        let name = format!("atm-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = std::os::unix::net::UnixDatagram::bind_addr(&address).unwrap();
        send(OsStr::new(&format!("@{name}")), "READY=1", None).await.unwrap();
        let mut buffer = [0; 64];
        let length = manager.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
    }
}
