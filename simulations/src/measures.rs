//! What gossip, assignment and the simulator themselves are measured by: the goals of these parts, in virtual time, so exact.
//!
//! Each measure plays [`field::Field`]s, the same world with the same nodes as all simulations, and gives rows of a table: what was measured, the goal
//! beside it, and on how much it stands. A figure comes from the code that ships; only the network's delays are the measure's own choice.

mod assignment;
mod cpu;
mod detection;
mod edits;
mod field;
mod idle;
mod joining;
mod ownership;
mod routine;
mod speed;
mod split;
mod spread;
mod truth;

use std::fmt;

use crate::report::Violation;

/// How much a figure is to stand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// A glance: sizes up to 256 and few runs.
    Quick,
    /// All sizes, on a part of the runs that the goals ask for: some ten minutes.
    Usual,
    /// What the goals ask for: more than an hour.
    Whole,
}

impl Effort {
    fn of<T>(self, quick: T, usual: T, whole: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Usual => usual,
            Self::Whole => whole,
        }
    }

    /// Those of the sizes that are worth a glance.
    fn sizes(self, sizes: &[Size]) -> impl Iterator<Item = Size> {
        sizes.iter().copied().filter(move |size| self != Self::Quick || size.nodes <= 256)
    }
}

/// A cluster's size and the goal for its median, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    nodes: usize,
    median_ms: u64,
}

impl Size {
    const fn new(nodes: usize, median_ms: u64) -> Self {
        Self { nodes, median_ms }
    }
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub measure: String,
    pub measured: String,
    pub goal: String,
    pub met: bool,
    /// On how many runs, kills or hours.
    pub stands_on: String,
}

/// A measure: its name, what it asks, and how it is taken.
pub struct Measure {
    pub name: &'static str,
    pub about: &'static str,
    take: fn(Effort) -> Result<Vec<Row>, Box<Violation>>,
}

impl fmt::Debug for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Measure").field("name", &self.name).finish_non_exhaustive()
    }
}

/// All measures, in the table's order.
pub const MEASURES: &[Measure] = &[
    Measure { name: "killed", about: "a process is killed, its host refuses: until all know", take: detection::killed },
    Measure { name: "silence", about: "a host is dead: until all know", take: detection::silence },
    Measure { name: "truth", about: "nothing dies: who is declared down all the same", take: truth::false_deaths },
    Measure { name: "join", about: "all nodes start at once: until all views are complete", take: joining::at_once },
    Measure { name: "split", about: "two halves meet again: until all views are complete", take: split::healed },
    Measure { name: "urgent", about: "a tag is set: until all know", take: spread::urgent },
    Measure { name: "routine", about: "each node changes a number every five seconds: until all know", take: routine::load },
    Measure {
        name: "edits",
        about: "200 edits a second through different nodes for a minute: until all hold the same, and losers are told",
        take: edits::contested,
    },
    Measure { name: "idle", about: "what gossip sends while nothing happens", take: idle::traffic },
    Measure { name: "speed", about: "what a thousand nodes and what small seeds cost the simulator", take: speed::costs },
    Measure { name: "assignment", about: "how even the load is, and what that costs in moves", take: assignment::take },
    Measure { name: "handovers", about: "sources are given by nodes that drain: lines lost and repeated, the pause", take: ownership::handovers },
    Measure { name: "takeovers", about: "owners are killed: until others deliver", take: ownership::takeovers },
    Measure {
        name: "partitions",
        about: "two sides that both reach the sources: lines lost and repeated, owners after the heal",
        take: ownership::partitions,
    },
    Measure { name: "survivors", about: "witnesses are killed, or all but one node: until others deliver", take: ownership::survivors },
    Measure { name: "rolling", about: "every node is restarted in order: moves, lines lost and repeated", take: ownership::rolling },
];

/// The measure of this name, or an error that lists what exists.
pub fn find(name: &str) -> Result<&'static Measure, String> {
    let names = || MEASURES.iter().map(|measure| measure.name).collect::<Vec<_>>().join(", ");
    MEASURES.iter().find(|measure| measure.name == name).ok_or_else(|| format!("there is no measure `{name}`: there are {}", names()))
}

impl Measure {
    /// Takes it. The same commit gives the same rows, save those that count CPU time.
    ///
    /// Errors: an invariant broke on the way; there is no figure then.
    pub fn take(&self, effort: Effort) -> Result<Vec<Row>, Box<Violation>> {
        (self.take)(effort)
    }
}

/// The head of the table in Markdown; each [`Row`] is a line of it.
pub const HEAD: &str = "| measure | measured | goal | met | stands on |\n|---|---|---|---|---|";

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { measure, measured, goal, met, stands_on } = self;
        let met = if *met { "yes" } else { "**no**" };
        write!(f, "| {measure} | {measured} | {goal} | {met} | {stands_on} |")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_measure_gets_the_list_of_those_that_exist() {
        let error = find("slience").unwrap_err();
        assert!(error.contains("`slience`") && error.contains("silence, truth"), "{error}");
    }

    #[test]
    fn a_missed_goal_stands_out() {
        let row = Row { measure: "a".into(), measured: "2".into(), goal: "≤ 1".into(), met: false, stands_on: "1 run".into() };
        assert_eq!(row.to_string(), "| a | 2 | ≤ 1 | **no** | 1 run |");
    }
}
