//! What gossip and the simulator themselves are measured by: the goals of "gossip that can be trusted", in virtual time, so exact.
//!
//! Each measure plays [`field::Field`]s, the same world with the same nodes as all simulations, and gives rows of a table: what was measured, the goal
//! beside it, and on how much it stands. A figure comes from the code that ships; only the network's delays are the measure's own choice.

mod cpu;
mod detection;
mod field;
mod idle;
mod joining;
mod speed;
mod spread;

use std::fmt::Write as _;

use crate::report::Violation;

/// How much a figure is to stand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// A glance: sizes up to 256 and few runs.
    Quick,
    /// What the goals ask for.
    Whole,
}

impl Effort {
    /// `whole`, or `quick` for a glance.
    fn of<T>(self, quick: T, whole: T) -> T {
        if self == Self::Quick { quick } else { whole }
    }

    /// Those of the sizes that are worth a glance.
    fn sizes(self, sizes: &[Size]) -> impl Iterator<Item = Size> {
        sizes.iter().copied().filter(move |size| self == Self::Whole || size.nodes <= 256)
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

impl std::fmt::Debug for Measure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Measure").field("name", &self.name).finish_non_exhaustive()
    }
}

/// All measures, in the table's order.
pub const MEASURES: &[Measure] = &[
    Measure { name: "silence", about: "a host is dead: until all know", take: detection::silence },
    Measure { name: "join", about: "all nodes start at once: until all views are complete", take: joining::at_once },
    Measure { name: "urgent", about: "a tag is set: until all know", take: spread::urgent },
    Measure { name: "idle", about: "what gossip sends while nothing happens", take: idle::traffic },
    Measure { name: "speed", about: "what a thousand nodes and what small seeds cost the simulator", take: speed::costs },
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

/// The rows as a table in Markdown.
pub fn table(rows: &[Row]) -> String {
    let mut text = "| measure | measured | goal | met | stands on |\n|---|---|---|---|---|\n".to_owned();
    for Row { measure, measured, goal, met, stands_on } in rows {
        let met = if *met { "yes" } else { "**no**" };
        writeln!(text, "| {measure} | {measured} | {goal} | {met} | {stands_on} |").expect("a String takes all");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_measure_gets_the_list_of_those_that_exist() {
        let error = find("slience").unwrap_err();
        assert!(error.contains("`slience`") && error.contains("silence, join"), "{error}");
    }

    #[test]
    fn a_missed_goal_stands_out() {
        let row = Row { measure: "a".into(), measured: "2".into(), goal: "≤ 1".into(), met: false, stands_on: "1 run".into() };
        assert!(table(&[row]).ends_with("| a | 2 | ≤ 1 | **no** | 1 run |\n"));
    }
}
