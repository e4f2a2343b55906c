//! How deep a text nests, and what is refused where.

use super::*;

fn depth(text: &str) -> usize {
    scan(text).unwrap_or_else(|refusal| panic!("{text:?}: {refusal:?}"))
}

fn refused(text: &str) -> (usize, Refused) {
    let refusal = scan(text).expect_err(text);
    (refusal.at, refusal.what)
}

#[test]
fn depth_is_that_of_lists_and_mappings() {
    for (text, expected) in [
        ("", 0),
        ("# [[[[", 0),
        ("a", 0),
        ("a: b", 1),
        ("a: [b, {c: d}]", 3),
        ("- - - a", 3),
        ("? ? a", 2),
        ("- ? a\n  : - b", 3),
        ("a:\n- b:\n  - c", 4),
        ("a:\n  b:\n    c: d\ne: f", 3),
        ("a: '[[[['\nb: \"{{{{ \\\" [[\"", 1),
        ("a: 'it''s [[['", 1),
        ("a: |\n  [[[[\n\n  - - - -\nb: [x]", 2),
        ("a: >-\n    x\n     - - -\n", 1),
        ("- |\n - - -\n- |2\n   - -\n", 1),
        ("a: x [[[[ y", 1),
        ("a: x\n  - - - - -\n  [[[\n  k\nb: [1]", 2),
        ("a: x # [[[\n  # {{{\nb: c", 1),
        ("[a: [b: c], d]", 4),
        ("[a: b, [c]]", 2),
        ("a: http://x/[[[", 1),
        ("[http://x, a:b]", 1),
        ("---\na: b\n...\n", 1),
        ("%YAML 1.2\n---\na: b", 1),
    ] {
        assert_eq!(depth(text), expected, "{text:?}");
    }
}

#[test]
fn nesting_ends_at_its_limit_in_every_form() {
    let nested = |level: &dyn Fn(usize) -> String| (0..100).map(level).collect::<Vec<_>>().concat();
    let block = nested(&|level| format!("{}a:\n", " ".repeat(level)));
    let lists = nested(&|level| format!("{0}a:\n{0}- b:\n", "  ".repeat(level)));
    let compact = "- ".repeat(100);
    let complex = "? ".repeat(100);
    let flow = "[".repeat(100_000);
    let braces = "{a: ".repeat(100);
    for text in [&block, &compact, &complex, &flow, &braces, &lists] {
        assert_eq!(refused(text).1, Refused::TooDeep, "{text:.40}");
    }
    assert_eq!(refused(&flow).0, MAX_DEPTH);
    assert_eq!(depth(&format!("{}{}", "[".repeat(64), "]".repeat(64))), 64);
    assert_eq!(depth(&"[],".repeat(1000)), 1);
}

#[test]
fn what_a_spec_never_needs_is_refused_where_it_stands() {
    for (text, at, what) in [
        ("a: *b", 3, Refused::Alias),
        ("a: [x, *b]", 7, Refused::Alias),
        ("a: &b c", 3, Refused::Anchor),
        ("&b a: c", 0, Refused::Anchor),
        ("a: !!str c", 3, Refused::Tag),
        ("a: 1\n---\nb: 2", 5, Refused::SecondDocument),
        ("---\n---\n", 4, Refused::SecondDocument),
        ("a: 1\n...\nb: 2", 9, Refused::SecondDocument),
        ("a:\n\tb: 1", 3, Refused::Tab),
        ("a:\n  b: 1\n \tc: 1", 11, Refused::Tab),
        ("a: x\n\ty", 5, Refused::Tab),
        ("-\tx", 1, Refused::Tab),
    ] {
        assert_eq!(refused(text), (at, what), "{text:?}");
    }
}

#[test]
fn signs_inside_of_text_are_text() {
    for text in [
        "a: x*y & z !",
        "a: '*b'",
        "a: \"&b\"",
        "a: |\n  *b\n  ---\n  \tc\n",
        "a:\tb",
        "a: [x,\t\"y\"]",
        "a: ---\n",
        "a: 'x\n  ---y'\n",
        "# *a\n",
        "a: x\n  *b\n",
    ] {
        assert!(scan(text).is_ok(), "{text:?}: {:?}", scan(text));
    }
}
