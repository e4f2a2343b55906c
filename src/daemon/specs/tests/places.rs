//! The directory itself: gone, moved, another one, unreadable, unsafe.

use super::world::{RULES, SYSTEM, World, known};

const NOTHING: [&str; 0] = [];

/// Two live sessions in directory 1, and a third that does not live.
fn three() -> World {
    let mut world = World::started(&[("a.yaml", "ok A"), ("b.yaml", "ok B"), ("c.yaml", "ok C")]);
    world.live("a", true);
    world.live("b", true);
    world
}

#[test]
fn a_directory_that_is_gone_stops_nothing_and_is_found_again() {
    for gone in [Ok(None), Err("permission denied")] {
        let mut world = three();
        let why = if gone.is_ok() { "missing" } else { "unreadable" };
        world.turn(gone);
        world.run(60_000);
        assert_eq!(world.heard(), [format!("unavailable {why}")]);
        world.events = false;
        world.turn(Ok(Some(1)));
        world.run(1000);
        assert_eq!(world.heard(), ["available 1"]);
        // And it is the right one: what went meanwhile is gone, by the rule.
        world.events = true;
        world.remove("b.yaml");
        world.run(1000);
        assert_eq!(world.heard(), ["removed b"]);
    }
}

#[test]
fn what_was_missed_before_the_directory_went_is_missed_afresh_when_it_is_back() {
    let mut world = three();
    world.remove("b.yaml");
    world.run(200);
    world.turn(Err("stale handle"));
    world.run(10_000);
    world.turn(Ok(Some(1)));
    world.run(200);
    assert_eq!(world.heard(), ["unavailable unreadable", "available 1"]);
    world.run(200);
    assert_eq!(world.heard(), ["removed b"]);
}

#[test]
fn another_directory_adds_and_neither_changes_nor_removes() {
    let mut world = three();
    world.turn(Ok(Some(2)));
    world.run(60_000);
    assert_eq!(world.heard(), ["unavailable other a,b"]);
    world.rename_in("n.yaml", "ok N");
    world.rename_in("a.yaml", "ok A2");
    world.run(1000);
    assert_eq!(world.heard(), ["unavailable other b", "good n N n.yaml"]);
    // The last live one is back: now the directory counts in full, and c, which has no file, goes.
    world.rename_in("b.yaml", "ok B");
    world.run(1000);
    assert_eq!(world.heard(), ["available 2", "good a A2 a.yaml", "removed c"]);
}

#[test]
fn the_old_directory_may_come_back_instead() {
    let mut world = three();
    world.turn(Ok(Some(2)));
    world.run(1000);
    world.turn(Ok(Some(1)));
    world.run(60_000);
    assert_eq!(world.heard(), ["unavailable other a,b", "available 1"]);
}

#[test]
fn removed_and_filled_again_is_nothing() {
    let mut world = three();
    for i in 0..200 {
        world.turn(Ok(None));
        world.run(i % 40);
        world.turn(Ok(Some(10 + i)));
        world.run(i % 30);
        for (file, text) in [("a.yaml", "ok A"), ("b.yaml", "ok B"), ("c.yaml", "ok C")] {
            world.run(i % 7);
            world.save(file, text);
        }
        world.run(500);
    }
    let told = world.heard();
    assert!(
        told.iter().all(|line| line.starts_with("unavailable") || line.starts_with("available")),
        "{told:?}"
    );
    assert_eq!(told.last().map(String::as_str), Some("available 209"));
}

#[test]
fn a_person_may_accept_that_all_is_gone() {
    for path in [Ok(None), Ok(Some(2))] {
        let mut world = three();
        world.turn(path);
        world.run(5000);
        world.heard();
        world.ledger.accept_removals(world.now);
        world.run(250);
        let told = world.heard();
        assert!(!told.iter().any(|line| line.starts_with("removed")), "one look is not enough: {told:?}");
        world.run(500);
        assert_eq!(world.heard(), ["removed a", "removed b", "removed c"]);
    }
}

#[test]
fn what_cannot_be_seen_cannot_be_accepted() {
    let mut world = three();
    world.turn(Err("stale handle"));
    world.run(1000);
    world.ledger.accept_removals(world.now);
    world.run(5000);
    // Nor does the word stay valid for what comes later.
    world.turn(Ok(Some(2)));
    world.run(5000);
    assert_eq!(world.heard(), ["unavailable unreadable", "unavailable other a,b"]);
}

#[test]
fn where_nothing_lives_another_directory_is_as_good() {
    let mut world = World::started(&[("a.yaml", "ok A")]);
    world.turn(Ok(Some(2)));
    world.run(100);
    assert_eq!(world.heard(), ["available 2"]);
    world.run(1000);
    assert_eq!(world.heard(), ["removed a"]);
}

#[test]
fn a_start_without_its_directory_holds_what_lives() {
    let state = || vec![known("a.yaml", "ok A", true), known("b.yaml", "ok B", false)];
    let mut world = World::with(RULES, Some(1), state());
    world.path = Ok(None);
    world.run(60_000);
    assert_eq!(world.heard(), ["unavailable missing", "remembered a A a.yaml", "first"]);
    world.turn(Ok(Some(1)));
    world.put("a.yaml", "ok A");
    world.put("b.yaml", "ok B2");
    world.run(1000);
    assert_eq!(world.heard(), ["available 1", "good b B2 b.yaml"]);

    let mut world = World::with(RULES, Some(1), state());
    world.turn(Ok(Some(2)));
    world.run(60_000);
    assert_eq!(world.heard(), ["unavailable other a", "remembered a A a.yaml", "first"]);
}

#[test]
fn a_session_that_turns_out_to_live_is_remembered() {
    let mut world = World::with(RULES, Some(1), vec![known("a.yaml", "ok A", false)]);
    world.path = Ok(None);
    world.run(1000);
    world.live("a", true);
    assert_eq!(world.heard(), ["unavailable missing", "first", "remembered a A a.yaml"]);
}

#[test]
fn a_first_start_without_a_directory_begins_when_there_is_one() {
    let mut world = World::new();
    world.path = Ok(None);
    world.run(1000);
    assert_eq!(world.heard(), ["unavailable missing", "first"]);
    world.events = false;
    world.turn(Ok(Some(3)));
    world.put("a.yaml", "ok A");
    world.run(1000);
    assert_eq!(world.heard(), ["available 3", "good a A a.yaml"]);
}

#[test]
fn in_system_mode_a_directory_that_others_fill_is_refused_unless_sticky() {
    let mut world = World::with(SYSTEM, None, vec![]);
    world.dir_mode = 0o777;
    world.put("a.yaml", "ok A");
    world.run(1000);
    assert_eq!(world.heard(), ["unavailable refused", "first"]);
    world.dir_mode = 0o1777;
    world.run(1000);
    assert_eq!(world.heard(), ["available 1", "good a A a.yaml"]);
    world.dir_mode = 0o775;
    world.ledger.resync(world.now);
    world.remove("a.yaml");
    world.run(60_000);
    assert_eq!(world.heard(), ["unavailable refused"], "and nothing is removed meanwhile");
}

#[test]
fn a_read_in_the_wrong_directory_counts_for_nothing() {
    let mut world = three();
    // The path leads elsewhere, and the first that is heard of it is an event about a file.
    world.events = false;
    world.turn(Ok(Some(2)));
    world.put("a.yaml", "ok Foreign");
    world.events = true;
    world.close("a.yaml");
    world.run(5000);
    assert_eq!(world.heard(), ["unavailable other b"]);
    world.turn(Ok(Some(1)));
    world.run(1000);
    assert_eq!(world.heard(), ["available 1"]);
    assert_eq!(world.heard(), NOTHING);
}
