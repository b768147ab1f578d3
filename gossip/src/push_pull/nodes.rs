//! The node maps' part of a comparison.

use bytes::Bytes;

use super::{CALL_STATE_BYTES, DATAGRAM_STATE_BYTES, Replica, packed};
use crate::{
    Generation, NodeId, StateError,
    canary::planted,
    node_map::{Compared, Delta, Held, NodeDelta, NodeMark, Place, packed_size},
    wire::Parts,
};

/// A bucket's roster stands before the first of its places in each message.
const ROSTER_BYTES: usize = 10;

impl Replica {
    /// Takes and answers what a message says and asks of node maps.
    ///
    /// Errors: a word was refused, or a packed part does not decode; all else was taken.
    pub(super) fn answer_nodes(&mut self, parts: &mut Parts, answers: &mut Vec<Parts>) -> Result<(), StateError> {
        let mut result = self.take_news(&parts.node_news);
        result = result.and(self.answer_digests(parts, answers));
        if let Some(marks) = parts.node_marks.take() {
            self.answer_named(&marks, answers);
        }
        self.give_named(&std::mem::take(&mut parts.node_wants), answers);
        for delta in std::mem::take(&mut parts.node_deltas) {
            result = result.and(self.take_delta(&delta.borrowed()));
        }
        result
    }

    fn answer_digests(&mut self, parts: &Parts, answers: &mut Vec<Parts>) -> Result<(), StateError> {
        if !parts.node_tops.is_empty() {
            answers.push(Parts { node_seqs: self.nodes.differing(&parts.node_tops)?.into(), ..Parts::default() });
        }
        self.differed |= !parts.node_tops.is_empty() || !parts.node_seqs.is_empty();
        if !parts.node_seqs.is_empty() {
            let compared = self.nodes.compare_seqs(&parts.node_seqs)?;
            self.answer_compared(&compared, answers);
        }
        if !parts.node_names.is_empty() {
            let compared = self.nodes.compare_names(&parts.node_names)?;
            self.answer_compared(&compared, answers);
        }
        if !parts.node_asks.is_empty() {
            let held = self.nodes.read_asks(&parts.node_asks)?;
            answers.extend(self.news(&held).into_iter().map(|node_news| Parts { node_news, ..Parts::default() }));
        }
        Ok(())
    }

    /// Gives what is newer here, asks for what is newer there, in as few messages as it takes.
    fn answer_compared(&mut self, compared: &Compared, answers: &mut Vec<Parts>) {
        if let Some(generation) = compared.own_generation {
            self.rise_above(generation);
        }
        let mut last =
            Parts { node_asks: self.nodes.asks(&compared.ahead).into(), node_names: self.nodes.names(&compared.unlike).into(), ..Parts::default() };
        let mut news = self.news(&compared.behind);
        let room = DATAGRAM_STATE_BYTES.saturating_sub(last.node_asks.len() + last.node_names.len());
        if let Some(piece) = news.pop_if(|piece| piece.len() <= room) {
            last.node_news = piece;
        }
        answers.extend(news.into_iter().map(|node_news| Parts { node_news, ..Parts::default() }));
        answers.push(last);
    }

    /// The news for who holds so much, in pieces that fit a datagram or a call.
    fn news(&self, behind: &[Held]) -> Vec<Bytes> {
        let mut bucket = None;
        let mut sized = |place: Option<Place>, delta: &Delta<'_>| {
            let before = std::mem::replace(&mut bucket, place.map(|place| place.bucket));
            packed_size(place, delta) + if bucket == before { 0 } else { ROSTER_BYTES }
        };
        let deltas = behind.iter().flat_map(|held| self.nodes.deltas(&held.mark, CALL_STATE_BYTES).into_iter().map(|delta| (held.place, delta)));
        let items = deltas.map(|(place, delta)| (sized(place, &delta), (place, delta))).collect();
        packed(items).iter().map(|pack| self.nodes.news(pack.iter().map(|(place, delta)| (*place, delta))).into()).collect()
    }

    /// What this node said after seq `after`, for who holds it up to there.
    pub(crate) fn own_news(&self, after: u64) -> Vec<Parts> {
        let mark = NodeMark { whole_to: after, ..self.nodes.mark_of(self.me) };
        self.news(&[Held { place: None, mark }]).into_iter().map(|node_news| Parts { node_news, ..Parts::default() }).collect()
    }

    /// Asks for all of `node` that is not held here.
    pub(crate) fn ask(&self, node: NodeId) -> Parts {
        let held = Held { place: None, mark: self.nodes.mark_of(node) };
        Parts { node_asks: self.nodes.asks(&[held]).into(), ..Parts::default() }
    }

    fn take_news(&mut self, news: &[u8]) -> Result<(), StateError> {
        let mut result = Ok(());
        for delta in self.nodes.read_news(news)? {
            result = result.and(self.take_delta(&delta));
        }
        result
    }

    fn take_delta(&mut self, delta: &Delta<'_>) -> Result<(), StateError> {
        if self.nodes.is_forged(delta.node, delta.generation, delta.upto) {
            self.rise_above(delta.generation);
        }
        let heard = self.nodes.apply(delta)?;
        self.quics.extend(delta.quic.map(|quic| (delta.node, delta.generation, quic)));
        self.heard(delta.node, &heard);
        Ok(())
    }

    /// Somebody speaks in this node's name: its next generation overrules that everywhere.
    pub(super) fn rise_above(&mut self, generation: Generation) {
        if !planted("forged-self") {
            self.own_generation_heard = self.own_generation_heard.max(Some(generation));
        }
    }

    /// The marks of a node that does not know the packed ones.
    fn answer_named(&mut self, marks: &[NodeMark], answers: &mut Vec<Parts>) {
        let forged = marks.iter().find(|mark| self.nodes.is_forged(mark.node, mark.generation, mark.whole_to));
        if let Some(generation) = forged.map(|mark| mark.generation) {
            self.rise_above(generation);
        }
        let behind: Vec<NodeMark> = self.nodes.behind(marks).collect();
        self.give_named(&behind, answers);
        let node_wants = self.nodes.wanted(marks);
        if !node_wants.is_empty() {
            answers.push(Parts { node_wants, ..Parts::default() });
        }
    }

    fn give_named(&self, marks: &[NodeMark], answers: &mut Vec<Parts>) {
        let deltas = marks.iter().flat_map(|mark| self.nodes.deltas(mark, CALL_STATE_BYTES)).map(|delta| delta.named());
        let sized = deltas.map(|delta: NodeDelta| (delta.size(), delta)).collect();
        answers.extend(packed(sized).into_iter().map(|node_deltas| Parts { node_deltas, ..Parts::default() }));
    }
}
