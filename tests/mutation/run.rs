//! The corpus as it is, and mutants of it for a while.

use std::{
    env,
    time::{Duration, Instant},
};

use atm::readers::{READERS, Reader};

use crate::{
    corpus::{committed, seeds},
    dice::Dice,
    mutant::mutant,
    watch::Watch,
};

/// How long all readers together are given where nobody says otherwise.
const SECONDS: u64 = 5;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}

fn looked_at() -> Vec<&'static Reader> {
    let only = env::var("ATM_MUTATION_READER").ok();
    let chosen = READERS.iter().filter(|reader| only.as_deref().is_none_or(|only| only == reader.name));
    let chosen: Vec<_> = chosen.collect();
    assert!(!chosen.is_empty(), "no reader is called {only:?}");
    chosen
}

#[test]
fn every_reader_has_a_corpus_and_keeps_its_promises_on_it() {
    let watch = Watch::new();
    let mut wrong = Vec::new();
    for reader in READERS {
        let seeds = committed(reader.name);
        assert!(!seeds.is_empty(), "tests/mutation/corpus/{} has no seed", reader.name);
        for bytes in seeds.iter().chain([&Vec::new()]) {
            wrong.extend(watch.read(reader, bytes).err());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The same seed gives the same mutants, of which a slower machine sees fewer.
#[test]
#[expect(clippy::disallowed_methods, reason = "it goes on for a while of the real clock")]
fn mutants_break_no_promise() {
    let seed = number("ATM_MUTATION_SEED").unwrap_or(1);
    let readers = looked_at();
    let seconds = number("ATM_MUTATION_SECONDS").unwrap_or(SECONDS);
    let each = Duration::from_secs(seconds) / u32::try_from(readers.len()).unwrap();
    let watch = Watch::new();
    let mut wrong = Vec::new();
    for reader in readers {
        let seeds = seeds(reader.name);
        let mut dice = Dice::new(seed);
        let begun = Instant::now();
        let mut tried = 0_u64;
        while begun.elapsed() < each {
            let bytes = mutant(&seeds, reader.longest, &mut dice);
            tried += 1;
            if let Err(told) = watch.read(reader, &bytes) {
                wrong.push(format!("mutant {tried} of ATM_MUTATION_SEED={seed}: {told}"));
                break;
            }
        }
        let millis = begun.elapsed().as_millis().max(1);
        println!("{:12} {tried:8} mutants, {:8} a second", reader.name, u128::from(tried) * 1000 / millis);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
