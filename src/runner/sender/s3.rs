//! `s3`: objects of NDJSON in a bucket, acknowledged when the server says that it has them.
//!
//! An object's key is made of its records' ids, so what is written again under the same records replaces the first. Records that another start of the
//! agent, or another node, sends again may come in other company and so in another object: there their ids tell them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use logvine_cluster::{
    delivery::{DeliveryConfig, Outcome},
    name::Name,
    spec::S3SenderSpec,
};
use opendal::{HttpTransporter, OperationContext, Operator, services::S3};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{Job, Jobs, compression};
use crate::{
    payload::Parcel,
    policy::{Dialer, Policy},
    secret,
};

mod gather;
mod transport;

use gather::{Bounds, Gather, Mark, Object};
use transport::Transport;

#[derive(Debug)]
pub(crate) struct S3Sender {
    spec: S3SenderSpec,
    /// With the runner's and the node's names in it.
    key: String,
    policy: Arc<Policy>,
    dialer: Arc<Dialer>,
    bucket: Operator,
}

impl S3Sender {
    pub(super) fn new(spec: &S3SenderSpec, runner: &Name, node: &Name, policy: &Arc<Policy>) -> Result<Self, String> {
        let timeout = Duration::from_millis(spec.timeout_ms);
        let dialer = Dialer::new(policy.clone(), |builder| builder.timeout(timeout).connect_timeout(timeout.min(Duration::from_secs(10))))
            .map_err(|error| format!("no HTTP client: {error}"))?;
        let dialer = Arc::new(dialer);
        let bucket = bucket(spec, policy, &dialer)?;
        let key = spec.key.replace("{runner}", runner.as_str()).replace("{node}", node.as_str());
        Ok(Self { spec: spec.clone(), key, policy: policy.clone(), dialer, bucket })
    }

    /// Asks for the head of a key that no object has. Errors: what is amiss, for people.
    pub(super) async fn look(&self) -> Result<String, String> {
        let place = format!("{} at {}", self.spec.bucket, self.spec.endpoint);
        let Err(error) = self.bucket.stat("logvine-looks-whether-the-bucket-is-there").await else { return Ok(format!("{place} is there")) };
        match transport::outcome(&error) {
            // A HEAD has no body that tells a missing bucket from a missing object.
            Outcome::Paused { reason } if reason.contains("404") => {
                Ok(format!("{place} answers, and takes the keys; whether it has the bucket is seen with the first object"))
            }
            Outcome::Paused { reason } if reason.contains("403") => Err(format!("{reason}. Where the keys may write and not read, all is well")),
            Outcome::Paused { reason } | Outcome::Retry { reason, .. } | Outcome::Rejected { reason } => Err(reason),
            outcome => Err(format!("{outcome:?}")),
        }
    }

    pub(super) async fn run(mut self, mut jobs: Jobs) {
        let linger = Duration::from_millis(self.spec.linger_ms);
        let bounds = Bounds { bytes: self.spec.object_bytes, linger, of_one_source: DeliveryConfig::default().sends_max };
        let mut gather: Gather<Job> = Gather::new(bounds);
        loop {
            let due = gather.due();
            tokio::select! {
                biased;
                // Those that are there already come into the same object, as far as it goes.
                job = jobs.recv(), if due.is_none_or(|due| due > Instant::now().into_std()) => match job {
                    Some(job) => push(&mut gather, job),
                    None => break,
                },
                () = tokio::time::sleep_until(due.unwrap_or_else(|| Instant::now().into_std()).into()), if due.is_some() => self.write(&mut gather).await,
            }
        }
        self.write(&mut gather).await;
    }

    /// Writes what is in doubt, then what waits; answers those that wait.
    async fn write(&mut self, gather: &mut Gather<Job>) {
        let mut group = gather.take();
        group.retain(|job| !job.is_stale());
        if group.is_empty() {
            return;
        }
        if let Some(object) = gather.uncertain().cloned() {
            match self.put(&object).await {
                Outcome::Acknowledged => gather.settle(),
                Outcome::Rejected { .. } => gather.give_up(),
                outcome => return answer(group, &outcome),
            }
        }
        let (settled, group): (Vec<Job>, Vec<Job>) = group.into_iter().partition(|job| gather.is_settled(&mark(&job.parcel)));
        answer(settled, &Outcome::Acknowledged);
        let Err((group, reason)) = self.write_object(gather, group).await else { return };
        if group.len() == 1 {
            return answer(group, &Outcome::Rejected { reason });
        }
        // Too long together: that says nothing of any of them.
        let mut rest = group.into_iter();
        while let Some(job) = rest.next() {
            if let Err((group, reason)) = self.write_object(gather, vec![job]).await {
                answer(group, &Outcome::Rejected { reason });
            }
            // Nothing overtakes what is in doubt.
            if let Some(doubted) = gather.uncertain() {
                let reason = format!("{} is to be written first", doubted.key);
                return answer(rest.collect(), &Outcome::Retry { reason, after: None });
            }
        }
    }

    /// Writes jobs as one object, and answers them. Errors: they are refused as they are; the jobs, and what was said.
    async fn write_object(&mut self, gather: &mut Gather<Job>, group: Vec<Job>) -> Result<(), (Vec<Job>, String)> {
        if group.is_empty() {
            return Ok(());
        }
        let object = self.object(&group).await;
        let outcome = self.put(&object).await;
        match outcome {
            Outcome::Rejected { reason } => return Err((group, reason)),
            Outcome::Retry { .. } | Outcome::Paused { .. } => gather.doubt(object),
            _ => {}
        }
        answer(group, &outcome);
        Ok(())
    }

    async fn object(&self, group: &[Job]) -> Object {
        let parcels: Vec<Parcel> = group.iter().map(|job| job.parcel.clone()).collect();
        let marks: Vec<Mark> = parcels.iter().map(mark).collect();
        let kind = self.spec.compression;
        let compress = move || {
            let plain: Bytes = match &parcels[..] {
                [parcel] => parcel.bytes().clone(),
                _ => parcels.iter().map(|parcel| &parcel.bytes()[..]).collect::<Vec<_>>().concat().into(),
            };
            compression::compressed(kind, &plain)
        };
        let body = tokio::task::spawn_blocking(compress).await.expect("compressing does not panic");
        Object { key: key(&self.key, &marks, Utc::now()) + compression::ending(kind), body, marks }
    }

    async fn put(&mut self, object: &Object) -> Outcome {
        match self.bucket.write_with(&object.key, object.body.clone()).content_type("application/x-ndjson").await {
            Ok(_) => Outcome::Acknowledged,
            Err(error) => {
                let outcome = transport::outcome(&error);
                if matches!(outcome, Outcome::Paused { .. }) {
                    self.renew_secrets().await;
                }
                outcome
            }
        }
    }

    /// A server that refuses us may have been given new keys since; the old ones stay where the new ones cannot be read.
    async fn renew_secrets(&mut self) {
        let (spec, policy, dialer) = (self.spec.clone(), self.policy.clone(), self.dialer.clone());
        if let Ok(Ok(bucket)) = tokio::task::spawn_blocking(move || bucket(&spec, &policy, &dialer)).await {
            self.bucket = bucket;
        }
    }
}

fn push(gather: &mut Gather<Job>, job: Job) {
    let of_its_source = gather.waiting().iter().filter(|waiting| waiting.reply.to.same_channel(&job.reply.to)).count();
    let (mark, bytes) = (mark(&job.parcel), job.parcel.bytes().len() as u64);
    gather.push(job, &mark, bytes, of_its_source, Instant::now().into_std());
}

fn answer(group: Vec<Job>, outcome: &Outcome) {
    for job in group {
        job.answer(outcome.clone());
    }
}

/// Errors: which secret cannot be read, or what opendal does not like, for people. Blocks on the disk.
fn bucket(spec: &S3SenderSpec, policy: &Arc<Policy>, dialer: &Arc<Dialer>) -> Result<Operator, String> {
    let resolve = |what: &str, value: &str| secret::resolve(policy, value).map_err(|error| format!("{what}: {error}"));
    // The keys are the spec's alone: neither this machine's role nor its files and variables are for whoever may write runners.
    let mut builder = S3::default().disable_config_load().disable_ec2_metadata();
    builder = builder.bucket(&spec.bucket).endpoint(&spec.endpoint).region(&spec.region);
    builder = builder.access_key_id(&resolve("access_key_id", &spec.access_key_id)?);
    builder = builder.secret_access_key(&resolve("secret_access_key", &spec.secret_access_key)?);
    if let Some(token) = &spec.session_token {
        builder = builder.session_token(&resolve("session_token", token)?);
    }
    let bucket = Operator::new(builder).map_err(|error| error.to_string())?;
    let transport = Transport { dialer: dialer.clone() };
    Ok(bucket.with_context(OperationContext::new().with_http_transport(HttpTransporter::new(transport))))
}

/// A hash of the ids of a parcel's records.
fn mark(parcel: &Parcel) -> Mark {
    let mut hash = Sha256::new();
    for item in parcel.items() {
        hash.update(item.id);
    }
    truncated(hash)
}

fn truncated(hash: Sha256) -> Mark {
    *hash.finalize().first_chunk().expect("a hash of 32 bytes has 16")
}

/// The key of the object that has these jobs' records.
fn key(template: &str, marks: &[Mark], now: DateTime<Utc>) -> String {
    let mut hash = Sha256::new();
    for mark in marks {
        hash.update(mark);
    }
    let (date, hour) = (now.format("%Y-%m-%d").to_string(), now.format("%H").to_string());
    template.replace("{date}", &date).replace("{hour}", &hour).replace("{id}", &hex::encode(truncated(hash)))
}

#[cfg(test)]
mod tests;
