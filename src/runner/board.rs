//! What the tasks of an instance note for all to see: how each source does, counts, and the memory that batches take.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use logvine_cluster::{
    checkpoint::Checkpoint,
    delivery::Trouble,
    instance::{Counts, FilePlace, InstanceState, InstanceStatus},
    name::Name,
};
use logvine_gossip::Stamp;
use tokio::time::Instant;

use super::budget::Budget;
use super::sight::{Detail, LagClock, Sight, SourceAt};

/// `InstanceStatus::source_errors` names so many.
const SOURCE_ERRORS_MAX: usize = 16;
/// Rates are averaged over about this time: long enough to be read, short enough to see a stop.
const RATE_TIME: Duration = Duration::from_secs(10);

/// How one source does.
#[derive(Debug, Clone, Default)]
pub(super) struct SourceNote {
    pub(super) lag_bytes: u64,
    /// Why it cannot be read now.
    pub(super) error: Option<String>,
    /// The sender that does not get on.
    pub(super) trouble: Option<Trouble>,
    /// All of them that do not, by name.
    pub(super) troubles: Vec<(Name, Trouble)>,
    /// How far it is acknowledged: where a restart after a panic begins.
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) place: Option<FilePlace>,
    pub(super) lag: LagClock,
    /// How full the queue of its slowest sender is.
    pub(super) queue_permille: u32,
}

/// Shared by the tasks of one instance.
#[derive(Debug, Default)]
pub(super) struct Board {
    pub(super) budget: Arc<Budget>,
    pub(super) records: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) read_records: AtomicU64,
    pub(super) read_bytes: AtomicU64,
    pub(super) errors: AtomicU64,
    pub(super) dead_lettered: AtomicU64,
    /// Files that were rotated or truncated and whose unread rest was not found.
    pub(super) rotation_gaps: AtomicU64,
    /// Records that no sender took.
    pub(super) unrouted: AtomicU64,
    /// What waits in its disk queue, for people.
    pub(super) queue_bytes: AtomicU64,
    sources: Mutex<BTreeMap<Name, SourceNote>>,
    /// What is wrong with no source in particular (the finder, the dead letters), by who says it.
    faults: Mutex<BTreeMap<&'static str, String>>,
    pub(super) sight: Arc<Sight>,
}

impl Board {
    /// The board of a new task tree, which counts on from `counts`.
    pub(super) fn new(sight: Arc<Sight>, counts: &Counts) -> Self {
        let board = Self { sight, ..Self::default() };
        board.count_from(counts);
        board
    }

    /// Sets the counters; those of stages and senders are the sight's. What is counted in the same moment may be lost: that is no more than if it had come a
    /// moment before.
    pub(super) fn count_from(&self, counts: &Counts) {
        let Counts { since: _, read_records, read_bytes, records, bytes, errors, dead_lettered, rotation_gaps, unrouted, stages: _, senders: _ } =
            counts;
        for (counter, value) in
            self.counters().into_iter().zip([read_records, read_bytes, records, bytes, errors, dead_lettered, rotation_gaps, unrouted])
        {
            counter.store(*value, Relaxed);
        }
    }

    /// What has been counted since the word `since`.
    pub(super) fn counts(&self, since: Stamp) -> Counts {
        let [read_records, read_bytes, records, bytes, errors, dead_lettered, rotation_gaps, unrouted] =
            self.counters().map(|counter| counter.load(Relaxed));
        Counts { since, read_records, read_bytes, records, bytes, errors, dead_lettered, rotation_gaps, unrouted, ..Counts::default() }
    }

    fn counters(&self) -> [&AtomicU64; 8] {
        [&self.read_records, &self.read_bytes, &self.records, &self.bytes, &self.errors, &self.dead_lettered, &self.rotation_gaps, &self.unrouted]
    }

    /// All sources. A panic while it was held leaves notes that are at worst old.
    pub(super) fn sources(&self) -> MutexGuard<'_, BTreeMap<Name, SourceNote>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, source: &Name, change: impl FnOnce(&mut SourceNote)) {
        let mut sources = self.sources();
        match sources.get_mut(source) {
            Some(note) => change(note),
            None => change(sources.entry(source.clone()).or_default()),
        }
    }

    pub(super) fn note_fault(&self, who: &'static str, what: Option<String>) {
        if let Some(what) = &what {
            self.sight.note_error(who, None, what, 1);
        }
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        match what {
            Some(what) => faults.insert(who, what),
            None => faults.remove(who),
        };
    }

    /// What the tasks know of each source, at most `most` of them, and of all together.
    pub(super) fn fill_detail(&self, detail: &mut Detail, most: usize) {
        detail.read_records = self.read_records.load(Relaxed);
        detail.queue_bytes = self.queue_bytes.load(Relaxed);
        detail.rotation_gaps = self.rotation_gaps.load(Relaxed);
        detail.unrouted = self.unrouted.load(Relaxed);
        detail.read_bytes = self.read_bytes.load(Relaxed);
        detail.bytes = self.bytes.load(Relaxed);
        let now = Instant::now();
        let sources = self.sources();
        detail.lag_s = sources.values().map(|note| note.lag.lag(now).as_secs()).max().unwrap_or(0);
        detail.sources_total = sources.len() as u64;
        let row = |(source, note): (&Name, &SourceNote)| SourceAt {
            source: source.to_string(),
            path: note.place.as_ref().map(|place| place.path.clone()),
            lag_bytes: note.lag_bytes,
            lag_s: note.lag.lag(now).as_secs(),
            error: note.error.clone(),
            acknowledged: note.checkpoint.clone().unwrap_or_default(),
        };
        detail.sources = sources.iter().take(most).map(row).collect();
    }

    /// How full the queues of the sources' slowest senders are, in thousandths, summed, and how many sources these are.
    pub(super) fn queues(&self) -> (u64, u64) {
        let sources = self.sources();
        (sources.values().map(|note| u64::from(note.queue_permille)).sum(), sources.len() as u64)
    }

    /// The senders that do not get on, each with the trouble of one of its sources.
    pub(super) fn troubles(&self) -> BTreeMap<Name, Trouble> {
        self.sources().values().flat_map(|note| note.troubles.clone()).collect()
    }

    /// The part of a status that the tasks know.
    pub(super) fn fill(&self, status: &mut InstanceStatus) {
        // Once a second, of all sources, of which most have nothing to say: one pass, and no name is copied that is not told.
        let (mut paused, mut retrying) = (None, None);
        (status.lag_bytes, status.source_errors) = (0, BTreeMap::new());
        for (source, note) in &*self.sources() {
            status.lag_bytes += note.lag_bytes;
            if let Some(error) = note.error.as_ref().filter(|_| status.source_errors.len() < SOURCE_ERRORS_MAX) {
                status.source_errors.insert(source.clone(), error.clone());
            }
            match &note.trouble {
                Some(Trouble::Paused { reason }) if paused.is_none() => paused = Some(reason.clone()),
                Some(Trouble::Retrying { reason }) if retrying.is_none() => retrying = Some(reason.clone()),
                _ => {}
            }
        }
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        status.state = if paused.is_some() { InstanceState::Paused } else { InstanceState::Running };
        status.error = paused.or_else(|| faults.values().next().cloned()).or(retrying);
    }
}

/// Exponentially weighted rates (Holt 1957) of growing counts.
#[derive(Debug, Default)]
pub(super) struct Meter {
    records: u64,
    bytes: u64,
    records_per_s: f64,
    bytes_per_s: f64,
}

impl Meter {
    /// The rates of what is counted from these counts on.
    pub(super) fn from(counts: &Counts) -> Self {
        Self { records: counts.records, bytes: counts.bytes, ..Self::default() }
    }

    /// Goes on from other counts, with the rates that it has.
    pub(super) fn count_from(&mut self, counts: &Counts) {
        (self.records, self.bytes) = (counts.records, counts.bytes);
    }

    /// Takes the counts of now, `elapsed` after the last ones.
    pub(super) fn fill(&mut self, counts: &Counts, elapsed: Duration, status: &mut InstanceStatus) {
        let (records, bytes) = (counts.records, counts.bytes);
        let weight = 1.0 - (-elapsed.as_secs_f64() / RATE_TIME.as_secs_f64()).exp();
        let mean = |old: f64, grown: u64| old + weight * (grown as f64 / elapsed.as_secs_f64().max(1e-3) - old);
        self.records_per_s = mean(self.records_per_s, records.saturating_sub(self.records));
        self.bytes_per_s = mean(self.bytes_per_s, bytes.saturating_sub(self.bytes));
        (self.records, self.bytes) = (records, bytes);
        // What is left of a rate long after the last record would change the status each second for nothing.
        status.records_per_s = (self.records_per_s * 10.0).round() / 10.0;
        status.bytes_per_s = self.bytes_per_s.round();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_follow_the_counts_and_come_to_rest() {
        let before = Counts { records: 1_000_000, ..Counts::default() };
        let (mut counts, mut meter, mut status) = (before.clone(), Meter::from(&before), InstanceStatus::default());
        for _ in 0..60 {
            counts.records += 100;
            meter.fill(&counts, Duration::from_secs(1), &mut status);
        }
        assert!((99.0..=100.0).contains(&status.records_per_s), "{}", status.records_per_s);
        for _ in 0..120 {
            meter.fill(&counts, Duration::from_secs(1), &mut status);
        }
        assert_eq!(status.records_per_s, 0.0);
    }

    #[test]
    fn queues_are_summed_over_sources() {
        let board = Board::default();
        for (source, permille) in [("a", 1_000), ("b", 0), ("c", 200)] {
            board.note(&source.parse().unwrap(), |note| note.queue_permille = permille);
        }
        assert_eq!(board.queues(), (1_200, 3));
    }

    #[test]
    fn a_paused_sender_pauses_the_instance_and_says_why() {
        let board = Board::default();
        board.note(&"a".parse().unwrap(), |note| note.trouble = Some(Trouble::Retrying { reason: "503".into() }));
        board.note(&"b".parse().unwrap(), |note| note.trouble = Some(Trouble::Paused { reason: "401".into() }));
        let mut status = InstanceStatus::default();
        board.fill(&mut status);
        assert_eq!((status.state, status.error.as_deref()), (InstanceState::Paused, Some("401")));
    }
}
