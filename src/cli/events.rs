//! `atm events`: what happened, and what happens.

use super::{
    client::ClientError,
    complete,
    context::{Context, get_one},
    error::{CliError, CliResult},
    output::{Cell, Style, Table},
    select::distinct,
    text,
    watch::back,
};
use crate::api::{
    control::{EventsParams, EventsResult, Missed, Notice},
    event::{Event, EventKind},
    name::SessionName,
};

const AFTER: &str = "\
Examples:
  atm events fix-login
  atm events -w -o json | jq 'select(.kind == \"Exited\")'";

/// Arguments of `atm events`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Only of these sessions [default: all, and the daemon's own]
    #[arg(value_name = "NAME", add = complete::sessions())]
    names: Vec<SessionName>,
    /// Go on with what happens
    #[arg(short, long)]
    watch: bool,
    /// Form of the output; JSON comes one event a line
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// Columns for people
    Table,
    /// One event a line
    Json,
}

/// Ends well when the daemon answers; with `-w` it ends by a signal, or with the daemon.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    let mut client = context.connect()?;
    let names = distinct(&args.names);
    let params = EventsParams { names: names.clone(), watch: args.watch };
    let EventsResult { events } = client.call("events", &params)?;
    // With -w it may come yet.
    for name in names.iter().filter(|_| !args.watch) {
        // What it did before it was forgotten is still told.
        let known = events.iter().any(|event| event.session.as_ref() == Some(name));
        if !known && get_one(&mut client, name)?.is_none() {
            return Err(context.no_such_session(&mut client, name));
        }
    }
    let mut table = Table::new(&["TIME", "SESSION", "KIND", "MESSAGE"]);
    // Widths for the rows to come, where there is no row yet to take them from.
    for event in &events {
        table.row(row(event));
    }
    match args.output {
        Form::Json => {
            for event in &events {
                context.out.json_line(event)?;
            }
        }
        Form::Table if events.is_empty() && !args.watch => context.out.note("nothing has happened yet")?,
        Form::Table => context.out.bytes(table.render(context.out.colour()).as_bytes())?,
    }
    if !args.watch {
        return Ok(());
    }
    client.mind_output();
    let mut last = events.last().map_or(0, |event| event.id);
    loop {
        context.out.flush()?;
        let notification = match client.notification(None) {
            Ok(Some(notification)) => notification,
            Ok(None) => continue,
            Err(ClientError::Closed) => {
                client = back(&client, context)?;
                let EventsResult { events } = match client.call("events", &params) {
                    Ok(events) => events,
                    Err(ClientError::Closed) => continue, // gone again
                    Err(error) => return Err(error.into()),
                };
                // Numbers go on over restarts, unless the state was lost.
                if events.last().is_some_and(|event| event.id < last) {
                    last = 0;
                }
                for event in events.iter().filter(|event| event.id > last) {
                    show(args.output, event, &mut table, context)?;
                }
                last = events.last().map_or(last, |event| event.id);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let odd = |error| CliError::failed(format!("the daemon's event was not understood: {error}"));
        match Notice::of(&notification.method) {
            Some(Notice::Event) => {
                let event: Event = serde_json::from_value(notification.params).map_err(odd)?;
                last = event.id;
                show(args.output, &event, &mut table, context)?;
            }
            Some(Notice::Missed) => {
                let Missed { count } = serde_json::from_value(notification.params).map_err(odd)?;
                context.out.warn(&format!("{count} events were not read in time and are not shown"))?;
            }
            Some(Notice::Changed | Notice::Removed | Notice::Snapshot) | None => {}
        }
    }
}

fn show(form: Form, event: &Event, table: &mut Table, context: &mut Context) -> CliResult {
    match form {
        Form::Json => context.out.json_line(event),
        Form::Table => {
            let line = table.render_later(&row(event), context.out.colour());
            context.out.bytes(line.as_bytes())
        }
    }
}

fn row(event: &Event) -> Vec<Cell> {
    let style = match event.kind {
        EventKind::StartFailed
        | EventKind::KeeperLost
        | EventKind::Unkillable
        | EventKind::InvalidSpec
        | EventKind::SpecConflict
        | EventKind::SpecsUnavailable
        | EventKind::InvalidConfig
        | EventKind::RecordDamaged => Style::Bad,
        EventKind::Evicted
        | EventKind::Pending
        | EventKind::ZombieCleaned
        | EventKind::OutputLost
        | EventKind::Escaped
        | EventKind::DaemonMemory
        | EventKind::ConversationRefused => Style::Warn,
        EventKind::Started | EventKind::Adopted => Style::Good,
        EventKind::Exited
        | EventKind::Stopping
        | EventKind::Stopped
        | EventKind::ShuttingDown
        | EventKind::SpecChanged
        | EventKind::SpecRemoved
        | EventKind::SpecsAvailable
        | EventKind::ConfigChanged
        | EventKind::Requested
        | EventKind::Registered
        | EventKind::Unregistered
        | EventKind::TurnCancelled => Style::Plain,
    };
    let kind = match &event.reason {
        Some(reason) => format!("{} ({reason})", event.kind),
        None => event.kind.to_string(),
    };
    vec![
        text::local(event.at).into(),
        event.session.as_ref().map(SessionName::as_str).unwrap_or_default().into(),
        Cell::new(&kind, style),
        event.message.as_str().into(),
    ]
}
