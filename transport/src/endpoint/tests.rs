use std::time::Duration;

use logvine_gossip::seal::ClusterKey;
use serde::Deserialize;
use tokio::{runtime::Runtime, task::JoinSet, time::sleep};

use super::*;
use crate::{FRAME_BYTES_MAX, FRAME_FORMAT, FrameError, ReplyError};

/// Long enough for a busy machine; a test that waits this long has failed.
const LONG: Duration = Duration::from_secs(20);
/// For calls that are to run into their deadline.
const SHORT: Duration = Duration::from_millis(300);
const LOOPBACK: &str = "127.0.0.1:0";

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Say {
    words: String,
}

fn say(words: &str) -> Say {
    Say { words: words.to_owned() }
}

fn ring(cluster: u8, secret: u8) -> Keyring {
    Keyring::new(vec![ClusterKey::new(ClusterId([cluster; 8]), [secret; 32])]).unwrap()
}

struct Node {
    id: NodeId,
    at: SocketAddr,
    endpoint: Endpoint,
    incoming: mpsc::Receiver<Incoming>,
}

fn node_in(keyring: &Keyring, config: &EndpointConfig) -> Node {
    let key = NodeKey::generate().unwrap();
    let (endpoint, incoming) = Endpoint::bind(LOOPBACK.parse().unwrap(), &key, keyring, config).unwrap();
    Node { id: key.id(), at: endpoint.local(), endpoint, incoming }
}

fn node() -> Node {
    node_in(&ring(1, 1), &EndpointConfig::default())
}

impl Node {
    /// Answers every call with its words and who said them, for as long as the endpoint lives.
    fn echoing(mut self) -> (NodeId, SocketAddr, Endpoint) {
        tokio::spawn(async move {
            while let Some(call) = self.incoming.recv().await {
                let asked: Say = call.request().unwrap();
                let _ = call.responder.reply(&say(&format!("{} said {}", call.from, asked.words)));
            }
        });
        (self.id, self.at, self.endpoint)
    }

    async fn ask(&self, id: NodeId, at: SocketAddr, words: &str) -> Result<Say, CallError> {
        self.endpoint.call(id, at, &say(words), LONG).await
    }
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    timeout(LONG, async {
        while !holds() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn a_call_is_answered_and_its_caller_is_proved() {
    let a = node();
    let (id, at, _b) = node().echoing();
    assert_eq!(a.ask(id, at, "hello").await.unwrap().words, format!("{} said hello", a.id));
}

/// DESIGN §8.4: the key is the cluster. Neither side says a word to a node with another.
#[tokio::test]
async fn a_node_with_another_cluster_key_is_refused() {
    for stranger in [ring(1, 2), ring(2, 1)] {
        let mut ours = node();
        let mut stranger = node_in(&stranger, &EndpointConfig::default());
        let error = stranger.ask(ours.id, ours.at, "let me in").await.unwrap_err();
        assert!(matches!(error, CallError::NotOurCluster { .. }) && !error.maybe_delivered(), "{error}");
        let error = ours.ask(stranger.id, stranger.at, "who are you").await.unwrap_err();
        assert!(matches!(error, CallError::NotOurCluster { .. }), "{error}");
        let error = ours.endpoint.greet(stranger.at, LONG).await.unwrap_err();
        assert!(error.to_string().contains("does not share this node's cluster key"), "{error}");
        assert!(ours.incoming.try_recv().is_err() && stranger.incoming.try_recv().is_err());
    }
}

/// While a cluster's key is changed, nodes that have both let in those that still have the old one only.
#[tokio::test]
async fn nodes_that_share_any_key_of_the_ring_can_call() {
    let key = |secret| ClusterKey::new(ClusterId([1; 8]), [secret; 32]);
    let both = |first, second| Keyring::new(vec![key(first), key(second)]).unwrap();
    let (id, at, _b) = node_in(&both(2, 1), &EndpointConfig::default()).echoing();
    let a = node_in(&both(1, 2), &EndpointConfig::default());
    a.ask(id, at, "still we").await.unwrap();
}

/// DESIGN §3.1: calls go to a node, not to an address.
#[tokio::test]
async fn a_peer_with_another_id_is_told_nothing() {
    let a = node();
    let mut b = node();
    let expected = NodeId([7; 16]);
    let error = a.ask(expected, b.at, "a secret").await.unwrap_err();
    let CallError::WrongIdentity { expected: e, found, .. } = &error else { panic!("{error}") };
    assert_eq!((*e, *found), (expected, b.id));
    assert!(!error.maybe_delivered());
    assert!(b.incoming.try_recv().is_err());
}

#[tokio::test]
async fn a_greeting_tells_who_is_there() {
    let (a, b) = (node(), node());
    assert_eq!(a.endpoint.greet(b.at, LONG).await.unwrap(), b.id);
    eventually("the greeting's connection is closed", || b.endpoint.inner.quic.open_connections() == 0).await;
}

#[tokio::test]
async fn an_oversize_frame_is_refused_by_its_header() {
    let a = node();
    let (id, at, _b) = node().echoing();
    a.ask(id, at, "first").await.unwrap();
    let (_, connection) = a.endpoint.dial(at).await.unwrap();
    // Only the header is sent: a receiver that waited for the body, or made room for it, would not answer.
    for (header, expected) in [
        ([FRAME_FORMAT, 0xff, 0xff, 0xff, 0xff], Refusal::TooLarge),
        ([FRAME_FORMAT, 0x00, 0x10, 0x00, 0x01], Refusal::TooLarge),
        ([FRAME_FORMAT + 1, 0, 0, 0, 0], Refusal::Format),
    ] {
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        send.write_all(&header).await.unwrap();
        let error = timeout(LONG, recv.read(&mut [0; 8])).await.unwrap().unwrap_err();
        let quinn::ReadError::Reset(code) = error else { panic!("{error}") };
        assert_eq!(Refusal::of(code), expected);
    }
    a.ask(id, at, "the peer is well").await.unwrap();
}

#[tokio::test]
async fn our_own_oversize_frames_are_not_sent() {
    let a = node();
    let mut b = node();
    let large = "x".repeat(FRAME_BYTES_MAX);
    let error = a.ask(b.id, b.at, &large).await.unwrap_err();
    assert!(matches!(error, CallError::Request { source: FrameError::TooLarge { .. } }), "{error}");

    let asked = a.ask(b.id, b.at, "say much");
    let answered = async {
        let call = b.incoming.recv().await.unwrap();
        assert!(matches!(call.responder.reply(&say(&large)), Err(ReplyError::Frame { source: FrameError::TooLarge { .. } })));
    };
    let (asked, ()) = tokio::join!(asked, answered);
    assert!(matches!(asked.unwrap_err(), CallError::Refused { refusal: Refusal::Unanswered, .. }));
}

#[tokio::test]
async fn the_largest_frames_pass_both_ways() {
    let a = node();
    let (id, at, _b) = node().echoing();
    let words = "x".repeat(FRAME_BYTES_MAX - 100);
    assert!(a.ask(id, at, &words).await.unwrap().words.ends_with(&words));
}

#[tokio::test]
async fn a_hundred_calls_at_once_are_all_answered_over_one_connection() {
    let a = node();
    let (id, at, b) = node().echoing();
    let mut calls = JoinSet::new();
    for n in 0..100 {
        let endpoint = a.endpoint.clone();
        calls.spawn(async move {
            let said: Say = endpoint.call(id, at, &say(&n.to_string()), LONG).await.unwrap();
            assert!(said.words.ends_with(&format!(" said {n}")), "{said:?}");
        });
    }
    assert_eq!(calls.join_all().await.len(), 100);
    assert_eq!(b.inner.quic.open_connections(), 1);
}

#[tokio::test]
async fn an_idle_connection_is_closed_on_both_sides_and_dialled_anew() {
    let config = EndpointConfig { idle: Duration::from_millis(100), ..EndpointConfig::default() };
    let a = node_in(&ring(1, 1), &config);
    let (id, at, b) = node().echoing();
    a.ask(id, at, "once").await.unwrap();
    eventually("the caller hangs up", || a.endpoint.dialled() == 0).await;
    eventually("the other side knows", || b.inner.quic.open_connections() == 0).await;
    a.ask(id, at, "again").await.unwrap();
}

/// A call may take longer than a connection may idle.
#[tokio::test]
async fn a_connection_with_a_call_at_work_is_not_idle() {
    let config = EndpointConfig { idle: Duration::from_millis(40), ..EndpointConfig::default() };
    let a = node_in(&ring(1, 1), &config);
    let mut b = node();
    let slow = async {
        let call = b.incoming.recv().await.unwrap();
        sleep(Duration::from_millis(400)).await;
        call.responder.reply(&say("at last")).unwrap();
    };
    let (said, ()) = tokio::join!(a.ask(b.id, b.at, "slowly"), slow);
    assert_eq!(said.unwrap().words, "at last");
}

#[tokio::test]
async fn connections_are_capped_and_the_oldest_makes_room() {
    let config = EndpointConfig { dialled_max: 2, ..EndpointConfig::default() };
    let a = node_in(&ring(1, 1), &config);
    let peers: Vec<_> = (0..4).map(|_| node().echoing()).collect();
    for (id, at, _) in &peers {
        a.ask(*id, *at, "hello").await.unwrap();
    }
    assert_eq!(a.endpoint.dialled(), 2);
    eventually("the others are hung up on", || a.endpoint.inner.quic.open_connections() == 2).await;
}

#[tokio::test]
async fn calls_beyond_what_the_host_takes_are_refused_at_once() {
    let config = EndpointConfig { calls_waiting_max: 1, ..EndpointConfig::default() };
    let a = node();
    let mut b = node_in(&ring(1, 1), &config);
    let first = tokio::spawn({
        let (endpoint, id, at) = (a.endpoint.clone(), b.id, b.at);
        async move { endpoint.call::<_, Say>(id, at, &say("first"), LONG).await }
    });
    eventually("the first call waits", || b.incoming.len() == 1).await;
    let error = a.ask(b.id, b.at, "second").await.unwrap_err();
    assert!(matches!(error, CallError::Refused { refusal: Refusal::Busy, .. }) && !error.maybe_delivered(), "{error}");
    b.incoming.recv().await.unwrap().responder.reply(&say("taken")).unwrap();
    assert_eq!(first.await.unwrap().unwrap().words, "taken");
}

#[tokio::test]
async fn a_connection_beyond_the_cap_is_refused() {
    let config = EndpointConfig { accepted_max: 1, ..EndpointConfig::default() };
    let (a, c) = (node(), node());
    let (id, at, _b) = node_in(&ring(1, 1), &config).echoing();
    a.ask(id, at, "hello").await.unwrap();
    let error = c.ask(id, at, "hello").await.unwrap_err();
    assert!(matches!(error, CallError::NotSent { .. }), "{error}");
}

#[tokio::test]
async fn a_call_that_the_host_drops_or_refuses_is_told_apart() {
    let a = node();
    let mut b = node();
    let (asked, _) = tokio::join!(a.ask(b.id, b.at, "drop me"), async { drop(b.incoming.recv().await) });
    let error = asked.unwrap_err();
    assert!(matches!(error, CallError::Refused { refusal: Refusal::Unanswered, .. }) && error.maybe_delivered(), "{error}");

    let (asked, ()) = tokio::join!(a.ask(b.id, b.at, "?"), async { b.incoming.recv().await.unwrap().responder.refuse(Refusal::Format) });
    let error = asked.unwrap_err();
    assert!(matches!(error, CallError::Refused { refusal: Refusal::Format, .. }) && !error.maybe_delivered(), "{error}");
}

#[tokio::test]
async fn a_host_learns_that_its_caller_has_given_up() {
    let a = node();
    let mut b = node();
    a.ask_and_give_up(b.id, b.at).await;
    let mut call = b.incoming.recv().await.unwrap();
    call.responder.gone().await;
    assert!(matches!(call.responder.reply(&say("too late")), Err(ReplyError::Gone)));
}

impl Node {
    async fn ask_and_give_up(&self, id: NodeId, at: SocketAddr) {
        // The handshake is not what is to run out of time.
        self.endpoint.greet(at, LONG).await.unwrap();
        let error = self.endpoint.call::<_, Say>(id, at, &say("quick!"), SHORT).await.unwrap_err();
        assert!(matches!(error, CallError::Deadline { sent: true, .. }) && error.maybe_delivered(), "{error}");
    }
}

#[tokio::test]
async fn a_silent_address_is_a_deadline_and_nothing_was_sent() {
    let a = node();
    let silent = std::net::UdpSocket::bind(LOOPBACK).unwrap();
    let error = a.endpoint.call::<_, Say>(NodeId([1; 16]), silent.local_addr().unwrap(), &say("anyone?"), SHORT).await.unwrap_err();
    assert!(matches!(error, CallError::Deadline { sent: false, .. }) && !error.maybe_delivered(), "{error}");
}

#[tokio::test]
async fn a_peer_that_closes_in_the_midst_of_a_call_is_known_at_once() {
    let a = node();
    let mut b = node();
    let (asked, _call) = tokio::join!(a.ask(b.id, b.at, "wait"), async {
        let call = b.incoming.recv().await.unwrap();
        b.endpoint.close().await;
        call
    });
    let error = asked.unwrap_err();
    assert!(matches!(error, CallError::Interrupted { .. }) && error.maybe_delivered(), "{error}");
    let error = b.ask(a.id, a.at, "I am closed").await.unwrap_err();
    assert!(matches!(error, CallError::NotSent { .. }), "{error}");
}

#[tokio::test]
async fn the_last_handle_closes_the_endpoint() {
    let a = node();
    let b = node();
    let (id, at) = (b.id, b.at);
    let kept = b.endpoint.clone();
    let (id2, at2, echo) = b.echoing();
    assert_eq!((id, at), (id2, at2));
    a.ask(id, at, "hello").await.unwrap();
    drop(echo);
    a.ask(id, at, "one handle is left").await.unwrap();
    drop(kept);
    eventually("the port is free again", || std::net::UdpSocket::bind(at).is_ok()).await;
}

#[tokio::test]
async fn a_port_in_use_is_named_with_what_to_do() {
    let a = node();
    let error = Endpoint::bind(a.at, &NodeKey::generate().unwrap(), &ring(1, 1), &EndpointConfig::default()).unwrap_err().to_string();
    assert!(error.contains(&a.at.to_string()) && error.contains("--quic-port"), "{error}");
}

/// A peer in a runtime of its own, which can be killed: no goodbye, as by SIGKILL.
struct Mortal {
    runtime: Runtime,
    node: Node,
}

fn mortal(key: &NodeKey, at: SocketAddr) -> Mortal {
    let runtime = Runtime::new().unwrap();
    let inside = runtime.enter();
    let (endpoint, incoming) = Endpoint::bind(at, key, &ring(1, 1), &EndpointConfig::default()).unwrap();
    let node = Node { id: key.id(), at: endpoint.local(), endpoint, incoming };
    drop(inside);
    Mortal { runtime, node }
}

impl Mortal {
    fn kill(self) {
        // Its tasks end first, so that nobody is left to send a farewell when the endpoint is dropped.
        self.runtime.shutdown_timeout(LONG);
        drop(self.node);
    }
}

#[test]
fn a_peer_that_dies_in_the_midst_of_a_call_costs_the_deadline_at_most() {
    let mut peer = mortal(&NodeKey::generate().unwrap(), LOOPBACK.parse().unwrap());
    let runtime = Runtime::new().unwrap();
    let a = runtime.block_on(async { node() });
    let call = runtime.spawn({
        let (endpoint, id, at) = (a.endpoint.clone(), peer.node.id, peer.node.at);
        async move { endpoint.call::<_, Say>(id, at, &say("wait"), Duration::from_secs(2)).await }
    });
    let taken = runtime.block_on(peer.node.incoming.recv()).unwrap();
    peer.kill();
    let error = runtime.block_on(call).unwrap().unwrap_err();
    assert!(error.maybe_delivered(), "{error}");
    drop(taken);
}

/// The kept connection is one of the peer's former life. Without stateless resets under a lasting key the call would wait in vain.
#[test]
fn a_peer_that_was_killed_and_restarted_is_called_at_once() {
    let key = NodeKey::generate().unwrap();
    let runtime = Runtime::new().unwrap();
    let a = runtime.block_on(async { node() });
    let mut at: SocketAddr = LOOPBACK.parse().unwrap();
    for life in 0..3 {
        let mut peer = mortal(&key, at);
        at = peer.node.at;
        let answer = async { peer.node.incoming.recv().await.unwrap().responder.reply(&say(&life.to_string())).unwrap() };
        let both = async { timeout(LONG, async { tokio::join!(a.ask(key.id(), at, "hello"), answer) }).await };
        let (said, ()) = runtime.block_on(both).expect("the restarted peer hears the call");
        assert_eq!(said.unwrap().words, life.to_string());
        peer.kill();
    }
}

/// A node that has moved is called where it is now, although the connection to its former address still stands.
#[tokio::test]
async fn a_peer_that_moved_is_called_at_its_new_address() {
    let (a, key) = (node(), NodeKey::generate().unwrap());
    let mut stay = Vec::new();
    for place in ["here", "there"] {
        let (endpoint, mut incoming) = Endpoint::bind(LOOPBACK.parse().unwrap(), &key, &ring(1, 1), &EndpointConfig::default()).unwrap();
        let at = endpoint.local();
        let answer = async { incoming.recv().await.unwrap().responder.reply(&say(place)).unwrap() };
        let (said, ()) = timeout(LONG, async { tokio::join!(a.ask(key.id(), at, "where are you?"), answer) }).await.unwrap();
        assert_eq!(said.unwrap().words, place);
        stay.push((endpoint, incoming));
    }
}

/// A key is changed under running endpoints: calls go on at every step, and who has only the removed one is out, his old connections too.
#[tokio::test]
async fn a_ring_is_changed_while_calls_go_on() {
    let [old, new] = [1, 2].map(|secret| ClusterKey::new(ClusterId([1; 8]), [secret; 32]));
    let begun = Keyring::new(vec![old.clone()]).unwrap();
    let installed = begun.installed(new.clone()).unwrap();
    let used = installed.using(new.fingerprint()).unwrap();
    let removed = used.without(old.fingerprint()).unwrap();
    let config = EndpointConfig::default();
    let (a, left_behind) = (node_in(&begun, &config), node_in(&begun, &config));
    let (id, at, b) = node_in(&begun, &config).echoing();
    left_behind.ask(id, at, "while the old one holds").await.unwrap();
    for ring in [installed, used, removed] {
        a.endpoint.set_keyring(&ring).unwrap();
        a.ask(id, at, "one step ahead").await.unwrap();
        b.set_keyring(&ring).unwrap();
        a.ask(id, at, "in step").await.unwrap();
    }
    let refused = timeout(LONG, async {
        loop {
            match left_behind.ask(id, at, "and I?").await {
                Ok(_) => sleep(Duration::from_millis(50)).await,
                Err(error) => break error,
            }
        }
    });
    let refused = refused.await.expect("the old connection ends");
    assert!(matches!(refused, CallError::NotOurCluster { .. }), "{refused}");
    a.ask(id, at, "still").await.unwrap();
}
