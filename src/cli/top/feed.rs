//! What the view is told: changes as they happen, and each delay what no change tells.
//!
//! It has a thread of its own, so that a daemon that is slow, or not there, never keeps a person from leaving.

use std::{
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

use serde_json::json;

use crate::{
    api::{
        control::{ErrorKind, HealthResult},
        name::SessionName,
        status::SessionView,
    },
    cli::{
        client::{Client, ClientError, after},
        context::get,
        error::CliError,
        watch::{Change, Watch, WhenFull},
    },
    host::{
        clock,
        poll::{self, Got},
    },
};

/// For one answer: a daemon that takes longer is told as silent, and asked again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two attempts to follow a daemon that does not let us.
const AGAIN: Duration = Duration::from_secs(1);

/// The daemon closes a connection that has said nothing for a minute.
pub const LONGEST: Duration = Duration::from_secs(30);

/// What the view is told.
#[derive(Debug)]
pub enum News {
    /// One session.
    Changed(Change),
    /// All of them.
    All(Vec<SessionView>),
    /// How the daemon is: once each delay.
    Health(Box<HealthResult>),
    /// What was told is not up to date, and why. The next word on the daemon's health takes it back.
    Trouble(String),
    /// There is nobody to ask any more.
    Over(CliError),
}

/// The view's end of it.
#[derive(Debug)]
pub struct Feed {
    news: Receiver<News>,
    bell: UnixStream,
    shown: Sender<Vec<SessionName>>,
}

/// The thread's end of it.
#[derive(Debug)]
struct Asking {
    client: Client,
    /// `None`: the daemon has no place for one more watcher, and is asked for all each delay.
    watch: Option<Watch>,
    names: Vec<SessionName>,
    delay: Duration,
    news: Sender<News>,
    bell: UnixStream,
    shown: Receiver<Vec<SessionName>>,
    on_screen: Vec<SessionName>,
}

impl Feed {
    /// Follows `names`, or all where none is given, by way of `client`. What they are now is the first news.
    pub fn start(client: Client, names: &[SessionName], delay: Duration) -> Result<Self, CliError> {
        let (tell, news) = channel();
        let (show, shown) = channel();
        let failed = |error: io::Error| CliError::io("cannot follow the sessions", &error);
        let (bell, ringing) = UnixStream::pair().map_err(failed)?;
        for end in [&bell, &ringing] {
            end.set_nonblocking(true).map_err(failed)?;
        }
        let mut asking = Asking {
            client,
            watch: None,
            names: names.to_vec(),
            delay,
            news: tell,
            bell: ringing,
            shown,
            on_screen: Vec::new(),
        };
        asking.follow()?;
        asking.ask()?;
        thread::Builder::new().name("feed".into()).spawn(move || asking.run()).map_err(failed)?;
        Ok(Self { news, bell, shown: show })
    }

    /// What to wait on for reading.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// What was told since the last time.
    pub fn news(&self) -> Vec<News> {
        // Before the news are taken: a bell that rings from here on is for the next time.
        let mut rung = Vec::with_capacity(1 << 10);
        let last = loop {
            rung.clear();
            match poll::read(&self.bell, &mut rung) {
                Ok(Got::Bytes(_)) => {}
                last => break last,
            }
        };
        let mut news: Vec<News> = self.news.try_iter().collect();
        if news.is_empty() && !matches!(last, Ok(Got::Nothing)) {
            news.push(News::Over(CliError::failed("the sessions cannot be followed any more")));
        }
        news
    }

    /// From now on these are looked at.
    pub fn shows(&self, names: Vec<SessionName>) {
        let _ = self.shown.send(names); // a thread that has ended has said so
    }
}

impl Asking {
    fn run(mut self) {
        // What was followed was lost, and has to be told whole.
        let mut lost = false;
        loop {
            let next = if lost { self.follow() } else { self.hear() };
            let heard = next.and_then(|()| self.ask());
            let heard = match heard {
                Err(ClientError::Closed) => self.rejoin(),
                heard => heard,
            };
            match heard {
                Ok(()) => lost = false,
                Err(ClientError::Closed) => lost = true, // gone again
                // It may be stopped, have no room, or be about to end: what it says next decides.
                Err(error @ (ClientError::Silent { .. } | ClientError::Daemon(_))) => {
                    self.tell(News::Trouble(error.to_string()));
                    lost = true;
                    let _ = poll::wait(&[], Some(AGAIN)); // an interrupted pause is only shorter
                }
                Err(error) => {
                    self.tell(News::Over(error.into()));
                    return;
                }
            }
        }
    }

    fn tell(&mut self, news: News) {
        // A view that has gone takes this process with it; one that was not woken yet has a bell that is full.
        let _ = self.news.send(news);
        let _ = self.bell.write(&[0]);
    }

    /// Passes on changes until it is time to ask.
    fn hear(&mut self) -> Result<(), ClientError> {
        let until = after(self.delay.min(LONGEST));
        loop {
            let Some(watch) = &mut self.watch else {
                let left = until.map(|until| until.since(clock::monotonic()));
                match self.client.notification(left)? {
                    Some(_) => continue,
                    None => return Ok(()),
                }
            };
            match watch.next(until)? {
                Some(change) => self.tell(News::Changed(change)),
                None => return Ok(()),
            }
        }
    }

    /// Asks for what nobody is told: how the daemon is, and the last sign of life of those on the screen. That alone is
    /// no news to a watcher.
    fn ask(&mut self) -> Result<(), ClientError> {
        let health = self.client.call("health", &json!({}))?;
        if self.watch.is_none() {
            let all = get(&mut self.client, &self.names)?;
            self.tell(News::All(all));
        } else {
            if let Some(names) = self.shown.try_iter().last() {
                self.on_screen = names;
            }
            if !self.on_screen.is_empty() {
                for session in get(&mut self.client, &self.on_screen)? {
                    self.tell(News::Changed(Change::Now(Box::new(session))));
                }
            }
        }
        self.tell(News::Health(health));
        Ok(())
    }

    fn follow(&mut self) -> Result<(), ClientError> {
        self.client.be_patient_for(PATIENCE);
        self.watch = None;
        match Watch::open(&self.client, &self.names, WhenFull::Fail) {
            Ok((sessions, watch)) => {
                self.watch = Some(watch);
                self.tell(News::All(sessions));
                Ok(())
            }
            Err(error) if error.kind() == Some(ErrorKind::MaxClientsReached) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Waits for the daemon that comes in the place of the one that has gone.
    fn rejoin(&mut self) -> Result<(), ClientError> {
        let gone = "the daemon closed the connection; waiting for it to come back";
        self.tell(News::Trouble(gone.to_owned()));
        self.client = self.client.reopen()?;
        self.follow()?;
        self.ask()
    }
}
