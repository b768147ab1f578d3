//! Which stamps this node may have given, so that none is given twice (DESIGN §6): what a relay has said and nobody has accepted is on no disk of its own.
//!
//! ```text
//! command ─stamp─┬─ reserved ──────────────────────────────────────────> it is said
//!                └─ above: all of the next second ─Persist─> reserved ─┘
//! start ──> above all that was reserved
//! ```
//! Not here: which stamp is next, and that a life whose disk is an old copy, or empty, hits none that was given (`logvine_gossip`).

use logvine_gossip::{Now, Stamp};

use super::{After, Node, Table};
use crate::{canary::planted, catalog::pack};

/// Stamps below this may have been given.
pub(super) const META_STAMPS: &[u8] = b"stamps";
/// So much is reserved at once: commands that come one upon the other need no write each, and a node that comes back at once is hardly ahead of its clock.
const RESERVED_MS: u64 = 1_000;

/// What is reserved.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    /// On disk.
    reserved: Stamp,
    /// On disk, or about to be.
    asked: Stamp,
}

impl Node {
    /// Has a stamp reserved. Whether it is already, and may be said; else [`Node::note_stamps`] says when.
    pub(super) fn reserve_stamp(&mut self, stamp: Stamp) -> bool {
        if stamp >= self.stamps.asked {
            self.stamps.asked = Stamp::from_millis(stamp.as_millis() + RESERVED_MS);
            self.write(Table::Meta, META_STAMPS.to_vec(), Some(pack(&self.stamps.asked).to_vec()));
            self.after.push(After::Stamps(self.stamps.asked));
        }
        stamp < self.stamps.reserved || planted("stamp-not-kept")
    }

    /// Stamps up to this are reserved on disk.
    pub(super) fn note_stamps(&mut self, now: Now, up_to: Stamp) {
        self.stamps.reserved = self.stamps.reserved.max(up_to);
        self.begin_proposals(now, self.stamps.reserved);
    }
}
