//! `measure`: gossip in virtual time, and the simulator, beside their goals.

use clap::Args;
use logvine_simulations::measures::{self, Effort, HEAD, MEASURES};

use super::Failure;

#[derive(Debug, Args)]
pub(crate) struct Measure {
    /// Which measures; without, all of them.
    names: Vec<String>,
    /// Fewer runs, and sizes up to 256.
    #[arg(long)]
    quick: bool,
    /// As many runs as the goals ask for: more than an hour.
    #[arg(long, conflicts_with = "quick")]
    whole: bool,
}

impl Measure {
    /// Whether a goal is met is in the table, not in the exit code: a measure reports.
    pub(crate) fn carry_out(self) -> Result<(), Failure> {
        let effort = match (self.quick, self.whole) {
            (true, _) => Effort::Quick,
            (_, true) => Effort::Whole,
            _ => Effort::Usual,
        };
        let found = match self.names.as_slice() {
            [] => Ok(MEASURES.iter().collect()),
            names => names.iter().map(|name| measures::find(name)).collect::<Result<Vec<_>, _>>(),
        };
        let found = found.map_err(|error| Failure::Usage(error.to_string()))?;
        println!("{HEAD}");
        for measure in found {
            eprintln!("{}: {} …", measure.name, measure.about);
            let rows = measure.take(effort).map_err(|violation| {
                eprintln!("{violation}");
                Failure::Broken
            })?;
            for row in rows {
                println!("{row}");
            }
        }
        Ok(())
    }
}
