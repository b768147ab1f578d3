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

use logvine_cluster::view::rfc3339;
use logvine_gossip::{HybridClock, NodeId, Stamp, UnixMicros};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::{error, warn};
use utoipa::ToSchema;

use self::journal::{Journal, Told};
pub use self::words::{Level, Words, started, store_full, store_has_room, store_set_aside, words};
pub(crate) use self::words::{Look, key_changed, key_commanded, key_concluded, looked};

mod journal;
mod words;

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
    "key.changed",
    "key.commanded",
    "key.concluded",
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

#[cfg(test)]
mod tests;
