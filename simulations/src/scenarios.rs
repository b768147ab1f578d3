//! Scenarios with names: one kind of trouble each, in any size, and what must hold in it (beside the general invariants).

use std::{collections::BTreeSet, time::Duration};

use rand::{RngExt, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::{
    chance::{Concern, Delay, stream},
    expectations::Expectation,
    knock::Meddler,
    network::{CutId, Flapping},
    scenario::{Deed, Ending, NodePlan, Scenario},
    script::both_ways,
    source::SourcePlan,
    swarm::{Wishes, node_name},
};

/// A scenario with a name.
#[derive(Debug, Clone, Copy)]
pub struct Named {
    pub name: &'static str,
    /// What happens in it, and what must hold.
    pub sentence: &'static str,
    /// As many as there are if nobody wishes otherwise, and how many there must be at least.
    pub nodes: usize,
    pub nodes_min: usize,
    /// How long its faults go on if nobody wishes otherwise.
    pub minutes: u64,
    happens: fn(&mut Draft),
}

/// Why a named scenario cannot be had in a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` needs {nodes_min} nodes or more, not {nodes}")]
pub struct SizeError {
    name: &'static str,
    nodes_min: usize,
    nodes: usize,
}

/// All of them.
pub const ALL: &[Named] = &[
    Named {
        name: "crash",
        sentence: "a node is killed every 20 s and comes back half a minute later: everybody knows in time, and nobody who lives is declared down",
        nodes: 5,
        nodes_min: 2,
        minutes: 3,
        happens: crash,
    },
    Named {
        name: "mass-crash",
        sentence: "a third of the nodes are killed at once, and come back together: the others know in time, and are not shaken",
        nodes: 12,
        nodes_min: 3,
        minutes: 4,
        happens: mass_crash,
    },
    Named {
        name: "rolling-restart",
        sentence: "every node is restarted in its turn, orderly: nobody is declared down that runs, no source is taken over",
        nodes: 5,
        nodes_min: 2,
        minutes: 2,
        happens: rolling_restart,
    },
    Named {
        name: "join-storm",
        sentence: "all nodes are started at once, and all but three again each minute: views are complete in time",
        nodes: 32,
        nodes_min: 4,
        minutes: 2,
        happens: join_storm,
    },
    Named {
        name: "split-heal",
        sentence: "the cluster is split in two for one or two minutes, and healed: all views are complete in time",
        nodes: 5,
        nodes_min: 2,
        minutes: 5,
        happens: split_heal,
    },
    Named {
        name: "one-way",
        sentence: "a node hears nobody, or is heard by nobody, for half a minute: it alone may be declared down",
        nodes: 7,
        nodes_min: 4,
        minutes: 4,
        happens: one_way,
    },
    Named {
        name: "firewalls",
        sentence: "firewalls refuse in a node's name, on up to half of the paths for long, on all for a moment; refusals are forged, or lost: nobody is declared down",
        nodes: 7,
        nodes_min: 4,
        minutes: 4,
        happens: firewalls,
    },
    Named {
        name: "lossy-25",
        sentence: "a quarter of all datagrams is lost: nobody is declared down, everything written is known to all",
        nodes: 9,
        nodes_min: 2,
        minutes: 5,
        happens: lossy,
    },
    Named {
        name: "slow-nodes",
        sentence: "one node in twenty gets to its work late, another stands still for some seconds: no healthy node is declared down by them",
        nodes: 20,
        nodes_min: 4,
        minutes: 4,
        happens: slow_nodes,
    },
    Named {
        name: "flapping",
        sentence: "pairs of nodes lose sight of each other again and again, while others see both: nobody is declared down",
        nodes: 7,
        nodes_min: 4,
        minutes: 4,
        happens: flapping,
    },
    Named {
        name: "clock-skew",
        sentence: "wall clocks are up to 20 s off: membership does not care, and what was written last is what all hold",
        nodes: 7,
        nodes_min: 2,
        minutes: 3,
        happens: clock_skew,
    },
    Named {
        name: "disk-loss",
        sentence: "nodes come back with an old disk image, an empty store, or as another node on an empty disk: they are known again, and nothing is lost",
        nodes: 5,
        nodes_min: 3,
        minutes: 5,
        happens: disk_loss,
    },
    Named {
        name: "key-rotation",
        sentence: "the cluster's key is changed while nodes are restarted and one is away for a while: nobody is declared down, and it comes to its end",
        nodes: 5,
        nodes_min: 3,
        minutes: 4,
        happens: key_rotation,
    },
    Named {
        name: "thousand-nodes",
        sentence: "two crashes a minute among a thousand nodes that publish and are managed: everybody knows in time, nobody is declared down falsely",
        nodes: 1_000,
        nodes_min: 64,
        minutes: 10,
        happens: thousand_nodes,
    },
];

/// The scenario of this name.
pub fn find(name: &str) -> Option<&'static Named> {
    ALL.iter().find(|named| named.name == name)
}

impl Named {
    /// The scenario under a seed, in the size that is wished for or its own.
    pub fn scenario(&self, seed: u64, wishes: Wishes) -> Result<Scenario, SizeError> {
        let nodes = wishes.nodes.unwrap_or(self.nodes);
        if nodes < self.nodes_min {
            return Err(SizeError { name: self.name, nodes_min: self.nodes_min, nodes });
        }
        let mut draft = Draft::new(seed, nodes, minutes(wishes.minutes.unwrap_or(self.minutes)));
        (self.happens)(&mut draft);
        Ok(draft.scenario.sorted())
    }
}

/// Names are known and views complete by then, up to some hundred nodes.
const BEGUN: Duration = secs(15);
/// Until everything is as it should be, once nothing more happens. L1 of DESIGN §9.
const SETTLED: Duration = secs(15);
/// Silence to the end of the suspicion, and for the news to go round: eight seconds at worst.
const DEATH_KNOWN: Duration = secs(8);

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn minutes(minutes: u64) -> Duration {
    secs(minutes * 60)
}

/// A scenario that is being put together.
#[derive(Debug)]
struct Draft {
    scenario: Scenario,
    /// When faults begin, and how long they go on.
    begin: Duration,
    length: Duration,
    rng: ChaCha8Rng,
    cuts: usize,
}

impl Draft {
    /// Nodes that start within two seconds, in a calm network of a building; nothing is expected yet.
    fn new(seed: u64, nodes: usize, length: Duration) -> Self {
        let mut rng = stream(seed, Concern::Faults);
        let names: Vec<_> = (0..nodes).map(node_name).collect();
        let mut scenario = Scenario::calm(seed, &[], 0);
        scenario.nodes = names.into_iter().map(|name| NodePlan { name, ..NodePlan::default() }).collect();
        scenario.network.latency = Delay { least: Duration::from_micros(300), half: Duration::from_micros(300) };
        scenario.deeds = (0..nodes).map(|node| (Duration::from_micros(rng.random_range(0..2_000_000)), Deed::Start { node })).collect();
        Self { scenario, begin: BEGUN, length, rng, cuts: 0 }
    }

    fn count(&self) -> usize {
        self.scenario.nodes.len()
    }

    fn end(&self) -> Duration {
        self.begin + self.length
    }

    fn node(&mut self) -> usize {
        self.rng.random_range(0..self.scenario.nodes.len())
    }

    fn shuffled(&mut self) -> Vec<usize> {
        let mut all: Vec<_> = (0..self.count()).collect();
        all.shuffle(&mut self.rng);
        all
    }

    fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).expect("minutes fit");
        Duration::from_micros(self.rng.random_range(micros(least)..=micros(most)))
    }

    fn at(&mut self, at: Duration, deed: Deed) {
        self.scenario.deeds.push((at, deed));
    }

    fn expect(&mut self, expectation: Expectation) {
        self.scenario.expects.push(expectation);
    }

    fn cut(&mut self, at: Duration, length: Duration, directions: Vec<(usize, usize)>) {
        let id = CutId(self.cuts);
        self.cuts += 1;
        self.at(at, Deed::Cut { id, directions });
        self.at(at + length, Deed::Mend { id });
    }

    fn meddle(&mut self, at: Duration, length: Duration, meddler: Meddler, directions: Vec<(usize, usize)>) {
        let id = CutId(self.cuts);
        self.cuts += 1;
        self.at(at, Deed::Meddle { id, meddler, directions });
        self.at(at + length, Deed::Mend { id });
    }

    /// A runner with some sources, so that ownership has its part; in a large cluster membership is enough.
    fn sources(&mut self) {
        let count = self.count().min(6);
        self.scenario.sources = (1..=count).map(|number| SourcePlan::numbered(number, Duration::from_millis(300), 120)).collect();
        self.at(secs(8), Deed::Apply { node: 0 });
    }

    /// Operators set tags, so that there is something to be passed on.
    fn tags(&mut self, every: Duration) {
        let mut at = self.begin;
        while at < self.end() {
            let node = self.node();
            self.at(at, Deed::Tag { node });
            at += self.between(every / 2, every * 3 / 2);
        }
    }

    /// The times of something that happens time and again, until the faults end.
    fn times(&mut self, least: Duration, most: Duration) -> Vec<Duration> {
        let mut times = vec![self.begin];
        loop {
            let next = times[times.len() - 1] + self.between(least, most);
            if next >= self.end() {
                return times;
            }
            times.push(next);
        }
    }

    /// Nothing more happens: by then all agree in everything.
    fn settle(&mut self) {
        let last = self.scenario.deeds.iter().map(|(at, _)| *at).max().unwrap_or_default();
        let at = last.max(self.end()) + SETTLED;
        self.expect(Expectation::ViewsAgree { at });
        self.expect(Expectation::CatalogsAgree { at });
        self.expect(Expectation::NodeMapsAgree { at });
        self.expect(Expectation::LastWordsHold { at });
        self.scenario.ending = Ending::At(at + secs(6));
    }
}

fn crash(draft: &mut Draft) {
    draft.sources();
    for at in draft.times(secs(18), secs(22)) {
        let (node, away) = (draft.node(), draft.between(secs(12), secs(40)));
        draft.at(at, Deed::Crash { node });
        draft.at(at + away, Deed::Start { node });
    }
    draft.expect(Expectation::NoFalseDeaths);
    draft.expect(Expectation::DeathsKnown { within: DEATH_KNOWN });
    draft.settle();
}

fn mass_crash(draft: &mut Draft) {
    draft.sources();
    for at in draft.times(secs(60), secs(70)) {
        let (away, third) = (draft.between(secs(15), secs(30)), draft.count() / 3);
        for node in draft.shuffled().into_iter().take(third) {
            draft.at(at, Deed::Crash { node });
            draft.at(at + away, Deed::Start { node });
        }
        draft.expect(Expectation::ViewsAgree { at: at + away + SETTLED });
    }
    draft.expect(Expectation::NoFalseDeaths);
    draft.expect(Expectation::DeathsKnown { within: DEATH_KNOWN + secs(2) });
    draft.settle();
}

fn rolling_restart(draft: &mut Draft) {
    draft.sources();
    let step = secs(12);
    let times = draft.times(step, step);
    for (turn, at) in times.into_iter().enumerate() {
        let (node, away) = (turn % draft.count(), draft.between(secs(1), secs(6)));
        draft.at(at, Deed::Stop { node });
        draft.at(at + away, Deed::Start { node });
    }
    draft.expect(Expectation::NoFalseDeaths);
    draft.expect(Expectation::NoTakeovers);
    draft.settle();
}

fn join_storm(draft: &mut Draft) {
    for (at, deed) in &mut draft.scenario.deeds {
        if matches!(deed, Deed::Start { .. }) {
            *at /= 20;
        }
    }
    draft.expect(Expectation::ViewsAgree { at: BEGUN - secs(1) });
    for at in draft.times(minutes(1), minutes(1)) {
        for node in draft.shuffled().into_iter().skip(3) {
            let back = draft.between(Duration::ZERO, Duration::from_millis(100));
            draft.at(at, Deed::Crash { node });
            draft.at(at + secs(12) + back, Deed::Start { node });
        }
        draft.expect(Expectation::ViewsAgree { at: at + secs(12) + SETTLED });
    }
    draft.settle();
}

fn split_heal(draft: &mut Draft) {
    draft.sources();
    for at in draft.times(secs(140), secs(160)) {
        let all = draft.shuffled();
        let (these, those) = all.split_at(all.len() / 2);
        let (these, those): (BTreeSet<_>, BTreeSet<_>) = (these.iter().copied().collect(), those.iter().copied().collect());
        let length = draft.between(secs(60), secs(120));
        draft.cut(at, length, both_ways(&these, &those));
        draft.expect(Expectation::ViewsAgree { at: at + length + SETTLED });
    }
    draft.expect(Expectation::NoFalseDeaths);
    draft.settle();
}

fn one_way(draft: &mut Draft) {
    for at in draft.times(secs(55), secs(65)) {
        let (node, length, deaf) = (draft.node(), draft.between(secs(20), secs(35)), draft.rng.random_bool(0.5));
        let others = (0..draft.count()).filter(|other| *other != node);
        let directions = others.map(|other| if deaf { (other, node) } else { (node, other) }).collect();
        draft.cut(at, length, directions);
        draft.expect(Expectation::ViewsAgree { at: at + length + SETTLED });
    }
    draft.expect(Expectation::NoFalseDeaths);
    draft.settle();
}

fn firewalls(draft: &mut Draft) {
    draft.scenario.network.loss = 30;
    draft.sources();
    for (turn, at) in draft.times(secs(18), secs(22)).into_iter().enumerate() {
        let all = draft.shuffled();
        let (node, others) = (all[0], &all[1..]);
        let to_node = |from: &[usize]| from.iter().map(|from| (*from, node)).collect::<Vec<_>>();
        match turn % 4 {
            0 => draft.meddle(at, secs(15), Meddler::Reject, to_node(&others[..1])),
            1 => draft.meddle(at, secs(15), Meddler::Reject, to_node(&others[..others.len() / 2])),
            2 => {
                for window in 0..12 {
                    draft.meddle(at + Duration::from_millis(1_300) * window, Duration::from_millis(400), Meddler::Reject, to_node(others));
                }
            }
            _ => {
                draft.meddle(at, secs(15), Meddler::Forge, to_node(others));
                draft.meddle(at, secs(15), Meddler::Filter, vec![(others[0], others[1])]);
            }
        }
    }
    draft.expect(Expectation::NoFalseDeaths);
    draft.expect(Expectation::NoRenewals);
    draft.settle();
}

fn lossy(draft: &mut Draft) {
    draft.scenario.network.loss = 250;
    draft.sources();
    draft.tags(secs(10));
    draft.expect(Expectation::NoFalseDeaths);
    draft.expect(Expectation::NoRenewals);
    draft.settle();
}

fn flapping(draft: &mut Draft) {
    draft.tags(secs(15));
    for _ in 0..(draft.count() / 3).max(1) {
        let (one, other) = (draft.node(), draft.node());
        if one != other {
            let flapping = Flapping { down: draft.between(secs(1), secs(4)), up: draft.between(secs(1), secs(10)) };
            let id = CutId(draft.cuts);
            draft.cuts += 1;
            draft.at(draft.begin, Deed::Flap { id, directions: vec![(one, other), (other, one)], flapping });
            draft.at(draft.end(), Deed::Mend { id });
        }
    }
    draft.expect(Expectation::NoFalseDeaths);
    draft.expect(Expectation::NoRenewals);
    draft.settle();
}

fn key_rotation(draft: &mut Draft) {
    draft.scenario.network.loss = 20;
    draft.sources();
    draft.tags(secs(10));
    let mut nodes = draft.shuffled();
    let (via, away) = (nodes.pop().unwrap_or_default(), nodes.pop().unwrap_or_default());
    draft.at(draft.begin, Deed::ChangeKey { node: via });
    let (at, back) = (draft.between(secs(0), secs(20)), draft.between(secs(5), secs(30)));
    draft.at(draft.begin + at, Deed::Crash { node: away });
    draft.at(draft.begin + at + back, Deed::Start { node: away });
    for node in nodes.into_iter().take(2) {
        let (at, back) = (draft.between(secs(0), secs(60)), draft.between(secs(1), secs(4)));
        draft.at(draft.begin + at, Deed::Stop { node });
        draft.at(draft.begin + at + back, Deed::Start { node });
    }
    draft.expect(Expectation::NoFalseDeaths);
    draft.settle();
}

fn slow_nodes(draft: &mut Draft) {
    draft.tags(secs(15));
    let (slow, mut rest) = (draft.count().div_ceil(20), draft.shuffled());
    for node in rest.drain(..slow) {
        let least = draft.between(Duration::from_millis(200), Duration::from_millis(900));
        draft.at(draft.begin, Deed::Slow { node, lateness: Delay { least, half: least / 4 } });
        draft.at(draft.end(), Deed::Quick { node });
    }
    for at in draft.times(secs(25), secs(35)) {
        let (node, length) = (rest[draft.rng.random_range(0..rest.len())], draft.between(secs(1), secs(20)));
        draft.at(at, Deed::Pause { node });
        draft.at(at + length, Deed::Resume { node });
    }
    draft.expect(Expectation::NoFalseDeaths);
    draft.settle();
}

fn disk_loss(draft: &mut Draft) {
    draft.sources();
    draft.tags(secs(15));
    let image = draft.begin / 2;
    for node in 0..draft.count() {
        draft.at(image, Deed::Image { node });
    }
    for (turn, at) in draft.times(secs(38), secs(42)).into_iter().enumerate() {
        let node = draft.node();
        match turn % 3 {
            0 => draft.at(at, Deed::RestartFromImage { node }),
            1 => {
                draft.at(at, Deed::LoseStore { node });
                draft.at(at + secs(10), Deed::Start { node });
            }
            _ => {
                draft.at(at, Deed::Wipe { node });
                draft.at(at + secs(10), Deed::Start { node });
            }
        }
    }
    draft.expect(Expectation::NoFalseDeaths);
    draft.settle();
}

fn clock_skew(draft: &mut Draft) {
    for at in 0..draft.count() {
        draft.scenario.nodes[at].skew_ms = draft.rng.random_range(-20_000..=20_000);
    }
    draft.sources();
    draft.tags(secs(5));
    for at in draft.times(secs(30), secs(40)) {
        let node = draft.node();
        draft.at(at, Deed::Crash { node });
        draft.at(at + secs(10), Deed::Start { node });
    }
    draft.expect(Expectation::NoFalseDeaths);
    draft.expect(Expectation::DeathsKnown { within: DEATH_KNOWN });
    draft.settle();
}

fn thousand_nodes(draft: &mut Draft) {
    draft.begin = secs(30);
    draft.expect(Expectation::ViewsAgree { at: secs(20) });
    draft.tags(secs(10));
    for at in draft.times(secs(28), secs(32)) {
        let (node, away) = (draft.node(), draft.between(secs(30), secs(90)));
        draft.at(at, Deed::Crash { node });
        draft.at(at + away, Deed::Start { node });
    }
    draft.expect(Expectation::NoFalseDeaths);
    draft.expect(Expectation::NoRenewals);
    draft.expect(Expectation::DeathsKnown { within: DEATH_KNOWN });
    draft.settle();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_possible_in_its_own_size_and_in_the_least() {
        for named in ALL {
            for nodes in [None, Some(named.nodes_min)] {
                let scenario = named.scenario(7, Wishes { nodes, minutes: Some(1) }).unwrap();
                assert_eq!(scenario.validate(), Ok(()), "{}", named.name);
                assert!(!scenario.expects.is_empty(), "{} expects something", named.name);
            }
            let few = named.scenario(7, Wishes { nodes: Some(named.nodes_min - 1), minutes: None });
            assert!(few.unwrap_err().to_string().contains(named.name));
        }
    }

    #[test]
    fn names_are_found_and_differ() {
        let names: BTreeSet<_> = ALL.iter().map(|named| named.name).collect();
        assert_eq!(names.len(), ALL.len());
        assert!(names.iter().all(|name| find(name).is_some_and(|named| named.name == *name)));
    }
}
