//! How fast a source may be read that is too large for any other node, where its own is full with it (DESIGN §5.2, rate cap).
//!
//! It waits then, so that what is beside it need not. It gets all that the others leave, and never less than half of what the smallest node bears: so much
//! fits everywhere when all nodes are full. A node that is not full holds nothing back, however unequal the nodes are: a cap by the mean alone would have a
//! source fall behind for ever where nobody suffers by it.

use logvine_gossip::NodeId;

use super::{Held, pool::Pool};

/// A node is full at this part of what it bears, in thousandths, and is held below it.
const FULL_PERMILLE: u64 = 950;
const HELD_TO_PERMILLE: u64 = 900;

/// The bytes a second to which `held` is held back from now on; None: to nothing. `before`: to how many it was until now.
///
/// A cap ends when its source needs clearly less.
pub(super) fn cap<K>(pool: &Pool, me: NodeId, held: &Held<K>, before: Option<u64>) -> Option<u64> {
    let (load, bears) = (pool.load(me), pool.bearable(me));
    let begins = load > bears / 1_000 * FULL_PERMILLE;
    let goes_on = before.is_some_and(|cap| held.rate >= cap - cap / 8);
    let beside = load.saturating_sub(pool.weight(me, held.rate));
    let left = pool.rate_of(me, (bears / 1_000 * HELD_TO_PERMILLE).saturating_sub(beside));
    (begins || goes_on).then(|| left.max(pool.half_of_the_smallest()))
}
