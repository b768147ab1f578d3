//! What each node tells people of the others' doings (DESIGN §8.2): any of them shows the whole cluster.

use super::*;
use crate::event::Why;

/// What a node told of operations, in words.
fn of_operations(cluster: &Cluster, at: u8) -> Vec<String> {
    let word = |event: &Event| match event {
        Event::Commanded { .. } => Some("commanded".to_owned()),
        Event::Refused { target, .. } => Some(format!("refused by {}", target.0[0])),
        Event::Concluded { applied, failed, .. } => Some(format!("concluded {applied}/{failed}")),
        _ => None,
    };
    cluster.hosts[&id(at)].told.iter().filter_map(word).collect()
}

#[test]
fn every_node_tells_of_a_command_and_of_what_became_of_it() {
    let mut cluster = Cluster::of(3);
    cluster.host(id(2)).fails = true;
    cluster.apply(&["a"]);
    cluster.run(60);
    for n in 1..=3 {
        let told = of_operations(&cluster, n);
        assert_eq!(told[0], "commanded", "{n}: {told:?}");
        assert_eq!(told.last().unwrap(), "concluded 2/1", "{n}: {told:?}");
        assert_eq!(told.iter().filter(|word| *word == "refused by 2").count(), 1, "{n}: {told:?}");
    }
}

#[test]
fn a_restart_tells_nothing_of_old_commands_again() {
    let mut cluster = Cluster::of(3);
    cluster.apply(&["a"]);
    cluster.run(30);
    assert_eq!(of_operations(&cluster, 3), ["commanded", "concluded 3/0"]);
    cluster.restart(id(3));
    cluster.run(60);
    assert_eq!(of_operations(&cluster, 3), Vec::<String>::new());
}

/// Who moves what is told by all, in few events, and a node that comes later tells nothing of what was there before it.
#[test]
fn every_node_tells_who_took_what_over() {
    let mut cluster = Cluster::of(4);
    let sources: Vec<String> = (0..20).map(|number| format!("s{number}")).collect();
    cluster.apply(&sources.iter().map(String::as_str).collect::<Vec<_>>());
    cluster.run(10);
    cluster.hosts.values_mut().for_each(|host| host.told.clear());
    cluster.host(id(4)).up = false;
    cluster.run(120);
    let taken = |cluster: &Cluster, n: u8| -> usize {
        let own = |event: &Event| matches!(event, Event::Taken { why: Why::TookOver { from }, .. } if *from == id(4));
        let others = |event: &Event| match event {
            Event::Claimed { count, why: Why::TookOver { from }, source, .. } if *from == id(4) && source.is_some() == (*count == 1) => *count,
            _ => 0,
        };
        cluster.hosts[&id(n)].told.iter().map(|event| usize::from(own(event)) + others(event)).sum()
    };
    let all = taken(&cluster, 1);
    assert!(all > 0 && taken(&cluster, 2) == all && taken(&cluster, 3) == all);
    cluster.start(id(5), Vec::new());
    cluster.run(40);
    assert!(!cluster.hosts[&id(5)].told.iter().any(|event| matches!(event, Event::Claimed { why: Why::TookOver { .. }, .. })));
}
