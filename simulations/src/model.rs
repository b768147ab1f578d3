//! Explores *every* history of taking an epoch (DESIGN §5.3) at small bounds, on the code that ships: the real witnesses and the real attempts.
//!
//! One source, up to five nodes. A message, once sent, may arrive at any later time, any number of times, or never. Everybody may be wrong about who is
//! dead, so each candidacy begins at any time, from any decided record that is known; each may stop for ever at any step. Owners send on and move
//! checkpoints. What else happens (lost disks, claims that are heard, late answers, …) is each bound's own: see [`BOUNDS`].
//!
//! Held in every state: a record has one successor and an epoch one owner; once a later epoch is activated, an owner is acknowledged no further than that
//! resumed (S3); nobody resumes below what a majority acknowledged, above what the sink has, or further than the window behind it (S1, S4); and from every
//! state a fresh candidacy succeeds once nothing is lost any more (L2).
//! Not here: who should take what and when (`assignment`), back-off, load: the simulations.
//!
//! States are told apart by 64 bits of a hash: that two of 100 million share one, so that one goes unseen, has a chance of 1 in 4,000.

use std::fmt;

use logvine_cluster::canary::planted;

mod bounds;
mod history;
mod machine;
mod pool;
mod recovery;
mod state;
mod steps;
mod words;

pub use bounds::{ABLATIONS, Ablation, BOUNDS, Bounds, Candidacy, find};
use machine::{Model, Step};
use pool::Table;
use state::State;

/// What an exploration ended with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explored {
    /// Distinct states that were looked into.
    pub states: u64,
    /// Distinct states into which a further epoch was activated.
    pub activations: u64,
    /// The most steps in one history.
    pub depth: usize,
    /// Whether these were all.
    pub complete: bool,
    pub broken: Option<Counterexample>,
}

/// A history that breaks an invariant, without what does not matter to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counterexample {
    pub what: String,
    /// Step by step, for people.
    pub steps: Vec<String>,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "{:>3}  {step}", number + 1)?;
        }
        write!(f, "broken: {}", self.what)
    }
}

/// An exploration under way.
struct Search<'a> {
    model: Model<'a>,
    seen: Table<()>,
    /// States, but for messages and attempts, from which it was seen to recover.
    recovering: Table<()>,
    must_recover: bool,
}

impl<'a> Search<'a> {
    fn new(bounds: &'a Bounds) -> Self {
        Self {
            model: Model::new(bounds),
            seen: Table::new(),
            recovering: Table::new(),
            must_recover: !ABLATIONS.iter().any(|ablation| ablation.is_unsafe && planted(ablation.canary)),
        }
    }

    /// Takes a step, and looks whether all holds then. None if the step cannot be taken.
    fn advance(&mut self, state: &State, step: Step) -> Option<Result<State, String>> {
        let result = self.model.take(state, step)?;
        Some(result.and_then(|next| {
            let essence = next.essence();
            if self.must_recover && self.recovering.get(essence).is_none() {
                self.model.recovers(&next)?;
                self.recovering.insert(essence, ());
            }
            Ok(next)
        }))
    }

    /// Leaves out every step without which a history still breaks something.
    fn shorten(&mut self, mut steps: Vec<Step>, mut what: String) -> Counterexample {
        let mut at = steps.len();
        while at > 0 {
            at -= 1;
            let mut fewer = steps.clone();
            fewer.remove(at);
            if let Some((still, length)) = self.breaks(&fewer) {
                fewer.truncate(length);
                (steps, what) = (fewer, still);
                at = steps.len().min(at + 1);
            }
        }
        let mut state = self.model.first();
        let mut said = Vec::new();
        for step in steps {
            said.push(self.model.say(&state, step));
            if let Some(Ok(next)) = self.model.take(&state, step) {
                state = next;
            }
        }
        Counterexample { what, steps: said }
    }

    /// What the steps break, and after how many.
    fn breaks(&mut self, steps: &[Step]) -> Option<(String, usize)> {
        let mut state = self.model.first();
        for (at, step) in steps.iter().enumerate() {
            match self.advance(&state, *step)? {
                Ok(next) => state = next,
                Err(what) => return Some((what, at + 1)),
            }
        }
        None
    }
}

/// How often `progress` is told, in states.
const TELL_STATES: u64 = 1 << 18;

/// Looks into every state that can be reached within the bounds, deepest first, up to so many. `progress` gets the number of states so far.
pub fn explore(bounds: &Bounds, states_max: u64, mut progress: impl FnMut(u64)) -> Explored {
    let mut explored = Explored { states: 0, activations: 0, depth: 0, complete: true, broken: None };
    let mut search = Search::new(bounds);
    let first = search.model.first();
    search.seen.insert(first.fingerprint(), ());
    let steps = search.model.steps(&first);
    let mut path = vec![(first, steps)];
    let mut taken = Vec::new();
    while let Some((state, steps)) = path.last_mut() {
        let Some(step) = steps.pop() else {
            path.pop();
            taken.pop();
            continue;
        };
        let next = match search.advance(state, step) {
            Some(Ok(next)) => next,
            None => continue,
            Some(Err(what)) => {
                taken.push(step);
                explored.broken = Some(search.shorten(taken, what));
                return explored;
            }
        };
        if !search.seen.insert(next.fingerprint(), ()) {
            continue;
        }
        explored.states += 1;
        explored.activations += u64::from(search.model.owners(&next) > search.model.owners(state));
        if explored.states.is_multiple_of(TELL_STATES) {
            progress(explored.states);
        }
        if explored.states >= states_max {
            explored.complete = false;
            return explored;
        }
        let steps = search.model.steps(&next);
        path.push((next, steps));
        taken.push(step);
        explored.depth = explored.depth.max(taken.len());
    }
    explored
}

#[cfg(test)]
mod tests;
