//! The scan against the parser itself: what the one takes for text, the other must not take for structure.

use std::path::Path;

use proptest::prelude::*;

use super::*;

/// How deep a tree nests.
fn depth(node: &Node) -> usize {
    match node {
        Node::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Node::Map(entries) => {
            1 + entries.iter().map(|(key, value)| depth(key).max(depth(value))).max().unwrap_or(0)
        }
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) => 0,
    }
}

/// What decides about structure, in all the ways that it can be put together, and some text.
const PIECES: &[&str] = &[
    "- ",
    "-",
    "? ",
    ": ",
    ":",
    "a",
    "b c",
    "a: ",
    "\"",
    "'",
    "''",
    "\\\"",
    "[",
    "]",
    "{",
    "}",
    ", ",
    ",",
    "|",
    ">",
    "|2",
    ">-",
    "# ",
    "#",
    " ",
    "  ",
    "    ",
    "\n",
    "\n  ",
    "\n - ",
    "\n    a: ",
    "\r\n",
    "\t",
    "---",
    "\n---\n",
    "...",
    "%",
    "é",
    "\u{2028}",
    "\"x\": ",
    "'y'",
    "[a, b]",
    "{a: b}",
    "\\",
    "~",
    "1",
];

fn document() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES), 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_document_nests_deeper_than_the_scan_saw(text in document()) {
        let Ok(source) = Source::new(text.as_bytes(), Path::new("a.yaml")) else { return Ok(()) };
        let Ok(seen) = scan(source.parsed()) else { return Ok(()) };
        if let Ok(node) = tree::parse(&source) {
            // A list or mapping that turns out to be a key is one level deeper than it looked.
            prop_assert!(depth(&node) <= seen + 1, "{:?}: saw {}, has {}", text, seen, depth(&node));
        }
    }

    #[test]
    fn no_document_that_the_parser_takes_is_refused_for_what_it_is_not(text in document()) {
        let Ok(source) = Source::new(text.as_bytes(), Path::new("a.yaml")) else { return Ok(()) };
        let Err(refusal) = scan(source.parsed()) else { return Ok(()) };
        if tree::parse(&source).is_ok() {
            prop_assert!(
                !matches!(refusal.what, Refused::Tab | Refused::SecondDocument | Refused::TooDeep),
                "{:?}: {:?}", text, refusal
            );
        }
    }

    #[test]
    fn every_path_of_a_document_leads_to_its_place(text in document()) {
        let Ok(source) = Source::new(text.as_bytes(), Path::new("a.yaml")) else { return Ok(()) };
        let Ok(node) = tree::parse(&source) else { return Ok(()) };
        let mut paths = vec![(Vec::new(), &node)];
        while let Some((path, node)) = paths.pop() {
            let at = locate(&source, &path);
            prop_assert!(at.is_some_and(|at| at <= text.len()), "{:?} {:?}", text, path);
            if let (Node::Text(word), Some(at)) = (node, at) && word.len() == 1 && word.is_ascii() {
                let rest = &text[at..];
                prop_assert!(rest.starts_with(word) || rest.starts_with(['"', '\'', '|', '>']), "{:?} {:?}", text, path);
            }
            let step = |step| path.iter().copied().chain([step]).collect::<Vec<_>>();
            match node {
                Node::List(items) => {
                    paths.extend(items.iter().enumerate().map(|(i, item)| (step(tree::Step::Item(i)), item)));
                }
                Node::Map(entries) => {
                    for (i, (key, value)) in entries.iter().enumerate() {
                        paths.push((step(tree::Step::Value(i)), value));
                        if !matches!(key, Node::List(_) | Node::Map(_)) {
                            paths.push((step(tree::Step::Key(i)), key));
                        }
                    }
                }
                Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) => {}
            }
        }
    }
}

#[test]
fn a_document_with_shares_is_yaml_as_well() {
    #[derive(serde::Serialize)]
    struct Figures<'a> {
        share: f64,
        text: &'a str,
    }
    let written = |share, text| super::write(&Figures { share, text }).unwrap();
    assert_eq!(written(0.5, "x"), "share: 0.5\ntext: x\n");
    // Of two numbers one was meant as a text.
    assert!(written(0.5, "1e999").starts_with('{'));
}
