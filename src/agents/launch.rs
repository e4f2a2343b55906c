//! An agent's command, as far as flags can be put into it: those that continue a conversation, and those that have the
//! agent report what it does.
//!
//! Only what is understood for sure is touched. The agent's own word is the program, or stands behind a wrapper that is
//! known to execute its arguments (`env X=1 claude`, `npx -y @openai/codex`); flags go right behind it, where both agents
//! take them, so that every word of the spec keeps its place. A shell's script, a program of another name and an agent's
//! other commands (`claude mcp`, `codex login`) are left alone; a command that says itself what it continues is told
//! nothing of that, and one that brings settings or hooks of its own none of ours.

use super::settings;
use crate::api::{conversation::ConversationId, record::Flags, spec::Agent};

/// An agent's command that begins or continues conversations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call<'a> {
    agent: Known,
    /// Index of the word behind the agent's own.
    at: usize,
    /// The agent's arguments, up to a `--`.
    arguments: &'a [String],
}

/// Agents whose flags are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Claude,
    Codex,
}

/// What a wrapper takes for itself.
type Own = fn(&str) -> bool;

/// Programs that execute their first argument which is none of their own, and which arguments are.
const WRAPPERS: &[(&str, Own)] = &[
    ("env", |word| word.contains('=') && !word.starts_with('-')),
    ("npx", |word| matches!(word, "-y" | "--yes")),
    ("bunx", |_| false),
    ("nohup", |_| false),
    ("nice", |_| false),
];

/// Claude Code's commands: words that begin no conversation where they come first.
const CLAUDE_COMMANDS: &[&str] = &[
    "agents",
    "attach",
    "auth",
    "auto-mode",
    "config",
    "doctor",
    "gateway",
    "import",
    "install",
    "kill",
    "logs",
    "mcp",
    "migrate-installer",
    "plugin",
    "plugins",
    "purge",
    "remote-control",
    "respawn",
    "rm",
    "setup-token",
    "stop",
    "ultrareview",
    "update",
    "upgrade",
];

/// Codex's commands that begin or continue conversations, and say so themselves.
const CODEX_TALKS: &[&str] = &["e", "exec", "fork", "resume", "review"];

/// Codex's other commands, with their aliases. They may stand behind flags whose values are not known to be values: so such a
/// word anywhere counts as one, and the worst that follows is a session that begins anew.
const CODEX_COMMANDS: &[&str] = &[
    "a",
    "agents",
    "app",
    "app-server",
    "apply",
    "archive",
    "cloud",
    "cloud-tasks",
    "completion",
    "debug",
    "delete",
    "doctor",
    "exec-server",
    "execpolicy",
    "features",
    "help",
    "login",
    "logout",
    "mcp",
    "mcp-server",
    "migrate-nfs-db",
    "migrate-rollouts",
    "plugin",
    "queue",
    "remote-control",
    "responses-api-proxy",
    "sandbox",
    "stdio-to-uds",
    "unarchive",
    "update",
];

/// Flags of Claude Code that say which conversation it is, or that there is none to come back to.
const CLAUDE_SAYS: &[&str] = &[
    "--resume",
    "--continue",
    "--session-id",
    "--fork-session",
    "--from-pr",
    "--teleport",
    "--cloud",
    "--desktop",
    "--print",
    "--bg",
    "--background",
    "--no-session-persistence",
    "--help",
    "--version",
];

impl<'a> Call<'a> {
    /// The agent's call in `command`; `None` where it is not understood.
    pub fn of(command: &'a [String], agent: Agent) -> Option<Self> {
        let (agent, name, package) = match agent {
            Agent::Claude => (Known::Claude, "claude", "@anthropic-ai/claude-code"),
            Agent::Codex => (Known::Codex, "codex", "@openai/codex"),
            Agent::Generic => return None,
        };
        let is_agent = |word: &str| base(word) == name || is_package(word, package);
        let (program, rest) = command.split_first()?;
        let index = if is_agent(program) {
            0
        } else {
            let (_, wraps) = WRAPPERS.iter().find(|(wrapper, _)| *wrapper == base(program))?;
            1 + rest.iter().position(|word| !wraps(word))?
        };
        let (own, arguments) = command.get(index..)?.split_first()?;
        let end = arguments.iter().position(|word| word == "--").unwrap_or(arguments.len());
        let call = Self { agent, at: index + 1, arguments: arguments.get(..end)? };
        (is_agent(own) && !call.is_another_command()).then_some(call)
    }

    fn is_another_command(&self) -> bool {
        match self.agent {
            Known::Claude => {
                self.arguments.first().is_some_and(|word| CLAUDE_COMMANDS.contains(&word.as_str()))
            }
            Known::Codex => self.has(CODEX_COMMANDS),
        }
    }

    fn has(&self, words: &[&str]) -> bool {
        self.arguments.iter().any(|word| words.contains(&word.as_str()))
    }

    /// Whether it can be told to continue a conversation: it says nothing of that itself.
    pub fn takes_conversation(&self) -> bool {
        match self.agent {
            Known::Claude => !self.arguments.iter().any(|word| says_conversation(word)),
            Known::Codex => !self.has(CODEX_TALKS),
        }
    }

    /// Whether it can be given hooks beside those that it brings: of two settings Claude Code takes the last, and Codex
    /// would ask about the hooks of a person's that took the place of ours.
    pub fn takes_hooks(&self) -> bool {
        match self.agent {
            Known::Claude => !self.arguments.iter().any(|word| name(word) == "--settings"),
            Known::Codex => !self.arguments.iter().any(|word| {
                let value = word.trim_start_matches("--config=").trim_start_matches("-c");
                value.starts_with("hooks.") || value.starts_with("hooks=")
            }),
        }
    }

    /// What is put into the command: `program` is what the agent reports by, if it is to.
    pub fn flags(&self, continues: Option<&ConversationId>, program: Option<&str>) -> Flags {
        let mut words = Vec::new();
        if let Some(program) = program {
            words.extend(match self.agent {
                Known::Claude => ["--settings".to_owned(), settings::claude(program)],
                Known::Codex => ["-c".to_owned(), settings::codex(program)],
            });
        }
        if let Some(id) = continues {
            words.push(match self.agent {
                Known::Claude => "--resume".to_owned(),
                Known::Codex => "resume".to_owned(),
            });
            words.push(id.to_string());
        }
        Flags { at: self.at, words }
    }
}

/// Whether a word of Claude Code's says which conversation it is. Short flags may be written together (`-pc`), and then
/// one that takes a value ends the word; so a word of that form which has one of them is taken for it.
fn says_conversation(word: &str) -> bool {
    let short = || word.strip_prefix('-').filter(|rest| !rest.starts_with('-'));
    CLAUDE_SAYS.contains(&name(word))
        || short().is_some_and(|flags| flags.contains(['c', 'p', 'r', 'h', 'v']))
}

/// A flag without its value.
fn name(word: &str) -> &str {
    word.split_once('=').map_or(word, |(name, _)| name)
}

fn base(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

/// `@openai/codex`, `@openai/codex@latest`.
fn is_package(word: &str, package: &str) -> bool {
    word.strip_prefix(package).is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
}

#[cfg(test)]
mod tests;
