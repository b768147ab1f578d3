//! Turns acknowledgements into a checkpoint: what is sent to whom and when, what is sent again, and how far a reader may go (DESIGN §5.3, §5.4, §7).
//!
//! ```text
//!              ┌── window: held by the witnesses? ──┐
//! batch ─> buffered ─> Send ─> acknowledged ─> Done │─> Checkpoint ─> (witnesses) ─> held
//!                       ^ │
//!                       │ ├─ Retry, Paused: the sender waits, then one batch at a time until one is acknowledged
//!                       ├─┼─ Rejected: halves, down to the one record, which is dead-lettered
//!                       └─┴─ Mixed: of single records, some are dead-lettered, some wait, the rest is acknowledged
//! ```
//! One [`Delivery`] serves one source for as long as this node reads it; each of its senders sees every record. The payloads stay with the host.
//!
//! Invariants: a sender's position moves only over the contiguous prefix that it has acknowledged; a file is in a checkpoint only when every sender
//! is done with the files before it, so that resuming at the last file skips nothing; no more than the window is emitted past the held checkpoint;
//! what is buffered is bounded, what waits for a retry included.
//! Not here: reading, the payloads, the senders' IO, who holds a checkpoint.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use logvine_gossip::{Instant, Now};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::{
    canary::planted,
    checkpoint::{Checkpoint, FileKey, Position},
    name::Name,
};

mod face;
mod lane;
mod pace;
mod records;
mod refused;
#[cfg(test)]
mod tests;
mod window;

pub use face::{Again, Batch, BatchError, BatchId, DeliveryConfig, Outcome, Output, Refusal, SendId, Trouble};
use lane::{Failure, Lane, Part, PartState};
use pace::Pace;
pub use records::Records;
use window::Window;

/// See the module.
#[derive(Debug)]
pub struct Delivery {
    config: DeliveryConfig,
    rng: ChaCha8Rng,
    lanes: Vec<Lane>,
    /// The batches not yet acknowledged by all, and those behind them. The front's id is `first`.
    entries: VecDeque<Entry>,
    first: BatchId,
    buffered_bytes: u64,
    /// Where the next batch must begin, at the latest.
    read_to: Option<(FileKey, u64)>,
    window: Window,
    sends: BTreeMap<SendId, (usize, BatchId)>,
    next_send: SendId,
    /// Positions by file and sender, those of files that not every sender has reached included.
    acknowledged: Checkpoint,
    told: Checkpoint,
    told_at: Option<Instant>,
    /// Bytes that all senders have acknowledged since `told`.
    untold_bytes: u64,
    closing: Closing,
    pace: Pace,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
struct Entry {
    batch: Batch,
    emitted: bool,
    done: bool,
    /// By sender: what it has not acknowledged. Empty: it has the batch.
    parts: Vec<Vec<Part>>,
}

impl Entry {
    fn is_acknowledged(&self) -> bool {
        self.parts.iter().all(Vec::is_empty)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    No,
    Until(Instant),
    Closed,
}

impl Delivery {
    /// Goes on from `resume`, with `senders` (at least one, without repeats). `seed` draws the back-off's jitter.
    pub fn new(config: DeliveryConfig, senders: &[Name], resume: Checkpoint, seed: u64) -> Self {
        assert!(!senders.is_empty(), "a runner has at least one sender");
        let begin = resume.resume(senders);
        let lanes = senders.iter().map(|sender| {
            let cursor = begin.as_ref().map(|(file, positions)| (*file, positions[sender]));
            Lane::new(sender.clone(), cursor)
        });
        let mut delivery = Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            lanes: lanes.collect(),
            entries: VecDeque::new(),
            first: BatchId(0),
            buffered_bytes: 0,
            read_to: None,
            window: Window::new(&config, resume.clone()),
            sends: BTreeMap::new(),
            next_send: SendId(0),
            told: resume.clone(),
            acknowledged: resume,
            told_at: None,
            untold_bytes: 0,
            closing: Closing::No,
            pace: Pace::default(),
            outputs: VecDeque::new(),
            config,
        };
        for lane in 0..delivery.lanes.len() {
            delivery.note_position(lane);
        }
        delivery.read_to = delivery.resume().map(|(file, position)| (file, position.offset));
        delivery
    }

    /// Where the reader begins: the least position of the present senders. None for a source that was never read.
    pub fn resume(&self) -> Option<(FileKey, Position)> {
        self.lanes.iter().filter_map(|lane| lane.cursor).min()
    }

    /// Whether the reader may bring another batch.
    pub fn may_read(&self) -> bool {
        let has_room = self.entries.len() < self.config.batches_max && self.buffered_bytes < self.config.buffer_bytes_max;
        self.closing == Closing::No && has_room && self.pace.waits_until().is_none()
    }

    /// How full the queue of its slowest sender is, in thousandths: what was read and is not acknowledged, of what may be. A sender that only an operator
    /// can mend makes nobody busy.
    pub fn queue_permille(&self) -> u32 {
        if self.lanes.iter().any(|lane| matches!(lane.trouble, Some(Trouble::Paused { .. }))) {
            return 0;
        }
        let part = |of: u64, all: u64| u32::try_from((of * 1_000).checked_div(all).unwrap_or(0).min(1_000)).expect("at most a thousand");
        part(self.buffered_bytes, self.config.buffer_bytes_max).max(part(self.entries.len() as u64, self.config.batches_max as u64))
    }

    /// Payload bytes that wait for a sender's acknowledgement.
    pub fn buffered_bytes(&self) -> u64 {
        self.buffered_bytes
    }

    /// Whether every sender has acknowledged every batch.
    pub fn is_drained(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of the source emitted past the held checkpoint.
    pub fn unheld_bytes(&self) -> u64 {
        self.window.bytes()
    }

    /// How far the source is acknowledged: for each sender, in the last file that all of them have reached.
    pub fn checkpoint(&self) -> Checkpoint {
        let mut checkpoint = self.acknowledged.clone();
        if let Some((reached, _)) = self.resume() {
            checkpoint.files.retain(|file, _| *file <= reached);
        }
        while checkpoint.files.len() > Checkpoint::FILES_MAX {
            checkpoint.files.pop_first();
        }
        checkpoint
    }

    /// The senders that do not get on, and why.
    pub fn troubles(&self) -> impl Iterator<Item = (&Name, &Trouble)> {
        self.lanes.iter().filter_map(|lane| lane.trouble.as_ref().map(|trouble| (&lane.sender, trouble)))
    }

    /// Takes the next batch of the reader.
    pub fn handle_batch(&mut self, now: Now, batch: Batch) -> Result<BatchId, BatchError> {
        self.check(&batch)?;
        let id = BatchId(self.first.0 + self.entries.len() as u64);
        let parts = self.lanes.iter().map(|lane| {
            let whole = Part { records: (0..batch.records).into(), attempts: 0, state: PartState::Ready };
            if batch.records == 0 || lane.is_past(&batch) { vec![] } else { vec![whole] }
        });
        let entry = Entry { parts: parts.collect(), emitted: false, done: false, batch };
        self.read_to = self.read_to.max(Some((entry.batch.file, entry.batch.end.offset)));
        self.buffered_bytes += entry.batch.bytes;
        self.pace.note(now.at, entry.batch.span());
        self.entries.push_back(entry);
        self.note_done(id);
        self.settle(now);
        Ok(id)
    }

    fn check(&self, batch: &Batch) -> Result<(), BatchError> {
        if self.closing != Closing::No {
            return Err(BatchError::Closing);
        }
        if !self.may_read() {
            return Err(BatchError::Backlogged);
        }
        if batch.end.offset < batch.start.offset {
            return Err(BatchError::Backwards { start: batch.start.offset, end: batch.end.offset });
        }
        match self.read_to {
            Some((current, _)) if batch.file < current => Err(BatchError::EarlierFile { file: batch.file, current }),
            Some((current, expected)) if batch.file == current && batch.start.offset > expected => {
                Err(BatchError::Gap { file: batch.file, start: batch.start.offset, expected })
            }
            _ => Ok(()),
        }
    }

    /// Takes what became of a send. One that is not known (any more) changes nothing.
    pub fn handle_outcome(&mut self, now: Now, send: SendId, outcome: Outcome) {
        let Some((lane, batch)) = self.sends.remove(&send) else { return };
        self.lanes[lane].in_flight -= 1;
        match outcome {
            Outcome::Acknowledged => {
                self.lanes[lane].recover(send);
                self.take_part(lane, batch, send);
                self.note_done(batch);
            }
            Outcome::Rejected { reason } => {
                self.lanes[lane].recover(send);
                self.split(lane, batch, send, &reason);
            }
            Outcome::Retry { reason, after } => {
                self.part(lane, batch, send).state = PartState::Ready;
                let failure = Failure { at: now.at, send, next_send: self.next_send };
                self.lanes[lane].retry_later(failure, &self.config, &mut self.rng, reason, after);
            }
            Outcome::Paused { reason } => {
                self.part(lane, batch, send).state = PartState::Ready;
                self.lanes[lane].pause(Failure { at: now.at, send, next_send: self.next_send }, &self.config, reason);
            }
            Outcome::Mixed { rejected, again } => self.take_mixed(now, lane, batch, send, rejected, again),
            Outcome::Skipped => {
                self.take_part(lane, batch, send);
                self.note_done(batch);
            }
        }
        self.settle(now);
    }

    /// The records of an [`Output::DeadLetter`] are durably aside: for their sender they count as acknowledged.
    pub fn handle_dead_lettered(&mut self, now: Now, send: SendId) {
        let Some((lane, batch)) = self.sends.remove(&send) else { return };
        self.lanes[lane].in_flight -= 1;
        self.take_part(lane, batch, send);
        self.note_done(batch);
        self.settle(now);
    }

    /// A checkpoint is safe with others (or on this node's disk): the window moves on.
    pub fn handle_held(&mut self, now: Now, checkpoint: &Checkpoint) {
        self.window.hold(checkpoint, &self.lanes);
        self.settle(now);
    }

    /// From now on no more bytes a second are read than this on average; None: as many as the senders take.
    pub fn handle_cap(&mut self, now: Now, bytes_per_s: Option<u64>) {
        self.pace.set(bytes_per_s);
        self.settle(now);
    }

    /// Reads no more. What was emitted is flushed for at most `flush`; what was not is forgotten, and read again without a repeat by whoever reads
    /// next. Said again, it can only end sooner.
    pub fn handle_close(&mut self, now: Now, flush: Duration) {
        let deadline = now.at + flush;
        self.closing = match self.closing {
            Closing::No => Closing::Until(deadline),
            Closing::Until(earlier) => Closing::Until(earlier.min(deadline)),
            Closing::Closed => Closing::Closed,
        };
        self.settle(now);
    }

    /// Does what has become due. Early or repeated calls do no harm.
    pub fn handle_timeout(&mut self, now: Now) {
        self.settle(now);
    }

    /// What to do next; drain it after each `handle_*`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether some sender that failed waits before it tries again, up to [`DeliveryConfig::retry_most`].
    pub fn waits_to_retry(&self) -> bool {
        self.retries().next().is_some()
    }

    fn retries(&self) -> impl Iterator<Item = Instant> {
        self.lanes.iter().enumerate().filter(|(at, lane)| lane.in_flight == 0 && self.has_work(*at)).filter_map(|(_, lane)| lane.blocked_until)
    }

    /// When [`Self::handle_timeout`] wants to be called, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let close = match self.closing {
            Closing::Closed => return None,
            Closing::Until(deadline) => Some((deadline, "flush ends")),
            Closing::No => None,
        };
        let checkpoint = self.told_at.filter(|_| self.is_dirty()).map(|at| (at + self.config.checkpoint_every, "checkpoint"));
        let cap = self.pace.waits_until().map(|at| (at, "cap"));
        self.retries().map(|at| (at, "retry")).chain(close).chain(checkpoint).chain(cap).min()
    }

    /// Whether something emitted is ready for this lane: that can be sent whatever the window says. A blocked lane has it, as what failed was
    /// emitted.
    fn has_work(&self, lane: usize) -> bool {
        let ready = |entry: &Entry| entry.parts[lane].iter().any(|part| part.state == PartState::Ready);
        self.entries.iter().any(|entry| entry.emitted && ready(entry))
    }

    fn is_dirty(&self) -> bool {
        self.closing == Closing::No && self.checkpoint() != self.told
    }

    fn entry(&mut self, batch: BatchId) -> &mut Entry {
        let at = usize::try_from(batch.0 - self.first.0).expect("a batch in flight is among the entries");
        &mut self.entries[at]
    }

    fn part(&mut self, lane: usize, batch: BatchId, send: SendId) -> &mut Part {
        let parts = &mut self.entry(batch).parts[lane];
        parts.iter_mut().find(|part| part.state == PartState::Sent(send)).expect("a known send has its part")
    }

    fn take_part(&mut self, lane: usize, batch: BatchId, send: SendId) {
        self.entry(batch).parts[lane].retain(|part| part.state != PartState::Sent(send));
    }

    fn begin(&mut self, lane: usize, batch: BatchId) -> SendId {
        let send = self.next_send;
        self.next_send = SendId(send.0 + 1);
        self.sends.insert(send, (lane, batch));
        self.lanes[lane].in_flight += 1;
        send
    }

    /// Lets a payload go once every sender has it.
    fn note_done(&mut self, batch: BatchId) {
        let entry = self.entry(batch);
        if entry.is_acknowledged() && !entry.done {
            entry.done = true;
            let bytes = entry.batch.bytes;
            self.buffered_bytes -= bytes;
            self.outputs.push_back(Output::Done { batch });
        }
    }

    /// Brings everything up to date after an input.
    fn settle(&mut self, now: Now) {
        if self.closing == Closing::Closed {
            return;
        }
        self.pace.settle(now.at);
        for lane in 0..self.lanes.len() {
            self.advance(lane);
        }
        while self.entries.front().is_some_and(Entry::is_acknowledged) {
            let entry = self.entries.pop_front().expect("there is a front");
            self.first = BatchId(self.first.0 + 1);
            self.untold_bytes += entry.batch.span();
        }
        for lane in 0..self.lanes.len() {
            self.pump(now, lane);
        }
        self.tell(now);
        self.finish(now);
    }

    /// Moves a sender's position over the contiguous prefix that it has acknowledged.
    fn advance(&mut self, lane: usize) {
        while let Some(entry) = self.lanes[lane].next.0.checked_sub(self.first.0).and_then(|at| self.entries.get(usize::try_from(at).ok()?)) {
            let (file, start, end) = (entry.batch.file, entry.batch.start, entry.batch.end);
            let acknowledged = entry.parts[lane].is_empty();
            if self.lanes[lane].reach(file, start) {
                self.note_position(lane);
            }
            if !acknowledged && !planted("checkpoint-past-a-hole") {
                return;
            }
            if self.lanes[lane].reach(file, end) {
                self.note_position(lane);
            }
            self.lanes[lane].next.0 += 1;
        }
    }

    fn note_position(&mut self, lane: usize) {
        let lane = &self.lanes[lane];
        if let Some((file, position)) = lane.cursor {
            self.acknowledged.files.entry(file).or_default().insert(lane.sender.clone(), position);
        }
        // Files before the last that all have reached are finished; a few are kept for the rest of a rotated one (`Checkpoint::FILES_MAX`).
        let Some((reached, _)) = self.resume() else { return };
        while self.acknowledged.files.range(..=reached).count() > Checkpoint::FILES_MAX {
            self.acknowledged.files.pop_first();
        }
    }

    /// Sends to one sender what it may have now, oldest first.
    fn pump(&mut self, now: Now, lane: usize) {
        for at in 0..self.entries.len() {
            let batch = BatchId(self.first.0 + at as u64);
            while self.lanes[lane].may_send(now.at, self.config.sends_max) {
                let Some(part) = self.entries[at].parts[lane].iter().position(|part| part.state == PartState::Ready) else { break };
                if !self.emit(now, at) {
                    return;
                }
                let send = self.begin(lane, batch);
                let part = &mut self.entries[at].parts[lane][part];
                part.state = PartState::Sent(send);
                part.attempts = part.attempts.saturating_add(1);
                let (records, attempt) = (part.records.clone(), part.attempts);
                self.outputs.push_back(Output::Send { send, sender: self.lanes[lane].sender.clone(), batch, records, attempt });
            }
        }
    }

    /// Whether the batch may be sent: it was before, or the window has room for it. Emission keeps the order of the source.
    fn emit(&mut self, now: Now, at: usize) -> bool {
        if self.entries[at].emitted {
            return true;
        }
        let before = self.entries.range(..at).all(|entry| entry.emitted || entry.is_acknowledged());
        let batch = &self.entries[at].batch;
        if !before || self.closing != Closing::No || !self.window.names(&batch.file) || !self.window.has_room(now.at, batch.span()) {
            return false;
        }
        self.window.emit(now.at, batch);
        self.entries[at].emitted = true;
        true
    }

    fn tell(&mut self, now: Now) {
        let due = self.told_at.is_none_or(|at| now.at.since(at) >= self.config.checkpoint_every);
        // An eighth keeps a slow sink, which acknowledges little by little, from a checkpoint for each batch.
        let pressed = self.window.bytes() >= self.config.window_bytes / 2 && self.untold_bytes >= self.config.window_bytes / 8;
        // Until it is held nothing of a new file is sent.
        let unnamed = self.resume().is_some_and(|(file, _)| !self.told.files.contains_key(&file) && !self.window.names(&file));
        if (due || pressed || unnamed) && self.is_dirty() {
            self.told = self.checkpoint();
            self.told_at = Some(now.at);
            self.untold_bytes = 0;
            self.outputs.push_back(Output::Checkpoint { checkpoint: self.told.clone() });
        }
    }

    fn finish(&mut self, now: Now) {
        let Closing::Until(deadline) = self.closing else { return };
        let settled = self.entries.iter().all(|entry| !entry.emitted || entry.is_acknowledged());
        if settled || now.at >= deadline {
            // One that all have, behind one that not all have, is not in the checkpoint either: it would be repeated.
            let flushed = !self.entries.iter().any(|entry| entry.emitted);
            self.closing = Closing::Closed;
            self.sends.clear();
            self.entries.clear();
            self.buffered_bytes = 0;
            self.outputs.push_back(Output::Closed { checkpoint: self.checkpoint(), flushed });
        }
    }
}
