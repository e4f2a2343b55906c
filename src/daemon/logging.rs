//! Where the daemon's own words go: the journal when systemd gave us one, stderr otherwise.
//!
//! Neither may hold the loop: a journal that is stuck, or a pipe that nobody reads, would stop every decision.
//! A thread writes; where it is held up for long, lines are lost, and it is said how many.

use std::{
    fmt::{self, Write as _},
    io::{self, IsTerminal, Write},
    os::unix::fs::MetadataExt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, SyncSender, TryRecvError},
    },
    thread,
    time::Duration,
};

use tracing::field::Field;
use tracing_subscriber::{
    EnvFilter, Layer,
    field::MakeExt,
    fmt::{
        FormatFields, MakeWriter,
        format::{Writer, debug_fn},
    },
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use super::journal::{self, Entry, Journal, Journald};
use crate::api::diagnose::{escape, unprintable};

/// Lines or entries that may wait for whoever reads them.
const WAITING: usize = 4096;

/// The last lines are waited for so long, at the end of the daemon.
const PATIENCE: Duration = Duration::from_secs(1);

/// Starts logging. `ATM_LOG` filters; `info` where it says nothing. To be called before other threads run, and
/// what it gives to be kept to the end: dropping it waits for the last lines.
pub fn start() -> Flush {
    let filter = EnvFilter::try_from_env("ATM_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // Without a thread nothing is said; that is no reason to run no sessions.
    let mut journald = Journald::default();
    let entries = (is_journal() && journal::is_there())
        .then(|| Queue::start(move |entry: &Entry| journald.put(entry), journal::lost))
        .and_then(Result::ok);
    let to_journal = entries.clone().map(Journal);
    let lines = if entries.is_none() { Queue::of_lines(io::stderr()).ok() } else { None };
    let stderr = lines.clone().map(|lines| {
        tracing_subscriber::fmt::layer()
            .with_writer(lines)
            .fmt_fields(fields())
            .with_ansi(
                io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
            )
            .with_target(false)
            .boxed()
    });
    let started = tracing_subscriber::registry().with(filter).with(to_journal).with(stderr).try_init();
    // Only a second call could fail, and then logging is there already.
    drop(started);
    Flush { lines, entries }
}

/// What an event says, as a part of one line: a value may come from anywhere, and begins no line of its own.
fn fields() -> impl for<'writer> FormatFields<'writer> + 'static {
    let one = |writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug| {
        if field.name() != "message" {
            write!(writer, "{}=", field.name())?;
        }
        write!(Escaping(writer), "{value:?}")
    };
    debug_fn(one).delimited(" ")
}

/// Writes what is written to it so that nothing of it acts.
struct Escaping<'line, 'writer>(&'line mut Writer<'writer>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.chars().any(unprintable) { self.0.write_str(&escape(text)) } else { self.0.write_str(text) }
    }
}

/// Whether stderr is the stream that systemd connected to the journal, so that nothing is told twice.
fn is_journal() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stderr) = std::fs::metadata("/proc/self/fd/2") else { return false };
    named == format!("{}:{}", stderr.dev(), stderr.ino())
}

/// Waits for the last lines when dropped, for a second at most.
#[derive(Debug)]
#[must_use = "the last lines may be lost without it"]
pub struct Flush {
    lines: Option<Queue<Vec<u8>>>,
    entries: Option<Queue<Entry>>,
}

impl Drop for Flush {
    fn drop(&mut self) {
        if let Some(lines) = &self.lines {
            lines.flush_within(PATIENCE);
        }
        if let Some(entries) = &self.entries {
            entries.flush_within(PATIENCE);
        }
    }
}

enum Job<T> {
    /// One whole line or entry.
    Put(T),
    Flush(SyncSender<()>),
}

/// How the thread says that lines are missing.
type Lost<T> = fn(u64) -> T;

fn lost(count: u64) -> Vec<u8> {
    format!("{count} lines of this log were lost: they were not read in time\n").into_bytes()
}

/// The way to the thread that writes lines, or entries of the journal.
#[derive(Debug)]
pub struct Queue<T> {
    jobs: SyncSender<Job<T>>,
    lost: Arc<AtomicU64>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self { jobs: self.jobs.clone(), lost: Arc::clone(&self.lost) }
    }
}

impl<T: Send + 'static> Queue<T> {
    /// Starts the thread, which has each written by `sink`, and says by `say` how many are missing.
    pub fn start(sink: impl FnMut(&T) -> io::Result<()> + Send + 'static, say: Lost<T>) -> io::Result<Self> {
        let (jobs, inbox) = mpsc::sync_channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&lost);
        thread::Builder::new().name("log".into()).spawn(move || write_all(sink, &inbox, &told, say))?;
        Ok(Self { jobs, lost })
    }

    /// Has one written; where too many wait, it is counted instead.
    pub fn put(&self, item: T) {
        if self.jobs.try_send(Job::Put(item)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what was said before is written, but no longer than `patience`.
    pub fn flush_within(&self, patience: Duration) {
        let (done, answer) = mpsc::sync_channel(1);
        let jobs = self.jobs.clone();
        // Where the channel is full, asking waits too: so in a thread, which is given up with the rest.
        let ask = move || drop(jobs.send(Job::Flush(done)));
        if thread::Builder::new().name("log-flush".into()).spawn(ask).is_ok() {
            let _ = answer.recv_timeout(patience); // too late, or no thread any more: the lines are lost
        }
    }
}

impl Queue<Vec<u8>> {
    fn of_lines(mut sink: impl Write + Send + 'static) -> io::Result<Self> {
        Self::start(move |line: &Vec<u8>| sink.write_all(line), lost)
    }
}

impl<'a> MakeWriter<'a> for Queue<Vec<u8>> {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

/// One call is one whole line: that is how the subscriber writes.
impl Write for &Queue<Vec<u8>> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.put(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all<T>(
    mut sink: impl FnMut(&T) -> io::Result<()>,
    inbox: &Receiver<Job<T>>,
    lost: &AtomicU64,
    say: Lost<T>,
) {
    loop {
        let job = match inbox.try_recv() {
            Ok(job) => job,
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => {
                tell_lost(&mut sink, lost, say);
                match inbox.recv() {
                    Ok(job) => job,
                    Err(mpsc::RecvError) => return,
                }
            }
        };
        match job {
            Job::Put(item) => {
                if sink(&item).is_err() {
                    lost.fetch_add(1, Ordering::Relaxed);
                }
            }
            Job::Flush(done) => {
                tell_lost(&mut sink, lost, say);
                let _ = done.send(()); // whoever asked may wait no more
            }
        }
    }
}

/// Says how many lines are missing here, once those before them are out.
fn tell_lost<T>(sink: &mut impl FnMut(&T) -> io::Result<()>, lost: &AtomicU64, say: Lost<T>) {
    let count = lost.swap(0, Ordering::Relaxed);
    if count > 0 && sink(&say(count)).is_err() {
        lost.fetch_add(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_pipe_that_nobody_reads_holds_nobody_up_and_what_was_lost_is_counted() {
        let (mut reader, sink) = io::pipe().unwrap();
        let lines = Queue::of_lines(sink).unwrap();
        let all = 20_000_usize;
        for number in 0..all {
            // More than the pipe and the channel hold: this would hang for ever.
            (&lines).write_all(format!("line {number:060}\n").as_bytes()).unwrap();
        }
        lines.flush_within(Duration::from_millis(50)); // and so would this

        let reading = thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        lines.flush_within(Duration::from_secs(60));
        drop(lines);
        let text = reading.join().unwrap();
        let written = text.lines().filter(|line| line.starts_with("line ")).count();
        let lost: usize = text
            .lines()
            .filter(|line| line.contains("were lost"))
            .map(|line| line.split(' ').next().unwrap().parse::<usize>().unwrap())
            .sum();
        assert!(written >= WAITING && lost > 0, "{written} {lost}");
        assert_eq!(written + lost, all);
    }

    #[test]
    fn whatever_an_event_says_is_one_line_and_acts_on_nothing() {
        let (mut reader, sink) = io::pipe().unwrap();
        let lines = Queue::of_lines(sink).unwrap();
        let guard = Flush { lines: Some(lines.clone()), entries: None };
        let subscriber =
            tracing_subscriber::fmt().with_writer(lines).fmt_fields(fields()).with_ansi(false).finish();
        let nasty = "a\nERROR b\r\u{1b}[2J\u{9b}\u{202e}\u{2028}\u{2066}c";
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(path = %nasty, text = nasty, error = ?Some(nasty), "message {nasty}");
        });
        drop(guard);
        let mut buffer = [0; 4096];
        let length = reader.read(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(buffer.get(..length).unwrap());
        let line = text.strip_suffix('\n').unwrap();
        assert!(!line.chars().any(unprintable), "{line:?}");
        let said = r"a\nERROR b\r\u{1b}[2J\u{9b}\u{202e}\u{2028}\u{2066}c";
        for part in [&format!("message {said} "), &format!("path={said}"), "text=\"a", "error=Some("] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }

    #[test]
    fn the_last_lines_are_out_when_the_guard_is_gone() {
        let (mut reader, sink) = io::pipe().unwrap();
        let lines = Queue::of_lines(sink).unwrap();
        let guard = Flush { lines: Some(lines.clone()), entries: None };
        let subscriber = tracing_subscriber::fmt().with_writer(lines).with_ansi(false).finish();
        tracing::subscriber::with_default(subscriber, || tracing::info!("the last word"));
        drop(guard);
        // One whole line is there without waiting: the pipe is not closed, so a second read could hang.
        let mut buffer = [0; 4096];
        let length = reader.read(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(buffer.get(..length).unwrap());
        assert!(text.ends_with("the last word\n"), "{text}");
    }
}
