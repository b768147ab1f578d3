//! The simulated world: hosts, network, sources and sinks in one virtual time, and what is known to be true of them.
//!
//! It is the second host of the code that ships (`agent` is the first): it feeds nodes their inputs and carries out what they say, each with the delay,
//! the loss or the failure that the scenario draws.

mod event;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use logvine_cluster::{
    event::{Event as Told, Why},
    instance::Epoch,
    name::Name,
    record::SourceKey,
};
use logvine_gossip::{GossipConfig, Instant, NodeId, Stamp, marks};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::{
    chance::{Concern, stream},
    conduct::Conduct,
    contests::Contests,
    expectations::Watch,
    faults::Standstill,
    host::{Host, gossip_address},
    invariants::SAFETY,
    knock::Meddler,
    ledger::{Fact, Ledger, Succession},
    network::{Direction, Network},
    operator::{self, Edit, Operator},
    orders::Orders,
    recording::Recorder,
    report::{Report, Violation},
    rings::Rings,
    scenario::{Deed, Ending, Scenario},
    sink::{Sink, SinkPlan},
    source::Source,
    states::{self, Seen},
    trace::{Level, Trace},
};

pub(crate) use self::event::{Event, PlaneEvent};

/// See the module.
#[derive(Debug)]
pub struct World {
    pub(crate) scenario: Scenario,
    pub(crate) now: Instant,
    pub(crate) queue: crate::queue::Queue<Event>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) names: BTreeMap<NodeId, String>,
    pub(crate) network: Network,
    pub(crate) sources: Vec<Source>,
    pub(crate) sinks: BTreeMap<Name, Sink>,
    pub(crate) operator: Operator,
    pub(crate) orders: Orders,
    pub(crate) contests: Contests,
    pub(crate) ledgers: Vec<Ledger>,
    /// Epochs that were taken without a majority.
    pub(crate) minority: BTreeSet<(SourceKey, Epoch)>,
    /// Why each epoch was taken, as its owner told.
    pub(crate) whys: BTreeMap<(Name, Epoch), Why>,
    /// Sources of which an owner found no checkpoint: they wait for an operator's rewind, later than the last that was known then.
    pub(crate) waiting: BTreeMap<SourceKey, Stamp>,
    /// As which creation of it a host last opened a source.
    pub(crate) reads: BTreeMap<(usize, Name), SourceKey>,
    pub(crate) trace: Trace,
    pub(crate) violation: Option<Violation>,
    pub(crate) healed: bool,
    /// Whether sources still grow.
    pub(crate) growing: bool,
    pub(crate) disk_rng: ChaCha8Rng,
    pub(crate) source_rng: ChaCha8Rng,
    pub(crate) sink_rng: ChaCha8Rng,
    pub(crate) plane_rng: ChaCha8Rng,
    pub(crate) slow_rng: ChaCha8Rng,
    pub(crate) rings: Rings,
    pub(crate) takeovers: u64,
    pub(crate) requests: u64,
    /// What nodes told of members and of themselves.
    pub(crate) news: u64,
    /// Processes that were declared down under the generation under which they ran.
    pub(crate) false_deaths: u64,
    /// What nodes were seen to hold.
    pub(crate) seen: Seen,
    /// How often in a row a host was woken at one time.
    pub(crate) spins: u32,
    pub(crate) facts: VecDeque<(usize, Fact)>,
    /// What nodes told of members and entries, with its time and its node, if a measure listens.
    pub(crate) words: Option<Vec<(Instant, usize, Told)>>,
    pub(crate) conduct: Conduct,
    pub(crate) watch: Watch,
    pub(crate) recorder: Option<Recorder>,
    progress: Option<Arc<AtomicU64>>,
}

impl World {
    pub fn new(scenario: Scenario, trace: Trace) -> Self {
        let seed = scenario.seed;
        let hosts: Vec<_> = scenario.nodes.iter().enumerate().map(|(at, plan)| Host::new(seed, at, plan, scenario.disk)).collect();
        let mut world = Self {
            now: Instant::ZERO,
            queue: crate::queue::Queue::default(),
            names: hosts.iter().map(|host| (host.id, host.name.clone())).collect(),
            hosts,
            network: Network::new(scenario.network, stream(seed, Concern::Network)),
            sources: scenario.sources.iter().cloned().map(Source::new).collect(),
            sinks: BTreeMap::new(),
            operator: Operator::default(),
            orders: Orders::default(),
            contests: Contests::default(),
            ledgers: scenario.sources.iter().map(|source| Ledger::new(scenario.terms(source))).collect(),
            whys: BTreeMap::new(),
            minority: BTreeSet::new(),
            waiting: BTreeMap::new(),
            reads: BTreeMap::new(),
            trace,
            violation: None,
            healed: false,
            growing: true,
            disk_rng: stream(seed, Concern::Disk),
            source_rng: stream(seed, Concern::Sources),
            sink_rng: stream(seed, Concern::Sink),
            plane_rng: stream(seed, Concern::Plane),
            slow_rng: stream(seed, Concern::Slow),
            rings: Rings::new(&scenario),
            takeovers: 0,
            requests: 0,
            news: 0,
            false_deaths: 0,
            seen: Seen::default(),
            spins: 0,
            facts: VecDeque::new(),
            words: None,
            conduct: Conduct::default(),
            watch: Watch::new(&scenario.expects),
            recorder: None,
            progress: None,
            scenario,
        };
        for (at, deed) in world.scenario.deeds.clone() {
            world.queue.put(Instant::ZERO + at, Event::Deed(deed));
        }
        for (at, source) in world.sources.iter().enumerate() {
            world.queue.put(Instant::ZERO + source.plan.begins, Event::Grow { source: at });
        }
        world.queue.put(Instant::ZERO + states::EVERY, Event::Glance);
        marks::take();
        world
    }

    /// With somebody who looks on.
    #[must_use]
    pub fn accompanied(mut self, recorder: Option<Recorder>, progress: Option<Arc<AtomicU64>>) -> Self {
        if let Some(recorder) = &recorder {
            self.introduce(recorder);
        }
        (self.recorder, self.progress) = (recorder, progress);
        self
    }

    /// Runs the scenario to its end. The first broken invariant ends it at once.
    pub fn run(mut self) -> Result<Report, Box<Violation>> {
        let outcome = match self.scenario.ending {
            Ending::At(end) => self.run_until(Instant::ZERO + end),
            Ending::Settled => self.run_until_settled(),
        };
        match outcome {
            Ok(()) => Ok(self.report()),
            Err(violation) => Err(violation),
        }
    }

    /// Handles every event up to a time; asks the invariants after each.
    pub(crate) fn run_until(&mut self, end: Instant) -> Result<(), Box<Violation>> {
        while let Some((at, event)) = self.queue.pop(end) {
            if self.watch.next().is_some_and(|due| due < at) {
                self.look(at);
            }
            if at > self.now {
                self.spins = 0;
                self.sample(at);
                if let Some(progress) = &self.progress {
                    progress.store(at.as_micros(), Ordering::Relaxed);
                }
            }
            self.now = at;
            if let Some(event) = self.unless_it_stands_still(event) {
                self.handle(event);
            }
            self.check_facts();
            if let Some(violation) = self.violation.take() {
                return Err(Box::new(violation));
            }
        }
        self.look(end + Duration::from_micros(1));
        self.now = end;
        self.violation.take().map_or(Ok(()), |violation| Err(Box::new(violation)))
    }

    fn check_facts(&mut self) {
        while let Some((source, fact)) = self.facts.pop_front() {
            for (name, invariant) in SAFETY {
                if let Err(detail) = invariant(&self.ledgers[source], &fact) {
                    let id = &self.sources[source].plan.id;
                    self.violate(name, format!("{id}: {detail}\n{fact:?}"));
                }
            }
            self.hear_fact(source, &fact);
            self.record_fact(source, &fact);
            self.ledgers[source].absorb(fact);
        }
    }

    /// Notes the first broken invariant.
    pub(crate) fn violate(&mut self, invariant: &str, detail: String) {
        if self.violation.is_none() {
            let (at, last) = (self.now, self.trace.last());
            self.violation = Some(Violation { invariant: invariant.to_owned(), detail, at, seed: self.scenario.seed, last });
        }
    }

    /// A line of the story. `host` none: the world itself.
    pub(crate) fn tell(&mut self, host: Option<usize>, text: std::fmt::Arguments<'_>) {
        let who = host.map_or("", |at| self.hosts[at].name.as_str());
        self.trace.note(self.now, who, Level::Story, text);
        self.record_story();
    }

    pub(crate) fn detail(&mut self, host: usize, text: std::fmt::Arguments<'_>) {
        self.trace.note(self.now, &self.hosts[host].name, Level::Detail, text);
    }

    pub(crate) fn after(&mut self, delay: Duration, event: Event) {
        self.queue.put(self.now + delay, event);
    }

    /// Something is known of a source.
    pub(crate) fn fact(&mut self, source: &Name, fact: Fact) {
        if let Some(at) = self.place_of(source) {
            self.facts.push_back((at, fact));
        }
    }

    pub(crate) fn ledger(&self, source: &Name) -> Option<&Ledger> {
        self.place_of(source).map(|at| &self.ledgers[at])
    }

    /// As which creation a node knows a source.
    pub(crate) fn created(&self, at: usize, source: &Name) -> Option<SourceKey> {
        let catalog = self.hosts[at].process.as_ref()?.node.catalog();
        catalog.source(&operator::runner_name(), source).map(|source| source.key.clone())
    }

    /// The creation of a source that was written last of all that running nodes know: the one that stays.
    pub(crate) fn lasting(&self, source: usize) -> Option<&logvine_cluster::catalog::Source> {
        let (runner, id) = (operator::runner_name(), &self.sources[source].plan.id);
        let known = self.running().filter_map(|(_, node)| node.catalog().source(&runner, id));
        known.max_by_key(|source| source.revision)
    }

    /// What is known of it.
    pub(crate) fn present(&self, source: usize) -> Option<&Succession> {
        self.ledgers[source].successions.get(&self.lasting(source)?.key)
    }

    pub(crate) fn place_of(&self, source: &Name) -> Option<usize> {
        self.sources.iter().position(|one| one.plan.id == *source)
    }

    pub(crate) fn handle(&mut self, event: Event) {
        match event {
            Event::Deed(_) if self.healed => {}
            Event::Deed(deed) | Event::Then(deed) => self.deed(deed),
            Event::Grow { source } => self.grow(source),
            Event::Operator => self.ask_again(),
            Event::Wake { host, life } => self.wake(host, life),
            Event::Datagram { host, from, payload } => self.datagram_arrives(host, from, payload),
            Event::KeyRound => self.key_round(),
            Event::KeyOrder { via, host, order } => self.key_order(via, host, &order),
            Event::KnockArrives { host, knocker } => self.knock_arrives(host, knocker),
            Event::Knocked { knocker, refused } => self.knocked(knocker, refused),
            Event::Request { host, caller, request } => self.request_arrives(host, caller, request),
            Event::Reply { caller, from, reply } => self.reply_arrives(caller, from, reply),
            Event::Glance => self.glance(),
            Event::GoOn { host, life } => self.go_on(host, life),
            Event::Restart { host } => self.restart(host),
            Event::CallFails { host, life, call, reason } => self.call_fails(host, life, call, reason),
            Event::Measure { host, life } => self.measure_load(host, life),
            Event::Persisted { host, life } => self.persisted(host, life),
            Event::Plane { host, life, event } => self.plane_event(host, life, event),
            Event::Arrive { host, life, flow, send, sender, source, lines } => self.arrive(host, life, flow, send, sender, source, lines),
        }
    }

    pub(crate) fn deed(&mut self, deed: Deed) {
        self.record_deed(&deed);
        self.touch(&deed);
        match deed {
            Deed::Start { node } => self.start(node),
            Deed::Crash { node } => self.crash(node),
            Deed::PowerOff { node } => {
                self.crash(node);
                self.hosts[node].dark = true;
                self.tell(Some(node), format_args!("is without power"));
            }
            Deed::CrashFlushing { node } => self.hosts[node].dies_flushing = self.hosts[node].process.is_some(),
            Deed::Stop { node } => self.stop(node),
            Deed::Image { .. }
            | Deed::RestartFromImage { .. }
            | Deed::Wipe { .. }
            | Deed::LoseStore { .. }
            | Deed::Twin { .. }
            | Deed::Move { .. } => {
                self.deed_to_disk(&deed);
            }
            Deed::Apply { node } => self.apply(node),
            Deed::Drain { node, draining } => self.drain(node, draining),
            Deed::Tag { node } => self.tag(node),
            Deed::ChangeKey { node } => self.change_key(node),
            Deed::Cut { id, directions } => {
                self.watch.cut(id, &directions, self.hosts.len());
                let cut = self.spell(&directions);
                self.tell(None, format_args!("cuts {cut}"));
                self.network.cut(self.now, id, &directions, None);
            }
            Deed::Flap { id, directions, flapping } => {
                self.watch.cut(id, &directions, self.hosts.len());
                let cut = self.spell(&directions);
                let ms = |duration: Duration| duration.as_millis();
                self.tell(None, format_args!("has {cut} flap: {} ms down, {} ms up", ms(flapping.down), ms(flapping.up)));
                self.network.cut(self.now, id, &directions, Some(flapping));
            }
            Deed::Meddle { id, meddler, directions } => {
                let does = match meddler {
                    Meddler::Reject => "rejects",
                    Meddler::Filter => "drops refusals",
                    Meddler::Forge => "forges refusals",
                };
                let between = self.spell(&directions);
                self.tell(None, format_args!("{does} {between}"));
                self.network.meddle(id, meddler, directions);
            }
            Deed::Mend { id } => {
                self.tell(None, format_args!("mends"));
                self.watch.mend(id, self.now);
                self.network.mend(self.now, id);
            }
            Deed::Strike(strike) => self.strike(&strike),
            Deed::Sinks(plan) => {
                self.tell(None, format_args!("has sinks behave so: {plan:?}"));
                self.scenario.sink = plan;
            }
            Deed::Quota { node, permille } => self.set_quota(node, permille),
            Deed::Pace { source, permille } => self.set_pace(source, permille),
            Deed::Upgrade { node } => self.upgrade(node),
            Deed::Edit { node, edit } => self.edit(node, edit),
            Deed::Heal { core } => self.heal(&core),
            other => self.befall(&other),
        }
    }

    fn spell(&self, directions: &[Direction]) -> String {
        let spelt: Vec<_> = directions.iter().map(|(from, to)| format!("{}→{}", self.hosts[*from].name, self.hosts[*to].name)).collect();
        spelt.join(" ")
    }

    fn heal(&mut self, core: &BTreeSet<usize>) {
        self.healed = true;
        self.network.heal(self.now);
        self.watch.mend_all(self.now);
        self.scenario.sink = SinkPlan { busy: 0, late: 0, stalls: 0, ..self.scenario.sink };
        for host in &mut self.hosts {
            host.disk.heal();
        }
        let survivors: Vec<_> = core.iter().map(|at| self.hosts[*at].name.clone()).collect();
        self.tell(None, format_args!("the faults end for {}", survivors.join(" ")));
        for at in 0..self.hosts.len() {
            self.hosts[at].dies_flushing = false;
            self.release(at);
            self.set_right(at);
            if !core.contains(&at) {
                self.crash(at);
            } else if self.hosts[at].process.as_ref().is_none_or(|process| process.stopping) {
                self.crash(at);
                self.start(at);
            }
        }
        for node in self.operator.drained() {
            self.drain(node, false);
        }
        if self.operator.has_stopped() {
            self.edit(0, Edit::Start);
        }
    }

    pub(crate) fn start(&mut self, at: usize) {
        if self.hosts[at].process.is_some() {
            return;
        }
        if self.hosts[at].disk.fault().is_some() {
            self.tell(Some(at), format_args!("cannot open its store"));
            return self.restart_later(at);
        }
        let seeds = (0..self.hosts.len().min(3)).filter(|seed| *seed != at).map(gossip_address).collect();
        let gossip = GossipConfig { seeds, ..self.scenario.gossip.config() };
        self.hosts[at].start(self.now, at, gossip, self.scenario.plane.clone());
        let generation = self.hosts[at].life.0;
        self.record_life(at);
        self.tell(Some(at), format_args!("starts ({generation})"));
        self.say_keys(at);
        self.watch_load(at);
        self.carry_out(at);
    }

    pub(crate) fn crash(&mut self, at: usize) {
        self.hosts[at].restarts = false;
        if self.hosts[at].process.is_none() {
            return;
        }
        self.tell(Some(at), format_args!("crashes"));
        self.expect_collected_again(at);
        self.ended(at);
    }

    /// A process is no more, however that came.
    pub(crate) fn ended(&mut self, at: usize) {
        self.note_wall(at);
        self.hosts[at].process = None;
        self.record_life(at);
        self.expect_death_known(at, self.hosts[at].life);
        self.hosts[at].standstill = Standstill::default();
        if self.hosts[at].disk.is_behind() {
            marks::reached("a crash lost unsynced writes, or some of them");
        }
        let kept = self.hosts[at].disk.crash(&mut self.disk_rng);
        self.note_durable(at, &kept);
        for source in 0..self.sources.len() {
            self.facts.push_back((source, Fact::Closed { node: at, epoch: None, flushed: false, at: self.now }));
        }
    }

    fn grow(&mut self, at: usize) {
        if !self.growing {
            return;
        }
        let source = &mut self.sources[at];
        source.grow(self.now, &mut self.source_rng);
        let gap = u64::try_from(source.gap.as_micros()).expect("gaps are short").max(1);
        let wait = Duration::from_micros(if source.plan.is_steady { gap } else { self.source_rng.random_range(1..=2 * gap) });
        self.after(wait, Event::Grow { source: at });
    }
}
