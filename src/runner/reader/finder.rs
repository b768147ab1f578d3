//! Finds the files of a `file` reader, and knows them again.

use std::{collections::BTreeMap, sync::Arc};

use logvine_cluster::{
    checkpoint::{FileKey, Position},
    instance::Pinned,
    name::Name,
    spec::FileReaderSpec,
};
use logvine_gossip::NodeId;

use super::{ReadError, file::FileReader};
use crate::policy::Policy;

/// Finds the files of one instance.
#[derive(Debug)]
pub struct Finder {}

/// A file to follow, as a pinned source.
#[derive(Debug)]
pub struct Found {
    /// New, or the one that it had in `pinned`. Made of the node's id and the file's device, inode and birth, so no two files of a cluster share it.
    pub source: Name,
    /// Where the reader begins: the key and the least position of the present senders. None for a file that was never read.
    pub resume: Option<(FileKey, Position)>,
    pub reader: FileReader,
}

/// What one look at the directories has found.
#[derive(Debug, Default)]
pub struct Scan {
    /// Files that nobody follows yet.
    pub found: Vec<Found>,
    /// Pinned sources whose file is gone for good: tell `Finished`. Their unread rest, if they had any, cannot be known.
    pub gone: Vec<Name>,
    /// What could not be looked at; the rest was.
    pub errors: Vec<ReadError>,
}

impl Finder {
    /// Prepares to find what `spec` names. `pinned` is what is remembered of earlier starts. Errors: a glob is malformed, or the policy forbids all that it
    /// could match.
    pub fn new(
        _spec: &FileReaderSpec,
        _policy: Arc<Policy>,
        _node: NodeId,
        _senders: &[Name],
        _pinned: BTreeMap<Name, Pinned>,
    ) -> Result<Self, ReadError> {
        Ok(Self {})
    }

    /// Looks once. To be called every `poll_ms`. Cancel-safe.
    pub async fn poll(&mut self) -> Scan {
        Scan::default()
    }

    /// The reader of `source` has said `Finished` (and its last checkpoint is acknowledged), or was dropped after an error.
    pub fn finished(&mut self, _source: &Name) {}
}
