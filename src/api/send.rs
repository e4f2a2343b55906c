//! Typing for a person who is not attached: what is typed for a text and keys, by `atm send` and by the method `send`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    attach::Typed,
    keys::Key,
    name::{RunId, SessionName},
};

/// Between a text and its enter. Agents tell a paste by its speed, and take an enter in it for a line of it: Codex does
/// within 120 ms of the last letter.
pub const AFTER_TEXT: Duration = Duration::from_millis(200);

/// Longest text: the keeper takes a request of 1 MiB, and a byte takes up to six in it.
pub const LONGEST_TEXT: usize = 160 << 10;

/// Most keys at once: they have to fit in beside the longest text.
pub const MOST_KEYS: usize = 1000;

/// What to do about a text that is too long.
pub const INSTEAD: &str = "write it to a file, and send the file's name";

/// Parameters of `send`: what is to be typed. The text is typed first, then the keys, then enter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SendParams {
    /// Which session; it has to run.
    pub name: SessionName,
    /// Typed as it is; of several lines, or with control characters, as a paste, less those but tabs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub text: Option<String>,
    /// Typed after the text.
    #[serde(default)]
    pub keys: Vec<Key>,
    /// Whether enter follows where there is a text; absent: yes. Keys alone are followed by none.
    #[serde(default = "yes")]
    pub enter: bool,
    /// Only if this is its run now; else the answer is `Conflict`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub run_id: Option<RunId>,
}

fn yes() -> bool {
    true
}

/// What is typed for a text and keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The text and the keys.
    pub typed: Vec<Typed>,
    /// What is typed [`AFTER_TEXT`] later, when the program's terminal has taken all of that: enter, or nothing.
    pub enter: Option<Vec<Typed>>,
}

/// Why something is not typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Neither text nor keys.
    #[error("nothing to type: say a `text` or `keys`")]
    Nothing,
    /// The text is longer than [`LONGEST_TEXT`].
    #[error("the text is longer than {LONGEST_TEXT} bytes")]
    TooLong,
    /// More keys than [`MOST_KEYS`].
    #[error("more than {MOST_KEYS} keys at once: send them in several")]
    TooManyKeys,
}

impl Message {
    /// What is typed for these.
    pub fn new(text: Option<&str>, keys: &[Key], enter: bool) -> Result<Self, MessageError> {
        if text.is_none() && keys.is_empty() {
            return Err(MessageError::Nothing);
        }
        let text = text.unwrap_or_default();
        if text.len() > LONGEST_TEXT {
            return Err(MessageError::TooLong);
        }
        if keys.len() > MOST_KEYS {
            return Err(MessageError::TooManyKeys);
        }
        let enter = (enter && !text.is_empty()).then(|| vec![Typed::Key(Key::ENTER)]);
        Ok(Self { typed: typed(text, keys), enter })
    }
}

fn typed(text: &str, keys: &[Key]) -> Vec<Typed> {
    let lines = text.strip_suffix('\n').unwrap_or(text);
    let text = match lines {
        "" => None,
        lines if lines.contains('\n') => Some(Typed::Paste(lines.to_owned())),
        line => Some(Typed::Text(line.to_owned())),
    };
    text.into_iter().chain(keys.iter().cloned().map(Typed::Key)).collect()
}

/// What it means for who sends that a keeper gives no answer in time.
pub fn untaken(name: &SessionName) -> String {
    format!(
        "not all was typed: the program of `{name}` does not read, or its keeper hangs; what its terminal had not \
         taken by now is withdrawn"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::keeper::{FrameKind, Request, encode};

    fn keys(name: &str, count: usize) -> Vec<Key> {
        vec![name.parse().unwrap(); count]
    }

    #[test]
    fn several_lines_are_a_paste() {
        assert_eq!(typed("one line\n", &[]), [Typed::Text("one line".into())]);
        assert_eq!(typed("two\nlines\n", &[]), [Typed::Paste("two\nlines".into())]);
        let key = keys("ctrl-c", 1);
        assert_eq!(typed("", &key), [Typed::Key(Key::CTRL_C)]);
        assert_eq!(typed("x", &key), [Typed::Text("x".into()), Typed::Key(Key::CTRL_C)]);
    }

    #[test]
    fn enter_follows_a_text_and_not_keys_alone() {
        let up = keys("up", 1);
        for (text, keys, enter, follows) in [
            (Some("x"), &[][..], true, true),
            (Some("x"), &[][..], false, false),
            (Some("x"), &up, true, true),
            (Some("\n"), &[][..], true, true),
            (Some(""), &[][..], true, false),
            (Some(""), &up, true, false),
            (None, &up, true, false),
        ] {
            let message = Message::new(text, keys, enter).unwrap();
            assert_eq!(message.enter.is_some(), follows, "{text:?} {keys:?} {enter}");
        }
        assert_eq!(Message::new(None, &[], true), Err(MessageError::Nothing));
    }

    #[test]
    fn whatever_may_be_sent_fits_into_a_request_to_a_keeper() {
        let long = keys("ctrl-alt-shift-backspace", MOST_KEYS);
        let text = "\u{1}".repeat(LONGEST_TEXT);
        let message = Message::new(Some(&text), &long, true).unwrap();
        let json = serde_json::to_vec(&Request::Type { typed: message.typed }).unwrap();
        encode(FrameKind::Request, &json).unwrap();
        assert_eq!(Message::new(Some(&format!("{text}x")), &[], true), Err(MessageError::TooLong));
        assert_eq!(Message::new(None, &keys("x", MOST_KEYS + 1), true), Err(MessageError::TooManyKeys));
    }
}
