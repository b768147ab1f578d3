//! Rare situations that a run of many seeds must have come into: if one never came about, the seeds are too tame (DESIGN §9, *sometimes*).
//!
//! The packages under test name theirs in `logvine_gossip::marks`; these are what the world sees.

use std::{collections::BTreeMap, fmt};

use logvine_cluster::member::Phase;
use logvine_gossip::Status;

use crate::report::Report;

/// So many seeds must come into every situation at least once.
pub const SEEDS: u64 = 1_000;

/// Situations that the world sees.
pub const WORLD: &[&str] = &[
    "a datagram overtook an earlier one",
    "a narrow link dropped a datagram",
    "a receive buffer overflowed while its process stood still",
    "a crash lost unsynced writes, or some of them",
    "a disk that failed ended a process",
    "a process started at an earlier wall time than the one before it had seen",
    "a node returned with an old disk",
    "others had heard of more votes than were on an old image",
    "a node returned without its store",
    "a node that runs was declared down",
    "a node renewed twice after one heal",
    "a takeover raced a restart",
    "a source had two owners at once",
    "an owner was fenced",
    "a witness refused a vote",
    "a witness sent a candidate on to a newer record",
    "a candidate found a proposal to finish",
    "a source was taken without a majority",
    "a source waited for a checkpoint that nobody had",
    "a member became suspect",
    "a suspect became alive again",
    "a suspect became down",
    "a member became down without a suspicion",
    "a member that was down became alive again",
    "a member said goodbye",
    "a member that had said goodbye became alive again",
    "a joining node became active",
    "a joining node became draining",
    "an active node became draining",
    "a draining node became active again",
    "an active node became away",
];

/// Situations of larger maps and rarer generations than seeds draw: the gossip package's own tests come into them
/// (`a_newer_generation_shows_only_when_it_is_whole`, and those of its floors and of a node's own disk).
const BY_TEST: &[&str] = &[
    "a welcome told of a higher generation of this node's own",
    "a node map of a new generation came in pieces",
    "who was behind a floor took the whole map",
];

/// Which situation it is that a member's status changes.
pub(crate) fn of_status(from: Option<Status>, to: Status) -> Option<&'static str> {
    match (from?, to) {
        (Status::Alive, Status::Suspect) => Some("a member became suspect"),
        (Status::Suspect, Status::Alive) => Some("a suspect became alive again"),
        (Status::Suspect, Status::Down) => Some("a suspect became down"),
        (Status::Alive, Status::Down) => Some("a member became down without a suspicion"),
        (Status::Down, Status::Alive) => Some("a member that was down became alive again"),
        (Status::Alive | Status::Suspect, Status::Left) => Some("a member said goodbye"),
        (Status::Left, Status::Alive) => Some("a member that had said goodbye became alive again"),
        // Views that meet may make other steps of it at once.
        (Status::Alive | Status::Suspect | Status::Down | Status::Left, _) => None,
    }
}

/// Which situation it is that a node's phase changes.
pub(crate) fn of_phase(from: Phase, to: Phase) -> Option<&'static str> {
    match (from, to) {
        (Phase::Joining, Phase::Active) => Some("a joining node became active"),
        (Phase::Joining, Phase::Draining) => Some("a joining node became draining"),
        (Phase::Active, Phase::Draining) => Some("an active node became draining"),
        (Phase::Draining, Phase::Active) => Some("a draining node became active again"),
        (Phase::Active, Phase::Away { .. }) => Some("an active node became away"),
        (Phase::Joining | Phase::Active | Phase::Draining | Phase::Away { .. }, _) => None,
    }
}

/// All that are counted.
pub fn all() -> impl Iterator<Item = &'static str> {
    WORLD.iter().chain(logvine_gossip::marks::MARKS).copied()
}

/// What the runs of many seeds came into.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    runs: u64,
    /// By mark: how often, and in how many runs.
    reached: BTreeMap<&'static str, (u64, u64)>,
}

impl Tally {
    /// Adds a run that held.
    pub fn add(&mut self, report: &Report) {
        self.runs += 1;
        for (mark, times) in &report.marks {
            let (sum, runs) = self.reached.entry(mark).or_default();
            *sum += times;
            *runs += 1;
        }
    }

    /// What should have come about in so many runs and did not; nothing while they are too few to tell.
    pub fn unreached(&self) -> Vec<&'static str> {
        all().filter(|mark| self.runs >= SEEDS && !BY_TEST.contains(mark) && !self.reached.contains_key(mark)).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "sometimes, in {} runs:      runs      times", self.runs)?;
        for mark in all() {
            let (times, runs) = self.reached.get(mark).copied().unwrap_or_default();
            writeln!(f, "  {mark:<78} {runs:>6} {times:>9}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_mark_has_one_name() {
        assert!(BY_TEST.iter().all(|mark| all().any(|known| known == *mark)));
        assert_eq!(all().collect::<BTreeSet<_>>().len(), all().count());
    }

    /// A mark that is not on the list is counted, and never missed.
    #[test]
    fn every_change_of_status_and_phase_that_is_counted_is_on_the_list() {
        let statuses = [Status::Alive, Status::Suspect, Status::Down, Status::Left];
        let phases = [Phase::Joining, Phase::Active, Phase::Draining, Phase::Away { grace_s: 60 }];
        let of_status = statuses.iter().flat_map(|from| statuses.iter().filter_map(|to| of_status(Some(*from), *to)));
        let of_phase = phases.iter().flat_map(|from| phases.iter().filter_map(|to| of_phase(*from, *to)));
        let counted: BTreeSet<_> = of_status.chain(of_phase).collect();
        assert_eq!(counted.len(), 12);
        assert!(counted.iter().all(|mark| WORLD.contains(mark)), "{counted:?}");
    }

    #[test]
    fn what_is_missing_is_told_once_there_were_enough_runs() {
        let mut tally = Tally { runs: SEEDS - 1, reached: BTreeMap::new() };
        assert_eq!(tally.unreached(), [""; 0]);
        tally.runs = SEEDS;
        assert_eq!(tally.unreached().len(), all().count() - BY_TEST.len());
        tally.reached.insert(WORLD[0], (1, 1));
        assert!(!tally.unreached().contains(&WORLD[0]));
    }
}
