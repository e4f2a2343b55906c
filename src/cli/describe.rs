//! `atm describe`: everything about one session, for a person who wonders.

use std::{fmt::Write as _, time::Duration};

use serde::Serialize;

use super::{
    client::{Client, ClientError, after},
    complete,
    context::{Context, get_one},
    documents,
    error::CliResult,
    get::{activity, agent, origin, percent, phase_style},
    logfile::LogFiles,
    outcome,
    output::{PlainForm, Style},
    plain::plain,
    previous,
    text::{self, escape, escape_lines},
    watch::back,
};
use crate::{
    api::{
        cause::Cause,
        control::{EventsParams, EventsResult, ListResult, NamesParams},
        event::Event,
        name::SessionName,
        spec::SessionSpec,
        status::{Origin, Phase, Reason, SessionStatus, SessionView},
        time::Timestamp,
        yaml,
    },
    host::clock,
};

const AFTER: &str = "\
Examples:
  atm describe fix-login
  atm describe fix-login --previous
  atm describe fix-login -o json
  atm describe fix-login -w";

/// Events that are shown.
const EVENTS: usize = 20;
/// Lines of output that are shown from its begin.
const FIRST_LINES: usize = 5;
/// Lines of output that are shown from its end.
const LAST_LINES: usize = 10;
/// Bytes of output that are looked at from either end.
const LOOKED_AT: usize = 64 << 10;

/// A terminal's page is begun anew at its top.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";
/// A change and the event that tells of it come close together.
const TOGETHER: Duration = Duration::from_millis(20);

/// Arguments of `atm describe`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Name of a session
    #[arg(value_name = "NAME", add = complete::sessions())]
    name: SessionName,
    /// The last run that was stopped, by a budget or by a person: what it showed and printed last
    #[arg(short, long)]
    previous: bool,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = PlainForm::Table)]
    output: PlainForm,
    /// Tell it anew with each change, until the session is no more; JSON comes one object a line
    #[arg(short, long)]
    watch: bool,
}

#[derive(Debug, Serialize)]
struct Described<'a> {
    #[serde(flatten)]
    session: &'a SessionView,
    events: &'a [Event],
}

/// Ends well when the session exists, with `-w` also when it is removed.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    if args.previous {
        return previous::describe(&args.name, args.output, context);
    }
    let mut client = context.connect()?;
    let name = &args.name;
    // Followed before it is looked at: a change between the two is not missed.
    if args.watch {
        subscribe(&mut client, name)?;
    }
    let Some(seen) = look(args, &mut client)? else {
        return Err(context.no_such_session(&mut client, name));
    };
    tell(args, &seen, &client, context)?;
    if !args.watch {
        return Ok(());
    }
    client.mind_output();
    let mut is_anew = false;
    loop {
        context.out.flush()?;
        let heard = if is_anew { subscribe(&mut client, name) } else { hear(&mut client) };
        is_anew = false;
        match heard.and_then(|()| look(args, &mut client)) {
            Ok(Some(seen)) => {
                if args.output != PlainForm::Json {
                    let between = if context.out.is_terminal() { CLEAR } else { "---\n" };
                    context.out.bytes(between.as_bytes())?;
                }
                tell(args, &seen, &client, context)?;
            }
            Ok(None) => return context.out.note(&format!("`{name}` is no more")),
            Err(ClientError::Closed) => {
                client = back(&client, context)?;
                is_anew = true;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Both on one connection, which takes one watcher's place.
fn subscribe(client: &mut Client, name: &SessionName) -> Result<(), ClientError> {
    let names = vec![name.clone()];
    let _: ListResult = client.call("watch", &NamesParams { names: names.clone() })?;
    let _: EventsResult = client.call("events", &EventsParams { names, watch: true })?;
    Ok(())
}

/// Waits until something was heard, and takes what comes with it: one page tells all of it.
fn hear(client: &mut Client) -> Result<(), ClientError> {
    while client.notification(None)?.is_none() {}
    let deadline = after(TOGETHER);
    loop {
        let left = deadline.map(|deadline| deadline.since(clock::monotonic())).unwrap_or_default();
        if left.is_zero() || client.notification(Some(left))?.is_none() {
            return Ok(());
        }
    }
}

/// The session and what happened to it, if there is such a session.
fn look(args: &Args, client: &mut Client) -> Result<Option<(SessionView, Vec<Event>)>, ClientError> {
    let name = &args.name;
    let Some(session) = get_one(client, name)? else { return Ok(None) };
    // Where it is followed already, from here on.
    let params = EventsParams { names: vec![name.clone()], watch: args.watch };
    let EventsResult { mut events } = client.call("events", &params)?;
    events.retain(|event| event.session.as_ref() == Some(name));
    Ok(Some((session, events)))
}

fn tell(
    args: &Args,
    (session, events): &(SessionView, Vec<Event>),
    client: &Client,
    context: &mut Context,
) -> CliResult {
    let name = &args.name;
    let whole = Described { session, events };
    match args.output {
        PlainForm::Json if args.watch => return context.out.json_line(&whole),
        PlainForm::Json => return context.out.json(&whole),
        PlainForm::Yaml => return context.out.yaml(&whole),
        PlainForm::Table => {}
    }
    let mut page = Page::new(context);
    page.status(session);
    if let Some(spec) = &session.spec {
        page.effective(spec);
    }
    page.events(events);
    if session.origin == Origin::Declared {
        let directory = &client.directories().log;
        let logs = match &session.status.log_file {
            Some(file) => LogFiles::at(file),
            None => LogFiles::at(directory.join(format!("{name}.log"))),
        };
        page.output(&logs);
    }
    page.print(context)
}

/// Why a session is not running, in one sentence; `None` where it runs.
pub fn why(session: &SessionView, now: Timestamp) -> Option<String> {
    let status = &session.status;
    if matches!(status.phase, Phase::Running) {
        return None;
    }
    let mut sentence = match status.message.as_str() {
        "" => general(status.reason).to_owned(),
        message => message.trim_end_matches('.').to_owned(),
    };
    if let Some(at) = status.next_start_at {
        _ = write!(sentence, "; next try {}", text::relative(now, at));
    }
    Some(format!("{sentence}."))
}

/// What a reason means, where the daemon says no more.
fn general(reason: Reason) -> &'static str {
    match reason {
        Reason::Starting => "Its process is being made",
        Reason::MaxSessions => "As many sessions run as `maxSessions` allows",
        Reason::IdentityTaken => "Another live session has its identity",
        Reason::BackOff => "It failed, and waits before the next try",
        Reason::HostError => "The machine is short of something it needs",
        Reason::InvalidSpec => "Its spec file was never good",
        Reason::SpecUnseen => "Its spec file has not been seen since the daemon was started",
        Reason::MemoryBudget => "Memory in use is too near `maxMemory`",
        Reason::Shutdown => "The daemon is shutting down",
        Reason::NameTaken => "A keeper of an earlier run still has its name",
        Reason::Started | Reason::RestartPending => "It runs",
        Reason::Unknown => "Its keeper does not answer",
        Reason::Stale => "It gave no sign of life for a while",
        Reason::Unkillable => "It does not end although it was killed",
        Reason::Completed => "It is done",
        Reason::Error => "It ended with an error",
        Reason::Signaled => "A signal ended it",
        Reason::CannotStart => "Its command could not be executed",
        Reason::Interrupted => "The machine went down under it",
        Reason::Stopped => "A person stopped it: `atm start` runs it again",
        Reason::IdleTimeout => "It was idle for longer than `maxIdle`",
        Reason::MaxAgeExceeded => "It was older than `maxAge`",
        Reason::SessionMemory => "It took more memory than its `maxMemory`",
        Reason::MemoryPressure => "All sessions together took more than `maxMemory`",
        Reason::SlotTaken => "A newer session took its slot",
        Reason::ProcessLimit => "It had more processes than `maxProcesses`",
        Reason::SpecChanged => "Its spec changed, and it starts anew",
        Reason::ClientRestart => "A person restarts it",
        Reason::SpecRemoved => "Its spec file was removed",
        Reason::ClientStop => "A person stops it",
        Reason::ClientKill => "A person killed it",
        Reason::Suspended => "It is suspended: `atm resume` lifts that, or `suspend: false` in its file",
        Reason::KeeperLost => "Its keeper died",
    }
}

/// A page that is written from the top.
pub struct Page {
    text: String,
    colour: bool,
    now: Timestamp,
}

impl Page {
    /// An empty one.
    pub fn new(context: &Context) -> Self {
        Self { text: String::new(), colour: context.out.colour(), now: clock::wall() }
    }

    /// Prints it.
    pub fn print(&self, context: &mut Context) -> CliResult {
        context.out.bytes(self.text.as_bytes())
    }

    /// One line, where there is a value.
    pub fn field(&mut self, title: &str, value: impl AsRef<str>) {
        let value = value.as_ref();
        if !value.is_empty() {
            let title = format!("{title}:");
            _ = writeln!(self.text, "{title:<14} {}", escape(value));
        }
    }

    /// A time, where it is known.
    pub fn time(&mut self, title: &str, at: Option<Timestamp>) {
        if let Some(at) = at {
            self.field(title, format!("{} ({})", text::local(at), text::relative(self.now, at)));
        }
    }

    /// What follows.
    pub fn heading(&mut self, title: &str) {
        _ = writeln!(self.text, "\n{}", Style::Bold.paint(title, self.colour));
    }

    /// Text from outside, set in.
    pub fn lines(&mut self, text: &str) {
        for line in escape_lines(text).lines() {
            _ = writeln!(self.text, "  {line}");
        }
    }

    /// Why something was stopped, where it was.
    pub fn cause(&mut self, title: &str, cause: Option<&Cause>) {
        if let Some(cause) = cause {
            let by = cause.by.map(|by| format!(", by uid {} pid {}", by.uid, by.pid)).unwrap_or_default();
            let message =
                if cause.message.is_empty() { String::new() } else { format!(": {}", cause.message) };
            self.field(title, format!("{}{by}{message}", cause.reason));
        }
    }

    /// A spec as it is meant.
    pub fn effective(&mut self, spec: &SessionSpec) {
        self.heading("Spec (effective)");
        match yaml::write(spec) {
            Ok(yaml) => self.lines(&yaml),
            Err(error) => self.lines(&format!("cannot be shown: {error}")),
        }
    }

    fn status(&mut self, session: &SessionView) {
        let status = &session.status;
        self.field("Name", session.name.as_str());
        if session.origin == Origin::Registered {
            self.field("Origin", origin(session.origin));
        }
        let phase = phase_style(status.phase).paint(&status.phase.to_string(), self.colour);
        _ = writeln!(self.text, "{:<14} {phase} ({})", "Phase:", status.reason);
        match why(session, self.now) {
            Some(why) => self.field("Not running", why),
            None => self.field("Message", &status.message),
        }
        self.time("Since", status.since);
        self.field("Activity", status.activity.map(activity).unwrap_or_default());
        self.time("Last activity", status.last_activity_at);
        self.agent(status);
        let number = |number: Option<i32>| number.map(|number| number.to_string()).unwrap_or_default();
        self.field("Pid", number(status.pid));
        self.field("Keeper pid", number(status.keeper_pid));
        self.field("User id", status.uid.map(|uid| uid.to_string()).unwrap_or_default());
        self.field("Run", session.run_id.map(|run| run.to_string()).unwrap_or_default());
        self.time("Started", status.started_at);
        self.field("Restarts", status.restarts.to_string());
        self.time("Next start", status.next_start_at);
        self.field("Last exit", status.exit.and_then(outcome::exit).unwrap_or_default());
        self.cause("Last stop", status.cause.as_ref());
        self.field("Memory", status.memory_bytes.map(text::size).unwrap_or_default());
        self.field("CPU", status.cpu_percent.map(|cpu| format!("{cpu:.0} %")).unwrap_or_default());
        self.field("Processes", status.processes.map(|count| count.to_string()).unwrap_or_default());
        if let Some(conversation) = &status.conversation {
            let id = &conversation.id;
            let how = match &conversation.continued {
                _ if conversation.refused => ", which the agent did not continue".to_owned(),
                Some(continued) if continued == id => ", continued by this run".to_owned(),
                Some(continued) => format!(", in a run that continued {continued}"),
                None => String::new(),
            };
            self.field("Conversation", format!("{id}{how}"));
        }
        if let Some(git) = &status.git {
            let branch = git.branch.as_ref().map(|branch| format!(" on {branch}")).unwrap_or_default();
            self.field("Repository", format!("{}{branch} ({})", git.repo, git.root));
        }
        let overrides = status.overrides.as_ref().map(ToString::to_string);
        self.field("Overrides", overrides.unwrap_or_default());
        for upload in &status.uploads {
            self.field("Upload", format!("{} ({})", upload.path().display(), text::size(upload.bytes)));
        }
        if let Some(told) = &status.registered {
            self.field("Agent", agent(told.agent));
            self.field("Conversation", told.conversation_id.as_deref().unwrap_or_default());
            self.field("Directory", told.working_dir.as_deref().unwrap_or_default());
            self.field("Identity", told.identity.as_deref().unwrap_or_default());
        } else {
            self.field("Spec file", status.spec_file.as_deref().unwrap_or_default());
            self.field("Generation", session.generation.to_string());
        }
        self.field("Output", status.log_file.as_deref().unwrap_or_default());
        if let Some(error) = &status.spec_error {
            let in_force = session.spec.is_some();
            self.heading(if in_force { "Spec error (the last good spec is in force)" } else { "Spec error" });
            self.lines(&documents::render(error));
        }
    }

    /// What its agent says of itself.
    fn agent(&mut self, status: &SessionStatus) {
        if let Some(turn) = &status.turn {
            let state = if turn.in_flight { "in flight since" } else { "over since" };
            let since = turn.since.map_or_else(String::new, |at| format!(" ({state} {})", text::local(at)));
            let cancel = turn.cancel.map(|cancel| {
                let by = cancel.by.map(|by| format!(" by uid {} pid {}", by.uid, by.pid)).unwrap_or_default();
                format!(", cancelled: {}{by}", cancel.reason)
            });
            self.field("Turn", format!("{}{since}{}", turn.number, cancel.unwrap_or_default()));
        }
        self.field("Subagents", status.subagents.map(|count| count.to_string()).unwrap_or_default());
        for condition in &status.conditions {
            let until = condition.resets_at.map(|at| format!(", until {}", text::local(at)));
            let told = format!("{} ({}{})", condition.kind, condition.reason, until.unwrap_or_default());
            self.field("Condition", told);
        }
        let Some(usage) = &status.usage else { return };
        self.field("Model", usage.model.as_deref().unwrap_or_default());
        self.field("Context", usage.context_percent.map(percent).unwrap_or_default());
        self.field("Cost", usage.cost_usd.map(text::dollars).unwrap_or_default());
        for limit in &usage.limits {
            let until = limit.resets_at.map(|at| format!(", begins anew {}", text::relative(self.now, at)));
            let used = percent(limit.used_percent);
            self.field("Limit", format!("{} {used}{}", limit.name, until.unwrap_or_default()));
        }
    }

    fn events(&mut self, events: &[Event]) {
        self.heading("Events");
        if events.is_empty() {
            self.lines("none");
        }
        let hidden = events.len().saturating_sub(EVENTS);
        if hidden > 0 {
            self.lines(&format!("({hidden} earlier; `atm events NAME` has all)"));
        }
        for event in events.iter().skip(hidden) {
            let line = format!("{}  {:<14} {}", text::local(event.at), event.kind, event.message);
            _ = writeln!(self.text, "  {}", escape(&line));
        }
    }

    fn output(&mut self, logs: &LogFiles) {
        self.heading("Output");
        let (first, last, whole, missing) = match logs.ends(LOOKED_AT) {
            Ok(ends) => ends,
            Err(error) => return self.lines(&format!("cannot be read: {}", error.message)),
        };
        if missing > 0 {
            self.lines(&format!("({missing} bytes could not be written; `atm logs NAME` tells where)"));
        }
        if whole {
            let text = plain(&last);
            let lines: Vec<&str> = text.lines().collect();
            if lines.len() <= FIRST_LINES + LAST_LINES {
                return self.lines(if lines.is_empty() { "none" } else { &text });
            }
        }
        let (first, last) = (plain(&first), plain(&last));
        for line in first.lines().take(FIRST_LINES) {
            self.lines(line);
        }
        self.lines("…");
        let lines: Vec<&str> = last.lines().collect();
        for line in lines.iter().skip(lines.len().saturating_sub(LAST_LINES)) {
            self.lines(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(json: serde_json::Value) -> SessionView {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn why_it_does_not_run_is_one_sentence() {
        let now = "2026-01-01T02:00:00Z".parse().unwrap();
        let status = |status| {
            session(serde_json::json!({"name": "a", "origin": "Declared", "generation": 1, "status": status}))
        };
        let full = "Maximum 4 sessions supported. Destroy a session to create a new one.";
        for (given, expected) in [
            (serde_json::json!({"phase": "Running", "reason": "Started", "restarts": 0}), None),
            (
                serde_json::json!({"phase": "Pending", "reason": "MaxSessions", "restarts": 0, "message": full}),
                Some(full),
            ),
            (
                serde_json::json!({"phase": "Pending", "reason": "BackOff", "restarts": 2, "nextStartAt": "2026-01-01T02:00:08Z"}),
                Some("It failed, and waits before the next try; next try in 8s."),
            ),
            (
                serde_json::json!({"phase": "Suspended", "reason": "Stopped", "restarts": 0}),
                Some("A person stopped it: `atm start` runs it again."),
            ),
        ] {
            assert_eq!(why(&status(given), now).as_deref(), expected);
        }
    }
}
