//! Files that people give sessions: where they go, which there are, and their removal with the session's record.
//!
//! The daemon writes none of them. It removes them with the rights of the session's user, on a thread of its own: a
//! working directory may be on a file system that hangs.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    thread,
};

use super::{core::Daemon, keepers::Keepers, memory::Memory, wills::VerbError};
use crate::{
    api::{
        cause::Actor,
        control::UploadsResult,
        event::EventKind,
        name::SessionName,
        upload::{MOST_UPLOADS, Upload},
    },
    host::{
        assume::{Rights, with_rights},
        uploads, users,
    },
};

impl<K: Keepers> Daemon<K> {
    /// Where files for `name` are put.
    pub fn uploads(&self, name: &SessionName) -> Result<UploadsResult, VerbError> {
        let world = self.store.look();
        let entry = world.sessions.get(name).ok_or_else(|| VerbError::NoSuchSession(name.clone()))?;
        if entry.plan.is_registered() {
            return Err(VerbError::Conflict(format!(
                "{name} was started outside atm: give its agent the path of the file itself"
            )));
        }
        let runs_as = entry.run.and_then(|run| run.uid);
        let ran_as = entry.memory.ran_as.filter(|ran_as| !ran_as.outdated).map(|ran_as| ran_as.uid);
        match (&entry.memory.working_dir, runs_as.or(ran_as)) {
            (Some(directory), Some(uid)) => {
                Ok(UploadsResult { directory: directory.clone(), uid, uploads: entry.memory.uploads.clone() })
            }
            _ => Err(VerbError::Conflict(format!(
                "{name} has not run yet as it is now, so its working directory is not known: `atm start {name}`"
            ))),
        }
    }

    /// Remembers a file that was put there. The answer says whether it is another one.
    pub async fn uploaded(&self, name: &SessionName, upload: Upload, by: Actor) -> Result<bool, VerbError> {
        let place = self.uploads(name)?;
        if upload.directory != place.directory || !upload.is_sound() {
            return Err(VerbError::Conflict(format!("not a file for {name}: `atm put` names them")));
        }
        let upload = Upload { at: self.clock.wall(), ..upload };
        let message = format!("{} ({} bytes) put there by uid {}", upload.file, upload.bytes, by.uid);
        let is_new = self
            .store
            .edit(name, |entry| {
                let known = &mut entry.memory.uploads;
                let path = upload.path();
                if let Some(known) = known.iter_mut().find(|known| known.path() == path) {
                    *known = upload;
                    return Ok(false);
                }
                if known.len() >= MOST_UPLOADS {
                    return Err(VerbError::Conflict(format!(
                        "{name} was given {MOST_UPLOADS} files, which is the most: they go with the session"
                    )));
                }
                known.push(upload);
                Ok(true)
            })
            .ok_or_else(|| VerbError::NoSuchSession(name.clone()))??;
        let saved = self.save_now(name).await;
        saved.map_err(|source| VerbError::State { name: name.clone(), source })?;
        self.store.touch(name);
        if is_new {
            self.tell(EventKind::Requested, name, None, Some("Put".into()), message);
        }
        Ok(is_new)
    }
}

/// Files to be removed, by the user whose they are and the working directory that they are in.
#[derive(Debug, Default)]
pub struct Removal(BTreeMap<(u32, PathBuf), Vec<String>>);

impl Removal {
    /// Adds what is remembered of a session, but for what is `still` another's.
    pub fn add(&mut self, memory: &Memory, still: &BTreeSet<PathBuf>) {
        let Some(ran_as) = memory.ran_as else { return };
        let sound = |upload: &&Upload| upload.is_sound() && !still.contains(&upload.path());
        for upload in memory.uploads.iter().filter(sound) {
            let files = self.0.entry((ran_as.uid, upload.directory.clone())).or_default();
            files.push(upload.file.clone());
        }
    }

    /// Removes them. Nobody waits for it.
    pub fn begin(self) {
        if self.0.is_empty() {
            return;
        }
        let started = thread::Builder::new().name("uploads".into()).spawn(move || {
            for ((uid, directory), files) in self.0 {
                if let Err(error) = remove(uid, &directory, &files) {
                    let path = directory.display();
                    tracing::warn!(%path, %error, "cannot remove the uploads of a session that is no more");
                }
            }
        });
        if let Err(error) = started {
            tracing::warn!(%error, "cannot remove the uploads of sessions that are no more");
        }
    }
}

fn remove(uid: u32, directory: &std::path::Path, files: &[String]) -> io::Result<()> {
    if uid == users::own().0 {
        return uploads::remove(directory, files);
    }
    let account = users::by_uid(uid)?.ok_or_else(|| io::Error::other(format!("there is no user {uid}")))?;
    with_rights(&Rights::of_account(&account)?, || uploads::remove(directory, files))?
}
