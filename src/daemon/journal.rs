//! Entries in the journal's native protocol: fields, not lines, so that `journalctl ATM_SESSION=x` tells a session's
//! whole life.
//!
//! An entry is one datagram. It is made where the thing happens, and sent by the thread of [`super::logging`]: a
//! journal that is stuck holds that thread up and nothing else.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    io,
    os::unix::net::UnixDatagram,
    path::Path,
    sync::LazyLock,
};

use tracing::{Level, Subscriber, field::Field, field::Visit};
use tracing_subscriber::layer::{Context, Layer};

use super::{events::escape, logging::Lines};
use crate::api::event::EventKind;

/// Where journald listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// More than any sentence of ours, and less than a datagram holds.
const LONGEST: usize = 32 << 10;

/// Priorities as syslog numbers them.
const ERROR: u8 = 3;
const WARNING: u8 = 4;
const NOTICE: u8 = 5;
const INFO: u8 = 6;
const DEBUG: u8 = 7;

/// Kinds of events by the name that they are told under.
static KINDS: LazyLock<BTreeMap<String, EventKind>> =
    LazyLock::new(|| EventKind::ALL.into_iter().map(|kind| (format!("{kind:?}"), kind)).collect());

/// Makes entries of what is told, and passes them on.
#[derive(Debug)]
pub struct Journal(pub Lines);

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.0.put(fields.entry(*event.metadata().level(), event.metadata().target()));
    }
}

/// The entry that says how many others are missing.
pub fn lost(count: u64) -> Vec<u8> {
    let message = format!("{count} entries of this log were lost: the journal did not take them in time");
    Fields { message, ..Fields::default() }.entry(Level::WARN, module_path!())
}

/// The way to journald. It is found anew for each entry: another one may listen after a restart of it.
pub fn connect() -> io::Result<Sender> {
    let socket = UnixDatagram::unbound()?;
    // Asked once: where nobody listens now, stderr is the better place.
    UnixDatagram::unbound()?.connect(SOCKET)?;
    Ok(Sender(socket))
}

/// Sends each whole entry as a datagram.
#[derive(Debug)]
pub struct Sender(UnixDatagram);

impl io::Write for Sender {
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        self.0.send_to(entry, Path::new(SOCKET))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What one event says.
#[derive(Debug, Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => self.others.push((name, value.to_owned())),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

impl Fields {
    fn entry(&self, level: Level, target: &str) -> Vec<u8> {
        let kind = self.value("atm_event").and_then(|name| KINDS.get(name)).copied();
        let mut message = self.message.clone();
        if let Some(error) = self.value("error") {
            let _ = write!(message, ": {error}"); // a String takes all
        }
        let mut entry = Vec::new();
        put(&mut entry, "MESSAGE", &message);
        put(&mut entry, "PRIORITY", &priority(level, kind).to_string());
        put(&mut entry, "SYSLOG_IDENTIFIER", "atm");
        put(&mut entry, "CODE_MODULE", target);
        if let Some(kind) = kind {
            put(&mut entry, "MESSAGE_ID", kind.message_id());
        }
        for (name, value) in &self.others {
            // A session's name, whoever tells of it.
            put(&mut entry, if *name == "name" { "ATM_SESSION" } else { name }, value);
        }
        entry
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.others.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str())
    }
}

fn priority(level: Level, kind: Option<EventKind>) -> u8 {
    match (level, kind) {
        (Level::ERROR, _) => ERROR,
        (Level::WARN, _) => WARNING,
        // Nobody asked for it, and nothing is wrong.
        (_, Some(EventKind::Evicted)) => NOTICE,
        (Level::INFO, _) => INFO,
        _ => DEBUG,
    }
}

/// Appends one field. Its name is ours; its value may come from anywhere, so no character of it can begin another
/// field or steer a terminal.
fn put(entry: &mut Vec<u8>, name: &str, value: &str) {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    entry.extend(name.bytes().map(|byte| if allowed(byte) { byte.to_ascii_uppercase() } else { b'_' }));
    entry.push(b'=');
    let end = (0..=LONGEST.min(value.len())).rfind(|at| value.is_char_boundary(*at)).unwrap_or(0);
    entry.extend(escape(value.get(..end).unwrap_or_default()).bytes());
    entry.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(level: Level, message: &str, others: &[(&'static str, &str)]) -> String {
        let others = others.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        String::from_utf8(Fields { message: message.into(), others }.entry(level, "atm::daemon")).unwrap()
    }

    #[test]
    fn an_event_is_found_by_its_session_and_explained_by_its_message_id() {
        let told = entry(Level::INFO, "a: started", &[("atm_event", "Started"), ("atm_session", "a")]);
        let id = EventKind::Started.message_id();
        for line in ["MESSAGE=a: started", "PRIORITY=6", "ATM_EVENT=Started", "ATM_SESSION=a"] {
            assert!(told.lines().any(|other| other == line), "{line}: {told}");
        }
        assert!(told.contains(&format!("MESSAGE_ID={id}\n")), "{told}");
        assert!(!entry(Level::INFO, "ready", &[]).contains("MESSAGE_ID"));
    }

    #[test]
    fn priorities_say_who_has_to_look() {
        let of = |level, event| {
            let told = entry(level, "x", &[("atm_event", event)]);
            told.lines().find_map(|line| line.strip_prefix("PRIORITY=")?.parse::<u8>().ok()).unwrap()
        };
        assert_eq!(of(Level::INFO, "Started"), INFO);
        assert_eq!(of(Level::INFO, "Evicted"), NOTICE);
        assert_eq!(of(Level::WARN, "Pending"), WARNING);
        assert_eq!(of(Level::ERROR, "KeeperLost"), ERROR);
    }

    #[test]
    fn no_value_begins_another_field() {
        let told =
            entry(Level::WARN, "a\nPRIORITY=0\u{1b}[2J", &[("error", "b\nMESSAGE_ID=c"), ("name", "s")]);
        assert_eq!(told.lines().filter(|line| line.starts_with("PRIORITY=")).count(), 1, "{told}");
        assert!(!told.contains("\nMESSAGE_ID") && !told.contains('\u{1b}'), "{told}");
        assert!(told.starts_with("MESSAGE=a\\nPRIORITY=0\\u{1b}[2J: b\\nMESSAGE_ID=c\n"), "{told}");
        assert!(told.contains("\nATM_SESSION=s\n"), "{told}");
    }

    #[test]
    fn an_endless_message_is_cut_at_a_character() {
        let told = entry(Level::INFO, &"ä".repeat(LONGEST), &[]);
        assert_eq!(told.lines().next().unwrap().len(), "MESSAGE=".len() + LONGEST);
    }
}
