//! Draws a scenario from a seed: first which kinds of trouble exist at all, then how much of each.
//!
//! Leaving kinds out matters as much as putting them in: the common ones would hide the rare (Groce et al. 2012, "Swarm testing"). Each concern has a
//! stream of chance of its own, so that a further draw in one of them leaves the others as they were.

mod deeds;

use std::{collections::BTreeSet, time::Duration};

use rand::{RngExt, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::{
    chance::{Concern, Delay, Topic, happens, stream},
    disk::DiskPlan,
    knobs::Knobs,
    network::{Link, NetworkPlan},
    plane::PlanePlan,
    scenario::{Deed, Ending, NodePlan, Scenario},
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
/// They last so long, at the least, where nothing else is wished.
const LENGTH_MIN: Duration = Duration::from_secs(30);

/// Draws the scenario of a seed.
pub fn draw(seed: u64, wishes: Wishes) -> Scenario {
    let topic = |topic| stream(seed, Concern::Swarm(topic));
    let count = wishes.nodes.unwrap_or_else(|| draw_size(&mut topic(Topic::Size)));
    let nodes = draw_nodes(count, &mut topic(Topic::Clocks));
    let network = draw_network(&mut topic(Topic::Network));
    let disk = draw_disk(&mut topic(Topic::Disk));
    let sink = draw_sink(&mut topic(Topic::Sink));
    let plane = draw_plane(&mut topic(Topic::Plane));
    let gossip = draw_knobs(&mut topic(Topic::Knobs));
    let (sources, senders) = draw_work(&mut topic(Topic::Work), |line| bearable(line, &network, &sink, &plane));
    let drawn = seconds(topic(Topic::Length).random_range(LENGTH_MIN.as_secs()..=150));
    let length = wishes.minutes.map_or(drawn, |minutes| seconds(minutes * 60));
    let core = draw_core(count, &mut topic(Topic::Core));
    let mut deeds = deeds::draw(seed, count, length);
    let then = deeds::draw_returns(seed, count, &core);
    deeds.push((FAULTS + length, Deed::Heal { core }));
    let (expects, ending) = (Vec::new(), Ending::Settled);
    Scenario { seed, nodes, sources, senders, network, gossip, disk, sink, plane, deeds, then, expects, ending }.sorted()
}

fn exists(rng: &mut ChaCha8Rng) -> bool {
    rng.random_bool(0.5)
}

fn pick<T: Copy>(rng: &mut ChaCha8Rng, from: &[T]) -> T {
    from[rng.random_range(0..from.len())]
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
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

/// Mostly a few: whatever goes wrong among fifty goes wrong among five, and sooner.
fn draw_size(rng: &mut ChaCha8Rng) -> usize {
    match rng.random_range(0..100) {
        0..90 => pick(rng, &[1, 2, 3, 3, 4, 5, 5, 6, 7, 9]),
        90..98 => rng.random_range(10..=16),
        _ => rng.random_range(17..=50),
    }
}

fn draw_nodes(count: usize, rng: &mut ChaCha8Rng) -> Vec<NodePlan> {
    let skew_s = if exists(rng) { pick(rng, &[3, 3, 20, 3_600]) } else { 0 };
    let ppm = if exists(rng) { 500 } else { 0 };
    let mut plan = |at| {
        let (skew_ms, drift_ppm) = (rng.random_range(-skew_s * 1_000..=skew_s * 1_000), rng.random_range(-ppm..=ppm));
        NodePlan { name: node_name(at), skew_ms, drift_ppm, ..NodePlan::default() }
    };
    (0..count).map(&mut plan).collect()
}

fn draw_work(rng: &mut ChaCha8Rng, bearable: impl Fn(u64) -> Duration) -> (Vec<SourcePlan>, Vec<String>) {
    let senders = if happens(rng, 250) { vec!["out".to_owned(), "copy".to_owned()] } else { vec!["out".to_owned()] };
    let count = rng.random_range(1..=10);
    let mut source = |number| {
        let line_bytes_max = pick(rng, &[20, 80, 200, 1_000]);
        let gap = millis(pick(rng, &[10, 50, 100, 300, 1_000, 5_000]));
        SourcePlan::numbered(number, gap.max(bearable(line_bytes_max as u64)), line_bytes_max)
    };
    let mut sources: Vec<_> = (1..=count).map(&mut source).collect();
    if exists(rng) {
        // Files that are new in the middle of whatever else happens.
        for source in &mut sources {
            source.begins = if happens(rng, 500) { FAULTS + rng.random_range(Duration::ZERO..=LENGTH_MIN) } else { Duration::ZERO };
        }
    }
    (sources, senders)
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
    let latency = delay(rng, 100..=15_000, 10_000);
    let most = pick(rng, &[80, 80, 80, 250]);
    let mut of = |most: u32| if exists(rng) { rng.random_range(1..=most) } else { 0 };
    let (loss, duplication, reorder, flips) = (of(most), of(200), of(100), of(20));
    // A third of a second's worth at least, so that what fits is late and what does not is lost.
    let narrow = |bytes_per_second| Link { bytes_per_second, queue_bytes: bytes_per_second / 3 };
    let link = happens(rng, 250).then(|| narrow(pick(rng, &[8_000, 20_000, 100_000])));
    NetworkPlan { latency, loss, duplication, reorder, flips, link, refusals: exists(rng) }
}

fn draw_disk(rng: &mut ChaCha8Rng) -> DiskPlan {
    DiskPlan { sync: delay(rng, 200..=8_000, 10_000), stalls: if exists(rng) { rng.random_range(1..=5) } else { 0 }, gathers: false }
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
    let mut plan = PlanePlan { piece_bytes_max: pick(rng, &[1, 500, 4 << 10, 64 << 10]), ..PlanePlan::default() };
    plan.delivery.window_bytes = pick(rng, &[1 << 10, 16 << 10, 4 << 20]);
    plan.delivery.buffer_bytes_max = pick(rng, &[1 << 10, 64 << 10, 4 << 20]);
    plan.delivery.sends_max = rng.random_range(1..=4);
    plan
}

/// Half of the clusters are set up otherwise than by default, in a few things, and as far as an operator would go.
fn draw_knobs(rng: &mut ChaCha8Rng) -> Knobs {
    let mut knobs = Knobs::default();
    if !exists(rng) {
        return knobs;
    }
    let mut turn = |change: &mut dyn FnMut(&mut Knobs, &mut ChaCha8Rng)| {
        if happens(rng, 300) {
            change(&mut knobs, rng);
        }
    };
    turn(&mut |knobs, rng| knobs.suspicion = millis(pick(rng, &[2_000, 3_000, 6_000])));
    turn(&mut |knobs, rng| knobs.indirect_probes = pick(rng, &[1, 5]));
    turn(&mut |knobs, rng| knobs.gossip_members = pick(rng, &[1, 6]));
    turn(&mut |knobs, rng| knobs.push_pull_interval = millis(pick(rng, &[300, 2_000])));
    turn(&mut |knobs, rng| knobs.members_interval = millis(pick(rng, &[2_000, 20_000])));
    turn(&mut |knobs, rng| knobs.rumour_bytes_per_second = pick(rng, &[500, 100_000]));
    turn(&mut |knobs, rng| knobs.rumour_factor = pick(rng, &[0.5, 4.0]));
    turn(&mut |knobs, rng| knobs.incarnation = u16::MAX - pick(rng, &[3, 0]));
    knobs
}

/// Mostly all of them; else at least half, and now and then whoever it may be.
fn draw_core(count: usize, rng: &mut ChaCha8Rng) -> BTreeSet<usize> {
    let size = match rng.random_range(0..10) {
        0..5 => count,
        5..9 => rng.random_range(count.div_ceil(2)..=count),
        _ => rng.random_range(1..=count),
    };
    let mut all: Vec<_> = (0..count).collect();
    all.shuffle(rng);
    all.into_iter().take(size).collect()
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

    #[test]
    fn what_is_drawn_is_possible() {
        for seed in 0..200 {
            assert_eq!(draw(seed, Wishes::default()).validate(), Ok(()), "seed {seed}");
        }
    }

    /// What a person fixes does not reshuffle the rest.
    #[test]
    fn a_wish_changes_what_it_is_for() {
        let (drawn, wished) = (draw(3, Wishes::default()), draw(3, Wishes { nodes: None, minutes: Some(9) }));
        assert_eq!((drawn.nodes, drawn.network, drawn.sources), (wished.nodes, wished.network, wished.sources));
    }

    /// Faults that were drawn late must not go on after the heal: it is the world's word, and the last.
    #[test]
    fn every_cut_is_mended() {
        for seed in 0..50 {
            let deeds = draw(seed, Wishes::default()).deeds;
            let cut = |deed: &Deed| if let Deed::Cut { id, .. } | Deed::Flap { id, .. } | Deed::Meddle { id, .. } = deed { Some(*id) } else { None };
            let cuts: Vec<_> = deeds.iter().filter_map(|(_, deed)| cut(deed)).collect();
            let mended: BTreeSet<_> = deeds.iter().filter_map(|(_, deed)| if let Deed::Mend { id } = deed { Some(*id) } else { None }).collect();
            assert_eq!(cuts.iter().copied().collect::<BTreeSet<_>>(), mended, "seed {seed}");
            assert_eq!(cuts.len(), mended.len(), "seed {seed}: each cut has a name of its own");
        }
    }

    /// Every kind of deed that a seed can draw is drawn by some, and left out by most.
    #[test]
    fn seeds_differ_in_which_kinds_of_trouble_exist() {
        let kinds = |seed| -> BTreeSet<_> {
            let scenario = draw(seed, Wishes { nodes: Some(5), minutes: None });
            scenario.deeds.iter().map(|(_, deed)| format!("{deed:?}").split(' ').next().unwrap_or_default().to_owned()).collect()
        };
        let drawn: Vec<_> = (0..200).map(kinds).collect();
        let common = ["Crash", "Stop", "Drain", "Cut", "Flap", "Pause", "Slow", "StepClock", "DiskFails", "PowerOff", "Meddle"];
        for kind in common.into_iter().chain(["RestartFromImage", "LoseStore", "Wipe", "ChangeKey"]) {
            let with = drawn.iter().filter(|kinds| kinds.contains(kind)).count();
            assert!((5..150).contains(&with), "{kind} is in {with} of 200");
        }
    }
}
