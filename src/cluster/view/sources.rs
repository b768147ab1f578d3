//! Movable sources as people ask for them: who has each, since when and why, and what is wrong with that.

use std::{collections::BTreeMap, time::Duration};

use logvine_gossip::{NodeId, Now};

use super::{
    name_of, rfc3339,
    rows::{Finding, FindingKind, Place, SourceRow, SourceState, SourceView},
    serde_word, statuses, why_words,
};
use crate::{
    catalog::{Desired, Source},
    checkpoint::{Checkpoint, FileKey, Position},
    instance::{InstanceState, InstanceStatus},
    member::NodeInfo,
    message::Inspected,
    name::Name,
    node::{Expecting, Node},
    record::SourceKey,
};

/// The movable sources of one runner, or of all, by runner and id: those whose [`source_order`] is after `after`.
///
/// Rows are made as they are taken: there may be a hundred thousand.
pub fn sources<'a>(node: &'a Node, now: Now, only: Option<&'a Name>, after: Option<&'a str>) -> impl Iterator<Item = SourceRow> + 'a {
    let after = after.map(|after| after.split_once('\0').unwrap_or((after, "")));
    // Whole runners before that point are not looked at.
    let ahead = move |name: &Name| after.is_none_or(|(runner, _)| name.as_str() >= runner);
    let runners = node.catalog().runners().filter(move |(name, _)| only.is_none_or(|only| only == *name) && ahead(name));
    runners.flat_map(move |(name, _)| {
        let sight = Sight::of(node, now, name);
        let wanted = move |source: &&Source| after.is_none_or(|after| (name.as_str(), source.spec.id.as_str()) > after);
        node.catalog().sources(name).filter(wanted).map(move |source| source_row(&sight, source))
    })
}

/// The key by which sources are in order.
pub fn source_order(runner: &str, source: &str) -> String {
    format!("{runner}\0{source}")
}

/// What all sources of a runner share.
pub(super) struct Sight<'a> {
    node: &'a Node,
    now: Now,
    runner: &'a Name,
    statuses: BTreeMap<NodeId, InstanceStatus>,
    /// Whether a live node may own one.
    has_place: bool,
}

/// A source's state, its owner (live, or away for a time), and what that complains of.
pub(super) struct Seen {
    pub(super) state: SourceState,
    owner: Option<NodeId>,
    error: Option<String>,
}

impl<'a> Sight<'a> {
    pub(super) fn of(node: &'a Node, now: Now, runner: &'a Name) -> Self {
        let statuses = statuses(node, runner).map(|(info, status)| (info.id, status)).collect();
        Self { node, now, runner, statuses, has_place: node.targets(runner).iter().any(|id| is_live(node, id)) }
    }

    pub(super) fn see(&self, source: &Source) -> Seen {
        let claims = self.node.claims_of(self.runner, source);
        let last = claims.first().map(|(id, _)| *id);
        let owner = last.filter(|id| is_live(self.node, id));
        if let (None, Some(away)) = (owner, last.filter(|id| self.away_for(id).is_some())) {
            return Seen { state: SourceState::Waiting, owner: Some(away), error: None };
        }
        if owner.is_some() && claims[0].1.is_lost {
            let error = Some("no copy of its checkpoint is found: rewind it to have it read again".to_owned());
            return Seen { state: SourceState::WaitingForCheckpoint, owner, error };
        }
        if owner.is_some() && claims[0].1.is_unsplittable {
            let error = Some("too large for any node but its owner, which it overloads: split it, or add a larger node".to_owned());
            return Seen { state: SourceState::Collected, owner, error };
        }
        let status = owner.and_then(|owner| self.statuses.get(&owner));
        let failed = |status: &InstanceStatus| status.error.clone().filter(|_| status.state == InstanceState::Failed);
        let error = status.and_then(|status| status.source_errors.get(&source.spec.id).cloned().or_else(|| failed(status)));
        let state = match (owner, self.has_place) {
            (Some(_), _) if error.is_some() => SourceState::Failing,
            (Some(_), _) => SourceState::Collected,
            (None, true) if self.node.expecting(self.now).is_some() => SourceState::Waiting,
            (None, true) => SourceState::Unowned,
            (None, false) => SourceState::NoNode,
        };
        Seen { state, owner, error }
    }

    fn away_for(&self, id: &NodeId) -> Option<Duration> {
        self.node.view().get(id).and_then(|info| self.node.away_for(self.now, info))
    }

    /// What a source waits for.
    fn why_waiting(&self, owner: Option<&NodeId>) -> Option<String> {
        let Some(owner) = owner else {
            let Expecting { active, expected, left } = self.node.expecting(self.now)?;
            return Some(format!("{active} of {expected} expected nodes are active: the others have {} s more to come", left.as_secs() + 1));
        };
        let left = self.away_for(owner)?;
        Some(format!("{} is away: it has {} s more to come back", name_of(self.node, owner), left.as_secs() + 1))
    }
}

fn source_row(sight: &Sight, source: &Source) -> SourceRow {
    let Sight { node, runner, .. } = sight;
    let Seen { state, owner, error } = sight.see(source);
    let claims = node.claims_of(runner, source);
    let newest = claims.first();
    let waiting = if state == SourceState::Waiting { sight.why_waiting(owner.as_ref()) } else { None };
    let witnesses = newest.map_or(&source.witnesses, |(_, claim)| &claim.witnesses);
    SourceRow {
        runner: runner.to_string(),
        id: source.spec.id.to_string(),
        url: source.spec.url.clone(),
        selection: source.spec.selection.clone(),
        from: serde_word(&source.from),
        state,
        owner: owner.map(|id| id.to_string()),
        owner_name: owner.map(|id| name_of(node, &id)),
        last_owner: newest.map(|(id, _)| id.to_string()),
        epoch: newest.map(|(_, claim)| claim.epoch.to_string()),
        since: newest.map(|(_, claim)| rfc3339(claim.since)),
        why: waiting.or_else(|| newest.map(|(_, claim)| why_words(node, &claim.why))),
        witnesses: witnesses.iter().map(|witness| name_of(node, &witness.node)).collect(),
        error,
    }
}

fn is_live(node: &Node, id: &NodeId) -> bool {
    node.view().get(id).is_some_and(NodeInfo::is_live)
}

/// A movable source's key, and who claims it last: what only that node knows is asked of it.
pub fn claimant(node: &Node, runner: &Name, id: &Name) -> Option<(SourceKey, Option<NodeId>)> {
    let source = node.catalog().source(runner, id)?;
    Some((source.key.clone(), node.claims_of(runner, source).first().map(|(claimant, _)| *claimant)))
}

/// One movable source; `inspected` is what its claimant said, or why it said nothing; none: nobody claims it.
pub fn source(node: &Node, now: Now, runner: &Name, id: &Name, inspected: Option<Result<Inspected, String>>) -> Option<SourceView> {
    let (inspected, unanswered) = match inspected.transpose() {
        Ok(inspected) => (inspected, None),
        Err(why) => (None, Some(why)),
    };
    let row = source_row(&Sight::of(node, now, runner), node.catalog().source(runner, id)?);
    let home = node.home_of(now, runner, id).map(|id| name_of(node, &id));
    Some(SourceView {
        row,
        home,
        unanswered,
        acknowledged: inspected.as_ref().map(|inspected| places(&inspected.checkpoint)),
        held: inspected.as_ref().map(|inspected| places(&inspected.held)),
        last_error: inspected.and_then(|inspected| inspected.error),
    })
}

/// Where a checkpoint is, by file.
pub fn places(checkpoint: &Checkpoint) -> Vec<Place> {
    let place = |(file, positions): (&FileKey, &BTreeMap<Name, Position>)| Place {
        file: file.name.to_string(),
        lineage: file.lineage,
        offsets: positions.iter().map(|(sender, position)| (sender.to_string(), position.offset)).collect(),
    };
    checkpoint.files.iter().map(place).collect()
}

/// What there is to know about the assignment, as this node sees it: sources with no owner or two, those that wait, and those that are too large.
pub fn check(node: &Node, now: Now) -> Vec<Finding> {
    // What an operator stopped needs no owner.
    let runners = node.catalog().runners().filter(|(name, _)| node.catalog().desired(name) == Desired::Running);
    let of_runner = |(name, _)| {
        let sight = Sight::of(node, now, name);
        node.catalog().sources(name).filter_map(move |source| finding(&sight, source)).collect::<Vec<_>>()
    };
    runners.flat_map(of_runner).collect()
}

fn finding(sight: &Sight, source: &Source) -> Option<Finding> {
    let Sight { node, runner, .. } = sight;
    let claims = node.claims_of(runner, source);
    let owners: Vec<String> = claims.iter().filter(|(id, _)| is_live(node, id)).map(|(id, _)| name_of(node, id)).collect();
    let Seen { state, owner, error } = sight.see(source);
    let (kind, detail) = match (state, owners.as_slice()) {
        (_, [_, _, ..]) => (FindingKind::TwoOwners, format!("claimed by {}", owners.join(" and "))),
        (SourceState::NoNode, _) => {
            (FindingKind::NoNode, "no live node matches its runner's placement, or the runner is stopped on all that do".to_owned())
        }
        (SourceState::Unowned, _) => {
            let last = claims.first().map(|(last, _)| format!("its last owner was {}", name_of(node, last)));
            (FindingKind::NoOwner, last.unwrap_or_else(|| "nobody has taken it yet".to_owned()))
        }
        (SourceState::Waiting, _) => (FindingKind::Waiting, sight.why_waiting(owner.as_ref()).unwrap_or_default()),
        (SourceState::WaitingForCheckpoint, _) => (FindingKind::WaitingForCheckpoint, error.unwrap_or_default()),
        (SourceState::Collected, _) if claims.first().is_some_and(|(_, claim)| claim.is_unsplittable) => {
            (FindingKind::Unsplittable, error.unwrap_or_default())
        }
        (SourceState::Collected | SourceState::Failing, _) => return None,
    };
    let wrong = kind != FindingKind::Waiting;
    Some(Finding { kind, wrong, runner: runner.to_string(), source: source.spec.id.to_string(), detail })
}
