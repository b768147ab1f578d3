//! What one node asks of another's data plane: how an instance does, its live records, a sample of a source (DESIGN §6, §8.2).
//!
//! No state is changed by it, nothing of it is remembered, and it never reaches a node that was away. What the asked node may read is its own policy's.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use logvine_cluster::{
    message::{Reply, Request},
    name::Name,
    view::name_of,
};
use logvine_gossip::NodeId;
use logvine_transport::Endpoint;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::{AgentHandle, Unavailable};
use crate::runner::{
    RunnerContext,
    sample::{self, Sample, SampleSpec},
    sight::Detail,
    tap::{Fetched, TapSpec},
};

/// A fetch waits two seconds for a record, a sample five for a source.
const PATIENCE: Duration = Duration::from_secs(8);
/// Questions of peers that are answered at once; each is a short wait or a short read.
const ANSWERED_AT_ONCE_MAX: usize = 64;

/// A question.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Ask {
    Instance { runner: Name },
    Tap { runner: Name, tap: TapSpec },
    Sample(Box<SampleSpec>),
}

/// Its answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Told {
    /// None: it does not run there.
    Instance(Option<Box<Detail>>),
    Tap(Fetched),
    Sample(Sample),
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
    answering: Semaphore,
}

impl Asking {
    pub(super) fn new(handle: AgentHandle, endpoint: Endpoint, context: RunnerContext) -> Self {
        Self(Arc::new(Inner { handle, endpoint, context, answering: Semaphore::new(ANSWERED_AT_ONCE_MAX) }))
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
            let member = view.gossip().member(&node);
            (member.map(|member| (member.peer(), member.status.is_live())), name_of(view, &node))
        });
        let (peer, name) = looked.await?;
        let unreachable = |why: String| AskError::Unreachable { name: name.clone(), why };
        let peer = match peer {
            Some((peer, true)) => peer,
            _ => return Err(unreachable("it is not alive, as this node sees it".to_owned())),
        };
        let body = rmp_serde::to_vec_named(ask).map_err(|error| unreachable(error.to_string()))?;
        match self.0.endpoint.call(peer.id, peer.quic, &Request::Host(body.into()), PATIENCE).await {
            Ok(Reply::Host(body)) => {
                rmp_serde::from_slice(&body).map_err(|_| unreachable("its answer makes no sense: is it of another version?".to_owned()))
            }
            Ok(Reply::Refused(why)) => Err(unreachable(why)),
            Ok(_) => Err(unreachable("its answer makes no sense: is it of another version?".to_owned())),
            Err(error) => Err(unreachable(error.to_string())),
        }
    }

    /// Answers a peer.
    pub(super) async fn serve(&self, body: &Bytes) -> Reply {
        let Ok(_turn) = self.0.answering.try_acquire() else {
            return Reply::Refused("it answers too many questions already: ask again later".to_owned());
        };
        let Ok(ask) = rmp_serde::from_slice(body) else {
            return Reply::Refused("it does not understand the question: is it of another version?".to_owned());
        };
        match rmp_serde::to_vec_named(&self.answer(&ask).await) {
            Ok(told) => Reply::Host(told.into()),
            Err(error) => Reply::Refused(error.to_string()),
        }
    }

    async fn answer(&self, ask: &Ask) -> Told {
        let sights = &self.0.context.sights;
        match ask {
            Ask::Instance { runner } => Told::Instance(sights.of(runner).map(|sight| Box::new(sight.detail()))),
            Ask::Tap { runner, tap } => match sights.of(runner) {
                Some(sight) => sight.taps.fetch(tap).await.map_or_else(|error| Told::Refused(error.to_string()), Told::Tap),
                None => Told::Refused(format!("{runner} does not run on {}", self.0.context.node_name)),
            },
            Ask::Sample(spec) => sample::take(&self.0.context, spec).await.map_or_else(Told::Refused, Told::Sample),
        }
    }
}

/// Asking of a node that is alone, with its QUIC on any port.
#[cfg(test)]
pub(crate) fn test_asking(home: &std::path::Path, handle: AgentHandle, node_id: NodeId, key: logvine_gossip::seal::ClusterKey) -> Asking {
    let keyring = logvine_gossip::seal::Keyring::new(vec![key]).unwrap();
    let node_key = logvine_transport::NodeKey::generate().unwrap();
    let (endpoint, _) = Endpoint::bind("127.0.0.1:0".parse().unwrap(), &node_key, &keyring, &logvine_transport::EndpointConfig::default()).unwrap();
    let config = crate::policy::PolicyConfig { read: vec![home.to_owned()], ..crate::policy::PolicyConfig::default() };
    let data_dir = home.join("data");
    let policy = Arc::new(crate::policy::Policy::new(&config, true, &data_dir));
    let context = RunnerContext { node_name: "here".parse().unwrap(), node_id, policy, data_dir, sights: crate::runner::Sights::default() };
    Asking::new(handle, endpoint, context)
}
