//! What a session prints and what is said to its keeper.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
};

use super::{Broken, cut, promise, text};
use crate::{
    api::{attach::WindowSize, cause::Actor, keeper::Reply, time::Moment},
    host::poll::Ready,
    keeper::{
        environ,
        peers::Peers,
        questions::{Piece, Question, Questions},
        screen::Screen,
        viewers::Viewers,
    },
};

/// What a stream was taken apart into.
#[derive(Debug, Default, PartialEq)]
struct Parts {
    clients: Vec<u8>,
    screen: Vec<u8>,
    /// Each with its place among what the screen is given.
    questions: Vec<(usize, Question)>,
    resets: Vec<usize>,
}

fn taken_apart<'a>(reads: impl Iterator<Item = &'a [u8]>) -> Parts {
    let (mut machine, mut parts) = (Questions::default(), Parts::default());
    for read in reads {
        machine.feed(read, &mut |piece| match piece {
            Piece::Pass(bytes) => {
                parts.clients.extend_from_slice(bytes);
                parts.screen.extend_from_slice(bytes);
            }
            Piece::Beside(bytes) => parts.clients.extend_from_slice(bytes),
            Piece::Question(question) => parts.questions.push((parts.screen.len(), question)),
            Piece::SoftReset => parts.resets.push(parts.screen.len()),
        });
    }
    parts
}

/// Questions to a terminal.
pub(super) fn questions(bytes: &[u8], _: &Path) -> Result<(), Broken> {
    // Ends whatever is open, so that nothing is held back.
    let stream = [bytes, b"\x18."].concat();
    let whole = taken_apart(std::iter::once(stream.as_slice()));
    promise!(taken_apart(cut(&stream)) == whole, "it depends on how the stream is cut");
    // Of colours that are set and asked for in one sequence, each that is set becomes a sequence of its own.
    promise!(whole.clients.len() <= 8 * stream.len(), "more is passed on than was printed");
    promise!(whole.clients.ends_with(b"."), "what follows is held back");
    promise!(!whole.questions.is_empty() || whole.clients == stream, "what is no question is lost");
    Ok(())
}

/// The screen.
pub(super) fn screen(bytes: &[u8], _: &Path) -> Result<(), Broken> {
    const LONGEST_ANSWER: usize = 16 << 10;
    let (mut screen, mut machine) = (Screen::new(SIZE), Questions::default());
    // Given single bytes it sees no runs of text, and leaves all to the emulator.
    let mut bytewise = Screen::new(SIZE);
    let mut longest = 0;
    for read in cut(bytes).chain([b"\x18".as_slice()]) {
        machine.feed(read, &mut |piece| match piece {
            Piece::Pass(bytes) => {
                screen.feed(bytes);
                bytes.chunks(1).for_each(|byte| bytewise.feed(byte));
            }
            Piece::Beside(_) => {}
            Piece::SoftReset => {
                screen.soft_reset();
                bytewise.soft_reset();
            }
            Piece::Question(question) => {
                longest = longest.max(screen.answer(&question).map_or(0, |answer| answer.len()));
            }
        });
    }
    promise!(longest <= LONGEST_ANSWER, "an answer of {longest} bytes");
    let look = |screen: &mut Screen| screen.view(100, true).ok_or("the emulator has a fault");
    let before = look(&mut screen)?;
    // Without colours, as these come with links, and each link without a name is given one of its own.
    promise!(screen.view(100, false) == bytewise.view(100, false), "it depends on how the stream is cut");
    let dump = screen.dump(100);
    promise!(look(&mut screen)? == before, "a dump changes the screen");
    let mut other = Screen::new(SIZE);
    let (mut clean, mut asked) = (Vec::new(), 0);
    Questions::default().feed(&dump, &mut |piece| match piece {
        Piece::Pass(bytes) => clean.extend_from_slice(bytes),
        Piece::Beside(_) | Piece::SoftReset => {}
        Piece::Question(_) => asked += 1,
    });
    promise!(asked == 0, "a dump asks {asked} questions");
    other.feed(&clean);
    let shown = look(&mut other)?;
    let cells = |view: &crate::api::attach::ScreenView| {
        let first = view.lines.len().saturating_sub(SIZE.rows.into());
        view.lines.get(first..).unwrap_or_default().to_vec()
    };
    promise!(
        cells(&shown) == cells(&before),
        "a dump shows {:?} and not {:?}: {:?}",
        cells(&shown),
        cells(&before),
        text(&dump)
    );
    promise!(
        (shown.alternate, &shown.title) == (before.alternate, &before.title),
        "a dump leaves another title or another screen: {:?}",
        text(&dump)
    );
    for size in [WindowSize::of_cells(7, 3), WindowSize::of_cells(200, 60)] {
        screen.paint(size, true);
        screen.resize(size);
        screen.dump(10);
        screen.tighten();
        look(&mut screen)?;
    }
    Ok(())
}

const SIZE: WindowSize = WindowSize { columns: 30, rows: 8, x_pixels: 0, y_pixels: 0 };

/// A file of environment variables, and what they expand to.
pub(super) fn environment(bytes: &[u8], _: &Path) -> Result<(), Broken> {
    let pairs = match environ::parse_file(bytes) {
        Ok(pairs) => pairs,
        Err(wrong) => return super::fit_for_people("environment", &wrong, 200),
    };
    let mut env: BTreeMap<String, String> = BTreeMap::from([("HOME".to_owned(), "/home/a".to_owned())]);
    for (name, value) in pairs {
        promise!(!name.is_empty() && !name.contains(['=', '\0']), "a name {name:?}");
        promise!(!value.contains(['\0', '\n']), "a value {value:?}");
        env.insert(name, value);
    }
    for value in env.values() {
        if let Ok(expanded) = environ::expand(value, &env) {
            promise!(!expanded.contains('\0'), "a NUL out of nothing");
            promise!(
                expanded.len() <= environ::LONGEST.max(value.len()),
                "{} bytes for one argument",
                expanded.len()
            );
        }
    }
    Ok(())
}

/// One who connects to a keeper: asks, attaches, types.
pub(super) fn peer(bytes: &[u8], _: &Path) -> Result<(), Broken> {
    let failed = |error: std::io::Error| format!("the test's own sockets: {error}");
    let now = Moment::from_nanos(1);
    let (ours, mut theirs) = UnixStream::pair().map_err(failed)?;
    ours.set_nonblocking(true).map_err(failed)?;
    theirs.set_nonblocking(true).map_err(failed)?;
    let (mut peers, mut viewers) = (Peers::default(), Viewers::default());
    peers.admit(ours, Actor { uid: 0, pid: 1 }, now);
    let (mut typed, mut answers) = (Vec::new(), 0);
    let ready = Ready { read: true, write: true };
    // At once and in pieces: what is whole is taken, whenever it came.
    for read in cut(bytes.get(..bytes.len().min(2048)).unwrap_or_default()) {
        if theirs.write_all(read).is_err() {
            break; // it was let go
        }
        for asked in peers.turn(&[ready], now) {
            if let Err(why) = &asked.request {
                promise!(why.len() <= bytes.len() + 1000, "{} bytes about a request", why.len());
            }
            peers.answer(asked.peer, &Reply::Ok);
            answers += 1;
        }
        for arrival in peers.arrivals() {
            viewers.admit(arrival, &mut typed, now);
        }
        viewers.turn(&[ready], &mut typed, now);
        peers.sweep(now);
    }
    promise!(typed.len() <= bytes.len(), "more is typed than was sent");
    promise!(answers <= bytes.len() / 5, "{answers} requests in {} bytes", bytes.len());
    let size = viewers.size().unwrap_or(SIZE);
    promise!(size == size.clamped(), "a terminal of {size:?}");
    let _ = theirs.read(&mut [0; 64]);
    Ok(())
}
