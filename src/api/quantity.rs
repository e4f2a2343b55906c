//! Quantities as people write them, each with its rule.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// A length of time: `90s`, `1h30m`, `2d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Dur(pub Duration);

/// A number of bytes: `512MiB`, `2GB`, `4096`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(pub u64);

/// A limit, or `never`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[serde(bound(
    serialize = "T: Clone + fmt::Display",
    deserialize = "T: FromStr, T::Err: fmt::Display"
))]
pub enum Limit<T> {
    /// Switched off.
    Never,
    /// In force.
    At(T),
}

/// Why a text is no quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not a duration; the text says what the parser found.
    #[error("expected a duration such as `90s`, `1h30m` or `2d`: {0}")]
    Duration(String),
    /// Not a size.
    #[error("expected a size such as `512MiB`, `2GB` or `4096`, found `{0}`")]
    Size(String),
    /// More than fits.
    #[error("`{0}` is more than this machine can count")]
    TooLarge(String),
}

impl FromStr for Dur {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        humantime::parse_duration(text).map(Self).map_err(|e| QuantityError::Duration(e.to_string()))
    }
}

impl fmt::Display for Dur {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: String = humantime::format_duration(self.0).to_string();
        f.pad(&text.replace(' ', ""))
    }
}

const UNITS: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("KB", 1_000),
    ("T", 1 << 40),
    ("G", 1 << 30),
    ("M", 1 << 20),
    ("K", 1 << 10),
    ("B", 1),
];

impl FromStr for Size {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let invalid = || QuantityError::Size(text.escape_default().to_string());
        let (digits, factor) = UNITS
            .iter()
            .find_map(|(unit, factor)| text.strip_suffix(unit).map(|rest| (rest.trim_end(), *factor)))
            .unwrap_or((text, 1));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let number = |part: &str| {
            let plain = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            if plain { Ok(()) } else { Err(invalid()) }
        };
        number(whole)?;
        number(fraction)?;
        if fraction.len() > 9 {
            return Err(invalid());
        }
        let too_large = || QuantityError::TooLarge(text.to_owned());
        let whole: u64 = whole.parse().map_err(|_| too_large())?;
        let scale = 10_u128.pow(u32::try_from(fraction.len()).map_err(|_| invalid())?);
        let fraction: u128 = fraction.parse().map_err(|_| invalid())?;
        let bytes = u128::from(whole) * u128::from(factor) + fraction * u128::from(factor) / scale;
        u64::try_from(bytes).map(Self).map_err(|_| too_large())
    }
}

impl fmt::Display for Size {
    /// The largest binary unit that says it exactly, so that reading it back gives the same number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().take(4).find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        match unit {
            Some((unit, factor)) => f.pad(&format!("{}{unit}", self.0 / factor)),
            None => f.pad(&self.0.to_string()),
        }
    }
}

impl Size {
    /// For people: three figures and a unit.
    pub fn human(self) -> String {
        let unit = UNITS.iter().take(4).find(|(_, factor)| self.0 >= *factor);
        match unit {
            #[expect(clippy::cast_precision_loss, reason = "three figures are shown")]
            Some((unit, factor)) => format!("{:.1} {unit}", self.0 as f64 / *factor as f64),
            None => format!("{} B", self.0),
        }
    }
}

impl<T: FromStr> FromStr for Limit<T> {
    type Err = T::Err;
    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text == "never" { Ok(Self::Never) } else { text.parse().map(Self::At) }
    }
}

impl<T: fmt::Display> fmt::Display for Limit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.pad("never"),
            Self::At(limit) => limit.fmt(f),
        }
    }
}

impl<T> Limit<T> {
    /// The limit, unless there is none.
    pub fn at(self) -> Option<T> {
        match self {
            Self::Never => None,
            Self::At(limit) => Some(limit),
        }
    }
}

macro_rules! text_form {
    ($($name:ty),*) => {$(
        impl TryFrom<String> for $name {
            type Error = QuantityError;
            fn try_from(text: String) -> Result<Self, QuantityError> { text.parse() }
        }
        impl From<$name> for String {
            fn from(value: $name) -> Self { value.to_string() }
        }
    )*};
}
text_form!(Dur, Size);

impl<T: FromStr> TryFrom<String> for Limit<T> {
    type Error = T::Err;
    fn try_from(text: String) -> Result<Self, T::Err> {
        text.parse()
    }
}

impl<T: fmt::Display> From<Limit<T>> for String {
    fn from(value: Limit<T>) -> Self {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        for (text, bytes) in [
            ("4096", 4096),
            ("512MiB", 512 << 20),
            ("2GB", 2_000_000_000),
            ("1.5GiB", 3 << 29),
            ("4G", 4 << 30),
            ("0", 0),
            ("10 MiB", 10 << 20),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for bad in ["", "MiB", "-1", "1e3", "4 apples", "1.", ".5", "99999999999TiB", "0x10"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_shown_reads_back_as_the_same() {
        for bytes in [0, 1, 1023, 1024, 512 << 20, 2_000_000_000, u64::MAX] {
            assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
        }
        for text in ["90s", "1h30m", "2d", "0s", "1ms"] {
            let dur: Dur = text.parse().unwrap();
            assert_eq!(dur.to_string().parse(), Ok(dur), "{text}");
        }
        assert_eq!("never".parse(), Ok(Limit::<Dur>::Never));
    }
}
