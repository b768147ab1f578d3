//! Operations: what was commanded, by whom, on which nodes, and what became of it on each (DESIGN §6). They are the audit trail.
//!
//! ```text
//! proposed ──first copy──> published ──two copies more, or all there are──> accepted
//!     └─────ten minutes without any──────> withdrawn: it was in nobody's catalog, and never will be
//! ```
//! A proposal is told to others before the relay takes it into its own catalog: a node that is cut off gossips nothing that nobody else has agreed to keep.
//! Not here: calls and disks (`node::relay`), how a target finds out what became of it (`node::outcomes`).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use logvine_gossip::{Entry, Instant, NodeId, Stamp};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256};

use crate::{canary::planted, catalog::desired_key, name::Name};

/// What the keys of operations begin with.
pub(crate) const OPERATION: &str = "operation/";
/// Copies on the disks of others that make a write accepted: with the relay's own, it survives the loss of any two.
pub const COPIES: usize = 2;
/// After so long a write that nobody else has is withdrawn.
pub const ACCEPT_WITHIN: Duration = Duration::from_secs(600);
/// A command that is no state and is heard later than this is not carried out: whoever is told so may say it again (DESIGN §6). As long as an operator waits, and as clocks differ.
pub(crate) const RESTART_WITHIN: Duration = Duration::from_secs(60);
/// How long operations are kept.
pub const KEPT: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How many are kept.
pub const KEPT_MAX: usize = 10_000;
/// Entries of one command: their hashes must fit into the operation's own value.
pub const ENTRIES_MAX: usize = 12_000;
/// Keys of one command of which it says what it found there: with their hashes a fifth of an operation's value.
pub(crate) const SEEN_MAX: usize = 1_000;
/// Desired states of single nodes that one command sets. They have no hashes; this is a fifth of all that a catalog takes.
pub const DESIRED_MAX: usize = 100_000;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    Apply,
    Delete,
    Start,
    Stop,
    Remove,
    Follow,
    Restart,
    Rewind,
    ClearCounters,
    DropQueue,
    PatchSources,
    SetTags,
    RenameTag,
    Drain,
    Undrain,
    Forget,
    Set,
}

impl Verb {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Delete => "delete",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Remove => "remove",
            Self::Follow => "follow",
            Self::Restart => "restart",
            Self::Rewind => "rewind",
            Self::ClearCounters => "clear counters",
            Self::DropQueue => "drop queue",
            Self::PatchSources => "patch sources",
            Self::SetTags => "set tags",
            Self::RenameTag => "rename tag",
            Self::Drain => "drain",
            Self::Undrain => "undrain",
            Self::Forget => "forget",
            Self::Set => "set",
        }
    }

    /// Whether it says if runners shall run: a later one of these has the last word over an earlier one.
    pub(crate) fn is_desire(self) -> bool {
        matches!(self, Self::Start | Self::Stop | Self::Remove | Self::Follow)
    }
}

/// The value of `operation/<id>`. Its stamp and origin are those of every entry that it wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OperationValue {
    pub(crate) verb: Verb,
    /// Who asked, as the API knows it.
    pub(crate) actor: String,
    pub(crate) reason: Option<String>,
    pub(crate) runners: Vec<Name>,
    /// The selection as it was said.
    pub(crate) nodes: Option<String>,
    pub(crate) targets: Vec<NodeId>,
    /// What it was sent under, so that it is not carried out twice.
    pub(crate) idempotency_key: Option<String>,
    /// The four-byte hashes of the keys that it wrote, save those of single nodes' desired states: these follow from verb, runners and targets.
    pub(crate) keys: ByteBuf,
    /// For each of the keys that it wrote, the stamp that its relay found there, in eight bytes; empty where they are more than [`SEEN_MAX`].
    #[serde(default)]
    pub(crate) seen: ByteBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rename: Option<Rename>,
}

/// A step of renaming a tag (`node::renaming`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rename {
    pub(crate) from: Name,
    pub(crate) to: Name,
    /// The operation that began it; none in that one itself.
    pub(crate) of: Option<String>,
    pub(crate) step: RenameStep,
}

/// The steps of renaming a tag, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RenameStep {
    Add,
    Replace,
    Remove,
}

impl RenameStep {
    pub(crate) fn next(self) -> Option<Self> {
        match self {
            Self::Add => Some(Self::Replace),
            Self::Replace => Some(Self::Remove),
            Self::Remove => None,
        }
    }

    /// What is done in it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Add => "adding the new tag",
            Self::Replace => "changing placements and sources",
            Self::Remove => "removing the old tag",
        }
    }
}

/// An operation as the catalog has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its stamp, and the beginning of its relay's id: in the order of time.
    pub id: String,
    pub stamp: Stamp,
    /// The relay.
    pub origin: NodeId,
    pub(crate) value: OperationValue,
}

impl Operation {
    /// An operation's id.
    pub(crate) fn id(stamp: Stamp, origin: &NodeId) -> String {
        format!("{stamp:020}-{}", origin.short())
    }

    pub fn verb(&self) -> Verb {
        self.value.verb
    }

    /// Who asked.
    pub fn actor(&self) -> &str {
        &self.value.actor
    }

    pub fn reason(&self) -> Option<&str> {
        self.value.reason.as_deref()
    }

    pub fn runners(&self) -> &[Name] {
        &self.value.runners
    }

    /// The selection as it was said.
    pub fn nodes(&self) -> Option<&str> {
        self.value.nodes.as_deref()
    }

    pub fn targets(&self) -> &[NodeId] {
        &self.value.targets
    }

    /// The order in which words count.
    pub(crate) fn order(&self) -> (Stamp, NodeId) {
        (self.stamp, self.origin)
    }

    /// The keys that it wrote, each with the stamp that its relay found there. Nothing of an operation that does not say so.
    pub(crate) fn seen(&self) -> impl Iterator<Item = ([u8; 4], Stamp)> {
        let seen = self.value.seen.as_chunks().0.iter().map(|stamp| Stamp(u64::from_be_bytes(*stamp)));
        let keys = if self.value.keys.is_empty() { self.keys_on_nodes() } else { self.value.keys.as_chunks().0.to_vec() };
        keys.into_iter().zip(seen)
    }

    /// The keys of single nodes' desired states, in the order in which they were written.
    fn keys_on_nodes(&self) -> Vec<[u8; 4]> {
        let of_runner = |runner| self.targets().iter().map(move |node| key_hash(&desired_key(runner, Some(node))));
        if self.value.seen.is_empty() { Vec::new() } else { self.runners().iter().flat_map(of_runner).collect() }
    }

    pub(crate) fn keys(&self) -> BTreeSet<[u8; 4]> {
        self.value.keys.as_chunks().0.iter().copied().collect()
    }

    /// Whether whoever has carried this one out has nothing left to do for `earlier`.
    pub fn overrules(&self, earlier: &Self) -> bool {
        let specs = |verb| matches!(verb, Verb::Apply | Verb::Delete);
        let (mine, its) = (self.verb(), earlier.verb());
        let same_kind = (mine.is_desire() && its.is_desire()) || (specs(mine) && specs(its)) || (mine == Verb::Delete && its.is_desire());
        let covers = earlier.runners().iter().all(|runner| self.runners().contains(runner));
        same_kind && covers && self.order() > earlier.order()
    }
}

/// A key in few bytes.
pub(crate) fn key_hash(key: &str) -> [u8; 4] {
    Sha256::digest(key.as_bytes())[..4].try_into().expect("SHA-256 has 32 bytes")
}

/// `outcome/<operation>` in a node map: what became of an operation there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Applied,
    Failed { reason: String },
}

/// What became of an operation on one of its targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub node: NodeId,
    pub state: RowState,
}

/// As in an [`Outcome`], or not known yet, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowState {
    Applied,
    Failed { reason: String },
    Pending { reason: String },
}

/// How far a write is on its relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// On no disk that is known of.
    Proposed,
    /// Another has it, so that it cannot be taken back; or there is no other.
    Published,
    Accepted,
    Withdrawn,
}

/// A write on its way to be accepted.
#[derive(Debug)]
pub struct Proposal {
    pub stage: Stage,
    /// All that is written, the operation itself first, in parts that fit a call.
    pub parts: Vec<Vec<(String, Entry)>>,
    since: Instant,
    /// It is on this node's own disk.
    durable: bool,
    /// Which parts others have on disk.
    held: BTreeMap<NodeId, BTreeSet<usize>>,
}

/// What a relay does next with a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Take it into the own catalog.
    Publish,
    /// Say that it is accepted.
    Accept,
    /// Drop it, and say so.
    Withdraw,
    /// It is published, and too few others came in time to have it accepted. Gossip has it now.
    GiveUp,
}

impl Proposal {
    pub fn new(now: Instant, parts: Vec<Vec<(String, Entry)>>) -> Self {
        Self { stage: Stage::Proposed, parts, since: now, durable: false, held: BTreeMap::new() }
    }

    /// Another has this part on disk.
    pub fn note_held(&mut self, node: NodeId, part: usize) {
        self.held.entry(node).or_default().insert(part);
    }

    /// This node itself has it on disk.
    pub fn note_durable(&mut self) {
        self.durable = true;
    }

    /// The parts that a node lacks, as far as is known.
    pub fn lacking(&self, node: &NodeId) -> Vec<usize> {
        (0..self.parts.len()).filter(|part| !self.held.get(node).is_some_and(|held| held.contains(part))).collect()
    }

    /// Whether a node has all of it on disk.
    pub fn is_held_by(&self, node: &NodeId) -> bool {
        self.held.get(node).is_some_and(|held| held.len() == self.parts.len())
    }

    /// What to do next, if `others` are the live nodes; none where this node does not know yet who lives.
    pub fn step(&self, now: Instant, others: Option<&[NodeId]>) -> Option<Step> {
        let late = now.since(self.since) >= ACCEPT_WITHIN;
        match self.stage {
            Stage::Proposed if others.is_some_and(<[_]>::is_empty) || !self.held.is_empty() || planted("published-before-held") => {
                Some(Step::Publish)
            }
            Stage::Proposed if late => Some(Step::Withdraw),
            Stage::Published if self.is_safe(others) => Some(Step::Accept),
            Stage::Published if late => Some(Step::GiveUp),
            _ => None,
        }
    }

    fn is_safe(&self, others: Option<&[NodeId]>) -> bool {
        let holders = self.held.keys().filter(|node| self.is_held_by(node)).count();
        let all = others.is_some_and(|others| others.iter().all(|node| self.is_held_by(node)));
        self.durable && (holders >= COPIES || all || planted("accepted-on-one-disk"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> NodeId {
        NodeId([n; 16])
    }

    fn at(second: u64) -> Instant {
        Instant::from_micros(second * 1_000_000)
    }

    fn proposal() -> Proposal {
        let entry = Entry { stamp: Stamp(1), origin: id(1), value: None };
        Proposal::new(Instant::ZERO, vec![vec![("operation/1".to_owned(), entry)]])
    }

    /// DESIGN §6, 2: accepted when two other live nodes (or all there are) have it on disk.
    #[test]
    fn two_other_disks_accept_or_all_there_are() {
        let others = [id(2), id(3), id(4)];
        let mut proposal = proposal();
        assert_eq!(proposal.step(at(1), Some(&others)), None);
        proposal.note_held(id(2), 0);
        assert_eq!(proposal.step(at(1), Some(&others)), Some(Step::Publish), "another has it: it cannot be taken back");
        proposal.stage = Stage::Published;
        proposal.note_durable();
        assert_eq!(proposal.step(at(2), Some(&others)), None, "two disks are lost by losing two");
        assert_eq!(proposal.step(at(2), Some(&others[..1])), Some(Step::Accept), "there is no third node");
        proposal.note_held(id(4), 0);
        assert_eq!(proposal.step(at(2), Some(&others)), Some(Step::Accept));
    }

    #[test]
    fn it_is_not_accepted_before_it_is_on_this_nodes_own_disk() {
        let mut proposal = Proposal { stage: Stage::Published, ..proposal() };
        proposal.note_held(id(2), 0);
        proposal.note_held(id(3), 0);
        assert_eq!(proposal.step(at(1), Some(&[id(2), id(3)])), None);
    }

    #[test]
    fn a_holder_of_half_of_it_holds_nothing() {
        let mut proposal = Proposal { stage: Stage::Published, ..Proposal::new(Instant::ZERO, vec![Vec::new(), Vec::new()]) };
        proposal.note_durable();
        proposal.note_held(id(2), 1);
        assert_eq!((proposal.lacking(&id(2)), proposal.step(at(1), Some(&[id(2)]))), (vec![0], None));
    }

    #[test]
    fn who_knows_nobody_yet_is_not_alone() {
        assert_eq!(proposal().step(at(1), None), None);
        assert_eq!(proposal().step(at(1), Some(&[])), Some(Step::Publish));
    }

    #[test]
    fn what_nobody_took_within_ten_minutes_is_withdrawn_and_what_somebody_took_is_not() {
        assert_eq!(proposal().step(at(599), Some(&[id(2)])), None);
        assert_eq!(proposal().step(at(600), Some(&[id(2)])), Some(Step::Withdraw));
        let mut proposal = Proposal { stage: Stage::Published, ..proposal() };
        proposal.note_held(id(2), 0);
        assert_eq!(proposal.step(at(600), Some(&[id(2), id(3)])), Some(Step::GiveUp));
    }

    fn operation(stamp: u64, verb: Verb, runners: &[&str]) -> Operation {
        let runners = runners.iter().map(|name| name.parse().unwrap()).collect();
        let value = OperationValue {
            verb,
            actor: String::new(),
            reason: None,
            runners,
            nodes: None,
            targets: Vec::new(),
            idempotency_key: None,
            keys: ByteBuf::new(),
            seen: ByteBuf::new(),
            rename: None,
        };
        Operation { id: Operation::id(Stamp(stamp), &id(1)), stamp: Stamp(stamp), origin: id(1), value }
    }

    #[test]
    fn a_later_word_on_the_same_runners_overrules_an_earlier_one() {
        let stop = operation(1, Verb::Stop, &["a"]);
        assert!(operation(2, Verb::Start, &["a", "b"]).overrules(&stop));
        assert!(operation(2, Verb::Delete, &["a"]).overrules(&stop));
        assert!(!operation(2, Verb::Start, &["b"]).overrules(&stop), "of another runner");
        assert!(!operation(2, Verb::Apply, &["a"]).overrules(&stop), "an edit never undoes a stop");
        assert!(!stop.overrules(&operation(2, Verb::Start, &["a"])));
    }

    #[test]
    #[cfg(feature = "canary")]
    fn canaries_are_seen() {
        crate::canary::turns_red("accepted-on-one-disk", two_other_disks_accept_or_all_there_are);
        crate::canary::turns_red("published-before-held", what_nobody_took_within_ten_minutes_is_withdrawn_and_what_somebody_took_is_not);
    }
}
