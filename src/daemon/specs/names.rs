//! Which names in the spec directory are specs.

use std::{ffi::OsStr, fmt, os::unix::ffi::OsStrExt};

use crate::api::{diagnose::unprintable, name::SessionName};

/// The two endings of a spec file, in byte order: of two files for one unknown name the first is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suffix {
    /// `.yaml`
    Yaml,
    /// `.yml`
    Yml,
}

impl Suffix {
    /// Both, in byte order.
    pub const ALL: [Self; 2] = [Self::Yaml, Self::Yml];

    /// With its dot.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yaml => ".yaml",
            Self::Yml => ".yml",
        }
    }

    /// The one that this is not.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Yaml => Self::Yml,
            Self::Yml => Self::Yaml,
        }
    }
}

/// One file that counts as a spec: the session's name and how the file ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileKey {
    /// The stem.
    pub name: SessionName,
    /// The ending.
    pub suffix: Suffix,
}

impl FileKey {
    /// The key of `file_name`, if that is the name of a spec.
    pub fn parse(file_name: &str) -> Option<Self> {
        match FileName::of(OsStr::new(file_name)) {
            FileName::Spec(key) => Some(key),
            FileName::Odd(_) | FileName::Foreign => None,
        }
    }
}

impl fmt::Display for FileKey {
    /// The file's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name, self.suffix.as_str())
    }
}

/// What a name in the directory is to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileName {
    /// A spec.
    Spec(FileKey),
    /// Ends like a spec, and its stem is no session name: somebody expects a session and will not get one.
    /// The text is for people, free of control characters.
    Odd(String),
    /// Anything else: an editor's or a package's leftover, a README.
    Foreign,
}

impl FileName {
    /// Judges one name.
    pub fn of(name: &OsStr) -> Self {
        let bytes = name.as_bytes();
        let Some(suffix) = Suffix::ALL.into_iter().find(|suffix| bytes.ends_with(suffix.as_str().as_bytes()))
        else {
            return Self::Foreign;
        };
        if bytes.starts_with(b".") {
            return Self::Foreign;
        }
        let shown = || escaped(&String::from_utf8_lossy(bytes));
        let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(suffix.as_str())) else {
            return Self::Odd(format!("`{}` is ignored: its name is not UTF-8", shown()));
        };
        match SessionName::new(stem) {
            Ok(name) => Self::Spec(FileKey { name, suffix }),
            Err(error) => Self::Odd(format!("`{}` is ignored: {error}", shown())),
        }
    }
}

/// `text` without control characters, and without what reorders or hides text on a terminal.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        let hidden = matches!(character, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}');
        if unprintable(character) || hidden {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> FileName {
        FileName::of(OsStr::from_bytes(bytes))
    }

    #[test]
    fn specs_are_known_by_their_names() {
        for (file, name, suffix) in [
            ("a.yaml", "a", Suffix::Yaml),
            ("a.yml", "a", Suffix::Yml),
            ("fix-login.2.yaml", "fix-login.2", Suffix::Yaml),
            ("a.yaml.yml", "a.yaml", Suffix::Yml),
        ] {
            let key = FileKey::parse(file).unwrap_or_else(|| panic!("{file}"));
            assert_eq!((key.name.as_str(), key.suffix), (name, suffix));
            assert_eq!(key.to_string(), file);
        }
    }

    #[test]
    fn what_editors_and_packages_leave_is_foreign() {
        for file in [
            ".a.yaml",
            ".#a.yaml",
            "#a.yaml#",
            "a.yaml~",
            "a.yaml.swp",
            ".a.yaml.swp",
            ".a.yaml.swx",
            "4913",
            "a.tmp",
            "a.yaml.tmp",
            "a.yaml.bak",
            "a.yaml.orig",
            "a.yaml.rej",
            "a.yaml.dpkg-new",
            "a.yaml.rpmsave",
            "README",
            "a.json",
            "yaml",
            "..data",
            ".yaml",
            "a.YAML",
        ] {
            assert_eq!(of(file.as_bytes()), FileName::Foreign, "{file}");
        }
    }

    #[test]
    fn names_that_promise_a_session_and_cannot_be_one_are_told_without_control_characters() {
        for file in [
            &b"Foo.yaml"[..],
            b"-a.yaml",
            b"a b.yaml",
            b"a..b.yaml",
            b"\x1b[2J.yaml",
            b"a\n.yml",
            b"\xff.yaml",
            b"#a.yaml",
            "é.yaml".as_bytes(),
            "\u{202e}a.yaml".as_bytes(),
        ] {
            match of(file) {
                FileName::Odd(text) => {
                    assert!(!text.chars().any(|c| c.is_control() || c == '\u{202e}'), "{text:?}");
                }
                other => panic!("{file:?}: {other:?}"),
            }
        }
    }
}
