//! What happened, for the log and the API: the node's events in words, the last of them in memory, all on disk for a week.
//!
//! An event's id is its stamp and the node that told it. Each node tells what it sees: its own doings, and what members, node maps and the catalog say of
//! the others. So any node shows the whole cluster without asking, and who follows one node's events goes on at another.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use logvine_cluster::{event::Event, node::Node, view::rfc3339};
use logvine_gossip::{HybridClock, NodeId, Stamp, UnixMicros};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::{debug, error, info, warn};
use utoipa::ToSchema;

use self::journal::{Journal, Told};
use crate::store::SetAside;

mod journal;

/// Events kept in memory: some hours of a lively cluster in about 3 MB.
const KEPT_MAX: usize = 10_000;
/// Events that wait for the disk. Fewer than are in memory, so that what is not on disk yet is always there.
const UNWRITTEN_MAX: usize = 4_096;
/// How often the disk is made to keep what was written, and asked again after it has refused.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// Clocks of a cluster may be so far from each other (a node that is further off takes no writes): who comes from another node begins so much earlier.
const CLOCKS_APART: Duration = Duration::from_secs(30);

/// All kinds of events.
pub const KINDS: &[&str] = &[
    "catalog.changed",
    "catalog.dropped",
    "catalog.stamp_ahead",
    "events.lost",
    "member.alive",
    "member.down",
    "member.forgotten",
    "member.left",
    "member.suspect",
    "node.active",
    "node.clock_off",
    "node.clock_right",
    "node.disk_outdated",
    "node.incomplete",
    "node.renewed",
    "node.started",
    "node.steady",
    "node.superseded",
    "node.unsteady",
    "node_map.unsaid",
    "operation.accepted",
    "operation.commanded",
    "operation.concluded",
    "operation.failed",
    "operation.overruled",
    "operation.withdrawn",
    "queue.dropped",
    "queue.kept",
    "queue.removed",
    "runner.failed",
    "runner.tapped",
    "runner.tried",
    "source.claimed",
    "source.fenced",
    "source.released",
    "source.rewound",
    "source.taken",
    "source.unsplittable",
    "source.waiting_for_checkpoint",
    "source.without_majority",
    "store.full",
    "store.room",
    "store.set_aside",
    "store.unreadable",
];

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventRow {
    /// Its stamp and the node that told it; grows with time on a node.
    pub id: String,
    /// When (RFC 3339, UTC).
    pub time: String,
    /// `member.down`, `source.taken`, …
    pub kind: String,
    /// The id of the node that it is about.
    pub node: Option<String>,
    pub runner: Option<String>,
    pub source: Option<String>,
    /// How many sources it is about, where they are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<usize>,
    /// The id of the operation that it is about.
    #[serde(default)]
    pub operation: Option<String>,
    /// In words.
    pub detail: String,
}

/// How bad it is: the level of the log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// An event in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    level: Level,
    kind: &'static str,
    node: Option<NodeId>,
    runner: Option<String>,
    source: Option<String>,
    /// Of how many sources, where they are several.
    sources: Option<usize>,
    operation: Option<String>,
    detail: String,
}

/// The events of this node. Clones share them.
#[derive(Debug, Clone)]
pub struct EventLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    me: NodeId,
    /// Where the journal is; none: memory is all there is.
    directory: Option<PathBuf>,
    memory: Arc<Memory>,
    newest: watch::Sender<Stamp>,
    writer: Option<thread::JoinHandle<()>>,
}

/// What tellers and the writer share.
#[derive(Debug)]
struct Memory {
    me: NodeId,
    kept: Mutex<Kept>,
    /// There is something for the disk, or nothing more will be.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Kept {
    clock: HybridClock,
    rows: VecDeque<Told>,
    /// Whether something was dropped from `rows`, or was there before them.
    partial: bool,
    unwritten: Vec<Told>,
    /// Events that had no room among `unwritten`, and the stamp of the last.
    lost: Option<(u64, Stamp)>,
    /// Nobody tells any more.
    closed: bool,
}

/// Events after a point, as many as one look gives.
#[derive(Debug, Default)]
pub struct Slice {
    /// In order; empty where there is nothing after the point yet.
    pub rows: Vec<Arc<EventRow>>,
    /// Where to look on from.
    pub until: Stamp,
    /// Something between the point and the first of these is no longer kept, or was never seen by this node.
    pub gap: bool,
}

impl EventLog {
    /// The log of a node, kept in memory alone.
    pub fn new(me: NodeId) -> Self {
        Self(Arc::new(Inner::new(me, None, Vec::new())))
    }

    /// The log of a node with what its disk remembers in `directory`, and the time of the last event of its former life.
    /// A disk that cannot be used is told, and memory is all there is: a node must not stop for its history.
    pub fn open(me: NodeId, directory: &Path) -> (Self, Option<String>) {
        let opened = Journal::open(directory).and_then(|journal| Ok((journal, journal::newest(directory, KEPT_MAX)?)));
        match opened {
            Ok((journal, rows)) => {
                let last = rows.last().map(|(_, row)| row.time.clone());
                let mut inner = Inner::new(me, Some(directory.to_owned()), rows);
                let memory = inner.memory.clone();
                match thread::Builder::new().name("events".to_owned()).spawn(move || keep(journal, &memory)) {
                    Ok(writer) => inner.writer = Some(writer),
                    Err(error) => error!(%error, "there is no thread that writes events: new ones are kept in memory only"),
                }
                (Self(Arc::new(inner)), last)
            }
            Err(error) => {
                error!(path = %directory.display(), %error, "events are kept in memory only: check the permissions of the data directory and its disk");
                (Self::new(me), None)
            }
        }
    }

    /// Writes an event to the log, keeps it, and wakes all listeners. Never waits for a disk.
    pub fn tell(&self, wall: UnixMicros, words: Words) {
        words.log();
        let mut kept = self.0.memory.kept();
        let stamp = kept.clock.tick(wall);
        let row = Arc::new(EventRow {
            id: id_of(stamp, &self.0.me),
            time: rfc3339(wall),
            kind: words.kind.to_owned(),
            node: words.node.map(|node| node.to_string()),
            runner: words.runner,
            source: words.source,
            sources: words.sources,
            operation: words.operation,
            detail: words.detail,
        });
        if kept.rows.len() == KEPT_MAX {
            kept.rows.pop_front();
            kept.partial = true;
        }
        kept.rows.push_back((stamp, row.clone()));
        if self.0.directory.is_some() {
            if kept.unwritten.len() < UNWRITTEN_MAX && kept.lost.is_none() {
                kept.unwritten.push((stamp, row));
            } else {
                kept.lost = Some((kept.lost.map_or(0, |(count, _)| count) + 1, stamp));
            }
            self.0.memory.changed.notify_one();
        }
        drop(kept);
        self.0.newest.send_replace(stamp);
    }

    /// The point that an event's id names, as this node's log understands it: of an event that another node told it is some time before, for clocks differ.
    /// None: it is no event's id.
    pub fn point(&self, id: &str) -> Option<Stamp> {
        let stamp = stamp_of(id)?;
        let own = id.split_once('-').is_some_and(|(_, origin)| origin == self.0.me.short());
        let apart = u64::try_from(CLOCKS_APART.as_millis()).unwrap_or(u64::MAX);
        Some(if own { stamp } else { Stamp::from_millis(stamp.as_millis().saturating_sub(apart)) })
    }

    /// The events after `after`, oldest first. [`Stamp::ZERO`] is before all that are kept, and nothing is missing there.
    pub async fn after(&self, after: Stamp) -> Slice {
        let (rows, first) = {
            let kept = self.0.memory.kept();
            let first = kept.rows.front().map(|(stamp, _)| *stamp);
            let covers = !kept.partial && after == Stamp::ZERO || first.is_some_and(|first| first <= after);
            if covers || self.0.directory.is_none() {
                let gap = !covers && after != Stamp::ZERO;
                return Slice::of(kept.rows.iter().filter(|(stamp, _)| *stamp > after), after, gap);
            }
            (kept.rows.iter().filter(|(stamp, _)| *stamp > after).cloned().collect::<Vec<_>>(), first)
        };
        let directory = self.0.directory.clone().unwrap_or_default();
        let past = tokio::task::spawn_blocking(move || journal::read(&directory, after)).await;
        let past = past.map_err(io::Error::other).and_then(|past| past).unwrap_or_else(|error| {
            warn!(%error, "the events on disk cannot be read");
            journal::Past::default()
        });
        let gap = after != Stamp::ZERO && past.oldest.or(first).is_none_or(|oldest| oldest > after);
        // What memory has need not be on disk yet.
        let before = |stamp: Stamp| first.is_none_or(|first| stamp < first);
        let old: Vec<Told> = past.told.into_iter().filter(|(stamp, _)| before(*stamp)).collect();
        if old.is_empty() || !past.more {
            return Slice::of(old.iter().chain(&rows), after, gap);
        }
        Slice::of(old.iter(), after, gap)
    }

    /// Changes whenever something was told.
    pub fn listen(&self) -> watch::Receiver<Stamp> {
        self.0.newest.subscribe()
    }
}

impl Slice {
    fn of<'a>(told: impl Iterator<Item = &'a Told>, after: Stamp, gap: bool) -> Self {
        let (mut rows, mut until) = (Vec::new(), after);
        for (stamp, row) in told {
            until = *stamp;
            rows.push(row.clone());
        }
        Self { rows, until, gap }
    }
}

impl Inner {
    fn new(me: NodeId, directory: Option<PathBuf>, rows: Vec<Told>) -> Self {
        let mut kept = Kept { partial: !rows.is_empty(), rows: rows.into(), ..Kept::default() };
        if let Some((last, _)) = kept.rows.back() {
            kept.clock.observe(*last);
        }
        let memory = Arc::new(Memory { me, kept: Mutex::new(kept), changed: Condvar::new() });
        Self { me, directory, memory, newest: watch::channel(Stamp::ZERO).0, writer: None }
    }
}

impl Drop for Inner {
    /// Waits until all that was told is written.
    fn drop(&mut self) {
        self.memory.kept().closed = true;
        self.memory.changed.notify_one();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl Memory {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Each change above is whole before anything can panic.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the disk shall have next, waited for at most so long; and whether that is the last.
    fn take_unwritten(&self, patience: Duration) -> (Vec<Told>, bool) {
        let idle = |kept: &mut Kept| kept.unwritten.is_empty() && kept.lost.is_none() && !kept.closed;
        let waited = self.changed.wait_timeout_while(self.kept(), patience, idle);
        let (mut kept, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let mut told = std::mem::take(&mut kept.unwritten);
        if let Some((count, stamp)) = kept.lost.take() {
            let row = EventRow {
                id: id_of(stamp, &self.me),
                time: rfc3339(UnixMicros(stamp.as_millis() * 1_000)),
                kind: "events.lost".to_owned(),
                node: Some(self.me.to_string()),
                runner: None,
                source: None,
                sources: None,
                operation: None,
                detail: format!("{count} events up to here are missing: this node's disk did not take them"),
            };
            told.push((stamp, Arc::new(row)));
        }
        (told, kept.closed)
    }
}

/// Writes what is told, until nobody tells any more.
fn keep(mut journal: Journal, memory: &Memory) {
    let (mut refused, mut synced, mut dirty) = (Vec::new(), Instant::now(), false);
    loop {
        // While the disk refuses what was taken, the rest waits where it is bounded.
        let (told, last) = if refused.is_empty() { memory.take_unwritten(SYNC_EVERY) } else { (std::mem::take(&mut refused), memory.kept().closed) };
        dirty |= !told.is_empty();
        let due = last || (dirty && synced.elapsed() >= SYNC_EVERY);
        match journal.append(&told).and_then(|()| if due { journal.sync() } else { Ok(()) }) {
            Ok(()) if due => (synced, dirty) = (Instant::now(), false),
            Ok(()) => {}
            Err(error) => {
                warn!(%error, "events cannot be written to the data directory: check that its disk has room and is sound");
                refused = told;
                thread::sleep(SYNC_EVERY);
            }
        }
        if last && memory.kept().unwritten.is_empty() {
            return;
        }
    }
}

fn id_of(stamp: Stamp, node: &NodeId) -> String {
    // As many digits as the largest has: ids are in the order of time as texts, too.
    format!("{:020}-{}", stamp.0, node.short())
}

fn stamp_of(id: &str) -> Option<Stamp> {
    id.split('-').next()?.parse().ok()
}

impl Words {
    fn log(&self) {
        let Self { level, kind, node, runner, source, sources, operation, detail } = self;
        let node = node.map(|node| tracing::field::display(node.short()));
        let (runner, source, operation) = (runner.as_deref(), source.as_deref(), operation.as_deref());
        match level {
            Level::Debug => debug!(kind, node, runner, source, sources, operation, "{detail}"),
            Level::Info => info!(kind, node, runner, source, sources, operation, "{detail}"),
            Level::Warn => warn!(kind, node, runner, source, sources, operation, "{detail}"),
            Level::Error => error!(kind, node, runner, source, sources, operation, "{detail}"),
        }
    }
}

/// A node's event in words; names are as `node` knows them.
pub fn words(event: &Event, node: &Node) -> Words {
    use Event as E;
    let name = |id: &NodeId| logvine_cluster::view::name_of(node, id);
    let about = |level, kind, id: Option<&NodeId>, detail: String| Words {
        level,
        kind,
        node: id.copied(),
        runner: None,
        source: None,
        sources: None,
        operation: None,
        detail,
    };
    let of = |level, kind, runner: &logvine_cluster::name::Name, source: Option<&logvine_cluster::name::Name>, detail: String| Words {
        level,
        kind,
        node: Some(node.id()),
        runner: Some(runner.to_string()),
        source: source.map(ToString::to_string),
        sources: None,
        operation: None,
        detail,
    };
    let commanded = |level, kind, id: &str, about: Option<NodeId>, detail: String| {
        let runners = node.operation(id).map(|(found, _)| found.runners().to_vec()).unwrap_or_default();
        let runner = if let [runner] = runners.as_slice() { Some(runner.to_string()) } else { None };
        Words { level, kind, node: about, runner, source: None, sources: None, operation: Some(id.to_owned()), detail }
    };
    match event {
        E::Member { node: id, to, proved, .. } => {
            use logvine_gossip::Status;
            let (level, kind) = match to {
                Status::Alive => (Level::Info, "member.alive"),
                Status::Suspect => (Level::Debug, "member.suspect"),
                Status::Down => (Level::Warn, "member.down"),
                Status::Left => (Level::Info, "member.left"),
            };
            let proof = if *proved { ": its host says that no process listens there" } else { "" };
            about(level, kind, Some(id), format!("{} is {}{proof}", name(id), logvine_cluster::member::status_word(*to)))
        }
        E::Renewed { generation } => {
            about(Level::Warn, "node.renewed", Some(&node.id()), format!("others had declared this node down; it goes on as generation {generation}"))
        }
        E::DiskOutdated { known } => {
            let detail = format!(
                "others know this node as generation {known}, its data directory does not: it is an old image. It counts as a new disk from now on, and this \
                 node gives up the sources that it owned"
            );
            about(Level::Error, "node.disk_outdated", Some(&node.id()), detail)
        }
        E::Superseded { at } => {
            let detail = format!("the node at {at} has this node's key and was there first: two copies of one data directory run, and this one ends");
            about(Level::Error, "node.superseded", Some(&node.id()), detail)
        }
        E::Commanded { operation } => {
            commanded(Level::Info, "operation.commanded", operation, None, format!("{}: operation {operation}", command_words(node, operation)))
        }
        E::Accepted { operation } => {
            let detail = format!("operation {operation} is on the disks of two other nodes, or of all there are: nothing undoes it but another");
            commanded(Level::Info, "operation.accepted", operation, Some(node.id()), detail)
        }
        E::Withdrawn { operation } => {
            let detail =
                format!("operation {operation} is withdrawn: in ten minutes no other node has taken it. It was not carried out, and will not be");
            commanded(Level::Warn, "operation.withdrawn", operation, Some(node.id()), detail)
        }
        E::Refused { operation, target, reason } => {
            let detail = format!("{} cannot carry out {}: {reason}", name(target), command_words(node, operation));
            commanded(Level::Warn, "operation.failed", operation, Some(*target), detail)
        }
        E::Concluded { operation, applied, failed } => {
            let (level, but) = if *failed == 0 { (Level::Info, String::new()) } else { (Level::Warn, format!(", {failed} could not")) };
            let detail = format!("{}: {applied} of {} have carried it out{but}", command_words(node, operation), applied + failed);
            commanded(level, "operation.concluded", operation, None, detail)
        }
        E::Claimed { owner, runner, source, count, why } => {
            let what = match (source, count) {
                (Some(source), _) => format!("`{source}`"),
                (None, count) => format!("{count} sources"),
            };
            Words {
                level: Level::Debug,
                kind: "source.claimed",
                node: Some(*owner),
                runner: Some(runner.to_string()),
                source: source.as_ref().map(ToString::to_string),
                sources: source.is_none().then_some(*count),
                operation: None,
                detail: format!("{} collects {what} of {runner}: {}", name(owner), logvine_cluster::view::why_words(node, why)),
            }
        }
        E::Overruled { operation, by } => {
            let words = |id: &String| {
                let found = node.operation(id).map(|(found, _)| format!(" ({} by {})", found.verb().word(), found.actor()));
                format!("{id}{}", found.unwrap_or_default())
            };
            let detail = format!("operation {} was said at the same time as {}, which is the last word", words(operation), words(by));
            about(Level::Warn, "operation.overruled", Some(&node.id()), detail)
        }
        E::Forgotten { node: id } => about(Level::Info, "member.forgotten", Some(id), format!("{} is forgotten", id.short())),
        E::Active => about(Level::Info, "node.active", Some(&node.id()), "this node takes part".to_owned()),
        E::Catalog { key, origin, .. } => about(Level::Debug, "catalog.changed", Some(origin), format!("{key} was changed on {}", name(origin))),
        E::Taken { runner, source, epoch, why } => {
            of(Level::Info, "source.taken", runner, Some(source), format!("taken at epoch {epoch}: {}", logvine_cluster::view::why_words(node, why)))
        }
        E::Released { runner, source, epoch, why } => of(
            Level::Info,
            "source.released",
            runner,
            Some(source),
            format!("released at epoch {epoch}: {}", logvine_cluster::view::why_words(node, why)),
        ),
        E::Fenced { runner, source, epoch, by } => {
            of(Level::Warn, "source.fenced", runner, Some(source), format!("epoch {epoch} was overruled by {by}"))
        }
        E::WithoutMajority { runner, source, epoch } => {
            of(Level::Warn, "source.without_majority", runner, Some(source), format!("taken at epoch {epoch} without a majority of its witnesses"))
        }
        E::WaitingForCheckpoint { runner, source } => {
            let detail = "no copy of its checkpoint is found: it is not read until one is, or an operator rewinds it".to_owned();
            of(Level::Error, "source.waiting_for_checkpoint", runner, Some(source), detail)
        }
        E::Rewound { runner, source, rewind, bytes } => {
            let detail = format!("set back by {bytes} bytes, to its beginning, as was said at {rewind}: they are sent again, under the same ids");
            of(Level::Warn, "source.rewound", runner, Some(source), detail)
        }
        E::QueueDropped { runner, bytes, .. } => {
            of(Level::Warn, "queue.dropped", runner, None, format!("{bytes} bytes that waited in its disk queue were thrown away, as was said"))
        }
        E::QueueRemoved { runner, bytes } => {
            of(Level::Info, "queue.removed", runner, None, format!("it was deleted: its disk queue is removed, with {bytes} bytes in it"))
        }
        E::QueueKept { runner, error } => of(
            Level::Error,
            "queue.kept",
            runner,
            None,
            format!("it was deleted, and its disk queue cannot be removed: {error}; the next start tries again"),
        ),
        E::Unsplittable { runner, source, bytes_per_s } => {
            let detail =
                format!("at {} KiB/s it overloads its owner, and is too large for any other node: split it, or add a larger node", bytes_per_s >> 10);
            of(Level::Warn, "source.unsplittable", runner, Some(source), detail)
        }
        E::Unreadable { place, error } => {
            about(Level::Error, "store.unreadable", Some(&node.id()), format!("{place} is not readable and left out: {error}"))
        }
        E::Unsaid { key, error } => about(Level::Error, "node_map.unsaid", Some(&node.id()), format!("{key} cannot be told to others: {error}")),
        E::Dropped { key, origin } => about(
            Level::Warn,
            "catalog.dropped",
            Some(origin),
            format!("{key} was deleted while this node was away, and is dropped here too; what it was is kept in catalog.dropped-*.json"),
        ),
        E::Clock { off: Some(off) } => about(
            Level::Error,
            "node.clock_off",
            Some(&node.id()),
            format!("this node's clock is {off}: it refuses changes until its clock is set (is NTP running?)"),
        ),
        E::Clock { off: None } => {
            about(Level::Info, "node.clock_right", Some(&node.id()), "this node's clock agrees with its peers' again".to_owned())
        }
        E::StampAhead { key, origin, .. } => about(
            Level::Warn,
            "catalog.stamp_ahead",
            Some(origin),
            format!("{key} of {} is more than 24 h ahead and set aside: check its clock", name(origin)),
        ),
        E::Steadiness { unsteady: Some(unsteady) } => {
            let detail = format!(
                "this node crashed {} times in a row: it gets no movable sources before it has run for {} s; why it crashes is in its log",
                unsteady.crashes, unsteady.spell_s
            );
            about(Level::Warn, "node.unsteady", Some(&node.id()), detail)
        }
        E::Steadiness { unsteady: None } => {
            about(Level::Info, "node.steady", Some(&node.id()), "this node has run for long enough and gets movable sources again".to_owned())
        }
        E::Incomplete { active, expected } => {
            let detail =
                format!("{active} of {expected} expected nodes are active, and the others were waited for: sources are assigned without them");
            about(Level::Warn, "node.incomplete", Some(&node.id()), detail)
        }
        E::Failed { runner, error } => of(Level::Error, "runner.failed", runner, None, error.clone()),
    }
}

/// Who commanded what on whom, and why.
fn command_words(node: &Node, operation: &str) -> String {
    let Some((found, _)) = node.operation(operation) else { return format!("operation {operation}") };
    let runners: Vec<_> = found.runners().iter().map(ToString::to_string).collect();
    let reason = found.reason().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let targets = match found.targets() {
        [] => "on no node".to_owned(),
        [only] => format!("on {}", logvine_cluster::view::name_of(node, only)),
        many => format!("on {} nodes", many.len()),
    };
    let what = [found.verb().word().to_owned(), runners.join(", ")].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    format!("{what} {targets} by {} through {}{reason}", found.actor(), logvine_cluster::view::name_of(node, &found.origin))
}

/// This node starts, and what it has not seen. `last`: the time of its former life's last event.
pub fn started(me: NodeId, last: Option<&str>) -> Words {
    let unseen = last.map_or_else(String::new, |last| format!(": of what happened since {last} it has only seen what is left of it"));
    let detail = format!("this node starts{unseen}");
    Words { level: Level::Info, kind: "node.started", node: Some(me), runner: None, source: None, sources: None, operation: None, detail }
}

/// A look at records: by whom, of which runner, at what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look<'a> {
    /// Who asked.
    pub(crate) by: &'a str,
    pub(crate) runner: &'a str,
    /// The stage of a tap, or what was tried.
    pub(crate) at: &'a str,
}

/// These nodes, with their names, show records to somebody. `outcome`: of a trial, why it failed if it did; none of a tap, which goes on.
pub(crate) fn looked(nodes: &[(NodeId, String)], Look { by, runner, at }: &Look<'_>, outcome: Option<Result<(), &str>>) -> Words {
    let by = if by.is_empty() { "somebody" } else { by };
    let names = nodes.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(", ");
    let (kind, detail) = match outcome {
        None => ("runner.tapped", format!("{by} looks at the records of {runner} at `{at}` on {names}")),
        Some(Ok(())) => ("runner.tried", format!("{by} tried `{at}` of {runner} on {names}")),
        Some(Err(why)) => ("runner.tried", format!("{by} tried `{at}` of {runner} on {names}, in vain: {why}")),
    };
    let node = if let [(node, _)] = nodes { Some(*node) } else { None };
    Words { level: Level::Info, kind, node, runner: Some((*runner).to_owned()), source: None, sources: None, operation: None, detail }
}

/// A store that could not be read.
pub fn store_set_aside(aside: &SetAside) -> Words {
    let detail =
        format!("the store could not be read ({}) and is kept as {}: catalog and checkpoints must come from others", aside.why, aside.path.display());
    Words { level: Level::Error, kind: "store.set_aside", node: None, runner: None, source: None, sources: None, operation: None, detail }
}

/// The store's disk is full.
pub fn store_full(why: &str) -> Words {
    let detail = format!(
        "the disk of the data directory has no room ({why}): this node promises nothing and reads no further until there is some; what it had to write waits"
    );
    Words { level: Level::Error, kind: "store.full", node: None, runner: None, source: None, sources: None, operation: None, detail }
}

/// It has room again.
pub fn store_has_room() -> Words {
    let detail = "the disk of the data directory has room again, and what waited is written".to_owned();
    Words { level: Level::Info, kind: "store.room", node: None, runner: None, source: None, sources: None, operation: None, detail }
}

#[cfg(test)]
mod tests;
