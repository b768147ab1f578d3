//! What was written against what arrived: the demo's last word. Pure; the sink's reader feeds it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::line::LineId;

/// One record in the sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Delivery {
    /// The node that sent it.
    pub(super) node: String,
    /// The record's stable id.
    pub(super) id: String,
    /// The line it was made of; None if it is none of ours.
    pub(super) line: Option<LineId>,
}

/// Everything that arrived, as it arrived.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Who sent each id, first and then again.
    ids: HashMap<String, Vec<u16>>,
    /// Under how many ids each line arrived.
    lines: HashMap<LineId, u32>,
    nodes: Vec<String>,
    killed: BTreeSet<u16>,
    records: u64,
    foreign: u64,
    torn: u64,
}

/// Why records arrived more than once. At-least-once allows it; the id is the same, so a sink that knows ids counts them once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// One of the senders was killed: what it had sent past its last checkpoint was read again.
    Killed,
    /// Two live nodes sent it: the source was handed over before all of it was acknowledged.
    Moved,
    /// One live node sent it twice: it began again from the checkpoint, or an acknowledgement was lost.
    Resent,
}

/// The closing account. All counts are lines or records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Balance {
    pub(super) written: u64,
    /// Lines that arrived, by their content.
    pub(super) delivered: u64,
    /// Records that arrived, by their id.
    pub(super) unique_ids: u64,
    /// Lines that were written and did not arrive, at most 20 of them named.
    pub(super) lost: u64,
    pub(super) lost_first: Vec<LineId>,
    /// Records whose id had arrived before.
    pub(super) repeated: BTreeMap<Cause, u64>,
    /// Lines that arrived under a second id: a sink that knows ids would count them twice.
    pub(super) two_ids: u64,
    /// Records that are none of the lines written.
    pub(super) foreign: u64,
    /// Sink lines that are not JSON.
    pub(super) torn: u64,
}

impl Account {
    /// One more record.
    pub(super) fn add(&mut self, delivery: Delivery) {
        self.records += 1;
        let node = self.node(&delivery.node);
        let senders = self.ids.entry(delivery.id).or_default();
        senders.push(node);
        let first = senders.len() == 1;
        match delivery.line {
            Some(line) if first => *self.lines.entry(line).or_default() += 1,
            Some(_) => {}
            None => self.foreign += 1,
        }
    }

    /// A sink line that was no record.
    pub(super) fn add_torn(&mut self) {
        self.torn += 1;
    }

    /// From now on repeats that `node` took part in are for its death.
    pub(super) fn note_killed(&mut self, node: &str) {
        let node = self.node(node);
        self.killed.insert(node);
    }

    /// Lines that have arrived.
    pub(super) fn delivered(&self) -> u64 {
        self.lines.len() as u64
    }

    /// Closes against `written`: the number of lines of each source, which are numbered from 0.
    pub(super) fn close(&self, written: &BTreeMap<u32, u64>) -> Balance {
        let lines = written.iter().flat_map(|(&source, &count)| (0..count).map(move |number| LineId { source, number }));
        let mut lost = 0;
        let mut lost_first = Vec::new();
        for line in lines.filter(|line| !self.lines.contains_key(line)) {
            lost += 1;
            if lost_first.len() < 20 {
                lost_first.push(line);
            }
        }
        let never_written = self.lines.keys().filter(|line| written.get(&line.source).is_none_or(|&count| line.number >= count)).count() as u64;
        let mut repeated = BTreeMap::new();
        for senders in self.ids.values().filter(|senders| senders.len() > 1) {
            *repeated.entry(self.cause(senders)).or_default() += senders.len() as u64 - 1;
        }
        Balance {
            written: written.values().sum(),
            delivered: self.delivered() - never_written,
            unique_ids: self.ids.len() as u64,
            lost,
            lost_first,
            repeated,
            two_ids: self.lines.values().map(|&ids| u64::from(ids) - 1).sum(),
            foreign: self.foreign + never_written,
            torn: self.torn,
        }
    }

    fn cause(&self, senders: &[u16]) -> Cause {
        if senders.iter().any(|node| self.killed.contains(node)) {
            Cause::Killed
        } else if senders.iter().any(|node| node != &senders[0]) {
            Cause::Moved
        } else {
            Cause::Resent
        }
    }

    fn node(&mut self, name: &str) -> u16 {
        let at = self.nodes.iter().position(|node| node == name).unwrap_or_else(|| {
            self.nodes.push(name.to_owned());
            self.nodes.len() - 1
        });
        u16::try_from(at).expect("a demo has few nodes")
    }
}

impl Balance {
    /// Whether every line written arrived, and nothing else did.
    pub(super) fn holds(&self) -> bool {
        self.lost == 0 && self.two_ids == 0 && self.foreign == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(node: &str, id: &str, source: u32, number: u64) -> Delivery {
        Delivery { node: node.to_owned(), id: id.to_owned(), line: Some(LineId { source, number }) }
    }

    fn account(deliveries: &[Delivery]) -> Account {
        let mut account = Account::default();
        deliveries.iter().cloned().for_each(|delivery| account.add(delivery));
        account
    }

    #[test]
    fn all_that_was_written_once_holds() {
        let balance =
            account(&[delivery("node-1", "a", 1, 0), delivery("node-2", "b", 1, 1), delivery("node-1", "c", 2, 0)]).close(&[(1, 2), (2, 1)].into());
        assert!(balance.holds());
        assert_eq!((balance.written, balance.delivered, balance.unique_ids, balance.repeated.len()), (3, 3, 3, 0));
    }

    #[test]
    fn a_line_that_never_came_is_lost_and_named() {
        let balance = account(&[delivery("node-1", "a", 1, 0), delivery("node-1", "c", 1, 2)]).close(&[(1, 3)].into());
        assert!(!balance.holds());
        assert_eq!((balance.lost, balance.lost_first), (1, vec![LineId { source: 1, number: 1 }]));
    }

    #[test]
    fn repeats_are_counted_by_cause_and_are_no_loss() {
        let mut account = account(&[
            delivery("node-1", "a", 1, 0),
            delivery("node-2", "a", 1, 0),
            delivery("node-2", "b", 1, 1),
            delivery("node-3", "b", 1, 1),
            delivery("node-3", "c", 1, 2),
            delivery("node-3", "c", 1, 2),
            delivery("node-3", "c", 1, 2),
        ]);
        account.note_killed("node-1");
        let balance = account.close(&[(1, 3)].into());
        assert!(balance.holds());
        assert_eq!(balance.repeated, [(Cause::Killed, 1), (Cause::Moved, 1), (Cause::Resent, 2)].into());
    }

    /// An id that changes with the owner would make every repeat a second record for the sink.
    #[test]
    fn one_line_under_two_ids_does_not_hold() {
        let balance = account(&[delivery("node-1", "a", 1, 0), delivery("node-2", "other", 1, 0)]).close(&[(1, 1)].into());
        assert!(!balance.holds());
        assert_eq!((balance.two_ids, balance.lost), (1, 0));
    }

    #[test]
    fn what_was_never_written_does_not_hold() {
        let mut account = account(&[delivery("node-1", "a", 1, 0), delivery("node-1", "b", 1, 7)]);
        account.add(Delivery { node: "node-1".to_owned(), id: "c".to_owned(), line: None });
        let balance = account.close(&[(1, 1)].into());
        assert!(!balance.holds());
        assert_eq!((balance.foreign, balance.delivered), (2, 1));
    }
}
