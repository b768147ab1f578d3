//! Counters go on over crashes, and count anew once where an operator has said so (DESIGN §6).

use super::*;
use crate::{instance::Counts, operation::RowState};

fn clear(nodes: Option<&str>) -> Command {
    Command::ClearCounters { runners: vec![name("logs")], nodes: nodes.map(|text| text.parse().unwrap()) }
}

impl Cluster {
    fn counting() -> Self {
        let mut cluster = Self::of(3);
        cluster.apply(&["s1"]);
        cluster.run(5);
        for at in 1..=3 {
            cluster.count(id(at), Counts { records: 100, errors: 7, ..Counts::default() });
        }
        cluster.run(3);
        cluster
    }

    /// A data plane tells what it has counted.
    fn count(&mut self, node: NodeId, counts: Counts) {
        let now = self.now;
        self.node(node).handle_instance(now, InstanceEvent::Counted { runner: name("logs"), counts });
        self.carry_out();
    }

    /// Where a node's data plane was told to go on counting, at its last start or since.
    fn counted_on(&self, node: NodeId) -> Counts {
        let told = |command: &InstanceCommand| match command {
            InstanceCommand::Start { counts, .. } => Some(counts.clone()),
            InstanceCommand::ClearCounters { since, .. } => Some(Counts { since: *since, ..Counts::default() }),
            _ => None,
        };
        self.hosts[&node].commands.iter().rev().find_map(told).expect("it was started")
    }

    fn cleared(&self, at: u8, key: &str) -> Stamp {
        self.hosts[&id(at)].node.gossip().catalog().get(key).map_or(Stamp::ZERO, |entry| entry.stamp)
    }
}

#[test]
fn what_was_counted_is_there_after_a_crash() {
    let mut cluster = Cluster::counting();
    cluster.restart(id(2));
    cluster.run(10);
    assert_eq!(cluster.counted_on(id(2)), Counts { records: 100, errors: 7, ..Counts::default() });
}

#[test]
fn who_is_named_counts_anew_and_the_others_go_on() {
    let mut cluster = Cluster::counting();
    let command = cluster.command(id(1), clear(Some("name=n2")));
    cluster.run(3);
    let since = cluster.cleared(3, &format!("clear/logs@{}", id(2)));
    assert!(since > Stamp::ZERO);
    assert_eq!([1, 2, 3].map(|at| cluster.counted_on(id(at)).since), [Stamp::ZERO, since, Stamp::ZERO]);
    let Some(Answer { operation, .. }) = cluster.hosts[&id(1)].answers.get(&command) else { panic!("no answer") };
    let node = &cluster.hosts[&id(1)].node;
    let states: Vec<_> = node.rows(node.operation(operation).unwrap().0).into_iter().map(|row| row.state).collect();
    assert_eq!(states, [RowState::Applied]);
    // A word of the data plane that was on its way does not bring back what was cleared.
    cluster.count(id(2), Counts { records: 101, ..Counts::default() });
    cluster.count(id(2), Counts { since, records: 3, ..Counts::default() });
    cluster.restart(id(2));
    cluster.run(10);
    assert_eq!(cluster.counted_on(id(2)), Counts { since, records: 3, ..Counts::default() });
}

/// It is a state: who was away counts anew when it is back, once.
#[test]
fn a_node_that_was_away_counts_anew_when_it_is_back() {
    let mut cluster = Cluster::counting();
    cluster.host(id(2)).up = false;
    cluster.run(10);
    cluster.command(id(1), clear(None));
    cluster.run(10);
    cluster.restart(id(2));
    cluster.run(30);
    let since = cluster.cleared(1, "clear/logs");
    assert_eq!([1, 2, 3].map(|at| cluster.counted_on(id(at)).since), [since; 3]);
    cluster.count(id(2), Counts { since, records: 5, ..Counts::default() });
    cluster.restart(id(2));
    cluster.run(30);
    assert_eq!(cluster.counted_on(id(2)).records, 5);
}

#[test]
fn a_deleted_runner_leaves_no_counts_behind_and_a_new_one_of_its_name_counts_from_nothing() {
    let mut cluster = Cluster::counting();
    cluster.command(id(1), clear(None));
    cluster.run(3);
    cluster.command(id(1), Command::DeleteRunners { runners: vec![name("logs")] });
    cluster.run(10);
    let is_counts = |((table, _), _): &(&(Table, Vec<u8>), &Vec<u8>)| *table == Table::Counts;
    assert_eq!([1, 2, 3].map(|at| cluster.hosts[&id(at)].disk.iter().filter(is_counts).count()), [0; 3]);
    assert_eq!(cluster.cleared(1, "clear/logs"), Stamp::ZERO);
    cluster.apply(&["s1"]);
    cluster.run(5);
    assert_eq!(cluster.counted_on(id(2)), Counts::default());
}
