//! `kafka`: each record as a message (NDJSON without the line's end) to a topic, acknowledged when all in-sync replicas have it.
//!
//! The producer is idempotent, so what librdkafka itself repeats is kept once, and what has one key stays in order. What is sent again after that (a
//! time-out, a restart) may be there twice: the header `logvine-id` is the record's id.

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use logvine_cluster::{delivery::Outcome, name::Name, spec::KafkaSenderSpec};
use rdkafka::{
    error::KafkaError,
    message::{Header, OwnedHeaders},
    producer::{DeliveryFuture, FutureRecord},
    types::RDKafkaErrorCode as Code,
};

use self::{
    connection::{Connection, Seen, retry},
    meaning::{Fate, Judgement, Sent, judged},
};
use super::{Job, Jobs};
use crate::policy::Policy;

mod connection;
mod meaning;

/// librdkafka's own `batch.size`, where messages may be as long.
const BATCH_BYTES_MAX: u64 = 1_000_000;
/// How soon a full queue is looked at again: some batches have gone by then.
const ROOM: Duration = Duration::from_millis(10);
/// A look for people: less than whoever asks waits.
const LOOK: Duration = Duration::from_secs(4);
/// What consumers may tell repeats by: 32 hex digits.
const ID_HEADER: &str = "logvine-id";

/// Where records go: what a sender is told and does not change.
#[derive(Debug)]
struct Target {
    spec: KafkaSenderSpec,
    topic: String,
    /// With `{source}` and `{id}`.
    key: String,
    policy: Arc<Policy>,
}

#[derive(Debug)]
pub(crate) struct KafkaSender {
    target: Arc<Target>,
    /// None where the last one was refused: each is checked anew.
    connection: Option<Arc<Connection>>,
    /// Less than at first where a topic takes only shorter batches.
    batch_bytes: usize,
}

/// A job whose records librdkafka has.
struct Given {
    job: Job,
    connection: Arc<Connection>,
    waits: Vec<(u32, usize, Result<DeliveryFuture, Code>)>,
}

/// What becomes of a job that librdkafka has.
type Settled = (Job, Arc<Connection>, Option<Judgement>);

impl KafkaSender {
    pub(super) fn new(spec: &KafkaSenderSpec, runner: &Name, node: &Name, policy: &Arc<Policy>) -> Result<Self, String> {
        let named = |text: &str| text.replace("{runner}", runner.as_str()).replace("{node}", node.as_str());
        let batch_bytes = usize::try_from(spec.message_bytes_max.min(BATCH_BYTES_MAX)).map_err(|error| error.to_string())?;
        Connection::new(spec, policy, &[], batch_bytes)?;
        let target = Target { topic: named(&spec.topic), key: named(&spec.key), spec: spec.clone(), policy: policy.clone() };
        Ok(Self { target: Arc::new(target), connection: None, batch_bytes })
    }

    /// Connects, and brings nothing. Errors: why it cannot, for people.
    pub(super) async fn look(self) -> Result<String, String> {
        match self.target.clone().connect(None, self.batch_bytes, LOOK).await {
            Ok((_, Seen { brokers, partitions })) => Ok(format!(
                "{} is there, with {partitions} partitions on {brokers} brokers; whether it may be written is seen with the first batch",
                self.target.topic
            )),
            Err(Outcome::Retry { reason, .. } | Outcome::Paused { reason }) => Err(reason),
            Err(outcome) => Err(format!("{outcome:?}")),
        }
    }

    /// Until the last source lets go, and all that was given is answered, or nobody waits for it.
    pub(super) async fn run(mut self, mut jobs: Jobs) {
        let mut given = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(settled) = given.next() => self.note(settled),
                job = jobs.recv() => match job {
                    Some(job) if job.is_stale() => {}
                    Some(job) => match self.connected(&mut given).await {
                        Ok(connection) => {
                            let target = self.target.clone();
                            let topic = target.topic.clone();
                            let more = self.meanwhile(&mut given, target.give(job, connection)).await;
                            given.push(more.settled(topic));
                        }
                        Err(outcome) => job.answer(outcome),
                    },
                    None => break,
                },
            }
        }
        while let Some(settled) = given.next().await {
            self.note(settled);
        }
    }

    /// Answers what was given before while `work` goes on: brokers that say nothing hold back no answer of theirs from before.
    async fn meanwhile<T>(&mut self, given: &mut FuturesUnordered<impl Future<Output = Settled>>, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                Some(settled) = given.next() => self.note(settled),
            }
        }
    }

    /// A connection to brokers that are there and allowed, and have the topic. Errors: why there is none.
    async fn connected(&mut self, given: &mut FuturesUnordered<impl Future<Output = Settled>>) -> Result<Arc<Connection>, Outcome> {
        loop {
            let (target, held, batch_bytes) = (self.target.clone(), self.connection.clone(), self.batch_bytes);
            if let Some(connection) = held.as_ref().filter(|connection| connection.is_fresh()) {
                return Ok(connection.clone());
            }
            let (was_held, patience) = (held.is_some(), Duration::from_millis(target.spec.timeout_ms));
            match self.meanwhile(given, target.connect(held, batch_bytes, patience)).await {
                // An answer of meanwhile says that a new one is needed.
                Ok(_) if was_held && self.connection.is_none() => {}
                Ok((connection, _)) => {
                    self.connection = Some(connection.clone());
                    return Ok(connection);
                }
                Err(outcome) => {
                    self.connection = None;
                    return Err(outcome);
                }
            }
        }
    }

    /// Answers a job, and sees what its fate says of the next ones. None: nobody waits for it.
    fn note(&mut self, (job, connection, judgement): Settled) {
        let Some(Judgement { outcome, smaller, broken }) = judgement else { return };
        let is_current = self.connection.as_ref().is_some_and(|current| Arc::ptr_eq(current, &connection));
        if smaller && is_current {
            self.batch_bytes = (self.batch_bytes / 2).max(1);
        }
        match &outcome {
            Outcome::Acknowledged | Outcome::Mixed { again: None, .. } => {}
            // A new one reads its secrets anew, and asks the spec's brokers where the others are.
            _ if is_current && (smaller || broken || matches!(outcome, Outcome::Paused { .. })) => self.connection = None,
            // The next send asks first, and so learns why sooner than by its messages' time-outs.
            _ => connection.forget(),
        }
        job.answer(outcome);
    }
}

impl Target {
    /// Where the brokers are that the spec names. Errors: none has an address, or the policy does not allow one.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, Outcome> {
        let (mut addresses, mut why) = (Vec::new(), "no broker is named".to_owned());
        for broker in &self.spec.brokers {
            let host = broker.rsplit_once(':').map_or(broker.as_str(), |(host, _)| host);
            match tokio::net::lookup_host(broker.as_str()).await {
                Ok(found) => addresses.extend(found.map(|address| (address, host))),
                Err(error) => why = format!("{broker}: {error}"),
            }
        }
        for (address, host) in &addresses {
            self.policy.check_addr(*address, host).map_err(|denied| Outcome::Paused { reason: denied.to_string() })?;
        }
        if addresses.is_empty() { Err(retry(why)) } else { Ok(addresses.into_iter().map(|(address, _)| address).collect()) }
    }

    /// Asks the brokers that `held` is for, or those of the spec. Errors: why none is there.
    async fn connect(
        self: Arc<Self>,
        held: Option<Arc<Connection>>,
        batch_bytes: usize,
        patience: Duration,
    ) -> Result<(Arc<Connection>, Seen), Outcome> {
        let connection = match held {
            Some(connection) => connection,
            None => {
                let (target, addresses) = (self.clone(), self.addresses().await?);
                // Secrets are files, and may have been renewed since.
                let made = tokio::task::spawn_blocking(move || Connection::new(&target.spec, &target.policy, &addresses, batch_bytes)).await;
                Arc::new(made.map_err(|error| retry(error.to_string()))?.map_err(|reason| Outcome::Paused { reason })?)
            }
        };
        let seen = connection.look(&self.topic, &self.policy, patience).await?;
        Ok((connection, seen))
    }

    /// Gives a job's records to librdkafka, in order. Waits while its queue is full: as long as a message may live at most, as then the first of it is gone.
    async fn give(self: Arc<Self>, job: Job, connection: Arc<Connection>) -> Given {
        let key = self.key.replace("{source}", job.source.as_str());
        let key_has_id = key.contains("{id}");
        let mut waits = Vec::new();
        for item in job.parcel.items() {
            let (id, payload) = (hex::encode(item.id), item.bytes.trim_ascii_end());
            let key = if key_has_id { key.replace("{id}", &id) } else { key.clone() };
            let given = loop {
                let headers = OwnedHeaders::new().insert(Header { key: ID_HEADER, value: Some(&id) });
                let record = FutureRecord::to(&self.topic).key(&key).payload(payload).headers(headers);
                match connection.producer().send_result(record) {
                    Ok(delivery) => break Ok(delivery),
                    Err((KafkaError::MessageProduction(Code::QueueFull), _)) if !job.is_stale() => tokio::time::sleep(ROOM).await,
                    Err((error, _)) => break Err(connection.unwrapped(error.rdkafka_error_code().unwrap_or(Code::Fail))),
                }
            };
            waits.push((item.record, payload.len(), given));
        }
        Given { job, connection, waits }
    }
}

impl Given {
    /// Waits for all of it, unless nobody else does any more.
    async fn settled(self, topic: String) -> Settled {
        let Self { job, connection, waits } = self;
        let all = async {
            let mut sent = Vec::with_capacity(waits.len());
            for (record, bytes, wait) in waits {
                let fate = match wait {
                    Err(code) => Fate::Turned(code),
                    Ok(delivery) => match delivery.await {
                        Ok(Ok(_)) => Fate::Taken,
                        Ok(Err((error, _))) => Fate::Failed(connection.unwrapped(error.rdkafka_error_code().unwrap_or(Code::Fail))),
                        // The producer is gone.
                        Err(_) => Fate::Failed(Code::PurgeInflight),
                    },
                };
                sent.push(Sent { record, bytes, fate });
            }
            sent
        };
        let judgement = tokio::select! {
            sent = all => Some(judged(&topic, &sent, connection.batch_bytes, &connection.told())),
            () = job.reply.to.closed() => None,
        };
        (job, connection, judgement)
    }
}

#[cfg(test)]
mod tests;
