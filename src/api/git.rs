//! What the files of a git repository say, as far as it is shown: which branch is checked out, and its name.
//!
//! A file here may be anybody's and may hold anything: what is taken from it is a name that git itself would accept, or
//! nothing.

/// Longest name of a reference or of a repository that is shown, in bytes.
const LONGEST: usize = 250;

/// Figures of a commit's id that are shown, as git shortens it.
const SHORT: usize = 7;

/// What `HEAD` says: the branch that is checked out, or the shortened id of a commit. `None` where it says neither: then
/// its directory is no repository.
pub fn head(bytes: &[u8]) -> Option<Head> {
    let text = std::str::from_utf8(bytes).ok()?.trim_end();
    if let Some(reference) = text.strip_prefix("ref:") {
        return reference_head(reference.trim_start());
    }
    let is_id = matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some(Head::At(text.get(..SHORT).filter(|_| is_id)?.to_ascii_lowercase()))
}

/// What a `HEAD` that leads to `reference` says.
pub fn reference_head(reference: &str) -> Option<Head> {
    if reference == "refs/heads/.invalid" {
        return Some(Head::Elsewhere);
    }
    let valid = reference.starts_with("refs/") && is_reference(reference);
    let name = reference.strip_prefix("refs/heads/").unwrap_or(reference);
    valid.then(|| Head::At(name.to_owned()))
}

/// What is checked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// This branch, or this commit.
    At(String),
    /// A repository that keeps its references in another form than files.
    Elsewhere,
}

/// The rules of `git check-ref-format`, and a length.
fn is_reference(name: &str) -> bool {
    let odd =
        |c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\' | '\u{7f}');
    let part = |part: &str| {
        let ends = std::path::Path::new(part).extension().is_some_and(|it| it == "lock");
        !part.is_empty() && !part.starts_with('.') && !part.ends_with('.') && !ends
    };
    name.len() <= LONGEST
        && !name.contains(odd)
        && !name.contains("..")
        && !name.contains("@{")
        && name.split('/').all(part)
}

/// Where a `.git` that is a file leads: the directory of a worktree or of a submodule.
pub fn link(bytes: &[u8]) -> Option<&str> {
    path(std::str::from_utf8(bytes).ok()?.strip_prefix("gitdir:")?)
}

/// The path that the file `commondir` of a worktree has.
pub fn common(bytes: &[u8]) -> Option<&str> {
    path(std::str::from_utf8(bytes).ok()?)
}

fn path(text: &str) -> Option<&str> {
    let path = text.trim_start_matches([' ', '\t']).trim_end_matches(['\n', '\r']);
    (!path.is_empty() && !path.contains(['\0', '\n'])).then_some(path)
}

/// The name of the repository that the remote `origin` of a config is: the last part of its URL, without `.git`. No other
/// part of a URL is shown: it may have a password.
pub fn name_in_config(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let mut in_origin = false;
    let mut url = None;
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            in_origin = section.split(']').next().is_some_and(is_origin);
        } else if let Some((key, value)) = line.split_once('=').filter(|_| in_origin)
            && key.trim().eq_ignore_ascii_case("url")
        {
            // Of several the first is what is fetched from.
            url = url.or_else(|| Some(value_of(value)));
        }
    }
    name_of(&url?)
}

/// Whether a section's header is `remote "origin"`.
fn is_origin(section: &str) -> bool {
    let mut words = section.splitn(2, char::is_whitespace);
    let is_remote = words.next().is_some_and(|word| word.eq_ignore_ascii_case("remote"));
    is_remote && words.next().is_some_and(|name| name.trim() == "\"origin\"")
}

/// A value of a config, without quotes and comments.
fn value_of(text: &str) -> String {
    let (mut value, mut quoted) = (String::new(), false);
    for c in text.trim().chars() {
        match c {
            '"' => quoted = !quoted,
            '#' | ';' if !quoted => break,
            c => value.push(c),
        }
    }
    value.trim_end().to_owned()
}

/// The name of the repository at this URL or path.
pub fn name_of(url: &str) -> Option<String> {
    let url = url.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    let url = url.strip_suffix("/.git").unwrap_or(url);
    let last = url.rsplit(['/', ':', '\\']).next().unwrap_or_default();
    let name = last.strip_suffix(".git").unwrap_or(last);
    // A URL of nothing but a server: what is before an `@` is who logs in there.
    let odd = name.is_empty() || name.len() > LONGEST || name.contains(|c: char| c.is_control() || c == '@');
    (!odd && !matches!(name, "." | "..")).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn heads() {
        let at = |name: &str| Some(Head::At(name.to_owned()));
        for (text, expected) in [
            ("ref: refs/heads/main\n", at("main")),
            ("ref:refs/heads/fix/login", at("fix/login")),
            ("ref: refs/heads/übung\r\n", at("übung")),
            ("ref: refs/bisect/bad\n", at("refs/bisect/bad")),
            ("0123456789abcdef0123456789ABCDEF01234567\n", at("0123456")),
            (&"ab".repeat(32), at("abababa")),
            ("ref: refs/heads/.invalid\n", Some(Head::Elsewhere)),
            ("", None),
            ("root:x:0:0:root:/root:/bin/bash\n", None),
            ("0123456789abcdef\n", None),
            ("ref: /etc/passwd", None),
            ("ref: refs/heads/a\nb", None),
            ("ref: refs/heads/\x1b[31mred", None),
            ("ref: refs/heads/a..b", None),
            ("ref: refs/heads/a.lock", None),
            ("ref: refs/heads/a b", None),
            ("ref: refs/heads//b", None),
            ("ref: refs/heads/", None),
            ("ref: refs/heads/@{-1}", None),
        ] {
            assert_eq!(head(text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(head(format!("ref: refs/heads/{}", "x".repeat(300)).as_bytes()), None);
        assert_eq!(head(b"ref: refs/heads/\xff"), None);
    }

    #[test]
    fn links() {
        for (text, expected) in [
            ("gitdir: /src/web/.git/worktrees/fix\n", Some("/src/web/.git/worktrees/fix")),
            ("gitdir: ../.git/modules/with blank \n", Some("../.git/modules/with blank ")),
            ("gitdir:x", Some("x")),
            ("gitdir: \n", None),
            ("gitdir: a\nb", None),
            ("", None),
            ("elsewhere", None),
        ] {
            assert_eq!(link(text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(common(b"../..\n"), Some("../.."));
        assert_eq!(common(b"\n"), None);
    }

    #[test]
    fn a_repository_is_named_by_its_origin_and_nothing_else_of_it_is_told() {
        for (url, expected) in [
            ("https://example.org/team/web.git", Some("web")),
            ("https://alice:secret@example.org/team/web", Some("web")),
            ("git@example.org:web.git", Some("web")),
            ("ssh://git@example.org:22/team/web/", Some("web")),
            ("/srv/git/web.git", Some("web")),
            ("/home/alice/web/.git", Some("web")),
            ("https://example.org/web.git?token=secret#x", Some("web")),
            ("alice:secret@host", None),
            ("https://", None),
            ("..", None),
            ("", None),
        ] {
            assert_eq!(name_of(url).as_deref(), expected, "{url}");
        }
        let config = "[core]\n\turl = /no/this.git\n[remote \"up\"]\n\turl = up.git\n\
                      [Remote \"origin\"] # ours\n\tfetch = +refs/heads/*\n\tURL = \"a/web.git\" ; here\n\turl = b/push.git\n";
        assert_eq!(name_in_config(config.as_bytes()).as_deref(), Some("web"));
        for config in [
            "",
            "[remote \"origin\"]\n",
            "[remote \"origins\"]\nurl = a\n",
            "[remote]\nurl = a\n",
            "url = a\n",
        ] {
            assert_eq!(name_in_config(config.as_bytes()), None, "{config}");
        }
    }

    proptest! {
        #[test]
        fn a_branch_is_read_back_and_anything_else_is_not(name in "[a-z.@{~ /\u{1b}]{1,12}") {
            match head(format!("ref: refs/heads/{name}\n").as_bytes()) {
                Some(Head::At(read)) => {
                    prop_assert_eq!(&read, name.trim_end());
                    let odd = ["..", "@{", "\u{1b}", "~", " "].into_iter().find(|odd| read.contains(odd));
                    prop_assert_eq!(odd, None);
                }
                Some(Head::Elsewhere) => prop_assert!(false, "{:?}", name),
                None => {}
            }
        }

        #[test]
        fn no_part_of_an_url_but_the_last_is_shown(
            user in "[a-z]{1,8}:[a-z]{8}@", host in "[a-z]{9}", name in "[a-z]{1,12}", end in "(\\.git)?/*",
        ) {
            let config = format!("[remote \"origin\"]\nurl = https://{user}{host}/team/{name}{end}\n");
            prop_assert_eq!(name_in_config(config.as_bytes()), Some(name));
            let bare = format!("[remote \"origin\"]\nurl = https://{user}{host}\n");
            prop_assert_eq!(name_in_config(bare.as_bytes()), None);
        }
    }
}
