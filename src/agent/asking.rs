//! What one node asks of another beside the protocols: how an instance does, how far a source is, live records, a sample (DESIGN §6, §8.2), and its part in
//! changing the cluster's key.
//!
//! None of it is state of the cluster, and it never reaches a node that was away; who looked at records or changed a key, at what, where and why, is told as
//! an event by the asked node. What that node may read is its own policy's.

mod ways;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use logvine_cluster::{
    message::{Inspected, Reply, Request},
    name::Name,
    record::SourceKey,
    view::name_of,
};
use logvine_gossip::{NodeId, Peer, seal::Fingerprint};
use logvine_runner::{
    RunnerContext,
    sample::{self, Sample, SampleSpec},
    sight::Detail,
    tap::{Fetched, TapSpec},
};
use logvine_transport::{CallError, Endpoint};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use self::ways::{Lost, Way, Ways};
use super::{
    AgentHandle, Unavailable,
    keys::{KeyWord, Keys},
};
use crate::events::{self, EventLog, Look};

/// A fetch waits two seconds for a record, a sample five for a source.
const PATIENCE: Duration = Duration::from_secs(8);
/// For what a helper passes on.
const PATIENCE_WITH_HELPERS: Duration = Duration::from_secs(9);
/// Questions of peers that are answered at once; each is a short wait or a short read.
const ANSWERED_AT_ONCE_MAX: usize = 64;

/// A question.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Ask {
    Instance {
        runner: Name,
    },
    /// Of the source's owner.
    Source(SourceKey),
    Tap {
        runner: Name,
        tap: TapSpec,
    },
    Sample(Box<SampleSpec>),
    /// A step in changing the cluster's key. One that comes again changes nothing more.
    Keys(KeyWord),
    /// Of a helper: to ask this of a node that the asking one does not reach. Packed, as a question in a question has no depth.
    For {
        node: NodeId,
        ask: Bytes,
    },
}

/// Its answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Told {
    /// None: it does not run there.
    Instance(Option<Box<Detail>>),
    /// None: it does not own it.
    Source(Option<Box<Inspected>>),
    Tap(Fetched),
    Sample(Sample),
    /// The keys that it has now, the one that seals first.
    Keys(Vec<Fingerprint>),
    /// Why there is none, for people.
    Refused(String),
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AskError {
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error("{name} does not answer: {why}")]
    Unreachable { name: String, why: String },
    #[error("{0}")]
    Refused(String),
}

/// Asks nodes, this one too, and answers them. Clones are the same.
#[derive(Debug, Clone)]
pub struct Asking(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    handle: AgentHandle,
    endpoint: Endpoint,
    context: RunnerContext,
    keys: Keys,
    events: EventLog,
    ways: Ways,
    answering: Semaphore,
}

impl Asking {
    pub(super) fn new(handle: AgentHandle, endpoint: Endpoint, context: RunnerContext, keys: Keys, events: EventLog) -> Self {
        let answering = Semaphore::new(ANSWERED_AT_ONCE_MAX);
        Self(Arc::new(Inner { handle, endpoint, context, keys, events, ways: Ways::default(), answering }))
    }

    /// Asks a node. Errors: it is not there, or it has no answer.
    pub(crate) async fn ask(&self, node: NodeId, ask: &Ask) -> Result<Told, AskError> {
        let told = if node == self.0.context.node_id { self.answer(ask).await } else { self.relay(node, ask).await? };
        match told {
            Told::Refused(why) => Err(AskError::Refused(why)),
            told => Ok(told),
        }
    }

    async fn relay(&self, node: NodeId, ask: &Ask) -> Result<Told, AskError> {
        let looked = self.0.handle.look(move |view, _| {
            let member = |id: &NodeId| view.gossip().member(id).filter(|member| member.status.is_live()).map(|member| member.peer());
            let others: Vec<(NodeId, Peer)> = view.helpers_for(node).into_iter().filter_map(|id| Some((id, member(&id)?))).collect();
            (member(&node), others, name_of(view, &node))
        });
        let (peer, others, name) = looked.await?;
        let unreachable = |why: String| AskError::Unreachable { name: name.clone(), why };
        let Some(peer) = peer else { return Err(unreachable("it is not alive, as this node sees it".to_owned())) };
        let packed = |ask: &Ask| rmp_serde::to_vec_named(ask).map(Bytes::from).map_err(|error| unreachable(error.to_string()));
        let body = packed(ask)?;
        let passed_on = packed(&Ask::For { node, ask: body.clone() })?;
        let mut errand = self.0.ways.to(Instant::now(), node, others.iter().map(|(id, _)| *id));
        let lost = |lost: Lost| match lost {
            Lost::Cut(why) | Lost::Refused(why) => unreachable(why),
        };
        let body = loop {
            let way = errand.next().map_err(lost)?;
            let brought = match way {
                Way::Direct => self.call(&peer, body.clone(), PATIENCE).await,
                Way::Through(helper) => match others.iter().find(|(id, _)| *id == helper) {
                    Some((_, helper)) => self.call(helper, passed_on.clone(), PATIENCE_WITH_HELPERS).await,
                    None => std::unreachable!("helpers are of the others"),
                },
            };
            if let Some(end) = errand.end(way, brought) {
                break end.map_err(lost)?;
            }
        };
        rmp_serde::from_slice(&body).map_err(|_| unreachable(STRANGE.to_owned()))
    }

    /// Asks one node, and nobody else for it.
    async fn call(&self, peer: &Peer, body: Bytes, patience: Duration) -> Result<Bytes, Lost> {
        match self.0.endpoint.call(peer.id, peer.quic, &Request::Host(body), patience).await {
            Ok(Reply::Host(body)) => Ok(body),
            Ok(Reply::Refused(why)) => Err(Lost::Refused(why)),
            Ok(_) => Err(Lost::Refused(STRANGE.to_owned())),
            Err(error @ (CallError::NotSent { .. } | CallError::Interrupted { .. } | CallError::Deadline { .. })) => {
                Err(Lost::Cut(error.to_string()))
            }
            Err(error) => Err(Lost::Refused(error.to_string())),
        }
    }

    /// Answers a peer.
    pub(super) async fn serve(&self, body: &Bytes) -> Reply {
        let Ok(_turn) = self.0.answering.try_acquire() else {
            return Reply::Refused("it answers too many questions already: ask again later".to_owned());
        };
        let unknown = || Reply::Refused("it does not understand the question: is it of another version?".to_owned());
        match rmp_serde::from_slice(body) {
            Ok(Ask::For { node, ask }) => match rmp_serde::from_slice(&ask) {
                // Whoever helps asks nobody else to help.
                Ok(Ask::For { .. }) | Err(_) => unknown(),
                Ok(_) => self.pass_on(node, ask).await.map_or_else(Reply::Refused, Reply::Host),
            },
            Ok(ask) => match rmp_serde::to_vec_named(&self.answer(&ask).await) {
                Ok(told) => Reply::Host(told.into()),
                Err(error) => Reply::Refused(error.to_string()),
            },
            Err(_) => unknown(),
        }
    }

    /// Asks a node for another that does not reach it. Errors: why there is no answer, for people.
    async fn pass_on(&self, node: NodeId, ask: Bytes) -> Result<Bytes, String> {
        let looked =
            self.0.handle.look(move |view, _| view.gossip().member(&node).filter(|member| member.status.is_live()).map(|member| member.peer()));
        let peer = looked.await.map_err(|error| error.to_string())?.ok_or("it is not alive, as the node sees it that was to help")?;
        self.call(&peer, ask, PATIENCE).await.map_err(|lost| match lost {
            Lost::Cut(why) | Lost::Refused(why) => why,
        })
    }

    async fn answer(&self, ask: &Ask) -> Told {
        let sights = &self.0.context.sights;
        match ask {
            Ask::Instance { runner } => Told::Instance(sights.of(runner).map(|sight| Box::new(sight.detail()))),
            Ask::Source(source) => {
                let source = source.clone();
                let inspected = self.0.handle.look(move |node, _| node.inspect(&source)).await;
                inspected.map_or_else(|error| Told::Refused(error.to_string()), |inspected| Told::Source(inspected.map(Box::new)))
            }
            Ask::Keys(word) => self.0.keys.obey(word.clone()).await.map_or_else(Told::Refused, Told::Keys),
            Ask::Tap { runner, tap } => match sights.of(runner) {
                Some(sight) => {
                    let is_new = !sight.taps.has(tap.id);
                    let fetched = sight.taps.fetch(tap).await;
                    if is_new && fetched.is_ok() {
                        self.tell(&Look { by: &tap.by, runner: runner.as_str(), at: tap.stage.word() }, None);
                    }
                    fetched.map_or_else(|error| Told::Refused(error.to_string()), Told::Tap)
                }
                None => Told::Refused(format!("{runner} does not run on {}", self.0.context.node_name)),
            },
            Ask::Sample(spec) => {
                let taken = sample::take(&self.0.context, spec).await;
                let runner = spec.runner_name();
                self.tell(&Look { by: &spec.by, runner: &runner, at: spec.input.word() }, Some(taken.as_ref().map(drop).map_err(String::as_str)));
                taken.map_or_else(Told::Refused, Told::Sample)
            }
            Ask::For { .. } => Told::Refused("it is for another node".to_owned()),
        }
    }

    /// Somebody looks at records here, or has tried a runner: with what came of it.
    fn tell(&self, look: &Look<'_>, outcome: Option<Result<(), &str>>) {
        let here = (self.0.context.node_id, self.0.context.node_name.to_string());
        self.0.events.tell(self.0.handle.now().wall, events::looked(&[here], look, outcome));
    }
}

/// Of an answer that cannot be read.
const STRANGE: &str = "its answer makes no sense: is it of another version?";

/// Asking of a node that is alone, with its QUIC on any port.
#[cfg(test)]
pub(crate) fn test_asking(
    home: &std::path::Path,
    handle: AgentHandle,
    node_id: NodeId,
    key: logvine_gossip::seal::ClusterKey,
    keys: Keys,
    events: EventLog,
) -> Asking {
    let keyring = logvine_gossip::seal::Keyring::new(vec![key]).unwrap();
    let node_key = logvine_transport::NodeKey::generate().unwrap();
    let (endpoint, _) = Endpoint::bind("127.0.0.1:0".parse().unwrap(), &node_key, &keyring, &logvine_transport::EndpointConfig::default()).unwrap();
    let config = logvine_runner::policy::PolicyConfig { read: vec![home.to_owned()], ..logvine_runner::policy::PolicyConfig::default() };
    let data_dir = home.join("data");
    let policy = Arc::new(logvine_runner::policy::Policy::new(&config, true, &data_dir));
    let context = RunnerContext {
        node_name: "here".parse().unwrap(),
        node_id,
        policy,
        data_dir,
        sights: logvine_runner::Sights::default(),
        tags: logvine_runner::Tags::default(),
    };
    Asking::new(handle, endpoint, context, keys, events)
}
