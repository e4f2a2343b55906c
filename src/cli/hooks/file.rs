//! An agent's settings file: read whole, and put back so that a reader never sees half of it.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use crate::{
    agents::{install::Edited, json_text::Wrong},
    cli::{
        context::Context,
        error::{CliError, CliResult, Kind},
        text::escape,
    },
    host::files::{make_above, read_following},
};

/// A person's settings are far smaller.
const LONGEST: u64 = 8 << 20;

/// A settings file as it was read.
#[derive(Debug)]
pub struct File {
    /// Where it is, as it was asked for.
    path: PathBuf,
    /// What was in it; absent: there was none.
    pub text: Option<String>,
}

impl File {
    /// Reads it; that there is none is no error.
    pub fn read(path: PathBuf) -> CliResult<Self> {
        let shown = path.display().to_string();
        let text = match read_following(&path, LONGEST) {
            Ok(bytes) => Some(String::from_utf8(bytes).map_err(|_| {
                CliError::new(Kind::Invalid, format!("`{shown}` is no text: not UTF-8"))
                    .hint("nothing was changed; what it holds is not what the agent reads")
            })?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A link to nothing: writing here would put a file in the place of a link of somebody's.
                if fs::symlink_metadata(&path).is_ok() {
                    return Err(CliError::failed(format!("`{shown}` is a link to nothing"))
                        .hint("remove the link, or make the file that it names"));
                }
                None
            }
            Err(error) => return Err(CliError::io(format_args!("cannot read `{shown}`"), &error)),
        };
        Ok(Self { path, text })
    }

    /// Its path, for people.
    pub fn shown(&self) -> String {
        escape(&self.path.display().to_string()).to_string()
    }

    /// What is wrong with it.
    pub fn wrong(&self, wrong: &Wrong) -> CliError {
        let Wrong { line, column, message } = wrong;
        CliError::new(Kind::Invalid, format!("{}:{line}:{column}: {message}", self.path.display()))
            .hint("nothing was changed: correct the file and try again")
    }

    /// Puts it back as it was edited, and says so. `false`: it was as it should be.
    pub fn put(&self, edited: Edited, did: &str, context: &mut Context) -> CliResult<bool> {
        let Edited { text, done } = edited;
        let shown = self.shown();
        if text == self.text {
            let mut words = vec![format!("{shown}: nothing to do")];
            words.extend(done);
            context.out.line(&words.join("; "))?;
            return Ok(false);
        }
        let written = self.write(text.as_deref());
        written
            .map_err(|error| CliError::io(format_args!("cannot write `{}`", self.path.display()), &error))?;
        context.out.line(&format!("{shown}: {did} {}", done.join("; ")))?;
        Ok(true)
    }

    /// Through a link, as dotfiles often are one, and with the mode and the owner of the file that was there.
    fn write(&self, text: Option<&str>) -> io::Result<()> {
        let target = match &self.text {
            Some(before) => {
                let target = fs::canonicalize(&self.path)?;
                if read_following(&target, LONGEST)? != before.as_bytes() {
                    return Err(io::Error::other("it was changed meanwhile: try again"));
                }
                target
            }
            None => self.path.clone(),
        };
        let text = match text {
            Some(text) => text,
            None if target == self.path => return fs::remove_file(&target),
            None => "{}\n", // the link stays, and with it what it names
        };
        make_above(&target, 0o755)?;
        let there = fs::metadata(&target).ok();
        let new = sibling(&target)?;
        let written =
            write_new(&new, text.as_bytes(), there.as_ref()).and_then(|()| fs::rename(&new, &target));
        if written.is_err() {
            let _ = fs::remove_file(&new); // best effort: the error that matters is the first
        }
        written
    }
}

fn sibling(path: &Path) -> io::Result<PathBuf> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".atm-new");
    Ok(path.with_file_name(name))
}

fn write_new(path: &Path, bytes: &[u8], like: Option<&fs::Metadata>) -> io::Result<()> {
    let _ = fs::remove_file(path); // of an earlier try
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    if let Some(like) = like {
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
            fchown(&file, Some(like.uid()), Some(like.gid()))?;
        }
        file.set_permissions(Permissions::from_mode(like.mode() & 0o7777))?;
    }
    file.write_all(bytes)?;
    file.sync_all()
}
