//! `replay` and `script`: scenarios that people wrote or a failure left, and what happens in them. `shrink` makes them smaller.

use std::{fs, path::PathBuf};

use clap::Args;
use logvine_simulations::{
    file,
    runs::{Company, run_in},
    scenario::Scenario,
    script,
};

use super::{Failure, Show, Wanted, canary, run};

#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// A scenario file.
    file: PathBuf,
    /// A planted bug (see `list`); needs a build with `--features canary`.
    #[arg(long, value_name = "NAME")]
    canary: Option<String>,
    /// Draw the run: one self-contained HTML page.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    show: Show,
}

#[derive(Debug, Args)]
pub(crate) struct Script {
    text: String,
    /// Draw the run: one self-contained HTML page.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write it as a scenario file too.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    #[command(flatten)]
    show: Show,
}

#[derive(Debug, Args)]
pub(crate) struct Shrink {
    /// A scenario file; or else a seed.
    #[arg(conflicts_with_all = ["seed", "scenario", "nodes", "minutes"], required_unless_present = "seed")]
    file: Option<PathBuf>,
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    wanted: Wanted,
}

impl Replay {
    pub(crate) fn carry_out(self) -> Result<(), Failure> {
        let canary = canary(self.canary.as_deref())?;
        let report = run::show(read(&self.file)?, canary, self.show, self.report.as_deref())?;
        println!("{report}\ntrace {}", report.hash);
        Ok(())
    }
}

impl Script {
    pub(crate) fn carry_out(self) -> Result<(), Failure> {
        let scenario = script::parse(&self.text).map_err(|error| Failure::Usage(error.to_string()))?;
        scenario.validate().map_err(|error| Failure::Usage(error.to_string()))?;
        if let Some(path) = &self.write {
            run::write(path, &file::write(&scenario))?;
        }
        let show = Show { story: true, ..self.show };
        let report = run::show(scenario, None, show, self.report.as_deref())?;
        println!("{report}\ntrace {}", report.hash);
        Ok(())
    }
}

impl Shrink {
    pub(crate) fn carry_out(self) -> Result<(), Failure> {
        let plan = self.wanted.plan()?;
        let scenario = match (&self.file, self.seed) {
            (Some(path), _) => read(path)?,
            (None, seed) => plan.scenario(seed.unwrap_or(1)).map_err(|error| Failure::Usage(error.to_string()))?,
        };
        match run_in(scenario.clone(), Company { canary: plan.canary, ..Company::default() }) {
            Ok(report) => Err(Failure::Usage(format!("{report}\nit breaks nothing, so there is nothing to shrink"))),
            Err(violation) => {
                eprintln!("{violation}");
                run::shrink_and_say(scenario, &violation, plan.canary)
            }
        }
    }
}

fn read(path: &PathBuf) -> Result<Scenario, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::Effect(format!(
            "{} cannot be read: {error}; `run` and `shrink` write such files where something fails, and say where",
            path.display()
        ))
    })?;
    file::read(&text).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
}
