//! What an earlier daemon left, taken into the store before the loop turns.

use std::sync::Arc;

use super::{
    adopt::{self, Findings, Found},
    core::Daemon,
    keepers::Keepers,
    memory::{Instance, Memory, STATE_VERSION},
    paths::Paths,
    specs,
    state_files::{self, Damaged, Loaded},
    store::Entry,
};
use crate::{
    api::{
        name::{InstanceId, SessionName},
        spec::WrittenSpec,
    },
    host::{errors::words, files, specfile::Directory},
    plan::{Desired, Observed, Session, Wanted},
};

/// Reads or makes the instance, and says what is wrong with its file.
///
/// One whose file is damaged or gone is told by the runs: the runtime directory is ours alone. An empty state directory
/// has either lost all that it knew, and then the runs name it as theirs, or it is a new one: what lives in the runtime
/// directory then belongs to another.
pub fn load_instance(paths: &Paths) -> (Instance, Vec<Damaged>) {
    let path = paths.instance();
    let mut problems = Vec::new();
    match state_files::read_versioned::<Instance>(&path, STATE_VERSION) {
        Ok(Some(instance)) => return (instance, problems),
        Ok(None) => {}
        Err(damaged) => problems.push(damaged),
    }
    let is_lost = !problems.is_empty() || paths.events().exists();
    let id = adopt::instance_of_runs(paths, is_lost).unwrap_or_else(InstanceId::generate);
    let instance = Instance { version: STATE_VERSION, instance: id, specs: None, runs: None };
    let write = || {
        let bytes = serde_json::to_vec(&instance)?;
        files::replace(&path, &bytes, files::Durability::Synced)
    };
    if let Err(error) = write() {
        // The spec directory's identity is written here too, again and again until that succeeds; before it, no
        // session is started, as none could be remembered.
        let message = format!("cannot write {}: {}", path.display(), words(&error));
        problems.push(Damaged { what: "instance".into(), message });
    }
    (instance, problems)
}

/// Fills the store with what is remembered, and with names that only the runtime directory knows.
///
/// What may live keeps its last good spec from the first moment; what does not is wanted again when its file is
/// seen, and not before: the file may have been removed while no daemon looked. What was known to be removed stays so.
pub fn remember<K: Keepers>(daemon: &Daemon<K>, loaded: Loaded, findings: &Findings) {
    for (name, memory) in loaded.memories {
        let may_live = findings.names.get(&name).is_some_and(Found::may_live);
        let desired = match &memory.spec {
            _ if memory.removed => Desired::Gone,
            Some(_) => Desired::Unseen,
            None => Desired::NeverGood,
        };
        let history = memory.recall(daemon.clock.boot());
        let mut session = Session { desired, history, ..Session::unknown() };
        let mut written = None;
        // It was good when it was remembered; where this program reads it otherwise, the file decides.
        if let Some(good) = memory.spec.as_ref().filter(|_| may_live && !memory.removed)
            && let Ok(spec) = WrittenSpec::parse(&good.text, &good.file)
        {
            session.desired = Desired::Spec(Wanted {
                spec: daemon.resolve(&name, &spec),
                generation: good.generation,
                launch: spec.without_own(&name, daemon.owner_of(good.owner)).launch_digest(),
                first_seen: memory.first_seen,
                uid: daemon.owner_of(good.owner),
                will: memory.will.into(),
            });
            written = Some(Arc::new(spec));
        }
        let mut entry = Entry::new(session, memory, &daemon.clock);
        entry.written = written;
        daemon.store.insert(&name, entry);
    }
    for (name, found) in &findings.names {
        if found.may_live() && !daemon.store.look().sessions.contains_key(name) {
            daemon.store.insert(name, daemon.new_entry(Session::unknown()));
        }
    }
}

/// Takes over from the runs' own files what state does not know: it is written by a thread of its own, and a
/// daemon that is killed early leaves a run that state never heard of.
pub fn recover<K: Keepers>(daemon: &Daemon<K>, loaded: &mut Loaded, findings: &Findings) {
    for (name, found) in &findings.names {
        let told = match found {
            Found::Live { record, .. } | Found::Lost { record } | Found::Interrupted { record } => {
                record.intent.source.clone()
            }
            Found::Ended { record, .. } => record.as_ref().and_then(|record| record.intent.source.clone()),
            Found::Settling { .. } => adopt::intent_of(&daemon.paths, name).and_then(|intent| intent.source),
            Found::Foreign { .. } | Found::Abandoned { .. } | Found::NeverStarted | Found::Nothing => None,
        };
        let Some(told) = told else { continue };
        let memory = loaded.memories.entry(name.clone()).or_insert_with(|| Memory::new(daemon.clock.wall()));
        if memory.spec.as_ref().is_none_or(|known| known.generation < told.generation) {
            memory.spec = Some(told);
        }
    }
}

/// Acts on every finding. A run that was begun and has no files never came to a keeper, or has lost them: that the
/// directory is the one which this state knows tells one from the other.
pub fn take_over_all<K: Keepers>(daemon: &Daemon<K>, mut findings: Findings) {
    let runs = Directory::open(&daemon.paths.runs()).map(|directory| directory.id()).ok();
    let runs_are_kept = runs.is_some() && runs == daemon.instance.borrow().runs;
    let names: Vec<SessionName> = daemon.store.look().sessions.keys().cloned().collect();
    for name in names {
        let found = findings.names.remove(&name).unwrap_or(Found::Nothing);
        daemon.take_over_at_start(&name, found, runs_are_kept);
    }
    daemon.store.edit_world(|world| world.sources.looks = !world.sessions.values().any(is_unmeasured));
    // After what was found is counted: a daemon that is killed before finds the same.
    daemon.remember_places(|instance| instance.runs = runs);
}

/// Whether it was found running, and what it uses is not known yet.
pub fn is_unmeasured(entry: &Entry) -> bool {
    entry.adopted && matches!(&entry.plan.observed, Observed::Running(run) if run.seen.is_none())
}

/// What the source of specs is to know from before: it tells a spec that is gone from one that never was.
pub fn known_specs<K: Keepers>(daemon: &Daemon<K>) -> Vec<specs::Known> {
    let world = daemon.store.look();
    let known = world.sessions.iter().filter_map(|(name, entry)| {
        let good = entry.memory.spec.as_ref()?;
        Some(specs::Known {
            name: name.clone(),
            file_name: good.file.file_name()?.to_str()?.to_owned(),
            owner: good.owner,
            digest: good.digest.clone(),
            text: good.text.clone(),
            live: entry.plan.observed.is_live(),
            removed: entry.memory.removed,
        })
    });
    known.collect()
}
