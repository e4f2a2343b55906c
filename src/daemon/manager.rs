//! What systemd knows of our unit: whether it is to come back, and whether it is as it was shipped.
//!
//! `systemctl` is asked. It is there wherever systemd is, works without a message bus (as early at boot and as late
//! at shutdown as we do) and with the user's manager alike; the protocol below it is either private to it or needs
//! that bus, and a library for it is larger than all that is asked here.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    rc::Rc,
    time::{Duration, SystemTime},
};

use tokio::{io::AsyncReadExt, net::unix::pipe, time::timeout};

use super::{core::Daemon, keepers::Keepers, systemd};
use crate::host::{delegation, process::Process, signals, users};

/// One that does not answer within this time does not answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is asked for of the unit, and what it must not be, with what follows from that.
const PROMISES: [(&str, &[&str], &str); 9] = [
    (
        "KillMode",
        &["control-group", "mixed"],
        "a restart of the daemon ends every session; it should be `process`",
    ),
    (
        "OOMPolicy",
        &["stop", "kill"],
        "a session that runs out of memory ends all others; it should be `continue`",
    ),
    ("Delegate", &["no"], "sessions have no cgroups of their own; it should be `yes`"),
    ("RuntimeDirectoryPreserve", &["no"], "a restart loses track of what runs; it should be `yes`"),
    ("PrivateTmp", &["yes"], MOUNTS),
    ("PrivateMounts", &["yes"], MOUNTS),
    ("PrivateDevices", &["yes"], MOUNTS),
    ("ProtectSystem", &["yes", "full", "strict"], MOUNTS),
    ("ProtectHome", &["yes", "read-only", "tmpfs"], MOUNTS),
];
const MOUNTS: &str = "sessions do not see the machine, and a restart parts them from those that run already";

/// Whether systemd says that the daemon is to end for good: its unit is being stopped, or the machine is.
///
/// A restart, no job at all (somebody sent the signal), and no answer mean that it comes back: to keep sessions is
/// the better mistake.
pub async fn is_stopping() -> bool {
    let Some(unit) = delegation::own_unit() else { return false };
    let asked = systemctl(&["list-jobs", "--plain", &unit]).await;
    if asked.is_none() {
        tracing::warn!("systemd does not say whether the unit is to stop: sessions are kept");
    }
    asked.is_some_and(|jobs| has_stop_job(&jobs, &unit))
}

/// Lines are `ID UNIT TYPE STATE`, after a heading and before a count.
pub(crate) fn has_stop_job(jobs: &str, unit: &str) -> bool {
    let is_stop = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        words.next() == Some(unit) && words.next() == Some("stop")
    };
    jobs.lines().any(is_stop)
}

/// Warns while the unit is changed in a way that loses sessions, or lingering is off, for ever.
pub async fn watch_unit<K: Keepers>(daemon: Rc<Daemon<K>>) {
    if !systemd::is_service() {
        return;
    }
    let mut loaded = None;
    loop {
        let now = loaded_at();
        if loaded != Some(now)
            && let Some(unit) = delegation::own_unit()
            && let Ok(problems) = broken_promises(&unit).await
        {
            // Only an answer counts: a manager that is too busy to give one is asked again.
            loaded = Some(now);
            tell(&daemon, "unit", problems);
        }
        if is_users_manager() {
            let lingers = tokio::task::spawn_blocking(lingers).await.unwrap_or(true);
            let message = "lingering is off: the sessions end with your last logout; \
                           `loginctl enable-linger` lets them go on";
            tell(&daemon, "linger", (!lingers).then(|| message.to_owned()));
        }
        let interval = daemon.store.look().config.resync_interval.0;
        tokio::time::sleep(interval.max(Duration::from_secs(1))).await;
    }
}

fn tell<K: Keepers>(daemon: &Daemon<K>, topic: &'static str, problem: Option<String>) {
    match problem {
        Some(problem) => daemon.warn(topic, problem),
        None => daemon.mended(topic),
    }
}

/// What is wrong with the unit, if anything; `Err` where the manager gives no answer.
async fn broken_promises(unit: &str) -> Result<Option<String>, NoAnswer> {
    let names: Vec<_> = PROMISES.iter().map(|(name, ..)| *name).collect();
    let shown = systemctl(&["show", "--property", &names.join(","), unit]).await.ok_or(NoAnswer)?;
    let broken = broken(&shown);
    Ok((!broken.is_empty()).then(|| format!("{unit} was changed: {}", broken.join("; "))))
}

/// The manager said nothing in time.
struct NoAnswer;

pub(crate) fn broken(shown: &str) -> Vec<String> {
    let values = shown.lines().filter_map(|line| line.split_once('='));
    let broken = values.filter_map(|(name, value)| {
        let (.., what) = PROMISES.iter().find(|(other, bad, _)| *other == name && bad.contains(&value))?;
        Some(format!("{name}={value}: {what}"))
    });
    broken.collect()
}

/// When units were loaded last. At each `daemon-reload` generators get directories here, and lose them again.
fn loaded_at() -> Option<SystemTime> {
    let base =
        if is_users_manager() { std::env::var_os("XDG_RUNTIME_DIR")?.into() } else { PathBuf::from("/run") };
    std::fs::metadata(base.join("systemd")).and_then(|directory| directory.modified()).ok()
}

/// Whether a user's manager started this process, and not the machine's.
fn is_users_manager() -> bool {
    std::env::var_os("MANAGERPID").is_some()
}

/// Whether this user's manager goes on after the last logout. True where that cannot be told.
fn lingers() -> bool {
    match users::by_uid(users::own().0) {
        Ok(Some(account)) => Path::new("/var/lib/systemd/linger").join(account.name).exists(),
        Ok(None) | Err(_) => true,
    }
}

/// What `systemctl` prints; `None` where it does not answer in time, cannot be asked, or says nothing.
async fn systemctl(arguments: &[&str]) -> Option<String> {
    // It may be taken for what a lost keeper left behind and be ended as such: so a second time.
    let ask = async {
        match ask_once(arguments).await {
            Some(text) => Some(text),
            None => ask_once(arguments).await,
        }
    };
    timeout(PATIENCE, ask).await.ok().flatten()
}

async fn ask_once(arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("systemctl");
    command.args(is_users_manager().then_some("--user")).args(["--no-pager", "--no-ask-password"]);
    command.args(arguments).env("LC_ALL", "C").env_remove("NOTIFY_SOCKET");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    // Its status says no more than what it prints, and is reaped like an orphan's.
    let asked = Asked(Process::open(child.id().cast_signed()).ok()?);
    let pipe = pipe::Receiver::from_owned_fd(OwnedFd::from(child.stdout.take()?)).ok()?;
    let mut text = String::new();
    pipe.take(64 << 10).read_to_string(&mut text).await.ok()?;
    drop(asked);
    Some(text).filter(|text| !text.is_empty())
}

/// A question that is not waited for any more is ended.
struct Asked(Process);

impl Drop for Asked {
    fn drop(&mut self) {
        let _ = self.0.signal(signals::KILL); // ended already, mostly
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_job_that_stops_our_own_unit_ends_sessions() {
        let stops = |jobs: &str| has_stop_job(jobs, "atm.service");
        assert!(stops("JOB UNIT        TYPE STATE\n312 atm.service stop running\n\n1 jobs listed.\n"));
        assert!(stops("311 other.service stop waiting\n312 atm.service  stop   running\n"));
        assert!(!stops("312 atm.service restart running\n"));
        assert!(!stops("312 atm.service start waiting\n"));
        assert!(!stops("311 other.service stop running\n"));
        assert!(!stops("No jobs running.\n"));
    }

    #[test]
    fn a_unit_that_breaks_what_was_promised_is_told_by_what_follows() {
        assert_eq!(broken("KillMode=process\nOOMPolicy=continue\nProtectSystem=no\nDelegate=yes\n"), [""; 0]);
        let said = broken("KillMode=control-group\nPrivateTmp=yes\nProtectHome=no\n");
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].starts_with("KillMode=control-group: a restart of the daemon ends every session"));
        assert!(said[1].starts_with("PrivateTmp=yes: sessions do not see the machine"));
    }
}
