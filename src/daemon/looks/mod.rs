//! Looks at running sessions: the loop says when, a thread does it, and what it showed comes back as one input.

mod fold;
pub mod port;
mod schedule;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use self::{
    port::{Batch, Looker, Looks},
    schedule::Schedule,
};
use super::{
    core::{Daemon, Key},
    keepers::Keepers,
    recovery::is_unmeasured,
    store::Entry,
};
use crate::{
    api::{
        name::{RunId, SessionName},
        time::Moment,
    },
    controller::{Reason, Trigger},
    host::look::Target,
    plan::{
        Desired, Observed, Run,
        activity::Seen,
        looks::{self, LONG, Limits, SHORT},
    },
};

/// No look is planned further ahead.
const LONGEST: Duration = LONG;

/// So many are looked at for one who asks for all.
const ASKED: usize = 100;

/// From the start of a run to the first look at it: what it is made of is there by then.
const FIRST: Duration = Duration::from_secs(1);

/// A look that is not older says what another one would.
const LATELY: Duration = Duration::from_millis(100);

/// How long decisions wait for looks at what was found running: a thread that hangs holds nothing else up.
const MEASURED_WITHIN: Duration = Duration::from_secs(2);

/// A batch that takes longer is worth a word.
const STUCK: Duration = Duration::from_secs(5);

/// What a person is warned by.
const TOPIC: &str = "looks";

/// What the loop knows of looks.
#[derive(Debug)]
pub struct Looking {
    looker: Box<dyn Looker>,
    schedule: RefCell<Schedule>,
    /// When the batch began that is being looked at.
    under_way: Cell<Option<Moment>>,
    stuck: Cell<bool>,
    /// What an earlier daemon left of runs that were not looked at yet.
    before: RefCell<BTreeMap<SessionName, (RunId, Seen)>>,
    wake: Notify,
}

impl Looking {
    /// Nothing is looked at yet.
    pub fn new(looker: Box<dyn Looker>) -> Self {
        Self {
            looker,
            schedule: RefCell::default(),
            under_way: Cell::default(),
            stuck: Cell::default(),
            before: RefCell::default(),
            wake: Notify::new(),
        }
    }

    /// When something is to be done next, of itself.
    fn next(&self) -> Option<Moment> {
        match self.under_way.get() {
            Some(_) if self.stuck.get() => None,
            Some(since) => since.checked_add(STUCK),
            None => self.schedule.borrow().next(),
        }
    }
}

/// Whether its changed spec waits for quiet.
fn waits(entry: &Entry) -> bool {
    match (&entry.plan.desired, &entry.plan.observed) {
        (Desired::Spec(wanted), Observed::Running(run)) => wanted.launch != run.launch,
        _ => false,
    }
}

/// Looks at sessions for as long as the daemon turns. Wakes for nothing where none runs.
pub(super) async fn keep_looking<K: Keepers>(daemon: Rc<Daemon<K>>) {
    let changes = daemon.store.reader().changes();
    daemon.plan_looks();
    let late = Instant::now() + MEASURED_WITHIN;
    loop {
        let next = async {
            match daemon.looking.next() {
                Some(at) => tokio::time::sleep_until(Instant::now() + (at - daemon.clock.now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            names = changes.next() => names.iter().for_each(|name| daemon.plan_look(name)),
            () = daemon.looking.wake.notified() => {}
            () = next => daemon.begin_looks(),
            () = tokio::time::sleep_until(late), if !daemon.store.look().sources.looks => {
                daemon.store.edit_world(|world| world.sources.looks = true);
                daemon.look_at(Key::Fleet, Reason::Observed);
            }
        }
    }
}

impl<K: Keepers> Daemon<K> {
    /// Plans looks at every session anew: the config changed.
    pub(super) fn plan_looks(&self) {
        let (names, shared) = {
            let world = self.store.look();
            let names: Vec<SessionName> = world.sessions.keys().cloned().collect();
            (names, world.config.max_memory.at().map(|size| size.0))
        };
        self.looking.schedule.borrow_mut().share(shared);
        for name in names {
            self.plan_look(&name);
        }
        self.looking.wake.notify_one();
    }

    /// Plans the next look at one session, by what is known of it now.
    fn plan_look(&self, name: &SessionName) {
        let world = self.store.look();
        let mut schedule = self.looking.schedule.borrow_mut();
        // What a person started has no keeper to tell its processes by.
        let entry = world.sessions.get(name).filter(|entry| !entry.plan.is_registered());
        let Some((entry, run)) = entry.and_then(|entry| Some((entry, entry.plan.observed.run()?))) else {
            schedule.forget(name);
            self.looking.before.borrow_mut().remove(name);
            return;
        };
        let limits = Limits::of(&entry.plan.desired, &world.config);
        let known = schedule.watched(name);
        // What was seen of a run that was found again is not known any more.
        let is_lost = schedule.is_looked_at(name) && run.seen.is_none();
        if known == Some((run.run_id, limits)) && !is_lost {
            return;
        }
        // One that was found running is known by no look, and memory is given out by what is known.
        let now = self.clock.now();
        let first = if entry.adopted { now } else { now.saturating_add(FIRST) };
        if is_lost {
            schedule.forget(name);
        }
        schedule.watch(name, run.run_id, limits, first);
        // What is being looked at is planned when that is over.
        let under_way = self.looking.under_way.get().is_some();
        if let Some(due) = looks::due(run, &limits, schedule.is_pressed()).filter(|_| !under_way) {
            schedule.plan(name, due);
        }
    }

    /// Has those looked at that are due.
    fn begin_looks(&self) {
        let now = self.clock.now();
        let looking = &self.looking;
        if let Some(since) = looking.under_way.get() {
            if now - since >= STUCK && !looking.stuck.replace(true) {
                let seconds = (now - since).as_secs();
                let message = format!(
                    "looking at the processes of sessions has not ended for {seconds} s: idle times and memory \
                     are not up to date"
                );
                self.warn(TOPIC, message);
            }
            return;
        }
        let mut schedule = looking.schedule.borrow_mut();
        let names = schedule.take(now);
        let exactly = schedule.may_be_pressed();
        let mut batch = Batch { sessions: Vec::new(), machine: schedule.reads() };
        for name in names {
            let Some((run_id, limits)) = schedule.watched(&name) else { continue };
            let exact_above = if exactly { Some(0) } else { limits.exact_above() };
            match self.target(&name, exact_above) {
                Some(target) => batch.sessions.push((name, run_id, target)),
                None => schedule.plan(&name, now.saturating_add(SHORT)),
            }
        }
        if batch.sessions.is_empty() && !batch.machine {
            return;
        }
        looking.under_way.set(Some(now));
        if looking.looker.look(batch).is_err() {
            looking.stuck.set(true);
            self.warn(
                TOPIC,
                "sessions are no longer looked at: restart the daemon, no session is lost".into(),
            );
        }
    }

    fn target(&self, name: &SessionName, exact_above: Option<u64>) -> Option<Target> {
        let run = self.store.look().sessions.get(name)?.run?;
        Some(Target {
            keeper: run.keeper?,
            child: run.child?,
            page: self.paths.run(name).activity(),
            group: self.cgroup.as_ref().map(|parent| parent.join(format!("s-{name}"))),
            exact_above,
        })
    }

    /// Takes in what looks at a batch showed.
    pub(super) fn absorb_looks(&self, batch: Looks) -> Vec<Trigger<Key>> {
        let looking = &self.looking;
        looking.under_way.set(None);
        if looking.stuck.replace(false) {
            self.mended(TOPIC);
        }
        let told = batch.machine.is_some();
        let reads = {
            let mut schedule = looking.schedule.borrow_mut();
            schedule.read(batch.machine);
            schedule.reads()
        };
        // For all of them at once: to add up all sessions for each would cost more than looking.
        let pressed = looking.schedule.borrow().is_pressed();
        let (mut left, mut triggers) = (Vec::new(), Vec::new());
        for (name, run_id, facts) in batch.sessions {
            let folded = match facts {
                Ok(facts) => {
                    self.tell_escape(&name, run_id, &facts);
                    self.fold(&name, run_id, &facts, true, pressed)
                }
                Err(error) => {
                    tracing::debug!(%name, %error, "cannot look at a session");
                    None
                }
            };
            if let Some(folded) = folded {
                left.push((self.paths.run(&name).activity(), folded));
                self.look_at_repository(&name);
                if self.store.look().sessions.get(&name).is_some_and(waits) {
                    triggers.push(Trigger::new(Key::Session(name), Reason::Observed));
                }
            } else {
                let due = self.clock.now().saturating_add(SHORT);
                looking.schedule.borrow_mut().plan(&name, due);
            }
        }
        if reads {
            looking.schedule.borrow_mut().suspect(told);
        }
        looking.wake.notify_one();
        let measured = {
            let world = self.store.look();
            world.sources.looks || !world.sessions.values().any(is_unmeasured)
        };
        if measured && !self.store.look().sources.looks {
            self.store.edit_world(|world| world.sources.looks = true);
        }
        if !left.is_empty() {
            looking.looker.leave(left);
            triggers.push(Trigger::new(Key::Fleet, Reason::Observed));
        }
        triggers
    }

    /// Looks at one session here and now, for a decision that is acted on next: at its page, its processor time and
    /// its processes; its memory as far as that is quick. `false`: nothing new was seen.
    pub(super) fn look_now(&self, name: &SessionName) -> bool {
        let run_id = {
            let world = self.store.look();
            world.sessions.get(name).and_then(|entry| entry.plan.observed.run()).map(|run| run.run_id)
        };
        let Some((run_id, target)) = run_id.zip(self.target(name, None)) else { return false };
        self.plan_look(name);
        let facts = match self.looking.looker.look_now(&target) {
            Ok(facts) => facts,
            Err(error) => {
                tracing::debug!(%name, %error, "cannot look at a session now");
                return false;
            }
        };
        let pressed = self.looking.schedule.borrow().is_pressed();
        let Some(left) = self.fold(name, run_id, &facts, false, pressed) else { return false };
        self.looking.looker.leave_now(&target.page, &left);
        self.looking.wake.notify_one();
        true
    }

    /// Somebody asks how these are: they are looked at soon, where the last look was some time ago, for the next who asks.
    pub(super) fn look_soon<'a>(&self, names: impl Iterator<Item = &'a SessionName>) {
        if self.looking.schedule.borrow_mut().ask(names.take(ASKED), self.clock.now()) {
            self.looking.wake.notify_one();
        }
    }

    /// Brings the store up to a session whose changed spec waits for quiet.
    pub(super) fn look_if_waiting(&self, name: &SessionName) {
        let now = self.clock.now();
        let stale = |run: &Run| run.seen.is_none_or(|seen| now - seen.look.at > LATELY);
        let wanted = {
            let world = self.store.look();
            let entry = world.sessions.get(name).filter(|entry| waits(entry));
            entry.and_then(|entry| entry.plan.observed.run()).is_some_and(stale)
        };
        if wanted {
            self.look_now(name);
        }
    }
}
