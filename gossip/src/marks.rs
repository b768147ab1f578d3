//! Marks: rare situations that a run of all the simulator's seeds must have come into, or its seeds are too tame (DESIGN §9, *sometimes*).
//!
//! The feature `marks` compiles the counters, for simulations alone. Without it [`reached`] is a constant nothing, and the agent has none of it.

#[cfg(feature = "marks")]
use std::{cell::RefCell, collections::BTreeMap};

/// The situations that this package can see: each name, and where it is looked for.
pub const MARKS: &[&str] = &[
    "a suspicion was refuted while its timer ran",
    "a suspect was told of its suspicion and spoke",
    "timers that were late were put off, as this node had stood still",
    "a welcome told of a higher generation of this node's own",
    "a ping in short went unanswered and was said in long",
    "a ping in short was of nobody known",
    "a goodbye was learnt from a third node",
    "a push-pull repaired what rumours lost",
    "a rumour named an entry that was too large for it",
    "a rumoured word came before the words ahead of it",
    "a node map of a new generation came in pieces",
    "who was behind a floor took the whole map",
    "an entry from below a peer's floor was dropped",
    "state that was too large for datagrams went by a call",
];

#[cfg(feature = "marks")]
thread_local! {
    static REACHED: RefCell<BTreeMap<&'static str, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// Counts that this situation came about, on this thread.
#[cfg(feature = "marks")]
pub fn reached(name: &'static str) {
    REACHED.with_borrow_mut(|reached| *reached.entry(name).or_default() += 1);
}

/// Counts that this situation came about: not in this build.
#[cfg(not(feature = "marks"))]
pub const fn reached(_name: &'static str) {}

/// What was counted on this thread since it was last asked.
#[cfg(feature = "marks")]
pub fn take() -> BTreeMap<&'static str, u64> {
    REACHED.take()
}
