//! Entries of the journal: fields, not lines, so that `journalctl ATM_SESSION=x` tells a session's whole life.
//!
//! `tracing_journald` writes them, and a journal that is stuck holds it up. So the loop's part of this turns what is
//! told into a value, [`Journal`], and the thread of [`super::logging`] tells that again to the crate's layer,
//! [`Journald`]: what waits there is the thread and nothing else.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    io,
    os::unix::net::UnixDatagram,
    sync::LazyLock,
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    callsite::{Callsite, Identifier},
    field::{Field, FieldSet, Value, Visit},
    metadata::Kind,
    subscriber::Interest,
};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::{
    Registry,
    layer::{Context, Layer, Layered, SubscriberExt},
};

use super::logging::Queue;
use crate::api::{diagnose::escape, event::EventKind};

/// Where journald listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// More than any sentence of ours: what waits to be sent has a bound.
const LONGEST: usize = 32 << 10;

/// Every field that an entry may have of us; in the journal their names are capitals. What else an event says
/// is part of its message.
const FIELDS: [&str; 15] = [
    "message",
    "message_id",
    "code_file",
    "code_line",
    "code_module",
    "atm_session",
    "atm_run_id",
    "atm_event",
    "atm_reason",
    "atm_pid",
    "atm_generation",
    "atm_exit_status",
    "error",
    "key",
    "topic",
];

/// Each level is a priority of its own, so that there is one for what is neither a warning nor usual: [`site`].
const PRIORITIES: PriorityMappings = PriorityMappings {
    error: Priority::Error,
    warn: Priority::Warning,
    info: Priority::Notice,
    debug: Priority::Informational,
    trace: Priority::Debug,
};

/// Kinds of events by the name that they are told under.
static KINDS: LazyLock<BTreeMap<String, EventKind>> =
    LazyLock::new(|| EventKind::ALL.into_iter().map(|kind| (kind.to_string(), kind)).collect());

/// Makes entries of what is told, and passes them on.
#[derive(Debug)]
pub struct Journal(pub Queue<Entry>);

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut said = Said::default();
        event.record(&mut said);
        self.0.put(said.entry(event.metadata()));
    }
}

/// The entry that says how many others are missing.
pub fn lost(count: u64) -> Entry {
    let message = format!("{count} entries of this log were lost: the journal did not take them in time");
    Said { message, ..Said::default() }.entry(site(Priority::Warning))
}

/// Whether somebody takes entries: where nobody does, stderr is the better place.
pub fn is_there() -> bool {
    UnixDatagram::unbound().and_then(|socket| socket.connect(SOCKET)).is_ok()
}

/// The way to journald. For a thread of its own: every call, the first one too, waits for a journal that is stuck.
#[derive(Default)]
pub struct Journald(Option<Layered<tracing_journald::Layer, Registry>>);

impl Journald {
    /// Has `entry` written. What the socket refuses is gone: the crate says nothing of it. systemd holds that socket
    /// while journald is restarted.
    pub fn put(&mut self, entry: &Entry) -> io::Result<()> {
        let subscriber = match &mut self.0 {
            Some(subscriber) => subscriber,
            none => none.insert(tracing_subscriber::registry().with(layer()?)),
        };
        entry.tell(subscriber);
        Ok(())
    }
}

fn layer() -> io::Result<tracing_journald::Layer> {
    // Without a prefix, ATM_SESSION is what `journalctl` is asked for, and MESSAGE_ID what its catalogue goes by.
    Ok(tracing_journald::layer()?
        .with_field_prefix(None)
        .with_syslog_identifier("atm".into())
        .with_priority_mappings(PRIORITIES))
}

/// What one event says, to be told by another thread.
#[derive(Debug)]
pub struct Entry {
    priority: Priority,
    fields: Vec<(&'static str, String)>,
}

impl Entry {
    /// Tells it to `subscriber` alone, as one event. Past the dispatcher: one that belongs to a thread would be asked
    /// about every event of the loop as well.
    fn tell(&self, subscriber: &impl Subscriber) {
        let metadata = site(self.priority);
        let fields: Vec<Field> = metadata.fields().iter().collect();
        let Some(first) = fields.first() else { return };
        let mut values: [(&Field, Option<&dyn Value>); FIELDS.len()] = [(first, None); FIELDS.len()];
        for (value, field) in values.iter_mut().zip(&fields) {
            *value = (field, value_of(field.name(), &self.fields).map(|value| value as &dyn Value));
        }
        // The one way to a set of values; what the macros expand to calls it, too.
        subscriber.event(&Event::new(metadata, &metadata.fields().value_set(&values)));
    }
}

/// Where entries come from, as far as tracing is concerned. One made by a macro would put its own file and line
/// into each entry, and not those where the thing happened.
struct Site(Metadata<'static>);

impl Callsite for Site {
    fn set_interest(&self, _: Interest) {} // nobody is asked

    fn metadata(&self) -> &Metadata<'_> {
        &self.0
    }
}

/// The one at the level which stands for `priority`.
fn site(priority: Priority) -> &'static Metadata<'static> {
    macro_rules! site {
        ($level:ident) => {{
            static SITE: Site = {
                let fields = FieldSet::new(&FIELDS, Identifier(&SITE));
                Site(Metadata::new("entry", "atm", Level::$level, None, None, None, fields, Kind::EVENT))
            };
            &SITE.0
        }};
    }
    match priority {
        Priority::Emergency | Priority::Alert | Priority::Critical | Priority::Error => site!(ERROR),
        Priority::Warning => site!(WARN),
        Priority::Notice => site!(INFO),
        Priority::Informational => site!(DEBUG),
        Priority::Debug => site!(TRACE),
    }
}

/// What is heard of one event.
#[derive(Debug, Default)]
struct Said {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.insert_str(0, value),
            // A session's name, whoever tells of it.
            "name" => self.fields.push(("atm_session", value.to_owned())),
            name if FIELDS.contains(&name) => self.fields.push((name, value.to_owned())),
            name => drop(write!(self.message, " {name}={value}")), // a String takes all
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

impl Said {
    fn entry(mut self, told_at: &Metadata<'_>) -> Entry {
        let kind = value_of("atm_event", &self.fields).and_then(|name| KINDS.get(name)).copied();
        let mut message = std::mem::take(&mut self.message);
        if let Some(error) = value_of("error", &self.fields) {
            let _ = write!(message, ": {error}"); // a String takes all
        }
        let ours = [
            ("message", Some(message)),
            ("message_id", kind.map(|kind| kind.message_id().to_owned())),
            ("code_file", told_at.file().map(str::to_owned)),
            ("code_line", told_at.line().map(|line| line.to_string())),
            ("code_module", Some(told_at.target().to_owned())),
        ];
        let ours = ours.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let fields = ours.chain(self.fields).map(|(name, value)| (name, clean(&value))).collect();
        Entry { priority: priority(*told_at.level(), kind), fields }
    }
}

fn value_of<'a>(name: &str, fields: &'a [(&'static str, String)]) -> Option<&'a String> {
    fields.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
}

fn priority(level: Level, kind: Option<EventKind>) -> Priority {
    match (level, kind) {
        (Level::ERROR, _) => Priority::Error,
        (Level::WARN, _) => Priority::Warning,
        // Nobody asked for it, and nothing is wrong.
        (_, Some(EventKind::Evicted)) => Priority::Notice,
        (Level::INFO, _) => Priority::Informational,
        _ => Priority::Debug,
    }
}

/// A value may come from anywhere: no character of it steers a terminal or makes `journalctl` call it a blob.
fn clean(value: &str) -> String {
    let end = (0..=LONGEST.min(value.len())).rfind(|at| value.is_char_boundary(*at)).unwrap_or(0);
    escape(value.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use tracing::{debug, error, info, warn};

    type Told = BTreeMap<&'static str, String>;

    /// Passes on what a subscriber of the thread hears.
    struct Heard(mpsc::Sender<(Level, Told)>);

    impl<S: Subscriber> Layer<S> for Heard {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            struct All(Told);
            impl Visit for All {
                fn record_str(&mut self, field: &Field, value: &str) {
                    assert_eq!(self.0.insert(field.name(), value.to_owned()), None, "{field} twice");
                }

                fn record_debug(&mut self, field: &Field, _: &dyn fmt::Debug) {
                    panic!("{field} is no text");
                }
            }
            let mut all = All(BTreeMap::new());
            event.record(&mut all);
            self.0.send((*event.metadata().level(), all.0)).unwrap();
        }
    }

    /// What reaches the thread's subscriber of what is told by `tell`.
    fn heard(tell: impl FnOnce()) -> (Level, Told) {
        let (sender, heard) = mpsc::channel();
        let thread = tracing_subscriber::registry().with(Heard(sender));
        let put = move |entry: &Entry| {
            entry.tell(&thread);
            Ok(())
        };
        let queue = Queue::start(put, lost).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(Journal(queue)), tell);
        let one = heard.recv().unwrap();
        assert_eq!(heard.iter().next(), None, "more than one");
        one
    }

    #[test]
    fn an_event_is_found_by_its_session_and_explained_by_its_message_id() {
        let (_, told) = heard(|| {
            let kind = EventKind::Started;
            let absent: Option<&str> = None;
            info!(atm_event = %kind, atm_session = "a", atm_pid = Some(7), atm_reason = absent, "a: started");
        });
        assert_eq!(told["message"], "a: started");
        assert_eq!(told["message_id"], EventKind::Started.message_id());
        assert_eq!((&*told["atm_event"], &*told["atm_session"], &*told["atm_pid"]), ("Started", "a", "7"));
        assert_eq!((&*told["code_module"], &*told["code_file"]), (module_path!(), file!()));
        assert!(!told.contains_key("atm_reason"), "{told:?}");
        let (_, told) = heard(|| info!("ready"));
        assert!(!told.contains_key("message_id"), "{told:?}");
    }

    #[test]
    fn what_has_no_field_of_its_own_is_in_the_message() {
        let (_, told) = heard(|| warn!(path = "/x", error = "it is full", name = "s", "cannot write"));
        assert_eq!(told["message"], "cannot write path=/x: it is full");
        assert_eq!((&*told["error"], &*told["atm_session"]), ("it is full", "s"));
    }

    #[test]
    fn priorities_say_who_has_to_look() {
        // By the mapping that the crate's layer is given.
        let of = |tell: fn()| match heard(tell).0 {
            Level::ERROR => PRIORITIES.error,
            Level::WARN => PRIORITIES.warn,
            Level::INFO => PRIORITIES.info,
            Level::DEBUG => PRIORITIES.debug,
            Level::TRACE => PRIORITIES.trace,
        };
        assert_eq!(of(|| error!(atm_event = "KeeperLost", "x")), Priority::Error);
        assert_eq!(of(|| warn!(atm_event = "Pending", "x")), Priority::Warning);
        assert_eq!(of(|| info!(atm_event = "Evicted", "x")), Priority::Notice);
        assert_eq!(of(|| info!(atm_event = "Started", "x")), Priority::Informational);
        assert_eq!(of(|| debug!("x")), Priority::Debug);
        assert_eq!(lost(1).priority, Priority::Warning);
    }

    #[test]
    fn no_value_steers_a_terminal() {
        let (_, told) = heard(|| warn!(error = "b\nMESSAGE_ID=c", name = "s", "a\nPRIORITY=0\u{1b}[2J"));
        assert_eq!(told["message"], r"a\nPRIORITY=0\u{1b}[2J: b\nMESSAGE_ID=c");
        assert_eq!(told["error"], r"b\nMESSAGE_ID=c");
    }

    #[test]
    fn an_endless_message_is_cut_at_a_character() {
        let (_, told) = heard(|| info!("{}", "ä".repeat(LONGEST)));
        assert_eq!(told["message"].len(), LONGEST);
    }
}
