//! Which way a question goes: straight to its node, or through two others where the direct way is cut (DESIGN §6).
//!
//! A question changes nothing, and an order about keys nothing more when it comes twice: what may have arrived is asked again all the same.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use logvine_gossip::NodeId;

/// Nodes that are asked to pass a question on.
const HELPERS: usize = 2;
/// So long a way that was found cut is tried last: a tap asks every two seconds, and shall not wait for a dead way each time.
const CUT_FOR: Duration = Duration::from_secs(30);
/// Cut ways that are remembered.
const CUTS_MAX: usize = 1_000;

/// Why a way brought no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lost {
    /// Nothing came: another way may do.
    Cut(String),
    /// The node, or a helper on whose word it is, does not answer this question on any way.
    Refused(String),
}

/// A way to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Direct,
    Through(NodeId),
}

/// What is known of ways.
#[derive(Debug, Default)]
pub(super) struct Ways {
    cut: Mutex<BTreeMap<NodeId, Instant>>,
}

/// One question on its ways.
#[derive(Debug)]
pub(super) struct Errand<'a> {
    ways: &'a Ways,
    begun: Instant,
    to: NodeId,
    left: VecDeque<Way>,
    /// What was wrong with the first of its ways.
    lost: Option<String>,
}

impl Ways {
    /// A question to `to`; `others` are nodes that may help, the best first.
    pub(super) fn to(&self, now: Instant, to: NodeId, others: impl Iterator<Item = NodeId>) -> Errand<'_> {
        let mut left: VecDeque<Way> = others.filter(|node| *node != to).take(HELPERS).map(Way::Through).collect();
        if self.is_cut(now, to) {
            left.push_back(Way::Direct);
        } else {
            left.push_front(Way::Direct);
        }
        Errand { ways: self, begun: now, to, left, lost: None }
    }

    fn is_cut(&self, now: Instant, to: NodeId) -> bool {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner).get(&to).is_some_and(|since| now.saturating_duration_since(*since) < CUT_FOR)
    }

    fn note(&self, now: Instant, to: NodeId, is_cut: bool) {
        let mut cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        cut.retain(|_, since| now.saturating_duration_since(*since) < CUT_FOR);
        if !is_cut {
            cut.remove(&to);
        } else if cut.len() < CUTS_MAX {
            cut.insert(to, now);
        }
    }
}

impl Errand<'_> {
    /// Which way to go next; none: all were gone in vain, and why.
    pub(super) fn next(&mut self) -> Result<Way, Lost> {
        self.left.pop_front().ok_or_else(|| Lost::Cut(self.lost.take().unwrap_or_default()))
    }

    /// What a way has brought: the end of the errand, unless another way is to be tried.
    pub(super) fn end<T>(&mut self, way: Way, brought: Result<T, Lost>) -> Option<Result<T, Lost>> {
        if way == Way::Direct {
            self.ways.note(self.begun, self.to, matches!(brought, Err(Lost::Cut(_))));
        }
        match brought {
            Err(Lost::Cut(why)) => drop(self.lost.get_or_insert(why)),
            // A helper that does not help is no word of the node's.
            Err(Lost::Refused(why)) if way != Way::Direct => drop(self.lost.get_or_insert(why)),
            brought => return Some(brought),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> NodeId {
        NodeId([n; 16])
    }

    fn cut() -> Lost {
        Lost::Cut("no route".to_owned())
    }

    /// What came of a question, and which ways it went.
    fn gone_at(now: Instant, ways: &Ways, brings: impl Fn(Way) -> Result<u8, Lost>) -> (Result<u8, Lost>, Vec<Way>) {
        let mut errand = ways.to(now, id(9), [id(9), id(1), id(2), id(3)].into_iter());
        let mut gone = Vec::new();
        loop {
            let way = match errand.next() {
                Ok(way) => way,
                Err(lost) => return (Err(lost), gone),
            };
            gone.push(way);
            if let Some(end) = errand.end(way, brings(way)) {
                return (end, gone);
            }
        }
    }

    fn gone(ways: &Ways, brings: impl Fn(Way) -> Result<u8, Lost>) -> (Result<u8, Lost>, Vec<Way>) {
        gone_at(Instant::now(), ways, brings)
    }

    #[test]
    fn the_direct_way_is_gone_alone_where_it_leads_there() {
        assert_eq!(gone(&Ways::default(), |_| Ok(7)), (Ok(7), vec![Way::Direct]));
    }

    #[test]
    fn two_others_are_asked_one_after_the_other_where_the_direct_way_is_cut() {
        let brings = |way| if way == Way::Through(id(2)) { Ok(7) } else { Err(cut()) };
        assert_eq!(gone(&Ways::default(), brings), (Ok(7), vec![Way::Direct, Way::Through(id(1)), Way::Through(id(2))]));
        let (lost, ways) = gone(&Ways::default(), |_| Err(cut()));
        assert_eq!((lost, ways.len()), (Err(cut()), 3), "and no third");
    }

    #[test]
    fn what_the_node_itself_refuses_is_not_asked_again() {
        let refused = || Lost::Refused("it does not run there".to_owned());
        assert_eq!(gone(&Ways::default(), |_| Err(refused())), (Err(refused()), vec![Way::Direct]));
        let busy = |way| match way {
            Way::Direct => Err(cut()),
            Way::Through(helper) if helper == id(1) => Err(refused()),
            Way::Through(_) => Ok(7),
        };
        assert_eq!(gone(&Ways::default(), busy).0, Ok(7), "a helper that does not help is no word of the node's");
    }

    #[test]
    fn a_way_that_was_cut_is_tried_last_for_a_while_and_first_again_once_it_leads_there() {
        let (ways, begin) = (Ways::default(), Instant::now());
        let through = |way| if way == Way::Direct { Err(cut()) } else { Ok(7) };
        let direct = |way| if way == Way::Direct { Ok(7) } else { Err(cut()) };
        gone_at(begin, &ways, through).0.unwrap();
        assert_eq!(gone_at(begin, &ways, through).1, [Way::Through(id(1))]);
        assert_eq!(gone_at(begin, &ways, direct).1, [Way::Through(id(1)), Way::Through(id(2)), Way::Direct]);
        assert_eq!(gone_at(begin, &ways, direct).1, [Way::Direct]);
        gone_at(begin, &ways, through).0.unwrap();
        assert_eq!(gone_at(begin + CUT_FOR, &ways, direct).1, [Way::Direct]);
    }
}
