//! Nothing is lost and nothing doubled, whatever is killed and whenever: the real daemon under random files and
//! random SIGKILLs, judged by `/proc` and by what the sessions wrote, not by what atm says.
//!
//! `ATM_CHAOS_SEED` repeats a run's choices, `ATM_CHAOS_ROUNDS` makes it longer, `ATM_STORM_SEED` chooses another storm;
//! longer ones are `cargo run --example chaos`. What is killed when is a matter of the machine's timing too, so a seed that
//! failed may have to be run more than once.

#[cfg(test)]
mod harness;

#[cfg(test)]
#[path = "chaos/blows.rs"]
mod blows;
#[cfg(test)]
#[path = "chaos/client.rs"]
mod client;
#[cfg(test)]
#[path = "chaos/dice.rs"]
mod dice;
#[cfg(test)]
#[path = "chaos/disks.rs"]
mod disks;
#[cfg(test)]
#[path = "chaos/field.rs"]
mod field;
#[cfg(test)]
#[path = "chaos/judge.rs"]
mod judge;
#[cfg(test)]
#[path = "chaos/places.rs"]
mod places;
#[cfg(test)]
#[path = "chaos/rounds.rs"]
mod rounds;
#[cfg(test)]
#[path = "chaos/sabotage.rs"]
mod sabotage;
#[cfg(test)]
#[path = "chaos/stage.rs"]
mod stage;
#[cfg(test)]
#[path = "chaos/storm.rs"]
#[allow(dead_code, reason = "the example has other ends")]
mod storm;
