//! Scenarios with names: one kind of trouble each, in any size, and what must hold in it (beside the general invariants).

mod assignment;
mod load;
mod membership;
mod orders;

use std::time::Duration;

use rand::{RngExt, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::{
    chance::{Concern, Delay, stream},
    expectations::Expectation,
    knock::Meddler,
    network::CutId,
    scenario::{Deed, Ending, NodePlan, Scenario},
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
pub fn all() -> impl Iterator<Item = &'static Named> {
    membership::ALL.iter().chain(assignment::ALL).chain(load::ALL).chain(orders::ALL)
}

/// The scenario of this name.
pub fn find(name: &str) -> Option<&'static Named> {
    all().find(|named| named.name == name)
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
        // Who is struck comes back later.
        let over = |(at, deed): &(Duration, Deed)| if let Deed::Strike(strike) = deed { *at + strike.back } else { *at };
        let last = self.scenario.deeds.iter().map(over).max().unwrap_or_default();
        let at = last.max(self.end()) + SETTLED;
        self.expect(Expectation::ViewsAgree { at });
        self.expect(Expectation::CatalogsAgree { at });
        self.expect(Expectation::NodeMapsAgree { at });
        self.expect(Expectation::LastWordsHold { at });
        self.scenario.ending = Ending::At(at + secs(6));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::file;

    #[test]
    fn each_is_possible_in_its_own_size_and_in_the_least() {
        for named in all() {
            for nodes in [None, Some(named.nodes_min)] {
                let scenario = named.scenario(7, Wishes { nodes, minutes: Some(1) }).unwrap();
                assert_eq!(scenario.validate(), Ok(()), "{}", named.name);
                assert!(!scenario.expects.is_empty(), "{} expects something", named.name);
                let again = file::read(&file::write(&scenario)).unwrap_or_else(|error| panic!("{}: {error}", named.name));
                assert_eq!(format!("{again:?}"), format!("{scenario:?}"), "{}: a file keeps all of it", named.name);
            }
            let few = named.scenario(7, Wishes { nodes: Some(named.nodes_min - 1), minutes: None });
            assert!(few.unwrap_err().to_string().contains(named.name));
        }
    }

    #[test]
    fn names_are_found_and_differ() {
        let names: BTreeSet<_> = all().map(|named| named.name).collect();
        assert_eq!(names.len(), all().count());
        assert!(names.iter().all(|name| find(name).is_some_and(|named| named.name == *name)));
    }
}
