//! Named places where a test makes a program die, fail or wait. Debug builds only.
//!
//! A test names a directory in the environment and puts a file into it for each place that is to misbehave: its name is
//! the place's ([`Place::file`]), what it says is what happens there: `kill` (SIGKILL to ourselves), `panic`, `err`, `delay` (a
//! pause of 200 ms), `hang` or `spin` (no return at all, asleep or at full speed). Whoever comes there first
//! takes the file away, so it happens once, and a test sees that it has: the file is in `fired/` then.

use std::{
    fs, io,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

/// Environment variable with the directory.
pub const ENV_FAILPOINTS: &str = "ATM_FAILPOINTS";

/// Whose place it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The daemon's.
    Daemon,
    /// A keeper's, and its child's until that executes the command.
    Keeper,
}

macro_rules! places {
    ($($(#[$about:meta])* $place:ident $name:literal [$($role:ident),+],)*) => {
        /// The places.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Place {
            $($(#[$about])* $place,)*
        }

        impl Place {
            /// All of them, with whose they are.
            pub const ALL: &[(Role, Self)] = &[$($((Role::$role, Self::$place),)+)*];

            fn name(self) -> &'static str {
                match self {
                    $(Self::$place => $name,)*
                }
            }
        }
    };
}

places! {
    /// It is known to be wanted, and has done nothing.
    Begun "begun" [Keeper],
    /// Before the terminal or the pipes.
    Streams "streams" [Keeper],
    /// Before the child is made.
    Clone "clone" [Keeper],
    /// In the child: before the user is looked up.
    ResolveUser "resolve-user" [Keeper],
    /// Before the log is opened.
    OpenLog "open-log" [Keeper],
    /// Before the socket is made.
    Listen "listen" [Keeper],
    /// Before the first record, with the child behind the gate.
    BeforeRecord "before-record" [Keeper],
    /// After the record, before the gate is opened.
    BeforeGate "before-gate" [Keeper],
    /// The command runs, and nobody was told.
    Executed "executed" [Keeper],
    /// The daemon was told.
    Reported "reported" [Keeper],
    /// Before the record is written again.
    SaveRecord "save-record" [Keeper],
    /// A new spec is known, and not recorded.
    Update "update" [Keeper],
    /// The next log is made, and nothing moved yet.
    Rotate "rotate" [Keeper],
    /// The logs are moved, their indices are not.
    Rotated "rotated" [Keeper],
    /// The cause of a stop is recorded, and no signal sent.
    StopRecorded "stop-recorded" [Keeper],
    /// Before SIGKILL to all.
    Kill "kill" [Keeper],
    /// Nothing lives, and nothing tells of it.
    TellExit "tell-exit" [Keeper],
    /// The exit is recorded, the socket and the group are still there.
    ExitTold "exit-told" [Keeper],

    /// The daemon has its own lock.
    Locked "locked" [Daemon],
    /// Before what is found is told apart.
    Classify "classify" [Daemon],
    /// What was found is taken over.
    TakenOver "taken-over" [Daemon],
    /// The control socket is bound.
    Bound "bound" [Daemon],
    /// Before it says that it is ready.
    Ready "ready" [Daemon],
    /// A good spec was read, and changed nothing yet.
    SpecRead "spec-read" [Daemon],
    /// A config was read, and changed nothing yet.
    ConfigRead "config-read" [Daemon],
    /// It was told to reload.
    Reload "reload" [Daemon],
    /// It has a session's lock.
    NameTaken "name-taken" [Daemon],
    /// The session's directory is empty.
    Emptied "emptied" [Daemon],
    /// The intent is written.
    Intent "intent" [Daemon],
    /// The keeper is started.
    Spawned "spawned" [Daemon],
    /// A keeper said that its session runs.
    Running "running" [Daemon],
    /// Before a keeper is asked for a stop.
    AskStop "ask-stop" [Daemon],
    /// It has agreed.
    StopAgreed "stop-agreed" [Daemon],
    /// A run is over, and not counted.
    CountEnd "count-end" [Daemon],
    /// It is counted, and what is remembered is not written.
    Counted "counted" [Daemon],
    /// What is left of a forgotten session is to be moved.
    Retire "retire" [Daemon],
    /// Before events are appended.
    Append "append" [Daemon],

    /// A file is written beside its place.
    Written "written" [Daemon, Keeper],
    /// It is in its place.
    Replaced "replaced" [Daemon, Keeper],
}

impl Place {
    /// The name of the file that arms it.
    pub fn file(self, role: Role) -> String {
        let role = match role {
            Role::Daemon => "daemon",
            Role::Keeper => "keeper",
        };
        format!("{role}.{}", self.name())
    }
}

static IS_KEEPER: AtomicBool = AtomicBool::new(false);

/// From here on this process is a keeper.
pub fn in_keeper() {
    IS_KEEPER.store(true, Ordering::Relaxed);
}

/// Does at `place` what a test asks for: nothing in a release build.
pub fn hit(place: Place) -> io::Result<()> {
    if !cfg!(debug_assertions) {
        return Ok(());
    }
    match std::env::var_os(ENV_FAILPOINTS) {
        Some(directory) => misbehave(Path::new(&directory), place),
        None => Ok(()),
    }
}

fn misbehave(directory: &Path, place: Place) -> io::Result<()> {
    let role = if IS_KEEPER.load(Ordering::Relaxed) { Role::Keeper } else { Role::Daemon };
    let name = place.file(role);
    let fired = directory.join("fired").join(&name);
    if fs::rename(directory.join(&name), &fired).is_err() {
        return Ok(()); // not armed, or another was faster
    }
    let action = fs::read_to_string(&fired).unwrap_or_default();
    // For the oracles: whose keeper it was.
    let session = std::env::var(crate::api::record::ENV_SESSION).unwrap_or_default();
    fs::write(&fired, session)?;
    match action.as_str() {
        "kill" => rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)?,
        "panic" => std::panic::resume_unwind(Box::new("a failpoint")),
        // What a machine that is short of something says.
        "err" => return Err(io::Error::from_raw_os_error(nix::libc::ENOMEM)),
        "delay" => {
            let pause = rustix::event::Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
            rustix::event::poll(&mut [], Some(&pause))?;
        }
        "hang" => loop {
            rustix::event::poll(&mut [], None)?;
        },
        "spin" => loop {
            std::hint::spin_loop();
        },
        _ => {}
    }
    Ok(())
}
