//! Readers of what others wrote, fed with a corpus that is mutated: none panics, hangs, takes memory without bound or
//! breaks one of its own promises (`atm::readers` has the list, and what each promises).
//!
//! A few seconds by default, `ATM_MUTATION_SECONDS` for longer. `ATM_MUTATION_SEED` repeats a run's mutations and
//! `ATM_MUTATION_READER` looks at one reader alone. What fails is written below `target/`; as a file of
//! `tests/mutation/corpus/READER/` it is tried at each run from then on. The same corpus is the fuzzer's (`fuzz/`).

#[cfg(test)]
#[path = "chaos/dice.rs"]
#[expect(dead_code, reason = "its pauses are for others")]
mod dice;

#[cfg(test)]
#[path = "mutation/corpus.rs"]
mod corpus;
#[cfg(test)]
#[path = "mutation/growth.rs"]
mod growth;
#[cfg(test)]
#[path = "mutation/heap.rs"]
mod heap;
#[cfg(test)]
#[path = "mutation/mutant.rs"]
mod mutant;
#[cfg(test)]
#[path = "mutation/run.rs"]
mod run;
#[cfg(test)]
#[path = "mutation/watch.rs"]
mod watch;
