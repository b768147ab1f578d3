//! What needs no nodes at work. That a plan agrees with what then happens: `node/tests/plans.rs`.

use super::*;

fn node(n: u8) -> NodeId {
    NodeId([n; 16])
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// Three equal nodes with thirty sources, each at its home.
fn settled() -> Snapshot {
    let info = |n: u8| NodeInfo {
        phase: Phase::Active,
        // Busy: an idle cluster moves nothing for one that comes.
        load: 8 << 20,
        name: Some(name(&format!("n{n}"))),
        ..NodeInfo::unread(node(n))
    };
    let runner = RunnerAt { placement: "all".parse().ok(), stopped: BTreeSet::new(), runs: true };
    let source = |number: u64| SourceAt {
        runner: name("logs"),
        key: SourceKey { uid: Stamp(1), source: name(&format!("s{number:02}")), created: Stamp(number) },
        selection: None,
        owner: None,
        rate: 0,
        certain: true,
    };
    let mut snapshot = Snapshot {
        nodes: (1..=3).map(|n| (node(n), info(n))).collect(),
        away: BTreeSet::new(),
        joined: BTreeSet::new(),
        runners: BTreeMap::from([(name("logs"), runner)]),
        sources: (0..30).map(source).collect(),
    };
    let homes = snapshot.clone().plan(&[]).unwrap();
    for (source, moved) in snapshot.sources.iter_mut().zip(homes.moves) {
        source.owner = moved.to;
    }
    weigh(&mut snapshot.sources, &snapshot.nodes, |_| None);
    snapshot
}

#[test]
fn nothing_moves_if_nothing_changes() {
    let plan = settled().plan(&[]).unwrap();
    assert_eq!(plan.moves, []);
    assert_eq!(plan.unevenness(false), plan.unevenness(true));
    assert_eq!(plan.shares.values().map(|share| share.sources_before).sum::<usize>(), 30);
}

/// DESIGN §9 A2: removing a node moves only its sources; adding one moves sources only to it, but for what is shed as it has taken more of some than of others.
#[test]
fn a_death_moves_the_deads_sources_and_a_joiner_takes_only_its_own() {
    let snapshot = settled();
    let dead: BTreeSet<_> = snapshot.sources.iter().filter(|source| source.owner == Some(node(2))).map(|source| source.key.source.clone()).collect();
    for (change, why) in [(Change::Dies(node(2)), "took_over"), (Change::Leaves(node(2)), "draining")] {
        let plan = snapshot.clone().plan(&[change]).unwrap();
        assert_eq!(plan.moves.iter().map(|moved| moved.source.clone()).collect::<BTreeSet<_>>(), dead);
        assert!(plan.moves.iter().all(|moved| moved.why == why && moved.certain && moved.to.is_some_and(|to| to != node(2))), "{:?}", plan.moves);
        assert_eq!((plan.shares[&node(2)].sources_before, plan.shares[&node(2)].sources_after), (dead.len(), 0));
        assert_eq!(plan.shares[&node(2)].capacity_after, None);
    }
    let joins = |id| Change::Joins { id, name: name("n4"), tags: BTreeSet::new(), capacity: None };
    for id in [Some(node(4)), None] {
        let plan = snapshot.clone().plan(&[joins(id)]).unwrap();
        let (home, shed): (Vec<_>, Vec<_>) = plan.moves.iter().partition(|moved| moved.why == "home");
        let joiner = home[0].to.unwrap();
        assert_eq!(plan.names[&joiner], "n4");
        assert!(home.iter().all(|moved| moved.to == Some(joiner) && moved.certain == id.is_some()), "{home:?}");
        assert!(shed.len() < home.len() && shed.iter().all(|moved| moved.why == "load"), "{shed:?}");
        let loads: Vec<u64> = plan.shares.values().map(|share| share.load_after).collect();
        assert!(loads.iter().all(|load| load.abs_diff(6 << 20) < 1 << 20), "four nodes share what three had: {loads:?}");
    }
}

#[test]
fn a_source_that_nobody_may_own_is_told() {
    let dying: Vec<_> = (1..=3).map(|n| Change::Dies(node(n))).collect();
    let plan = settled().plan(&dying).unwrap();
    assert!(plan.moves.len() == 30 && plan.moves.iter().all(|moved| moved.to.is_none() && moved.why == "no_node"), "{:?}", plan.moves);
    assert_eq!(plan.unevenness(true), None);
}

#[test]
fn sources_that_are_added_go_to_some_node_each() {
    let adds = Change::Adds { runner: name("logs"), sources: 300, selection: None };
    let plan = settled().plan(&[adds]).unwrap();
    assert!(plan.moves.len() == 300 && plan.moves.iter().all(|moved| moved.from.is_none() && moved.why == "new" && !moved.certain));
    assert!(plan.shares.values().all(|share| share.sources_after - share.sources_before > 60), "{:?}", plan.shares);
    let unknown = Change::Adds { runner: name("none"), sources: 1, selection: None };
    assert_eq!(settled().plan(&[unknown]), Err(PlanError::NoRunner(name("none"))));
    assert_eq!(settled().plan(&[Change::Dies(node(9))]), Err(PlanError::NoNode(node(9))));
}

/// Four quarter octaves more is twice as much.
#[test]
fn unevenness_counts_what_each_can_bear() {
    let share = |sources, capacity| Share { sources_after: sources, capacity_after: Some(Capacity(capacity)), ..Share::default() };
    let plan = |shares: [Share; 2]| Plan { moves: Vec::new(), shares: (1..).map(node).zip(shares).collect(), names: BTreeMap::new() };
    assert_eq!(plan([share(10, 16), share(20, 20)]).unevenness(true), Some(1_000));
    assert_eq!(plan([share(10, 16), share(10, 20)]).unevenness(true), Some(1_500));
    assert_eq!(plan([share(0, 16), share(0, 20)]).unevenness(true), Some(1_000));
}
