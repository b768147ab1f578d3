//! Who had a source in hand, one after the other: from when to when, how it came and went, and who brought each line to the sink first.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    ops::Range,
};

use logvine_cluster::{
    checkpoint::{Checkpoint, FileKey},
    name::Name,
    record::SourceKey,
};
use logvine_gossip::{Instant, Stamp};

use crate::{host::Life, plane::FlowId};

/// One opening of a source by one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hand {
    pub node: usize,
    pub life: Life,
    pub flow: FlowId,
}

/// How a source came into a hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// It never had an owner.
    New,
    /// From an owner that is gone.
    TookOver,
    /// From an owner that gave it. By place.
    HandedOver { from: usize },
    /// The process was restarted, or nobody took what it gave.
    Resumed,
    /// The same process had it before: its entry changed, or its record.
    Reopened,
}

impl Cause {
    /// In a word.
    pub fn label(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::TookOver => "takeover",
            Self::HandedOver { .. } => "handover",
            Self::Resumed => "restart",
            Self::Reopened => "reopening",
        }
    }
}

/// What every owner is bound by.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// W of DESIGN §5.3, in bytes.
    pub window: u64,
    /// The longest piece that is read at once: it goes out alone where it is longer than W.
    pub piece: u64,
    /// The runner's senders.
    pub senders: Vec<Name>,
}

impl Terms {
    /// Bytes that may be emitted past what a majority holds.
    pub fn room(&self) -> u64 {
        self.window.max(self.piece)
    }
}

/// A source in one hand.
#[derive(Debug, Clone)]
pub struct Tenure {
    pub hand: Hand,
    /// Which creation of the source: begun anew, it is all sent once more.
    pub key: SourceKey,
    pub cause: Cause,
    /// Whether it was taken with a majority of its witnesses.
    pub majority: bool,
    pub began: Instant,
    /// When it was told to read no more.
    pub closing: Option<Instant>,
    /// When it ended, and whether all that it had sent was acknowledged then.
    pub ended: Option<(Instant, bool)>,
    /// When the sink got the first line of it.
    pub brought: Option<Instant>,
    /// The rewind under which it reads.
    pub rewind: Stamp,
    /// By sender, what a majority holds.
    held: BTreeMap<Name, u64>,
    /// By sender, bytes that an earlier hand had brought before, and a later one.
    repeated: BTreeMap<Name, [u64; 2]>,
    /// By sender, where the lines begin that it has repeated of another's: brought once more, they are its own retries.
    again: BTreeMap<Name, BTreeSet<u64>>,
}

/// Lines of one arrival that another hand had brought before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repeats {
    /// Bytes that earlier hands had brought, and later ones.
    pub bytes: [u64; 2],
    /// Of the last hand that had brought some of it, its number.
    pub of: Option<usize>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Custody {
    pub terms: Terms,
    pub tenures: Vec<Tenure>,
    numbers: BTreeMap<Hand, usize>,
    /// By creation, the last rewind under which it was read. What was brought before says nothing on what is a repeat.
    rewinds: BTreeMap<SourceKey, Stamp>,
    /// By creation, sender and line, the number of the tenure that brought it first since then.
    first: BTreeMap<SourceKey, BTreeMap<Name, BTreeMap<u64, usize>>>,
    /// Lines that a sink got again, by what had brought the source to who repeated them.
    pub repeated_lines: BTreeMap<&'static str, u64>,
    /// Creations that were ever taken without a majority: what was acknowledged then may be known to nobody else.
    minority: BTreeSet<SourceKey>,
    /// By creation, the file as which lines of it were sent first: simulated sources have one, and their lines' ids are made of its name.
    sent_as: BTreeMap<SourceKey, FileKey>,
}

impl Custody {
    pub fn new(terms: Terms) -> Self {
        Self { terms, ..Self::default() }
    }

    pub fn tenure(&self, hand: &Hand) -> Option<&Tenure> {
        self.numbers.get(hand).map(|number| &self.tenures[*number])
    }

    /// Whether what a hand reads was ever taken without a majority.
    pub fn was_without_a_majority(&self, hand: &Hand) -> bool {
        self.tenure(hand).is_some_and(|tenure| self.minority.contains(&tenure.key))
    }

    /// Whoever has it in hand now.
    pub fn open(&self) -> impl Iterator<Item = &Tenure> {
        self.tenures.iter().filter(|tenure| tenure.ended.is_none())
    }

    /// The last time that a node had it.
    pub fn last_of(&self, node: usize) -> Option<&Tenure> {
        self.tenures.iter().rev().find(|tenure| tenure.hand.node == node)
    }

    /// How far a majority holds it for this hand: every sender.
    pub fn held(&self, hand: &Hand) -> u64 {
        let held = |tenure: &Tenure| self.terms.senders.iter().map(|sender| tenure.held.get(sender).copied().unwrap_or(0)).min();
        self.tenure(hand).and_then(held).unwrap_or(0)
    }

    /// Whether a rewind came after it: its source is read anew by who knows that.
    fn is_before_a_rewind(&self, tenure: &Tenure) -> bool {
        self.rewinds.get(&tenure.key).is_some_and(|last| tenure.rewind < *last)
    }

    /// What of an arrival another hand has brought before, and this one has not.
    pub fn repeats(&self, hand: &Hand, sender: &Name, lines: &[Range<u64>]) -> Repeats {
        let mut repeats = Repeats::default();
        let Some(number) = self.numbers.get(hand) else { return repeats };
        let tenure = &self.tenures[*number];
        if self.is_before_a_rewind(tenure) {
            return repeats;
        }
        let Some(known) = self.first.get(&tenure.key).and_then(|known| known.get(sender)) else { return repeats };
        let again = tenure.again.get(sender);
        for line in lines.iter().filter(|line| again.is_none_or(|again| !again.contains(&line.start))) {
            if let Some(first) = known.get(&line.start).filter(|first| *first != number) {
                repeats.bytes[usize::from(first > number)] += line.end - line.start;
                repeats.of = repeats.of.max(Some(*first));
            }
        }
        repeats
    }

    /// Bytes that a hand has repeated so far to a sink, of earlier hands and of later ones.
    pub fn repeated(&self, hand: &Hand, sender: &Name) -> [u64; 2] {
        self.tenure(hand).and_then(|tenure| tenure.repeated.get(sender)).copied().unwrap_or_default()
    }

    pub(crate) fn begin(&mut self, hand: Hand, key: SourceKey, cause: Cause, majority: bool, began: Instant, resume: &Checkpoint) {
        if !majority {
            self.note_minority(&key);
        }
        self.numbers.insert(hand, self.tenures.len());
        let (repeated, mut held) = (BTreeMap::new(), BTreeMap::new());
        hold(&mut held, resume);
        let rewind = resume.rewind;
        let last = self.rewinds.entry(key.clone()).or_default();
        if rewind > *last {
            *last = rewind;
            self.first.remove(&key);
        }
        let again = BTreeMap::new();
        self.tenures.push(Tenure { hand, key, cause, majority, began, closing: None, ended: None, brought: None, rewind, held, repeated, again });
    }

    /// Somebody takes it without a majority, or goes on reading it so under another epoch (seed 101).
    pub(crate) fn note_minority(&mut self, key: &SourceKey) {
        self.minority.insert(key.clone());
    }

    /// The file as which the lines of what a hand reads were sent first.
    pub fn sent_as(&self, hand: &Hand) -> Option<FileKey> {
        self.tenure(hand).and_then(|tenure| self.sent_as.get(&tenure.key)).copied()
    }

    pub(crate) fn send(&mut self, hand: &Hand, file: FileKey) {
        let Some(key) = self.tenure(hand).map(|tenure| tenure.key.clone()) else { return };
        self.sent_as.entry(key).or_insert(file);
    }

    pub(crate) fn hold(&mut self, node: usize, checkpoint: &Checkpoint) {
        for tenure in self.open_of(node).filter(|tenure| tenure.rewind == checkpoint.rewind) {
            hold(&mut tenure.held, checkpoint);
        }
    }

    pub(crate) fn close(&mut self, node: usize, at: Instant) {
        for tenure in self.open_of(node) {
            tenure.closing.get_or_insert(at);
        }
    }

    pub(crate) fn end(&mut self, node: usize, at: Instant, flushed: bool) {
        for tenure in self.open_of(node) {
            tenure.ended = Some((at, flushed));
        }
    }

    fn open_of(&mut self, node: usize) -> impl Iterator<Item = &mut Tenure> {
        self.tenures.iter_mut().filter(move |tenure| tenure.hand.node == node && tenure.ended.is_none())
    }

    pub(crate) fn bring(&mut self, hand: &Hand, sender: &Name, lines: &[Range<u64>], at: Instant) {
        let Some(number) = self.numbers.get(hand).copied() else { return };
        let repeats = self.repeats(hand, sender, lines);
        let is_before_a_rewind = self.is_before_a_rewind(&self.tenures[number]);
        let tenure = &mut self.tenures[number];
        tenure.brought.get_or_insert(at);
        if is_before_a_rewind {
            return;
        }
        let known = self.first.entry(tenure.key.clone()).or_default().entry(sender.clone()).or_default();
        let again = tenure.again.entry(sender.clone()).or_default();
        let mut own = 0;
        let mut others = 0;
        for line in lines {
            match known.entry(line.start) {
                Entry::Vacant(new) => {
                    new.insert(number);
                }
                Entry::Occupied(first) if *first.get() == number => own += 1,
                Entry::Occupied(_) if again.insert(line.start) => others += 1,
                Entry::Occupied(_) => own += 1,
            }
        }
        let repeated = tenure.repeated.entry(sender.clone()).or_default();
        for (so_far, more) in repeated.iter_mut().zip(repeats.bytes) {
            *so_far += more;
        }
        for (label, lines) in [("retry", own), (tenure.cause.label(), others)] {
            if lines > 0 {
                *self.repeated_lines.entry(label).or_default() += lines;
            }
        }
    }
}

fn hold(held: &mut BTreeMap<Name, u64>, checkpoint: &Checkpoint) {
    for (sender, position) in checkpoint.files.values().flatten() {
        let at = held.entry(sender.clone()).or_default();
        *at = (*at).max(position.offset);
    }
}
