//! What is known to be true in the simulated world, however the nodes see it: the ground on which invariants stand.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use logvine_cluster::{
    checkpoint::{Checkpoint, FileKey},
    instance::Epoch,
    message::Accepted,
    name::Name,
    record::{Record, SourceKey},
};
use logvine_gossip::{Instant, Stamp, marks};

use crate::{
    custody::{Cause, Custody, Hand, Terms},
    ranges::Ranges,
};

/// Something that happened to one source. Nodes by their place in the scenario; `key`: as which creation of the source, where it is about that one alone.
#[derive(Debug, Clone)]
pub enum Fact {
    /// A sink took the lines of a range, from a hand that reads under this rewind.
    Delivered { rewind: Stamp, sender: Name, start: u64, end: u64 },
    /// An instance was told that a sink took them.
    Acknowledged { rewind: Stamp, sender: Name, start: u64, end: u64 },
    /// An instance stated how far it is.
    Stated { node: usize, key: SourceKey, checkpoint: Checkpoint },
    /// A node has on its disk what it witnesses: the record that it holds, what it promised, what it accepted as that record's successor, the checkpoint.
    Persisted { node: usize, key: SourceKey, record: Record, promised: Epoch, accepted: Option<Accepted>, checkpoint: Checkpoint },
    /// A node's disk has nothing of this creation any more: to the node it is deleted, or made again.
    Dropped { node: usize, key: SourceKey },
    /// A node began to collect. `majority` as its witnesses gave it, or not (DESIGN §5.3, "Without a majority").
    Opened { node: usize, key: SourceKey, epoch: Epoch, resume: Checkpoint, majority: bool },
    /// An owner reads on under a further epoch.
    Renewed { node: usize, key: SourceKey, epoch: Epoch, majority: bool },
    /// An epoch was decided without a majority, whether or not anybody collects under it.
    Forked { key: SourceKey, epoch: Epoch },
    /// An owner's window moved on.
    Held { node: usize, key: SourceKey, epoch: Epoch, checkpoint: Checkpoint },
    /// A process opened it: how it came to it, and where it begins.
    Began { hand: Hand, key: SourceKey, cause: Cause, majority: bool, resume: Checkpoint, at: Instant },
    /// A process emits lines of this file of it, up to here.
    Sent { hand: Hand, file: FileKey, end: u64 },
    /// A sink took these lines from a process.
    Brought { hand: Hand, sender: Name, lines: Vec<Range<u64>>, at: Instant },
    /// A node was told to read it no more.
    Closing { node: usize, at: Instant },
    /// A node collects no more under an epoch, as it was told; or at all, as it died. `flushed`: all that it had sent was acknowledged.
    Closed { node: usize, epoch: Option<Epoch>, flushed: bool, at: Instant },
    /// What a node had on its disk is not there any more, or not as it was.
    Lost { node: usize },
    /// A node goes by an old copy of its disk, and nobody is there who could tell it which epochs it had since.
    Unaware { node: usize, key: SourceKey },
}

impl Fact {
    /// The checkpoint in it, whatever it is for.
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        match self {
            Self::Stated { checkpoint, .. } | Self::Persisted { checkpoint, .. } | Self::Held { checkpoint, .. } => Some(checkpoint),
            Self::Opened { resume, .. } => Some(resume),
            Self::Dropped { .. }
            | Self::Delivered { .. }
            | Self::Acknowledged { .. }
            | Self::Renewed { .. }
            | Self::Forked { .. }
            | Self::Closed { .. }
            | Self::Lost { .. }
            | Self::Unaware { .. } => None,
            Self::Began { .. } | Self::Sent { .. } | Self::Brought { .. } | Self::Closing { .. } => None,
        }
    }
}

/// What a witness has on its disk.
#[derive(Debug, Clone)]
pub struct Witnessed {
    pub record: Record,
    pub promised: Epoch,
    pub accepted: Option<Accepted>,
    /// Whether its checkpoint says anything.
    pub has_copy: bool,
}

/// What is known of one creation of a source: who had it, epoch after epoch. A source that is created twice, by two halves of a split that know nothing of
/// each other, has two, and no epoch of the one says anything of the other.
#[derive(Debug, Default)]
pub struct Succession {
    /// Who ever collected under an epoch.
    pub opened: BTreeMap<Epoch, usize>,
    /// The highest epoch that a majority gave to an owner.
    pub newest: Option<Epoch>,
    /// Epochs that were taken without a majority: what comes after one may have begun beside a majority that knows nothing of it.
    pub forks: BTreeSet<Epoch>,
    /// By node, what it has stated, or began from.
    pub stated: BTreeMap<usize, Checkpoint>,
    /// The same at the moment when a higher epoch was opened.
    pub stated_in_time: BTreeMap<usize, Checkpoint>,
    /// By witness, on its disk.
    pub witnessed: BTreeMap<usize, Witnessed>,
}

impl Succession {
    /// The newest record on the disk of a witness.
    pub fn newest_witnessed(&self) -> Option<&Record> {
        self.witnessed.values().map(|witnessed| &witnessed.record).max_by_key(|record| record.epoch)
    }

    fn own(&mut self, node: usize, epoch: Epoch, majority: bool) {
        self.opened.insert(epoch, node);
        if !majority {
            self.forks.insert(epoch);
        }
        if majority && self.newest.is_none_or(|newest| newest < epoch) {
            self.newest = Some(epoch);
            self.stated_in_time = self.stated.clone();
        }
    }
}

/// What is known of one source.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By rewind and sender, what its sink got under it.
    delivered: BTreeMap<(Stamp, Name), Ranges>,
    /// The same that an instance was told of.
    acknowledged: BTreeMap<(Stamp, Name), Ranges>,
    /// Who collects now: the epoch under which it began, and the present one.
    pub owners: BTreeMap<usize, (Epoch, Epoch)>,
    /// By creation.
    pub successions: BTreeMap<SourceKey, Succession>,
    /// How often an owner other than the last one began.
    pub moves: u64,
    pub last_owner: Option<usize>,
    /// Bytes that a sink took again.
    pub repeated_bytes: u64,
    /// Who had it in hand.
    pub custody: Custody,
}

impl Ledger {
    /// Of a source whose owners are bound by these terms.
    pub fn new(terms: Terms) -> Self {
        Self { custody: Custody::new(terms), ..Self::default() }
    }

    /// Takes note of a fact that broke no invariant.
    pub fn absorb(&mut self, fact: Fact) {
        match fact {
            Fact::Delivered { rewind, sender, start, end } => {
                self.repeated_bytes += self.delivered.entry((rewind, sender)).or_default().add(start, end);
            }
            Fact::Acknowledged { rewind, sender, start, end } => {
                self.acknowledged.entry((rewind, sender)).or_default().add(start, end);
            }
            Fact::Stated { node, key, checkpoint } => self.of(key).stated.entry(node).or_default().merge(&checkpoint),
            Fact::Persisted { node, key, record, promised, accepted, checkpoint } => {
                self.of(key).witnessed.insert(node, Witnessed { record, promised, accepted, has_copy: checkpoint.is_copy() });
            }
            Fact::Dropped { node, key } => drop(self.of(key).witnessed.remove(&node)),
            Fact::Opened { node, key, epoch, resume, majority } => {
                self.moves += u64::from(self.last_owner.is_some_and(|last| last != node));
                self.last_owner = Some(node);
                self.owners.insert(node, (epoch, epoch));
                if self.owners.len() > 1 {
                    marks::reached("a source had two owners at once");
                }
                let succession = self.of(key);
                succession.stated.entry(node).or_default().merge(&resume);
                succession.own(node, epoch, majority);
            }
            Fact::Forked { key, epoch } => {
                self.custody.note_minority(&key);
                self.of(key).forks.insert(epoch);
            }
            Fact::Renewed { node, key, epoch, majority } => {
                if !majority {
                    self.custody.note_minority(&key);
                }
                self.owners.entry(node).and_modify(|(_, present)| *present = epoch);
                self.of(key).own(node, epoch, majority);
            }
            Fact::Held { node, checkpoint, .. } => self.custody.hold(node, &checkpoint),
            Fact::Began { hand, key, cause, majority, resume, at } => self.custody.begin(hand, key, cause, majority, at, &resume),
            Fact::Sent { hand, file, .. } => self.custody.send(&hand, file),
            Fact::Brought { hand, sender, lines, at } => self.custody.bring(&hand, &sender, &lines, at),
            Fact::Closing { node, at } => self.custody.close(node, at),
            Fact::Lost { node } => {
                self.successions.values_mut().for_each(|succession| drop(succession.witnessed.remove(&node)));
            }
            Fact::Unaware { node, key } => {
                let succession = self.of(key);
                succession.opened.retain(|_, owner| *owner != node);
                succession.newest = succession.newest.filter(|newest| succession.opened.contains_key(newest));
            }
            Fact::Closed { node, epoch, flushed, at } => {
                let is_it = |owner: usize, began: Epoch| owner == node && epoch.is_none_or(|epoch| epoch == began);
                if self.owners.get(&node).is_some_and(|(began, _)| is_it(node, *began)) {
                    self.custody.end(node, at, flushed);
                    self.owners.remove(&node);
                }
            }
        }
    }

    fn of(&mut self, key: SourceKey) -> &mut Succession {
        self.successions.entry(key).or_default()
    }

    /// How far a sender's sink has got everything since a rewind.
    pub fn delivered_prefix(&self, rewind: Stamp, sender: &Name) -> u64 {
        self.delivered.get(&(rewind, sender.clone())).map_or(0, Ranges::prefix)
    }

    /// How far everything was acknowledged for a sender since a rewind.
    pub fn acknowledged_prefix(&self, rewind: Stamp, sender: &Name) -> u64 {
        self.acknowledged.get(&(rewind, sender.clone())).map_or(0, Ranges::prefix)
    }
}
