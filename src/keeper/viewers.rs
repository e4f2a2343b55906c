//! The attached terminals. None of them can hold up the session, or another.
//!
//! A client whose size is the session's is sent what the program prints. One of another size could not show that
//! rightly, so it is sent the screen, drawn for its size, some times a second. One that falls behind is sent
//! nothing more until it has taken what was begun, and then the screen as it is by then.

use std::{
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use super::{outbox::Outbox, screen::Screen};
use crate::{
    api::{
        attach::{Attach, Attached, Detached, Ended, WindowSize},
        keeper::{FrameKind, decode},
        time::Moment,
    },
    host::poll::{self, Got, Interest, Ready},
};

/// At once. One more is refused.
const MOST: usize = 32;
/// A client that is so many bytes behind, its last screen not counted, is sent the screen instead.
const BEHIND: usize = 4 << 20;
/// Bytes read of one client in a turn.
const PIECE: usize = 64 << 10;
/// Between two drawings for a client of another size.
const FRAME: Duration = Duration::from_millis(33);
/// A newcomer waits so long for the end of a sequence that is half printed.
const PATIENCE: Duration = Duration::from_secs(1);

/// A client that is so many bytes behind is waited for, if it takes them at [`PACE`]: so that one which keeps up is
/// shown all, however little of the processor it gets in between.
const AHEAD: usize = 1 << 20;
/// Bytes that are to be taken in a [`WINDOW`]: 1 MB/s, which is far beyond what people read, and less than a client
/// takes that shares two cores with four floods. Who takes less is not waited for longer than that window, which has
/// to be above what a loaded machine keeps a process waiting.
const PACE: u64 = 256 << 10;
const WINDOW: Duration = Duration::from_millis(250);
/// And then not again for so long: one that is stopped costs a flood a fortieth of its speed.
const PATIENT_AGAIN: Duration = Duration::from_secs(10);
/// One that was let go is given so long to take what was begun, and its last word.
const CLOSING: Duration = Duration::from_secs(10);
/// Between two looks at one that is waited for.
const LOOK: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Not behind.
    Abreast,
    /// Waited for, since then, when so much had been taken.
    Waited { since: Moment, sent: u64 },
    /// Too slow to be waited for before then.
    Slow { until: Moment },
}

#[derive(Debug, PartialEq, Eq)]
enum Showing {
    /// Waits for the screen, since then, with so many lines of history.
    Nothing { since: Moment, history: usize },
    /// What is printed.
    Live,
    /// Drawings; the last one, and when the next is due.
    Drawn { last: Vec<u8>, due: Option<Moment>, drawn: Moment },
}

#[derive(Debug)]
struct Viewer {
    stream: UnixStream,
    input: Vec<u8>,
    outbox: Outbox,
    size: WindowSize,
    read_only: bool,
    showing: Showing,
    /// Since when it asks for the screen, of which it has not lost track: it misses nothing meanwhile.
    redraw: Option<Moment>,
    /// Bytes of the last screen that it was sent. They do not put it behind: else one that is shown a large screen
    /// would be sent that again and again, and never what follows.
    screen: usize,
    pace: Pace,
    gone: bool,
}

/// One that wants to attach, with what it has said already and what it was not told yet.
#[derive(Debug)]
pub struct Arrival {
    /// Its connection.
    pub stream: UnixStream,
    /// Bytes after its first word.
    pub input: Vec<u8>,
    /// Bytes that it was not sent yet.
    pub output: Vec<u8>,
    /// Its first word.
    pub attach: Attach,
}

/// The attached terminals.
#[derive(Debug, Default)]
pub struct Viewers {
    list: Vec<Viewer>,
    /// Those that were let go and have not taken their last word yet, each until when it is waited for.
    closing: Vec<(Viewer, Moment)>,
    told: Option<WindowSize>,
}

impl Viewers {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// Takes one in; the screen follows. Appends what it typed already to `typed`.
    pub fn admit(&mut self, arrival: Arrival, typed: &mut Vec<u8>, now: Moment) {
        if arrival.attach.take {
            self.detach(&Detached::Taken, now);
        }
        let mut viewer = Viewer {
            stream: arrival.stream,
            input: arrival.input,
            outbox: Outbox::with(arrival.output),
            size: arrival.attach.size.clamped(),
            read_only: arrival.attach.read_only,
            showing: Showing::Nothing {
                since: now,
                history: arrival.attach.history.try_into().unwrap_or(usize::MAX),
            },
            redraw: None,
            screen: 0,
            pace: Pace::Abreast,
            gone: false,
        };
        if self.list.len() >= MOST {
            let message = format!("{MOST} terminals are attached already");
            viewer.tell(FrameKind::Detached, &Detached::Refused { message });
            self.close(viewer, now);
            return;
        }
        viewer.obey(typed, now);
        self.list.push(viewer);
        self.told = None; // how many others there are is told to all
    }

    /// Each connection, and what to wait for. Nothing is read from clients that have `throttled` typed more than the
    /// program takes.
    pub fn watched(&self, throttled: bool) -> impl Iterator<Item = (BorrowedFd<'_>, Interest)> {
        let listed = self.list.iter().map(move |viewer| {
            let interest = Interest { read: !throttled, write: !viewer.outbox.is_empty() };
            (viewer.stream.as_fd(), interest)
        });
        listed.chain(self.closing.iter().map(|(viewer, _)| (viewer.stream.as_fd(), Interest::WRITE)))
    }

    /// Writes and reads what can be: `ready` is for each connection as [`Self::watched`] told them. Appends what was
    /// typed to `typed`.
    pub fn turn(&mut self, ready: &[Ready], typed: &mut Vec<u8>, now: Moment) {
        let closing = self.closing.iter_mut().map(|(viewer, _)| viewer);
        for (viewer, ready) in self.list.iter_mut().chain(closing).zip(ready) {
            if ready.write {
                viewer.flush();
            }
            if ready.read {
                viewer.read();
                viewer.obey(typed, now);
            }
        }
    }

    /// Whether the program should wait a moment before it prints more.
    pub fn holds(&mut self, now: Moment) -> bool {
        // Each keeps its own account, so all are asked.
        self.list.iter_mut().filter_map(|viewer| viewer.is_waited_for(now).then_some(())).count() > 0
    }

    /// What is printed, for those who see it so.
    pub fn print(&mut self, bytes: &[u8], now: Moment) {
        for viewer in &mut self.list {
            if viewer.showing != Showing::Live {
                continue;
            }
            let sent = viewer.outbox.send(&mut viewer.stream, FrameKind::Output, bytes);
            viewer.gone |= sent.is_err();
            if viewer.outbox.len() > BEHIND + viewer.screen {
                viewer.outbox.abandon();
                // Its terminal has the history that it has: some was missed, and none comes twice.
                viewer.showing = Showing::Nothing { since: now, history: 0 };
            }
        }
    }

    /// The screen changed: those who see drawings need another.
    pub fn changed(&mut self, now: Moment) {
        for viewer in &mut self.list {
            if let Showing::Drawn { due: due @ None, drawn, .. } = &mut viewer.showing {
                *due = Some((*drawn).saturating_add(FRAME).max(now));
            }
        }
    }

    /// The size that the session should have; `None`: as it is.
    pub fn size(&self) -> Option<WindowSize> {
        let sizes =
            || self.list.iter().filter(|viewer| !viewer.read_only && !viewer.gone).map(|viewer| viewer.size);
        let smallest = sizes().reduce(|one, other| WindowSize {
            columns: one.columns.min(other.columns),
            rows: one.rows.min(other.rows),
            x_pixels: 0,
            y_pixels: 0,
        })?;
        Some(sizes().find(|size| size.same_cells(smallest)).unwrap_or(smallest))
    }

    /// Sends screens and drawings that are due. `between`: what was printed last ended with a whole sequence.
    /// `settled`: the session has the size that it should have.
    pub fn refresh(&mut self, screen: &mut Screen, between: bool, settled: bool, now: Moment) {
        let size = screen.size();
        if self.told != Some(size) {
            self.told = Some(size);
            let others = u32::try_from(self.list.len().saturating_sub(1)).unwrap_or(u32::MAX);
            for viewer in &mut self.list {
                viewer.tell(FrameKind::Attached, &Attached { size, others });
            }
        }
        for viewer in &mut self.list {
            let fits = viewer.size.same_cells(size);
            let moved = match viewer.showing {
                Showing::Live => !fits,
                Showing::Drawn { .. } => fits,
                Showing::Nothing { .. } => false,
            };
            if moved {
                viewer.showing = Showing::Nothing { since: now, history: 0 };
            }
            if !fits && !settled {
                continue; // it will fit in a moment, and is not shown one thing and then another
            }
            if viewer.showing == Showing::Live {
                if viewer.is_to_redraw(between, now) {
                    viewer.show(&screen.dump(0));
                }
                continue;
            }
            if !viewer.outbox.is_empty() {
                continue; // it is not here again until it has taken that
            }
            match &mut viewer.showing {
                Showing::Nothing { since, history }
                    if between || (*since).saturating_add(PATIENCE) <= now =>
                {
                    if fits {
                        let bytes = screen.dump(*history);
                        viewer.show(&bytes);
                        viewer.showing = Showing::Live;
                    } else {
                        let last = screen.paint(viewer.size, true);
                        viewer.show(&last);
                        viewer.showing = Showing::Drawn { last: Vec::new(), due: None, drawn: now };
                    }
                }
                Showing::Drawn { last, due, drawn } if due.is_some_and(|due| due <= now) => {
                    (*due, *drawn) = (None, now);
                    let bytes = screen.paint(viewer.size, false);
                    if bytes != *last {
                        last.clone_from(&bytes);
                        let sent = viewer.outbox.send(&mut viewer.stream, FrameKind::Output, &bytes);
                        viewer.gone |= sent.is_err();
                    }
                }
                _ => {}
            }
        }
    }

    /// When [`Self::refresh`] has something to do, if nothing else happens.
    pub fn next(&self) -> Option<Moment> {
        let idle = self.list.iter().filter(|viewer| viewer.outbox.is_empty());
        let due = |viewer: &Viewer| match viewer.showing {
            Showing::Nothing { since, .. } => Some(since.saturating_add(PATIENCE)),
            Showing::Drawn { due, .. } => due,
            Showing::Live => viewer.redraw.map(|since| since.saturating_add(PATIENCE)),
        };
        idle.filter_map(due).chain(self.closing.iter().map(|(_, until)| *until)).min()
    }

    /// When [`Self::holds`] is asked again.
    pub fn look_again(now: Moment) -> Moment {
        now.saturating_add(LOOK)
    }

    /// Lets go of those that are gone.
    pub fn sweep(&mut self, now: Moment) {
        let before = self.list.len();
        self.list.retain(|viewer| !viewer.gone);
        if self.list.len() < before {
            self.told = None;
        }
        self.closing.retain(|(viewer, until)| !viewer.gone && !viewer.outbox.is_empty() && now < *until);
    }

    /// Lets go of all.
    pub fn detach(&mut self, why: &Detached, now: Moment) {
        for mut viewer in std::mem::take(&mut self.list) {
            viewer.outbox.abandon();
            viewer.tell(FrameKind::Detached, why);
            self.close(viewer, now);
        }
        self.told = None;
    }

    /// One that was told the last. What it has not taken is waited for: closed at once, it would take a slow line for
    /// the end of its keeper.
    fn close(&mut self, viewer: Viewer, now: Moment) {
        if viewer.gone || viewer.outbox.is_empty() {
            return;
        }
        if self.closing.len() >= MOST {
            self.closing.remove(0);
        }
        self.closing.push((viewer, now.saturating_add(CLOSING)));
    }

    /// Tells all how it ended, after the last that was printed, and waits a little for those who still read.
    pub fn end(&mut self, ended: &Ended, now: impl Fn() -> Moment) {
        /// For all together.
        const ALL: Duration = Duration::from_secs(2);
        /// For one that takes nothing.
        const NOTHING: Duration = Duration::from_millis(200);
        for viewer in &mut self.list {
            viewer.tell(FrameKind::Ended, ended);
        }
        self.list.extend(self.closing.drain(..).map(|(viewer, _)| viewer));
        let until = now().saturating_add(ALL);
        while now() < until {
            self.list.retain(|viewer| !viewer.gone && !viewer.outbox.is_empty());
            let watched: Vec<_> =
                self.list.iter().map(|viewer| (viewer.stream.as_fd(), Interest::WRITE)).collect();
            if watched.is_empty() {
                break;
            }
            let Ok(ready) = poll::wait(&watched, Some(NOTHING)) else { break };
            if ready.iter().all(|ready| !ready.write) {
                break;
            }
            for (viewer, _) in self.list.iter_mut().zip(ready).filter(|(_, ready)| ready.write) {
                viewer.flush();
            }
        }
        self.list.clear();
    }
}

impl Viewer {
    fn tell(&mut self, kind: FrameKind, value: &impl serde::Serialize) {
        self.gone |= self.outbox.tell(&mut self.stream, kind, value).is_err();
    }

    fn show(&mut self, bytes: &[u8]) {
        self.redraw = None;
        self.screen = bytes.len();
        self.gone |= self.outbox.send(&mut self.stream, FrameKind::Screen, bytes).is_err();
    }

    fn flush(&mut self) {
        self.gone |= self.outbox.flush(&mut self.stream).is_err();
    }

    fn is_waited_for(&mut self, now: Moment) -> bool {
        if self.outbox.len() < AHEAD {
            if matches!(self.pace, Pace::Waited { .. }) {
                self.pace = Pace::Abreast;
            }
            return false;
        }
        let sent = self.outbox.sent();
        match self.pace {
            Pace::Slow { until } if now < until => return false,
            Pace::Waited { since, .. } if now < since.saturating_add(WINDOW) => {}
            Pace::Waited { sent: before, .. } if sent - before < PACE => {
                self.pace = Pace::Slow { until: now.saturating_add(PATIENT_AGAIN) };
                return false;
            }
            Pace::Abreast | Pace::Slow { .. } | Pace::Waited { .. } => {
                self.pace = Pace::Waited { since: now, sent };
            }
        }
        true
    }

    fn read(&mut self) {
        self.input.reserve(PIECE);
        match poll::read(&self.stream, &mut self.input) {
            Ok(Got::Bytes(_) | Got::Nothing) => {}
            Ok(Got::End) | Err(_) => self.gone = true,
        }
    }

    /// Takes on the size of its terminal; the same again asks for the screen.
    fn resize(&mut self, size: WindowSize, now: Moment) {
        let same = size.same_cells(self.size);
        self.size = size;
        if same && self.showing == Showing::Live {
            self.redraw.get_or_insert(now);
            return;
        }
        self.showing = Showing::Nothing { since: now, history: 0 };
    }

    /// Whether it is sent the screen, behind what it was sent already. Where much of that is on its way, later.
    fn is_to_redraw(&self, between: bool, now: Moment) -> bool {
        let asked = self.redraw.is_some_and(|since| between || since.saturating_add(PATIENCE) <= now);
        asked && self.outbox.len() < AHEAD
    }

    /// Does what whole frames say.
    fn obey(&mut self, typed: &mut Vec<u8>, now: Moment) {
        let mut at = 0;
        loop {
            match decode(self.input.get(at..).unwrap_or_default()) {
                Ok(Some((frame, taken))) => {
                    match FrameKind::from_byte(frame.kind) {
                        Some(FrameKind::Input) if !self.read_only => typed.extend_from_slice(frame.payload),
                        Some(FrameKind::Resize) => {
                            match serde_json::from_slice::<WindowSize>(frame.payload) {
                                Ok(size) => self.resize(size.clamped(), now),
                                Err(_) => self.gone = true,
                            }
                        }
                        // What only a newer client knows, it does not need an answer to.
                        Some(_) | None => {}
                    }
                    at += taken;
                }
                Ok(None) => break,
                Err(_) => {
                    self.gone = true;
                    break;
                }
            }
        }
        self.input.drain(..at);
        if self.input.is_empty() && self.input.capacity() > PIECE {
            self.input = Vec::new(); // a paste must not be paid for as long as the client stays
        }
    }
}
