//! What a runner was before is kept on every node's disk (DESIGN §6).

use super::*;

fn edit(cluster: &mut Cluster, via: u8, at: usize) {
    let mut spec = spec(&["s1"]);
    spec.transform = serde_json::from_value(serde_json::json!({ "vrl": format!(".edit = {at}") })).unwrap();
    cluster.command(id(via), Command::PutRunner { spec: Box::new(spec) });
    cluster.run(3);
}

/// The edits that a node remembers, the newest first; `-` for a deletion.
fn edits(cluster: &Cluster, at: u8) -> Vec<String> {
    let revisions = cluster.hosts[&id(at)].node.revisions(&name("logs"));
    let word = |spec: &RunnerSpec| serde_json::to_value(&spec.transform).unwrap()["vrl"].as_str().unwrap_or("").replace(".edit = ", "");
    revisions.iter().map(|revision| revision.spec.as_ref().map_or_else(|| "-".to_owned(), word)).collect()
}

#[test]
fn the_last_twenty_specs_are_kept_on_each_node_and_survive_a_restart_and_a_deletion() {
    let mut cluster = Cluster::of(3);
    (1..=22).for_each(|at| edit(&mut cluster, 1 + u8::try_from(at % 3).unwrap(), at));
    let newest_first: Vec<String> = (3..=22).rev().map(|at| at.to_string()).collect();
    for n in 1..=3 {
        assert_eq!(edits(&cluster, n), newest_first, "{n}");
    }
    cluster.restart(id(2));
    cluster.run(20);
    assert_eq!(edits(&cluster, 2), newest_first);
    let rows = cluster.hosts[&id(2)].disk.keys().filter(|(table, _)| *table == Table::Revision).count();
    assert_eq!(rows, 20, "what is kept no more is on no disk either");
    cluster.command(id(1), Command::DeleteRunners { runners: vec![name("logs")] });
    cluster.run(3);
    assert_eq!(edits(&cluster, 3)[..2], ["-".to_owned(), "22".to_owned()]);
}

#[test]
fn a_revision_leads_to_who_wrote_it() {
    let mut cluster = Cluster::of(2);
    let said = Said { actor: "ann".to_owned(), reason: Some("a try".to_owned()), idempotency_key: None };
    cluster.order(id(1), Command::PutRunner { spec: Box::new(spec(&["s1"])) }, said);
    cluster.run(5);
    let node = &cluster.hosts[&id(2)].node;
    let row = crate::view::revisions(node, &name("logs")).swap_remove(0);
    assert_eq!((row.present, row.actor.as_deref(), row.reason.as_deref()), (true, Some("ann"), Some("a try")));
    assert_eq!(row.spec.unwrap().sources.len(), 1, "it can be applied again as it is");
}
