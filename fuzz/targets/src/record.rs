//! Makes the corpora of gossip: a cluster of four in memory lives through what clusters live through, and what its first node hears is kept, scene
//! by scene.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    net::SocketAddr,
    path::Path,
    time::Duration,
};

use anyhow::Context;
use logvine_cluster::message::{Reply, Request};
use logvine_gossip::{
    Durable, Gossip, Now, Output,
    seal::{ClusterId, ClusterKey, Keyring, NONCE_BYTES},
};

use crate::{
    frames,
    node::{append, gossip_address, id, now, start},
};

const NODES: u8 = 4;
const STEP: Duration = Duration::from_millis(10);
/// What is kept of a scene: enough for each kind of part, and little enough that a run over it takes milliseconds.
const SCENE_BYTES_MAX: usize = 8 << 10;

/// Which corpus, which file, what.
type Scenes = BTreeMap<(&'static str, String), Vec<u8>>;

enum Carried {
    Datagram { from: SocketAddr, to: SocketAddr, payload: Vec<u8> },
    Call { from: u8, to: u8, body: Vec<u8> },
    Reply { from: u8, to: u8, body: Vec<u8> },
}

struct Cluster {
    nodes: Vec<Option<Gossip>>,
    line: VecDeque<Carried>,
    passed: Duration,
    scene: &'static str,
    kept: Scenes,
}

/// Writes the recorded inputs below `corpus`.
///
/// Errors: a file cannot be written.
pub fn write(corpus: &Path) -> anyhow::Result<usize> {
    let scenes = scenes()?;
    for ((target, name), input) in &scenes {
        let path = corpus.join(target).join(name);
        fs::create_dir_all(corpus.join(target)).and_then(|()| fs::write(&path, input)).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(scenes.len())
}

fn scenes() -> anyhow::Result<Scenes> {
    let mut cluster = Cluster::new();
    cluster.play("join", 4, |_, _| Ok(()));
    cluster.play("words", 3, |nodes, now| {
        for (number, node) in nodes.iter_mut().flatten().enumerate() {
            node.say(now, "tags", Some(format!("web-{number}").into()))?;
            node.say(now, "load", Some(vec![0x5a; 100].into()))?;
        }
        Ok(())
    });
    cluster.play("writes", 3, |nodes, now| {
        let node = nodes[1].as_mut().expect("it runs");
        node.write(now, "runner/web", Some(vec![1; 300].into()))?;
        node.write(now, "runner/web", None)?;
        node.write(now, "runner/large", Some(vec![2; 3_000].into())).map(drop)
    });
    cluster.play("many-writes", 5, |nodes, now| {
        let node = nodes[2].as_mut().expect("it runs");
        (0..260).try_for_each(|number| node.write(now, &format!("source/web/{number}"), Some(vec![3; 50].into())).map(drop))
    });
    cluster.play("death", 8, |nodes, _| {
        nodes[3] = None;
        Ok(())
    });
    cluster.play("return", 4, |nodes, now| {
        nodes[3] = Some(start(3, now));
        Ok(())
    });
    cluster.play("goodbye", 3, |nodes, now| {
        nodes[2].as_mut().expect("it runs").leave(now);
        Ok(())
    });
    let mut kept = cluster.kept;
    kept.retain(|_, input| !input.is_empty());
    seal(&mut kept);
    frames(&mut kept)?;
    Ok(kept)
}

/// Datagrams that must not open: of another cluster, and of this one from another address.
fn seal(kept: &mut Scenes) {
    let from = gossip_address(1);
    let elsewhere = SocketAddr::from(([127, 0, 0, 9], 7946));
    let ring = |cluster| Keyring::new(vec![ClusterKey::new(ClusterId([cluster; 8]), [2; 32])]).expect("one key is a ring");
    kept.insert(("datagram", "another-cluster".to_owned()), ring(9).seal(from, [7; NONCE_BYTES], b"of another cluster"));
    kept.insert(("datagram", "another-address".to_owned()), ring(1).seal(elsewhere, [7; NONCE_BYTES], b"from another address"));
}

/// The first calls once more as frames, as QUIC carries them, and a frame of each kind of message.
fn frames(kept: &mut Scenes) -> anyhow::Result<()> {
    let calls: Vec<_> = kept.iter().filter(|((target, _), _)| *target == "call").map(|((_, name), input)| (name.clone(), input.clone())).collect();
    for (name, input) in calls {
        let body = crate::node::pieces(&input).next().map(|(_, body)| body.to_vec()).unwrap_or_default();
        let frame = logvine_transport::encode(&Request::Gossip(body.clone().into())).context("a recorded call makes a frame")?;
        kept.insert(("frame", format!("request-gossip-{name}")), frame.to_vec());
        let frame = logvine_transport::encode(&Reply::Gossip(body.into())).context("a recorded call makes a frame")?;
        kept.insert(("frame", format!("reply-gossip-{name}")), frame.to_vec());
    }
    for (word, request) in frames::requests() {
        kept.insert(("frame", format!("request-{word}")), logvine_transport::encode(&request).context("a sample makes a frame")?.to_vec());
    }
    for (word, reply) in frames::replies() {
        kept.insert(("frame", format!("reply-{word}")), logvine_transport::encode(&reply).context("a sample makes a frame")?.to_vec());
    }
    Ok(())
}

impl Cluster {
    fn new() -> Self {
        let nodes = (0..NODES).map(|index| Some(start(index, now(Duration::ZERO)))).collect();
        Self { nodes, line: VecDeque::new(), passed: Duration::ZERO, scene: "", kept: Scenes::new() }
    }

    /// Does something, and lets some seconds pass.
    fn play(&mut self, scene: &'static str, seconds: u64, begin: impl FnOnce(&mut [Option<Gossip>], Now) -> Result<(), logvine_gossip::StateError>) {
        self.scene = scene;
        begin(&mut self.nodes, now(self.passed)).expect("scenes keep to the limits");
        let end = self.passed + Duration::from_secs(seconds);
        while self.passed < end {
            self.passed += STEP;
            for index in 0..NODES {
                self.listen(index);
            }
            for carried in std::mem::take(&mut self.line) {
                self.arrive(carried);
            }
            for node in self.nodes.iter_mut().flatten() {
                node.handle_timeout(now(self.passed));
            }
        }
    }

    fn listen(&mut self, index: u8) {
        let at = now(self.passed);
        let dead: Vec<_> = (0..NODES).filter(|index| self.nodes[usize::from(*index)].is_none()).map(id).collect();
        let Some(node) = &mut self.nodes[usize::from(index)] else { return };
        while let Some(output) = node.poll_output() {
            match output {
                Output::Datagram { to, payload } => self.line.push_back(Carried::Datagram { from: gossip_address(index), to, payload }),
                Output::Knock { node: at_whom, .. } => node.handle_knock(at, at_whom, dead.contains(&at_whom)),
                Output::Call { to, body } => {
                    let to = (0..NODES).find(|other| id(*other) == to.id).expect("there are no other nodes");
                    self.line.push_back(Carried::Call { from: index, to, body });
                }
                Output::Persist(Durable::ReserveGeneration { up_to }) => node.handle_reserved(at, up_to),
                Output::Prove { .. } | Output::Persist(_) | Output::Changed(_) => {}
            }
        }
    }

    fn arrive(&mut self, carried: Carried) {
        let at = now(self.passed);
        let place = |address: SocketAddr| (0..NODES).find(|index| gossip_address(*index) == address);
        match carried {
            Carried::Datagram { from, to, payload } => {
                let Some((from_index, to)) = place(from).zip(place(to)) else { return };
                self.keep("sealed", from_index, to, &payload);
                if let Some(node) = &mut self.nodes[usize::from(to)] {
                    // A node that was restarted hears what was meant for its former self.
                    drop(node.handle_datagram(at, from, &payload));
                }
            }
            Carried::Call { from, to, body } => {
                self.keep("call", from, to, &body);
                let Some(node) = &mut self.nodes[usize::from(to)] else { return };
                if let Ok(body) = node.handle_call(at, id(from), &body) {
                    self.line.push_back(Carried::Reply { from: to, to: from, body });
                }
            }
            Carried::Reply { from, to, body } => {
                self.keep("call", from, to, &body);
                if let Some(node) = &mut self.nodes[usize::from(to)] {
                    drop(node.handle_reply(at, id(from), Some(&body)));
                }
            }
        }
    }

    /// What the first node hears; calls are few, and say the same to any.
    fn keep(&mut self, target: &'static str, from: u8, to: u8, piece: &[u8]) {
        let input = self.kept.entry((target, self.scene.to_owned())).or_default();
        let heard = to == 0 || (target == "call" && from > 0);
        if heard && (input.is_empty() || input.len() + piece.len() <= SCENE_BYTES_MAX) {
            append(input, from, piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An input that a node refuses at once leads nowhere: what was recorded must be taken.
    #[test]
    fn a_recording_is_heeded() {
        let scenes = scenes().unwrap();
        let heeded = |scene: &str| {
            let mut node = crate::node::Thrown::new();
            let (mut taken, mut all) = (0, 0);
            for (sender, payload) in crate::node::pieces(&scenes[&("sealed", scene.to_owned())]) {
                all += 1;
                node.take(|gossip, now| taken += usize::from(gossip.handle_datagram(now, gossip_address(sender), payload).is_ok()));
            }
            (node.gossip.members().count(), taken * 10 >= all * 9)
        };
        assert_eq!(heeded("join"), (3, true));
        assert!(heeded("words").1 && heeded("writes").1 && heeded("death").1 && heeded("return").1 && heeded("goodbye").1);
        assert!(scenes.keys().any(|(target, _)| *target == "call") && scenes.len() > 10);
    }
}
