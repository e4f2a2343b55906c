//! The config file as a source: the last good config stays in force.
//!
//! A file is believed by the same rules as a spec (see [`looks`](super::specs::looks)): closed after writing,
//! renamed or linked into place, or unchanged over two looks. Where there is no file when the daemon starts,
//! the defaults hold. A file that goes while the daemon runs changes nothing: whoever moved it away may be
//! about to put the next one in its place, and limits that fall back to defaults would end sessions.
//!
//! [`ConfigFile`] decides, from values; the thread of [`specs`](super::specs) reads and waits.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::specs::{
    QUIET_AT_START,
    judge::{Rules, content_of, parse_with, print_of},
    looks::{Hint, Looks, Print, Seen},
};
use crate::{
    api::{config::Config, diagnose::Diagnostics, time::Moment},
    host::specfile::Sight,
};

/// A file that was there is gone when two looks this far apart missed it.
const CONFIRM: Duration = Duration::from_millis(300);

/// A change of the config file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange<C = Config> {
    /// At the start only: there is no file, and the defaults hold.
    Absent,
    /// Another config is in force; it differs from the last one.
    Good(Box<C>),
    /// The file is wrong. The last good config stays in force; at the start there is none.
    Bad(Diagnostics),
    /// What was wrong is mended (or, after `Removed`, the file is back), and means what is in force.
    Cleared,
    /// The file went while the daemon runs. The last good config stays in force until the next start.
    Removed,
}

/// Reads a config, knowing what the daemon knows of the machine.
pub type ParseConfig<C> = Box<dyn Fn(&[u8], &Path) -> Result<C, Diagnostics> + Send>;

/// See the module.
pub struct ConfigFile<C> {
    path: PathBuf,
    rules: Rules,
    parse: ParseConfig<C>,
    looks: Looks,
    /// What was last believed, while the file is there.
    print: Option<Print>,
    in_force: Option<C>,
    told: Told,
    missing_since: Option<Moment>,
    out: Vec<ConfigChange<C>>,
}

/// What the loop knows of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Nothing,
    Absent,
    Good,
    Bad(Diagnostics),
    Removed,
}

impl<C: Clone + PartialEq> ConfigFile<C> {
    /// Nothing seen yet; the first look is due at once.
    pub fn new(path: PathBuf, rules: Rules, parse: ParseConfig<C>) -> Self {
        let mut looks = Looks::default();
        looks.look_at(Some(Moment::from_nanos(0)));
        Self {
            path,
            rules,
            parse,
            looks,
            print: None,
            in_force: None,
            told: Told::Nothing,
            missing_since: None,
            out: Vec::new(),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What changed since the last call.
    pub fn take_changes(&mut self) -> Vec<ConfigChange<C>> {
        std::mem::take(&mut self.out)
    }

    /// When to look next.
    pub fn due(&self) -> Option<Moment> {
        self.looks.due()
    }

    /// An event about the file.
    pub fn hint(&mut self, hint: Hint, now: Moment) {
        self.looks.hint(hint, now);
    }

    /// Look at it without an event: at a resync, or when its directory was touched.
    pub fn look(&mut self, now: Moment) {
        self.looks.look_at(Some(now));
    }

    /// The look that was due begins. Returns whether events of before it must be heard before its result is
    /// handed in.
    pub fn begin(&mut self, now: Moment) -> bool {
        self.looks.begin(now)
    }

    /// What the look saw. `quiet`: for how long nothing has touched the file, by the wall clock.
    pub fn read(&mut self, sight: Sight, quiet: Option<Duration>, now: Moment) {
        match sight {
            Sight::Missing => self.missing(now),
            Sight::Present { stamp, bytes, torn } => {
                self.missing_since = None;
                let print = print_of(stamp.as_ref(), &bytes, false);
                // At the start a file that nobody touches needs no second look: the daemon can do nothing
                // before it knows its limits.
                let at_rest =
                    self.told == Told::Nothing && quiet.is_some_and(|quiet| quiet >= QUIET_AT_START);
                let sure = self.print == Some(print) || (at_rest && !torn);
                if self.looks.found(Seen { stamp: stamp.as_ref(), print, torn }, sure, now) {
                    self.print = Some(print);
                    let path = &self.path;
                    let read = match stamp.as_ref().and_then(|stamp| self.rules.refuse_config(stamp)) {
                        Some(why) => Err(Diagnostics::whole(path.display().to_string(), why)),
                        None => content_of(bytes, path)
                            .and_then(|bytes| parse_with(|| (self.parse)(&bytes, path), path)),
                    };
                    self.believe(read);
                }
            }
        }
    }

    fn believe(&mut self, read: Result<C, Diagnostics>) {
        match read {
            Ok(config) if self.in_force.as_ref() == Some(&config) => {
                if self.told != Told::Good {
                    self.tell(Told::Good, ConfigChange::Cleared);
                }
            }
            Ok(config) => {
                self.in_force = Some(config.clone());
                self.tell(Told::Good, ConfigChange::Good(Box::new(config)));
            }
            Err(error) => {
                if self.told != Told::Bad(error.clone()) {
                    self.tell(Told::Bad(error.clone()), ConfigChange::Bad(error));
                }
            }
        }
    }

    fn missing(&mut self, now: Moment) {
        self.looks.missing();
        self.print = None;
        if self.told == Told::Nothing {
            self.tell(Told::Absent, ConfigChange::Absent);
        }
        if matches!(self.told, Told::Absent | Told::Removed) {
            return;
        }
        let since = *self.missing_since.get_or_insert(now);
        if now.since(since) < CONFIRM {
            self.looks.look_at(since.checked_add(CONFIRM));
        } else {
            self.tell(Told::Removed, ConfigChange::Removed);
        }
    }

    fn tell(&mut self, told: Told, change: ConfigChange<C>) {
        self.told = told;
        self.out.push(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        daemon::specs::looks::What,
        host::specfile::{DirId, Inode, Stamp},
    };

    const LONG: Option<Duration> = Some(Duration::from_secs(60));

    fn file(text: &str) -> Sight {
        file_of(text, 0o100_644, 0)
    }

    fn file_of(text: &str, mode: u32, uid: u32) -> Sight {
        let size = text.len() as u64;
        let id = DirId { dev: 1, ino: 1, born: None };
        let own = Inode { id, size, modified: (0, 0), changed: (0, 0), mode, uid, links: 1 };
        Sight::Present { stamp: Some(Stamp { own, target: None }), bytes: Ok(text.into()), torn: false }
    }

    struct Rig {
        config: ConfigFile<String>,
        now: Moment,
    }

    impl Rig {
        fn new() -> Self {
            let parse = |bytes: &[u8], path: &Path| {
                let text = std::str::from_utf8(bytes).unwrap();
                let whole = || Diagnostics::whole(path.display().to_string(), text);
                text.strip_prefix("ok ").map(ToOwned::to_owned).ok_or_else(whole)
            };
            let rules = Rules { system: true, uid: 0 };
            let config = ConfigFile::new("/atm.yaml".into(), rules, Box::new(parse));
            Self { config, now: Moment::from_nanos(1_000_000_000) }
        }

        /// Makes every look that falls due within these milliseconds, and says what was told.
        fn run(&mut self, milliseconds: u64, sight: &Sight, quiet: Option<Duration>) -> Vec<String> {
            let end = self.now.checked_add(Duration::from_millis(milliseconds)).unwrap();
            while let Some(at) = self.config.due().filter(|at| *at <= end) {
                self.now = self.now.max(at);
                self.config.begin(self.now);
                self.config.read(sight.clone(), quiet, self.now);
            }
            self.now = end;
            self.config
                .take_changes()
                .iter()
                .map(|change| match change {
                    ConfigChange::Absent => "absent".to_owned(),
                    ConfigChange::Good(config) => format!("good {config}"),
                    ConfigChange::Bad(error) => format!("bad {}", error.0[0].message),
                    ConfigChange::Cleared => "cleared".to_owned(),
                    ConfigChange::Removed => "removed".to_owned(),
                })
                .collect()
        }

        fn hint(&mut self, what: What) {
            self.config.hint(what.into(), self.now);
        }
    }

    #[test]
    fn the_first_look_tells_at_once_what_rests() {
        for (sight, told) in [(file("ok A"), "good A"), (file("no"), "bad no"), (Sight::Missing, "absent")] {
            assert_eq!(Rig::new().run(0, &sight, LONG), [told]);
        }
    }

    #[test]
    fn a_file_that_is_being_written_at_the_start_is_looked_at_twice() {
        let mut rig = Rig::new();
        assert!(rig.run(50, &file("ok H"), Some(Duration::ZERO)).is_empty());
        assert!(rig.run(60, &file("ok Half"), Some(Duration::ZERO)).is_empty());
        assert_eq!(rig.run(110, &file("ok Half"), Some(Duration::ZERO)), ["good Half"]);
    }

    #[test]
    fn what_is_in_force_stays_through_errors_and_absence_and_equal_meaning_is_nothing() {
        let mut rig = Rig::new();
        rig.run(0, &file("ok A"), LONG);
        for (sight, what, told) in [
            (file("ok A"), What::Closed, vec![]),
            (file("no"), What::Placed, vec!["bad no"]),
            (file("no"), What::Closed, vec![]),
            (file("no!"), What::Closed, vec!["bad no!"]),
            (file("ok A"), What::Placed, vec!["cleared"]),
            (Sight::Missing, What::Gone, vec!["removed"]),
            (Sight::Missing, What::Attributes, vec![]),
            (file("no"), What::Placed, vec!["bad no"]),
            (file("ok A"), What::Placed, vec!["cleared"]),
            (file("ok B"), What::Placed, vec!["good B"]),
        ] {
            rig.hint(what);
            assert_eq!(rig.run(1000, &sight, LONG), told, "{what:?}");
        }
    }

    /// In system mode: the `env` of the config is that of root's sessions too.
    #[test]
    fn a_config_that_others_could_have_written_is_not_believed_until_it_is_mended() {
        let mut rig = Rig::new();
        rig.run(0, &file("ok A"), LONG);
        for (mode, uid, says) in [
            (0o100_664, 0, "others than its owner may write it"),
            (0o100_646, 0, "`chmod go-w` it"),
            (0o100_644, 1000, "it is user 1000's"),
        ] {
            rig.hint(What::Placed);
            let told = rig.run(1000, &file_of("ok B", mode, uid), LONG);
            assert!(told.len() == 1 && told[0].starts_with("bad ") && told[0].contains(says), "{told:?}");
        }
        rig.hint(What::Attributes);
        assert_eq!(rig.run(1000, &file("ok B"), LONG), ["good B"]);
        // A user's own is the user's to open to others.
        let mut rig = Rig::new();
        rig.config.rules = Rules { system: false, uid: 1000 };
        assert_eq!(rig.run(0, &file_of("ok A", 0o100_666, 1000), LONG), ["good A"]);
    }

    #[test]
    fn a_file_that_is_replaced_by_removal_was_never_gone() {
        let mut rig = Rig::new();
        rig.run(0, &file("ok A"), LONG);
        rig.hint(What::Gone);
        assert!(rig.run(200, &Sight::Missing, None).is_empty());
        rig.hint(What::Placed);
        assert_eq!(rig.run(1000, &file("ok B"), LONG), ["good B"]);
    }

    #[test]
    fn a_file_that_appears_beside_the_defaults_counts() {
        let mut rig = Rig::new();
        assert_eq!(rig.run(1000, &Sight::Missing, None), ["absent"]);
        assert!(rig.config.due().is_none(), "nothing is polled");
        rig.hint(What::Closed);
        assert_eq!(rig.run(0, &file("ok A"), LONG), ["good A"]);
    }
}
