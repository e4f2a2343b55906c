//! What a request failed for, in a word for programs and a sentence for people.

use crate::{
    api::control::ErrorKind,
    daemon::{
        overrides::OverrideError,
        wills::{VerbError, with_causes},
    },
};

/// Longest sentence to a client, in bytes: as long as all that can be wrong with a file.
const LONGEST_MESSAGE: usize = 16 << 10;

/// A failure, as a client is told.
#[derive(Debug)]
pub struct Failure {
    /// The word for programs.
    pub kind: ErrorKind,
    /// The sentence for people.
    pub message: String,
}

impl Failure {
    /// Of this kind, with this sentence, or its begin: what a client wrote is repeated in some, and a request of a
    /// megabyte must not be answered with as much.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        if message.len() <= LONGEST_MESSAGE {
            return Self { kind, message };
        }
        let mut begin: String = message.chars().take(LONGEST_MESSAGE / 4 - 1).collect();
        begin.push('…');
        Self { kind, message: begin }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::new(ErrorKind::Failed, format!("cannot put the answer into words: {error}"))
    }
}

impl From<VerbError> for Failure {
    fn from(error: VerbError) -> Self {
        let kind = match &error {
            VerbError::NoSuchSession(_) => ErrorKind::NoSuchSession,
            VerbError::Conflict(_) => ErrorKind::Conflict,
            VerbError::InvalidSpec(_) => ErrorKind::InvalidSpec,
            VerbError::State { .. } | VerbError::Ask(_) | VerbError::Signal { .. } => ErrorKind::Failed,
        };
        Self::new(kind, with_causes(&error))
    }
}

impl From<OverrideError> for Failure {
    fn from(error: OverrideError) -> Self {
        match error {
            OverrideError::Invalid(message) => Self::new(ErrorKind::InvalidRequest, message),
            OverrideError::Forbidden(message) => Self::new(ErrorKind::Forbidden, message),
            OverrideError::Verb(error) => error.into(),
        }
    }
}
