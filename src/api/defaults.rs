//! Every default, in one place.

use std::time::Duration;

use super::{
    config::{Clients, Emergency, Logs, Machine, OnShutdown},
    quantity::{Dur, Limit, Size},
    spec::{Agent, Backoff, OnChange, RestartPolicy, Resume, StopSignal, Terminal},
};

const fn seconds(count: u64) -> Dur {
    Dur(Duration::from_secs(count))
}
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

// What a spec means where it says nothing, whatever the config.

/// The user's home.
pub const WORKING_DIR: &str = "~";
/// The size of a terminal that nobody has attached to: wide enough for what agents draw.
pub const TERMINAL: Terminal = Terminal::Pty { columns: COLUMNS, rows: ROWS };
/// Of [`TERMINAL`].
pub const COLUMNS: u16 = 120;
/// Of [`TERMINAL`].
pub const ROWS: u16 = 40;
/// A conversation is work; a restart should not lose it.
pub const RESUME: Resume = Resume::Auto;
/// A command that ended well has done its work.
pub const RESTART_POLICY: RestartPolicy = RestartPolicy::OnFailure;
/// Delays between restarts after failures.
pub const BACKOFF: Backoff =
    Backoff { initial: seconds(1), max: seconds(5 * MINUTE), reset_after: seconds(10 * MINUTE) };
/// Time to save work after the stop signal.
pub const TERMINATION_GRACE_PERIOD: Dur = seconds(10);
/// SIGTERM.
pub const STOP_SIGNAL: StopSignal = StopSignal(15);
/// A change never interrupts a turn.
pub const ON_CHANGE: OnChange = OnChange::WhenIdle;
/// No limit.
pub const MAX_PROCESSES: Limit<u32> = Limit::Never;
/// The kernel's own default.
pub const CPU_WEIGHT: u16 = 100;
/// In the middle.
pub const PRIORITY: i32 = 0;

/// `maxIdle` where neither spec nor config says one: only an agent is known to wait for nothing.
pub const fn max_idle(agent: Agent) -> Limit<Dur> {
    match agent {
        Agent::Claude | Agent::Codex => Limit::At(seconds(HOUR)),
        Agent::Generic => Limit::Never,
    }
}

/// `maxAge` where neither spec nor config says one.
pub const fn max_age(agent: Agent) -> Limit<Dur> {
    match agent {
        Agent::Claude | Agent::Codex => Limit::At(seconds(DAY)),
        Agent::Generic => Limit::Never,
    }
}

// What the config means where it says nothing.

/// Most live sessions, and the most that `auto` gives.
pub const MAX_SESSIONS: u32 = 100;

/// `maxSessions: auto`: two GiB for each session, as agents need.
pub fn auto_sessions(machine: Machine) -> u32 {
    let room = u32::try_from(machine.memory / (2 * GIB)).unwrap_or(u32::MAX);
    room.clamp(1, MAX_SESSIONS)
}

/// Of the machine's memory, for all sessions together, in percent.
pub const MAX_MEMORY_SHARE: u8 = 80;
/// No limit for one session.
pub const SESSION_MEMORY: Limit<Size> = Limit::Never;
/// Three missed signs of life, at one each half minute.
pub const STALE_AFTER: Dur = seconds(90);
/// How late a lost event is made good at most.
pub const RESYNC_INTERVAL: Dur = seconds(30);
/// For a busy session to finish its turn.
pub const AGE_GRACE: Dur = seconds(15 * MINUTE);
/// Thresholds when `maxSessions` is reached.
pub const EMERGENCY: Emergency =
    Emergency { max_idle: seconds(5 * MINUTE), max_age: seconds(HOUR), everyone: false };
/// A restart keeps sessions, a stop ends them.
pub const ON_SHUTDOWN: OnShutdown = OnShutdown::Auto;
/// Limits of the control socket.
pub const CLIENTS: Clients = Clients { max: 10, buffer: 100, max_message: Size(MIB), broadcast_rate: 10 };
/// Limits of output files.
pub const LOGS: Logs = Logs { max_size: Size(10 * MIB), max_files: 7, max_age: seconds(7 * DAY) };
/// Many times what the daemon needs for a thousand sessions.
pub const DAEMON_MEMORY_WARNING: Size = Size(100 * MIB);
