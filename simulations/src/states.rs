//! What the nodes hold, looked at time and again, and compared with all that was seen before (DESIGN §9, S5 and S7).
//!
//! Each invariant is a function named as a sentence, asked of every glimpse before that joins what was seen.

use std::{collections::BTreeMap, hash::Hasher as _, time::Duration};

use bytes::Bytes;
use logvine_cluster::node::Node;
use logvine_gossip::{Generation, NodeId, Stamp};
use siphasher::sip::SipHasher13;

use crate::{
    host::Life,
    world::{Event, World},
};

/// How often everybody is looked at.
pub(crate) const EVERY: Duration = Duration::from_secs(5);
/// Most nodes in one look; of more a part, another one each time.
const NODES_MAX: usize = 50;

/// A word of a node map: its seq, and a hash over key and value. That compares what nodes of one run hold, and resists nobody.
pub type Word = (u64, u64);

/// One node's state at one time.
#[derive(Debug)]
pub struct Glimpse {
    /// Which process of which host.
    pub process: (usize, Life),
    /// By node, this one's own excepted: the generation and seq of its map as shown here.
    pub maps: BTreeMap<NodeId, (Generation, u64)>,
    /// By node, in their order: the words of those maps, by seq. Empty in what was seen: all that is asked of them later is in [`Seen::words`].
    pub words: Vec<(NodeId, Vec<Word>)>,
    /// By node: the generation under which it is known as a member.
    pub members: BTreeMap<NodeId, Generation>,
    /// By key: who wrote it last.
    pub catalog: BTreeMap<String, (Stamp, NodeId)>,
    /// Rows by table.
    pub tables: [(&'static str, usize); 9],
}

/// All that was seen so far.
#[derive(Debug, Default)]
pub struct Seen {
    /// How many nodes there have ever been.
    pub nodes: usize,
    /// What a node said under a generation and seq: a hash over key and value.
    pub words: BTreeMap<(NodeId, Generation), BTreeMap<u64, u64>>,
    /// Each process as it was last seen.
    pub last: BTreeMap<(usize, Life), Glimpse>,
}

/// Says why a node must not be in this state, given all that was seen before.
pub type Invariant = fn(&Seen, &Glimpse) -> Result<(), String>;

/// Asked of every glimpse, in this order.
pub const STATES: &[(&str, Invariant)] = &[
    ("S5 a seq has one content", a_seq_has_one_content),
    ("S5 node maps never go back", node_maps_never_go_back),
    ("S5 the catalog never goes back", the_catalog_never_goes_back),
    ("S5 members never go back to an older generation", members_never_go_back),
    ("S7 tables stay bounded", tables_stay_bounded),
];

/// S5: whoever holds the word of a node under a generation and seq holds the same word. What a node has not told anybody yet is nobody's: with an old disk it
/// may begin under a generation that others remember, and takes a higher one as soon as it hears of that.
pub fn a_seq_has_one_content(seen: &Seen, glimpse: &Glimpse) -> Result<(), String> {
    for (node, words) in &glimpse.words {
        let generation = glimpse.maps[node].0;
        let Some(known) = seen.words.get(&(*node, generation)) else { continue };
        if let Some((seq, _)) = words.iter().find(|(seq, word)| known.get(seq).is_some_and(|known| known != word)) {
            return Err(format!("there are two words {seq} of {node} under {}", generation.0));
        }
    }
    Ok(())
}

/// S5: a process shows nobody's map in an older state than before.
pub fn node_maps_never_go_back(seen: &Seen, glimpse: &Glimpse) -> Result<(), String> {
    let Some(last) = seen.last.get(&glimpse.process) else { return Ok(()) };
    for (node, (generation, whole_to)) in &glimpse.maps {
        if let Some((before, to)) = last.maps.get(node).filter(|(before, to)| (before, to) > (generation, whole_to)) {
            return Err(format!("the map of {node} was at {}.{to} and is at {}.{whole_to}", before.0, generation.0));
        }
    }
    Ok(())
}

/// S5: a key's entry is never replaced by an older one.
pub fn the_catalog_never_goes_back(seen: &Seen, glimpse: &Glimpse) -> Result<(), String> {
    let Some(last) = seen.last.get(&glimpse.process) else { return Ok(()) };
    for (key, (stamp, origin)) in &glimpse.catalog {
        if let Some(before) = last.catalog.get(key).filter(|before| **before > (*stamp, *origin)) {
            return Err(format!("{key} was written at {} by {}, and then at {stamp} by {origin}", before.0, before.1));
        }
    }
    Ok(())
}

/// S5: no process takes a member for an older one than it knew.
pub fn members_never_go_back(seen: &Seen, glimpse: &Glimpse) -> Result<(), String> {
    let Some(last) = seen.last.get(&glimpse.process) else { return Ok(()) };
    for (node, generation) in &glimpse.members {
        if let Some(before) = last.members.get(node).filter(|before| *before > generation) {
            return Err(format!("{node} was known under {} and is under {}", before.0, generation.0));
        }
    }
    Ok(())
}

/// S7: what a node holds of others grows with their number, and with nothing else.
pub fn tables_stay_bounded(seen: &Seen, glimpse: &Glimpse) -> Result<(), String> {
    for (table, rows) in glimpse.tables {
        let bound = match table {
            "outputs" => 0,
            // Foca's five rounds, and of each node whether it is to be declared down, or to be forgotten as such.
            "timers" => 5 + 2 * seen.nodes,
            // Each node's phase and tags and goodbye, and whatever was written to the catalog in ten seconds.
            "rumours" => 3 * seen.nodes + glimpse.catalog.len(),
            "awaited entries" => glimpse.catalog.len() + 1_024,
            _ => seen.nodes,
        };
        if rows > bound {
            return Err(format!("{rows} rows in the table of {table}, and {bound} are all that {} nodes can ask for", seen.nodes));
        }
    }
    Ok(())
}

impl Seen {
    fn absorb(&mut self, mut glimpse: Glimpse) {
        for (node, words) in std::mem::take(&mut glimpse.words) {
            let known = self.words.entry((node, glimpse.maps[&node].0)).or_default();
            for (seq, word) in words {
                known.entry(seq).or_insert(word);
            }
        }
        self.last.insert(glimpse.process, glimpse);
    }
}

fn glimpse(process: (usize, Life), node: &Node) -> Glimpse {
    let gossip = node.gossip();
    let word = |(seq, key, value): (u64, &str, Option<&Bytes>)| {
        let mut hash = SipHasher13::new();
        for bytes in [key.as_bytes(), &[0, u8::from(value.is_some())], value.map_or(&[], |value| &**value)] {
            hash.write(bytes);
        }
        (seq, hash.finish())
    };
    let map = |id: NodeId| {
        let map = gossip.node_map(&id)?;
        Some(((id, (map.generation(), map.whole_to())), (id, map.words().map(word).collect())))
    };
    let (maps, words) = gossip.members().map(|member| member.id).filter_map(map).unzip();
    Glimpse {
        process,
        maps,
        words,
        members: gossip.members().map(|member| (member.id, member.generation)).collect(),
        catalog: gossip.catalog().iter("").map(|(key, entry)| (key.to_owned(), (entry.stamp, entry.origin))).collect(),
        tables: gossip.tables(),
    }
}

impl World {
    /// Looks at everybody who runs, or at a part of them if they are many.
    pub(crate) fn glance(&mut self) {
        let round = usize::try_from(self.now.as_micros() / u64::try_from(EVERY.as_micros()).expect("seconds")).unwrap_or_default();
        let (count, parts) = (self.hosts.len(), self.hosts.len().div_ceil(NODES_MAX));
        self.seen.nodes = self.names.len();
        for at in (0..count).filter(|at| at % parts == round % parts) {
            let Some(process) = &self.hosts[at].process else { continue };
            let glimpse = glimpse((at, self.hosts[at].life), &process.node);
            for (name, invariant) in STATES {
                if let Err(detail) = invariant(&self.seen, &glimpse) {
                    self.violate(name, format!("{}: {detail}", self.hosts[at].name));
                }
            }
            self.seen.absorb(glimpse);
        }
        self.after(EVERY, Event::Glance);
    }
}
