//! Any order of outcomes, held checkpoints, pauses and crashes, against a model that knows every record.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const RECORD_BYTES: u64 = 10;
const SENDERS: [&str; 2] = ["a", "b"];

/// Bounds so small that every one of them is met.
fn config() -> DeliveryConfig {
    DeliveryConfig { window_bytes: 400, buffer_bytes_max: 600, batches_max: 8, sends_max: 3, ..DeliveryConfig::default() }
}

#[derive(Debug, Clone)]
enum Step {
    /// Read up to so many records, of which so many are left by the transform.
    Read {
        records: u64,
        left: u32,
    },
    /// Answer one of the sends in flight.
    Answer {
        which: usize,
        how: u8,
    },
    /// The witnesses hold one of the checkpoints that were told.
    Hold {
        which: usize,
    },
    Wait {
        millis: u64,
    },
    /// The node dies; another goes on from what is held.
    Crash,
    /// A planned handover: what the last word says is held.
    HandOver {
        flush_millis: u64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1..15_u64, 0..15_u32).prop_map(|(records, left)| Step::Read { records, left }),
        12 => (any::<usize>(), 0..13_u8).prop_map(|(which, how)| Step::Answer { which, how }),
        4 => any::<usize>().prop_map(|which| Step::Hold { which }),
        4 => (0..3_000_u64).prop_map(|millis| Step::Wait { millis }),
        1 => Just(Step::Crash),
        1 => (0..2_000_u64).prop_map(|flush_millis| Step::HandOver { flush_millis }),
    ];
    prop::collection::vec(step, 0..150)
}

/// A record: its file, and its number there.
type Record = (u32, u64);

struct Buffered {
    lineage: u32,
    records: Range<u64>,
    /// Those of `records` that the transform left; the others need no sender.
    left: Vec<u64>,
}

struct World {
    now: u64,
    /// Records by file, in the order in which the files follow each other.
    files: Vec<u64>,
    delivery: Delivery,
    /// The reader's place.
    at: Record,
    payloads: BTreeMap<BatchId, Buffered>,
    in_flight: Vec<(SendId, Name, BatchId, Records)>,
    letters: Vec<(SendId, Name, BatchId, Records)>,
    told: Vec<Checkpoint>,
    held: Checkpoint,
    /// By sender: what it acknowledged, what was put aside for it, and what the transform dropped.
    settled: BTreeMap<Name, BTreeSet<Record>>,
    /// First sends of this owner: when, and the end in bytes of the whole source.
    emitted: BTreeMap<BatchId, (u64, Range<u64>)>,
    closed: bool,
}

impl World {
    fn new(files: Vec<u64>) -> Self {
        let delivery = Delivery::new(config(), &SENDERS.map(name), Checkpoint::default(), 7);
        Self {
            now: 0,
            files,
            delivery,
            at: (0, 0),
            payloads: BTreeMap::new(),
            in_flight: vec![],
            letters: vec![],
            told: vec![],
            held: Checkpoint::default(),
            settled: SENDERS.map(|sender| (name(sender), BTreeSet::new())).into(),
            emitted: BTreeMap::new(),
            closed: false,
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Read { records, left } => self.read(*records, *left),
            Step::Answer { which, how } => self.answer(*which, *how),
            Step::Hold { which } => {
                if !self.told.is_empty() {
                    let checkpoint = self.told[which % self.told.len()].clone();
                    self.hold(&checkpoint);
                }
            }
            Step::Wait { millis } => self.wait(*millis),
            Step::Crash => self.restart(),
            Step::HandOver { flush_millis } => self.hand_over(*flush_millis),
        }
    }

    fn read(&mut self, records: u64, left: u32) {
        let (lineage, start) = self.at;
        let end = (start + records).min(self.files[lineage as usize]);
        if start == end {
            if (lineage as usize) + 1 < self.files.len() {
                self.at = (lineage + 1, 0);
            }
            return;
        }
        if !self.delivery.may_read() {
            return;
        }
        let left: Vec<u64> = (start..end).take(left as usize).collect();
        for settled in self.settled.values_mut() {
            settled.extend((start..end).filter(|record| !left.contains(record)).map(|record| (lineage, record)));
        }
        let count = u32::try_from(left.len()).unwrap();
        let read = Batch {
            file: file(lineage),
            start: position(start * RECORD_BYTES),
            end: position(end * RECORD_BYTES),
            records: count,
            bytes: (end - start) * RECORD_BYTES,
        };
        let id = self.delivery.handle_batch(at(self.now), read).unwrap();
        self.payloads.insert(id, Buffered { lineage, records: start..end, left });
        self.at = (lineage, end);
        self.drain();
    }

    fn answer(&mut self, which: usize, how: u8) {
        if !self.letters.is_empty() && how < 5 {
            let (send, sender, batch, records) = self.letters.remove(which % self.letters.len());
            self.settle(&sender, batch, records.numbers());
            self.delivery.handle_dead_lettered(at(self.now), send);
        } else if !self.in_flight.is_empty() {
            let (send, sender, batch, records) = self.in_flight.remove(which % self.in_flight.len());
            let outcome = match how {
                0..6 => {
                    self.settle(&sender, batch, records.numbers());
                    Outcome::Acknowledged
                }
                6..8 => rejected(),
                8..10 => self.mixed(which, &sender, batch, &records),
                10 => {
                    self.settle(&sender, batch, records.numbers());
                    Outcome::Skipped
                }
                11 => Outcome::Retry { reason: "503".into(), after: None },
                _ => Outcome::Paused { reason: "401".into() },
            };
            self.delivery.handle_outcome(at(self.now), send, outcome);
        }
        self.drain();
    }

    /// Each record is refused, to come again, or taken, as the bits of `which` say.
    fn mixed(&mut self, which: usize, sender: &Name, batch: BatchId, records: &Records) -> Outcome {
        let fate = |record: u32| (which >> (record % 16)) % 3;
        let of = |wanted: usize| records.numbers().filter(|record| fate(*record) == wanted).collect::<Records>();
        self.settle(sender, batch, of(0).numbers());
        let rejected = of(1).numbers().map(|record| Refusal { record, reason: "400".into() }).collect();
        Outcome::Mixed { rejected, again: Some(Again { records: of(2), reason: "429".into(), after: None }) }
    }

    fn settle(&mut self, sender: &Name, batch: BatchId, records: impl Iterator<Item = u32>) {
        let payload = &self.payloads[&batch];
        let left = records.map(|record| (payload.lineage, payload.left[record as usize]));
        self.settled.get_mut(sender).unwrap().extend(left);
    }

    fn hold(&mut self, checkpoint: &Checkpoint) {
        self.held.merge(checkpoint);
        let held = self.held_bytes();
        self.emitted.retain(|_, (_, bytes)| bytes.end > held);
        self.delivery.handle_held(at(self.now), checkpoint);
        self.drain();
    }

    fn wait(&mut self, millis: u64) {
        self.now += millis;
        self.delivery.handle_timeout(at(self.now));
        self.drain();
    }

    /// S2 at every restart: where the next owner begins, nothing before it is owed to anybody.
    fn restart(&mut self) {
        self.delivery = Delivery::new(config(), &SENDERS.map(name), self.held.clone(), self.now);
        self.at = self.delivery.resume().map_or((0, 0), |(file, position)| (file.lineage, position.offset / RECORD_BYTES));
        let begin = self.at;
        for (sender, settled) in &self.settled {
            let owed = self.all_records().find(|record| *record < begin && !settled.contains(record));
            assert_eq!(owed, None, "{sender} never gets it: the next owner begins at {begin:?}");
        }
        self.payloads.clear();
        self.in_flight.clear();
        self.letters.clear();
        self.told.clear();
        self.emitted.clear();
        self.closed = false;
    }

    fn hand_over(&mut self, flush_millis: u64) {
        self.delivery.handle_close(at(self.now), Duration::from_millis(flush_millis));
        self.drain();
        for turn in 0..200 {
            if self.closed {
                break;
            }
            if turn % 3 == 0 { self.answer(turn, 0) } else { self.wait(flush_millis / 20 + 1) }
        }
        assert!(self.closed, "a close ends at its deadline");
        self.restart();
    }

    fn drain(&mut self) {
        while let Some(output) = self.delivery.poll_output() {
            match output {
                Output::Send { send, sender, batch, records, .. } => {
                    self.note_emission(batch);
                    let left = self.payloads[&batch].left.len();
                    assert!(records.numbers().all(|record| (record as usize) < left) && !records.is_empty());
                    self.in_flight.push((send, sender, batch, records));
                }
                Output::DeadLetter { send, sender, batch, refused } => {
                    let records = refused.iter().map(|refusal| refusal.record).collect();
                    self.letters.push((send, sender, batch, records));
                }
                Output::Done { batch } => {
                    let owed = |(_, _, of, _): &(SendId, Name, BatchId, Records)| *of == batch;
                    assert!(!self.in_flight.iter().any(owed), "the payload is let go while a send needs it");
                }
                Output::Checkpoint { checkpoint } => {
                    self.check(&checkpoint);
                    self.told.push(checkpoint);
                }
                Output::Closed { checkpoint, flushed } => {
                    self.check(&checkpoint);
                    self.hold_at_close(&checkpoint, flushed);
                }
            }
        }
        self.check_bounds();
    }

    fn hold_at_close(&mut self, checkpoint: &Checkpoint, flushed: bool) {
        self.held.merge(checkpoint);
        let held = self.held_bytes();
        if flushed {
            assert!(self.emitted.values().all(|(_, bytes)| bytes.end <= held), "flushed, yet the next owner would repeat something");
        }
        self.closed = true;
    }

    /// S1: whatever is before a sender's position, it has.
    fn check(&self, checkpoint: &Checkpoint) {
        let last = checkpoint.files.last_key_value().map(|(file, _)| file.lineage);
        for (file, positions) in &checkpoint.files {
            for (sender, position) in positions {
                let before = |(lineage, record): &Record| {
                    *lineage == file.lineage && record * RECORD_BYTES < position.offset || last.is_some_and(|last| *lineage < last)
                };
                let owed = self.all_records().filter(before).find(|record| !self.settled[sender].contains(record));
                assert_eq!(owed, None, "{sender} has not acknowledged it, but the checkpoint says {}", super::positions(checkpoint));
            }
        }
    }

    /// S4: bytes and age past what is held, counted here and not by the window itself.
    fn note_emission(&mut self, batch: BatchId) {
        if self.emitted.contains_key(&batch) {
            return;
        }
        let payload = &self.payloads[&batch];
        let bytes = self.bytes_before((payload.lineage, payload.records.start))..self.bytes_before((payload.lineage, payload.records.end));
        if bytes.end <= self.held_bytes() {
            return;
        }
        let oldest = self.emitted.values().map(|(at, _)| *at).min().unwrap_or(self.now);
        assert!(self.now - oldest <= 5_000, "emitted while an emission of {oldest} is not held at {}", self.now);
        self.emitted.insert(batch, (self.now, bytes));
        let unheld: u64 = self.emitted.values().map(|(_, bytes)| bytes.end - bytes.start).sum();
        assert!(unheld <= config().window_bytes, "{unheld} bytes are past the held checkpoint");
    }

    fn check_bounds(&self) {
        let waiting = self.payloads.values().map(|payload| payload.records.end - payload.records.start).max().unwrap_or(0) * RECORD_BYTES;
        assert!(self.delivery.buffered_bytes() < config().buffer_bytes_max + waiting.max(1));
        for sender in SENDERS {
            let sends = self.in_flight.iter().filter(|(_, of, _, _)| of.as_str() == sender).count();
            let letters = self.letters.iter().filter(|(_, of, _, _)| of.as_str() == sender).count();
            assert!(sends + letters <= config().sends_max, "{sends} sends and {letters} letters wait for {sender}");
        }
    }

    fn all_records(&self) -> impl Iterator<Item = Record> {
        (0_u32..).zip(&self.files).flat_map(|(lineage, records)| (0..*records).map(move |record| (lineage, record)))
    }

    fn bytes_before(&self, (lineage, record): Record) -> u64 {
        (self.files[..lineage as usize].iter().sum::<u64>() + record) * RECORD_BYTES
    }

    /// Where the next owner would begin, in bytes of the whole source.
    fn held_bytes(&self) -> u64 {
        let Some((file, positions)) = self.held.resume(&SENDERS.map(name)) else { return 0 };
        let least = positions.values().min().unwrap().offset;
        self.bytes_before((file.lineage, least / RECORD_BYTES))
    }

    /// The faults end: sinks take everything, witnesses hold everything.
    fn recover(&mut self) {
        for turn in 0..5_000 {
            if self.settled.values().all(|settled| settled.len() as u64 == self.files.iter().sum::<u64>()) {
                return;
            }
            self.read(5, 5);
            while !self.in_flight.is_empty() || !self.letters.is_empty() {
                self.answer(turn, 0);
            }
            if let Some(checkpoint) = self.told.pop() {
                self.hold(&checkpoint);
            }
            match self.delivery.poll_timeout() {
                Some((due, _)) => self.wait((due.as_micros() / 1_000 + 1).saturating_sub(self.now)),
                None => self.wait(0),
            }
        }
        panic!("not everything arrived: {:?}", self.settled.values().map(BTreeSet::len).collect::<Vec<_>>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// S1, S2, S4 and the bounds after every step; and once the faults end, every record arrives at every sender.
    #[test]
    fn nothing_is_lost_and_the_window_holds(files in prop::collection::vec(0..80_u64, 1..12), steps in steps()) {
        let mut world = World::new(files);
        for step in &steps {
            world.step(step);
        }
        world.recover();
    }
}
