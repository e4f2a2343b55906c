//! Which sequences are questions.

use super::Question;

/// What begins a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// OSC: titles, colours, links, the clipboard.
    System,
    /// DCS: settings, images.
    Device,
    /// APC: kitty's images.
    Application,
    /// SOS and PM, which mean nothing.
    Other,
}

/// What stands in the place of a string that asked.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// What it asked.
    Question(Question),
    /// What else it said.
    Pass(Vec<u8>),
}

/// The question that a control sequence is: `content` is all between `CSI` and the final byte.
pub fn control(content: &[u8], last: u8) -> Option<Question> {
    // Nearly all sequences are colours and movements.
    if !matches!(last, b'n' | b'c' | b'q' | b'p' | b'u' | b'm' | b't' | b'x' | b'S' | b'w' | b'y') {
        return None;
    }
    let prefix = content.first().copied().filter(|byte| (b'<'..=b'?').contains(byte));
    let rest = content.get(usize::from(prefix.is_some())..).unwrap_or_default();
    let split = rest.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b';' | b':')).unwrap_or(rest.len());
    let (numbers, middle) = rest.split_at_checked(split)?;
    let mut numbers = numbers.split(|byte| *byte == b';').map(number);
    let first = numbers.next().flatten();
    match (prefix, middle, last) {
        (None, [], b'n') => match first {
            Some(5) => Some(Question::Status),
            Some(6) => Some(Question::Cursor { private: false }),
            _ => None,
        },
        (Some(b'?'), [], b'n') => match first {
            Some(6) => Some(Question::Cursor { private: true }),
            Some(15) => Some(Question::Printer),
            Some(996) => Some(Question::ColorScheme),
            Some(25 | 26 | 53 | 55 | 56 | 62 | 63 | 75 | 85) => Some(Question::Unanswered),
            _ => None,
        },
        (None, [], b'c') if first.unwrap_or(0) == 0 => Some(Question::PrimaryAttributes),
        (Some(b'>'), [], b'c') if first.unwrap_or(0) == 0 => Some(Question::SecondaryAttributes),
        (Some(b'='), [], b'c') if first.unwrap_or(0) == 0 => Some(Question::TertiaryAttributes),
        (Some(b'>'), [], b'q') if first.unwrap_or(0) == 0 => Some(Question::Version),
        (None, [b'$'], b'p') => first.map(Question::AnsiMode),
        (Some(b'?'), [b'$'], b'p') => first.map(Question::PrivateMode),
        (Some(b'?'), [], b'u') => Some(Question::KeyboardFlags),
        (Some(b'?'), [], b'm') if first == Some(4) => Some(Question::ModifyOtherKeys),
        (None, [], b't') => {
            first.filter(|first| matches!(first, 11 | 13..=16 | 18..=21)).map(Question::Window)
        }
        (None, [], b'x') if first.unwrap_or(0) < 2 => Some(Question::Parameters(first.unwrap_or(0))),
        (Some(b'?'), [], b'S') => first.map(Question::Graphics),
        (Some(b'?'), [], b'm') | (None, [b'$'], b'w') | (None, [b'*'], b'y') => Some(Question::Unanswered),
        _ => None,
    }
}

/// Bytes of a string after which it is known whether it can ask.
const HEAD: usize = 24;
/// Words of OSC 1337 that are answered.
const REPORTS: [&[u8]; 2] = [b"ReportCellSize", b"ReportVariable="];

/// Whether a string that begins like this may turn out to be a question.
pub fn may_ask(kind: Kind, content: &[u8]) -> bool {
    match kind {
        Kind::System if content.len() > HEAD => true,
        Kind::System => {
            let digits = content.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let Some((code, rest)) = content.split_at_checked(digits) else { return false };
            let Some((b';', rest)) = rest.split_first() else {
                return rest.is_empty() && digits <= 4;
            };
            match number(code) {
                Some(4 | 5 | 10..=19 | 21 | 50) => true,
                // `52;c;?`: the long ones set the clipboard.
                Some(52) => match rest.iter().position(|byte| *byte == b';') {
                    None => true,
                    Some(end) => rest.get(end + 1).is_none_or(|byte| *byte == b'?'),
                },
                Some(1337) => REPORTS.iter().any(|word| word.starts_with(rest) || rest.starts_with(word)),
                _ => false,
            }
        }
        Kind::Device => matches!(content, [b'+' | b'$'] | [b'+' | b'$', b'q', ..]),
        Kind::Application => match content {
            [b'G', keys @ ..] => match keys.iter().position(|byte| *byte == b';') {
                None => true,
                Some(end) => asks_for_images(keys.get(..end).unwrap_or_default()),
            },
            _ => false,
        },
        Kind::Other => false,
    }
}

fn asks_for_images(keys: &[u8]) -> bool {
    keys.split(|byte| *byte == b',').any(|key| key == b"a=q")
}

/// What a whole string asks, and what else it says; `None`: it asks nothing.
pub fn string(kind: Kind, content: &[u8], bell: bool) -> Option<Vec<Part>> {
    match (kind, content) {
        (Kind::System, _) => system(content, bell),
        (Kind::Device, [b'+', b'q', names @ ..]) => {
            let names = names.split(|byte| *byte == b';').map(<[u8]>::to_vec).collect();
            Some(vec![Part::Question(Question::Capabilities(names))])
        }
        (Kind::Device, [b'$', b'q', setting @ ..]) => {
            Some(vec![Part::Question(Question::Setting(setting.to_vec()))])
        }
        (Kind::Application, [b'G', keys @ ..]) => {
            let keys = keys.split(|byte| *byte == b';').next().unwrap_or_default();
            asks_for_images(keys).then(|| vec![Part::Question(Question::Unanswered)])
        }
        _ => None,
    }
}

fn system(content: &[u8], bell: bool) -> Option<Vec<Part>> {
    let mut fields = content.split(|byte| *byte == b';');
    let code = number(fields.next()?)?;
    let fields: Vec<&[u8]> = fields.collect();
    let unanswered = || Some(vec![Part::Question(Question::Unanswered)]);
    match code {
        4 | 5 if fields.chunks(2).any(|pair| matches!(pair, [_, b"?"])) => {
            let part = |pair: &[&[u8]]| match pair {
                [index, b"?"] => Some(Part::Question(match number(index).filter(|_| code == 4) {
                    Some(index) => Question::Color { code, index: Some(index), bell },
                    None => Question::Unanswered,
                })),
                [index, color] => Some(say(code, &[index, color], bell)),
                _ => None,
            };
            Some(fields.chunks(2).filter_map(part).collect())
        }
        // One field for each colour from this number on; what is beyond the last one means nothing.
        10..=19 if (code..=19).zip(&fields).any(|(_, field)| *field == b"?") => {
            let part = |(code, field): (u16, &&[u8])| match *field {
                b"?" => Part::Question(Question::Color { code, index: None, bell }),
                color => say(code, &[color], bell),
            };
            Some((code..=19).zip(&fields).map(part).collect())
        }
        21 if fields.iter().any(|field| field.ends_with(b"=?")) => unanswered(),
        50 if fields.first().is_some_and(|field| field.starts_with(b"?")) => unanswered(),
        52 if fields.get(1) == Some(&b"?".as_slice()) => unanswered(),
        1337 if fields.first().is_some_and(|field| REPORTS.iter().any(|word| field.starts_with(word))) => {
            unanswered()
        }
        _ => None,
    }
}

/// A string of its own for one of several things that were said.
fn say(code: u16, fields: &[&[u8]], bell: bool) -> Part {
    let mut bytes = format!("\x1b]{code}").into_bytes();
    for field in fields {
        bytes.push(b';');
        bytes.extend_from_slice(field);
    }
    bytes.extend_from_slice(if bell { b"\x07" } else { b"\x1b\\" });
    Part::Pass(bytes)
}

fn number(digits: &[u8]) -> Option<u16> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
