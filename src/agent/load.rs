//! Measures how busy this process is, for the balance (`logvine_cluster::balance::load`): the processors' time that it took, how many it may use, and how
//! full its senders' queues are.

use std::{num::NonZero, time::Duration};

use logvine_cluster::{
    balance::load::{HostLoad, bearable},
    ranking::Capacity,
};
use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, sleep};

use super::AgentHandle;
use logvine_runner::Sights;

/// From one measure to the next: as often as the balance looks.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

/// Tells the node how busy this process is, for as long as the node runs.
pub(super) async fn watch(handle: AgentHandle, sights: Sights) {
    let (mut at, mut used) = (Instant::now(), cpu_time());
    loop {
        sleep(MEASURE_EVERY).await;
        let (at_before, used_before) = (std::mem::replace(&mut at, Instant::now()), std::mem::replace(&mut used, cpu_time()));
        let cores = cores();
        let cpu_permille = permille(used.saturating_sub(used_before), at - at_before, cores);
        let host = HostLoad { cpu_permille, queue_permille: sights.queue_permille() };
        let bears = bearable(Capacity(16)).saturating_mul(cores);
        if handle.change(move |node, now| node.handle_host_load(now, host, bears)).await.is_err() {
            return;
        }
    }
}

/// Processors that this process may use now: a container's quota may change while it runs.
pub(super) fn cores() -> u64 {
    std::thread::available_parallelism().map_or(1, NonZero::get) as u64
}

/// The time that this process has spent on all processors.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let (secs, nanos) = (u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0));
    Duration::new(secs, nanos)
}

/// The part of so many processors' time, in thousandths.
fn permille(used: Duration, elapsed: Duration, cores: u64) -> u32 {
    let all = elapsed.as_micros() * u128::from(cores);
    (used.as_micros() * 1_000).checked_div(all).map_or(0, |permille| u32::try_from(permille.min(1_000)).expect("at most 1,000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_all_processors() {
        let secs = Duration::from_secs;
        assert_eq!([permille(secs(5), secs(5), 1), permille(secs(5), secs(5), 4), permille(secs(9), secs(5), 1)], [1_000, 250, 1_000]);
        assert_eq!(permille(secs(1), Duration::ZERO, 2), 0);
    }

    #[test]
    fn what_this_process_works_is_seen() {
        let before = cpu_time();
        let sum: u64 = std::hint::black_box(0..20_000_000_u64).fold(0, u64::wrapping_add);
        assert!(std::hint::black_box(sum) > 0 && cpu_time() > before);
    }
}
