//! Registered sessions of an earlier daemon: on the list again, if their process is still the one that registered.

use super::{Registered, listing::conversation_of};
use crate::{
    api::{event::EventKind, name::SessionName},
    controller::Reason,
    daemon::{
        core::{Daemon, Key},
        events::News,
        keepers::Keepers,
        memory::Memory,
        state_files::Loaded,
    },
    host::process::Process,
    plan::Desired,
};

/// What an earlier daemon remembered of a registered session.
#[derive(Debug)]
pub struct Remembered {
    name: SessionName,
    memory: Memory,
    record: Registered,
}

/// Takes registered sessions out of what is remembered: whatever has their names in the runtime directory is another
/// one.
pub fn set_apart(loaded: &mut Loaded) -> Vec<Remembered> {
    let all = std::mem::take(&mut loaded.memories);
    let mut guests = Vec::new();
    for (name, memory) in all {
        match memory.registered.clone() {
            Some(record) => guests.push(Remembered { name, memory, record }),
            None => drop(loaded.memories.insert(name, memory)),
        }
    }
    guests
}

/// What became of a process while no daemon looked.
enum Found {
    Alive(Process),
    Gone(&'static str),
    /// It cannot be looked at.
    Unseen,
}

impl<K: Keepers> Daemon<K> {
    /// Puts registered sessions of an earlier daemon on the list again: those whose process lives are watched again; of
    /// those whose process cannot be looked at it is not known, and they are stale until it is or they speak.
    pub fn recall_guests(&self, guests: Vec<Remembered>) {
        for Remembered { name, memory, record } in guests {
            // A keeper may have the name by now: then the file of that name is its session's.
            let is_free = !self.store.look().sessions.contains_key(&name);
            let free = || self.free_name(&record, record.working_dir.as_deref());
            let (found, next) = match (self.look_for(&record), is_free) {
                (Found::Gone(why), _) => (Found::Gone(why), None),
                (found, true) => (found, Some(name.clone())),
                (found, false) => (found, free()),
            };
            let watch = match (found, &next) {
                (Found::Alive(process), Some(_)) => self.watch_guest(process).ok(),
                (Found::Unseen, Some(_)) => None,
                (Found::Gone(why), _) => {
                    self.tell_gone(&name, &record, why);
                    if is_free {
                        self.writer.remove(self.paths.memory(&name));
                    }
                    continue;
                }
                (Found::Alive(_) | Found::Unseen, None) => {
                    self.tell_gone(&name, &record, "another session has its name, and no other one is free");
                    continue;
                }
            };
            let Some(next) = next else { continue };
            let is_watched = watch.is_some();
            self.put_on_list(&next, memory, conversation_of(&record), watch, None);
            if is_watched {
                let message = format!("found running, pid {}", record.process.pid);
                self.tell(EventKind::Adopted, &next, Some(record.run_id), None, message);
            }
            self.save(&next);
            // Its mark has a date.
            self.look_at(Key::Session(next), Reason::Observed);
        }
    }

    fn tell_gone(&self, name: &SessionName, record: &Registered, why: &str) {
        let message = format!("{why} (pid {})", record.process.pid);
        let news = News::of(EventKind::Unregistered, Some(name), message);
        let (uid, run_id) = (Some(record.uid), Some(record.run_id));
        let news = News { uid, run_id, reason: Some("Exited".into()), ..news };
        self.events.tell(news, &self.clock, &self.writer);
    }

    fn look_for(&self, record: &Registered) -> Found {
        if record.boot_id != *self.clock.boot() || record.pid_namespace != self.here.pid_namespace {
            return Found::Gone("the machine was started anew");
        }
        match Process::find(record.process) {
            Ok(Some(process)) if !process.has_ended().unwrap_or(false) => Found::Alive(process),
            Ok(_) => Found::Gone("its process ended while no daemon looked"),
            Err(error) => {
                tracing::warn!(pid = record.process.pid, %error, "cannot see whether a registered process lives");
                Found::Unseen
            }
        }
    }

    /// Looks again for the process of a session that could not be looked at before.
    pub(super) fn see_again(&self, name: &SessionName) {
        let unseen = self.registry.borrow().get(name).is_some_and(|held| held.watch.is_none());
        let record = {
            let world = self.store.look();
            world.sessions.get(name).and_then(|entry| entry.memory.registered.clone())
        };
        let Some(record) = record.filter(|_| unseen) else { return };
        match self.look_for(&record) {
            Found::Gone(why) => self.depart(name, "Exited", &format!("{why} (pid {})", record.process.pid)),
            Found::Unseen => {}
            Found::Alive(process) => {
                let Ok(watch) = self.watch_guest(process) else { return };
                if let Some(place) = self.registry.borrow_mut().watch_of(name) {
                    *place = Some(watch);
                }
                let now = self.clock.now();
                self.store.edit(name, |entry| {
                    if let Desired::Registered(guest) = &mut entry.plan.desired {
                        guest.heard = guest.heard.max(Some(now));
                    }
                });
            }
        }
    }
}
