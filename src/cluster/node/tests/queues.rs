//! `drop-queue` is no state: what waits is thrown away by whoever hears of it in time, at most once (DESIGN §6); a deleted runner's queue goes with it (§7).

use super::*;
use crate::operation::{Row, RowState};

fn drop_queue(nodes: Option<&str>) -> Command {
    Command::DropQueue { runners: vec![name("logs")], nodes: nodes.map(|text| text.parse().unwrap()) }
}

fn pushed() -> Command {
    let spec = serde_json::json!({
        "name": "logs", "placement": { "every": "all" },
        "reader": { "type": "http_push", "listen": "127.0.0.1:0" }, "senders": [{ "type": "stdout", "name": "out" }],
    });
    Command::PutRunner { spec: Box::new(serde_json::from_value(spec).unwrap()) }
}

impl Cluster {
    fn with_queues(nodes: u8) -> Self {
        let mut cluster = Self::of(nodes);
        cluster.command(id(1), pushed());
        cluster.run(5);
        cluster
    }

    /// How often each node's data plane was told to.
    fn told(&self, is_it: impl Fn(&InstanceCommand) -> bool) -> Vec<usize> {
        self.hosts.values().map(|host| host.commands.iter().filter(|command| is_it(command)).count()).collect()
    }

    fn drops(&self) -> Vec<usize> {
        self.told(|command| matches!(command, InstanceCommand::DropQueue { .. }))
    }

    fn removals(&self) -> Vec<usize> {
        self.told(|command| matches!(command, InstanceCommand::RemoveQueue { .. }))
    }

    fn rows_of(&self, at: u8, command: CommandId) -> Vec<RowState> {
        let Some(Answer { operation, .. }) = self.hosts[&id(at)].answers.get(&command) else { panic!("no answer") };
        let node = &self.hosts[&id(at)].node;
        node.rows(node.operation(operation).unwrap().0).into_iter().map(|Row { state, .. }| state).collect()
    }
}

#[test]
fn each_node_drops_its_queue_once_and_tells_of_it() {
    let mut cluster = Cluster::with_queues(3);
    let command = cluster.command(id(2), drop_queue(None));
    assert_eq!(cluster.rows_of(2, command), vec![RowState::Applied; 3]);
    cluster.run(60);
    assert_eq!(cluster.drops(), [1; 3]);
    assert!(cluster.hosts[&id(3)].told.iter().any(|event| matches!(event, Event::QueueDropped { bytes: 1_000, .. })));
}

#[test]
fn only_nodes_of_the_selection_drop_and_a_runner_without_a_queue_is_refused() {
    let mut cluster = Cluster::with_queues(3);
    cluster.command(id(1), drop_queue(Some("name in (n1, n3)")));
    cluster.run(5);
    assert_eq!(cluster.drops(), [1, 0, 1]);
    let mut spread = Cluster::of(1);
    spread.apply(&["s1"]);
    spread.run(2);
    let now = spread.now;
    let refused = spread.node(id(1)).handle_command(now, CommandId(99), drop_queue(None));
    assert_eq!(refused, Err(CommandError::NoQueue { runner: "logs".to_owned() }));
}

/// DESIGN §6: never replayed to a node that was away. By then other records wait than those that the operator has looked at.
#[test]
fn who_is_cut_off_hears_of_it_too_late_and_drops_nothing() {
    let mut cluster = Cluster::with_queues(4);
    let others = [id(1), id(2), id(3)];
    cluster.cut = others.iter().flat_map(|other| [(*other, id(4)), (id(4), *other)]).collect();
    cluster.run(2);
    let command = cluster.command(id(1), drop_queue(None));
    cluster.run(120);
    cluster.cut.clear();
    cluster.run(60);
    assert_eq!(cluster.drops(), [1, 1, 1, 0]);
    let rows = cluster.rows_of(1, command);
    assert!(matches!(&rows[3], RowState::Failed { reason } if reason.contains("too late")), "{:?}", rows[3]);
}

/// What came in since the node's start is not what was to be dropped, and whether the earlier life did it nobody knows.
#[test]
fn a_node_that_ends_in_the_middle_drops_nothing_a_second_time_and_says_so() {
    let mut cluster = Cluster::with_queues(3);
    cluster.host(id(3)).plane_hangs = true;
    let command = cluster.command(id(1), drop_queue(None));
    cluster.run(3);
    assert_eq!(cluster.rows_of(1, command)[2], RowState::Pending { reason: "on its way".to_owned() });
    cluster.host(id(3)).commands.clear();
    cluster.host(id(3)).plane_hangs = false;
    cluster.restart(id(3));
    cluster.run(20);
    assert_eq!(cluster.drops(), [1, 1, 0]);
    assert!(matches!(&cluster.rows_of(1, command)[2], RowState::Failed { reason } if reason.contains("in the middle")));
}

/// A row stays true: who has dropped it says so after a restart, too.
#[test]
fn a_node_that_has_dropped_it_says_so_in_its_next_life() {
    let mut cluster = Cluster::with_queues(3);
    let command = cluster.command(id(1), drop_queue(None));
    cluster.run(3);
    cluster.restart(id(2));
    cluster.run(20);
    assert_eq!((cluster.drops(), cluster.rows_of(1, command)), (vec![1, 0, 1], vec![RowState::Applied; 3]), "and not again");
}

#[test]
fn the_queue_of_a_deleted_runner_goes_and_that_of_a_stopped_one_stays() {
    let mut cluster = Cluster::with_queues(3);
    cluster.command(id(1), Command::Desire { runners: vec![name("logs")], nodes: None, desired: crate::catalog::Desired::Stopped });
    cluster.run(10);
    assert_eq!(cluster.removals(), [0; 3]);
    cluster.host(id(3)).up = false;
    cluster.run(10);
    cluster.command(id(1), Command::DeleteRunners { runners: vec![name("logs")] });
    cluster.run(10);
    assert_eq!(cluster.removals(), [1, 1, 0]);
    cluster.restart(id(3));
    cluster.run(30);
    assert_eq!(cluster.removals(), [1; 3], "who was away removes it when it is back");
    let is_row = |((table, _), _): &(&(Table, Vec<u8>), &Vec<u8>)| *table == Table::Queue;
    assert_eq!([1, 2, 3].map(|at| cluster.hosts[&id(at)].disk.iter().filter(is_row).count()), [0; 3]);
    assert!(cluster.hosts[&id(3)].told.iter().any(|event| matches!(event, Event::QueueRemoved { bytes: 1_000, .. })));
}

#[test]
fn a_runner_made_anew_under_the_name_keeps_its_own_queue() {
    let mut cluster = Cluster::with_queues(1);
    let first = cluster.hosts[&id(1)].node.catalog().runner(&name("logs")).unwrap().uid;
    cluster.command(id(1), Command::DeleteRunners { runners: vec![name("logs")] });
    cluster.command(id(1), pushed());
    cluster.run(10);
    let second = cluster.hosts[&id(1)].node.catalog().runner(&name("logs")).unwrap().uid;
    let removed = |of: Stamp| cluster.told(move |command| matches!(command, InstanceCommand::RemoveQueue { uid, .. } if *uid == of));
    assert_ne!(first, second);
    assert_eq!((removed(first), removed(second)), (vec![1], vec![0]));
}

/// A catalog that merely lacks a runner, as one that came from a new store does, has deleted nothing.
#[test]
fn a_node_that_knows_of_no_deletion_removes_nothing() {
    let mut cluster = Cluster::with_queues(1);
    cluster.host(id(1)).disk.retain(|(table, _), _| *table != Table::Catalog);
    cluster.restart(id(1));
    cluster.run(60);
    assert!(cluster.hosts[&id(1)].node.catalog().runner(&name("logs")).is_none());
    assert_eq!(cluster.removals(), [0]);
}

#[test]
#[cfg(feature = "canary")]
fn canaries_are_seen() {
    crate::canary::turns_red("drop-late", who_is_cut_off_hears_of_it_too_late_and_drops_nothing);
}
