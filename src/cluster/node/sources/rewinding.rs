//! Setting back what this node owns, once an operator has said so (DESIGN §6, `rewind`).
//!
//! A rewind is a catalog entry, and its stamp the generation that a checkpoint counts from. Whoever owns a source whose checkpoint counts from an earlier one
//! sets it back, has a majority of the witnesses hold that, and reads from there. So it is done once, however often the word is heard: the next owner finds
//! the generation in the checkpoint that the witnesses return, and what any former owner still says of its positions is outranked (`checkpoint`).

use std::time::Duration;

use logvine_gossip::Now;

use super::{super::Node, Activity, Then, Try};
use crate::{catalog::Source, checkpoint::Checkpoint, event::Event, member::claim_key, name::Name, record::SourceKey};

impl Node {
    /// Sets a source back that this node owns, if a rewind of it is due. What is in flight is dropped: it is read again.
    pub(super) fn rewind_if_due(&mut self, now: Now, name: &Name, source: &Source) {
        let rewind = self.catalog.rewind_of(name, &source.key);
        let Some(owned) = self.sources.owned.get_mut(&source.key).filter(|owned| owned.activity == Activity::Reading) else { return };
        let (_, present) = owned.progress.last();
        if present.rewind >= rewind {
            return;
        }
        let (bytes, rewound) = (present.bytes_again(), present.rewound(rewind));
        owned.progress.advance(&rewound);
        if owned.claim.is_lost {
            owned.claim.is_lost = false;
            let claim = owned.claim.clone();
            self.say(now, &claim_key(name, &source.key.source), &claim);
        }
        self.tell(Event::Rewound { runner: name.clone(), source: source.key.source.clone(), rewind, bytes });
        self.heartbeat(now, false);
        if self.sources.owned.get(&source.key).is_some_and(|owned| owned.open.is_some()) {
            self.close(now, &source.key, Then::Reopen, Duration::ZERO);
        }
    }

    /// The checkpoint of a source that this node has just got, marked where somebody had read it and no copy of how far is found: it is not read until there
    /// is one, or it is rewound (DESIGN §5.3, "Without a majority"). The mark travels with it: whoever has it next must not read it from its start either.
    pub(super) fn marked_if_lost(&self, key: &SourceKey, attempt: &Try, stored: &Checkpoint, without_majority: bool) -> Checkpoint {
        let mut checkpoint = stored.clone();
        if without_majority && attempt.was_owned && !stored.is_copy() && !self.sources.owned.contains_key(key) {
            // A rewind that was said before is done, for all that is known: another is wanted.
            (checkpoint.lost, checkpoint.rewind) = (true, self.catalog.rewind_of(&attempt.runner, key));
        }
        checkpoint
    }

    /// Whether a source of this runner, owned here, has yet to be set back, or its witnesses to be told that it was.
    pub(in crate::node) fn has_rewind_due(&self, name: &Name) -> bool {
        let mut owned = self.catalog.sources(name).filter_map(|source| Some((source, self.sources.owned.get(&source.key)?)));
        owned.any(|(source, owned)| owned.progress.held().rewind < self.catalog.rewind_of(name, &source.key))
    }
}
