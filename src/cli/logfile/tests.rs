use super::*;
use std::{
    fs::{self, OpenOptions},
    io::Write,
};

/// A log of at most `files` files, written and rotated as a keeper does.
struct Writer {
    _dir: tempfile::TempDir,
    path: PathBuf,
    files: u32,
}

impl Writer {
    fn new(files: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { path: dir.path().join("a.log"), _dir: dir, files }
    }

    fn write(&self, text: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(&self.path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rotate(&self) {
        let logs = self.logs();
        for number in (1..self.files - 1).rev() {
            let _ = fs::rename(logs.rotated(number), logs.rotated(number + 1));
        }
        fs::rename(&self.path, logs.rotated(1)).unwrap();
    }

    fn logs(&self) -> LogFiles {
        LogFiles::at(&self.path)
    }
}

/// What an item is in plain text.
fn show(item: Item) -> String {
    match item {
        Item::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        Item::Gap(gap) => format!("<{}>", gap.bytes),
    }
}

fn print(writer: &Writer, lines: Option<u64>) -> (String, Follower) {
    let mut out = String::new();
    let logs = writer.logs();
    let mut kept = logs.kept().unwrap();
    let mut range = 0..kept.total();
    if let Some(lines) = lines {
        range.start = kept.tail(&logs, range.clone(), lines).unwrap();
    }
    let printed = kept.print(&logs, &range, End::Followed, |item| {
        out.push_str(&show(item));
        Ok(())
    });
    printed.unwrap();
    (out, kept.follow(&logs).unwrap())
}

fn drain(follower: &mut Follower) -> (String, bool) {
    let (mut out, mut gap) = (String::new(), false);
    loop {
        let found = follower
            .step(|item| {
                out.push_str(&show(item));
                Ok(())
            })
            .unwrap();
        match found {
            Found::Nothing => return (out, gap),
            Found::Gap => gap = true,
            Found::Bytes => {}
        }
    }
}

#[test]
fn the_last_lines_are_found_over_rotated_files() {
    let writer = Writer::new(4);
    writer.write("1\n2\nthree is ");
    writer.rotate();
    writer.write("long\n4\n");
    writer.rotate();
    writer.write("5\n");
    for (lines, expected) in [
        (None, "1\n2\nthree is long\n4\n5\n"),
        (Some(0), ""),
        (Some(1), "5\n"),
        (Some(2), "4\n5\n"),
        (Some(3), "three is long\n4\n5\n"),
        (Some(4), "2\nthree is long\n4\n5\n"),
        (Some(100), "1\n2\nthree is long\n4\n5\n"),
    ] {
        assert_eq!(print(&writer, lines).0, expected, "{lines:?}");
    }
    writer.write("open");
    assert_eq!(print(&writer, Some(2)).0, "5\nopen");
}

#[test]
fn long_lines_are_found_beyond_one_chunk() {
    let writer = Writer::new(3);
    let long = "x".repeat(3 * CHUNK);
    writer.write(&format!("first\n{long}\nlast\n"));
    assert_eq!(print(&writer, Some(2)).0, format!("{long}\nlast\n"));
}

#[test]
fn following_goes_through_rotation_without_a_gap() {
    let writer = Writer::new(10);
    writer.write("a\n");
    let (text, mut follower) = print(&writer, None);
    assert_eq!(text, "a\n");
    assert_eq!(drain(&mut follower), (String::new(), false));
    writer.write("b\n");
    writer.rotate();
    assert_eq!(drain(&mut follower), ("b\n".into(), false), "nothing has taken its place yet");
    writer.write("c\n");
    writer.rotate();
    writer.write("d\n");
    writer.rotate();
    writer.write("e\n");
    assert_eq!(drain(&mut follower), ("c\nd\ne\n".into(), false));
}

#[test]
fn an_emptied_file_is_read_from_its_begin() {
    let writer = Writer::new(3);
    writer.write("many words\n");
    let (_, mut follower) = print(&writer, None);
    fs::write(&writer.path, "new\n").unwrap();
    assert_eq!(drain(&mut follower), ("new\n".into(), false));
}

#[test]
fn files_that_went_unread_are_told() {
    let writer = Writer::new(2);
    writer.write("a\n");
    let (_, mut follower) = print(&writer, None);
    for text in ["b\n", "c\n", "d\n"] {
        writer.rotate();
        writer.write(text);
    }
    assert_eq!(drain(&mut follower), ("c\nd\n".into(), true));
}

#[test]
fn a_log_that_comes_later_is_followed_from_its_begin() {
    let writer = Writer::new(3);
    let (text, mut follower) = print(&writer, Some(10));
    assert_eq!(text, "");
    assert_eq!(drain(&mut follower), (String::new(), false));
    writer.write("here\n");
    assert_eq!(drain(&mut follower), ("here\n".into(), false));
}

#[test]
fn writers_and_followers_at_the_same_time_agree() {
    let writer = Writer::new(1000);
    writer.write("");
    let (_, mut follower) = print(&writer, None);
    let lines: Vec<String> = (0..2000).map(|line| format!("{line}\n")).collect();
    let expected = lines.concat();
    let seen = std::thread::scope(|scope| {
        scope.spawn(|| {
            for (number, line) in lines.iter().enumerate() {
                writer.write(line);
                if number % 7 == 6 {
                    writer.rotate();
                }
            }
            writer.write("");
        });
        let mut seen = String::new();
        while seen.len() < expected.len() {
            let (text, gap) = drain(&mut follower);
            assert!(!gap);
            seen.push_str(&text);
            follower.wait();
        }
        seen
    });
    assert_eq!(seen, expected);
}
