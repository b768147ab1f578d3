//! A change that depends on a revision (DESIGN §8.2, `If-Match`): of a runner, of what is desired of it, of its sources, of a node's tags, of a setting.

use super::*;
use crate::{catalog::Desired, selection::Selection, setting::Setting};

fn setting() -> &'static Setting {
    Setting::find("expect_nodes").unwrap()
}

fn edit(vrl: &str) -> Command {
    let mut spec = spec(&["s1"]);
    spec.transform = serde_json::from_value(serde_json::json!({ "vrl": vrl })).unwrap();
    Command::PutRunner { spec: Box::new(spec) }
}

fn desire(nodes: Option<&str>, desired: Desired) -> Command {
    Command::Desire { runners: vec![name("logs")], nodes: nodes.map(|text| text.parse().unwrap()), desired }
}

fn tag(tag: &str) -> Command {
    Command::SetTags { node: id(2), tags: [name(tag)].into() }
}

fn put(sources: &[&str], remove: &[&str]) -> Command {
    let (put, remove) = (sources.iter().map(|id| source(id)).collect(), remove.iter().map(|id| name(id)).collect());
    Command::PatchSources { runner: name("logs"), put, remove }
}

fn set(value: Option<u64>) -> Command {
    Command::Set { setting: setting(), value }
}

/// Each kind of change, with what another operator says of the same thing meanwhile.
fn contests() -> Vec<(Command, Command)> {
    let all: Selection = "all".parse().unwrap();
    vec![
        (edit(".a = 1"), edit(".b = 1")),
        // Of two specs that differ in nothing but their sources.
        (edit(".a = 1"), Command::PutRunner { spec: Box::new(spec(&["s1", "s2"])) }),
        (edit(".a = 1"), Command::PutRunner { spec: Box::new(spec(&[])) }),
        (desire(None, Desired::Stopped), desire(Some("name=n2"), Desired::Absent)),
        (desire(Some("name=n3"), Desired::Stopped), desire(None, Desired::Running)),
        (desire(None, Desired::Stopped), Command::Follow { runners: vec![name("logs")], nodes: all }),
        (put(&["s2"], &[]), put(&["s3"], &[])),
        (put(&["s2"], &[]), put(&[], &["s1"])),
        (tag("ours"), tag("theirs")),
        (set(Some(2)), set(Some(3))),
    ]
}

/// Also by the relay of the word that came between, while nobody has taken that one yet.
#[test]
fn a_change_is_refused_where_another_word_came_between_and_carried_out_where_none_did() {
    for (ours, theirs) in contests() {
        for proposed in [false, true] {
            let mut cluster = Cluster::of(3);
            cluster.apply(&["s1"]);
            cluster.command(id(1), desire(Some("name=n1"), Desired::Running));
            cluster.run(5);
            let revision = cluster.hosts[&id(1)].node.revision_of(&ours).unwrap();
            let conditional = |revision| Command::If { revision, command: Box::new(ours.clone()) };
            if proposed {
                cluster.swallows = [id(2), id(3)].into();
            }
            cluster.command(id(if proposed { 1 } else { 3 }), theirs.clone());
            cluster.run(if proposed { 0 } else { 5 });
            let now = cluster.now;
            let present = cluster.hosts[&id(1)].node.revision_of(&ours).unwrap();
            assert!(present > revision, "{theirs:?} is a word on what {ours:?} changes");
            let conflict = CommandError::Conflict { wanted: revision, revision: present };
            let refused = cluster.node(id(1)).handle_command(now, CommandId(99), conditional(revision)).unwrap_err();
            assert_eq!(refused, conflict, "{ours:?}");
            assert_eq!(cluster.node(id(1)).foresee(now, conditional(revision)).map(|_| ()).unwrap_err(), conflict, "a dry run says it too");
            cluster.command(id(1), conditional(present));
        }
    }
}

#[test]
fn what_is_said_of_one_thing_is_no_word_on_another() {
    let mut cluster = Cluster::of(3);
    cluster.apply(&["s1"]);
    cluster.run(5);
    let revisions = |cluster: &Cluster| {
        let node = &cluster.hosts[&id(1)].node;
        [edit(".a = 1"), desire(None, Desired::Stopped), put(&["s2"], &[]), tag("t"), set(Some(2))].map(|command| node.revision_of(&command).unwrap())
    };
    for (at, command) in [edit(".b = 1"), desire(None, Desired::Stopped), put(&["s2"], &[]), tag("t"), set(Some(2))].into_iter().enumerate() {
        let before = revisions(&cluster);
        cluster.command(id(1), command);
        cluster.run(5);
        let changed: Vec<_> = (0..5).filter(|of| revisions(&cluster)[*of] != before[*of]).collect();
        assert_eq!(changed, [at]);
    }
}

#[test]
fn what_was_never_said_has_the_revision_zero() {
    let mut cluster = Cluster::of(3);
    let now = cluster.now;
    for command in [tag("t"), set(Some(2)), edit(".a = 1")] {
        let absent = Command::If { revision: Stamp::ZERO, command: Box::new(command.clone()) };
        cluster.command(id(1), absent.clone());
        cluster.run(3);
        let refused = cluster.node(id(1)).handle_command(now, CommandId(99), absent).unwrap_err();
        assert!(matches!(refused, CommandError::Conflict { wanted: Stamp::ZERO, .. }), "{command:?}: {refused}");
    }
}

/// To ignore the condition would be to do what was asked not to be done.
#[test]
fn what_has_no_revision_cannot_depend_on_one() {
    let mut cluster = Cluster::of(3);
    cluster.apply(&["s1"]);
    cluster.run(5);
    let now = cluster.now;
    let several = Command::Desire { runners: vec![name("logs"), name("logs")], nodes: None, desired: Desired::Stopped };
    let restart = Command::Restart { runners: vec![name("logs")], nodes: None };
    for command in [several, restart, Command::Drain { node: id(2), draining: true }] {
        let conditional = Command::If { revision: Stamp(1), command: Box::new(command) };
        assert_eq!(cluster.node(id(1)).handle_command(now, CommandId(99), conditional), Err(CommandError::Unconditional));
    }
}

#[test]
#[cfg(feature = "canary")]
fn canaries_are_seen() {
    crate::canary::turns_red("conditions-ignored", a_change_is_refused_where_another_word_came_between_and_carried_out_where_none_did);
}
