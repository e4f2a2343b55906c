//! From what was read to a spec, or to what is wrong with it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use sha2::{Digest as _, Sha256};

use super::{looks::Print, names::escaped};
use crate::{
    api::{
        diagnose::Diagnostics,
        spec::{Digest, WrittenSpec},
    },
    host::specfile::{Inode, Obstacle, Stamp},
};

/// Longest spec and longest config, in bytes.
pub const MAX_FILE: usize = 64 * 1024;

/// What a spec file says. The source knows no more of a spec than this.
pub trait Document: Sized + Send + 'static {
    /// Reads what a file holds, which need not be text; `file` is for messages.
    fn parse_bytes(bytes: &[u8], file: &Path) -> Result<Self, Diagnostics>;

    /// Changes exactly when the meaning changes.
    fn digest(&self) -> Digest;
}

impl Document for WrittenSpec {
    fn parse_bytes(bytes: &[u8], file: &Path) -> Result<Self, Diagnostics> {
        Self::parse_bytes(bytes, file)
    }

    fn digest(&self) -> Digest {
        self.digest()
    }
}

/// Whose word counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The daemon runs sessions as the owners of their specs, so it matters who could have written one.
    pub system: bool,
    /// The daemon's own user. Beside root, it may own the directory.
    pub uid: u32,
}

impl Rules {
    /// Why nothing in a directory is to be believed.
    pub fn refuse_directory(self, directory: &Inode) -> Option<String> {
        let sticky = directory.mode & 0o1000 != 0;
        (self.system && directory.is_writable_by_others() && !sticky).then(|| {
            format!(
                "others than its owner may replace files in it (mode {:04o}): `chmod go-w` it, or `chmod +t` it",
                directory.mode & 0o7777
            )
        })
    }

    /// Whether somebody beside root and the daemon's user may put names into a directory.
    pub fn is_shared(self, directory: &Inode) -> bool {
        directory.is_writable_by_others() || (directory.uid != 0 && directory.uid != self.uid)
    }

    /// Why a file is not to be believed. `shared`: see [`Rules::is_shared`].
    fn refuse_file(self, stamp: &Stamp, shared: bool) -> Option<String> {
        if !self.system {
            return None;
        }
        let file = stamp.file();
        if stamp.own.is_link() && file.uid != stamp.own.uid {
            return Some(format!(
                "it is a link of user {} to a file of user {}: a link counts only where both have one owner",
                stamp.own.uid, file.uid
            ));
        }
        // A link is writable by everybody, and one that leads nowhere has no file that could be.
        if !file.is_link() && file.is_writable_by_others() {
            let mode = file.mode & 0o7777;
            return Some(format!("others than its owner may write it (mode {mode:04o}): `chmod go-w` it"));
        }
        if file.links > 1 && shared {
            return Some(
                "it has more than one hard link, in a directory that users may write to: copy it instead"
                    .to_owned(),
            );
        }
        None
    }

    /// Why the config is not to be believed: its `env` is every session's, root's as well.
    pub fn refuse_config(self, stamp: &Stamp) -> Option<String> {
        let file = stamp.file();
        if !self.system || file.is_link() {
            return None; // one that leads nowhere has nothing to say
        }
        let strangers = [stamp.own.uid, file.uid].into_iter().find(|uid| *uid != 0 && *uid != self.uid);
        if let Some(uid) = strangers {
            return Some(format!(
                "it is user {uid}'s, and the config of all sessions counts only from root: `chown root` it"
            ));
        }
        file.is_writable_by_others().then(|| {
            let mode = file.mode & 0o7777;
            format!("others than its owner may write it (mode {mode:04o}): `chmod go-w` it")
        })
    }

    /// What a file means, by its content and by who could have written it.
    pub fn judge<S: Document>(
        self,
        stamp: Option<&Stamp>,
        bytes: Result<Vec<u8>, Obstacle>,
        shared: bool,
        file: &Path,
    ) -> Result<(S, String), Diagnostics> {
        if let Some(refusal) = stamp.and_then(|stamp| self.refuse_file(stamp, shared)) {
            return Err(Diagnostics::whole(shown(file), refusal));
        }
        let bytes = content_of(bytes, file)?;
        let spec = parse_with(|| S::parse_bytes(&bytes, file), file)?;
        // Nothing is lost: what is no text did not parse.
        Ok((spec, String::from_utf8_lossy(&bytes).into_owned()))
    }
}

/// A file's path for people: without control characters.
pub fn shown(file: &Path) -> String {
    escaped(&file.to_string_lossy())
}

/// What was read of a file, or why nothing was.
pub fn content_of(bytes: Result<Vec<u8>, Obstacle>, file: &Path) -> Result<Vec<u8>, Diagnostics> {
    bytes.map_err(|obstacle| Diagnostics::whole(shown(file), obstacle.to_string()))
}

/// Parses, and survives a parser that panics: one file must not end the reading of all others.
pub fn parse_with<T>(parse: impl FnOnce() -> Result<T, Diagnostics>, file: &Path) -> Result<T, Diagnostics> {
    catch_unwind(AssertUnwindSafe(parse)).unwrap_or_else(|_| {
        Err(Diagnostics::whole(shown(file), "atm failed while reading this file; this is a bug of atm"))
    })
}

/// The print of what was read, and of all else that a judgement depends on. `shared`: see [`Rules::is_shared`].
pub fn print_of(stamp: Option<&Stamp>, bytes: &Result<Vec<u8>, Obstacle>, shared: bool) -> Print {
    let mut hash = Sha256::new();
    hash.update([u8::from(shared)]);
    if let Some(stamp) = stamp {
        let file = stamp.file();
        for owner in [stamp.own.uid, file.uid, file.mode & 0o7777, u32::from(file.links > 1)] {
            hash.update(owner.to_le_bytes());
        }
        hash.update([u8::from(stamp.own.is_link())]);
    }
    match bytes {
        Ok(bytes) => {
            hash.update([0]);
            hash.update(bytes);
        }
        Err(obstacle) => {
            hash.update([1]);
            hash.update(obstacle.to_string());
        }
    }
    hash.finalize().into()
}
