//! What people see of an instance beside its status: each stage's errors, how each sender and each source does (DESIGN §8.2).
//!
//! It outlives the instance's task tree: a revision that fails is no reason to forget why the one before did. Everything in it is bounded.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use logvine_cluster::{
    checkpoint::Checkpoint,
    delivery::{Outcome, Trouble},
    instance::{Counts, SenderCounts},
    name::Name,
};
use logvine_gossip::UnixMicros;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{board::Board, tap::Taps};

/// Errors that a stage remembers. Equal ones in a row are one.
const ERRORS_MAX: usize = 100;
/// An error says what is wrong; a sink's page of HTML does not.
const ERROR_CHARS_MAX: usize = 1_000;
/// Sources whose rows are told at once; how many there are is told too.
const SOURCES_MAX: usize = 1_000;
/// What a [`LagClock`] remembers. When it is full, every other mark goes: a long lag is told more coarsely.
const MARKS_MAX: usize = 128;

/// An error of a stage, as often as it came in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorNote {
    pub error: String,
    /// The source on which it came last; none where it concerns no single one.
    pub source: Option<String>,
    pub count: u64,
    pub first_seen: UnixMicros,
    pub last_seen: UnixMicros,
}

/// The errors of one stage.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StageErrors {
    /// See `Counts`.
    pub count: u64,
    /// Of this process, the newest last, at most [`ERRORS_MAX`].
    pub recent: VecDeque<ErrorNote>,
}

impl StageErrors {
    fn note(&mut self, wall: UnixMicros, source: Option<&Name>, error: &str, count: u64) {
        self.count += count;
        let error: String = error.chars().take(ERROR_CHARS_MAX).collect();
        let source = source.map(ToString::to_string);
        if let Some(last) = self.recent.back_mut().filter(|last| last.error == error) {
            last.count += count;
            last.last_seen = wall;
            last.source = source;
            return;
        }
        if self.recent.len() == ERRORS_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(ErrorNote { error, source, count, first_seen: wall, last_seen: wall });
    }
}

/// How a sender does, over all sources of its instance.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SenderNote {
    #[serde(flatten)]
    pub counts: SenderCounts,
    /// Sends that have no answer yet.
    pub in_flight: u64,
    /// From the last send to its acknowledgement, its time in the sender's queue included.
    pub ack_ms: Option<u64>,
    pub acknowledged_at: Option<UnixMicros>,
    /// Why it does not get on now.
    pub trouble: Option<String>,
}

/// Where a source is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceAt {
    pub source: String,
    /// Where its file was last seen, if it is one of this node's.
    pub path: Option<String>,
    pub lag_bytes: u64,
    pub lag_s: u64,
    pub error: Option<String>,
    pub acknowledged: Checkpoint,
}

/// All that an instance's node knows of it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Detail {
    /// By stage: `read`, `parse`, `transform`, `route`, `send NAME`, `dead letters`, `instance`.
    pub stages: BTreeMap<String, StageErrors>,
    pub senders: BTreeMap<String, SenderNote>,
    /// Records and bytes of sources that were read; see `Counts`.
    pub read_records: u64,
    pub read_bytes: u64,
    /// What waits in its disk queue, and what its senders have in hand of it.
    pub queue_bytes: u64,
    /// Files that were rotated, truncated or deleted and whose unread rest was not found.
    pub rotation_gaps: u64,
    /// Records that no sender took, as no `when` held for them.
    pub unrouted: u64,
    /// The same that all senders have acknowledged.
    pub bytes: u64,
    /// The longest of its sources'.
    pub lag_s: u64,
    /// Of each source, at most [`SOURCES_MAX`].
    pub sources: Vec<SourceAt>,
    pub sources_total: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Sight {
    errors: Mutex<BTreeMap<String, StageErrors>>,
    senders: Mutex<BTreeMap<Name, SenderNote>>,
    board: Mutex<Weak<Board>>,
    pub taps: Taps,
}

impl Sight {
    /// Notes an error of a stage; `count` records (or attempts) suffered it.
    pub fn note_error(&self, stage: &str, source: Option<&Name>, error: &str, count: u64) {
        let mut errors = lock(&self.errors);
        let wall = super::clock::now().wall;
        match errors.get_mut(stage) {
            Some(of_stage) => of_stage.note(wall, source, error, count),
            // Stages are few: the names in a spec bound them.
            None => errors.entry(stage.to_owned()).or_default().note(wall, source, error, count),
        }
    }

    /// These records are on their way to a sink.
    pub(super) fn note_send(&self, sender: &Name) {
        lock(&self.senders).entry(sender.clone()).or_default().in_flight += 1;
    }

    /// What became of them, or that nobody waits for that any more (None).
    pub(super) fn note_outcome(&self, source: &Name, sent: &Sent, outcome: Option<&Outcome>) {
        let wall = super::clock::now().wall;
        let failed = {
            let mut senders = lock(&self.senders);
            let note = senders.entry(sent.sender.clone()).or_default();
            note.in_flight = note.in_flight.saturating_sub(1);
            match outcome {
                None => None,
                Some(Outcome::Acknowledged) => {
                    note.counts.records += sent.records;
                    note.counts.bytes += sent.bytes;
                    note.ack_ms = u64::try_from(sent.at.elapsed().as_millis()).ok();
                    note.acknowledged_at = Some(wall);
                    None
                }
                Some(Outcome::Retry { reason, .. } | Outcome::Paused { reason }) => {
                    note.counts.retries += 1;
                    Some(reason)
                }
                Some(Outcome::Mixed { rejected, again }) => {
                    let taken = sent.records.saturating_sub(rejected.len() as u64 + again.as_ref().map_or(0, |again| again.records.count().into()));
                    note.counts.records += taken;
                    // As if all were of one length.
                    note.counts.bytes += sent.bytes * taken / sent.records.max(1);
                    note.counts.retries += u64::from(again.is_some());
                    again.as_ref().map(|again| &again.reason)
                }
                // Halves of it are sent again; what remains is told as a dead letter. Nothing was sent of what is skipped.
                Some(Outcome::Rejected { .. } | Outcome::Skipped) => None,
            }
        };
        if let Some(reason) = failed {
            self.note_error(&format!("send {}", sent.sender), Some(source), reason, 1);
        }
    }

    /// A sink has refused a record for itself.
    pub(super) fn note_dead_letter(&self, source: &Name, sender: &Name, reason: &str) {
        lock(&self.senders).entry(sender.clone()).or_default().counts.dead_lettered += 1;
        self.note_error(&format!("send {sender}"), Some(source), reason, 1);
    }

    /// The task tree that works now; senders that it has not are forgotten.
    pub(super) fn look_at(&self, board: &Arc<Board>, senders: &[Name]) {
        let mut notes = lock(&self.senders);
        notes.retain(|name, _| senders.contains(name));
        for name in senders {
            // What was unanswered was unanswered to the tree before.
            notes.entry(name.clone()).or_default().in_flight = 0;
        }
        drop(notes);
        *lock(&self.board) = Arc::downgrade(board);
    }

    /// Counts on from there. What was seen of errors is no counter, and stays.
    pub(super) fn count_from(&self, Counts { stages, senders, .. }: &Counts) {
        let mut errors = lock(&self.errors);
        errors.values_mut().for_each(|of_stage| of_stage.count = 0);
        stages.iter().for_each(|(stage, count)| errors.entry(stage.clone()).or_default().count = *count);
        drop(errors);
        let mut notes = lock(&self.senders);
        notes.values_mut().for_each(|note| note.counts = SenderCounts::default());
        senders.iter().for_each(|(sender, counts)| notes.entry(sender.clone()).or_default().counts = *counts);
    }

    /// What has been counted: by stage its errors, and by sender.
    pub(super) fn counts(&self) -> (BTreeMap<String, u64>, BTreeMap<Name, SenderCounts>) {
        let stages =
            lock(&self.errors).iter().filter(|(_, of_stage)| of_stage.count > 0).map(|(stage, errors)| (stage.clone(), errors.count)).collect();
        let counted = |(_, note): &(&Name, &SenderNote)| note.counts != SenderCounts::default();
        let senders = lock(&self.senders).iter().filter(counted).map(|(sender, note)| (sender.clone(), note.counts)).collect();
        (stages, senders)
    }

    /// It was re-created under its name: what is known of the old one is not its.
    pub(super) fn clear(&self) {
        lock(&self.errors).clear();
        lock(&self.senders).clear();
    }

    /// All of it, as it is now.
    pub fn detail(&self) -> Detail {
        let mut detail = Detail { stages: lock(&self.errors).clone(), ..Detail::default() };
        detail.senders = lock(&self.senders).iter().map(|(name, note)| (name.to_string(), note.clone())).collect();
        let Some(board) = lock(&self.board).upgrade() else { return detail };
        board.fill_detail(&mut detail, SOURCES_MAX);
        for (sender, trouble) in board.troubles() {
            if let Some(note) = detail.senders.get_mut(sender.as_str()) {
                note.trouble = Some(match trouble {
                    Trouble::Retrying { reason } => format!("it is tried again: {reason}"),
                    Trouble::Paused { reason } => format!("it waits for an operator: {reason}"),
                });
            }
        }
        detail
    }
}

/// Records on their way to a sink.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) sender: Name,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) at: Instant,
}

/// All instances of this node, by runner. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Sights(Arc<Mutex<BTreeMap<Name, Arc<Sight>>>>);

impl Sights {
    /// What is seen of a runner here; none where it does not run and is not stopped by itself.
    pub fn of(&self, runner: &Name) -> Option<Arc<Sight>> {
        lock(&self.0).get(runner).cloned()
    }

    /// How full the queues of this node's sources' slowest senders are, in thousandths, on average: one sink of many that takes nothing does not make a node
    /// look full.
    pub fn queue_permille(&self) -> u32 {
        let boards: Vec<_> = lock(&self.0).values().filter_map(|sight| lock(&sight.board).upgrade()).collect();
        let (sum, count) = boards.iter().map(|board| board.queues()).fold((0, 0), |(sum, count), (of, sources)| (sum + of, count + sources));
        u32::try_from(sum.checked_div(count).unwrap_or(0)).unwrap_or(u32::MAX)
    }

    pub(super) fn begin(&self, runner: &Name) -> Arc<Sight> {
        lock(&self.0).entry(runner.clone()).or_default().clone()
    }

    pub(super) fn end(&self, runner: &Name) {
        lock(&self.0).remove(runner);
    }
}

/// How old the oldest byte is that was seen and is not acknowledged: what "seconds behind" means of a source that only knows bytes.
///
/// Marks are (when, how many bytes were known to exist then). Exact to the time between two looks; a backlog that was there at the first look counts from
/// that look, as nothing says how old it was then. Cost: O(1) a look, [`MARKS_MAX`] marks.
#[derive(Debug, Clone, Default)]
pub(super) struct LagClock {
    marks: VecDeque<(Instant, u64)>,
    acknowledged: u64,
}

impl LagClock {
    /// `known`: bytes that are known to exist since the beginning, acknowledged or not.
    pub(super) fn note_known(&mut self, now: Instant, known: u64) {
        if known > self.marks.back().map_or(self.acknowledged, |(_, bytes)| *bytes) {
            if self.marks.len() == MARKS_MAX {
                let mut at = 0;
                // The older of two goes with its bytes to the younger: a lag may be told too short by that, never too long; the oldest stays.
                self.marks.retain(|_| {
                    at += 1;
                    at % 2 == 1
                });
            }
            self.marks.push_back((now, known));
        }
    }

    /// Of these bytes so many are acknowledged.
    pub(super) fn note_acknowledged(&mut self, acknowledged: u64) {
        self.acknowledged = self.acknowledged.max(acknowledged);
        while self.marks.front().is_some_and(|(_, bytes)| *bytes <= self.acknowledged) {
            self.marks.pop_front();
        }
    }

    /// None waits: zero.
    pub(super) fn lag(&self, now: Instant) -> Duration {
        self.marks.front().map_or(Duration::ZERO, |(since, _)| now.saturating_duration_since(*since))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change of these is whole before anything can panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {

    use super::*;

    const fn at(seconds: u64) -> UnixMicros {
        UnixMicros(seconds * 1_000_000)
    }

    #[test]
    fn a_nodes_queue_is_the_mean_of_its_sources() {
        let sights = Sights::default();
        assert_eq!(sights.queue_permille(), 0);
        let boards = ["busy", "quiet", "gone"].map(|runner| {
            let runner = runner.parse().unwrap();
            let board = Arc::new(Board::new(sights.begin(&runner), &Counts::default()));
            sights.begin(&runner).look_at(&board, &[]);
            board
        });
        let [busy, quiet, gone] = &boards;
        for (board, source, permille) in [(busy, "a", 1_000), (busy, "b", 500), (quiet, "a", 0), (gone, "a", 900)] {
            board.note(&source.parse().unwrap(), |note| note.queue_permille = permille);
        }
        assert_eq!(sights.queue_permille(), 600);
        let [_busy, _quiet, gone] = boards;
        drop(gone);
        assert_eq!(sights.queue_permille(), 500, "of an instance that has ended nothing is left");
    }

    #[test]
    fn equal_errors_in_a_row_are_one_with_a_count_and_two_times() {
        let mut errors = StageErrors::default();
        let source = "s".parse().unwrap();
        for seconds in 1..=3 {
            errors.note(at(seconds), Some(&source), "503", 2);
        }
        errors.note(at(4), None, "401", 1);
        let [first, second] = errors.recent.make_contiguous() else { panic!("{errors:?}") };
        assert_eq!((first.count, first.first_seen, first.last_seen), (6, at(1), at(3)));
        assert_eq!((second.error.as_str(), errors.count), ("401", 7));
    }

    #[test]
    fn a_stage_remembers_its_newest_hundred_errors_and_counts_all() {
        let mut errors = StageErrors::default();
        (0..250).for_each(|number| errors.note(at(number), None, &format!("{number}{}", "x".repeat(2_000)), 1));
        assert_eq!((errors.recent.len(), errors.count), (ERRORS_MAX, 250));
        assert!(errors.recent.back().unwrap().error.starts_with("249") && errors.recent.iter().all(|note| note.error.len() <= ERROR_CHARS_MAX));
    }

    #[test]
    fn lag_is_the_age_of_the_oldest_byte_that_is_not_acknowledged() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut clock = LagClock::default();
        assert_eq!(clock.lag(after(5)), Duration::ZERO);
        clock.note_known(after(10), 100);
        clock.note_known(after(20), 250);
        assert_eq!(clock.lag(after(30)), Duration::from_secs(20));
        clock.note_acknowledged(99);
        assert_eq!(clock.lag(after(30)), Duration::from_secs(20), "its last byte is not acknowledged yet");
        clock.note_acknowledged(100);
        assert_eq!(clock.lag(after(30)), Duration::from_secs(10));
        clock.note_acknowledged(250);
        assert_eq!(clock.lag(after(30)), Duration::ZERO);
        clock.note_known(after(40), 250);
        assert_eq!(clock.lag(after(50)), Duration::ZERO, "a file that does not grow is not behind");
    }

    #[test]
    fn a_long_lag_is_bounded_and_keeps_its_oldest_mark() {
        let start = Instant::now();
        let mut clock = LagClock::default();
        (1..=10_000).for_each(|second| clock.note_known(start + Duration::from_secs(second), second));
        assert!(clock.marks.len() <= MARKS_MAX);
        assert_eq!(clock.lag(start + Duration::from_secs(10_001)), Duration::from_secs(10_000));
        clock.note_acknowledged(5_000);
        let lag = clock.lag(start + Duration::from_secs(10_001)).as_secs();
        assert!((1..=5_001).contains(&lag), "{lag}");
    }
}
