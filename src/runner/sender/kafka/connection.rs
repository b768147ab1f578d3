//! A producer of librdkafka's, whose brokers the policy has allowed.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use logvine_cluster::{
    delivery::Outcome,
    spec::{KafkaCompression, KafkaSenderSpec},
};
use rdkafka::{
    ClientConfig, ClientContext,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::KafkaError,
    producer::{FutureProducer, Producer},
    types::RDKafkaErrorCode as Code,
};

use super::meaning::{Meaning, Told, meaning};
use crate::{policy::Policy, secret};

/// What waits within librdkafka for its brokers, of all of a runner's sources on this node; a sender waits for room.
const QUEUE_BYTES: u64 = 16 << 20;
/// librdkafka asks its brokers in so long, and then again: an error that was told meanwhile is seen.
const ASK: Duration = Duration::from_secs(1);
/// Brokers come and go: those that are told are held against the policy so often, at least.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Hears what librdkafka says of no message.
#[derive(Clone, Default)]
pub(super) struct Listener {
    told: Arc<Mutex<Told>>,
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        // What matters comes as an error, and to the runner's sender.
        tracing::debug!(?level, facility, text, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // That all brokers are down follows upon why, and says less.
        let known = told.as_ref().is_some_and(|(known, _)| *known != Code::AllBrokersDown);
        if !(known && code == Code::AllBrokersDown) {
            *told = Some((code, reason.to_owned()));
        }
    }
}

/// A producer, and what is known of its cluster.
pub(super) struct Connection {
    /// None while it is being dropped.
    producer: Option<FutureProducer<Listener>>,
    listener: Listener,
    /// `batch.size`.
    pub(super) batch_bytes: usize,
    looked_at: Mutex<Option<Instant>>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("batch_bytes", &self.batch_bytes).finish_non_exhaustive()
    }
}

impl Drop for Connection {
    /// What still waits in it is purged: nobody waits for it. That takes a moment, and blocks.
    fn drop(&mut self) {
        let producer = self.producer.take();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(producer));
        }
    }
}

/// What a look at a cluster has shown.
pub(super) struct Seen {
    pub(super) brokers: usize,
    pub(super) partitions: usize,
}

impl Connection {
    /// A producer for the brokers at `addresses`; nothing is dialled yet. Errors: which secret cannot be read, or what librdkafka does not like, for people.
    /// Blocks on the disk.
    pub(super) fn new(spec: &KafkaSenderSpec, policy: &Policy, addresses: &[SocketAddr], batch_bytes: usize) -> Result<Self, String> {
        let listener = Listener::default();
        let config = config(spec, policy, addresses, batch_bytes)?;
        let producer = FutureProducer::from_config_and_context(&config, listener.clone()).map_err(|error| error.to_string())?;
        Ok(Self { producer: Some(producer), listener, batch_bytes, looked_at: Mutex::default() })
    }

    pub(super) fn producer(&self) -> &FutureProducer<Listener> {
        self.producer.as_ref().expect("it is taken only when this is dropped")
    }

    /// What librdkafka said last of no message.
    pub(super) fn told(&self) -> Told {
        self.listener.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why librdkafka takes no more messages, where it has said [`Code::Fatal`].
    pub(super) fn unwrapped(&self, code: Code) -> Code {
        if code != Code::Fatal {
            return code;
        }
        match self.producer().client().fatal_error() {
            // Only what an operator must mend says more than that a new producer is needed.
            Some((cause, _)) if matches!(meaning(cause), Meaning::Operator(_)) => cause,
            _ => code,
        }
    }

    /// What was known is to be asked again before the next send.
    pub(super) fn forget(&self) {
        *self.looked_at.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.looked_at.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at.elapsed() < LOOK_EVERY)
    }

    /// Asks the cluster for the topic, and holds the brokers that it tells against the policy: librdkafka dials them by itself.
    pub(super) async fn look(self: &Arc<Self>, topic: &str, policy: &Policy, patience: Duration) -> Result<Seen, Outcome> {
        let cluster = self.ask(topic, patience).await?;
        if let Some(code) = cluster.error {
            let reason = format!("{topic}: {code}");
            return Err(match meaning(code) {
                Meaning::Operator(advice) => Outcome::Paused { reason: format!("{reason}; {advice}") },
                _ => retry(reason),
            });
        }
        for (host, port) in &cluster.brokers {
            // One that has no address cannot be dialled either; librdkafka says so of the messages that are for it.
            let Ok(found) = tokio::net::lookup_host((host.as_str(), *port)).await else { continue };
            for address in found {
                let denied = |denied| Outcome::Paused { reason: format!("the cluster names the broker {host}:{port}, and {denied}") };
                policy.check_addr(address, host).map_err(denied)?;
            }
        }
        *self.looked_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        *self.listener.told.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(Seen { brokers: cluster.brokers.len(), partitions: cluster.partitions })
    }

    /// Asks again and again for `patience`: each time is short, as a thread that blocks cannot be called off.
    async fn ask(self: &Arc<Self>, topic: &str, patience: Duration) -> Result<Cluster, Outcome> {
        let begun = Instant::now();
        loop {
            let left = patience.saturating_sub(begun.elapsed());
            let (connection, asked) = (self.clone(), topic.to_owned());
            let answer = tokio::task::spawn_blocking(move || connection.ask_once(&asked, ASK.min(left))).await;
            let error = match answer.map_err(|error| retry(error.to_string()))? {
                Ok(cluster) => return Ok(cluster),
                Err(error) => error,
            };
            let told = self.told();
            if let Some((code, text)) = &told
                && let Meaning::Operator(advice) = meaning(*code)
            {
                return Err(Outcome::Paused { reason: format!("{text}; {advice}") });
            }
            if left.is_zero() {
                return Err(retry(told.map_or_else(|| error.to_string(), |(_, text)| text)));
            }
        }
    }

    fn ask_once(&self, topic: &str, patience: Duration) -> Result<Cluster, KafkaError> {
        let metadata = self.producer().client().fetch_metadata(Some(topic), patience)?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let brokers = metadata.brokers().iter().filter_map(|broker| Some((broker.host().to_owned(), u16::try_from(broker.port()).ok()?)));
        Ok(Cluster {
            brokers: brokers.collect(),
            partitions: found.map_or(0, |found| found.partitions().len()),
            error: found.and_then(|found| found.error()).map(Code::from),
        })
    }
}

/// What a cluster answers.
struct Cluster {
    brokers: Vec<(String, u16)>,
    /// Of the topic.
    partitions: usize,
    error: Option<Code>,
}

pub(super) fn retry(reason: String) -> Outcome {
    Outcome::Retry { reason, after: None }
}

/// librdkafka's settings (its CONFIGURATION.md).
fn config(spec: &KafkaSenderSpec, policy: &Policy, addresses: &[SocketAddr], batch_bytes: usize) -> Result<ClientConfig, String> {
    let servers: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    let mut config = ClientConfig::new();
    config.set("client.id", "logvine").set("bootstrap.servers", servers.join(","));
    // It implies acks=all, and that a batch is neither repeated nor overtaken while the producer lives.
    config.set("enable.idempotence", "true").set("acks", "all");
    // As Java's producers choose it: who else writes to the topic with such keys finds the same partition.
    config.set("partitioner", "murmur2_random");
    let compression = match spec.compression {
        KafkaCompression::None => "none",
        KafkaCompression::Lz4 => "lz4",
        KafkaCompression::Snappy => "snappy",
    };
    config.set("compression.type", compression);
    config.set("message.timeout.ms", spec.timeout_ms.to_string());
    config.set("socket.timeout.ms", spec.timeout_ms.min(300_000).to_string());
    config.set("socket.connection.setup.timeout.ms", spec.timeout_ms.to_string());
    config.set("message.max.bytes", spec.message_bytes_max.to_string());
    config.set("batch.size", batch_bytes.to_string());
    // Room for the longest message beside others: one that is longer than all of it would wait for ever.
    config.set("queue.buffering.max.kbytes", (QUEUE_BYTES.max(2 * spec.message_bytes_max) >> 10).to_string());
    if let (Some(user), Some(password)) = (&spec.user, &spec.password) {
        let password = secret::resolve(policy, password).map_err(|error| format!("password: {error}"))?;
        config.set("security.protocol", "sasl_plaintext").set("sasl.mechanisms", "PLAIN");
        config.set("sasl.username", user).set("sasl.password", password);
    }
    Ok(config)
}
