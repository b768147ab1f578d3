//! A node's disk: what is written becomes durable later, in order; a crash loses what was not yet reported, or keeps a beginning of it.
//!
//! It keeps the store's promise (redb: a transaction is there whole, or not at all), so a torn one does not occur here. That a torn *page* below a
//! transaction is found and undone is redb's own affair; what the agent does with a file that redb cannot read is tested at `src/store`.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use logvine_cluster::node::{Table, Ticket, Write};
use logvine_gossip::Instant;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::chance::{Delay, happens};

/// How disks behave. Chances are per mille.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiskPlan {
    /// From a write until it is durable and reported.
    pub sync: Delay,
    /// A write takes [`STALL`] longer.
    pub stalls: u32,
    /// What comes while it writes becomes durable together, with the write after that: as the agent's store does (`src/store.rs`). Without, each transaction
    /// waits for all before it, which is harder on those who wait.
    pub gathers: bool,
}

impl Default for DiskPlan {
    /// Calm: two milliseconds.
    fn default() -> Self {
        Self { sync: Delay::fixed(Duration::from_millis(2)), stalls: 0, gathers: false }
    }
}

/// How a disk fails. Each ends the process that writes: the store reports it, and the agent goes (`src/agent/shell.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskFault {
    /// No room: what is written now is not there afterwards.
    Full,
    /// The fsync fails: of what was not reported some may be durable all the same.
    Sync,
}

/// A disk that answers late, but answers (DESIGN §2: a 10 s fsync must not make a node look dead).
const STALL: Duration = Duration::from_secs(10);

/// What was durable on a disk at one moment: a snapshot, a backup, a copied data directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image(BTreeMap<(Table, Vec<u8>), Vec<u8>>);

impl Image {
    /// How many votes the node counts on it.
    pub fn votes(&self) -> u64 {
        let row = self.0.get(&(Table::Meta, b"votes".to_vec()));
        row.and_then(|value| rmp_serde::from_slice(value).ok()).unwrap_or(0)
    }
}

/// Transactions of a live process, and what outlives it.
#[derive(Debug)]
pub struct Disk {
    plan: DiskPlan,
    durable: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    pending: VecDeque<(Ticket, Vec<Write>)>,
    busy_until: Instant,
    /// When the write before the last of those that were begun is through: what comes before then goes with the last.
    gathers_until: Instant,
    fault: Option<DiskFault>,
}

impl Disk {
    pub fn new(plan: DiskPlan) -> Self {
        Self { plan, durable: BTreeMap::new(), pending: VecDeque::new(), busy_until: Instant::ZERO, gathers_until: Instant::ZERO, fault: None }
    }

    /// Takes a transaction and says when it will be durable. In order.
    pub fn begin(&mut self, now: Instant, ticket: Ticket, writes: Vec<Write>, rng: &mut ChaCha8Rng) -> Instant {
        self.pending.push_back((ticket, writes));
        if !self.plan.gathers || now >= self.gathers_until {
            let stall = if happens(rng, self.plan.stalls) { STALL } else { Duration::ZERO };
            self.gathers_until = self.busy_until;
            self.busy_until = self.busy_until.max(now) + self.plan.sync.draw(rng) + stall;
        }
        self.busy_until
    }

    /// The oldest transaction has become durable: gives it back, to be reported.
    pub fn finish(&mut self) -> Option<(Ticket, Vec<Write>)> {
        let (ticket, writes) = self.pending.pop_front()?;
        self.apply(&writes);
        Some((ticket, writes))
    }

    /// The process died. Of what was not reported some may have become durable all the same: a drawn number of transactions, the oldest first.
    /// Gives back those.
    pub fn crash(&mut self, rng: &mut ChaCha8Rng) -> Vec<Write> {
        let drawn = rng.random_range(0..=self.pending.len());
        let kept = if self.fault == Some(DiskFault::Full) { 0 } else { drawn };
        let writes: Vec<_> = std::mem::take(&mut self.pending).into_iter().take(kept).flat_map(|(_, writes)| writes).collect();
        self.apply(&writes);
        (self.busy_until, self.gathers_until) = (Instant::ZERO, Instant::ZERO);
        writes
    }

    /// Whether this row is durable.
    pub fn holds(&self, table: Table, key: &[u8]) -> bool {
        self.durable.contains_key(&(table, key.to_vec()))
    }

    /// A copy of what is durable now.
    pub fn image(&self) -> Image {
        Image(self.durable.clone())
    }

    /// The disk is as it was then. No process may run on it.
    pub fn restore(&mut self, image: Image) {
        debug_assert!(self.pending.is_empty(), "a process still writes");
        self.durable = image.0;
    }

    /// Nothing is on it. No process may run on it.
    pub fn wipe(&mut self) {
        self.restore(Image::default());
    }

    /// Fails every write from now on, or none.
    pub fn set_fault(&mut self, fault: Option<DiskFault>) {
        self.fault = fault;
    }

    /// How it fails now.
    pub fn fault(&self) -> Option<DiskFault> {
        self.fault
    }

    /// Whether something was written that is not reported yet.
    pub fn is_behind(&self) -> bool {
        !self.pending.is_empty()
    }

    /// No further write hangs or fails.
    pub fn heal(&mut self) {
        self.plan.stalls = 0;
        self.fault = None;
    }

    /// When all that was begun will be durable.
    pub fn busy_until(&self) -> Instant {
        self.busy_until
    }

    fn apply(&mut self, writes: &[Write]) {
        for Write { table, key, value } in writes {
            match value {
                Some(value) => self.durable.insert((*table, key.clone()), value.clone()),
                None => self.durable.remove(&(*table, key.clone())),
            };
        }
    }

    /// What a process finds at its start.
    pub fn content(&self) -> Vec<Write> {
        let write = |((table, key), value): (&(Table, Vec<u8>), &Vec<u8>)| Write { table: *table, key: key.clone(), value: Some(value.clone()) };
        self.durable.iter().map(write).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::{Concern, stream};

    fn write(value: u8) -> Vec<Write> {
        vec![Write { table: Table::Meta, key: b"k".to_vec(), value: Some(vec![value]) }]
    }

    fn disk() -> Disk {
        Disk::new(DiskPlan::default())
    }

    #[test]
    fn transactions_become_durable_one_after_the_other() {
        let (mut disk, mut rng) = (disk(), stream(1, Concern::Disk));
        assert_eq!(disk.begin(Instant::ZERO, Ticket(1), write(1), &mut rng), Instant::from_micros(2_000));
        assert_eq!(disk.begin(Instant::ZERO, Ticket(2), write(2), &mut rng), Instant::from_micros(4_000));
        assert_eq!(disk.finish().map(|(ticket, _)| ticket), Some(Ticket(1)));
        assert_eq!(disk.content(), write(1));
    }

    /// As the agent's store commits them: one write at a time, and with it all that came during the one before.
    #[test]
    fn what_comes_during_a_write_becomes_durable_with_the_next() {
        let mut disk = Disk::new(DiskPlan { gathers: true, ..DiskPlan::default() });
        let mut rng = stream(1, Concern::Disk);
        let mut due = |at, number| disk.begin(Instant::from_micros(at), Ticket(number), write(1), &mut rng);
        assert_eq!(due(0, 1), Instant::from_micros(2_000), "it is idle");
        assert_eq!([due(500, 2), due(1_999, 3)].map(Instant::as_micros), [4_000; 2], "they share one write");
        assert_eq!([due(2_000, 4), due(3_000, 5)].map(Instant::as_micros), [6_000; 2], "that write is under way");
        assert_eq!(due(9_000, 6), Instant::from_micros(11_000), "it is idle again");
    }

    #[test]
    fn an_image_brings_back_what_was_durable_then() {
        let (mut disk, mut rng) = (disk(), stream(1, Concern::Disk));
        let mut persist = |disk: &mut Disk, value| {
            disk.begin(Instant::ZERO, Ticket(1), write(value), &mut rng);
            disk.finish();
        };
        persist(&mut disk, 1);
        let image = disk.image();
        persist(&mut disk, 2);
        disk.restore(image);
        assert_eq!(disk.content(), write(1));
        disk.wipe();
        assert_eq!(disk.content(), []);
    }

    /// A crash may keep what it did not report, but never the later without the earlier.
    #[test]
    fn a_crash_keeps_a_beginning_of_what_was_not_reported() {
        let mut seen = std::collections::BTreeSet::new();
        let mut rng = stream(1, Concern::Disk);
        for _ in 0..100 {
            let mut disk = disk();
            for value in 1..=3 {
                disk.begin(Instant::ZERO, Ticket(value.into()), write(value), &mut rng);
            }
            disk.finish();
            seen.insert(disk.crash(&mut rng).len());
            assert!(disk.finish().is_none());
        }
        assert_eq!(Vec::from_iter(seen), [0, 1, 2]);
    }
}
