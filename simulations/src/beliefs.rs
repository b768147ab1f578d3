//! What nodes tell, held against what is true in the world: deaths that are none, and rare situations.

use std::time::Duration;

use logvine_cluster::{
    event::{Event as Told, Why},
    message::{Reply, Vote},
};
use logvine_gossip::{NodeId, Status, marks};

use crate::{marks as marks_of, world::World};

/// A node to which, and to whose network, nothing befell for so long is healthy: longer than any suspicion takes to end.
const HEALTHY: Duration = Duration::from_secs(30);
/// A start so short a time before a takeover raced it.
const RACE: Duration = Duration::from_secs(5);
/// Renewals that belong to one heal.
const HEAL: Duration = Duration::from_secs(15);

impl World {
    /// A node tells what it believes, or what it does.
    pub(crate) fn weigh(&mut self, at: usize, event: &Told) {
        self.news += u64::from(matches!(event, Told::Member { .. } | Told::Renewed { .. }));
        if let Told::Member { from, to, .. } = event
            && let Some(mark) = marks_of::of_status(*from, *to)
        {
            marks::reached(mark);
        }
        match event {
            Told::Member { node, to: Status::Down, .. } => self.weigh_death(at, node),
            Told::Renewed { .. } => self.weigh_renewal(at),
            Told::Taken { why: Why::TookOver { from }, .. } => {
                let started =
                    self.hosts.iter().find(|host| host.id == *from).and_then(|host| host.process.as_ref()).map(crate::host::Process::started);
                if started.is_some_and(|started| self.now.since(started) < RACE) {
                    marks::reached("a takeover raced a restart");
                }
            }
            Told::Fenced { .. } => marks::reached("an owner was fenced"),
            Told::WithoutMajority { .. } => marks::reached("a source was taken without a majority"),
            Told::WaitingForCheckpoint { .. } => marks::reached("a source waited for a checkpoint that nobody had"),
            _ => {}
        }
    }

    /// A healthy node is never declared down: one that runs and was not held up, whose network loses nothing and is whole, all that for a while.
    fn weigh_death(&mut self, at: usize, id: &NodeId) {
        let declared = self.hosts[at].process.as_ref().and_then(|process| process.node.gossip().member(id)).map(|member| member.generation);
        let Some(dead) = self.hosts.iter().find(|host| host.id == *id) else { return };
        let Some(process) = dead.process.as_ref().filter(|process| !process.stopping) else { return };
        if declared != Some(process.node.gossip().me().generation) {
            return;
        }
        marks::reached("a node that runs was declared down");
        self.false_deaths += 1;
        let is_well = dead.standstill.runs() && self.now.since(dead.healthy_since) >= HEALTHY;
        if is_well && self.network.is_well_since(self.now, HEALTHY) {
            let detail = format!("{} declares {} down, to which nothing befell since {:?}", self.hosts[at].name, dead.name, dead.healthy_since);
            self.violate("a healthy node is never declared down", detail);
        }
    }

    fn weigh_renewal(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let process = (host.life, self.now);
        let twice = host.renewed.is_some_and(|(life, last)| life == process.0 && self.now.since(last) < HEAL);
        if twice {
            marks::reached("a node renewed twice after one heal");
        }
        host.renewed = Some(process);
    }

    /// What a node says of itself may have changed.
    pub(crate) fn weigh_phase(&mut self, at: usize) {
        let Some(phase) = self.hosts[at].process.as_ref().map(|process| process.node.phase()) else { return };
        let life = self.hosts[at].life;
        let before = self.hosts[at].phase.replace((life, phase));
        if let Some(mark) = before.filter(|(of, _)| *of == life).and_then(|(_, before)| marks_of::of_phase(before, phase)) {
            marks::reached(mark);
        }
    }

    /// What a node answers to a peer.
    pub(crate) fn weigh_reply(reply: &Reply) {
        match reply {
            Reply::Vote(Vote::No { .. }) => marks::reached("a witness refused a vote"),
            Reply::Vote(Vote::Newer { .. }) => marks::reached("a witness sent a candidate on to a newer record"),
            Reply::Vote(Vote::Yes { accepted: Some(_), .. }) => marks::reached("a candidate found a proposal to finish"),
            _ => {}
        }
    }
}
