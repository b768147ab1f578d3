use expect_test::expect;
use proptest::prelude::*;

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
            to.apply(&delta).unwrap();
        }
    }
}

/// One comparison between two nodes, begun by `a`, as push-pull leads it; what was sent, in bytes.
fn compare(a: &mut NodeMaps, b: &mut NodeMaps) -> usize {
    let mut sent = 0;
    let (tops, seqs) = b.digest();
    sent += tops.len() + seqs.len();
    let (mut asker, mut asked, mut seqs) = if tops.is_empty() { (b, a, seqs) } else { (&mut *a, b, Vec::new()) };
    if !tops.is_empty() {
        seqs = asker.differing(&tops).unwrap();
        sent += seqs.len();
    }
    let mut compared = asked.compare_seqs(&seqs).unwrap();
    let mut names = asked.names(&compared.unlike);
    loop {
        let news = packed_news(asked, &compared.behind);
        let asks = asked.asks(&compared.ahead);
        sent += news.len() + asks.len() + names.len();
        let answer = packed_news(asker, &asker.read_asks(&asks).unwrap());
        sent += answer.len();
        compared = asker.compare_names(&names).unwrap();
        take(asker, &news);
        take(asked, &answer);
        if names.is_empty() {
            return sent;
        }
        names.clear();
        std::mem::swap(&mut asker, &mut asked);
    }
}

fn packed_news(maps: &NodeMaps, behind: &[Held]) -> Vec<u8> {
    let deltas: Vec<_> = behind.iter().flat_map(|held| maps.deltas(&held.mark, 10_000).into_iter().map(|delta| (held.place, delta))).collect();
    let news = maps.news(deltas.iter().map(|(place, delta)| (*place, delta)));
    let sized: usize = deltas.iter().map(|(place, delta)| packed_size(*place, delta) + 10).sum();
    assert!(news.len() <= sized, "{} bytes were counted as {sized}", news.len());
    news
}

fn take(maps: &mut NodeMaps, news: &[u8]) {
    for delta in maps.read_news(news).unwrap() {
        maps.apply(&delta).unwrap();
    }
}

fn place(maps: &NodeMaps, node: &NodeId) -> Place {
    let bucket = NodeMaps::bucket_of(node);
    Place { bucket, position: maps.buckets[bucket].kept.keys().position(|held| held == node).unwrap() }
}

fn node(index: usize) -> NodeId {
    NodeId([u8::try_from(index % 256).unwrap(), u8::try_from(index / 256).unwrap(), 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7])
}

/// What `count` nodes said, each `words` words, as `me` has heard it.
fn heard_of(me: NodeId, count: usize, words: usize) -> NodeMaps {
    let mut all = maps(me);
    for index in 0..count {
        let mut other = maps(node(index));
        for word in 0..words {
            other.say("load", Some(Bytes::from(word.to_string()))).unwrap();
        }
        sync(&other, &mut all, 10_000);
    }
    all
}

#[test]
fn a_comparison_makes_two_nodes_alike_whatever_each_has_heard() {
    for count in [3, 100, 400] {
        let (mut a, mut b) = (heard_of(A, count, 1), heard_of(B, count, 1));
        for index in 0..count {
            let mut other = maps(node(index));
            for word in ["1", "2", "3"] {
                other.say("load", value(word)).unwrap();
            }
            if index % 7 == 0 {
                other.renew(Generation(9));
            }
            if index % 3 == 0 {
                sync(&other, &mut a, 10_000);
            } else if index % 3 == 1 {
                sync(&other, &mut b, 10_000);
            }
        }
        compare(&mut a, &mut b);
        assert_eq!(a.root(), b.root(), "{count} nodes");
        assert_eq!(a.get(&node(1)).unwrap().get("load"), value("3").as_ref());
        assert_eq!(a.marks().count(), count + 2);
    }
}

/// A newcomer holds nothing but what it says itself, and is unheard of.
#[test]
fn a_newcomer_is_told_everything_and_is_heard_at_once() {
    for count in [3, 400] {
        let (mut old, mut new) = (heard_of(A, count, 2), maps(B));
        new.say("phase", value("joining")).unwrap();
        compare(&mut new, &mut old);
        compare(&mut old, &mut new);
        assert_eq!(old.root(), new.root(), "{count} nodes");
    }
}

/// Says `load` once more in every fourth of `count` maps, from `first` on, as `maps` hears it.
fn change_every_fourth(maps: &mut NodeMaps, first: usize, count: usize) {
    for index in (first..count).step_by(4) {
        let mark = maps.mark_of(node(index));
        let words = vec![Said { seq: mark.whole_to + 1, key: "load", value: Some(b"123") }];
        let NodeMark { node, generation, whole_to } = mark;
        let delta = Delta { node, generation, quic: None, after: whole_to, upto: whole_to + 1, target: 0, floor: 0, words };
        assert_eq!(maps.apply(&delta).unwrap().changed, ["load"]);
    }
}

/// Issue 3: 1,024 maps are compared every second. All marks with their names took 45 KB.
#[test]
fn one_change_among_a_thousand_nodes_costs_half_a_kilobyte_and_five_hundred_changes_twelve() {
    let (mut a, mut b) = (heard_of(A, 1_022, 1), heard_of(B, 1_022, 1));
    compare(&mut a, &mut b);
    assert_eq!(a.root(), b.root());
    a.say("load", value("7")).unwrap();
    let one = compare(&mut a, &mut b);
    assert!(one <= 512, "{one} bytes");
    change_every_fourth(&mut a, 0, 1_022);
    change_every_fourth(&mut b, 1, 1_022);
    let many = compare(&mut a, &mut b);
    assert_eq!(a.root(), b.root());
    assert!(many <= 12 * 1_024, "{many} bytes for 511 changes");
}

/// A roster changes between question and answer: places of the old one must not be read in the new one.
#[test]
fn places_in_another_roster_mean_nothing() {
    let (mut a, mut b) = (heard_of(A, 300, 1), heard_of(B, 300, 1));
    compare(&mut a, &mut b);
    for first in 0..4 {
        change_every_fourth(&mut a, first, 300);
    }
    let seqs = b.differing(&a.digest().0).unwrap();
    let behind = a.compare_seqs(&seqs).unwrap().behind;
    assert_eq!(behind.len(), 300);
    let news = packed_news(&a, &behind);
    for index in 0..300 {
        let mut other = maps(node(index));
        other.renew(Generation(8));
        other.say("load", Some(Bytes::from(format!("{index}")))).unwrap();
        sync(&other, &mut b, 10_000);
    }
    let before = b.root();
    take(&mut b, &news);
    assert_eq!(b.root(), before);
    assert!((0..300).all(|index| b.get(&node(index)).unwrap().get("load") == Some(&Bytes::from(format!("{index}")))));
}

/// Released format 1: nodes of later builds read these bytes, and make the same sums.
#[test]
fn the_packed_bytes_stay() {
    let mut a = maps(A);
    a.say("phase", value("active")).unwrap();
    a.say("load", value("7")).unwrap();
    a.say("load", None).unwrap();
    let mut b = heard_of(B, 2, 1);
    sync(&a, &mut b, 10_000);
    let held = b.compare_seqs(&b.digest().1).unwrap();
    assert_eq!(held, Compared::default(), "alike with oneself");
    let placed = Held { place: Some(place(&b, &node(1))), mark: b.mark_of(node(1)) };
    let unplaced = Held { place: None, mark: NodeMark::nothing(A) };
    let packed = [
        ("seqs", b.digest().1),
        ("names", b.names(&[NodeMaps::bucket_of(&A)])),
        ("asks", b.asks(&[placed, unplaced])),
        ("news", packed_news(&b, &[Held { mark: NodeMark { whole_to: 0, ..placed.mark }, ..placed }, unplaced])),
    ];
    let lines: String = packed.iter().map(|(what, bytes)| format!("{what} {}\n", hex::encode(bytes))).collect();
    expect![[r#"
        seqs 0116982acd4779726068010319116f36be8495bda3010029fc814f27072227a101013f6e8c31a59995cd020101
        names 1601010101010101010101010101010101010503
        asks c802fc814f27072227a1010102010101010101010101010101010101010000
        news c802fc814f27072227a1010001010e3132372e302e302e313a373934370101046c6f616402300201010101010101010101010101010101050003030e3132372e302e302e313a3739343702010570686173650761637469766502046c6f616400
    "#]].assert_eq(&lines);
}

proptest! {
    /// Digests and news come from the network: whatever they say, nothing panics, and what is not understood changes nothing.
    #[test]
    fn damaged_digests_are_refused_or_harmless(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut maps = heard_of(A, 20, 2);
        let seqs = maps.digest().1;
        for read in [bytes.clone(), seqs.iter().chain(&bytes).copied().collect()] {
            maps.differing(&read).ok();
            maps.compare_seqs(&read).ok();
            maps.compare_names(&read).ok();
            maps.read_asks(&read).ok();
            let deltas = maps.read_news(&read).unwrap_or_default();
            for delta in deltas {
                maps.apply(&delta).ok();
            }
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

#[test]
fn a_newer_generation_is_newer_however_little_it_has_said() {
    let (mut a, mut b) = (maps(A), maps(B));
    for load in ["1", "2", "3"] {
        a.say("load", value(load)).unwrap();
    }
    compare(&mut a, &mut b);
    a.renew(Generation(6));
    compare(&mut a, &mut b);
    assert_eq!(b.mark_of(A), a.mark_of(A));
    assert_eq!(b.get(&A).unwrap().generation(), Generation(6));
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
        assert_eq!(b.apply(piece).unwrap(), Heard::default());
        assert_eq!(b.get(&A).unwrap().generation(), Generation(5));
        assert_eq!(b.get(&A).unwrap().get("claim/r/1"), value("mine").as_ref());
    }
    assert_eq!(b.apply(last).unwrap().changed, ["phase"]);
    assert_eq!(b.get(&A).unwrap().generation(), Generation(6));
}

#[test]
fn words_of_an_older_generation_are_no_news() {
    let (mut a, mut b) = (maps(A), maps(B));
    a.say("phase", value("active")).unwrap();
    let old = a.deltas(&NodeMark::nothing(A), 10_000).remove(0).named();
    a.renew(Generation(9));
    sync(&a, &mut b, 10_000);
    let stale = NodeDelta { words: vec![WireWord { key: "phase".into(), seq: 99, value: value("stale") }], ..old };
    b.apply(&stale.borrowed()).unwrap();
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
    assert_eq!(a.apply(&forged.borrowed()).unwrap(), Heard::default());
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

/// Each guard's test fails without the guard.
#[cfg(feature = "canary")]
#[test]
fn canaries_are_seen() {
    use crate::canary::turns_red;
    turns_red("half-snapshot-shown", a_newer_generation_shows_only_when_it_is_whole);
    turns_red("seq-before-generation", a_newer_generation_is_newer_however_little_it_has_said);
}
