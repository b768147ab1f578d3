//! What is sent by POST: NDJSON (`http`), of which a 2xx answer acknowledges all, and the protocols that say more.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{StreamExt, stream::FuturesUnordered};
use logvine_cluster::{
    delivery::Outcome,
    spec::{Compression, ElasticsearchSenderSpec, HttpSenderSpec, LokiSenderSpec, OtlpSenderSpec},
};
use reqwest::{
    Response, StatusCode, Url,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER},
};

use super::{Job, Jobs, compression, elasticsearch, loki, otlp};
use crate::{
    payload::Parcel,
    policy::{Dialer, Policy, denied},
    secret,
};

/// Enough to keep a distant sink busy; more would only open connections.
const REQUESTS_MAX: usize = 8;
/// What is kept of a sink's own words on a refused record.
pub(super) const WORDS_BYTES_MAX: usize = 512;

/// An answer that is longer is that of a send which should be smaller.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// What an answer's body says of the records of a parcel; the text is who answers, for people.
type Judge = fn(&str, &Parcel, &[u8]) -> Outcome;

/// What is spoken over HTTP.
#[derive(Debug)]
pub(super) enum Protocol {
    Ndjson,
    Bulk,
    Loki,
    Otlp(otlp::Resource),
}

impl Protocol {
    /// What is added to the path of the sender's url, unless it is there.
    fn path(&self) -> &'static str {
        match self {
            Self::Ndjson => "",
            Self::Bulk => "/_bulk",
            Self::Loki => "/loki/api/v1/push",
            Self::Otlp(_) => "/v1/logs",
        }
    }

    fn content_type(&self) -> &'static str {
        match self {
            Self::Ndjson | Self::Bulk => "application/x-ndjson",
            Self::Loki => "application/json",
            Self::Otlp(_) => "application/x-protobuf",
        }
    }

    fn body(&self, parcel: &Parcel) -> Bytes {
        match self {
            Self::Ndjson | Self::Bulk => parcel.bytes().clone(),
            Self::Loki => loki::body(parcel).into(),
            Self::Otlp(resource) => resource.body(parcel).into(),
        }
    }

    /// What a 2xx answer says of each record; None where the status says all.
    fn judge(&self) -> Option<Judge> {
        match self {
            Self::Ndjson | Self::Loki => None,
            Self::Bulk => Some(elasticsearch::judged),
            Self::Otlp(_) => Some(otlp::judged),
        }
    }
}

/// How a sender of any protocol is written in a spec.
#[derive(Debug)]
pub(super) struct Target<'a> {
    pub(super) url: &'a str,
    pub(super) headers: &'a BTreeMap<String, String>,
    pub(super) compression: Compression,
    pub(super) timeout_ms: u64,
}

macro_rules! targets {
    ($($spec:ty),*) => {
        $(impl<'a> From<&'a $spec> for Target<'a> {
            fn from(spec: &'a $spec) -> Self {
                Self { url: &spec.url, headers: &spec.headers, compression: spec.compression, timeout_ms: spec.timeout_ms }
            }
        })*
    };
}
targets!(HttpSenderSpec, ElasticsearchSenderSpec, LokiSenderSpec, OtlpSenderSpec);

#[derive(Debug)]
pub(crate) struct HttpSender {
    sink: Arc<Sink>,
    policy: Arc<Policy>,
    headers: BTreeMap<String, String>,
    resolved: HeaderMap,
}

/// What all requests have in common, but for the headers.
#[derive(Debug)]
struct Sink {
    url: Url,
    dialer: Dialer,
    protocol: Protocol,
    compression: Compression,
}

impl HttpSender {
    pub(super) fn new(target: &Target<'_>, protocol: Protocol, policy: &Arc<Policy>) -> Result<Self, String> {
        let mut url = Url::parse(target.url).map_err(|error| format!("`{}` is not a URL: {error}", target.url))?;
        if !url.path().ends_with(protocol.path()) {
            let path = format!("{}{}", url.path().trim_end_matches('/'), protocol.path());
            url.set_path(&path);
        }
        let resolved = secret::headers(policy, target.headers)?;
        let timeout = Duration::from_millis(target.timeout_ms);
        let dialer = Dialer::new(policy.clone(), |builder| builder.timeout(timeout).connect_timeout(timeout.min(Duration::from_secs(10))))
            .map_err(|error| format!("no HTTP client: {error}"))?;
        let sink = Sink { url, dialer, protocol, compression: target.compression };
        Ok(Self { sink: Arc::new(sink), policy: policy.clone(), headers: target.headers.clone(), resolved })
    }

    /// Asks the sink for its head, with this sender's headers: where it is, and what it answers. Errors: why it does not, for people.
    pub(super) async fn head(&self) -> Result<(String, StatusCode), String> {
        let Sink { url, dialer, .. } = &*self.sink;
        let client = dialer.client(url).map_err(|denied| denied.to_string())?;
        let place = place(url);
        match client.head(url.clone()).headers(self.resolved.clone()).send().await {
            Ok(response) => Ok((place, response.status())),
            Err(error) => Err(match denied(&error) {
                Some(denied) => denied.to_string(),
                None => format!("{place}: {}", causes(&error.without_url())),
            }),
        }
    }

    pub(super) async fn run(mut self, mut jobs: Jobs) {
        let mut requests = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some((job, outcome)) = requests.next() => {
                    if matches!(outcome, Outcome::Paused { .. }) {
                        self.renew_secrets().await;
                    }
                    Job::answer(job, outcome);
                }
                job = jobs.recv(), if requests.len() < REQUESTS_MAX => match job {
                    Some(job) if job.is_stale() => {}
                    Some(job) => {
                        let (sink, headers) = (self.sink.clone(), self.resolved.clone());
                        requests.push(async move {
                            let outcome = sink.post(headers, &job.parcel).await;
                            (job, outcome)
                        });
                    }
                    None if requests.is_empty() => return,
                    // The last answers are still to be told.
                    None => if let Some((job, outcome)) = requests.next().await { job.answer(outcome) },
                },
            }
        }
    }

    /// A sink that refuses us may have a new token since; the old headers stay where the new ones cannot be read.
    async fn renew_secrets(&mut self) {
        let (policy, headers) = (self.policy.clone(), self.headers.clone());
        let resolved = tokio::task::spawn_blocking(move || secret::headers(&policy, &headers)).await;
        if let Ok(Ok(resolved)) = resolved {
            self.resolved = resolved;
        }
    }
}

impl Sink {
    async fn post(self: Arc<Self>, headers: HeaderMap, parcel: &Parcel) -> Outcome {
        let client = match self.dialer.client(&self.url) {
            Ok(client) => client,
            Err(denied) => return Outcome::Paused { reason: denied.to_string() },
        };
        let place = place(&self.url);
        let mut request = client.post(self.url.clone()).header(CONTENT_TYPE, HeaderValue::from_static(self.protocol.content_type())).headers(headers);
        request = match compression::coding(self.compression) {
            None => request.body(self.protocol.body(parcel)),
            Some(coding) => request.header(CONTENT_ENCODING, HeaderValue::from_static(coding)).body(self.clone().compressed(parcel).await),
        };
        match request.send().await {
            Ok(response) => self.answered(&place, parcel, response).await,
            Err(error) => match denied(&error) {
                Some(denied) => Outcome::Paused { reason: denied.to_string() },
                None => Outcome::Retry { reason: format!("{place}: {}", causes(&error.without_url())), after: None },
            },
        }
    }

    /// Some milliseconds of work, away from the async threads.
    async fn compressed(self: Arc<Self>, parcel: &Parcel) -> Bytes {
        let parcel = parcel.clone();
        let compress = move || compression::compressed(self.compression, &self.protocol.body(&parcel));
        tokio::task::spawn_blocking(compress).await.expect("compressing does not panic")
    }

    /// RFC 9110 section 15, and RFC 6585 for 429.
    async fn answered(&self, place: &str, parcel: &Parcel, response: Response) -> Outcome {
        let status = response.status();
        let reason = format!("{place} answers {status}");
        match (status.as_u16(), self.protocol.judge()) {
            (200..300, None) => Outcome::Acknowledged,
            (200..300, Some(judged)) => match read(response, ANSWER_BYTES_MAX + 1).await {
                // Taken or not: a repeat is told by the records' ids.
                Err(error) => Outcome::Retry { reason: format!("{reason}, and breaks off: {}", causes(&error.without_url())), after: None },
                Ok(answer) if answer.len() > ANSWER_BYTES_MAX => Outcome::Rejected { reason: format!("{reason} in more than 64 MiB") },
                Ok(answer) => judged(place, parcel, &answer),
            },
            (408 | 425 | 429 | 500.., _) => Outcome::Retry { reason, after: retry_after(response.headers(), Utc::now()) },
            // 414 and 431 speak of the request's line and headers, which no halving makes shorter.
            (400 | 413 | 422, _) => Outcome::Rejected { reason: format!("{reason}{}", words(response).await) },
            (300..400, _) => Outcome::Paused { reason: format!("{reason}; redirects are not followed: write the address that it leads to") },
            _ => Outcome::Paused { reason: format!("{reason}; {}", advice(status)) },
        }
    }
}

/// A body, of which at most so many bytes are kept.
pub(super) async fn read(mut response: Response, most: usize) -> Result<Vec<u8>, reqwest::Error> {
    let mut bytes = Vec::new();
    while bytes.len() < most
        && let Some(chunk) = response.chunk().await?
    {
        bytes.extend_from_slice(&chunk[..chunk.len().min(most - bytes.len())]);
    }
    Ok(bytes)
}

fn advice(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "check the sender's headers and its right to write there",
        StatusCode::NOT_FOUND => "check the sender's url",
        _ => "it will not take what this sender posts; check its url",
    }
}

/// Scheme, host and port: a path or a query may hold a secret.
pub(super) fn place(url: &Url) -> String {
    url.origin().ascii_serialization()
}

pub(super) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The sink's own words, for the dead letter: the status alone seldom says which field is wrong.
async fn words(response: Response) -> String {
    let words = read(response, WORDS_BYTES_MAX).await.unwrap_or_default();
    let words = String::from_utf8_lossy(&words);
    if words.trim().is_empty() { String::new() } else { format!(": {}", words.trim()) }
}

/// RFC 9110 section 10.2.3: seconds, or a date.
pub(super) fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => (DateTime::parse_from_rfc2822(text).ok()?.with_timezone(&Utc) - now).to_std().ok(),
    }
}

#[cfg(test)]
mod retry_after_tests {
    use super::*;

    fn of(text: &'static str) -> Option<Duration> {
        let now = DateTime::parse_from_rfc3339("1994-11-06T08:49:00Z").unwrap().with_timezone(&Utc);
        retry_after(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]), now)
    }

    #[test]
    fn seconds_and_dates_are_understood_and_nonsense_is_not() {
        assert_eq!(of("120"), Some(Duration::from_secs(120)));
        assert_eq!(of("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(37)));
        assert_eq!(of("Sun, 06 Nov 1994 08:48:00 GMT"), None);
        assert_eq!(of("soon"), None);
    }
}
