//! A spec as a person writes it: every key of the file, `None` where it is not written.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Agent, OnChange, RestartPolicy, Resume, StopSignal};
use crate::api::{
    defaults,
    diagnose::Diagnostics,
    quantity::{Dur, Limit},
    rules::{Bytes, Command, Env, FixedPath, Labels, Paths, Span, UserName, Whole, Word},
    yaml::{
        self, Nothing,
        read::{Fields, Place, Read},
        tree::Node,
        words::one_of,
    },
};

/// A session that atm keeps running: one file `NAME.yaml` in the specs directory, NAME being the session's name.
//
// The doc comments of the fields are the descriptions of the JSON Schema: they speak to who writes a spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "atm session", extend("dependencies" = {"slot": ["owner"]}))]
pub struct WrittenSpec {
    /// What to run: a list of words, or one text that is split into words. No shell runs; `~` and `${VAR}` are
    /// expanded.
    #[schemars(example = ["claude", "--permission-mode", "acceptEdits"])]
    pub command: Command,
    /// Where it runs. `~` and `${VAR}` are expanded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::WORKING_DIR))]
    pub working_dir: Option<FixedPath>,
    /// Variables on top of the config's `env` and HOME, USER, LOGNAME, SHELL, PATH, LANG and TERM. Values are
    /// texts: numbers need quotes. Names beginning with `ATM_` are taken;
    /// `ATM_HOOKS: "off"` keeps atm from passing hooks to the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Env>,
    /// A file of `NAME=value` lines, or several, opened as the user. `~` and `${VAR}` are expanded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env_file: Option<Paths>,
    /// Whom it runs as, where the daemon runs as root; default: the owner of this file. Only a file of root's can
    /// name someone else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// A terminal (`true`), one of a given size, or pipes (`false`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = true))]
    pub terminal: Option<Terminal>,
    /// How activity is known; default: by the command's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Agent>,
    /// Whether a later run continues the agent's conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::RESUME))]
    pub resume: Option<Resume>,
    /// What follows an exit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::RESTART_POLICY))]
    pub restart_policy: Option<RestartPolicy>,
    /// Delays between restarts after failures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// From the stop signal to SIGKILL for the whole tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::TERMINATION_GRACE_PERIOD))]
    pub termination_grace_period: Option<Dur>,
    /// The first signal of a stop; not KILL or STOP.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::STOP_SIGNAL))]
    pub stop_signal: Option<StopSignal>,
    /// When a changed command, env, envFile, workingDir, user or terminal takes effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::ON_CHANGE))]
    pub on_change: Option<OnChange>,
    /// Evicted when idle for longer; default: the config's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_idle: Option<Limit<Span>>,
    /// Started afresh when older; default: the config's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Limit<Span>>,
    /// Of all its processes together; default: the config's `sessionMemory`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_memory: Option<Limit<Bytes<1024>>>,
    /// Of its whole tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "never"))]
    pub max_processes: Option<Limit<Whole<u32, 1, 4_194_304>>>,
    /// Share of the processor under contention.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::CPU_WEIGHT))]
    pub cpu_weight: Option<Whole<u16, 1, 10_000>>,
    /// Higher is admitted first and evicted last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = i32::MIN, max = i32::MAX), extend("default" = defaults::PRIORITY))]
    pub priority: Option<i32>,
    /// Never evicted for a shared budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub pinned: Option<bool>,
    /// `true`: it does not run, and the file stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub suspend: Option<bool>,
    /// At most one live session has it; default: the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Word>,
    /// Whose slot it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Word>,
    /// A newer session evicts an older, idle one of the same owner and slot. Needs `owner`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<Word>,
    /// For selection: `atm get -l team=web`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
}

/// A terminal, one of a given size, or pipes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Terminal {
    /// A terminal of the default size, or pipes.
    Wanted(bool),
    /// A terminal of this size.
    Size(TerminalSize),
}

/// The size of a terminal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct TerminalSize {
    /// Width in cells.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::COLUMNS))]
    pub columns: Option<Whole<u16, 1, 1000>>,
    /// Height in cells.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::ROWS))]
    pub rows: Option<Whole<u16, 1, 1000>>,
}

/// Delays between restarts: `initial`·2ⁿ up to `max`, ±10 %.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(inline)]
pub struct Backoff {
    /// After the first failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::BACKOFF.initial))]
    pub initial: Option<Dur>,
    /// Never longer; at least `initial`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::BACKOFF.max))]
    pub max: Option<Dur>,
    /// A run of this length makes earlier failures moot.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::BACKOFF.reset_after))]
    pub reset_after: Option<Dur>,
}

/// What to write in a file that says nothing.
const SMALLEST: &str = "the smallest spec is one line: `command: [claude]`";

/// Words of other tools, and what they are here.
const ELSEWHERE: &[(&str, &str)] = &[
    ("name", "the file's name is the session's name: NAME.yaml"),
    ("cwd", "did you mean `workingDir`?"),
    ("directory", "did you mean `workingDir`?"),
    ("workdir", "did you mean `workingDir`?"),
    ("workingDirectory", "did you mean `workingDir`?"),
    ("cmd", "did you mean `command`?"),
    ("args", "arguments follow the program in `command`"),
    ("exec", "did you mean `command`?"),
    ("environment", "did you mean `env`?"),
    ("restart", "did you mean `restartPolicy`?"),
    ("tty", "did you mean `terminal`?"),
    ("timeout", "did you mean `maxAge` or `maxIdle`?"),
    ("memory", "did you mean `maxMemory`?"),
    ("gracePeriod", "did you mean `terminationGracePeriod`?"),
    ("enabled", "`suspend: true` keeps a session from running"),
    ("kind", "a spec is one session's keys, nothing around them"),
    ("metadata", "a spec is one session's keys, nothing around them"),
    ("spec", "a spec is one session's keys, nothing around them"),
    ("apiVersion", "a spec is one session's keys, nothing around them"),
];

impl WrittenSpec {
    /// Reads one spec. `file` is for messages only.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place.
    pub fn parse(source: &str, file: &Path) -> Result<Self, Diagnostics> {
        Self::parse_bytes(source.as_bytes(), file)
    }

    /// Reads one spec from the bytes of a file: UTF-8 with or without a mark, at most 64 KiB.
    ///
    /// # Errors
    /// As [`WrittenSpec::parse`], and what is no text at all.
    pub fn parse_bytes(bytes: &[u8], file: &Path) -> Result<Self, Diagnostics> {
        yaml::read(bytes, file, Nothing::Refused(SMALLEST))
    }
}

impl Read for WrittenSpec {
    fn read(place: &Place<'_>) -> Option<Self> {
        let mut fields = Fields::open(place, "a mapping of keys such as `command: [claude]`")?;
        let command = fields.require("command", SMALLEST);
        let working_dir = fields.get("workingDir");
        let env = fields.get("env");
        let env_file = fields.get("envFile");
        let user = fields.get("user");
        let terminal = fields.get("terminal");
        let agent = fields.get("agent");
        let resume = fields.get("resume");
        let restart_policy = fields.get("restartPolicy");
        let backoff = fields.get("backoff");
        let termination_grace_period = fields.get("terminationGracePeriod");
        let stop_signal = fields.get("stopSignal");
        let on_change = fields.get("onChange");
        let max_idle = fields.get("maxIdle");
        let max_age = fields.get("maxAge");
        let max_memory = fields.get("maxMemory");
        let max_processes = fields.get("maxProcesses");
        let cpu_weight = fields.get("cpuWeight");
        let priority = fields.get("priority");
        let pinned = fields.get("pinned");
        let suspend = fields.get("suspend");
        let identity = fields.get("identity");
        let owner = fields.get("owner");
        let no_owner = fields.find("owner").is_none();
        let slot = fields.find("slot");
        if let (Some(slot), true) = (&slot, no_owner) {
            slot.refuse("`slot` without `owner`", Some("a slot is its owner's: write both".into()));
        }
        let slot = slot.as_ref().and_then(Word::read);
        let labels = fields.get("labels");
        fields.close(ELSEWHERE);
        Some(Self {
            command: command?,
            working_dir,
            env,
            env_file,
            user,
            terminal,
            agent,
            resume,
            restart_policy,
            backoff,
            termination_grace_period,
            stop_signal,
            on_change,
            max_idle,
            max_age,
            max_memory,
            max_processes,
            cpu_weight,
            priority,
            pinned,
            suspend,
            identity,
            owner,
            slot,
            labels,
        })
    }
}

impl Read for Terminal {
    fn read(place: &Place<'_>) -> Option<Self> {
        if let Node::Bool(wanted) = place.node() {
            return Some(Self::Wanted(*wanted));
        }
        let mut fields = Fields::open(place, "`true`, `false` or `{columns: 120, rows: 40}`")?;
        let size = TerminalSize { columns: fields.get("columns"), rows: fields.get("rows") };
        fields.close(&[("width", "did you mean `columns`?"), ("height", "did you mean `rows`?")]);
        Some(Self::Size(size))
    }
}

impl Read for Backoff {
    fn read(place: &Place<'_>) -> Option<Self> {
        let mut fields = Fields::open(place, "`{initial: 1s, max: 5m, resetAfter: 10m}`")?;
        let read = Self {
            initial: fields.get("initial"),
            max: fields.get("max"),
            reset_after: fields.get("resetAfter"),
        };
        let initial = read.initial.unwrap_or(defaults::BACKOFF.initial);
        if initial > read.max.unwrap_or(defaults::BACKOFF.max) {
            let by_default = |what, value: Dur| format!("`{what}` is {value} where it is not written");
            let hint = match (read.initial, read.max) {
                (Some(_), None) => Some(by_default("max", defaults::BACKOFF.max)),
                (None, Some(_)) => Some(by_default("initial", defaults::BACKOFF.initial)),
                _ => None,
            };
            let at = fields.find("max").or_else(|| fields.find("initial"));
            at.as_ref().unwrap_or(place).refuse("`max` is shorter than `initial`", hint);
        }
        fields.close(&[("maximum", "did you mean `max`?")]);
        Some(read)
    }
}

impl Read for Agent {
    fn read(place: &Place<'_>) -> Option<Self> {
        one_of(place, &[("claude", Self::Claude), ("codex", Self::Codex), ("generic", Self::Generic)])
    }
}

impl Read for Resume {
    fn read(place: &Place<'_>) -> Option<Self> {
        one_of(place, &[("auto", Self::Auto), ("never", Self::Never)])
    }
}

impl Read for RestartPolicy {
    fn read(place: &Place<'_>) -> Option<Self> {
        one_of(place, &[("Always", Self::Always), ("OnFailure", Self::OnFailure), ("Never", Self::Never)])
    }
}

impl Read for OnChange {
    fn read(place: &Place<'_>) -> Option<Self> {
        one_of(place, &[("WhenIdle", Self::WhenIdle), ("Restart", Self::Restart), ("Manual", Self::Manual)])
    }
}
