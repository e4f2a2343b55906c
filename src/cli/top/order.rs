//! In which order sessions are shown.

use std::cmp::{Ordering, Reverse};

use crate::{
    api::status::{Activity, Phase, Reason, SessionView},
    cli::outcome::is_live,
};

/// What comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    /// Who uses the processor most
    Cpu,
    /// Who has the most memory
    #[value(alias = "mem")]
    Memory,
    /// By name
    Name,
    /// Who has been idle the longest
    Idle,
    /// Who waits for a person, then what fails, then who is busy
    Waiting,
}

impl Sort {
    /// Sorts; where nothing else decides, by name.
    pub fn apply(self, sessions: &mut [&SessionView]) {
        sessions.sort_by(|a, b| self.compare(a, b).then_with(|| a.name.cmp(&b.name)));
    }

    fn compare(self, a: &SessionView, b: &SessionView) -> Ordering {
        let (one, other) = (&a.status, &b.status);
        match self {
            Self::Name => Ordering::Equal,
            Self::Cpu => {
                // What is not known is less than nothing.
                let used = |cpu: Option<f32>| cpu.unwrap_or(-1.0);
                used(other.cpu_percent).total_cmp(&used(one.cpu_percent))
            }
            Self::Memory => other.memory_bytes.cmp(&one.memory_bytes),
            Self::Idle => {
                let since = |session: &SessionView| {
                    let last = session.status.last_activity_at.filter(|_| is_live(session));
                    (last.is_none(), last)
                };
                since(a).cmp(&since(b))
            }
            Self::Waiting => urgency(a).cmp(&urgency(b)),
        }
    }
}

/// How soon a person should look at a session.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    Waits,
    Fails,
    Busy,
    Runs,
    Changes,
    Rests,
}

fn urgency(session: &SessionView) -> (Urgency, Reverse<u64>) {
    let status = &session.status;
    let fails = !status.conditions.is_empty()
        || status.spec_error.is_some()
        || status.phase == Phase::Failed
        || matches!(
            status.reason,
            Reason::BackOff | Reason::HostError | Reason::InvalidSpec | Reason::Unkillable
        );
    let urgency = match (status.phase, status.activity) {
        (Phase::Running, Some(Activity::Waiting)) => Urgency::Waits,
        _ if fails => Urgency::Fails,
        (Phase::Running, Some(Activity::Busy)) => Urgency::Busy,
        (Phase::Running, _) => Urgency::Runs,
        (Phase::Pending | Phase::Stopping, _) => Urgency::Changes,
        (Phase::Succeeded | Phase::Failed | Phase::Evicted | Phase::Suspended, _) => Urgency::Rests,
    };
    let failures = if urgency == Urgency::Fails { status.restarts } else { 0 };
    (urgency, Reverse(failures))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn session(name: &str, state: &str, more: &Value) -> SessionView {
        let (phase, reason) = state.split_once(' ').unwrap();
        let mut status = json!({"phase": phase, "reason": reason, "restarts": 0});
        status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let view = json!({"name": name, "origin": "Declared", "generation": 1, "status": status});
        serde_json::from_value(view).unwrap()
    }

    #[test]
    fn each_key_has_its_first() {
        let sessions = [
            session(
                "busy",
                "Running Started",
                &json!({"activity": "Busy", "cpuPercent": 90.5, "memoryBytes": 10, "lastActivityAt": "2026-01-01T02:00:00Z"}),
            ),
            session(
                "asks",
                "Running Started",
                &json!({"activity": "Waiting", "cpuPercent": 0, "memoryBytes": 30, "lastActivityAt": "2026-01-01T01:00:00Z"}),
            ),
            session("loops", "Pending BackOff", &json!({"restarts": 1})),
            session("worse", "Pending BackOff", &json!({"restarts": 7})),
            session("broken", "Failed Error", &json!({})),
            session("queued", "Pending MaxSessions", &json!({})),
            session("done", "Succeeded Completed", &json!({"lastActivityAt": "2025-01-01T00:00:00Z"})),
            session("runs", "Running Started", &json!({"activity": "Idle"})),
        ];
        for (sort, expected) in [
            (Sort::Name, "asks broken busy done loops queued runs worse"),
            (Sort::Cpu, "busy asks broken done loops queued runs worse"),
            (Sort::Memory, "asks busy broken done loops queued runs worse"),
            (Sort::Idle, "asks busy broken done loops queued runs worse"),
            (Sort::Waiting, "asks worse loops broken busy runs queued done"),
        ] {
            let mut sorted: Vec<&SessionView> = sessions.iter().collect();
            sort.apply(&mut sorted);
            let names: Vec<&str> = sorted.iter().map(|session| session.name.as_str()).collect();
            assert_eq!(names.join(" "), expected, "{sort:?}");
        }
    }
}
