//! What agents say, and the settings that people keep for them.

use std::path::Path;

use serde_json::{Map, Value};

use super::{Broken, promise};
use crate::{
    agents::{
        self, Told, Trouble,
        install::{StatusLine, Wish, install, uninstall},
        json_text,
        settings::CODEX_EVENTS,
    },
    api::{conversation::ConversationId, spec::Agent, time::Timestamp},
    daemon::agent_facts::AgentFacts,
};

/// Payloads of hooks, of a status line or of a notification, a line each.
pub(super) fn hook(bytes: &[u8], _: &Path) -> Result<(), Broken> {
    let mut facts = AgentFacts::default();
    for line in bytes.split(|byte| *byte == b'\n').chain([bytes]) {
        for whole in [true, false] {
            let kept = agents::sift(line, whole);
            let sifted = Value::Object(kept.clone()).to_string();
            let again = agents::sift(sifted.as_bytes(), true);
            // A number that no float holds may come a little nearer to one each time.
            promise!(
                again.keys().eq(kept.keys()),
                "what matters of a payload is another thing of itself: {sifted}"
            );
            for agent in [Agent::Claude, Agent::Codex, Agent::Generic] {
                let told = agents::read(agent, &kept);
                of_told(&told, &kept)?;
                let _ = facts.take_in(told, whole, Timestamp::UNIX_EPOCH);
                let _ = facts.condition_at(Timestamp::UNIX_EPOCH);
                promise!(facts.subagents.len() <= 256, "{} helpers are remembered", facts.subagents.len());
            }
        }
    }
    Ok(())
}

fn of_told(told: &Told, kept: &Map<String, Value>) -> Result<(), Broken> {
    promise!(!kept.is_empty() || told.conversation.is_none(), "a conversation out of nothing");
    let ids = told.turn_id.iter().chain(told.conversation.as_ref().map(|named| &named.id));
    for id in ids {
        promise!(ConversationId::new(id.as_str()).is_ok(), "an id {id:?}");
    }
    let cwd = told.cwd.as_deref().unwrap_or("/");
    promise!(cwd.starts_with('/') && cwd.len() <= 4096, "a directory {cwd:?}");
    let short = |text: &str| text.chars().count() <= 80;
    if let Some(usage) = &told.usage {
        promise!(usage.model.as_deref().is_none_or(short), "a model {:?}", usage.model);
        promise!(usage.cost_usd.is_none_or(f64::is_finite), "it costs {:?}", usage.cost_usd);
        let percents = usage.limits.iter().map(|limit| limit.used_percent).chain(usage.context_percent);
        for percent in percents {
            promise!((0.0..=1000.0).contains(&percent), "{percent} %");
        }
        promise!(usage.limits.len() <= 8, "{} limits", usage.limits.len());
    }
    if let Trouble::Is(condition) = &told.trouble {
        promise!(short(&condition.reason), "a reason {:?}", condition.reason);
    }
    Ok(())
}

const PROGRAM: &str = "/opt/a b/atm";
/// Which are reported is a matter of versions; how they are put in is not.
const EVENTS: &[&str] = CODEX_EVENTS;

/// A person's settings, with atm's hooks put in and taken out again.
pub(super) fn settings(bytes: &[u8], _: &Path) -> Result<(), Broken> {
    let Ok(before) = std::str::from_utf8(bytes) else { return Ok(()) };
    let parsed = json_text::parse(before);
    promise!(parsed.is_ok() == serde_json::from_str::<Value>(before).is_ok(), "it is not read as JSON is");
    for status_line in [StatusLine::Report, StatusLine::Wrap, StatusLine::None] {
        let wanted = Wish { program: PROGRAM, places: &[], events: EVENTS, status_line };
        let (Ok(with), Ok(clean)) = (install(Some(before), &wanted), uninstall(before, PROGRAM)) else {
            continue;
        };
        let Some(with) = with.text else { return Err("nothing is left after an install".into()) };
        let again = install(Some(&with), &wanted).map_err(|wrong| format!("refused: {wrong:?}: {with}"))?;
        promise!(again.text.as_deref() == Some(&with), "a second install changes {with}");
        promise!(others(before) == others(&with), "other settings are changed: {with}");
        let left = uninstall(&with, PROGRAM).map_err(|wrong| format!("refused: {wrong:?}: {with}"))?;
        let was_clean = clean.done.is_empty();
        if was_clean {
            // A command that was wrapped is written as we write it: it may have been written otherwise.
            let is_the_same = |left: &str| {
                let value = |text| serde_json::from_str::<Value>(text).ok();
                left == before || status_line != StatusLine::None && value(left) == value(before)
            };
            promise!(
                left.text.as_deref().is_some_and(is_the_same),
                "not as it was: {:?}, by way of {with}",
                left.text
            );
        }
        let left = left.text.unwrap_or_default();
        let last = uninstall(&left, PROGRAM);
        promise!(last.is_err() || last.is_ok_and(|last| last.done.is_empty()), "some of it is left: {left}");
    }
    Ok(())
}

/// All settings but those that an install is about, and of their hooks the events that it does not know.
fn others(settings: &str) -> Option<Value> {
    let mut value: Value = serde_json::from_str(settings).ok()?;
    let top = value.as_object_mut()?;
    top.remove("statusLine");
    let is_empty = match top.get_mut("hooks") {
        Some(Value::Object(hooks)) => {
            hooks.retain(|event, _| !EVENTS.contains(&event.as_str()));
            hooks.is_empty()
        }
        _ => false,
    };
    if is_empty {
        top.remove("hooks");
    }
    Some(value)
}
