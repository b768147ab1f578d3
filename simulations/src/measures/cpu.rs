//! The CPU time that this thread has taken: the one figure here that is not virtual. Nothing of a run depends on it.

use std::time::Duration;

/// None where the system does not tell (it is not Linux).
pub(super) fn taken() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// What `work` took, and what came of it.
pub(super) fn of<T>(work: impl FnOnce() -> T) -> (Option<Duration>, T) {
    let before = taken();
    let result = work();
    (taken().zip(before).map(|(after, before)| after.saturating_sub(before)), result)
}
