//! All sessions in one line, for `systemctl status`.

use std::fmt::Write as _;

use crate::api::{
    control::Counts,
    diagnose::escape,
    quantity::{Limit, Size},
    status::{Activity, Phase},
};

/// What the line tells.
#[derive(Debug, Clone, Copy)]
pub struct Overview<'a> {
    /// Sessions by phase: see [`tally`].
    pub counts: Counts,
    /// The limit in force.
    pub max_sessions: u32,
    /// Memory of all sessions and the budget they share; absent where it is not measured.
    pub memory: Option<(Size, Limit<Size>)>,
    /// Spec files that are wrong.
    pub invalid_specs: usize,
    /// The config file is wrong.
    pub config_error: bool,
    /// Why the spec directory cannot be believed now.
    pub specs_unavailable: Option<&'a str>,
}

/// Counts sessions by phase, and the running ones by what they do.
pub fn tally(sessions: impl IntoIterator<Item = (Phase, Option<Activity>)>) -> Counts {
    let mut counts = Counts::default();
    for (phase, activity) in sessions {
        let count = match phase {
            Phase::Pending => &mut counts.pending,
            Phase::Running => {
                match activity {
                    Some(Activity::Busy) => counts.busy += 1,
                    Some(Activity::Waiting) => counts.waiting += 1,
                    Some(Activity::Idle | Activity::Unknown) | None => {}
                }
                &mut counts.running
            }
            Phase::Stopping => &mut counts.stopping,
            Phase::Succeeded => &mut counts.succeeded,
            Phase::Failed => &mut counts.failed,
            Phase::Evicted => &mut counts.evicted,
            Phase::Suspended => &mut counts.suspended,
        };
        *count += 1;
    }
    counts
}

/// `4 of 100 sessions running (1 busy, 1 waiting), 1 pending, 2 evicted; memory 2.1 of 19.2 GiB; 1 invalid spec`.
/// What is zero is left out.
pub fn summary(overview: &Overview<'_>) -> String {
    let Counts {
        pending,
        running,
        busy,
        waiting,
        stopping,
        succeeded,
        failed,
        evicted,
        suspended,
        registered,
    } = overview.counts;
    let mut line = format!("{running} of {} sessions running", overview.max_sessions);
    let doing = listed(&[(busy, "busy"), (waiting, "waiting"), (registered, "registered")]);
    if !doing.is_empty() {
        let _ = write!(line, " ({doing})");
    }
    let others = listed(&[
        (pending, "pending"),
        (stopping, "stopping"),
        (failed, "failed"),
        (evicted, "evicted"),
        (suspended, "suspended"),
        (succeeded, "succeeded"),
    ]);
    if !others.is_empty() {
        let _ = write!(line, ", {others}");
    }
    if let Some((used, limit)) = overview.memory {
        let _ = write!(line, "; memory {}", share(used, limit));
    }
    match overview.invalid_specs {
        0 => {}
        1 => line.push_str("; 1 invalid spec"),
        many => {
            let _ = write!(line, "; {many} invalid specs");
        }
    }
    if overview.config_error {
        line.push_str("; config error, using the last good one");
    }
    if let Some(why) = overview.specs_unavailable {
        let _ = write!(line, "; {}", escape(why));
    }
    line
}

fn listed(counts: &[(u32, &str)]) -> String {
    let some = counts.iter().filter(|(count, _)| *count > 0);
    some.map(|(count, what)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
}

/// `2.1 of 19.2 GiB`: the unit once where it is the same.
fn share(used: Size, limit: Limit<Size>) -> String {
    let used = used.human();
    let Some(limit) = limit.at().map(Size::human) else {
        return used;
    };
    match (used.split_once(' '), limit.split_once(' ')) {
        (Some((number, unit)), Some((_, same))) if unit == same => format!("{number} of {limit}"),
        _ => format!("{used} of {limit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet(counts: Counts) -> Overview<'static> {
        Overview {
            counts,
            max_sessions: 100,
            memory: None,
            invalid_specs: 0,
            config_error: false,
            specs_unavailable: None,
        }
    }

    #[test]
    fn it_reads_as_documented() {
        let counts = Counts { running: 4, busy: 1, waiting: 1, pending: 1, evicted: 2, ..Counts::default() };
        let plain = quiet(counts);
        let line = "4 of 100 sessions running (1 busy, 1 waiting), 1 pending, 2 evicted";
        assert_eq!(summary(&plain), line);

        let memory = Some((Size(2_254_857_830), Limit::At(Size(20_615_843_020))));
        let all = Overview { memory, invalid_specs: 1, config_error: true, ..plain };
        let rest = "; memory 2.1 of 19.2 GiB; 1 invalid spec; config error, using the last good one";
        assert_eq!(summary(&all), format!("{line}{rest}"));
    }

    #[test]
    fn what_is_zero_is_left_out() {
        assert_eq!(summary(&quiet(Counts::default())), "0 of 100 sessions running");
    }

    #[test]
    fn the_units_of_memory_are_said_where_they_differ() {
        let memory = |used, limit| share(Size(used), limit);
        assert_eq!(memory(5 << 20, Limit::At(Size(1 << 30))), "5.0 MiB of 1.0 GiB");
        assert_eq!(memory(5 << 20, Limit::Never), "5.0 MiB");
    }

    #[test]
    fn a_reason_from_outside_cannot_steer_a_terminal() {
        let overview = Overview { specs_unavailable: Some("gone: a\u{1b}[2Jb"), ..quiet(Counts::default()) };
        assert!(summary(&overview).ends_with("; gone: a\\u{1b}[2Jb"));
    }

    #[test]
    fn sessions_are_counted_by_phase_and_running_ones_by_activity() {
        let counts = tally([
            (Phase::Running, Some(Activity::Busy)),
            (Phase::Running, Some(Activity::Idle)),
            (Phase::Running, Some(Activity::Waiting)),
            (Phase::Stopping, Some(Activity::Busy)),
            (Phase::Failed, None),
        ]);
        let expected =
            Counts { running: 3, busy: 1, waiting: 1, stopping: 1, failed: 1, ..Counts::default() };
        assert_eq!(counts, expected);
    }
}
