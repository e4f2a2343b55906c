//! What a reader costs grows with its input, and not with its square.

use nix::time::{ClockId, clock_gettime};
use std::{path::Path, time::Duration};

use atm::readers::{READERS, Reader};

use crate::{corpus::seeds, watch::Watch};

/// What is given eight times as much does eight times the work. A square would be sixty-four times; what is between them
/// is for all that a machine does beside.
const TIMES: usize = 8;
/// Length of the larger one.
const LARGE: usize = 32 << 10;
const MOST: u32 = 24;

/// Less processor time than this says nothing: a clock tick, or a page that was not there.
const LEAST: Duration = Duration::from_millis(2);

/// Readers whose work is not in proportion, and why that does no harm.
const EXCEPTED: &[(&str, &str)] = &[
    ("spec", "each of ten mistakes walks to its place: tests/written.rs has the limit"),
    ("config", "the same"),
    ("overrides", "the same"),
    ("settings", "each hook of ours is one edit of the whole text, and there are as many as events"),
];

/// Units that were seen to cost much, or could.
const UNITS: &[&[u8]] = &[
    b"[",
    b"{\"a\":",
    b"[[],",
    b"\"\\u0000\",",
    b"\n",
    b"\r",
    b"x\n",
    b"\xff",
    b"\xe6\xbc",
    b"\xe6\xbc\xa2",
    b"\x1b[",
    b"\x1b]0;x",
    b"\x1b[6n",
    b"\x1b]4;1;?;",
    b"\x1b",
    b"\x18",
    b"\0\0\0\x02\x02x",
    b"\0\0\0\x01\x02",
    b"a=b\n",
    b"${A}",
    b"A=1\n",
    b"{}\n",
    b"{\"id\":1}\n",
    b" ",
    b"a ",
    b"-",
    b"1",
    b"ctrl-",
    b"\0",
    b",",
    b"=",
    b"[remote \"origin\"]\nurl=a/b\n",
    b"/",
    b")",
];

fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

/// The least of a few tries: what comes between makes it only more.
fn work(watch: &Watch, reader: &Reader, bytes: &[u8]) -> Result<(Duration, usize), String> {
    let mut least = (Duration::MAX, usize::MAX);
    for _ in 0..3 {
        let begun = processor_time();
        let cost = watch.read(reader, bytes)?;
        let took = processor_time().saturating_sub(begun);
        least = (least.0.min(took), least.1.min(cost.taken));
    }
    Ok(least)
}

/// What is wrong with how the work grows, for input that repeats `unit`.
fn grown(watch: &Watch, reader: &Reader, unit: &[u8]) -> Result<(), String> {
    let length = reader.longest.min(LARGE);
    let filled = |length: usize| unit.iter().copied().cycle().take(length).collect::<Vec<u8>>();
    let small = work(watch, reader, &filled(length / TIMES))?;
    let large = work(watch, reader, &filled(length))?;
    let slow = large.0 > LEAST.max(small.0) * MOST;
    let copied = large.1 > (64 << 10) + small.1 * MOST as usize;
    let shown = String::from_utf8_lossy(&unit[..unit.len().min(40)]).into_owned();
    let told = format!("{}: {shown:?}: {small:?}, eight times as much: {large:?}", reader.name);
    if slow || copied { Err(told) } else { Ok(()) }
}

#[test]
fn eight_times_the_input_is_no_more_than_a_few_times_eight_the_work() {
    let watch = Watch::new();
    let mut wrong = Vec::new();
    for (name, why) in EXCEPTED {
        assert!(READERS.iter().any(|reader| reader.name == *name) && why.len() > 5, "{name}");
    }
    let measured = READERS.iter().filter(|reader| EXCEPTED.iter().all(|(name, _)| *name != reader.name));
    for reader in measured {
        let seeds = seeds(reader.name);
        let units =
            UNITS.iter().copied().chain(seeds.iter().map(Vec::as_slice).filter(|seed| !seed.is_empty()));
        for unit in units {
            wrong.extend(grown(&watch, reader, unit).err());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_square_is_seen() {
    #[expect(clippy::unnecessary_wraps, reason = "as a reader has it")]
    fn searches(bytes: &[u8], _: &Path) -> Result<(), String> {
        let found = bytes.iter().filter(|byte| bytes.iter().rev().any(|other| other < *byte)).count();
        std::hint::black_box(found);
        Ok(())
    }
    #[expect(clippy::unnecessary_wraps, reason = "as a reader has it")]
    fn copies(bytes: &[u8], _: &Path) -> Result<(), String> {
        for length in 0..bytes.len() {
            std::hint::black_box(bytes[..length].to_vec());
        }
        Ok(())
    }
    let watch = Watch::new();
    for read in [searches, copies] {
        let reader = Reader { name: "square", read, longest: 4 << 10, per_byte: 1, base: 1 << 10 };
        let told = grown(&watch, &reader, b"a").unwrap_err();
        assert!(told.contains("eight times as much"), "{told}");
    }
}
