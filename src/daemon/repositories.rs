//! The git repositories that sessions work in: looked at when a session shows life, by threads of their own.
//!
//! A working directory may be on a file system that hangs. Then the sessions there keep what was seen last, and as long
//! as not too many hang, the others' are looked at all the same.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tokio::sync::mpsc::UnboundedSender;

use super::{
    core::{Daemon, Input},
    keepers::Keepers,
};
use crate::{
    api::{
        name::{RunId, SessionName},
        record::ProcessId,
        status::GitView,
        time::Moment,
    },
    host::git,
    plan::{Observed, activity},
};

/// From one look at the repository of a session to the next, at least.
const EVERY: Duration = Duration::from_secs(3);
/// Most threads. Each is one that may hang.
const MOST_THREADS: usize = 8;
/// A thread without work ends after this.
const REST: Duration = Duration::from_secs(5);
/// So many that wait say that the threads hang.
const MOST_WAITING: usize = 4096;
/// A thread reads some short files.
const STACK: usize = 256 << 10;
/// What a person is warned by.
const TOPIC: &str = "git";

/// A session whose repository is to be looked at.
#[derive(Debug)]
pub struct Job {
    name: SessionName,
    run_id: RunId,
    process: ProcessId,
    uid: u32,
}

/// What a look showed.
#[derive(Debug)]
pub struct Seen {
    name: SessionName,
    run_id: RunId,
    /// Absent where it works in none that it may read.
    repository: Option<GitView>,
}

/// Where looks are asked for. The answer to each is one [`Input::Repository`].
pub struct Repositories(Box<dyn Fn(Job) -> io::Result<()>>);

impl Repositories {
    /// Looked at by threads, which are made when they are needed.
    pub fn new(inputs: UnboundedSender<Input>) -> Self {
        let desk = Arc::new(Desk::default());
        Self(Box::new(move |job| ask(&desk, &inputs, job)))
    }

    /// Never looked at.
    #[cfg(test)]
    pub fn none() -> Self {
        Self(Box::new(|_| Ok(())))
    }
}

/// Between those who ask and the threads.
#[derive(Debug, Default)]
struct Desk {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Job>,
    threads: usize,
    /// Threads that wait for work.
    idle: usize,
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under the lock leaves it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job; `None`: there was none for a while, and this thread is no longer counted.
    fn next(&self) -> Option<Job> {
        let mut state = self.state();
        if let Some(job) = state.waiting.pop_front() {
            return Some(job);
        }
        state.idle += 1;
        let empty = |state: &mut State| state.waiting.is_empty();
        let waited = self.work.wait_timeout_while(state, REST, empty);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.idle -= 1;
        let job = state.waiting.pop_front();
        state.threads -= usize::from(job.is_none());
        job
    }
}

fn ask(desk: &Arc<Desk>, inputs: &UnboundedSender<Input>, job: Job) -> io::Result<()> {
    let more = {
        let mut state = desk.state();
        if state.waiting.len() >= MOST_WAITING {
            return Err(io::Error::other("file systems that they are on do not answer"));
        }
        state.waiting.push_back(job);
        let more = state.waiting.len() > state.idle && state.threads < MOST_THREADS;
        state.threads += usize::from(more);
        more
    };
    if more {
        return hire(desk, inputs);
    }
    desk.work.notify_one();
    Ok(())
}

/// Makes a thread, which is counted already. Where none can be made, and there is none, nothing waits any more.
fn hire(desk: &Arc<Desk>, inputs: &UnboundedSender<Input>) -> io::Result<()> {
    let (own, answers) = (Arc::clone(desk), inputs.clone());
    let made =
        thread::Builder::new().name("git".into()).stack_size(STACK).spawn(move || work(&own, &answers));
    let Err(error) = made else { return Ok(()) };
    let mut state = desk.state();
    state.threads -= 1;
    if state.threads > 0 {
        return Ok(());
    }
    for Job { name, run_id, .. } in state.waiting.drain(..) {
        let _ = inputs.send(Input::Repository(Seen { name, run_id, repository: None })); // the loop has ended
    }
    Err(error)
}

fn work(desk: &Desk, inputs: &UnboundedSender<Input>) {
    while let Some(Job { name, run_id, process, uid }) = desk.next() {
        let repository = git::of_process(process, uid).unwrap_or_else(|error| {
            tracing::debug!(%name, %error, "cannot look at the repository of a session");
            None
        });
        let _ = inputs.send(Input::Repository(Seen { name, run_id, repository })); // the loop has ended
    }
}

/// What is known of the repository of one session.
#[derive(Debug, Default)]
pub struct Repository {
    view: Option<GitView>,
    /// The last look: when it was asked for, and the last sign of life by then.
    asked: Option<(Moment, Moment)>,
    /// It has not answered yet: one that hangs is not asked for again.
    under_way: bool,
}

impl Repository {
    /// As it was seen last.
    pub fn view(&self) -> Option<&GitView> {
        self.view.as_ref()
    }

    /// The run is over.
    pub fn forget(&mut self) {
        *self = Self { under_way: self.under_way, ..Self::default() };
    }

    /// Whether to look now that the last sign of life was at `sign`; it is looked at where so.
    fn begin(&mut self, sign: Moment, now: Moment) -> bool {
        let due = self.asked.is_none_or(|(at, before)| sign > before && now - at >= EVERY);
        let begins = due && !self.under_way;
        if begins {
            self.under_way = true;
            self.asked = Some((now, sign));
        }
        begins
    }
}

impl<K: Keepers> Daemon<K> {
    /// Has the repository of `name` looked at, where it has shown life since the last time.
    pub(super) fn look_at_repository(&self, name: &SessionName) {
        let now = self.clock.now();
        let job = self.store.edit(name, |entry| {
            let Observed::Running(run) = &entry.plan.observed else { return None };
            let facts = entry.run?;
            let (process, uid) = facts.child.zip(facts.uid)?;
            let job = Job { name: name.clone(), run_id: run.run_id, process, uid };
            entry.repository.begin(activity::last_sign(run), now).then_some(job)
        });
        if let Some(job) = job.flatten()
            && let Err(error) = (self.repositories.0)(job)
        {
            self.store.edit(name, |entry| entry.repository.under_way = false);
            self.warn(TOPIC, format!("git repositories cannot be looked at: {error}"));
        }
    }

    pub(super) fn absorb_repository(&self, seen: Seen) {
        let Seen { name, run_id, repository } = seen;
        let changed = self.store.edit(&name, |entry| {
            entry.repository.under_way = false;
            let is_news = entry.plan.observed.run_id() == Some(run_id) && entry.repository.view != repository;
            if is_news {
                entry.repository.view = repository;
            }
            is_news
        });
        if changed == Some(true) {
            self.store.touch(&name);
        }
        if self.store.look().warnings.contains_key(TOPIC) {
            self.mended(TOPIC);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_at_once_a_sign_of_life_and_not_too_often() {
        let second = |n: u64| Moment::from_nanos(n * 1_000_000_000);
        let mut repository = Repository::default();
        assert!(repository.begin(second(1), second(2)), "at start");
        assert!(!repository.begin(second(10), second(10)), "the first look has not answered");
        repository.under_way = false;
        assert!(!repository.begin(second(4), second(4)), "too soon");
        assert!(repository.begin(second(4), second(6)), "a sign of then is not forgotten");
        repository.under_way = false;
        assert!(!repository.begin(second(4), second(1000)), "nothing has happened since");
        repository.forget();
        assert!(repository.begin(second(4), second(1001)), "another run");
        repository.forget();
        assert!(!repository.begin(second(1002), second(1002)), "the look at the run before hangs");
    }
}
