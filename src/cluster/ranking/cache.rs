//! The rankings of many sources over the same nodes: the best eight of each, patched as nodes come, go and change (DESIGN §5.1).
//!
//! ```text
//! row of a source: its best nodes, exactly; 8 of them, fewer once some have gone, never fewer than 4 while there are as many nodes
//! ```
//! A node that comes is compared with the last of each row; one that goes is taken out of its rows. Rows that run short are ranked anew.
//! The order is that of [`ranking`](super::ranking), which is the definition; a property test holds the two equal.

use std::{cmp::Reverse, collections::BTreeMap};

use logvine_gossip::NodeId;

use super::{Capacity, RankingKey, begin, join, score};

/// Nodes kept of each source.
pub const TOP: usize = 8;
/// A row with fewer is ranked anew, if there are more nodes.
const LEAST: usize = 4;

/// Where a row has nobody, and the slot of no node.
const NOBODY: u16 = u16::MAX;

/// The best nodes of many sources. `K` names a source.
#[derive(Debug, Clone)]
pub struct Rankings<K> {
    /// Nodes by slot; a slot whose node has gone is used again.
    slots: Vec<Slot>,
    nodes: BTreeMap<NodeId, u16>,
    free: Vec<u16>,
    /// The nodes as whole rankings want them; none since they have changed.
    field: Option<Field>,
    rows: BTreeMap<K, usize>,
    keys: Vec<K>,
    /// By row: the hash that every pair of its begins with.
    begun: Vec<u64>,
    /// By row: the slots of its best nodes, best first; then `NOBODY`.
    best: Vec<[u16; TOP]>,
    /// By row: a node whose score is below this changes nothing.
    bars: Vec<i32>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    id: NodeId,
    capacity: Capacity,
}

/// A node's place in the order of one row: the greater, the better.
type Place = (i32, u64, NodeId);

impl<K> Default for Rankings<K> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            nodes: BTreeMap::new(),
            free: Vec::new(),
            field: None,
            rows: BTreeMap::new(),
            keys: Vec::new(),
            begun: Vec::new(),
            best: Vec::new(),
            bars: Vec::new(),
        }
    }
}

impl<K: Ord + Clone> Rankings<K> {
    /// The best nodes of a source, best first: all of them, or at least four. Its row is made if there is none.
    pub fn best(&mut self, key: &K, ranking_key: impl FnOnce(&K) -> RankingKey) -> impl Iterator<Item = NodeId> + Clone {
        let row = match self.rows.get(key) {
            Some(row) => *row,
            None => self.insert(key.clone(), ranking_key(key)),
        };
        let kept = self.best[row].iter().take_while(|slot| **slot != NOBODY);
        kept.map(|slot| self.slots[usize::from(*slot)].id)
    }

    /// Adds a source, and ranks all nodes for it. Returns its row.
    pub fn insert(&mut self, key: K, ranking_key: RankingKey) -> usize {
        if let Some(row) = self.rows.get(&key) {
            return *row;
        }
        let row = self.keys.len();
        self.rows.insert(key.clone(), row);
        self.keys.push(key);
        self.begun.push(begin(ranking_key));
        self.best.push([NOBODY; TOP]);
        self.bars.push(i32::MIN);
        self.rank(row);
        row
    }

    /// Adds many sources at once, and ranks all nodes for each.
    pub fn extend(&mut self, sources: impl IntoIterator<Item = (K, RankingKey)>) {
        for (key, ranking_key) in sources {
            self.insert(key, ranking_key);
        }
    }

    /// Forgets the sources for which `keep` does not hold.
    pub fn retain(&mut self, mut keep: impl FnMut(&K) -> bool) {
        for row in (0..self.keys.len()).rev() {
            if !keep(&self.keys[row]) {
                self.rows.remove(&self.keys[row]);
                self.keys.swap_remove(row);
                self.begun.swap_remove(row);
                self.best.swap_remove(row);
                self.bars.swap_remove(row);
                if let Some(moved) = self.keys.get(row) {
                    *self.rows.get_mut(moved).expect("every key has its row") = row;
                }
            }
        }
    }

    /// Whether no source has a row.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// These are the nodes from now on. What changed is patched; where most did, all is ranked anew.
    ///
    /// Panics: beyond 65,000 nodes.
    pub fn set_nodes<'a>(&mut self, nodes: impl IntoIterator<Item = (&'a NodeId, Capacity)>) {
        let nodes: BTreeMap<NodeId, Capacity> = nodes.into_iter().map(|(id, capacity)| (*id, capacity)).collect();
        let gone: Vec<_> = self.nodes.keys().filter(|id| !nodes.contains_key(id)).copied().collect();
        let capacity_of = |id: &NodeId| self.nodes.get(id).map(|slot| self.slots[usize::from(*slot)].capacity);
        let changed: Vec<_> = nodes.iter().filter(|(id, capacity)| capacity_of(id) != Some(**capacity)).map(|(id, to)| (*id, *to)).collect();
        if (gone.len() + changed.len()) * 4 > nodes.len() + LEAST * 4 {
            self.slots = nodes.iter().map(|(id, capacity)| Slot { id: *id, capacity: *capacity }).collect();
            self.nodes = (0..NOBODY).zip(&self.slots).map(|(slot, node)| (node.id, slot)).collect();
            assert_eq!(self.nodes.len(), self.slots.len(), "at most 65,000 nodes");
            self.free.clear();
            self.field = None;
            (0..self.keys.len()).for_each(|row| self.rank(row));
            return;
        }
        gone.iter().for_each(|id| self.remove_node(id));
        changed.iter().for_each(|(id, capacity)| self.set_node(*id, *capacity));
    }

    /// A node comes, or has another capacity. Cost: one pair for each source.
    pub fn set_node(&mut self, id: NodeId, capacity: Capacity) {
        let known = self.nodes.get(&id).copied();
        if known.is_some_and(|slot| self.slots[usize::from(slot)].capacity == capacity) {
            return;
        }
        let greatest = known.map_or(capacity, |slot| self.slots[usize::from(slot)].capacity.max(capacity));
        let least = self.least_hash(greatest);
        let node = Slot { id, capacity };
        let slot = known.or_else(|| self.free.pop()).unwrap_or_else(|| {
            self.slots.push(node);
            u16::try_from(self.slots.len() - 1).ok().filter(|slot| *slot != NOBODY).expect("at most 65,000 nodes")
        });
        self.slots[usize::from(slot)] = node;
        self.nodes.insert(id, slot);
        self.field = None;
        let Some(least) = least else { return };
        for row in 0..self.keys.len() {
            let hash = join(self.begun[row], &id);
            if hash < least {
                continue;
            }
            let was_kept = known.is_some() && self.take_out(row, slot);
            if was_kept || score(hash, capacity) >= self.bars[row] {
                self.admit(row, slot);
            }
            if was_kept {
                self.fill(row);
            }
        }
    }

    /// A node goes. Cost: a look at each row.
    pub fn remove_node(&mut self, id: &NodeId) {
        let Some(slot) = self.nodes.remove(id) else { return };
        self.free.push(slot);
        self.field = None;
        // Where few are left, a row may keep all of them now without having kept this one.
        let few = self.nodes.len() <= TOP;
        for row in 0..self.keys.len() {
            if self.take_out(row, slot) || few {
                self.fill(row);
            }
        }
    }

    /// The least hash of a node of this capacity that any row could have to do with; none if no hash is great enough.
    fn least_hash(&self, capacity: Capacity) -> Option<u64> {
        least_hash(capacity, self.bars.iter().copied().min()?)
    }

    fn kept(&self, row: usize) -> usize {
        self.best[row].iter().position(|slot| *slot == NOBODY).unwrap_or(TOP)
    }

    fn place(&self, row: usize, slot: u16) -> Place {
        let Slot { id, capacity } = self.slots[usize::from(slot)];
        let hash = join(self.begun[row], &id);
        (score(hash, capacity), hash, id)
    }

    /// Takes a node out of a row. Returns whether it was there.
    fn take_out(&mut self, row: usize, slot: u16) -> bool {
        let Some(at) = self.best[row].iter().position(|kept| *kept == slot) else { return false };
        self.best[row].copy_within(at + 1.., at);
        self.best[row][TOP - 1] = NOBODY;
        true
    }

    /// Puts a node into a row, if it is better than the row's last or the row has all that there are.
    fn admit(&mut self, row: usize, slot: u16) {
        let (place, kept) = (self.place(row, slot), self.kept(row));
        let at = self.best[row][..kept].partition_point(|other| self.place(row, *other) > place);
        // Below the last there may be nodes that the row does not keep, better than this one.
        let is_whole = kept + 1 == self.nodes.len();
        if at < TOP && (at < kept || is_whole) {
            self.best[row].copy_within(at..TOP - 1, at + 1);
            self.best[row][at] = slot;
            self.set_bar(row);
        }
    }

    /// After something was taken out of a row: ranks it anew if it has become short.
    fn fill(&mut self, row: usize) {
        let kept = self.kept(row);
        if kept < LEAST && kept < self.nodes.len() { self.rank(row) } else { self.set_bar(row) }
    }

    fn set_bar(&mut self, row: usize) {
        let kept = self.kept(row);
        let is_open = kept < TOP && kept == self.nodes.len();
        self.bars[row] = if is_open { i32::MIN } else { self.place(row, self.best[row][kept - 1]).0 };
    }

    /// Ranks all nodes for a row.
    fn rank(&mut self, row: usize) {
        let begun = self.begun[row];
        let field = self.field.take().unwrap_or_else(|| Field::of(&self.nodes, &self.slots));
        self.best[row] = field.best(begun, |slot| self.slots[usize::from(slot)].id);
        self.field = Some(field);
        self.set_bar(row);
    }
}

/// The least hash with which a node of this capacity has at least this score; none if no hash gives as much.
fn least_hash(capacity: Capacity, least: i32) -> Option<u64> {
    let (mut below, mut enough) = (0_u64, u64::MAX);
    if score(enough, capacity) < least {
        return None;
    }
    while below < enough {
        let middle = below + (enough - below) / 2;
        if score(middle, capacity) >= least { enough = middle } else { below = middle + 1 }
    }
    Some(enough)
}

/// All nodes by capacity, for whole rankings. Among equals the hash alone decides, so that scores are needed for a few only: those whose hash is above what
/// [`LIKELY`] nodes are expected to have.
#[derive(Debug, Clone)]
struct Field {
    /// Of one capacity each: from where on in `nodes`, and the least hash that is worth a score.
    classes: Vec<(Capacity, usize, u64)>,
    nodes: Vec<(NodeId, u16)>,
}

/// Nodes that are scored for each row, on average; a row in 1,500 has less than eight of them, and all nodes are scored for it.
const LIKELY: u128 = 20;

impl Field {
    fn of(nodes: &BTreeMap<NodeId, u16>, slots: &[Slot]) -> Self {
        let mut nodes: Vec<_> = nodes.iter().map(|(id, slot)| (*id, *slot)).collect();
        nodes.sort_by_key(|(id, slot)| (slots[usize::from(*slot)].capacity, *id));
        let mut classes: Vec<(Capacity, usize, u64)> = Vec::new();
        for (at, (_, slot)) in nodes.iter().enumerate() {
            let capacity = slots[usize::from(*slot)].capacity;
            if classes.last().is_none_or(|(last, ..)| *last != capacity) {
                classes.push((capacity, at, 0));
            }
        }
        let mut field = Self { classes, nodes };
        // The greatest score that so many nodes are expected to have.
        let (mut enough, mut too_much) = (i32::MIN / 2, i32::MAX / 2);
        while enough + 1 < too_much {
            let middle = enough + (too_much - enough) / 2;
            field.set_least(middle);
            let expected: u128 = field.ranges().map(|(_, of, least)| u128::from(u64::MAX - least) * of.len() as u128).sum();
            if expected >> 64 >= LIKELY { enough = middle } else { too_much = middle }
        }
        field.set_least(enough);
        field
    }

    fn set_least(&mut self, bar: i32) {
        for (capacity, _, least) in &mut self.classes {
            *least = least_hash(*capacity, bar).unwrap_or(u64::MAX);
        }
    }

    fn ranges(&self) -> impl Iterator<Item = (Capacity, &[(NodeId, u16)], u64)> {
        let ends = self.classes.iter().skip(1).map(|(_, from, _)| *from).chain([self.nodes.len()]);
        self.classes.iter().zip(ends).map(|((capacity, from, least), to)| (*capacity, &self.nodes[*from..to], *least))
    }

    /// The slots of the best nodes for a row, best first.
    fn best(&self, begun: u64, id: impl Fn(u16) -> NodeId) -> [u16; TOP] {
        let mut found: Vec<(i32, u64, u16)> = Vec::with_capacity(64);
        let gather = |found: &mut Vec<_>, all: bool| {
            for (capacity, nodes, least) in self.ranges() {
                let least = if all { 0 } else { least };
                for (id, slot) in nodes {
                    let hash = join(begun, id);
                    if hash >= least {
                        found.push((score(hash, capacity), hash, *slot));
                    }
                }
            }
        };
        gather(&mut found, false);
        if found.len() < TOP.min(self.nodes.len()) {
            found.clear();
            gather(&mut found, true);
        }
        found.sort_unstable_by_key(|(score, hash, slot)| Reverse((*score, *hash, id(*slot))));
        let mut best = [NOBODY; TOP];
        for (kept, (.., slot)) in best.iter_mut().zip(found) {
            *kept = slot;
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ranking::ranking;

    #[derive(Debug, Clone)]
    enum Step {
        Node(u8, u8),
        NodeGone(u8),
        Nodes(Vec<(u8, u8)>),
        Source(u64),
        SourcesGone(u64),
    }

    fn node(n: u8) -> NodeId {
        NodeId([n; 16])
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let nodes = || prop::collection::vec((1_u8..30, 8_u8..14), 0..30);
        let step = prop_oneof![
            4 => (1_u8..30, 8_u8..14).prop_map(|(n, capacity)| Step::Node(n, capacity)),
            5 => (1_u8..30).prop_map(Step::NodeGone),
            1 => nodes().prop_map(Step::Nodes),
            2 => any::<u64>().prop_map(Step::Source),
            1 => (2_u64..9).prop_map(Step::SourcesGone),
        ];
        (nodes(), prop::collection::vec(step, 1..60)).prop_map(|(nodes, mut steps)| {
            steps.insert(0, Step::Nodes(nodes));
            steps
        })
    }

    fn carry_out(rankings: &mut Rankings<u64>, nodes: &mut BTreeMap<NodeId, Capacity>, sources: &mut Vec<u64>, step: Step) {
        match step {
            Step::Node(n, capacity) => {
                nodes.insert(node(n), Capacity(capacity));
                rankings.set_node(node(n), Capacity(capacity));
            }
            Step::NodeGone(n) => {
                nodes.remove(&node(n));
                rankings.remove_node(&node(n));
            }
            Step::Nodes(to) => {
                *nodes = to.into_iter().map(|(n, capacity)| (node(n), Capacity(capacity))).collect();
                rankings.set_nodes(nodes.iter().map(|(id, capacity)| (id, *capacity)));
            }
            Step::Source(key) => {
                sources.push(key);
                rankings.insert(key, RankingKey(key));
            }
            Step::SourcesGone(modulus) => {
                sources.retain(|key| key % modulus != 0);
                rankings.retain(|key| key % modulus != 0);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        /// DESIGN §5.1: whatever comes, goes and changes, every row is the beginning of the crate's ranking.
        #[test]
        fn rows_are_what_the_crate_ranks(steps in steps()) {
            let (mut rankings, mut nodes, mut sources) = (Rankings::default(), BTreeMap::new(), vec![1, 2, 3]);
            rankings.extend([1, 2, 3].map(|key| (key, RankingKey(key))));
            for step in steps {
                carry_out(&mut rankings, &mut nodes, &mut sources, step);
                for key in &sources {
                    let kept: Vec<_> = rankings.best(key, |key| RankingKey(*key)).collect();
                    prop_assert!(kept.len() >= nodes.len().min(LEAST), "{} of {}", kept.len(), nodes.len());
                    prop_assert_eq!(&kept, &ranking(&nodes, RankingKey(*key), kept.len()));
                }
            }
        }
    }
}
