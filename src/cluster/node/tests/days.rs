//! Absences and clocks that are longer than a tombstone is kept (DESIGN §3.2, §9 S6), on whole nodes: what was deleted does not run again, and nothing else is
//! lost. How gossip decides it: `logvine_gossip`'s tests of floors.

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3_600);
/// In which tombstones that are old enough go: they are looked at every ten minutes, and must be old enough twice.
const FORGETTING_S: u64 = 21 * 60;

/// Two runners of one source each: one is to be deleted, one stays.
fn cluster(nodes: u8) -> Cluster {
    let mut cluster = Cluster::of(nodes);
    for runner in ["gone", "kept"] {
        apply(&mut cluster, 1, runner);
    }
    cluster.run(20);
    for runner in ["gone", "kept"] {
        assert_eq!(readers(&cluster, runner).len(), 1, "{runner}");
        acknowledge(&mut cluster, runner);
    }
    cluster.run(5);
    cluster
}

fn apply(cluster: &mut Cluster, via: u8, runner: &str) {
    let spec = RunnerSpec { name: name(runner), ..spec(&["a"]) };
    cluster.command(id(via), Command::PutRunner { spec: Box::new(spec) });
}

/// The senders of whoever reads a runner's source have acknowledged some of it: a source without a copy of its checkpoint would wait for an operator.
fn acknowledge(cluster: &mut Cluster, runner: &str) {
    let (reader, key, now) = (readers(cluster, runner)[0], (name(runner), name("a")), cluster.now);
    let host = cluster.host(reader);
    let epoch = host.reading[&key].0;
    host.reading.insert(key, (epoch, at(100)));
    let event = InstanceEvent::Checkpoint { runner: name(runner), source: name("a"), epoch: Some(epoch), checkpoint: at(100), place: None };
    host.node.handle_instance(now, event);
    cluster.carry_out();
}

fn delete(cluster: &mut Cluster, via: u8, runner: &str) {
    cluster.command(id(via), Command::DeleteRunners { runners: vec![name(runner)] });
    cluster.run(10);
}

/// Days pass in a moment, for everybody.
fn pass(cluster: &mut Cluster, days: u32) {
    let micros = u64::try_from((DAY * days).as_micros()).unwrap();
    cluster.now = Now { wall: UnixMicros(cluster.now.wall.0 + micros), ..cluster.now };
}

/// Who reads a runner's source.
fn readers(cluster: &Cluster, runner: &str) -> Vec<NodeId> {
    let up = cluster.hosts.iter().filter(|(_, host)| host.up);
    up.filter(|(_, host)| host.reading.contains_key(&(name(runner), name("a")))).map(|(id, _)| *id).collect()
}

/// How often a node's present process was told to run a runner.
fn started(cluster: &Cluster, n: u8, runner: &str) -> usize {
    let is_start = |command: &&InstanceCommand| matches!(command, InstanceCommand::Start { runner: of, .. } if *of == name(runner));
    cluster.hosts[&id(n)].commands.iter().filter(is_start).count()
}

fn split(cluster: &mut Cluster, these: &[u8], those: &[u8]) {
    cluster.cut = these.iter().flat_map(|this| those.iter().flat_map(|that| [(id(*this), id(*that)), (id(*that), id(*this))])).collect();
}

fn is_forgotten(cluster: &Cluster, n: u8) -> bool {
    cluster.hosts[&id(n)].node.gossip().catalog().held("runner/gone").is_none()
}

/// All hold the same, and run just these.
fn assert_left(cluster: &Cluster, kept: &[&str]) {
    let digests: BTreeSet<_> = cluster.hosts.values().map(|host| host.node.gossip().catalog().digest()).collect();
    assert_eq!(digests.len(), 1, "one catalog");
    for host in cluster.hosts.values() {
        let runners: Vec<_> = host.node.catalog().runners().map(|(name, _)| name.as_str()).collect();
        assert_eq!(runners, kept);
    }
    assert_eq!(readers(cluster, "gone"), []);
    for runner in kept {
        assert_eq!(readers(cluster, runner).len(), 1, "{runner}: {:?}", readers(cluster, runner));
    }
}

/// PITFALLS §6: "away longer than the tombstones: drop the catalog" would lose everything here.
#[test]
fn a_cluster_that_was_off_for_eight_days_runs_what_it_ran_and_not_what_was_deleted() {
    let mut cluster = cluster(3);
    delete(&mut cluster, 2, "gone");
    for n in 1..=3 {
        cluster.host(id(n)).up = false;
    }
    pass(&mut cluster, 8);
    for n in 1..=3 {
        cluster.restart(id(n));
    }
    cluster.run(FORGETTING_S);
    assert!((1..=3).all(|n| started(&cluster, n, "gone") == 0 && is_forgotten(&cluster, n)));
    assert_left(&cluster, &["kept"]);
}

/// The one that was away still has the runner on its disk; to the others it is as if it had never been.
#[test]
fn who_was_away_for_eight_days_does_not_run_what_was_deleted_meanwhile() {
    let mut cluster = cluster(3);
    cluster.host(id(3)).up = false;
    cluster.run(60);
    delete(&mut cluster, 1, "gone");
    pass(&mut cluster, 8);
    cluster.run(FORGETTING_S);
    assert!((1..=2).all(|n| is_forgotten(&cluster, n)));
    cluster.restart(id(3));
    cluster.run(120);
    assert_eq!((started(&cluster, 3, "gone"), started(&cluster, 3, "kept")), (0, 1));
    assert!(cluster.hosts[&id(3)].told.iter().any(|event| matches!(event, Event::Dropped { key, .. } if key == "runner/gone")), "told, for people");
    assert_left(&cluster, &["kept"]);
}

/// The two of five never heard of the deletion, and collect on for eight days: they do not bring it back. Nor may they forget what they deleted themselves:
/// their floor would take with it what the larger part wrote before and they never heard of.
#[test]
fn a_split_of_eight_days_ends_with_what_the_larger_part_deleted_deleted() {
    let mut cluster = cluster(5);
    split(&mut cluster, &[1, 2, 3], &[4, 5]);
    cluster.run(60);
    delete(&mut cluster, 1, "gone");
    apply(&mut cluster, 1, "new");
    cluster.run(10);
    for draining in [true, false] {
        cluster.command(id(5), Command::Drain { node: id(4), draining });
        cluster.run(10);
    }
    pass(&mut cluster, 8);
    cluster.run(FORGETTING_S);
    assert!((1..=3).all(|n| is_forgotten(&cluster, n)) && (4..=5).all(|n| !is_forgotten(&cluster, n)));
    let before: Vec<_> = (1..=5).map(|n| started(&cluster, n, "gone")).collect();
    cluster.cut.clear();
    cluster.run(120);
    assert_eq!((1..=5).map(|n| started(&cluster, n, "gone")).collect::<Vec<_>>(), before, "nobody starts it once more");
    assert_left(&cluster, &["kept", "new"]);
}

/// The clock of one node shows next year for half an hour: it forgets no deletion by it, drops nothing of the others', and what it does not run stays so.
#[test]
fn a_clock_that_jumps_a_year_brings_nothing_back_and_loses_nothing() {
    let mut cluster = cluster(3);
    delete(&mut cluster, 1, "gone");
    cluster.host(id(3)).up = false;
    cluster.run(60);
    apply(&mut cluster, 1, "late");
    cluster.run(30);
    cluster.restart(id(3));
    cluster.host(id(3)).ahead = DAY * 365;
    cluster.run(FORGETTING_S);
    assert!((1..=3).all(|n| !is_forgotten(&cluster, n)), "the deletion is half an hour old");
    cluster.host(id(3)).ahead = Duration::ZERO;
    cluster.run(60);
    assert!((1..=3).all(|n| readers(&cluster, "gone").is_empty() && started(&cluster, n, "late") > 0));
    delete(&mut cluster, 2, "late");
    assert_eq!(started(&cluster, 3, "gone"), 0);
    assert_left(&cluster, &["kept"]);
}

/// Each guard's test fails without the guard.
#[cfg(feature = "canary")]
#[test]
fn canaries_are_seen() {
    let tests: [(&'static str, fn()); 2] = [
        ("floor-by-own-clock", a_clock_that_jumps_a_year_brings_nothing_back_and_loses_nothing),
        ("tombstone-by-minority", a_split_of_eight_days_ends_with_what_the_larger_part_deleted_deleted),
    ];
    for (name, test) in tests {
        logvine_gossip::canary::plant(Some(name));
        let result = std::panic::catch_unwind(test);
        logvine_gossip::canary::plant(None);
        assert!(result.is_err(), "nothing turns red under `{name}`");
    }
}
