//! The members by what is asked of all of them time and again, kept in step with the view: nobody walks through a thousand members for one draw.

use std::{collections::BTreeSet, net::SocketAddr};

use crate::{Generation, Member, NodeId, Status, hash::mix, ids::id_hash};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// Live members, by id.
    live: Vec<NodeId>,
    /// Members that are neither live nor said goodbye, by id.
    down: Vec<NodeId>,
    /// Which live members are at an address.
    at: BTreeSet<(SocketAddr, NodeId)>,
    /// The sum over what is believed of each.
    root: u64,
}

impl Census {
    /// A member of the view has changed; it was `before` if it was there.
    pub(crate) fn change(&mut self, before: Option<&Member>, after: Option<&Member>) {
        if let Some(member) = before {
            self.root = self.root.wrapping_sub(belief(member));
            if let Some(list) = self.list(member.status)
                && let Ok(place) = list.binary_search(&member.id)
            {
                list.remove(place);
            }
            self.at.remove(&(member.gossip, member.id));
        }
        if let Some(member) = after {
            self.root = self.root.wrapping_add(belief(member));
            if let Some(list) = self.list(member.status)
                && let Err(place) = list.binary_search(&member.id)
            {
                list.insert(place, member.id);
            }
            if member.status.is_live() {
                self.at.insert((member.gossip, member.id));
            }
        }
    }

    fn list(&mut self, status: Status) -> Option<&mut Vec<NodeId>> {
        match status {
            Status::Alive | Status::Suspect => Some(&mut self.live),
            Status::Down => Some(&mut self.down),
            Status::Left => None,
        }
    }

    /// Live members, by id.
    pub(crate) fn live(&self) -> &[NodeId] {
        &self.live
    }

    /// Members that are neither live nor said goodbye, by id.
    pub(crate) fn down(&self) -> &[NodeId] {
        &self.down
    }

    /// Whether a live member is at an address.
    pub(crate) fn is_live_at(&self, address: &SocketAddr) -> bool {
        self.live_at(address).next().is_some()
    }

    /// The live members at an address: one, save where one has taken another's place.
    pub(crate) fn live_at(&self, address: &SocketAddr) -> impl Iterator<Item = &NodeId> {
        let (first, last) = ((*address, NodeId([0; 16])), (*address, NodeId([u8::MAX; 16])));
        self.at.range(first..=last).map(|(_, id)| id)
    }

    /// The sum of [`belief`] over all members.
    pub(crate) fn root(&self) -> u64 {
        self.root
    }
}

/// What is believed of a member that lives.
pub(crate) fn alive(id: &NodeId, generation: Generation) -> u64 {
    mix(mix(id_hash(id), generation.0), 0)
}

/// A number for what is believed of a member; a suspicion that may yet be refuted does not count.
pub(crate) fn belief(member: &Member) -> u64 {
    let rank = match member.status {
        Status::Alive | Status::Suspect => return alive(&member.id, member.generation),
        Status::Down if !member.proved => 1,
        Status::Left => 2,
        Status::Down => 3,
    };
    mix(mix(id_hash(&member.id), member.generation.0), rank)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::UnixMicros;

    fn member(id: u8, status: u8, port: u16) -> Member {
        let gossip = SocketAddr::from(([127, 0, 0, 1], port));
        Member {
            id: NodeId([id; 16]),
            generation: Generation(1),
            gossip,
            quic: gossip,
            status: [Status::Alive, Status::Suspect, Status::Down, Status::Left][usize::from(status % 4)],
            proved: status % 8 == 6,
            since: UnixMicros(0),
            heard: None,
        }
    }

    proptest! {
        /// Whatever the way there: what is kept is what a walk through the view would find.
        #[test]
        fn it_is_in_step_with_the_view(changes in prop::collection::vec((0_u8..6, 0_u8..9, 1_u16..4), 0..40)) {
            let mut view = BTreeMap::<NodeId, Member>::new();
            let mut census = Census::default();
            for (id, status, port) in changes {
                let id = member(id, 0, 1).id;
                let after = (status < 8).then(|| Member { id, ..member(0, status, port) });
                let before = match after.clone() {
                    Some(after) => view.insert(id, after),
                    None => view.remove(&id),
                };
                census.change(before.as_ref(), after.as_ref());
            }
            let ids = |status: fn(Status) -> bool| view.values().filter(|member| status(member.status)).map(|member| member.id).collect::<Vec<_>>();
            prop_assert_eq!(census.live(), ids(Status::is_live));
            prop_assert_eq!(census.down(), ids(|status| status == Status::Down));
            let root = view.values().fold(0_u64, |root, member| root.wrapping_add(belief(member)));
            prop_assert_eq!(census.root(), root);
            for port in 1..4 {
                let address = SocketAddr::from(([127, 0, 0, 1], port));
                let live = view.values().any(|member| member.status.is_live() && member.gossip == address);
                prop_assert_eq!(census.is_live_at(&address), live);
            }
        }
    }
}
