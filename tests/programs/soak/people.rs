//! What people, editors, scripts and agents do.

use std::{
    fs::{self, OpenOptions},
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    process::{Child, Stdio},
    time::Duration,
};

use serde_json::json;

use crate::{
    client,
    crowd::Person,
    field::Kind,
    harness::{program, signal, wait_until},
    registered::{Own, Socket},
    socket,
};

/// What somebody does once; it may hold what it goes on with the next time.
pub type Act = Box<dyn FnMut(&mut Person<'_>) + Send>;

/// Somebody who has done nothing yet.
pub type Newcomer = fn() -> Act;

/// Everybody, by what they do.
pub const ALL: &[(&str, Newcomer)] = &[
    ("attaches", || Box::new(attaches)),
    ("attaches too", || Box::new(attaches)),
    ("looks", || Box::new(looks)),
    ("follows", || {
        let mut followed = Vec::new();
        Box::new(move |person| follows(person, &mut followed))
    }),
    ("connects", || Box::new(connects)),
    ("steers", || Box::new(steers)),
    ("edits", || Box::new(edits)),
    ("configures", || Box::new(configures)),
    ("registers", || {
        let mut held = Vec::new();
        Box::new(move |person| registers(person, &mut held))
    }),
    ("names", || Box::new(names)),
];

const TERMINALS: &[Kind] =
    &[Kind::Prints, Kind::Floods, Kind::Echoes, Kind::Sleeps, Kind::Lazy, Kind::Toy, Kind::Agent];

fn one_of(person: &mut Person<'_>, kinds: &[Kind]) -> Option<(String, Kind)> {
    let all = person.field.of(kinds);
    person.dice.pick(&all).map(|declared| (declared.name.clone(), declared.kind))
}

/// At a terminal: sees, types, resizes it, and leaves, in good order or not.
fn attaches(person: &mut Person<'_>) {
    let Some((name, kind)) = one_of(person, TERMINALS) else { return };
    let columns = u16::try_from(40 + person.dice.below(120)).unwrap();
    let rows = u16::try_from(10 + person.dice.below(50)).unwrap();
    let mut args = vec![name.as_str()];
    if person.dice.percent(20) {
        args.push("--read-only");
    }
    let mut client = client::Client::attach(person.atm, columns, rows, &args);
    for _ in 0..person.dice.below(12) {
        client.read();
        match person.dice.below(4) {
            // Only to those who read: the others' terminals are full soon, and who types into one waits.
            0 if matches!(kind, Kind::Echoes | Kind::Lazy | Kind::Toy) => client.types("hello\r"),
            1 => {
                let columns = u16::try_from(20 + person.dice.below(160)).unwrap();
                let rows = u16::try_from(5 + person.dice.below(60)).unwrap();
                client.resize(columns, rows);
            }
            _ => {}
        }
        person.rests(120);
    }
    match person.dice.below(5) {
        0 => client.signal(9),
        1 => client.signal(15),
        2 => client.signal(1),
        3 => client.types("\x1c"), // half of the way out
        _ => {
            client.types("\x1d");
            client.ends();
        }
    }
}

/// Asks for all that one can ask for.
fn looks(person: &mut Person<'_>) {
    let all: Vec<Kind> = person.field.sessions.iter().map(|session| session.kind).collect();
    let Some((name, _)) = one_of(person, &all) else { return };
    let name = name.as_str();
    let asks: &[&[&str]] = &[
        &["get"],
        &["get", "-o", "wide"],
        &["get", "-o", "yaml"],
        &["get", name, "-o", "json"],
        &["describe", name],
        &["describe", name, "--previous"],
        &["logs", name, "-n", "20"],
        &["logs", name, "--since", "5s"],
        &["logs", name, "--previous", "--plain"],
        &["peek", name],
        &["peek", name, "--ansi", "--history", "100", "-o", "json"],
        &["status"],
        &["metrics"],
        &["plan"],
        &["events"],
        &["events", name, "-o", "json"],
        &["config"],
        &["cleanup", "--emergency", "--dry-run"],
    ];
    let ask = *person.dice.pick(asks).unwrap();
    person.verb(ask);
    person.rests(60);
}

/// Verbs that go on, ended in good order or not, some with nobody who reads what they say.
fn follows(person: &mut Person<'_>, followed: &mut Vec<Following>) {
    let all: Vec<Kind> = person.field.sessions.iter().map(|session| session.kind).collect();
    let Some((name, _)) = one_of(person, &all) else { return };
    let name = name.as_str();
    let verbs: &[&[&str]] = &[
        &["get", "-w", "-o", "json"],
        &["get", "-w"],
        &["events", "-w", "-o", "json"],
        &["describe", name, "-w", "-o", "json"],
        &["logs", name, "-f"],
        &["logs", name, "-f", "-n", "5", "--plain"],
    ];
    let verb = *person.dice.pick(verbs).unwrap();
    let mut command = person.command(program(), verb);
    if person.dice.percent(30) {
        command.stdout(Stdio::piped()); // never read
    }
    followed.push(Following(command.spawn().unwrap()));
    person.rests(400);
    if followed.len() > 6 {
        let mut first = followed.remove(usize::try_from(person.dice.below(6)).unwrap());
        if first.0.try_wait().unwrap().is_none() {
            signal(first.0.id().cast_signed(), if person.dice.percent(50) { 9 } else { 15 });
        }
        let ended = wait_until(|| first.0.try_wait().unwrap().is_some());
        if !ended {
            person.fault(format!("atm {verb:?} does not end"));
        }
    }
}

/// A verb that goes on until it is dropped.
struct Following(Child);

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// At the socket without a client of atm's.
fn connects(person: &mut Person<'_>) {
    let path = person.atm.runtime().join("atm.sock");
    match person.dice.below(8) {
        0 => {
            let many: Vec<_> = (0..100).filter_map(|_| UnixStream::connect(&path).ok()).collect();
            person.rests(50);
            drop(many);
        }
        1 => {
            let mut client = socket::Client::connect(person.atm);
            client.say("{\"jsonrpc\": \"2.0\", \"id\": 1, \"meth");
            person.rests(50);
        }
        2 => {
            let mut client = socket::Client::connect(person.atm);
            client.say("no json at all\n");
            client.line();
        }
        3 => {
            let mut client = socket::Client::connect(person.atm);
            client.say("x".repeat(2 << 20));
        }
        4 => {
            // Watches, and never reads.
            let mut client = socket::Client::connect(person.atm);
            client.ask("watch", &json!({}));
            person.rests(2000);
        }
        5 => {
            let mut client = socket::Client::connect(person.atm);
            for _ in 0..50 {
                client.ask("list", &json!({}));
            }
        }
        6 => {
            let mut client = socket::Client::connect(person.atm);
            for method in ["initialize", "health", "metrics", "plan", "no-such-method"] {
                client.call(method, &json!({}));
            }
        }
        _ => {
            let mut client = socket::Client::connect(person.atm);
            client.call("watch", &json!({}));
            client.notice_within(Duration::from_millis(300));
        }
    }
    person.rests(300);
}

/// Steers sessions by hand.
fn steers(person: &mut Person<'_>) {
    let steered = &[Kind::Toy, Kind::Deaf, Kind::Lazy, Kind::Old, Kind::Crashes, Kind::Forks, Kind::Agent];
    let Some((name, _)) = one_of(person, steered) else { return };
    let typed = &[Kind::Echoes, Kind::Toy, Kind::Lazy];
    let Some((typed, _)) = one_of(person, typed) else { return };
    let name = name.as_str();
    let verbs: &[&[&str]] = &[
        &["start", name],
        &["start", name],
        &["start", name, "--no-wait"],
        &["stop", name, "--timeout", "5s"],
        &["stop", name, "--no-wait"],
        &["restart", name, "--timeout", "5s"],
        &["kill", name, "--timeout", "5s"],
        &["kill", name, "-s", "USR1"],
        &["suspend", name, "--timeout", "5s"],
        &["resume", name, "--timeout", "5s"],
        &["resume", name, "--timeout", "5s"],
        &["cancel", name],
        &["touch", name, "--activity", "busy"],
        &["touch", name, "--activity", "idle"],
        &["override", name, "model=large", "temperature=0.5"],
        &["override", name, "maxIdle=20s"],
        &["override", name, "--clear"],
        &["wait", name, "--for", "Running", "--timeout", "1s"],
        &["detach", name],
        &["send", &typed, "typed", "from", "elsewhere"],
        &["send", &typed, "--key", "up", "--no-enter"],
        &["cleanup"],
    ];
    let verb = *person.dice.pick(verbs).unwrap();
    person.verb(verb);
    person.rests(100);
}

/// At the spec files, as editors and scripts are.
fn edits(person: &mut Person<'_>) {
    let index = usize::try_from(person.dice.below(person.field.sessions.len() as u64)).unwrap();
    let session = &person.field.sessions[index];
    let (atm, name) = (person.atm, session.name.as_str());
    let number = person.number;
    let text = session.yaml(&format!("workingDir: {}\n", person.field.work.display()));
    match person.dice.below(10) {
        0 => atm.drop_spec(name, &format!("# {number}\n{text}")),
        1 => atm.drop_spec(name, &format!("{text}priority: {}\n", number % 100)),
        2 => atm.drop_spec(name, &format!("{text}labels: {{round: '{number}'}}\n")),
        3 => atm.write_spec(name, &text),
        4 => {
            atm.write_spec(name, "comand: [x\n");
            person.rests(300);
            atm.drop_spec(name, &text);
        }
        5 => {
            let other = atm.specs().join(format!("{name}.yml"));
            let _ = fs::rename(atm.spec_path(name), &other);
            person.rests(200);
            let _ = fs::rename(&other, atm.spec_path(name));
        }
        6 => {
            for temporary in [format!(".{name}.yaml.swp"), format!("{name}.yaml~"), "4913".to_owned()] {
                let temporary = atm.specs().join(temporary);
                let _ = fs::write(&temporary, &text);
                let _ = fs::remove_file(temporary);
            }
        }
        7 if !session.kind.is_steady() => {
            let _ = fs::remove_file(atm.spec_path(name));
            person.rests(1500);
            atm.drop_spec(name, &text);
        }
        8 if matches!(session.kind, Kind::Toy | Kind::Deaf) => {
            atm.drop_spec(name, &format!("{text}env: {{ROUND: '{number}'}}\n"));
        }
        _ => {
            if let Ok(file) = OpenOptions::new().append(true).open(atm.spec_path(name)) {
                file.set_modified(std::time::SystemTime::now()).unwrap();
            }
        }
    }
    person.rests(250);
}

/// At the config.
fn configures(person: &mut Person<'_>) {
    let (atm, number) = (person.atm, person.number);
    let base = "maxSessions: 300\nclients: {max: 20}\n";
    match person.dice.below(7) {
        0 => atm.write_config(&format!("{base}logs: {{maxSize: 64KiB, maxFiles: 2, maxAge: 1h}}\n")),
        1 => atm.write_config(&format!("{base}logs: {{maxSize: 128KiB, maxFiles: 3, maxAge: 1h}}\n")),
        2 => atm.write_config(&format!("{base}resyncInterval: 1s\nstaleAfter: 2s\nmaxMemory: 90%\n")),
        3 => atm.write_config("maxSesions: 3\n"),
        4 => {
            // Not to be had, where another has it: that is an error of the config's.
            let port = 20_000 + (u64::from(std::process::id()) * 7 + number) % 10_000;
            atm.write_config(&format!("{base}http: 127.0.0.1:{port}\n"));
            person.rests(300);
            for path in ["/metrics", "/healthz", "/no"] {
                let address = std::net::SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()));
                let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else {
                    continue;
                };
                stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                let _ = write!(
                    stream,
                    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
                );
                let _ = stream.read_to_end(&mut Vec::new());
            }
        }
        5 => signal(atm.daemon_pid(), 1),
        _ => atm.write_config(&format!("{base}sessionMemory: {}MiB\n", 500 + number % 100)),
    }
    person.rests(2500);
}

/// Agents that people start by hand, each with a conversation that nobody had before.
fn registers(person: &mut Person<'_>, held: &mut Vec<(Own, String)>) {
    let number = person.number;
    let own = Own::new(&person.atm.path("by-hand"));
    let conversation = format!("{}-{number}", person.part);
    let name = Socket::of(person.atm).claude(&own, &conversation);
    held.push((own, name));
    person.rests(400);
    if held.len() > 4 {
        let (mut own, name) = held.remove(usize::try_from(person.dice.below(4)).unwrap());
        match person.dice.below(3) {
            0 => own.end(),
            1 => {
                person.verb(&["stop", &name, "--no-wait"]);
            }
            _ => {
                let _ = Socket::of(person.atm).call("unregister", &json!({"name": name}));
            }
        }
    }
}

/// Sessions with ever-new names, declared by a verb and deleted.
fn names(person: &mut Person<'_>) {
    let name = format!("{}-{}", person.part, person.number);
    let script = match person.dice.below(4) {
        0 => "echo done",
        1 => "echo failed; exit 3",
        2 => "echo goes on; exec sleep 100000",
        _ => "for i in 1 2 3 4 5; do echo $i; done; exec cat",
    };
    let restart = *person.dice.pick(&["never", "on-failure"]).unwrap();
    let mut args = vec!["run", "--name", &name, "--restart", restart, "--timeout", "20s"];
    if person.dice.percent(50) {
        args.push("--no-terminal");
    }
    args.extend(["--", "sh", "-c", script]);
    person.verb(&args);
    if person.dice.percent(30) {
        let note = person.atm.path(&format!("note-{}", person.part));
        fs::write(&note, format!("for {name}")).unwrap();
        person.verb(&["put", &name, note.to_str().unwrap()]);
    }
    if person.dice.percent(30) {
        person.verb(&["logs", &name]);
        person.verb(&["describe", &name]);
    }
    if person.dice.percent(20) {
        person.verb(&["stop", &name, "--timeout", "10s"]);
    }
    person.verb(&["delete", &name, "--timeout", "30s"]);
    person.rests(100);
}
