//! An agent's settings file with atm's hooks in it, and without them again. Texts in, texts out.

use std::ops::Range;

use super::{
    json_text::{Json, Kind, Left, Node, Wrong, new_file, parse, put, splice, take, wrong_at},
    settings::{TIMEOUT, command},
};
use call::{Beside, Call, by_shell, read};

mod call;

/// What is to be in the file.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// This program, by its whole path.
    pub program: &'a str,
    /// Where the daemon is, as flags; where there are none, what is written already says it.
    pub places: &'a [String],
    /// The events that are to be reported.
    pub events: &'a [&'static str],
    /// What becomes of the status line.
    pub status_line: StatusLine,
}

/// What becomes of a status line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusLine {
    /// One is wrapped, and where there is none atm's is put in.
    Report,
    /// One is wrapped. Where there is none, one in this file would hide one in another.
    Wrap,
    /// The agent has none.
    None,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// Its text; `None`: nothing is left of it.
    pub text: Option<String>,
    /// What was done, in words; nothing: it is as it should be.
    pub done: Vec<String>,
}

/// Puts the hooks into the file; `None`: there is none yet.
pub fn install(before: Option<&str>, wish: &Wish) -> Result<Edited, Wrong> {
    let mut done = Vec::new();
    let Some(before) = before else {
        let groups = wish.events.iter().map(|event| (*event, Json::Array(vec![group(wish)])));
        let mut members = vec![("hooks", Json::Object(groups.collect()))];
        done.push(format!("hooks for {} events", wish.events.len()));
        if wish.status_line == StatusLine::Report {
            members.push(("statusLine", own_status_line(wish)));
            done.push("a status line that reports and shows nothing".to_owned());
        }
        return Ok(Edited { text: Some(new_file(&Json::Object(members))), done });
    };
    let mut text = before.to_owned();
    let (mut added, mut renewed, mut by_hand) = (0, 0, 0);
    for event in wish.events {
        match add_hook(&text, event, wish)? {
            Step::Done => {}
            Step::ByHand => by_hand += 1,
            Step::Added(next) => {
                text = next;
                added += 1;
            }
            Step::Renewed(next) => {
                text = next;
                renewed += 1;
            }
        }
    }
    for (count, what, why) in [
        (added, "hooks", ""),
        (renewed, "the command in hooks", ""),
        (by_hand, "nothing", ", which a hook written by hand reports"),
    ] {
        if count > 0 {
            done.push(format!("{what} for {count} event{}{why}", if count == 1 { "" } else { "s" }));
        }
    }
    if wish.status_line != StatusLine::None {
        text = add_status_line(text, wish, &mut done)?;
    }
    Ok(Edited { text: Some(text), done })
}

/// Takes out of the file what [`install`] puts in, whichever program of ours it names, and what does the same by hand.
pub fn uninstall(before: &str, program: &str) -> Result<Edited, Wrong> {
    let mut done = Vec::new();
    let (mut left, mut hooks) = (Left::Text(before.to_owned()), 0);
    while let Left::Text(text) = &left {
        let root = root(text)?;
        let Some(without) = without_a_hook(text, &root, program)? else { break };
        left = without;
        hooks += 1;
    }
    if hooks > 0 {
        done.push(format!("{hooks} hook{}", if hooks == 1 { "" } else { "s" }));
    }
    if let Left::Text(text) = &left
        && let Some(without) = without_status_line(text, program, &mut done)?
    {
        left = without;
    }
    let text = match left {
        Left::Text(text) => Some(text),
        Left::Nothing => None,
    };
    Ok(Edited { text, done })
}

/// What became of one event's hook.
enum Step {
    Done,
    ByHand,
    Added(String),
    Renewed(String),
}

fn add_hook(text: &str, event: &'static str, wish: &Wish) -> Result<Step, Wrong> {
    let root = root(text)?;
    let Some(hooks) = root.member("hooks") else {
        let hooks = Json::Object(vec![(event, Json::Array(vec![group(wish)]))]);
        return Ok(Step::Added(put(text, &root, Some("hooks"), &hooks)));
    };
    is_object(text, &hooks.value, "hooks")?;
    let Some(groups) = hooks.value.member(event) else {
        return Ok(Step::Added(put(text, &hooks.value, Some(event), &Json::Array(vec![group(wish)]))));
    };
    for group in items(text, &groups.value, event)? {
        for handler in handlers(group) {
            let Some((place, old, call)) = reports(handler, wish.program) else { continue };
            let Some(places) = places(&call, wish).filter(|_| call.beside == Beside::Nothing) else {
                return Ok(Step::ByHand);
            };
            let new = command(wish.program, places);
            if old == new {
                return Ok(Step::Done);
            }
            return Ok(Step::Renewed(splice(text, place, &serde_json::Value::from(new).to_string())));
        }
    }
    Ok(Step::Added(put(text, &groups.value, None, &group(wish))))
}

/// What is left without the first hook of ours; `None` where there is none.
fn without_a_hook(text: &str, root: &Node, program: &str) -> Result<Option<Left>, Wrong> {
    let Kind::Object(top) = &root.kind else { return Ok(None) };
    let Some(at) = top.iter().rposition(|member| member.key == "hooks") else { return Ok(None) };
    let Some(hooks) = top.get(at).map(|member| &member.value) else { return Ok(None) };
    let Kind::Object(events) = &hooks.kind else { return is_object(text, hooks, "hooks").map(|()| None) };
    for (event_at, event) in events.iter().enumerate() {
        for (group_at, group) in items(text, &event.value, &event.key)?.iter().enumerate() {
            let all = handlers(group);
            let Some(first) = all.iter().position(|handler| only_reports(handler, program)) else {
                continue;
            };
            // A group needs a hook: one of ours alone goes whole.
            if let (2.., Some(list)) = (all.len(), group.member("hooks"))
                && let left @ Left::Text(_) = take(text, &list.value, first)
            {
                return Ok(Some(left));
            }
            for (holder, index) in [(&event.value, group_at), (hooks, event_at), (root, at)] {
                if let left @ Left::Text(_) = take(text, holder, index) {
                    return Ok(Some(left));
                }
            }
            return Ok(Some(Left::Nothing));
        }
    }
    Ok(None)
}

fn add_status_line(text: String, wish: &Wish, done: &mut Vec<String>) -> Result<String, Wrong> {
    let root = root(&text)?;
    let Some(line) = root.member("statusLine") else {
        if wish.status_line == StatusLine::Wrap {
            return Ok(text);
        }
        done.push("a status line that reports and shows nothing".to_owned());
        return Ok(put(&text, &root, Some("statusLine"), &own_status_line(wish)));
    };
    let Some((old, place)) = command_of(&line.value) else {
        done.push("nothing for the status line: it is no command".to_owned());
        return Ok(text);
    };
    let (new, what) = match read(old, wish.program) {
        Some(call) => {
            let Some(places) = places(&call, wish) else {
                done.push("nothing for the status line, which reports by hand".to_owned());
                return Ok(text);
            };
            let inner = match &call.beside {
                Beside::Shows(inner) => Some(inner.as_str()),
                Beside::Nothing | Beside::Other => None,
            };
            let new = status_line(wish.program, places, inner);
            if new == old {
                return Ok(text);
            }
            (new, "the command in the status line")
        }
        None => {
            (status_line(wish.program, wish.places, Some(old)), "the status line, which goes on to be shown")
        }
    };
    done.push(what.to_owned());
    Ok(splice(&text, place, &serde_json::Value::from(new).to_string()))
}

/// What is left without our status line, or with the one that it wrapped; `None` where it has none of ours.
fn without_status_line(text: &str, program: &str, done: &mut Vec<String>) -> Result<Option<Left>, Wrong> {
    let root = root(text)?;
    let Kind::Object(members) = &root.kind else { return Ok(None) };
    let Some(at) = members.iter().rposition(|member| member.key == "statusLine") else { return Ok(None) };
    let Some(line) = members.get(at).map(|member| &member.value) else { return Ok(None) };
    let Some((command, place)) = command_of(line) else { return Ok(None) };
    let left = match read(command, program).map(|call| call.beside) {
        Some(Beside::Shows(inner)) => {
            Left::Text(splice(text, place, &serde_json::Value::from(inner).to_string()))
        }
        Some(Beside::Nothing) => take(text, &root, at),
        Some(Beside::Other) | None => return Ok(None),
    };
    done.push("the status line".to_owned());
    Ok(Some(left))
}

fn group(wish: &Wish) -> Json {
    let handler = Json::Object(vec![
        ("type", Json::text("command")),
        ("command", Json::text(&command(wish.program, wish.places))),
        ("timeout", Json::Raw(TIMEOUT.to_string())),
    ]);
    Json::Object(vec![("hooks", Json::Array(vec![handler]))])
}

fn own_status_line(wish: &Wish) -> Json {
    let command = status_line(wish.program, wish.places, None);
    Json::Object(vec![("type", Json::text("command")), ("command", Json::text(&command))])
}

/// The command of a status line that reports, and shows what `inner` prints, a person's own command for a shell.
fn status_line(program: &str, places: &[String], inner: Option<&str>) -> String {
    let reports = command(program, places);
    inner.map_or(reports.clone(), |inner| format!("{reports} --pass | {}", by_shell(inner)))
}

/// Where the daemon is, for a command in the place of `call`; `None`: that one is a person's own, and stays.
fn places<'a>(call: &'a Call, wish: &Wish<'a>) -> Option<&'a [String]> {
    let written = call.places.as_deref()?;
    Some(if wish.places.is_empty() { written } else { wish.places })
}

/// The place of a hook's command, the command and what it is, where it is one that reports.
fn reports<'a>(handler: &'a Node, program: &str) -> Option<(Range<usize>, &'a str, Call)> {
    let (command, place) = command_of(handler)?;
    Some((place, command, read(command, program)?))
}

/// Whether a hook reports and does nothing else.
fn only_reports(handler: &Node, program: &str) -> bool {
    reports(handler, program).is_some_and(|(_, _, call)| call.beside == Beside::Nothing)
}

/// The command of `{"type": "command", "command": "…"}` and its place.
fn command_of(node: &Node) -> Option<(&str, Range<usize>)> {
    let command = node.text_of("command").filter(|_| node.text_of("type") == Some("command"))?;
    Some((command, node.member("command")?.value.span.clone()))
}

fn root(text: &str) -> Result<Node, Wrong> {
    let root = parse(text)?;
    is_object(text, &root, "the file")?;
    Ok(root)
}

fn is_object(text: &str, node: &Node, what: &str) -> Result<(), Wrong> {
    match node.kind {
        Kind::Object(_) => Ok(()),
        Kind::Array(_) | Kind::Text(_) | Kind::Other => {
            Err(wrong_at(text, node.span.start, &format!("{what}: expected an object")))
        }
    }
}

fn items<'a>(text: &str, node: &'a Node, what: &str) -> Result<&'a [Node], Wrong> {
    match &node.kind {
        Kind::Array(items) => Ok(items),
        Kind::Object(_) | Kind::Text(_) | Kind::Other => {
            Err(wrong_at(text, node.span.start, &format!("hooks for {what}: expected an array")))
        }
    }
}

/// The hooks of a group; one that is no group has none.
fn handlers(group: &Node) -> &[Node] {
    match group.member("hooks").map(|member| &member.value.kind) {
        Some(Kind::Array(items)) => items,
        Some(Kind::Object(_) | Kind::Text(_) | Kind::Other) | None => &[],
    }
}

#[cfg(test)]
mod tests;
