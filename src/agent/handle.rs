//! What others ask of the loop, and its clock.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant as StdInstant, SystemTime, UNIX_EPOCH},
};

use logvine_cluster::{
    command::{Answer, Command, CommandError, Said},
    node::Node,
};
use logvine_gossip::{Instant, Now, UnixMicros};
use logvine_transport::{Udp, UdpCounters};
use tokio::sync::{mpsc, oneshot, watch};

/// A command is answered when it is on disk, or when a peer has answered; then something is wrong with one of them.
const ANSWER_PATIENCE: Duration = Duration::from_secs(15);

/// Both clocks of this process.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: StdInstant,
}

impl Clock {
    /// A clock whose monotonic zero is now.
    pub fn start() -> Self {
        Self { start: StdInstant::now() }
    }

    /// The time.
    pub fn now(&self) -> Now {
        let micros = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX));
        Now { at: Instant::from_micros(micros), wall: UnixMicros(wall) }
    }

    /// When `at` is, for tokio's timers.
    pub(super) fn deadline(&self, at: Instant) -> tokio::time::Instant {
        (self.start + Duration::from_micros(at.as_micros())).into()
    }
}

type Look = Box<dyn FnOnce(&mut Node, Now) + Send>;
type Reply = oneshot::Sender<Result<Answer, CommandError>>;

/// What the loop is asked.
pub(super) enum Call {
    Look(Look),
    Command(Box<(Command, Said)>, Reply),
    Stop,
}

/// There is no answer: this node stops, or its disk does not come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    #[error("this node is stopping: ask another")]
    Stopping,
    #[error(
        "this node has not answered in time, its disk may be slow: whether the command is carried out is unknown, look again before repeating it"
    )]
    TimedOut,
}

/// Whom this node does not hear although it should, in words for an operator.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unheard {
    /// Why nobody answers, if that is so: seeds that are not there, or another cluster key.
    pub alone: Option<String>,
    /// While some are heard: which members seal with a key that this node does not have.
    pub left_behind: Option<String>,
}

/// Asks a node's loop. Clones ask the same.
#[derive(Debug, Clone)]
pub struct AgentHandle {
    calls: mpsc::Sender<Call>,
    clock: Clock,
    udp: Arc<Udp>,
    unheard: watch::Receiver<Unheard>,
}

impl AgentHandle {
    pub(super) fn new(calls: mpsc::Sender<Call>, clock: Clock, udp: Arc<Udp>, unheard: watch::Receiver<Unheard>) -> Self {
        Self { calls, clock, udp, unheard }
    }

    /// Runs `look` on the node, between two of its inputs. It must be short: the loop waits for it.
    pub async fn look<R: Send + 'static>(&self, look: impl FnOnce(&Node, Now) -> R + Send + 'static) -> Result<R, Unavailable> {
        self.change(move |node, now| look(node, now)).await
    }

    /// The same where the node is to change, or to change its mind for a moment.
    pub(crate) async fn change<R: Send + 'static>(&self, change: impl FnOnce(&mut Node, Now) -> R + Send + 'static) -> Result<R, Unavailable> {
        let (reply, answer) = oneshot::channel();
        let call = Call::Look(Box::new(move |node, now| {
            // An asker that is gone needs no answer.
            let _ = reply.send(change(node, now));
        }));
        self.calls.send(call).await.map_err(|_| Unavailable::Stopping)?;
        answer.await.map_err(|_| Unavailable::Stopping)
    }

    /// Gives the node an operator's command, and waits for its answer.
    pub async fn command(&self, command: Command, said: Said) -> Result<Result<Answer, CommandError>, Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.calls.send(Call::Command(Box::new((command, said)), reply)).await.map_err(|_| Unavailable::Stopping)?;
        match tokio::time::timeout(ANSWER_PATIENCE, answer).await {
            Ok(answer) => answer.map_err(|_| Unavailable::Stopping),
            Err(_) => Err(Unavailable::TimedOut),
        }
    }

    /// Tells the node to stop.
    pub async fn stop(&self) {
        // A loop that is gone has stopped.
        let _ = self.calls.send(Call::Stop).await;
    }

    /// The time, as the loop sees it.
    pub fn now(&self) -> Now {
        self.clock.now()
    }

    /// What passed through the gossip socket.
    pub fn udp_counters(&self) -> UdpCounters {
        self.udp.counters()
    }

    /// Whom this node does not hear although it should.
    pub fn unheard(&self) -> Unheard {
        self.unheard.borrow().clone()
    }

    /// The addresses that seal with a key that this node does not have.
    pub(super) fn strangers(&self) -> Vec<SocketAddr> {
        self.udp.unheard()
    }
}

/// A node of one, alone, in this process: its loop answers calls, its disk is memory, and its data plane says that all runs. With its id.
#[cfg(test)]
pub(crate) fn test_handle(config: &crate::config::Config) -> (AgentHandle, logvine_gossip::NodeId) {
    use logvine_cluster::{
        checkpoint::Checkpoint,
        instance::{InstanceCommand, InstanceEvent, InstanceState, InstanceStatus},
        node::{CommandId, NodeConfig, Output},
    };
    use logvine_gossip::{Generation, GossipConfig, Me, NodeId, seal::Keyring};

    let me = Me { id: NodeId([1; 16]), generation: Generation(1), gossip: "127.0.0.1:1".parse().unwrap(), quic: "127.0.0.1:2".parse().unwrap() };
    let node_config = NodeConfig {
        name: config.name.clone(),
        tags: config.tags.iter().cloned().collect(),
        version: "test".to_owned(),
        http: Some(config.http),
        gossip: GossipConfig::default(),
        capacity: 16,
        restart_grace: Duration::ZERO,
        join_patience: Duration::ZERO,
    };
    let clock = Clock::start();
    let mut node = Node::new(clock.now(), node_config, me, Vec::new(), 7);
    let (calls, mut waiting) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut commands = std::collections::BTreeMap::new();
        let mut next = 0;
        loop {
            let call = match tokio::time::timeout(Duration::from_millis(50), waiting.recv()).await {
                Ok(None) => break,
                Ok(call) => call,
                Err(_) => None,
            };
            node.handle_timeout(clock.now());
            match call {
                None => {}
                Some(Call::Look(look)) => look(&mut node, clock.now()),
                Some(Call::Command(command, reply)) => {
                    next += 1;
                    let (command, said) = *command;
                    match node.handle_order(clock.now(), CommandId(next), command, said) {
                        Ok(()) => drop(commands.insert(CommandId(next), reply)),
                        Err(error) => drop(reply.send(Err(error))),
                    }
                }
                Some(Call::Stop) => node.handle_stop(clock.now()),
            }
            while let Some(output) = node.poll_output() {
                match output {
                    Output::Persist { ticket, .. } => node.handle_persisted(clock.now(), ticket),
                    Output::Answer { command, answer } => {
                        if let Some(reply) = commands.remove(&command) {
                            let _ = Reply::send(reply, Ok(answer));
                        }
                    }
                    Output::Instance(InstanceCommand::Start { runner, revision, .. }) => {
                        let status = InstanceStatus { state: InstanceState::Running, revision, ..InstanceStatus::default() };
                        node.handle_instance(clock.now(), InstanceEvent::Status { runner, status });
                    }
                    Output::Instance(InstanceCommand::Restart { runner, operation }) => {
                        let revision = node.catalog().runner(&runner).map(|found| found.revision).unwrap_or_default();
                        let status = InstanceStatus { state: InstanceState::Running, revision, restarted: operation, ..InstanceStatus::default() };
                        node.handle_instance(clock.now(), InstanceEvent::Status { runner, status });
                    }
                    Output::Instance(InstanceCommand::Close { runner, source, epoch, .. }) => {
                        let closed = InstanceEvent::Closed { runner, source, epoch, checkpoint: Checkpoint::default(), flushed: true };
                        node.handle_instance(clock.now(), closed);
                    }
                    Output::Instance(InstanceCommand::DropQueue { runner, operation, .. }) => {
                        node.handle_instance(clock.now(), InstanceEvent::QueueDropped { runner, operation, result: Ok(0) });
                    }
                    Output::Instance(InstanceCommand::Stop { runner, .. }) => node.handle_instance(clock.now(), InstanceEvent::Stopped { runner }),
                    _ => {}
                }
            }
        }
    });
    let keyring = Keyring::new(vec![crate::cli::new_cluster_key().unwrap()]).unwrap();
    let udp = Udp::bind("127.0.0.1:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap(), keyring).unwrap();
    (AgentHandle::new(calls, clock, Arc::new(udp), watch::channel(Unheard::default()).1), me.id)
}
