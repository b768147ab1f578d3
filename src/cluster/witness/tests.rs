use logvine_gossip::Stamp;

use super::*;
use crate::record::DiskId;

fn node(n: u8) -> NodeId {
    NodeId([n; 16])
}

fn epoch(counter: u64, taker: u8) -> Epoch {
    Epoch { counter, taker: node(taker) }
}

fn at(secs: u64) -> Instant {
    Instant::from_micros(secs * 1_000_000)
}

/// DESIGN §5.3, stickiness: an owner that was heard in the last six seconds keeps its source, also from who believes it dead; itself it may go on.
#[test]
fn a_witness_keeps_faith_with_an_owner_that_it_hears() {
    let source = SourceKey { uid: Stamp(1), source: "s".parse().unwrap(), created: Stamp(2) };
    let me = Witness { node: node(1), disk: DiskId(1) };
    let record = Record { epoch: epoch(1, 2), owner: Some(node(2)), witnesses: vec![me] };
    let mut witnesses = Witnesses::new(me, BTreeMap::new());
    assert!(matches!(witnesses.handle_store(&source, record.clone(), &Checkpoint::default()), Vote::Yes { .. }));
    let item = CheckpointItem { source: source.clone(), epoch: record.epoch, checkpoint: None };
    witnesses.handle_checkpoint(at(10), node(2), &item);
    let mut promise = |now, taker, gone| {
        let vote = witnesses.handle_promise(at(now), &source, epoch(now, taker), record.clone(), &Checkpoint::default(), gone);
        matches!(vote, Vote::Yes { .. })
    };
    assert!(!promise(12, 3, None), "it was heard two seconds ago");
    assert!(!promise(13, 3, Some(at(9))), "and after it was believed gone");
    assert!(promise(14, 3, Some(at(11))), "its death is the later news");
    assert!(promise(15, 2, None), "the owner itself");
    assert!(promise(16, 3, None), "it was not heard for six seconds");
}

#[cfg(feature = "canary")]
#[test]
fn the_guards_of_this_file_have_tests() {
    crate::canary::turns_red("stickiness-off", a_witness_keeps_faith_with_an_owner_that_it_hears);
}
