//! What is kept of a run that was stopped: how it ended, and what it showed and printed last.
//!
//! Its keeper writes it as `kept.json` into the session's directory, before the exit record. The daemon moves it to the
//! state directory when it counts the end, and removes it there after `logs.maxAge`.

use serde::{Deserialize, Serialize};

use super::{
    attach::ScreenView,
    name::{RunId, SessionName},
    record::ExitRecord,
    spec::SessionSpec,
};

/// Name of the file in a session's directory.
pub const KEPT_FILE: &str = "kept.json";

/// Lines above the screen that are kept with it.
pub const KEPT_HISTORY: u32 = 100;

/// Bytes of output that are kept, from the run's end backwards.
pub const KEPT_OUTPUT: u64 = 64 << 10;

/// Longest file that is believed: a screen has at most 512 KiB, and JSON may write one byte as six.
pub const LONGEST_KEPT: u64 = 8 << 20;

/// Runs of one session that are kept.
pub const KEPT_RUNS: usize = 3;

/// A run that was stopped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct KeptRun {
    /// [`RECORD_VERSION`](super::record::RECORD_VERSION) of the writer.
    pub version: u32,
    /// Which session.
    pub name: SessionName,
    /// Which run of it.
    pub run_id: RunId,
    /// Whom it ran as.
    pub uid: u32,
    /// Generation of its spec.
    pub generation: u64,
    /// What it ran.
    pub spec: SessionSpec,
    /// How it ended, and why it was stopped.
    pub exit: ExitRecord,
    /// What its terminal showed when it was asked to stop; absent without a terminal, or where nothing was printed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub screen: Option<ScreenView>,
    /// The end of its output. What is no UTF-8 is replaced.
    pub output: String,
    /// There was more before it.
    #[serde(default)]
    pub output_is_cut: bool,
}
