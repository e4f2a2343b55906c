//! The methods, as they are told to who writes a client.

/// One method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method {
    /// Its name.
    pub name: &'static str,
    /// What it does, in a sentence or two.
    pub does: &'static str,
    /// The type of its parameters; empty: it has none.
    pub params: &'static str,
    /// The type of its result.
    pub result: &'static str,
}

const fn method(
    name: &'static str,
    params: &'static str,
    result: &'static str,
    does: &'static str,
) -> Method {
    Method { name, does, params, result }
}

/// All methods.
pub const METHODS: [Method; 26] = [
    method(
        "initialize",
        "InitializeParams",
        "InitializeResult",
        "Agrees on a version of the protocol, and says who the daemon is and where it works. Not needed, and wise.",
    ),
    method("list", "", "ListResult", "All sessions that the caller may see."),
    method(
        "get",
        "NamesParams",
        "ListResult",
        "These sessions. `NoSuchSession` where one of them is unknown.",
    ),
    method(
        "watch",
        "NamesParams",
        "ListResult",
        "These sessions now, then each change of them. Names that are not known yet may be among them.",
    ),
    method(
        "events",
        "EventsParams",
        "EventsResult",
        "What happened lately, and with `watch` what happens from now on.",
    ),
    method(
        "plan",
        "",
        "PlanResult",
        "What the daemon would do now with each session, and why. Does nothing.",
    ),
    method("start", "NameParams", "VerbResult", "Has a stopped, evicted or waiting session run."),
    method("stop", "NameParams", "VerbResult", "Ends a session; it stays ended until it is started again."),
    method("restart", "NameParams", "VerbResult", "Ends a session and starts it anew."),
    method("kill", "KillParams", "VerbResult", "Ends a session with SIGKILL, or sends it a signal."),
    method("suspend", "NameParams", "VerbResult", "Keeps a session from running until it is resumed."),
    method("resume", "NameParams", "VerbResult", "Lifts a suspension."),
    method(
        "touch",
        "TouchParams",
        "VerbResult",
        "A sign of life of a running session, and what it is doing.",
    ),
    method(
        "hook",
        "HookParams",
        "HookResult",
        "What an agent told by one of its hooks. Whose session it is follows from who the caller is, not from what it says.",
    ),
    method(
        "cancel",
        "CancelParams",
        "CancelResult",
        "Interrupts the turn that a session is in, where it is the one that the caller means.",
    ),
    method(
        "send",
        "SendParams",
        "VerbResult",
        "Types into a session's terminal. Answered when its program's terminal has taken all of it.",
    ),
    method(
        "register",
        "RegisterParams",
        "RegisterResult",
        "Puts an agent that a person started on the list, or says that it lives. It is never ended for a budget.",
    ),
    method(
        "unregister",
        "UnregisterParams",
        "UnregisterResult",
        "Takes such a session off the list, and does nothing else to it.",
    ),
    method(
        "override",
        "OverrideParams",
        "VerbResult",
        "Changes limits, and what its agent may read, of a run while it lives.",
    ),
    method("uploads", "NameParams", "UploadsResult", "Where a client that may puts files for a session."),
    method(
        "uploaded",
        "UploadedParams",
        "VerbResult",
        "A file was put there: it is remembered, and removed with the session.",
    ),
    method(
        "previous",
        "PreviousParams",
        "PreviousResult",
        "What is kept of the last run that was stopped: its screen, the end of its output and how it ended.",
    ),
    method(
        "cleanup",
        "CleanupParams",
        "CleanupResult",
        "Evicts now what is over its budget. For root and the daemon's own user, but for `dryRun`.",
    ),
    method("config", "", "ConfigResult", "The config in force, and what is wrong with its file."),
    method("health", "", "HealthResult", "How the daemon is: what `atm status` shows."),
    method("metrics", "", "MetricsResult", "The daemon in numbers, for Prometheus. Numbers and no names."),
];
