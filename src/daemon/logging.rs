//! Where the daemon's own words go: the journal when systemd gave us one, stderr otherwise.

use std::{io::IsTerminal, os::unix::fs::MetadataExt};

use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

/// Starts logging. `ATM_LOG` filters; `info` where it says nothing.
pub fn start() {
    let filter = EnvFilter::try_from_env("ATM_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let journal = is_journal().then(tracing_journald::layer).and_then(Result::ok).map(|layer| {
        // Fields are named by us, and a name such as ATM_SESSION is what `journalctl` is asked for.
        layer.with_field_prefix(None).with_priority_mappings(tracing_journald::PriorityMappings {
            error: tracing_journald::Priority::Error,
            warn: tracing_journald::Priority::Warning,
            info: tracing_journald::Priority::Informational,
            debug: tracing_journald::Priority::Debug,
            trace: tracing_journald::Priority::Debug,
        })
    });
    let stderr = journal.is_none().then(|| {
        tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(
                std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
            )
            .with_target(false)
            .boxed()
    });
    let started = tracing_subscriber::registry().with(filter).with(journal).with(stderr).try_init();
    // Only a second call could fail, and then logging is there already.
    drop(started);
}

/// Whether stderr is the stream that systemd connected to the journal, so that nothing is told twice.
fn is_journal() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stderr) = std::fs::metadata("/proc/self/fd/2") else { return false };
    named == format!("{}:{}", stderr.dev(), stderr.ino())
}
