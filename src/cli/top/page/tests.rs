use serde_json::{Value, json};

use super::*;
use crate::api::diagnose::unprintable as acts;

fn health(more: &Value) -> HealthResult {
    let directories = json!({"config": "/c", "sessions": "/s", "runtime": "/r", "state": "/st", "log": "/l"});
    let mut health = json!({
        "version": "0.1.0", "pid": 77, "startedAt": "2026-01-01T00:00:00Z", "containment": "procfs", "summary": "",
        "instance": "0190aaaa-0000-7000-8000-000000000001", "directories": directories, "maxSessions": 16,
        "counts": {"pending": 1, "running": 3, "busy": 1, "waiting": 1, "stopping": 0, "succeeded": 0, "failed": 1,
            "evicted": 0, "suspended": 0},
        "specErrors": [], "warnings": [], "memoryBytes": 1_610_612_736_u64, "maxMemoryBytes": 8_589_934_592_u64,
        "usage": {"memoryBytes": 5_242_880, "cpuMillis": 1, "descriptors": 9, "queueLength": 0},
        "clients": {"watchers": 1, "maxWatchers": 10, "connections": 1, "refused": 0, "dropped": 0},
    });
    health.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(health).unwrap()
}

fn session(name: &str, status: &Value) -> SessionView {
    let view = json!({"name": name, "origin": "Declared", "generation": 1, "status": status});
    serde_json::from_value(view).unwrap()
}

fn sessions() -> Vec<SessionView> {
    let running = |more: &Value| {
        let mut status = json!({"phase": "Running", "reason": "Started", "restarts": 0, "startedAt": "2026-01-01T01:00:00Z",
            "memoryBytes": 10_485_760, "cpuPercent": 0.5, "processes": 3, "lastActivityAt": "2026-01-01T01:58:00Z"});
        status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        status
    };
    vec![
        session(
            "fix-login",
            &running(&json!({"activity": "Busy", "cpuPercent": 104.25, "memoryBytes": 1_610_612_736})),
        ),
        session(
            "asks",
            &running(&json!({"activity": "Waiting", "conditions": [{"kind": "RateLimited", "reason": "x"}]})),
        ),
        session(
            "a-name-that-is-longer-than-any-other-one",
            &running(&json!({"specError": [{"file": "x", "message": "odd"}]})),
        ),
        session(
            "loops",
            &json!({"phase": "Pending", "reason": "BackOff", "restarts": 7, "since": "2026-01-01T01:59:50Z",
                "nextStartAt": "2026-01-01T02:00:08Z", "message": "exit status 3"}),
        ),
        session(
            "broken",
            &json!({"phase": "Failed", "reason": "CannotStart", "restarts": 0, "message": "no \u{1b}[2J`漢\u{202e}字`\r\nin PATH"}),
        ),
    ]
}

const EMPTY: &str = "no sessions";

fn with_page<T>(sessions: &[SessionView], more: &Value, show: impl FnOnce(&Page) -> T) -> T {
    let (health, sessions): (_, Vec<&SessionView>) = (health(more), sessions.iter().collect());
    let page = Page {
        health: &health,
        sessions: &sessions,
        sort: Sort::Cpu,
        empty: EMPTY,
        trouble: None,
        now: "2026-01-01T02:00:00Z".parse().unwrap(),
    };
    show(&page)
}

/// Less the first line, which tells the time of this machine's zone.
fn frame(columns: u16, rows: u16, first: usize) -> String {
    let size = WindowSize::of_cells(columns, rows);
    let frame = with_page(&sessions(), &json!({}), |page| page.frame(size, first, false));
    assert!(
        frame.lines.len() <= usize::from(rows)
            && frame.lines.iter().all(|line| line.width() <= usize::from(columns))
    );
    frame.lines.get(1..).unwrap_or_default().join("\n")
}

#[test]
fn a_wide_screen_has_all_of_it() {
    insta::assert_snapshot!(frame(140, 12, 0), @r"
    Sessions: 3 of 16 running (1 busy, 1 waiting for a person), 1 pending, 1 failed
    Memory: 1.5 GiB of 8.0 GiB; the daemon's: 5.0 MiB; watchers: 1 of 10

    NAME                                 PHASE    ACTIVITY   CPU%    MEMORY  PROCS  IDLE  AGE  RESTARTS  MESSAGE
    fix-login                            Running  Busy      104.2   1.5 GiB      3    2m   1h         0
    asks                                 Running  Waiting     0.5  10.0 MiB      3    2m   1h         0  RateLimited
    a-name-that-is-longer-than-any-oth…  Running  -           0.5  10.0 MiB      3    2m   1h         0  InvalidSpec: odd
    loops                                Pending  -             -         -      -     -  10s         7  BackOff: exit status 3; next try in 8s.
    broken                               Failed   -             -         -      -     -    -         0  CannotStart: no \u{1b}[2J`漢\u{202e}字…

    1-5 of 5  by c [CPU]  m memory  n name  i idle  w waiting  q quits
    ");
}

#[test]
fn a_common_screen_spares_what_matters_least() {
    insta::assert_snapshot!(frame(80, 12, 0), @r"
    Sessions: 3 of 16 running (1 busy, 1 waiting for a person), 1 pending, 1 failed
    Memory: 1.5 GiB of 8.0 GiB; the daemon's: 5.0 MiB; watchers: 1 of 10

    NAME                  PHASE    ACTIVITY   CPU%    MEMORY  MESSAGE
    fix-login             Running  Busy      104.2   1.5 GiB
    asks                  Running  Waiting     0.5  10.0 MiB  RateLimited
    a-name-that-is-long…  Running  -           0.5  10.0 MiB  InvalidSpec: odd
    loops                 Pending  -             -         -  BackOff: exit status …
    broken                Failed   -             -         -  CannotStart: no \u{1b…

    1-5 of 5  by c [CPU]  m memory  n name  i idle  w waiting  q quits
    ");
}

#[test]
fn what_it_is_sorted_by_is_not_spared() {
    for (sort, title) in [(Sort::Idle, " IDLE "), (Sort::Memory, " MEMORY "), (Sort::Cpu, " CPU% ")] {
        for columns in [40, 60, 80] {
            let size = WindowSize::of_cells(columns, 12);
            let frame =
                with_page(&sessions(), &json!({}), |page| Page { sort, ..*page }.frame(size, 0, false));
            let header = frame.lines.iter().find(|line| line.starts_with("NAME")).unwrap();
            assert!(format!("{header} ").contains(title), "{columns}: {header}");
        }
    }
}

#[test]
fn a_narrow_and_low_screen_has_rows_and_keys() {
    insta::assert_snapshot!(frame(30, 6, 0), @r"
    NAME          PHASE     CPU%
    fix-login     Running  104.2
    asks          Running    0.5
    a-name-that…  Running    0.5
    1-3 of 5  by c [CPU]  m memor…
    ");
}

#[test]
fn rows_that_have_no_room_are_scrolled_to() {
    let shown = |rows, first| {
        let size = WindowSize::of_cells(80, rows);
        with_page(&sessions(), &json!({}), |page| page.frame(size, first, false))
    };
    for (rows, first, expected) in
        [(9, 0, (0, 3)), (9, 1, (1, 3)), (9, 9, (2, 3)), (30, 4, (0, 5)), (2, 9, (5, 0))]
    {
        let frame = shown(rows, first);
        assert_eq!((frame.first, frame.rows), expected, "{rows} lines from {first}: {:#?}", frame.lines);
    }
    let frame = shown(9, usize::MAX);
    assert!(frame.lines.last().unwrap().starts_with("3-5 of 5  by "), "{:#?}", frame.lines);
}

#[test]
fn every_size_has_a_frame_that_fits_and_acts_on_nothing() {
    let troubled = json!({
        "configError": [{"file": "/c", "message": "\u{1b}]0;x\u{7}unknown"}], "specsUnavailable": "\u{9b}2J",
        "warnings": ["\u{1b}[2J", "two"], "specErrors": [[{"file": "x", "message": "y"}]], "version": "\u{1b}c",
    });
    for (columns, rows) in (0..150).flat_map(|columns| [0, 1, 2, 3, 5, 40].map(|rows| (columns, rows))) {
        let size = WindowSize::of_cells(columns, rows);
        let frame = with_page(&sessions(), &troubled, |page| page.frame(size, 0, false));
        assert!(frame.lines.len() <= usize::from(rows), "{columns}×{rows}");
        for line in &frame.lines {
            assert!(
                line.width() <= usize::from(columns) && !line.chars().any(acts),
                "{columns}×{rows}: {line:?}"
            );
        }
    }
}

#[test]
fn a_page_is_whole_where_it_is_not_cut() {
    let whole = with_page(&sessions(), &json!({"warnings": ["one", "two"]}), |page| page.whole(None, false));
    insta::assert_snapshot!(whole.split_once('\n').unwrap().1, @r"
    Sessions: 3 of 16 running (1 busy, 1 waiting for a person), 1 pending, 1 failed
    Memory: 1.5 GiB of 8.0 GiB; the daemon's: 5.0 MiB; watchers: 1 of 10
    Warning: one (1 more: `atm status`)

    NAME                                      PHASE    ACTIVITY   CPU%    MEMORY  PROCS  IDLE  AGE  RESTARTS  MESSAGE
    fix-login                                 Running  Busy      104.2   1.5 GiB      3    2m   1h         0
    asks                                      Running  Waiting     0.5  10.0 MiB      3    2m   1h         0  RateLimited
    a-name-that-is-longer-than-any-other-one  Running  -           0.5  10.0 MiB      3    2m   1h         0  InvalidSpec: odd
    loops                                     Pending  -             -         -      -     -  10s         7  BackOff: exit status 3; next try in 8s.
    broken                                    Failed   -             -         -      -     -    -         0  CannotStart: no \u{1b}[2J`漢\u{202e}字`\r\nin PATH.
    ");
    let none = with_page(&[], &json!({}), |page| page.frame(WindowSize::of_cells(80, 12), 7, false));
    assert_eq!((none.first, none.rows, none.lines[5].as_str()), (0, 0, EMPTY));
}

#[test]
fn colours_are_those_of_the_list() {
    let page = with_page(&sessions(), &json!({}), |page| page.whole(None, true));
    for part in ["\u{1b}[32mRunning\u{1b}[0m", "\u{1b}[33mWaiting\u{1b}[0m", "\u{1b}[31mRateLimited\u{1b}[0m"]
    {
        assert!(page.contains(part), "{part:?} in {page:?}");
    }
    assert!(page.contains("(1 busy, \u{1b}[33m1 waiting for a person\u{1b}[0m)"), "{page:?}");
}
