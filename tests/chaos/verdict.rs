//! Whether a session is as declared, and whether its output is what it wrote.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    field::{Declared, Kind, Order},
    harness::{Atm, Seen},
    judge::{Sight, Told, name_of, read_torn_log},
};

use super::{Chaos, Unsettled, Wrong};

impl Chaos {
    /// Every log there is, once nothing writes any more.
    pub fn read_logs(&self) {
        for name in self.changed.keys() {
            let text = self.atm.whole_log(name);
            let runs = read_torn_log(&text, &self.torn)
                .unwrap_or_else(|why| self.fail((Wrong::Output, format!("{name}: {why}"))));
            let mut once: BTreeMap<&str, usize> = BTreeMap::new();
            for run in &runs {
                *once.entry(&run.token).or_default() += 1;
                self.judge_run(name, run);
            }
            let declared = self.declared.get(name).filter(|declared| declared.kind.is_once());
            if let Some(declared) = declared {
                let count = once.get(declared.token.as_str()).copied().unwrap_or_default();
                let known = !declared.bereft && !self.torn.contains(&declared.token);
                if count > 1 + declared.forgotten {
                    self.fail((Wrong::Doubled, format!("{name} ran {count} times")));
                }
                if count == 0 && known {
                    self.fail((Wrong::Lost, format!("{name} never ran")));
                }
            }
        }
    }

    fn judge_run(&self, name: &str, run: &Told) {
        if name_of(&run.token) != name {
            self.fail((Wrong::Output, format!("the log of {name} has a run of {}", run.token)));
        }
        if self.disturbed.contains(&run.token) || self.torn.contains(&run.token) {
            return;
        }
        let declared = self.declared.get(name).filter(|declared| declared.token == run.token);
        let Some(declared) = declared else { return };
        let whole = match declared.kind {
            Kind::Once(_) => run.end && run.lines == 20,
            // It was stopped with the daemon, in its own time.
            Kind::Slow => run.bye,
            Kind::Writer | Kind::Flood | Kind::Deaf => run.lines > 0,
        };
        if !whole {
            self.fail((Wrong::Output, format!("{name} lost its end: {run:?}")));
        }
    }
}

/// What is missing of a session that runs for ever. An error: it was replaced without a reason.
pub fn lasting(
    name: &str,
    declared: &mut Declared,
    sight: &Sight,
    keepers: &[Seen],
    status: Option<&Value>,
) -> Result<Option<Unsettled>, Unsettled> {
    let runs = sight.runs(&declared.token);
    match declared.order {
        Order::Nothing => {}
        Order::Stop => return stopped(name, declared, runs, status),
        Order::Unheard => {
            return Ok(Some((Wrong::Told, format!("nobody has heard yet that {name} is to run"))));
        }
    }
    let [only] = runs else {
        return Ok(Some((Wrong::Lost, format!("{name} runs {} times: {runs:?}", runs.len()))));
    };
    // What a killed keeper left is still to be ended, and no run that counts.
    if !keepers
        .iter()
        .any(|keeper| keeper.pid == only.parent && keeper.argv.last().is_some_and(|n| n == name))
    {
        return Ok(Some((Wrong::Orphan, format!("{name} runs without a keeper: {only:?}"))));
    }
    let process = (only.pid, only.born);
    let before = declared.process.replace(process);
    if !declared.shaken && before.is_some_and(|before| before != process) {
        let why = format!("{name} was {before:?} and is {process:?}: it was restarted without a reason");
        return Err((Wrong::Lost, why));
    }
    let Some(status) = status else { return Ok(Some((Wrong::Told, "no daemon answers".to_owned()))) };
    if status["phase"] != "Running" || status["pid"] != only.pid {
        return Ok(Some((Wrong::Told, format!("{name} runs as {}, and is told as {status}", only.pid))));
    }
    Ok(None)
}

/// What is missing of a session that a person stopped. An error: it began again, and nobody had asked for that.
fn stopped(
    name: &str,
    declared: &mut Declared,
    runs: &[Seen],
    status: Option<&Value>,
) -> Result<Option<Unsettled>, Unsettled> {
    if let Some(run) = runs.first() {
        if declared.process.is_none() && !declared.shaken {
            return Err((Wrong::Doubled, format!("{name} is stopped, and began again: {run:?}")));
        }
        return Ok(Some((Wrong::Told, format!("{name} is to stop, and runs: {run:?}"))));
    }
    let Some(status) = status else { return Ok(Some((Wrong::Told, "no daemon answers".to_owned()))) };
    if status["phase"] != "Suspended" || status["reason"] != "Stopped" {
        return Ok(Some((Wrong::Told, format!("{name} is stopped, and is told as {status}"))));
    }
    declared.process = None;
    Ok(None)
}

/// What is missing of a session that runs once: that it has, and how it ended.
pub fn once(
    atm: &Atm,
    name: &str,
    declared: &mut Declared,
    torn: &BTreeSet<String>,
    sight: &Sight,
    status: Option<&Value>,
) -> Result<Option<Unsettled>, Unsettled> {
    let Kind::Once(code) = declared.kind else { return Ok(None) };
    let runs = sight.runs(&declared.token);
    if !runs.is_empty() {
        return Ok(Some((Wrong::Lost, format!("{name} has not ended: {runs:?}"))));
    }
    let Some(status) = status else { return Ok(Some((Wrong::Told, "no daemon answers".to_owned()))) };
    let phase = if code == 0 { "Succeeded" } else { "Failed" };
    // How it ended may be lost with its keeper; that it does not run a second time is not.
    let told = if declared.bereft {
        matches!(status["phase"].as_str(), Some("Failed" | "Succeeded"))
    } else {
        status["phase"] == phase && status["exit"]["code"] == code
    };
    if !told {
        return Ok(Some((Wrong::Told, format!("{name} is to have ended once with {code}: {status}"))));
    }
    if declared.over {
        return Ok(None);
    }
    let runs = match read_torn_log(&atm.whole_log(name), torn) {
        Ok(runs) => runs,
        Err(why) => return Ok(Some((Wrong::Output, format!("the log of {name}: {why}")))),
    };
    let times = runs.iter().filter(|run| run.token == declared.token).count();
    let least = usize::from(!declared.bereft && !torn.contains(&declared.token));
    if times > 1 + declared.forgotten {
        return Err((Wrong::Doubled, format!("{name} is to run once, and ran {times} times: {status}")));
    }
    if times < least {
        return Ok(Some((Wrong::Lost, format!("{name} is told as {status}, and never ran"))));
    }
    declared.over = true;
    Ok(None)
}
