use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use super::*;
use crate::host::process::identify;

/// A shell that stands for a keeper, and what it runs; ends with all of it when it is dropped.
struct Tree(Child);

impl Tree {
    /// The script has to say a line once all of it is as it should be.
    fn grow(script: &str) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }

    fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }

    fn target(&self) -> Target {
        let keeper = identify(self.pid()).unwrap();
        Target { keeper, child: keeper, page: "/nonexistent".into(), group: None, exact_above: None }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let mut looker = looker();
        let _ = looker.look(&self.target());
        for member in &looker.members {
            super::super::tree::signal(&[member.id()], 9);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn looker() -> Looker {
    Looker::new(clock::boot_id())
}

/// Looks until it is so: what a shell does is not done when it says so.
fn look_until(looker: &mut Looker, target: &Target, mut is_so: impl FnMut(&Facts) -> bool) -> Facts {
    let begun = clock::monotonic();
    loop {
        let facts = looker.look(target).unwrap();
        if is_so(&facts) {
            return facts;
        }
        assert!(clock::monotonic().since(begun) < Duration::from_secs(30), "{facts:?}");
    }
}

#[test]
fn it_shows_what_is_below_the_keeper_and_not_the_keeper() {
    let tree = Tree::grow("sleep 1000 & (sleep 1000 & sleep 1000 & wait) & echo ready; wait");
    let facts = look_until(&mut looker(), &tree.target(), |facts| facts.processes == 4);
    assert!(facts.memory > 0 && facts.memory == facts.resident && !facts.exact, "{facts:?}");
    assert!(facts.youngest >= tree.target().keeper.start_time);
    assert!(!facts.stopped);
    assert_eq!(facts.page, None);
}

#[test]
fn it_shows_the_same_without_the_kernels_list_of_children() {
    let tree = Tree::grow("sleep 1000 & (sleep 1000 & sleep 1000 & wait) & echo ready; wait");
    look_until(&mut looker(), &tree.target(), |facts| facts.processes == 4);
    let mut looker = looker();
    looker.kin = Some(looker.all_kin().unwrap());
    assert_eq!(looker.look(&tree.target()).unwrap().processes, 4);
}

#[test]
fn children_of_other_threads_than_the_first_are_found() {
    let sleeper = std::thread::spawn(|| {
        // The thread is the parent while it lives: a child that it made is no child of the first thread.
        let mut child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        let own = identify(std::process::id().cast_signed()).unwrap();
        let target =
            Target { keeper: own, child: own, page: "/nonexistent".into(), group: None, exact_above: None };
        let mut looker = looker();
        let mut children = Vec::new();
        looker.read_children(target.keeper.pid, true, &mut children).unwrap();
        let found = children.contains(&child.id().cast_signed());
        child.kill().unwrap();
        child.wait().unwrap();
        found
    });
    assert!(sleeper.join().unwrap());
}

#[test]
fn work_and_children_that_came_and_went_stay_in_it() {
    let script =
        "echo ready; read go; i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; true | true; read end";
    let mut tree = Tree::grow(&format!("sh -c '{script}'; read end"));
    let mut looker = looker();
    let before = looker.look(&tree.target()).unwrap();
    std::io::Write::write_all(tree.0.stdin.as_mut().unwrap(), b"go\n").unwrap();
    let after = look_until(&mut looker, &tree.target(), |facts| {
        facts.cpu > before.cpu && facts.faults_of_ended > before.faults_of_ended
    });
    assert!(after.youngest >= before.youngest);
    // What ends leaves its time with who waited for it.
    let cpu = after.cpu;
    for member in looker.members.clone() {
        super::super::tree::signal(&[member.id()], 9);
    }
    let ended =
        look_until(&mut looker, &tree.target(), |facts| facts.faults_of_ended > after.faults_of_ended);
    assert!(ended.cpu >= cpu, "{ended:?} {cpu:?}");
}

#[test]
fn a_tree_is_stopped_when_all_of_it_is() {
    let tree = Tree::grow("sleep 1000 & sleep 1000 & echo ready; wait");
    let mut looker = looker();
    look_until(&mut looker, &tree.target(), |facts| facts.processes == 2);
    let [first, second] = [looker.members[0].id(), looker.members[1].id()];
    let target = Target { child: first, ..tree.target() };
    let stop = nix::libc::SIGSTOP;
    super::super::tree::signal(&[first], stop);
    look_until(&mut looker, &target, |_| true);
    assert!(!looker.look(&target).unwrap().stopped, "the other one runs");
    super::super::tree::signal(&[second], stop);
    look_until(&mut looker, &target, |facts| facts.stopped);
    super::super::tree::signal(&[first], nix::libc::SIGCONT);
    look_until(&mut looker, &target, |facts| !facts.stopped);
}

#[test]
fn what_processes_share_counts_once_where_that_is_asked_for() {
    // Five that share what their parent filled before it forked them: 64 MiB, and a copy that perl makes.
    let script = "$_ = 'x' x (64 << 20); for (1..5) { unless (fork) { sleep 1000; exit } } \
                  $| = 1; print qq(ready\\n); sleep 1000";
    let tree = Tree::grow(&format!("exec perl -e '{script}'"));
    let mut looker = looker();
    let target = tree.target();
    let rough = look_until(&mut looker, &target, |facts| facts.processes == 5);
    assert!(rough.memory > 300 << 20, "each counted: {rough:?}");
    let exact = looker.look(&Target { exact_above: Some(100 << 20), ..target.clone() }).unwrap();
    assert!(exact.exact && exact.memory < 200 << 20 && exact.resident > 300 << 20, "{exact:?}");
    let below = looker.look(&Target { exact_above: Some(1 << 40), ..target }).unwrap();
    assert!(!below.exact, "{below:?}");
}

#[test]
fn a_keeper_that_is_gone_is_an_error_and_no_empty_tree() {
    let tree = Tree::grow("echo ready; sleep 1000");
    let mut target = tree.target();
    target.keeper.start_time += 1;
    assert_eq!(looker().look(&target).unwrap_err().kind(), io::ErrorKind::NotFound);
    target.keeper.pid = i32::MAX;
    assert_eq!(looker().look(&target).unwrap_err().kind(), io::ErrorKind::NotFound);
}

/// A process may end between any two files that are read of it, and its pid be another's in the next moment.
#[test]
fn processes_that_come_and_go_while_it_looks_are_no_error() {
    let churn = "while :; do (:); (: | :) & wait; done";
    let tree = Tree::grow(&format!("sleep 1000 & ({churn}) & ({churn}) & echo ready; wait"));
    let mut looker = looker();
    let before = look_until(&mut looker, &tree.target(), |facts| facts.processes >= 3);
    let (mut looks, mut fewest, mut most) = (0, u32::MAX, 0);
    let facts = look_until(&mut looker, &tree.target(), |facts| {
        (fewest, most) = (fewest.min(facts.processes), most.max(facts.processes));
        looks += 1;
        looks > 1500
    });
    assert!(fewest >= 3 && most > 3, "from {fewest} to {most} processes");
    assert!(facts.faults_of_ended > before.faults_of_ended + 1000, "{before:?} {facts:?}");
}

#[test]
fn of_runs_that_are_over_nothing_is_remembered_for_long() {
    let mut looker = Looker::new(clock::boot_id());
    let own = identify(std::process::id().cast_signed()).unwrap();
    let outside = || Outside { mark: (1, 2), members: vec![own] };
    looker.remember(own, outside());
    for n in 0..10_000 {
        looker.remember(ProcessId { pid: 1_000_000_000 + n, start_time: 1 }, outside());
    }
    assert!(looker.outside.len() <= 2 * REMEMBERED, "{}", looker.outside.len());
    assert!(looker.outside.contains_key(&own));
}
