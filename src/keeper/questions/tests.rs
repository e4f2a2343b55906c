use proptest::prelude::*;

use super::*;

/// What clients get, what the emulator gets, what is asked.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    clients: Vec<u8>,
    emulator: Vec<u8>,
    questions: Vec<(usize, Question)>,
    resets: Vec<usize>,
}

impl Seen {
    fn take(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Pass(bytes) => {
                assert!(!bytes.is_empty());
                self.clients.extend(bytes);
                self.emulator.extend(bytes);
            }
            Piece::Beside(bytes) => self.clients.extend(bytes),
            Piece::Question(question) => self.questions.push((self.emulator.len(), question)),
            Piece::SoftReset => self.resets.push(self.emulator.len()),
        }
    }
}

fn feed(reads: &[&[u8]]) -> Seen {
    let (mut machine, mut seen) = (Questions::default(), Seen::default());
    for read in reads {
        machine.feed(read, &mut |piece| seen.take(piece));
    }
    seen
}

fn asked(stream: &str) -> (String, Vec<Question>) {
    let seen = feed(&[stream.as_bytes()]);
    (
        String::from_utf8(seen.clients).unwrap(),
        seen.questions.into_iter().map(|(_, question)| question).collect(),
    )
}

#[test]
fn each_question_is_found_and_cut() {
    use Question::*;
    let color = |code, index, bell| Color { code, index, bell };
    let table: &[(&str, Question)] = &[
        ("\x1b[5n", Status),
        ("\x1b[6n", Cursor { private: false }),
        ("\x1b[?6n", Cursor { private: true }),
        ("\x1b[?15n", Printer),
        ("\x1b[?996n", ColorScheme),
        ("\x1b[c", PrimaryAttributes),
        ("\x1b[0c", PrimaryAttributes),
        ("\x1bZ", PrimaryAttributes),
        ("\x1b[>c", SecondaryAttributes),
        ("\x1b[=0c", TertiaryAttributes),
        ("\x1b[>q", Version),
        ("\x1b[>0q", Version),
        ("\x1b[4$p", AnsiMode(4)),
        ("\x1b[?2026$p", PrivateMode(2026)),
        ("\x1b[?u", KeyboardFlags),
        ("\x1b[?4m", ModifyOtherKeys),
        ("\x1b[18t", Window(18)),
        ("\x1b[1x", Parameters(1)),
        ("\x1b[?1;1;0S", Graphics(1)),
        ("\x1b]11;?\x07", color(11, None, true)),
        ("\x1b]10;?\x1b\\", color(10, None, false)),
        ("\x1b]4;7;?\x1b\\", color(4, Some(7), false)),
        ("\x1bP+q544e;436f\x1b\\", Capabilities(vec![b"544e".to_vec(), b"436f".to_vec()])),
        ("\x1bP$qm\x1b\\", Setting(b"m".to_vec())),
        ("\x1b]52;c;?\x07", Unanswered),
        ("\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\", Unanswered),
        ("\x05", Unanswered),
        ("\x1b[1;1;1;1;24;80*y", Unanswered),
    ];
    for (stream, question) in table {
        let (clients, questions) = asked(&format!("before{stream}after"));
        assert_eq!((clients.as_str(), questions), ("beforeafter", vec![question.clone()]), "{stream:?}");
    }
}

#[test]
fn what_is_no_question_is_passed_as_it_is() {
    for stream in [
        "\x1b[0m\x1b[1;31mred\x1b[m",
        "\x1b[4n",
        "\x1b[>4n",
        "\x1b[1c",
        "\x1b[>1u\x1b[<u\x1b[=1u",
        "\x1b[2 q",
        "\x1b[22;0t\x1b[8;24;80t",
        "\x1b[!p",
        "\x1b]0;a title? yes\x07",
        "\x1b]11;#fff\x07",
        "\x1b]52;c;Zm9v\x07",
        "\x1b]8;;https://x/?\x1b\\link\x1b]8;;\x1b\\",
        "\x1bPq#0;2;0;0;0\x1b\\",
        "\x1b_Ga=T,f=100;AAAA\x1b\\",
        "\x1b[6\x18n",
        "\x1b]11;?\x18\x07",
        "\x1b(0\x1b)B\x1b7\x1b8\x1b=",
        "漢字 é",
    ] {
        assert_eq!(asked(stream), (stream.to_owned(), vec![]), "{stream:?}");
    }
}

#[test]
fn a_sequence_in_a_sequence_is_seen() {
    // An ESC begins anew, and controls in the middle are obeyed.
    assert_eq!(asked("\x1b[1\x1b[6n!").0, "\x1b[1!");
    assert_eq!(asked("\x1b]0;x\x1b[6n!"), ("\x1b]0;x!".into(), vec![Question::Cursor { private: false }]));
    assert_eq!(asked("\x1b]11;?\x1b[6n!"), ("\x1b]11;?!".into(), vec![Question::Cursor { private: false }]));
    assert_eq!(asked("a\x1b[6\r\nn!"), ("a\r\n!".into(), vec![Question::Cursor { private: false }]));
}

#[test]
fn what_else_such_a_string_says_is_still_said() {
    let (clients, questions) = asked("\x1b]4;1;#ff0000;2;?\x07");
    assert_eq!(clients, "\x1b]4;1;#ff0000\x07");
    assert_eq!(questions, [Question::Color { code: 4, index: Some(2), bell: true }]);
    let (clients, questions) = asked("\x1b]10;?;#000000;?\x1b\\");
    assert_eq!(clients, "\x1b]11;#000000\x1b\\");
    let color = |code| Question::Color { code, index: None, bell: false };
    assert_eq!(questions, [color(10), color(12)]);
}

#[test]
fn a_string_without_an_end_costs_the_emulator_and_us_nothing() {
    let long = "1".repeat(100_000);
    for begin in ["\x1b]0;", "\x1bP", "\x1b_", "\x1bX", "\x1b]12;", "\x1b["] {
        let stream = format!("{begin}{long}");
        let (mut machine, mut seen) = (Questions::default(), Seen::default());
        for read in stream.as_bytes().chunks(1000) {
            machine.feed(read, &mut |piece| seen.take(piece));
            assert!(machine.held.capacity() + machine.content.capacity() < 8 * LONGEST);
        }
        assert!(seen.clients == stream.as_bytes(), "{begin:?}");
        if begin != "\x1b[" {
            assert_eq!(seen.emulator.len(), LONGEST + 2, "{begin:?}");
            machine.feed(b"\x1b\\after", &mut |piece| seen.take(piece));
            assert!(seen.emulator.ends_with(b"11\x1b\\after"));
        }
    }
}

#[test]
fn between_is_where_a_newcomer_can_begin() {
    let between = |stream: &[u8]| {
        let mut machine = Questions::default();
        machine.feed(stream, &mut |_| {});
        machine.is_between()
    };
    for stream in ["", "text", "é", "漢", "🦀", "a\x1b[1m", "\x1b]0;t\x07"] {
        assert!(between(stream.as_bytes()), "{stream:?}");
    }
    for stream in ["é", "漢", "🦀"].map(str::as_bytes) {
        for end in 1..stream.len() {
            assert!(!between(&stream[..end]), "{:?}", &stream[..end]);
        }
    }
    for stream in ["\x1b", "\x1b[1", "\x1b]0;t", "\x1bPq", "\x1b]0;t\x1b"] {
        assert!(!between(stream.as_bytes()), "{stream:?}");
    }
    assert!(between(b"\xff\xbf\xbf\xbf"), "no character was begun");
}

fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "\x1b",
        "\x1b[",
        "\x1b]",
        "\x1bP",
        "\x1b_",
        "\x1bX",
        "\x1b\\",
        "\x07",
        "\x05",
        "\x18",
        "6",
        "n",
        "?",
        "?6n",
        ";",
        "\x1b[6n",
        "\x1b[c",
        "\x1b[>c",
        "\x1b[>0q",
        "\x1b[?u",
        "\x1b[?25$p",
        "\x1b]11;?\x07",
        "\x1b]10;?;#fff;?\x1b\\",
        "\x1b]4;1;?;2;#000\x07",
        "\x1bP+q544e\x1b\\",
        "\x1bP$q q\x1b\\",
        "\x1b]52;c;?\x07",
        "\x1b]52;c;Zm9v\x07",
        "\x1b]0;title\x07",
        "\x1b_Ga=q;A\x1b\\",
        "\x1b[1;31m",
        "\x1b(0",
        "\x1b[!p",
        "\r\n",
        "text",
        "漢",
    ];
    prop_oneof![
        8 => proptest::sample::select(known.to_vec()).prop_map(|known| known.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 1..8),
        1 => (1_usize..2).prop_map(|_| vec![b'z'; LONGEST - 2]),
    ]
}

proptest! {
    #[test]
    fn any_split_gives_the_same_cut_and_the_same_questions(
        fragments in proptest::collection::vec(fragment(), 0..24),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..24),
    ) {
        let stream = fragments.concat();
        let whole = feed(&[&stream]);
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        places.extend([0, stream.len()]);
        places.sort_unstable();
        let reads: Vec<&[u8]> = places.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
        prop_assert_eq!(&feed(&reads), &whole);
        let single: Vec<&[u8]> = stream.chunks(1).collect();
        prop_assert_eq!(&feed(&single), &whole);
    }

    #[test]
    fn nothing_is_lost_but_questions(fragments in proptest::collection::vec(fragment(), 0..24)) {
        let mut stream = fragments.concat();
        // Ends whatever is open, so that nothing is held back.
        stream.extend_from_slice(b"\x18.");
        let seen = feed(&[&stream]);
        if seen.questions.is_empty() {
            prop_assert_eq!(seen.clients, stream);
        } else {
            prop_assert!(seen.clients.ends_with(b"."));
            // What is passed on asks nothing.
            let again = feed(&[&seen.clients]);
            let left: Vec<_> = again.questions.iter().map(|(_, question)| question).collect();
            prop_assert!(left.is_empty() || left.len() < seen.questions.len(), "{:?}", left);
        }
    }
}
