//! Commands as people write them, and what becomes of them.

use super::*;

fn words(command: &str) -> Vec<String> {
    shell_words::split(command).unwrap()
}

/// The command with its flags in place; `None` where it is left alone.
fn continued(command: &str, agent: Agent) -> Option<Vec<String>> {
    let command = words(command);
    let call = Call::of(&command, agent).filter(Call::takes_conversation)?;
    let flags = call.flags(Some(&ConversationId::new("ID").unwrap()), None);
    let mut command = command.clone();
    command.splice(flags.at..flags.at, flags.words);
    Some(command)
}

#[test]
fn claude_continues_by_a_flag_before_all_others() {
    for (command, expected) in [
        ("claude", "claude --resume ID"),
        ("/opt/claude/bin/claude", "/opt/claude/bin/claude --resume ID"),
        ("~/.local/bin/claude --model opus", "'~/.local/bin/claude' --resume ID --model opus"),
        (
            "claude --permission-mode acceptEdits 'fix the login'",
            "claude --resume ID --permission-mode acceptEdits 'fix the login'",
        ),
        ("claude -- --continue", "claude --resume ID -- --continue"),
        ("claude 'please -p continue'", "claude --resume ID 'please -p continue'"),
        ("claude -d -n login", "claude --resume ID -d -n login"),
        ("env CI=1 A= claude --verbose", "env CI=1 A= claude --resume ID --verbose"),
        ("npx claude", "npx claude --resume ID"),
        (
            "/usr/bin/npx -y @anthropic-ai/claude-code@2.1.330 --verbose",
            "/usr/bin/npx -y @anthropic-ai/claude-code@2.1.330 --resume ID --verbose",
        ),
    ] {
        assert_eq!(continued(command, Agent::Claude), Some(words(expected)), "{command}");
    }
}

#[test]
fn codex_continues_by_a_command_before_all_flags() {
    for (command, expected) in [
        ("codex", "codex resume ID"),
        ("codex -m gpt-5 -c x=1 'go on'", "codex resume ID -m gpt-5 -c x=1 'go on'"),
        ("codex --yolo -- resume", "codex resume ID --yolo -- resume"),
        ("npx @openai/codex --search", "npx @openai/codex resume ID --search"),
        ("codex 'resume the work'", "codex resume ID 'resume the work'"),
    ] {
        assert_eq!(continued(command, Agent::Codex), Some(words(expected)), "{command}");
    }
}

#[test]
fn what_says_itself_or_is_not_understood_is_left_alone() {
    for command in [
        "claude --resume",
        "claude --resume=abc",
        "claude -r abc",
        "claude --model opus --continue",
        "claude -c",
        "claude --session-id 0f3a7c1e-0000-4000-8000-000000000000",
        "claude -p 'summarise'",
        "claude --verbose --print",
        "claude -dp x",
        "claude --bg 'build it'",
        "claude mcp serve",
        "claude doctor",
        "sh -c 'claude --verbose'",
        "bash claude",
        "my-claude",
        "claude-wrapper --verbose",
        "env -i claude",
        "env A=1",
        "env A=1 sh -c claude",
        "npx -p @anthropic-ai/claude-code claude",
        "npx @anthropic-ai/claude-code-router",
        "nice -n 5 claude",
        "codex",
    ] {
        assert_eq!(continued(command, Agent::Claude), None, "{command}");
    }
    for command in [
        "codex resume",
        "codex resume --last",
        "codex -m gpt-5 resume abc",
        "codex exec 'go'",
        "codex -m gpt-5 e 'go'",
        "codex fork --last",
        "codex mcp-server",
        "codex login",
        "claude",
    ] {
        assert_eq!(continued(command, Agent::Codex), None, "{command}");
    }
    assert_eq!(continued("claude", Agent::Generic), None);
    assert_eq!(Call::of(&[], Agent::Claude), None);
}

/// The command with hooks in it, the text of the hooks left out; `None` where it has none.
fn hooked(command: &str, agent: Agent) -> Option<String> {
    let command = words(command);
    let flags = Call::of(&command, agent).filter(Call::takes_hooks)?.flags(None, Some("/usr/bin/atm"));
    let [flag, text] = flags.words.as_slice() else { return None };
    assert!(text.contains("/usr/bin/atm hook --passed"), "{text}");
    let mut command = command.clone();
    command.splice(flags.at..flags.at, [flag.clone(), "HOOKS".to_owned()]);
    Some(command.join(" "))
}

#[test]
fn hooks_are_passed_beside_a_persons_own_or_not_at_all() {
    for (command, expected) in [
        ("claude -p go", Some("claude --settings HOOKS -p go")),
        ("claude --continue", Some("claude --settings HOOKS --continue")),
        ("claude --settings /etc/mine.json", None),
        ("claude --settings={} --verbose", None),
        ("claude mcp list", None),
        ("claude -- --settings", Some("claude --settings HOOKS -- --settings")),
    ] {
        assert_eq!(hooked(command, Agent::Claude).as_deref(), expected, "{command}");
    }
    for (command, expected) in [
        ("codex", Some("codex -c HOOKS")),
        ("codex exec go", Some("codex -c HOOKS exec go")),
        ("codex -c model=x resume --last", Some("codex -c HOOKS -c model=x resume --last")),
        ("codex -c hooks.Stop=[]", None),
        ("codex -chooks={}", None),
        ("codex --config=hooks.Stop=[]", None),
        ("codex login", None),
        ("codex mcp-server", None),
    ] {
        assert_eq!(hooked(command, Agent::Codex).as_deref(), expected, "{command}");
    }
}

#[test]
fn a_conversation_comes_behind_the_hooks() {
    for (agent, command, expected) in [
        (Agent::Claude, "claude x", ["--settings", "", "--resume", "ID"]),
        (Agent::Codex, "codex x", ["-c", "", "resume", "ID"]),
    ] {
        let (command, id) = (words(command), ConversationId::new("ID").unwrap());
        let mut flags = Call::of(&command, agent).unwrap().flags(Some(&id), Some("/usr/bin/atm"));
        flags.words[1].clear();
        assert_eq!((flags.at, flags.words), (1, expected.map(str::to_owned).to_vec()));
    }
}
