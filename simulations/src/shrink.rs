//! Makes a failing scenario small: fewer nodes, deeds, kinds of trouble, sources; shorter. Whatever still breaks the same invariant is kept.
//!
//! Delta debugging over the scenario as data (Zeller & Hildebrandt 2002): first half of the things are left out, then a quarter, and so on to single ones.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    disk::DiskPlan,
    knobs::Knobs,
    network::NetworkPlan,
    plane::PlanePlan,
    runs::{Company, run_in},
    scenario::{Deed, Ending, NodePlan, Scenario},
    sink::SinkPlan,
};

/// Runs that are spent on one failure, at the most: people wait for it.
pub const RUNS_MAX: u64 = 300;

/// A scenario that still fails, and how many runs it took to find it.
#[derive(Debug)]
pub struct Shrunk {
    pub scenario: Scenario,
    pub runs: u64,
}

/// What a scenario has, for people.
pub fn size(scenario: &Scenario) -> String {
    let Scenario { nodes, sources, deeds, .. } = scenario;
    format!("{} nodes, {} sources, {} deeds, {} s", nodes.len(), sources.len(), deeds.len(), scenario.length().as_secs())
}

/// The smallest scenario found that breaks `invariant`. `tell` hears how many runs were made, and the size so far.
pub fn shrink(scenario: Scenario, invariant: &str, canary: Option<&'static str>, tell: &mut dyn FnMut(u64, &str)) -> Shrunk {
    let fails = |candidate: &Scenario| {
        let outcome = run_in(candidate.clone(), Company { canary, ..Company::default() });
        outcome.err().filter(|violation| violation.invariant == invariant).map(|violation| violation.at.since(logvine_gossip::Instant::ZERO))
    };
    shrink_by(scenario, fails, tell)
}

/// The same, with another judge: a scenario's failure is when it fails.
fn shrink_by(scenario: Scenario, fails: impl Fn(&Scenario) -> Option<Duration>, tell: &mut dyn FnMut(u64, &str)) -> Shrunk {
    let mut search = Search { best: scenario, runs: 0, fails: &fails, tell };
    loop {
        let before = search.best.clone();
        search.shorten();
        search.calm();
        search.leave_out(|scenario| scenario.nodes.len(), without_nodes);
        search.leave_out(|scenario| scenario.deeds.len(), without_deeds);
        search.leave_out(|scenario| scenario.sources.len(), without_sources);
        if search.is_spent() || format!("{before:?}") == format!("{:?}", search.best) {
            return Shrunk { scenario: search.best, runs: search.runs };
        }
    }
}

struct Search<'a> {
    best: Scenario,
    runs: u64,
    fails: &'a dyn Fn(&Scenario) -> Option<Duration>,
    tell: &'a mut dyn FnMut(u64, &str),
}

impl Search<'_> {
    fn is_spent(&self) -> bool {
        self.runs >= RUNS_MAX
    }

    /// Keeps the candidate if it fails.
    fn take(&mut self, candidate: Scenario) -> bool {
        if self.is_spent() || candidate.validate().is_err() {
            return false;
        }
        self.runs += 1;
        let fails = (self.fails)(&candidate).is_some();
        if fails {
            self.best = candidate;
        }
        (self.tell)(self.runs, &size(&self.best));
        fails
    }

    /// Leaves out parts of a list: halves first, then ever smaller ones.
    fn leave_out(&mut self, count: impl Fn(&Scenario) -> usize, without: impl Fn(&Scenario, std::ops::Range<usize>) -> Option<Scenario>) {
        let mut part = count(&self.best).div_ceil(2);
        while part > 0 {
            let mut at = 0;
            while at < count(&self.best) {
                let left_out = without(&self.best, at..(at + part).min(count(&self.best)));
                if !left_out.is_some_and(|candidate| self.take(candidate)) {
                    at += part;
                }
                if self.is_spent() {
                    return;
                }
            }
            part /= 2;
        }
    }

    /// Nothing after the failure matters to it. What only shows when a cluster settles needs that end.
    fn shorten(&mut self) {
        let Some(at) = (self.fails)(&self.best) else { return };
        self.runs += 1;
        if let Ending::At(end) = self.best.ending
            && at < end
        {
            let until = at + Duration::from_millis(1);
            let mut candidate = Scenario { ending: Ending::At(until), ..self.best.clone() };
            candidate.deeds.retain(|(at, _)| *at <= until);
            candidate.expects.retain(|expectation| expectation.time().is_none_or(|time| time <= until));
            self.take(candidate);
        }
        for part in [4, 2] {
            if let Some(candidate) = sooner(&self.best, part) {
                self.take(candidate);
            }
        }
    }

    /// One kind of trouble after the other is left out.
    fn calm(&mut self) {
        let calm: [fn(&mut Scenario); 10] = [
            |scenario| scenario.then.clear(),
            |scenario| scenario.gossip = Knobs::default(),
            |scenario| scenario.network = NetworkPlan { latency: scenario.network.latency, ..NetworkPlan::default() },
            |scenario| scenario.network.latency = NetworkPlan::default().latency,
            |scenario| scenario.network = NetworkPlan { loss: scenario.network.loss, ..NetworkPlan::default() },
            |scenario| scenario.disk = DiskPlan::default(),
            |scenario| scenario.sink = SinkPlan::default(),
            |scenario| scenario.plane = PlanePlan::default(),
            |scenario| scenario.senders.truncate(1),
            |scenario| {
                for node in &mut scenario.nodes {
                    *node = NodePlan { name: std::mem::take(&mut node.name), ..NodePlan::default() };
                }
            },
        ];
        for change in calm {
            let mut candidate = self.best.clone();
            change(&mut candidate);
            if format!("{candidate:?}") != format!("{:?}", self.best) {
                self.take(candidate);
            }
        }
    }
}

/// The same with its faults in a part of the time: a run that settles ends its faults sooner.
fn sooner(scenario: &Scenario, part: u32) -> Option<Scenario> {
    let mut candidate = scenario.clone();
    let (heals, _) = scenario.deeds.iter().find(|(_, deed)| matches!(deed, Deed::Heal { .. }))?;
    let last = scenario.deeds.iter().map(|(at, _)| *at).filter(|at| at < heals).max()?;
    let until = if *heals > last + Duration::from_secs(1) { last } else { *heals - *heals / part };
    candidate.deeds.retain(|(at, deed)| *at <= until || matches!(deed, Deed::Heal { .. }));
    for (at, deed) in &mut candidate.deeds {
        if matches!(deed, Deed::Heal { .. }) {
            *at = until;
        }
    }
    Some(candidate)
}

fn without_nodes(scenario: &Scenario, gone: std::ops::Range<usize>) -> Option<Scenario> {
    let stay = (0..scenario.nodes.len()).filter(|node| !gone.contains(node));
    let places: BTreeMap<usize, usize> = stay.enumerate().map(|(new, old)| (old, new)).collect();
    if places.is_empty() {
        return None;
    }
    let mut candidate = scenario.clone();
    candidate.nodes = places.keys().map(|old| scenario.nodes[*old].clone()).collect();
    let moved = |deeds: &[(Duration, Deed)]| deeds.iter().filter_map(|(at, deed)| Some((*at, deed.clone().moved(&places)?))).collect();
    (candidate.deeds, candidate.then) = (moved(&scenario.deeds), moved(&scenario.then));
    Some(candidate)
}

fn without_deeds(scenario: &Scenario, gone: std::ops::Range<usize>) -> Option<Scenario> {
    let mut candidate = scenario.clone();
    let kept = |deed: &Deed| matches!(deed, Deed::Heal { .. });
    let deeds = scenario.deeds.iter().enumerate().filter(|(at, (_, deed))| !gone.contains(at) || kept(deed));
    candidate.deeds = deeds.map(|(_, deed)| deed.clone()).collect();
    (candidate.deeds.len() < scenario.deeds.len()).then_some(candidate)
}

fn without_sources(scenario: &Scenario, gone: std::ops::Range<usize>) -> Option<Scenario> {
    // What is expected of one source is expected of that one.
    if scenario.expects.iter().any(|expectation| expectation.source().is_some()) {
        return None;
    }
    let stay = (0..scenario.sources.len()).filter(|source| !gone.contains(source));
    let places: BTreeMap<usize, usize> = stay.enumerate().map(|(new, old)| (old, new)).collect();
    let mut candidate = scenario.clone();
    candidate.sources = places.keys().map(|old| scenario.sources[*old].clone()).collect();
    candidate.deeds = scenario.deeds.iter().filter_map(|(at, deed)| Some((*at, deed.clone().of_sources(&places)?))).collect();
    Some(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{operator::Edit, scenarios, swarm::Wishes};

    /// A word about a source goes with it, or finds it at its new place: a run of what was shrunk would meet another source, or none.
    #[test]
    fn words_about_sources_go_with_them() {
        let mut scenario = Scenario::calm(1, &["a"], 3);
        for source in 0..3 {
            scenario.deeds.push((Duration::from_secs(9), Deed::Edit { node: 0, edit: Edit::Remove(source) }));
        }
        let left = without_sources(&scenario, 0..2).unwrap();
        let removed: Vec<_> = left.deeds.iter().filter_map(|(_, deed)| deed.source()).collect();
        assert_eq!((left.sources.len(), left.sources[0].id.as_str(), removed), (1, "s03", vec![0]));
        assert_eq!(left.validate(), Ok(()));
        scenario.sources.clear();
        assert!(scenario.validate().unwrap_err().to_string().contains("names source 0, and there are 0"));
    }

    /// A failure that needs one crash of one node, in a world with loss, is shrunk to that.
    #[test]
    fn only_what_the_failure_needs_is_left() {
        let needs = |scenario: &Scenario| {
            let crash = scenario.deeds.iter().find(|(_, deed)| matches!(deed, Deed::Crash { node } if scenario.nodes[*node].name == "d"));
            crash.filter(|_| scenario.network.loss > 0).map(|(at, _)| *at)
        };
        let mut scenario = scenarios::find("crash").unwrap().scenario(3, Wishes { nodes: Some(6), minutes: Some(30) }).unwrap();
        (scenario.network.loss, scenario.network.reorder, scenario.disk.stalls) = (80, 7, 3);
        assert!(needs(&scenario).is_some());
        let shrunk = shrink_by(scenario, needs, &mut |_, _| {});
        let Scenario { nodes, sources, deeds, network, disk, .. } = &shrunk.scenario;
        assert_eq!((nodes.len(), nodes[0].name.as_str(), sources.len()), (1, "d", 0));
        assert!(matches!(deeds.as_slice(), [(_, Deed::Crash { node: 0 })]), "{deeds:?}");
        assert_eq!((network.loss, network.reorder, disk.stalls), (80, 0, 0));
        assert!(shrunk.runs <= RUNS_MAX);
    }

    /// A scenario that settles keeps the end of its faults, and its ranks move up where a node is left out.
    #[test]
    fn a_run_that_settles_still_says_when_its_faults_end() {
        let scenario = crate::swarm::draw(5, Wishes { nodes: Some(7), minutes: Some(2) });
        let shrunk = shrink_by(scenario, |scenario| (scenario.nodes.len() >= 2).then_some(Duration::ZERO), &mut |_, _| {});
        assert_eq!((shrunk.scenario.validate(), shrunk.scenario.nodes.len()), (Ok(()), 2));
        assert!(matches!(shrunk.scenario.deeds.as_slice(), [(_, Deed::Heal { .. })]), "{:?}", shrunk.scenario.deeds);
    }
}
