//! Where the daemon's own words go: the journal when systemd gave us one, stderr otherwise.
//!
//! Neither may hold the loop: a journal that is stuck, or a pipe that nobody reads, would stop every decision.
//! Lines are lost instead, and on stderr it is said how many.

use std::{
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

use tracing_subscriber::{EnvFilter, Layer, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::host::descriptors;

/// Lines that may wait for whoever reads them.
const WAITING: usize = 4096;

/// The last lines are waited for so long, at the end of the daemon.
const PATIENCE: Duration = Duration::from_secs(1);

/// Starts logging. `ATM_LOG` filters; `info` where it says nothing. To be called before other threads run, and
/// what it gives to be kept to the end: dropping it waits for the last lines.
pub fn start() -> Flush {
    let filter = EnvFilter::try_from_env("ATM_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // A full journal socket refuses then, and the layer lets the entry go.
    let connect = || descriptors::with_nonblocking_sockets(tracing_journald::layer);
    let journal = is_journal().then(connect).and_then(Result::ok).map(|layer| {
        // Fields are named by us, and a name such as ATM_SESSION is what `journalctl` is asked for.
        layer.with_field_prefix(None).with_priority_mappings(tracing_journald::PriorityMappings {
            error: tracing_journald::Priority::Error,
            warn: tracing_journald::Priority::Warning,
            info: tracing_journald::Priority::Informational,
            debug: tracing_journald::Priority::Debug,
            trace: tracing_journald::Priority::Debug,
        })
    });
    // Without a thread there are no lines on stderr; that is no reason to run no sessions.
    let lines = if journal.is_none() { Lines::start(io::stderr()).ok() } else { None };
    let stderr = lines.clone().map(|lines| {
        tracing_subscriber::fmt::layer()
            .with_writer(lines)
            .with_ansi(
                io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
            )
            .with_target(false)
            .boxed()
    });
    let started = tracing_subscriber::registry().with(filter).with(journal).with(stderr).try_init();
    // Only a second call could fail, and then logging is there already.
    drop(started);
    Flush(lines)
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
pub struct Flush(Option<Lines>);

impl Drop for Flush {
    fn drop(&mut self) {
        if let Some(lines) = &self.0 {
            lines.flush_within(PATIENCE);
        }
    }
}

enum Job {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The way to the thread that writes lines.
#[derive(Debug, Clone)]
struct Lines {
    jobs: SyncSender<Job>,
    lost: Arc<AtomicU64>,
}

impl Lines {
    fn start(sink: impl Write + Send + 'static) -> io::Result<Self> {
        let (jobs, inbox) = mpsc::sync_channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&lost);
        thread::Builder::new().name("log".into()).spawn(move || write_all(sink, &inbox, &told))?;
        Ok(Self { jobs, lost })
    }

    /// Waits until what was said before is written, but no longer than `patience`.
    fn flush_within(&self, patience: Duration) {
        let (done, answer) = mpsc::sync_channel(1);
        let jobs = self.jobs.clone();
        // Where the channel is full, asking waits too: so in a thread, which is given up with the rest.
        let ask = move || drop(jobs.send(Job::Flush(done)));
        if thread::Builder::new().name("log-flush".into()).spawn(ask).is_ok() {
            let _ = answer.recv_timeout(patience); // too late, or no thread any more: the lines are lost
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Lines;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

/// One call is one whole line: that is how the subscriber writes.
impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.jobs.try_send(Job::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all(mut sink: impl Write, inbox: &Receiver<Job>, lost: &AtomicU64) {
    loop {
        let job = match inbox.try_recv() {
            Ok(job) => job,
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => {
                tell_lost(&mut sink, lost);
                match inbox.recv() {
                    Ok(job) => job,
                    Err(mpsc::RecvError) => return,
                }
            }
        };
        match job {
            Job::Line(line) => {
                if sink.write_all(&line).is_err() {
                    lost.fetch_add(1, Ordering::Relaxed);
                }
            }
            Job::Flush(done) => {
                tell_lost(&mut sink, lost);
                let _ = done.send(()); // whoever asked may wait no more
            }
        }
    }
}

/// Says how many lines are missing here, once those before them are out.
fn tell_lost(sink: &mut impl Write, lost: &AtomicU64) {
    let count = lost.swap(0, Ordering::Relaxed);
    if count > 0 && writeln!(sink, "{count} lines of this log were lost: they were not read in time").is_err()
    {
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
        let lines = Lines::start(sink).unwrap();
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
    fn the_last_lines_are_out_when_the_guard_is_gone() {
        let (mut reader, sink) = io::pipe().unwrap();
        let lines = Lines::start(sink).unwrap();
        let guard = Flush(Some(lines.clone()));
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
