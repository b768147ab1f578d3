//! How even the load is, and what it costs in moves: the goals of "assignment", beside what theory allows.
//!
//! The real ranking, rates, balance and admission decide ([`field`]); gossip and epochs are left out, as fifty whole nodes with ten thousand sources take a day.
//! Nodes are of five sizes, 1 to 4; rates are lognormal, none above half of the smallest node's fair share unless said; all together use 60 % of the nodes.

mod field;

use logvine_cluster::{balance::Kind, ranking::Capacity};

use self::field::{Field, Plan};
use super::{Effort, Row};
use crate::report::Violation;

const HOUR: u64 = 3_600;
/// A start, before anything else is looked at.
const SETTLED: u64 = 600;

const PLAN: Plan = Plan { nodes: 50, sources: 10_000, sigma: 1.5, largest: 0.5, noise: false };

fn seeds(effort: Effort) -> std::ops::RangeInclusive<u64> {
    1..=effort.of(1, 4, 16)
}

/// Takes all of them, the worst of the seeds each.
pub(super) fn take(effort: Effort) -> Result<Vec<Row>, Box<Violation>> {
    Ok([cold_start(effort), noise(effort), steady(effort), crash(effort), join(effort), capacity(effort)].concat())
}

fn row(measure: &str, measured: String, goal: &str, met: bool, effort: Effort) -> Row {
    let stands_on = format!("10,000 sources, 50 nodes, σ 1.5, {} seeds", seeds(effort).count());
    Row { measure: format!("assignment: {measure}"), measured, goal: goal.to_owned(), met, stands_on }
}

fn settled(seed: u64) -> Field {
    let mut field = Field::new(seed, PLAN);
    field.run(SETTLED);
    field
}

fn worst(of: impl IntoIterator<Item = f64>) -> f64 {
    of.into_iter().fold(0.0, f64::max)
}

/// All sources are new at once, and where their rankings say.
fn cold_start(effort: Effort) -> Vec<Row> {
    let mut rows = Vec::new();
    for (largest, about) in [(PLAN.largest, ""), (1.15, ", giants of 1.15 shares of the smallest node")] {
        let (mut latest, mut after, mut best, mut moved) = (0, 0.0_f64, 0.0_f64, 0);
        for seed in seeds(effort) {
            let mut field = Field::new(seed, Plan { largest, ..PLAN });
            // A rate is known after ten seconds; before, nothing can be said of balance.
            field.run(10);
            let even = (11..=120).find(|_| {
                field.run(1);
                field.ratio() <= 1.10
            });
            latest = latest.max(even.unwrap_or(u64::MAX));
            field.run(60);
            (after, best, moved) = (after.max(field.ratio()), best.max(field.ratio_at_best()), moved.max(field.moves.len()));
        }
        let measured = format!("after {latest} s; {after:.3} at rest by {moved} moves (at best {best:.3})");
        rows.push(row(&format!("cold start until max/mean ≤ 1.10{about}"), measured, "≤ 30 s", latest <= 30, effort));
    }
    rows
}

/// The research's noise, for an hour.
fn noise(effort: Effort) -> Vec<Row> {
    let (mut even, mut peak, mut moved, mut homed, mut returned) = (0.0_f64, 0.0_f64, 0.0_f64, 0.0_f64, 0.0_f64);
    for seed in seeds(effort) {
        let mut field = Field::new(seed, Plan { noise: true, ..PLAN });
        field.run(SETTLED);
        let before = field.moves.len();
        let ratios: Vec<f64> = (0..HOUR)
            .map(|_| {
                field.run(1);
                field.ratio()
            })
            .collect();
        let of_sources = |moves: usize| 100.0 * moves as f64 / PLAN.sources as f64;
        even = even.max(ratios.iter().sum::<f64>() / ratios.len() as f64);
        peak = peak.max(worst(ratios));
        moved = moved.max(of_sources(field.moves.len() - before));
        homed = homed.max(of_sources(field.moves[before..].iter().filter(|moved| moved.kind == Some(Kind::Home)).count()));
        returned = returned.max(of_sources(field.returned(SETTLED)));
    }
    vec![
        row("an hour of noise: max/mean, on average", format!("{even:.3} (at most {peak:.3})"), "≤ 1.09", even <= 1.09, effort),
        row("an hour of noise: sources moved", format!("{moved:.1} %, of which home {homed:.1} %"), "≤ 8 %", moved <= 8.0, effort),
        row("an hour of noise: there and back within 10 min", format!("{returned:.2} %"), "≤ 0.2 %", returned <= 0.2, effort),
    ]
}

/// Constant rates: nothing moves, for ever (A3).
fn steady(effort: Effort) -> Vec<Row> {
    let mut moves = 0;
    for seed in seeds(effort) {
        let mut field = Field::new(seed, PLAN);
        field.run(60);
        let before = field.moves.len();
        field.run(effort.of(1, 4, 24) * HOUR);
        moves += field.moves.len() - before;
    }
    let hours = effort.of(1, 4, 24) * seeds(effort).count() as u64;
    vec![row(&format!("constant rates, from 60 s after the start on, {hours} h: moves"), moves.to_string(), "0", moves == 0, effort)]
}

/// A node dies: its sources, and what is shed since, by what it had.
fn crash(effort: Effort) -> Vec<Row> {
    let cost = |seed| {
        let mut field = settled(seed);
        let before = field.moves.len();
        let had = field.crash(7);
        field.run(SETTLED);
        (field.moves.len() - before) as f64 / had as f64
    };
    let most = worst(seeds(effort).map(cost));
    vec![row("a crash: moves / the dead node's sources", format!("{most:.2} (at best 1.00)"), "≤ 1.05", most <= 1.05, effort)]
}

/// A node comes: what moves, by the part of the sources that it should have.
fn join(effort: Effort) -> Vec<Row> {
    let cost = |seed| {
        let mut field = settled(seed);
        let before = field.moves.len();
        field.add(Capacity(20));
        field.run(SETTLED);
        ((field.moves.len() - before) as f64 / field.fair_count(PLAN.nodes), field.ratio())
    };
    let (costs, ratios): (Vec<_>, Vec<_>) = seeds(effort).map(cost).unzip();
    let (most, even) = (worst(costs), worst(ratios));
    vec![row("a join: moves / its fair share", format!("{most:.2} (in expectation 1.00); max/mean {even:.3} then"), "≤ 1.10", most <= 1.10, effort)]
}

/// The largest nodes' capacity is halved, for one of them: a change of capacity moves nothing by itself, what is too much does.
fn capacity(effort: Effort) -> Vec<Row> {
    let cost = |seed| {
        let mut field = settled(seed);
        let before = field.moves.len();
        field.set_capacity(4, Capacity(20));
        let even = (1..=120).find(|_| {
            field.run(1);
            field.ratio() <= 1.10
        });
        (even.unwrap_or(u64::MAX), field.moves.len() - before)
    };
    let (latest, moves) = seeds(effort).map(cost).fold((0, 0), |(latest, most), (even, moves)| (latest.max(even), most.max(moves)));
    vec![row("a capacity halved until max/mean ≤ 1.10", format!("after {latest} s by {moves} moves"), "≤ 30 s", latest <= 30, effort)]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use logvine_cluster::balance::{NO_RETURN, STAY};

    use super::*;

    const SMALL: Plan = Plan { nodes: 10, sources: 600, sigma: 1.5, largest: 0.4, noise: false };

    /// DESIGN §9 A3: with constant rates nothing moves from 60 s after the start on.
    #[test]
    fn constant_rates_come_to_rest_for_ever() {
        for seed in 1..=3 {
            let mut field = Field::new(seed, SMALL);
            field.run(60);
            let before = field.moves.len();
            field.run(3 * HOUR);
            assert_eq!(field.moves.len(), before, "seed {seed}: {:?}", field.moves.last());
            assert!(field.ratio() <= 1.10, "seed {seed}: {}", field.ratio());
        }
    }

    /// DESIGN §9 A4: at most one move in 300 s unless its owner died, and not there and back within 600 s by shedding; A6: no admission above its bar.
    #[test]
    fn noise_moves_no_source_too_soon_and_admits_nothing_beyond_the_bar() {
        for seed in 1..=3 {
            let mut field = Field::new(seed, Plan { noise: true, largest: 1.5, ..SMALL });
            field.run(SETTLED);
            field.crash(3);
            field.run(SETTLED);
            field.add(Capacity(20));
            field.run(HOUR);
            let mut last: BTreeMap<u32, u64> = BTreeMap::new();
            for moved in &field.moves {
                let before = last.insert(moved.source, moved.at).filter(|_| moved.kind.is_some());
                let too_soon = before.is_some_and(|at| moved.at - at < STAY.as_secs());
                let was_taken = field.moves.iter().any(|other| other.source == moved.source && other.kind.is_none() && Some(other.at) == before);
                assert!(!too_soon || was_taken, "seed {seed}: {moved:?}");
            }
            let shed = |kind| matches!(kind, Some(Kind::Shed | Kind::Giant));
            let sheds: Vec<_> = field.moves.iter().filter(|moved| shed(moved.kind)).collect();
            let returns = sheds.iter().filter(|back| {
                let out = |out: &&&field::Moved| out.source == back.source && out.from == back.to && out.to == back.from && out.at < back.at;
                sheds.iter().any(|other| out(&other) && back.at - other.at < NO_RETURN.as_secs())
            });
            assert_eq!(returns.count(), 0, "seed {seed}");
            assert!(field.admitted_most <= (108 << 16) / 100, "seed {seed}: {}", field.admitted_most);
            assert!(sheds.len() > 3, "seed {seed}: nothing was looked at");
        }
    }
}
