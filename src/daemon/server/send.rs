//! `send`: who asks is known by the kernel, and types only into what runs as them.

use serde_json::Value;

use super::{
    Peer,
    failure::Failure,
    methods::{is_run, known, outcome},
};
use crate::{
    api::{
        control::ErrorKind,
        send::{INSTEAD, MessageError, SendParams},
    },
    daemon::{
        core::Daemon,
        keepers::{AskError, Keepers},
        sends::SendError,
        wills::{VerbError, with_causes},
    },
};

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        let kind = match error {
            SendError::Message(MessageError::TooLong) => {
                return Self::new(ErrorKind::InvalidRequest, format!("{error}: {INSTEAD}"));
            }
            SendError::Message(MessageError::Nothing | MessageError::TooManyKeys) => {
                ErrorKind::InvalidRequest
            }
            // A keeper that says no has typed nothing.
            SendError::Verb(VerbError::Ask(AskError::Refused { .. })) => ErrorKind::Conflict,
            SendError::Verb(error) => return error.into(),
            SendError::Untaken(_) | SendError::Enter(_) => ErrorKind::Failed,
        };
        Self::new(kind, with_causes(&error))
    }
}

/// Types what the client says.
pub async fn send<K: Keepers>(daemon: &Daemon<K>, peer: Peer, params: SendParams) -> Result<Value, Failure> {
    known(daemon, peer, vec![params.name.clone()])?;
    is_run(daemon, &params.name, params.run_id)?;
    let changed = daemon.send(&params, peer.viewer).await?;
    // That took a while: the name may be somebody else's by now.
    known(daemon, peer, vec![params.name.clone()])?;
    outcome(daemon, peer, &params.name, changed)
}
