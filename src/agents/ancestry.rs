//! The agent among the processes above one that it started.
//!
//! An agent runs its hooks by a shell, and may itself be a script, a program, or a script that runs a program: what
//! counts as the agent is the nearest process that is one.

use crate::api::spec::Agent;

/// Programs that run a script: what they are is the script's to say.
const INTERPRETERS: [&str; 8] = ["node", "nodejs", "bun", "deno", "python3", "python", "sh", "bash"];

/// Programs that stand between an agent and its hook.
const SHELLS: [&str; 7] = ["sh", "bash", "dash", "zsh", "fish", "ksh", "busybox"];

/// One process, as far as it says what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link<'a> {
    /// Its name, as the kernel has it.
    pub comm: &'a str,
    /// Its arguments; empty where they cannot be read.
    pub argv: &'a [String],
}

/// Which of `chain` is the agent that started its first process: the nearest above it that is an `agent`; where none
/// is, the one above the hook's shell. `None` where there is nothing above it.
pub fn find(agent: Agent, chain: &[Link<'_>]) -> Option<usize> {
    let known = chain.iter().enumerate().skip(1).find(|(_, link)| is_agent(agent, link));
    known.map(|(at, _)| at).or_else(|| match (chain.get(1)?, chain.get(2)) {
        (first, Some(_)) if is_shell(first) => Some(2),
        _ => Some(1),
    })
}

/// Whether a process is this agent, by what it executes.
pub fn is_agent(agent: Agent, link: &Link<'_>) -> bool {
    match agent {
        Agent::Claude => executed(link).any(is_claude) || link.comm == "claude",
        Agent::Codex => executed(link).any(is_codex) || link.comm == "codex",
        Agent::Generic => false,
    }
}

/// The program, and the script where it runs one.
fn executed<'a>(link: &Link<'a>) -> impl Iterator<Item = &'a str> {
    let mut words = link.argv.iter().map(String::as_str);
    let program = words.next();
    let runs_scripts = program.is_some_and(|program| INTERPRETERS.contains(&base(program)));
    // What comes after `-c` or `-e` is a text, and no file.
    let script =
        words.find(|word| !word.starts_with("--")).filter(|word| runs_scripts && !word.starts_with('-'));
    program.into_iter().chain(script)
}

fn is_claude(program: &str) -> bool {
    base(program) == "claude"
        || (base(program) == "cli.js" && program.split('/').any(|part| part == "claude-code"))
}

fn is_codex(program: &str) -> bool {
    matches!(base(program), "codex" | "codex.js")
        // As its archives name it.
        || base(program).starts_with("codex-x86_64") || base(program).starts_with("codex-aarch64")
}

fn is_shell(link: &Link<'_>) -> bool {
    let program = link.argv.first().map_or(link.comm, |program| base(program));
    // A login shell has a dash before its name.
    SHELLS.contains(&program.trim_start_matches('-'))
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chain by its command lines, nearest first.
    fn found(agent: Agent, lines: &[&str]) -> Option<usize> {
        let argvs: Vec<Vec<String>> = lines.iter().map(|line| shell_words::split(line).unwrap()).collect();
        let comm = |argv: &Vec<String>| {
            argv.first().map_or("?", |program| base(program)).chars().take(15).collect::<String>()
        };
        let comms: Vec<String> = argvs.iter().map(comm).collect();
        let chain: Vec<Link<'_>> = argvs.iter().zip(&comms).map(|(argv, comm)| Link { comm, argv }).collect();
        find(agent, &chain)
    }

    #[test]
    fn the_nearest_agent_above_a_hook_is_the_one() {
        for (agent, lines, expected) in [
            (Agent::Claude, &["atm hook", "/bin/sh -c 'atm hook'", "claude", "-zsh", "tmux"][..], 2),
            (Agent::Claude, &["atm hook", "/home/a/.local/bin/claude --resume x", "bash"], 1),
            (
                Agent::Claude,
                &[
                    "atm hook",
                    "sh -c 'atm hook'",
                    "node /usr/lib/node_modules/@anthropic-ai/claude-code/cli.js",
                    "zsh",
                ],
                2,
            ),
            (
                Agent::Claude,
                &["atm hook", "sh -c x", "node --no-warnings /usr/local/bin/claude -p hi", "zsh"],
                2,
            ),
            (Agent::Claude, &["atm hook", "sh -c x", "bun /opt/claude-code/cli.js", "make"], 2),
            // A script that runs the program: the program is nearer.
            (Agent::Claude, &["atm hook", "sh -c x", "claude", "bash /usr/local/bin/claude", "zsh"], 2),
            // A stand-in that is a script.
            (Agent::Claude, &["atm hook", "/bin/sh /tmp/claude", "zsh"], 1),
            // An agent that another one started.
            (
                Agent::Claude,
                &["atm hook", "sh -c x", "claude -p sub", "bash -c 'claude -p sub'", "claude", "zsh"],
                2,
            ),
            (Agent::Codex, &["atm hook", "/x/vendor/x86_64/codex/codex", "node /usr/bin/codex", "bash"], 1),
            (Agent::Codex, &["atm hook", "codex-x86_64-unknown-linux-musl exec", "bash"], 1),
            (Agent::Codex, &["atm hook", "sh -c x", "node /a/@openai/codex/bin/codex.js", "bash"], 2),
            // The other agent is not this one.
            (Agent::Codex, &["atm hook", "codex", "bash -c codex", "claude"], 1),
            (Agent::Claude, &["atm hook", "codex", "bash -c codex", "claude"], 3),
        ] {
            assert_eq!(found(agent, lines), Some(expected), "{lines:?}");
        }
    }

    #[test]
    fn where_none_is_known_it_is_the_one_above_the_hooks_shell() {
        for (lines, expected) in [
            (&["atm hook", "sh -c 'atm hook'", "python3 agent.py", "bash", "claude-desktop"][..], Some(2)),
            (&["atm hook", "python3 agent.py", "bash"], Some(1)),
            (&["atm hook", "-bash"], Some(1)),
            (&["atm hook", "bash", "bash", "bash", "sshd"], Some(2)),
            (&["atm hook"], None),
            (&[], None),
        ] {
            assert_eq!(found(Agent::Generic, lines), expected, "{lines:?}");
        }
        let unread =
            [Link { comm: "atm", argv: &[] }, Link { comm: "sh", argv: &[] }, Link { comm: "x", argv: &[] }];
        assert_eq!(
            find(Agent::Claude, &unread),
            Some(2),
            "its name is left where its arguments cannot be read"
        );
        let renamed = [Link { comm: "atm", argv: &[] }, Link { comm: "claude", argv: &[] }];
        assert_eq!(find(Agent::Claude, &renamed), Some(1));
    }

    #[test]
    fn a_word_in_an_argument_makes_no_agent() {
        for line in [
            "vim /home/a/claude",
            "sh -c claude",
            "node -e claude",
            "tail -f claude",
            "claude-desktop",
            "cli.js",
        ] {
            assert_eq!(found(Agent::Claude, &["atm hook", "make", line, "init"]), Some(1), "{line}");
        }
    }
}
