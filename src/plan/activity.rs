//! What a session is doing, and since when it does nothing.
//!
//! Two sources: what its agent said ([`Said`]) and what looks at its processes showed ([`Seen`]). Idleness needs
//! proof: a session is idle because its agent said so, or because looks that leave no gap saw no sign of life. So
//! idle time is reckoned up to the last look and never up to now: data that is missing or old ends nothing.

use std::time::Duration;

use super::Run;
use crate::api::{status::Activity, time::Moment};

/// Without a sign of life for this long, a session whose agent says nothing counts as idle: long enough for a
/// program that thinks between two lines, short against any budget.
pub const QUIET: Duration = Duration::from_secs(10);

/// One that may have been interrupted, and in which nothing happened for this long, is not in a turn any more. An agent
/// in a turn draws and computes, and one that asks a person is mostly answered before.
pub const INTERRUPTED: Duration = Duration::from_secs(60);

/// The same where all that speaks for an interruption is that nobody listened for a while.
pub const UNHEARD: Duration = Duration::from_secs(600);

/// A tree that uses more processor time than this part of a core is doing something.
const WORKING: f64 = 0.01;

/// A look that comes later than planned by more than this leaves a gap that proves nothing: the daemon was stopped,
/// down or starved. It has to be above what a loaded machine delays a thread by.
const PUNCTUAL: Duration = Duration::from_secs(2);

/// Stands in [`Look::attached`] for a number that nobody knows.
pub const ATTACHED_UNKNOWN: u32 = u32::MAX;

/// A first look that comes later after the start has missed what happened: it is planned after a second.
const SOON: Duration = Duration::from_secs(5);

/// What an agent, or a person by `atm touch`, said about the turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// What.
    pub activity: Activity,
    /// When.
    pub at: Moment,
}

/// One look at the processes of a session and its activity page: facts without a judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// When.
    pub at: Moment,
    /// Last output of the session.
    pub output: Option<Moment>,
    /// Last input from people.
    pub input: Option<Moment>,
    /// Attached clients; [`ATTACHED_UNKNOWN`] where that cannot be told: there may be some.
    pub attached: u32,
    /// Processor time of the tree so far, with that of its processes that have ended.
    pub cpu: Duration,
    /// Grows whenever a process was started in the tree.
    pub births: Births,
    /// Stopped by SIGSTOP or its like.
    pub stopped: bool,
    /// Processes in the tree.
    pub processes: u32,
    /// Their memory.
    pub memory: MemoryUse,
}

/// Marks of processes that were started: either grows with a new one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Births {
    /// The start time of the youngest process, in the kernel's ticks.
    pub youngest: u64,
    /// Page faults of children that have ended and were waited for: each child has some, so one that came and went
    /// between two looks is seen too.
    pub faults_of_ended: u64,
}

/// Memory of a tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// In bytes.
    pub bytes: u64,
    /// What its processes share counts once: by the cgroup, or by proportional set size. Otherwise it is the sum of
    /// resident sets: never less than the truth, and no ground to end anything.
    pub exact: bool,
}

/// What is known of a session after its last look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// The last look.
    pub look: Look,
    /// Since when there was no output, no input, no child and no work. Time that nobody watched is left out: it
    /// moves this forward.
    pub quiet_since: Moment,
    /// The last look that showed a client attached, or the session stopped by a signal: idleness begins after it.
    pub attended: Option<Moment>,
    /// Of one core, in percent, between the last two looks.
    pub cpu_percent: f32,
    /// When the next look is planned. One that comes much later leaves a gap.
    pub due: Moment,
}

impl Said {
    /// What was said, where nobody watched for `unwatched` before `look`: that it was idle proves nothing of that
    /// time, for a word that came in it may have been heard by nobody.
    #[must_use]
    pub fn unwatched(self, unwatched: Duration, look: &Look) -> Self {
        let typed = look.input.is_some_and(|input| input > self.at);
        match self.activity {
            Activity::Idle if !typed => Self { at: self.at.saturating_add(unwatched).min(look.at), ..self },
            Activity::Idle | Activity::Busy | Activity::Waiting | Activity::Unknown => self,
        }
    }
}

impl Seen {
    /// What the first look at a run shows. Its start is its first sign of life, where the look follows soon: of one
    /// that nobody looked at until now nothing is proven.
    pub fn first(look: Look, since: Moment) -> Self {
        let begun = if look.at - since <= SOON { since } else { look.at };
        let quiet_since = latest_sign(&look, begun);
        let attended = is_attended(&look).then_some(look.at);
        Self { look, quiet_since, attended, cpu_percent: 0.0, due: look.at }
    }

    /// How much of the time before `look` nobody watched.
    pub fn unwatched(&self, look: &Look) -> Duration {
        let late = look.at - self.due;
        if late > PUNCTUAL { late } else { Duration::ZERO }
    }

    /// What the next look adds.
    #[must_use]
    pub fn then(&self, look: Look) -> Self {
        let gap = look.at - self.look.at;
        let unwatched = self.unwatched(&look);
        let used = look.cpu.saturating_sub(self.look.cpu);
        let worked = used.as_secs_f64() > gap.as_secs_f64() * WORKING;
        let born = look.births.youngest > self.look.births.youngest
            || look.births.faults_of_ended > self.look.births.faults_of_ended;
        let before = self.quiet_since.saturating_add(unwatched);
        // Since the last look too: nobody knows when in between the client left.
        let attended =
            if is_attended(&self.look) || is_attended(&look) { Some(look.at) } else { self.attended };
        let attended = attended.map(|at| at.saturating_add(unwatched).min(look.at));
        let quiet_since =
            if worked || born || attended == Some(look.at) { look.at } else { latest_sign(&look, before) };
        // A look at the same moment as the last one says nothing about the rate.
        let cpu_percent = if gap.is_zero() { self.cpu_percent } else { percent(used, gap) };
        Self { look, quiet_since: quiet_since.min(look.at), attended, cpu_percent, due: look.at }
    }

    /// For how long it had been quiet when it was last looked at.
    pub fn quiet_for(&self) -> Duration {
        self.look.at - self.quiet_since
    }
}

fn is_attended(look: &Look) -> bool {
    look.attached > 0 || look.stopped
}

fn latest_sign(look: &Look, before: Moment) -> Moment {
    look.output.into_iter().chain(look.input).fold(before, Ord::max).min(look.at)
}

#[expect(clippy::cast_possible_truncation, reason = "a share for people, to a digit or two")]
fn percent(used: Duration, gap: Duration) -> f32 {
    (used.as_secs_f64() / gap.as_secs_f64() * 100.0) as f32
}

/// What was said last, as far as it still holds. One that was typed at since it said that it is idle may have been
/// given work, and has not said so yet; and a turn that a person interrupted ends without a word
/// ([`is_moot`]). Then what is seen decides, until it speaks again.
fn word(run: &Run) -> Option<Said> {
    let said = run.said?;
    let overtaken = match said.activity {
        Activity::Idle => is_typed_at(run, said),
        Activity::Busy | Activity::Waiting => is_moot(run),
        Activity::Unknown => false,
    };
    let activity = if overtaken { Activity::Unknown } else { said.activity };
    Some(Said { activity, ..said })
}

fn is_typed_at(run: &Run, said: Said) -> bool {
    run.seen.and_then(|seen| seen.look.input).is_some_and(|input| input > said.at)
}

/// Whether a word that `run` is in a turn, or waits for a person, holds no more. Agents do not say that a person
/// interrupted or refused. So where somebody could have done that since the last word (something was typed, atm itself
/// interrupted, or words could not be heard), a session in which nothing at all happens any more is taken for one that
/// has nothing to do. Silence alone never is: a turn may be silent for hours.
pub fn is_moot(run: &Run) -> bool {
    let (Some(said), Some(seen)) = (run.said, run.seen) else { return false };
    if !matches!(said.activity, Activity::Busy | Activity::Waiting) {
        return false;
    }
    let patience = if run.turn.interrupted_at().is_some_and(|at| at > said.at) {
        QUIET
    } else if is_typed_at(run, said) {
        INTERRUPTED
    } else if run.turn.unheard {
        UNHEARD
    } else {
        return false;
    };
    seen.quiet_for() >= patience
}

/// What `run` is doing, as far as it is known.
pub fn doing(run: &Run) -> Activity {
    match word(run) {
        Some(Said { activity: activity @ (Activity::Busy | Activity::Waiting), .. }) => activity,
        Some(Said { activity: Activity::Idle, .. }) if proven_idle(run).is_some() => Activity::Idle,
        Some(Said { activity: Activity::Unknown, .. }) | None
            if proven_idle(run).is_some_and(|idle| idle >= QUIET) =>
        {
            Activity::Idle
        }
        Some(Said { activity: Activity::Idle | Activity::Unknown, .. }) | None => Activity::Unknown,
    }
}

/// For how long `run` had been idle when it was last looked at; `None` where that is not proven: it is in a turn or
/// waits for a person, somebody is attached, it is stopped by a signal, or nobody has looked yet.
pub fn proven_idle(run: &Run) -> Option<Duration> {
    let seen = run.seen.as_ref()?;
    if is_attended(&seen.look) {
        return None;
    }
    Some(seen.look.at - idle_since(run, seen)?)
}

/// Since when it is idle, as far as turns and signs of life tell.
fn idle_since(run: &Run, seen: &Seen) -> Option<Moment> {
    let since = match word(run) {
        Some(Said { activity: Activity::Busy | Activity::Waiting, .. }) => return None,
        // A program that draws its clock is idle all the same if its agent says so.
        Some(Said { activity: Activity::Idle, at }) => seen.attended.map_or(at, |attended| attended.max(at)),
        Some(Said { activity: Activity::Unknown, at }) => seen.quiet_since.max(at),
        None => seen.quiet_since,
    };
    Some(since)
}

/// The moment that idle time counts from, for people and for dates: see [`proven_idle`].
pub fn since(run: &Run) -> Option<Moment> {
    let seen = run.seen.as_ref()?;
    proven_idle(run).and_then(|_| idle_since(run, seen))
}

/// The last sign of life, for people.
pub fn last_sign(run: &Run) -> Moment {
    let said = run.said.map(|said| said.at);
    let seen = run.seen.map(|seen| seen.quiet_since);
    said.into_iter().chain(seen).fold(run.since, Ord::max)
}

/// What its tree used at the last look, in bytes, as well as that is known; zero before the first look.
pub fn memory(run: &Run) -> u64 {
    run.seen.map_or(0, |seen| seen.look.memory.bytes)
}

/// Attached clients.
pub fn attached(run: &Run) -> u32 {
    run.seen.map_or(0, |seen| seen.look.attached)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::testing::{look, seconds, secs};

    /// After a first look at second 100, with the next one due at `due`.
    fn seen(due: u64) -> Seen {
        Seen { due: seconds(due), ..Seen::first(look(seconds(100)), seconds(100)) }
    }

    #[test]
    fn silence_that_was_watched_is_idle_time() {
        let next = Seen { due: seconds(132), ..seen(102).then(look(seconds(102))) };
        assert_eq!(next.then(look(seconds(132))).quiet_for(), secs(32));
    }

    #[test]
    fn each_sign_of_life_begins_it_anew() {
        let at = seconds(110);
        let born =
            |youngest, faults_of_ended| Look { births: Births { youngest, faults_of_ended }, ..look(at) };
        for (sign, left) in [
            (look(at), 10),
            (Look { output: Some(seconds(107)), ..look(at) }, 3),
            (Look { input: Some(seconds(108)), ..look(at) }, 2),
            (Look { cpu: Duration::from_millis(101), ..look(at) }, 0),
            (Look { cpu: Duration::from_millis(100), ..look(at) }, 10),
            (born(1, 0), 0),
            (born(0, 1), 0),
            // A stamp from beyond now is a sign of now.
            (Look { output: Some(seconds(9999)), ..look(at) }, 0),
        ] {
            assert_eq!(seen(110).then(sign).quiet_for(), secs(left), "{sign:?}");
        }
    }

    #[test]
    fn time_that_nobody_watched_proves_nothing_and_what_was_proven_stays() {
        assert_eq!(seen(110).then(look(seconds(150))).quiet_for(), secs(10), "40 s of which nobody saw");
        assert_eq!(seen(110).then(look(seconds(112))).quiet_for(), secs(12), "a thread may be that late");
        assert_eq!(seen(110).then(look(seconds(104))).quiet_for(), secs(4), "earlier than planned");
    }

    /// Idle since second 90, as it says; looked at in second 100, and again in second 150 with one due at 110.
    fn said_idle(last: Look) -> Run {
        let said = Said { activity: Activity::Idle, at: seconds(90) };
        let seen = seen(110);
        let said = said.unwatched(seen.unwatched(&last), &last);
        Run { said: Some(said), seen: Some(seen.then(last)), ..crate::plan::testing::run() }
    }

    #[test]
    fn a_word_of_idleness_does_not_stand_for_time_that_nobody_watched() {
        assert_eq!(
            proven_idle(&said_idle(look(seconds(150)))),
            Some(secs(20)),
            "10 s before, 10 s as planned"
        );
        let typed = Look { input: Some(seconds(145)), ..look(seconds(150)) };
        assert_eq!(doing(&said_idle(typed)), Activity::Unknown, "it may have been given work");
    }

    #[test]
    fn what_a_late_look_shows_is_of_all_the_time_that_passed() {
        let late = seen(102).then(Look { cpu: secs(10), ..look(seconds(120)) });
        assert!((late.cpu_percent - 50.0).abs() < 0.01, "{} % of 20 s", late.cpu_percent);
    }

    #[test]
    fn processor_time_of_what_ended_unseen_does_not_run_backwards() {
        let before = seen(102).then(Look { cpu: secs(5), ..look(seconds(102)) });
        let after = before.then(Look { cpu: secs(1), ..look(seconds(104)) });
        assert_eq!((after.cpu_percent, after.quiet_for()), (0.0, secs(2)));
        assert!((before.cpu_percent - 250.0).abs() < 0.01);
    }
}
