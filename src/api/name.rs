//! Names and ids, each checked once where it enters.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// Longest session name, in bytes: it is also a file, a directory and a cgroup.
pub const MAX_NAME: usize = 63;

/// The name of a session: the stem of its spec file.
///
/// `[a-z0-9][a-z0-9._-]{0,62}`, without `..`: usable as a file name, a cgroup name and a word in a shell,
/// and never two names that look alike. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionName(Arc<str>);

/// Why a text is no session name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a session name cannot be empty")]
    Empty,
    /// More than [`MAX_NAME`] bytes.
    #[error("a session name has at most {MAX_NAME} characters, this one has {0}")]
    TooLong(usize),
    /// A character outside the grammar.
    #[error(
        "`{0}` cannot stand in a session name: use a-z, 0-9, `.`, `_` and `-`, beginning with a letter or a digit"
    )]
    Character(String),
    /// Two dots in a row.
    #[error("a session name cannot contain `..`")]
    DotDot,
}

impl SessionName {
    /// Checks `text` against the grammar.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > MAX_NAME {
            return Err(NameError::TooLong(text.len()));
        }
        for (at, character) in text.char_indices() {
            let plain = character.is_ascii_lowercase() || character.is_ascii_digit();
            if !plain && (at == 0 || !matches!(character, '.' | '_' | '-')) {
                return Err(NameError::Character(character.escape_default().to_string()));
            }
        }
        if text.contains("..") {
            return Err(NameError::DotDot);
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Borrow<str> for SessionName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SessionName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(&text)
    }
}

impl FromStr for SessionName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl From<SessionName> for String {
    fn from(name: SessionName) -> Self {
        name.0.as_ref().to_owned()
    }
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(uuid::Uuid);

        impl $name {
            /// A new id. Ids made later sort later.
            pub fn generate() -> Self {
                Self(uuid::Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }
    };
}

id_type! {
    /// One run of a session, new at each start. What belongs to another run is never touched.
    RunId
}

impl RunId {
    /// As a number, for files of fixed layout.
    pub const fn as_u128(self) -> u128 {
        self.0.as_u128()
    }

    /// From such a number.
    pub const fn from_u128(number: u128) -> Self {
        Self(uuid::Uuid::from_u128(number))
    }
}

id_type! {
    /// A state directory: whose keepers these are. Made once, when the directory is first used.
    InstanceId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_usable_as_files_and_cgroups() {
        for good in ["a", "fix-login", "0", "a.b_c-d", &"x".repeat(63)] {
            assert!(SessionName::new(good).is_ok(), "{good}");
        }
        let long = "x".repeat(64);
        for bad in
            ["", ".a", "-a", "_a", "A", "a/b", "a..b", "..", "a b", "é", "a\n", "a\0", "a\u{1b}", &long]
        {
            assert!(SessionName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_error_never_repeats_a_control_character() {
        let error = SessionName::new("a\u{1b}[2J").unwrap_err().to_string();
        assert!(!error.contains('\u{1b}'), "{error:?}");
    }

    #[test]
    fn run_ids_sort_by_age() {
        let (older, newer) = (RunId::generate(), RunId::generate());
        assert!(older < newer);
        assert_eq!(older.to_string().parse(), Ok(older));
    }
}
