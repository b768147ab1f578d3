//! Senders bring batches to a sink and say what became of them. A sender is shared by all sources of its instance.
//!
//! Not here: what is sent again, when, and what is put aside (`logvine_cluster::delivery`).

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use logvine_cluster::{
    delivery::{Outcome, Refusal, SendId},
    name::Name,
    spec::{FileSenderSpec, SenderSpec},
};
use tokio::sync::mpsc;

use crate::{budget::Lease, payload::Parcel, policy::Policy, source::Answered};

#[cfg(test)]
mod bench;
mod check;
mod compression;
mod elasticsearch;
pub(crate) mod encoding;
mod file;
mod http;
#[cfg(feature = "kafka")]
mod kafka;
mod loki;
#[cfg(feature = "nats")]
mod nats;
pub mod ndjson;
mod otlp;
mod rotate;
#[cfg(feature = "s3")]
mod s3;
mod stdout;
#[cfg(test)]
mod tests;

use self::http::{HttpSender, Protocol};
pub(crate) use check::SinkCheck;
pub(super) use check::check;

/// Records to bring to a sink.
#[derive(Debug)]
pub(super) struct Job {
    /// Whose records they are.
    #[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "kafka alone makes keys of it"))]
    pub(super) source: Name,
    /// At least one, in the sender's encoding.
    pub(super) parcel: Parcel,
    pub(super) reply: Reply,
    /// Keeps the batch in the instance's account of memory as long as this job has its bytes.
    pub(super) lease: Arc<Lease>,
}

/// Where a job's outcome goes.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) send: SendId,
    pub(super) to: mpsc::UnboundedSender<Answered>,
}

impl Job {
    /// Whether nobody waits for it any more: its source was closed, and another owner may have it by now.
    fn is_stale(&self) -> bool {
        self.reply.to.is_closed()
    }

    fn answer(self, outcome: Outcome) {
        let outcome = self.judged(outcome);
        drop((self.parcel, self.lease));
        // A source that was closed meanwhile does not want to know.
        let _ = self.reply.to.send(Answered::Outcome(self.reply.send, Box::new(outcome)));
    }

    /// Of the only record for this sender nothing need be halved to know which one is refused.
    fn judged(&self, outcome: Outcome) -> Outcome {
        let Outcome::Rejected { reason } = outcome else { return outcome };
        let mut items = self.parcel.items();
        match (items.next(), items.next()) {
            (Some(item), None) => Outcome::Mixed { rejected: vec![Refusal { record: item.record, reason }], again: None },
            _ => Outcome::Rejected { reason },
        }
    }
}

/// The jobs of a sender. As many wait at most as all sources together may have unanswered (`DeliveryConfig::sends_max` each), so it needs no other
/// bound.
pub(super) type Jobs = mpsc::UnboundedReceiver<Job>;

/// A sender that is ready to run.
#[derive(Debug)]
pub(super) enum Sender {
    File(file::FileSender),
    Stdout,
    Http(HttpSender),
    #[cfg(feature = "kafka")]
    Kafka(Box<kafka::KafkaSender>),
    #[cfg(feature = "nats")]
    Nats(Box<nats::NatsSender>),
    #[cfg(feature = "s3")]
    S3(Box<s3::S3Sender>),
}

impl Sender {
    /// Whether it asks a sink to take each batch, which may be too long for that.
    pub(super) fn makes_requests(&self) -> bool {
        !matches!(self, Self::File(_) | Self::Stdout)
    }

    /// Prepares a sender of `runner` on `node`. `host`: the machine's name, where records are to say it. Errors: what is wrong with its spec here, for
    /// people. Blocks on the disk (secrets).
    pub(super) fn new(spec: &SenderSpec, runner: &Name, node: &Name, host: Option<&str>, policy: &Arc<Policy>) -> Result<Self, String> {
        match spec {
            SenderSpec::File(spec) => Ok(Self::File(file::FileSender::new(spec, file_path(spec, runner, node), policy.clone()))),
            SenderSpec::Stdout(_) => Ok(Self::Stdout),
            SenderSpec::Http(spec) => HttpSender::new(&spec.into(), Protocol::Ndjson, policy).map(Self::Http),
            SenderSpec::Elasticsearch(spec) => HttpSender::new(&spec.into(), Protocol::Bulk, policy).map(Self::Http),
            SenderSpec::Loki(spec) => HttpSender::new(&spec.into(), Protocol::Loki, policy).map(Self::Http),
            SenderSpec::Otlp(spec) => {
                let resource = otlp::Resource::new(runner.as_str(), node.as_str(), host);
                HttpSender::new(&spec.into(), Protocol::Otlp(resource), policy).map(Self::Http)
            }
            #[cfg(feature = "kafka")]
            SenderSpec::Kafka(spec) => kafka::KafkaSender::new(spec, runner, node, policy).map(|sender| Self::Kafka(Box::new(sender))),
            #[cfg(not(feature = "kafka"))]
            SenderSpec::Kafka(_) => Err(missing("kafka")),
            #[cfg(feature = "nats")]
            SenderSpec::Nats(spec) => nats::NatsSender::new(spec, runner, node, policy).map(|sender| Self::Nats(Box::new(sender))),
            #[cfg(not(feature = "nats"))]
            SenderSpec::Nats(_) => Err(missing("nats")),
            #[cfg(feature = "s3")]
            SenderSpec::S3(spec) => s3::S3Sender::new(spec, runner, node, policy).map(|sender| Self::S3(Box::new(sender))),
            #[cfg(not(feature = "s3"))]
            SenderSpec::S3(_) => Err(missing("s3")),
        }
    }

    /// Works until the last source lets go of its queue.
    pub(super) async fn run(self, jobs: Jobs) {
        match self {
            Self::File(sender) => sender.run(jobs).await,
            Self::Stdout => stdout::run(jobs).await,
            Self::Http(sender) => sender.run(jobs).await,
            #[cfg(feature = "kafka")]
            Self::Kafka(sender) => sender.run(jobs).await,
            #[cfg(feature = "nats")]
            Self::Nats(sender) => sender.run(jobs).await,
            #[cfg(feature = "s3")]
            Self::S3(sender) => sender.run(jobs).await,
        }
    }
}

/// What is said of a sender that only the packages' build has.
#[cfg(not(all(feature = "kafka", feature = "nats", feature = "s3")))]
fn missing(kind: &str) -> String {
    format!("this build has no `{kind}` sender: build it with the feature `{kind}` (or `full`), or take a package, which has all")
}

/// Where a file sender of `runner` writes on `node`.
fn file_path(spec: &FileSenderSpec, runner: &Name, node: &Name) -> PathBuf {
    spec.path.replace("{node}", node.as_str()).replace("{runner}", runner.as_str()).into()
}

/// One write's worth of jobs.
const GROUP_BYTES_MAX: usize = 1 << 20;

/// Waits for a job, and takes those that wait behind it: while one group is written, the next one gathers, so one fsync serves them all.
async fn next_group(jobs: &mut Jobs) -> Option<Vec<Job>> {
    let mut group = vec![jobs.recv().await?];
    let mut bytes = group[0].parcel.bytes().len();
    while bytes < GROUP_BYTES_MAX
        && let Ok(job) = jobs.try_recv()
    {
        bytes += job.parcel.bytes().len();
        group.push(job);
    }
    group.retain(|job| !job.is_stale());
    Some(group)
}

/// The lines of a group, for one write.
fn joined(group: &[Job]) -> Bytes {
    match group {
        [job] => job.parcel.bytes().clone(),
        _ => group.iter().map(|job| &job.parcel.bytes()[..]).collect::<Vec<_>>().concat().into(),
    }
}
