//! How many votes are on this node's disk: by that a later life finds out that it runs on an image that was taken while an earlier one ran (DESIGN §5.3,
//! "Restart"). A generation tells only of images from before a start.
//!
//! ```text
//! a transaction with a vote ─> counted in it ─(durable)─> said in the node map, now and then ─> kept by all, and told to the next life of this node
//! ```
//! Invariant: what is said is durable, so a crash takes back nothing of it. Votes of the last seconds before the end may be unsaid: an image that is older
//! than they are and younger than what was said last is not told from the disk.

use std::{mem, time::Duration};

use logvine_gossip::{Instant, Now};

use super::{After, Node, Table};
use crate::{catalog::pack, event::Event};

/// The row with the count.
pub(super) const META_VOTES: &[u8] = b"votes";
/// So often a node says how far its count has come, at the most: a thousand sources that move are one word or two.
const SAY_EVERY: Duration = Duration::from_secs(2);

/// The count, as far as it has come.
#[derive(Debug)]
pub(super) struct Votes {
    /// In the store, or on its way there.
    written: u64,
    durable: u64,
    said: Option<(u64, Instant)>,
    /// The input at hand casts one.
    is_cast: bool,
}

impl Votes {
    pub(super) fn new(on_disk: u64) -> Self {
        Self { written: on_disk, durable: on_disk, said: None, is_cast: false }
    }
}

impl Node {
    /// What this node writes now is a promise, an acceptance, a record, a ballot of its own or another name of its disk. A position is none: owners have theirs held
    /// every second, which would be a word of every node for ever, and who forgets one has promised nothing that he does not know.
    pub(super) fn cast_vote(&mut self) {
        self.votes.is_cast = true;
    }

    /// Counts the votes of the transaction at hand: once, as they become durable together.
    pub(super) fn count_votes(&mut self) -> Option<After> {
        if !mem::take(&mut self.votes.is_cast) {
            return None;
        }
        let votes = self.votes.written.max(self.gossip.votes_told()) + 1;
        self.votes.written = votes;
        self.write(Table::Meta, META_VOTES.to_vec(), Some(pack(&votes).to_vec()));
        Some(After::Counted(votes))
    }

    pub(super) fn note_counted(&mut self, votes: u64) {
        self.votes.durable = votes;
    }

    /// Says the count, where it has grown since it was last said.
    pub(super) fn say_votes(&mut self, now: Now) {
        let durable = self.votes.durable;
        if self.votes.said.is_some_and(|(said, at)| said == durable || now.at.since(at) < SAY_EVERY) {
            return;
        }
        self.votes.said = Some((durable, now.at));
        if let Err(error) = self.gossip.say_votes(now, durable) {
            self.tell(Event::Unsaid { key: "votes".to_owned(), error: error.to_string() });
        }
    }
}
