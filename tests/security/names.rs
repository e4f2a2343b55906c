//! What is named over the socket or on the command line leads nowhere else, and is nothing but a name.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use atm::{agents, api::control::METHODS, cli::args::Cli};
use clap::{CommandFactory, error::ErrorKind};
use serde_json::{Value, json};

use super::{
    client::{Client, kind},
    harness::Atm,
};

/// Names that lead out, hide, are options, or are too long.
fn bad_names() -> Vec<String> {
    let mut bad: Vec<String> = [
        "",
        ".",
        "..",
        "../a",
        "a/../b",
        "a..b",
        "/etc/passwd",
        "a/b",
        "./a",
        "a/",
        ".a",
        "-a",
        "--all",
        "a b",
        "A",
        "é",
        "a\0",
        "\0",
        "a\n",
        "a\u{1b}[2J",
        "a\u{202e}",
        "*",
        "~",
        "$HOME",
        "a\\b",
        "%2e%2e",
    ]
    .map(str::to_owned)
    .into();
    bad.extend(["a".repeat(64), "a/".repeat(5000), "../".repeat(5000)]);
    bad
}

/// Texts that are no id of a run.
const BAD_IDS: [&str; 6] = ["", "..", "../a", "a", "-1", "00000000-0000-0000-0000-00000000000/"];

/// Fields that hold a text of the caller's choice, with texts that each must refuse. What it takes is shown, compared, and
/// no more; what is to be typed may be anything.
const TEXTS: [(&str, &[&str]); 4] = [
    ("RegisterParams.conversationId", &["", "a b", "a\0", "a\n", "é"]),
    ("RegisterParams.identity", &["", " a", "a\0", "a\n", "a\u{1b}"]),
    ("RegisterParams.workingDir", &["", "a", "../a", "~", "/a\0b"]),
    ("SendParams.text", &[]),
];

/// Types that are no name, no id and no path.
const HARMLESS: [&str; 6] =
    ["boolean", "integer", "object", "[Agent](#agent)", "[Activity](#activity)", "[Moment](#moment)"];

/// The fields of each type, as `docs/protocol.md` tells them: it is made of the types, and held to them by a test.
fn documented() -> BTreeMap<String, Vec<(String, String)>> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/protocol.md")).unwrap();
    let mut types = BTreeMap::<String, Vec<_>>::new();
    let mut of = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("### ") {
            name.clone_into(&mut of);
        }
        let Some(row) = line.strip_prefix("| `").filter(|_| of.ends_with("Params")) else { continue };
        let (field, rest) = row.split_once('`').unwrap();
        let kind = rest.trim_start_matches('?').trim_start_matches(" | ").split(" | ").next().unwrap();
        types.entry(of.clone()).or_default().push((field.to_owned(), kind.to_owned()));
    }
    types
}

/// What a field must refuse.
fn refused(of: &str, field: &str, kind: &str, good: &Value) -> Vec<Value> {
    let key = format!("{of}.{field}");
    match kind {
        "[SessionName](#sessionname)" => bad_names().into_iter().map(Value::from).collect(),
        "array of [SessionName](#sessionname)" => bad_names().iter().map(|name| json!(["a", name])).collect(),
        "array of [Key](#key)" => {
            ["", "../a", "ctrl-", "/etc/passwd", "\u{1b}"].map(|key| json!(["up", key])).into()
        }
        "[RunId](#runid)" => BAD_IDS.map(Value::from).into(),
        "string" => {
            let texts = TEXTS.iter().find(|(name, _)| *name == key);
            let (_, bad) = texts.unwrap_or_else(|| panic!("{key}: say in `TEXTS` what it must refuse"));
            bad.iter().map(|text| json!(text)).collect()
        }
        "[Upload](#upload)" => {
            let with = |key: &str, text: &str| {
                let mut upload = good.clone();
                upload[key] = json!(text);
                upload
            };
            let hash = good["sha256"].as_str().unwrap();
            let begin = &hash[..16];
            let files = [
                "",
                "..",
                "../x",
                "/etc/passwd",
                "x",
                ".gitignore",
                &format!("{begin}-"),
                &format!("{begin}-../x"),
            ]
            .map(|text| with("file", text));
            let more = [
                format!("{begin}-.."),
                format!("{begin}-a/b"),
                format!("{begin}-a\0"),
                format!("{begin}--x"),
            ];
            let directories = ["", "/", "/etc", "..", "."].map(|text| with("directory", text));
            let hashes = ["", "..", &"0".repeat(64), "../"].map(|text| with("sha256", text));
            let more = more.map(|text| with("file", &text));
            files.into_iter().chain(more).chain(directories).chain(hashes).collect()
        }
        other if HARMLESS.contains(&other) => Vec::new(),
        other => panic!("{key}: say here what a {other} must refuse"),
    }
}

/// Everything below a directory, and what is in its files that nobody writes to.
fn below(path: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![path.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push(entry.path());
            }
            found.insert(entry.path());
        }
    }
    // What is about to be renamed.
    found.retain(|path| path.extension().is_none_or(|end| end != "new"));
    found
}

#[test]
fn no_method_takes_a_name_that_leads_elsewhere() {
    let atm = Atm::start();
    let work = atm.path("work");
    fs::create_dir(&work).unwrap();
    atm.drop_spec("a", &format!("command: [sleep, '1000']\nworkingDir: {}\n", work.display()));
    let pid = atm.wait_pid("a");
    let put = atm.atm_with(&[], "given", &["put", "a", "-", "--name", "x"]);
    assert!(put.status.success());
    atm.wait("a", "given a file", |s| s["status"]["uploads"].is_array());
    let upload = atm.get("a")["status"]["uploads"][0].clone();
    let good = |field: &str| match field {
        "name" => json!("a"),
        "names" => json!(["a"]),
        "protocol" => json!(1),
        "upload" => upload.clone(),
        _ => Value::Null,
    };
    let (types, before) = (documented(), below(&atm.path("")));
    let mut tried = 0;
    for method in METHODS {
        let none = Vec::new();
        let fields = match method.params {
            "" => &none,
            params => types.get(params).unwrap_or_else(|| panic!("{params} is not in docs/protocol.md")),
        };
        for (field, kind_of) in fields {
            for bad in refused(method.params, field, kind_of, &upload) {
                let mut params: serde_json::Map<String, Value> =
                    fields.iter().map(|(field, _)| (field.clone(), good(field))).collect();
                params.retain(|_, value| !value.is_null());
                params.insert(field.clone(), bad.clone());
                // Each by a connection of its own: one that talks nonsense too often is closed.
                let answer = Client::connect(&atm).call(method.name, &Value::Object(params));
                let expected: &[&str] =
                    if field == "upload" { &["Conflict", "InvalidRequest"] } else { &["InvalidRequest"] };
                assert!(expected.contains(&kind(&answer)), "{} {field}={bad}: {answer}", method.name);
                tried += 1;
            }
        }
    }
    assert!(tried > 300, "only {tried} were tried");
    assert_eq!(atm.wait_pid("a"), pid, "nothing was done");
    assert_eq!(below(&atm.path("")), before, "something was made or removed");
}

#[test]
fn no_verb_takes_a_name_that_leads_elsewhere() {
    let mut verbs = 0;
    for verb in Cli::command().get_subcommands() {
        let arguments = verb.get_arguments().filter(|argument| {
            let names = argument.get_value_names().unwrap_or_default();
            names.iter().any(|name| *name == "NAME") && !argument.is_global_set()
        });
        for argument in arguments {
            verbs += 1;
            for name in bad_names().into_iter().filter(|name| !name.contains('\0')) {
                let mut line = vec!["atm".to_owned(), verb.get_name().to_owned()];
                match argument.get_long() {
                    Some(long) => line.push(format!("--{long}={name}")),
                    None => line.extend(["--".to_owned(), name.clone()]),
                }
                let error = Cli::command().try_get_matches_from(&line).unwrap_err();
                let kind = error.kind();
                assert!(
                    matches!(kind, ErrorKind::ValueValidation | ErrorKind::InvalidValue),
                    "{line:?}: {error}"
                );
            }
        }
    }
    assert!(verbs >= 18, "only {verbs} verbs take a name: do their arguments have the value name NAME?");
}

/// A payload names files of its agent's: none of them is taken over.
#[test]
fn no_path_of_a_payload_is_taken_over_but_the_working_directory() {
    let payload = json!({
        "hook_event_name": "Stop", "session_id": "x", "cwd": "/w", "transcript_path": "/etc/shadow",
        "agent_transcript_path": "/etc/shadow", "file_path": "/etc/shadow", "tool_input": {"file_path": "/etc/shadow"},
        "output_file": "/etc/shadow",
    });
    let kept = agents::sift(payload.to_string().as_bytes(), true);
    assert_eq!(kept.get("cwd"), Some(&json!("/w")));
    assert!(!Value::Object(kept.clone()).to_string().contains("shadow"), "{kept:?}");
}
