//! Making the child: in its own cgroup where there is one.

use std::{io, os::fd::AsFd, time::Duration};

use super::{
    child::{self, Job},
    start::Starting,
};
use crate::{
    api::{record::StartError, spec::SessionSpec},
    host::{
        cgroup::{Group, Limits},
        children::{self, Reaped},
        clock,
        errors::{is_transient, words},
        failpoint::{self, Place},
        line::Line,
        poll,
        pty::Streams,
        spawn, tree,
    },
};

/// How long what is killed may take to end before the start goes on without.
const EMPTYING: Duration = Duration::from_secs(1);

impl Starting<'_> {
    /// The session's own group. What a lost keeper left in it goes first: it carries this session's name, and
    /// we hold its lock.
    pub fn make_group(&self, warnings: &mut Vec<String>) -> Result<Option<Group>, StartError> {
        let Some(parent) = &self.intent.cgroup else {
            return Ok(None);
        };
        let group = match Group::create(parent, &format!("s-{}", self.intent.name)) {
            Ok(group) => group,
            Err(error) => {
                let path = parent.display();
                warnings.push(format!("no cgroup: cannot make one in `{path}`: {}", words(&error)));
                return Ok(None);
            }
        };
        let until = clock::monotonic().saturating_add(EMPTYING);
        while group.is_populated().unwrap_or(false) {
            if clock::monotonic() >= until {
                return Err(StartError::Host {
                    action: format!("empty the cgroup `{}`", group.path().display()),
                    reason: "processes of an earlier run are still in it".to_owned(),
                    transient: true,
                });
            }
            if group.kill().is_err() {
                tree::signal(&group.members(), 9);
            }
            pause();
        }
        if let Err(error) = group.limit(&limits(&self.intent.spec)) {
            let path = group.path().display();
            warnings.push(format!("no limits: cannot set them in `{path}`: {}", words(&error)));
        }
        Ok(Some(group))
    }

    /// Makes the child in its group; where it cannot be made there it is moved, or runs without, and a warning
    /// says so.
    pub fn make_child(
        &self,
        streams: &Streams,
        line: &Line,
        group: &mut Option<Group>,
        warnings: &mut Vec<String>,
    ) -> io::Result<i32> {
        failpoint::hit(Place::Clone)?;
        let job = Job {
            intent: self.intent,
            input: streams.input.as_fd(),
            output: streams.output.as_fd(),
            error: streams.error.as_ref().map_or(&streams.output, |error| &error.theirs).as_fd(),
            line,
            inherited: self.inherited,
        };
        let Some(own) = group.as_ref() else {
            return spawn::spawn(None, || child::run(&job));
        };
        let inside = match spawn::spawn(Some(own.as_fd()), || child::run(&job)) {
            Err(error) if !is_transient(&error) => error,
            result => return result,
        };
        let pid = spawn::spawn(None, || child::run(&job))?;
        if let Err(error) = own.add(pid) {
            let path = own.path().display();
            warnings.push(format!(
                "no cgroup: cannot start in `{path}`: {}; cannot move there: {}",
                words(&inside),
                words(&error)
            ));
            let _ = own.remove(); // nobody is in it
            *group = None;
        }
        Ok(pid)
    }
}

/// What the session's group is held to.
pub fn limits(spec: &SessionSpec) -> Limits {
    Limits {
        memory: spec.max_memory.at().map(|size| size.0),
        tasks: spec.max_processes.at().map(u64::from),
        cpu_weight: spec.cpu_weight,
    }
}

/// Ends a child that did not become a session, and whatever a name service made there. One that hangs in the
/// kernel is left: it holds nothing of ours, and ends behind the gate.
pub fn put_away() {
    let until = clock::monotonic().saturating_add(EMPTYING);
    while !matches!(children::reap(), Ok(Reaped::None) | Err(_)) && clock::monotonic() < until {
        let _ = tree::kill_own_children(); // again until none is left
        pause();
    }
}

fn pause() {
    let _ = poll::wait(&[], Some(Duration::from_millis(1))); // an interrupted pause is only shorter
}
