//! What many runs add up to.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::{marks::Tally, report::Report};

/// Runs that held, in the order in which they were added.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    runs: u64,
    node_seconds: u64,
    events: u64,
    hashes: Vec<String>,
    tally: Tally,
}

impl Totals {
    pub fn add(&mut self, report: &Report) {
        self.runs += 1;
        self.node_seconds += report.virtual_seconds * report.nodes as u64;
        self.events += report.events;
        self.hashes.push(report.hash.clone());
        self.tally.add(report);
    }

    pub fn runs(&self) -> u64 {
        self.runs
    }

    /// The rare situations that they came into.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Hours that nodes lived through, in virtual time; those of which one was down for a while too.
    pub fn node_hours(&self) -> u64 {
        self.node_seconds / 3_600
    }

    /// Of one run its own hash; of several a hash over theirs.
    pub fn hash(&self) -> String {
        match self.hashes.as_slice() {
            [one] => one.clone(),
            all => hex::encode(&Sha256::digest(all.join(" "))[..8]),
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} runs held: {} node-hours, {} events", self.runs, self.node_hours(), self.events)
    }
}
