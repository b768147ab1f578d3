//! A cluster of equal nodes on one local network, seen from outside at every moment.

use std::{collections::BTreeSet, time::Duration};

use logvine_cluster::{
    command::Command,
    event::Event as Told,
    node::{CommandId, Node},
};
use logvine_gossip::{Instant, NodeId, Status};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::{
    chance::{Concern, Delay, stream},
    host::Life,
    network::NetworkPlan,
    report::Violation,
    scenario::{NodePlan, Scenario},
    trace::Trace,
    world::World,
};

/// How often what nodes told is looked through while something is awaited. Times are exact all the same: each word has its own.
const GLANCE: Duration = Duration::from_millis(100);

/// A local network: 0.3 ms, and now and then a few more; nothing is lost. A host without a process is silent.
pub(super) const LAN: NetworkPlan =
    NetworkPlan { refusals: false, ..NetworkPlan::calm(Delay { least: Duration::from_micros(300), half: Duration::from_micros(300) }) };

/// Nothing came of what was awaited, by this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

/// See the module.
pub(super) struct Field {
    pub(super) world: World,
    /// Chance for what the measure does: whom it kills.
    pub(super) rng: ChaCha8Rng,
    ids: Vec<NodeId>,
    /// By node: which life of its process this is, and how many others it believes live.
    sees: Vec<(Option<Life>, usize)>,
    /// Since when all running nodes have seen each other, and nobody else.
    complete_since: Option<Instant>,
}

/// What a node told, and when.
pub(super) type Word = (Instant, usize, Told);

impl Field {
    /// So many nodes, none of them started.
    pub(super) fn new(seed: u64, nodes: usize, network: NetworkPlan) -> Self {
        let mut scenario = Scenario::calm(seed, &[], 0);
        scenario.nodes = (1..=nodes).map(|number| NodePlan { name: format!("n{number}"), ..NodePlan::default() }).collect();
        scenario.network = network;
        let mut world = World::new(scenario, Trace::new(None));
        world.words = Some(Vec::new());
        let ids = world.hosts.iter().map(|host| host.id).collect();
        Self { world, rng: stream(seed, Concern::Faults), ids, sees: vec![(None, 0); nodes], complete_since: None }
    }

    /// All nodes have started at once, their views are complete, and what began with the start has had a minute to end.
    pub(super) fn joined(seed: u64, nodes: usize, network: NetworkPlan) -> Result<Self, Box<Violation>> {
        let mut field = Self::new(seed, nodes, network);
        field.start_all();
        field.run(Duration::from_secs(60))?;
        Ok(field)
    }

    pub(super) fn start_all(&mut self) {
        for node in 0..self.world.hosts.len() {
            self.world.start(node);
        }
    }

    /// The host is dead.
    pub(super) fn crash(&mut self, node: usize) {
        self.complete_since = None;
        self.world.crash(node);
    }

    pub(super) fn start(&mut self, node: usize) {
        self.complete_since = None;
        self.world.start(node);
    }

    /// An operator says a word to a node.
    pub(super) fn command(&mut self, node: usize, command: Command, id: CommandId) {
        let life = self.world.hosts[node].life;
        self.world.input(node, life, |process, now| {
            let result = process.node.handle_command(now, id, command);
            debug_assert!(result.is_ok(), "a measure gives commands that can be obeyed: {result:?}");
        });
    }

    pub(super) fn now(&self) -> Instant {
        self.world.now
    }

    pub(super) fn id(&self, node: usize) -> NodeId {
        self.ids[node]
    }

    /// Where the node of this id is.
    pub(super) fn place(&self, id: &NodeId) -> Option<usize> {
        self.ids.iter().position(|known| known == id)
    }

    pub(super) fn node(&self, at: usize) -> Option<&Node> {
        self.world.hosts[at].process.as_ref().map(|process| &process.node)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = (usize, &Node)> {
        (0..self.ids.len()).filter_map(|at| Some((at, self.node(at)?)))
    }

    /// One of the running nodes.
    pub(super) fn any(&mut self) -> usize {
        let running: Vec<_> = self.nodes().map(|(at, _)| at).collect();
        running[self.rng.random_range(0..running.len())]
    }

    /// Lets time pass; gives what nodes told in it.
    pub(super) fn run(&mut self, time: Duration) -> Result<Vec<Word>, Box<Violation>> {
        let end = self.now() + time;
        self.world.run_until(end)?;
        let words = self.world.words.replace(Vec::new()).unwrap_or_default();
        let running = self.nodes().count();
        for (at, node, word) in &words {
            self.take_note(*at, *node, word, running);
        }
        Ok(words)
    }

    /// Keeps count of whom each node believes live, and of when all views were complete.
    fn take_note(&mut self, at: Instant, node: usize, word: &Told, running: usize) {
        let Told::Member { from, to, .. } = word else { return };
        let life = self.world.hosts[node].life;
        let (seen_in, seen) = &mut self.sees[node];
        if seen_in.replace(life) != Some(life) {
            *seen = 0;
        }
        match (from.is_some_and(Status::is_live), to.is_live()) {
            (false, true) => *seen += 1,
            (true, false) => *seen -= 1,
            _ => return,
        }
        let is_complete =
            *seen + 1 == running && self.sees.iter().zip(&self.world.hosts).all(|((_, seen), host)| host.process.is_none() || *seen + 1 == running);
        self.complete_since = is_complete.then_some(self.complete_since.unwrap_or(at));
    }

    /// Runs until all views are complete; since when they are, or that they were not by then.
    pub(super) fn run_until_complete(&mut self, longest: Duration) -> Result<Result<Instant, TooLong>, Box<Violation>> {
        let end = self.now() + longest;
        while self.now() < end {
            self.run(GLANCE)?;
            if let Some(since) = self.complete_since {
                return Ok(Ok(since));
            }
        }
        Ok(Err(TooLong))
    }

    /// Runs until each of `nodes` has told something for which `is_it` holds; how long after now each did so, shortest first.
    pub(super) fn run_until_told(
        &mut self,
        mut nodes: BTreeSet<usize>,
        longest: Duration,
        is_it: impl Fn(&Told) -> bool,
    ) -> Result<Result<Vec<Duration>, TooLong>, Box<Violation>> {
        let begin = self.now();
        let mut told = Vec::new();
        while !nodes.is_empty() {
            if self.now().since(begin) >= longest {
                return Ok(Err(TooLong));
            }
            for (at, node, word) in self.run(GLANCE)? {
                if is_it(&word) && nodes.remove(&node) {
                    told.push(at.since(begin));
                }
            }
        }
        Ok(Ok(told))
    }
}

/// Of some durations: the one that `per_mille` of them do not exceed. At least one must be there.
pub(super) fn quantile(durations: &[Duration], per_mille: usize) -> Duration {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() * per_mille).div_ceil(1_000).clamp(1, sorted.len()) - 1]
}

/// `5.31 s`
pub(super) fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_sample_itself() {
        let hundred: Vec<_> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!([0, 500, 990, 1_000].map(|per_mille| quantile(&hundred, per_mille).as_millis()), [1, 50, 99, 100]);
        assert_eq!(quantile(&hundred[..1], 500).as_millis(), 100);
    }
}
