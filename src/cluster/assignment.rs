//! Who should take which source, and when (DESIGN §5.1–5.3, 5.5): what this node does about one movable source, from its view of the moment.
//!
//! Views differ, so nothing here is proof: a decision to take is a candidacy, and the witnesses decide. Sticky: a live owner keeps its source until it gives
//! it away itself. Not here: balance by load, which widens `home`.

use std::{collections::BTreeMap, time::Duration};

use logvine_gossip::{Instant, NodeId};

use crate::{
    canary::planted,
    event::{Cause, Why},
    instance::Epoch,
    member::{NodeInfo, Phase},
    ranking::{Capacity, RankingKey, rank_of, ranking},
    record::Record,
};

/// A successor waits this long for each live node that ranks before it.
const SUCCESSION: Duration = Duration::from_secs(2);
/// The same for a source that had no owner yet. A whole fleet of them is taken at once, which takes the first of their rankings a while; its candidacies
/// must not be overridden meanwhile. Longer than a dead node is believed to live.
const FIRST_SUCCESSION: Duration = Duration::from_secs(6);
/// An owner that restarted is given this long to take up its own sources again.
const RESUMPTION: Duration = Duration::from_secs(10);

/// What is known of one source.
#[derive(Debug)]
pub(crate) struct Situation<'a> {
    pub(crate) now: Instant,
    pub(crate) me: NodeId,
    pub(crate) key: RankingKey,
    /// Nodes that may own it: active (or away within their grace), in its selection, not overruled. By id, with when each became so.
    pub(crate) eligible: &'a BTreeMap<NodeId, Eligible>,
    /// The best of them, best first: all, or at least four.
    pub(crate) ranked: Vec<NodeId>,
    /// The epoch under which this node owns it.
    pub(crate) owned: Option<Epoch>,
    /// The highest claim that any node's map makes, this node's own excepted.
    pub(crate) claim: Option<Claimed>,
    /// Who was last seen to claim it, and when that claim was gone.
    pub(crate) former: Option<(NodeId, Instant)>,
    /// Its runner is placed on this node and shall run here, whatever this node's phase.
    pub(crate) placed_here: bool,
    pub(crate) draining: bool,
    /// This node's to take again, and why: its disk says that it owned it when it stopped, or nobody took what it gave away.
    pub(crate) mine: Option<Why>,
    /// Who owned the newest record that this node knows of; none: it never had an owner.
    pub(crate) last: Option<NodeId>,
    /// Since when it should have an owner and none has been seen.
    pub(crate) unowned_since: Instant,
}

/// A node that may own a source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Eligible {
    pub(crate) capacity: Capacity,
    pub(crate) since: Instant,
    /// False where it is away, within its grace.
    pub(crate) present: bool,
}

/// Those of these nodes, on which a source's runner is placed, that may own it: active, or away within their grace; steady ones, where one is there.
pub(crate) fn eligible<'a>(
    placed: impl Iterator<Item = &'a NodeInfo>,
    is_away: impl Fn(&NodeInfo) -> bool,
    since: impl Fn(&NodeId) -> Instant,
) -> BTreeMap<NodeId, Eligible> {
    let is_present = |info: &NodeInfo| info.is_live() && info.phase == Phase::Active;
    let able: Vec<_> = placed.filter(|info| is_present(info) || is_away(info)).collect();
    // One that crashes again and again is better than nobody.
    let has_steady = able.iter().any(|info| info.unsteady.is_none() && is_present(info));
    let able = able.into_iter().filter(|info| !has_steady || info.unsteady.is_none());
    able.map(|info| (info.id, Eligible { capacity: info.capacity, since: since(&info.id), present: is_present(info) })).collect()
}

/// Another node's claim.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claimed {
    pub(crate) owner: NodeId,
    pub(crate) epoch: Epoch,
    /// When the owner was believed gone; none while it lives, or is away within its grace.
    pub(crate) gone: Option<Instant>,
}

/// What to do about a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Nothing now; look again at the instant, if any.
    Wait(Option<Instant>),
    /// Become a candidate. `ask`: first ask this node directly whether it still owns it.
    Take { why: Why, ask: Option<NodeId> },
    /// This node may not keep it: offer it to others, this one first if load does not matter.
    Give { to: NodeId, cause: Cause },
    /// Another owns it under a higher epoch: stop at once.
    Yield { by: Epoch },
    /// Nobody may own it here: stop in order.
    Stop,
}

/// Whose a source is while the owner that claims it is away: its own, unless it was taken over before others had heard that, by one whose claim they never heard.
/// The record of that is with its witnesses.
pub(crate) fn owner_while_away(claimed: (NodeId, Epoch), newest: &Record, me: NodeId) -> (NodeId, Epoch) {
    let heir = newest.owner.filter(|heir| newest.epoch > claimed.1 && *heir != me);
    heir.map_or(claimed, |heir| (heir, newest.epoch))
}

/// Decides about one source. Calling it again with the same situation gives the same decision.
pub(crate) fn decide(situation: &Situation) -> Decision {
    match situation.owned {
        Some(epoch) => decide_owned(situation, epoch),
        None => decide_unowned(situation),
    }
}

fn decide_owned(situation: &Situation, epoch: Epoch) -> Decision {
    let Situation { me, eligible, claim, .. } = situation;
    if let Some(claim) = claim.filter(|claim| claim.epoch > epoch && !planted("two-owners-go-on")) {
        return Decision::Yield { by: claim.epoch };
    }
    if !eligible.contains_key(me) {
        return match first_present(situation) {
            Some(to) => Decision::Give { to, cause: if situation.draining { Cause::Draining } else { Cause::Misplaced } },
            // It drains, and nobody else is there: better here than nowhere.
            None if situation.placed_here => Decision::Wait(None),
            None => Decision::Stop,
        };
    }
    Decision::Wait(None)
}
fn decide_unowned(situation: &Situation) -> Decision {
    let Situation { now, me, eligible, claim, former, mine, last, unowned_since, .. } = situation;
    if !eligible.contains_key(me) {
        return Decision::Wait(None);
    }
    // It is known, but does not claim it: it has restarted, say, and been stopped again before it had taken it back.
    let owner = former.map(|(owner, _)| owner).or(*last).filter(|owner| owner != me);
    let is_awaited = owner.and_then(|owner| eligible.get(&owner)).is_some_and(|owner| !owner.present);
    if claim.is_none() && mine.is_none() && is_awaited {
        return Decision::Wait(None);
    }
    let (since, turn, why, ask) = match (claim, former, mine) {
        (Some(claim), ..) => match claim.gone {
            None => return Decision::Wait(None),
            Some(gone) => (gone, SUCCESSION, Why::TookOver { from: claim.owner }, Some(claim.owner)),
        },
        (None, _, Some(why)) => (Instant::ZERO, Duration::ZERO, why.clone(), None),
        (None, Some((owner, gone)), None) => ((*gone).max(*unowned_since) + RESUMPTION, SUCCESSION, Why::TookOver { from: *owner }, Some(*owner)),
        // Nobody has claimed it since this node's start. Who owned it before need not be asked: it would claim it.
        (None, None, None) => {
            (*unowned_since, FIRST_SUCCESSION, last.map_or(Why::New, |from| if from == *me { Why::Resumed } else { Why::TookOver { from } }), None)
        }
    };
    let turn = if planted("succession-ignored") { Duration::ZERO } else { turn };
    let due = |before: usize| since + turn * u32::try_from(before).unwrap_or(u32::MAX);
    let mut best = due(present_among(situation).take_while(|id| id != me).count());
    if *now >= best && !situation.ranked.contains(me) {
        // None of the best has taken it: now it matters how many rank before this node.
        let present = eligible.iter().filter(|(_, node)| node.present).map(|(id, node)| (*id, node.capacity));
        best = due(rank_of(present, situation.key, *me, eligible[me].capacity));
    }
    if *now < best { Decision::Wait(Some(best)) } else { Decision::Take { why, ask } }
}

/// Those of the best that are there.
fn present_among<'a>(situation: &'a Situation) -> impl Iterator<Item = NodeId> + 'a {
    situation.ranked.iter().filter(|id| situation.eligible.get(id).is_some_and(|node| node.present)).copied()
}

/// The first of the ranking that is there.
fn first_present(situation: &Situation) -> Option<NodeId> {
    let beyond = || {
        let present = situation.eligible.iter().filter(|(_, node)| node.present).map(|(id, node)| (*id, node.capacity)).collect();
        ranking(&present, situation.key, 1).first().copied()
    };
    present_among(situation).next().or_else(beyond)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId([n; 16])
    }

    fn secs(n: u64) -> Instant {
        Instant::from_micros(n * 1_000_000)
    }

    /// Three equal nodes; which of them ranks first, second and third for the key.
    fn cluster() -> (BTreeMap<NodeId, Eligible>, RankingKey, Vec<NodeId>) {
        let eligible: BTreeMap<_, _> = (1..4).map(|n| (node(n), Eligible { capacity: Capacity(16), since: secs(0), present: true })).collect();
        let key = RankingKey::of(&crate::record::SourceKey {
            uid: logvine_gossip::Stamp(1),
            source: "s".parse().unwrap(),
            created: logvine_gossip::Stamp(2),
        });
        let ranked = ranking(&eligible.iter().map(|(id, node)| (*id, node.capacity)).collect(), key, 3);
        (eligible, key, ranked)
    }

    fn situation(eligible: &BTreeMap<NodeId, Eligible>, key: RankingKey, me: NodeId) -> Situation<'_> {
        let now = secs(100);
        let ranked = ranking(&eligible.iter().map(|(id, node)| (*id, node.capacity)).collect(), key, 8);
        Situation {
            now,
            me,
            key,
            eligible,
            ranked,
            owned: None,
            claim: None,
            former: None,
            placed_here: true,
            draining: false,
            mine: None,
            last: None,
            unowned_since: secs(90),
        }
    }

    #[test]
    fn a_new_source_is_taken_by_the_first_of_its_ranking() {
        let (eligible, key, ranked) = cluster();
        let new = |me| Situation { unowned_since: secs(100), ..situation(&eligible, key, me) };
        assert_eq!(decide(&new(ranked[0])), Decision::Take { why: Why::New, ask: None });
        assert_eq!(decide(&new(ranked[1])), Decision::Wait(Some(secs(106))));
        assert_eq!(decide(&new(ranked[2])), Decision::Wait(Some(secs(112))));
    }

    /// A node that restarted has heard no claim yet; its disk may still know whose the source was.
    #[test]
    fn a_source_that_had_an_owner_is_not_called_new() {
        let (eligible, key, ranked) = cluster();
        let before = Situation { last: Some(ranked[2]), ..situation(&eligible, key, ranked[0]) };
        assert_eq!(decide(&before), Decision::Take { why: Why::TookOver { from: ranked[2] }, ask: None });
    }

    /// Found by seed 345: all waited for an owner that was away; the node that had taken the source from it was dead, and its claim heard by nobody.
    #[test]
    fn who_was_taken_over_while_away_is_not_waited_for() {
        let claimed = (node(1), Epoch { counter: 15, taker: node(1) });
        let record = |counter, owner| Record { epoch: Epoch { counter, taker: node(owner) }, owner: Some(node(owner)), witnesses: Vec::new() };
        assert_eq!(owner_while_away(claimed, &record(19, 2), node(3)), (node(2), Epoch { counter: 19, taker: node(2) }));
        assert_eq!(owner_while_away(claimed, &record(15, 1), node(3)), claimed);
        assert_eq!(owner_while_away(claimed, &record(14, 2), node(3)), claimed);
        assert_eq!(owner_while_away(claimed, &record(19, 3), node(3)), claimed, "it would know");
    }

    #[test]
    fn a_live_owner_keeps_its_source() {
        let (eligible, key, ranked) = cluster();
        let epoch = Epoch { counter: 3, taker: ranked[2] };
        let claimed = Situation { claim: Some(Claimed { owner: ranked[2], epoch, gone: None }), ..situation(&eligible, key, ranked[0]) };
        assert_eq!(decide(&claimed), Decision::Wait(None));
    }

    /// DESIGN §5.3, Takeover: the first live node of the ranking asks, the k-th successor waits k × 2 s more.
    #[test]
    fn a_dead_owners_source_goes_to_its_successors_in_turn() {
        let (mut eligible, key, ranked) = cluster();
        eligible.remove(&ranked[0]);
        let epoch = Epoch { counter: 3, taker: ranked[0] };
        let claim = Some(Claimed { owner: ranked[0], epoch, gone: Some(secs(99)) });
        let take = Decision::Take { why: Why::TookOver { from: ranked[0] }, ask: Some(ranked[0]) };
        assert_eq!(decide(&Situation { claim, ..situation(&eligible, key, ranked[1]) }), take);
        assert_eq!(decide(&Situation { claim, ..situation(&eligible, key, ranked[2]) }), Decision::Wait(Some(secs(101))));
        assert_eq!(decide(&Situation { claim, now: secs(101), ..situation(&eligible, key, ranked[2]) }), take);
    }

    #[test]
    fn an_owner_that_restarted_may_take_up_its_own() {
        let (eligible, key, ranked) = cluster();
        let others = Situation { former: Some((ranked[2], secs(95))), ..situation(&eligible, key, ranked[0]) };
        assert_eq!(decide(&others), Decision::Wait(Some(secs(105))));
        // A runner that was stopped for an hour is as new to its nodes.
        let started = Situation { former: Some((ranked[2], secs(5))), unowned_since: secs(99), ..situation(&eligible, key, ranked[0]) };
        assert_eq!(decide(&started), Decision::Wait(Some(secs(109))));
        let itself = Situation { mine: Some(Why::Resumed), ..situation(&eligible, key, ranked[2]) };
        assert_eq!(decide(&itself), Decision::Take { why: Why::Resumed, ask: None });
    }

    #[test]
    fn an_owner_yields_to_a_higher_epoch_only() {
        let (eligible, key, ranked) = cluster();
        let epoch = |counter| Epoch { counter, taker: ranked[1] };
        let rival = |counter| Some(Claimed { owner: ranked[1], epoch: epoch(counter), gone: None });
        let owned = |counter| Situation { owned: Some(epoch(3)), claim: rival(counter), ..situation(&eligible, key, ranked[0]) };
        assert_eq!(decide(&owned(4)), Decision::Yield { by: epoch(4) });
        assert_eq!(decide(&owned(2)), Decision::Wait(None));
    }

    /// Found by drawn worlds (seeds 142 and 841): its owner was stopped while it did not claim the source; it was taken over within its grace.
    #[test]
    fn who_will_be_back_keeps_what_it_does_not_claim_at_the_moment() {
        let (mut eligible, key, ranked) = cluster();
        let (me, owner) = (ranked[0], ranked[1]);
        eligible.get_mut(&owner).unwrap().present = false;
        let by_claim = Situation { former: Some((owner, secs(10))), ..situation(&eligible, key, me) };
        let by_record = Situation { last: Some(owner), ..situation(&eligible, key, me) };
        assert_eq!(decide(&by_claim), Decision::Wait(None));
        assert_eq!(decide(&by_record), Decision::Wait(None));
        let mine = Situation { mine: Some(Why::Resumed), ..by_record };
        assert_eq!(decide(&mine), Decision::Take { why: Why::Resumed, ask: None }, "this node's own disk says that it was its own");
        eligible.remove(&owner); // its grace is over
        let by_claim = Situation { former: Some((owner, secs(10))), ..situation(&eligible, key, me) };
        let by_record = Situation { last: Some(owner), ..situation(&eligible, key, me) };
        assert_eq!(decide(&by_claim), Decision::Take { why: Why::TookOver { from: owner }, ask: Some(owner) });
        assert_eq!(decide(&by_record), Decision::Take { why: Why::TookOver { from: owner }, ask: None });
    }

    #[test]
    fn who_may_not_own_it_gives_it_away_or_stops() {
        let (mut eligible, key, ranked) = cluster();
        let owned = Some(Epoch { counter: 1, taker: ranked[0] });
        eligible.remove(&ranked[0]);
        for (draining, cause) in [(false, Cause::Misplaced), (true, Cause::Draining)] {
            let give = Decision::Give { to: ranked[1], cause };
            assert_eq!(decide(&Situation { owned, draining, ..situation(&eligible, key, ranked[0]) }), give);
        }
        let nobody = BTreeMap::new();
        assert_eq!(decide(&Situation { owned, placed_here: false, ..situation(&nobody, key, ranked[0]) }), Decision::Stop);
        assert_eq!(decide(&Situation { owned, ..situation(&nobody, key, ranked[0]) }), Decision::Wait(None));
    }

    #[cfg(feature = "canary")]
    #[test]
    fn the_guards_of_this_file_have_tests() {
        crate::canary::turns_red("succession-ignored", a_dead_owners_source_goes_to_its_successors_in_turn);
    }
}
