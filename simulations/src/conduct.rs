//! What a node may do to others' sources, given what it knows of them (DESIGN §9, A).

use std::time::Duration;

use logvine_cluster::{instance::Epoch, name::Name};
use logvine_gossip::NodeId;

use crate::{host::RESTART_GRACE, world::World};

/// What was begun before the word was heard comes to its end: an attempt, and the question before it.
const UNDER_WAY: Duration = Duration::from_secs(7);

impl World {
    /// A5: who said that it would be back is not taken over from, as long as its grace goes on. Both are counted by the taker, from when it first heard
    /// the word: who was cut off when it was said cannot know of it, and what it had begun before comes to its end. It must have been the last owner, too:
    /// an attempt names whose claim it began with, though others may have had the source since.
    pub(crate) fn who_said_it_would_be_back_keeps_its_sources(&self, taker: usize, source: &Name, epoch: Epoch, from: &NodeId) -> Result<(), String> {
        let Some(place) = self.hosts.iter().position(|host| host.id == *from && host.away_since.is_some()) else { return Ok(()) };
        let host = &self.hosts[place];
        let before = self.ledger(source).and_then(|ledger| ledger.opened.range(..epoch).next_back());
        if before.is_none_or(|(_, owner)| *owner != place) {
            return Ok(());
        }
        let now = self.hosts[taker].now(self.now).at;
        let heard = self.hosts[taker].process.as_ref().and_then(|process| process.node.heard_away(from));
        let Some(known) = heard.map(|heard| now.since(heard)).filter(|known| (UNDER_WAY..RESTART_GRACE).contains(known)) else { return Ok(()) };
        Err(format!("{} takes over from {}, of which it has known for {known:?} that it would be back", self.hosts[taker].name, host.name))
    }
}
