//! A cold start: assignment is held back until so many nodes are active as an operator expects, or a patience has passed (DESIGN §5.5, `expect_nodes`).
//!
//! Else the first nodes of a cluster that is switched on as a whole would take all sources, and give most of them away a minute later. What a node owned
//! before, it takes up again all the same. A node that has begun to assign does not stop, however many leave.

use std::time::Duration;

use logvine_gossip::{Instant, Now};

use super::Node;
use crate::{canary::planted, event::Event, member::Phase, setting};

/// Whom a node still waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expecting {
    pub active: u64,
    pub expected: u64,
    /// It waits no longer than that.
    pub left: Duration,
}

impl Node {
    /// Whom this node waits for before it takes sources; None: it waits no longer.
    pub fn expecting(&self, now: Now) -> Option<Expecting> {
        if self.assigning_since.is_some() || planted("expects-nobody") {
            return None;
        }
        let value = |setting: &setting::Setting| self.catalog.setting(setting).map_or(setting.default, |(_, value)| value);
        let expected = value(&setting::EXPECT_NODES);
        let active = self.view.values().filter(|info| info.is_live() && info.phase == Phase::Active).count() as u64;
        let patience = Duration::from_secs(value(&setting::EXPECT_PATIENCE));
        let left = patience.saturating_sub(now.at.since(self.started.at));
        (active < expected && !left.is_zero()).then_some(Expecting { active, expected, left })
    }

    /// Looks whether enough have come. Returns whether this node may take sources.
    pub(super) fn begin_to_assign(&mut self, now: Now) -> bool {
        if self.assigning_since.is_none() && self.expecting(now).is_none() {
            self.assigning_since = Some(now.at);
            let expected = self.catalog.setting(&setting::EXPECT_NODES).map_or(0, |(_, value)| value);
            let active = self.view.values().filter(|info| info.is_live() && info.phase == Phase::Active).count() as u64;
            if active < expected {
                self.tell(Event::Incomplete { active, expected });
            }
        }
        self.assigning_since.is_some()
    }

    /// Since when an owner that is gone is succeeded: those that rank behind others wait from here on, not from before this node took any source.
    pub(super) fn succeeded_since(&self, gone: Instant) -> Instant {
        self.assigning_since.map_or(gone, |since| gone.max(since))
    }
}
