//! A movable source's record: who owns it, under which epoch, and who keeps its checkpoint (DESIGN §5.3).

use std::fmt;

use logvine_gossip::{NodeId, Stamp};
use serde::{Deserialize, Serialize};

use crate::{canary::planted, instance::Epoch, name::Name};

/// What a source's record is kept under. A source, or its runner, that is deleted and made again is another one and starts clean.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SourceKey {
    /// Stamp of the runner's creation.
    pub uid: Stamp,
    /// The source's id.
    pub source: Name,
    /// Stamp of the source's creation.
    pub created: Stamp,
}

impl fmt::Display for SourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)
    }
}

impl fmt::Debug for SourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.uid, self.source, self.created)
    }
}

/// The disk of a node: a random number made with its store. A node whose disk was lost is a witness of nothing that it witnessed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct DiskId(pub u64);

/// A node that keeps a source's record for the case that its owner dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Witness {
    pub node: NodeId,
    pub disk: DiskId,
}

/// Who owns a source, and who witnesses it. Its checkpoint travels beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub epoch: Epoch,
    /// None before the first owner.
    pub owner: Option<NodeId>,
    /// One to three, fixed for the epoch.
    pub witnesses: Vec<Witness>,
}

impl Record {
    /// Witnesses wanted for a record.
    pub const WITNESSES: usize = 3;

    /// The record that a source is created with: no owner, epoch 0.
    pub fn first(witnesses: Vec<Witness>) -> Self {
        Self { epoch: Epoch::default(), owner: None, witnesses }
    }

    /// Whether `nodes` (each once) are a majority of the witnesses: more than half; of two, any part that contains the record's owner.
    pub fn is_majority<'a>(&self, nodes: impl IntoIterator<Item = &'a NodeId>) -> bool {
        let votes: Vec<_> = nodes.into_iter().filter(|id| self.is_witness(id)).collect();
        match (self.witnesses.len(), self.owner) {
            (2, Some(owner)) if self.is_witness(&owner) => votes.contains(&&owner) || planted("pair-by-any") && !votes.is_empty(),
            (all, _) => votes.len() * 2 > all,
        }
    }

    /// Whether `node` witnesses this record.
    pub fn is_witness(&self, node: &NodeId) -> bool {
        self.witnesses.iter().any(|witness| witness.node == *node)
    }
}
