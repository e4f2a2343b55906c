//! The screen beside tmux's, of the same programs and sequences.

use std::{
    fs,
    process::{Command, Output},
    time::{Duration, Instant},
};

use crate::{
    client::Client,
    harness::{Atm, wait_until},
};

/// A tmux of the test's own.
struct Tmux {
    socket: String,
}

impl Tmux {
    fn start(atm: &Atm, columns: u16, rows: u16, command: &str) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            eprintln!("skipped: needs tmux");
            return None;
        }
        let tmux = Self { socket: atm.path("tmux.sock").display().to_string() };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let started =
            tmux.run(&["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &rows, command]);
        assert!(started.status.success(), "{started:?}");
        tmux.run(&["set", "-g", "status", "off"]);
        tmux.run(&["resize-window", "-x", &columns, "-y", &rows]);
        Some(tmux)
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new("tmux").args(["-S", &self.socket]).args(args).env_remove("TMUX").output().unwrap()
    }

    fn screen(&self) -> Vec<String> {
        let text = self.run(&["capture-pane", "-p"]).stdout;
        lines(&String::from_utf8_lossy(&text))
    }

    fn types(&self, keys: &[&str]) {
        self.run(&[&["send-keys"], keys].concat());
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.run(&["kill-server"]);
    }
}

fn lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(|line| line.trim_end().to_owned()).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

const SEQUENCES: [(&str, &str); 34] = [
    ("plain", "one\r\ntwo\r\nthree"),
    ("wrap", "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890"),
    ("wide", "\u{6f22}\u{5b57} and more \u{6f22}\u{5b57}\x1b[1;3Hx"),
    ("combining", "e\u{301}a\u{300} and so on"),
    ("cursor", "\x1b[5;10Hhere\x1b[3Aup\x1b[2Bdown\x1b[10Dleft\x1b[5Cright"),
    ("save", "\x1b[3;3H\x1b7\x1b[10;10Haway\x1b8back"),
    ("csi-save", "\x1b[3;3H\x1b[s\x1b[10;10Haway\x1b[uback"),
    ("erase-line", "abcdefgh\x1b[4D\x1b[K\r\nabcdefgh\x1b[4D\x1b[1K\r\nabcdefgh\x1b[2K"),
    ("erase-below", "1\r\n2\r\n3\r\n4\x1b[2;1H\x1b[J"),
    ("erase-above", "1\r\n2\r\n3\r\n4\x1b[3;1H\x1b[1J"),
    ("erase-all", "1\r\n2\r\n3\x1b[2Jx"),
    ("insert-line", "1\r\n2\r\n3\x1b[2;1H\x1b[2L"),
    ("delete-line", "1\r\n2\r\n3\r\n4\x1b[2;1H\x1b[2M"),
    ("insert-char", "abcdef\x1b[1;3H\x1b[3@"),
    ("delete-char", "abcdef\x1b[1;3H\x1b[2P"),
    ("erase-char", "abcdef\x1b[1;3H\x1b[2X"),
    ("insert-mode", "abcdef\x1b[1;3H\x1b[4hXY\x1b[4l"),
    ("region", "1\r\n2\r\n3\r\n4\r\n5\x1b[2;4r\x1b[4;1H\n\nnew\x1b[r"),
    ("region-up", "1\r\n2\r\n3\r\n4\r\n5\x1b[2;4r\x1b[2;1H\x1bM\x1bMnew"),
    ("origin", "\x1b[5;10r\x1b[?6h\x1b[1;1Htop\x1b[20;1Hbottom\x1b[?6l\x1b[r"),
    ("scroll-up", "1\r\n2\r\n3\r\n4\x1b[2S"),
    ("scroll-down", "1\r\n2\r\n3\r\n4\x1b[2T"),
    ("tabs", "a\tb\tc\r\n\x1b[3g\x1b[5G\x1bH\x1b[20G\x1bH\ra\tb\tc"),
    ("back-tab", "\x1b[30Gx\x1b[2Zy"),
    ("line-drawing", "\x1b(0lqqqk\r\nx   x\r\nmqqqj\x1b(B end"),
    ("shift-out", "\x1b)0a\x0eqqq\x0fb"),
    (
        "no-wrap",
        "\x1b[?7l0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890\x1b[?7h",
    ),
    ("repeat", "ab\x1b[5b"),
    ("alternate", "primary\x1b[?1049h\x1b[Halternate"),
    ("alternate-and-back", "primary\x1b[?1049h\x1b[Halternate\x1b[?1049l after"),
    ("index", "a\x1bDb\x1bEc\x1bMd"),
    ("align", "\x1b#8\x1b[2;2H\x1b[1K"),
    ("backspace", "abc\x08\x08X\x08\x08\x08\x08\x08Y"),
    (
        "inline",
        "line 1\r\n\x1b[32m> \x1b[0mask\r\n\x1b[2m----\x1b[0m\r\nstatus\x1b[3A\r\x1b[Jnew line\r\n\x1b[32m> \x1b[0mask again\r\n----\r\nstatus 2",
    ),
];

#[test]
fn sequences_look_as_in_tmux_and_to_one_who_attaches() {
    let atm = Atm::start();
    let script = atm.path("show.sh");
    let text =
        "stty -echo -opost; printf ready; while read -r file; do printf '\\033c'; cat \"$file\"; done\n";
    fs::write(&script, text).unwrap();
    let Some(tmux) = Tmux::start(&atm, 80, 24, &format!("sh {}", script.display())) else { return };
    atm.drop_spec(
        "a",
        &format!("command: [sh, {}]\nterminal: {{columns: 80, rows: 24}}\n", script.display()),
    );
    atm.wait_output("a", "ready");
    assert!(wait_until(|| tmux.screen() == ["ready"]), "{:?}", tmux.screen());
    let mut client = Client::attach(&atm, 80, 24, &["a"]);
    client.settle();
    let mut differ = Vec::new();
    for (name, sequence) in SEQUENCES {
        let file = atm.path(name);
        fs::write(&file, format!("{sequence}\x1b]2;{name}\x07")).unwrap();
        let file = file.display().to_string();
        tmux.types(&[&file, "Enter"]);
        atm.ok(&["send", "a", &file]);
        let title = |json: String| serde_json::from_str::<serde_json::Value>(&json).unwrap()["title"].clone();
        assert!(wait_until(|| title(atm.ok(&["peek", "a", "-o", "json"])) == name), "{name}");
        let shown = || String::from_utf8(tmux.run(&["display", "-p", "#{pane_title}"]).stdout).unwrap();
        assert!(wait_until(|| shown().trim() == name), "{name}: {}", shown());
        let ours = lines(&atm.ok(&["peek", "a"]));
        client.until("as peeked", |client| lines(&client.text()) == ours);
        // tmux tells line drawing by its letters.
        let letters = |line: &String| {
            "┌l─q┐k│x└m┘j"
                .chars()
                .collect::<Vec<_>>()
                .chunks(2)
                .fold(line.clone(), |line, pair| line.replace(pair[0], &pair[1].to_string()))
        };
        if ours.iter().map(letters).ne(tmux.screen()) {
            differ.push(format!("{name}:\n  atm  {ours:?}\n  tmux {:?}", tmux.screen()));
        }
        // One who comes later sees the same.
        let mut fresh = Client::attach(&atm, 80, 24, &["a", "--read-only", "--quiet"]);
        fresh.until(&format!("shown {name}"), |fresh| {
            lines(&fresh.text()) == ours && fresh.cursor() == client.cursor()
        });
    }
    assert!(differ.is_empty(), "{} differ:\n{}", differ.len(), differ.join("\n"));
}

/// A program in tmux and in a session of the same size, after the same keys.
fn same_program(name: &str, command: &str, steps: &[(&str, &[&str])]) {
    if Command::new(name).arg("--version").output().is_err() {
        eprintln!("skipped: needs {name}");
        return;
    }
    let atm = Atm::start();
    fs::write(
        atm.path("text"),
        (1..200).map(|number| format!("this is line {number}")).collect::<Vec<_>>().join("\n") + "\n",
    )
    .unwrap();
    fs::write(atm.path("inline"), INLINE).unwrap();
    let command = command
        .replace("TEXT", &atm.path("text").display().to_string())
        .replace("INLINE", &atm.path("inline").display().to_string());
    let Some(tmux) = Tmux::start(
        &atm,
        80,
        24,
        &format!("env -i PATH=$PATH TERM=screen-256color HOME=/nonexistent {command}"),
    ) else {
        return;
    };
    atm.drop_spec(
        "a",
        &format!(
            "command: [sh, -c, 'exec env -i PATH=$PATH TERM=screen-256color HOME=/nonexistent {command}']\nterminal: {{columns: 80, rows: 24}}\n"
        ),
    );
    atm.wait_phase("a", "Running");
    for (shows, keys) in steps {
        let ready = || tmux.screen().iter().any(|line| line.contains(shows));
        assert!(wait_until(ready), "no {shows:?}: {:#?}", tmux.screen());
        let mut last = (Vec::new(), Vec::new());
        let same = wait_until(|| {
            last = (lines(&atm.ok(&["peek", "a"])), tmux.screen());
            last.0 == last.1
        });
        assert!(same, "{name} at {shows:?}: atm {:#?} tmux {:#?}", last.0, last.1);
        // From a terminal of another size, and back.
        let mut other = Client::attach(&atm, 100, 30, &["a", "--read-only", "--quiet"]);
        other.until("the same", |other| lines(&other.text()) == last.0);
        for key in *keys {
            let literal = key.len() == 1 || key.contains([' ', ':', '/', '(']);
            if literal {
                tmux.types(&["-l", key]);
                atm.ok(&["send", "a", "--no-enter", "--", key]);
            } else {
                tmux.types(&[key]);
                atm.ok(&["send", "a", "--key", key]);
            }
        }
    }
}

#[test]
fn less_looks_as_in_tmux() {
    same_program(
        "less",
        "less TEXT",
        &[("this is line 1", &["/line 150", "Enter"]), ("this is line 150", &["g"]), ("this is line 1", &[])],
    );
}

#[test]
fn vim_looks_as_in_tmux() {
    same_program(
        "vim",
        "vim -u NONE -n TEXT",
        &[
            ("this is line 1", &["G", "o", "a new line", "Escape"]),
            ("a new line", &[":split", "Enter"]),
            ("a new line", &[":set nu", "Enter"]),
            ("200 a new line", &[]),
        ],
    );
}

#[test]
fn python_looks_as_in_tmux() {
    same_program(
        "python3",
        "env PYTHON_BASIC_REPL=1 python3 -q",
        &[(">>>", &["print(6 * 7)", "Enter"]), ("42", &[])],
    );
}

/// What an agent's interface does: it stays below its own output, and is drawn anew over itself with each word of it.
const INLINE: &str = r#"
stty raw -echo
printf '\033[?2004h\033[>1u\033[?25l'
said=0
draw() {
    printf '\033[?2026h'
    [ "$said" = 0 ] || printf '\r\033[3A\033[J'
    [ -z "$1" ] || printf '\033[2m* \033[0mitem %s \342\234\223 and a sentence that is longer than the terminal is wide, so that it goes on in the next line\r\n' "$1"
    said=$((said + 1))
    printf '\033[38;2;120;120;120m\342\225\255%s\342\225\256\033[0m\r\n\342\224\202 \033[1m> %s\033[0m\033[60G\342\224\202\r\n\342\225\260%s\342\225\257\r\n\033[7m turn %s \033[0m' "$bar" "$1" "$bar" "$said"
    printf '\033[?2026l'
}
bar=$(printf '\342\224\200%.0s' $(seq 58))
draw
while key=$(dd bs=1 count=1 2>/dev/null) && [ -n "$key" ]; do
    case $key in
        q) break ;;
        f) for n in $(seq 40); do draw "$n"; done ;;
        *) draw "$key" ;;
    esac
done
printf '\033[<u\033[?25h\033[?2004l\r\n'
sleep 1000
"#;

#[test]
fn an_inline_interface_looks_as_in_tmux() {
    same_program(
        "sh",
        "sh INLINE",
        &[
            ("turn 1", &["a"]),
            ("turn 2", &["b", "c"]),
            ("turn 4", &["f"]),
            ("turn 44", &["d"]),
            ("turn 45", &["q"]),
            ("turn 45", &[]),
        ],
    );
}

/// A program that shows what changes by itself: once it has drawn, tmux is given the same bytes.
fn same_replayed(program: &str, arguments: &str, shows: &str) {
    if Command::new(program).arg("--version").output().is_err() {
        eprintln!("skipped: needs {program}");
        return;
    }
    let atm = Atm::start();
    atm.drop_spec(
        "a",
        &format!(
            "command: [sh, -c, 'exec env -i PATH=$PATH TERM=screen-256color HOME=/nonexistent {program} {arguments}']\n\
             terminal: {{columns: 80, rows: 24}}\n"
        ),
    );
    atm.wait_phase("a", "Running");
    let ours = || lines(&atm.ok(&["peek", "a"]));
    assert!(wait_until(|| ours().iter().any(|line| line.contains(shows))), "{:#?}", ours());
    let bytes = || atm.atm(&["logs", "--raw", "a"]).stdout;
    // Drawn whole: nothing more comes, and the screen is of just these bytes.
    let mut quiet = (Vec::new(), Instant::now());
    let settled = wait_until(|| {
        let now = bytes();
        if now != quiet.0 {
            quiet = (now, Instant::now());
        }
        quiet.1.elapsed() > Duration::from_millis(500)
    });
    assert!(settled, "{program} draws for ever");
    let seen = ours();
    assert_eq!(bytes(), quiet.0);
    fs::write(atm.path("bytes"), &quiet.0).unwrap();
    let replay = format!("sh -c 'stty -echo -opost; cat {}; sleep 1000'", atm.path("bytes").display());
    let Some(tmux) = Tmux::start(&atm, 80, 24, &replay) else { return };
    assert!(wait_until(|| tmux.screen() == seen), "{program}: atm {seen:#?} tmux {:#?}", tmux.screen());
    let mut client = Client::attach(&atm, 80, 24, &["a", "--read-only", "--quiet"]);
    client.until("the same", |client| lines(&client.text()) == seen);
}

#[test]
fn top_looks_as_in_tmux() {
    same_replayed("top", "-d 1000", "PID");
}

#[test]
fn htop_looks_as_in_tmux() {
    same_replayed("htop", "-d 1000", "PID");
}
