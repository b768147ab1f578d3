//! A cut in two, in network namespaces: packets between the sides vanish without a word, and both sides reach the sources (DESIGN §5.3).
//!
//! The test runs itself once more in a network namespace of its own, which is the hub: it routes between the nodes' namespaces, serves the sources, and a
//! rule in it drops what goes from one side to the other. Wants root and iproute2; elsewhere it is skipped, and says so.

use std::{
    collections::BTreeSet,
    fs,
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    harness::{Cluster, Node, Web, client, printed, until, write_key},
    lines::{SOURCES, all_arrive, all_is_well, apply, most_often, write},
};

/// Set where the test runs in its hub.
const IN_HUB: &str = "TEST_IN_HUB";
const NODES: usize = 5;
/// Of the nodes, by index: the rest has the majority.
const SMALL_SIDE: [usize; 2] = [0, 1];
const HUB: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);

/// A network namespace that lasts as long as a process in it, which ends with this one.
struct Namespace(Child);

impl Namespace {
    /// Node `at`'s, joined to the hub.
    fn new(at: usize) -> Self {
        let mut keeper = Command::new("unshare");
        let keeper = keeper.args(["--net", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("unshare runs");
        let namespace = Self(keeper);
        let (hub_end, node_end, pid) = (format!("h{at}"), format!("n{at}"), namespace.0.id().to_string());
        // Until unshare(1) has done its work, the process is still in the hub.
        let own = std::fs::read_link("/proc/self/ns/net").expect("a namespace");
        let begin = std::time::Instant::now();
        while std::fs::read_link(format!("/proc/{pid}/ns/net")).expect("a namespace") == own {
            assert!(begin.elapsed() < crate::harness::PATIENCE, "unshare does not come to its end");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        ip(&format!("link add {hub_end} type veth peer name {node_end} netns {pid}"));
        ip(&format!("address add 10.88.{}.1/24 dev {hub_end}", at + 1));
        ip(&format!("link set {hub_end} up"));
        for words in ["link set lo up".to_owned(), format!("address add {}/24 dev {node_end}", address(at)), format!("link set {node_end} up")] {
            namespace.ip(&words);
        }
        namespace.ip(&format!("route add default via 10.88.{}.1", at + 1));
        namespace
    }

    fn enter(&self) -> [String; 3] {
        ["nsenter".to_owned(), format!("--net=/proc/{}/ns/net", self.0.id()), "--".to_owned()]
    }

    fn ip(&self, words: &str) {
        let [program, namespace, end] = self.enter();
        done(Command::new(program).args([namespace, end, "ip".to_owned()]).args(words.split(' ')), words);
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn address(at: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 88, u8::try_from(at + 1).expect("few nodes"), 2)
}

fn ip(words: &str) {
    done(Command::new("ip").args(words.split(' ')), words);
}

fn done(command: &mut Command, words: &str) {
    let output = command.output().expect("iproute2 is there");
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Drops what goes between two nodes, or lets it pass again.
fn cut_between(verb: &str, one: usize, other: usize) {
    ip(&format!("rule {verb} from {} to {} blackhole", address(one), address(other)));
    ip(&format!("rule {verb} from {} to {} blackhole", address(other), address(one)));
}

/// The same between the sides.
fn cut(verb: &str) {
    for small in SMALL_SIDE {
        (0..NODES).filter(|at| !SMALL_SIDE.contains(at)).for_each(|large| cut_between(verb, small, large));
    }
}

/// Runs the test once more, in a namespace of its own. None: that cannot be done here.
fn in_hub(test: &str) -> Option<bool> {
    let can = Command::new("unshare").args(["--net", "--", "ip", "link", "set", "lo", "up"]).output().is_ok_and(|output| output.status.success());
    let enters = Command::new("nsenter").arg("--version").output().is_ok();
    if !can || !enters {
        return None;
    }
    let test_binary = std::env::current_exe().expect("this program");
    let status = Command::new("unshare").args(["--net", "--"]).arg(test_binary).args(["--exact", test, "--nocapture"]).env(IN_HUB, "yes").status();
    Some(status.expect("unshare runs").success())
}

/// The nodes, each in its namespace, and what ends with them.
async fn start() -> (Cluster, Vec<Namespace>) {
    ip("link set lo up");
    ip(&format!("address add {HUB}/32 dev lo"));
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("a hub forwards");
    let namespaces: Vec<_> = (0..NODES).map(Namespace::new).collect();
    let dir: TempDir = tempfile::tempdir().expect("a temporary directory");
    let out = dir.path().join("out");
    std::fs::create_dir(&out).expect("a directory in it");
    let key = dir.path().join("cluster.key");
    write_key(&key);
    let seeds = format!("{},{}", address(0), address(NODES - 1));
    let node = |(at, namespace): (usize, &Namespace)| {
        let (http, out) = (address(at).to_string(), out.to_str().expect("a text path"));
        let [program, net, end] = namespace.enter();
        let args = ["--join", &seeds, "--tag", "collectors", "--http", &http, "--insecure-http", "--allow-write", out];
        Node::new(&format!("n{}", at + 1), address(at), dir.path(), &key).with(&args).within(&[&program, &net, &end])
    };
    let mut nodes: Vec<_> = namespaces.iter().enumerate().map(node).collect();
    nodes.iter_mut().for_each(Node::start);
    let cluster = Cluster { nodes, dir };
    cluster.all_see_all().await;
    (cluster, namespaces)
}

#[tokio::test]
async fn a_cut_in_two_loses_nothing_and_ends_with_one_owner_each() {
    if std::env::var_os(IN_HUB).is_none() {
        match in_hub("cut::a_cut_in_two_loses_nothing_and_ends_with_one_owner_each") {
            Some(passed) => assert!(passed, "it failed in its namespace; its words are above"),
            None => eprintln!("SKIPPED: no network namespaces here (they want root, unshare, nsenter and iproute2)"),
        }
        return;
    }
    let (cluster, _namespaces) = start().await;
    let web = Web::start_at(HUB).await;
    write(&web, 0..100);
    apply(&cluster, 3, &web);
    cluster.owners(0, "web", SOURCES).await;
    all_arrive(&cluster, 100).await;

    cut("add");
    let (small, large) = (SMALL_SIDE[0], NODES - 1);
    let mut written = 100;
    let of_side = |is_small: bool| (0..NODES).filter(move |at| SMALL_SIDE.contains(at) == is_small);
    until("each side sees the other down", async || {
        // Lines go on, on both sides of the cut.
        write(&web, written..written + 5);
        written += 5;
        for (seeing, seen) in [(small, of_side(false)), (large, of_side(true))] {
            let seen: BTreeSet<_> = seen.map(|at| cluster.nodes[at].name.clone()).collect();
            if cluster.nodes[seeing].sees("down").await? != seen {
                return None;
            }
        }
        Some(())
    })
    .await;
    // A source is collected on the side that has the majority of its witnesses, whichever that is.
    all_arrive(&cluster, written).await;

    cut("del");
    cluster.all_see_all().await;
    write(&web, written..written + 100);
    all_arrive(&cluster, written + 100).await;
    all_is_well(&cluster).await;
    assert_eq!(cluster.owners(small, "web", SOURCES).await, cluster.owners(large, "web", SOURCES).await, "both sides name the same owners");
    // By the owner that was cut off, by who took it over, and once more where it went home.
    assert!(most_often(&cluster) <= 3, "a line came {} times", most_often(&cluster));
}

/// DESIGN §6, 3: a target that the relay does not reach is reached through two others, and so is what only that node can tell.
#[tokio::test]
async fn a_command_and_a_question_go_through_others_where_the_direct_way_is_cut() {
    if std::env::var_os(IN_HUB).is_none() {
        match in_hub("cut::a_command_and_a_question_go_through_others_where_the_direct_way_is_cut") {
            Some(passed) => assert!(passed, "it failed in its namespace; its words are above"),
            None => eprintln!("SKIPPED: no network namespaces here (they want root, unshare, nsenter and iproute2)"),
        }
        return;
    }
    let (cluster, _namespaces) = start().await;
    let web = Web::start_at(HUB).await;
    apply(&cluster, 2, &web);
    let cut_off = cluster.owners(2, "web", SOURCES).await["s0"];
    let asked = (cut_off + 1) % NODES;
    let (relay, target) = (&cluster.nodes[asked], &cluster.nodes[cut_off]);
    // What only the target knows: asked of itself.
    let told = async || (relay.get(&format!("/v1/instances/{}/web", target.name)).await?["unanswered"] == serde_json::Value::Null).then_some(());
    until("the relay asks the target straight", told).await;

    cut_between("add", asked, cut_off);
    // Over a connection that was there before, packets vanish without a word.
    until("the relay asks it through others", told).await;
    // How far a source is, only its owner knows.
    let shown = relay.get("/v1/sources/web/s0").await.expect("it answers");
    assert!(shown["owner_name"] == target.name && shown["unanswered"].is_null() && shown["held"].is_array(), "{shown}");
    let body = serde_json::json!({ "nodes": format!("name={}", target.name) });
    let answer = client().post(format!("{}/v1/runners/web/stop", relay.api())).json(&body).send().await.expect("the relay answers");
    let written: serde_json::Value = answer.json().await.expect("in JSON");
    let id = written["operation"].as_str().expect("an operation").to_owned();
    until("the target has carried it out, and the relay knows", async || {
        let row = &relay.get(&format!("/v1/operations/{id}")).await?["targets"][0];
        (row["state"] == "applied").then_some(())
    })
    .await;
    // A key, too, is brought to it.
    let new = cluster.path("next.key");
    fs::write(&new, printed(&["keygen", "--next", cluster.path("cluster.key").to_str().expect("a text path")])).expect("write the next key");
    let installed = printed(&["key", "install", new.to_str().expect("a text path"), "--api", &relay.api()]);
    assert_eq!(installed.matches("applied").count(), NODES, "{installed}");
    assert!(relay.sees("alive").await.expect("it answers").contains(&target.name), "to be cut off from one is no death");
    cut_between("del", asked, cut_off);
}
