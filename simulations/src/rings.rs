//! Sealed datagrams, and an operator who changes the cluster's key under them, where a scenario has that deed; the others do without seals, which cost time.
//!
//! The operator's word takes the way of `logvine key`: install, use, remove, each to one node after the other and again to those that it has not reached,
//! and the next only when `logvine_cluster::keys` has nothing against it.

use std::{net::SocketAddr, time::Duration};

use logvine_cluster::keys::{self, CarriedKey, KeyOrder};
use logvine_gossip::{
    Instant,
    seal::{ClusterId, ClusterKey, Keyring, NONCE_BYTES, SealError},
};

use crate::{
    host::gossip_address,
    scenario::{Deed, Scenario},
    world::{Event, World},
};

/// From one node to the next: longer for a handful of nodes than a suspicion lasts, so that a step too early is a node lost.
const STEP: Duration = Duration::from_secs(3);
/// How often the operator looks whether the step was taken, and says it again.
const ROUND: Duration = Duration::from_secs(5);
/// For all three steps, beside the time that an order takes to reach everybody: nodes that are away for a while are waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// The rings of all nodes, as their disks have them. Empty: nothing is sealed.
#[derive(Debug, Default)]
pub(crate) struct Rings {
    rings: Vec<Keyring>,
    sealed: u64,
    changes: u8,
    change: Option<Change>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Install,
    Use,
    Remove,
}

/// A change of keys under way.
#[derive(Debug, Clone)]
struct Change {
    via: usize,
    old: ClusterKey,
    new: ClusterKey,
    step: Step,
    begun: Instant,
    /// Since when everybody can be reached.
    reached: Instant,
}

impl Change {
    fn order(&self) -> KeyOrder {
        match self.step {
            Step::Install => KeyOrder::Install(CarriedKey(self.new.clone())),
            Step::Use => KeyOrder::Use(self.new.fingerprint()),
            Step::Remove => KeyOrder::Remove(self.old.fingerprint()),
        }
    }
}

fn key(number: u8) -> ClusterKey {
    ClusterKey::new(ClusterId([1; 8]), [number; 32])
}

impl Rings {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let seals = scenario.deeds.iter().any(|(_, deed)| matches!(deed, Deed::ChangeKey { .. }));
        let ring = Keyring::new(vec![key(1)]).expect("one key is a ring");
        Self { rings: if seals { vec![ring; scenario.nodes.len()] } else { Vec::new() }, ..Self::default() }
    }

    /// What leaves a host.
    pub(crate) fn seal(&mut self, at: usize, payload: Vec<u8>) -> Vec<u8> {
        let Some(ring) = self.rings.get(at) else { return payload };
        self.sealed += 1;
        let mut nonce = [0; NONCE_BYTES];
        nonce[..8].copy_from_slice(&self.sealed.to_be_bytes());
        ring.seal(gossip_address(at), nonce, &payload)
    }

    /// What a host's process sees of what came.
    pub(crate) fn open(&self, at: usize, from: SocketAddr, datagram: Vec<u8>) -> Result<Vec<u8>, SealError> {
        match self.rings.get(at) {
            Some(ring) => ring.open(from, &datagram),
            None => Ok(datagram),
        }
    }
}

impl World {
    /// An operator begins to change the key, by this node or, while it does not run, the next.
    pub(crate) fn change_key(&mut self, via: usize) {
        if self.rings.change.is_none() {
            self.rings.changes += 1;
            let (old, new) = (key(self.rings.changes), key(self.rings.changes + 1));
            self.tell(None, format_args!("the cluster's key is to be changed"));
            self.rings.change = Some(Change { via, old, new, step: Step::Install, begun: self.now, reached: self.now });
            self.key_round();
        }
    }

    /// The operator looks at what nodes say of their rings, and goes on, or says the step again.
    pub(crate) fn key_round(&mut self) {
        let Some(mut change) = self.rings.change.clone() else { return };
        let count = self.hosts.len();
        if !self.are_all_reached() {
            // Who is down, or cut off, is waited for: his key is not changed behind his back.
            change.reached = self.now;
        }
        let patience = PATIENCE + STEP * 6 * u32::try_from(count).unwrap_or(u32::MAX);
        if self.now.since(change.reached) > patience {
            return self.violate("a change of keys ends", format!("after {} s it is at {:?}", patience.as_secs(), change.order()));
        }
        self.after(ROUND, Event::KeyRound);
        let runs = |at: &usize| self.hosts[*at].process.as_ref().is_some_and(|process| !process.stopping);
        let Some(via) = (0..count).map(|step| (change.via + step) % count).find(runs) else { return };
        let Some(process) = &self.hosts[via].process else { return };
        let rings = keys::rings(&process.node);
        let (old, new) = (change.old.fingerprint(), change.new.fingerprint());
        // An operator knows how many nodes there are: what one says that has just begun with an empty store is not all.
        let hindered = |order: KeyOrder| rings.len() < count || !keys::hindrances(&order, &rings).is_empty();
        let next = match change.step {
            Step::Install if !hindered(KeyOrder::Use(new)) => Some(Step::Use),
            Step::Use if !hindered(KeyOrder::Remove(old)) => Some(Step::Remove),
            Step::Remove if rings.iter().all(|ring| ring.keys.as_ref().is_some_and(|keys| *keys == [new])) => {
                self.rings.change = None;
                return self.tell(None, format_args!("the cluster's key has been changed"));
            }
            _ => None,
        };
        change.step = next.unwrap_or(change.step);
        self.rings.change = Some(change.clone());
        if next.is_some() || change.begun == self.now {
            self.tell(Some(via), format_args!("is asked to {} the key", word(change.step)));
        }
        // Who has taken the step takes it again, which changes nothing; who was not reached is, by now or in the next round.
        for (turn, host) in (0..count).map(|turn| (turn, (via + turn) % count)) {
            let turn = u32::try_from(turn).unwrap_or(u32::MAX);
            self.after(STEP * turn, Event::KeyOrder { via, host, order: change.order() });
        }
    }

    /// Whether everybody who was ever a node, and did not say goodbye, runs as he should and is heard.
    fn are_all_reached(&self) -> bool {
        let known = self.running().flat_map(|(_, node)| keys::rings(node)).map(|ring| ring.id);
        let runs = |id| self.hosts.iter().any(|host| host.id == id && host.process.is_some() && host.standstill.runs());
        self.hosts.iter().all(|host| host.process.is_some()) && known.into_iter().all(runs) && self.network.is_whole()
    }

    /// The order reaches a host, if its process runs and the way is open.
    pub(crate) fn key_order(&mut self, via: usize, at: usize, order: &KeyOrder) {
        let reached = self.network.reaches(self.now, via, at) && self.network.reaches(self.now, at, via);
        if !reached || self.hosts[at].process.is_none() {
            return;
        }
        let ring = &self.rings.rings[at];
        let changed = match order {
            KeyOrder::Install(key) => ring.installed(key.0.clone()),
            KeyOrder::Use(key) => ring.using(*key),
            KeyOrder::Remove(key) => ring.without(*key),
            KeyOrder::Tell => return,
        };
        // An order that came before, or comes after the next, changes nothing.
        let Ok(changed) = changed else { return };
        if changed.fingerprints() != ring.fingerprints() {
            self.rings.rings[at] = changed;
            self.tell(Some(at), format_args!("carries out: {order}"));
            self.say_keys(at);
            self.carry_out(at);
        }
    }

    /// A process says which keys its host has.
    pub(crate) fn say_keys(&mut self, at: usize) {
        let now = self.hosts[at].now(self.now);
        let keys = self.rings.rings.get(at).map(Keyring::fingerprints);
        if let (Some(keys), Some(process)) = (keys, &mut self.hosts[at].process) {
            process.node.set_keys(now, &keys);
        }
    }
}

fn word(step: Step) -> &'static str {
    match step {
        Step::Install => "install",
        Step::Use => "use",
        Step::Remove => "remove",
    }
}
