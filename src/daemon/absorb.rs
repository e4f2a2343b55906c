//! News from outside, taken into the store: what the files say and what keepers report.

use std::{path::PathBuf, sync::Arc};

use super::{
    config_file,
    core::{Daemon, Key},
    keepers::{Keepers, Report},
    memory::{LastConfig, STATE_VERSION},
    specs::{self, Notice},
    state_files,
    store::SpecError,
};
use crate::{
    api::{
        config::Config, diagnose::Diagnostics, event::EventKind, keeper::StartReport, name::SessionName,
        record::GoodSpec, spec::WrittenSpec,
    },
    controller::{Reason, Trigger},
    host::{
        cgroup::Group,
        errors::words,
        failpoint::{self, Place},
    },
    plan::{Desired, Observed, Session, Wanted, Will},
};

/// What a warning of the kernel's limit for all sessions is known by.
const LIMIT: &str = "memory-limit";

impl<K: Keepers> Daemon<K> {
    pub(super) fn absorb_specs(&self, change: specs::Change) -> Vec<Trigger<Key>> {
        match change {
            specs::Change::Good { name, spec, text, file, owner, remembered: _ } => {
                self.spec_is_good(&name, spec, GoodText { text, file, owner })
            }
            specs::Change::Rebound { name, file } => {
                self.store.edit(&name, |entry| {
                    if let Some(spec) = &mut entry.memory.spec {
                        spec.file = file;
                    }
                });
                self.save(&name);
                self.store.touch(&name);
                Vec::new()
            }
            specs::Change::Bad { name, owner, error, conflict, file: _ } => {
                let kind = if conflict { EventKind::SpecConflict } else { EventKind::InvalidSpec };
                self.spec_is_bad(&name, owner, error, kind)
            }
            specs::Change::Cleared { name } => {
                self.store.edit(&name, |entry| entry.spec_error = None);
                self.store.touch(&name);
                Vec::new()
            }
            specs::Change::Removed { name } => {
                self.store.edit(&name, |entry| {
                    if entry.plan.is_registered() {
                        return; // the file was of an earlier session of that name
                    }
                    entry.plan.desired = Desired::Gone;
                    entry.memory.removed = true;
                    entry.spec_error = None;
                });
                self.save(&name);
                vec![fleet(Reason::Desired), session(&name, Reason::Desired)]
            }
            specs::Change::Unavailable(why) => {
                let why = why.to_string();
                let first = self.store.edit_world(|world| world.specs_unavailable.replace(why.clone()));
                if first.as_ref() != Some(&why) {
                    self.tell_all(EventKind::SpecsUnavailable, why);
                }
                Vec::new()
            }
            specs::Change::Available { identity } => {
                if self.store.edit_world(|world| world.specs_unavailable.take()).is_some() {
                    self.tell_all(EventKind::SpecsAvailable, "the spec directory is back");
                }
                self.remember_specs(identity);
                Vec::new()
            }
            specs::Change::Notice(notice) => {
                self.notice(&notice);
                Vec::new()
            }
            specs::Change::FirstListing => {
                self.store.edit_world(|world| world.sources.specs = true);
                vec![fleet(Reason::Desired)]
            }
        }
    }

    /// What lasts is kept for `atm status`; what is over with the telling is only told.
    fn notice(&self, notice: &Notice) {
        match notice {
            Notice::Blind(_) => self.warn("inotify", notice.to_string()),
            Notice::Sighted => {
                self.mended("inotify");
                tracing::info!("{notice}");
            }
            Notice::Braked { .. } => {
                self.tell_all(EventKind::SpecsUnavailable, notice.to_string());
                self.store.edit_world(|world| world.warnings.insert("removals", notice.to_string()));
            }
            Notice::Released => {
                self.mended("removals");
                tracing::info!("{notice}");
            }
            Notice::OddName(_) | Notice::Forgotten { .. } => tracing::warn!("{notice}"),
        }
    }

    fn spec_is_good(&self, name: &SessionName, written: WrittenSpec, good: GoodText) -> Vec<Trigger<Key>> {
        let _ = failpoint::hit(Place::SpecRead);
        self.give_up_name(name);
        let meant = written.without_own(name, self.owner_of(good.owner));
        let digest = meant.digest();
        let effective = self.resolve(name, &written);
        let known = self.store.look().sessions.contains_key(name);
        if !known {
            self.store.insert(name, self.new_entry(Session::unknown()));
        }
        let launch = meant.launch_digest();
        let mut was_removed = false;
        let generation = self
            .store
            .edit(name, |entry| {
                let before = entry.memory.spec.as_ref();
                let same = before.is_some_and(|spec| spec.digest == digest);
                let generation = match before {
                    Some(spec) if same => spec.generation,
                    Some(spec) => spec.generation.saturating_add(1),
                    None => 1,
                };
                let will = match &entry.plan.desired {
                    Desired::Spec(wanted) => wanted.will,
                    Desired::Gone | Desired::NeverGood | Desired::Unseen | Desired::Registered(_) => {
                        entry.memory.will.into()
                    }
                };
                // A changed spec lifts a stop; a suspension only `resume` lifts.
                let will = match will {
                    Will::Stopped { .. } if !same => Will::AsDeclared,
                    will => will,
                };
                entry.plan.desired = Desired::Spec(Wanted {
                    spec: effective,
                    generation,
                    launch,
                    first_seen: entry.memory.first_seen,
                    uid: self.owner_of(good.owner),
                    will,
                });
                entry.memory.check_user(good.owner, &written, &digest);
                was_removed = std::mem::take(&mut entry.memory.removed);
                entry.memory.spec = Some(GoodSpec {
                    file: good.file,
                    owner: good.owner,
                    text: good.text,
                    digest,
                    generation,
                });
                entry.written = Some(Arc::new(written));
                entry.spec_error = None;
                (!same).then_some(generation)
            })
            .flatten();
        if was_removed {
            // A daemon that is killed before this is written would forget what is declared.
            self.save_next(name);
        } else {
            self.save(name);
        }
        self.store.touch(name);
        if let Some(generation) = generation {
            let message =
                if generation == 1 { "seen".into() } else { format!("changed: generation {generation}") };
            self.tell(EventKind::SpecChanged, name, None, None, message);
        }
        vec![fleet(Reason::Desired), session(name, Reason::Desired)]
    }

    fn spec_is_bad(
        &self,
        name: &SessionName,
        owner: u32,
        error: Diagnostics,
        kind: EventKind,
    ) -> Vec<Trigger<Key>> {
        self.give_up_name(name);
        if !self.store.look().sessions.contains_key(name) {
            self.store.insert(name, self.new_entry(Session::unknown()));
            self.save(name);
        }
        let message = error.to_string();
        self.store.edit(name, |entry| entry.spec_error = Some(SpecError { owner, error }));
        // Told afterwards: of a name that was never good, the file's owner is the one to hear it.
        self.tell(kind, name, None, None, message);
        self.store.touch(name);
        vec![fleet(Reason::Desired)]
    }

    pub(super) fn absorb_config(&self, change: config_file::ConfigChange) -> Vec<Trigger<Key>> {
        let _ = failpoint::hit(Place::ConfigRead);
        let triggers = self.take_config(change);
        self.limit_all();
        triggers
    }

    fn take_config(&self, change: config_file::ConfigChange) -> Vec<Trigger<Key>> {
        let file = &self.paths.directories.config;
        match change {
            config_file::ConfigChange::Good(config) => {
                let first = !self.store.look().sources.config;
                self.store.edit_world(|world| {
                    world.sources.config = true;
                    world.config_file = Some(file.clone());
                    world.config_error = None;
                });
                // A daemon that is started with the config of the one before it has no news.
                let same = first && self.last_config().as_ref() == Some(&*config);
                self.keep_config(&config);
                self.apply_config(*config, !same)
            }
            config_file::ConfigChange::Bad(error) => {
                self.tell_all(EventKind::InvalidConfig, format!("{error}; the last good one stays in force"));
                let first = !self.store.look().sources.config;
                self.store.edit_world(|world| {
                    world.sources.config = true;
                    world.config_error = Some(error);
                });
                match self.last_config().filter(|_| first) {
                    Some(config) => self.apply_config(config, false),
                    None => vec![fleet(Reason::Desired)],
                }
            }
            config_file::ConfigChange::Cleared => {
                self.store.edit_world(|world| {
                    world.config_error = None;
                    world.warnings.remove("config");
                });
                Vec::new()
            }
            config_file::ConfigChange::Absent => {
                self.store.edit_world(|world| world.sources.config = true);
                vec![fleet(Reason::Desired)]
            }
            config_file::ConfigChange::Removed => {
                let message =
                    format!("{} is gone; what it said stays in force until a restart", file.display());
                self.warn("config", message);
                Vec::new()
            }
        }
    }

    /// The config that was in force last, should the file be wrong when the daemon starts.
    fn last_config(&self) -> Option<Config> {
        let kept = state_files::read_versioned::<LastConfig>(&self.paths.last_config(), STATE_VERSION);
        kept.ok().flatten().map(|kept| kept.config.as_written(kept.written))
    }

    /// Has `config` remembered as the one that was in force last.
    pub fn keep_config(&self, config: &Config) {
        let kept =
            LastConfig { version: STATE_VERSION, config: config.clone(), written: config.written.clone() };
        if let Ok(bytes) = serde_json::to_vec(&kept) {
            self.writer.write(self.paths.last_config(), bytes);
        }
    }

    fn apply_config(&self, config: Config, is_news: bool) -> Vec<Trigger<Key>> {
        let config = Arc::new(config);
        let (same, same_logs) = self.store.edit_world(|world| {
            world.warnings.remove("config");
            let same = (*world.config == *config, world.config.logs == config.logs);
            world.config = Arc::clone(&config);
            same
        });
        let mut triggers = vec![fleet(Reason::Desired)];
        if same {
            return triggers;
        }
        if is_news {
            self.tell_all(EventKind::ConfigChanged, "a changed config is in force");
        }
        // What a spec leaves open the config fills in, so every meaning is made anew.
        let names: Vec<SessionName> = {
            let world = self.store.look();
            let written = world.sessions.iter().filter(|(_, entry)| entry.written.is_some());
            written.map(|(name, _)| name.clone()).collect()
        };
        for name in names {
            let changed = self.refresh_spec(&name);
            // The limits of its output files are its keeper's to know, whatever its spec means.
            if changed || !same_logs {
                triggers.push(session(&name, Reason::Desired));
            }
        }
        let guests = self.set_stale_after(config.stale_after.0);
        triggers.extend(guests.iter().map(|name| session(name, Reason::Desired)));
        // By what each spec means now.
        self.plan_looks();
        triggers
    }

    /// Has the kernel hold all sessions together to a little more than their budget: atm acts at the budget, and the
    /// kernel only where atm is down or too slow.
    pub(super) fn limit_all(&self) {
        let Some(group) = &self.cgroup else { return };
        if !self.store.look().sources.config {
            return; // the default may be less than what runs was allowed
        }
        let limit = self.store.look().config.max_memory.at().map(|budget| beyond(budget.0));
        match Group::open(group).and_then(|group| group.limit_memory(limit)) {
            Ok(()) => self.mended(LIMIT),
            Err(error) => self.warn(
                LIMIT,
                format!(
                    "the kernel's limit of memory for all sessions is not the declared one: cannot change `{}`: {}",
                    group.join("memory.max").display(),
                    words(&error)
                ),
            ),
        }
    }

    pub(super) fn absorb_report(&self, report: Report) -> Vec<Trigger<Key>> {
        match report {
            Report::Started { name, run_id, outcome } => {
                if let StartReport::Failed { error } = &outcome {
                    self.store.edit(&name, |entry| entry.start_error = Some(error.clone()));
                }
                if let StartReport::Running { keeper, child, uid, working_dir, started } = outcome {
                    let _ = failpoint::hit(Place::Running);
                    let this_run = self.store.edit(&name, |entry| {
                        if entry.plan.observed.run_id() != Some(run_id) {
                            return None; // an older run's word
                        }
                        // A stop that was asked for meanwhile is not undone by its late news.
                        if matches!(entry.plan.observed, Observed::Starting { .. }) {
                            entry.plan.observed = Observed::Running(entry.started(run_id, started));
                        }
                        if let Some(run) = &mut entry.run {
                            run.keeper = Some(keeper);
                            run.child = Some(child);
                            run.uid = Some(uid);
                        }
                        let generation = entry.memory.begun.as_ref().map_or(0, |begun| begun.generation);
                        entry.memory.learn_user(run_id, generation, uid);
                        entry.memory.working_dir = working_dir;
                        entry.memory.has_run(run_id);
                        Some(entry.agent_start.as_ref().and_then(|start| start.continues.clone()))
                    });
                    if let Some(continues) = this_run.flatten() {
                        self.store.edit_world(|world| world.counters.started += 1);
                        let how = continues.map(|id| format!(", continues conversation {id}"));
                        let message = format!("started, pid {}{}", child.pid, how.unwrap_or_default());
                        self.tell(EventKind::Started, &name, Some(run_id), None, message);
                        self.save(&name);
                        self.store.touch(&name);
                    }
                }
                // A failure is in the exit record too, if that could be written, and counts when the keeper is gone.
                vec![session(&name, Reason::Observed), fleet(Reason::Observed)]
            }
            Report::Gone { name, run_id } => {
                self.store.edit(&name, |entry| {
                    if entry.plan.observed.run_id() == Some(run_id)
                        || matches!(entry.plan.observed, Observed::Unknown { .. })
                    {
                        entry.run_gone = true;
                    }
                });
                vec![session(&name, Reason::Observed)]
            }
        }
    }

    /// Keeps something that a person should know until it is mended. Told once, however often it is found.
    pub fn warn(&self, topic: &'static str, message: String) {
        if self.store.look().warnings.get(topic) == Some(&message) {
            return;
        }
        tracing::warn!(topic, "{message}");
        self.store.edit_world(|world| world.warnings.insert(topic, message));
    }

    /// What [`Self::warn`] told of is as it should be.
    pub fn mended(&self, topic: &'static str) {
        // Whoever watches is woken by a change alone.
        if self.store.look().warnings.contains_key(topic) {
            self.store.edit_world(|world| world.warnings.remove(topic));
        }
    }
}

/// The kernel's limit for a budget of all sessions: 5 % more, and at least 256 MiB.
fn beyond(budget: u64) -> u64 {
    budget.saturating_add((budget / 20).max(256 << 20))
}

struct GoodText {
    text: String,
    file: PathBuf,
    owner: u32,
}

fn fleet(reason: Reason) -> Trigger<Key> {
    Trigger { key: Key::Fleet, reason }
}

fn session(name: &SessionName, reason: Reason) -> Trigger<Key> {
    Trigger { key: Key::Session(name.clone()), reason }
}
