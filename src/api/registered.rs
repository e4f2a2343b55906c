//! Sessions that a person started outside atm, and that told of themselves: `register`, `unregister`, and how such a
//! session is shown.

use serde::{Deserialize, Serialize};

use super::{
    name::SessionName,
    rules::MAX_WORD,
    spec::Agent,
    status::{Activity, SessionView},
};

/// Most of them at once of one user: whoever registers processes without end fills no memory.
pub const MAX_OF_A_USER: usize = 100;

/// Most of them at once of all users: one person may have many user ids.
pub const MAX_OF_ALL: usize = 1000;

/// Longest conversation id, in bytes.
const MAX_CONVERSATION: usize = 128;

/// Longest path, as the kernel has it.
const MAX_PATH: usize = 4095;

/// Parameters of `register`: a process that is an agent at work.
///
/// Registering the same process again is a sign of life, and says what has changed. A process that comes with the
/// conversation of a session that is on the list takes that session over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegisterParams {
    /// The agent's process; absent: the caller. It must run as the caller's user; root may register anyone's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pid: Option<i32>,
    /// Field 22 of its `/proc/PID/stat`; where it is given, a later process with this pid is refused.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub start_time: Option<u64>,
    /// Which agent; absent: `generic`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub agent: Option<Agent>,
    /// The agent's own id of the conversation.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub conversation_id: Option<String>,
    /// Where it works; absent: the working directory of the process.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub working_dir: Option<String>,
    /// No declared session of this identity starts while it lives; absent: its name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub identity: Option<String>,
    /// What it is to be called; absent: a name by agent, directory and conversation, the same each time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<SessionName>,
    /// What it is doing; absent: what it said before.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub activity: Option<Activity>,
}

impl RegisterParams {
    /// What is wrong with it, as far as that can be told from the text alone.
    pub fn fault(&self) -> Option<String> {
        let printable = |text: &str| !text.chars().any(char::is_control);
        let conversation = |id: &&String| {
            (1..=MAX_CONVERSATION).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let identity =
            |id: &&String| (1..=MAX_WORD).contains(&id.len()) && printable(id) && id.trim() == id.as_str();
        let directory =
            |path: &&String| path.len() <= MAX_PATH && path.starts_with('/') && !path.contains('\0');
        if self.pid.is_some_and(|pid| pid <= 0) {
            return Some("`pid` must be above 0".to_owned());
        }
        if self.conversation_id.as_ref().is_some_and(|id| !conversation(&id)) {
            return Some(format!(
                "`conversationId` must have 1 to {MAX_CONVERSATION} visible ASCII characters, without blanks"
            ));
        }
        if self.identity.as_ref().is_some_and(|id| !identity(&id)) {
            return Some(format!(
                "`identity` must have 1 to {MAX_WORD} printable bytes, without blanks around"
            ));
        }
        if self.working_dir.as_ref().is_some_and(|path| !directory(&path)) {
            return Some(format!("`workingDir` must be an absolute path of at most {MAX_PATH} bytes"));
        }
        None
    }
}

/// Result of `register`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RegisterResult {
    /// Whether it is on the list by this call, or changed by it. `false`: a sign of life and nothing more; also for a
    /// process of a declared session, which is that session and no other.
    pub changed: bool,
    /// The session as it is now.
    pub session: SessionView,
    /// What its person should know: no place was left, or its identity is somebody else's. It is on the list all the
    /// same.
    pub warnings: Vec<String>,
}

/// Parameters of `unregister`: it is taken off the list, and nothing else is done to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnregisterParams {
    /// Which; absent: the one of the caller's process.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<SessionName>,
}

/// Result of `unregister`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct UnregisterResult {
    /// Which session is no longer on the list.
    pub name: SessionName,
}

/// What a session told of itself when it registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RegisteredView {
    /// Which agent.
    pub agent: Agent,
    /// The agent's own id of the conversation.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub conversation_id: Option<String>,
    /// Where it works.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub working_dir: Option<String>,
    /// The identity that it holds; absent: its name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub identity: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_told() {
        let given = |json: serde_json::Value| serde_json::from_value::<RegisterParams>(json).unwrap().fault();
        for good in [
            serde_json::json!({}),
            serde_json::json!({"pid": 1, "conversationId": "0199-a_b.c:d", "workingDir": "/a b", "identity": "é x"}),
        ] {
            assert_eq!(given(good.clone()), None, "{good}");
        }
        let long = "x".repeat(5000);
        for bad in [
            serde_json::json!({"pid": 0}),
            serde_json::json!({"conversationId": ""}),
            serde_json::json!({"conversationId": "a b"}),
            serde_json::json!({"conversationId": "a\u{1b}"}),
            serde_json::json!({"conversationId": long}),
            serde_json::json!({"identity": " a"}),
            serde_json::json!({"identity": "a\n"}),
            serde_json::json!({"identity": long}),
            serde_json::json!({"workingDir": "a"}),
            serde_json::json!({"workingDir": "/\u{0}"}),
            serde_json::json!({"workingDir": format!("/{long}")}),
        ] {
            assert!(given(bad.clone()).is_some(), "{bad}");
        }
    }
}
