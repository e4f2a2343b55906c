//! What systemd is told. Without `NOTIFY_SOCKET` every call does nothing.

use std::{
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{ffi::OsStrExt, net::SocketAddr},
    },
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::net::UnixDatagram;

use super::{store::Reader, view};

/// Changes within this time are one line: a thousand starts are not a thousand datagrams.
const GATHER: Duration = Duration::from_millis(50);

/// Memory that differs by less from what was told is no line of its own.
const MEMORY_STEP: u64 = 64 << 20;

/// How long the word of our end may take: nothing waits for it.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Tells one state, for as long as that takes. That nobody listens is no failure of the daemon's.
///
/// A manager that reads nothing lets a few datagrams wait (`net.unix.max_dgram_qlen`), and a plain send then
/// blocks: on the loop's thread, every session would wait for it.
pub async fn tell(state: NotifyState<'_>) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&path, &state.to_string()).await {
        tracing::warn!(%error, "cannot notify the service manager");
    }
}

/// Tells that the end has begun, if that can be told soon.
pub async fn tell_stopping() {
    let _ = tokio::time::timeout(LAST_WORD, tell(NotifyState::Stopping)).await;
}

async fn send(path: &OsStr, line: &str) -> io::Result<()> {
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    let socket = std::os::unix::net::UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)?.send(line.as_bytes()).await?;
    Ok(())
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
        let line: String = {
            let world = reader.look();
            // The protocol is lines: a control character would begin another assignment.
            let step = if told_memory == 0 || world.memory == 0 { 0 } else { MEMORY_STEP };
            if world.memory.abs_diff(told_memory) > step {
                told_memory = world.memory;
            }
            view::summary(&world, told_memory).chars().filter(|c| !c.is_control()).collect()
        };
        let told_now = line != told;
        if told_now {
            tell(NotifyState::Status(&line)).await;
            told = line;
        }
        changed.as_mut().await;
        if told_now {
            tokio::time::sleep(GATHER).await;
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
        while tokio::time::timeout(Duration::from_millis(200), send(path.as_os_str(), "STATUS=x"))
            .await
            .is_ok()
        {
            sent += 1;
            assert!(sent < 100_000, "a queue without end");
        }
        let waiting = send(path.as_os_str(), "READY=1");
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

    #[tokio::test]
    async fn an_abstract_socket_is_heard() {
        let name = format!("atm-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = std::os::unix::net::UnixDatagram::bind_addr(&address).unwrap();
        send(OsStr::new(&format!("@{name}")), "READY=1").await.unwrap();
        let mut buffer = [0; 64];
        let length = manager.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
    }
}
