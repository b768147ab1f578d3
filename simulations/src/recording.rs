//! What a report draws: who saw whom how and when, who ran, what was done to the world, traffic, agreement, owners.
//!
//! A recorder looks on; a run with one is the same run.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use logvine_cluster::{balance::load::bearable, node::Node};
use logvine_gossip::{Instant, NodeId, Status};

use crate::{
    host::Life,
    ledger::Fact,
    network::CutId,
    report::Violation,
    scenario::{Deed, Scenario},
    world::World,
};

/// Shared by the world that fills it and whoever asked for it, as a panic ends the world.
pub type Recorder = Rc<RefCell<Recording>>;

/// Lines of the story that are kept: the first so many.
const STORY_MAX: usize = 4_000;
/// Nodes up to which the story tells who met whom: beyond, it would tell of nothing else.
const MEETINGS_NODES_MAX: usize = 32;
/// Nodes up to which it is kept who saw whom how: beyond, pairs are too many to look at.
pub const PAIRS_NODES_MAX: usize = 300;
/// Between two looks at what all agree on: few enough that a long run has some hundred of them, so that they cost little.
const SAMPLES: u32 = 600;

/// How one node sees another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    Unknown,
    Alive,
    Suspect,
    Down,
    Left,
}

impl From<Status> for Sight {
    fn from(status: Status) -> Self {
        match status {
            Status::Alive => Self::Alive,
            Status::Suspect => Self::Suspect,
            Status::Down => Self::Down,
            Status::Left => Self::Left,
        }
    }
}

/// From `at` on, `observer` sees `subject` so. Nodes by place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glance {
    pub at: Instant,
    pub observer: usize,
    pub subject: usize,
    pub sight: Sight,
}

/// Something that was done to the world, or went on in it for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub from: Instant,
    /// None: a moment.
    pub to: Option<Instant>,
    pub what: String,
    /// Whom it concerns; nobody: everybody.
    pub nodes: Vec<usize>,
}

/// What all who run agree on at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreement {
    pub at: Instant,
    pub running: usize,
    /// Nodes that take exactly those for live who run.
    pub complete: usize,
    /// Different catalogs, and different sets of node maps.
    pub catalogs: usize,
    pub node_maps: usize,
}

/// From `from` to `to`, `node` owned a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ownership {
    pub source: usize,
    pub node: usize,
    pub from: Instant,
    pub to: Option<Instant>,
    /// How it came to it, in a word.
    pub cause: &'static str,
    /// When it was told to read no more.
    pub closing: Option<Instant>,
    pub majority: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Recording {
    pub scenario: Scenario,
    pub names: Vec<String>,
    pub sources: Vec<String>,
    pub glances: Vec<Glance>,
    /// By node, from when to when it ran.
    pub lives: Vec<Vec<(Instant, Option<Instant>)>>,
    pub faults: Vec<Fault>,
    /// By node, bytes of datagrams sent in each span of [`Recording::bucket`].
    pub traffic: Vec<Vec<u32>>,
    pub bucket: Duration,
    pub agreements: Vec<Agreement>,
    pub owners: Vec<Ownership>,
    /// By node and span of [`Recording::bucket`], its load, in millionths of what it bears: what it tells the others when that is worth a word.
    pub loads: Vec<Vec<u32>>,
    pub story: Vec<String>,
    pub end: Instant,
    pub violation: Option<Violation>,
    ids: BTreeMap<NodeId, usize>,
    next_sample: Instant,
    /// What goes on, and where it is in `faults`.
    open: BTreeMap<Trouble, usize>,
}

/// Something that goes on until another deed ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    Cut(CutId),
    Pause(usize),
    Slow(usize),
    Disk(usize),
}

impl Recording {
    /// For a run of this scenario.
    pub fn new(scenario: &Scenario) -> Recorder {
        let nodes = scenario.nodes.len();
        let end = scenario.length();
        let micros = u64::try_from((end / SAMPLES).as_micros()).unwrap_or(u64::MAX);
        Rc::new(RefCell::new(Self {
            scenario: scenario.clone(),
            names: scenario.nodes.iter().map(|node| node.name.clone()).collect(),
            sources: scenario.sources.iter().map(|source| source.id.to_string()).collect(),
            glances: Vec::new(),
            lives: vec![Vec::new(); nodes],
            faults: Vec::new(),
            traffic: vec![Vec::new(); nodes],
            bucket: Duration::from_micros(micros.max(1_000_000).next_multiple_of(1_000_000)),
            agreements: Vec::new(),
            owners: Vec::new(),
            loads: vec![Vec::new(); nodes],
            story: Vec::new(),
            end: Instant::ZERO,
            violation: None,
            ids: BTreeMap::new(),
            next_sample: Instant::ZERO,
            open: BTreeMap::new(),
        }))
    }

    fn place(&self, id: &NodeId) -> Option<usize> {
        self.ids.get(id).copied()
    }

    fn bucket_of(&self, at: Instant) -> usize {
        usize::try_from(at.since(Instant::ZERO).as_micros() / self.bucket.as_micros()).unwrap_or(usize::MAX)
    }

    /// A moment of one node; those of one time are one.
    fn moment(&mut self, at: Instant, what: &str, node: usize) {
        match self.faults.last_mut().filter(|last| last.from == at && last.to.is_none() && last.what == what) {
            Some(last) => last.nodes.push(node),
            None => self.faults.push(Fault { from: at, to: None, what: what.to_owned(), nodes: vec![node] }),
        }
    }

    fn begin(&mut self, from: Instant, trouble: Trouble, what: String, nodes: Vec<usize>) {
        self.finish(from, trouble);
        self.open.insert(trouble, self.faults.len());
        self.faults.push(Fault { from, to: Some(Instant::from_micros(u64::MAX)), what, nodes });
    }

    fn finish(&mut self, at: Instant, trouble: Trouble) {
        if let Some(fault) = self.open.remove(&trouble) {
            self.faults[fault].to = Some(at);
        }
    }

    /// Ends what is still open, and takes in how the run ended.
    pub fn close(&mut self, violation: Option<&Violation>) {
        self.violation = violation.cloned();
        self.end = self.end.max(violation.map_or(Instant::ZERO, |violation| violation.at));
    }
}

/// Adds to a row's span.
fn count(row: &mut Vec<u32>, bucket: usize, more: usize) {
    if row.len() <= bucket {
        row.resize(bucket + 1, 0);
    }
    row[bucket] = row[bucket].saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
}

impl World {
    /// Whom a recorder must know.
    pub(crate) fn introduce(&self, recorder: &Recorder) {
        recorder.borrow_mut().ids = self.hosts.iter().enumerate().map(|(at, host)| (host.id, at)).collect();
    }

    fn record(&self, what: impl FnOnce(&mut Recording)) {
        if let Some(recorder) = &self.recorder {
            what(&mut recorder.borrow_mut());
        }
    }

    pub(crate) fn record_life(&self, at: usize) {
        let (runs, now, id) = (self.hosts[at].process.is_some(), self.now, self.hosts[at].id);
        self.record(|recording| {
            recording.ids.insert(id, at);
            if runs {
                recording.lives[at].push((now, None));
            } else if let Some((_, to @ None)) = recording.lives[at].last_mut() {
                *to = Some(now);
                // It sees nobody any more.
                recording.glances.push(Glance { at: now, observer: at, subject: at, sight: Sight::Unknown });
            }
        });
    }

    pub(crate) fn record_glance(&self, observer: usize, subject: &NodeId, status: Status) {
        let at = self.now;
        self.record(|recording| {
            if let Some(subject) = recording.place(subject).filter(|_| recording.names.len() <= PAIRS_NODES_MAX) {
                recording.glances.push(Glance { at, observer, subject, sight: status.into() });
            }
        });
    }

    pub(crate) fn record_sent(&self, at: usize, bytes: usize) {
        let now = self.now;
        self.record(|recording| {
            let bucket = recording.bucket_of(now);
            count(&mut recording.traffic[at], bucket, bytes);
        });
    }

    /// The story's last line.
    pub(crate) fn record_story(&self) {
        self.record(|recording| {
            let line = self.trace.line();
            let trivial = recording.names.len() > MEETINGS_NODES_MAX && line.contains(" meets ");
            if recording.story.len() < STORY_MAX && !trivial {
                recording.story.push(line.to_owned());
            }
        });
    }

    pub(crate) fn record_deed(&self, deed: &Deed) {
        let from = self.now;
        let nodes = || deed.places().into_iter().collect();
        self.record(|recording| match deed {
            // Lives show it.
            Deed::Start { .. } => {}
            Deed::Crash { node } => recording.moment(from, "killed", *node),
            Deed::Stop { node } => recording.moment(from, "told to stop", *node),
            Deed::Cut { id, .. } => recording.begin(from, Trouble::Cut(*id), "cut".to_owned(), nodes()),
            Deed::Flap { id, .. } => recording.begin(from, Trouble::Cut(*id), "flapping".to_owned(), nodes()),
            Deed::Pause { node } => recording.begin(from, Trouble::Pause(*node), "paused".to_owned(), nodes()),
            Deed::Slow { node, lateness } => {
                recording.begin(from, Trouble::Slow(*node), format!("slow: {} ms late and more", lateness.least.as_millis()), nodes());
            }
            Deed::DiskFails { node, fault } => recording.begin(from, Trouble::Disk(*node), format!("disk: {fault:?}"), nodes()),
            Deed::Mend { id } => recording.finish(from, Trouble::Cut(*id)),
            Deed::Resume { node } => recording.finish(from, Trouble::Pause(*node)),
            Deed::Quick { node } => recording.finish(from, Trouble::Slow(*node)),
            Deed::DiskWorks { node } => recording.finish(from, Trouble::Disk(*node)),
            Deed::Heal { .. } => {
                for trouble in recording.open.keys().copied().collect::<Vec<_>>() {
                    recording.finish(from, trouble);
                }
                recording.faults.push(Fault { from, to: None, what: "the faults end".into(), nodes: Vec::new() });
            }
            other => recording.faults.push(Fault { from, to: None, what: format!("{other:?}"), nodes: nodes() }),
        });
    }

    pub(crate) fn record_fact(&self, source: usize, fact: &Fact) {
        let now = self.now;
        self.record(|recording| match fact {
            Fact::Began { hand, cause, majority, .. } => {
                let (node, cause, majority) = (hand.node, cause.label(), *majority);
                recording.owners.push(Ownership { source, node, from: now, to: None, cause, closing: None, majority });
            }
            Fact::Closing { node, .. } => {
                for owned in recording.owners.iter_mut().filter(|owned| owned.source == source && owned.node == *node && owned.to.is_none()) {
                    owned.closing.get_or_insert(now);
                }
            }
            Fact::Closed { node, .. } => {
                for owned in recording.owners.iter_mut().filter(|owned| owned.source == source && owned.node == *node && owned.to.is_none()) {
                    owned.to = Some(now);
                }
            }
            _ => {}
        });
    }

    /// Looks at what all agree on, if it is time to.
    pub(crate) fn sample(&self, until: Instant) {
        let Some(recorder) = &self.recorder else { return };
        let due = recorder.borrow().next_sample;
        if due > until {
            return;
        }
        let agreement = self.agreement(due);
        let loads = self.loads();
        let mut recording = recorder.borrow_mut();
        recording.agreements.push(agreement);
        let bucket = recording.bucket_of(due);
        for (node, load) in loads {
            count(&mut recording.loads[node], bucket, load);
        }
        recording.end = until;
        let spans = until.since(due).as_micros() / recording.bucket.as_micros() + 1;
        recording.next_sample = due + recording.bucket * u32::try_from(spans).unwrap_or(u32::MAX);
    }

    /// What each node that runs has to do, in millionths of what it bears.
    fn loads(&self) -> Vec<(usize, usize)> {
        let load = |(at, node): (usize, &Node)| {
            let bears = node.view().get(&node.id()).map(|info| bearable(info.capacity))?;
            let millionths = u128::from(node.load(self.hosts[at].now(self.now))) * 1_000_000 / u128::from(bears);
            Some((at, usize::try_from(millionths).unwrap_or(usize::MAX)))
        };
        self.running().filter_map(load).collect()
    }

    fn agreement(&self, at: Instant) -> Agreement {
        let running: BTreeMap<NodeId, Life> = self.running().map(|(at, _)| (self.hosts[at].id, self.hosts[at].life)).collect();
        let distinct = |digests: &mut Vec<u64>| {
            digests.sort_unstable();
            digests.dedup();
            digests.len()
        };
        let (mut complete, mut catalogs, mut node_maps) = (0, Vec::new(), Vec::new());
        for (_, node) in self.running() {
            let gossip = node.gossip();
            let live = gossip.members().filter(|member| member.status.is_live());
            let others = live.filter(|member| running.contains_key(&member.id)).count();
            let all_live = gossip.members().filter(|member| member.status.is_live()).count();
            complete += usize::from(others + 1 == running.len() && all_live == others);
            catalogs.push(gossip.catalog().digest());
            node_maps.push(gossip.node_maps_digest());
        }
        Agreement { at, running: running.len(), complete, catalogs: distinct(&mut catalogs), node_maps: distinct(&mut node_maps) }
    }
}
