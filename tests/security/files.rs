//! Every file and directory that atm makes: whose it is, and who may do what with it.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::json;

use super::{
    client::Client,
    harness::{Atm, Found, told, wait_until},
};

/// A person without privileges, with an account.
const SOMEBODY: u32 = 65534;

/// Whose daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    System,
    User,
}

/// Whose something is.
#[derive(Debug, Clone, Copy)]
enum Whose {
    /// The user's whom the daemon runs as.
    Daemons,
    /// The user's whom the session runs as.
    Sessions,
}

/// One kind of what atm makes: where it is, what it is, its permissions in system mode and in user mode (0: there is
/// none), whose it is.
struct Kind(&'static str, char, u32, u32, Whose);

use Whose::{Daemons, Sessions};

/// All of them. `*` stands for any part of one name; what comes first counts. A session whose name begins with `theirs`
/// is another user's than the daemon.
const KINDS: [Kind; 61] = [
    // What was missing above the directories.
    Kind("deep", 'd', 0o755, 0, Daemons),
    Kind("home/.config", 'd', 0, 0o700, Daemons),
    Kind("home/.local", 'd', 0, 0o700, Daemons),
    Kind("home/.local/state", 'd', 0, 0o700, Daemons),
    // The directories, and the specs that verbs write.
    Kind("CONFIG", 'd', 0, 0o700, Daemons),
    Kind("SPECS", 'd', 0o755, 0o700, Daemons),
    Kind("SPECS/*.yaml", '-', 0o600, 0o600, Daemons),
    Kind("RUNTIME", 'd', 0o755, 0o700, Daemons),
    Kind("STATE", 'd', 0o700, 0o700, Daemons),
    Kind("LOG", 'd', 0o755, 0o700, Daemons),
    // What clients meet. Who may do what is decided by the peer's user.
    Kind("RUNTIME/atm.sock", 's', 0o666, 0o666, Daemons),
    Kind("RUNTIME/atm.lock", '-', 0o600, 0o600, Daemons),
    Kind("RUNTIME/locks", 'd', 0o700, 0o700, Daemons),
    Kind("RUNTIME/locks/*", '-', 0o600, 0o600, Daemons),
    Kind("RUNTIME/leaving", 'd', 0o700, 0o700, Daemons),
    // A running session, and what is left of it.
    Kind("RUNTIME/sessions", 'd', 0o711, 0o700, Daemons),
    Kind("RUNTIME/sessions/theirs*/attach.sock", 's', 0o600, 0, Sessions),
    Kind("RUNTIME/sessions/theirs*/overrides.json", '-', 0o600, 0, Sessions),
    Kind("RUNTIME/sessions/theirs*", 'd', 0o711, 0, Daemons),
    Kind("RUNTIME/sessions/*/attach.sock", 's', 0o600, 0o600, Daemons),
    Kind("RUNTIME/sessions/*/overrides.json", '-', 0o600, 0o600, Daemons),
    Kind("RUNTIME/sessions/*/intent.json", '-', 0o600, 0o600, Daemons),
    Kind("RUNTIME/sessions/*/record.json", '-', 0o600, 0o600, Daemons),
    Kind("RUNTIME/sessions/*/activity", '-', 0o600, 0o600, Daemons),
    Kind("RUNTIME/sessions/*/exit.json", '-', 0o600, 0o600, Daemons),
    Kind("RUNTIME/sessions/*", 'd', 0o700, 0o700, Daemons),
    // Output.
    Kind("LOG/theirs*.log", '-', 0o600, 0, Sessions),
    Kind("LOG/theirs*.log.*", '-', 0o600, 0, Sessions),
    Kind("LOG/*.log", '-', 0o600, 0o600, Daemons),
    Kind("LOG/*.log.*", '-', 0o600, 0o600, Daemons),
    // What is remembered.
    Kind("STATE/lock", '-', 0o600, 0o600, Daemons),
    Kind("STATE/instance.json", '-', 0o600, 0o600, Daemons),
    Kind("STATE/config.json", '-', 0o600, 0o600, Daemons),
    Kind("STATE/events.jsonl", '-', 0o600, 0o600, Daemons),
    Kind("STATE/sessions", 'd', 0o700, 0o700, Daemons),
    Kind("STATE/sessions/*.json", '-', 0o600, 0o600, Daemons),
    Kind("STATE/sessions/*.corrupt-*", '-', 0o600, 0o600, Daemons),
    Kind("STATE/removed", 'd', 0o700, 0o700, Daemons),
    Kind("STATE/removed/*.json", '-', 0o600, 0o600, Daemons),
    Kind("STATE/previous", 'd', 0o700, 0o700, Daemons),
    Kind("STATE/previous/*", 'd', 0o700, 0o700, Daemons),
    Kind("STATE/previous/*/*.json", '-', 0o600, 0o600, Daemons),
    // What people give a session: in its working directory.
    Kind("work-theirs/.atm", 'd', 0o700, 0, Sessions),
    Kind("work-theirs/.atm/.gitignore", '-', 0o644, 0, Sessions),
    Kind("work-theirs/.atm/uploads", 'd', 0o700, 0, Sessions),
    Kind("work-theirs/.atm/uploads/*", '-', 0o600, 0, Sessions),
    Kind("work/.atm", 'd', 0o700, 0o700, Daemons),
    Kind("work/.atm/.gitignore", '-', 0o644, 0o644, Daemons),
    Kind("work/.atm/uploads", 'd', 0o700, 0o700, Daemons),
    Kind("work/.atm/uploads/*", '-', 0o600, 0o600, Daemons),
    // What agents are told.
    Kind("home/.claude", 'd', 0o755, 0o755, Daemons),
    Kind("home/.claude/settings.json", '-', 0o600, 0o600, Daemons),
    // What is installed.
    Kind("home/.local/bin", 'd', 0, 0o755, Daemons),
    Kind("home/.local/bin/atm", '-', 0, 0o755, Daemons),
    Kind("home/.local/share", 'd', 0, 0o755, Daemons),
    Kind("home/.local/share/*", 'd', 0, 0o755, Daemons),
    Kind("home/.local/share/*/*", 'd', 0, 0o755, Daemons),
    Kind("home/.local/share/*/*/*", '-', 0, 0o644, Daemons),
    Kind("home/.config/systemd", 'd', 0, 0o755, Daemons),
    Kind("home/.config/systemd/user", 'd', 0, 0o755, Daemons),
    Kind("home/.config/systemd/user/*", '-', 0, 0o644, Daemons),
];

/// Of these the umask takes what it takes, as of what people make themselves.
const LESS_THE_UMASK: [&str; 10] = [
    "deep",
    "home/.claude",
    "work-theirs/.atm/.gitignore",
    "work/.atm/.gitignore",
    "home/.local/bin",
    "home/.local/share",
    "home/.local/share/*",
    "home/.local/share/*/*",
    "home/.config/systemd",
    "home/.config/systemd/user",
];

/// A daemon with one of everything.
struct Field {
    atm: Atm,
    mode: Mode,
    umask: &'static str,
    daemon: u32,
    /// What the test itself made.
    own: BTreeSet<PathBuf>,
}

impl Field {
    /// Directories, and nothing in them.
    fn new(mode: Mode, umask: &'static str) -> Self {
        let mut atm = Atm::new();
        fs::remove_dir(atm.specs()).unwrap();
        let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        open(&atm.path(""));
        let root = rustix::process::geteuid().as_raw();
        let daemon = if mode == Mode::User && root == 0 { SOMEBODY } else { root };
        for name in ["home", "xdg", "tmp", "work", "work-theirs"] {
            fs::create_dir(atm.path(name)).unwrap();
            open(&atm.path(name));
            let owner = if name == "work-theirs" && root == 0 { SOMEBODY } else { daemon };
            chown(atm.path(name), Some(owner), Some(owner)).unwrap();
        }
        let (home, deep) = (atm.path("home"), atm.path("deep"));
        atm.found = Some(match mode {
            Mode::User => Found {
                sessions: home.join(".config/atm/sessions.d"),
                runtime: atm.path("xdg/atm"),
                state: home.join(".local/state/atm"),
                log: home.join(".local/state/atm/log"),
            },
            Mode::System => Found {
                sessions: deep.join("sessions.d"),
                runtime: deep.join("run"),
                state: deep.join("state"),
                log: deep.join("log"),
            },
        });
        if mode == Mode::System {
            let found = atm.found.clone().unwrap();
            atm.args = vec!["--config".into(), atm.path("atm.yaml").display().to_string()];
            for (flag, path) in [
                ("--sessions-dir", found.sessions),
                ("--runtime-dir", found.runtime),
                ("--state-dir", found.state),
                ("--log-dir", found.log),
            ] {
                atm.args.extend([flag.to_owned(), path.display().to_string()]);
            }
        }
        let mut field = Self { atm, mode, umask, daemon, own: BTreeSet::new() };
        field.atm.through = field.through(&[]);
        field.atm.env = field.env().map(|(name, value)| (name.to_owned(), value)).into();
        field.own = field.below(&field.atm.path(""));
        for name in ["notify", "daemon.log", "atm.yaml"] {
            field.own.insert(field.atm.path(name));
        }
        field
    }

    fn env(&self) -> [(&'static str, String); 3] {
        let at = |name| self.atm.path(name).display().to_string();
        [("HOME", at("home")), ("XDG_RUNTIME_DIR", at("xdg")), ("TMPDIR", at("tmp"))]
    }

    /// What has a command run with the umask, as the daemon's user.
    fn through(&self, more: &[&str]) -> Vec<String> {
        let unset = "unset XDG_CONFIG_HOME XDG_STATE_HOME CONFIGURATION_DIRECTORY RUNTIME_DIRECTORY STATE_DIRECTORY LOGS_DIRECTORY";
        let mut words = vec![
            "sh".to_owned(),
            "-c".into(),
            format!("umask {}; {unset}; exec \"$@\"", self.umask),
            "sh".into(),
        ];
        if self.daemon != rustix::process::geteuid().as_raw() {
            let id = self.daemon;
            words.extend(["setpriv".into(), format!("--reuid={id}"), format!("--regid={id}")]);
            words.push("--clear-groups".into());
        }
        words.extend(more.iter().map(|word| (*word).to_owned()));
        words
    }

    fn command(&self, words: &[&str]) -> Command {
        let words = self.through(words);
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .envs(self.env())
            .env("ATM_SOCKET", self.atm.runtime().join("atm.sock"))
            .env("EDITOR", self.atm.path("editor"))
            .env_remove("VISUAL")
            .current_dir("/")
            .stdin(Stdio::null());
        command
    }

    /// Runs a verb that has to succeed.
    fn verb(&self, args: &[&str]) {
        let words = [&[env!("CARGO_BIN_EXE_atm")], args].concat();
        let (code, out, err) = told(&self.command(&words).output().unwrap());
        assert_eq!(code, Some(0), "{args:?}: {out}{err}\n{}", self.atm.daemon_log());
    }

    /// Writes a file of the test's own, as the daemon's user unless another one is named.
    fn write(&mut self, name: &str, text: &str, mode: u32, owner: Option<u32>) -> PathBuf {
        let path = self.atm.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let owner = owner.unwrap_or(self.daemon);
        chown(&path, Some(owner), Some(owner)).unwrap();
        self.own.insert(path.clone());
        path
    }

    fn has_theirs(&self) -> bool {
        self.mode == Mode::System && self.daemon == 0
    }

    /// Has atm make one of everything.
    fn fill(&mut self) -> Guest {
        let program = env!("CARGO_BIN_EXE_atm");
        let work = self.atm.path("work").display().to_string();
        // By the verbs that write specs; the first one while there is no daemon, and no directory.
        let typed = format!(
            "command: [sh, -c, 'while :; do seq 1 3000; sleep 1; done']\nterminal: false\nworkingDir: {work}\n\
             terminationGracePeriod: 1s\n"
        );
        let file = self.write("printing.yaml", &typed, 0o644, None).display().to_string();
        let mut apply = vec!["apply", &file];
        let places = self.atm.args.clone();
        apply.extend(places.iter().map(String::as_str));
        self.verb(&apply);
        if self.has_theirs() {
            let spec = format!(
                "command: [sh, -c, 'while :; do seq 1 3000; sleep 1; done']\nworkingDir: {}\nterminationGracePeriod: 1s\n",
                self.atm.path("work-theirs").display()
            );
            let beside = self.write("beside", &spec, 0o600, Some(SOMEBODY));
            fs::rename(beside, self.atm.spec_path("theirs")).unwrap();
            self.own.insert(self.atm.spec_path("theirs"));
        }
        self.atm.up();
        self.write_config();
        self.verb(&[
            "run",
            "--name",
            "typed",
            "--",
            "sh",
            "-c",
            "cd \"$0\"; echo typed; exec sleep 1000",
            &work,
        ]);
        self.verb(&["run", "--name", "gone", "--no-terminal", "--", "sleep", "1000"]);
        let hook = format!(
            "printf '{{\"hook_event_name\":\"SessionStart\",\"source\":\"startup\",\"session_id\":\"abc\",\"cwd\":\"/\"}}' \
             | {program} hook; echo hooked; exec sleep 1000"
        );
        self.verb(&["run", "--name", "hooked", "--", "sh", "-c", &hook]);
        self.atm.wait_output("hooked", "hooked");
        self.edit();
        let guest = Guest::new(self.daemon);
        let mut client = Client::connect(&self.atm);
        client.ok("register", &json!({"pid": guest.0.id(), "name": "guest", "agent": "claude"}));
        // What people do with them.
        let source = self.write("source", "given", 0o644, None).display().to_string();
        self.verb(&["put", "printing", &source]);
        self.verb(&["override", "typed", "maxIdle=4h"]);
        self.verb(&["override", "printing", "model=x"]);
        let screen = format!("printf '\\035' | script -qec '{program} attach typed' /dev/null");
        assert!(self.command(&["sh", "-c", &screen]).stdout(Stdio::null()).status().unwrap().success());
        self.verb(&["peek", "typed"]);
        self.verb(&["hooks", "install", "--claude"]);
        if self.has_theirs() {
            self.atm.wait_pid("theirs");
            self.verb(&["put", "theirs", &source]);
            self.verb(&["override", "theirs", "model=x"]);
        }
        if self.mode == Mode::User {
            // As far as it gets without systemd.
            let install = ["env", "PATH=/nowhere", program, "install", "--user"];
            let (_, out, err) = told(&self.command(&install).output().unwrap());
            assert!(out.contains("run systemctl --user"), "{out}{err}");
        }
        // Ends, of which something is kept; and one that is forgotten.
        self.verb(&["restart", "typed"]);
        self.verb(&["stop", "hooked"]);
        self.verb(&["delete", "gone"]);
        self.wait_for("STATE/removed/gone.json");
        self.wait_for("STATE/previous/hooked");
        self.wait_for("LOG/printing.log.2");
        if self.has_theirs() {
            self.wait_for("LOG/theirs.log.2");
        }
        // What is damaged, as the next daemon finds it.
        self.atm.kill_daemon();
        fs::write(self.atm.state().join("sessions/hooked.json"), "{").unwrap();
        self.atm.up();
        self.wait_for("STATE/sessions/hooked.json.corrupt-1");
        guest
    }

    fn write_config(&mut self) {
        let config = "logs: {maxSize: 8KiB, maxFiles: 3}\nhttp: 127.0.0.1:0\n";
        match self.mode {
            Mode::System => self.atm.write_config(config),
            Mode::User => {
                let written = self.write("atm.yaml", config, 0o600, None);
                let place = self.atm.path("home/.config/atm/atm.yaml");
                fs::rename(written, &place).unwrap();
                self.own.insert(place);
            }
        }
        self.atm.wait_health("serving", |health| health["http"].is_string());
    }

    /// Edits a spec, and leaves a copy of how the editor found it.
    fn edit(&mut self) {
        let seen = self.atm.path("tmp/seen").display().to_string();
        let script = format!(
            "#!/bin/sh\nstat -c '%a %u' \"$1\" \"$(dirname \"$1\")\" > {seen}\necho 'priority: 3' >> \"$1\"\n"
        );
        self.write("editor", &script, 0o755, None);
        self.verb(&["edit", "printing"]);
        self.own.insert(PathBuf::from(&seen));
        let daemon = self.daemon;
        assert_eq!(fs::read_to_string(seen).unwrap(), format!("600 {daemon}\n700 {daemon}\n"));
    }

    /// The path that a kind's pattern means.
    fn place(&self, pattern: &str) -> PathBuf {
        let (first, rest) =
            pattern.split_once('/').map_or((pattern, None), |(first, rest)| (first, Some(rest)));
        let base = match first {
            "CONFIG" => self.atm.specs().parent().unwrap().to_owned(),
            "SPECS" => self.atm.specs(),
            "RUNTIME" => self.atm.runtime(),
            "STATE" => self.atm.state(),
            "LOG" => self.atm.logs(),
            other => self.atm.path(other),
        };
        rest.map_or_else(|| base.clone(), |rest| base.join(rest))
    }

    fn wait_for(&self, pattern: &str) {
        let path = self.place(pattern);
        assert!(wait_until(|| path.exists()), "never: {}\n{}", path.display(), self.atm.daemon_log());
    }

    /// Everything below `path`.
    fn below(&self, path: &Path) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        let mut waiting = vec![path.to_owned()];
        while let Some(directory) = waiting.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let path = self.atm.path("").join(entry.path());
                // Gone since: files are replaced by renaming all the time.
                let Ok(about) = fs::symlink_metadata(&path) else { continue };
                if about.is_dir() {
                    waiting.push(path.clone());
                }
                found.insert(path);
            }
        }
        found
    }

    /// Looks at everything that is there and that the test has not made; `all`: there has to be one of each kind.
    fn walk(&self, all: bool) {
        let kinds: Vec<(PathBuf, &Kind)> = KINDS.iter().map(|kind| (self.place(kind.0), kind)).collect();
        let permissions = |kind: &Kind| if self.mode == Mode::System { kind.2 } else { kind.3 };
        let (mut met, mut wrong) = (BTreeSet::new(), Vec::new());
        for path in self.below(&self.atm.path("")).difference(&self.own) {
            let Ok(about) = fs::symlink_metadata(path) else { continue };
            let shown = path.strip_prefix(self.atm.path("")).unwrap().display();
            // What a rename will give its name: for a moment, and never open to more.
            let name = path.file_name().unwrap().to_str().unwrap();
            let settled = name.strip_prefix('.').and_then(|name| name.strip_suffix(".new"));
            let settled = settled.map_or_else(|| path.clone(), |name| path.with_file_name(name));
            let found =
                kinds.iter().find(|(pattern, kind)| permissions(kind) != 0 && fits(pattern, &settled));
            let Some((_, kind)) = found else {
                wrong.push(format!("{shown}: of no kind that is declared"));
                continue;
            };
            met.insert(kind.0);
            let file = about.file_type();
            let shape = match () {
                () if file.is_dir() => 'd',
                () if file.is_file() => '-',
                () if file.is_socket() => 's',
                () => '?',
            };
            let owner = match kind.4 {
                Daemons => self.daemon,
                Sessions => SOMEBODY,
            };
            let mode = about.permissions().mode() & 0o7777;
            let is = format!("{shape} {mode:o} {}", about.uid());
            let takes = if LESS_THE_UMASK.contains(&kind.0) { self.umask } else { "0" };
            let takes = u32::from_str_radix(takes, 8).unwrap();
            let should = format!("{} {:o} {owner}", kind.1, permissions(kind) & !takes);
            if is != should {
                wrong.push(format!("{shown}: {is}, and should be {should}"));
            }
            // A group of somebody else's would be let in where others are not.
            if ![owner, self.daemon].contains(&about.gid()) {
                wrong.push(format!("{shown}: of the group {}", about.gid()));
            }
        }
        let declared = KINDS.iter().filter(|kind| permissions(kind) != 0);
        let declared = declared.filter(|kind| self.has_theirs() || !kind.0.contains("theirs"));
        wrong.extend(
            declared
                .filter(|kind| all && !met.contains(kind.0))
                .map(|kind| format!("{}: there is none", kind.0)),
        );
        assert!(wrong.is_empty(), "{:?}, umask {}:\n{}", self.mode, self.umask, wrong.join("\n"));
    }
}

/// A process that a person started.
pub struct Guest(pub Child);

impl Guest {
    pub fn new(uid: u32) -> Self {
        let mut command = Command::new("sleep");
        command.arg("1000").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.uid(uid).spawn().unwrap())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a path is one that the pattern means: `*` is any text without `/`.
fn fits(pattern: &Path, path: &Path) -> bool {
    let (pattern, path): (Vec<_>, Vec<_>) = (pattern.iter().collect(), path.iter().collect());
    pattern.len() == path.len()
        && pattern.iter().zip(&path).all(|(pattern, name)| {
            let (pattern, name) = (pattern.to_str().unwrap(), name.to_str().unwrap());
            let mut parts = pattern.split('*');
            let Some(mut rest) = name.strip_prefix(parts.next().unwrap()) else { return false };
            let parts: Vec<&str> = parts.collect();
            for (number, part) in parts.iter().enumerate() {
                if number + 1 == parts.len() {
                    return rest.ends_with(part);
                }
                let Some((_, behind)) = rest.split_once(part) else { return false };
                rest = behind;
            }
            rest.is_empty()
        })
}

fn everything_is_closed(mode: Mode, umask: &'static str) {
    let mut field = Field::new(mode, umask);
    let _guest = field.fill();
    field.walk(true);
    // Made anew by the keepers, which know nothing of a daemon, and by the daemon that finds them.
    field.atm.kill_daemon();
    let typed = field.atm.runtime().join("sessions/typed");
    fs::remove_dir_all(field.atm.runtime()).unwrap();
    field.atm.up();
    assert!(wait_until(|| typed.join("attach.sock").exists()), "{}", field.atm.daemon_log());
    field.atm.wait_pid("typed");
    field.walk(false);
}

#[test]
fn a_users_files_are_closed_whatever_the_umask_leaves_open() {
    everything_is_closed(Mode::User, "000");
}

#[test]
fn a_users_files_are_as_usual_where_the_umask_takes_all() {
    everything_is_closed(Mode::User, "077");
}

#[test]
fn the_machines_files_are_closed_whatever_the_umask_leaves_open() {
    everything_is_closed(Mode::System, "000");
}

#[test]
fn the_machines_files_are_as_usual_where_the_umask_takes_all() {
    everything_is_closed(Mode::System, "077");
}

#[test]
fn a_pattern_means_what_it_says() {
    for (pattern, path, meant) in [
        ("/a/*.log", "/a/x.log", true),
        ("/a/*.log", "/a/x.log.1", false),
        ("/a/*.log.*", "/a/x.log.1", true),
        ("/a/*", "/a/b/c", false),
        ("/a/*/c", "/a/b/c", true),
        ("/a/b", "/a/bc", false),
        ("/a/theirs*", "/a/their", false),
    ] {
        assert_eq!(fits(Path::new(pattern), Path::new(path)), meant, "{pattern} {path}");
    }
}
