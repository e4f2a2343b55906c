//! What systemd is told. Without `NOTIFY_SOCKET` every call does nothing.

use std::time::Duration;

use sd_notify::NotifyState;

use super::{store::Reader, view};

/// Changes within this time are one line: a thousand starts are not a thousand datagrams.
const GATHER: Duration = Duration::from_millis(50);

/// Tells one state. That nobody listens is no failure of the daemon's.
pub fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot notify the service manager");
    }
}

/// Tells `STATUS=` at each change, for ever.
pub async fn tell_status(reader: Reader) {
    let mut told = String::new();
    loop {
        let line: String = {
            let world = reader.look();
            // The protocol is lines: a control character would begin another assignment.
            view::summary(&world).chars().filter(|c| !c.is_control()).collect()
        };
        let told_now = line != told;
        if told_now {
            tell(&[NotifyState::Status(&line)]);
            told = line;
        }
        let changed = reader.changed();
        tokio::pin!(changed);
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
