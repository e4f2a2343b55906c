//! From what is written to what is meant.

use super::{Agent, Backoff, SessionSpec, Terminal, WrittenSpec, WrittenTerminal};
use crate::api::{config::Config, defaults, name::SessionName};

impl WrittenSpec {
    /// What it means under `config`, for the session `name`.
    pub fn resolve(&self, name: &SessionName, config: &Config) -> SessionSpec {
        let spec = self.clone();
        let agent = spec.agent.unwrap_or_else(|| Agent::of(self.command.words()));
        let backoff = spec.backoff.unwrap_or_default();
        SessionSpec {
            command: self.command.words().to_vec(),
            working_dir: spec.working_dir.map_or_else(|| defaults::WORKING_DIR.to_owned(), |path| path.0),
            env: spec.env.unwrap_or_default().0,
            env_file: spec.env_file.unwrap_or_default().0.into_iter().map(|path| path.0).collect(),
            user: spec.user.map(|user| user.0),
            terminal: spec.terminal.map_or(defaults::TERMINAL, terminal),
            agent,
            resume: spec.resume.unwrap_or(defaults::RESUME),
            restart_policy: spec.restart_policy.unwrap_or(defaults::RESTART_POLICY),
            backoff: Backoff {
                initial: backoff.initial.unwrap_or(defaults::BACKOFF.initial),
                max: backoff.max.unwrap_or(defaults::BACKOFF.max),
                reset_after: backoff.reset_after.unwrap_or(defaults::BACKOFF.reset_after),
            },
            termination_grace_period: spec
                .termination_grace_period
                .unwrap_or(defaults::TERMINATION_GRACE_PERIOD),
            stop_signal: spec.stop_signal.unwrap_or(defaults::STOP_SIGNAL),
            on_change: spec.on_change.unwrap_or(defaults::ON_CHANGE),
            max_idle: spec
                .max_idle
                .map(|limit| limit.map(|idle| idle.0))
                .or(config.max_idle)
                .unwrap_or(defaults::max_idle(agent)),
            max_age: spec
                .max_age
                .map(|limit| limit.map(|age| age.0))
                .or(config.max_age)
                .unwrap_or(defaults::max_age(agent)),
            max_memory: spec.max_memory.map_or(config.session_memory, |limit| limit.map(|size| size.0)),
            max_processes: spec
                .max_processes
                .map_or(defaults::MAX_PROCESSES, |limit| limit.map(|count| count.0)),
            cpu_weight: spec.cpu_weight.map_or(defaults::CPU_WEIGHT, |weight| weight.0),
            priority: spec.priority.unwrap_or(defaults::PRIORITY),
            pinned: spec.pinned.unwrap_or_default(),
            suspend: spec.suspend.unwrap_or_default(),
            identity: spec.identity.map_or_else(|| name.to_string(), |identity| identity.0),
            owner: spec.owner.map(|owner| owner.0),
            slot: spec.slot.map(|slot| slot.0),
            labels: spec.labels.unwrap_or_default().0,
        }
    }
}

fn terminal(written: WrittenTerminal) -> Terminal {
    match written {
        WrittenTerminal::Wanted(true) => defaults::TERMINAL,
        WrittenTerminal::Wanted(false) => Terminal::PIPES,
        WrittenTerminal::Size(size) => Terminal::Pty {
            columns: size.columns.map_or(defaults::COLUMNS, |columns| columns.0),
            rows: size.rows.map_or(defaults::ROWS, |rows| rows.0),
        },
    }
}

impl Agent {
    /// Which agent a command is, by the name of its program.
    pub fn of(command: &[String]) -> Self {
        let program = command.first().map(String::as_str).unwrap_or_default();
        match program.rsplit('/').next() {
            Some("claude") => Self::Claude,
            Some("codex") => Self::Codex,
            _ => Self::Generic,
        }
    }
}
