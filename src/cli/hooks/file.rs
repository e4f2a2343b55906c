//! An agent's settings file: read whole, and put back so that a reader never sees half of it.

use std::{fs, io, path::PathBuf};

use crate::{
    agents::{install::Edited, json_text::Wrong},
    cli::{
        context::Context,
        error::{CliError, CliResult, Kind},
        text::escape,
    },
    host::{
        files::{make_above, read_following},
        put::{AtLink, Manner, Place, Rights, put},
    },
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
            .hint("nothing was changed in it: correct the file and try again")
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
        if let Some(before) = &self.text
            && read_following(&self.path, LONGEST)? != before.as_bytes()
        {
            return Err(io::Error::other("it was changed meanwhile: try again"));
        }
        let text = match text {
            Some(text) => text,
            None if fs::symlink_metadata(&self.path)?.is_symlink() => "{}\n", // it stays, and what it names
            None => return fs::remove_file(&self.path),
        };
        make_above(&self.path, 0o755)?;
        let place = self.text.as_ref().map_or(Place::New, |before| Place::Unchanged(before.as_bytes()));
        put(&self.path, text.as_bytes(), Manner { place, link: AtLink::Follow, rights: Rights::Kept })
            .map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => io::Error::other("it was made meanwhile: try again"),
                _ => error,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_or_changed_meanwhile_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/settings.json");
        let file = File::read(path.clone()).unwrap();
        assert_eq!(file.text, None);
        fs::create_dir(dir.path().join("new")).unwrap();
        fs::write(&path, "{\"theirs\": 1}").unwrap();
        let error = file.write(Some("{}")).unwrap_err();
        assert_eq!(error.to_string(), "it was made meanwhile: try again");
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"theirs\": 1}");

        let file = File::read(path.clone()).unwrap();
        fs::write(&path, "{\"theirs\": 2}").unwrap();
        for text in [Some("{}"), None] {
            let error = file.write(text).unwrap_err();
            assert_eq!(error.to_string(), "it was changed meanwhile: try again");
            assert_eq!(fs::read_to_string(&path).unwrap(), "{\"theirs\": 2}");
        }
        assert_eq!(fs::read_dir(dir.path().join("new")).unwrap().count(), 1);
    }
}
