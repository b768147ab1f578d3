//! The last values that this node stored of a runner's key: what was there before an edit, for people who look back or go back (DESIGN §6).

use std::collections::BTreeMap;

use logvine_gossip::{Entry, NodeId, Stamp};

use super::{Node, Table};
use crate::{
    catalog::{RunnerValue, pack, runner_key, unpack},
    name::Name,
    operation::Operation,
    spec::RunnerSpec,
};

/// How many are kept of one runner.
const KEPT_MAX: usize = 20;
/// And no more than so many bytes of it beside the last one: a spec may have 64 KiB, and there may be thousands of runners.
const KEPT_BYTES_MAX: usize = 256 << 10;

type Order = (Stamp, NodeId);

/// By runner and by the order of its words.
#[derive(Debug, Default)]
pub(super) struct Revisions(BTreeMap<Name, BTreeMap<Order, Entry>>);

/// What a runner was, or is.
#[derive(Debug, Clone)]
pub struct Revision {
    pub stamp: Stamp,
    /// The node through which it was written.
    pub origin: NodeId,
    /// Without its sources: they have keys of their own. None: the runner was deleted; or this version cannot read it.
    pub spec: Option<RunnerSpec>,
    pub is_deletion: bool,
}

impl Revision {
    /// The operation that wrote it.
    pub fn operation(&self) -> String {
        Operation::id(self.stamp, &self.origin)
    }
}

impl Revisions {
    pub(super) fn new(restored: Vec<(Name, Entry)>) -> Self {
        let mut revisions = Self::default();
        for (name, entry) in restored {
            revisions.0.entry(name).or_default().insert((entry.stamp, entry.origin), entry);
        }
        revisions
    }

    /// Returns those that there is no room for any more.
    fn take(&mut self, name: &Name, entry: Entry) -> Vec<Order> {
        let of_runner = self.0.entry(name.clone()).or_default();
        of_runner.insert((entry.stamp, entry.origin), entry);
        let (mut bytes, mut dropped) = (0, Vec::new());
        for (at, (order, entry)) in of_runner.iter().rev().enumerate() {
            bytes += entry.value.as_ref().map_or(0, bytes::Bytes::len);
            // The one before the present one is what people go back to, however large it is.
            if at >= KEPT_MAX || (at > 1 && bytes > KEPT_BYTES_MAX) {
                dropped.push(*order);
            }
        }
        for order in &dropped {
            of_runner.remove(order);
        }
        dropped
    }
}

impl Node {
    /// A runner's key has another value on this node's disk. Also one that came too late to be the last word is none of its past: it was never stored.
    pub(super) fn keep_revision(&mut self, key: &str, entry: &Entry) {
        let Some(name) = key.strip_prefix("runner/").and_then(|name| name.parse::<Name>().ok()) else { return };
        let dropped = self.revisions.take(&name, entry.clone());
        self.write(Table::Revision, row(&name, &(entry.stamp, entry.origin)), Some(pack(&(&name, entry)).to_vec()));
        for order in dropped {
            self.write(Table::Revision, row(&name, &order), None);
        }
    }

    /// A runner was deleted so long ago that this is forgotten.
    pub(super) fn forget_revisions(&mut self, key: &str) {
        let Some(name) = key.strip_prefix("runner/").and_then(|name| name.parse::<Name>().ok()) else { return };
        for order in self.revisions.0.remove(&name).unwrap_or_default().into_keys() {
            self.write(Table::Revision, row(&name, &order), None);
        }
    }

    /// What this node has stored of a runner, the newest first: at most twenty. What holds now is among them, or they were deleted with it.
    pub fn revisions(&self, runner: &Name) -> Vec<Revision> {
        let kept = self.revisions.0.get(runner).into_iter().flatten().rev();
        let revision = |(&(stamp, origin), entry): (&Order, &Entry)| {
            let spec = entry.value.as_ref().and_then(|value| unpack::<RunnerValue>(value).ok()).map(|value| value.spec);
            Revision { stamp, origin, spec, is_deletion: entry.value.is_none() }
        };
        kept.map(revision).collect()
    }
}

/// `runner/<name>/<stamp>-<origin>`
fn row(name: &Name, (stamp, origin): &Order) -> Vec<u8> {
    format!("{}/{stamp:020}-{origin}", runner_key(name)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(stamp: u64, bytes: usize) -> Entry {
        Entry { stamp: Stamp(stamp), origin: NodeId([1; 16]), value: Some(vec![0; bytes].into()) }
    }

    fn kept(sizes: &[usize]) -> Vec<u64> {
        let (mut revisions, name) = (Revisions::default(), "web".parse::<Name>().unwrap());
        for (stamp, bytes) in (1..).zip(sizes) {
            revisions.take(&name, entry(stamp, *bytes));
        }
        revisions.0[&name].keys().map(|(stamp, _)| stamp.0).collect()
    }

    #[test]
    fn the_last_twenty_are_kept_and_fewer_of_large_ones() {
        assert_eq!(kept(&[100; 25]), (6..=25).collect::<Vec<_>>());
        assert_eq!(kept(&[64 << 10; 9]), (6..=9).collect::<Vec<_>>());
        assert_eq!(kept(&[300 << 10; 9]), [8, 9], "there is always one to go back to");
    }
}
