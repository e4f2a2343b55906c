//! The environment of a session, and what `~` and `${VAR}` mean in it. Values only.

use std::collections::BTreeMap;

use crate::{
    api::{
        record::{
            ENV_HOOKS, ENV_INSTANCE, ENV_RUN_ID, ENV_SESSION, ENV_SOCKET, HOOKS_PASSED, Intent, StartError,
        },
        spec::Terminal,
    },
    host::users::Account,
};

/// An environment, by name.
pub type Environment = BTreeMap<String, String>;

/// Where programs are looked for when nothing says so.
pub const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The layers below `envFile`: the daemon's, and what a login gives.
pub fn login(intent: &Intent, account: &Account) -> Environment {
    let mut env = intent.base_env.clone();
    for (name, value) in [
        ("HOME", &account.home),
        ("USER", &account.name),
        ("LOGNAME", &account.name),
        ("SHELL", &account.shell),
    ] {
        env.insert(name.to_owned(), value.clone());
    }
    let machine = env.get("PATH").map_or(DEFAULT_PATH, String::as_str);
    let path = format!("{home}/.local/bin:{home}/bin:{machine}", home = account.home.trim_end_matches('/'));
    env.insert("PATH".to_owned(), path);
    if matches!(intent.spec.terminal, Terminal::Pty { .. }) {
        env.entry("TERM".to_owned()).or_insert_with(|| "xterm-256color".to_owned());
    }
    env
}

/// The layers above `envFile`: the spec's own, and the marks by which what a session leaves is known.
pub fn finish(env: &mut Environment, intent: &Intent) {
    env.extend(intent.spec.env.clone());
    let socket = intent.base_env.get(ENV_SOCKET).map(|socket| (ENV_SOCKET, socket.clone()));
    let reports = intent.agent.as_ref().is_some_and(|agent| agent.reports);
    let hooks = reports.then(|| (ENV_HOOKS, HOOKS_PASSED.to_owned()));
    let marks = [
        (ENV_SESSION, intent.name.to_string()),
        (ENV_RUN_ID, intent.run_id.to_string()),
        (ENV_INSTANCE, intent.instance.to_string()),
    ];
    env.extend(marks.into_iter().chain(socket).chain(hooks).map(|(name, value)| (name.to_owned(), value)));
}

/// Longest that a text may become. The system takes no longer argument, and a short text that names a long variable often
/// enough would take hundreds of megabytes before the system says so.
pub const LONGEST: usize = 128 << 10;
/// Longest that all words of a command may become together: as much as the system ever takes.
const LONGEST_COMMAND: usize = 6 << 20;
/// Longest text from outside that an error repeats.
const LONGEST_TEXT: usize = 4096;

/// The beginning of a text that may be of any length.
pub fn clip(text: &str) -> String {
    if text.len() <= LONGEST_TEXT {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(LONGEST_TEXT / 4).collect();
    short.push('…');
    short
}

/// Expands the words of a command.
pub fn expand_command(words: &[String], env: &Environment) -> Result<Vec<String>, StartError> {
    let mut expanded = Vec::with_capacity(words.len());
    let mut length = 0;
    for word in words {
        let word = expand(word, env)?;
        length += word.len() + 1;
        expanded.push(word);
        if length > LONGEST_COMMAND {
            return Err(StartError::CannotExecute {
                program: expanded.first().map(|program| clip(program)).unwrap_or_default(),
                reason: format!("its words are longer than {} MiB together", LONGEST_COMMAND >> 20),
            });
        }
    }
    Ok(expanded)
}

/// Expands a leading `~` or `~/` and each `${NAME}`; `$${NAME}` stands for `${NAME}` itself.
///
/// Anything else after a `$` stays, among it the other forms of a shell (`${x:-y}`, `$x`): commands often
/// carry a script for one.
pub fn expand(text: &str, env: &Environment) -> Result<String, StartError> {
    let wrong = |reason| StartError::Expansion { text: clip(text), reason };
    let missing = |name: &str| wrong(format!("the variable `{}` is not set", clip(name)));
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    if let Some(after) = text.strip_prefix('~')
        && (after.is_empty() || after.starts_with('/'))
    {
        out.push_str(env.get("HOME").ok_or_else(|| missing("HOME"))?);
        rest = after;
    }
    while let Some((before, after)) = rest.split_once("${") {
        if out.len() > LONGEST {
            break;
        }
        let name = after.split_once('}').filter(|(name, _)| is_name(name));
        match (name, before.strip_suffix('$')) {
            (Some((name, tail)), None) => {
                out.push_str(before);
                out.push_str(env.get(name).ok_or_else(|| missing(name))?);
                rest = tail;
            }
            (Some(_), Some(escaped)) => {
                out.push_str(escaped);
                out.push_str("${");
                rest = after;
            }
            (None, _) => {
                out.push_str(before);
                out.push_str("${");
                rest = after;
            }
        }
    }
    out.push_str(rest);
    if out.len() > LONGEST.max(text.len()) {
        return Err(wrong(format!("it is longer than {} KiB", LONGEST >> 10)));
    }
    Ok(out)
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Reads lines of `NAME=value`: blank ones and those that begin with `#` say nothing, `export ` before a name
/// is allowed, and quotes around a whole value are taken off. The error names the line and never its value.
pub fn parse_file(bytes: &[u8]) -> Result<Vec<(String, String)>, String> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let mut pairs = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let wrong = |what: &str| format!("line {}: {what}", index + 1);
        let line = std::str::from_utf8(line).map_err(|_| wrong("not UTF-8"))?.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").map_or(line, str::trim_start);
        let (name, value) = line.split_once('=').ok_or_else(|| wrong("expected NAME=value"))?;
        if !is_name(name) {
            return Err(wrong("expected a name of letters, digits and `_` before `=`"));
        }
        if value.contains('\0') {
            return Err(wrong("the value contains a NUL byte"));
        }
        let unquoted = ['"', '\'']
            .iter()
            .find_map(|quote| value.strip_prefix(*quote).and_then(|value| value.strip_suffix(*quote)));
        pairs.push((name.to_owned(), unquoted.unwrap_or(value).to_owned()));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn home_and_variables_expand_and_shell_forms_stay() {
        let env = env(&[("HOME", "/home/a"), ("X", "1"), ("_y2", "${X}")]);
        for (text, expected) in [
            ("~", "/home/a"),
            ("~/src", "/home/a/src"),
            ("~bob", "~bob"),
            ("a~", "a~"),
            ("${X}${X}b", "11b"),
            ("${_y2}", "${X}"),
            ("$X $$ ${X:-2} ${1} ${", "$X $$ ${X:-2} ${1} ${"),
            ("$${X}", "${X}"),
            ("é${X}é", "é1é"),
        ] {
            assert_eq!(expand(text, &env).unwrap(), expected, "{text}");
        }
        let error = expand("a ${NOPE}", &env).unwrap_err().to_string();
        assert_eq!(error, "cannot expand `a ${NOPE}`: the variable `NOPE` is not set");
    }

    #[test]
    fn what_expands_without_measure_is_refused_in_a_short_word() {
        let env = env(&[("A", &"\"".repeat(60 << 10)), ("N", &"x".repeat(100 << 10))]);
        let refused = |words: &[String]| {
            let error = expand_command(words, &env).unwrap_err();
            assert!(serde_json::to_vec(&error).unwrap().len() < 32 << 10, "it fits the line to the keeper");
            error.to_string()
        };
        let often = "${A}".repeat(16 << 10);
        assert!(refused(std::slice::from_ref(&often)).ends_with("it is longer than 128 KiB"));
        assert!(
            refused(&vec!["${A}".to_owned(); 9000]).ends_with("its words are longer than 6 MiB together")
        );
        assert!(refused(&[format!("{}${{NOPE}}", "\"".repeat(60 << 10))]).contains("`NOPE` is not set"));
        assert_eq!(expand_command(&["${N}".to_owned(), "b".to_owned()], &env).unwrap()[1], "b");
    }

    #[test]
    fn an_env_file_is_lines_of_names_and_values() {
        let text = "\u{feff}# c\r\n\nA=1\r\nexport B='two words'\nC=\"\nD=x=y\nE=\n";
        let expected = [("A", "1"), ("B", "two words"), ("C", "\""), ("D", "x=y"), ("E", "")];
        let expected: Vec<_> = expected.map(|(n, v)| (n.to_owned(), v.to_owned())).into();
        assert_eq!(parse_file(text.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn an_error_in_an_env_file_never_shows_the_value() {
        for bad in ["A=1\nsecret", "A=1\n1A=secret", "A=1\nA B=secret", "A=1\nA=secret\0"] {
            let error = parse_file(bad.as_bytes()).unwrap_err();
            assert!(error.starts_with("line 2: ") && !error.contains("secret"), "{error}");
        }
        assert_eq!(parse_file(b"\xff").unwrap_err(), "line 1: not UTF-8");
    }

    proptest! {
        #[test]
        fn what_is_written_line_by_line_is_read_back(
            pairs in prop::collection::vec(("[A-Za-z_][A-Za-z0-9_]{0,8}", "[^\\p{Cc}]{0,20}"), 0..8),
        ) {
            let quoted = |(name, value): &(String, String)| format!("export {name}='{value}'\n# {value}\n\n");
            let text: String = pairs.iter().map(quoted).collect();
            prop_assert_eq!(parse_file(text.as_bytes()), Ok(pairs));
        }

        #[test]
        fn only_names_in_braces_expand(text in "[a-z ~$}{\\PC]{0,30}", value in "\\PC{0,20}") {
            let env = BTreeMap::from([("X".to_owned(), value.clone())]);
            let plain = format!("/{}", text.replace("${", "$"));
            prop_assert_eq!(expand(&plain, &env).unwrap(), plain.clone());
            // What was put in is not looked at again.
            let plain = plain.trim_end_matches('$');
            prop_assert_eq!(expand(&format!("{plain}${{X}}{plain}"), &env).unwrap(), format!("{plain}{value}{plain}"));
        }
    }
}
