//! An agent's settings file with atm's hooks in it, and without them again. Texts in, texts out.

use super::{
    json_text::{Json, Kind, Left, Node, Wrong, new_file, parse, put, splice, take, wrong_at},
    settings::{TIMEOUT, command},
};

/// What is to be in the file.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// This program, by its whole path.
    pub program: &'a str,
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
        let groups = wish.events.iter().map(|event| (*event, Json::Array(vec![group(wish.program)])));
        let mut members = vec![("hooks", Json::Object(groups.collect()))];
        done.push(format!("hooks for {} events", wish.events.len()));
        if wish.status_line == StatusLine::Report {
            members.push(("statusLine", own_status_line(wish.program)));
            done.push("a status line that reports and shows nothing".to_owned());
        }
        return Ok(Edited { text: Some(new_file(&Json::Object(members))), done });
    };
    let mut text = before.to_owned();
    let (mut added, mut renewed) = (0, 0);
    for event in wish.events {
        match add_hook(&text, event, wish.program)? {
            Step::Done => {}
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
    for (count, what) in [(added, "hooks"), (renewed, "this program's path in hooks")] {
        if count > 0 {
            done.push(format!("{what} for {count} event{}", if count == 1 { "" } else { "s" }));
        }
    }
    if wish.status_line != StatusLine::None {
        text = add_status_line(text, wish, &mut done)?;
    }
    Ok(Edited { text: Some(text), done })
}

/// Takes out of the file what [`install`] puts in, whichever program of ours it names.
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
    Added(String),
    Renewed(String),
}

fn add_hook(text: &str, event: &'static str, program: &str) -> Result<Step, Wrong> {
    let root = root(text)?;
    let Some(hooks) = root.member("hooks") else {
        let hooks = Json::Object(vec![(event, Json::Array(vec![group(program)]))]);
        return Ok(Step::Added(put(text, &root, Some("hooks"), &hooks)));
    };
    is_object(text, &hooks.value, "hooks")?;
    let Some(groups) = hooks.value.member(event) else {
        return Ok(Step::Added(put(text, &hooks.value, Some(event), &Json::Array(vec![group(program)]))));
    };
    for group in items(text, &groups.value, event)? {
        for handler in handlers(group) {
            let Some((place, words)) = ours(handler, program) else { continue };
            if words == command(program) {
                return Ok(Step::Done);
            }
            let new = serde_json::Value::from(command(program)).to_string();
            return Ok(Step::Renewed(splice(text, place, &new)));
        }
    }
    Ok(Step::Added(put(text, &groups.value, None, &group(program))))
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
            let Some(first) = all.iter().position(|handler| ours(handler, program).is_some()) else {
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
        return Ok(put(&text, &root, Some("statusLine"), &own_status_line(wish.program)));
    };
    let Some((command, place)) = command_of(&line.value) else {
        done.push("nothing for the status line: it is no command".to_owned());
        return Ok(text);
    };
    let (new, what) = match wrapped(command, wish.program) {
        Some(inner) => {
            let inner = match &inner {
                Wrapped::Text(inner) => Some(inner.as_str()),
                Wrapped::Nothing => None,
            };
            let new = status_line(wish.program, inner);
            if new == command {
                return Ok(text);
            }
            (new, "this program's path in the status line")
        }
        None => (status_line(wish.program, Some(command)), "the status line, which goes on to be shown"),
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
    let Some(inner) = wrapped(command, program) else { return Ok(None) };
    done.push("the status line".to_owned());
    Ok(Some(match inner {
        Wrapped::Text(inner) => Left::Text(splice(text, place, &serde_json::Value::from(inner).to_string())),
        Wrapped::Nothing => take(text, &root, at),
    }))
}

fn group(program: &str) -> Json {
    let handler = Json::Object(vec![
        ("type", Json::text("command")),
        ("command", Json::text(&command(program))),
        ("timeout", Json::Raw(TIMEOUT.to_string())),
    ]);
    Json::Object(vec![("hooks", Json::Array(vec![handler]))])
}

fn own_status_line(program: &str) -> Json {
    Json::Object(vec![("type", Json::text("command")), ("command", Json::text(&status_line(program, None)))])
}

/// The command of a status line that reports, and shows what `inner` prints, a person's own command for a shell.
fn status_line(program: &str, inner: Option<&str>) -> String {
    let reports = command(program);
    inner.map_or(reports.clone(), |inner| format!("{reports} --pass | sh -c {}", shell_words::quote(inner)))
}

/// What a status line of ours wraps.
enum Wrapped {
    /// A person's own.
    Text(String),
    /// None.
    Nothing,
}

/// What a status line wraps; `None` where it is none of ours.
fn wrapped(command: &str, program: &str) -> Option<Wrapped> {
    let words = shell_words::split(command).ok()?;
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [first, "hook"] if is_atm(first, program) => Some(Wrapped::Nothing),
        [first, "hook", "--pass", "|", "sh", "-c", inner] if is_atm(first, program) => {
            Some(Wrapped::Text((*inner).to_owned()))
        }
        _ => None,
    }
}

/// The place of a hook's command and the command, where it is one of ours.
fn ours<'a>(handler: &'a Node, program: &str) -> Option<(std::ops::Range<usize>, &'a str)> {
    let (command, place) = command_of(handler)?;
    let words = shell_words::split(command).ok()?;
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [first, "hook"] if is_atm(first, program) => Some((place, command)),
        _ => None,
    }
}

fn is_atm(word: &str, program: &str) -> bool {
    word == program || word.rsplit('/').next() == Some("atm")
}

/// The command of `{"type": "command", "command": "…"}` and its place.
fn command_of(node: &Node) -> Option<(&str, std::ops::Range<usize>)> {
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
