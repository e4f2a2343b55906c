use alacritty_terminal::term::cell::Flags;
use proptest::prelude::*;

use super::*;
use crate::keeper::questions::{Piece, Question, Questions};

/// A screen as a session has it: questions cut and answered.
struct Whole {
    screen: Screen,
    questions: Questions,
    answers: Vec<u8>,
}

impl Whole {
    fn new(columns: u16, rows: u16) -> Self {
        let screen = Screen::new(WindowSize::of_cells(columns, rows));
        Self { screen, questions: Questions::default(), answers: Vec::new() }
    }

    fn feed(&mut self, bytes: &[u8]) {
        let Self { screen, questions, answers } = self;
        questions.feed(bytes, &mut |piece| match piece {
            Piece::Pass(bytes) => screen.feed(bytes),
            Piece::Beside(_) => {}
            Piece::SoftReset => screen.soft_reset(),
            Piece::Question(question) => answers.extend(screen.answer(&question).unwrap_or_default()),
        });
    }

    fn text(&mut self) -> String {
        let view = self.screen.view(0, false).unwrap();
        view.lines.join("\n").trim_end_matches('\n').to_owned()
    }
}

fn answers(stream: &str) -> String {
    let mut whole = Whole::new(80, 24);
    whole.feed(stream.as_bytes());
    String::from_utf8(whole.answers).unwrap()
}

#[test]
fn questions_are_answered_as_of_where_they_stand() {
    assert_eq!(answers("\x1b[5;7H\x1b[6n\x1b[10;3Hx\x1b[6n"), "\x1b[5;7R\x1b[10;4R");
    assert_eq!(answers("\x1b[5;20r\x1b[?6h\x1b[2;3H\x1b[6n\x1b[?6n"), "\x1b[2;3R\x1b[?2;3;1R");
    assert_eq!(answers("\x1b[5n\x1b[c\x1bZ"), "\x1b[0n\x1b[?62;22c\x1b[?62;22c");
    assert_eq!(answers("\x1b[=c"), "\x1bP!|00000000\x1b\\");
    assert_eq!(answers("\x1b[>q"), format!("\x1bP>|atm({})\x1b\\", env!("CARGO_PKG_VERSION")));
    assert_eq!(
        answers("\x1b[?2004$p\x1b[?2004h\x1b[?2004$p\x1b[?31337$p"),
        "\x1b[?2004;2$y\x1b[?2004;1$y\x1b[?31337;0$y"
    );
    assert_eq!(answers("\x1b[4h\x1b[4$p"), "\x1b[4;1$y");
    assert_eq!(answers("\x1b[?u\x1b[>5u\x1b[?u\x1b[<u\x1b[?u"), "\x1b[?0u\x1b[?5u\x1b[?0u");
    assert_eq!(answers("\x1b[>4;2m\x1b[?4m"), "\x1b[>4;2m");
    assert_eq!(answers("\x1b[18t\x1b[14t"), "\x1b[8;24;80t");
    assert_eq!(
        answers("\x1b]11;?\x07\x1b]10;?\x1b\\"),
        "\x1b]11;rgb:0000/0000/0000\x07\x1b]10;rgb:e5e5/e5e5/e5e5\x1b\\"
    );
    assert_eq!(
        answers("\x1b]11;#ffffff\x07\x1b]11;?\x07\x1b[?996n"),
        "\x1b]11;rgb:ffff/ffff/ffff\x07\x1b[?997;2n"
    );
    assert_eq!(
        answers("\x1b]4;9;?;232;?\x07"),
        "\x1b]4;9;rgb:ffff/0000/0000\x07\x1b]4;232;rgb:0808/0808/0808\x07"
    );
    assert_eq!(answers("\x1bP+q436f;71\x1b\\"), "\x1bP1+r436f=323536\x1b\\\x1bP0+r71\x1b\\");
    assert_eq!(
        answers("\x1b[1;31m\x1bP$qm\x1b\\\x1b[3 q\x1bP$q q\x1b\\"),
        "\x1bP1$r0;1;31m\x1b\\\x1bP1$r3 q\x1b\\"
    );
    assert_eq!(answers("\x1b]0;secret\x07\x1b[21t"), "\x1b]l\x1b\\", "a title is not typed");
    assert_eq!(answers("\x1b]52;c;?\x07"), "");
    let vt = Whole::new(80, 24).screen.answer(&Question::Status);
    assert_eq!(vt.as_deref(), Some(&b"\x1b[0n"[..]));
}

#[test]
fn what_a_program_prints_without_end_takes_no_memory_and_ends_nobody() {
    let mut whole = Whole::new(80, 24);
    whole.feed("e".as_bytes());
    whole.feed("\u{301}".repeat(100_000).as_bytes());
    assert_eq!(whole.screen.cell(0, 0).zerowidth().unwrap().len(), 16);
    // The emulator's own faults.
    whole.feed("\x1b[>1u".repeat(10_000).as_bytes());
    whole.feed(b"\x1b[?u");
    assert!(whole.answers.ends_with(b"\x1b[?1u"));
    whole.feed("\x1b[22;0t".repeat(10_000).as_bytes());
    whole.feed(b"\x1b]0;");
    for _ in 0..1000 {
        whole.feed(&[b't'; 1000]);
    }
    whole.feed(b"\x07");
    assert_eq!(whole.screen.title().len(), 1024);
    whole.feed(b"\x1b[30;40r\x1b[30;1H\n\n\n");
    whole.feed(b"\x1b[65535;65535H\x1b[65535A\x1b[65535S\x1b[65535T\x1b[65535L\x1b[65535M\x1b[65535@\x1b[65535P\x1b[65535X");
    whole.feed(b"\x1bc\x1b[2Jok");
    assert_eq!(whole.text(), "ok");
}

#[test]
fn a_soft_reset_is_one() {
    let mut whole = Whole::new(20, 4);
    whole.feed(b"\x1b[2;3r\x1b[?6h\x1b[4h\x1b[?25l\x1b[1m\x1b(0\x1b[3;5H\x1b[!pqx");
    let view = whole.screen.view(0, false).unwrap();
    assert!(view.cursor.visible);
    assert!(whole.text().contains("qx"), "{:?}", whole.text());
    whole.feed(b"\x1b[1;1H");
    assert_eq!(whole.screen.view(0, false).unwrap().cursor.row, 0);
}

#[test]
fn history_is_bounded_by_bytes() {
    for columns in [20, 80, 200, 1000] {
        let mut whole = Whole::new(columns, 24);
        for line in 0..3000 {
            whole.feed(format!("{line}\r\n").as_bytes());
        }
        let history = whole.screen.term.grid().history_size();
        let bytes = history * usize::from(columns) * size_of::<Cell>();
        assert!(
            bytes <= HISTORY_BYTES.max(50 * usize::from(columns) * size_of::<Cell>()),
            "{columns}: {history}"
        );
        assert!(bytes > HISTORY_BYTES / 4 || history == 1000, "{columns}: {history}");
        whole.screen.tighten();
        whole.screen.resize(WindowSize::of_cells(columns / 2, 24));
        whole.screen.resize(WindowSize::of_cells(1000, 5));
        assert!(whole.screen.term.grid().history_size() <= 1000);
    }
}

#[test]
fn a_look_is_text_with_history_cursor_and_title() {
    let mut whole = Whole::new(20, 3);
    whole.feed("\x1b]2;a title\x07one\r\ntwo\r\n\x1b[31mth\x1b[1mree\x1b[0m\r\n漢字\tx  ".as_bytes());
    let view = whole.screen.view(10, false).unwrap();
    assert_eq!(view.lines, ["one", "two", "three", "漢字    x"]);
    assert_eq!((view.history, view.title.as_str(), view.alternate), (1, "a title", false));
    assert_eq!((view.cursor.row, view.cursor.column), (2, 11));
    assert_eq!(whole.screen.view(0, true).unwrap().lines[1], "\x1b[0;31mth\x1b[0;1;31mree\x1b[0m");
}

/// What a screen is, as far as a program or a person can tell.
#[derive(Debug, PartialEq)]
struct Seen {
    cells: Vec<(char, Vec<char>, String, bool)>,
    cursor: (i32, usize, bool),
    mode: TermMode,
    side: Side,
}

fn seen(screen: &Screen) -> Seen {
    let (rows, columns) = (screen.term.screen_lines(), screen.term.columns());
    let cells = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
    let cells = cells.map(|(row, column)| {
        let cell = screen.cell(i32::try_from(row).unwrap(), column);
        let flagged = |column: usize, flag| {
            column < columns && screen.cell(i32::try_from(row).unwrap(), column).flags.contains(flag)
        };
        let whole = flagged(column, Flags::WIDE_CHAR) && flagged(column + 1, Flags::WIDE_CHAR_SPACER);
        let spacer = flagged(column, Flags::WIDE_CHAR_SPACER);
        let follows = spacer && column > 0 && flagged(column - 1, Flags::WIDE_CHAR);
        // Half of a wide character, the other half of which was overwritten, is blank.
        let half = (flagged(column, Flags::WIDE_CHAR) && !whole) || (spacer && !follows);
        let char = if half || matches!(cell.c, '\t' | '\0') { ' ' } else { cell.c };
        let mut pen = String::new();
        super::dump::pen_of(&mut pen, cell);
        let link = cell.hyperlink().is_some();
        let wide = whole || follows;
        (char, cell.zerowidth().unwrap_or_default().to_vec(), format!("{pen} {link}"), wide)
    });
    let cursor = &screen.term.grid().cursor;
    let mut side = screen.side.clone();
    side.titles.clear(); // titles put away are not in a dump
    side.charset = side.charset.filter(|set| *set != alacritty_terminal::vte::ansi::CharsetIndex::G0);
    side.synchronized = false;
    if !screen.term.mode().contains(TermMode::ALT_SCREEN) {
        side.other_keyboard = handler::Keyboard::default(); // of a screen that does not show, and is blank when it does
    }
    side.colored = (0..259).any(|index| screen.term.colors()[index].is_some());
    side.modes.sort_unstable();
    Seen {
        cells: cells.collect(),
        cursor: (cursor.point.line.0, cursor.point.column.0, cursor.input_needs_wrap),
        mode: *screen.term.mode(),
        side,
    }
}

/// That a terminal which is shown a dump is the same as one that saw it all, now and later.
fn check_dump(stream: &[u8], later: &[u8]) -> Result<(), TestCaseError> {
    let mut one = Whole::new(30, 8);
    one.feed(stream);
    one.feed(b"\x18"); // ends what is open: a dump is taken in between
    let before = seen(&one.screen);
    let outside = |(first, last)| !(first..=last).contains(&(before.cursor.0.cast_unsigned() as usize));
    if before.mode.contains(TermMode::ORIGIN) && before.side.region.is_some_and(outside) {
        return Ok(()); // only a restored cursor can be there, and no sequence puts it there
    }
    let dump = one.screen.dump(100);
    same(&seen(&one.screen), &before, "a dump changes nothing")?;
    let mut other = Whole::new(30, 8);
    other.feed(b"old text\x1b[?1049h\x1b[?1003h\x1b[5;6r\x1b[?6h\x1b[>3u");
    other.feed(&dump);
    let shown = String::from_utf8_lossy(&dump).escape_debug().to_string();
    same(&seen(&other.screen), &before, &shown)?;
    one.feed(later);
    other.feed(later);
    let (one, mut other) = (seen(&one.screen), seen(&other.screen));
    other.side.clone_from(&one.side); // what was put away in stacks is not in a dump
    other.mode = one.mode;
    same(&other, &one, &format!("later, after {shown}"))
}

fn same(one: &Seen, other: &Seen, what: &str) -> Result<(), TestCaseError> {
    prop_assert_eq!(&one.side, &other.side, "{}", what);
    prop_assert_eq!(one.mode, other.mode, "{}", what);
    prop_assert_eq!(one.cursor, other.cursor, "{}", what);
    for (number, (one, other)) in one.cells.iter().zip(&other.cells).enumerate() {
        prop_assert_eq!(one, other, "line {} column {}: {}", number / 30, number % 30, what);
    }
    Ok(())
}

#[test]
fn a_dump_shows_both_screens_modes_region_and_title() {
    for stream in [
        "plain text\r\nin two lines",
        "a line that is longer than the terminal is wide, so that it goes on",
        "\x1b[31mred\x1b[44m on blue\x1b[K\r\n\x1b[1;3;4:3;58:2::1:2:3mcurly",
        "\x1b[?1049h\x1b[2J\x1b[3;3Hfull screen\x1b[?1000h\x1b[?1006h\x1b[?25l",
        "primary\x1b[?1049h\x1b[>7ualt\x1b[>1u",
        "\x1b[2;5r\x1b[?6h\x1b[2;2Hregion",
        "\x1b]2;title\x07\x1b[?2004h\x1b[?1h\x1b=\x1b[4 q",
        "\x1b[30Cfar\x1b[1;30Hx",
        "漢字かな漢字かな漢字かな漢字かな",
        "\x1b(0lqqk\x0e\x1b)0x",
        "\x1b[3g\x1b[1;5H\x1bH\ra\tb",
        "\x1b]8;;https://example.org\x07link\x1b]8;;\x07 after",
        "e\u{301}\u{302}",
        "\x1b]4;1;#123456\x07\x1b]11;#abcdef\x07",
        "one\r\n\x1b[5;5H\x1b[7m\x1b7\x1b[0m\x1b[1;1H",
        "x\r\ny\r\nz\r\n1\r\n2\r\n3\r\n4\r\n5\r\n6\r\n7\r\n8\r\n9\r\n10",
        "\x1b#8",
        "\x1b[4habc\x1b[1;1Hd",
        "\x1b[?7labcdefghijklmnopqrstuvwxyzabcdefghijklmn",
    ] {
        check_dump(stream.as_bytes(), "and\tmore \x1b8there\r\n\x1b[?1049l\x1b[A漢".as_bytes())
            .unwrap_or_else(|error| panic!("{stream:?}: {error}"));
    }
}

#[test]
fn a_dump_carries_history_and_wrapped_lines_stay_one() {
    let mut one = Whole::new(10, 3);
    one.feed(b"first\r\nsecond\r\n0123456789abcdef\r\nlast\r\nend");
    let dump = one.screen.dump(100);
    let mut other = Whole::new(10, 3);
    other.feed(&dump);
    assert_eq!(other.screen.view(100, false), one.screen.view(100, false));
    for whole in [&mut one, &mut other] {
        whole.screen.resize(WindowSize::of_cells(20, 3));
    }
    assert_eq!(other.screen.view(100, false).unwrap().lines, one.screen.view(100, false).unwrap().lines);
    assert!(one.screen.view(100, false).unwrap().lines.contains(&"0123456789abcdef".to_owned()));
    let view = one.screen.dump(0);
    other.feed(&view);
    assert_eq!(other.screen.view(0, false), one.screen.view(0, false));
}

#[test]
fn a_terminal_of_another_size_is_shown_the_part_with_the_cursor() {
    let mut one = Whole::new(20, 5);
    one.feed("1\r\n2 a longer line, yes\r\n3\r\n4\r\nhere: 漢字".as_bytes());
    let mut small = Whole::new(8, 2);
    small.feed(b"junk\x1b[?1003h");
    small.feed(&one.screen.paint(WindowSize::of_cells(8, 2), true));
    assert_eq!(small.text(), "\ne: 漢字", "with the column of the cursor");
    assert_eq!(small.screen.view(0, false).unwrap().cursor.row, 1);
    let mut large = Whole::new(40, 9);
    large.feed(&one.screen.paint(WindowSize::of_cells(40, 9), true));
    assert_eq!(large.text(), one.text());
    assert_eq!(large.screen.view(0, false).unwrap().cursor, one.screen.view(0, false).unwrap().cursor);
    one.feed(b"\x1b[2J\x1b[Hgone");
    large.feed(&one.screen.paint(WindowSize::of_cells(40, 9), false));
    assert_eq!(large.text(), "gone");
}

pub(super) fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "text ",
        "longer text that wraps around ",
        "\r\n",
        "\n",
        "\r",
        "\t",
        "漢字",
        "e\u{301}",
        "\x08",
        "\x1b[A",
        "\x1b[B",
        "\x1b[5C",
        "\x1b[3D",
        "\x1b[4;7H",
        "\x1b[H",
        "\x1b[8;30H",
        "\x1b[J",
        "\x1b[1J",
        "\x1b[2J",
        "\x1b[K",
        "\x1b[1K",
        "\x1b[2L",
        "\x1b[2M",
        "\x1b[3@",
        "\x1b[3P",
        "\x1b[3X",
        "\x1b[2S",
        "\x1b[2T",
        "\x1bM",
        "\x1bD",
        "\x1bE",
        "\x1b7",
        "\x1b8",
        "\x1b[1m",
        "\x1b[31;42m",
        "\x1b[38;5;99m",
        "\x1b[48;2;1;2;3m",
        "\x1b[4:3m",
        "\x1b[0m",
        "\x1b[7m",
        "\x1b[?1049h",
        "\x1b[?1049l",
        "\x1b[?25l",
        "\x1b[?25h",
        "\x1b[?1h",
        "\x1b[?7l",
        "\x1b[?7h",
        "\x1b[?2004h",
        "\x1b[?1000h",
        "\x1b[?1002h",
        "\x1b[?1006h",
        "\x1b[4h",
        "\x1b[4l",
        "\x1b[20h",
        "\x1b[2;6r",
        "\x1b[r",
        "\x1b[?6h",
        "\x1b[?6l",
        "\x1b(0",
        "\x1b(B",
        "\x0e",
        "\x0f",
        "\x1b]2;title\x07",
        // The emulator gives one without an id the next of its own.
        "\x1b]8;id=1;http://x\x07",
        "\x1b]8;;\x07",
        "\x1b[>1u",
        "\x1b[<u",
        "\x1b[=3;2u",
        "\x1b[>4;1m",
        "\x1b[3g",
        "\x1bH",
        "\x1b[5 q",
        "\x1b#8",
        "\x1bc",
        "\x1b[!p",
        "\x1b=",
        "\x1b>",
        "\x1b]4;3;#112233\x07",
        "\x1b[?1004h",
        "\x1b[?2026h",
    ];
    proptest::sample::select(known.to_vec()).prop_map(|known| known.as_bytes().to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_dump_is_as_good_as_having_seen_it_all(
        before in proptest::collection::vec(fragment(), 0..40),
        after in proptest::collection::vec(fragment(), 0..12),
    ) {
        check_dump(&before.concat(), &after.concat())?;
    }

    #[test]
    fn nothing_that_is_printed_ends_a_screen(
        stream in proptest::collection::vec(any::<u8>(), 0..600),
        columns in 0_u16..200,
        rows in 0_u16..60,
    ) {
        let mut whole = Whole::new(5, 5);
        for part in stream.chunks(100) {
            whole.feed(part);
            whole.screen.resize(WindowSize::of_cells(columns, rows));
            whole.screen.dump(10);
            whole.screen.paint(WindowSize::of_cells(7, 3), true);
            whole.screen.view(5, true);
            whole.screen.resize(WindowSize::of_cells(rows, columns));
        }
    }
}

#[test]
fn a_line_that_the_terminal_breaks_at_the_bottom_has_the_colour_of_its_own_cells() {
    let before = "\x1b[8;30H\x1b[31;42mlonger text that wraps around \x1b[!p\x1b[J";
    check_dump(before.as_bytes(), b"").unwrap();
}

#[test]
fn half_a_wide_character_at_the_begin_of_a_line_takes_nothing_from_the_line_before() {
    check_dump("\x1b[1m\x1b[8;30H漢字\x1b[3D\x1b[Jtext ".as_bytes(), b"").unwrap();
}

#[test]
fn the_right_half_of_a_wide_character_is_nothing_without_the_left_one() {
    check_dump("漢字\x08\x1b[3@".as_bytes(), b"text ").unwrap();
}

/// A screen where each cell has a link of its own, of 4,000 bytes.
fn full_of_links(columns: u16, rows: u16) -> Whole {
    let mut whole = Whole::new(columns, rows);
    for number in 0..usize::from(columns) * usize::from(rows) {
        let (id, uri) = (format!("{number:04}").repeat(500), "u".repeat(2000));
        whole.feed(format!("\x1b]8;id={id};{uri}\x1b\\x").as_bytes());
    }
    whole
}

#[test]
fn links_have_a_share_of_a_drawing_and_no_more() {
    let mut whole = full_of_links(60, 20);
    for drawing in [
        whole.screen.dump(100),
        whole.screen.paint(WindowSize::of_cells(50, 20), true),
        whole.screen.paint(WindowSize::of_cells(50, 20), false),
    ] {
        assert!(drawing.len() < 5 << 18, "{}", drawing.len());
        let mut other = Whole::new(60, 20);
        other.feed(&drawing);
        assert!(other.screen.cell(0, 0).hyperlink().is_some(), "as many as there is room for");
        assert!(other.screen.cell(19, 40).hyperlink().is_none());
        assert_eq!(other.screen.cell(19, 40).c, 'x');
    }
    let view = whole.screen.view(100, true).unwrap();
    assert_eq!(view.lines.len(), 20, "the text has room beside its links");
    assert!(view.lines.iter().map(String::len).sum::<usize>() < 512 << 10);
    // One link over many cells is one.
    let mut one = Whole::new(60, 20);
    one.feed(b"\x1b]8;;http://x/\x1b\\");
    one.feed("y".repeat(1100).as_bytes());
    let dump = String::from_utf8(one.screen.dump(0)).unwrap();
    assert_eq!(dump.matches("http://x/").count(), 2, "the cells and the cursor");
}

#[test]
fn a_fault_found_while_looking_costs_the_screen_and_nobody_else() {
    let broken = || {
        let mut whole = Whole::new(20, 4);
        whole.feed(b"text");
        // A line that is shorter than the screen, as no emulator without a fault would have it.
        whole.screen.term.grid_mut()[alacritty_terminal::index::Line(1)] =
            alacritty_terminal::grid::Row::new(1);
        whole.screen.term.grid_mut().cursor.point.line = alacritty_terminal::index::Line(i32::MAX);
        whole.screen
    };
    let blank = Screen::new(WindowSize::of_cells(20, 4)).dump(0);
    assert_eq!(broken().dump(0), blank);
    assert!(!broken().paint(WindowSize::of_cells(10, 2), true).is_empty());
    assert_eq!(broken().view(0, false), None);
    assert_eq!(broken().answer(&Question::Cursor { private: false }), None);
    let mut screen = broken();
    screen.view(0, false);
    screen.feed(b"goes on");
    assert_eq!(screen.view(0, false).unwrap().lines[0], "goes on");
}
