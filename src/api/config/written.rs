//! A config as a person writes it: every key of the file, `None` where it is not written.

use std::{borrow::Cow, net::SocketAddr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::OnShutdown;
use crate::api::{
    defaults,
    quantity::{Dur, Limit, Size, Wrong},
    rules::{AtLeast, Bytes, Env, Span, Whole},
    yaml::{
        read::{Fields, Place, Read},
        tree::Node,
        words::one_of,
    },
};

/// The limits of all sessions together, and how the daemon behaves. Edited in place, it is applied live.
//
// The doc comments of the fields are the descriptions of the JSON Schema: they speak to who writes a config.
#[derive(Debug, Clone, Default, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields, title = "atm config")]
pub struct WrittenConfig {
    /// Most live sessions at once. `auto`: one for each 2 GiB of memory, at most 100.
    #[schemars(extend("default" = defaults::MAX_SESSIONS))]
    pub max_sessions: Option<MaxSessions>,
    /// `maxIdle` of sessions that say nothing; default: 1h for claude and codex, never for generic.
    pub max_idle: Option<Limit<Span>>,
    /// `maxAge` of sessions that say nothing; default: 24h for claude and codex, never for generic.
    pub max_age: Option<Limit<Span>>,
    /// All sessions together: a size, a share of the machine's memory, or `never`.
    #[schemars(extend("default" = format!("{}%", defaults::MAX_MEMORY_SHARE)))]
    pub max_memory: Option<Memory>,
    /// `maxMemory` of sessions that say nothing.
    #[schemars(extend("default" = "never"))]
    pub session_memory: Option<Limit<Bytes<1024>>>,
    /// Registered sessions without a sign of life for longer are marked `Stale`.
    #[schemars(extend("default" = defaults::STALE_AFTER))]
    pub stale_after: Option<Span>,
    /// A full look at everything, in any case.
    #[schemars(extend("default" = defaults::RESYNC_INTERVAL))]
    pub resync_interval: Option<AtLeast<100>>,
    /// A busy session over its age may finish its turn.
    #[schemars(extend("default" = defaults::AGE_GRACE))]
    pub age_grace: Option<Dur>,
    /// Thresholds for idle sessions when `maxSessions` is reached.
    pub emergency: Option<Emergency>,
    /// What a stop of the daemon does to its sessions.
    #[schemars(extend("default" = defaults::ON_SHUTDOWN))]
    pub on_shutdown: Option<OnShutdown>,
    /// Limits of the control socket.
    pub clients: Option<Clients>,
    /// Limits of a session's output files.
    pub logs: Option<Logs>,
    /// Where /healthz and /metrics are served, an address of this machine alone; or `off`.
    #[schemars(extend("default" = "off"))]
    pub http: Option<Http>,
    /// Variables for every session, below the spec's own.
    pub env: Option<Env>,
    /// The daemon warns when its own memory passes this.
    #[schemars(extend("default" = defaults::DAEMON_MEMORY_WARNING))]
    pub daemon_memory_warning: Option<Bytes<1024>>,
}

/// Thresholds for idle sessions when `maxSessions` is reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields, inline)]
pub struct Emergency {
    /// Idle for longer.
    #[schemars(extend("default" = defaults::EMERGENCY.max_idle))]
    pub max_idle: Option<Span>,
    /// Older.
    #[schemars(extend("default" = defaults::EMERGENCY.max_age))]
    pub max_age: Option<Span>,
}

/// Limits of the control socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields, inline)]
pub struct Clients {
    /// Watchers at once.
    #[schemars(extend("default" = defaults::CLIENTS.max))]
    pub max: Option<Whole<u32, 1, 10_000>>,
    /// Changes kept for a slow watcher.
    #[schemars(extend("default" = defaults::CLIENTS.buffer))]
    pub buffer: Option<Whole<u32, 1, 100_000>>,
    /// Longest message.
    #[schemars(extend("default" = defaults::CLIENTS.max_message))]
    pub max_message: Option<Bytes<4>>,
    /// Changes a second, per session.
    #[schemars(extend("default" = defaults::CLIENTS.broadcast_rate))]
    pub broadcast_rate: Option<Whole<u32, 1, 1000>>,
}

/// Limits of a session's output files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields, inline)]
#[expect(clippy::struct_field_names, reason = "named as the keys of the file")]
pub struct Logs {
    /// A file is rotated when it would grow beyond this.
    #[schemars(extend("default" = defaults::LOGS.max_size))]
    pub max_size: Option<Bytes<1>>,
    /// Files kept, the current one included.
    #[schemars(extend("default" = defaults::LOGS.max_files))]
    pub max_files: Option<Whole<u32, 1, 1000>>,
    /// Rotated files are removed when older.
    #[schemars(extend("default" = defaults::LOGS.max_age))]
    pub max_age: Option<Span>,
}

/// A number of sessions, or as many as the machine's memory is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxSessions {
    /// By the machine's memory.
    Auto,
    /// As written. 0 starts nothing.
    At(Sessions),
}

type Sessions = Whole<u32, 0, 10_000>;

impl Read for MaxSessions {
    fn read(place: &Place<'_>) -> Option<Self> {
        match place.node() {
            Node::Text(text) if text == "auto" => Some(Self::Auto),
            _ => Sessions::read(&place.or("`auto`")).map(Self::At),
        }
    }
}

impl JsonSchema for MaxSessions {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "MaxSessions".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [Sessions::json_schema(generator), {"const": "auto"}]})
    }
}

/// A limit of memory for all sessions together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// A size or none.
    Size(Limit<Size>),
    /// Of the machine's, in percent, 1 to 100.
    Share(u8),
}

impl Read for Memory {
    fn read(place: &Place<'_>) -> Option<Self> {
        let share = match place.node() {
            Node::Text(text) => text.strip_suffix('%'),
            _ => None,
        };
        let Some(percent) = share else {
            let place = place.or("a share such as `80%`");
            return Limit::<Bytes<1024>>::read(&place).map(|limit| Self::Size(limit.map(|size| size.0)));
        };
        let share = percent.trim_end().parse().ok().filter(|share| (1..=100).contains(share));
        if share.is_none() {
            place.wrong(&Wrong::expected("a whole share from `1%` to `100%`"));
        }
        share.map(Self::Share)
    }
}

impl JsonSchema for Memory {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Memory".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let size = Bytes::<1024>::json_schema(generator);
        json_schema!({
            "anyOf": [size, {"type": "string", "pattern": "^([1-9][0-9]?|100) *%$"}, {"const": "never"}]
        })
    }
}

/// Where health and metrics are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Http {
    /// Nowhere.
    #[default]
    #[serde(rename = "off")]
    Off,
    /// At this address.
    #[serde(untagged)]
    At(SocketAddr),
}

impl Http {
    /// The address, where there is one.
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::At(address) => Some(address),
        }
    }
}

impl Read for Http {
    fn read(place: &Place<'_>) -> Option<Self> {
        let expected = "an address such as `127.0.0.1:9650`";
        let Node::Text(text) = place.node() else {
            let wrong = match place.node() {
                Node::Number(_) => Wrong::expected(expected).hint("write the address before the port"),
                _ => Wrong::expected(expected),
            };
            place.or("`off`").wrong(&wrong);
            return None;
        };
        if text == "off" {
            return Some(Self::Off);
        }
        let Ok(address) = text.parse::<SocketAddr>() else {
            let hint = "an IP address and a port; names are not looked up";
            place.or("`off`").wrong(&Wrong::expected(expected).hint(hint));
            return None;
        };
        if !address.ip().is_loopback() {
            // There is neither a password nor encryption: whoever may see more than this machine is to ask a proxy.
            let hint = "only addresses of this machine itself, 127.0.0.0/8 or [::1], are served";
            place
                .or("`off`")
                .wrong(&Wrong::expected("a loopback address such as `127.0.0.1:9650`").hint(hint));
            return None;
        }
        Some(Self::At(address))
    }
}

impl JsonSchema for Http {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Http".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{"const": "off"}, {"type": "string", "pattern": r"^(\[[0-9a-fA-F:.]+\]|[0-9.]+):[0-9]+$"}],
            "examples": ["127.0.0.1:9650"]
        })
    }
}

/// Words that people look for, and what they are here.
const ELSEWHERE: &[(&str, &str)] = &[
    ("sessions", "sessions are files of their own in the specs directory"),
    ("maxMemoryPerSession", "did you mean `sessionMemory`?"),
    ("resync", "did you mean `resyncInterval`?"),
    ("metrics", "did you mean `http`?"),
    ("socket", "directories and the socket are set by flags of `atm daemon`"),
    ("sessionsDir", "directories and the socket are set by flags of `atm daemon`"),
    ("runtimeDir", "directories and the socket are set by flags of `atm daemon`"),
    ("stateDir", "directories and the socket are set by flags of `atm daemon`"),
    ("logDir", "directories and the socket are set by flags of `atm daemon`"),
];

impl Read for WrittenConfig {
    fn read(place: &Place<'_>) -> Option<Self> {
        let mut fields = Fields::open(place, "a mapping of keys such as `maxSessions: 100`")?;
        let config = Self {
            max_sessions: fields.get("maxSessions"),
            max_idle: fields.get("maxIdle"),
            max_age: fields.get("maxAge"),
            max_memory: fields.get("maxMemory"),
            session_memory: fields.get("sessionMemory"),
            stale_after: fields.get("staleAfter"),
            resync_interval: fields.get("resyncInterval"),
            age_grace: fields.get("ageGrace"),
            emergency: fields.get("emergency"),
            on_shutdown: fields.get("onShutdown"),
            clients: fields.get("clients"),
            logs: fields.get("logs"),
            http: fields.get("http"),
            env: fields.get("env"),
            daemon_memory_warning: fields.get("daemonMemoryWarning"),
        };
        fields.close(ELSEWHERE);
        Some(config)
    }
}

impl Read for Emergency {
    fn read(place: &Place<'_>) -> Option<Self> {
        let mut fields = Fields::open(place, "`{maxIdle: 5m, maxAge: 1h}`")?;
        let read = Self { max_idle: fields.get("maxIdle"), max_age: fields.get("maxAge") };
        fields.close(&[]);
        Some(read)
    }
}

impl Read for Clients {
    fn read(place: &Place<'_>) -> Option<Self> {
        let mut fields =
            Fields::open(place, "`{max: 10, buffer: 100, maxMessage: 1MiB, broadcastRate: 10}`")?;
        let read = Self {
            max: fields.get("max"),
            buffer: fields.get("buffer"),
            max_message: fields.get("maxMessage"),
            broadcast_rate: fields.get("broadcastRate"),
        };
        fields.close(&[]);
        Some(read)
    }
}

impl Read for Logs {
    fn read(place: &Place<'_>) -> Option<Self> {
        let mut fields = Fields::open(place, "`{maxSize: 10MiB, maxFiles: 7, maxAge: 7d}`")?;
        let read = Self {
            max_size: fields.get("maxSize"),
            max_files: fields.get("maxFiles"),
            max_age: fields.get("maxAge"),
        };
        fields.close(&[]);
        Some(read)
    }
}

impl Read for OnShutdown {
    fn read(place: &Place<'_>) -> Option<Self> {
        one_of(place, &[("Auto", Self::Auto), ("Keep", Self::Keep), ("Stop", Self::Stop)])
    }
}
