//! Clients of the sockets: one that asks, and those that misbehave.

use std::{
    io::{Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use serde_json::{Value, json};

use crate::{
    dice::Dice,
    harness::{self, pause, program},
};

/// Longer than any answer takes while somebody answers.
const PATIENCE: Duration = Duration::from_secs(3);

/// A connection, if there is somebody who takes it at once: one who is stopped holds up nobody here.
fn reach(path: &Path) -> Option<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket: OwnedFd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
    connect(&socket, &SocketAddrUnix::new(path).unwrap()).ok()?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    Some(stream)
}

/// All sessions, as JSON, if there is a daemon that says so.
pub fn list(runtime: &Path) -> Option<Vec<Value>> {
    ask(runtime, "list", &json!({}))?["sessions"].as_array().cloned()
}

/// The result of a method, if there is a daemon that gives one.
pub fn ask(runtime: &Path, method: &str, params: &Value) -> Option<Value> {
    let mut stream = reach(&runtime.join("atm.sock"))?;
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    stream.write_all(format!("{request}\n").as_bytes()).ok()?;
    let mut answer = Vec::new();
    let mut piece = vec![0; 1 << 16];
    let until = harness::now() + PATIENCE;
    while !answer.ends_with(b"\n") {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(_) if harness::now() > until => return None,
            Ok(count) => answer.extend_from_slice(&piece[..count]),
        }
    }
    let mut answer: Value = serde_json::from_slice(&answer).ok()?;
    answer.get_mut("result").map(Value::take)
}

/// What a client does that nobody should do.
#[derive(Debug, Clone, Copy)]
pub enum Manner {
    /// Half a line, and then nothing.
    HalfLine,
    /// Bytes that are no requests.
    Noise,
    /// Requests and a watch, whose answers are never read.
    Deaf,
    /// As many connections as a crowd makes.
    Crowd,
    /// `atm get -w`, killed in the middle.
    Killed,
    /// At a session's own socket: noise.
    AtKeeper,
    /// Attached, with one size after the other, and never reading.
    Attached,
}

impl Manner {
    pub const ALL: [Self; 7] =
        [Self::HalfLine, Self::Noise, Self::Deaf, Self::Crowd, Self::Killed, Self::AtKeeper, Self::Attached];
}

/// Lets a client misbehave, for a second at most; `session` is whose keeper is met, by those that meet one.
pub fn misbehave(manner: Manner, runtime: &Path, session: &str, seed: u64) -> thread::JoinHandle<()> {
    let (control, keeper) =
        (runtime.join("atm.sock"), runtime.join("sessions").join(session).join("attach.sock"));
    thread::spawn(move || {
        let mut dice = Dice::new(seed);
        let mut held = Vec::new();
        let at_keeper = matches!(manner, Manner::AtKeeper | Manner::Attached);
        for _ in 0..if matches!(manner, Manner::Crowd) { 200 } else { 1 } {
            held.extend(reach(if at_keeper { &keeper } else { &control }));
        }
        let first = held.first_mut();
        // Whoever is written to may have closed, or be gone: that is what this is for.
        match (manner, first) {
            (Manner::Killed, _) => return watch_and_die(&control, &mut dice),
            (_, None) | (Manner::Crowd, _) => {}
            (Manner::HalfLine, Some(stream)) => {
                let _ = stream.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"li");
            }
            (Manner::Noise | Manner::AtKeeper, Some(stream)) => {
                let noise: Vec<u8> = (0..2000).map(|_| dice.below(256).to_le_bytes()[0]).collect();
                let _ = stream.write_all(&noise);
            }
            (Manner::Deaf, Some(stream)) => {
                let _ = stream.set_write_timeout(Some(Duration::from_millis(200)));
                let _ =
                    stream.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"watch\",\"params\":{}}\n");
                for _ in 0..200 {
                    if stream.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"list\"}\n").is_err() {
                        break;
                    }
                }
            }
            (Manner::Attached, Some(stream)) => attach(stream, &mut dice),
        }
        dice.pause(800);
    })
}

/// A frame of a keeper's protocol: what follows the length is its kind and its payload.
fn frame(kind: u8, payload: &str) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len() + 1).unwrap().to_be_bytes().to_vec();
    bytes.push(kind);
    bytes.extend_from_slice(payload.as_bytes());
    bytes
}

fn attach(stream: &mut UnixStream, dice: &mut Dice) {
    let size = |dice: &mut Dice| format!("{{\"columns\":{},\"rows\":{}}}", dice.below(300), dice.below(100));
    let _ = stream.write_all(&frame(16, &format!("{{\"size\":{}}}", size(dice))));
    for _ in 0..20 {
        let _ = stream.write_all(&frame(21, &size(dice)));
    }
    // The last one is never whole.
    let _ = stream.write_all(&frame(21, &size(dice))[..7]);
}

fn watch_and_die(socket: &Path, dice: &mut Dice) {
    let mut command = Command::new(program());
    command.args(["get", "-w", "-o", "json"]).env("ATM_SOCKET", socket);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    dice.pause(500);
    let _ = child.kill();
    while child.try_wait().unwrap().is_none() {
        pause();
    }
}
