//! Files that people give a session: in `.atm/uploads/` of its working directory, by what they contain.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{diagnose::unprintable, time::Timestamp};

/// Largest file that is taken, in bytes.
pub const LARGEST_UPLOAD: u64 = 100 << 20;

/// Most files of one session.
pub const MOST_UPLOADS: usize = 1000;

/// Where they are, below the working directory: one directory in the other.
pub const UPLOADS: [&str; 2] = [".atm", "uploads"];

/// Figures of the content's SHA-256 that begin a file's name.
const FIGURES: usize = 16;

/// Longest part of a file's name behind those, in bytes.
const LONGEST_NAME: usize = 120;

/// A file that a person gave a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Upload {
    /// The working directory that it is in.
    pub directory: PathBuf,
    /// Its name there, in `.atm/uploads`.
    pub file: String,
    /// Of its content, in hex.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
    /// When it was given.
    #[serde(default)]
    pub at: Timestamp,
}

impl Upload {
    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.directory.join(UPLOADS.iter().collect::<PathBuf>()).join(&self.file)
    }

    /// Whether its name is one that this module gives to its content, and so leads out of no directory.
    pub fn is_sound(&self) -> bool {
        let hash = self.sha256.len() == 64
            && self.sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let behind = begin(&self.sha256).and_then(|begin| self.file.strip_prefix(&begin));
        hash && behind.is_some_and(|name| name == clean(name))
    }
}

/// What the names of all files with this content begin with.
pub fn begin(sha256: &str) -> Option<String> {
    Some(format!("{}-", sha256.get(..FIGURES)?))
}

/// The name of a file with this content that people call `name`.
pub fn file_name(sha256: &str, name: &str) -> Option<String> {
    Some(format!("{}{}", begin(sha256)?, clean(name)))
}

/// A name that needs no quoting anywhere and keeps its ending.
fn clean(name: &str) -> String {
    let last = Path::new(name).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let plain = |c: char| c.is_alphanumeric() && !unprintable(c) || matches!(c, '.' | '_' | '-');
    let mut clean: String = last.chars().map(|c| if plain(c) { c } else { '-' }).collect();
    while clean.contains("--") {
        clean = clean.replace("--", "-");
    }
    let clean = clean.trim_matches(['.', '-']);
    if clean.is_empty() {
        return "upload".to_owned();
    }
    if clean.len() <= LONGEST_NAME {
        return clean.to_owned();
    }
    let (stem, ending) =
        clean.rsplit_once('.').filter(|(_, ending)| ending.len() < 20).unwrap_or((clean, ""));
    let dot = if ending.is_empty() { "" } else { "." };
    let mut end = LONGEST_NAME - ending.len() - dot.len();
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    let stem = stem.get(..end).unwrap_or_default().trim_end_matches(['.', '-']);
    format!("{stem}{dot}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn names_keep_what_needs_no_quoting() {
        for (name, expected) in [
            ("screen.png", "screen.png"),
            ("/home/a/My Screen (1).png", "My-Screen-1-.png"),
            ("../../etc/passwd", "passwd"),
            ("..", "upload"),
            ("-rf", "rf"),
            (".env", "env"),
            ("Übung.md", "Übung.md"),
            ("a\x1b[31m\nb.txt", "a-31m-b.txt"),
            ("\u{202e}gpj.exe", "gpj.exe"),
            ("", "upload"),
        ] {
            assert_eq!(clean(name), expected, "{name:?}");
            assert_eq!(clean(&clean(name)), expected, "{name:?} once more");
        }
        for long in [format!("{}.tar.gz", "x".repeat(300)), "ü".repeat(300), format!("a.{}", "b".repeat(300))]
        {
            let short = clean(&long);
            assert!(short.len() <= LONGEST_NAME, "{short}");
            assert_eq!(clean(&short), short);
            let is_archive = |name: &str| name.rsplit('.').next() == Some("gz");
            assert_eq!(is_archive(&short), is_archive(&long));
        }
        assert_eq!(file_name(HASH, "a.png").unwrap(), "0123456789abcdef-a.png");
    }

    #[test]
    fn only_such_names_are_believed() {
        let upload = |file: &str, sha256: &str| Upload {
            directory: "/w".into(),
            file: file.into(),
            sha256: sha256.into(),
            bytes: 1,
            at: Timestamp::default(),
        };
        let sound = upload("0123456789abcdef-a.png", HASH);
        assert!(sound.is_sound());
        assert_eq!(sound.path(), Path::new("/w/.atm/uploads/0123456789abcdef-a.png"));
        for (file, hash) in [
            ("0123456789abcdef-../../x", HASH),
            ("0123456789abcdef-", HASH),
            ("a.png", HASH),
            ("0123456789abcdef-a.png", "0123456789abcdef"),
            ("0123456789abcdef-a b", HASH),
            ("", ""),
        ] {
            assert!(!upload(file, hash).is_sound(), "{file} {hash}");
        }
    }
}
