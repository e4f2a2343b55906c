//! `atm metrics`: the daemon in numbers, for Prometheus.

use serde_json::json;

use super::{context::Context, error::CliResult};
use crate::api::control::MetricsResult;

const AFTER: &str = "\
With `http: 127.0.0.1:9650` in the config the same is served at /metrics, and the health at /healthz.

Examples:
  atm metrics | grep atm_sessions
  atm metrics > /var/lib/prometheus/node-exporter/atm.prom";

/// Arguments of `atm metrics`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {}

/// Ends well when the daemon answers.
pub fn run(_: &Args, context: &mut Context) -> CliResult {
    let MetricsResult { text } = context.connect()?.call("metrics", &json!({}))?;
    context.out.bytes(text.as_bytes())
}
