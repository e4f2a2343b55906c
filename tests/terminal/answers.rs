//! Questions to the terminal, asked by a real program.

use crate::{client::Client, harness::Atm};

/// Asks each question, reads its answer, and tells both with the time that it took.
const ASKER: &str = r#"
import sys, os, tty, time, select
tty.setraw(0)
questions = [
    b"\x1b[5n", b"\x1b[6n", b"\x1b[c", b"\x1b[>c", b"\x1b[=c", b"\x1b[>q", b"\x1b[?2004$p", b"\x1b[?u",
    b"\x1b]10;?\x1b\\", b"\x1b]11;?\x07", b"\x1b]12;?\x07", b"\x1b]4;1;?\x07", b"\x1bP+q544e\x1b\\", b"\x1b[18t",
]
def answer():
    got = b""
    while select.select([0], [], [], 0.05 if got else 5.0)[0]:
        got += os.read(0, 1000)
    return got
def ask():
    for question in questions:
        begun = time.monotonic()
        for byte in question:
            os.write(1, bytes([byte]))
        select.select([0], [], [], 5.0)
        took = (time.monotonic() - begun) * 1000
        os.write(2, b"asked %s answered %s in %d ms\r\n" % (
            repr(question).encode(), repr(answer()).encode(), took))
    os.write(2, b"all asked\r\n")
ask()
while True:
    if os.read(0, 1) == b"g":
        ask()
"#;

#[test]
fn a_program_is_answered_once_whoever_is_attached() {
    if std::process::Command::new("python3").arg("-V").output().is_err() {
        eprintln!("skipped: needs python3");
        return;
    }
    let atm = Atm::start();
    let script = atm.path("asker.py");
    std::fs::write(&script, ASKER).unwrap();
    atm.drop_spec("a", &format!("command: [python3, {}]\n", script.display()));
    let check = |text: &str| {
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("answered")).collect();
        assert_eq!(lines.len(), 14, "{text}");
        for (line, part) in lines.iter().zip([
            r"\x1b[0n",
            r"R'",
            r"\x1b[?62;22c",
            r"\x1b[>0;",
            r"\x1bP!|",
            r"\x1bP>|atm(",
            r"\x1b[?2004;2$y",
            r"\x1b[?0u",
            r"\x1b]10;rgb:",
            r"\x1b]11;rgb:0000/0000/0000\x07",
            r"\x1b]12;rgb:",
            r"\x1b]4;1;rgb:cdcd",
            r"\x1bP1+r544e=",
            r"t'",
        ]) {
            let (_, answer) = line.split_once("answered").unwrap();
            assert!(answer.contains(part), "{line}: {part}");
            // Once: no answer has two introducers.
            assert_eq!(answer.matches(r"\x1b").count(), answer.matches(r"\x1b\\").count() + 1, "{line}");
            let took: u64 = answer.split(" in ").last().unwrap().trim_end_matches(" ms").parse().unwrap();
            assert!(took < 50, "{line}");
        }
    };
    check(&atm.wait_output("a", "all asked"));
    let before = atm.log("a").len();
    let mut one = Client::attach(&atm, 100, 30, &["a"]);
    one.settle();
    let mut two = Client::attach(&atm, 100, 30, &["a"]);
    two.settle();
    let seen = one.raw.len();
    one.types("g");
    one.until("asked again", |_| atm.log("a").matches("all asked").count() == 2);
    check(&atm.log("a")[before..].replace('\r', ""));
    // The questions are in the log and nowhere else.
    let shown = String::from_utf8_lossy(&one.raw[seen..]).into_owned();
    for question in ["\x1b[5n", "\x1b[6n", "\x1b[c", "\x1b[?u", "\x1b]11;?", "\x1bP+q"] {
        assert!(!shown.contains(question), "{question:?}");
        assert!(atm.log("a")[before..].contains(question), "{question:?}");
    }
}
