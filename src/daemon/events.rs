//! What happened: kept for `atm events`, written to the state directory, and logged, in one place.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io::{BufRead, BufReader, Read, Seek, SeekFrom},
    path::Path,
    rc::Rc,
};

use tokio::sync::broadcast;
use tracing::{error, info, warn};

use super::{
    clock::Clock,
    floods::{self, Entry, Floods},
    writer::{Writer, older},
};
use crate::api::{
    diagnose::escape,
    event::{Event, EventKind},
    name::{RunId, SessionName},
    record::Exit,
    spec::StopSignal,
};

/// Events kept in memory.
pub(super) const KEPT: usize = 2000;

/// [`crate::api::status::Reason::BackOff`], as an event has it.
const BACK_OFF: &str = "BackOff";

/// How much of the log's end is read back at start.
const READ_BACK: u64 = 256 << 10;

/// What happened, and who listens.
#[derive(Debug)]
pub struct Events {
    recent: RefCell<VecDeque<Rc<Event>>>,
    next_id: Cell<u64>,
    listeners: broadcast::Sender<u64>,
    floods: RefCell<Floods>,
    path: std::path::PathBuf,
}

/// One thing that happened, before it has a number and a date.
#[derive(Debug)]
pub struct News<'a> {
    /// What kind.
    pub kind: EventKind,
    /// To which session.
    pub session: Option<&'a SessionName>,
    /// Whom it concerns; absent: only the privileged.
    pub uid: Option<u32>,
    /// To which run of it.
    pub run_id: Option<RunId>,
    /// One word.
    pub reason: Option<String>,
    /// The sentence for people.
    pub message: String,
    /// Pid of its main process, as far as it is known: for the journal, like what follows.
    pub pid: Option<i32>,
    /// Generation of the spec that it runs by.
    pub generation: Option<u64>,
    /// How it ended.
    pub exit: Option<Exit>,
}

impl<'a> News<'a> {
    /// What has no more to it.
    pub fn of(kind: EventKind, session: Option<&'a SessionName>, message: String) -> Self {
        let (uid, run_id, reason, pid, generation, exit) = (None, None, None, None, None, None);
        Self { kind, session, uid, run_id, reason, message, pid, generation, exit }
    }
}

impl Events {
    /// Goes on after what `path` holds. What cannot be read is left out: it is history, not state.
    pub fn load(path: &Path) -> Self {
        let recent = read_back(path);
        let next = recent.back().map_or(1, |event| event.id.saturating_add(1));
        Self {
            recent: RefCell::new(recent),
            next_id: Cell::new(next),
            listeners: broadcast::channel(64).0,
            floods: RefCell::default(),
            path: path.to_owned(),
        }
    }

    /// Records one thing that happened.
    pub fn tell(&self, news: News<'_>, clock: &Clock, writer: &Writer) {
        let id = self.next_id.get();
        self.next_id.set(id.saturating_add(1));
        let event = Rc::new(Event {
            id,
            at: clock.wall(),
            kind: news.kind,
            session: news.session.cloned(),
            uid: news.uid,
            run_id: news.run_id,
            reason: news.reason,
            message: escape(&news.message),
        });
        if self.is_to_be_logged(&event, clock) {
            log(&event, news.pid, news.generation, news.exit);
        }
        if let Ok(mut line) = serde_json::to_vec(&*event) {
            line.push(b'\n');
            writer.append(self.path.clone(), line);
        }
        let mut recent = self.recent.borrow_mut();
        if recent.len() == KEPT {
            recent.pop_front();
        }
        recent.push_back(event);
        let _ = self.listeners.send(id); // nobody listening is no failure
    }

    /// Whether the log is told, and not flooded.
    fn is_to_be_logged(&self, event: &Event, clock: &Clock) -> bool {
        let Some(session) = &event.session else { return true };
        let entry = self.floods.borrow_mut().one_more(session, clock.now());
        let told = session.as_str();
        match entry {
            Entry::Told { missed: 0 } => true,
            Entry::Told { missed } => {
                warn!(atm_session = told, "{}", floods::has_missed(session, missed));
                true
            }
            Entry::FirstUntold => {
                warn!(atm_session = told, "{}", floods::falls_silent(session));
                false
            }
            Entry::Untold => false,
        }
    }

    /// Whether it was told why this run is ended, by this daemon or by one before it.
    pub fn has_told_cause(&self, run_id: RunId) -> bool {
        let recent = self.recent.borrow();
        let mut of_run = recent.iter().rev().filter(|event| event.run_id == Some(run_id));
        of_run.any(|event| matches!(event.kind, EventKind::Evicted | EventKind::Stopping))
    }

    /// Events after `id`, oldest first.
    pub fn after(&self, id: u64) -> Vec<Rc<Event>> {
        let recent = self.recent.borrow();
        let from = recent.partition_point(|event| event.id <= id);
        recent.range(from..).cloned().collect()
    }

    /// The first event after `id` that is kept.
    pub fn next_after(&self, id: u64) -> Option<Rc<Event>> {
        let recent = self.recent.borrow();
        let at = recent.partition_point(|event| event.id <= id);
        recent.get(at).cloned()
    }

    /// Hears the number of each new event.
    pub fn listen(&self) -> broadcast::Receiver<u64> {
        self.listeners.subscribe()
    }
}

fn log(event: &Event, pid: Option<i32>, generation: Option<u64>, exit: Option<Exit>) {
    let session = event.session.as_ref().map(SessionName::as_str);
    let run = event.run_id.map(|id| id.to_string());
    let kind = event.kind;
    let reason = event.reason.as_deref();
    let exit = exit.map(|exit| match exit {
        Exit::Code(code) => code.to_string(),
        Exit::Signal(number) => format!("SIG{}", StopSignal(number)),
    });
    let message = &event.message;
    macro_rules! entry {
        ($level:ident) => {
            $level!(
                atm_session = session,
                atm_run_id = run,
                atm_event = %kind,
                atm_reason = reason,
                atm_pid = pid,
                atm_generation = generation,
                atm_exit_status = exit,
                "{}{message}",
                event.session.as_ref().map(|name| format!("{name}: ")).unwrap_or_default()
            )
        };
    }
    match kind {
        EventKind::KeeperLost | EventKind::Unkillable | EventKind::RecordDamaged => entry!(error),
        // It fails again and again.
        EventKind::Pending if reason == Some(BACK_OFF) => entry!(warn),
        EventKind::StartFailed
        | EventKind::ZombieCleaned
        | EventKind::OutputLost
        | EventKind::Escaped
        | EventKind::InvalidSpec
        | EventKind::SpecConflict
        | EventKind::SpecsUnavailable
        | EventKind::InvalidConfig
        | EventKind::DaemonMemory
        | EventKind::ConversationRefused => entry!(warn),
        EventKind::Started
        | EventKind::Exited
        | EventKind::Stopping
        | EventKind::Stopped
        | EventKind::ShuttingDown
        | EventKind::Evicted
        | EventKind::Pending
        | EventKind::Adopted
        | EventKind::SpecChanged
        | EventKind::SpecRemoved
        | EventKind::SpecsAvailable
        | EventKind::ConfigChanged
        | EventKind::Requested
        | EventKind::Registered
        | EventKind::Unregistered
        | EventKind::TurnCancelled => entry!(info),
    }
}

/// The last events of the log. One that was begun anew a moment ago says little or nothing, not even the last
/// number: what is missing comes from the file before it.
pub(crate) fn read_back(path: &Path) -> VecDeque<Rc<Event>> {
    let mut events = VecDeque::new();
    let length = std::fs::metadata(path).map_or(0, |m| m.len());
    if length < READ_BACK {
        read_tail(&older(path), READ_BACK.saturating_sub(length), &mut events);
    }
    read_tail(path, READ_BACK, &mut events);
    events
}

/// Appends the events in the last `most` bytes of `path`.
fn read_tail(path: &Path, most: u64, events: &mut VecDeque<Rc<Event>>) {
    let Ok(mut file) = std::fs::File::open(path) else { return };
    let length = file.metadata().map_or(0, |m| m.len());
    let from = length.saturating_sub(most);
    if file.seek(SeekFrom::Start(from)).is_err() {
        return;
    }
    let mut lines = BufReader::new(file.take(most)).split(b'\n');
    if from > 0 {
        lines.next(); // the rest of a line that begins before
    }
    for line in lines.map_while(Result::ok) {
        let Ok(event) = serde_json::from_slice::<Event>(&line) else { continue };
        // Whoever reads on from a number relies on their order.
        if events.back().is_some_and(|last: &Rc<Event>| event.id <= last.id) {
            continue;
        }
        if events.len() == KEPT {
            events.pop_front();
        }
        events.push_back(Rc::new(event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn numbers_go_on_after_a_restart_and_nothing_raw_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let clock = Clock::start();
        for round in 0..2 {
            let (writer, thread) = Writer::start(Box::new(|_| {})).unwrap();
            let events = Events::load(&path);
            let news = News::of(EventKind::Exited, None, "a\u{1b}[2J\n\u{202e}b".into());
            events.tell(news, &clock, &writer);
            let seen = events.after(0);
            assert_eq!(seen.len(), round + 1);
            assert_eq!(seen[round].id, round as u64 + 1);
            assert_eq!(seen[round].message, r"a\u{1b}[2J\n\u{202e}b");
            drop(writer);
            thread.join().unwrap();
        }
    }

    fn told(events: &Events, message: &str, clock: &Clock, writer: &Writer) {
        let news = News::of(EventKind::Exited, None, message.into());
        events.tell(news, clock, writer);
    }

    #[test]
    fn numbers_go_on_after_the_log_was_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let clock = Clock::start();
        let tell = |message: &str| {
            let (writer, thread) = Writer::start(Box::new(|_| {})).unwrap();
            let events = Events::load(&path);
            told(&events, message, &clock, &writer);
            drop(events);
            drop(writer);
            thread.join().unwrap();
        };
        tell("one");
        tell("two");
        // Missing: between the rename and the first line. Then: shorter than what is read back.
        std::fs::rename(&path, older(&path)).unwrap();
        tell("three");
        tell("four");
        let seen: Vec<_> =
            Events::load(&path).after(0).iter().map(|event| (event.id, event.message.clone())).collect();
        let expected = [(1, "one"), (2, "two"), (3, "three"), (4, "four")];
        assert_eq!(seen, expected.map(|(id, message)| (id, message.to_owned())));
        std::fs::write(&path, "").unwrap();
        assert_eq!(Events::load(&path).next_id.get(), 3, "empty is as good as missing");
    }
}
