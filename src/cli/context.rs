//! What every verb has at hand: where things are, and where to write.

use std::{path::Path, time::Duration};

use super::{
    client::{self, Client, ClientError},
    dirs::{Candidate, Environment, Places},
    error::{CliError, CliResult, Kind},
    output::Output,
};
use crate::api::{
    control::{ErrorKind, ListResult, NamesParams},
    name::SessionName,
    status::SessionView,
};

/// For a daemon that is asked only to make an error more helpful.
const ASIDE: Duration = Duration::from_millis(300);

/// What every verb has at hand.
#[derive(Debug)]
pub struct Context {
    /// The flags that say where things are.
    pub places: Places,
    /// What of the surroundings says so.
    pub environment: Environment,
    /// Where to write.
    pub out: Output,
}

impl Context {
    /// Connects to the daemon that is meant.
    pub fn connect(&mut self) -> CliResult<Client> {
        if self.places.is_overruled(&self.environment) {
            let mode = self.places.asked_mode().map_or("", super::dirs::Mode::flag);
            self.out.warn(&format!("ATM_SOCKET is set and is followed, not {mode}"))?;
        }
        client::connect(&self.places, &self.environment)
    }

    /// The daemons that may be meant, none of them asked.
    pub fn candidates(&self) -> CliResult<Vec<Candidate>> {
        self.places.for_client(&self.environment)
    }

    /// Where things are while no daemon answers: of the mode that holds where none is asked for. Of a daemon that is
    /// known by its socket alone only it could tell, and what is meant for it must not go to another: so there the
    /// flag has to say it.
    pub fn while_down(&self, said: Option<&Path>, flag: &str) -> CliResult<Candidate> {
        let candidate = self.default_candidate()?;
        if candidate.mode.is_none() && said.is_none() {
            let socket = candidate.socket.display();
            return Err(CliError::new(Kind::Unreachable, format!("no daemon answers at `{socket}`"))
                .hint(format!("start it, or say where its files are: `--{flag} PATH`")));
        }
        Ok(candidate)
    }

    fn default_candidate(&self) -> CliResult<Candidate> {
        let mode = self.places.mode(&self.environment);
        let mut candidates = self.candidates()?;
        let at = candidates.iter().position(|candidate| candidate.mode == Some(mode)).unwrap_or(0);
        if candidates.is_empty() {
            return Err(CliError::failed("no place for sessions is known"));
        }
        Ok(candidates.swap_remove(at))
    }

    /// The error for a name that the daemon does not know: names that are near it, and the other daemon
    /// where that one has it.
    pub fn no_such_session(&self, client: &mut Client, name: &SessionName) -> CliError {
        let known: Vec<SessionName> = list(client)
            .map(|sessions| sessions.into_iter().map(|session| session.name).collect())
            .unwrap_or_default();
        let error = CliError::no_such_session(name, &known);
        match self.elsewhere(client, name) {
            Some(flag) => error.hint(format!("the other daemon has it: say `atm {flag} …`")),
            None => error,
        }
    }

    /// How to reach another daemon that has a session of this name.
    fn elsewhere(&self, client: &Client, name: &SessionName) -> Option<String> {
        let anywhere =
            Places { socket: None, runtime_dir: None, user: false, system: false, ..self.places.clone() };
        let plain = Environment {
            variables: self
                .environment
                .variables
                .iter()
                .filter(|(key, _)| **key != "ATM_SOCKET")
                .map(|(key, value)| (*key, value.clone()))
                .collect(),
            ..self.environment.clone()
        };
        let others = anywhere.for_client(&plain).ok()?;
        others.into_iter().filter(|other| other.socket != client.socket()).find_map(|other| {
            super::dirs::check_fallback(&other.directories.runtime, &plain).ok()?;
            // With ATM_SOCKET in force a mode would not be followed.
            let flag = if self.environment.variables.contains_key("ATM_SOCKET") {
                format!("--socket {}", other.socket.display())
            } else {
                other.mode?.flag().to_owned()
            };
            let mut there = Client::open(other, ASIDE).ok()?;
            let found = get(&mut there, std::slice::from_ref(name)).ok()?;
            found.iter().any(|session| session.name == *name).then_some(flag)
        })
    }
}

/// All sessions that the caller may see, by name.
pub fn list(client: &mut Client) -> Result<Vec<SessionView>, ClientError> {
    let mut sessions = client.call::<ListResult>("list", &serde_json::json!({}))?.sessions;
    sessions.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(sessions)
}

/// Those of `names` that exist, by name; all where no name is given.
pub fn get(client: &mut Client, names: &[SessionName]) -> Result<Vec<SessionView>, ClientError> {
    if names.is_empty() {
        return list(client);
    }
    let asked = client.call::<ListResult>("get", &NamesParams { names: names.to_vec() });
    let mut sessions = match asked {
        Ok(found) => found.sessions,
        // One missing name must not hide the others.
        Err(error) if error.kind() == Some(ErrorKind::NoSuchSession) => list(client)?,
        Err(error) => return Err(error),
    };
    sessions.retain(|session| names.contains(&session.name));
    sessions.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(sessions)
}

/// One session, if it exists.
pub fn get_one(client: &mut Client, name: &SessionName) -> Result<Option<SessionView>, ClientError> {
    Ok(get(client, std::slice::from_ref(name))?.pop())
}
