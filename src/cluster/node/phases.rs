//! What this node says of itself (joining, active, draining, away), how it stops, and since when others are gone, away or active (DESIGN §5.5).
//!
//! ```text
//! joining ─(a view like half of its peers', or patience)─> active <──> draining
//!                                                             └──> away (a stop), or goodbye as the last word (a stop while it drains)
//! ```

use std::time::Duration;

use logvine_gossip::{Generation, Instant, NodeId, Now};

use super::{Node, Output, Table, disk::META_LIVES};
use crate::{
    canary::planted,
    catalog::pack,
    event::Event,
    member::{NodeInfo, Phase},
    steadiness::UNSTEADY,
};

/// How long a stop waits for the witnesses to hold the last checkpoints once the instances have stopped.
const SETTLE: Duration = Duration::from_secs(5);

/// When a stop ends whatever the data plane says: it closes sources and stops instances, each within its flush and a little.
const STOP_LATEST: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Stopping {
    /// At the latest.
    end: Instant,
    /// Once the instances have stopped.
    pub(super) until: Option<Instant>,
    pub(super) told: bool,
}

impl Node {
    /// SIGTERM: says that it will be back within the grace, stops its instances in order, says goodbye if it drains, and then `Stopped`.
    pub fn handle_stop(&mut self, now: Now) {
        if self.stopping.is_none() {
            self.lives = self.lives.end();
            self.keep_lives();
            self.stopping = Some(Stopping { end: now.at + STOP_LATEST, until: None, told: false });
            if self.phase != Phase::Draining {
                self.keep_load(now);
                let grace_s = u16::try_from(self.config.restart_grace.as_secs().min(300)).expect("at most 300");
                self.enter(now, Phase::Away { grace_s });
            }
            self.end_trials();
            self.dirty = true;
        }
        self.settle(now);
    }

    pub(super) fn keep_lives(&mut self) {
        self.write(Table::Meta, META_LIVES.to_vec(), Some(pack(&self.lives).to_vec()));
    }

    /// A node that crashed again and again is steady once it has run for its spell.
    pub(super) fn grow_steady(&mut self, now: Now) {
        if self.is_unsteady && now.at.since(self.started.at) >= self.lives.spell() {
            self.is_unsteady = false;
            self.unsay(now, UNSTEADY);
            self.tell(Event::Steadiness { unsteady: None });
            self.dirty = true;
        }
    }

    pub(super) fn enter(&mut self, now: Now, phase: Phase) {
        if self.phase != phase {
            if self.phase == Phase::Joining && phase.grace().is_none() {
                self.tell(Event::Active);
            }
            self.phase = phase;
            self.say(now, "phase", &phase);
            self.dirty = true;
        }
    }

    /// Since when a node is gone, away, or active: durations are counted by this node's own clock.
    pub(super) fn note_presence(&mut self, now: Now, id: NodeId) {
        let Some(info) = self.view.get(&id) else { return };
        let is_live = info.is_live();
        if !is_live {
            self.gone.entry(id).or_insert(now.at);
        } else if self.gone.remove(&id).is_some() {
            self.try_again_with(now, id);
        }
        let Some(info) = self.view.get(&id) else { return };
        let generation = self.gossip.node_map(&id).map_or(Generation(0), logvine_gossip::NodeMap::generation);
        if info.phase.grace().is_none() {
            self.away.remove(&id);
        } else if self.away.get(&id).is_none_or(|(heard, _)| *heard != generation) {
            self.away.insert(id, (generation, now.at));
        }
        if info.is_live() && info.phase == Phase::Active {
            self.active.entry(id).or_insert(now.at);
        } else if info.phase.grace().is_none() {
            self.active.remove(&id);
        }
    }

    /// Whether a node said that it would be back, and still has time to.
    pub(super) fn is_away(&self, now: Now, info: &NodeInfo) -> bool {
        self.away_for(now, info).is_some()
    }

    /// When this node first heard, by its own clock, that a node will be back; none where that is not what it last heard of it.
    pub fn heard_away(&self, id: &NodeId) -> Option<Instant> {
        self.away.get(id).map(|(_, heard)| *heard)
    }

    /// How much time a node has that said that it would be back.
    pub(crate) fn away_for(&self, now: Now, info: &NodeInfo) -> Option<Duration> {
        let (_, heard) = self.away.get(&info.id).filter(|_| !planted("grace-ignored"))?;
        info.phase.grace()?.checked_sub(now.at.since(*heard)).filter(|left| !left.is_zero())
    }

    pub(super) fn decide_phase(&mut self, now: Now) {
        if self.stopping.is_some() || (!self.joined && !self.has_view() && now.at < self.patience_until) {
            return;
        }
        self.joined = true;
        let draining = self.catalog.is_draining(&self.id());
        self.enter(now, if draining { Phase::Draining } else { Phase::Active });
    }

    /// Whether members and catalog are as others have them, and every live member has introduced itself: who ranks without the others ranks itself first.
    fn has_view(&mut self) -> bool {
        let is_strange = |id: &NodeId| {
            let lives = self.gossip.member(id).is_some_and(|member| member.status.is_live());
            lives && self.view.get(id).is_none_or(|info| info.meta.is_none())
        };
        if !self.gossip.is_synced() || !self.gossip.is_joined() || self.stranger.as_ref().is_some_and(is_strange) {
            return false;
        }
        self.stranger = self.gossip.members().map(|member| member.id).find(is_strange);
        self.stranger.is_none()
    }

    pub(super) fn decide_stopped(&mut self, now: Now) {
        let Some(stopping) = &mut self.stopping else { return };
        if stopping.told || !(self.instances.is_idle() || now.at >= stopping.end) {
            return;
        }
        let until = *stopping.until.get_or_insert(now.at + SETTLE);
        if now.at >= until.min(stopping.end) || (self.sources.is_settled() && self.tickets.is_empty()) {
            stopping.told = true;
            if self.phase == Phase::Draining {
                // Last: whoever is gone for good has its sources taken over at once, and they were being flushed.
                self.gossip.leave(now);
            } else if !planted("no-last-words") {
                // What it took and flushed just now: the others are to know whom its sources wait for.
                self.gossip.tell_last_words(now);
            }
            self.drain_gossip(now);
            self.outputs.push_back(Output::Stopped);
        }
    }
}
