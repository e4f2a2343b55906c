//! Inputs made of others.

use crate::dice::Dice;

/// What means something to one reader or another.
const TOKENS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"'",
    b"\\",
    b":",
    b": ",
    b",",
    b"- ",
    b"#",
    b"\n",
    b"\r\n",
    b"\t",
    b"\0",
    b"${",
    b"}",
    b"null",
    b"true",
    b"-1",
    b"0",
    b"1e999",
    b"-0",
    b"18446744073709551615",
    b"18446744073709551616",
    b"-9223372036854775808",
    b"9223372036854775807",
    b"4294967296",
    b"65536",
    b"99999999999999999999999999",
    b"0.1",
    b"\\u0000",
    b"\\ud800",
    b"\xff",
    b"\xc3\x28",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xae",
    b"\xe6\xbc\xa2",
    b"\xcc\x81",
    b"\x1b",
    b"\x1b[",
    b"\x1b]",
    b"\x1bP",
    b"\x1b\\",
    b"\x07",
    b"\x18",
    b"\x1b[6n",
    b"\x1b[?1049h",
    b"\x1b[2J",
    b"\x1b[!p",
    b"\x1b[999999999b",
    b"\x1b[65535;65535H",
    b"\x1b]0;",
    b"\x1b[4h",
    b"\x1bM",
    b"&a ",
    b"*a",
    b"<<: *a",
    b"|",
    b">-",
    b"---\n",
    b"...\n",
    b"%YAML",
    b"!!",
    b"!x ",
    b"? ",
    b"~",
    b"\0\0\0\x02\x02",
    b"\0\0\0\0",
    b"\0\x10\0\0",
    b"\0\x10\0\x01",
    b"\xff\xff\xff\xff",
    b"command: [x]\n",
    b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"",
    b"\"params\":",
    b"\"version\":1,",
    b"hook_event_name",
    b"ref: ",
    b"refs/heads/",
    b"gitdir: ",
    b"url = ",
    b"../",
    b"/",
    b"atm.service",
    b"stop",
    b"--agent=codex",
    b"P100Y",
    b"1h",
    b"GiB",
    b"ctrl-",
    b"9999-12-31T23:59:59.999999999Z",
    b"-009999-01-02T01:59:59Z",
    b"2026-02-30T25:61:61Z",
];

/// Longest that a mutant becomes, unless its reader is made for less. Longer ones are built by [`crate::growth`].
const LONGEST: usize = 16 << 10;

/// One input, of those that are known.
pub fn mutant(seeds: &[Vec<u8>], longest: usize, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = dice.pick(seeds).cloned().unwrap_or_default();
    for _ in 0..=dice.below(4) {
        mutate(&mut bytes, seeds, dice);
    }
    bytes.truncate(longest.min(LONGEST));
    bytes
}

fn mutate(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], dice: &mut Dice) {
    let place = |bytes: &[u8], dice: &mut Dice| index(dice, bytes.len() + 1);
    let range = |bytes: &[u8], dice: &mut Dice| {
        let from = place(bytes, dice);
        // Mostly short: a long one leaves nothing of what it was.
        let most = if dice.percent(80) { 16 } else { bytes.len() + 1 };
        from..(from + index(dice, most)).min(bytes.len())
    };
    let at = place(bytes, dice);
    match dice.below(12) {
        0 | 1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << dice.below(8);
            }
        }
        2 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = dice.next().to_le_bytes()[0];
            }
        }
        3 => drop(bytes.drain(range(bytes, dice))),
        4 => {
            let piece = bytes[range(bytes, dice)].to_vec();
            bytes.splice(at..at, piece);
        }
        5 => {
            // A long run of something short.
            let short = range(bytes, dice);
            let piece = bytes[short.start..short.end.min(short.start + 24)].to_vec();
            bytes.splice(at..at, piece.repeat(index(dice, 300)));
        }
        6 => {
            let other = dice.pick(seeds).cloned().unwrap_or_default();
            let piece = other[range(&other, dice)].to_vec();
            bytes.splice(at..at, piece);
        }
        7 => {
            // The begin of one and the end of another.
            let other = dice.pick(seeds).cloned().unwrap_or_default();
            let from = place(&other, dice);
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        8 => {
            let token = dice.pick(TOKENS).copied().unwrap_or_default();
            let instead = range(bytes, dice);
            bytes.splice(instead, token.iter().copied());
        }
        9 => {
            let token = dice.pick(TOKENS).copied().unwrap_or_default();
            bytes.splice(at..at, token.repeat(if dice.percent(10) { index(dice, 300) } else { 1 }));
        }
        10 => number(bytes, at, dice),
        _ => {
            // A word that means something to this reader, in the place of another.
            let other = dice.pick(seeds).cloned().unwrap_or_default();
            let (from, to) = (word(&other, place(&other, dice)), word(bytes, at));
            bytes.splice(to, other[from].to_vec());
        }
    }
}

fn index(dice: &mut Dice, end: usize) -> usize {
    usize::try_from(dice.below(end as u64)).unwrap()
}

/// Puts another number in the place of the next one.
fn number(bytes: &mut Vec<u8>, at: usize, dice: &mut Dice) {
    let Some(from) = bytes[at..].iter().position(u8::is_ascii_digit).map(|found| at + found) else { return };
    let length = bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let big =
        [u64::MAX, 1 << 63, (1 << 63) - 1, 1 << 53, 1 << 32, u64::from(u32::MAX), 65_535, 1000, 64, 1, 0];
    let number = match dice.below(3) {
        0 => dice.pick(&big).copied().unwrap_or_default(),
        1 => dice.pick(&big).copied().unwrap_or_default().wrapping_add(dice.below(3)).wrapping_sub(1),
        _ => dice.next() >> dice.below(64),
    };
    let sign = if dice.percent(15) { "-" } else { "" };
    bytes.splice(from..from + length, format!("{sign}{number}").into_bytes());
}

/// The word around a place.
fn word(bytes: &[u8], at: usize) -> std::ops::Range<usize> {
    let ends = |byte: &u8| byte.is_ascii_whitespace() || b"\"':,;[]{}=".contains(byte);
    let from = bytes[..at].iter().rposition(ends).map_or(0, |end| end + 1);
    let to = bytes[at..].iter().position(ends).map_or(bytes.len(), |end| at + end);
    from..to
}
