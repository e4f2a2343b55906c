//! Completion of session names: from the daemon, or from the files while it is down.

use std::{ffi::OsStr, time::Duration};

use clap_complete::{ArgValueCompleter, CompletionCandidate};

use super::{
    client,
    context::list,
    dirs::{Environment, Places},
    documents,
};

/// A person waits with a finger on the key.
const PATIENCE: Duration = Duration::from_millis(300);

/// Completes names of sessions.
pub fn sessions() -> ArgValueCompleter {
    ArgValueCompleter::new(candidates)
}

fn candidates(typed: &OsStr) -> Vec<CompletionCandidate> {
    // The flags on the line are not told to a completer: the daemon is found as without them.
    let (places, environment) = (Places::default(), Environment::of_process());
    let typed = typed.to_str().unwrap_or_default();
    names(&places, &environment)
        .into_iter()
        .filter(|name| name.starts_with(typed))
        .map(CompletionCandidate::new)
        .collect()
}

fn names(places: &Places, environment: &Environment) -> Vec<String> {
    let known = client::connect_within(places, environment, PATIENCE)
        .ok()
        .and_then(|mut client| list(&mut client).ok())
        .map(|sessions| sessions.into_iter().map(|session| session.name.to_string()).collect());
    known.unwrap_or_else(|| {
        let candidates = places.for_client(environment).unwrap_or_default();
        let mut names: Vec<String> = candidates
            .iter()
            .filter_map(|candidate| std::fs::read_dir(&candidate.directories.sessions).ok())
            .flat_map(|entries| entries.filter_map(Result::ok))
            .filter_map(|entry| documents::session_of(&entry.path())?.ok())
            .map(|name| name.to_string())
            .collect();
        names.sort();
        names.dedup();
        names
    })
}
