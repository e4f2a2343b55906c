//! A session and its terminal: typing, looking, attaching, in the session's loop.

use super::session::Session;
use crate::{
    api::{
        activity::word,
        attach::Ended,
        keeper::{Interrupt, Reply, Request},
        record::ExitRecord,
        time::Moment,
    },
    host::{clock::monotonic, errors::words, poll::Ready, pty, tree},
};

impl Session {
    /// Hears the attached clients, and gives the program what was typed.
    pub fn type_in(&mut self, ready: &[Ready], now: Moment) {
        let Some(terminal) = &mut self.terminal else { return };
        let typed = terminal.hear(ready, now);
        if let (true, Some(page)) = (typed, &self.page) {
            page.store(word::INPUT, now.as_nanos());
        }
        if let Some(master) = self.source.ours.as_ref().filter(|_| terminal.waiting() > 0) {
            terminal.write(master);
        }
    }

    /// After all was heard: newcomers, screens that are due, those who wait for their typing.
    pub fn attend(&mut self, now: Moment) {
        let Some(terminal) = &mut self.terminal else { return };
        for arrival in self.peers.arrivals() {
            terminal.admit(arrival, now);
        }
        let master = self.source.ours.as_ref();
        if let Some(master) = master.filter(|_| terminal.waiting() > 0) {
            terminal.write(master);
        }
        terminal.tick(master, now);
        if terminal.attached() != self.course.attached {
            let fewer = terminal.attached() < self.course.attached;
            self.course.attached = terminal.attached();
            if let Some(page) = &self.page {
                page.store(word::ATTACHED, self.course.attached as u64);
                if fewer {
                    // No session is idle since before its last person left.
                    page.store(word::INPUT, now.as_nanos());
                }
            }
        }
        for peer in terminal.typed_out() {
            self.peers.answer(peer, &Reply::Ok);
        }
        terminal.withdraw(|peer| self.peers.is_there(peer));
    }

    /// Answers what is about the terminal; `None`: later.
    pub fn answer_about_terminal(&mut self, peer: u64, request: &Request) -> Option<Reply> {
        let refused = |message: &str| Some(Reply::Refused { message: message.to_owned() });
        if matches!(request, Request::Type { .. }) && !self.has_reader() {
            return refused("no process of the session has its terminal open: nobody would read it");
        }
        let Some(terminal) = &mut self.terminal else {
            return refused("the session has no terminal: it runs with `terminal: false`");
        };
        match request {
            Request::Peek { history, ansi } => match terminal.view(*history, *ansi) {
                Some(view) => Some(Reply::Screen(view)),
                None => refused("its screen was lost to a fault: what it prints from now on shows again"),
            },
            Request::Type { typed } => {
                if let Err(why) = terminal.enter(peer, typed) {
                    return refused(why);
                }
                if let Some(page) = &self.page {
                    page.store(word::INPUT, monotonic().as_nanos());
                }
                None
            }
            _ => {
                terminal.detach(monotonic());
                Some(Reply::Ok)
            }
        }
    }

    /// Interrupts the program now, or not at all: what would be typed only when the program reads again, or signalled
    /// only when this keeper runs again, could meet something that nobody meant.
    pub fn interrupt(&mut self, by: &Interrupt, not_after: Moment) -> Reply {
        let refused = |message: &str| Reply::Refused { message: message.to_owned() };
        if self.course.exit.is_some() {
            return refused("its main process has ended");
        }
        match by {
            Interrupt::Key(key) => {
                if !self.has_reader() {
                    return refused("no process of the session has its terminal open: nobody would read it");
                }
                let (Some(terminal), Some(master)) = (&mut self.terminal, &self.source.ours) else {
                    return refused("the session has no terminal to type into");
                };
                if monotonic() > not_after {
                    return Reply::Late;
                }
                if !terminal.press(key, master) {
                    return refused("the program does not read: what was typed before still waits");
                }
                if let Some(page) = &self.page {
                    page.store(word::INPUT, monotonic().as_nanos());
                }
                Reply::Ok
            }
            Interrupt::Signal(signal) => {
                if monotonic() > not_after {
                    return Reply::Late;
                }
                // Not reaped yet, so the number is still its own.
                match tree::signal_group(self.record.child.pid, *signal) {
                    Ok(()) => Reply::Ok,
                    Err(error) => refused(&format!("cannot signal its main process: {}", words(&error))),
                }
            }
        }
    }

    /// Whether a process of the session could read what is typed.
    fn has_reader(&mut self) -> bool {
        let members = self.members();
        let slave = self.source.held.as_ref();
        slave.is_none_or(|slave| members.iter().any(|member| pty::is_open_in(slave, member.pid)))
    }

    /// Tells the attached how it ended.
    pub fn farewell(&mut self, exit: &ExitRecord) {
        let cause = exit.cause.as_ref().map(|cause| cause.message.clone());
        if let Some(terminal) = &mut self.terminal {
            terminal.end(&Ended { exit: exit.exit, cause }, monotonic);
        }
    }
}
