//! What a person or an agent changes about one run while it lives: gone with it.
//!
//! A change is a JSON merge patch (RFC 7396) over the keys: a value sets, `null` takes back, what is not named stays. The
//! values have the rules of a spec's.

use std::{fmt, path::Path, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    diagnose::Diagnostics,
    name::RunId,
    quantity::{Dur, Limit, Size, Wrong},
    rules::{Bytes, Span, Whole, Word},
    spec::SessionSpec,
    yaml::{
        self, Nothing,
        read::{Fields, Place, Read},
        tree::Node,
    },
};

/// Name of the file in a session's directory that has a run's overrides, for its agent to read.
pub const OVERRIDES_FILE: &str = "overrides.json";

/// Overrides that are in force.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Overrides {
    /// For its agent: which model to use.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub model: Option<String>,
    /// For its agent: whose model.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub model_provider: Option<String>,
    /// For its agent: from 0 to 2.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub temperature: Option<f64>,
    /// In place of the spec's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_idle: Option<Limit<Dur>>,
    /// In place of the spec's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_age: Option<Limit<Dur>>,
    /// In place of the spec's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_memory: Option<Limit<Size>>,
    /// In place of the spec's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_processes: Option<Limit<u32>>,
}

/// Overrides of one run, as they are remembered and published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RunOverrides {
    /// Of another run they mean nothing.
    pub run_id: RunId,
    /// What is in force.
    #[serde(flatten)]
    pub overrides: Overrides,
}

/// What is to become of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change<T> {
    Set(T),
    TakeBack,
}

impl<T> Change<T> {
    fn map<U>(self, map: impl FnOnce(T) -> U) -> Change<U> {
        match self {
            Self::Set(value) => Change::Set(map(value)),
            Self::TakeBack => Change::TakeBack,
        }
    }
}

impl<T: Read> Read for Change<T> {
    fn read(place: &Place<'_>) -> Option<Self> {
        match place.node() {
            Node::Null => Some(Self::TakeBack),
            _ => T::read(place).map(Self::Set),
        }
    }
}

/// A change of overrides, checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Patch {
    model: Option<Change<String>>,
    model_provider: Option<Change<String>>,
    temperature: Option<Change<f64>>,
    max_idle: Option<Change<Limit<Dur>>>,
    max_age: Option<Change<Limit<Dur>>>,
    max_memory: Option<Change<Limit<Size>>>,
    max_processes: Option<Change<Limit<u32>>>,
}

/// Randomness of a model's answers.
struct Temperature(f64);

impl FromStr for Temperature {
    type Err = Wrong;
    fn from_str(text: &str) -> Result<Self, Wrong> {
        let number = text.parse().ok().filter(|number| (0.0..=2.0).contains(number));
        number.map(Self).ok_or_else(|| Wrong::expected("a number from 0 to 2"))
    }
}

impl Read for Temperature {
    fn read(place: &Place<'_>) -> Option<Self> {
        let parsed = place.text("a number from 0 to 2")?.parse();
        parsed.map_err(|wrong| place.wrong(&wrong)).ok()
    }
}

/// What people call these elsewhere.
const ELSEWHERE: &[(&str, &str)] = &[
    ("provider", "did you mean `modelProvider`?"),
    ("idle", "did you mean `maxIdle`?"),
    ("timeout", "did you mean `maxAge` or `maxIdle`?"),
    ("age", "did you mean `maxAge`?"),
    ("memory", "did you mean `maxMemory`?"),
    ("processes", "did you mean `maxProcesses`?"),
];

impl Read for Patch {
    fn read(place: &Place<'_>) -> Option<Self> {
        let mut fields = Fields::open(place, "keys such as `maxIdle`")?;
        let model: Option<Change<Word>> = fields.get("model");
        let provider: Option<Change<Word>> = fields.get("modelProvider");
        let temperature: Option<Change<Temperature>> = fields.get("temperature");
        let idle: Option<Change<Limit<Span>>> = fields.get("maxIdle");
        let age: Option<Change<Limit<Span>>> = fields.get("maxAge");
        let memory: Option<Change<Limit<Bytes<1024>>>> = fields.get("maxMemory");
        let processes: Option<Change<Limit<Whole<u32, 1, 4_194_304>>>> = fields.get("maxProcesses");
        fields.close(ELSEWHERE);
        Some(Self {
            model: model.map(|it| it.map(|word| word.0)),
            model_provider: provider.map(|it| it.map(|word| word.0)),
            temperature: temperature.map(|it| it.map(|number| number.0)),
            max_idle: idle.map(|it| it.map(|limit| limit.map(|span| span.0))),
            max_age: age.map(|it| it.map(|limit| limit.map(|span| span.0))),
            max_memory: memory.map(|it| it.map(|limit| limit.map(|size| size.0))),
            max_processes: processes.map(|it| it.map(|limit| limit.map(|count| count.0))),
        })
    }
}

/// Why a change is none: everything that is wrong with it, in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatchError(String);

impl From<Diagnostics> for PatchError {
    fn from(diagnostics: Diagnostics) -> Self {
        let one = |wrong: &super::diagnose::Diagnostic| {
            let path = wrong.path.as_ref().map(|path| format!("{path}: ")).unwrap_or_default();
            let hint = wrong.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
            format!("{path}{}{hint}", wrong.message)
        };
        Self(diagnostics.0.iter().map(one).collect::<Vec<_>>().join("; "))
    }
}

impl Patch {
    /// Checks a change.
    pub fn parse(mut keys: Map<String, Value>) -> Result<Self, PatchError> {
        // What YAML takes for a number loses its fraction there.
        if let Some(value @ Value::Number(_)) = keys.get_mut("temperature") {
            *value = Value::String(value.to_string());
        }
        let text = Value::Object(keys).to_string();
        Ok(yaml::read(text.as_bytes(), Path::new("override"), Nothing::Defaults)?)
    }
}

impl Overrides {
    /// With this change. A new provider without a model takes the model back: that was the other's.
    #[must_use]
    pub fn with(mut self, patch: Patch) -> Self {
        fn change<T>(value: &mut Option<T>, change: Option<Change<T>>) {
            match change {
                None => {}
                Some(Change::Set(new)) => *value = Some(new),
                Some(Change::TakeBack) => *value = None,
            }
        }
        let provider = self.model_provider.clone();
        change(&mut self.model_provider, patch.model_provider);
        if self.model_provider != provider {
            self.model = None;
        }
        change(&mut self.model, patch.model);
        change(&mut self.temperature, patch.temperature);
        change(&mut self.max_idle, patch.max_idle);
        change(&mut self.max_age, patch.max_age);
        change(&mut self.max_memory, patch.max_memory);
        change(&mut self.max_processes, patch.max_processes);
        self
    }

    /// Whether nothing is overridden.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What `spec` means with them.
    pub fn apply(&self, spec: &mut SessionSpec) {
        spec.max_idle = self.max_idle.unwrap_or(spec.max_idle);
        spec.max_age = self.max_age.unwrap_or(spec.max_age);
        spec.max_memory = self.max_memory.unwrap_or(spec.max_memory);
        spec.max_processes = self.max_processes.unwrap_or(spec.max_processes);
    }

    /// The first limit that is beyond that of `spec`, and beyond what was in force before.
    pub fn raises(&self, spec: &SessionSpec, before: &Self) -> Option<&'static str> {
        fn beyond<T: PartialOrd>(new: Limit<T>, old: Limit<T>) -> bool {
            match (new, old) {
                (Limit::Never, Limit::At(_)) => true,
                (Limit::At(new), Limit::At(old)) => new > old,
                (Limit::Never | Limit::At(_), Limit::Never) => false,
            }
        }
        let (mut now, mut then) = (spec.clone(), spec.clone());
        self.apply(&mut now);
        before.apply(&mut then);
        let of_time = |new, written, old| beyond::<Dur>(new, written) && beyond(new, old);
        let limits = [
            ("maxIdle", of_time(now.max_idle, spec.max_idle, then.max_idle)),
            ("maxAge", of_time(now.max_age, spec.max_age, then.max_age)),
            ("maxMemory", beyond(now.max_memory, spec.max_memory) && beyond(now.max_memory, then.max_memory)),
            (
                "maxProcesses",
                beyond(now.max_processes, spec.max_processes)
                    && beyond(now.max_processes, then.max_processes),
            ),
        ];
        limits.into_iter().find_map(|(name, beyond)| beyond.then_some(name))
    }
}

impl fmt::Display for Overrides {
    /// `model=opus maxIdle=5m`; nothing where there is none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(Value::Object(keys)) = serde_json::to_value(self) else { return Err(fmt::Error) };
        for (index, (key, value)) in keys.iter().enumerate() {
            let blank = if index == 0 { "" } else { " " };
            match value {
                Value::String(text) => write!(f, "{blank}{key}={text}")?,
                value => write!(f, "{blank}{key}={value}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patch(keys: Value) -> Result<Patch, String> {
        let Value::Object(keys) = keys else { panic!("no object") };
        Patch::parse(keys).map_err(|error| error.to_string())
    }

    fn after(changes: &[Value]) -> String {
        let one = |overrides: Overrides, keys: &Value| overrides.with(patch(keys.clone()).unwrap());
        changes.iter().fold(Overrides::default(), one).to_string()
    }

    #[test]
    fn a_change_sets_takes_back_and_leaves() {
        let all = json!({"model": "opus", "modelProvider": "anthropic", "temperature": 0.7, "maxIdle": "5m",
            "maxAge": "never", "maxMemory": "1GiB", "maxProcesses": 20});
        let told = "model=opus modelProvider=anthropic temperature=0.7 maxIdle=5m maxAge=never maxMemory=1GiB \
                    maxProcesses=20";
        let words =
            |text: &str| text.split(' ').map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(words(&after(std::slice::from_ref(&all))), words(told));
        assert_eq!(after(&[]), "");
        assert_eq!(
            after(&[json!({"maxIdle": "5m"}), json!({"maxAge": "1h"}), json!({"maxIdle": null})]),
            "maxAge=1h"
        );
        assert_eq!(after(&[json!({"temperature": "0"}), json!({"maxMemory": null})]), "temperature=0.0");
    }

    #[test]
    fn a_new_provider_takes_the_model_of_the_old_one_back() {
        let first = || json!({"modelProvider": "anthropic", "model": "opus"});
        for (then, expected) in [
            (json!({"modelProvider": "openai"}), "modelProvider=openai"),
            (json!({"modelProvider": null}), ""),
            (json!({"modelProvider": "openai", "model": "o9"}), "model=o9 modelProvider=openai"),
            (json!({"modelProvider": "anthropic"}), "model=opus modelProvider=anthropic"),
            (json!({"model": "haiku"}), "model=haiku modelProvider=anthropic"),
        ] {
            assert_eq!(after(&[first(), then.clone()]), expected, "{then}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_key_and_what_was_meant() {
        for (keys, says) in [
            (json!({"maxIdel": "5m"}), "did you mean `maxIdle`?"),
            (json!({"provider": "x"}), "did you mean `modelProvider`?"),
            (json!({"maxIdle": "5"}), "maxIdle: expected a duration"),
            (json!({"maxIdle": 5}), "add a unit"),
            (json!({"maxIdle": "0s"}), "maxIdle: expected a duration of at least"),
            (json!({"maxMemory": "1KiB"}), "maxMemory: expected a size of at least 1MiB"),
            (json!({"maxProcesses": 0}), "maxProcesses: expected a whole number from 1"),
            (json!({"temperature": 2.5}), "temperature: expected a number from 0 to 2"),
            (json!({"temperature": "NaN"}), "temperature: expected a number from 0 to 2"),
            (json!({"temperature": true}), "temperature: expected a number from 0 to 2"),
            (json!({"model": "a\u{1b}[31m"}), "model: expected a name"),
            (json!({"model": ""}), "model: expected a name"),
            (json!({"model": 4}), "model: expected a name"),
            (json!({"model": {"a": 1}}), "model: expected a name"),
            (json!({"priority": 4}), "priority"),
        ] {
            let error = patch(keys.clone()).unwrap_err();
            assert!(error.contains(says), "{keys}: {error}");
            assert!(!error.contains('\u{1b}') && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn limits_apply_to_a_spec_and_are_compared_with_it() {
        let name = "a".parse().unwrap();
        let config = crate::api::config::Config::defaults(crate::api::config::Machine { memory: 1 << 30 });
        let text = "command: [a]\nmaxIdle: 1h\nmaxMemory: 1GiB\n";
        let spec =
            crate::api::spec::WrittenSpec::parse(text, Path::new("a")).unwrap().resolve(&name, &config);
        let with = |keys: Value| Overrides::default().with(patch(keys).unwrap());
        for (keys, raises) in [
            (json!({"maxIdle": "30m", "maxMemory": "1GiB", "maxProcesses": 5, "maxAge": "1h"}), None),
            (json!({"maxIdle": "2h"}), Some("maxIdle")),
            (json!({"maxMemory": "never"}), Some("maxMemory")),
            (json!({"maxProcesses": "never"}), None),
            (json!({"model": "x"}), None),
        ] {
            assert_eq!(with(keys.clone()).raises(&spec, &Overrides::default()), raises, "{keys}");
        }
        // What somebody raised before may stay, and come back down.
        let before = with(json!({"maxMemory": "4GiB", "maxIdle": "never"}));
        for (memory, raises) in [("4GiB", None), ("3GiB", None), ("1MiB", None), ("5GiB", Some("maxMemory"))]
        {
            let now = with(json!({"maxMemory": memory, "maxIdle": "never", "model": "x"}));
            assert_eq!(now.raises(&spec, &before), raises, "{memory}");
        }
        let mut changed = spec.clone();
        with(json!({"maxIdle": "30m", "maxProcesses": 5})).apply(&mut changed);
        assert_eq!((changed.max_idle.to_string(), changed.max_memory), ("30m".into(), spec.max_memory));
        assert_eq!(changed.max_processes, Limit::At(5));
    }

    #[test]
    fn they_are_the_same_after_a_journey() {
        let overrides = Overrides::default()
            .with(patch(json!({"model": "x", "temperature": 0.1, "maxAge": "1h"})).unwrap());
        let of_run = RunOverrides { run_id: RunId::generate(), overrides };
        let text = serde_json::to_string(&of_run).unwrap();
        assert_eq!(serde_json::from_str::<RunOverrides>(&text).unwrap(), of_run);
    }
}
