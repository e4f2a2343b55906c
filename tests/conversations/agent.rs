//! A stand-in for both agents, which does of theirs what matters here: it keeps conversations in files of its working
//! directory, tells its hooks which one it is in, and ends at once when it does not know the one it is to continue.

use std::{fs, path::PathBuf};

use serde_json::Value;

use super::harness::{Atm, script, wait_until};

/// Typed into it: `clear` begins another conversation, `wipe` one in which nothing is said, `other` has another
/// agent speak by hooks that a person installed, `exit N` ends it.
const AGENT: &str = r#"#!/bin/sh
runs=${0%/bin/*}/runs
for word do printf '%s\n' "$word"; done > "$runs/$ATM_SESSION.$(ls "$runs" | grep -c "^$ATM_SESSION\.")"
hook= id= agent=${0##*/}
while [ $# -gt 0 ]; do
    case $agent:$1 in
        claude:--settings) hook=$(printf %s "$2" | sed -n 's/.*"SessionStart":\[{"hooks":\[{"type":"command","command":"\([^"]*\)".*/\1/p'); shift ;;
        claude:--resume | codex:resume) id=$2; shift ;;
        codex:-c) hook=$(printf %s "$2" | sed -n 's/^hooks={SessionStart=\[{hooks=\[{type="command",command="\([^"]*\)".*/\1/p'); shift ;;
    esac
    shift
done
say() {
    [ -z "$hook" ] || printf '{"session_id":"%s","hook_event_name":"%s","source":"%s","reason":"%s","cwd":"%s"}' \
        "$id" "$1" "$2" "$2" "$PWD" | sh -c "$hook"
}
mkdir -p talks
if [ -n "$id" ]; then
    [ -f "talks/$id" ] || { echo "No conversation found with session ID: $id"; exit 1; }
    how=resume
else
    id=$(cat /proc/sys/kernel/random/uuid)
    how=startup
fi
talk() {
    say SessionStart "$1"
    echo "in $id"
    # Only now there is something to keep.
    echo "$ATM_RUN_ID" >> "talks/$id"
    say UserPromptSubmit
    say Stop
}
talk "$how"
while read -r word number; do
    case $word in
        clear | wipe)
            say SessionEnd clear
            id=$(cat /proc/sys/kernel/random/uuid)
            if [ $word = clear ]; then talk clear; else say SessionStart clear; echo "in $id"; fi ;;
        other)
            printf '{"session_id":"another","hook_event_name":"UserPromptSubmit"}' | sh -c "${hook% --passed}"
            echo "another spoke" ;;
        exit) exit "$number" ;;
    esac
done
"#;

impl Atm {
    /// Puts the stand-in in place, and gives the path of the one called `name`.
    pub fn agent(&self, name: &str) -> String {
        for directory in ["bin", "runs", "work"] {
            fs::create_dir_all(self.path(directory)).unwrap();
        }
        let path = self.path("bin").join(name);
        script(&path, AGENT);
        path.display().to_string()
    }

    /// A spec that runs the stand-in in `work`, at once again when it ends.
    pub fn agent_spec(&self, name: &str, arguments: &str) -> String {
        let (agent, work) = (self.agent(name), self.path("work"));
        format!(
            "command: [{agent}{arguments}]\nworkingDir: {}\nrestartPolicy: Always\nbackoff: {{initial: 0s, max: 0s}}\nonChange: Restart\n",
            work.display()
        )
    }

    /// The arguments of each run so far.
    pub fn runs(&self, name: &str) -> Vec<Vec<String>> {
        let paths = (0..).map(|number| self.path("runs").join(format!("{name}.{number}")));
        let texts = paths.map_while(|path| fs::read_to_string(path).ok());
        texts.map(|text| text.lines().map(str::to_owned).collect()).collect()
    }

    /// The arguments of the last run, without the hooks.
    pub fn last_run(&self, name: &str) -> Vec<String> {
        let mut words = self.runs(name).pop().unwrap();
        if let Some(at) = words.iter().position(|word| word.contains("SessionStart")) {
            words.drain(at - 1..=at);
        }
        words
    }

    /// Waits until run number `run` is in a conversation that atm has heard of, and gives its id.
    pub fn wait_talk(&self, name: &str, run: usize) -> String {
        let mut id = String::new();
        let met = wait_until(|| {
            let session = self.get(name);
            let heard = &session["status"]["conversation"]["id"];
            let run_id = session["runId"].as_str().unwrap_or_default();
            heard.as_str().unwrap_or_default().clone_into(&mut id);
            let file = fs::read_to_string(self.path("work/talks").join(&id)).unwrap_or_default();
            // Its prompt came after that, and a daemon that is killed next must have heard of it.
            let begun = || {
                let path = self.path("state/sessions").join(format!("{name}.json"));
                let memory = fs::read(path).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
                let memory = memory.unwrap_or_default();
                let last = memory["conversations"].as_array().and_then(|all| all.last()).cloned();
                last.is_some_and(|last| last["id"] == id && last["begun"] == true)
            };
            self.runs(name).len() == run && file.lines().last() == Some(run_id) && begun()
        });
        assert!(met, "{name} is in no conversation: {:#}\n{}", self.get(name), self.log(name));
        id
    }

    /// The state file of a session.
    pub fn memory(&self, name: &str) -> (PathBuf, Value) {
        let path = self.path("state/sessions").join(format!("{name}.json"));
        let text = fs::read_to_string(&path).unwrap();
        (path, serde_json::from_str(&text).unwrap())
    }
}
