//! How the nodes of a scenario gossip: the settings that an operator, or a preset, may choose.

use std::time::Duration;

use logvine_gossip::GossipConfig;
use serde::{Deserialize, Serialize};

use crate::file::seconds;

/// What differs from the `lan` preset, on every node alike.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Knobs {
    #[serde(with = "seconds")]
    pub suspicion: Duration,
    pub indirect_probes: usize,
    pub gossip_members: usize,
    #[serde(with = "seconds")]
    pub push_pull_interval: Duration,
    #[serde(with = "seconds")]
    pub members_interval: Duration,
    pub rumour_bytes_per_second: u32,
    pub rumour_factor: f64,
    pub incarnation: u16,
}

impl Default for Knobs {
    fn default() -> Self {
        let GossipConfig { suspicion, indirect_probes, gossip_members, push_pull_interval, members_interval, .. } = GossipConfig::default();
        let GossipConfig { rumour_bytes_per_second, rumour_factor, incarnation, .. } = GossipConfig::default();
        Self { suspicion, indirect_probes, gossip_members, push_pull_interval, members_interval, rumour_bytes_per_second, rumour_factor, incarnation }
    }
}

impl Knobs {
    /// What a node is started with.
    pub fn config(&self) -> GossipConfig {
        let Self {
            suspicion,
            indirect_probes,
            gossip_members,
            push_pull_interval,
            members_interval,
            rumour_bytes_per_second,
            rumour_factor,
            incarnation,
        } = *self;
        GossipConfig {
            suspicion,
            indirect_probes,
            gossip_members,
            push_pull_interval,
            members_interval,
            rumour_bytes_per_second,
            rumour_factor,
            incarnation,
            ..GossipConfig::default()
        }
    }
}
