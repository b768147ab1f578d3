//! S4: what an owner may send, and what is sent again.

use crate::{
    custody::Cause,
    ledger::{Fact, Ledger},
};

/// S4: an owner never has sent more than W past what a majority holds; a single piece that is longer goes out alone.
pub fn no_more_is_sent_than_the_window_allows(ledger: &Ledger, fact: &Fact) -> Result<(), String> {
    let Fact::Sent { hand, end, .. } = fact else { return Ok(()) };
    let (held, room) = (ledger.custody.held(hand), ledger.custody.terms.room());
    if *end <= held + room { Ok(()) } else { Err(format!("node {} sends up to byte {end}; {held} is held, and W is {room}", hand.node)) }
}

/// S4: a line that is sent again has the id that it had, so that a sink can tell (DESIGN §7). The id is made of its file's name, which says how long the file's
/// head was when it was first read; where somebody went on without a majority, that may be known to nobody else.
pub fn a_line_keeps_its_id(ledger: &Ledger, fact: &Fact) -> Result<(), String> {
    let Fact::Sent { hand, file, .. } = fact else { return Ok(()) };
    let before = ledger.custody.sent_as(hand).filter(|_| !ledger.custody.was_without_a_majority(hand));
    match before.filter(|before| (before.lineage, before.name) != (file.lineage, file.name)) {
        Some(before) => Err(format!("node {} sends lines of {file}, which were sent as those of {before}", hand.node)),
        None => Ok(()),
    }
}

/// S4: an owner repeats no more than W of what those before it had brought to a sink, and no more of those after it. Where one went on without a majority,
/// what it had acknowledged may be known to nobody else.
pub fn repeats_stay_within_the_window(ledger: &Ledger, fact: &Fact) -> Result<(), String> {
    let Fact::Brought { hand, sender, lines, .. } = fact else { return Ok(()) };
    let custody = &ledger.custody;
    if custody.was_without_a_majority(hand) {
        return Ok(());
    }
    let (before, more) = (custody.repeated(hand, sender), custody.repeats(hand, sender, lines).bytes);
    // Who begins in the middle of a piece sends the whole of it.
    let bound = custody.terms.room() + custody.terms.piece;
    let over = before.iter().zip(more).map(|(before, more)| (before + more, more)).find(|(bytes, more)| *more > 0 && *bytes > bound);
    over.map_or(Ok(()), |(bytes, _)| Err(format!("node {} has repeated {bytes} bytes to {sender} by now, and W is {bound}", hand.node)))
}

/// S4: where the giver had everything acknowledged when it stopped, who is given the source sends nothing of it again.
pub fn handed_over_without_a_repeat(ledger: &Ledger, fact: &Fact) -> Result<(), String> {
    let Fact::Brought { hand, sender, lines, .. } = fact else { return Ok(()) };
    let custody = &ledger.custody;
    let Some(Cause::HandedOver { from }) = custody.tenure(hand).filter(|tenure| tenure.majority).map(|tenure| tenure.cause) else { return Ok(()) };
    let Some(first) = custody.repeats(hand, sender, lines).of.map(|first| &custody.tenures[first]) else { return Ok(()) };
    let began = custody.tenure(hand).map(|tenure| tenure.began);
    let giver = custody.tenures.iter().rev().find(|tenure| tenure.hand.node == from && Some(tenure.began) < began);
    let flushed = giver.is_some_and(|giver| giver.hand == first.hand && giver.ended.is_some_and(|(_, flushed)| flushed));
    if flushed { Err(format!("node {} repeats what node {from} had flushed, from byte {}", hand.node, lines[0].start)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use logvine_cluster::{
        checkpoint::{Checkpoint, FileKey, FileName},
        name::Name,
        record::SourceKey,
    };
    use logvine_gossip::{Instant, Stamp};

    use super::*;
    use crate::{
        custody::{Hand, Terms},
        host::Life,
        plane::FlowId,
    };

    fn out() -> Name {
        "out".parse().unwrap()
    }

    fn file(head: &[u8]) -> FileKey {
        FileKey { lineage: 0, named: 0, name: FileName::of(head).unwrap() }
    }

    fn hand(node: usize) -> Hand {
        Hand { node, life: Life(1), flow: FlowId(0) }
    }

    fn ledger(facts: impl IntoIterator<Item = Fact>) -> Ledger {
        let mut ledger = Ledger::new(Terms { window: 100, piece: 10, senders: vec![out()] });
        facts.into_iter().for_each(|fact| ledger.absorb(fact));
        ledger
    }

    fn created(at: u64) -> SourceKey {
        SourceKey { uid: Stamp::default(), source: "s".parse().unwrap(), created: Stamp(at) }
    }

    fn began(node: usize, cause: Cause) -> Fact {
        began_as(created(1), node, cause)
    }

    fn began_as(key: SourceKey, node: usize, cause: Cause) -> Fact {
        let at = Instant::from_micros(node as u64);
        Fact::Began { hand: hand(node), key, cause, majority: true, resume: Checkpoint::default(), at }
    }

    /// Lines of ten bytes each.
    fn brought(node: usize, from: u64, to: u64) -> Fact {
        let lines = (from / 10..to / 10).map(|line| line * 10..line * 10 + 10).collect();
        Fact::Brought { hand: hand(node), sender: out(), lines, at: Instant::ZERO }
    }

    #[test]
    fn a_window_that_is_passed_is_seen() {
        let ledger = ledger([began(0, Cause::New)]);
        let sent = |end| no_more_is_sent_than_the_window_allows(&ledger, &Fact::Sent { hand: hand(0), file: file(b"a\n"), end });
        assert_eq!((sent(100).is_ok(), sent(101).is_ok()), (true, false));
    }

    #[test]
    fn another_id_for_the_same_line_is_seen() {
        let sent = |node, head| Fact::Sent { hand: hand(node), file: file(head), end: 2 };
        let mut ledger = ledger([began(0, Cause::New), sent(0, b"a\n"), began(1, Cause::TookOver)]);
        assert!(a_line_keeps_its_id(&ledger, &sent(1, b"a\n")).is_ok());
        assert!(a_line_keeps_its_id(&ledger, &sent(1, b"a\nb\n")).is_err(), "the file has grown, and is named by more of it");
        ledger.absorb(began_as(created(2), 2, Cause::New));
        assert!(a_line_keeps_its_id(&ledger, &sent(2, b"a\nb\n")).is_ok(), "the lines of another creation have other ids anyhow");
    }

    #[test]
    fn more_repeats_than_the_window_are_seen() {
        let ledger = ledger([began(0, Cause::New), brought(0, 0, 200), began(1, Cause::TookOver), brought(1, 0, 100)]);
        assert!(repeats_stay_within_the_window(&ledger, &brought(1, 100, 110)).is_ok());
        assert!(repeats_stay_within_the_window(&ledger, &brought(1, 100, 120)).is_err());
        assert!(repeats_stay_within_the_window(&ledger, &brought(0, 0, 200)).is_ok(), "its own retries are no repeats of another's");
    }

    #[test]
    fn who_sends_again_what_it_has_repeated_repeats_nothing_more() {
        let ledger = ledger([began(0, Cause::New), brought(0, 0, 200), began(1, Cause::TookOver), brought(1, 0, 110)]);
        assert!(repeats_stay_within_the_window(&ledger, &brought(1, 0, 110)).is_ok(), "a sink that had it, and did not say so, gets it again");
        assert!(repeats_stay_within_the_window(&ledger, &brought(1, 100, 120)).is_err());
    }

    /// Each half of a split may create a source; what the one has sent is nothing to the other.
    #[test]
    fn what_another_creation_sent_is_not_repeated_by_this_one() {
        let facts = [began(0, Cause::New), brought(0, 0, 200), began_as(created(2), 1, Cause::New), brought(1, 0, 200)];
        let mut ledger = ledger(facts);
        assert!(repeats_stay_within_the_window(&ledger, &brought(1, 200, 210)).is_ok());
        ledger.absorb(began_as(created(2), 2, Cause::TookOver));
        assert!(repeats_stay_within_the_window(&ledger, &brought(2, 0, 110)).is_ok());
        assert!(repeats_stay_within_the_window(&ledger, &brought(2, 0, 120)).is_err());
    }

    /// What was given in order is not repeated; what was cut short may be, and what somebody before the giver had left.
    #[test]
    fn a_repeat_after_a_handover_in_order_is_seen() {
        let given = |flushed| {
            let facts = [
                began(0, Cause::New),
                brought(0, 0, 50),
                Fact::Opened { node: 0, key: created(1), epoch: epoch(), resume: Checkpoint::default(), majority: true },
            ];
            let ended = Fact::Closed { node: 0, epoch: None, flushed, at: Instant::ZERO };
            let mut ledger = ledger(facts);
            ledger.absorb(ended);
            ledger.absorb(began(1, Cause::HandedOver { from: 0 }));
            ledger
        };
        assert!(handed_over_without_a_repeat(&given(true), &brought(1, 40, 60)).is_err());
        assert!(handed_over_without_a_repeat(&given(true), &brought(1, 50, 60)).is_ok());
        assert!(handed_over_without_a_repeat(&given(false), &brought(1, 40, 60)).is_ok());
    }

    fn epoch() -> logvine_cluster::instance::Epoch {
        logvine_cluster::instance::Epoch::default()
    }
}
