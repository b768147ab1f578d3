//! The planted bugs of all packages, each with where it shows itself soonest.

use logvine_gossip::canary::CANARIES;

use crate::{runs::Plan, scenarios, swarm::Wishes};

/// A bug that can be planted.
#[derive(Debug, Clone, Copy)]
pub struct Canary {
    pub name: &'static str,
    /// What is broken under it.
    pub sentence: &'static str,
    /// The named scenario in which it is found soonest; None: what seeds draw.
    scenario: Option<&'static str>,
    wishes: Wishes,
}

/// Where to look for each: canary, scenario, nodes, minutes.
const HINTS: &[(&str, &str, usize, u64)] = &[("stale-suspicion", "lossy-25", 5, 2)];

/// All of them.
pub fn all() -> impl Iterator<Item = Canary> {
    CANARIES.iter().map(|(name, sentence)| {
        let hint = HINTS.iter().find(|(of, ..)| of == name);
        let wishes = hint.map_or_else(Wishes::default, |(.., nodes, minutes)| Wishes { nodes: Some(*nodes), minutes: Some(*minutes) });
        Canary { name, sentence, scenario: hint.map(|(_, scenario, ..)| *scenario), wishes }
    })
}

impl Canary {
    /// What to run to find it.
    pub fn plan(&self) -> Plan {
        Plan { named: self.scenario.and_then(scenarios::find), wishes: self.wishes, canary: Some(self.name) }
    }
}

/// Plants a bug in all that this thread runs from now on; None: none.
///
/// Panics if this build has no place for one: who offers a choice of canaries asks for the feature first.
pub(crate) fn plant(name: Option<&'static str>) {
    #[cfg(feature = "canary")]
    logvine_gossip::canary::plant(name);
    #[cfg(not(feature = "canary"))]
    assert_eq!(name, None, "built without the feature `canary`");
}
