//! The loop: feeds the node, and carries out what it says. It never waits for a disk or a peer.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use logvine_cluster::{
    command::{Answer, CommandError},
    event::Event,
    instance::InstanceEvent,
    message::{Reply, Request},
    name::Name,
    node::{CallFailed, CallId, CommandId, Node, Output, RequestId},
};
use logvine_gossip::NodeId;
use logvine_runner::{Runners, Tags};
use logvine_transport::{DEADLINE_MAX, Endpoint, Incoming, Refusal, Responder, Udp, knock};
use tokio::{
    sync::{mpsc::Receiver, oneshot},
    task::{self, JoinError, JoinSet},
    time::{Instant, sleep_until},
};
use tracing::{debug, error, warn};

use super::{
    asking::Asking,
    handle::{Call, Clock},
    introductions::Introductions,
};
use crate::{
    events::EventLog,
    store::{Report, Store},
};

/// Transactions that may wait for the disk before operators' commands are refused and peers' calls wait too.
/// Datagrams never wait: a slow disk is no dead node.
const BACKLOG_MAX: u64 = 4096;
/// Datagrams taken at once before outputs are carried out: a stall of seconds at the rate of a large cluster.
const DRAIN_MAX: usize = 4096;
/// Words of the data plane that are taken at once.
const TOLD_AT_ONCE: usize = 1024;
/// For the whole of a stop: senders are flushed within 20 s (DESIGN §8.1), the rest is the last checkpoints.
const STOP_PATIENCE: Duration = Duration::from_secs(25);
/// The other copy may wait for the answer by which this one ends: it is given time to leave.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// One running node.
pub(super) struct Shell {
    node: Node,
    clock: Clock,
    udp: Arc<Udp>,
    endpoint: Endpoint,
    asking: Asking,
    store: Store,
    runners: Runners,
    /// This node's tags, for its records; and which they were told to be.
    tags: Tags,
    tags_told: BTreeSet<Name>,
    events: EventLog,
    introductions: Introductions,
    /// This node's calls at peers; each ends by its deadline.
    calling: JoinSet<Result<Reply, CallFailed>>,
    /// Which call each of those tasks is: one that panics must be answered too.
    called: HashMap<task::Id, CallId>,
    /// Knocks under way, each over in a moment; the node bounds them.
    knocking: JoinSet<(NodeId, bool)>,
    /// Peers' calls that wait for the node's word, since when. The endpoint bounds them.
    requests: BTreeMap<RequestId, (Instant, Responder)>,
    /// Operators' commands that wait for the node's word. The channel to here bounds them, and their callers' patience.
    commands: BTreeMap<CommandId, oneshot::Sender<Result<Answer, CommandError>>>,
    next_id: u64,
    stop_by: Option<Instant>,
    stopped: bool,
    superseded: Option<Superseded>,
}

/// Two copies of one data directory run, and this is the later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the node at {at} has this node's key and was there first: two copies of one data directory run. Stop that one if this one is to stay; \
     or give this one an empty --data-dir, and it is a node of its own"
)]
pub(crate) struct Superseded {
    at: std::net::SocketAddr,
}

impl Shell {
    #[expect(clippy::too_many_arguments, reason = "the parts of a node, given once")]
    pub(super) fn new(
        node: Node,
        clock: Clock,
        udp: Arc<Udp>,
        endpoint: Endpoint,
        asking: Asking,
        store: Store,
        runners: Runners,
        tags: Tags,
        events: EventLog,
    ) -> Self {
        Self {
            node,
            clock,
            udp,
            endpoint,
            asking,
            store,
            runners,
            tags,
            tags_told: BTreeSet::new(),
            events,
            introductions: Introductions::default(),
            calling: JoinSet::new(),
            called: HashMap::new(),
            knocking: JoinSet::new(),
            requests: BTreeMap::new(),
            commands: BTreeMap::new(),
            next_id: 0,
            stop_by: None,
            stopped: false,
            superseded: None,
        }
    }

    /// Runs the node until it has stopped. Every branch is cancel-safe: whole messages only.
    ///
    /// Errors: this node's own store failed, or another process is this node ([`Superseded`]).
    pub(super) async fn run(
        mut self,
        mut calls: Receiver<Call>,
        mut incoming: Receiver<Incoming>,
        mut instances: Receiver<InstanceEvent>,
    ) -> anyhow::Result<()> {
        let mut told = Vec::new();
        loop {
            while let Some(output) = self.node.poll_output() {
                self.begin(output);
            }
            self.pass_tags_on();
            // The last to be told is told now.
            let ends = self.stopped || self.superseded.is_some();
            for event in self.introductions.ready(std::time::Instant::now(), |node| ends || is_named(&self.node, node)) {
                self.tell(&event);
            }
            if let Some(superseded) = self.superseded {
                tokio::time::sleep(LAST_WORDS).await;
                return Err(superseded.into());
            }
            if self.stopped {
                return Ok(());
            }
            let free = self.store.backlog() < BACKLOG_MAX;
            let wake = self.node.poll_timeout().map(|(at, _)| self.clock.deadline(at));
            tokio::select! {
                (from, payload) = self.udp.recv() => {
                    self.take_datagram(from, &payload);
                    self.drain();
                }
                report = self.store.next_report() => self.take_report(report.context("this node's store failed")?),
                1.. = instances.recv_many(&mut told, TOLD_AT_ONCE) => self.node.handle_instances(self.clock.now(), told.drain(..)),
                Some(ended) = self.calling.join_next_with_id() => self.take_reply(ended),
                // A knock that panicked is one that the node hears nothing of: it gives it up by itself.
                Some(Ok((node, refused))) = self.knocking.join_next() => self.node.handle_knock(self.clock.now(), node, refused),
                Some(call) = incoming.recv(), if free => self.take_request(call),
                Some(call) = calls.recv() => self.take_call(call, free),
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {
                    // After a stall the answers that a timer misses lie in the socket (PITFALLS §1 row 5).
                    self.drain();
                    self.node.handle_timeout(self.clock.now());
                }
                () = sleep_until(self.stop_by.unwrap_or_else(Instant::now)), if self.stop_by.is_some() => {
                    warn!("stopping took too long: what was not acknowledged is read again by the next owner");
                    return Ok(());
                }
            }
        }
    }

    fn drain(&mut self) {
        for _ in 0..DRAIN_MAX {
            let Some((from, payload)) = self.udp.try_recv() else { break };
            self.take_datagram(from, &payload);
        }
    }

    fn take_datagram(&mut self, from: std::net::SocketAddr, payload: &[u8]) {
        if let Err(error) = self.node.handle_datagram(self.clock.now(), from, payload) {
            debug!(%from, %error, "datagram refused");
        }
    }

    fn take_request(&mut self, incoming: Incoming) {
        match incoming.request::<Request>() {
            Ok(Request::Host(body)) => {
                let asking = self.asking.clone();
                tokio::spawn(async move {
                    if let Err(error) = incoming.responder.reply(&asking.serve(&body).await) {
                        debug!(%error, "reply not sent");
                    }
                });
            }
            Ok(request) => {
                self.forget_old_requests();
                let id = RequestId(self.fresh_id());
                self.requests.insert(id, (Instant::now(), incoming.responder));
                self.node.handle_request(self.clock.now(), id, incoming.from, request);
            }
            Err(error) => {
                debug!(peer = %incoming.from, %error, "call refused");
                incoming.responder.refuse(Refusal::Format);
            }
        }
    }

    /// Nobody waits longer than a call's deadline; what is kept longer would take room from calls that are answered.
    fn forget_old_requests(&mut self) {
        while let Some(oldest) = self.requests.first_entry().filter(|oldest| oldest.get().0.elapsed() > DEADLINE_MAX) {
            oldest.remove();
        }
    }

    fn take_report(&mut self, report: Report) {
        let now = self.clock.now();
        match report {
            Report::Persisted(ticket) => self.node.handle_persisted(now, ticket),
            Report::Full { why } => {
                error!(%why, "the disk of the data directory has no room: what was to be written waits for some");
                self.events.tell(now.wall, crate::events::store_full(&why));
            }
            Report::Room => self.events.tell(now.wall, crate::events::store_has_room()),
        }
    }

    fn take_reply(&mut self, ended: Result<(task::Id, Result<Reply, CallFailed>), JoinError>) {
        let (task, reply) = match ended {
            Ok((task, reply)) => (task, reply),
            Err(error) => {
                error!(%error, "a call has failed by a fault of this program");
                (error.id(), Err(CallFailed { reason: error.to_string() }))
            }
        };
        let call = self.called.remove(&task).expect("each call was noted when it began");
        self.node.handle_reply(self.clock.now(), call, reply);
    }

    /// `free`: the store keeps up, so that an operator's command may be added to its work.
    fn take_call(&mut self, call: Call, free: bool) {
        let now = self.clock.now();
        match call {
            Call::Look(look) => look(&mut self.node, now),
            Call::Command(_, reply) if !free => {
                let error = CommandError::State("this node's disk does not keep up with what is written already".to_owned());
                // An asker that is gone needs no answer.
                let _ = reply.send(Err(error));
            }
            Call::Command(command, reply) => {
                self.commands.retain(|_, waiting| !waiting.is_closed());
                let id = CommandId(self.fresh_id());
                let (command, said) = *command;
                match self.node.handle_order(now, id, command, said) {
                    Ok(()) => {
                        self.commands.insert(id, reply);
                    }
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
            Call::Stop if self.stop_by.is_none() => {
                self.stop_by = Some(Instant::now() + STOP_PATIENCE);
                self.node.handle_stop(now);
            }
            Call::Stop => {}
        }
    }

    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Begins what the node wants; nothing here waits.
    fn begin(&mut self, output: Output) {
        match output {
            Output::Datagram { to, payload } => {
                if let Err(error) = self.udp.send(to, &payload) {
                    debug!(%to, %error, "datagram not sent");
                }
            }
            Output::Knock { node, to, wait } => {
                let from = self.udp.local().ip();
                self.knocking.spawn(async move { (node, knock(from, to, wait).await) });
            }
            Output::Call { call, to, request, deadline } => {
                let endpoint = self.endpoint.clone();
                let task = self.calling.spawn(async move {
                    let reply = endpoint.call(to.id, to.quic, &request, deadline).await;
                    reply.map_err(|error| CallFailed { reason: error.to_string() })
                });
                self.called.insert(task.id(), call);
            }
            Output::Reply { request, reply } => {
                if let Some(Err(error)) = self.requests.remove(&request).map(|(_, responder)| responder.reply(&reply)) {
                    debug!(%error, "reply not sent");
                }
            }
            Output::Persist { ticket, writes } => self.store.persist(ticket, writes),
            Output::Instance(command) => self.runners.handle(command),
            Output::Answer { command, answer } => {
                if let Some(reply) = self.commands.remove(&command) {
                    // An asker that is gone needs no answer.
                    let _ = reply.send(Ok(answer));
                }
            }
            Output::Tell(event) => {
                for event in self.introductions.take(std::time::Instant::now(), event, |node| is_named(&self.node, node)) {
                    self.tell(&event);
                }
            }
            Output::Superseded { at } => self.superseded = Some(Superseded { at }),
            Output::Stopped => self.stopped = true,
        }
    }

    fn tell(&self, event: &Event) {
        self.events.tell(self.clock.now().wall, crate::events::words(event, &self.node));
    }

    /// Has records bear this node's tags as they are now. They are a few words, and are compared each time: a hint of a change may get lost.
    fn pass_tags_on(&mut self) {
        let Some(info) = self.node.view().get(&self.node.id()) else { return };
        if info.tags != self.tags_told {
            self.tags_told.clone_from(&info.tags);
            self.tags.set(info.tags.iter().cloned());
        }
    }
}

fn is_named(node: &Node, id: &NodeId) -> bool {
    node.view().get(id).is_some_and(|info| info.name.is_some())
}
