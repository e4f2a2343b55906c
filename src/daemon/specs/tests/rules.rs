//! Files in a directory that stays: when a change counts, when a name is gone, who speaks for it.

use super::{
    name,
    world::{RULES, SYSTEM, World, known},
};
use crate::{daemon::specs::looks::What, host::specfile::Obstacle};

const NOTHING: [&str; 0] = [];

#[test]
fn a_start_tells_what_is_there_then_that_it_was_all() {
    let mut world = World::new();
    world.put("b.yml", "ok B");
    world.put("a.yaml", "ok A");
    world.put("c.yaml", "no");
    world.now = world.now.checked_add(std::time::Duration::from_secs(1)).unwrap();
    world.run(0);
    assert_eq!(
        world.heard(),
        ["available 1", "good a A a.yaml", "good b B b.yml", "bad c invalid", "first"],
        "files that rest are read at once"
    );
}

#[test]
fn a_start_waits_a_moment_for_a_file_just_written_and_not_for_ever_for_one_that_grows() {
    let mut world = World::new();
    world.put("a.yaml", "ok A");
    world.put("b.yaml", "ok B1");
    world.run(90);
    assert_eq!(world.heard(), ["available 1"]);
    world.events = false;
    world.write("b.yaml", "ok B12");
    world.run(70);
    assert_eq!(world.heard(), ["good a A a.yaml", "first"]);
    world.run(60);
    assert_eq!(world.heard(), ["good b B12 b.yaml"]);
}

#[test]
fn renamed_into_place_is_read_at_once_and_alone() {
    let mut world = World::started(&[("a.yaml", "ok A"), ("b.yaml", "ok B")]);
    world.rename_in("c.yaml", "ok C");
    world.run(0);
    assert_eq!(world.heard(), ["good c C c.yaml"]);
    assert_eq!((world.lists, world.reads), (0, 1));
    world.run(60_000);
    assert_eq!((world.lists, world.reads), (0, 1), "and nothing is polled");
}

#[test]
fn what_follows_within_the_window_is_gathered_into_one_look() {
    let mut world = World::started(&[]);
    world.rename_in("a.yaml", "ok 0");
    world.run(0);
    for i in 1..=15 {
        world.run(1);
        world.rename_in("a.yaml", &format!("ok {i}"));
    }
    world.run(1000);
    assert_eq!(world.heard(), ["good a 0 a.yaml", "good a 15 a.yaml"]);
    assert_eq!(world.reads, 2);
}

#[test]
fn there_and_back_within_the_window_is_nothing() {
    let mut world = World::started(&[("a.yaml", "ok A")]);
    world.save("a.yaml", "ok A");
    world.run(0);
    world.rename_in("a.yaml", "ok B");
    world.run(5);
    world.rename_in("a.yaml", "ok A");
    world.run(1000);
    assert_eq!(world.heard(), NOTHING);
}

#[test]
fn equal_meaning_is_nothing() {
    let mut world = World::started(&[("a.yaml", "ok A")]);
    world.save("a.yaml", "ok A # with a comment");
    world.run(1000);
    world.hint("a.yaml", What::Attributes);
    world.run(1000);
    assert_eq!(world.heard(), NOTHING);
}

#[test]
fn half_of_a_file_is_never_believed() {
    for text in ["ok ABCDEFGH", "ok A\nB\nC"] {
        let mut world = World::started(&[("b.yaml", "ok B")]);
        for file in ["a.yaml", "b.yaml"] {
            world.open(file);
            for end in 1..=text.len() {
                world.run(5);
                world.write(file, &text[..end]);
            }
            // It may pause, too.
            world.run(900);
            assert_eq!(world.heard(), NOTHING, "{file}");
            world.close(file);
            world.run(0);
            assert_eq!(world.heard().len(), 1, "{file}");
        }
    }
}

#[test]
fn a_file_that_is_never_closed_counts_when_its_writer_has_long_paused() {
    let mut world = World::started(&[]);
    world.open("a.yaml");
    world.write("a.yaml", "ok A");
    world.run(1050);
    assert_eq!(world.heard(), NOTHING);
    world.run(100);
    assert_eq!(world.heard(), ["good a A a.yaml"]);
}

#[test]
fn a_write_that_overtakes_the_look_spoils_it() {
    use crate::daemon::specs::ledger::Step;
    let mut world = World::started(&[("a.yaml", "ok A")]);
    world.save("a.yaml", "ok B");
    // Read is begun after the close; the next writer has truncated the file by then.
    assert!(matches!(world.ledger.next(world.now), Step::Read { hear_first: true, .. }));
    world.write("a.yaml", "ok");
    let half =
        crate::host::specfile::Sight::Present { stamp: None, bytes: Ok(b"ok Half".to_vec()), torn: false };
    world.ledger.read(&crate::daemon::specs::names::FileKey::parse("a.yaml").unwrap(), half, world.now);
    assert_eq!(world.heard(), NOTHING);
    world.write("a.yaml", "ok C");
    world.close("a.yaml");
    world.run(100);
    assert_eq!(world.heard(), ["good a C a.yaml"]);
}

#[test]
fn a_link_is_read_at_once_and_a_new_empty_file_waits_for_its_writer() {
    let mut world = World::started(&[]);
    world.put("a.yaml", "ok A");
    world.dirs.get_mut(&1).unwrap().get_mut("a.yaml").unwrap().inode.links = 2;
    world.hint("a.yaml", What::Created);
    world.open("b.yaml");
    world.run(0);
    assert_eq!(world.heard(), ["good a A a.yaml"]);
    world.run(490);
    assert_eq!(world.heard(), NOTHING);
}

#[test]
fn two_looks_that_events_bring_close_together_prove_no_more_than_one() {
    let mut world = World::started(&[]);
    world.put("a.yaml", "ok A");
    world.hint("a.yaml", What::Created);
    world.run(30);
    world.hint("a.yaml", What::Created);
    world.run(60);
    assert_eq!(world.heard(), NOTHING);
    world.run(100);
    assert_eq!(world.heard(), ["good a A a.yaml"]);
}

#[test]
fn what_only_a_listing_finds_must_hold_still() {
    let mut world = World::started(&[("a.yaml", "ok A")]);
    world.events = false;
    world.put("a.yaml", "ok B");
    world.put("b.yaml", "ok N");
    world.ledger.relist(world.now);
    world.run(90);
    assert_eq!(world.heard(), NOTHING);
    world.write("b.yaml", "ok New");
    world.run(20);
    assert_eq!(world.heard(), ["good a B a.yaml"]);
    world.run(100);
    assert_eq!(world.heard(), ["good b New b.yaml"]);
}

#[test]
fn a_resync_reads_what_no_stamp_tells() {
    let mut world = World::started(&[("a.yaml", "ok A"), ("b.yaml", "ok B")]);
    world.dirs.get_mut(&1).unwrap().get_mut("a.yaml").unwrap().text = Ok("ok M".into()); // as mmap does
    world.ledger.relist(world.now);
    world.run(1000);
    assert_eq!(world.heard(), NOTHING);
    world.ledger.resync(world.now);
    world.run(1000);
    assert_eq!(world.heard(), ["good a M a.yaml"]);
}

#[test]
fn a_bad_file_leaves_the_last_good_spec() {
    let mut world = World::started(&[("a.yaml", "ok A")]);
    world.save("a.yaml", "");
    world.run(490);
    assert_eq!(world.heard(), NOTHING, "an empty file may be the next writer's beginning");
    world.run(20);
    assert_eq!(world.heard(), ["bad a invalid"]);
    world.save("a.yaml", "");
    world.run(1000);
    assert_eq!(world.heard(), NOTHING, "the same error is told once");
    world.save("a.yaml", "ok A");
    world.run(1000);
    assert_eq!(world.heard(), ["cleared a"]);
    world.save("a.yaml", "no");
    world.run(50);
    world.save("a.yaml", "ok B");
    world.run(1000);
    assert_eq!(world.heard(), ["bad a invalid", "good a B a.yaml", "cleared a"]);
}

#[test]
fn a_parser_that_panics_costs_one_file() {
    let mut world = World::started(&[("a.yaml", "ok A")]);
    world.save("a.yaml", "panic");
    world.save("b.yaml", "ok B");
    world.run(1000);
    assert_eq!(world.heard(), ["bad a invalid", "good b B b.yaml"]);
}

#[test]
fn unreadable_is_unknown() {
    let mut world = World::started(&[("a.yaml", "ok A")]);
    world.break_file("a.yaml", Obstacle::Refused { doing: "opened", error: rustix::io::Errno::ACCESS });
    world.run(60_000);
    assert_eq!(world.heard(), ["bad a invalid"]);
}

#[test]
fn a_removal_takes_two_listings_and_less_than_half_a_second() {
    let mut world = World::started(&[("a.yaml", "ok A"), ("b.yaml", "ok B")]);
    world.remove("a.yaml");
    world.run(299);
    assert_eq!(world.heard(), NOTHING);
    world.run(2);
    assert_eq!(world.heard(), ["removed a"]);
    world.run(60_000);
    assert_eq!((world.heard(), world.lists), (vec![], 1));
}

#[test]
fn a_name_that_is_back_in_time_was_never_gone() {
    let mut world = World::started(&[("a.yaml", "ok A"), ("b.yaml", "ok B")]);
    world.remove("a.yaml");
    world.run(250);
    world.rename_in("a.yaml", "ok A");
    world.remove("b.yaml");
    world.run(200);
    world.save("b.yaml", "ok B2");
    world.run(1000);
    assert_eq!(world.heard(), ["good b B2 b.yaml"]);
}

#[test]
fn a_bad_file_that_goes_takes_its_name_with_it_if_it_was_never_good() {
    let mut world = World::started(&[("a.yaml", "no"), ("b.yaml", "ok B")]);
    world.remove("a.yaml");
    world.save("b.yaml", "no");
    world.run(10);
    world.remove("b.yaml");
    world.run(1000);
    assert_eq!(world.heard(), ["bad b invalid", "removed a", "removed b"]);
}

#[test]
fn many_at_once_take_three_listings_two_seconds_apart() {
    let files: Vec<String> = (0..12).map(|i| format!("s{i}.yaml")).collect();
    for (removed, seconds) in [(2, 0), (3, 0), (4, 4)] {
        let mut world = World::started(&[]);
        for (i, file) in files.iter().enumerate() {
            world.rename_in(file, "ok A");
            world.live(&format!("s{i}"), true);
        }
        world.run(1000);
        world.heard();
        for file in files.iter().take(removed) {
            world.remove(file);
        }
        world.run(seconds * 1000 + 290);
        let told = world.heard();
        assert!(!told.iter().any(|line| line.starts_with("removed")), "{removed}: {told:?}");
        assert_eq!(told.iter().any(|line| line == "braked 4/12"), removed == 4, "{removed}: {told:?}");
        world.run(500);
        let told = world.heard();
        assert_eq!(told.iter().filter(|line| line.starts_with("removed")).count(), removed, "{told:?}");
        assert_eq!(told.last().is_some_and(|line| line == "released"), removed == 4, "{told:?}");
    }
}

#[test]
fn the_brake_lets_go_when_most_are_back_and_at_once_when_a_person_says_so() {
    for accepted in [false, true] {
        let mut world = World::started(&[]);
        for i in 0..4 {
            world.rename_in(&format!("s{i}.yaml"), "ok A");
            world.live(&format!("s{i}"), true);
        }
        world.run(1000);
        world.heard();
        for i in 0..4 {
            world.remove(&format!("s{i}.yaml"));
        }
        world.run(1000);
        assert_eq!(world.heard(), ["braked 4/4"]);
        if accepted {
            world.ledger.accept_removals(world.now);
            world.run(0);
            assert_eq!(world.heard(), ["removed s0", "removed s1", "removed s2", "removed s3", "released"]);
            world.run(1000);
        } else {
            for i in 0..3 {
                world.rename_in(&format!("s{i}.yaml"), "ok A");
            }
            world.run(1500);
            assert_eq!(world.heard(), ["removed s3", "released"]);
        }
    }
}

#[test]
fn yaml_to_yml_and_back_is_nothing_but_another_path() {
    let mut world = World::started(&[("a.yaml", "ok A")]);
    world.rename("a.yaml", "a.yml");
    world.run(1000);
    assert_eq!(world.heard(), ["rebound a a.yml"]);
    for _ in 0..50 {
        world.rename("a.yml", "a.yaml");
        world.run(3);
        world.rename("a.yaml", "a.yml");
        world.run(7);
    }
    world.run(1000);
    // A look may meet the same moment of each round, and find the other path for a while.
    let told = world.heard();
    assert!(told.iter().all(|line| line.starts_with("rebound")), "{told:?}");
    assert!(told.last().is_none_or(|line| line == "rebound a a.yml"), "{told:?}");
    // By copy and removal, with some time between.
    world.save("a.yaml", "ok A");
    world.run(60);
    world.remove("a.yml");
    world.run(1000);
    assert_eq!(world.heard(), ["rebound a a.yaml"]);
}

#[test]
fn of_two_files_the_one_in_force_stays_and_the_other_takes_over_without_a_stop() {
    let mut world = World::started(&[("a.yml", "ok A")]);
    world.save("a.yaml", "ok B");
    world.run(1000);
    assert_eq!(world.heard(), ["bad a conflict"]);
    world.save("a.yaml", "no");
    world.save("a.yml", "ok A2");
    world.run(1000);
    assert_eq!(world.heard(), ["good a A2 a.yml"]);
    world.save("a.yaml", "ok A2");
    world.remove("a.yml");
    world.run(1000);
    // Whether the conflict ends before or with the takeover does not matter.
    assert_eq!(world.heard(), ["rebound a a.yaml", "cleared a"]);
}

#[test]
fn of_two_unknown_files_the_first_in_byte_order_is_taken() {
    for files in [["a.yaml", "a.yml"], ["a.yml", "a.yaml"]] {
        let mut world = World::new();
        for file in files {
            world.put(file, &format!("ok {}", file.len()));
        }
        world.now = world.now.checked_add(std::time::Duration::from_secs(1)).unwrap();
        world.run(1000);
        assert_eq!(world.heard(), ["available 1", "good a 6 a.yaml", "first", "bad a conflict"]);
    }
}

#[test]
fn state_decides_between_two_files_after_a_restart() {
    let mut world = World::with(RULES, Some(1), vec![known("a.yml", "ok A", true)]);
    world.put("a.yaml", "ok B");
    world.put("a.yml", "ok A");
    world.run(1000);
    assert_eq!(world.heard(), ["available 1", "good a A a.yml", "first", "bad a conflict"]);
}

#[test]
fn after_a_restart_the_last_good_spec_stands_in_for_a_broken_file() {
    let mut world =
        World::with(RULES, Some(1), vec![known("a.yaml", "ok A", false), known("b.yaml", "ok B", true)]);
    world.put("a.yaml", "no");
    world.now = world.now.checked_add(std::time::Duration::from_secs(1)).unwrap();
    world.run(100);
    // b lives and its file is gone: it is told, and removed by the rule; a is told although it does not live.
    assert_eq!(
        world.heard(),
        ["available 1", "remembered a A a.yaml", "bad a invalid", "remembered b B b.yaml", "first"]
    );
    world.run(1000);
    assert_eq!(world.heard(), ["removed b"]);
    world.save("a.yaml", "ok A");
    world.run(1000);
    assert_eq!(world.heard(), ["cleared a"]);
}

#[test]
fn what_state_knows_and_nobody_runs_or_declares_is_removed_without_being_told_good() {
    let mut world = World::with(RULES, Some(1), vec![known("a.yaml", "ok A", false)]);
    world.run(100);
    assert_eq!(world.heard(), ["available 1", "first"]);
    world.run(1000);
    assert_eq!(world.heard(), ["removed a"]);
}

#[test]
fn a_name_passes_to_another_user_only_when_the_session_is_gone() {
    let mut world = World::with(SYSTEM, None, vec![]);
    world.uid = 1;
    world.rename_in("a.yaml", "ok A");
    world.run(1000);
    world.live("a", true);
    world.heard();
    // The other user's file beside it, then in its place.
    world.uid = 2;
    world.rename_in("a.yml", "ok B");
    world.run(1000);
    assert_eq!(world.heard(), ["bad a conflict"]);
    world.remove("a.yaml");
    world.run(1000);
    assert_eq!(world.heard(), ["removed a", "bad a waits"]);
    world.run(60_000);
    world.live("a", false);
    world.run(0);
    assert_eq!(world.heard(), ["good a B a.yml", "cleared a"]);
}

#[test]
fn a_file_given_away_is_another_users_file() {
    let mut world = World::with(SYSTEM, None, vec![]);
    world.uid = 1;
    world.rename_in("a.yaml", "ok A");
    world.run(1000);
    world.live("a", true);
    world.heard();
    world.chown("a.yaml", 2);
    world.run(200);
    assert_eq!(world.heard(), NOTHING);
    world.run(1000);
    assert_eq!(world.heard(), ["removed a", "bad a waits"]);
    world.chown("a.yaml", 1);
    world.run(1000);
    assert_eq!(world.heard(), ["good a A a.yaml", "cleared a"], "its own user may have it back before that");
}

#[test]
fn in_user_mode_owners_do_not_matter() {
    let mut world = World::started(&[("a.yaml", "ok A")]);
    world.chown("a.yaml", 2);
    world.run(1000);
    assert_eq!(world.heard(), NOTHING);
}

#[test]
fn a_storm_on_one_name_costs_a_look_per_window() {
    let mut world = World::started(&[]);
    for i in 0..1000 {
        world.rename_in("a.yaml", &format!("ok {i}"));
        world.run(1);
        world.remove("a.yaml");
        world.run(1);
    }
    world.rename_in("a.yaml", "ok last");
    world.run(1000);
    assert!(world.reads <= 110, "{}", world.reads);
    assert_eq!(world.heard().last().map(String::as_str), Some("good a last a.yaml"));
}

#[test]
fn without_inotify_it_is_listed_each_second() {
    let mut world = World::started(&[("a.yaml", "ok A")]);
    world.events = false;
    world.ledger.set_blind(Some("no watches".into()), world.now);
    world.run(10_000);
    assert!((9..=12).contains(&world.lists), "{}", world.lists);
    world.put("b.yaml", "ok B");
    world.run(1200);
    assert_eq!(world.heard(), ["blind", "good b B b.yaml"]);
    world.ledger.set_blind(None, world.now);
    world.run(2000);
    let lists = world.lists;
    world.run(60_000);
    assert_eq!((world.heard(), world.lists), (vec!["sighted".to_owned()], lists));
}

#[test]
fn an_odd_name_is_told_once_until_it_is_gone() {
    let mut world = World::started(&[]);
    world.ledger.odd("`Foo.yaml`".into());
    world.ledger.odd("`Foo.yaml`".into());
    assert_eq!(world.heard(), ["odd `Foo.yaml`"]);
    world.ledger.relist(world.now);
    world.run(200);
    world.ledger.odd("`Foo.yaml`".into());
    assert_eq!(world.heard(), ["odd `Foo.yaml`"]);
}

#[test]
fn a_thousand_specs_make_an_event_no_dearer() {
    let files: Vec<String> = (0..1000).map(|i| format!("s{i}.yaml")).collect();
    let mut world = World::started(&[]);
    for file in &files {
        world.rename_in(file, "ok A");
    }
    world.run(1000);
    (world.lists, world.reads) = (0, 0);
    world.save("s500.yaml", "ok B");
    world.run(100);
    assert_eq!((world.lists, world.reads), (0, 1));
    let _ = name("s500");
}
