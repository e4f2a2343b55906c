//! A directory and a clock that a test owns, around a real ledger.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Toy, name};
use crate::{
    api::{name::SessionName, spec::Digest, time::Moment},
    daemon::specs::{
        Change, Known, Notice, Unavailable,
        judge::Rules,
        ledger::{Ledger, Step},
        listing::{Listed, Listing},
        looks::{Hint, What},
        names::FileKey,
    },
    host::specfile::{DirId, Inode, Obstacle, Sight, Stamp},
};

/// One file of the simulated directory.
#[derive(Debug, Clone)]
pub struct Node {
    pub text: Result<String, Obstacle>,
    pub inode: Inode,
}

/// See the module.
pub struct World {
    pub ledger: Ledger<Toy>,
    pub now: Moment,
    /// What each directory has.
    pub dirs: BTreeMap<u64, BTreeMap<String, Node>>,
    /// What the path leads to: the inode of a directory, nothing, or an error.
    pub path: Result<Option<u64>, String>,
    pub dir_mode: u32,
    /// Whether events arrive.
    pub events: bool,
    /// Who writes.
    pub uid: u32,
    pub told: Vec<String>,
    pub lists: usize,
    pub reads: usize,
    next_inode: u64,
}

pub const RULES: Rules = Rules { system: false, uid: 1000 };
pub const SYSTEM: Rules = Rules { system: true, uid: 0 };

fn directory(ino: u64, mode: u32) -> Inode {
    Inode {
        id: DirId { dev: 1, ino, born: None },
        size: 0,
        modified: (0, 0),
        changed: (0, 0),
        mode: 0o040_000 | mode,
        uid: 0,
        links: 2,
    }
}

pub fn known(file: &str, text: &str, live: bool) -> Known {
    let key = FileKey::parse(file).unwrap();
    let digest = Digest(text.trim_start_matches("ok ").to_owned());
    Known {
        name: key.name,
        file_name: file.to_owned(),
        owner: 1000,
        digest,
        text: text.to_owned(),
        live,
        removed: false,
    }
}

impl World {
    /// A fresh start: an empty directory 1 and no state.
    pub fn new() -> Self {
        Self::with(RULES, None, Vec::new())
    }

    pub fn with(rules: Rules, recorded: Option<u64>, known: Vec<Known>) -> Self {
        let recorded = recorded.map(|ino| DirId { dev: 1, ino, born: None });
        Self {
            ledger: Ledger::new("/specs".into(), rules, recorded, known),
            now: Moment::from_nanos(3_600_000_000_000),
            dirs: [(1, BTreeMap::new())].into(),
            path: Ok(Some(1)),
            dir_mode: 0o755,
            events: true,
            uid: rules.uid,
            told: Vec::new(),
            lists: 0,
            reads: 0,
            next_inode: 100,
        }
    }

    /// A world that started with these files, long ago.
    pub fn started(files: &[(&str, &str)]) -> Self {
        let mut world = Self::new();
        for (file, text) in files {
            world.rename_in(file, text);
        }
        world.run(1000);
        world.told.clear();
        (world.lists, world.reads) = (0, 0);
        world
    }

    fn dir(&mut self) -> &mut BTreeMap<String, Node> {
        let ino = self.path.clone().unwrap().expect("a directory");
        self.dirs.get_mut(&ino).unwrap()
    }

    pub fn hint(&mut self, file: &str, what: What) {
        if self.events
            && let Some(key) = FileKey::parse(file)
        {
            self.ledger.hint(&key, Hint::from(what), self.now);
        }
    }

    fn touch(&mut self, file: &str) {
        let at = self.now.as_nanos();
        let time = (i64::try_from(at / 1_000_000_000).unwrap(), u32::try_from(at % 1_000_000_000).unwrap());
        if let Some(node) = self.dir().get_mut(file) {
            node.inode.modified = time;
            node.inode.changed = time;
            node.inode.size = node.text.as_ref().map_or(0, |text| text.len() as u64);
        }
    }

    /// A file as it is written elsewhere and renamed in.
    pub fn rename_in(&mut self, file: &str, text: &str) {
        self.put(file, text);
        self.hint(file, What::Placed);
    }

    /// The same, without any event.
    pub fn put(&mut self, file: &str, text: &str) {
        self.next_inode += 1;
        let id = DirId { dev: 1, ino: self.next_inode, born: None };
        let inode = Inode {
            id,
            size: 0,
            modified: (0, 0),
            changed: (0, 0),
            mode: 0o100_644,
            uid: self.uid,
            links: 1,
        };
        self.dir().insert(file.to_owned(), Node { text: Ok(text.to_owned()), inode });
        self.touch(file);
    }

    /// Opened for writing and created or truncated.
    pub fn open(&mut self, file: &str) {
        if self.dir().contains_key(file) {
            self.write(file, "");
        } else {
            self.put(file, "");
            self.hint(file, What::Created);
        }
    }

    /// Written to, so that it says `text` now; not closed.
    pub fn write(&mut self, file: &str, text: &str) {
        self.dir().get_mut(file).unwrap().text = Ok(text.to_owned());
        self.touch(file);
        self.hint(file, What::Written);
    }

    pub fn close(&mut self, file: &str) {
        self.hint(file, What::Closed);
    }

    /// Written in place, whole.
    pub fn save(&mut self, file: &str, text: &str) {
        self.open(file);
        self.write(file, text);
        self.close(file);
    }

    pub fn break_file(&mut self, file: &str, obstacle: Obstacle) {
        self.dir().get_mut(file).unwrap().text = Err(obstacle);
        self.touch(file);
        self.hint(file, What::Attributes);
    }

    pub fn chown(&mut self, file: &str, uid: u32) {
        self.touch(file);
        self.dir().get_mut(file).unwrap().inode.uid = uid;
        self.hint(file, What::Attributes);
    }

    pub fn remove(&mut self, file: &str) {
        self.dir().remove(file);
        self.hint(file, What::Gone);
    }

    pub fn rename(&mut self, from: &str, to: &str) {
        let node = self.dir().remove(from).unwrap();
        self.dir().insert(to.to_owned(), node);
        self.touch(to);
        self.hint(from, What::Gone);
        self.hint(to, What::Placed);
    }

    /// The path leads to that directory now; the directory itself was touched.
    pub fn turn(&mut self, path: Result<Option<u64>, &str>) {
        self.path = path.map_err(ToOwned::to_owned);
        if let Ok(Some(ino)) = self.path {
            self.dirs.entry(ino).or_default();
        }
        if self.events {
            self.ledger.relist(self.now);
        }
    }

    pub fn live(&mut self, session: &str, live: bool) {
        self.ledger.set_live(&name(session), live, self.now);
    }

    /// Lets the ledger have its way for some milliseconds.
    pub fn run(&mut self, milliseconds: u64) {
        let end = self.now.checked_add(Duration::from_millis(milliseconds)).unwrap();
        let mut steps = 0;
        loop {
            steps += 1;
            assert!(steps < 100_000, "the ledger never rests");
            let step = self.ledger.next(self.now);
            self.hear();
            match step {
                Step::List => self.list(),
                Step::Read { key, directory, .. } => self.read(&key, directory),
                Step::Wait(until) => {
                    let next = until.filter(|until| *until < end);
                    assert!(next.is_none_or(|next| next > self.now), "a wait that is over");
                    self.now = next.unwrap_or(end);
                    if next.is_none() {
                        break;
                    }
                }
            }
            self.hear();
        }
    }

    fn list(&mut self) {
        self.lists += 1;
        let listing = match &self.path {
            Err(why) => Listing::Unreadable(why.clone()),
            Ok(None) => Listing::Missing,
            Ok(Some(ino)) => {
                let files = self.dirs[ino]
                    .iter()
                    .filter_map(|(file, node)| {
                        let stamp = Stamp { own: node.inode, target: None };
                        let changed = Moment::from_nanos(
                            u64::try_from(node.inode.changed.0).unwrap() * 1_000_000_000
                                + u64::from(node.inode.changed.1),
                        );
                        Some(Listed {
                            key: FileKey::parse(file)?,
                            stamp: Some(stamp),
                            quiet: Some(self.now.since(changed)),
                        })
                    })
                    .collect();
                Listing::Here { directory: directory(*ino, self.dir_mode), files, odd: Vec::new() }
            }
        };
        self.ledger.listed(listing, self.now);
    }

    fn read(&mut self, key: &FileKey, expected: DirId) {
        self.reads += 1;
        let Ok(Some(ino)) = self.path else {
            return self.ledger.elsewhere(key, self.now);
        };
        if ino != expected.ino {
            return self.ledger.elsewhere(key, self.now);
        }
        let sight = match self.dirs[&ino].get(&key.to_string()) {
            None => Sight::Missing,
            Some(node) => Sight::Present {
                stamp: Some(Stamp { own: node.inode, target: None }),
                bytes: node.text.clone().map(String::into_bytes),
                torn: false,
            },
        };
        self.ledger.read(key, sight, self.now);
    }

    /// Writes down what the ledger tells, one line a change.
    pub fn hear(&mut self) {
        for change in self.ledger.take_changes() {
            self.told.push(line(&change));
        }
    }

    /// What was told since the last call.
    pub fn heard(&mut self) -> Vec<String> {
        self.hear();
        std::mem::take(&mut self.told)
    }

    /// The names that were told good and not removed, with their meanings.
    pub fn in_force(told: &[String]) -> BTreeMap<String, String> {
        let mut force = BTreeMap::new();
        for line in told {
            Self::add_to_force(&mut force, line);
        }
        force
    }

    /// What one more line does to the names in force.
    pub fn add_to_force(force: &mut BTreeMap<String, String>, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["good" | "remembered", name, meaning, ..] => {
                force.insert(name.to_owned(), meaning.to_owned());
            }
            ["removed", name] => {
                force.remove(name);
            }
            _ => {}
        }
    }

    /// The names with an error in force.
    pub fn errors(told: &[String]) -> BTreeSet<String> {
        let mut errors = BTreeSet::new();
        for line in told {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["bad", name, ..] => {
                    errors.insert(name.to_owned());
                }
                ["cleared" | "removed", name, ..] => {
                    errors.remove(name);
                }
                _ => {}
            }
        }
        errors
    }
}

/// One change in a few words.
pub fn line(change: &Change<Toy>) -> String {
    match change {
        Change::FirstListing => "first".to_owned(),
        Change::Good { name, spec, file, remembered, .. } => {
            let word = if *remembered { "remembered" } else { "good" };
            format!("{word} {name} {} {}", spec.0, file.file_name().unwrap().to_str().unwrap())
        }
        Change::Rebound { name, file } => {
            format!("rebound {name} {}", file.file_name().unwrap().to_str().unwrap())
        }
        Change::Bad { name, error, .. } => {
            let words: Vec<&str> = error
                .0
                .iter()
                .map(|one| {
                    if one.message.contains("already defined") {
                        "conflict"
                    } else if one.message.contains("another user") {
                        "waits"
                    } else {
                        "invalid"
                    }
                })
                .collect();
            format!("bad {name} {}", words.join("+"))
        }
        Change::Cleared { name } => format!("cleared {name}"),
        Change::Removed { name } => format!("removed {name}"),
        Change::Unavailable(Unavailable::Missing) => "unavailable missing".to_owned(),
        Change::Unavailable(Unavailable::Unreadable(_)) => "unavailable unreadable".to_owned(),
        Change::Unavailable(Unavailable::Refused(_)) => "unavailable refused".to_owned(),
        Change::Unavailable(Unavailable::Other { absent }) => {
            let absent: Vec<&str> = absent.iter().map(SessionName::as_str).collect();
            format!("unavailable other {}", absent.join(","))
        }
        Change::Available { identity } => format!("available {}", identity.ino),
        Change::Notice(Notice::Braked { missing, live }) => format!("braked {missing}/{live}"),
        Change::Notice(Notice::Released) => "released".to_owned(),
        Change::Notice(Notice::OddName(text)) => format!("odd {text}"),
        Change::Notice(Notice::Blind(_)) => "blind".to_owned(),
        Change::Notice(Notice::Sighted) => "sighted".to_owned(),
        Change::Notice(Notice::Forgotten { name }) => format!("forgotten {name}"),
    }
}
