//! What goes into a [`Delivery`], and what comes out.

use std::time::Duration;

#[cfg(doc)]
use super::Delivery;
use super::Records;
use crate::{
    checkpoint::{Checkpoint, FileKey, Position},
    name::Name,
};

/// How a [`Delivery`] is bounded and paced.
#[derive(Debug, Clone)]
pub struct DeliveryConfig {
    /// W: bytes of the source that may be emitted past the held checkpoint (DESIGN §5.3). A single batch above it goes out alone.
    pub window_bytes: u64,
    /// Nothing is emitted while an emission older than this is not held.
    pub window_age: Duration,
    /// Payload bytes held before the reader must wait; exceeded by at most one batch.
    pub buffer_bytes_max: u64,
    /// Batches held before the reader must wait.
    pub batches_max: usize,
    /// Sends to one sender that may be unanswered at once.
    pub sends_max: usize,
    /// Least time between two checkpoints, unless half of the window is used.
    pub checkpoint_every: Duration,
    /// The first wait after a failed send; it doubles up to `retry_most`.
    pub retry_least: Duration,
    /// The longest wait by back-off.
    pub retry_most: Duration,
    /// How often a sender that only an operator can mend is tried.
    pub paused_every: Duration,
    /// The longest wait that a sink may ask for. Beyond it a mistaken `Retry-After` would look like a stopped runner.
    pub after_max: Duration,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            window_bytes: 4 << 20,
            window_age: Duration::from_secs(5),
            // As much as the window lets out: more could not be on its way, less would leave a fast sink waiting for the reader.
            buffer_bytes_max: 4 << 20,
            batches_max: 64,
            // Hides one round trip and one group commit; more only widens what a slow sink has unanswered.
            sends_max: 4,
            checkpoint_every: Duration::from_secs(1),
            retry_least: Duration::from_millis(500),
            retry_most: Duration::from_secs(30),
            paused_every: Duration::from_secs(30),
            after_max: Duration::from_secs(600),
        }
    }
}

/// A batch as its [`Delivery`] names it; grows by one with each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchId(pub u64);

/// One send, or one dead letter: what its outcome is told by. Never used twice by one [`Delivery`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SendId(pub u64);

/// Records of one file, in order, without a gap to the batch before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub file: FileKey,
    /// Before the first record.
    pub start: Position,
    /// After the last record: where a checkpoint goes when all of it is acknowledged.
    pub end: Position,
    /// How many records came of it; none is fine (a transform dropped them).
    pub records: u32,
    /// What the payload takes in memory.
    pub bytes: u64,
}

impl Batch {
    pub(super) fn span(&self) -> u64 {
        self.end.offset - self.start.offset
    }
}

/// Why a batch was not taken. The state is as before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// [`Delivery::may_read`] was not asked.
    #[error("too much waits for its senders: ask `may_read` before reading")]
    Backlogged,
    #[error("the batch begins at byte {start} of {file}, after byte {expected}: what lies between would be lost")]
    Gap { file: FileKey, start: u64, expected: u64 },
    #[error("the batch ends at byte {end} before it begins at byte {start}")]
    Backwards { start: u64, end: u64 },
    #[error("the batch is of {file}, an earlier file than {current}")]
    EarlierFile { file: FileKey, current: FileKey },
    #[error("the source is being closed")]
    Closing,
}

/// What became of one send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The sink has all records of it, durably.
    Acknowledged,
    /// It may succeed later (time-outs, 408, 429, 5xx, a full disk); `after` is what the sink asked for.
    Retry { reason: String, after: Option<Duration> },
    /// The sink will never take it as it is (400, 413, 422).
    Rejected { reason: String },
    /// Only an operator can mend it (401, 403, 404).
    Paused { reason: String },
    /// The sink has judged each record for itself (the items of a bulk, a partial success). It has all of them durably but those named here, by their
    /// numbers in the batch; numbers that were not in the send say nothing.
    Mixed { rejected: Vec<Refusal>, again: Option<Again> },
    /// None of the records is for this sender: as good as acknowledged, and no news of how its sink does.
    Skipped,
}

/// A record that the sink will never take as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub record: u32,
    pub reason: String,
}

/// Records that may be taken later: as [`Outcome::Retry`], of some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    pub records: Records,
    pub reason: String,
    pub after: Option<Duration>,
}

/// What the host must do. Every `Send` wants one [`Delivery::handle_outcome`], every `DeadLetter` one [`Delivery::handle_dead_lettered`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send these records of the batch to `sender`; `attempt` counts from 1.
    Send { send: SendId, sender: Name, batch: BatchId, records: Records, attempt: u32 },
    /// Keep these records, which `sender` refuses for themselves, durably aside: at least one.
    DeadLetter { send: SendId, sender: Name, batch: BatchId, refused: Vec<Refusal> },
    /// Every sender has the batch: its payload can go.
    Done { batch: BatchId },
    /// The senders have acknowledged everything up to here.
    Checkpoint { checkpoint: Checkpoint },
    /// The last word after [`Delivery::handle_close`]. `flushed`: every record that was ever sent is before the checkpoint, so the next owner
    /// repeats nothing.
    Closed { checkpoint: Checkpoint, flushed: bool },
}

/// Why a sender does not get on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It is tried again by itself.
    Retrying { reason: String },
    /// It waits for an operator, and is tried now and then.
    Paused { reason: String },
}
