//! Canaries: bugs planted on purpose, so that it is seen that the simulator would find them (DESIGN §9).
//!
//! The feature `canary` compiles their places, a simulation picks one for its thread, and the agent refuses to be built with them. Without the feature
//! [`planted`] is a constant, and nothing is left of it. Each guard of PITFALLS has one: a guard that can go unnoticed is none.

/// Whether the places are compiled.
pub const COMPILED: bool = cfg!(feature = "canary");

/// The bugs that this package has a place for: each name, and what is broken under it.
pub const CANARIES: &[(&str, &str)] = &[
    ("stale-suspicion", "a suspicion that was refuted evicts all the same (PITFALLS §1 row 1)"),
    ("no-buddy", "a suspect is not told of its suspicion, so one that dies out on the way is never refuted (PITFALLS §1 row 2)"),
    ("no-watchdog", "nobody calls the nodes that are known and silent: split clusters stay split, seeds stay islands (PITFALLS §1 rows 4 and 6)"),
    ("no-reannounce", "a node that has renewed itself calls others once, and not until it is heard (PITFALLS §1 row 3)"),
    ("seed-islands", "an active node calls no seeds, so that clusters around different seeds never meet (PITFALLS §1 row 6)"),
    ("no-stall-guard", "a node that stood still takes its own silence for that of others (PITFALLS §1 row 5)"),
    ("few-transmissions", "a change of membership is sent on once, and not twelve times (PITFALLS §1 row 9)"),
    ("digest-misses-changes", "an entry that is replaced leaves the catalog's digests as they were, so nobody sees that another has the older one"),
    ("no-push-pull", "catalogs and node maps are passed on by rumour alone"),
    ("no-members-push-pull", "members are compared with nobody: what gossip did not bring in its dozen sendings never comes (PITFALLS §1 row 7)"),
    ("stamp-below-seen", "a write is stamped by its node's clock alone, so a clock that is behind cannot overrule what it saw"),
    ("no-address-check", "a datagram counts as of the address that it claims, wherever it came from (PITFALLS §1 row 11)"),
    ("no-replay-window", "a recorded datagram that is sent again is taken again (`replay`)"),
    ("short-unchecked", "a short ping counts as of whoever is known at its address, whomever it is from and for (`gossip::short`)"),
    ("short-to-all", "short pings go to nodes that do not say that they read them"),
    ("short-only", "a short ping that is not understood is not repeated in long"),
    ("seal-with-new-key-at-once", "a node seals with a key as soon as it hears of it, before the others accept it (`seal::rotation`)"),
    ("half-snapshot-shown", "a new generation's node map takes the old one's place before it is whole (PITFALLS §6)"),
    ("seq-before-generation", "node maps are ordered by seq before generation, so that a restarted node is not heard (PITFALLS §6)"),
    ("knock-once", "one refusal, or those of one moment, are believed: a firewall that reloads its rules evicts healthy nodes"),
    ("trust-one-refusal", "no helpers are asked: a firewall's REJECT on one path evicts a healthy node (PITFALLS §6)"),
    ("deny-answers", "a helper that got an answer counts as refused: REJECT on several paths evicts a healthy node"),
    ("lonely-accuses", "a node that hears nobody accuses everybody (DESIGN §3.1)"),
    ("sick-accuses", "a node that stood still accuses others before it has heard a single answer"),
    ("knock-away", "a node that said that it would be back is proved gone while it restarts (DESIGN §5.5)"),
    ("timers-pile-up", "what foca asks to be woken for is kept although it is void since (PITFALLS §1 row 14)"),
    ("stays-undead", "a node whom foca takes for dead, or whose incarnation is at its end, takes no further generation (PITFALLS §1 row 12)"),
    ("lock-step", "nodes that are started together probe and gossip at the same moments for ever (PITFALLS §1 row 10)"),
    ("generations-shared", "two live copies of a node that cannot reach each other may take the same generation (DESIGN §9, S5)"),
    ("old-image-votes", "a node on an old disk image votes and owns by it (DESIGN §5.3, Restart)"),
    (
        "running-image-votes",
        "a node on an image of its disk that was taken while it ran under its last generation votes and owns by it (DESIGN §5.3, Restart)",
    ),
    ("forged-self", "a node that hears what it never said in its own name lets it stand"),
    ("stamp-from-future", "an entry whose stamp is years ahead is taken, and wins for ever (PITFALLS §5, Cortex)"),
    ("clock-off-writes", "a node whose clock is off the median of its peers writes to the catalog all the same"),
    ("floor-by-own-clock", "a node forgets deletions by a clock that nobody else agrees with (PITFALLS §6)"),
    ("dropped-taken-again", "what was deleted during an absence is taken again from another who was away (DESIGN §9, S6)"),
    ("tombstone-by-minority", "a node forgets deletions while it sees less than half of all nodes (PITFALLS §6)"),
];

#[cfg(feature = "canary")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<&'static str>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug in all that this thread runs from now on; None: none.
#[cfg(feature = "canary")]
pub fn plant(name: Option<&'static str>) {
    PLANTED.set(name);
}

/// Whether the bug of this name is planted: asked at its place.
#[cfg(feature = "canary")]
pub fn planted(name: &str) -> bool {
    PLANTED.get() == Some(name)
}

/// Whether the bug of this name is planted: never, in this build.
#[cfg(not(feature = "canary"))]
pub const fn planted(_name: &str) -> bool {
    false
}

/// Runs a test with the bug planted: it must fail, or the guard has no test.
#[cfg(all(test, feature = "canary"))]
pub(crate) fn turns_red(name: &'static str, test: fn()) {
    assert!(CANARIES.iter().any(|(known, _)| *known == name), "`{name}` is not in the list");
    plant(Some(name));
    let result = std::panic::catch_unwind(test);
    plant(None);
    assert!(result.is_err(), "nothing turns red under `{name}`");
}
