//! Draws a scenario from a seed: first which kinds of trouble exist at all, then how much of each.
//!
//! Leaving kinds out matters as much as putting them in: the common ones would hide the rare (Groce et al. 2012, "Swarm testing").

use std::{collections::BTreeSet, time::Duration};

use rand::{RngExt, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::{
    chance::{Concern, Delay, happens, stream},
    disk::DiskPlan,
    knobs::Knobs,
    network::{CutId, NetworkPlan},
    plane::PlanePlan,
    scenario::{Deed, Ending, NodePlan, Scenario},
    script::both_ways,
    sink::SinkPlan,
    source::SourcePlan,
};

/// What a person fixes beforehand; the seed draws the rest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wishes {
    pub nodes: Option<usize>,
    /// How long faults go on.
    pub minutes: Option<u64>,
}

/// When the runner is applied: views are complete by then.
const APPLY: Duration = Duration::from_secs(8);
/// Faults begin when sources have had owners for a while.
const FAULTS: Duration = Duration::from_secs(25);

/// Draws the scenario of a seed.
pub fn draw(seed: u64, wishes: Wishes) -> Scenario {
    let mut rng = stream(seed, Concern::Swarm);
    let rng = &mut rng;
    let count = wishes.nodes.unwrap_or_else(|| *pick(rng, &[1, 2, 3, 3, 4, 5, 5, 6, 7, 9]));
    let nodes: Vec<_> = name_nodes(count, exists(rng), rng);
    let senders = if happens(rng, 250) { vec!["out".to_owned(), "copy".to_owned()] } else { vec!["out".to_owned()] };
    let network = draw_network(rng);
    let disk = DiskPlan { sync: delay(rng, 200..=8_000, 10_000), stalls: if exists(rng) { rng.random_range(1..=5) } else { 0 } };
    let sink = draw_sink(rng);
    let plane = draw_plane(rng);
    let sources = (1..=rng.random_range(1..=10)).map(|number| draw_source(number, rng, |line| bearable(line, &network, &sink, &plane))).collect();
    let length = wishes.minutes.map_or_else(|| seconds(rng.random_range(30..=150)), |minutes| seconds(minutes * 60));
    let deeds = draw_deeds(count, length, stream(seed, Concern::Faults));
    let (gossip, expects, ending) = (Knobs::default(), Vec::new(), Ending::Settled);
    Scenario { seed, nodes, sources, senders, network, gossip, disk, sink, plane, deeds, expects, ending }.sorted()
}

fn exists(rng: &mut ChaCha8Rng) -> bool {
    rng.random_bool(0.5)
}

fn pick<'a, T>(rng: &mut ChaCha8Rng, from: &'a [T]) -> &'a T {
    &from[rng.random_range(0..from.len())]
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A least delay within `least_us`, and a half of up to `half_us`.
fn delay(rng: &mut ChaCha8Rng, least_us: std::ops::RangeInclusive<u64>, half_us: u64) -> Delay {
    let least = Duration::from_micros(rng.random_range(least_us));
    Delay { least, half: Duration::from_micros(if exists(rng) { rng.random_range(0..=half_us) } else { 0 }) }
}

/// `a` to `z`, `a1` to `z1`, and so on.
pub fn node_name(at: usize) -> String {
    let letter = char::from(b'a' + u8::try_from(at % 26).expect("26 fits"));
    if at < 26 { letter.to_string() } else { format!("{letter}{}", at / 26) }
}

fn name_nodes(count: usize, skewed: bool, rng: &mut ChaCha8Rng) -> Vec<NodePlan> {
    (0..count)
        .map(|at| NodePlan { name: node_name(at), skew_ms: if skewed { rng.random_range(-3_000..=3_000) } else { 0 }, ..NodePlan::default() })
        .collect()
}

fn draw_source(number: usize, rng: &mut ChaCha8Rng, bearable: impl Fn(u64) -> Duration) -> SourcePlan {
    let line_bytes_max = *pick(rng, &[20, 80, 200, 1_000]);
    let gap = Duration::from_millis(*pick(rng, &[10, 50, 100, 300, 1_000, 5_000]));
    SourcePlan::numbered(number, gap.max(bearable(line_bytes_max as u64)), line_bytes_max)
}

/// From one line to the next, so that an owner can keep up with three times as many: a source that outgrows its owner never settles.
fn bearable(line: u64, network: &NetworkPlan, sink: &SinkPlan, plane: &PlanePlan) -> Duration {
    let typical = |delay: &Delay| delay.least + delay.half * 2;
    let lines = |bytes: u64| u32::try_from((bytes / line).max(1)).unwrap_or(u32::MAX);
    let sends = u32::try_from(plane.delivery.sends_max).unwrap_or(u32::MAX);
    let reading = typical(&network.latency) * 2 / lines(plane.piece_bytes_max);
    let sending = typical(&sink.way) * 2 / lines(plane.piece_bytes_max) / sends;
    // The window moves on about once a second.
    let holding = Duration::from_secs(1) / lines(plane.delivery.window_bytes / 2);
    reading.max(sending).max(holding) * 3
}

fn draw_network(rng: &mut ChaCha8Rng) -> NetworkPlan {
    NetworkPlan {
        latency: delay(rng, 100..=15_000, 10_000),
        loss: if exists(rng) { rng.random_range(1..=80) } else { 0 },
        duplication: if exists(rng) { rng.random_range(1..=200) } else { 0 },
        reorder: if exists(rng) { rng.random_range(1..=100) } else { 0 },
        flips: 0,
        link: None,
        refusals: exists(rng),
    }
}

fn draw_sink(rng: &mut ChaCha8Rng) -> SinkPlan {
    SinkPlan {
        way: delay(rng, 200..=20_000, 50_000),
        busy: if exists(rng) { rng.random_range(1..=200) } else { 0 },
        late: if exists(rng) { rng.random_range(1..=100) } else { 0 },
        stalls: if exists(rng) { rng.random_range(1..=20) } else { 0 },
        poison_every: if happens(rng, 250) { rng.random_range(500..=5_000) } else { 0 },
    }
}

fn draw_plane(rng: &mut ChaCha8Rng) -> PlanePlan {
    let mut plan = PlanePlan { piece_bytes_max: *pick(rng, &[1, 500, 4 << 10, 64 << 10]), ..PlanePlan::default() };
    plan.delivery.window_bytes = *pick(rng, &[1 << 10, 16 << 10, 4 << 20]);
    plan.delivery.buffer_bytes_max = *pick(rng, &[1 << 10, 64 << 10, 4 << 20]);
    plan.delivery.sends_max = rng.random_range(1..=4);
    plan
}

fn draw_deeds(count: usize, length: Duration, rng: ChaCha8Rng) -> Vec<(Duration, Deed)> {
    let mut faults = Faults { count, length, rng, deeds: Vec::new() };
    faults.start_all();
    let kinds: [fn(&mut Faults); 8] =
        [Faults::crash, Faults::crash_flushing, Faults::stop, Faults::drain, Faults::split, Faults::one_way, Faults::crash_all, Faults::flap];
    let kinds: Vec<_> = kinds.into_iter().filter(|_| exists(&mut faults.rng)).collect();
    for _ in 0..if kinds.is_empty() { 0 } else { faults.rng.random_range(1..=8) } {
        pick(&mut faults.rng, &kinds)(&mut faults);
    }
    let core = draw_core(count, &mut faults.rng);
    faults.deeds.push((FAULTS + length, Deed::Heal { core }));
    faults.deeds
}

/// Mostly all of them; else at least half, and now and then whoever it may be.
fn draw_core(count: usize, rng: &mut ChaCha8Rng) -> BTreeSet<usize> {
    let size = match rng.random_range(0..10) {
        0..6 => count,
        6..9 => rng.random_range(count.div_ceil(2)..=count),
        _ => rng.random_range(1..=count),
    };
    let mut all: Vec<_> = (0..count).collect();
    all.shuffle(rng);
    all.into_iter().take(size).collect()
}

/// Draws deeds of one kind at a time.
struct Faults {
    count: usize,
    length: Duration,
    rng: ChaCha8Rng,
    deeds: Vec<(Duration, Deed)>,
}

impl Faults {
    fn start_all(&mut self) {
        let together = exists(&mut self.rng);
        for node in 0..self.count {
            let at = if together { 0 } else { self.rng.random_range(0..=5_000) };
            self.deeds.push((Duration::from_millis(at), Deed::Start { node }));
        }
        let node = self.node();
        self.deeds.push((APPLY, Deed::Apply { node }));
    }

    fn node(&mut self) -> usize {
        self.rng.random_range(0..self.count)
    }

    fn when(&mut self) -> Duration {
        FAULTS + Duration::from_micros(self.rng.random_range(0..=u64::try_from(self.length.as_micros()).expect("minutes fit")))
    }

    fn while_of(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(100..=most * 1_000))
    }

    /// Most of the dead come back before the faults end: at once, or much later.
    fn returns(&mut self, node: usize, at: Duration) {
        if happens(&mut self.rng, 800) {
            let most = *pick(&mut self.rng, &[1, 10, 90]);
            let after = self.while_of(most);
            self.deeds.push((at + after, Deed::Start { node }));
        }
    }

    fn crash(&mut self) {
        let (node, at) = (self.node(), self.when());
        self.deeds.push((at, Deed::Crash { node }));
        self.returns(node, at);
    }

    fn crash_flushing(&mut self) {
        let (node, at) = (self.node(), self.when());
        self.deeds.push((at, Deed::CrashFlushing { node }));
        let how = if exists(&mut self.rng) { Deed::Stop { node } } else { Deed::Drain { node, draining: true } };
        self.deeds.push((at, how));
        let after = self.while_of(30);
        self.deeds.push((at + after, Deed::Drain { node, draining: false }));
        self.returns(node, at + seconds(3));
    }

    fn stop(&mut self) {
        let (node, at) = (self.node(), self.when());
        self.deeds.push((at, Deed::Stop { node }));
        self.returns(node, at);
    }

    fn drain(&mut self) {
        let (node, at, after) = (self.node(), self.when(), self.while_of(60));
        self.deeds.push((at, Deed::Drain { node, draining: true }));
        self.deeds.push((at + after, Deed::Drain { node, draining: false }));
    }

    fn crash_all(&mut self) {
        let at = self.when();
        for node in 0..self.count {
            let after = self.while_of(8);
            self.deeds.push((at, Deed::Crash { node }));
            self.deeds.push((at + after, Deed::Start { node }));
        }
    }

    fn split(&mut self) {
        let (these, those): (BTreeSet<_>, BTreeSet<_>) = (0..self.count).partition(|_| exists(&mut self.rng));
        let (at, length) = (self.when(), self.while_of(90));
        self.cut(at, length, both_ways(&these, &those));
    }

    /// One direction between two sides; with a few nodes that is also a node that hears but is not heard, or the other way round.
    fn one_way(&mut self) {
        let (these, those): (BTreeSet<_>, BTreeSet<_>) = (0..self.count).partition(|_| exists(&mut self.rng));
        let directions = these.iter().flat_map(|this| those.iter().map(|that| (*this, *that))).collect();
        let (at, length) = (self.when(), self.while_of(60));
        self.cut(at, length, directions);
    }

    /// Two nodes that lose sight of each other again and again, while others see both.
    fn flap(&mut self) {
        let (one, other, mut at) = (self.node(), self.node(), self.when());
        if one == other {
            return;
        }
        for _ in 0..self.rng.random_range(2..=6) {
            let length = self.while_of(6);
            self.cut(at, length, vec![(one, other), (other, one)]);
            at += length * 2;
        }
    }

    fn cut(&mut self, at: Duration, length: Duration, directions: Vec<(usize, usize)>) {
        let id = CutId(self.deeds.len());
        self.deeds.push((at, Deed::Cut { id, directions }));
        self.deeds.push((at + length, Deed::Mend { id }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_draws_the_same_scenario_and_seeds_differ() {
        let text = |seed| format!("{:?}", draw(seed, Wishes::default()));
        assert_eq!(text(7), text(7));
        assert_ne!(text(7), text(8));
    }

    #[test]
    fn wishes_are_granted() {
        let scenario = draw(3, Wishes { nodes: Some(30), minutes: Some(1) });
        assert_eq!(scenario.nodes.len(), 30);
        assert_eq!(scenario.nodes[29].name, "d1");
        let heal = scenario.deeds.iter().find(|(_, deed)| matches!(deed, Deed::Heal { .. })).unwrap();
        assert_eq!(heal.0, FAULTS + Duration::from_secs(60));
    }

    /// Faults that were drawn late must not go on after the heal: it is the world's word, and the last.
    #[test]
    fn every_cut_is_mended() {
        for seed in 0..50 {
            let deeds = draw(seed, Wishes::default()).deeds;
            let cuts: Vec<_> = deeds.iter().filter_map(|(_, deed)| if let Deed::Cut { id, .. } = deed { Some(*id) } else { None }).collect();
            let mended: BTreeSet<_> = deeds.iter().filter_map(|(_, deed)| if let Deed::Mend { id } = deed { Some(*id) } else { None }).collect();
            assert_eq!(cuts.iter().copied().collect::<BTreeSet<_>>(), mended, "seed {seed}");
            assert_eq!(cuts.len(), mended.len(), "seed {seed}: each cut has a name of its own");
        }
    }
}
