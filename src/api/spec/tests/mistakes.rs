//! What is said about a spec that cannot be.

use super::*;

#[test]
fn a_mistake_is_told_with_its_place_and_what_to_do() {
    let wrong = parse(
        "comand: [claude]\nrestartPolicy: always\nbackoff: {initial: 30 parsecs}\nenv:\n  PORT: 8080\n",
    );
    insta::assert_snapshot!(wrong.unwrap_err().render(), @r#"
    error: unknown key `comand`
     --> web.yaml:1:1
      |
    1 | comand: [claude]
      | ^^^^^^
      = help: did you mean `command`?

    error: expected `Always`, `OnFailure` or `Never`, found the text `always`
     --> web.yaml:2:16
      |
    2 | restartPolicy: always
      |                ^^^^^^ restartPolicy
      = help: did you mean `Always`?

    error: expected a duration such as `90s`, `1h30m` or `2d`, found the text `30 parsecs`
     --> web.yaml:3:20
      |
    3 | backoff: {initial: 30 parsecs}
      |                    ^^^^^^^^^^ backoff.initial
      = help: units are `ms`, `s`, `m`, `h`, `d` and `w`

    error: expected a text, found the number `8080`
     --> web.yaml:5:9
      |
    5 |   PORT: 8080
      |         ^^^^ env.PORT
      = help: put it in quotes to make it a text
    "#);
    let wrong = parse("env:\n  A: a\n  command: [claude]\n  A: b\n");
    insta::assert_snapshot!(wrong.unwrap_err().render(), @r#"
    error: the key `command` is missing
     --> web.yaml:1:1
      |
    1 | env:
      | ^
      = help: `command` belongs to another key: check the indentation of line 3

    error: expected a text, found a list
     --> web.yaml:3:12
      |
    3 |   command: [claude]
      |            ^ env.command

    error: duplicate key `A`
     --> web.yaml:4:3
      |
    4 |   A: b
      |   ^ env
      = help: first written on line 2
    "#);
    let wrong = parse("restartPolicy: Never\n   command: [claude]\n");
    insta::assert_snapshot!(wrong.unwrap_err().render(), @r#"
    error: a key cannot stand here
     --> web.yaml:2:4
      |
    2 |    command: [claude]
      |    ^^^^^^^
      = help: check the indentation of this line and the one before, and put a text with `: ` in quotes
    "#);
    let wrong = parse("command: [claude, \"--x]\nenv: {}\n");
    insta::assert_snapshot!(wrong.unwrap_err().render(), @r#"
    error: this quote is not closed
     --> web.yaml:1:19
      |
    1 | command: [claude, "--x]
      |                   ^^^^^
      = help: a quote inside of a text is doubled or escaped
    "#);
    let wrong = parse("command:\n\t- claude\n");
    insta::assert_snapshot!(wrong.unwrap_err().render(), @r#"
    error: a tab cannot indent in YAML
     --> web.yaml:2:1
      |
    2 | →- claude
      | ^
      = help: use spaces
    "#);
    let wrong = parse("# nothing yet\n");
    insta::assert_snapshot!(wrong.unwrap_err().render(), @r#"
    error: the file has no content
     --> web.yaml:1:1
      |
    1 | # nothing yet
      | ^
      = help: the smallest spec is one line: `command: [claude]`
    "#);
}

#[test]
fn misspelt_keys_are_recognised() {
    const KNOWN: &str = "known here: agent, backoff, command, cpuWeight, env, envFile, identity, labels, maxAge, \
                         maxIdle, maxMemory, maxProcesses, onChange, owner, pinned, priority, restartPolicy, resume, \
                         slot, stopSignal, suspend, terminal, terminationGracePeriod, user, workingDir";
    for (key, hint) in [
        ("comand: x", "did you mean `command`?"),
        ("Command: x", "did you mean `command`?"),
        ("workdir: /", "did you mean `workingDir`?"),
        ("working_dir: /", "did you mean `workingDir`?"),
        ("working-directory: /", "did you mean `workingDir`?"),
        ("cwd: /", "did you mean `workingDir`?"),
        ("enviroment: {}", KNOWN),
        ("environment: {}", "did you mean `env`?"),
        ("env_file: /", "did you mean `envFile`?"),
        ("maxidle: 1h", "did you mean `maxIdle`?"),
        ("max_memory: 1GiB", "did you mean `maxMemory`?"),
        ("restart: Never", "did you mean `restartPolicy`?"),
        ("restartpolicy: Never", "did you mean `restartPolicy`?"),
        ("label: {}", "did you mean `labels`?"),
        ("name: web", "the file's name is the session's name: NAME.yaml"),
        ("kind: Session", "a spec is one session's keys, nothing around them"),
        ("completely: other", KNOWN),
    ] {
        let text = if hint.contains("command`") { key.to_owned() } else { format!("command: x\n{key}") };
        let word = key.split(':').next().unwrap();
        let line = if hint.contains("command`") { 1 } else { 2 };
        assert_eq!(bad(&text), [format!("web.yaml:{line}:1: unknown key `{word}` ({hint})")]);
    }
}

/// A line of a spec, and the place and words of its error.
#[rustfmt::skip]
const WRONG: &[(&str, &str)] = &[
    ("command: ''", "1:10: the command is empty (write what to run: `[claude]`)"),
    ("command: []", "1:10: the command is empty (write what to run: `[claude]`)"),
    ("command: ['', a]", "1:10: the program has no name (write what to run: `[claude]`)"),
    ("command:", "1:9: expected a command as a list or a text, found nothing (give it a value, or leave the key out)"),
    ("command: {a: b}", "1:10: expected a command as a list or a text, found a mapping"),
    ("command: [sleep, 1000]", "1:18: expected a text, found the number `1000` (put it in quotes to make it a text)"),
    ("command: [sh, [x]]", "1:15: expected a text, found a list"),
    ("command: \"a\\0b\"", "1:10: a NUL character cannot stand in a value"),
    ("env: {'': a}", "1:7: expected the name of a variable, without `=`, found an empty text"),
    ("env: {A=B: a}", "1:7: expected the name of a variable, without `=`, found the name `A=B`"),
    ("env: {\"A\\0\": a}", "1:7: expected the name of a variable, without `=`, found the name `A\\u{0}`"),
    ("env: {ATM_SESSION: a}", "1:7: expected a name that a session may set, found the name `ATM_SESSION` (atm and systemd set it themselves)"),
    ("env: {NOTIFY_SOCKET: a}", "1:7: expected a name that a session may set, found the name `NOTIFY_SOCKET` (atm and systemd set it themselves)"),
    ("env: {A: \"\\0\"}", "1:10: a NUL character cannot stand in a value"),
    ("env: [A=b]", "1:6: expected a mapping of names to texts, found a list (write each as `NAME: \"value\"`)"),
    ("env: {1: a}", "1:7: expected a text as key, found the number `1` (put it in quotes to make it a text)"),
    ("workingDir: src", "1:13: expected a path that begins with `/`, `~` or `${VAR}`, found the text `src` (`~/` in front of it means the user's home)"),
    ("workingDir: ~", "1:13: expected a path that begins with `/`, `~` or `${VAR}`, found nothing (give it a value, or leave the key out)"),
    ("envFile: [/a, b]", "1:15: expected a path that begins with `/`, `~` or `${VAR}`, found the text `b` (`~/` in front of it means the user's home)"),
    ("user: a:b", "1:7: expected the name of a user, found the text `a:b`"),
    ("user: 1000", "1:7: expected the name of a user, found the number `1000` (put it in quotes to make it a text)"),
    ("terminal: yes", "1:11: expected `true`, `false` or `{columns: 120, rows: 40}`, found the text `yes`"),
    ("terminal: {columns: 0}", "1:21: expected a whole number from 1 to 1000, found the number `0`"),
    ("terminal: {rows: 1001}", "1:18: expected a whole number from 1 to 1000, found the number `1001`"),
    ("terminal: {width: 80}", "1:12: unknown key `width` (did you mean `columns`?)"),
    ("agent: Claude", "1:8: expected `claude`, `codex` or `generic`, found the text `Claude` (did you mean `claude`?)"),
    ("restartPolicy: on-failure", "1:16: expected `Always`, `OnFailure` or `Never`, found the text `on-failure` (did you mean `OnFailure`?)"),
    ("restartPolicy: Sometimes", "1:16: expected `Always`, `OnFailure` or `Never`, found the text `Sometimes`"),
    ("onChange: restart", "1:11: expected `WhenIdle`, `Restart` or `Manual`, found the text `restart` (did you mean `Restart`?)"),
    ("resume: true", "1:9: expected `auto` or `never`, found the boolean `true`"),
    ("backoff: 5s", "1:10: expected `{initial: 1s, max: 5m, resetAfter: 10m}`, found the text `5s`"),
    ("backoff: {initial: 10m}", "1:20: `max` is shorter than `initial` (`max` is 5m where it is not written)"),
    ("backoff: {max: 1ms}", "1:16: `max` is shorter than `initial` (`initial` is 1s where it is not written)"),
    ("terminationGracePeriod: 10", "1:25: expected a duration such as `90s`, `1h30m` or `2d`, found the number `10` (add a unit: `ms`, `s`, `m`, `h`, `d` or `w`)"),
    ("terminationGracePeriod: '10'", "1:25: expected a duration such as `90s`, `1h30m` or `2d`, found the text `10` (add a unit: `ms`, `s`, `m`, `h`, `d` or `w`)"),
    ("terminationGracePeriod: 101y", "1:25: expected a duration of at most 100 years, found the text `101y`"),
    ("stopSignal: KILL", "1:13: expected a signal that a program can act on, found the text `KILL` (SIGKILL follows by itself after terminationGracePeriod)"),
    ("stopSignal: 19", "1:13: expected a signal that a program can act on, found the number `19` (SIGKILL follows by itself after terminationGracePeriod)"),
    ("stopSignal: term", "1:13: expected a signal such as `TERM`, `INT` or `HUP`, found the text `term` (did you mean `TERM`?)"),
    ("maxIdle: 0s", "1:10: expected a duration of at least 1ms, or `never`, found the text `0s` (`never` switches it off)"),
    ("maxAge: off", "1:9: expected a duration such as `90s`, `1h30m` or `2d`, or `never`, found the text `off` (`never` switches it off)"),
    ("maxMemory: 4", "1:12: expected a size of at least 1MiB, or `never`, found the number `4` (a number without a unit is in bytes)"),
    ("maxMemory: 4GiBs", "1:12: expected a size such as `512MiB`, `2GB` or `4096` (bytes), or `never`, found the text `4GiBs` (units are `KiB`, `MiB`, `GiB` and `TiB`, or `kB`, `MB`, `GB` and `TB`)"),
    ("maxMemory: -1", "1:12: expected a size such as `512MiB`, `2GB` or `4096` (bytes), or `never`, found the number `-1` (`never` switches it off)"),
    ("maxProcesses: 0", "1:15: expected a whole number from 1 to 4194304, or `never`, found the number `0` (`never` switches it off)"),
    ("cpuWeight: 10001", "1:12: expected a whole number from 1 to 10000, found the number `10001`"),
    ("cpuWeight: 1.5", "1:12: expected a whole number from 1 to 10000, found the number `1.5`"),
    ("priority: '1'", "1:11: expected a whole number from -2147483648 to 2147483647, found the text `1` (write it without quotes)"),
    ("priority: 2147483648", "1:11: expected a whole number from -2147483648 to 2147483647, found the number `2147483648`"),
    ("pinned: yes", "1:9: expected `true` or `false`, found the text `yes` (write `true`)"),
    ("pinned: 1", "1:9: expected `true` or `false`, found the number `1`"),
    ("identity: ''", "1:11: expected a name, found an empty text (leave the key out to mean none)"),
    ("identity: \"a\\e[2J\"", "1:11: expected a name of at most 253 printable bytes, found the text `a\\u{1b}[2J`"),
    ("slot: chat", "1:7: `slot` without `owner` (a slot is its owner's: write both)"),
    ("labels: {a b: c}", "1:10: expected a label's name, without blanks, `,`, `=` and `!`, found the name `a b`"),
    ("labels: {a: 1}", "1:13: expected a label's value, found the number `1` (put it in quotes to make it a text)"),
    ("labels: {a: 'b,c'}", "1:13: expected a label's value without `,`, found the text `b,c`"),
    ("<<: {pinned: true}", "1:1: merge keys are not supported (write the keys out)"),
    ("? [a]\n: b", "1:3: expected a text as key, found a list (put it in quotes to make it a text)"),
];

#[test]
fn wrong_values_are_told_by_their_path() {
    for (line, expected) in WRONG {
        let text =
            if line.starts_with("command") { (*line).to_owned() } else { format!("{line}\ncommand: [x]\n") };
        assert_eq!(bad(&text), [format!("web.yaml:{expected}")], "{text}");
    }
}

#[test]
fn doubled_keys_are_refused_at_every_level() {
    for (text, expected) in [
        ("command: x\ncommand: y", "2:1: duplicate key `command` (first written on line 1)"),
        ("command: x\n\"command\": y", "2:1: duplicate key `command` (first written on line 1)"),
        ("command: x\nenv:\n  A: a\n  B: b\n  A: c", "5:3: duplicate key `A` (first written on line 3)"),
        ("command: x\nbackoff: {max: 6m, max: 7m}", "2:20: duplicate key `max` (first written on line 2)"),
        ("command: x\nlabels: {a: b, 'a': c}", "2:16: duplicate key `a` (first written on line 2)"),
    ] {
        assert_eq!(bad(text), [format!("web.yaml:{expected}")], "{text}");
    }
}

#[test]
fn what_is_no_single_plain_document_is_refused() {
    let smallest = "(the smallest spec is one line: `command: [claude]`)";
    for (text, expected) in [
        ("", format!("1:1: the file is empty {smallest}")),
        (" \n\n", format!("1:1: the file is empty {smallest}")),
        ("# nothing\n", format!("1:1: the file has no content {smallest}")),
        ("---\n", format!("1:1: the file has no content {smallest}")),
        ("~", format!("1:1: the file has no content {smallest}")),
        ("{}", format!("1:1: the file has no content {smallest}")),
        ("[]", "1:1: expected a mapping of keys such as `command: [claude]`, found a list".into()),
        ("claude", "1:1: expected a mapping of keys such as `command: [claude]`, found the text `claude`".into()),
        ("env: {}", format!("1:1: the key `command` is missing {smallest}")),
        (
            "command: x\n---\ncommand: y",
            "2:1: a second document begins here (one file is one document: remove all but one)".into(),
        ),
        (
            "command: &a [x]\nenv: *a",
            "1:10: anchors are not supported (put a value that begins with `&` in quotes)".into(),
        ),
        ("command: [*x]", "1:11: aliases are not supported (put a value that begins with `*` in quotes)".into()),
        ("command: !x y", "1:10: tags are not supported (put a value that begins with `!` in quotes)".into()),
        ("command: !!binary eA==", "1:10: tags are not supported (put a value that begins with `!` in quotes)".into()),
        ("command: x\nenv:\n\tA: b", "3:1: a tab cannot indent in YAML (use spaces)".into()),
        ("command: x\nenv:\n  A: b\n \tB: c", "4:2: a tab cannot indent in YAML (use spaces)".into()),
        (
            "command: x\nworkingDir: @home",
            "2:13: this character cannot begin a value (put the value in quotes)".into(),
        ),
        (
            "command: [a, b\nenv: {}",
            "2:4: expected `,` or `]` (is a `[` not closed? The one of line 1 is open here)".into(),
        ),
        ("command: echo 'a", "1:10: a quote in the command is not closed (or write it as a list, one item a word: `[program, argument]`)".into()),
    ] {
        assert_eq!(bad(text), [format!("web.yaml:{expected}")], "{text}");
    }
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    let told = bad("comand: x\npriority: high\nenv: {A: 1, B: 2, ATM_X: y}\nlabels: [x]\nmaxidle: 1h\n");
    assert_eq!(told.len(), 7, "{told:#?}");
    let many: Vec<String> = (0..1000).map(|index| format!("key{index}: x")).collect();
    assert_eq!(bad(&many.join("\n")).len(), 10);
}

#[test]
fn an_error_shown_to_strangers_quotes_nothing() {
    for text in [
        "root:$6$hunter2:19000:0\n",
        "hunter2: x\n",
        "command: x\nenv: {hunter2: 1, ATM_hunter2: x, A: [hunter2]}\n",
        "command: x\nmaxIdle: hunter2\nagent: hunter2\nbackoff: hunter2\nstopSignal: hunter2\nuser: 'hunter2:'\n",
        "command: x\nlabels: {hunter2: a, hunter2: b, 'hunter2,': c}\n",
        "command: [hunter2\nx: hunter2",
        "command: 'hunter2 \"",
        "hunter2",
        "%hunter2\n---\nhunter2: *hunter2",
        "a: !hunter2 b",
        "command: *hunter2",
    ] {
        let wrong = parse(text).expect_err(text).without_source();
        let everything = format!("{}{wrong}{wrong:?}", wrong.render());
        assert!(!everything.contains("hunter2"), "{everything}");
    }
}
