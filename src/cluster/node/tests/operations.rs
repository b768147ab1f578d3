//! Commands from any node to any node (DESIGN §6): accepted by disks, answered by rows that any node derives.

use super::*;
use crate::{
    catalog::Desired,
    operation::{RowState, Stage},
};

fn stop() -> Command {
    Command::Desire { runners: vec![name("logs")], nodes: None, desired: Desired::Stopped }
}

fn stop_on(selection: &str) -> Command {
    Command::Desire { runners: vec![name("logs")], nodes: Some(selection.parse().unwrap()), desired: Desired::Stopped }
}

fn running(nodes: u8) -> Cluster {
    let mut cluster = Cluster::of(nodes);
    cluster.apply(&["s1"]);
    cluster.run(5);
    cluster
}

/// What a node answered: the operation, and whether it is accepted.
fn answer(cluster: &Cluster, via: u8, command: CommandId) -> Option<(String, bool)> {
    let Answer { operation, accepted, .. } = cluster.hosts[&id(via)].answers.get(&command)?;
    Some((operation.clone(), *accepted))
}

/// Its rows as a node derives them: `1` applied, `-` pending, `x` failed, by node.
fn rows(cluster: &Cluster, at: u8, operation: &str) -> String {
    let node = &cluster.hosts[&id(at)].node;
    let (operation, _) = node.operation(operation).expect("it is known");
    let word = |row: &crate::operation::Row| match row.state {
        RowState::Applied => '1',
        RowState::Failed { .. } => 'x',
        RowState::Pending { .. } => '-',
    };
    node.rows(operation).iter().map(word).collect()
}

fn holds(cluster: &Cluster, at: u8, operation: &str) -> bool {
    cluster.hosts[&id(at)].disk.contains_key(&(Table::Catalog, format!("operation/{operation}").into_bytes()))
}

#[test]
fn a_command_is_answered_once_all_targets_have_carried_it_out() {
    let mut cluster = running(5);
    let command = cluster.command(id(2), stop());
    let (operation, accepted) = answer(&cluster, 2, command).expect("nothing here takes time");
    assert!(accepted);
    assert_eq!(rows(&cluster, 2, &operation), "11111");
    cluster.run(5);
    for n in 1..=5 {
        assert_eq!(rows(&cluster, n, &operation), "11111", "{n} derives the same");
        assert!(cluster.hosts[&id(n)].node.instances().next().is_none());
    }
}

/// DESIGN §6: never a refusal because some target is away; it finds the command when it returns.
#[test]
fn a_target_that_is_away_is_pending_and_carries_it_out_on_its_return() {
    let mut cluster = running(5);
    cluster.host(id(4)).up = false;
    cluster.host(id(5)).up = false;
    cluster.run(60);
    let command = cluster.command(id(1), stop());
    cluster.run(3);
    let (operation, accepted) = answer(&cluster, 1, command).expect("it never waits longer than 3 s");
    assert!(accepted);
    assert_eq!(rows(&cluster, 1, &operation), "111--");
    cluster.restart(id(5));
    cluster.run(15);
    for n in [1, 2, 3, 5] {
        assert_eq!(rows(&cluster, n, &operation), "111-1");
    }
}

/// Killing the relay in the middle loses nothing: another node shows the operation, and it is carried out.
#[test]
fn an_operation_outlives_its_relay() {
    let mut cluster = running(5);
    cluster.host(id(3)).disk_stalls = true; // so that one row is open when the relay dies
    let command = cluster.command(id(1), stop());
    assert_eq!(answer(&cluster, 1, command), None);
    let operation = cluster.hosts[&id(2)].node.catalog().operations().next_back().unwrap().id.clone();
    cluster.host(id(1)).up = false;
    let now = cluster.now;
    cluster.host(id(3)).disk_stalls = false;
    cluster.host(id(3)).sync(now);
    cluster.run(20);
    for n in 2..=5 {
        assert_eq!(rows(&cluster, n, &operation), "-1111", "nobody has heard from its relay what became of it there");
    }
    cluster.restart(id(1));
    cluster.run(20);
    for n in 1..=5 {
        assert_eq!(rows(&cluster, n, &operation), "11111");
    }
}

/// What a relay has said and nobody has accepted is on no disk of its own. While its clock is behind what others wrote, it knows of the stamps that it gave by
/// what it reserved (found by seed 290).
#[test]
fn an_id_is_given_once_although_its_relay_crashed_before_anybody_accepted_it() {
    let mut cluster = running(5);
    cluster.host(id(2)).ahead = Duration::from_secs(20);
    cluster.command(id(2), stop());
    cluster.run(2);
    cluster.cut = [1, 2, 3, 4].into_iter().map(|n| (id(5), id(n))).collect();
    cluster.command(id(5), stop());
    let said = cluster.hosts[&id(5)].node.operations().swap_remove(0).0.id.clone();
    cluster.restart(id(5));
    cluster.cut.clear();
    cluster.run(15);
    let command = cluster.command(id(5), stop_on("name=n1"));
    cluster.run(3);
    let (operation, accepted) = answer(&cluster, 5, command).expect("it is answered");
    assert!(accepted && operation > said, "{operation} was given after {said}");
}

/// DESIGN §6: what is reserved is on the relay's disk before anybody hears of the stamp.
#[test]
fn nothing_is_said_under_a_stamp_that_is_not_reserved_on_disk() {
    let mut cluster = running(5);
    cluster.host(id(1)).disk_stalls = true;
    let command = cluster.command(id(1), stop());
    cluster.run(3);
    let heard = |cluster: &Cluster| (2..=5).filter(|n| cluster.hosts[&id(*n)].node.catalog().operations().len() > 1).count();
    assert_eq!((heard(&cluster), answer(&cluster, 1, command).map(|(_, accepted)| accepted)), (0, Some(false)));
    let now = cluster.now;
    cluster.host(id(1)).disk_stalls = false;
    cluster.host(id(1)).sync(now);
    cluster.run(1);
    assert_eq!(heard(&cluster), 4);
}

/// S8: that a target was told is not that it is done. Its own word counts, for whoever asks, and also when the relay is no more.
#[test]
fn a_target_is_done_once_it_says_so_and_not_once_it_is_told() {
    let mut cluster = running(5);
    cluster.host(id(3)).plane_hangs = true; // it takes the command, and what it is to stop runs on
    let command = cluster.command(id(1), stop());
    assert_eq!(answer(&cluster, 1, command), None);
    let (operation, stage) = cluster.hosts[&id(1)].node.operations().swap_remove(0);
    let operation = operation.id.clone();
    assert!(stage == Stage::Accepted && holds(&cluster, 3, &operation), "it is told");
    assert_eq!(rows(&cluster, 1, &operation), "11-11");
    cluster.run(2);
    for n in 2..=5 {
        assert_eq!(rows(&cluster, n, &operation), "11-11", "{n} derives the same");
    }
    cluster.host(id(1)).up = false;
    let now = cluster.now;
    cluster.host(id(3)).plane_hangs = false;
    cluster.node(id(3)).handle_instance(now, InstanceEvent::Stopped { runner: name("logs") });
    cluster.run(5);
    for n in 2..=5 {
        assert_eq!(rows(&cluster, n, &operation), "11111", "{n} needs no relay for it");
    }
}

#[test]
fn it_is_accepted_when_two_others_have_it_on_disk() {
    let mut cluster = running(4);
    for n in [2, 3, 4] {
        cluster.host(id(n)).disk_stalls = true;
    }
    let command = cluster.command(id(1), stop());
    cluster.run(3);
    let (operation, accepted) = answer(&cluster, 1, command).unwrap();
    assert!(!accepted, "it is on no other disk");
    let accepted = |cluster: &Cluster| cluster.hosts[&id(1)].node.operation(&operation).unwrap().1 == Stage::Accepted;
    for (n, enough) in [(2, false), (4, true)] {
        let now = cluster.now;
        cluster.host(id(n)).disk_stalls = false;
        cluster.host(id(n)).sync(now);
        cluster.carry_out();
        assert!(holds(&cluster, n, &operation));
        assert_eq!(accepted(&cluster), enough, "on {n} too");
    }
}

/// Whatever comes last, the disk or the target's word, is what the answer waits for.
#[test]
fn a_node_of_one_answers_at_once() {
    let mut cluster = Cluster::of(1);
    let applied = cluster.command(id(1), Command::PutRunner { spec: Box::new(spec(&["s1"])) });
    assert!(answer(&cluster, 1, applied).is_some_and(|(_, accepted)| accepted));
    cluster.host(id(1)).disk_stalls = true;
    let stopped = cluster.command(id(1), stop());
    assert_eq!(answer(&cluster, 1, stopped), None);
    let now = cluster.now;
    cluster.host(id(1)).disk_stalls = false;
    cluster.host(id(1)).sync(now);
    cluster.carry_out();
    assert!(answer(&cluster, 1, stopped).is_some_and(|(_, accepted)| accepted));
}

#[test]
fn a_node_alone_accepts_by_its_own_disk() {
    let mut cluster = running(3);
    cluster.refuses = true;
    cluster.host(id(1)).up = false;
    cluster.host(id(2)).up = false;
    cluster.run(60);
    let command = cluster.command(id(3), stop());
    cluster.run(3);
    let (operation, accepted) = answer(&cluster, 3, command).unwrap();
    assert!(accepted);
    assert_eq!(rows(&cluster, 3, &operation), "--1");
}

/// A node that is cut off must not change the cluster when it is heard again, long after its operator has turned to another.
#[test]
fn what_nobody_took_is_withdrawn_and_never_published() {
    let mut cluster = running(3);
    cluster.swallows = [id(2), id(3)].into();
    let before = cluster.hosts[&id(1)].node.gossip().catalog().digest();
    let command = cluster.command(id(1), stop());
    cluster.run(3);
    let (operation, accepted) = answer(&cluster, 1, command).unwrap();
    assert!(!accepted);
    cluster.run(600);
    assert_eq!(cluster.hosts[&id(1)].node.operation(&operation).unwrap().1, Stage::Withdrawn);
    assert!(cluster.hosts[&id(1)].told.contains(&Event::Withdrawn { operation: operation.clone() }));
    cluster.swallows.clear();
    cluster.run(120);
    for n in 1..=3 {
        assert_eq!(cluster.hosts[&id(n)].node.gossip().catalog().digest(), before);
    }
}

#[test]
fn a_target_that_the_relay_does_not_reach_is_reached_through_helpers() {
    let mut cluster = running(4);
    cluster.uncalled = Some((id(1), id(4)));
    let command = cluster.command(id(1), stop());
    assert!(cluster.passed > 0, "somebody was asked to pass it on");
    cluster.run(3);
    let (operation, _) = answer(&cluster, 1, command).unwrap();
    assert_eq!(rows(&cluster, 1, &operation), "1111");
}

/// Nobody is everybody's helper, and whoever is suspected helps only where there is nobody else.
#[test]
fn helpers_are_drawn_for_each_target_and_suspects_come_last() {
    let mut cluster = running(8);
    let drawn = |cluster: &Cluster| (2..=8).map(|target| cluster.hosts[&id(1)].node.helpers_for(id(target))).collect::<Vec<_>>();
    let before = drawn(&cluster);
    let others: BTreeSet<NodeId> = before.iter().flatten().copied().collect();
    assert!(before.iter().all(|helpers| helpers.len() == 2) && others.len() > 3, "{before:?}");
    assert!((2..=8).zip(&before).all(|(target, helpers)| !helpers.contains(&id(target)) && !helpers.contains(&id(1))));
    let lost = before[0][0];
    cluster.host(lost).up = false;
    while cluster.hosts[&id(1)].node.view()[&lost].status == Status::Alive {
        cluster.run_for(Duration::from_millis(100));
    }
    assert_eq!(cluster.hosts[&id(1)].node.view()[&lost].status, Status::Suspect);
    assert!(drawn(&cluster).iter().all(|helpers| helpers.len() == 2 && !helpers.contains(&lost)));
}

#[test]
fn a_command_under_the_same_key_is_carried_out_once() {
    let mut cluster = running(3);
    let said = Said { actor: "ann".to_owned(), reason: Some("maintenance".to_owned()), idempotency_key: Some("k1".to_owned()) };
    let first = cluster.order(id(1), stop(), said.clone());
    cluster.run(5);
    let again = cluster.order(id(2), stop(), said.clone());
    cluster.run(3);
    assert_eq!(answer(&cluster, 1, first), answer(&cluster, 2, again));
    let other = cluster.order(id(2), stop(), Said { actor: "bob".to_owned(), ..said });
    cluster.run(3);
    assert_ne!(answer(&cluster, 2, again), answer(&cluster, 2, other), "keys are each person's own");
}

#[test]
fn an_edit_of_a_revision_that_is_no_more_is_refused_also_while_the_later_one_is_proposed() {
    let mut cluster = running(3);
    let revision = cluster.node(id(1)).catalog().runner(&name("logs")).unwrap().revision;
    let changed = |text: &str| {
        let mut spec = spec(&["s1"]);
        spec.transform = serde_json::from_value(serde_json::json!({ "vrl": text })).unwrap();
        Command::If { revision, command: Box::new(Command::PutRunner { spec: Box::new(spec) }) }
    };
    cluster.swallows = [id(2), id(3)].into();
    cluster.command(id(1), changed(".a = 1"));
    let now = cluster.now;
    let refused = cluster.node(id(1)).handle_command(now, CommandId(99), changed(".a = 2")).unwrap_err();
    assert!(matches!(refused, CommandError::Conflict { revision: present, .. } if present > revision), "{refused}");
}

#[test]
fn the_last_word_wins_whatever_its_scope_and_follow_clears_it() {
    let mut cluster = running(3);
    let runs = |cluster: &Cluster| cluster.hosts.values().map(|host| u8::from(host.node.instances().next().is_some())).collect::<Vec<_>>();
    let desire =
        |nodes: Option<&str>, desired| Command::Desire { runners: vec![name("logs")], nodes: nodes.map(|text| text.parse().unwrap()), desired };
    cluster.command(id(1), stop_on("name=n2"));
    cluster.run(3);
    assert_eq!(runs(&cluster), [1, 0, 1]);
    cluster.command(id(3), stop());
    cluster.run(3);
    cluster.command(id(3), desire(Some("name=n2"), Desired::Running));
    cluster.run(3);
    assert_eq!(runs(&cluster), [0, 1, 0]);
    cluster.command(id(2), Command::Follow { runners: vec![name("logs")], nodes: "all".parse().unwrap() });
    cluster.run(3);
    assert_eq!(runs(&cluster), [0, 0, 0]);
    cluster.command(id(2), desire(None, Desired::Running));
    cluster.run(3);
    assert_eq!(runs(&cluster), [1, 1, 1]);
}

/// DESIGN §4: one that gets the tag later starts it; one that loses the tag stops it; a runner made again starts clean.
#[test]
fn nodes_reconcile_by_themselves() {
    let mut cluster = Cluster::of(3);
    let tags = |node, tags: &[&str]| Command::SetTags { node: id(node), tags: tags.iter().map(|tag| name(tag)).collect() };
    let tagged = || {
        let mut spec = spec(&[]);
        spec.placement = crate::spec::Placement::Spread("web".to_owned());
        Command::PutRunner { spec: Box::new(spec) }
    };
    let runs = |cluster: &Cluster| cluster.hosts.values().map(|host| u8::from(host.node.instances().next().is_some())).collect::<Vec<_>>();
    cluster.command(id(1), tagged());
    cluster.command(id(1), tags(2, &["web"]));
    cluster.run(3);
    assert_eq!(runs(&cluster), [0, 1, 0]);
    cluster.host(id(3)).up = false;
    cluster.run(60);
    cluster.command(id(2), tags(3, &["web"]));
    cluster.command(id(2), tags(2, &[]));
    cluster.restart(id(3));
    cluster.run(60);
    assert_eq!(runs(&cluster), [0, 0, 1]);
    cluster.command(id(1), stop_on("name=n3"));
    cluster.run(3);
    cluster.command(id(1), Command::DeleteRunners { runners: vec![name("logs")] });
    cluster.run(3);
    cluster.command(id(2), tagged());
    cluster.run(3);
    assert_eq!(runs(&cluster), [0, 0, 1], "the stop was for the one before");
}

/// One entry for each runner on each node, unless all nodes are meant: then the runner's own will do.
#[test]
fn a_bulk_stop_sets_no_more_desired_states_than_a_catalog_can_take() {
    let mut cluster = running(3);
    let before = cluster.hosts[&id(1)].node.gossip().catalog().digest();
    let stop = |runners: usize, nodes: Option<&str>| Command::Desire {
        runners: vec![name("logs"); runners],
        nodes: nodes.map(|text| text.parse().unwrap()),
        desired: Desired::Stopped,
    };
    let now = cluster.now;
    let refused = cluster.node(id(1)).handle_command(now, CommandId(99), stop(33_334, Some("name!=n9"))).unwrap_err();
    assert_eq!(refused, CommandError::TooManyDesired { runners: 33_334, nodes: 3, most: 100_000 });
    assert_eq!(cluster.hosts[&id(1)].node.gossip().catalog().digest(), before);
    let mut preview = |runners, nodes| cluster.node(id(1)).foresee(now, stop(runners, nodes)).map(|foreseen| foreseen.targets.len());
    assert_eq!(preview(33_334, Some("name!=n9")).unwrap_err(), refused, "a dry run says it too");
    assert_eq!(preview(33_333, Some("name!=n9")), Ok(3));
    assert_eq!(preview(33_334, None), Ok(3));
}

#[test]
fn a_target_that_cannot_run_it_says_why() {
    let mut cluster = Cluster::of(3);
    cluster.host(id(2)).fails = true;
    let command = cluster.command(id(1), Command::PutRunner { spec: Box::new(spec(&["s1"])) });
    cluster.run(3);
    let (operation, accepted) = answer(&cluster, 1, command).unwrap();
    assert!(accepted);
    assert_eq!(rows(&cluster, 3, &operation), "1x1");
    let node = &cluster.hosts[&id(3)].node;
    let row = node.rows(node.operation(&operation).unwrap().0).swap_remove(1);
    assert_eq!(row.state, RowState::Failed { reason: "cannot run".to_owned() });
}

/// Issue 5: a spec that fails on 3 of 20 nodes. All 20 rows, in the answer to whoever asked and at every other node, and three of them say why.
#[test]
fn a_spec_that_three_of_twenty_nodes_cannot_run_has_twenty_rows_of_which_three_say_why() {
    let mut cluster = Cluster::of(20);
    for n in [4, 11, 20] {
        cluster.host(id(n)).fails = true;
    }
    let command = cluster.command(id(7), Command::PutRunner { spec: Box::new(spec(&["s1"])) });
    let (operation, accepted) = answer(&cluster, 7, command).expect("three that fail keep nobody waiting");
    assert!(accepted, "what three cannot run is written all the same");
    cluster.run(5);
    for n in 1..=20 {
        assert_eq!(rows(&cluster, n, &operation), "111x111111x11111111x", "{n} derives the same");
        let node = &cluster.hosts[&id(n)].node;
        let rows = node.rows(node.operation(&operation).unwrap().0);
        let reasons: Vec<_> = rows.into_iter().filter(|row| row.state == RowState::Failed { reason: "cannot run".to_owned() }).collect();
        assert_eq!(reasons.iter().map(|row| row.node).collect::<Vec<_>>(), [id(4), id(11), id(20)]);
    }
    let told = |host: &Host| host.told.iter().filter(|event| matches!(event, Event::Refused { operation: of, .. } if *of == operation)).count();
    assert!(cluster.hosts.values().all(|host| told(host) == 3), "and as events, on every node");
}

#[test]
fn a_node_map_keeps_the_last_outcomes_and_what_was_heard_stays_known() {
    let mut cluster = running(3);
    let mut operations = Vec::new();
    for at in 0..70 {
        let tags = [name(&format!("t{at}"))].into();
        let command = cluster.command(id(1), Command::SetTags { node: id(2), tags });
        cluster.run(1);
        operations.push(answer(&cluster, 1, command).unwrap().0);
    }
    cluster.run(10);
    let said = cluster.hosts[&id(1)].node.gossip().node_map(&id(2)).unwrap().iter("outcome/").count();
    assert_eq!(said, 64);
    assert_eq!(rows(&cluster, 3, &operations[0]), "1");
}

#[test]
#[cfg(feature = "canary")]
fn canaries_are_seen() {
    crate::canary::turns_red("rows-from-relay-only", an_operation_outlives_its_relay);
    crate::canary::turns_red("rows-from-relay-only", a_target_is_done_once_it_says_so_and_not_once_it_is_told);
    crate::canary::turns_red("stamp-not-kept", an_id_is_given_once_although_its_relay_crashed_before_anybody_accepted_it);
    crate::canary::turns_red("stamp-not-kept", nothing_is_said_under_a_stamp_that_is_not_reserved_on_disk);
}

#[test]
fn several_runners_are_deleted_by_one_word_or_none_of_them() {
    let mut cluster = Cluster::of(3);
    cluster.apply(&["s1"]);
    let other = RunnerSpec { name: name("more"), ..cluster.hosts[&id(1)].node.catalog().runner(&name("logs")).unwrap().spec.as_ref().clone() };
    cluster.command(id(1), Command::PutRunner { spec: Box::new(other) });
    cluster.run(5);
    let now = cluster.now;
    let unknown = Command::DeleteRunners { runners: vec![name("logs"), name("nobody")] };
    let refused = cluster.node(id(1)).handle_command(now, CommandId(99), unknown);
    assert_eq!(refused, Err(CommandError::NotFound { kind: "runner", name: "nobody".to_owned() }));
    cluster.command(id(1), Command::DeleteRunners { runners: vec![name("logs"), name("more"), name("logs")] });
    cluster.run(5);
    assert_eq!(cluster.hosts[&id(3)].node.catalog().runners().count(), 0);
    assert!(cluster.reader("s1").is_none() && cluster.hosts.values().all(|host| host.node.instances().count() == 0));
}
