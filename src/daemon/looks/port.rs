//! The port between the daemon and the processes of sessions, and the thread behind it: a read that hangs in the
//! kernel delays looks and nothing else.

use std::{
    cell::RefCell,
    fmt, io,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
};

use tokio::sync::mpsc::UnboundedSender;

use crate::{
    api::{
        activity::{Left, word},
        name::{RunId, SessionName},
        time::BootId,
    },
    daemon::core::Input,
    host::{
        look::{self, Facts, Reading, Target},
        page,
    },
};

/// Sessions to look at.
#[derive(Debug, Default)]
pub struct Batch {
    /// In this order.
    pub sessions: Vec<(SessionName, RunId, Target)>,
    /// Whether the machine is to be read too.
    pub machine: bool,
}

/// What looks at a batch showed.
#[derive(Debug)]
pub struct Looks {
    /// Of the machine, read before the first session; absent where it was not asked for or does not say.
    pub machine: Option<Reading>,
    /// Of each session that was asked for.
    pub sessions: Vec<(SessionName, RunId, io::Result<Facts>)>,
}

/// Looks at sessions for the daemon. The real one reads procfs; a test's shows what the test wants.
pub trait Looker: fmt::Debug {
    /// Has a batch looked at, elsewhere. The answer is one [`Input::Looks`].
    fn look(&self, batch: Batch) -> io::Result<()>;

    /// Looks at one session while the loop waits: cheaply, or not at all.
    fn look_now(&self, target: &Target) -> io::Result<Facts>;

    /// Leaves for the next daemon what is known of sessions, in their activity pages.
    fn leave(&self, left: Vec<(PathBuf, Left)>);

    /// The same for one session, while the loop waits: what its agent said was answered as known.
    fn leave_now(&self, page: &Path, left: &Left);
}

enum Job {
    Look(Batch),
    Leave(Vec<(PathBuf, Left)>),
}

/// The real port.
#[derive(Debug)]
pub struct LinuxLooker {
    jobs: mpsc::Sender<Job>,
    quick: RefCell<look::Looker>,
}

impl LinuxLooker {
    /// Starts the thread. It ends with this.
    pub fn start(boot: BootId, inputs: UnboundedSender<Input>) -> io::Result<Self> {
        let (jobs, inbox) = mpsc::channel();
        let quick = RefCell::new(look::Looker::new(boot.clone()));
        thread::Builder::new()
            .name("looks".into())
            .spawn(move || work(&inbox, &inputs, look::Looker::new(boot)))?;
        Ok(Self { jobs, quick })
    }
}

impl Looker for LinuxLooker {
    fn look(&self, batch: Batch) -> io::Result<()> {
        self.jobs.send(Job::Look(batch)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn look_now(&self, target: &Target) -> io::Result<Facts> {
        self.quick.borrow_mut().look_quickly(target)
    }

    fn leave(&self, left: Vec<(PathBuf, Left)>) {
        let _ = self.jobs.send(Job::Leave(left)); // the thread has ended: the next look says so
    }

    fn leave_now(&self, page: &Path, left: &Left) {
        // Where there is no page the next daemon begins anew: idle for less long, never for longer.
        let _ = page::write_words(page, word::LEFT, &left.words());
    }
}

fn work(inbox: &mpsc::Receiver<Job>, inputs: &UnboundedSender<Input>, mut looker: look::Looker) {
    while let Ok(job) = inbox.recv() {
        match job {
            Job::Look(batch) => {
                // Before the sessions: what they take after it is in the difference to the next.
                let machine = batch.machine.then(look::read_machine).and_then(Result::ok);
                looker.begin();
                let sessions = batch.sessions.into_iter();
                let sessions =
                    sessions.map(|(name, run, target)| (name, run, looker.look(&target))).collect();
                let _ = inputs.send(Input::Looks(Looks { machine, sessions })); // the loop has ended
            }
            Job::Leave(left) => {
                for (path, left) in left {
                    // Where there is no page the next daemon begins anew: idle for less long, never for longer.
                    let _ = page::write_words(&path, word::LEFT, &left.words());
                }
            }
        }
    }
}
