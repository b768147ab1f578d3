//! What happened, in words.

use logvine_cluster::{event::Event, node::Node};
use logvine_gossip::NodeId;
use tracing::{debug, error, info, warn};

use crate::{
    agent::{KeyWord, Relayed},
    store::SetAside,
};

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
    pub(super) level: Level,
    pub(super) kind: &'static str,
    pub(super) node: Option<NodeId>,
    pub(super) runner: Option<String>,
    pub(super) source: Option<String>,
    /// Of how many sources, where they are several.
    pub(super) sources: Option<usize>,
    pub(super) operation: Option<String>,
    pub(super) detail: String,
}

impl Words {
    /// Of nobody in particular.
    fn new(level: Level, kind: &'static str, detail: String) -> Self {
        Self { level, kind, node: None, runner: None, source: None, sources: None, operation: None, detail }
    }

    pub(super) fn log(&self) {
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
    let about = |level, kind, id: Option<&NodeId>, detail: String| Words { node: id.copied(), ..Words::new(level, kind, detail) };
    let of = |level, kind, runner: &logvine_cluster::name::Name, source: Option<&logvine_cluster::name::Name>, detail: String| Words {
        node: Some(node.id()),
        runner: Some(runner.to_string()),
        source: source.map(ToString::to_string),
        ..Words::new(level, kind, detail)
    };
    let commanded = |level, kind, id: &str, about: Option<NodeId>, detail: String| {
        let runners = node.operation(id).map(|(found, _)| found.runners().to_vec()).unwrap_or_default();
        let runner = if let [runner] = runners.as_slice() { Some(runner.to_string()) } else { None };
        Words { node: about, runner, operation: Some(id.to_owned()), ..Words::new(level, kind, detail) }
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
    Words { node: Some(me), ..Words::new(Level::Info, "node.started", detail) }
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
    Words { node, runner: Some((*runner).to_owned()), ..Words::new(Level::Info, kind, detail) }
}

/// What is ordered of the cluster's keys, by whom (through whom) and why.
fn key_words(KeyWord { order, by, reason }: &KeyWord, through: Option<&str>) -> String {
    let by = if by.is_empty() { "somebody" } else { by };
    let through = through.map(|name| format!(" through {name}")).unwrap_or_default();
    let reason = reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    format!("key {order} by {by}{through}{reason}")
}

/// This node's ring of cluster keys has changed.
pub(crate) fn key_changed(me: NodeId, name: &str, word: &KeyWord) -> Words {
    Words { node: Some(me), ..Words::new(Level::Info, "key.changed", format!("{}: {name} has carried it out", key_words(word, None))) }
}

/// This node gives a key order to so many nodes.
pub(crate) fn key_commanded(me: NodeId, name: &str, word: &KeyWord, nodes: usize) -> Words {
    Words { node: Some(me), ..Words::new(Level::Info, "key.commanded", format!("{}: {nodes} node(s) are told", key_words(word, Some(name)))) }
}

/// What became of a key order that this node has given.
pub(crate) fn key_concluded(me: NodeId, name: &str, word: &KeyWord, relayed: &[Relayed]) -> Words {
    let failed: Vec<String> = relayed.iter().filter_map(|one| Some(format!("{}: {}", one.name, one.outcome.as_ref().err()?))).collect();
    let (level, but) = if failed.is_empty() { (Level::Info, String::new()) } else { (Level::Warn, format!("; not {}", failed.join("; "))) };
    let detail = format!("{}: {} of {} have carried it out{but}", key_words(word, Some(name)), relayed.len() - failed.len(), relayed.len());
    Words { node: Some(me), ..Words::new(level, "key.concluded", detail) }
}

/// A store that could not be read.
pub fn store_set_aside(aside: &SetAside) -> Words {
    let detail =
        format!("the store could not be read ({}) and is kept as {}: catalog and checkpoints must come from others", aside.why, aside.path.display());
    Words::new(Level::Error, "store.set_aside", detail)
}

/// The store's disk is full.
pub fn store_full(why: &str) -> Words {
    let detail = format!(
        "the disk of the data directory has no room ({why}): this node promises nothing and reads no further until there is some; what it had to write waits"
    );
    Words::new(Level::Error, "store.full", detail)
}

/// It has room again.
pub fn store_has_room() -> Words {
    let detail = "the disk of the data directory has room again, and what waited is written".to_owned();
    Words::new(Level::Info, "store.room", detail)
}
