//! `atm plan`: what the daemon would do now, and why; it does nothing.

use serde_json::json;

use super::{
    context::Context,
    error::CliResult,
    output::{Cell, PlainForm, Style, Table},
    text,
};
use crate::{api::control::PlanResult, host::clock};

/// Arguments of `atm plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = PlainForm::Table)]
    output: PlainForm,
}

/// Ends well when the daemon answers.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    let plan: PlanResult = context.connect()?.call("plan", &json!({}))?;
    match args.output {
        PlainForm::Json => return context.out.json(&plan),
        PlainForm::Yaml => return context.out.yaml(&plan),
        PlainForm::Table if plan.steps.is_empty() => return context.out.note("no sessions"),
        PlainForm::Table => {}
    }
    let now = clock::wall();
    let mut table = Table::new(&["NAME", "ACTION", "NEXT", "WHY"]);
    for step in &plan.steps {
        let style = match step.action.as_str() {
            "Start" => Style::Good,
            "Stop" | "Restart" => Style::Warn,
            _ => Style::Faint,
        };
        table.row(vec![
            step.name.as_str().into(),
            Cell::new(&step.action, style),
            step.next_at.map(|at| text::relative(now, at)).unwrap_or_default().into(),
            step.why.as_str().into(),
        ]);
    }
    context.out.bytes(table.render(context.out.colour()).as_bytes())
}
