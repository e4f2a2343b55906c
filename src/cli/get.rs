//! `atm get`: the list of sessions, once or followed.

use std::collections::BTreeMap;

use serde_json::json;

use super::{
    client::Client,
    complete,
    context::{Context, get},
    error::{CliError, CliResult},
    outcome,
    output::{Cell, Form, Style, Table},
    select::{Selector, distinct},
    text,
    watch::{Change, Watch, WhenFull},
};
use crate::{
    api::{
        name::SessionName,
        spec::Agent,
        status::{Activity, Origin, Phase, Reason, SessionStatus, SessionView},
        time::Timestamp,
    },
    host::clock,
};

const AFTER: &str = "\
Examples:
  atm get
  atm get fix-login -o json | jq .status.phase
  atm get -l team=web -o wide
  atm get -w";

/// Arguments of `atm get`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Names of sessions [default: all]
    #[arg(value_name = "NAME", add = complete::sessions())]
    names: Vec<SessionName>,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    output: Form,
    /// Only sessions with these labels: label=value, label!=value, label, !label; several with commas
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<Selector>,
    /// Go on with every change; JSON comes one object a line
    #[arg(short, long)]
    watch: bool,
}

/// Ends well when every name given exists.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    let mut client = context.connect()?;
    let names = distinct(&args.names);
    let (mut sessions, watch) = if args.watch {
        let (sessions, watch) = Watch::open(&client, &names, WhenFull::Fail)?;
        (sessions, Some(watch))
    } else {
        (get(&mut client, &names)?, None)
    };
    let missing: Vec<&SessionName> =
        names.iter().filter(|name| !sessions.iter().any(|session| session.name == **name)).collect();
    if let Some(selector) = &args.selector {
        sessions.retain(|session| selector.admits(session));
    }

    let one = names.len() == 1 && args.selector.is_none();
    let table = show(context, args.output, &sessions, one, watch.is_some())?;
    if sessions.is_empty() && missing.is_empty() && watch.is_none() {
        context.out.note(&empty(args.selector.as_ref(), &client))?;
    }
    let errors: Vec<CliError> =
        missing.into_iter().map(|name| context.no_such_session(&mut client, name)).collect();
    match watch {
        None => CliError::gather(errors),
        Some(watch) => {
            // A name that is watched may come later.
            for error in &errors {
                context.out.error(error);
            }
            follow(context, args, watch, sessions, table)
        }
    }
}

/// In the place of sessions where there are none.
pub fn empty(selector: Option<&Selector>, client: &Client) -> String {
    if selector.is_some() {
        return "no session has these labels".to_owned();
    }
    format!("no sessions; drop a YAML file into `{}`", client.directories().sessions.display())
}

fn show(
    context: &mut Context,
    form: Form,
    sessions: &[SessionView],
    one: bool,
    lines: bool,
) -> CliResult<Table> {
    let now = clock::wall();
    let mut table = Table::new(header(form));
    for session in sessions {
        table.row(row(form, session, now));
    }
    match form {
        Form::Table | Form::Wide if sessions.is_empty() && !lines => {}
        Form::Table | Form::Wide => {
            let text = table.render(context.out.colour());
            context.out.bytes(text.as_bytes())?;
        }
        Form::Name => {
            for session in sessions {
                context.out.line(session.name.as_str())?;
            }
        }
        Form::Json if lines => {
            for session in sessions {
                context.out.json_line(session)?;
            }
        }
        Form::Json => match (one, sessions.first()) {
            (true, Some(session)) => context.out.json(session)?,
            (true, None) => {}
            (false, _) => context.out.json(&sessions)?,
        },
        Form::Yaml if lines => {
            for session in sessions {
                document(context, session)?;
            }
        }
        Form::Yaml => match (one, sessions.first()) {
            (true, Some(session)) => context.out.yaml(session)?,
            (true, None) => {}
            (false, _) => context.out.yaml(&sessions)?,
        },
    }
    Ok(table)
}

fn document(context: &mut Context, value: &impl serde::Serialize) -> CliResult {
    context.out.line("---")?;
    context.out.yaml(value)
}

fn follow(
    context: &mut Context,
    args: &Args,
    mut watch: Watch,
    sessions: Vec<SessionView>,
    mut table: Table,
) -> CliResult {
    let form = args.output;
    watch.mind_output();
    let mut known: BTreeMap<SessionName, SessionView> =
        sessions.into_iter().map(|session| (session.name.clone(), session)).collect();
    loop {
        context.out.flush()?;
        let (session, gone) = match watch.next_of_any_daemon(context)? {
            Change::Now(session) => {
                // Labels can change: a session that has them no longer is gone from this view.
                if args.selector.as_ref().is_some_and(|selector| !selector.admits(&session)) {
                    let Some(before) = known.remove(&session.name) else {
                        continue;
                    };
                    (before, true)
                } else {
                    known.insert(session.name.clone(), (*session).clone());
                    (*session, false)
                }
            }
            Change::Gone(name) => {
                let Some(before) = known.remove(&name) else {
                    continue;
                };
                (before, true)
            }
        };
        match form {
            Form::Table | Form::Wide => {
                let cells =
                    if gone { removed_row(form, &session) } else { row(form, &session, clock::wall()) };
                let line = table.render_later(&cells, context.out.colour());
                context.out.bytes(line.as_bytes())?;
            }
            Form::Name => context.out.line(session.name.as_str())?,
            Form::Json if gone => context.out.json_line(&json!({"name": session.name, "removed": true}))?,
            Form::Json => context.out.json_line(&session)?,
            Form::Yaml if gone => document(context, &json!({"name": session.name, "removed": true}))?,
            Form::Yaml => document(context, &session)?,
        }
    }
}

fn header(form: Form) -> &'static [&'static str] {
    const ALL: [&str; 19] = [
        "NAME",
        "PHASE",
        "REASON",
        "AGE",
        "RESTARTS",
        "PID",
        "ACTIVITY",
        "ORIGIN",
        "MEMORY",
        "TURN",
        "CONDITION",
        "MODEL",
        "CONTEXT",
        "COST",
        "EXIT",
        "NEXT START",
        "DIR",
        "BRANCH",
        "COMMAND",
    ];
    const FEW: [&str; 7] = ["NAME", "PHASE", "REASON", "AGE", "RESTARTS", "PID", "ACTIVITY"];
    if form == Form::Wide { &ALL } else { &FEW }
}

/// The word for what a session is doing.
pub fn activity(activity: Activity) -> &'static str {
    match activity {
        Activity::Busy => "Busy",
        Activity::Waiting => "Waiting",
        Activity::Idle => "Idle",
        Activity::Unknown => "Unknown",
    }
}

/// The word for where a session comes from.
pub fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Declared => "Declared",
        Origin::Registered => "Registered",
    }
}

/// The word for an agent.
pub fn agent(agent: Agent) -> &'static str {
    match agent {
        Agent::Claude => "claude",
        Agent::Codex => "codex",
        Agent::Generic => "generic",
    }
}

/// What keeps a session's agent from working, in a word.
fn conditions(status: &SessionStatus) -> String {
    let kinds: Vec<String> = status.conditions.iter().map(|condition| condition.kind.to_string()).collect();
    kinds.join(",")
}

/// A share for people: `12%`.
pub fn percent(percent: f64) -> String {
    format!("{percent:.0}%")
}

/// How a phase stands out.
pub fn phase_style(phase: Phase) -> Style {
    match phase {
        Phase::Running | Phase::Succeeded => Style::Good,
        Phase::Pending | Phase::Stopping => Style::Warn,
        Phase::Failed => Style::Bad,
        Phase::Evicted | Phase::Suspended => Style::Faint,
    }
}

fn row(form: Form, session: &SessionView, now: Timestamp) -> Vec<Cell> {
    let status = &session.status;
    // A file that is wrong while its last good spec runs must be seen here too.
    let broken = status.spec_error.is_some() && status.reason != Reason::InvalidSpec;
    let reason = if broken { format!("{},InvalidSpec", status.reason) } else { status.reason.to_string() };
    let since = match status.phase {
        Phase::Running => status.started_at.or(status.since),
        _ => status.since,
    };
    let mut cells = vec![
        session.name.as_str().into(),
        Cell::new(&status.phase.to_string(), phase_style(status.phase)),
        Cell::new(&reason, if broken { Style::Bad } else { Style::Plain }),
        since.map(|since| text::age(now, since)).unwrap_or_default().into(),
        status.restarts.to_string().into(),
        status.pid.map(|pid| pid.to_string()).unwrap_or_default().into(),
        status.activity.map(activity).unwrap_or_default().into(),
    ];
    if form == Form::Wide {
        let (spec, usage) = (session.spec.as_ref(), status.usage.as_ref());
        let registered = status.registered.as_ref();
        let directory = spec.map(|spec| spec.working_dir.as_str());
        let directory = directory.or_else(|| registered?.working_dir.as_deref());
        // What a person started is not ours to say in full.
        let command = spec.map(|spec| text::command(&spec.command));
        let command = command.or_else(|| registered.map(|told| agent(told.agent).to_owned()));
        cells.extend([
            origin(session.origin).into(),
            status.memory_bytes.map(text::size).unwrap_or_default().into(),
            status.turn.as_ref().map(|turn| turn.number.to_string()).unwrap_or_default().into(),
            Cell::new(&conditions(status), Style::Bad),
            usage.and_then(|usage| usage.model.clone()).unwrap_or_default().into(),
            usage.and_then(|usage| usage.context_percent).map(percent).unwrap_or_default().into(),
            usage.and_then(|usage| usage.cost_usd).map(text::dollars).unwrap_or_default().into(),
            status.exit.and_then(outcome::exit).unwrap_or_default().into(),
            status.next_start_at.map(|at| text::relative(now, at)).unwrap_or_default().into(),
            directory.unwrap_or_default().into(),
            status.git.as_ref().and_then(|git| git.branch.as_deref()).unwrap_or_default().into(),
            command.unwrap_or_default().into(),
        ]);
    }
    cells
}

fn removed_row(form: Form, session: &SessionView) -> Vec<Cell> {
    let mut cells: Vec<Cell> = vec![session.name.as_str().into(), Cell::new("removed", Style::Faint)];
    cells.resize(header(form).len(), "".into());
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions() -> Vec<SessionView> {
        let running = json!({
            "name": "fix-login", "origin": "Declared", "generation": 2,
            "status": {"phase": "Running", "reason": "Started", "restarts": 1, "pid": 4242, "activity": "Busy",
                "startedAt": "2026-01-01T00:00:00Z", "since": "2026-01-01T00:00:00Z", "memoryBytes": 1_610_612_736,
                "turn": {"number": 7, "inFlight": true},
                "conditions": [{"kind": "RateLimited", "reason": "rate_limit"}],
                "usage": {"model": "Opus 5", "costUsd": 8.343, "contextPercent": 12.4},
                "git": {"root": "/src/web", "repo": "web", "branch": "main"},
                "specError": [{"file": "x", "message": "broken"}]},
        });
        let registered = json!({
            "name": "claude-web-3f9a", "origin": "Registered", "generation": 0,
            "status": {"phase": "Running", "reason": "Stale", "restarts": 0, "pid": 77, "activity": "Waiting",
                "startedAt": "2026-01-01T01:59:00Z", "since": "2026-01-01T01:59:00Z",
                "registered": {"agent": "claude", "workingDir": "/src/web"}},
        });
        let waiting = json!({
            "name": "b", "origin": "Declared", "generation": 1,
            "status": {"phase": "Pending", "reason": "BackOff", "restarts": 3, "since": "2026-01-01T01:00:00Z",
                "exit": {"signal": 9}, "nextStartAt": "2026-01-01T02:00:30Z"},
        });
        [running, waiting, registered].into_iter().map(|json| serde_json::from_value(json).unwrap()).collect()
    }

    fn rendered(form: Form) -> String {
        let mut table = Table::new(header(form));
        for session in sessions() {
            table.row(row(form, &session, "2026-01-01T02:00:00Z".parse().unwrap()));
        }
        let mut text = table.render(false);
        text.push_str(&table.render_later(&removed_row(form, &sessions()[1]), false));
        text
    }

    #[test]
    fn the_table_says_what_is() {
        insta::assert_snapshot!(rendered(Form::Table), @r"
        NAME              PHASE     REASON                AGE   RESTARTS   PID    ACTIVITY
        fix-login         Running   Started,InvalidSpec   2h    1          4242   Busy
        b                 Pending   BackOff               1h    3          -      -
        claude-web-3f9a   Running   Stale                 1m    0          77     Waiting
        b                 removed   -                     -     -          -      -
        ");
    }

    #[test]
    fn the_wide_table_says_more() {
        insta::assert_snapshot!(rendered(Form::Wide), @r"
        NAME              PHASE     REASON                AGE   RESTARTS   PID    ACTIVITY   ORIGIN       MEMORY    TURN   CONDITION     MODEL    CONTEXT   COST    EXIT          NEXT START   DIR        BRANCH   COMMAND
        fix-login         Running   Started,InvalidSpec   2h    1          4242   Busy       Declared     1.5 GiB   7      RateLimited   Opus 5   12%       $8.34   -             -            -          main     -
        b                 Pending   BackOff               1h    3          -      -          Declared     -         -      -             -        -         -       signal KILL   in 30s       -          -        -
        claude-web-3f9a   Running   Stale                 1m    0          77     Waiting    Registered   -         -      -             -        -         -       -             -            /src/web   -        claude
        b                 removed   -                     -     -          -      -          -            -         -      -             -        -         -       -             -            -          -        -
        ");
    }
}
