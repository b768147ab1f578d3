//! What has come about in a history, and what must hold of it.

use std::collections::{BTreeMap, BTreeSet};

use logvine_cluster::{canary::planted, instance::Epoch, record::Record};
use logvine_gossip::NodeId;

use super::words::shown;

/// An owner sends so many positions past the one that a majority holds: W = 1.
const WINDOW: u64 = 1;

/// Who was activated.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    pub(super) record: Record,
    pub(super) resumed: u64,
    /// What the sink has acknowledged to it.
    pub(super) sent: u64,
    /// What a majority holds. That it may not know so yet adds nothing: it may send on later all the same.
    pub(super) held: u64,
    /// It reads no more.
    pub(super) closing: bool,
}

impl Owner {
    pub(super) fn may_send(&self) -> bool {
        !self.closing && (self.sent < self.held + WINDOW || planted("window-unbounded"))
    }
}

/// Something that a history is made of.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// The owner of an epoch reads no more: it gives the source away, or was restarted.
    Closed(Epoch),
    /// The sink acknowledged one position more to the owner of an epoch.
    Sent(Epoch),
    /// A candidate remembers a decided record and a position, and may begin there again.
    Remembered { by: NodeId, record: Record, position: u64 },
    /// A witness of `base` accepted `record` as its successor.
    Accepted { base: Record, ballot: Epoch, record: Record, by: NodeId },
    /// A witness acknowledged a position to the owner of an epoch.
    Acknowledged { epoch: Epoch, position: u64, by: NodeId },
    /// `renewed`: its owner read on until then.
    Activated { record: Record, resume: u64, without_majority: bool, renewed: bool },
    /// A node that had stopped is back.
    Returned(NodeId),
}

/// What has come about so far, as far as anything that must hold depends on it.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    pub(super) owners: BTreeMap<Epoch, Owner>,
    /// The first record and those that were activated: everybody may begin there.
    pub(super) known: BTreeMap<Epoch, Record>,
    /// What a node remembers of its own attempts.
    pub(super) memory: BTreeMap<NodeId, (Record, u64)>,
    /// By base and ballot: votes of witnesses as they were cast, heard of or not.
    accepted: BTreeMap<(Epoch, Epoch), (Record, BTreeSet<NodeId>)>,
    /// By base: its successor.
    decided: BTreeMap<Epoch, Record>,
    /// Above what a majority holds.
    acknowledged: BTreeMap<Epoch, BTreeMap<NodeId, u64>>,
    /// Somebody has proceeded without a majority (DESIGN §5.3): until it is healed, two may own the source, and what is read again is counted.
    pub(super) parted: bool,
    returned: BTreeSet<NodeId>,
}

impl History {
    /// With a first record, which an owner may have already.
    pub(super) fn beginning_with(first: Record) -> Self {
        let owner = first.owner.map(|_| Owner { record: first.clone(), resumed: 0, sent: 0, held: 0, closing: false });
        let owners = owner.into_iter().map(|owner| (first.epoch, owner)).collect();
        Self { owners, known: BTreeMap::from([(first.epoch, first)]), ..Self::default() }
    }

    /// Takes an event in. An error is what it breaks.
    pub(super) fn take(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Closed(epoch) => {
                if let Some(owner) = self.owners.get_mut(&epoch) {
                    owner.closing = true;
                }
                Ok(())
            }
            Event::Remembered { by, record, position } => {
                let (base, at) = self.memory.entry(by).or_insert_with(|| (record.clone(), 0));
                *at = position.max(*at);
                if base.epoch < record.epoch {
                    *base = record;
                }
                Ok(())
            }
            Event::Returned(node) => {
                self.returned.insert(node);
                Ok(())
            }
            Event::Sent(epoch) => self.sent(epoch),
            Event::Accepted { base, ballot, record, by } => self.accept(&base, ballot, record, by),
            Event::Acknowledged { epoch, position, by } => self.acknowledge(epoch, position, by),
            Event::Activated { record, resume, without_majority, renewed } => self.activate(record, resume, without_majority, renewed),
        }
    }

    /// Whether what returned nodes do may look like another world's: it was gone without for them.
    fn is_of_the_parted(&self, nodes: impl IntoIterator<Item = NodeId>) -> bool {
        self.parted && nodes.into_iter().any(|node| self.returned.contains(&node))
    }

    /// The records that were decided.
    pub(super) fn decided(&self) -> impl Iterator<Item = &Record> {
        self.known.values().chain(self.decided.values())
    }

    /// The same, and those that a witness accepted.
    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.decided().chain(self.accepted.values().map(|(record, _)| record))
    }

    fn is_decided(&self, record: &Record) -> bool {
        record.epoch == Epoch::default() || self.decided.values().any(|decided| decided == record)
    }

    /// S4: no more is sent twice than the window.
    fn sent(&mut self, epoch: Epoch) -> Result<(), String> {
        let Some(owner) = self.owners.get_mut(&epoch) else { return Ok(()) };
        owner.sent += 1;
        let sent = owner.sent;
        match self.owners.range(epoch..).skip(1).find(|(_, later)| sent > later.resumed + WINDOW) {
            Some((later, _)) if !self.parted => {
                Err(format!("{} sent {sent}, more than the window past where {} resumed (S4)", shown(epoch), shown(*later)))
            }
            _ => Ok(()),
        }
    }

    /// S3: a record has one successor.
    fn accept(&mut self, base: &Record, ballot: Epoch, record: Record, by: NodeId) -> Result<(), String> {
        if self.decided.get(&base.epoch) == Some(&record) {
            return Ok(());
        }
        if !self.is_decided(base) && !self.parted {
            return Err(format!("{} is to succeed {}, which was never decided (S3)", shown(record.epoch), shown(base.epoch)));
        }
        let (_, votes) = self.accepted.entry((base.epoch, ballot)).or_insert_with(|| (record.clone(), BTreeSet::new()));
        votes.insert(by);
        if !base.is_majority(&*votes) {
            return Ok(());
        }
        let by_returned = votes.clone();
        self.accepted.retain(|(of, _), (accepted, _)| *of != base.epoch || *accepted != record);
        match self.decided.get(&base.epoch) {
            Some(first) if !self.is_of_the_parted(by_returned) => {
                Err(format!("{} and {} were both decided as the successor of {} (S3)", shown(first.epoch), shown(record.epoch), shown(base.epoch)))
            }
            _ => {
                self.decided.insert(base.epoch, record);
                Ok(())
            }
        }
    }

    /// S3: no two owners both keep a majority.
    fn acknowledge(&mut self, epoch: Epoch, position: u64, by: NodeId) -> Result<(), String> {
        let Some(owner) = self.owners.get_mut(&epoch).filter(|owner| owner.held < position) else { return Ok(()) };
        let votes = self.acknowledged.entry(epoch).or_default();
        let vote = votes.entry(by).or_default();
        *vote = position.max(*vote);
        let voters: Vec<_> = votes.iter().filter(|(_, held)| **held >= position).map(|(id, _)| *id).collect();
        if !owner.record.is_majority(&voters) {
            return Ok(());
        }
        owner.held = position;
        votes.retain(|_, held| *held > position);
        match self.owners.range(epoch..).skip(1).find(|(_, later)| later.resumed < position) {
            Some((later, _)) if !self.is_of_the_parted(voters) => {
                Err(format!("{} was acknowledged at {position} by a majority after {} had resumed below (S3)", shown(epoch), shown(*later)))
            }
            _ => Ok(()),
        }
    }

    /// S1, S3, S4: an epoch has one owner, who resumes where the last one was held to be, and nowhere that no sink has seen.
    fn activate(&mut self, record: Record, resume: u64, without_majority: bool, renewed: bool) -> Result<(), String> {
        let epoch = record.epoch;
        self.parted |= without_majority;
        let former = || self.owners.range(..epoch).map(|(_, owner)| owner);
        let held = former().map(|owner| owner.held).max().unwrap_or(0);
        let sent = former().map(|owner| owner.sent).max().unwrap_or(0);
        let of_all = self.owners.values().map(|owner| owner.sent).max().unwrap_or(0);
        if self.owners.get(&epoch).is_some_and(|owner| owner.record != record) {
            return Err(format!("{} was activated twice, with other witnesses or for another owner (S3)", shown(epoch)));
        }
        if !self.is_decided(&record) && !self.parted {
            return Err(format!("{} was activated, and never decided (S3)", shown(epoch)));
        }
        if resume > of_all {
            return Err(format!("{} resumes at {resume}, above {of_all} that the sink has (S1)", shown(epoch)));
        }
        if resume < held && !self.parted {
            return Err(format!("{} resumes at {resume}, below {held} that a majority acknowledged (S4)", shown(epoch)));
        }
        if sent > resume + WINDOW && !self.parted {
            return Err(format!("{} resumes at {resume}; {sent} was sent, more than the window past it (S4)", shown(epoch)));
        }
        let mut sent = resume;
        for (_, former) in self.owners.range_mut(..epoch).filter(|(_, former)| renewed && former.record.owner == record.owner && !former.closing) {
            former.closing = true;
            sent = sent.max(former.sent);
        }
        self.known.insert(epoch, record.clone());
        self.owners.entry(epoch).or_insert(Owner { record, resumed: resume, sent, held: resume, closing: false });
        Ok(())
    }
}
