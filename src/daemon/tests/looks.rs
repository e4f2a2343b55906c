//! What looks show, without a process to look at.

use std::{cell::RefCell, collections::BTreeMap, fmt, io, path::Path, path::PathBuf, rc::Rc, time::Duration};

use tokio::sync::mpsc::UnboundedSender;

use crate::{
    api::{
        activity::{Activity, Left},
        name::SessionName,
    },
    daemon::{
        clock::Clock,
        core::Input,
        looks::port::{Batch, Looker, Looks},
    },
    host::look::{Facts, Reading, Target},
};

/// What a session does, as looks at it show.
#[derive(Debug, Clone, Copy, Default)]
pub struct Doing {
    /// Memory of its tree, in bytes.
    pub memory: u64,
    /// Uses all of a core.
    pub computes: bool,
    /// Attached clients.
    pub attached: u64,
}

/// Looks that the test makes up. They answer at once.
#[derive(Clone)]
pub struct FakeLooker(Rc<Inner>);

struct Inner {
    clock: Clock,
    inputs: UnboundedSender<Input>,
    doing: RefCell<BTreeMap<SessionName, Doing>>,
    looks: RefCell<BTreeMap<SessionName, u32>>,
    wakes: RefCell<BTreeMap<SessionName, u32>>,
}

impl fmt::Debug for FakeLooker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeLooker")
    }
}

impl FakeLooker {
    pub fn new(clock: Clock, inputs: UnboundedSender<Input>) -> Self {
        Self(Rc::new(Inner {
            clock,
            inputs,
            doing: RefCell::default(),
            looks: RefCell::default(),
            wakes: RefCell::default(),
        }))
    }

    /// What `name` does from now on.
    pub fn does(&self, name: &SessionName, change: impl FnOnce(&mut Doing)) {
        change(self.0.doing.borrow_mut().entry(name.clone()).or_default());
    }

    /// A client attaches to `name` just after so many more looks at it.
    pub fn wakes_after_looks(&self, name: &SessionName, looks: u32) {
        let at = self.looks_at(name) + looks;
        self.0.wakes.borrow_mut().insert(name.clone(), at);
    }

    /// Whether a look has seen that client.
    pub fn has_woken(&self, name: &SessionName) -> bool {
        self.0.wakes.borrow().get(name).is_some_and(|at| self.looks_at(name) > *at)
    }

    /// How often `name` was looked at.
    pub fn looks_at(&self, name: &SessionName) -> u32 {
        self.0.looks.borrow().get(name).copied().unwrap_or_default()
    }

    fn facts(&self, name: &SessionName, exact_above: Option<u64>) -> Facts {
        *self.0.looks.borrow_mut().entry(name.clone()).or_default() += 1;
        let mut doing = self.0.doing.borrow().get(name).copied().unwrap_or_default();
        doing.attached += u64::from(self.has_woken(name));
        let at = self.0.clock.now();
        let page =
            Activity { output: None, input: None, attached: doing.attached, output_bytes: 0, left: None };
        Facts {
            at,
            page: Some(page),
            // As if it had done so since boot: what counts is the difference between two looks.
            cpu: if doing.computes { Duration::from_nanos(at.as_nanos()) } else { Duration::ZERO },
            youngest: 0,
            faults_of_ended: 0,
            stopped: false,
            processes: 1,
            memory: doing.memory,
            // As the real one without a memory controller: exact where that was asked for.
            exact: exact_above.is_some_and(|above| doing.memory > above),
            resident: doing.memory,
            escaped: None,
        }
    }
}

impl Looker for FakeLooker {
    fn look(&self, batch: Batch) -> io::Result<()> {
        let machine = batch.machine.then_some(Reading { available: 8 << 30, forks: 0 });
        let sessions = batch.sessions.into_iter();
        let sessions = sessions
            .map(|(name, run, target)| (name.clone(), run, Ok(self.facts(&name, target.exact_above))))
            .collect();
        let _ = self.0.inputs.send(Input::Looks(Looks { machine, sessions })); // the loop has ended
        Ok(())
    }

    fn look_now(&self, target: &Target) -> io::Result<Facts> {
        // RUNTIME/sessions/NAME/activity
        let name = target.page.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap();
        Ok(self.facts(&SessionName::new(name).unwrap(), None))
    }

    fn leave(&self, _: Vec<(PathBuf, Left)>) {}

    fn leave_now(&self, _: &Path, _: &Left) {}
}
