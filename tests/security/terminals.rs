//! No word from outside acts on a terminal, whichever verb tells it, and begins no line of the daemon's log.

use std::{
    collections::BTreeSet,
    fs,
    io::Read,
    os::unix::ffi::OsStrExt,
    path::Path,
    process::{Command, Stdio},
    sync::Mutex,
};

use atm::cli::args::Cli;
use clap::CommandFactory;
use serde_json::{Value, json};

use super::{
    client::Client,
    files::Guest,
    harness::{Atm, Found, assert_harmless, script, wait_until},
};

/// What acts on terminals and logs: C0, C1, a title, a clipboard, what turns text around, ends of lines of all kinds. No
/// part of it may stand in a path alone, so there is no `/`.
const NASTY: &str = "x\u{1b}[2J\u{1b}]0;t\u{7}\u{1b}]52;c;eA\u{7}\u{9b}31m\u{85}\u{202e}\u{2066}\u{200f}\u{2028}\u{2029}\u{8}\u{7f}\r\nFORGED";

/// What `describe -w` clears the page with, and what `top` takes the screen with, draws with and gives it back with.
const OWN: [&str; 5] = [
    "\u{1b}[?1049h\u{1b}[?25l\u{1b}[?7l\u{1b}[H\u{1b}[2J",
    "\u{1b}[0m\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l",
    "\u{1b}[H\u{1b}[2J",
    "\u{1b}[0m\u{1b}[K",
    "\u{1b}[0m",
];

/// `text` without what atm itself draws with.
fn without_own(text: &str) -> String {
    let lines = (1..=24).map(|line| format!("\u{1b}[{line};1H"));
    let own = OWN.into_iter().map(str::to_owned).chain(lines);
    own.fold(text.to_owned(), |text, own| text.replace(&own, "\n"))
}

/// A daemon whose every word from outside is nasty.
struct Field {
    atm: Atm,
    flags: Vec<String>,
    _guest: Guest,
}

/// `text` for a string of YAML or JSON, which can be a program's too.
fn quoted(text: &str) -> String {
    let escaped = |c: char| match c {
        ' '..='~' => c.to_string(),
        c => format!("\\u{:04x}", u32::from(c)),
    };
    serde_json::to_string(text).unwrap().chars().map(escaped).collect()
}

impl Field {
    fn new() -> Self {
        let mut atm = Atm::new();
        let base = atm.path(NASTY);
        atm.found = Some(Found {
            sessions: base.join("specs"),
            runtime: base.join("run"),
            state: base.join("state"),
            log: base.join("log"),
        });
        let found = atm.found.clone().unwrap();
        let mut flags = Vec::new();
        for (flag, path) in [
            ("--config", &base.join("atm.yaml")),
            ("--sessions-dir", &found.sessions),
            ("--runtime-dir", &found.runtime),
            ("--state-dir", &found.state),
            ("--log-dir", &found.log),
        ] {
            flags.extend([flag.to_owned(), path.to_str().unwrap().to_owned()]);
        }
        atm.args.clone_from(&flags);
        fs::create_dir_all(&found.sessions).unwrap();
        repository(&base.join(NASTY));
        specs(&atm);
        atm.up();
        let guest = Guest::new(rustix::process::geteuid().as_raw());
        let mut client = Client::connect(&atm);
        // As far as what it says of itself is taken.
        let identity: String = NASTY.chars().filter(|c| !c.is_control()).collect();
        client.ok(
            "register",
            &json!({"pid": guest.0.id(), "name": "guest", "agent": "claude", "identity": identity,
                    "workingDir": format!("/{NASTY}")}),
        );
        let field = Self { atm, flags, _guest: guest };
        field.fill();
        field
    }

    /// Waits until everything nasty has arrived.
    fn fill(&self) {
        let atm = &self.atm;
        atm.wait_output("prints", "done");
        atm.wait("prints", "in its repository", |s| s["status"]["git"]["repo"].is_string());
        atm.wait("agent", "limited", |s| s["status"].to_string().contains("RateLimited"));
        fs::write(atm.path("heard"), "").unwrap();
        atm.wait_output("agent", "hooked");
        atm.wait("fails", "failed", |s| {
            s["status"]["message"].as_str().is_some_and(|m| m.contains("FORGED"))
        });
        for name in ["bad", "key"] {
            atm.wait(name, "refused", |s| s["status"]["reason"] == "InvalidSpec");
        }
        // One that is stopped leaves its screen.
        atm.wait_output("stopped", "done");
        atm.ok(&["stop", "stopped"]);
        atm.ok(&["override", "prints", "model=x"]);
        // A config that was good, and one that is not.
        let config = atm.path(NASTY).join("atm.yaml");
        fs::write(&config, format!("env: {{NASTY: {}}}\n", quoted(NASTY))).unwrap();
        assert!(
            wait_until(|| atm.ok(&["config", "-o", "json"]).contains("FORGED")),
            "the config is in force"
        );
        fs::write(&config, format!("maxSessions: {}\n{}: 1\n", quoted(NASTY), quoted(NASTY))).unwrap();
        atm.wait_health("told of the config", |health| !health["configError"].is_null());
    }

    /// A path of the test's own, nasty as well.
    fn path(&self, name: &str) -> String {
        self.atm.path(NASTY).join(name).to_str().unwrap().to_owned()
    }

    fn environment(&self, command: &mut Command) {
        let home = self.atm.path(NASTY);
        command
            .env("ATM_SOCKET", self.atm.runtime().join("atm.sock"))
            .env("HOME", &home)
            .env("TMPDIR", &home)
            .env("NO_COLOR", "1")
            .env("TERM", "xterm")
            .env("EDITOR", self.atm.path("editor"))
            .env_remove("VISUAL")
            .env_remove("CLAUDE_CONFIG_DIR")
            .current_dir(home.join(NASTY))
            .stdin(Stdio::null());
    }

    /// All that a verb writes to a terminal; one that goes on is ended after a while.
    fn on_a_terminal(&self, args: &[&str]) -> Vec<u8> {
        let goes_on = ["-w", "-f", "attach"].iter().any(|word| args.contains(word));
        let before: &[&str] = if goes_on { &["timeout", "--foreground", "-s", "KILL", "0.5"] } else { &[] };
        self.terminal(before, args).output().unwrap().stdout
    }

    /// Runs a verb that goes on until `expected` is on its terminal.
    fn wait_on_a_terminal(&self, args: &[&str], expected: &str) {
        // However it is with the machine, the test ends.
        let mut command = self.terminal(&["timeout", "--foreground", "-s", "KILL", "60"], args);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut output = child.stdout.take().unwrap();
        let (mut told, mut piece) = (Vec::new(), [0; 4096]);
        while !String::from_utf8_lossy(&told).contains(expected) {
            let length = output.read(&mut piece).unwrap();
            assert!(length > 0, "{args:?} ended: {}", told.escape_ascii());
            told.extend_from_slice(&piece[..length]);
        }
        // Its terminal goes with it, and so does the verb.
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// What is `before` has to leave the verb in the terminal's foreground: in the background it is stopped where it
    /// sets the terminal.
    fn terminal(&self, before: &[&str], args: &[&str]) -> Command {
        let words = before.iter().copied().chain([env!("CARGO_BIN_EXE_atm")]).chain(args.iter().copied());
        let mut command = Command::new("script");
        command.args(["-qec", &shell_words::join(words), "/dev/null"]);
        self.environment(&mut command);
        command
    }

    /// What a verb writes to a pipe.
    fn in_a_pipe(&self, args: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atm"));
        self.environment(command.args(args));
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    }
}

/// A repository with the nastiest names that git takes, and settings of an agent's that came with it.
fn repository(root: &Path) {
    fs::create_dir_all(root.join(".git")).unwrap();
    fs::create_dir_all(root.join(".claude")).unwrap();
    fs::write(root.join(".git/HEAD"), "ref: refs/heads/\u{202e}\u{2066}\u{2028}branch\n").unwrap();
    let url = format!("https://x.org/{}.git", NASTY.replace(['\r', '\n'], ""));
    fs::write(root.join(".git/config"), format!("[remote \"origin\"]\n\turl = {url}\n")).unwrap();
    let text: String = NASTY.chars().filter(|c| *c >= ' ').collect();
    fs::write(root.join(".claude/settings.local.json"), format!("{{\"{text}\": \"{text}\"}}\n")).unwrap();
}

fn specs(atm: &Atm) {
    let work = atm.path(NASTY).join(NASTY);
    let work = quoted(work.to_str().unwrap());
    let noise = atm.path("noise");
    fs::write(&noise, format!("\u{1b}]2;{NASTY}\u{7}{NASTY}\u{1b}[31mred\n")).unwrap();
    let payloads = atm.path("payloads");
    let said = [
        json!({"hook_event_name": "SessionStart", "source": "startup", "session_id": "good-id", "cwd": NASTY}),
        json!({"hook_event_name": "SessionStart", "source": NASTY, "session_id": NASTY, "cwd": NASTY}),
        json!({"model": {"id": NASTY, "display_name": NASTY}, "session_id": "good-id", "cost": {"total_cost_usd": 1.5},
               "rate_limits": {NASTY: {"used_percentage": 10}}, "context_window": {"used_percentage": 3}}),
        json!({"hook_event_name": "SubagentStart", "agent_id": NASTY, "agent_type": NASTY}),
        json!({"hook_event_name": NASTY, "session_id": NASTY, "message": NASTY, "tool_name": NASTY}),
        json!({"hook_event_name": "StopFailure", "error": "rate_limit", "error_details": NASTY,
               "last_assistant_message": NASTY, "resets_at": NASTY}),
    ];
    let lines: Vec<String> = said.iter().map(Value::to_string).collect();
    fs::write(&payloads, lines.join("\n") + "\n").unwrap();
    let program = env!("CARGO_BIN_EXE_atm");
    // Again and again until it was heard: a hook gives up where the machine is slow.
    let hooks = format!(
        "until [ -e {} ]; do while read -r line; do printf '%s' \"$line\" | {program} hook; done < {}; done; \
         echo hooked; exec sleep 1000",
        atm.path("heard").display(),
        payloads.display()
    );
    let show = format!("cat {}; echo done; exec sleep 1000", noise.display());
    let nasty = quoted(NASTY);
    let more = format!(
        "terminationGracePeriod: 1s\nworkingDir: {work}\nlabels: {{team: web}}\nenv: {{NASTY: {nasty}}}\n"
    );
    let editor = format!("#!/bin/sh\nprintf '%s' {} >> \"$1\"\n", shell_words::quote(NASTY));
    script(&atm.path("editor"), &editor);
    for (name, text) in [
        ("prints", format!("command: [sh, -c, {show:?}, {nasty}]\n{more}")),
        ("pipes", format!("command: [sh, -c, {show:?}, {nasty}]\nterminal: false\n{more}")),
        ("stopped", format!("command: [sh, -c, {show:?}, {nasty}]\n{more}")),
        ("agent", format!("command: [sh, -c, {hooks:?}]\nagent: claude\n{more}")),
        ("fails", format!("command: [{nasty}]\nrestartPolicy: Never\n{more}")),
        (
            "nowhere",
            format!(
                "command: [sleep, '1']\nrestartPolicy: Never\nworkingDir: {}\n",
                quoted(&format!("/none/{NASTY}"))
            ),
        ),
        (
            "expands",
            format!("command: [{}]\nrestartPolicy: Never\n", quoted(&format!("{NASTY}${{NOT_SET}}"))),
        ),
        ("taken", format!("command: [sleep, '1000']\nidentity: {}\nsuspend: true\n", quoted("an identity"))),
        ("bad", format!("command: [\"{NASTY}\"\n{NASTY}: \u{9b}31m\u{202e}\n")),
        ("key", format!("command: [sleep, '1']\n{nasty}: {nasty}\nlabels: {{{nasty}: {nasty}}}\n")),
    ] {
        fs::write(atm.spec_path(name), text).unwrap();
    }
    // Names of files, of which some promise a session.
    for odd in ["\u{1b}[2Jx.yaml", "\u{202e}x.yaml", "x\nFORGED.yaml", "\u{9b}x.yml", NASTY] {
        fs::write(atm.specs().join(odd), "command: [true]\n").unwrap();
    }
    fs::write(atm.specs().join(std::ffi::OsStr::from_bytes(b"\x9b\xff.yaml")), "command: [true]\n").unwrap();
}

/// How each verb is tried. One that is not here is a verb whose words nobody has looked at.
#[expect(clippy::too_many_lines, reason = "a line a verb")]
fn lines(verb: &str, field: &Field) -> Option<Vec<Vec<String>>> {
    let flags: Vec<&str> = field.flags.iter().map(String::as_str).collect();
    let (nothing, there) = (field.path("nothing"), field.path("there.yaml"));
    let absent = field.path("absent.sock");
    let told: &[&[&str]] = match verb {
        "daemon" => &[&flags],
        "get" => &[
            &[],
            &["-o", "wide"],
            &["-o", "yaml"],
            &["-o", "json"],
            &["-o", "name"],
            &["-w"],
            &["-l", NASTY],
            &["prints", "--socket", &absent],
        ],
        "describe" => &[
            &["prints"],
            &["agent"],
            &["fails"],
            &["nowhere"],
            &["expands"],
            &["taken"],
            &["bad"],
            &["key"],
            &["guest"],
            &["stopped", "--previous"],
            &["prints", "-o", "json"],
            &["prints", "-o", "yaml"],
            &["stopped", "--previous", "-o", "json"],
            &["prints", "-w"],
        ],
        "logs" => &[
            &["prints"],
            &["pipes", "-n", "5"],
            &["prints", "--plain"],
            &["pipes", "-f"],
            &["stopped", "--previous"],
            &["fails"],
            &["prints", "--since", NASTY],
        ],
        // What is attached is the session's terminal. What goes wrong before is not.
        "attach" => &[&["stopped", "--no-start"], &["pipes"], &["fails"], &["prints", "--detach-key", NASTY]],
        "detach" => &[&["prints"], &["fails"]],
        "peek" => &[
            &["prints"],
            &["prints", "--history", "10"],
            &["prints", "-o", "json"],
            &["prints", "-o", "yaml"],
            &["stopped"],
        ],
        "send" => &[&["fails", "x"], &["prints", "-k", NASTY], &["pipes", NASTY]],
        "put" => &[
            &["prints", &nothing],
            &["prints", &there],
            &["prints", "/dev/zero"],
            &["prints", "/proc/version", "--name", NASTY],
            &["fails", &there],
        ],
        "override" => &[
            &["prints"],
            &["prints", "-o", "json"],
            &["prints", NASTY],
            &["prints", &there],
            &["fails", "model=x"],
        ],
        // Another line stops the same session: then it is waited for in vain.
        "start" | "restart" => &[
            &["fails", "--timeout", "5s"],
            &["bad"],
            &["nowhere"],
            &["taken"],
            &["expands"],
            &["none", NASTY],
        ],
        "stop" => &[&["fails"], &["guest", "--signal", NASTY], &["bad"]],
        "kill" => &[&["fails"], &["prints", "-s", NASTY], &["prints", "-s", "CONT"]],
        "suspend" | "resume" => &[&["nowhere"], &["bad"], &[NASTY]],
        "cancel" => &[&["agent"], &["fails"], &["--turn", NASTY, "agent"]],
        "touch" => &[&["prints"], &["fails"], &["prints", "--activity", NASTY]],
        "wait" => &[&["fails", "--for", "Running", "--timeout", "10ms"], &["prints", "--for", NASTY]],
        "run" => &[
            &["--name", "ran", "--dir", &nothing, "--", NASTY],
            &["--name", "run2", "--restart", "never", "--", NASTY],
            &["--name", "run3", "--env", NASTY, "--", "true"],
            &["--name", NASTY, "--", "true"],
        ],
        "apply" => &[&[&nothing], &[&there], &["--name", "applied", &there]],
        "edit" => &[&["prints"], &["guest"], &["bad"], &["none"]],
        "delete" => &[&["none"], &["guest"], &[NASTY]],
        "plan" | "status" => &[&[], &["-o", "json"], &["-o", "yaml"]],
        "validate" => &[&[], &[&there], &[&nothing]],
        "schema" => &[&["session"], &[NASTY]],
        "config" => &[&[], &["-o", "json"], &["-o", "yaml"], &["--default"]],
        "events" => &[&[], &["-o", "json"], &["-o", "yaml"], &["prints"], &["-w"]],
        "metrics" => &[&[]],
        "top" => &[&["-n", "1"], &["-n", "2", "-d", "100ms", "-s", "name", "fails", "bad", "agent"]],
        "hook" => &[&[r#"{"hook_event_name": "Stop"}"#], &[NASTY], &["--agent", NASTY]],
        "cleanup" => &[&["--dry-run"], &["--dry-run", "--emergency", "-o", "json"], &[NASTY]],
        "hooks" => &[
            &["install", "--claude", "--print"],
            &["install", "--claude", "--project", "--print"],
            &["install", "--claude", "--project"],
            &["uninstall", "--claude", "--project"],
            &[NASTY],
        ],
        "completion" => &[&["bash"], &[NASTY]],
        "install" | "uninstall" => &[&["--dry-run", "--user"], &["--dry-run", "--prefix", &nothing]],
        _ => return None,
    };
    let line = |words: &&[&str]| {
        let words = words.iter().map(|word| (*word).to_owned());
        std::iter::once(verb.to_owned()).chain(words).collect()
    };
    Some(told.iter().map(line).collect())
}

#[test]
fn no_verb_passes_on_what_acts_on_a_terminal() {
    let field = Field::new();
    fs::write(field.path("there.yaml"), format!("command: [{}\n{NASTY}\n", quoted(NASTY))).unwrap();
    let grammar = Cli::command();
    let mut all = vec![vec![NASTY.to_owned()], vec![format!("--{NASTY}")]];
    for verb in grammar.get_subcommands() {
        let lines = lines(verb.get_name(), &field);
        all.extend(lines.unwrap_or_else(|| panic!("no line tries `atm {}`: see `lines`", verb.get_name())));
    }
    let (mut shown, mut json) = (0, BTreeSet::new());
    // What changes nothing first; two at a time, as each is a process that is waited for.
    let waiting = Mutex::new(all.iter());
    let outputs: Vec<_> = std::thread::scope(|scope| {
        let work = || {
            let mut done = Vec::new();
            loop {
                let Some(line) = waiting.lock().unwrap().next() else { return done };
                let args: Vec<&str> = line.iter().map(String::as_str).collect();
                done.push((line, field.on_a_terminal(&args)));
            }
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    for (line, output) in outputs {
        let what = format!("{line:?}");
        // A byte that is no character may act as well.
        let text =
            String::from_utf8(output).unwrap_or_else(|error| panic!("{what}: {error}")).replace("\r\n", "\n");
        assert_harmless(&what, &without_own(&text.replace('\t', " ")));
        shown += usize::from(text.contains("FORGED") || text.contains("[2J"));
        if line.iter().any(|word| word == "json") {
            json.insert(line[0].clone());
        }
    }
    // They had something to make harmless.
    assert!(shown > 60, "only {shown} of {} told anything nasty", all.len());
    // In a pipe JSON is escaped too, and says the same.
    for verb in &json {
        let lines = lines(verb, &field).unwrap();
        for line in lines.iter().filter(|line| line.iter().any(|word| word == "json")) {
            let args: Vec<&str> = line.iter().map(String::as_str).collect();
            let text = field.in_a_pipe(&args);
            assert_harmless(&format!("{line:?}"), &text);
            for document in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
                document.unwrap_or_else(|error| panic!("{line:?}: {error}: {text}"));
            }
        }
    }
    assert_eq!(field.atm.get("prints")["spec"]["command"][3], NASTY);
    let log = field.atm.daemon_log();
    assert_harmless("the daemon's log", &log);
    assert!(log.contains("FORGED") && !log.lines().any(|line| line.starts_with("FORGED")), "{log}");
    raw_is_raw(&field);
}

/// The two ways to have a session's output as it is: else nothing above would prove that it is there.
fn raw_is_raw(field: &Field) {
    let raw = field.on_a_terminal(&["logs", "prints", "--raw"]);
    assert!(String::from_utf8_lossy(&raw).contains("\u{1b}]2;x"), "{raw:?}");
    field.wait_on_a_terminal(&["attach", "prints"], "\u{1b}[");
    // With colours alone.
    let drawn = String::from_utf8(field.on_a_terminal(&["peek", "prints", "--ansi"])).unwrap();
    assert!(drawn.contains("\u{1b}[0;31m"), "{drawn:?}");
    let rest = drawn.replace("\r\n", "\n").replace("\u{1b}[0;31m", "").replace("\u{1b}[0m", "");
    assert_harmless("peek --ansi", &rest);
}
