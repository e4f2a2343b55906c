//! The sessions, and the state in which they rest.

use std::{fmt::Write as _, fs, io::Write as _, path::PathBuf, process::ExitCode, thread, time::Duration};

use crate::harness::{Atm, pause, program, wait_until};

/// The argument that makes this program a session that prints.
pub const ROLE: &str = "print";

/// The config in which all rests.
const CONFIG: &str =
    "maxSessions: 300\nclients: {max: 20}\nlogs: {maxSize: 64KiB, maxFiles: 3, maxAge: 1h}\n";

/// What a session does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Prints a line now and then, with colours and cursor movements, on a terminal.
    Prints,
    /// Prints lines on both its pipes.
    Pipes,
    /// Prints so much that its log is rotated all the time.
    Floods,
    /// Answers what is typed.
    Echoes,
    /// Does nothing.
    Sleeps,
    /// Fails at once, again and again.
    Crashes,
    /// Makes trees, hundreds of short-lived children, and some that leave for good.
    Forks,
    /// Is evicted when it is idle.
    Lazy,
    /// Is too old soon.
    Old,
    /// Is an agent that tells of its turns.
    Agent,
    /// Is steered by people.
    Toy,
    /// The same, and does not end when it is asked to.
    Deaf,
}

impl Kind {
    const ALL: [Self; 12] = [
        Self::Prints,
        Self::Pipes,
        Self::Floods,
        Self::Echoes,
        Self::Sleeps,
        Self::Crashes,
        Self::Forks,
        Self::Lazy,
        Self::Old,
        Self::Agent,
        Self::Toy,
        Self::Deaf,
    ];

    /// Whether nothing that is done here ends it: its keeper is the same one from the first to the last moment.
    pub fn is_steady(self) -> bool {
        matches!(self, Self::Prints | Self::Pipes | Self::Floods | Self::Echoes | Self::Sleeps)
    }

    /// Whether it comes to rest only where it does not run: how many processes it has differs from moment to moment.
    fn is_restless(self) -> bool {
        matches!(self, Self::Crashes | Self::Forks | Self::Agent)
    }

    fn spec(self) -> String {
        let own = std::env::current_exe().unwrap();
        let own = own.display();
        let shell = |script: &str| format!("command: [sh, -c, '{}']\n", script.replace('\'', "''"));
        match self {
            Self::Prints => {
                format!("command: ['{own}', {ROLE}, '40', '1']\nterminal: {{columns: 100, rows: 30}}\n")
            }
            Self::Pipes => format!("command: ['{own}', {ROLE}, '40', '1']\nterminal: false\n"),
            Self::Floods => format!("command: ['{own}', {ROLE}, '50', '60']\n"),
            Self::Echoes => "command: [cat]\n".to_owned(),
            Self::Sleeps => "command: [sleep, '100000']\n".to_owned(),
            Self::Crashes => {
                shell("echo so it ends; exit 3")
                    + "restartPolicy: Always\nbackoff: {initial: 100ms, max: 500ms}\n"
            }
            Self::Forks => shell(
                "while :; do \
                 i=0; while [ $i -lt 100 ]; do i=$((i+1)); /bin/true; done; \
                 (sleep 0.2 & (sleep 0.3 & sleep 0.1; wait) & wait); \
                 (setsid sh -c 'sleep 0.5 & sleep 0.4' >/dev/null 2>&1 &); \
                 (env -i setsid sleep 0.3 &); \
                 sleep 0.5; done",
            ),
            Self::Lazy => "command: [cat]\nmaxIdle: 3s\n".to_owned(),
            Self::Old => "command: [sleep, '100000']\nmaxAge: 7s\n".to_owned(),
            Self::Agent => {
                let atm = program();
                let atm = atm.display();
                let hook = |event: &str, more: &str| {
                    let id = "8bbcceab-0b3e-4e24-98c9-ec146b1ca8c6";
                    format!(
                        "{atm} hook '{{\"hook_event_name\": \"{event}\", \"session_id\": \"{id}\"{more}}}'; "
                    )
                };
                let script = [
                    "while :; do ".to_owned(),
                    hook("UserPromptSubmit", ", \"prompt\": \"mend it\""),
                    hook("PreToolUse", ", \"tool_name\": \"Bash\""),
                    "echo working; sleep 0.4; ".to_owned(),
                    hook(
                        "Notification",
                        ", \"notification_type\": \"permission_prompt\", \"message\": \"may I?\"",
                    ),
                    "sleep 0.2; ".to_owned(),
                    hook("Stop", ", \"background_tasks\": [], \"session_crons\": []"),
                    "sleep 0.5; done".to_owned(),
                ]
                .concat();
                shell(&script) + "agent: claude\nresume: never\n"
            }
            Self::Toy => "command: [cat]\nonChange: Restart\n".to_owned(),
            Self::Deaf => shell("trap '' TERM HUP; while :; do sleep 100000; done") + "onChange: Restart\n",
        }
    }
}

/// One declared session.
#[derive(Debug)]
pub struct Declared {
    pub name: String,
    pub kind: Kind,
}

impl Declared {
    /// Its file, with more lines.
    pub fn yaml(&self, more: &str) -> String {
        format!("{}terminationGracePeriod: 400ms\n{more}", self.kind.spec())
    }
}

/// All declared sessions.
#[derive(Debug)]
pub struct Field {
    pub sessions: Vec<Declared>,
    /// Where sessions work: a git repository.
    pub work: PathBuf,
}

impl Field {
    /// So many of them, of all kinds in turn.
    pub fn new(atm: &Atm, count: usize) -> Self {
        let work = atm.path("work");
        fs::create_dir_all(work.join(".git")).unwrap();
        fs::write(work.join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
        fs::write(work.join(".git/config"), "[core]\n").unwrap();
        let kinds = Kind::ALL.iter().cycle().take(count);
        let name = |(number, kind): (usize, &Kind)| {
            let what = format!("{kind:?}").to_lowercase();
            Declared { name: format!("{what}{}", number / Kind::ALL.len()), kind: *kind }
        };
        Self { sessions: kinds.enumerate().map(name).collect(), work }
    }

    /// A session of one of these kinds.
    pub fn of(&self, kinds: &[Kind]) -> Vec<&Declared> {
        self.sessions.iter().filter(|session| kinds.contains(&session.kind)).collect()
    }

    /// Files and wills as they are in the state of rest; where a daemon is up, waits until it is so.
    pub fn rest(&self, atm: &Atm) {
        atm.write_config(CONFIG);
        let wanted = |session: &Declared| {
            let mut more = format!("workingDir: {}\n", self.work.display());
            if session.kind.is_restless() {
                more.push_str("suspend: true\n");
            }
            // What ends them by time does not in the state of rest.
            let text = session.yaml(&more);
            text.replace("maxIdle: 3s\n", "").replace("maxAge: 7s\n", "")
        };
        for session in &self.sessions {
            atm.drop_spec(&session.name, &wanted(session));
            let _ = fs::remove_file(atm.specs().join(format!("{}.yml", session.name)));
        }
        for entry in fs::read_dir(atm.specs()).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            let declared = self.sessions.iter().any(|session| format!("{}.yaml", session.name) == name);
            if !declared {
                let _ = fs::remove_file(entry.path());
            }
        }
        if atm.try_list().is_none() {
            return;
        }
        let running: Vec<&str> =
            self.sessions.iter().filter(|s| !s.kind.is_restless()).map(|s| s.name.as_str()).collect();
        for verb in ["resume", "start"] {
            let _ = atm.atm(&[&[verb, "--no-wait"], running.as_slice()].concat());
        }
        for name in &running {
            // Of a run that lives: what ends it by time would end it at rest.
            let _ = atm.atm(&["override", name, "--clear"]);
        }
        let mut wrong = String::new();
        let rests = wait_until(|| {
            wrong.clear();
            let Some(listed) = atm.try_list() else { return false };
            for session in &listed {
                let name = session["name"].as_str().unwrap();
                let declared = self.sessions.iter().find(|declared| declared.name == name);
                let phase = session["status"]["phase"].as_str().unwrap_or_default();
                let expected = match declared {
                    None => "gone",
                    Some(declared) if declared.kind.is_restless() => "Suspended",
                    Some(_) => "Running",
                };
                let changing =
                    session["status"]["restartPending"] == true || session["status"]["specError"].is_object();
                if phase != expected || changing {
                    writeln!(wrong, "{name} is {phase} and should be {expected}: {}", session["status"])
                        .unwrap();
                }
            }
            if listed.len() != self.sessions.len() {
                writeln!(wrong, "{} sessions are known, {} declared", listed.len(), self.sessions.len())
                    .unwrap();
            }
            if !wrong.is_empty() {
                thread::sleep(Duration::from_millis(500));
            }
            wrong.is_empty()
        });
        assert!(rests, "it does not come to rest: {wrong}\n{}", tail(&atm.daemon_log()));
    }

    /// Has the daemon forget what is no more, at its next start.
    pub fn forget_soon(atm: &Atm) {
        atm.write_config(&CONFIG.replace("maxAge: 1h", "maxAge: 1s"));
        for _ in 0..200 {
            pause();
        }
    }
}

/// The last of a long text.
pub fn tail(text: &str) -> &str {
    let from = text.char_indices().rev().nth(6000).map_or(0, |(at, _)| at);
    &text[from..]
}

/// Is a session that prints: so many lines each so many milliseconds, for ever.
pub fn main(words: &[String]) -> ExitCode {
    let [millis, lines] = words else { panic!("{ROLE} MILLIS LINES") };
    let (millis, lines): (u64, u64) = (millis.parse().unwrap(), lines.parse().unwrap());
    let mut number = 0_u64;
    loop {
        for _ in 0..lines {
            number += 1;
            let text = match number % 50 {
                0 => format!("\x1b[2J\x1b[H\x1b]0;screen {number}\x07"),
                1..=20 => format!("\x1b[{}mline {number}\x1b[0m ünï 漢字 🦀\n", 31 + number % 7),
                21..=30 => format!("\x1b[{};{}Hat a place {number}\n", 1 + number % 30, 1 + number % 80),
                31 => "\x1b[?1049h\x1b[6n\x1b[c".to_owned(),
                40 => "\x1b[?1049l".to_owned(),
                _ => format!("{number} {}\n", "x".repeat(usize::try_from(number % 150).unwrap())),
            };
            if number.is_multiple_of(7) && std::io::stderr().write_all(text.as_bytes()).is_err() {
                return ExitCode::FAILURE;
            }
            if std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush()).is_err()
            {
                return ExitCode::FAILURE;
            }
        }
        thread::sleep(Duration::from_millis(millis));
    }
}
