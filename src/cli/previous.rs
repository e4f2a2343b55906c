//! What is kept of a run that was stopped: for `atm describe --previous`, and for `atm logs --previous` where the log
//! itself no longer has it.

use std::path::Path;

use super::{
    client::Client,
    context::Context,
    describe::Page,
    error::{CliError, CliResult},
    outcome,
    output::PlainForm,
    text::escape_lines,
};
use crate::{
    api::{
        control::{PreviousParams, PreviousResult},
        kept::KeptRun,
        name::{RunId, SessionName},
        status::ExitView,
    },
    host::kept,
};

/// Tells about the last run of `name` that was stopped.
pub fn describe(name: &SessionName, form: PlainForm, context: &mut Context) -> CliResult {
    let mut client = context.connect()?;
    let params = PreviousParams { name: name.clone(), before: None };
    let PreviousResult { run } =
        client.call("previous", &params).map_err(|error| unknown(context, &mut client, name, error))?;
    let Some(run) = run else {
        return Err(CliError::failed(format!("nothing is kept of a run of `{name}` that was stopped")).hint(format!(
            "one that ended by itself left its output: `atm logs {name}`; `atm events {name}` tells of its runs"
        )));
    };
    match form {
        PlainForm::Json => context.out.json(&run),
        PlainForm::Yaml => context.out.yaml(&run),
        PlainForm::Table => {
            let mut page = Page::new(context);
            write(&mut page, &run);
            page.print(context)
        }
    }
}

fn unknown(
    context: &Context,
    client: &mut Client,
    name: &SessionName,
    error: super::client::ClientError,
) -> CliError {
    let error = CliError::from(error);
    if error.kind == super::error::Kind::NoSuchSession {
        context.no_such_session(client, name)
    } else {
        error
    }
}

fn write(page: &mut Page, run: &KeptRun) {
    let exit = &run.exit;
    page.field("Name", run.name.as_str());
    page.field("Run", run.run_id.to_string());
    page.cause("Stopped", exit.cause.as_ref());
    page.time("Started", exit.started_at);
    page.time("Ended", Some(exit.ended_at));
    page.field("Exit", exit.exit.map(ExitView::from).and_then(outcome::exit).unwrap_or_default());
    page.field("User id", run.uid.to_string());
    page.field("Generation", run.generation.to_string());
    if exit.lost_output > 0 {
        page.field("Output lost", format!("{} bytes could not be written", exit.lost_output));
    }
    page.effective(&run.spec);
    page.heading("Screen");
    let lines = run.screen.as_ref().map(|screen| screen.lines.as_slice()).unwrap_or_default();
    // Blank lines below the last one say nothing.
    let used = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
    match lines.get(..used) {
        Some(lines @ [_, ..]) => page.lines(&lines.join("\n")),
        Some([]) | None => page.lines("none"),
    }
    page.heading(if run.output_is_cut { "Output (its end)" } else { "Output" });
    let text = super::plain::plain(run.output.as_bytes());
    page.lines(if text.is_empty() { "none" } else { &text });
}

/// The last run of `name` before `last` that is kept: as the daemon tells, else by its files.
pub fn output(client: Option<&mut Client>, state: &Path, name: &SessionName, last: RunId) -> Option<KeptRun> {
    let params = PreviousParams { name: name.clone(), before: Some(last) };
    if let Some(client) = client {
        return client.call::<PreviousResult>("previous", &params).ok()?.run;
    }
    let runs = kept::read(&state.join("previous").join(name.as_str()));
    runs.into_iter().rev().find(|run| run.run_id < last)
}

/// What is kept of its output, as text that is safe on a terminal.
pub fn shown(run: &KeptRun) -> String {
    escape_lines(&super::plain::plain(run.output.as_bytes())).into_owned()
}
