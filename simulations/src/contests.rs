//! Two words said at once (DESIGN §10): what each had seen is taken down where it is said, so who has lost is known here by another way than the nodes'.
//!
//! What a word wrote and what it had seen is known from its relay's catalog and proposals at that moment. Nodes go by what operations say of themselves.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use logvine_cluster::node::Node;
use logvine_gossip::{Entry, NodeId, Stamp};

use crate::{host::Life, orders::Broken, world::World};

/// A word that writes more says of none of its keys what was there before.
const SEEN_MAX: usize = 1_000;

/// What stood at each key when a word was said.
pub(crate) type Found = BTreeMap<String, Stamp>;

/// All words, by their operations, and what was told of them.
#[derive(Debug, Default)]
pub(crate) struct Contests {
    words: BTreeMap<String, Word>,
    /// By operation: who has told, in which of its lives, that it was overruled.
    told: BTreeMap<String, BTreeSet<(usize, Life)>>,
}

#[derive(Debug)]
struct Word {
    order: (Stamp, NodeId),
    found: Found,
    wrote: BTreeSet<String>,
    /// Its operation as it was said.
    said: Option<Bytes>,
    /// Who ran then, in which of its lives.
    ran: BTreeSet<(usize, Life)>,
}

impl Word {
    /// Whether it has overruled an earlier one that it did not know.
    fn overrules(&self, earlier: &Self) -> bool {
        let unseen = |key: &String| self.found.get(key).copied().unwrap_or(Stamp::ZERO) < earlier.order.0;
        self.order > earlier.order && self.wrote.intersection(&earlier.wrote).any(unseen)
    }

    fn says_what_it_found(&self) -> bool {
        self.wrote.len() <= SEEN_MAX
    }
}

impl World {
    /// What a command to this node finds there: its catalog, and what was said to it before and nobody has taken yet.
    pub(crate) fn found_at(&self, at: usize) -> Found {
        let mut found = Found::new();
        for (key, entry) in self.hosts[at].process.iter().flat_map(|process| entries(&process.node)) {
            let stamp = found.entry(key.to_owned()).or_default();
            *stamp = entry.stamp.max(*stamp);
        }
        found
    }

    /// A node has begun to carry a word on.
    pub(crate) fn note_word(&mut self, at: usize, found: Found) {
        let Some(process) = &self.hosts[at].process else { return };
        let mine = process.node.operations().into_iter().map(|(operation, _)| operation).find(|operation| operation.origin == self.hosts[at].id);
        let Some((id, order)) = mine.map(|operation| (operation.id.clone(), (operation.stamp, operation.origin))) else { return };
        let written = entries(&process.node).filter(|(key, entry)| (entry.stamp, entry.origin) == order && !key.starts_with("operation/"));
        let wrote = written.map(|(key, _)| key.to_owned()).collect();
        let key = format!("operation/{id}");
        let said = entries(&process.node).find(|(other, _)| *other == key).and_then(|(_, entry)| entry.value.clone());
        if self.contests.words.get(&id).is_some_and(|before| before.said != said) {
            return self.violate("S8 an operation's id is given once", format!("{} gave {id} to another word before", self.hosts[at].name));
        }
        let ran = self.hosts.iter().enumerate().filter(|(_, host)| host.process.is_some()).map(|(at, host)| (at, host.life)).collect();
        self.contests.words.entry(id).or_insert(Word { order, found, wrote, said, ran });
    }

    /// A node tells that a word was overruled unseen.
    pub(crate) fn note_overruled(&mut self, at: usize, operation: &str) {
        let life = self.hosts[at].life;
        if !self.contests.told.entry(operation.to_owned()).or_default().insert((at, life)) {
            self.violate("S8 a loser is told once", format!("{} tells of {operation} again", self.hosts[at].name));
        }
    }

    /// S8: every node knows of the words that it has which of them were overruled by one that had not seen them, and who has run since has told it.
    pub(crate) fn losers_are_told(&self) -> Result<(), Broken> {
        for (at, node) in self.running() {
            let words: Vec<(&String, &Word)> =
                self.contests.words.iter().filter(|(id, word)| word.says_what_it_found() && node.catalog().operation(id).is_some()).collect();
            for (id, word) in &words {
                let winner = words.iter().find(|(_, later)| later.overrules(word)).map(|(id, _)| *id);
                self.is_told_as_it_is(at, node, id, word, winner)?;
            }
        }
        Ok(())
    }

    fn is_told_as_it_is(&self, at: usize, node: &Node, id: &str, word: &Word, winner: Option<&String>) -> Result<(), Broken> {
        let known = node.catalog().operation(id).and_then(|operation| node.overruled_by(operation));
        let (viewer, here) = (&self.hosts[at].name, (at, self.hosts[at].life));
        let told = self.contests.told.get(id).is_some_and(|told| told.contains(&here));
        match (winner, known) {
            (Some(winner), None) => Err(("S8 losers are told", format!("to {viewer} {id} was not overruled, and {winner} had not seen it"))),
            (None, Some(by)) => Err(("S8 who was heard has not lost", format!("to {viewer} {id} was overruled unseen by {by}"))),
            (Some(winner), Some(_)) if !told && word.ran.contains(&here) => {
                Err(("S8 losers are told", format!("{viewer} runs since {id} was said, and has not told that {winner} overruled it unseen")))
            }
            _ => Ok(()),
        }
    }

    /// DESIGN §10: of all words on a key that everybody has, the last one holds.
    pub(crate) fn last_writers_hold(&self) -> Result<(), Broken> {
        for (at, node) in self.running() {
            for word in self.contests.words.iter().filter(|(id, _)| node.catalog().operation(id).is_some()).map(|(_, word)| word) {
                for key in &word.wrote {
                    let held = node.gossip().catalog().held(key).map(|entry| (entry.stamp, entry.origin));
                    if held.is_some_and(|held| held < word.order) {
                        let detail = format!("{} holds {key} as of {held:?}, and the word of {:?} is later", self.hosts[at].name, word.order);
                        return Err(("S9 the last word holds", detail));
                    }
                }
            }
        }
        Ok(())
    }
}

/// All that a node holds, and what it has proposed to others.
fn entries(node: &Node) -> impl Iterator<Item = (&str, &Entry)> {
    node.gossip().catalog().held_under("").chain(node.proposed().map(|(key, entry)| (key.as_str(), entry)))
}
