//! Knocks: what a host answers in the name of a process that is not there, and what firewalls and strangers make of it.
//!
//! A host without a process refuses (ICMP "port unreachable"), one without power is silent. On the way a firewall may reject packets in the host's name,
//! drop the refusals, or a stranger may forge them.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use logvine_gossip::NodeId;
use serde::{Deserialize, Serialize};

use crate::{
    host::{Life, place},
    network::{CutId, Direction},
    world::{Event, World},
};

/// What meddles with refusals in some directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Meddler {
    /// Packets in this direction are refused by a firewall, and do not arrive.
    Reject,
    /// Refusals that travel in this direction are dropped.
    Filter,
    /// Packets in this direction arrive, and their sender gets a forged refusal.
    Forge,
}

/// All that meddle now.
#[derive(Debug, Default)]
pub struct Meddlers(BTreeMap<CutId, (Meddler, Vec<Direction>)>);

impl Meddlers {
    pub fn put(&mut self, id: CutId, meddler: Meddler, directions: Vec<Direction>) {
        self.0.insert(id, (meddler, directions));
    }

    pub fn remove(&mut self, id: CutId) -> Option<Meddler> {
        self.0.remove(&id).map(|(meddler, _)| meddler)
    }

    /// Whether packets are rejected anywhere.
    pub fn reject(&self) -> bool {
        self.0.values().any(|(meddler, _)| *meddler == Meddler::Reject)
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether one of this kind stands in the way from `from` to `to`.
    pub fn has(&self, meddler: Meddler, from: usize, to: usize) -> bool {
        self.0.values().any(|(kind, directions)| *kind == meddler && directions.contains(&(from, to)))
    }
}

/// A knock that a process waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Knocker {
    pub host: usize,
    pub life: Life,
    pub number: u64,
    pub node: NodeId,
}

impl World {
    pub(crate) fn knock(&mut self, at: usize, node: NodeId, to: SocketAddr, wait: Duration) {
        self.requests += 1;
        let number = self.requests;
        let life = self.hosts[at].life;
        let Some(process) = self.hosts[at].process(life) else { return };
        process.knocks.insert(number);
        let knocker = Knocker { host: at, life, number, node };
        self.after(wait, Event::Knocked { knocker, refused: false });
        let Some(host) = place(to).filter(|host| *host < self.hosts.len()) else { return };
        self.detail(at, format_args!("knocks at {to}"));
        if self.network.rejects(at, host) {
            self.refuse(knocker, host);
            return;
        }
        if self.network.forges(at, host) {
            self.refuse(knocker, host);
        }
        for delay in self.network.datagram(self.now, at, host, 0) {
            self.after(delay, Event::KnockArrives { host, knocker });
        }
    }

    /// A live process drops an empty datagram without a word.
    pub(crate) fn knock_arrives(&mut self, at: usize, knocker: Knocker) {
        if self.hosts[at].process.is_none() && !self.hosts[at].dark && self.network.refuses() {
            self.refuse(knocker, at);
        }
    }

    /// A refusal in the name of `host` leaves for the knocker.
    fn refuse(&mut self, knocker: Knocker, host: usize) {
        if !self.network.filters(host, knocker.host) {
            for delay in self.network.datagram(self.now, host, knocker.host, 0) {
                self.after(delay, Event::Knocked { knocker, refused: true });
            }
        }
    }

    /// The first outcome of a knock counts.
    pub(crate) fn knocked(&mut self, knocker: Knocker, refused: bool) {
        self.input(knocker.host, knocker.life, |process, now| {
            if process.knocks.remove(&knocker.number) {
                process.node.handle_knock(now, knocker.node, refused);
            }
        });
    }
}
