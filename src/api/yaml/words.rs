//! The few words that may stand in a place, and which of them was meant.

use super::{read::Place, tree::Node};
use crate::api::quantity::Wrong;

/// Reads one of a few words, each with its value.
pub fn one_of<T: Copy>(place: &Place<'_>, words: &[(&str, T)]) -> Option<T> {
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let wrong = Wrong::expected(list(&names));
    let Node::Text(text) = place.node() else {
        place.wrong(&wrong);
        return None;
    };
    let found = words.iter().find(|(word, _)| word == text).map(|(_, value)| *value);
    if found.is_none() {
        place.wrong(&Wrong { hint: did_you_mean(text, &names), ..wrong });
    }
    found
}

/// `a`, `b` or `c`.
fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// Equal but for case, `-` and `_`: how words are spelt in other tools.
pub(super) fn same_word(one: &str, other: &str) -> bool {
    let plain = |text: &str| text.replace(['-', '_'], "").to_lowercase();
    plain(one) == plain(other)
}

/// Longest word that is compared with the known ones: the comparison is quadratic.
const LONGEST_WORD: usize = 40;

/// The known word that was probably meant.
pub(in crate::api) fn did_you_mean(written: &str, known: &[&str]) -> Option<String> {
    if written.len() > LONGEST_WORD {
        return None;
    }
    let same = known.iter().find(|word| same_word(word, written));
    let near = || {
        let distance =
            |word: &&&str| strsim::damerau_levenshtein(&word.to_lowercase(), &written.to_lowercase());
        known
            .iter()
            .min_by_key(distance)
            .filter(|word| distance(word) <= (word.len().min(written.len()) / 3).max(1))
    };
    same.or_else(near).map(|word| format!("did you mean `{word}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_word_is_suggested_and_a_far_one_is_not() {
        let known = ["command", "workingDir", "maxIdle", "env", "envFile"];
        for (written, expected) in [
            ("comand", Some("command")),
            ("Command", Some("command")),
            ("working_dir", Some("workingDir")),
            ("working-dir", Some("workingDir")),
            ("WORKINGDIR", Some("workingDir")),
            ("maxidel", Some("maxIdle")),
            ("evn", Some("env")),
            ("env_file", Some("envFile")),
            ("replicas", None),
            ("", None),
        ] {
            let expected = expected.map(|word| format!("did you mean `{word}`?"));
            assert_eq!(did_you_mean(written, &known), expected, "{written}");
        }
        assert_eq!(did_you_mean(&"c".repeat(60_000), &known), None);
    }

    #[test]
    fn words_are_listed_as_people_say_them() {
        assert_eq!(list(&["a"]), "`a`");
        assert_eq!(list(&["a", "b", "c"]), "`a`, `b` or `c`");
    }
}
