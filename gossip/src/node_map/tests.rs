use super::*;

const A: NodeId = NodeId([1; 16]);
const B: NodeId = NodeId([2; 16]);

fn addr() -> SocketAddr {
    "127.0.0.1:7947".parse().unwrap()
}

fn maps(me: NodeId) -> NodeMaps {
    NodeMaps::new(me, Generation(5), addr())
}

fn value(text: &'static str) -> Option<Bytes> {
    Some(Bytes::from(text))
}

/// Brings `to` up to `from` by marks and deltas of about `bytes`.
fn sync(from: &NodeMaps, to: &mut NodeMaps, bytes: usize) {
    let marks: Vec<NodeMark> = to.marks().collect();
    let behind: Vec<NodeMark> = from.behind(&marks).collect();
    for mark in behind {
        for delta in from.deltas(&mark, bytes) {
            to.apply(delta).unwrap();
        }
    }
}

#[test]
fn what_a_node_says_arrives_whole_in_however_small_pieces() {
    let (mut a, mut b) = (maps(A), maps(B));
    for key in ["phase", "tags", "load", "claim/r/1", "claim/r/2"] {
        a.say(key, value("x")).unwrap();
    }
    a.say("load", None).unwrap();
    for bytes in [1, 150, 10_000] {
        let mut fresh = maps(B);
        sync(&a, &mut fresh, bytes);
        assert_eq!(fresh.get(&A).unwrap().iter("").count(), 4, "pieces of {bytes}");
        assert_eq!(fresh.get(&A).unwrap().get("load"), None);
    }
    sync(&a, &mut b, 10_000);
    sync(&b, &mut a, 10_000);
    assert_eq!(a.root(), b.root());
}

/// DESIGN §3.2: a newer generation replaces the old keys only when its first snapshot is whole.
#[test]
fn a_newer_generation_shows_only_when_it_is_whole() {
    let (mut a, mut b) = (maps(A), maps(B));
    a.say("phase", value("active")).unwrap();
    a.say("claim/r/1", value("mine")).unwrap();
    sync(&a, &mut b, 10_000);
    a.renew(Generation(6));
    a.say("phase", value("draining")).unwrap();
    let mark = NodeMark { node: A, generation: Generation(5), whole_to: 2 };
    let pieces = a.deltas(&mark, 1);
    assert!(pieces.len() >= 2);
    let (last, first) = pieces.split_last().unwrap();
    for piece in first {
        assert_eq!(b.apply(piece.clone()).unwrap(), Heard::default());
        assert_eq!(b.get(&A).unwrap().generation(), Generation(5));
        assert_eq!(b.get(&A).unwrap().get("claim/r/1"), value("mine").as_ref());
    }
    assert_eq!(b.apply(last.clone()).unwrap().changed, ["phase"]);
    assert_eq!(b.get(&A).unwrap().generation(), Generation(6));
}

#[test]
fn words_of_an_older_generation_are_no_news() {
    let (mut a, mut b) = (maps(A), maps(B));
    a.say("phase", value("active")).unwrap();
    let old = a.deltas(&NodeMark { node: A, generation: Generation(0), whole_to: 0 }, 10_000).remove(0);
    a.renew(Generation(9));
    sync(&a, &mut b, 10_000);
    b.apply(NodeDelta { words: vec![WireWord { key: "phase".into(), seq: 99, value: value("stale") }], ..old }).unwrap();
    assert_eq!(b.get(&A).unwrap().get("phase"), value("active").as_ref());
}

/// DESIGN §3.2: only the node itself writes its map.
#[test]
fn nobody_else_writes_a_nodes_own_map() {
    let mut a = maps(A);
    a.say("phase", value("active")).unwrap();
    let root = a.root();
    let forged = NodeDelta {
        node: A,
        generation: Generation(99),
        quic: None,
        after: 0,
        upto: 9,
        target: 9,
        floor: 0,
        words: vec![WireWord { key: "phase".into(), seq: 9, value: value("draining") }],
    };
    assert_eq!(a.apply(forged).unwrap(), Heard::default());
    assert_eq!(a.hear(A, Generation(5), WireWord { key: "phase".into(), seq: 50, value: None }).unwrap(), None);
    assert_eq!((a.get(&A).unwrap().get("phase"), a.root()), (value("active").as_ref(), root));
}

#[test]
fn a_word_ahead_of_its_turn_is_read_at_once_and_does_not_hide_the_gap() {
    let (mut a, mut b) = (maps(A), maps(B));
    a.say("tags", value("one")).unwrap();
    sync(&a, &mut b, 10_000);
    a.say("load", value("7")).unwrap();
    let phase = a.say("phase", value("draining")).unwrap().unwrap();
    let heard = b.hear(A, Generation(5), phase.clone()).unwrap().unwrap();
    assert_eq!(heard.changed, ["phase"]);
    assert_eq!(b.hear(A, Generation(5), phase).unwrap(), None, "told twice, heard once");
    assert_ne!(a.root(), b.root());
    sync(&a, &mut b, 10_000);
    assert_eq!(b.get(&A).unwrap().get("load"), value("7").as_ref());
    assert_eq!(a.mark_of(A), b.mark_of(A));
}

/// Deletions below the floor are forgotten; who is behind the floor takes the whole map.
#[test]
fn who_missed_forgotten_deletions_loses_the_deleted_words_too() {
    let (mut a, mut b) = (maps(A), maps(B));
    for claim in 0..DELETED_MAX + 50 {
        a.say(&format!("claim/{claim}"), value("mine")).unwrap();
    }
    sync(&a, &mut b, 10_000);
    for claim in 0..DELETED_MAX + 50 {
        a.say(&format!("claim/{claim}"), None).unwrap();
    }
    a.say("phase", value("active")).unwrap();
    assert!(a.get(&A).unwrap().floor > 0);
    sync(&a, &mut b, 300);
    assert_eq!(b.get(&A).unwrap().iter("").map(|(key, _)| key).collect::<Vec<_>>(), ["phase"]);
    assert_eq!(a.mark_of(A), b.mark_of(A));
}

#[test]
fn a_map_has_a_bound() {
    let mut a = maps(A);
    let value = Some(Bytes::from(vec![0; 60 * 1024]));
    let refused = (0..1_000).find_map(|key| a.say(&key.to_string(), value.clone()).err());
    assert_eq!(refused, Some(StateError::Large { bytes_max: NODE_BYTES_MAX }));
}
