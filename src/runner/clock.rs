//! The host's clocks, as the pure machines want them.

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use logvine_gossip::{Instant, Now, UnixMicros};
use tokio::time::Instant as HostInstant;

/// The data plane's zero.
static ZERO: LazyLock<HostInstant> = LazyLock::new(HostInstant::now);

/// Both clocks.
pub(super) fn now() -> Now {
    let wall = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX));
    let at = u64::try_from(HostInstant::now().saturating_duration_since(*ZERO).as_micros()).unwrap_or(u64::MAX);
    Now { at: Instant::from_micros(at), wall: UnixMicros(wall) }
}

/// Sleeps until `due`; for ever without one.
pub(super) async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(*ZERO + Duration::from_micros(due.as_micros())).await,
        None => std::future::pending().await,
    }
}
