//! What it costs when sources change hands: lines lost and repeated, and how long nobody collects.
//!
//! Whole nodes with the network, disks and sinks of all simulations: 2 ms to write, 5 ms to a sink, lines every 200 ms. A figure of lines is of every line that
//! was written, counted at the sink.

use std::{collections::BTreeSet, time::Duration};

use logvine_gossip::{Instant, Stamp};
use rand::{RngExt, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::{
    Effort, Row,
    field::{quantile, seconds},
};
use crate::{
    chance::{Concern, Delay, stream},
    custody::Cause,
    network::CutId,
    report::Violation,
    scenario::{Deed, NodePlan, Scenario},
    script::both_ways,
    sink::SinkPlan,
    source::SourcePlan,
    strikes::Part,
    trace::Trace,
    world::World,
};

/// Everything has its owner and its witnesses, and all nodes are old enough to go on without a majority.
const AT_WORK: Duration = Duration::from_secs(80);
/// After the last deed: whatever was to be taken over is, and sinks have what was written meanwhile.
const SETTLED: Duration = Duration::from_secs(30);
/// How often sinks are looked at where a gap is measured.
const GLANCE: Duration = Duration::from_millis(50);
const ONE_WAY: Duration = Duration::from_millis(10);

/// A cluster at work, and what is done to it.
struct Work {
    world: World,
    rng: ChaCha8Rng,
}

type Outcome<T> = Result<T, Box<Violation>>;

/// What a run lost and repeated. Lost: what was written ten seconds before the end and no sink has.
#[derive(Debug, Clone, Copy, Default)]
struct Lines {
    lost: u64,
    repeated: u64,
}

impl Work {
    fn begin(seed: u64, nodes: usize, sources: usize, one_way: Duration) -> Outcome<Self> {
        let mut rng = stream(seed, Concern::Faults);
        let mut scenario = Scenario::calm(seed, &[], 0);
        scenario.nodes = (1..=nodes).map(|number| NodePlan { name: format!("n{number}"), ..NodePlan::default() }).collect();
        scenario.sources = (1..=sources).map(|number| SourcePlan::numbered(number, Duration::from_millis(200), 120)).collect();
        scenario.network.latency = Delay { least: one_way, half: Duration::ZERO };
        scenario.disk.gathers = true; // a goal is of the store that ships
        scenario.network.refusals = true;
        scenario.deeds = (0..nodes).map(|node| (Duration::from_micros(rng.random_range(0..2_000_000)), Deed::Start { node })).collect();
        scenario.deeds.push((Duration::from_secs(8), Deed::Apply { node: 0 }));
        let mut work = Self { world: World::new(scenario.sorted(), Trace::new(None)), rng };
        work.run(AT_WORK)?;
        Ok(work)
    }

    fn run(&mut self, time: Duration) -> Outcome<()> {
        let end = self.world.now + time;
        self.world.run_until(end)
    }

    fn any(&mut self) -> usize {
        self.rng.random_range(0..self.world.hosts.len())
    }

    fn owned(&self, node: usize) -> Vec<usize> {
        (0..self.world.sources.len()).filter(|source| self.world.ledgers[*source].owners.contains_key(&node)).collect()
    }

    /// Sources stop growing, and everything is given the time to arrive.
    fn end(mut self) -> Outcome<Lines> {
        self.world.growing = false;
        self.run(SETTLED)?;
        let written: u64 = self.world.sources.iter().map(|source| source.lines() as u64).sum();
        let sinks = self.world.sinks.values();
        Ok(Lines {
            lost: written - sinks.clone().map(crate::sink::Sink::delivered).sum::<u64>(),
            repeated: sinks.map(crate::sink::Sink::repeated).sum(),
        })
    }

    /// Kills some nodes, and runs on: for each source that one of them had, how long it was until another hand brought a line of it.
    fn orphaned(&mut self, nodes: &[usize], dark: bool, longest: Duration) -> Outcome<Vec<Duration>> {
        let orphans: BTreeSet<usize> = nodes.iter().flat_map(|node| self.owned(*node)).collect();
        let since = self.world.now;
        for node in nodes {
            self.world.deed(if dark { Deed::PowerOff { node: *node } } else { Deed::Crash { node: *node } });
        }
        self.run(longest)?;
        let again = |source: &usize| {
            let tenures = self.world.ledgers[*source].custody.tenures.iter();
            tenures.filter(|tenure| tenure.began >= since).filter_map(|tenure| tenure.brought).min().map_or(longest, |at| at.since(since))
        };
        Ok(orphans.iter().map(again).collect())
    }
}

fn row(measure: &str, measured: String, goal: &str, met: bool, stands_on: String) -> Row {
    Row { measure: measure.to_owned(), measured, goal: goal.to_owned(), met, stands_on }
}

fn millis(duration: Duration) -> String {
    format!("{:.0} ms", duration.as_secs_f64() * 1_000.0)
}

/// Nodes are drained one after the other; then one while its sink takes nothing.
pub(super) fn handovers(effort: Effort) -> Outcome<Vec<Row>> {
    let seeds = effort.of(2, 5, 20);
    let (mut pauses, mut lines, mut down) = (Vec::new(), Lines::default(), Vec::new());
    for seed in 1..=seeds {
        let mut work = Work::begin(seed, 8, 64, ONE_WAY)?;
        let begin = work.world.now;
        for node in 0..4 {
            work.world.deed(Deed::Drain { node, draining: true });
            work.run(Duration::from_secs(30))?;
        }
        pauses.extend(pauses_since(&work.world, begin));
        let found = work.end()?;
        (lines.lost, lines.repeated) = (lines.lost + found.lost, lines.repeated + found.repeated);

        let mut work = Work::begin(seed, 8, 64, ONE_WAY)?;
        let (node, begin) = (work.any(), work.world.now);
        work.world.deed(Deed::Sinks(SinkPlan { busy: 1_000, ..SinkPlan::calm() }));
        work.run(Duration::from_secs(10))?;
        work.world.deed(Deed::Drain { node, draining: true });
        work.run(Duration::from_secs(40))?;
        down.extend(pauses_since(&work.world, begin));
        work.world.deed(Deed::Sinks(SinkPlan::calm()));
        work.run(Duration::from_secs(60))?;
        lines.lost += work.end()?.lost;
    }
    let (half, most) = (quantile(&pauses, 500), quantile(&pauses, 1_000));
    // A flush is a trip to the sink and back; each round trip ends with a write.
    let bound = ONE_WAY * 6 + Duration::from_millis(10 + 6);
    let stands_on = |count: usize| format!("{count} handovers, 20 ms a round trip");
    Ok(vec![
        row(
            "planned handover: lines lost, repeated",
            format!("{}, {}", lines.lost, lines.repeated),
            "0, 0",
            lines.lost + lines.repeated == 0,
            stands_on(pauses.len()),
        ),
        row(
            "planned handover: pause",
            format!("p50 {}, worst {}", millis(half), millis(most)),
            "≤ 3 round trips + flush (10 ms) + 3 writes (6 ms): 76 ms",
            most <= bound,
            stands_on(pauses.len()),
        ),
        row(
            "the same with the sink down: pause",
            format!("p50 {}, worst {}", seconds(quantile(&down, 500)), seconds(quantile(&down, 1_000))),
            "≤ 10 s + 3 round trips, and it ends",
            quantile(&down, 1_000) <= Duration::from_secs(10) + bound,
            stands_on(down.len()),
        ),
    ])
}

fn pauses_since(world: &World, since: Instant) -> Vec<Duration> {
    let of = |custody: &crate::custody::Custody| -> Vec<Duration> {
        let given = custody.tenures.iter().enumerate().filter(|(_, tenure)| tenure.began >= since);
        let pause = |(number, tenure): (usize, &crate::custody::Tenure)| {
            let Cause::HandedOver { from } = tenure.cause else { return None };
            let giver = custody.tenures[..number].iter().rev().find(|before| before.hand.node == from)?;
            Some(tenure.began.since(giver.closing?))
        };
        given.filter_map(pause).collect()
    };
    world.ledgers.iter().flat_map(|ledger| of(&ledger.custody)).collect()
}

/// Owners are killed among 64 nodes: processes, and whole hosts.
pub(super) fn takeovers(effort: Effort) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for (dark, goals) in [(false, [2_500, 6_000]), (true, [6_500, 10_000])] {
        let (mut took, mut lines, mut most) = (Vec::new(), Lines::default(), 0);
        for seed in 1..=effort.of(2, 5, 20) {
            let mut work = Work::begin(seed, 64, 128, Duration::from_micros(500))?;
            for _ in 0..4 {
                let node = work.any();
                took.extend(work.orphaned(&[node], dark, Duration::from_secs(20))?);
                work.world.deed(Deed::Start { node });
                work.run(Duration::from_secs(40))?;
            }
            most = most.max(most_repeated(&work.world));
            lines.lost += work.end()?.lost;
        }
        let (half, late) = (quantile(&took, 500), quantile(&took, 990));
        let goals = goals.map(Duration::from_millis);
        let what = if dark { "host dead" } else { "process killed" };
        let stands_on = format!("{} orphaned sources", took.len());
        let met = half <= goals[0] && late <= goals[1];
        rows.push(row(
            &format!("{what} → every orphaned source delivers again, 64 nodes"),
            format!("p50 {}, p99 {}", seconds(half), seconds(late)),
            &format!("p50 ≤ {}, p99 ≤ {}", seconds(goals[0]), seconds(goals[1])),
            met,
            stands_on.clone(),
        ));
        let measured = format!("{most} bytes, {} lines", lines.lost);
        rows.push(row(
            &format!("{what}: most that one takeover repeats, lost"),
            measured,
            "≤ W (4 MiB) or 5 s of data, 0",
            lines.lost == 0,
            stands_on,
        ));
    }
    Ok(rows)
}

/// Bytes that one tenure repeated of those before it, at the most.
fn most_repeated(world: &World) -> u64 {
    let senders = |custody: &crate::custody::Custody| custody.terms.senders.clone();
    let of = |custody: &crate::custody::Custody| {
        let hands = custody.tenures.iter().map(|tenure| tenure.hand);
        hands
            .flat_map(|hand| senders(custody).into_iter().map(move |sender| (hand, sender)))
            .map(|(hand, sender)| custody.repeated(&hand, &sender)[0])
            .max()
    };
    world.ledgers.iter().filter_map(|ledger| of(&ledger.custody)).max().unwrap_or(0)
}

/// Thirty nodes and twenty do not see each other for five minutes; both reach every source.
pub(super) fn partitions(effort: Effort) -> Outcome<Vec<Row>> {
    let seeds = effort.of(1, 2, 5);
    let (mut lost, mut most, mut latest, mut lines) = (0, 0, Duration::ZERO, 0);
    for seed in 1..=seeds {
        let mut work = Work::begin(seed, 50, 100, Duration::from_micros(500))?;
        let mut all: Vec<usize> = (0..50).collect();
        all.shuffle(&mut work.rng);
        let (these, those): (BTreeSet<_>, BTreeSet<_>) = (all[..30].iter().copied().collect(), all[30..].iter().copied().collect());
        work.world.deed(Deed::Cut { id: CutId(0), directions: both_ways(&these, &those) });
        work.run(Duration::from_secs(300))?;
        work.world.deed(Deed::Mend { id: CutId(0) });
        let mended = work.world.now;
        let in_one_hand = |work: &Work| work.world.ledgers.iter().all(|ledger| ledger.owners.len() == 1);
        while !in_one_hand(&work) && work.world.now.since(mended) < Duration::from_secs(60) {
            work.run(GLANCE)?;
        }
        latest = latest.max(work.world.now.since(mended));
        work.run(Duration::from_secs(60))?;
        most = most.max(most_repeated(&work.world));
        let found = work.end()?;
        (lost, lines) = (lost + found.lost, lines + found.repeated);
    }
    let stands_on = format!("{seeds} runs of 100 sources");
    Ok(vec![
        row(
            "partition 30/20 for 5 minutes: lines lost, most bytes repeated of one source",
            format!("{lost}, {most} ({lines} lines in all)"),
            "0, ≤ W",
            lost == 0,
            stands_on.clone(),
        ),
        row("the same: one owner each after the heal", seconds(latest), "≤ 15 s", latest <= Duration::from_secs(15), stands_on),
    ])
}

/// Two of three witnesses are killed, their hosts refuse; and all but one of five nodes, one after the other.
pub(super) fn survivors(effort: Effort) -> Outcome<Vec<Row>> {
    let seeds = effort.of(3, 10, 50);
    let (mut gaps, mut lasts, mut lost) = (Vec::new(), Vec::new(), 0);
    for seed in 1..=seeds {
        let mut work = Work::begin(seed, 9, 18, Duration::from_micros(500))?;
        let source = work.rng.random_range(0..18);
        let witnesses = [0, 1].map(|number| work.world.who_is(Part::Witness(number), source));
        for node in witnesses.into_iter().flatten() {
            work.world.deed(Deed::Crash { node });
        }
        gaps.push(longest_gap(&mut work, source, Duration::from_secs(60))?);
        lost += work.end()?.lost;

        let mut work = Work::begin(seed, 5, 10, Duration::from_micros(500))?;
        let mut order: Vec<usize> = (0..5).collect();
        order.shuffle(&mut work.rng);
        for node in &order[..4] {
            lasts.extend(work.orphaned(&[*node], false, Duration::from_secs(45))?);
        }
        lost += work.end()?.lost;
    }
    let (gap, last) = (quantile(&gaps, 1_000), quantile(&lasts, 1_000));
    let bound = Duration::from_secs(10 + 6);
    Ok(vec![
        row(
            "2 of a source's 3 witnesses killed: longest time without a line of it",
            format!("p50 {}, worst {}", seconds(quantile(&gaps, 500)), seconds(gap)),
            "≤ 10 s + takeover (6 s)",
            gap <= bound,
            format!("{seeds} runs"),
        ),
        row(
            "four of five killed, 45 s apart: each orphaned source delivers again; lost",
            format!("p50 {}, worst {}; {lost} lines", seconds(quantile(&lasts, 500)), seconds(last)),
            "the last one goes on; 0",
            last < Duration::from_secs(45) && lost == 0,
            format!("{seeds} runs, {} orphaned sources", lasts.len()),
        ),
    ])
}

fn longest_gap(work: &mut Work, source: usize, time: Duration) -> Outcome<Duration> {
    let out = work.world.ledgers[source].custody.terms.senders[0].clone();
    let end = work.world.now + time;
    let (mut had, mut since, mut longest) = (work.world.ledgers[source].delivered_prefix(Stamp::ZERO, &out), work.world.now, Duration::ZERO);
    while work.world.now < end {
        work.run(GLANCE)?;
        let has = work.world.ledgers[source].delivered_prefix(Stamp::ZERO, &out);
        if has != had {
            (had, since) = (has, work.world.now);
        }
        longest = longest.max(work.world.now.since(since));
    }
    Ok(longest)
}

/// Every node is stopped in its turn, and started ten seconds later.
pub(super) fn rolling(effort: Effort) -> Outcome<Vec<Row>> {
    let seeds = effort.of(2, 5, 20);
    let (mut moves, mut lines) = (0, Lines::default());
    for seed in 1..=seeds {
        let mut work = Work::begin(seed, 9, 36, Duration::from_micros(500))?;
        let before: u64 = work.world.ledgers.iter().map(|ledger| ledger.moves).sum();
        for node in 0..9 {
            work.world.deed(Deed::Stop { node });
            work.run(Duration::from_secs(10))?;
            work.world.deed(Deed::Start { node });
            work.run(Duration::from_secs(20))?;
        }
        moves += work.world.ledgers.iter().map(|ledger| ledger.moves).sum::<u64>() - before;
        let found = work.end()?;
        (lines.lost, lines.repeated) = (lines.lost + found.lost, lines.repeated + found.repeated);
    }
    let met = moves + lines.lost + lines.repeated == 0;
    let measured = format!("{moves}, {}, {}", lines.repeated, lines.lost);
    Ok(vec![row(
        "rolling restart of every node: moves, lines repeated, lost",
        measured,
        "0, 0, 0",
        met,
        format!("{seeds} runs of 9 nodes, 36 sources"),
    )])
}
