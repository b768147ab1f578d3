//! Planned absence (DESIGN §5.5), and what people see of it.

use super::*;
use crate::{
    event::{Cause, Why},
    view::{self, DrainRow, FindingKind, SourceState},
};

const SOURCES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

impl Cluster {
    fn drain_row(&self, of: NodeId, seen_by: NodeId) -> Option<DrainRow> {
        view::node(&self.hosts[&seen_by].node, self.now, &of).unwrap().drain
    }

    fn why(&self, source: &str, seen_by: NodeId) -> String {
        let seen = view::source(&self.hosts[&seen_by].node, self.now, &name("logs"), &name(source), None);
        seen.unwrap().row.why.unwrap_or_default()
    }

    fn taken(&self, by: NodeId) -> Vec<(String, Why)> {
        let told = self.hosts[&by].told.iter();
        told.filter_map(|event| match event {
            Event::Taken { source, why, .. } => Some((source.to_string(), why.clone())),
            _ => None,
        })
        .collect()
    }
}

/// A claim goes by push-pull, once a second: without last words the others would not know that a node that stops at once had the source.
#[test]
fn a_node_that_stops_right_after_it_took_a_source_is_waited_for() {
    let mut cluster = Cluster::of(3);
    cluster.apply(&SOURCES);
    let knows = |cluster: &Cluster, by: u8| {
        let map = cluster.hosts[&id(by)].node.gossip().node_map(&id(3));
        map.map_or(0, |map| map.iter("claim/").count())
    };
    while cluster.taken(id(3)).is_empty() {
        cluster.run_for(Duration::from_millis(1));
    }
    let (now, taken) = (cluster.now, cluster.taken(id(3)).len());
    assert_eq!((knows(&cluster, 1), knows(&cluster, 2)), (0, 0), "it has not told yet");
    cluster.node(id(3)).handle_stop(now);
    cluster.run(10);
    assert!(cluster.host(id(3)).stopped);
    for by in [1, 2] {
        assert_eq!(knows(&cluster, by), taken);
    }
}

/// A node that drains is done when it owns nothing and nobody counts on it as a witness; then it says goodbye when it stops.
#[test]
fn a_drain_is_done_when_nothing_depends_on_the_node_any_more() {
    let mut cluster = Cluster::of(4);
    cluster.apply(&SOURCES);
    cluster.run(20);
    let drained = cluster.reader("a").unwrap().0;
    let other = (1..=4).map(id).find(|id| *id != drained).unwrap();
    assert!(cluster.drain_row(drained, other).is_none(), "nobody has asked it to");
    cluster.drain(drained, true);
    let before = cluster.drain_row(drained, id(1)).unwrap();
    assert!(!before.done && before.sources + before.witness_of > 0, "{before:?}");
    cluster.run(30);
    for seen_by in [drained, other] {
        let row = cluster.drain_row(drained, seen_by).unwrap();
        assert!(row.done && row.sources == 0 && row.witness_of == 0, "{row:?}");
    }
    let taken: Vec<_> = (1..=4).map(id).filter(|id| *id != drained).flat_map(|id| cluster.taken(id)).collect();
    let cause = Cause::Draining;
    assert!(taken.contains(&("a".to_owned(), Why::HandedOver { from: drained, cause })), "{taken:?}");
    assert!(cluster.why("a", other).ends_with("which drains"), "{}", cluster.why("a", other));
    let counters = cluster.node(drained).counters().clone();
    assert_eq!((counters.released["draining"], counters.unflushed), (counters.handover_pauses.count, 0));

    let now = cluster.now;
    cluster.node(drained).handle_stop(now);
    cluster.run(20);
    assert!(cluster.host(drained).stopped);
    assert_eq!(cluster.node(other).view()[&drained].status, Status::Left);
    let wrong = view::check(&cluster.hosts[&other].node, cluster.now);
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// A node that is stopped in the middle of its drain takes its leave last: until its data plane has flushed, nobody takes its sources over.
#[test]
fn a_draining_node_says_goodbye_only_once_it_has_stopped() {
    let mut cluster = Cluster::of(3);
    cluster.apply(&["a"]);
    cluster.run(20);
    let drained = cluster.reader("a").unwrap().0;
    let other = (1..=3).map(id).find(|id| *id != drained).unwrap();
    cluster.host(drained).plane_hangs = true;
    cluster.drain(drained, true);
    cluster.run(1);
    let now = cluster.now;
    cluster.node(drained).handle_stop(now);
    cluster.run(4);
    assert_eq!(cluster.node(other).view()[&drained].status, Status::Alive);
    let epoch = cluster.reader("a").map(|(reader, _)| reader);
    assert_eq!(epoch, Some(drained), "nobody else reads it while it flushes");
    cluster.host(drained).reading.clear();
    cluster.run(80);
    assert!(cluster.host(drained).stopped);
    assert_eq!(cluster.node(other).view()[&drained].status, Status::Left);
    assert_ne!(cluster.reader("a").expect("another reads it").0, drained);
}

/// Stopped with a grace: the source waits for its node, people are told for how long, and the node takes up its own again.
#[test]
fn a_node_that_is_away_keeps_its_sources_and_resumes_them() {
    let mut cluster = Cluster::of(3);
    cluster.apply(&["a"]);
    cluster.run(20);
    let away = cluster.reader("a").unwrap().0;
    let other = (1..=3).map(id).find(|id| *id != away).unwrap();
    let now = cluster.now;
    cluster.node(away).handle_stop(now);
    cluster.run(30);
    assert!(cluster.host(away).stopped);
    let findings = view::check(&cluster.hosts[&other].node, cluster.now);
    assert_eq!(findings.iter().map(|finding| (finding.kind, finding.wrong)).collect::<Vec<_>>(), [(FindingKind::Waiting, false)]);
    cluster.restart(away);
    cluster.run(10);
    assert_eq!(cluster.reader("a").map(|(reader, _)| reader), Some(away));
    assert_eq!(cluster.taken(away), [("a".to_owned(), Why::Resumed)]);
    let row = view::source(&cluster.hosts[&other].node, cluster.now, &name("logs"), &name("a"), None).unwrap();
    assert_eq!((row.row.state, row.row.owner_name), (SourceState::Collected, Some(format!("n{}", away.0[0]))));
}

/// A grace is withdrawn by the next generation: a node that came back, and then died, is not waited for.
#[test]
fn a_node_that_dies_after_its_return_is_not_waited_for() {
    let mut cluster = Cluster::of(3);
    cluster.refuses = true;
    cluster.apply(&["a"]);
    cluster.run(20);
    let away = cluster.reader("a").unwrap().0;
    let now = cluster.now;
    cluster.node(away).handle_stop(now);
    cluster.run(5);
    assert!(cluster.host(away).stopped);
    cluster.restart(away);
    cluster.run(2);
    cluster.host(away).up = false;
    cluster.run(12);
    assert_ne!(cluster.reader("a").expect("another has taken it over, long before the grace is over").0, away);
}

/// A node that never heard the owner's claim is told by the witnesses that there was one.
#[test]
fn a_source_taken_from_a_dead_owner_is_not_called_new() {
    let mut cluster = Cluster::of(3);
    cluster.refuses = true;
    cluster.apply(&["a"]);
    cluster.run(20);
    let dead = cluster.reader("a").unwrap().0;
    cluster.host(dead).up = false;
    for survivor in (1..=3).map(id).filter(|id| *id != dead) {
        cluster.restart(survivor);
    }
    cluster.run(120);
    assert!(cluster.reader("a").is_some(), "a survivor reads it");
    let taken: Vec<_> = (1..=3).map(id).filter(|id| *id != dead).flat_map(|id| cluster.taken(id)).collect();
    assert!(taken.contains(&("a".to_owned(), Why::TookOver { from: dead })), "{taken:?}");
    assert!(taken.iter().all(|(_, why)| *why != Why::New), "{taken:?}");
}

/// A node that crashes again and again gets its sources back only once it has run for a while; others have them meanwhile.
#[test]
fn a_node_that_crashes_again_and_again_gets_no_sources_until_it_has_run_for_a_while() {
    let mut cluster = Cluster::of(3);
    cluster.refuses = true;
    cluster.apply(&SOURCES);
    cluster.run(30);
    let looping = cluster.reader("a").unwrap().0;
    let other = (1..=3).map(id).find(|id| *id != looping).unwrap();
    for crash in 1..=2 {
        cluster.restart(looping);
        cluster.run(20);
        assert!(cluster.taken(looping).contains(&("a".to_owned(), Why::Resumed)), "crash {crash} is no loop yet");
    }
    cluster.restart(looping);
    cluster.run(25);
    assert_eq!(cluster.taken(looping), []);
    for source in SOURCES {
        assert_ne!(cluster.reader(source).expect("another reads it").0, looping, "{source}");
    }
    let row = view::node(&cluster.hosts[&other].node, cluster.now, &looping).unwrap();
    assert_eq!(row.unsteady.as_deref(), Some("crashed 3 times in a row: no sources before it has run for 30 s"));
    cluster.run(40);
    // It may have them again, but an idle cluster moves nothing for its own sake.
    assert!(view::node(&cluster.hosts[&other].node, cluster.now, &looping).unwrap().unsteady.is_none());
    let told: Vec<_> = cluster.host(looping).told.iter().filter(|event| matches!(event, Event::Steadiness { .. })).cloned().collect();
    assert_eq!(told.len(), 2, "{told:?}");

    // A planned stop ends the row: whoever mends the node need not wait.
    let now = cluster.now;
    cluster.node(looping).handle_stop(now);
    cluster.run(5);
    cluster.restart(looping);
    cluster.run(10);
    assert!(view::node(&cluster.hosts[&other].node, cluster.now, &looping).unwrap().unsteady.is_none());
}

/// Better on a node that crashes than nowhere.
#[test]
fn a_node_that_crashes_again_and_again_collects_where_there_is_no_other() {
    let mut cluster = Cluster::of(1);
    cluster.apply(&["a"]);
    cluster.run(10);
    for _ in 0..4 {
        cluster.restart(id(1));
        cluster.run(40); // it hopes for its seeds at first
    }
    assert!(cluster.node(id(1)).view()[&id(1)].unsteady.is_some());
    assert!(cluster.reader("a").is_some());
}

/// A cold start: nobody takes a new source before the expected nodes have come, and people are told for whom it waits.
#[test]
fn a_cold_start_waits_for_the_nodes_that_are_expected() {
    for (expected, patience, waits) in [(3, 300, true), (2, 300, false), (3, 20, false)] {
        let mut cluster = Cluster::of(3);
        cluster.host(id(3)).up = false;
        let set = |setting, value| Command::Set { setting, value: Some(value) };
        cluster.command(id(1), set(&crate::setting::EXPECT_NODES, expected));
        cluster.command(id(1), set(&crate::setting::EXPECT_PATIENCE, patience));
        cluster.run(10);
        cluster.restart(id(1));
        cluster.restart(id(2));
        cluster.run(2);
        cluster.apply(&SOURCES);
        cluster.run(40);
        let read = SOURCES.iter().filter(|source| cluster.reader(source).is_some()).count();
        assert_eq!(read, if waits { 0 } else { SOURCES.len() }, "{expected} {patience}");
        let incomplete = cluster.hosts[&id(1)].told.iter().filter(|event| matches!(event, Event::Incomplete { active: 2, expected: 3 })).count();
        assert_eq!(incomplete, usize::from(patience == 20), "{expected} {patience}");
        if waits {
            let row = view::source(&cluster.hosts[&id(1)].node, cluster.now, &name("logs"), &name("a"), None).unwrap().row;
            assert_eq!(row.state, SourceState::Waiting);
            assert!(row.why.as_ref().unwrap().starts_with("2 of 3 expected nodes are active"), "{:?}", row.why);
            assert!(view::check(&cluster.hosts[&id(1)].node, cluster.now).iter().all(|finding| !finding.wrong));
            cluster.restart(id(3));
            cluster.run(60);
            let readers: BTreeSet<_> = SOURCES.iter().map(|source| cluster.reader(source).expect("somebody reads it").0).collect();
            assert!(readers.len() > 1, "{readers:?}");
            let moves: u64 = cluster.hosts.values().flat_map(|host| host.node.counters().released.values()).sum();
            assert_eq!(moves, 0, "nothing is taken only to be given away");
        }
    }
}

#[cfg(feature = "canary")]
#[test]
fn canaries_are_seen() {
    crate::canary::turns_red("no-last-words", a_node_that_stops_right_after_it_took_a_source_is_waited_for);
    crate::canary::turns_red("crashes-forgiven", a_node_that_crashes_again_and_again_gets_no_sources_until_it_has_run_for_a_while);
    crate::canary::turns_red("expects-nobody", a_cold_start_waits_for_the_nodes_that_are_expected);
}
