//! Forgetting nodes that will not come back (DESIGN §3.1): a durable entry `forgotten/<id>` = generation, by which all drop what that node was up to then.
//!
//! An operator writes it, or the cluster: after `setting/forget_after` the first live node that sees more than half of all. Two that both think so write the
//! same. Whoever lives comes back above that generation by itself; its tags and overrides are keys of their own, and stay.

use logvine_gossip::{Generation, NodeId, Now};

use super::Node;
use crate::{
    catalog::{FORGOTTEN, forgotten_key, pack, unpack},
    command::CommandError,
    member::status_word,
};

impl Node {
    /// An operator's word. One that lives is not forgotten: it would be back at once.
    pub(super) fn forget_node(&self, node: NodeId) -> Result<(String, Generation), CommandError> {
        let not_found = || CommandError::NotFound { kind: "node", name: node.to_string() };
        let info = self.view.get(&node).ok_or_else(not_found)?;
        if info.is_live() {
            return Err(CommandError::Alive {
                node: info.name.as_ref().map_or_else(|| node.short(), ToString::to_string),
                status: status_word(info.status),
            });
        }
        let generation = self.gossip.member(&node).ok_or_else(not_found)?.generation;
        Ok((forgotten_key(&node), generation))
    }

    /// Whether it is for this node to tidy up for all: it is the first of the live nodes, and sees more than half of all.
    pub(super) fn is_first_of_many(&self) -> bool {
        let is_first = || self.view.values().find(|info| info.is_live()).is_some_and(|info| info.id == self.id());
        let sees_most = || 2 * self.view.values().filter(|info| info.is_live()).count() > self.view.len();
        self.joined && self.stopping.is_none() && is_first() && sees_most()
    }

    /// Takes up what the catalog says of a node; other keys are none of it.
    pub(super) fn note_forgotten(&mut self, now: Now, key: &str) {
        let Some(node) = key.strip_prefix(FORGOTTEN).and_then(|id| id.parse().ok()) else { return };
        let entry = self.gossip.catalog().get(key).and_then(|entry| unpack::<Generation>(entry.value.as_ref()?).ok());
        if let Some(generation) = entry {
            self.gossip.forget(now, node, generation);
        }
    }

    /// Has nodes forgotten that were down for too long, if it is for this node to say so.
    pub(super) fn forget_the_absent(&mut self, now: Now) {
        if !self.is_first_of_many() {
            return;
        }
        let after = self.catalog.forget_after();
        let absent: Vec<_> = self.gone.iter().filter(|(_, since)| now.at.since(**since) >= after).map(|(id, _)| *id).collect();
        for id in absent {
            if let Some(generation) = self.gossip.member(&id).map(|member| member.generation) {
                // Refused (a full catalog, a clock that is off): the next tick tries again.
                let _ = self.gossip.write(now, &forgotten_key(&id), Some(pack(&generation)));
            }
        }
    }
}
