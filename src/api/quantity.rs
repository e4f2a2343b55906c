//! Quantities as people write them, each with its rule.

use std::{fmt, marker::PhantomData, str::FromStr, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};

/// A length of time: `90s`, `1h30m`, `2d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Dur(pub Duration);

/// A number of bytes: `512MiB`, `2GB`, `4096`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(pub u64);

/// A limit, or `never`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit<T> {
    /// Switched off.
    Never,
    /// In force.
    At(T),
}

/// Why a text is not the value that was wanted. Never quotes it: who reports it knows whether that is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct Wrong {
    /// "a duration such as `90s`".
    pub expected: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Wrong {
    /// With no more to say than what was expected.
    pub fn expected(what: impl Into<String>) -> Self {
        Self { expected: what.into(), hint: None }
    }

    /// The same, with advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Longest duration: far beyond any use, and far below where sums with it could overflow.
pub const LONGEST: Dur = Dur(Duration::from_secs(100 * 365 * 24 * 3600));

impl Dur {
    /// What a duration looks like.
    pub const EXPECTED: &str = "a duration such as `90s`, `1h30m` or `2d`";
}

impl FromStr for Dur {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        let wrong = Wrong::expected(Self::EXPECTED);
        // `M` would be months, where most who write it mean minutes.
        if text.contains(|c: char| c.is_ascii_uppercase()) {
            return Err(wrong.hint("units are lower case: `ms`, `s`, `m`, `h`, `d`, `w`"));
        }
        let dur = humantime::parse_duration(text).map(Self).map_err(|error| match error {
            humantime::DurationError::UnknownUnit { .. } if text.ends_with(|c: char| c.is_ascii_digit()) => {
                wrong.clone().hint("add a unit: `ms`, `s`, `m`, `h`, `d` or `w`")
            }
            humantime::DurationError::UnknownUnit { .. } => {
                wrong.clone().hint("units are `ms`, `s`, `m`, `h`, `d` and `w`")
            }
            _ => wrong.clone(),
        })?;
        if dur > LONGEST { Err(Wrong::expected("a duration of at most 100 years")) } else { Ok(dur) }
    }
}

impl fmt::Display for Dur {
    /// `1h30m`: the units that it needs, none larger than a day, so that reading it back gives the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        let mut text = String::new();
        for (amount, unit) in [
            (seconds / 86400, "d"),
            (seconds / 3600 % 24, "h"),
            (seconds / 60 % 60, "m"),
            (seconds % 60, "s"),
            (u64::from(nanos / 1_000_000), "ms"),
            (u64::from(nanos / 1000 % 1000), "us"),
            (u64::from(nanos % 1000), "ns"),
        ] {
            if amount > 0 {
                text.extend([amount.to_string().as_str(), unit]);
            }
        }
        f.pad(if text.is_empty() { "0s" } else { &text })
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

impl Size {
    /// What a size looks like.
    pub const EXPECTED: &str = "a size such as `512MiB`, `2GB` or `4096` (bytes)";
}

impl FromStr for Size {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        let wrong = || Wrong::expected(Self::EXPECTED);
        let unit =
            UNITS.iter().find_map(|(unit, factor)| text.strip_suffix(unit).map(|rest| (rest, *factor)));
        let (digits, factor) = unit.map_or((text, 1), |(rest, factor)| (rest.trim_end_matches(' '), factor));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !plain(whole) || !plain(fraction) || fraction.len() > 9 {
            return Err(wrong().hint("units are `KiB`, `MiB`, `GiB` and `TiB`, or `kB`, `MB`, `GB` and `TB`"));
        }
        let too_large = || Wrong::expected("a size of less than 16 EiB");
        let whole: u64 = whole.parse().map_err(|_| too_large())?;
        let scale = 10_u128.pow(u32::try_from(fraction.len()).map_err(|_| wrong())?);
        let fraction: u128 = fraction.parse().map_err(|_| wrong())?;
        let bytes = u128::from(whole) * u128::from(factor) + fraction * u128::from(factor) / scale;
        u64::try_from(bytes).map(Self).map_err(|_| too_large())
    }
}

impl fmt::Display for Size {
    /// The largest unit that says it exactly, so that reading it back gives the same number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |(_, factor): &&(&str, u64)| self.0 >= *factor && self.0.is_multiple_of(*factor);
        match UNITS.iter().take(8).filter(exact).max_by_key(|(_, factor)| *factor) {
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
            type Error = Wrong;
            fn try_from(text: String) -> Result<Self, Wrong> { text.parse() }
        }
        impl From<$name> for String {
            fn from(value: $name) -> Self { value.to_string() }
        }
    )*};
}
text_form!(Dur, Size);

impl<T: Serialize> Serialize for Limit<T> {
    /// `never`, or the limit as it is: a number stays a number.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Never => to.serialize_str("never"),
            Self::At(limit) => limit.serialize(to),
        }
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Limit<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(LimitVisitor(PhantomData))
    }
}

struct LimitVisitor<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for LimitVisitor<T> {
    type Value = Limit<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a limit or `never`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Limit<T>, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Limit<T>, E> {
        self.visit_str(&number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        for text in ["90s", "1h30m", "2d", "0s", "1ms", "4.2s", "1us", "100d", "3y", "1ns", "1 h 5 m"] {
            let dur: Dur = text.parse().unwrap();
            assert_eq!(dur.to_string().parse(), Ok(dur), "{text}");
        }
        assert_eq!("never".parse(), Ok(Limit::<Dur>::Never));
    }

    #[test]
    fn limits_pass_through_json() {
        for (limit, json) in [(Limit::At(512_u32), "512"), (Limit::Never, r#""never""#)] {
            assert_eq!(serde_json::to_string(&limit).unwrap(), json);
            assert_eq!(serde_json::from_str::<Limit<u32>>(json).unwrap(), limit);
        }
        let size = Limit::At(Size(1 << 30));
        assert_eq!(serde_json::to_string(&size).unwrap(), r#""1GiB""#);
        assert_eq!(serde_json::from_str::<Limit<Size>>(r#""1GiB""#).unwrap(), size);
        assert!(serde_json::from_str::<Limit<u32>>(r#""many""#).is_err());
    }

    #[test]
    fn sizes_are_shown_as_people_write_them() {
        for (bytes, shown) in [
            (0, "0"),
            (4096, "4KiB"),
            (2_000_000_000, "2GB"),
            (2 << 30, "2GiB"),
            (1_024_000, "1000KiB"),
            (1025, "1025"),
        ] {
            assert_eq!(Size(bytes).to_string(), shown);
        }
    }

    #[test]
    fn durations_are_shown_as_people_write_them() {
        for (text, shown) in [
            ("90s", "1m30s"),
            ("1h30m", "1h30m"),
            ("2d", "2d"),
            ("24h", "1d"),
            ("1w", "7d"),
            ("0ms", "0s"),
            ("1500ms", "1s500ms"),
        ] {
            assert_eq!(text.parse::<Dur>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_advice() {
        for (text, hint) in [
            ("", None),
            ("10", Some("add a unit: `ms`, `s`, `m`, `h`, `d` or `w`")),
            ("30 parsecs", Some("units are `ms`, `s`, `m`, `h`, `d` and `w`")),
            ("5M", Some("units are lower case: `ms`, `s`, `m`, `h`, `d`, `w`")),
            ("-1s", None),
            ("200y", None),
            ("99999999999999999999s", None),
        ] {
            let wrong = text.parse::<Dur>().unwrap_err();
            assert_eq!(wrong.hint.as_deref(), hint, "{text}: {wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_quantity_is_read_back_from_how_it_is_shown(nanos in 0..=LONGEST.0.as_nanos(), bytes: u64) {
            let seconds = u64::try_from(nanos / 1_000_000_000).unwrap();
            let dur = Dur(Duration::new(seconds, u32::try_from(nanos % 1_000_000_000).unwrap()));
            prop_assert_eq!(dur.to_string().parse(), Ok(dur));
            let size = Size(bytes);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }
    }
}
