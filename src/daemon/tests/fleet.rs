//! Many sessions at once.

use super::*;
use crate::api::record::Exit;

/// A small generator (SplitMix64): the same seed gives the same day.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// Who has run waits longer than all others need for their turns: slots go by age, so others would starve.
fn spec(version: u64) -> String {
    format!("command: x{version}\nrestartPolicy: Always\nbackoff: {{initial: 10m, max: 30m}}")
}

#[tokio::test(start_paused = true)]
async fn a_hundred_sessions_with_random_ends_never_exceed_the_limit_and_all_get_their_turn() {
    for seed in 0..3 {
        with_daemon("maxSessions: 7", async |field| {
            let mut dice = Dice(seed);
            let names: Vec<SessionName> = (0..100)
                .map(|number| {
                    let name = SessionName::new(&format!("s{number:02}")).unwrap();
                    let mut some = |limit| Duration::from_millis(dice.below(limit));
                    let (reports, answers, ends) = (some(3000), some(8000), some(20_000));
                    field.keepers().behave(&name, |manner| {
                        (manner.reports, manner.answers, manner.ends) = (Some(reports), Some(answers), ends);
                    });
                    field.write(name.as_str(), &spec(0))
                })
                .collect();
            for _ in 0..1500 {
                field.pass(Duration::from_millis(dice.below(4000))).await;
                let live = field.keepers().live();
                match dice.below(10) {
                    // The list of what lives changes with each; any of it will do.
                    0..8 if !live.is_empty() => {
                        let which = usize::try_from(dice.below(live.len() as u64)).unwrap();
                        let code = i32::try_from(dice.below(2)).unwrap();
                        field.keepers().exit(&live[which], Exit::Code(code));
                    }
                    8 => {
                        let which = usize::try_from(dice.below(100)).unwrap();
                        field.write(names[which].as_str(), &spec(dice.below(3)));
                    }
                    _ => {}
                }
            }
            assert_eq!(field.keepers().most(), 7, "seed {seed}: the limit is used and kept");
            assert!(field.keepers().ended() > 300, "seed {seed}: {} ends", field.keepers().ended());
            for name in &names {
                let runs = field.keepers().starts(name).len();
                assert!(runs > 0, "seed {seed}: {name} never ran: {}", field.shows());
            }
            field.shut_down().await;
            assert_eq!(field.keepers().live(), []);
        })
        .await;
    }
}
