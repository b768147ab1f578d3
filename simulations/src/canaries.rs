//! The planted bugs of all packages, each with where it shows itself soonest.

use std::sync::{Arc, atomic::AtomicU64};

use crate::{
    report::Violation,
    runs::{Company, Plan, run_in},
    scenarios,
    swarm::Wishes,
};

/// A bug that can be planted.
#[derive(Debug, Clone, Copy)]
pub struct Canary {
    pub name: &'static str,
    /// What is broken under it.
    pub sentence: &'static str,
}

/// Where to look for each: canary, scenario, nodes, minutes. For the others, in what seeds draw.
const HINTS: &[(&str, &str, usize, u64)] = &[
    ("stale-suspicion", "lossy-25", 5, 2),
    ("no-buddy", "lossy-25", 9, 5),
    ("no-watchdog", "split-heal", 4, 3),
    ("no-push-pull", "crash", 5, 1),
    ("digest-misses-changes", "clock-skew", 5, 2),
    ("running-image-votes", "old-disk-image", 6, 3),
    ("timers-pile-up", "one-way", 7, 3),
    ("stays-undead", "split-heal", 5, 3),
    ("lock-step", "join-storm", 8, 2),
    ("grace-ignored", "rolling-restart", 5, 2),
    ("generation-reused", "crash", 5, 3),
    ("seal-with-new-key-at-once", "key-rotation", 5, 4),
    ("knock-once", "firewalls", 7, 4),
    ("trust-one-refusal", "firewalls", 7, 4),
    ("deny-answers", "firewalls", 7, 4),
    ("lonely-accuses", "one-way", 7, 4),
    ("early-word-unheard", "commands", 5, 3),
    ("stamp-not-kept", "forgetful-relay", 5, 3),
    ("resume-at-own-copy", "owner-crash", 7, 2),
    ("name-unheld", "new-files", 6, 3),
    ("flush-skipped", "drain", 6, 2),
    ("flush-unbounded", "sink-down", 6, 2),
    ("patience-zero", "split-with-sources", 9, 2),
    ("two-owners-go-on", "zombie-owner", 6, 2),
    ("repair-never", "witness-erosion", 6, 5),
    ("deleted-source-runs", "config-storm", 6, 2),
    ("witnesses-from-view", "split-with-sources", 9, 2),
    ("silent-owner-stays", "owner-apart", 6, 3),
    ("moved-too-soon", "rate-bursts", 5, 6),
    ("no-admission", "busy-join", 5, 9),
    ("load-forgotten", "busy-restart", 5, 6),
];

/// Bugs behind what seeds do not draw: seals, forgers, firewalls, recorded datagrams, clocks that are years off, absences of eight days, and a moment within
/// a packet; or behind other guards, which make good what they break. For each a test or a script of its own turns red.
const BY_TEST: &[&str] = &[
    "no-stall-guard",
    "few-transmissions",
    "no-members-push-pull",
    "stamp-below-seen",
    "forged-self",
    "no-address-check",
    "no-replay-window",
    "short-unchecked",
    "short-to-all",
    "short-only",
    "half-snapshot-shown",
    "knock-away",
    "no-reannounce",
    "seed-islands",
    "old-image-votes",
    "generations-shared",
    "damaged-row-votes",
    "crashes-forgiven",
    "no-last-words",
    "expects-nobody",
    "sick-accuses",
    "stamp-from-future",
    "clock-off-writes",
    "floor-by-own-clock",
    "dropped-taken-again",
    "tombstone-by-minority",
    "published-before-held",
    "rows-from-relay-only",
    "takeover-without-asking",
    "lonely-takes-over",
    "gift-forgotten",
    "lame-asked-first",
    "repairs-at-once",
    "stickiness-off",
    "succession-ignored",
    "rollout-at-once",
    "rollout-after-failure",
    "drop-late",
    "restart-late",
    "rename-at-once",
    "conditions-ignored",
    "no-hysteresis",
    "no-idle-guard",
    "reservation-leaked",
    "capacity-jumps",
    "giants-unbounded",
    "promise-after-close",
    "renewed-reads-on",
    "rewind-outranked",
    "rewound-before-held",
    "lost-forgotten",
];

/// Clauses of taking an epoch that only a rare race, in a few steps, needs: the model finds them in seconds (`model --ablations`), seeds hardly ever.
const BY_MODEL: &[&str] = &[
    "follow-undecided",
    "reuse-counter",
    "asks-own-view",
    "base-left-behind",
    "always-finish",
    "faith-against-owner",
    "resumes-above-held",
    "positions-dropped",
];

/// All of them.
pub fn all() -> impl Iterator<Item = Canary> {
    let lists = logvine_gossip::canary::CANARIES.iter().chain(logvine_cluster::canary::CANARIES);
    lists.map(|(name, sentence)| Canary { name, sentence })
}

/// What came of looking for a canary.
#[derive(Debug)]
pub enum Search {
    /// The seed that found it, and what it broke; without it, that seed holds.
    Found { seed: u64, violation: Box<Violation> },
    /// The seed that found it fails also without it.
    Unsound { seed: u64, violation: Box<Violation> },
    /// No seed of so many found it.
    Missed { seeds: u64 },
}

impl Canary {
    /// Whether simulations are meant to find it; else the model or a test of its package does.
    pub fn is_for_simulations(&self) -> bool {
        !BY_TEST.contains(&self.name) && !self.is_for_the_model()
    }

    /// Whether the model is meant to find it.
    pub fn is_for_the_model(&self) -> bool {
        BY_MODEL.contains(&self.name)
    }

    /// What to run to find it.
    pub fn plan(&self) -> Plan {
        let hint = HINTS.iter().find(|(of, ..)| *of == self.name);
        let wishes = hint.map_or_else(Wishes::default, |(.., nodes, minutes)| Wishes { nodes: Some(*nodes), minutes: Some(*minutes) });
        Plan { named: hint.and_then(|(_, scenario, ..)| scenarios::find(scenario)), wishes, canary: Some(self.name) }
    }

    /// Plants it in one seed after the other, until one breaks. `progress` gets the virtual time of each run.
    pub fn search(&self, seeds: u64, progress: &Arc<AtomicU64>) -> Search {
        let plan = self.plan();
        let run = |seed, canary| {
            let scenario = plan.scenario(seed).expect("hints are of possible sizes");
            run_in(scenario, Company { canary, progress: Some(Arc::clone(progress)), ..Company::default() })
        };
        for seed in 1..=seeds {
            if let Err(violation) = run(seed, Some(self.name)) {
                return match run(seed, None) {
                    Ok(_) => Search::Found { seed, violation },
                    Err(violation) => Search::Unsound { seed, violation },
                };
            }
        }
        Search::Missed { seeds }
    }
}

/// Plants a bug in all that this thread runs from now on; None: none.
///
/// Panics if this build has no place for one: who offers a choice of canaries asks for the feature first.
pub fn plant(name: Option<&'static str>) {
    #[cfg(feature = "canary")]
    logvine_gossip::canary::plant(name);
    #[cfg(not(feature = "canary"))]
    assert_eq!(name, None, "built without the feature `canary`");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_of_what_there_is() {
        let known = |name: &str| all().any(|canary| canary.name == name);
        assert!(HINTS.iter().all(|(name, ..)| known(name)) && BY_TEST.iter().chain(BY_MODEL).all(|name| known(name)));
        assert!(BY_MODEL.iter().all(|name| crate::model::ABLATIONS.iter().any(|ablation| ablation.canary == *name)));
        for canary in all() {
            assert!(canary.plan().scenario(1).is_ok(), "{}", canary.name);
        }
        assert!(HINTS.iter().all(|(_, scenario, ..)| scenarios::find(scenario).is_some()));
    }
}
