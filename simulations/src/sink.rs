//! Simulated sinks: they take lines, count those that they had already, and fail in the ways that sinks fail.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use logvine_cluster::{delivery::Outcome, name::Name};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::chance::{Delay, happens};

/// How sinks behave. Chances are per mille of the sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SinkPlan {
    /// From the sender to the sink, and back.
    pub way: Delay,
    /// It answers "try later" and takes nothing.
    pub busy: u32,
    /// It takes everything, but its answer comes too late.
    pub late: u32,
    /// It takes everything after [`STALL`].
    pub stalls: u32,
    /// It refuses lines that begin at a multiple of this, for themselves. Zero: none.
    pub poison_every: u64,
}

/// How long a sink may hang.
pub const STALL: Duration = Duration::from_secs(8);

impl Default for SinkPlan {
    fn default() -> Self {
        Self::calm()
    }
}

impl SinkPlan {
    /// Takes everything, five milliseconds away.
    pub const fn calm() -> Self {
        Self { way: Delay::fixed(Duration::from_millis(5)), busy: 0, late: 0, stalls: 0, poison_every: 0 }
    }

    fn refuses(&self, line: &Range<u64>) -> bool {
        self.poison_every > 0 && line.start > 0 && line.start.is_multiple_of(self.poison_every)
    }

    /// What a sink does with a send: whether it takes the lines, and what it answers.
    pub fn judge(&self, lines: &[Range<u64>], rng: &mut ChaCha8Rng) -> (bool, Outcome) {
        if lines.iter().any(|line| self.refuses(line)) {
            (false, Outcome::Rejected { reason: "400: malformed".into() })
        } else if happens(rng, self.busy) {
            (false, Outcome::Retry { reason: "429: later".into(), after: None })
        } else if happens(rng, self.late) {
            (true, Outcome::Retry { reason: "timed out".into(), after: None })
        } else {
            (true, Outcome::Acknowledged)
        }
    }

    /// How long a send takes one way.
    pub fn travel(&self, rng: &mut ChaCha8Rng) -> Duration {
        let stall = if happens(rng, self.stalls) { STALL } else { Duration::ZERO };
        self.way.draw(rng) + stall
    }
}

/// What a sink has, by (source, where the line begins): how often it came.
#[derive(Debug, Default)]
pub struct Sink {
    lines: BTreeMap<(Name, u64), u32>,
    delivered: u64,
    put_aside: u64,
    repeated: u64,
}

impl Sink {
    /// Takes lines.
    pub fn take(&mut self, source: &Name, lines: &[Range<u64>]) {
        for line in lines {
            let times = self.lines.entry((source.clone(), line.start)).or_default();
            *times += 1;
            if *times == 1 { self.delivered += 1 } else { self.repeated += 1 }
        }
    }

    /// A line that it refuses for itself is kept beside it, for people.
    pub fn put_aside(&mut self, source: &Name, line: &Range<u64>) {
        let times = self.lines.entry((source.clone(), line.start)).or_default();
        *times += 1;
        if *times == 1 { self.put_aside += 1 } else { self.repeated += 1 }
    }

    /// Different lines that are kept beside it.
    pub fn dead_lettered(&self) -> u64 {
        self.put_aside
    }

    /// Different lines.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Lines that it had already.
    pub fn repeated(&self) -> u64 {
        self.repeated
    }
}
