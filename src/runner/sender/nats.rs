//! `nats`: each record as a message (NDJSON without the line's end) to JetStream, acknowledged when its stream has it.
//!
//! `Nats-Msg-Id` is the record's id: within the stream's duplicate window a repeat is acknowledged and not kept twice.
//! The server's word on each message: <https://docs.nats.io/nats-concepts/jetstream/headers>.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, ServerAddr,
    jetstream::{
        Context,
        context::{ContextBuilder, PublishAckFuture, PublishError, PublishErrorKind},
        message::PublishMessage,
    },
};
use bytes::Bytes;
use logvine_cluster::{
    delivery::{Again, Outcome, Refusal},
    name::Name,
    spec::NatsSenderSpec,
};
use reqwest::Url;

use super::{Jobs, http::causes};
use crate::{
    payload::{Item, Parcel},
    policy::Policy,
    secret,
};

/// Messages that are unacknowledged at once: enough for a distant server, and few for a stream that is slow.
const UNACKNOWLEDGED_MAX: usize = 256;
/// The port where none is said.
const PORT: u16 = 4222;

#[derive(Debug)]
pub(crate) struct NatsSender {
    spec: NatsSenderSpec,
    subject: String,
    policy: Arc<Policy>,
    /// None where the last one failed: each is dialled anew, and checked anew.
    connection: Option<Context>,
}

impl NatsSender {
    pub(super) fn new(spec: &NatsSenderSpec, runner: &Name, node: &Name, policy: &Arc<Policy>) -> Result<Self, String> {
        // An error says that the process has a provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let subject = spec.subject.replace("{runner}", runner.as_str()).replace("{node}", node.as_str());
        options(spec, policy)?;
        Ok(Self { spec: spec.clone(), subject, policy: policy.clone(), connection: None })
    }

    async fn read_options(&self) -> Result<ConnectOptions, String> {
        let (spec, policy) = (self.spec.clone(), self.policy.clone());
        let read = tokio::task::spawn_blocking(move || options(&spec, &policy)).await;
        read.map_err(|error| error.to_string())?
    }
    /// Where a server is: its addresses where the connection is plain, its name where its certificate must be for that. Errors: it is not there, or
    /// the policy does not allow one of its addresses.
    async fn addresses(&self, server: &str) -> Result<Vec<ServerAddr>, Outcome> {
        let retry = |error: String| Outcome::Retry { reason: format!("{server}: {error}"), after: None };
        let url = Url::parse(server).map_err(|error| Outcome::Paused { reason: format!("{server}: {error}") })?;
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = url.port().unwrap_or(PORT);
        let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), port)).await.map_err(|error| retry(error.to_string()))?.collect();
        for address in &found {
            self.policy.check_addr(*address, &host).map_err(|denied| Outcome::Paused { reason: denied.to_string() })?;
        }
        let texts: Vec<String> = match url.scheme() {
            "tls" => vec![format!("tls://{}:{port}", url.host_str().unwrap_or_default())],
            _ => found.iter().map(|address| format!("nats://{address}")).collect(),
        };
        texts.iter().map(|text| text.parse().map_err(|error: std::io::Error| retry(error.to_string()))).collect()
    }

    /// A connection to the first server that answers. Errors: why none does.
    async fn connect(&self) -> Result<Client, Outcome> {
        let mut why = Outcome::Retry { reason: "no server is named".to_owned(), after: None };
        for server in &self.spec.servers {
            let addresses = match self.addresses(server).await {
                Ok(addresses) => addresses,
                Err(error) => {
                    why = error;
                    continue;
                }
            };
            // Secrets may have been renewed since.
            let options = self.read_options().await.map_err(|reason| Outcome::Paused { reason })?;
            match options.require_tls(server.starts_with("tls://")).connect(addresses).await {
                Ok(client) => return Ok(client),
                Err(error) => {
                    let reason = format!("{server}: {}", causes(&error));
                    why = match error.kind() {
                        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => Outcome::Paused { reason },
                        _ => Outcome::Retry { reason, after: None },
                    };
                }
            }
        }
        Err(why)
    }

    /// Connects, and brings nothing. Errors: why it cannot, for people.
    pub(super) async fn look(&self) -> Result<String, String> {
        match self.connect().await {
            Ok(client) => {
                let server = client.server_info();
                Ok(format!(
                    "{} is there (nats-server {}); whether a stream takes {} is seen with the first batch",
                    server.host, server.version, self.subject
                ))
            }
            Err(Outcome::Retry { reason, .. } | Outcome::Paused { reason }) => Err(reason),
            Err(outcome) => Err(format!("{outcome:?}")),
        }
    }

    pub(super) async fn run(mut self, mut jobs: Jobs) {
        while let Some(job) = jobs.recv().await {
            if job.is_stale() {
                continue;
            }
            let outcome = self.send(&job.parcel).await;
            // A message that was too long says nothing of the connection.
            if !matches!(outcome, Outcome::Acknowledged | Outcome::Mixed { again: None, .. }) {
                self.connection = None;
            }
            job.answer(outcome);
        }
    }

    async fn send(&mut self, parcel: &Parcel) -> Outcome {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => match self.connect().await {
                Ok(client) => {
                    let timeout = Duration::from_millis(self.spec.timeout_ms);
                    ContextBuilder::new().timeout(timeout).ack_timeout(timeout).build(client)
                }
                Err(outcome) => return outcome,
            },
        };
        let connection = self.connection.insert(connection);
        let items: Vec<Item<'_>> = parcel.items().collect();
        let mut fates = Vec::with_capacity(items.len());
        for window in items.chunks(UNACKNOWLEDGED_MAX) {
            let mut waited: Vec<Result<PublishAckFuture, PublishError>> = Vec::with_capacity(window.len());
            for item in window {
                let message = PublishMessage::build().message_id(hex::encode(item.id)).payload(Bytes::copy_from_slice(item.bytes.trim_ascii_end()));
                waited.push(connection.send_publish(self.subject.clone(), message).await);
            }
            for (item, published) in window.iter().zip(waited) {
                let fate = match published {
                    Ok(acknowledgement) => acknowledgement.await.map(drop),
                    Err(error) => Err(error),
                };
                fates.push((item.record, fate.map_err(|error| (error.kind(), causes(&error)))));
            }
            // The rest would wait as long for the same.
            if fates.last().is_some_and(|(_, fate)| matches!(fate, Err((PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe, _)))) {
                break;
            }
        }
        let untried = items[fates.len()..].iter().map(|item| item.record).collect();
        judged(&self.subject, fates, untried)
    }
}

/// Errors: which secret cannot be read, for people. Blocks on the disk.
fn options(spec: &NatsSenderSpec, policy: &Policy) -> Result<ConnectOptions, String> {
    let resolve = |what: &str, value: &str| secret::resolve(policy, value).map_err(|error| format!("{what}: {error}"));
    let timeout = Duration::from_millis(spec.timeout_ms);
    // Servers that a server tells of are not those that the operator named: they are not dialled.
    let mut options = ConnectOptions::new().name("logvine").connection_timeout(timeout).ignore_discovered_servers().max_reconnects(1);
    if let Some(token) = &spec.token {
        options = options.token(resolve("token", token)?);
    }
    if let (Some(user), Some(password)) = (&spec.user, &spec.password) {
        options = options.user_and_password(user.clone(), resolve("password", password)?);
    }
    Ok(options)
}

/// What became of each message.
type Fate = Result<(), (PublishErrorKind, String)>;

/// What the server's words on single messages say of the send. `untried`: those that were not brought to it.
fn judged(subject: &str, fates: Vec<(u32, Fate)>, untried: Vec<u32>) -> Outcome {
    let (mut rejected, mut again, mut why) = (Vec::new(), untried, None);
    for (record, fate) in fates {
        match fate {
            Ok(()) => {}
            Err((PublishErrorKind::StreamNotFound, _)) => {
                return Outcome::Paused { reason: format!("no stream takes the subject {subject}: make one, or mend the sender's subject") };
            }
            Err((PublishErrorKind::MaxPayloadExceeded, reason)) => rejected.push(Refusal { record, reason: format!("{subject}: {reason}") }),
            Err((_, reason)) => {
                again.push(record);
                why.get_or_insert(reason);
            }
        }
    }
    if rejected.is_empty() && again.is_empty() {
        return Outcome::Acknowledged;
    }
    let again = (!again.is_empty()).then(|| Again {
        records: again.into_iter().collect(),
        reason: format!("{subject}: {}", why.unwrap_or_else(|| "not tried".to_owned())),
        after: None,
    });
    Outcome::Mixed { rejected, again }
}

#[cfg(test)]
mod tests;
