//! Where things are: flags, then systemd's variables (for the daemon), then the table.
//!
//! | | system mode | user mode |
//! |---|---|---|
//! | config | `/etc/atm/atm.yaml` | `$XDG_CONFIG_HOME/atm/atm.yaml` |
//! | specs | `/etc/atm/sessions.d` | `$XDG_CONFIG_HOME/atm/sessions.d` |
//! | runtime | `/run/atm` | `$XDG_RUNTIME_DIR/atm`, else `/tmp/atm-UID` |
//! | state | `/var/lib/atm` | `$XDG_STATE_HOME/atm` |
//! | output | `/var/log/atm` | `$XDG_STATE_HOME/atm/log` |
//!
//! systemd's variables (`RUNTIME_DIRECTORY` and its like) are the daemon's alone: a client that runs inside
//! some other unit has them too, and there they mean that unit's directories.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::error::{CliError, CliResult};
use crate::{
    api::control::Directories,
    host::{client as host, errors::words},
};

/// Name of the socket in the runtime directory.
pub const SOCKET: &str = "atm.sock";

/// Whose daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The machine's, run by root.
    System,
    /// A user's own.
    User,
}

impl Mode {
    /// The flag that asks for it.
    pub fn flag(self) -> &'static str {
        match self {
            Self::System => "--system",
            Self::User => "--user",
        }
    }
}

/// Flags that say where things are. They stand before or after the verb.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Where")]
pub struct Places {
    /// The user's own daemon
    #[arg(long, global = true, conflicts_with = "system")]
    pub user: bool,
    /// The machine's daemon
    #[arg(long, global = true)]
    pub system: bool,
    /// The daemon's socket [env: ATM_SOCKET]
    #[arg(long, global = true, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    pub socket: Option<PathBuf>,
    /// The config file
    #[arg(long, global = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// The directory of specs
    #[arg(long, global = true, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub sessions_dir: Option<PathBuf>,
    /// Socket, locks, running sessions
    #[arg(long, global = true, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub runtime_dir: Option<PathBuf>,
    /// Results and history
    #[arg(long, global = true, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub state_dir: Option<PathBuf>,
    /// Output of sessions
    #[arg(long, global = true, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub log_dir: Option<PathBuf>,
}

const VARIABLES: &[&str] = &[
    "ATM_SOCKET",
    "CONFIGURATION_DIRECTORY",
    "RUNTIME_DIRECTORY",
    "STATE_DIRECTORY",
    "LOGS_DIRECTORY",
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
    "XDG_RUNTIME_DIR",
];

/// What of the process's surroundings says where things are.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// Who runs the command.
    pub uid: u32,
    /// Their home.
    pub home: Option<PathBuf>,
    /// The variables that matter here.
    pub variables: BTreeMap<&'static str, OsString>,
}

impl Environment {
    /// This process's.
    pub fn of_process() -> Self {
        let variables = VARIABLES.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))).collect();
        Self { uid: host::uid(), home: std::env::home_dir().filter(|home| home.is_absolute()), variables }
    }

    /// An absolute path in a variable. The XDG standard and common sense ignore relative ones.
    fn path(&self, name: &str) -> Option<PathBuf> {
        self.variables.get(name).map(PathBuf::from).filter(|path| path.is_absolute())
    }

    /// The first directory in one of systemd's variables, which are lists with `:`.
    fn unit(&self, name: &str) -> Option<PathBuf> {
        let list = self.variables.get(name)?;
        std::env::split_paths(list).next().filter(|path| path.is_absolute())
    }

    fn base(&self, variable: &str, below_home: &str) -> CliResult<PathBuf> {
        if let Some(path) = self.path(variable) {
            return Ok(path.join("atm"));
        }
        let home = self.home.as_ref().ok_or_else(|| {
            CliError::failed(format!("neither {variable} nor a home directory is known"))
                .hint("set HOME, or say where with the flags of `atm --help`")
        })?;
        Ok(home.join(below_home).join("atm"))
    }

    fn fallback_runtime(&self) -> PathBuf {
        PathBuf::from(format!("/tmp/atm-{}", self.uid))
    }
}

/// The table of this module's head.
pub fn table(mode: Mode, environment: &Environment) -> CliResult<Directories> {
    Ok(match mode {
        Mode::System => Directories {
            config: "/etc/atm/atm.yaml".into(),
            sessions: "/etc/atm/sessions.d".into(),
            runtime: "/run/atm".into(),
            state: "/var/lib/atm".into(),
            log: "/var/log/atm".into(),
        },
        Mode::User => {
            let config = environment.base("XDG_CONFIG_HOME", ".config")?;
            let state = environment.base("XDG_STATE_HOME", ".local/state")?;
            let runtime = match environment.path("XDG_RUNTIME_DIR") {
                Some(runtime) => runtime.join("atm"),
                None => environment.fallback_runtime(),
            };
            Directories {
                config: config.join("atm.yaml"),
                sessions: config.join("sessions.d"),
                runtime,
                log: state.join("log"),
                state,
            }
        }
    })
}

impl Places {
    /// The mode that the flags ask for.
    pub fn asked_mode(&self) -> Option<Mode> {
        match (self.user, self.system) {
            (true, _) => Some(Mode::User),
            (_, true) => Some(Mode::System),
            _ => None,
        }
    }

    /// The mode where nothing is asked for: root works for the machine.
    pub fn mode(&self, environment: &Environment) -> Mode {
        let default = if environment.uid == 0 { Mode::System } else { Mode::User };
        self.asked_mode().unwrap_or(default)
    }

    /// The flags by which whoever runs elsewhere finds the same daemon as this command, or the path that is no text.
    pub fn words_for_client(&self) -> Result<Vec<String>, PathBuf> {
        let mut words = Vec::new();
        for (flag, path) in [("--socket", &self.socket), ("--runtime-dir", &self.runtime_dir)] {
            let Some(path) = path else { continue };
            let path = absolute(path);
            words.extend([flag.to_owned(), path.to_str().ok_or_else(|| path.clone())?.to_owned()]);
        }
        words.extend(self.asked_mode().map(|mode| mode.flag().to_owned()));
        Ok(words)
    }

    /// `directories`, with what the flags say instead.
    #[must_use]
    pub fn over(&self, directories: Directories) -> Directories {
        let or = |flag: &Option<PathBuf>, other: PathBuf| flag.as_deref().map_or(other, absolute);
        Directories {
            config: or(&self.config, directories.config),
            sessions: or(&self.sessions_dir, directories.sessions),
            runtime: or(&self.runtime_dir, directories.runtime),
            state: or(&self.state_dir, directories.state),
            log: or(&self.log_dir, directories.log),
        }
    }

    /// The table under the flags. Where the flags name every directory, no home is needed.
    fn placed(&self, mode: Mode, environment: &Environment) -> CliResult<Directories> {
        match table(mode, environment) {
            Ok(directories) => Ok(self.over(directories)),
            Err(error) => {
                match (&self.config, &self.sessions_dir, &self.runtime_dir, &self.state_dir, &self.log_dir) {
                    (Some(config), Some(sessions), Some(runtime), Some(state), Some(log)) => {
                        Ok(Directories {
                            config: absolute(config),
                            sessions: absolute(sessions),
                            runtime: absolute(runtime),
                            state: absolute(state),
                            log: absolute(log),
                        })
                    }
                    _ => Err(error),
                }
            }
        }
    }

    /// Where the daemon works: flag, systemd's variable, table.
    pub fn for_daemon(&self, environment: &Environment) -> CliResult<(Mode, Directories)> {
        let mode = self.mode(environment);
        let unit = |name| environment.unit(name);
        let configuration = unit("CONFIGURATION_DIRECTORY");
        let under = Places {
            config: configuration.as_ref().map(|path| path.join("atm.yaml")),
            sessions_dir: configuration.map(|path| path.join("sessions.d")),
            runtime_dir: unit("RUNTIME_DIRECTORY"),
            state_dir: unit("STATE_DIRECTORY"),
            log_dir: unit("LOGS_DIRECTORY"),
            ..Self::default()
        };
        let merged = Places {
            config: self.config.clone().or(under.config),
            sessions_dir: self.sessions_dir.clone().or(under.sessions_dir),
            runtime_dir: self.runtime_dir.clone().or(under.runtime_dir),
            state_dir: self.state_dir.clone().or(under.state_dir),
            log_dir: self.log_dir.clone().or(under.log_dir),
            ..Self::default()
        };
        Ok((mode, merged.placed(mode, environment)?))
    }

    /// The daemons that a client may mean, the first that answers is the one.
    ///
    /// `--socket` or `--runtime-dir` name one; then `ATM_SOCKET`; then `--user` or `--system`; else the
    /// user's, then the system's.
    pub fn for_client(&self, environment: &Environment) -> CliResult<Vec<Candidate>> {
        let mode = self.mode(environment);
        let named = self
            .socket
            .as_deref()
            .map(absolute)
            .or_else(|| self.runtime_dir.as_deref().map(|runtime| absolute(runtime).join(SOCKET)));
        if let Some(socket) = named.or_else(|| environment.path("ATM_SOCKET")) {
            return Ok(vec![self.at_socket(socket, mode, environment)?]);
        }
        if let Some(mode) = self.asked_mode() {
            return Ok(vec![self.of_mode(mode, environment)?]);
        }
        let system = self.of_mode(Mode::System, environment);
        match self.of_mode(Mode::User, environment) {
            Ok(user) => Ok(vec![user, system?]),
            // Somebody without a home can still mean the machine's daemon.
            Err(error) => system.map(|system| vec![system]).map_err(|_| error),
        }
    }

    fn of_mode(&self, mode: Mode, environment: &Environment) -> CliResult<Candidate> {
        let directories = self.placed(mode, environment)?;
        Ok(Candidate { mode: Some(mode), socket: directories.runtime.join(SOCKET), directories })
    }

    /// A socket that was named: the rest is its mode's table where it stands in that mode's place, and the
    /// directory of the socket is the runtime directory in any case.
    fn at_socket(&self, socket: PathBuf, mode: Mode, environment: &Environment) -> CliResult<Candidate> {
        for known in [Mode::User, Mode::System] {
            if let Ok(candidate) = self.of_mode(known, environment)
                && candidate.socket == socket
            {
                return Ok(candidate);
            }
        }
        let mut directories = self.placed(mode, environment)?;
        if self.runtime_dir.is_none()
            && let Some(parent) = socket.parent()
        {
            parent.clone_into(&mut directories.runtime);
        }
        Ok(Candidate { mode: None, socket, directories })
    }

    /// Whether `ATM_SOCKET` is followed although a mode was asked for.
    pub fn is_overruled(&self, environment: &Environment) -> bool {
        self.asked_mode().is_some()
            && self.socket.is_none()
            && self.runtime_dir.is_none()
            && environment.path("ATM_SOCKET").is_some()
    }
}

/// One daemon that a client may mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Whose; absent where only a socket was named.
    pub mode: Option<Mode>,
    /// Its socket.
    pub socket: PathBuf,
    /// Where it works, as far as can be told without asking it.
    pub directories: Directories,
}

/// A path that stays the same whatever the working directory becomes.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Refuses a runtime directory below `/tmp` that somebody else made: anybody can make one there first.
pub fn check_fallback(runtime: &Path, environment: &Environment) -> CliResult {
    if runtime != environment.fallback_runtime() {
        return Ok(());
    }
    let refused = |why: &str| {
        CliError::failed(format!("will not use `{}`: {why}", runtime.display()))
            .hint("set XDG_RUNTIME_DIR, or say --runtime-dir DIR")
    };
    match host::is_private_directory(runtime) {
        Ok(true) => Ok(()),
        Ok(false) => Err(refused("it is not a directory of yours that only you can enter")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(refused(&words(&error))),
    }
}

/// Makes the runtime directory below `/tmp`, for the daemon, so that nobody else can have prepared it.
pub fn make_fallback(runtime: &Path, environment: &Environment) -> CliResult {
    if runtime == environment.fallback_runtime() {
        match host::make_private_directory(runtime) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(CliError::io(format_args!("cannot make `{}`", runtime.display()), &error));
            }
            _ => {}
        }
    }
    check_fallback(runtime, environment)
}

#[cfg(test)]
mod tests;
