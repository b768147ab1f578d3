//! What happened, for the log and the API: the node's events in words, the last of them kept in memory.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use logvine_cluster::{event::Event, node::Node, view::rfc3339};
use logvine_gossip::{HybridClock, NodeId, Stamp, UnixMicros};
use serde::Serialize;
use tokio::sync::broadcast;
use tracing::{debug, error, info, warn};
use utoipa::ToSchema;

use crate::store::SetAside;

/// Events kept: some hours of a lively cluster in about 3 MB.
const KEPT_MAX: usize = 10_000;
/// Events that a slow listener may lag behind before it has to begin anew.
const LISTENER_LAG_MAX: usize = 1024;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct EventRow {
    /// Its stamp and the node that told it; grows with time on a node.
    pub id: String,
    /// When (RFC 3339, UTC).
    pub time: String,
    /// `member.down`, `source.taken`, …
    pub kind: String,
    /// The node that it is about.
    pub node: Option<String>,
    pub runner: Option<String>,
    pub source: Option<String>,
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
    detail: String,
}

/// The events of this node. Clones share them.
#[derive(Debug, Clone)]
pub struct EventLog {
    me: NodeId,
    kept: Arc<Mutex<Kept>>,
    listeners: broadcast::Sender<Arc<EventRow>>,
}

#[derive(Debug, Default)]
struct Kept {
    clock: HybridClock,
    rows: VecDeque<(Stamp, Arc<EventRow>)>,
}

impl EventLog {
    /// An empty log of this node's.
    pub fn new(me: NodeId) -> Self {
        Self { me, kept: Arc::default(), listeners: broadcast::channel(LISTENER_LAG_MAX).0 }
    }

    /// Writes an event to the log, keeps it, and passes it to all listeners. Never waits.
    pub fn tell(&self, wall: UnixMicros, words: Words) {
        words.log();
        let mut kept = self.kept();
        let stamp = kept.clock.tick(wall);
        let row = Arc::new(EventRow {
            id: format!("{stamp}-{}", self.me.short()),
            time: rfc3339(wall),
            kind: words.kind.to_owned(),
            node: words.node.map(|node| node.to_string()),
            runner: words.runner,
            source: words.source,
            detail: words.detail,
        });
        if kept.rows.len() == KEPT_MAX {
            kept.rows.pop_front();
        }
        kept.rows.push_back((stamp, row.clone()));
        // Sent under the lock: a listener that subscribes under it misses nothing and hears nothing twice. None listens: that is no fault.
        let _ = self.listeners.send(row);
    }

    /// The kept events after `after`, oldest first; None where `after` is older than all that are kept.
    pub fn since(&self, after: Stamp) -> Option<Vec<Arc<EventRow>>> {
        self.kept().since(after)
    }

    /// [`Self::since`], and what follows.
    pub fn follow(&self, after: Stamp) -> (Option<Vec<Arc<EventRow>>>, broadcast::Receiver<Arc<EventRow>>) {
        let kept = self.kept();
        (kept.since(after), self.listeners.subscribe())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Each change above is whole before anything can panic.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn since(&self, after: Stamp) -> Option<Vec<Arc<EventRow>>> {
        let complete = after == Stamp::ZERO || self.rows.front().is_none_or(|(oldest, _)| *oldest <= after);
        complete.then(|| self.rows.iter().filter(|(stamp, _)| *stamp > after).map(|(_, row)| row.clone()).collect())
    }
}

impl Words {
    fn log(&self) {
        let Self { level, kind, node, runner, source, detail } = self;
        let node = node.map(|node| tracing::field::display(node.short()));
        let (runner, source) = (runner.as_deref(), source.as_deref());
        match level {
            Level::Debug => debug!(kind, node, runner, source, "{detail}"),
            Level::Info => info!(kind, node, runner, source, "{detail}"),
            Level::Warn => warn!(kind, node, runner, source, "{detail}"),
            Level::Error => error!(kind, node, runner, source, "{detail}"),
        }
    }
}

/// A node's event in words; names are as `node` knows them.
pub fn words(event: &Event, node: &Node) -> Words {
    use Event as E;
    let name = |id: &NodeId| logvine_cluster::view::name_of(node, id);
    let about = |level, kind, id: Option<&NodeId>, detail: String| Words { level, kind, node: id.copied(), runner: None, source: None, detail };
    let of = |level, kind, runner: &logvine_cluster::name::Name, source: Option<&logvine_cluster::name::Name>, detail: String| Words {
        level,
        kind,
        node: Some(node.id()),
        runner: Some(runner.to_string()),
        source: source.map(ToString::to_string),
        detail,
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
        E::Accepted { operation } => {
            let words = node.operation(operation).map(|(found, _)| {
                let runners: Vec<_> = found.runners().iter().map(ToString::to_string).collect();
                let reason = found.reason().map(|reason| format!(" ({reason})")).unwrap_or_default();
                let nodes = found.targets().len();
                format!(
                    ": {} {} by {}, {nodes} node{}{reason}",
                    found.verb().word(),
                    runners.join(", "),
                    found.actor(),
                    if nodes == 1 { "" } else { "s" }
                )
            });
            about(Level::Info, "operation.accepted", Some(&node.id()), format!("operation {operation}{}", words.unwrap_or_default()))
        }
        E::Withdrawn { operation } => {
            let detail =
                format!("operation {operation} is withdrawn: in ten minutes no other node has taken it. It was not carried out, and will not be");
            about(Level::Warn, "operation.withdrawn", Some(&node.id()), detail)
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

/// A store that could not be read.
pub fn store_set_aside(aside: &SetAside) -> Words {
    let detail =
        format!("the store could not be read ({}) and is kept as {}: catalog and checkpoints must come from others", aside.why, aside.path.display());
    Words { level: Level::Error, kind: "store.set_aside", node: None, runner: None, source: None, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(log: &EventLog, detail: &str) -> String {
        let words = Words { level: Level::Debug, kind: "test", node: None, runner: None, source: None, detail: detail.to_owned() };
        log.tell(UnixMicros(1_000_000), words);
        let rows = log.since(Stamp::ZERO).unwrap();
        rows.last().unwrap().id.clone()
    }

    fn stamp(id: &str) -> Stamp {
        id.split_once('-').unwrap().0.parse().unwrap()
    }

    #[test]
    fn events_are_kept_in_order_and_read_from_a_point_on() {
        let log = EventLog::new(NodeId([1; 16]));
        let first = tell(&log, "a");
        tell(&log, "b");
        let after: Vec<String> = log.since(stamp(&first)).unwrap().iter().map(|row| row.detail.clone()).collect();
        assert_eq!(after, ["b"]);
    }

    #[test]
    fn a_point_that_is_no_longer_kept_is_said_to_be_gone() {
        let log = EventLog::new(NodeId([1; 16]));
        let first = tell(&log, "first");
        (0..=KEPT_MAX).for_each(|_| drop(tell(&log, "x")));
        assert_eq!(log.since(stamp(&first)), None);
        assert_eq!(log.since(Stamp::ZERO).unwrap().len(), KEPT_MAX);
    }
}
