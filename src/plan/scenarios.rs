//! `tests/scenarios/*.txt`: stories about budgets in the simulated world, with their transcripts.
//!
//! A line is a command, a comment (`#`) or, indented, a line of the transcript. Each command lets the daemon settle;
//! the transcript then tells what people would see change: the time since the start, the session, its phase with the
//! reason, and the sentence. Run the test with `ATM_BLESS=1` to write the transcripts anew, and read the difference.
//!
//! | command | means |
//! |---|---|
//! | `config {…}` | the config file, as YAML in one line |
//! | `spec NAME {…}` | the spec file; `command: [work]` where none is written |
//! | `remove NAME` · `suspend` · `resume` · `stop` · `kill` · `start` · `restart NAME` · `cleanup` | what people do; the last is `atm cleanup --emergency` |
//! | `says NAME busy\|waiting\|idle` | what its agent reports |
//! | `prints` · `computes` · `rests NAME` | it prints, or uses a whole core, until it rests |
//! | `forks` · `types NAME` | it starts a child; a person types |
//! | `attach` · `detach` · `freeze` · `thaw NAME` | a client; SIGSTOP and SIGCONT |
//! | `uses NAME SIZE [shared]` | memory of its tree; `shared`: known only as the sum of resident sets |
//! | `processes NAME COUNT` | in its tree |
//! | `stubborn NAME` · `gone NAME` | it ends only when it is said to be gone |
//! | `exits NAME CODE` | by itself |
//! | `loses` · `silent NAME` | its keeper dies, or does not answer |
//! | `registers NAME [IDENTITY]` · `touches` · `leaves NAME` | a person's own agent, outside atm |
//! | `shutdown` · `boot` | the daemon ends its sessions; it is there again |
//! | `pass TIME` | time, with looks at each session |
//! | `unwatched TIME` | time in which the daemon is stopped or down |
//! | `show` | all sessions |
//! | `plan` | what `atm plan` says |

use std::{collections::BTreeMap, fmt::Write as _, path::Path, time::Duration};

use super::{
    Observed, RunRequest, Session, Will, eviction,
    session::step,
    status::{self, derive},
    testing::{NOW, PERSON},
    world::World,
};
use crate::api::{
    config::{Config, Machine},
    name::SessionName,
    quantity::{Dur, Size},
    record::Exit,
    spec::WrittenSpec,
    status::{Activity, Phase},
    time::Moment,
};

const MACHINE: Machine = Machine { memory: 16 << 30 };

struct Story {
    world: World,
    shown: BTreeMap<SessionName, String>,
    told: String,
}

impl Story {
    fn new() -> Self {
        let mut world = World::new(0);
        world.configure(Config::defaults(MACHINE));
        Self { world, shown: BTreeMap::new(), told: String::new() }
    }

    /// What people see of one session, in a line.
    fn line(world: &World, name: &SessionName, session: &Session) -> String {
        let (phase, reason, message) = derive(session, world.verdicts.get(name), world.now);
        let state = if phase == Phase::Running { phase.to_string() } else { format!("{phase}/{reason}") };
        if message.is_empty() { state } else { format!("{state}: {message}") }
    }

    /// Tells what changed since it was told last.
    fn tell(shown: &mut BTreeMap<SessionName, String>, told: &mut String, world: &World) {
        let at = clock(world.now);
        for (name, session) in &world.sessions {
            // That it is about to start, and that it is starting, is of no interest here.
            let line = Self::line(world, name, session);
            if line.starts_with("Pending/Starting") || shown.get(name) == Some(&line) {
                continue;
            }
            let _ = writeln!(told, "    {at}  {name}  {line}");
            shown.insert(name.clone(), line);
        }
        let gone: Vec<_> = shown.keys().filter(|name| !world.sessions.contains_key(*name)).cloned().collect();
        for name in gone {
            let _ = writeln!(told, "    {at}  {name}  forgotten");
            shown.remove(&name);
        }
    }

    fn settle(&mut self) {
        let Self { world, shown, told } = self;
        world.look(Duration::ZERO);
        world.settle_seeing(|world| Self::tell(shown, told, world));
        Self::tell(shown, told, world);
    }

    fn pass(&mut self, time: Duration) {
        // Long times in longer steps: what changes has its date, or comes at a step.
        let step = Duration::from_secs(1).max(time / 600);
        let Self { world, shown, told } = self;
        world.watch(time, step, |world| Self::tell(shown, told, world));
    }

    fn command(&mut self, line: &str) {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (who, what) = rest.split_once(' ').unwrap_or((rest, ""));
        let world = &mut self.world;
        let (now, mib) = (world.now, |text: &str| text.parse::<Size>().unwrap().0);
        match verb {
            "config" => world.configure(Config::parse(rest, Path::new("atm.yaml"), MACHINE).unwrap()),
            "spec" => {
                let text = if what.contains("command") { what.to_owned() } else { given_command(what) };
                world.declare(who, &WrittenSpec::parse(&text, Path::new("spec.yaml")).unwrap());
            }
            "remove" => world.remove(who),
            "stop" => world.will(who, Will::Stopped { by: PERSON, now: false }),
            "kill" => world.will(who, Will::Stopped { by: PERSON, now: true }),
            "suspend" => world.will(who, Will::Suspended { by: PERSON }),
            "resume" => world.will(who, Will::AsDeclared),
            "start" => world.start(who),
            "restart" => world.restart(who),
            "cleanup" => request_cleanup(world),
            "says" => world.doing(who, activity(what)),
            "prints" => world.body(who).prints = true,
            "computes" => world.body(who).computes = true,
            "rests" => (world.body(who).prints, world.body(who).computes) = (false, false),
            "forks" => world.body(who).look.births.youngest += 1,
            "types" => world.body(who).look.input = Some(now),
            "attach" => world.body(who).look.attached += 1,
            "detach" => world.body(who).look.attached -= 1,
            "freeze" => world.body(who).look.stopped = true,
            "thaw" => world.body(who).look.stopped = false,
            "uses" => {
                let (size, shared) = what.split_once(' ').unwrap_or((what, ""));
                let memory = &mut world.body(who).look.memory;
                (memory.bytes, memory.exact) = (mib(size), shared.is_empty());
            }
            "processes" => world.body(who).look.processes = what.parse().unwrap(),
            "stubborn" => world.body(who).stubborn = true,
            "gone" => world.ends(who, Exit::Signal(9)),
            "silent" => world.silence(who),
            "loses" => world.loses_keeper(who),
            "registers" => world.register(who, Some(what).filter(|identity| !identity.is_empty())),
            "touches" => world.hear(who),
            "leaves" => world.leave(who),
            "shutdown" => world.shut_down(),
            "boot" => world.mode = super::fleet::Mode::Converge,
            "exits" => world.ends(who, Exit::Code(what.parse().unwrap())),
            "pass" => return self.pass(time(rest)),
            "unwatched" => world.unwatched(time(rest)),
            "show" => return self.show(),
            "plan" => return self.plan(),
            _ => panic!("no such command: {line}"),
        }
        self.settle();
    }

    fn show(&mut self) {
        for (name, session) in &self.world.sessions {
            let _ = writeln!(self.told, "    {name}  {}", Self::line(&self.world, name, session));
        }
    }

    fn plan(&mut self) {
        let world = &self.world;
        for (name, session) in &world.sessions {
            let Some(verdict) = world.verdicts.get(name) else { continue };
            let step = step(session, verdict, world.now);
            let (action, why, next) = status::explain(session, verdict, &step, &world.config, world.now);
            let next = next.map(|at| format!(" [{}]", clock(at))).unwrap_or_default();
            let _ = writeln!(self.told, "    {name}  {action}: {why}{next}");
        }
    }
}

fn given_command(text: &str) -> String {
    match text.strip_prefix('{').map(str::trim_start) {
        None => "{command: [work]}".to_owned(),
        Some(rest) => format!("{{command: [work], {rest}"),
    }
}

fn request_cleanup(world: &mut World) {
    let (config, now) = (world.config.clone(), world.now);
    for session in world.sessions.values_mut() {
        let super::Desired::Spec(wanted) = &session.desired else { continue };
        let Observed::Running(run) = &session.observed else { continue };
        if eviction::emergency(&wanted.spec, run, &config.emergency, now).is_some() {
            session.history.cleanup_requested = Some(RunRequest { run_id: run.run_id, by: PERSON });
        }
    }
}

fn activity(text: &str) -> Activity {
    match text {
        "busy" => Activity::Busy,
        "waiting" => Activity::Waiting,
        "idle" => Activity::Idle,
        _ => panic!("no such activity: {text}"),
    }
}

fn time(text: &str) -> Duration {
    text.parse::<Dur>().unwrap().0
}

fn clock(at: Moment) -> String {
    format!("+{}", Dur(Duration::from_millis((at.since(NOW)).as_millis().try_into().unwrap())))
}

/// The story with the transcript that its commands give now.
fn play(text: &str) -> String {
    let mut story = Story::new();
    for line in text.lines().filter(|line| !line.starts_with("    ")) {
        story.told.push_str(line);
        story.told.push('\n');
        if !line.is_empty() && !line.starts_with('#') {
            story.command(line);
        }
    }
    story.told
}

#[test]
fn every_scenario_goes_as_its_transcript_says() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let bless = std::env::var_os("ATM_BLESS").is_some();
    let mut files: Vec<_> =
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 25, "there are more scenarios than that");
    let mut wrong = String::new();
    for path in files {
        let before = std::fs::read_to_string(&path).unwrap();
        let after = play(&before);
        if bless {
            std::fs::write(&path, &after).unwrap();
        } else if before != after {
            let _ = writeln!(wrong, "{}:", path.display());
            for pair in before.lines().zip(after.lines()).filter(|(before, after)| before != after).take(3) {
                let _ = writeln!(wrong, "  told  {}\n  now   {}", pair.0, pair.1);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
