//! A node that was told to stop and is back within its grace: it knows what it had, and is loaded with it from its first word on (DESIGN §5.2, 5.5).
//!
//! ```text
//! a stop ─> rates, costs, who gave what ─disk─> the next life: the same load and `returned` in its map before it is active ─> sources resumed ─> all is read
//! ```
//! A node that begins anew has no load, is filled by the others as one that has just come, and reads what was written meanwhile so fast that its sources look
//! too fast. One that returns goes by what it knew, until what it measures is as usual again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use logvine_gossip::{Instant, NodeId, Now, UnixMicros};
use serde::{Deserialize, Serialize};

use super::{
    Node, Table,
    balancing::{Balancing, COST, LOAD},
    disk::META_LOAD,
};
use crate::{
    balance::{
        Arrival,
        load::{ByteCost, Cost},
        rate::{KeptRate, Rate},
    },
    canary::planted,
    catalog::pack,
    member::RETURNED,
    record::SourceKey,
};

/// A process that has just started is busy with itself, for so long at least.
const BEGINNING: Duration = Duration::from_secs(30);
/// Longer than others would take it to be young. If it is declared dead later and comes back, under another generation, it is.
const RETURN: Duration = Duration::from_secs(150);

/// What a node knew of its load when it was told to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptLoad {
    at: UnixMicros,
    cost: Cost,
    /// As it was said.
    load: u64,
    byte_cost: ByteCost,
    /// Bytes a second that are not of movable sources.
    beside: u64,
    sources: Vec<(SourceKey, KeptSource)>,
}

/// What it knew of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptSource {
    rate: KeptRate,
    moved: Option<KeptArrival>,
}

/// How a source came, and how long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct KeptArrival {
    from: NodeId,
    ago: Duration,
    rate: u64,
}

/// A node's return.
#[derive(Debug)]
pub(super) struct Returning {
    began: Instant,
    beside: u64,
    /// What it had and has not taken up again: it will be read here.
    awaited: BTreeMap<SourceKey, KeptSource>,
    /// All of it is read as fast as it grows, or is another's.
    is_over: bool,
}

/// A source that is taken up again.
#[derive(Debug)]
pub(super) struct Resumed {
    pub(super) moved: Option<Arrival>,
}

impl KeptLoad {
    /// Whether it is of a stop that others have waited for.
    pub(super) fn is_of_use(&self, now: Now, grace: Duration) -> bool {
        self.away(now) < grace && !planted("load-forgotten")
    }

    fn away(&self, now: Now) -> Duration {
        Duration::from_micros(now.wall.0.saturating_sub(self.at.0))
    }
}

impl KeptSource {
    fn later(self, by: Duration) -> Self {
        let moved = self.moved.map(|moved| KeptArrival { ago: moved.ago + by, ..moved });
        Self { rate: self.rate.later(by), moved }
    }
}

impl Returning {
    /// Bytes a second that this node has beside the sources that it has taken up again.
    pub(super) fn bytes_per_s(&self) -> u64 {
        self.beside + self.awaited.values().map(|source| source.rate.bytes_per_s()).sum::<u64>()
    }
}

impl Balancing {
    /// Begins where the life before ended.
    pub(super) fn take_up(&mut self, now: Now, kept: KeptLoad) {
        let away = kept.away(now);
        (self.cost, self.said, self.said_cost) = (kept.cost, kept.load, kept.byte_cost);
        let awaited = kept.sources.into_iter().map(|(key, source)| (key, source.later(away))).collect();
        self.returning = Some(Returning { began: now.at, beside: kept.beside, awaited, is_over: false });
    }

    /// What it goes by, while what it measures says little.
    pub(super) fn known_before(&self) -> Option<&Returning> {
        self.returning.as_ref().filter(|returning| !returning.is_over)
    }

    /// This disk may be of long ago: what this node had is not its own any more.
    pub(super) fn give_up(&mut self) {
        if let Some(returning) = &mut self.returning {
            returning.awaited.clear();
        }
    }

    /// A source is this node's now: if it was before, its rate is what it was.
    pub(super) fn resume(&mut self, now: Now, source: &SourceKey) -> Option<Resumed> {
        let returning = self.returning.as_mut()?;
        let kept = returning.awaited.remove(source)?.later(now.at.since(returning.began));
        self.rates.insert(source.clone(), Rate::resume(now.at, kept.rate));
        let moved = kept.moved.map(|KeptArrival { from, ago, rate }| {
            let ago = u64::try_from(ago.as_micros()).unwrap_or(u64::MAX);
            // What was before this process began stays a little longer than it would have to.
            Arrival { from, at: Instant::from_micros(now.at.as_micros().saturating_sub(ago)), rate }
        });
        Some(Resumed { moved })
    }
}

impl Node {
    /// Says its load in the node map, before it says that it is active.
    pub(super) fn introduce_load(&mut self, now: Now) {
        let Balancing { said, said_cost, .. } = self.balancing;
        if said > 0 {
            self.say(now, LOAD, &said);
        }
        if said_cost != ByteCost::default() {
            self.say(now, COST, &said_cost);
        }
        if self.balancing.returning.is_some() {
            self.say(now, RETURNED, &true);
        }
    }

    /// It was told to stop, and will be back.
    pub(super) fn keep_load(&mut self, now: Now) {
        self.measure_rates(now);
        let Balancing { returning, rates, cost, said, said_cost, .. } = &self.balancing;
        let keep = |(key, owned): (&SourceKey, &super::Owned)| {
            let moved = owned.moved().map(|Arrival { from, at, rate }| KeptArrival { from, ago: now.at.since(at), rate });
            Some((key.clone(), KeptSource { rate: rates.get(key)?.keep(now.at), moved }))
        };
        let mut sources: Vec<_> = self.sources.owned_keys().filter_map(keep).collect();
        if let Some(Returning { began, awaited, .. }) = returning {
            let later = |(key, source): (&SourceKey, &KeptSource)| (key.clone(), source.later(now.at.since(*began)));
            sources.extend(awaited.iter().map(later));
        }
        let beside = self.balancing.known_before().map_or_else(|| self.bytes_beside(), |returning| returning.beside);
        let kept = KeptLoad { at: now.wall, cost: *cost, load: *said, byte_cost: *said_cost, beside, sources };
        self.write(Table::Meta, META_LOAD.to_vec(), Some(pack(&kept).to_vec()));
    }

    /// Bytes a second of runners that have no movable source here.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates
    fn bytes_beside(&self) -> u64 {
        let runners: BTreeSet<_> = self.sources.owned_keys().map(|(_, owned)| owned.runner()).collect();
        let beside = self.instances().filter(|(runner, _)| !runners.contains(runner)).map(|(_, status)| status.bytes_per_s);
        beside.sum::<f64>().max(0.0) as u64
    }

    /// Ends the return once everything is as it is for others: what it had is read as fast as it grows, or is another's now.
    pub(super) fn end_return(&mut self, now: Now) {
        let me = self.gossip.me().id;
        let Some(returning) = &mut self.balancing.returning else { return };
        let lasted = now.at.since(returning.began);
        let is_mine = |key: &SourceKey| self.witnesses.row(key).is_some_and(|row| row.record.owner == Some(me));
        returning.awaited.retain(|key, _| is_mine(key));
        let rates = &self.balancing.rates;
        let is_settled = returning.awaited.is_empty() && !self.sources.owned_keys().any(|(key, _)| rates.get(key).is_some_and(Rate::is_catching_up));
        returning.is_over |= lasted >= BEGINNING && is_settled;
        if lasted >= RETURN {
            self.balancing.returning = None;
        }
    }
}
