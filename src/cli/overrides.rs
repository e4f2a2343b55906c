//! `atm override`: limits and the agent's model, changed for the run that lives.

use serde_json::{Map, Value};

use super::{
    complete,
    context::{Context, get_one},
    error::{CliError, CliResult, Kind},
    output::PlainForm,
    text::escape,
};
use crate::api::{
    control::{OverrideParams, VerbResult},
    name::SessionName,
    overrides::Patch,
    status::SessionView,
};

const AFTER: &str = "\
Keys: maxIdle, maxAge, maxMemory, maxProcesses, in place of the spec's and in force at once; model, modelProvider and
temperature (0 to 2), for the session's agent to read. All are of the run that lives, and gone with it. A new
modelProvider without a model takes the model back. They are in `overrides.json` in the session's runtime directory,
and in `atm get -o json` at `.status.overrides`.

Examples:
  atm override fix-login maxIdle=4h maxMemory=6GiB
  atm override fix-login model=opus temperature=0.2
  atm override fix-login maxIdle-             take it back
  atm override fix-login --clear              take all back
  atm override fix-login                      show them";

/// Arguments of `atm override`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// The session
    #[arg(value_name = "NAME", add = complete::sessions())]
    name: SessionName,
    /// KEY=VALUE sets, KEY- takes back
    #[arg(value_name = "CHANGE")]
    changes: Vec<String>,
    /// Take all back, before the changes
    #[arg(long)]
    clear: bool,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = PlainForm::Table)]
    output: PlainForm,
}

/// Prints what is overridden then.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    let overrides = changes(&args.changes)?;
    // By the daemon's own rules: what makes no sense is told without it.
    Patch::parse(overrides.clone()).map_err(|error| {
        CliError::new(Kind::Usage, error.to_string()).hint("`atm override --help` lists the keys")
    })?;
    let mut client = context.connect()?;
    let session = if overrides.is_empty() && !args.clear {
        get_one(&mut client, &args.name)?
    } else {
        let params = OverrideParams { name: args.name.clone(), clear: args.clear, overrides };
        let asked = client.call::<VerbResult>("override", &params).map_err(CliError::from);
        match asked {
            Ok(result) => Some(result.session),
            Err(error) if error.kind == Kind::NoSuchSession => None,
            Err(error) => return Err(error),
        }
    };
    let Some(session) = session else {
        return Err(context.no_such_session(&mut client, &args.name));
    };
    show(&session, args.output, context)
}

fn show(session: &SessionView, form: PlainForm, context: &mut Context) -> CliResult {
    let overrides = session.status.overrides.clone().unwrap_or_default();
    match form {
        PlainForm::Json => context.out.json(&overrides),
        PlainForm::Yaml => context.out.yaml(&overrides),
        PlainForm::Table if overrides.is_empty() => {
            context.out.note(&format!("nothing is overridden of {}", session.name))
        }
        PlainForm::Table => context.out.line(&escape(&overrides.to_string())),
    }
}

fn changes(words: &[String]) -> CliResult<Map<String, Value>> {
    let mut changes = Map::new();
    for word in words {
        let (key, value) = match word.split_once('=') {
            Some((key, value)) => (key, value_of(key, value)),
            None => match word.strip_suffix('-') {
                Some(key) => (key, Value::Null),
                None => {
                    return Err(CliError::new(Kind::Usage, format!("`{word}` is no change"))
                        .hint(format!("`{word}=VALUE` sets it, `{word}-` takes it back")));
                }
            },
        };
        if changes.insert(key.to_owned(), value).is_some() {
            return Err(CliError::new(Kind::Usage, format!("`{key}` is there twice")));
        }
    }
    Ok(changes)
}

/// All but one key take texts.
fn value_of(key: &str, value: &str) -> Value {
    let number = value.parse::<u64>().ok().filter(|_| key == "maxProcesses");
    number.map_or_else(|| Value::from(value), Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn changes_are_written_as_labels_are() {
        let read = |words: &[&str]| changes(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        let expected =
            json!({"maxIdle": "4h", "maxAge": null, "maxProcesses": 20, "model": "a=b-", "maxMemory": "5"});
        let words = ["maxIdle=4h", "maxAge-", "maxProcesses=20", "model=a=b-", "maxMemory=5"];
        assert_eq!(Value::Object(read(&words).unwrap()), expected);
        assert!(read(&["maxIdle"]).unwrap_err().hint.unwrap().contains("`maxIdle=VALUE`"));
        assert!(read(&["model=a", "model-"]).is_err());
    }
}
