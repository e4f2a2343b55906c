//! Commands for a shell that report to atm: as [`super::install`] writes them, and as people do.

/// Flags of `atm` that a value follows.
const WITH_VALUE: &[&str] =
    &["--socket", "--runtime-dir", "--config", "--sessions-dir", "--state-dir", "--log-dir", "--agent"];

/// A call of `atm hook` that a shell's command begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Where the daemon is, as flags, of a command as atm writes it; absent: somebody wrote it by hand.
    pub places: Option<Vec<String>>,
    /// What the command does beside it.
    pub beside: Beside,
}

/// What a command does beside reporting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beside {
    /// Nothing.
    Nothing,
    /// It shows what this command makes of the same input, a status line of a person's own.
    Shows(String),
    /// Something that cannot be told from it.
    Other,
}

/// Reads a command; `None` where it does not begin with a call of `program`, or of another `atm`.
pub fn read(command: &str, program: &str) -> Option<Call> {
    let end = first_operator(command);
    let words = shell_words::split(command.get(..end)?).ok()?;
    let is_setting = |word: &&String| word.split_once('=').is_some_and(|(name, _)| is_name(name));
    let settings = words.iter().take_while(is_setting).count();
    let (atm, rest) = words.get(settings..)?.split_first()?;
    if atm != program && atm.rsplit('/').next() != Some("atm") {
        return None;
    }
    let hook = verb(rest).filter(|at| rest.get(*at).is_some_and(|verb| verb == "hook"))?;
    let mut flags = rest.get(hook + 1..)?;
    let passes = rest.iter().any(|word| word == "--pass");
    let piped = command.get(end..).and_then(|rest| rest.strip_prefix('|'));
    let piped = piped.filter(|rest| !rest.starts_with(['|', '&'])).map(str::trim);
    let own = piped.and_then(shell_of);
    let beside = match piped {
        Some(shown) if passes => Beside::Shows(own.clone().unwrap_or_else(|| shown.to_owned())),
        _ if command.get(end..).is_some_and(|rest| rest.trim().is_empty()) => Beside::Nothing,
        _ => Beside::Other,
    };
    // As atm writes it: `--pass` where it shows something, by a shell, and nowhere else.
    let as_written = match (&beside, flags.split_last()) {
        (Beside::Nothing, _) => !passes,
        (Beside::Shows(_), Some((last, before))) if last == "--pass" && own.is_some() => {
            flags = before;
            true
        }
        (Beside::Shows(_) | Beside::Other, _) => false,
    };
    let plain = as_written && settings == 0 && hook == 0 && are_places(flags);
    Some(Call { places: plain.then(|| flags.to_vec()), beside })
}

/// Where the verb stands among a program's arguments.
fn verb(arguments: &[String]) -> Option<usize> {
    let mut at = 0;
    while let Some(word) = arguments.get(at).filter(|word| word.starts_with('-')) {
        at += if WITH_VALUE.contains(&word.as_str()) { 2 } else { 1 };
    }
    (at < arguments.len()).then_some(at)
}

/// Whether these are flags that say where the daemon is, in the form that atm writes them.
fn are_places(flags: &[String]) -> bool {
    let mut rest = flags.iter().map(String::as_str);
    while let Some(flag) = rest.next() {
        let known = match flag {
            "--user" | "--system" => true,
            "--socket" | "--runtime-dir" => rest.next().is_some(),
            _ => false,
        };
        if !known {
            return false;
        }
    }
    true
}

/// The command in `sh -c COMMAND`, where that is all and as atm writes it.
fn shell_of(command: &str) -> Option<String> {
    let words = shell_words::split(command).ok()?;
    let [_, _, inner] = words.as_slice() else { return None };
    (command == by_shell(inner)).then(|| inner.clone())
}

/// A command that has a shell execute `inner`.
pub fn by_shell(inner: &str) -> String {
    format!("sh -c {}", shell_words::quote(inner))
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Where the first command of a shell's command ends.
fn first_operator(command: &str) -> usize {
    let mut quote = None;
    let mut letters = command.char_indices();
    while let Some((at, letter)) = letters.next() {
        match (quote, letter) {
            (None | Some('"'), '\\') => drop(letters.next()),
            (None, '\'' | '"') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            (None, '|' | '&' | ';' | '<' | '>' | '(' | ')' | '`' | '\n') => return at,
            (None | Some(_), _) => {}
        }
    }
    command.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(command: &str) -> Option<(Option<String>, Beside)> {
        read(command, "/opt/a b/agent-task-manager")
            .map(|call| (call.places.map(|places| places.join(" ")), call.beside))
    }

    #[test]
    fn what_atm_writes_is_told_from_what_people_write() {
        let shows = |text: &str| Beside::Shows(text.to_owned());
        let ours = |places: &str, beside| Some((Some(places.to_owned()), beside));
        let theirs = |beside| Some((None, beside));
        for (command, expected) in [
            ("/usr/bin/atm hook", ours("", Beside::Nothing)),
            ("'/opt/a b/agent-task-manager' hook", ours("", Beside::Nothing)),
            ("atm hook --user", ours("--user", Beside::Nothing)),
            ("atm hook --socket '/run/a b'", ours("--socket /run/a b", Beside::Nothing)),
            ("atm hook --pass | sh -c 'my line'", ours("", shows("my line"))),
            ("atm hook --system --pass | sh -c line", ours("--system", shows("line"))),
            // By hand.
            ("atm hook --agent codex", theirs(Beside::Nothing)),
            ("atm --user hook", theirs(Beside::Nothing)),
            ("atm --socket hook hook", theirs(Beside::Nothing)),
            ("ATM_SOCKET=/run/x atm hook", theirs(Beside::Nothing)),
            ("atm hook --pass", theirs(Beside::Nothing)),
            ("atm hook --pass | ~/.claude/statusline.sh", theirs(shows("~/.claude/statusline.sh"))),
            ("atm hook --pass|jq -r '.a | .b' | head -1", theirs(shows("jq -r '.a | .b' | head -1"))),
            ("atm hook --pass | sh -c 'x' | head -1", theirs(shows("sh -c 'x' | head -1"))),
            ("atm --user hook --pass | sh -c 'x'", theirs(shows("sh -c 'x'"))),
            ("atm hook | cat", theirs(Beside::Other)),
            ("atm hook || true", theirs(Beside::Other)),
            ("atm hook --pass || true", theirs(Beside::Other)),
            ("atm hook 2>/dev/null", theirs(Beside::Other)),
            ("atm hook; say done", theirs(Beside::Other)),
            // None.
            ("", None),
            ("atm", None),
            ("atm hooks install", None),
            ("atm get hook", None),
            ("atm --socket hook", None),
            ("/usr/bin/atmosphere hook", None),
            ("say 'atm hook'", None),
            ("echo; atm hook", None),
            ("atm 'hook", None),
        ] {
            assert_eq!(call(command), expected, "{command}");
        }
    }
}
