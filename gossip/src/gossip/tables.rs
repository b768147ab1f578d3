//! How much a node holds: each table by its name, so that a host can see that none grows without bound.

use super::Gossip;

impl Gossip {
    /// Every table with the number of its rows, except the catalog and the node maps, which are read as such.
    pub fn tables(&self) -> [(&'static str, usize); 9] {
        let [members, timers, suspects] = self.membership.sizes();
        [
            ("members", members),
            ("timers", timers),
            ("suspects", suspects),
            ("rumours", self.rumours.len()),
            ("goodbyes", self.goodbyes.len()),
            ("awaited entries", self.awaited.len()),
            ("nodes met", self.met.len()),
            ("calls under way", self.calling.len()),
            ("outputs", self.outputs.len()),
        ]
    }
}
