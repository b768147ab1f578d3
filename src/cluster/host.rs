//! The machine that a node runs on, as the node map tells of it: `host` (DESIGN §3.2).
//!
//! Rounded, and told anew only when it has moved by a step: a machine at rest is no news. Not here: how it is read.

use std::time::Duration;

use logvine_gossip::UnixMicros;
use serde::{Deserialize, Serialize};

/// A step of a share, in percent.
const SHARE_STEP: u8 = 5;
/// A size that moves by less than one in so many is as it was: a file system's own bookkeeping.
const SIZE_STEP: u64 = 50;
/// The start of the machine is counted back from its wall clock, which is set now and then.
const BOOTED_STEP: Duration = Duration::from_secs(60);

/// A machine's resources and how much of them is used, by all that runs on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Processors that the system schedules on.
    pub cpus: u16,
    /// Share of their time that was not idle lately, in percent.
    pub cpu_pct: u8,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Share of it that is not available to programs, in percent.
    pub memory_pct: u8,
    /// The file system of the data directory, in bytes.
    pub disk_bytes: u64,
    /// Share of it that is used, in percent.
    pub disk_pct: u8,
    /// When the machine was started.
    pub booted: UnixMicros,
}

impl Host {
    /// What is to be told of this reading, where `said` was told last.
    #[must_use]
    pub fn told(&self, said: Option<&Self>) -> Self {
        let share = |now: u8, of: fn(&Self) -> u8| share(now, said.map(of));
        let size = |now: u64, of: fn(&Self) -> u64| said.map(of).filter(|said| now.abs_diff(*said) < said / SIZE_STEP).unwrap_or(now);
        let is_near = |said: &UnixMicros| u128::from(said.0.abs_diff(self.booted.0)) < BOOTED_STEP.as_micros();
        Self {
            cpus: self.cpus,
            cpu_pct: share(self.cpu_pct, |said| said.cpu_pct),
            memory_bytes: size(self.memory_bytes, |said| said.memory_bytes),
            memory_pct: share(self.memory_pct, |said| said.memory_pct),
            disk_bytes: size(self.disk_bytes, |said| said.disk_bytes),
            disk_pct: share(self.disk_pct, |said| said.disk_pct),
            booted: said.map(|said| said.booted).filter(is_near).unwrap_or(self.booted),
        }
    }
}

/// The nearest step; the one that was told last, while the share is within a whole step of it.
fn share(now: u8, said: Option<u8>) -> u8 {
    let now = now.min(100);
    said.filter(|said| now.abs_diff(*said) < SHARE_STEP).unwrap_or((now + SHARE_STEP / 2) / SHARE_STEP * SHARE_STEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(cpu_pct: u8, disk_bytes: u64, booted_s: u64) -> Host {
        let booted = UnixMicros(booted_s * 1_000_000);
        Host { cpus: 4, cpu_pct, memory_bytes: 8 << 30, memory_pct: 41, disk_bytes, disk_pct: 97, booted }
    }

    #[test]
    fn shares_are_told_in_steps_of_five() {
        let told = host(7, 1 << 40, 1_000).told(None);
        assert_eq!((told.cpu_pct, told.memory_pct, told.disk_pct), (5, 40, 95));
        assert_eq!([0, 2, 3, 98, 100, 255].map(|pct| host(pct, 0, 0).told(None).cpu_pct), [0, 0, 5, 100, 100, 100]);
    }

    /// However it trembles within a step: one word.
    #[test]
    fn a_machine_at_rest_is_no_news() {
        let said = host(10, 1_000_000, 1_000).told(None);
        for (cpu, disk, booted) in [(6, 1_000_000, 1_000), (14, 1_010_000, 1_030), (12, 990_000, 970)] {
            assert_eq!(host(cpu, disk, booted).told(Some(&said)), said);
        }
        let moved = host(15, 1_030_000, 1_090).told(Some(&said));
        assert_eq!((moved.cpu_pct, moved.disk_bytes, moved.booted), (15, 1_030_000, UnixMicros(1_090_000_000)));
    }
}
