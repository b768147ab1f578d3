//! `golden`: the runs whose hashes are written down.

use std::path::Path;

use clap::Args;
use logvine_simulations::golden;

use super::{Failure, run};

#[derive(Debug, Args)]
pub(crate) struct Golden {
    /// Write the hashes down as they are now.
    #[arg(long)]
    bless: bool,
}

impl Golden {
    pub(crate) fn carry_out(self) -> Result<(), Failure> {
        let now = golden::now();
        print!("{now}");
        if self.bless {
            return run::write(&Path::new(env!("CARGO_MANIFEST_DIR")).join("golden.txt"), &now);
        }
        check(&now)
    }
}

/// Compares with what is written down.
pub(super) fn check(now: &str) -> Result<(), Failure> {
    if now == golden::BLESSED {
        return Ok(());
    }
    eprintln!("The golden hashes were\n{}\nIf what nodes do was meant to change: golden --bless, and build again.", golden::BLESSED);
    Err(Failure::Broken)
}
