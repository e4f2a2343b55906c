//! `atm status`: how the daemon is, where it works, and what a person should know.

use std::fmt::Write as _;

use serde_json::json;

use super::{
    context::Context,
    documents,
    error::CliResult,
    output::{PlainForm, Style},
    text::{self, escape, escape_lines},
};
use crate::{api::control::HealthResult, api::time::Timestamp, host::clock};

const AFTER: &str = "\
It ends with 0 whenever the daemon answers: a mistake in one file is told here, and makes the daemon no
less healthy. `atm validate` fails on such a mistake.";

/// Arguments of `atm status`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = PlainForm::Table)]
    output: PlainForm,
}

/// Ends well when the daemon answers.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    let mut client = context.connect()?;
    let health: HealthResult = client.call("health", &json!({}))?;
    match args.output {
        PlainForm::Json => context.out.json(&health),
        PlainForm::Yaml => context.out.yaml(&health),
        PlainForm::Table => {
            let page = page(&health, client.socket(), clock::wall(), context.out.colour());
            context.out.bytes(page.as_bytes())
        }
    }
}

fn page(health: &HealthResult, socket: &std::path::Path, now: Timestamp, colour: bool) -> String {
    let mut page = String::new();
    let mut field = |title: &str, value: &str| {
        let title = format!("{title}:");
        _ = writeln!(page, "{title:<12} {}", escape(value));
    };
    let directories = &health.directories;
    let counts = &health.counts;
    field(
        "Daemon",
        &format!(
            "atm {}, pid {}, up since {} ({})",
            health.version,
            health.pid,
            text::local(health.started_at),
            text::relative(now, health.started_at)
        ),
    );
    field("Summary", &health.summary);
    field(
        "Sessions",
        &format!(
            "{} running ({} busy, {} waiting), {} pending, {} stopping, {} succeeded, {} failed, {} evicted, {} suspended; at most {}",
            counts.running,
            counts.busy,
            counts.waiting,
            counts.pending,
            counts.stopping,
            counts.succeeded,
            counts.failed,
            counts.evicted,
            counts.suspended,
            health.max_sessions
        ),
    );
    let usage = &health.usage;
    field(
        "Uses",
        &format!(
            "{} of memory, {}.{} s of processor time, {} descriptors",
            text::size(usage.memory_bytes),
            usage.cpu_millis / 1000,
            usage.cpu_millis % 1000 / 100,
            usage.descriptors
        ),
    );
    let clients = &health.clients;
    let trouble = match (clients.refused, clients.dropped) {
        (0, 0) => String::new(),
        (refused, dropped) => format!("; {refused} refused, {dropped} messages dropped"),
    };
    field(
        "Clients",
        &format!(
            "{} of {} watchers, {} others{trouble}",
            clients.watchers, clients.max_watchers, clients.connections
        ),
    );
    if let Some(address) = health.http {
        field("HTTP", &format!("http://{address}/healthz and /metrics"));
    }
    field("Containment", &health.containment);
    field("Socket", &socket.display().to_string());
    field("Config", &directories.config.display().to_string());
    field("Specs", &directories.sessions.display().to_string());
    field("Runtime", &directories.runtime.display().to_string());
    field("State", &directories.state.display().to_string());
    field("Output", &directories.log.display().to_string());
    field("Instance", &health.instance.to_string());

    let mut section = |title: &str, text: &str| {
        _ = writeln!(page, "\n{}", Style::Bad.paint(title, colour));
        for line in escape_lines(text).lines() {
            _ = writeln!(page, "  {line}");
        }
    };
    if let Some(why) = &health.specs_unavailable {
        let help = "nothing is stopped; to take the directory as it is now: atm cleanup --accept-removals";
        section("The specs cannot be believed", &format!("{why}\n{help}"));
    }
    if let Some(error) = &health.config_error {
        section("Config error, using the last good one", &documents::render(error));
    }
    for error in &health.spec_errors {
        section("Spec error", &documents::render(error));
    }
    for warning in &health.warnings {
        section("Warning", warning);
    }
    page
}
