//! Numbers, durations, sizes and limits.

use std::{borrow::Cow, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use super::parsed;
use crate::api::{
    quantity::{Dur, Limit, Size, Wrong},
    yaml::{
        read::{Place, Read},
        tree::Node,
    },
};

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Whole<T, const MIN: u32, const MAX: u32>(pub T);

impl<T: TryFrom<i128>, const MIN: u32, const MAX: u32> Read for Whole<T, MIN, MAX> {
    fn read(place: &Place<'_>) -> Option<Self> {
        number(place, MIN.into(), MAX.into()).map(Self)
    }
}

impl<T, const MIN: u32, const MAX: u32> JsonSchema for Whole<T, MIN, MAX> {
    inline_schema!("Whole", _generator => json_schema!({"type": "integer", "minimum": MIN, "maximum": MAX}));
}

impl<T: std::fmt::Display, const MIN: u32, const MAX: u32> std::fmt::Display for Whole<T, MIN, MAX> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Read for i32 {
    fn read(place: &Place<'_>) -> Option<Self> {
        number(place, Self::MIN.into(), Self::MAX.into())
    }
}

fn number<T: TryFrom<i128>>(place: &Place<'_>, min: i128, max: i128) -> Option<T> {
    let read = match place.node() {
        Node::Number(Some(number)) if (min..=max).contains(number) => T::try_from(*number).ok(),
        _ => None,
    };
    if read.is_none() {
        let wrong = Wrong::expected(format!("a whole number from {min} to {max}"));
        place.wrong(&match place.node() {
            Node::Text(text) if text.parse::<i128>().is_ok() => wrong.hint("write it without quotes"),
            _ => wrong,
        });
    }
    read
}

impl Read for Dur {
    fn read(place: &Place<'_>) -> Option<Self> {
        if let Node::Number(_) = place.node() {
            place.wrong(&Wrong::expected(Self::EXPECTED).hint("add a unit: `ms`, `s`, `m`, `h`, `d` or `w`"));
            return None;
        }
        parsed(place, Self::EXPECTED)
    }
}

impl JsonSchema for Dur {
    inline_schema!("Duration", _generator => json_schema!({
        "type": "string",
        "pattern": r"^(0|([0-9]+(\.[0-9]+)? ?[a-zµ]+ ?)+)$",
        "examples": ["90s", "1h30m", "2d"]
    }));
}

/// A duration of at least `MILLIS` milliseconds, and at most a hundred years as any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct AtLeast<const MILLIS: u64>(pub Dur);

/// A duration longer than nothing.
pub type Span = AtLeast<1>;

impl<const MILLIS: u64> Read for AtLeast<MILLIS> {
    fn read(place: &Place<'_>) -> Option<Self> {
        let dur = Dur::read(place)?;
        let least = Dur(Duration::from_millis(MILLIS));
        if dur < least {
            place.wrong(&Wrong::expected(format!("a duration of at least {least}")));
            return None;
        }
        Some(Self(dur))
    }
}

impl<const MILLIS: u64> JsonSchema for AtLeast<MILLIS> {
    inline_schema!("Duration", generator => Dur::json_schema(generator));
}

impl<const MILLIS: u64> std::fmt::Display for AtLeast<MILLIS> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Read for Size {
    fn read(place: &Place<'_>) -> Option<Self> {
        let Node::Number(number) = place.node() else {
            return parsed(place, Self::EXPECTED);
        };
        let bytes = number.and_then(|bytes| u64::try_from(bytes).ok());
        if bytes.is_none() {
            place.wrong(&Wrong::expected(Self::EXPECTED));
        }
        bytes.map(Self)
    }
}

impl JsonSchema for Size {
    inline_schema!("Size", _generator => json_schema!({
        "anyOf": [
            {"type": "string", "pattern": r"^[0-9]+(\.[0-9]{1,9})? *(([KMGT]i|[kKMGT])?B|[KMGT])?$"},
            {"type": "integer", "minimum": 0}
        ],
        "examples": ["512MiB", "2GB"]
    }));
}

/// A size of at least `KIB` KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Bytes<const KIB: u64>(pub Size);

impl<const KIB: u64> Read for Bytes<KIB> {
    fn read(place: &Place<'_>) -> Option<Self> {
        let size = Size::read(place)?;
        let least = Size(KIB << 10);
        if size < least {
            let wrong = Wrong::expected(format!("a size of at least {least}"));
            place.wrong(&wrong.hint("a number without a unit is in bytes"));
            return None;
        }
        Some(Self(size))
    }
}

impl<const KIB: u64> JsonSchema for Bytes<KIB> {
    inline_schema!("Size", generator => {
        let mut schema = Size::json_schema(generator);
        if let Some(minimum) = schema.pointer_mut("/anyOf/1/minimum") {
            *minimum = (KIB << 10).into();
        }
        schema
    });
}

impl<const KIB: u64> std::fmt::Display for Bytes<KIB> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: Read> Read for Limit<T> {
    fn read(place: &Place<'_>) -> Option<Self> {
        match place.node() {
            Node::Text(text) if text == "never" => Some(Self::Never),
            _ => T::read(&place.or("`never`")).map(Self::At),
        }
    }
}

impl<T: JsonSchema> JsonSchema for Limit<T> {
    inline_schema!("Limit", generator => {
        json_schema!({"anyOf": [T::json_schema(generator), {"const": "never"}]})
    });
}

impl<T> Limit<T> {
    /// The same limit in another type.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Limit<U> {
        match self {
            Self::Never => Limit::Never,
            Self::At(limit) => Limit::At(change(limit)),
        }
    }
}
