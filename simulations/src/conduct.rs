//! What a node may do to others' sources, given what it knows of them (DESIGN §9, A).

use std::time::Duration;

use logvine_cluster::member::Phase;
use logvine_gossip::NodeId;

use crate::{host::RESTART_GRACE, world::World};

/// What was begun before the word was heard comes to its end: an attempt, and the question before it.
const UNDER_WAY: Duration = Duration::from_secs(7);

impl World {
    /// A5: who said that it would be back is not taken over from, as long as its grace goes on and the taker knows of it.
    pub(crate) fn who_said_it_would_be_back_keeps_its_sources(&self, taker: usize, from: &NodeId) -> Result<(), String> {
        let Some(host) = self.hosts.iter().find(|host| host.id == *from) else { return Ok(()) };
        let Some(since) = host.away_since.map(|since| self.now.since(since)) else { return Ok(()) };
        let info = self.hosts[taker].process.as_ref().and_then(|process| process.node.view().get(from));
        let knows = info.is_some_and(|info| matches!(info.phase, Phase::Away { .. }));
        if !knows || since < UNDER_WAY || since >= RESTART_GRACE {
            return Ok(());
        }
        Err(format!("{} takes over from {}, which stopped {since:?} ago and said that it would be back", self.hosts[taker].name, host.name))
    }
}
