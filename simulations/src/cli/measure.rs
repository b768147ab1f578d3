//! `measure`: gossip in virtual time, and the simulator, beside their goals.

use clap::Args;
use logvine_simulations::measures::{self, Effort, MEASURES, table};

use super::Failure;

#[derive(Debug, Args)]
pub(crate) struct Measure {
    /// Which measures; without, all of them.
    names: Vec<String>,
    /// Fewer runs, and sizes up to 256.
    #[arg(long)]
    quick: bool,
}

impl Measure {
    /// Whether a goal is met is in the table, not in the exit code: a measure reports.
    pub(crate) fn carry_out(self) -> Result<(), Failure> {
        let effort = if self.quick { Effort::Quick } else { Effort::Whole };
        let found = match self.names.as_slice() {
            [] => Ok(MEASURES.iter().collect()),
            names => names.iter().map(|name| measures::find(name)).collect::<Result<Vec<_>, _>>(),
        };
        let mut rows = Vec::new();
        for measure in found.map_err(|error| Failure::Usage(error.to_string()))? {
            eprintln!("{}: {} …", measure.name, measure.about);
            let more = measure.take(effort).map_err(|violation| {
                eprintln!("{violation}");
                Failure::Broken
            })?;
            rows.extend(more);
        }
        print!("{}", table(&rows));
        Ok(())
    }
}
