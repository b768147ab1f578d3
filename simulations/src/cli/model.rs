//! `model`: every history of taking an epoch, at small bounds.

use clap::Args;
use logvine_simulations::{
    canaries,
    model::{ABLATIONS, Ablation, BOUNDS, Bounds, Explored, explore, find},
};

use super::{Failure, canary, list, unknown};

#[derive(Debug, Args)]
pub(crate) struct Model {
    /// Only this bound; without, all that are small.
    #[arg(long, value_name = "NAME")]
    bound: Option<String>,
    /// The large ones too: hours, and some gigabytes.
    #[arg(long, conflicts_with = "bound")]
    all: bool,
    /// Leave out a clause of DESIGN §5.3, as a canary, and look for what that breaks; without `--bound`, where it is known to break something.
    #[arg(long, value_name = "NAME")]
    canary: Option<String>,
    /// Leave out each clause in turn. Exit code 1: one of them breaks nothing.
    #[arg(long, conflicts_with_all = ["bound", "all", "canary"])]
    ablations: bool,
    /// The most states of a bound that are looked into.
    #[arg(long, value_name = "MAX", default_value_t = 400_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    states: u64,
}

impl Model {
    pub(crate) fn carry_out(self) -> Result<(), Failure> {
        if self.ablations {
            return self.ablate();
        }
        let planted = canary(self.canary.as_deref())?;
        let broken = ABLATIONS.iter().find(|ablation| planted == Some(ablation.canary)).map(|ablation| ablation.bound.to_owned());
        let wanted: Vec<_> = match self.bound.clone().or(broken) {
            Some(name) => vec![find(&name).ok_or_else(|| unknown("bound", &name, &list::bounds()))?],
            None => BOUNDS.iter().filter(|bounds| bounds.is_small || self.all).collect(),
        };
        let mut fails = false;
        for bounds in wanted {
            let explored = self.explore(bounds, planted);
            say(bounds, &explored);
            fails |= explored.broken.is_some() || explored.activations == 0;
        }
        if fails { Err(Failure::Broken) } else { Ok(()) }
    }

    fn explore(&self, bounds: &Bounds, planted: Option<&'static str>) -> Explored {
        canaries::plant(planted);
        let explored = explore(bounds, self.states, |states| eprintln!("{:<17} {states} states so far", bounds.name));
        canaries::plant(None);
        explored
    }

    fn ablate(&self) -> Result<(), Failure> {
        let mut missed = 0;
        for Ablation { canary: name, bound, .. } in ABLATIONS {
            let planted = canary(Some(name))?;
            let bounds = find(bound).ok_or_else(|| unknown("bound", bound, &list::bounds()))?;
            let Explored { states, broken, .. } = self.explore(bounds, planted);
            match broken {
                Some(broken) => println!("{name:<20} {bound:<13} {states:>7} states, {:>2} steps: {}", broken.steps.len(), broken.what),
                None => {
                    println!("{name:<20} {bound:<13} {states:>7} states, and nothing is broken");
                    missed += 1;
                }
            }
        }
        println!("{} of {} clauses are needed; the steps of one: model --canary NAME", ABLATIONS.len() - missed, ABLATIONS.len());
        if missed == 0 { Ok(()) } else { Err(Failure::Broken) }
    }
}

fn say(bounds: &Bounds, explored: &Explored) {
    let Explored { states, activations, depth, complete, broken } = explored;
    let end = match (broken, complete) {
        (Some(_), _) => "broken",
        (None, true) if *activations == 0 => "no epoch was ever activated: the bound shows nothing",
        (None, true) => "all of them",
        (None, false) => "not all of them",
    };
    println!("{:<17} {states:>11} states, {activations:>9} activations, {depth:>3} steps deep, {end}", bounds.name);
    if let Some(broken) = broken {
        println!("{broken}");
    }
}
