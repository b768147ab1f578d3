//! What a node and its data plane say to each other. The data plane is `logvine::runner`, or a simulation's.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use logvine_gossip::{NodeId, Stamp};
use serde::{Deserialize, Serialize};

use crate::{
    checkpoint::Checkpoint,
    name::Name,
    spec::{RunnerSpec, SourceSpec},
};

/// Orders the ownerships of a source. `taker` is the node that took it, which need not be the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Epoch {
    pub counter: u64,
    pub taker: NodeId,
}

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.counter, self.taker.short())
    }
}

/// What the data plane must do.
#[derive(Debug, Clone)]
pub enum InstanceCommand {
    /// Run this runner here, or go on with another revision of it. Movable sources come by `Open`; pinned ones the instance finds itself.
    Start {
        runner: Name,
        /// The stamp of the runner's creation: checkpoints of another uid mean nothing to it.
        uid: Stamp,
        /// The stamp of this spec.
        revision: Stamp,
        spec: Arc<RunnerSpec>,
        /// What is known of the pinned sources, by source.
        pinned: BTreeMap<Name, Pinned>,
        /// The rewind generation of those that are found from now on.
        rewind: Stamp,
        /// Where its counters go on.
        counts: Counts,
    },
    /// Begin again with pinned sources, as an operator has said so: each of `pinned` from where it says, all that count from before `rewind` from their
    /// beginning. Those that are found from now on count from `rewind`. Said again, it changes nothing.
    Rewind { runner: Name, uid: Stamp, rewind: Stamp, pinned: BTreeMap<Name, Checkpoint> },
    /// Count from nothing again, unless that was so since a later word.
    ClearCounters { runner: Name, uid: Stamp, since: Stamp },
    /// Throw away what waits in the disk queue: all that has come in and is not acknowledged. Answer `QueueDropped`.
    DropQueue { runner: Name, uid: Stamp, operation: Stamp },
    /// Remove the disk queue of a runner that was deleted. Answer `QueueRemoved`.
    RemoveQueue { runner: Name, uid: Stamp },
    /// Begin anew under the same revision: flush, end what runs, start it again where it was acknowledged. `restarted` of its status says that it is done.
    Restart { runner: Name, operation: Stamp },
    /// Stop reading, flush for at most `flush`, answer `Stopped`. Also for a runner that never started.
    Stop { runner: Name, flush: Duration },
    /// Collect a movable source from `resume` on. Its instance was started before.
    Open { runner: Name, source: Arc<SourceSpec>, epoch: Epoch, resume: Checkpoint },
    /// Stop reading a source, flush for at most `flush`, answer `Closed`. Zero: drop what is in flight at once.
    Close { runner: Name, source: Name, epoch: Epoch, flush: Duration },
    /// Read a source at no more than so many bytes a second on average; None: as fast as its senders take it. Said again every few seconds as long as it
    /// holds; one that is opened anew is not capped.
    Cap { runner: Name, source: Name, epoch: Epoch, bytes_per_s: Option<u64> },
    /// A checkpoint is safe: held by a majority of the witnesses (movable), or on this node's disk (pinned, no epoch). The window moves on.
    Held { runner: Name, source: Name, epoch: Option<Epoch>, checkpoint: Checkpoint },
}

/// What is remembered of a pinned source: how far it is acknowledged, and how to recognise its file here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    pub checkpoint: Checkpoint,
    pub place: FilePlace,
}

/// How a file is recognised on the node that has it (DESIGN §7). Never part of a key: another node has other numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FilePlace {
    pub device: u64,
    pub inode: u64,
    /// Birth time in microseconds since 1970, where the file system keeps it.
    pub born: Option<u64>,
    /// Where it was last seen.
    pub path: String,
}

/// What the data plane tells.
#[derive(Debug, Clone)]
pub enum InstanceEvent {
    /// All senders have acknowledged the prefix up to here. At most once a second per source, and when half of the window is used.
    Checkpoint {
        runner: Name,
        source: Name,
        /// None for a pinned source, which then has a place.
        epoch: Option<Epoch>,
        checkpoint: Checkpoint,
        place: Option<FilePlace>,
    },
    /// A pinned source is gone and all of it acknowledged: nothing of it need be remembered.
    Finished { runner: Name, source: Name },
    /// The answer to `Close`.
    Closed {
        runner: Name,
        source: Name,
        epoch: Epoch,
        checkpoint: Checkpoint,
        /// Whether all that was read has been acknowledged; else the next owner reads the rest again.
        flushed: bool,
    },
    /// The answer to `Stop`; pinned sources have sent their last checkpoints before.
    Stopped { runner: Name },
    /// How the instance does now. When something changed, at most once a second.
    Status { runner: Name, status: InstanceStatus },
    /// The answer to `DropQueue`: how many bytes were thrown away, or why none. The checkpoint that says so was told before.
    QueueDropped { runner: Name, operation: Stamp, result: Result<u64, String> },
    /// The answer to `RemoveQueue`: how many bytes were in it, or why it is still there.
    QueueRemoved { runner: Name, uid: Stamp, result: Result<u64, String> },
    /// How far its counters are. When they have moved, at most once a second.
    Counted { runner: Name, counts: Counts },
}

/// What an instance has counted in all its runs on this node. On the node's disk about a second later, so that a crash loses no more than that; what was
/// counted and is sent again after it is counted again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// The word by which an operator had them cleared last; zero: since the runner's creation.
    pub since: Stamp,
    /// Records and bytes of sources that were read.
    pub read_records: u64,
    pub read_bytes: u64,
    /// Those that all senders have acknowledged.
    pub records: u64,
    pub bytes: u64,
    /// Records on which a stage failed, and failed attempts to read.
    pub errors: u64,
    /// Records that a sink rejected for themselves, and that were put aside.
    pub dead_lettered: u64,
    /// Files that were rotated, truncated or deleted and whose unread rest was not found.
    pub rotation_gaps: u64,
    /// Records that no sender took, as no `when` held for them; they are among those that all senders have acknowledged.
    pub unrouted: u64,
    /// By stage: its errors.
    pub stages: BTreeMap<String, u64>,
    pub senders: BTreeMap<Name, SenderCounts>,
}

/// What a sender has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SenderCounts {
    /// Records that its sink has acknowledged.
    pub records: u64,
    /// Their bytes, as they were sent.
    pub bytes: u64,
    /// Sends that failed and were repeated.
    pub retries: u64,
    /// Records that its sink refused for themselves.
    pub dead_lettered: u64,
}

/// How an instance does, as its node map tells it. Numbers are quantised where they are published.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceStatus {
    pub state: InstanceState,
    /// The revision at work.
    pub revision: Stamp,
    /// The stamp of the last command that it be restarted, once it was; zero: none.
    pub restarted: Stamp,
    /// Why it is not running, or the last error of a running one.
    pub error: Option<String>,
    pub records_per_s: f64,
    pub bytes_per_s: f64,
    /// Bytes that are known to wait at its sources.
    pub lag_bytes: u64,
    /// [`Counts::since`].
    #[serde(skip_serializing_if = "is_zero")]
    pub counted_since: Stamp,
    /// Since then; see [`Counts`].
    pub records: u64,
    pub errors: u64,
    pub dead_lettered: u64,
    /// Sources here that cannot be read now, with the reason. At most 16; the rest is counted in `errors`.
    pub source_errors: BTreeMap<Name, String>,
}

fn is_zero(stamp: &Stamp) -> bool {
    *stamp == Stamp::ZERO
}

/// The state of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    #[default]
    Starting,
    Running,
    /// A sender answers with what only an operator can mend (401, 403, 404).
    Paused,
    /// It cannot run as it is written: the error says why.
    Failed,
    Stopped,
}
