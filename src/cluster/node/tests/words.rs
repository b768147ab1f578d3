use logvine_gossip::seal::Fingerprint;

use super::*;
use crate::{
    command::CommandError,
    host::Host as Machine,
    keys::rings,
    setting::{FORGET_AFTER, Setting},
    view,
};

fn machine(cpu_pct: u8) -> Machine {
    let booted = UnixMicros(1_699_999_000_000_000);
    Machine { cpus: 4, cpu_pct, memory_bytes: 8 << 30, memory_pct: 40, disk_bytes: 1 << 40, disk_pct: 70, booted }
}

fn set_host(cluster: &mut Cluster, cpu_pct: u8) {
    let now = cluster.now;
    cluster.node(id(1)).set_host(now, &machine(cpu_pct));
    cluster.carry_out();
}

/// What the others are told of the first node's processors, as the API's rows have it.
fn told(cluster: &Cluster) -> Option<u8> {
    view::node(&cluster.hosts[&id(2)].node, cluster.now, &id(1)).unwrap().host.map(|host| host.cpu_pct)
}

#[test]
fn a_machine_is_told_to_others_when_it_has_moved_by_a_step_and_not_more_than_once_in_ten_seconds() {
    let mut cluster = Cluster::of(2);
    assert_eq!(told(&cluster), None, "a version that does not tell");
    set_host(&mut cluster, 11);
    cluster.run(5);
    assert_eq!(told(&cluster), Some(10));
    set_host(&mut cluster, 90);
    cluster.run(4);
    assert_eq!(told(&cluster), Some(10), "too soon");
    cluster.run(2);
    set_host(&mut cluster, 14);
    cluster.run(5);
    assert_eq!(told(&cluster), Some(10), "no step");
    set_host(&mut cluster, 90);
    cluster.run(5);
    assert_eq!(told(&cluster), Some(90));
    let row = view::node(&cluster.hosts[&id(2)].node, cluster.now, &id(1)).unwrap().host.unwrap();
    assert_eq!((row.booted.as_str(), row.uptime_s), ("2023-11-14T21:56:40.000Z", 1_000 + 61));
}

/// A node that was believed down begins a new node map: what its host said once it would not say again.
#[test]
fn a_renewed_node_says_again_which_keys_it_has_and_what_it_runs_on() {
    let mut cluster = Cluster::of(3);
    let (now, key) = (cluster.now, Fingerprint([7; 8]));
    cluster.node(id(1)).set_keys(now, &[key]);
    set_host(&mut cluster, 30);
    cluster.run(5);
    cluster.host(id(1)).up = false;
    cluster.run(30);
    cluster.host(id(1)).up = true;
    cluster.run(30);
    assert!(cluster.hosts[&id(1)].told.iter().any(|event| matches!(event, Event::Renewed { .. })), "it was believed down");
    let ring = rings(&cluster.hosts[&id(2)].node).into_iter().find(|ring| ring.id == id(1)).unwrap();
    assert_eq!((ring.keys, told(&cluster)), (Some(vec![key]), Some(30)));
}

#[test]
fn a_setting_holds_on_all_nodes_until_it_is_unset() {
    let mut cluster = Cluster::of(3);
    let after = |cluster: &Cluster| cluster.hosts[&id(3)].node.catalog().forget_after().as_secs();
    assert_eq!(after(&cluster), FORGET_AFTER.default);
    cluster.command(id(1), Command::Set { setting: &FORGET_AFTER, value: Some(3_600) });
    cluster.run(5);
    assert_eq!(after(&cluster), 3_600);
    let stamp = |cluster: &Cluster| cluster.hosts[&id(1)].node.catalog().setting(&FORGET_AFTER).map(|(stamp, _)| stamp);
    let before = stamp(&cluster);
    cluster.command(id(2), Command::Set { setting: &FORGET_AFTER, value: Some(3_600) });
    cluster.run(5);
    assert_eq!(stamp(&cluster), before, "said again, it is not written again");
    cluster.command(id(2), Command::Set { setting: &FORGET_AFTER, value: None });
    cluster.run(5);
    assert_eq!((after(&cluster), stamp(&cluster)), (FORGET_AFTER.default, None));
}

/// A value of another version may be anything: what cannot be meant is left out, with its reason, and the default holds.
#[test]
fn a_setting_outside_its_range_is_refused_and_from_others_left_out() {
    let mut cluster = Cluster::of(2);
    let now = cluster.now;
    let refused = cluster.node(id(1)).handle_command(now, CommandId(9), Command::Set { setting: &FORGET_AFTER, value: Some(1) });
    assert!(matches!(refused, Err(CommandError::Invalid { faults }) if faults[0].pointer == "/value"));
    let key = FORGET_AFTER.key();
    cluster.node(id(1)).gossip.write(now, &key, Some(pack(&1_u64))).unwrap();
    cluster.node(id(1)).gossip.write(now, "setting/of-tomorrow", Some(pack(&"x"))).unwrap();
    cluster.run(5);
    let catalog = cluster.hosts[&id(2)].node.catalog();
    assert_eq!(catalog.setting(&FORGET_AFTER), None);
    assert_eq!(catalog.unreadable().keys().collect::<Vec<_>>(), [&key]);
    assert!(Setting::find("of-tomorrow").is_none());
}
