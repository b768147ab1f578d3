//! `restart` is no state: it is carried out by whoever hears of it in time, once (DESIGN §6).

use super::*;
use crate::operation::{Row, RowState};

fn restart(nodes: Option<&str>) -> Command {
    Command::Restart { runners: vec![name("logs")], nodes: nodes.map(|text| text.parse().unwrap()) }
}

fn running(nodes: u8) -> Cluster {
    let mut cluster = Cluster::of(nodes);
    cluster.apply(&["s1"]);
    cluster.run(5);
    cluster
}

/// How often each node's data plane was asked to begin anew.
fn restarts(cluster: &Cluster) -> Vec<usize> {
    let count = |host: &Host| host.commands.iter().filter(|command| matches!(command, InstanceCommand::Restart { .. })).count();
    cluster.hosts.values().map(count).collect()
}

fn rows(cluster: &Cluster, at: u8, operation: &str) -> Vec<RowState> {
    let node = &cluster.hosts[&id(at)].node;
    node.rows(node.operation(operation).unwrap().0).into_iter().map(|Row { state, .. }| state).collect()
}

fn operation(cluster: &Cluster, at: u8, command: CommandId) -> String {
    match cluster.hosts[&id(at)].answers.get(&command) {
        Some(Answer { operation, .. }) => operation.clone(),
        other => panic!("it was answered {other:?}"),
    }
}

#[test]
fn each_instance_begins_anew_once_and_its_sources_stay_where_they_are() {
    let mut cluster = running(4);
    let reader = cluster.reader("s1");
    let command = cluster.command(id(2), restart(None));
    assert_eq!(rows(&cluster, 2, &operation(&cluster, 2, command)), vec![RowState::Applied; 4]);
    cluster.run(60);
    assert_eq!((restarts(&cluster), cluster.reader("s1")), (vec![1; 4], reader));
}

#[test]
fn only_nodes_of_the_selection_begin_anew_and_none_is_no_selection() {
    let mut cluster = running(3);
    cluster.command(id(1), restart(Some("name in (n1, n3)")));
    cluster.run(10);
    assert_eq!(restarts(&cluster), [1, 0, 1]);
    cluster.command(id(1), Command::Desire { runners: vec![name("logs")], nodes: None, desired: crate::catalog::Desired::Stopped });
    cluster.run(3);
    let now = cluster.now;
    assert_eq!(cluster.node(id(1)).handle_command(now, CommandId(99), restart(None)), Err(CommandError::NothingRuns));
}

/// A target says that it is done once its instance has begun, not once it was told to.
#[test]
fn a_restart_that_hangs_is_pending() {
    let mut cluster = running(3);
    cluster.host(id(3)).plane_hangs = true;
    let command = cluster.command(id(1), restart(None));
    cluster.run(3);
    let pending = RowState::Pending { reason: "on its way".to_owned() };
    assert_eq!(rows(&cluster, 2, &operation(&cluster, 1, command)), [RowState::Applied, RowState::Applied, pending]);
}

/// DESIGN §6: never replayed to a node that was away.
#[test]
fn who_is_cut_off_hears_of_it_too_late_and_restarts_nothing() {
    let mut cluster = running(4);
    let others = [id(1), id(2), id(3)];
    cluster.cut = others.iter().flat_map(|other| [(*other, id(4)), (id(4), *other)]).collect();
    cluster.run(2);
    let command = cluster.command(id(1), restart(None));
    cluster.run(120);
    cluster.cut.clear();
    cluster.run(60);
    assert_eq!(restarts(&cluster), [1, 1, 1, 0]);
    let rows = rows(&cluster, 2, &operation(&cluster, 1, command));
    assert!(matches!(&rows[3], RowState::Failed { reason } if reason.contains("too late")), "{:?}", rows[3]);
}

/// What began after the command has nothing to do for it.
#[test]
fn a_node_that_was_down_meanwhile_has_begun_anew_by_its_own_start() {
    let mut cluster = running(4);
    cluster.host(id(4)).up = false;
    cluster.run(2);
    let command = cluster.command(id(1), restart(None));
    cluster.run(5);
    cluster.restart(id(4));
    cluster.run(30);
    assert_eq!(restarts(&cluster), [1, 1, 1, 0]);
    assert_eq!(rows(&cluster, 2, &operation(&cluster, 1, command)), vec![RowState::Applied; 4]);
}

#[test]
#[cfg(feature = "canary")]
fn canaries_are_seen() {
    crate::canary::turns_red("restart-late", who_is_cut_off_hears_of_it_too_late_and_restarts_nothing);
}
