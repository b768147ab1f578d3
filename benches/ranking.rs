//! Ranking 200 nodes for 100,000 sources, all at once and at one event, beside `rendezvous_hash`. To reach: 250 ms, and 1 ms an event.

use std::{collections::BTreeMap, hint::black_box};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use logvine_cluster::{
    ranking::{Capacity, RankingKey, Rankings, ranking},
    record::SourceKey,
};
use logvine_gossip::{NodeId, Stamp};

const SOURCES: u64 = 100_000;
const NODES: u64 = 200;

fn node(n: u64) -> NodeId {
    // Ids are hashes: neighbours have nothing in common.
    let word = |salt: u64| (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ salt).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9).to_be_bytes();
    NodeId([word(0), word(0x55)].concat().try_into().expect("two words are sixteen bytes"))
}

fn nodes() -> BTreeMap<NodeId, Capacity> {
    (0..NODES).map(|n| (node(n), Capacity([16, 18, 20, 22, 24][usize::try_from(n % 5).expect("below 5")]))).collect()
}

fn keys() -> Vec<RankingKey> {
    let key = |n| SourceKey { uid: Stamp(1), source: format!("source-{n}").parse().expect("a name"), created: Stamp(n) };
    (0..SOURCES).map(|n| RankingKey::of(&key(n))).collect()
}

fn ranked(nodes: &BTreeMap<NodeId, Capacity>, keys: &[RankingKey]) -> Rankings<u32> {
    let mut rankings = Rankings::default();
    rankings.set_nodes(nodes.iter().map(|(id, capacity)| (id, *capacity)));
    rankings.extend((0..).zip(keys.iter().copied()));
    rankings
}

fn whole(c: &mut Criterion) {
    let (nodes, keys) = (nodes(), keys());
    let mut group = c.benchmark_group("100,000 sources × 200 nodes");
    group.sample_size(10);
    let fewer: BTreeMap<_, _> = nodes.iter().take(1).map(|(id, capacity)| (*id, *capacity)).collect();
    let anew = |mut rankings: Rankings<u32>| {
        rankings.set_nodes(nodes.iter().map(|(id, capacity)| (id, *capacity)));
        rankings
    };
    let one = ranked(&fewer, &keys);
    group.bench_function("the cache, all rows anew", |b| b.iter_batched(|| one.clone(), anew, BatchSize::LargeInput));
    group.bench_function("the cache, sources added one by one", |b| b.iter(|| ranked(black_box(&nodes), &keys)));
    group.bench_function("rendezvous_hash", |b| b.iter(|| keys.iter().map(|key| ranking(&nodes, *key, 8).len()).sum::<usize>()));
    group.finish();
}

fn event(c: &mut Criterion) {
    let (nodes, keys) = (nodes(), keys());
    let mut group = c.benchmark_group("one event among 100,000 sources × 200 nodes");
    let all = ranked(&nodes, &keys);
    let mut bench = |name: &str, event: &dyn Fn(&mut Rankings<u32>)| {
        let carry_out = |mut rankings: Rankings<u32>| {
            event(&mut rankings);
            rankings
        };
        group.bench_function(name, |b| b.iter_batched(|| all.clone(), carry_out, BatchSize::LargeInput));
    };
    bench("a node comes", &|rankings| rankings.set_node(node(NODES), Capacity(20)));
    bench("a node goes", &|rankings| rankings.remove_node(&node(7)));
    bench("a capacity grows", &|rankings| rankings.set_node(node(7), Capacity(21)));
    bench("a capacity shrinks", &|rankings| rankings.set_node(node(7), Capacity(19)));
    group.finish();
}

criterion_group!(benches, whole, event);
criterion_main!(benches);
