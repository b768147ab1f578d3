//! `rewind`: a source is read again from its beginning, once, whoever owns it by then and whatever befalls them (DESIGN §6, §5.4).

use super::*;
use crate::{
    instance::{FilePlace, Pinned},
    operation::RowState,
};

fn rewind(sources: &[&str]) -> Command {
    let sources = sources.iter().map(|source| name(source)).collect();
    Command::Rewind { runners: vec![name("logs")], nodes: None, sources }
}

/// Four nodes with the sources `a` and `b`, of which 100 bytes each are acknowledged.
fn reading() -> Cluster {
    let mut cluster = Cluster::of(4);
    cluster.refuses = true;
    cluster.apply(&["a", "b"]);
    cluster.run(30);
    cluster.acknowledge("a", 100);
    cluster.acknowledge("b", 100);
    cluster.run(3);
    cluster
}

impl Cluster {
    /// Where whoever reads a source was told to begin, or has got to since.
    fn read_to(&self, source: &str) -> Checkpoint {
        let (reader, _) = self.reader(source).expect("somebody reads it");
        self.hosts[&reader].reading[&(name("logs"), name(source))].1.clone()
    }

    /// By how many bytes nodes said that they set a source back.
    fn rewound(&self, source: &str) -> Vec<u64> {
        let told = self.hosts.values().flat_map(|host| &host.told);
        let by = |event: &Event| match event {
            Event::Rewound { source: rewound, bytes, .. } if rewound.as_str() == source => Some(*bytes),
            _ => None,
        };
        told.filter_map(by).collect()
    }

    /// The stamp of the last rewind of this key, as a node has it.
    fn generation(&self, at: u8, key: &str) -> Stamp {
        self.hosts[&id(at)].node.gossip().catalog().get(key).map_or(Stamp::ZERO, |entry| entry.stamp)
    }

    fn row(&self, at: u8, command: CommandId, of: NodeId) -> RowState {
        let Some(Answer { operation, .. }) = self.hosts[&id(at)].answers.get(&command) else { panic!("no answer") };
        let node = &self.hosts[&id(at)].node;
        let (operation, _) = node.operation(operation).unwrap();
        node.rows(operation).into_iter().find(|row| row.node == of).unwrap().state
    }
}

#[test]
fn a_rewound_source_is_read_again_once_and_the_others_are_not() {
    let mut cluster = reading();
    let before = cluster.reader("a");
    let command = cluster.command(id(2), rewind(&["a"]));
    cluster.run(5);
    let generation = cluster.generation(1, "rewind/logs/a");
    assert_eq!((cluster.reader("a"), cluster.read_to("a")), (before, at(100).rewound(generation)), "the same owner, from the first byte");
    assert_eq!((cluster.held("a"), cluster.read_to("b")), (at(100).rewound(generation), at(100)));
    assert!((1..=4).all(|n| cluster.row(2, command, id(n)) == RowState::Applied));
    // What was on its way before: a position, but of before the rewind.
    cluster.acknowledge("a", 150);
    cluster.run(60);
    assert_eq!((cluster.held("a"), cluster.rewound("a"), cluster.rewound("b")), (at(100).rewound(generation), vec![100], vec![]));
}

#[test]
fn a_rewind_of_the_runner_is_of_all_its_sources_and_of_none_that_come_later() {
    let mut cluster = reading();
    cluster.command(id(3), rewind(&[]));
    cluster.run(5);
    assert_eq!((cluster.rewound("a"), cluster.rewound("b")), (vec![100], vec![100]));
    cluster.patch(&["c"], &[]);
    cluster.run(20);
    assert_eq!((cluster.read_to("c"), cluster.rewound("c")), (Checkpoint::default(), vec![]));
}

/// Its owner died before it heard of it: whoever takes the source over sets it back; what the dead one still says when it is back is of before.
#[test]
fn a_rewind_that_its_owner_did_not_live_to_hear_is_carried_out_by_the_next() {
    let mut cluster = reading();
    let (owner, _) = cluster.reader("a").unwrap();
    cluster.host(owner).up = false;
    let via = (1..=4).find(|n| id(*n) != owner).unwrap();
    let command = cluster.command(id(via), rewind(&["a"]));
    cluster.run(40);
    let rewound = at(100).rewound(cluster.generation(via, "rewind/logs/a"));
    assert_ne!(cluster.reader("a").unwrap().0, owner);
    assert_eq!((cluster.read_to("a"), cluster.held("a")), (rewound.clone(), rewound.clone()));
    assert!(matches!(cluster.row(via, command, owner), RowState::Pending { .. }), "it has not heard of it");
    cluster.restart(owner);
    cluster.run(60);
    assert_eq!((cluster.held("a"), cluster.row(via, command, owner)), (rewound, RowState::Applied));
    assert_eq!(cluster.rewound("a"), [100]);
}

/// It is cut off with what it has acknowledged since; the others rewind. Its position of before the rewind overrules nothing when it is heard again.
#[test]
fn a_position_from_before_the_rewind_does_not_overrule_it() {
    let mut cluster = reading();
    let (first, _) = cluster.reader("a").unwrap();
    let others: Vec<_> = (1..=4).map(id).filter(|id| *id != first).collect();
    cluster.cut.extend(others.iter().flat_map(|other| [(first, *other), (*other, first)]));
    cluster.run(30);
    cluster.acknowledge_at(first, "a", 300);
    cluster.command(others[0], rewind(&["a"]));
    cluster.run(10);
    cluster.cut.clear();
    cluster.run(30);
    let generation = cluster.generation(others[0].0[0], "rewind/logs/a");
    assert_eq!((cluster.held("a").rewind, cluster.read_to("a").bytes()), (generation, 0));
}

/// S4: what was read again counts only once its witnesses know that it is read again. Else the next owner would go on from where it was before, and what
/// this one had sent again would be more than a window's repeat.
#[test]
fn a_rewound_source_is_read_once_a_majority_knows_of_it() {
    let mut cluster = reading();
    let ((owner, _), key) = (cluster.reader("a").unwrap(), cluster.key("a"));
    let (_, owned) = cluster.node(owner).owned_sources().find(|(other, _)| **other == key).unwrap();
    let witnesses: Vec<_> = owned.record().witnesses.iter().map(|witness| witness.node).filter(|node| *node != owner).collect();
    let via = (1..=4).map(id).find(|id| *id != owner && !witnesses.contains(id)).unwrap();
    cluster.cut.extend(witnesses.iter().flat_map(|witness| [(owner, *witness), (*witness, owner)]));
    let command = cluster.command(via, rewind(&["a"]));
    cluster.run(3);
    assert_eq!(cluster.rewound("a"), [100]);
    assert_eq!((cluster.reader("a"), cluster.row(via.0[0], command, owner)), (None, RowState::Pending { reason: "on its way".to_owned() }));
    cluster.cut.clear();
    cluster.run(5);
    assert_eq!((cluster.reader("a").map(|(reader, _)| reader), cluster.row(via.0[0], command, owner)), (Some(owner), RowState::Applied));
}

/// The owner dies when it has set the source back and nobody knows of it: the next one does the same.
#[test]
fn an_owner_that_dies_in_the_middle_leaves_it_to_the_next() {
    let mut cluster = reading();
    let (owner, _) = cluster.reader("a").unwrap();
    let others: Vec<_> = (1..=4).map(id).filter(|id| *id != owner).collect();
    cluster.command(owner, rewind(&["a"]));
    cluster.run_for(Duration::from_millis(1));
    assert_eq!(cluster.rewound("a"), [100]);
    for other in &others {
        cluster.cut.extend([(owner, *other), (*other, owner)]);
    }
    cluster.host(owner).up = false;
    cluster.run(40);
    let generation = cluster.generation(others[0].0[0], "rewind/logs/a");
    assert_eq!((cluster.held("a"), cluster.read_to("a")), (at(100).rewound(generation), at(100).rewound(generation)));
}

/// DESIGN §5.3: a source of which no copy is found is never read from its start by itself, whoever has it by then; an operator's rewind ends that.
#[test]
fn a_source_without_a_checkpoint_waits_until_it_is_rewound() {
    let mut cluster = Cluster::of(8);
    cluster.refuses = true;
    cluster.apply(&["a"]);
    cluster.run(70);
    cluster.acknowledge("a", 100);
    // Said and done before: it says nothing on what is lost now.
    cluster.command(id(1), rewind(&["a"]));
    cluster.run(5);
    let (owner, _) = cluster.reader("a").unwrap();
    let (_, owned) = cluster.node(owner).owned_sources().next().unwrap();
    let knows: BTreeSet<NodeId> = owned.record().witnesses.iter().map(|witness| witness.node).chain([owner]).collect();
    for node in &knows {
        cluster.host(*node).up = false;
    }
    cluster.run(90);
    let waits = |cluster: &Cluster| {
        let owned = |host: &Host| host.node.owned_sources().next().map(|(_, owned)| owned.is_waiting());
        let mut owners = cluster.hosts.iter().filter(|(_, host)| host.up).filter_map(|(id, host)| Some((*id, owned(host)?)));
        owners.next().filter(|_| owners.next().is_none())
    };
    let (second, is_waiting) = waits(&cluster).expect("somebody has it");
    assert!(is_waiting && cluster.reader("a").is_none());
    let via = (1..=8).map(id).find(|id| *id != second && cluster.hosts[id].up).unwrap();
    cluster.command(via, Command::Drain { node: second, draining: true });
    cluster.run(60);
    let (third, is_waiting) = waits(&cluster).expect("it was given away");
    assert!(third != second && is_waiting && cluster.reader("a").is_none(), "who is given it does not read it either");
    cluster.command(via, rewind(&["a"]));
    cluster.run(5);
    assert_eq!((waits(&cluster), cluster.reader("a").map(|(reader, _)| reader)), (Some((third, false)), Some(third)));
}

fn files() -> RunnerSpec {
    let senders = serde_json::json!([{ "type": "stdout", "name": "out" }]);
    let spec = serde_json::json!({ "name": "logs", "placement": { "every": "all" }, "reader": { "type": "file", "paths": ["/var/log/*"] }, "senders": senders });
    serde_json::from_value(spec).unwrap()
}

fn pinned(node: NodeId) -> Name {
    name(&format!("{}-1-2-3", node.short()))
}

impl Cluster {
    /// Two nodes that read a file of their own each, 100 bytes of which are acknowledged.
    fn of_files() -> Self {
        let mut cluster = Self::of(2);
        cluster.command(id(1), Command::PutRunner { spec: Box::new(files()) });
        cluster.run(5);
        for node in [id(1), id(2)] {
            cluster.acknowledge_file(node, at(100));
        }
        cluster
    }

    fn acknowledge_file(&mut self, node: NodeId, checkpoint: Checkpoint) {
        let place = Some(FilePlace { device: 1, inode: 2, born: Some(3), path: "/var/log/a".to_owned() });
        let event = InstanceEvent::Checkpoint { runner: name("logs"), source: pinned(node), epoch: None, checkpoint, place };
        let now = self.now;
        self.node(node).handle_instance(now, event);
        self.carry_out();
    }

    /// What a node's disk says of its file.
    fn on_disk(&self, node: NodeId) -> Checkpoint {
        let rows = self.hosts[&node].disk.iter().filter(|((table, _), _)| *table == Table::Pinned);
        let rows: Vec<Pinned> = rows.map(|(_, row)| crate::catalog::unpack(row).unwrap()).collect();
        assert_eq!(rows.len(), 1);
        rows[0].checkpoint.clone()
    }

    /// What a data plane was told to begin again with.
    fn begun_again(&self, node: NodeId) -> Vec<(Stamp, Vec<Checkpoint>)> {
        let told = |command: &InstanceCommand| match command {
            InstanceCommand::Rewind { rewind, pinned, .. } => Some((*rewind, pinned.values().cloned().collect())),
            _ => None,
        };
        self.hosts[&node].commands.iter().filter_map(told).collect()
    }
}

#[test]
fn the_files_of_one_node_are_read_again_and_those_of_others_are_not() {
    let mut cluster = Cluster::of_files();
    let nodes = Some("name=n2".parse().unwrap());
    let command = cluster.command(id(1), Command::Rewind { runners: vec![name("logs")], nodes, sources: BTreeSet::new() });
    cluster.run(3);
    let generation = cluster.generation(1, &format!("rewind/logs@{}", id(2)));
    let rewound = at(100).rewound(generation);
    assert_eq!((cluster.on_disk(id(1)), cluster.on_disk(id(2))), (at(100), rewound.clone()));
    assert_eq!((cluster.begun_again(id(1)), cluster.begun_again(id(2))), (vec![], vec![(generation, vec![rewound.clone()])]));
    assert_eq!(cluster.row(1, command, id(2)), RowState::Applied);
    // The last word of the reader that was closed for it.
    cluster.acknowledge_file(id(2), at(200));
    assert_eq!(cluster.on_disk(id(2)), rewound);
    let read = Checkpoint { rewind: generation, ..at(70) };
    cluster.acknowledge_file(id(2), read.clone());
    cluster.run(30);
    assert_eq!((cluster.on_disk(id(2)), cluster.rewound(pinned(id(2)).as_str())), (read, vec![100]));
}

/// It was off when it was said: its disk is set back before anything is read, and once.
#[test]
fn a_node_that_was_away_reads_its_files_again_when_it_is_back() {
    let mut cluster = Cluster::of_files();
    cluster.host(id(2)).up = false;
    cluster.run(10);
    cluster.command(id(1), rewind(&[]));
    cluster.run(10);
    cluster.restart(id(2));
    cluster.run(30);
    let rewound = at(100).rewound(cluster.generation(1, "rewind/logs"));
    let started = cluster.hosts[&id(2)].commands.iter().rev().find_map(|command| match command {
        InstanceCommand::Start { pinned, rewind, .. } => Some((*rewind, pinned.values().next().unwrap().checkpoint.clone())),
        _ => None,
    });
    assert_eq!((cluster.on_disk(id(2)), started), (rewound.clone(), Some((rewound.rewind, rewound))));
    cluster.restart(id(2));
    cluster.run(30);
    assert_eq!(cluster.begun_again(id(2)), [], "nothing is left to do");
}

/// It was found when nothing was known of it yet: its first word is of before the rewind.
#[test]
fn a_file_of_which_no_word_had_come_when_it_was_rewound_is_read_again_too() {
    let mut cluster = Cluster::of(2);
    cluster.command(id(1), Command::PutRunner { spec: Box::new(files()) });
    cluster.run(5);
    cluster.command(id(1), rewind(&[]));
    cluster.run(5);
    let generation = cluster.generation(1, "rewind/logs");
    cluster.acknowledge_file(id(2), at(40));
    assert_eq!(cluster.begun_again(id(2)), [(generation, vec![]), (generation, vec![at(40).rewound(generation)])]);
}

#[test]
fn what_is_not_there_is_not_rewound() {
    let mut cluster = reading();
    let mut refusal = |command: Command| {
        let (now, node) = (cluster.now, cluster.node(id(1)));
        node.handle_command(now, CommandId(99), command).unwrap_err().to_string()
    };
    let on = |nodes: &str| Command::Rewind { runners: vec![name("logs")], nodes: Some(nodes.parse().unwrap()), sources: BTreeSet::new() };
    assert_eq!(refusal(rewind(&["z"])), "there is no source `logs/z`");
    assert_eq!(refusal(on("name=n1")), "it has 1 fault(s)");
    assert_eq!(refusal(on("nobody")), "`nobody` matches no node");
    let other = Command::Rewind { runners: vec![name("other")], nodes: None, sources: BTreeSet::new() };
    assert_eq!(refusal(other), "there is no runner `other`");
    let mut cluster = Cluster::of_files();
    let command = cluster.command(id(1), rewind(&[&format!("{}-9-9-9", id(2).short())]));
    cluster.run(3);
    assert!(matches!(cluster.row(1, command, id(2)), RowState::Failed { reason } if reason.contains("none of it was read yet")));
}

/// A runner that is made again under its name starts clean, and a source too.
#[test]
fn a_rewind_does_not_outlive_what_it_was_of() {
    let mut cluster = reading();
    cluster.command(id(2), rewind(&["a"]));
    cluster.command(id(2), rewind(&[]));
    cluster.run(5);
    cluster.patch(&[], &["a"]);
    cluster.run(5);
    assert_eq!(cluster.generation(3, "rewind/logs/a"), Stamp::ZERO);
    cluster.command(id(1), Command::DeleteRunners { runners: vec![name("logs")] });
    cluster.run(5);
    cluster.apply(&["a", "b"]);
    cluster.run(20);
    assert_eq!((cluster.generation(3, "rewind/logs"), cluster.read_to("b")), (Stamp::ZERO, Checkpoint::default()));
}

#[cfg(feature = "canary")]
#[test]
fn canaries_are_seen() {
    crate::canary::turns_red("rewind-outranked", a_position_from_before_the_rewind_does_not_overrule_it);
    crate::canary::turns_red("rewound-before-held", a_rewound_source_is_read_once_a_majority_knows_of_it);
    crate::canary::turns_red("lost-forgotten", a_source_without_a_checkpoint_waits_until_it_is_rewound);
}
