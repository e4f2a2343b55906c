//! The daemon in numbers: what it counts by itself, and the text that Prometheus reads.
//!
//! What the store knows is read when somebody asks; only what would be lost otherwise is counted here. No number has
//! the name of a session or of a user: who may read them is not asked.

use std::{cell::Cell, net::SocketAddr, rc::Rc, time::Duration};

use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder, core::Collector,
};

use super::{
    core::{Daemon, Key},
    keepers::Keepers,
    server::places::Places,
    store::World,
    view,
};
use crate::{
    api::{
        control::{ClientsNow, Usage},
        event::EventKind,
        quantity::{Limit, Size},
        spec::Agent,
        status::{Activity, Phase},
    },
    controller::Heartbeat,
    host::own,
    plan::Desired,
};

/// How often the daemon looks at its own memory.
const MEMORY_CHECK: Duration = Duration::from_secs(60);

/// Seconds. A decision takes microseconds, a start milliseconds, a keeper that hangs its deadline.
const BUCKETS: &[f64] = &[0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// The type of what [`Daemon::metrics_text`] makes.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// What the daemon counts by itself.
#[derive(Debug)]
pub struct Metrics {
    fleet: Histogram,
    session: Histogram,
    durations: HistogramVec,
    heartbeat: Heartbeat,
    places: Places,
    watchers: Rc<Cell<u32>>,
    refused: Cell<u64>,
    dropped: Cell<u64>,
    /// Where `/healthz` and `/metrics` are served.
    pub http: Cell<Option<SocketAddr>>,
    memory_warned: Cell<Option<Size>>,
}

/// One of those that are counted. It is taken off when dropped, so also by a task that panics: a count that only
/// goes up would close the socket for good in the end.
#[derive(Debug)]
pub struct Counted(Rc<Cell<u32>>);

impl Counted {
    /// One more.
    pub fn new(count: &Rc<Cell<u32>>) -> Self {
        count.set(count.get().saturating_add(1));
        Self(Rc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl Metrics {
    /// Nothing happened yet. Connections take their places in `places`.
    pub fn new(heartbeat: Heartbeat, places: Places) -> Result<Self, prometheus::Error> {
        let options = HistogramOpts::new(
            "atm_reconcile_duration_seconds",
            "Time that one reconcile took, by what was reconciled: all sessions together, or one.",
        );
        let durations = HistogramVec::new(options.buckets(BUCKETS.to_vec()), &["key"])?;
        Ok(Self {
            fleet: durations.get_metric_with_label_values(&["fleet"])?,
            session: durations.get_metric_with_label_values(&["session"])?,
            durations,
            heartbeat,
            places,
            watchers: Rc::default(),
            refused: Cell::new(0),
            dropped: Cell::new(0),
            http: Cell::new(None),
            memory_warned: Cell::new(None),
        })
    }

    /// The loop's stamp.
    pub fn heartbeat(&self) -> &Heartbeat {
        &self.heartbeat
    }

    /// Where connections take their places.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// A reconcile of `key` took so long.
    pub fn reconciled(&self, key: &Key, took: Duration) {
        let durations = match key {
            Key::Fleet => &self.fleet,
            Key::Session(_) => &self.session,
        };
        durations.observe(took.as_secs_f64());
    }

    /// Connections that watch.
    pub fn watchers(&self) -> u32 {
        self.watchers.get()
    }

    /// One more connection watches, until what is given is dropped.
    pub fn watch(&self) -> Counted {
        Counted::new(&self.watchers)
    }

    /// A client was told to try again later.
    pub fn refused(&self) {
        self.refused.set(self.refused.get().saturating_add(1));
    }

    /// So many changes or events were not told to a slow watcher.
    pub fn dropped(&self, count: u64) {
        self.dropped.set(self.dropped.get().saturating_add(count));
    }

    /// Who is connected.
    pub fn clients(&self, max_watchers: u32) -> ClientsNow {
        ClientsNow {
            watchers: self.watchers(),
            max_watchers,
            connections: u32::try_from(self.places.taken()).unwrap_or(u32::MAX),
            refused: self.refused.get(),
            dropped: self.dropped.get(),
        }
    }

    /// What the daemon itself uses, as far as the kernel tells.
    pub fn usage(&self) -> Usage {
        Usage {
            memory_bytes: own::memory().unwrap_or(0),
            cpu_millis: own::cpu().map_or(0, |cpu| u64::try_from(cpu.as_millis()).unwrap_or(u64::MAX)),
            descriptors: own::descriptors().unwrap_or(0),
            queue_length: u32::try_from(self.heartbeat.keys()).unwrap_or(u32::MAX),
        }
    }
}

impl<K: Keepers> Daemon<K> {
    /// Everything in Prometheus' text format.
    pub fn metrics_text(&self) -> Result<String, prometheus::Error> {
        let page = Page(Registry::new());
        {
            let world = self.store.look();
            page.sessions(&world)?;
            page.counters(&world)?;
            page.health(&world)?;
        }
        page.daemon(self)?;
        page.add(self.metrics.durations.clone())?;
        let mut bytes = Vec::new();
        TextEncoder::new().encode(&page.0.gather(), &mut bytes)?;
        String::from_utf8(bytes).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }
}

/// A page of numbers in the making.
struct Page(Registry);

/// Memory and counts of this program stay far below 2^53: as numbers of a page they are exact.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Page {
    fn add(&self, collector: impl Collector + 'static) -> Result<(), prometheus::Error> {
        self.0.register(Box::new(collector))
    }

    fn gauge(&self, name: &str, help: &str, value: u64) -> Result<(), prometheus::Error> {
        let gauge = IntGauge::new(name, help)?;
        gauge.set(signed(value));
        self.add(gauge)
    }

    fn counter(&self, name: &str, help: &str, value: u64) -> Result<(), prometheus::Error> {
        let counter = IntCounter::new(name, help)?;
        counter.inc_by(value);
        self.add(counter)
    }

    fn sessions(&self, world: &World) -> Result<(), prometheus::Error> {
        let phases = Opts::new("atm_sessions", "Sessions by agent and phase.");
        let phases = IntGaugeVec::new(phases, &["agent", "phase"])?;
        let doing =
            Opts::new("atm_running_sessions", "Running sessions by agent and by what they are doing.");
        let doing = IntGaugeVec::new(doing, &["agent", "activity"])?;
        for agent in [Agent::Claude, Agent::Codex, Agent::Generic].map(agent_word) {
            for phase in Phase::ALL {
                phases.get_metric_with_label_values(&[agent, &phase.to_string()])?;
            }
            for activity in [Activity::Busy, Activity::Waiting, Activity::Idle, Activity::Unknown] {
                doing.get_metric_with_label_values(&[agent, activity_word(activity)])?;
            }
        }
        for entry in world.sessions.values() {
            let agent = match (&entry.plan.desired, &entry.memory.registered) {
                (Desired::Spec(wanted), _) => agent_word(wanted.spec.agent),
                (Desired::Registered(_), Some(told)) => agent_word(told.agent),
                (Desired::Registered(_), None)
                | (Desired::Gone | Desired::NeverGood | Desired::Unseen, _) => "unknown",
            };
            phases.get_metric_with_label_values(&[agent, &entry.shown.phase.to_string()])?.inc();
            if let Some(activity) = entry.shown.activity {
                doing.get_metric_with_label_values(&[agent, activity_word(activity)])?.inc();
            }
        }
        self.add(phases)?;
        self.add(doing)?;
        let help = "Sessions that people started outside atm, running or ending.";
        self.gauge("atm_registered_sessions", help, world.counts.registered.into())?;
        self.gauge(
            "atm_sessions_limit",
            "Most live sessions: maxSessions.",
            world.config.max_sessions.into(),
        )?;
        self.gauge("atm_sessions_memory_bytes", "Memory of all sessions at their last looks.", world.memory)?;
        if let Limit::At(Size(limit)) = world.config.max_memory {
            let help = "Budget of the memory of all sessions: maxMemory.";
            self.gauge("atm_sessions_memory_limit_bytes", help, limit)?;
        }
        let help = "Spec files that are wrong.";
        self.gauge("atm_invalid_specs", help, world.invalid_specs.into())
    }

    fn counters(&self, world: &World) -> Result<(), prometheus::Error> {
        let counters = &world.counters;
        let ends = Opts::new(
            "atm_ends_total",
            "Runs that were over, by the cause of their stop; Exited: by themselves.",
        );
        let ends = IntCounterVec::new(ends, &["cause"])?;
        for (cause, count) in &counters.ended {
            ends.get_metric_with_label_values(&[cause])?.inc_by(*count);
        }
        self.add(ends)?;
        self.counter("atm_starts_total", "Runs that came to a process.", counters.started)?;
        let help = "Ends by themselves that were answered with another start.";
        self.counter("atm_restarts_total", help, counters.restarts)?;
        self.counter("atm_evictions_total", "Runs that a budget ended.", counters.evictions)?;
        let help = "Times that a budget or a person had sessions ended.";
        self.counter("atm_cleanup_runs_total", help, counters.cleanup_runs)?;
        let help = "Evictions that could not be asked for at once; each is tried again.";
        self.counter("atm_cleanup_errors_total", help, counters.cleanup_errors)
    }

    fn health(&self, world: &World) -> Result<(), prometheus::Error> {
        let help = "1 while the daemon can do all that it is for.";
        self.gauge("atm_healthy", help, view::troubles(world).is_empty().into())?;
        let help = "1 while the config file is wrong and the last good one is in force.";
        self.gauge("atm_config_invalid", help, world.config_error.is_some().into())?;
        let help = "Things that a person should know: see atm status.";
        self.gauge("atm_warnings", help, world.warnings.len() as u64)
    }

    fn daemon<K: Keepers>(&self, daemon: &Daemon<K>) -> Result<(), prometheus::Error> {
        let info = Opts::new("atm_build_info", "Always 1; its label is the version of the program.");
        let info = IntGaugeVec::new(info, &["version"])?;
        info.get_metric_with_label_values(&[env!("CARGO_PKG_VERSION")])?.set(1);
        self.add(info)?;
        let max_watchers = daemon.store.look().config.clients.max;
        let ClientsNow { watchers, max_watchers, connections, refused, dropped } =
            daemon.metrics.clients(max_watchers);
        self.gauge("atm_watchers", "Connections that watch.", watchers.into())?;
        self.gauge("atm_watchers_limit", "Most connections that watch: clients.max.", max_watchers.into())?;
        let help = "Connections to the control socket that do not watch.";
        self.gauge("atm_connections", help, connections.into())?;
        let help = "Clients that were told to try again later.";
        self.counter("atm_refused_clients_total", help, refused)?;
        let help = "Changes and events that slow watchers were not told one by one.";
        self.counter("atm_dropped_messages_total", help, dropped)?;
        let usage = daemon.metrics.usage();
        let help = "Keys that wait for their time or are being reconciled.";
        self.gauge("atm_queue_length", help, usage.queue_length.into())?;
        // As the client libraries of Prometheus name them in every language.
        let help = "Resident memory of the daemon in bytes.";
        self.gauge("process_resident_memory_bytes", help, usage.memory_bytes)?;
        self.gauge("process_open_fds", "Open descriptors of the daemon.", usage.descriptors.into())?;
        let help = "Time of a processor that the daemon used in seconds.";
        let cpu = prometheus::Counter::new("process_cpu_seconds_total", help)?;
        cpu.inc_by(Duration::from_millis(usage.cpu_millis).as_secs_f64());
        self.add(cpu)?;
        let help = "When the daemon was started, in seconds since 1970.";
        let started = Gauge::new("process_start_time_seconds", help)?;
        started.set(daemon.clock.started_at().as_duration().as_secs_f64());
        self.add(started)
    }
}

fn agent_word(agent: Agent) -> &'static str {
    match agent {
        Agent::Claude => "claude",
        Agent::Codex => "codex",
        Agent::Generic => "generic",
    }
}

fn activity_word(activity: Activity) -> &'static str {
    match activity {
        Activity::Busy => "Busy",
        Activity::Waiting => "Waiting",
        Activity::Idle => "Idle",
        Activity::Unknown => "Unknown",
    }
}

/// Warns while the daemon itself uses more memory than is normal.
pub async fn watch_memory<K: Keepers>(daemon: Rc<Daemon<K>>) {
    let reader = daemon.store.reader();
    loop {
        let limit = daemon.store.look().config.daemon_memory_warning;
        if let Ok(memory) = own::memory() {
            daemon.judge_memory(Size(memory), limit);
        }
        // Another limit holds at once.
        let changed = reader.wait_until(|world| world.config.daemon_memory_warning != limit);
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep(MEMORY_CHECK) => {}
        }
    }
}

impl<K: Keepers> Daemon<K> {
    fn judge_memory(&self, memory: Size, limit: Size) {
        let warned = self.metrics.memory_warned.get();
        // Told once, and again only after it was well below: memory goes up and down a little all the time.
        if memory.0 > limit.0 {
            let message =
                format!("the daemon itself uses {memory}, above its daemonMemoryWarning of {limit}");
            self.store.edit_world(|world| world.warnings.insert("memory", message.clone()));
            if warned != Some(limit) {
                self.metrics.memory_warned.set(Some(limit));
                self.tell_all(EventKind::DaemonMemory, message);
            }
        } else if warned.is_some() && (warned != Some(limit) || memory.0 < limit.0 / 10 * 9) {
            self.metrics.memory_warned.set(None);
            self.mended("memory");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_counted_is_counted_no_more_when_its_task_panics() {
        let places = Places::new(crate::daemon::server::ROOM);
        let metrics = Metrics::new(Heartbeat::new(), places).unwrap();
        let counted = metrics.watch();
        assert_eq!(metrics.watchers(), 1);
        let local = tokio::task::LocalSet::new();
        let task = local.spawn_local(async move {
            let _counted = counted;
            panic!("as a bug would");
        });
        assert!(local.run_until(task).await.unwrap_err().is_panic());
        assert_eq!(metrics.watchers(), 0);
    }
}
