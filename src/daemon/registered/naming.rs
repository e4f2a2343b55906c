//! What a session is called that registered without a name.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::registry::Conversation;
use crate::api::{
    name::{MAX_NAME, SessionName},
    record::ProcessId,
    spec::Agent,
};

/// Longest part of a name that is the directory's.
const MAX_DIRECTORY: usize = 24;

/// Shortest mark that tells conversations in one directory apart.
const SHORTEST_MARK: usize = 4;

/// What tells one such session from all others.
#[derive(Debug, Clone, Copy)]
pub enum Mark<'a> {
    /// Its conversation: a later process of it has the same name.
    Conversation(&'a Conversation),
    /// Its process, where it told of none.
    Process(ProcessId),
}

/// `claude-web-3f9a`: the agent, the directory's name, and a mark that is as long as it has to be. The first that is
/// not `taken`.
pub fn choose(
    agent: Agent,
    directory: Option<&str>,
    mark: Mark<'_>,
    taken: impl Fn(&SessionName) -> bool,
) -> Option<SessionName> {
    let mut stem = match agent {
        Agent::Claude => "claude",
        Agent::Codex => "codex",
        Agent::Generic => "agent",
    }
    .to_owned();
    let directory = directory.map(word).unwrap_or_default();
    if !directory.is_empty() {
        stem.push('-');
        stem.push_str(&directory);
    }
    let digest = digest(mark);
    let longest = digest.len().min(MAX_NAME.saturating_sub(stem.len() + 1));
    (SHORTEST_MARK..=longest)
        .filter_map(|length| digest.get(..length))
        .filter_map(|mark| SessionName::new(&format!("{stem}-{mark}")).ok())
        .find(|name| !taken(name))
}

fn digest(mark: Mark<'_>) -> String {
    let text = match mark {
        Mark::Conversation(Conversation { uid, agent, id }) => format!("{uid} {agent:?} {id}"),
        Mark::Process(ProcessId { pid, start_time }) => format!("{pid} {start_time}"),
    };
    let mut hex = String::new();
    for byte in Sha256::digest(text.as_bytes()) {
        let _ = write!(hex, "{byte:02x}"); // to a text it cannot fail
    }
    hex
}

/// The last part of a path, as it can stand in a name.
fn word(directory: &str) -> String {
    let last = directory.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let mut word = String::new();
    for character in last.chars() {
        let character = character.to_ascii_lowercase();
        if character.is_ascii_lowercase() || character.is_ascii_digit() {
            word.push(character);
        } else if !word.is_empty() && !word.ends_with('-') {
            word.push('-');
        }
        if word.len() >= MAX_DIRECTORY {
            break;
        }
    }
    word.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(uid: u32, id: &str) -> Conversation {
        Conversation { uid, agent: Agent::Claude, id: id.to_owned() }
    }

    fn of(directory: &str, conversation: &Conversation) -> String {
        let mark = Mark::Conversation(conversation);
        choose(Agent::Claude, Some(directory), mark, |_| false).unwrap().to_string()
    }

    #[test]
    fn a_name_says_agent_and_directory_and_is_the_same_for_the_same_conversation() {
        let one = of("/home/anna/src/Web App", &talk(1, "x"));
        assert!(one.starts_with("claude-web-app-") && one.len() == "claude-web-app-".len() + 4, "{one}");
        assert_eq!(one, of("/srv/web_app/", &talk(1, "x")));
        assert_ne!(one, of("/srv/web_app/", &talk(1, "y")));
        assert_ne!(one, of("/srv/web_app/", &talk(2, "x")));
        let bare = choose(Agent::Codex, None, Mark::Process(ProcessId { pid: 1, start_time: 2 }), |_| false);
        assert!(bare.unwrap().as_str().starts_with("codex-"));
    }

    #[test]
    fn whatever_the_directory_is_called_the_name_is_one() {
        for odd in ["/", "", "/..", "/\u{1b}[2J", "/日本語", "/-", "/.git", &format!("/{}", "x-".repeat(500))]
        {
            let name = of(odd, &talk(1, "x"));
            assert!(name.starts_with("claude-") && name.len() < 40, "{odd:?}: {name}");
        }
    }

    #[test]
    fn a_name_that_is_taken_is_not_given_again() {
        let mut given: Vec<SessionName> = Vec::new();
        for _ in 0..20 {
            let mark = talk(1, "x");
            let name =
                choose(Agent::Claude, Some("/a"), Mark::Conversation(&mark), |name| given.contains(name));
            given.push(name.unwrap());
        }
        assert_eq!(choose(Agent::Claude, None, Mark::Conversation(&talk(1, "x")), |_| true), None);
    }
}
