//! Persons' own sessions under paused time; their processes are real.

use std::{
    io::{BufRead, BufReader},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use super::*;
use crate::{
    api::{event::EventKind, name::RunId, record::ProcessId, spec::Agent, status::Reason},
    daemon::{
        memory::Memory,
        registered::{Hooked, Newcomer, RegisterError, Registered, set_apart},
        state_files::Loaded,
        wills::Verb,
    },
    host::process::identify,
};

/// A process of the test's own, gone with its children when it is dropped.
struct Own(Child);

impl Own {
    fn new() -> Self {
        Self::run(Command::new("sleep").arg("1000"))
    }

    fn run(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0).spawn().unwrap())
    }

    fn id(&self) -> ProcessId {
        identify(self.0.id().cast_signed()).unwrap()
    }

    fn lines(&mut self) -> std::io::Lines<BufReader<ChildStdout>> {
        BufReader::new(self.0.stdout.take().unwrap()).lines()
    }

    fn newcomer(&self) -> Newcomer {
        Newcomer {
            process: self.id(),
            uid: 1000,
            agent: Agent::Claude,
            conversation: None,
            working_dir: Some("/src/web".into()),
            identity: None,
            name: None,
            activity: None,
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_raw(self.0.id().cast_signed()).unwrap();
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL); // not reaped: no other's
        let _ = self.0.wait();
    }
}

#[tokio::test(start_paused = true)]
async fn silence_is_a_date_and_each_sign_puts_it_off() {
    with_daemon("staleAfter: 90s", async |field| {
        let own = Own::new();
        let name = field.daemon.register(&own.newcomer()).unwrap().name;
        let reason = |field: &Field| field.entry(&name, |entry| entry.shown.reason);
        field.pass(secs(89)).await;
        assert_eq!(reason(field), Reason::Started);
        field.daemon.sign_of_life(&name, None);
        field.pass(secs(89)).await;
        assert_eq!(reason(field), Reason::Started);
        let changes = field.daemon.store.reader().changes();
        field.pass(secs(2)).await;
        assert_eq!(reason(field), Reason::Stale);
        assert!(changes.next().await.contains(&name), "who watches hears of it");
        assert!(field.daemon.sign_of_life(&name, None));
        assert_eq!(reason(field), Reason::Started);
        field.pass(secs(91)).await;
        assert_eq!(reason(field), Reason::Stale);
        field.config("staleAfter: 1h");
        field.until("not stale", |world| world.sessions[&name].shown.reason == Reason::Started).await;
        field.pass(secs(3600)).await;
        assert_eq!(reason(field), Reason::Stale);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_daemon_does_not_wait_for_it() {
    with_daemon("maxSessions: 9", async |field| {
        let own = Own::new();
        let name = field.daemon.register(&own.newcomer()).unwrap().name;
        let a = field.write("a", "command: [a]");
        field.until_phase(&a, Phase::Running).await;
        field.shut_down().await;
        assert_eq!(field.entry(&name, |entry| entry.shown.phase), Phase::Running);
        assert!(field.keepers().signals(&name).is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_its_process_is_heard() {
    with_daemon("maxSessions: 1", async |field| {
        let own = Own::new();
        let name = field.daemon.register(&own.newcomer()).unwrap().name;
        let a = field.write("a", "command: [a]");
        field.until_phase(&a, Phase::Pending).await;
        drop(own);
        field.until_phase(&a, Phase::Running).await;
        assert_eq!(field.told(&name, EventKind::Unregistered).len(), 1);
        assert!(!field.daemon.store.look().sessions.contains_key(&name));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_has_ended_is_not_taken_for_what_has_its_pid() {
    with_daemon("maxSessions: 1", async |field| {
        let own = Own::new();
        let mut newcomer = own.newcomer();
        newcomer.process.start_time += 1;
        let error = field.daemon.register(&newcomer).unwrap_err();
        assert!(matches!(error, RegisterError::Gone(_)), "{error}");
        assert!(field.daemon.store.look().sessions.is_empty());
    })
    .await;
}

fn script(path: &Path, text: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_hook_speaks_for_the_agent_above_it_and_for_no_helper() {
    with_daemon("maxSessions: 9", async |field| {
        let directory = tempfile::tempdir().unwrap();
        let [claude, helper] = ["claude", "helper"].map(|name| directory.path().join(name));
        std::fs::create_dir(&helper).unwrap();
        script(&helper.join("claude"), "sleep 1000 &\necho $!\nwait");
        // Its hook, by a shell; then a helper of its own kind, with a hook of its own.
        let run_helper = format!("{}/claude", helper.display());
        script(
            &claude,
            &format!("sh -c 'sleep 1000 & echo $!; read line; wait' &\nsleep 0.2\n{run_helper}\n"),
        );
        let mut own = Own::run(&mut Command::new(&claude));
        let mut lines = own.lines();
        let mut hook = || identify(lines.next().unwrap().unwrap().parse().unwrap()).unwrap();
        let (first, second) = (hook(), hook());

        let uid = machine::uid();
        let hooked = |hook, talk: &str| Hooked {
            hook,
            uid,
            agent: Agent::Claude,
            conversation: Some(talk.to_owned()),
            working_dir: None,
        };
        let name = field.daemon.heard_by_hook(hooked(first, "x")).await.unwrap();
        let process = field.entry(&name, |entry| entry.run.unwrap().child.unwrap());
        assert_eq!(process, own.id(), "the agent itself, and neither its hook nor the shell of it");
        assert_eq!(field.daemon.heard_by_hook(hooked(second, "helper")).await, None);
        // Its conversation was cleared: it is the same session.
        assert_eq!(field.daemon.heard_by_hook(hooked(first, "y")).await.as_ref(), Some(&name));
        for talk in ["y", "z"] {
            let stranger = Hooked { uid: uid + 1, ..hooked(first, talk) };
            assert_eq!(field.daemon.heard_by_hook(stranger).await, None, "another user says nothing of it");
        }
        assert_eq!(field.daemon.store.look().sessions.len(), 1);
        let talk = field.entry(&name, |entry| entry.memory.registered.clone().unwrap().conversation);
        assert_eq!(talk.as_deref(), Some("y"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_looked_at_is_kept_as_stale_until_it_speaks() {
    with_daemon("staleAfter: 90s", async |field| {
        let name = SessionName::new("claude-web-3f9a").unwrap();
        let mut memory = Memory::new(field.daemon.clock.wall());
        memory.registered = Some(Registered {
            process: ProcessId { pid: 0, start_time: 1 }, // no pid at all: the system says neither yes nor no
            boot_id: field.daemon.clock.boot().clone(),
            pid_namespace: machine::pid_namespace(),
            uid: field.daemon.uid,
            agent: Agent::Claude,
            conversation: Some("x".into()),
            working_dir: None,
            identity: Some("arch".into()),
            run_id: RunId::generate(),
            started_at: field.daemon.clock.wall(),
        });
        let first_seen = memory.first_seen;
        let memories = [(name.clone(), memory)].into();
        field.daemon.recall_guests(set_apart(&mut Loaded { memories, damaged: Vec::new() }));
        assert_eq!(field.entry(&name, |entry| entry.shown.reason), Reason::Stale);
        let a = field.write("a", "command: [a]\nidentity: arch\n");
        field.until_phase(&a, Phase::Pending).await;
        field.pass(secs(300)).await;
        assert_eq!(
            field.shows(),
            "a Pending/IdentityTaken, claude-web-3f9a Running",
            "resyncs change nothing"
        );

        let own = Own::new();
        let speaks = Newcomer { uid: field.daemon.uid, conversation: Some("x".into()), ..own.newcomer() };
        assert_eq!(field.daemon.register(&speaks).unwrap().name, name);
        assert_eq!(field.entry(&name, |entry| entry.shown.reason), Reason::Started);
        let known = field.entry(&name, |entry| (entry.memory.first_seen, entry.plan.identity.clone()));
        assert_eq!(known, (first_seen, Some("arch".into())), "what was known of it stays");
        drop(own);
        field.until_phase(&a, Phase::Running).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_that_goes_on_although_it_was_asked_to_end_is_shown_so_when_it_speaks() {
    with_daemon("{}", async |field| {
        let mut own = Own::run(Command::new("sh").args(["-c", "trap '' TERM; echo up; sleep 1000"]));
        own.lines().next().unwrap().unwrap();
        let newcomer = Newcomer { uid: machine::uid(), ..own.newcomer() };
        let name = field.daemon.register(&newcomer).unwrap().name;
        let phase = |field: &Field| field.entry(&name, |entry| entry.shown.phase);
        assert!(field.daemon.order(Verb::Stop, &name, PERSON).await.unwrap());
        assert_eq!(phase(field), Phase::Stopping);
        field.pass(secs(5)).await;
        field.daemon.sign_of_life(&name, None);
        assert_eq!(phase(field), Phase::Stopping, "it may still be on its way out");
        field.pass(secs(6)).await;
        field.daemon.sign_of_life(&name, None);
        field.until_phase(&name, Phase::Running).await;
    })
    .await;
}
