//! How foca is set: from the configuration, and from the size of the cluster.

use std::{
    num::{NonZeroU8, NonZeroUsize},
    time::Duration,
};

use foca::{PeriodicParams, State};

use super::{Membership, SWIM_BYTES_MAX};
use crate::{GossipConfig, Now, canary::planted};

/// The fewest transmissions of a membership update: with foca's lan preset (4) one of 16 nodes missed a death for 15 s.
const TRANSMISSIONS_MIN: f64 = 12.0;
/// Up to so many nodes a suspicion's time is as configured: measured with 1,024.
const NODES_FEW: usize = 1_024;
/// How long foca itself remembers the dead. The view keeps them; in foca each costs a timer (512,000 in a split of 1,024).
const REMOVE_DOWN_AFTER: Duration = Duration::from_secs(3_600);

fn periodic(frequency: Duration, members: usize) -> Option<PeriodicParams> {
    Some(PeriodicParams { frequency, num_members: NonZeroUsize::new(members)? })
}

/// How often an update is sent among `nodes`: max(12, 4·log10 n).
pub(super) fn transmissions(nodes: usize) -> NonZeroU8 {
    if planted("few-transmissions") {
        return NonZeroU8::MIN;
    }
    let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
    let wanted = (4.0 * f64::from(nodes.max(1)).log10()).max(TRANSMISSIONS_MIN).ceil();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "12 to 39, for any u32")]
    NonZeroU8::new(wanted as u8).expect("at least twelve")
}

/// How long a suspect has to speak among `nodes`: the configured time, and beyond a thousand as much more as its word needs more hops.
pub(super) fn suspicion(configured: Duration, nodes: usize) -> Duration {
    configured * nodes.max(NODES_FEW).ilog2() / NODES_FEW.ilog2()
}

pub(super) fn foca_config(config: &GossipConfig) -> foca::Config {
    foca::Config {
        probe_period: config.probe_period,
        probe_rtt: config.probe_rtt,
        num_indirect_probes: NonZeroUsize::new(config.indirect_probes).unwrap_or(NonZeroUsize::MIN),
        max_transmissions: transmissions(1),
        suspect_to_down_after: config.suspicion,
        remove_down_after: Some(REMOVE_DOWN_AFTER),
        max_packet_size: NonZeroUsize::new(SWIM_BYTES_MAX).expect("not zero"),
        // Nodes that are declared down would never learn it otherwise.
        notify_down_members: true,
        periodic_announce: periodic(config.announce_interval, 1),
        periodic_announce_to_down_members: periodic(config.announce_down_interval, 2).filter(|_| !planted("no-watchdog")),
        periodic_gossip: periodic(config.gossip_interval, config.gossip_members),
    }
}

impl Membership {
    /// Foca has no way to begin with an incarnation but by refuting the one below it.
    pub(crate) fn begin_at(&mut self, now: Now, incarnation: u16) {
        if let Some(below) = incarnation.checked_sub(1) {
            self.apply(now, vec![foca::Member::new(*self.foca.identity(), below, State::Suspect)]);
        }
    }
}
