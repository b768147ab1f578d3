//! `http`: NDJSON by POST; a 2xx answer acknowledges the batch.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures::{StreamExt, stream::FuturesUnordered};
use logvine_cluster::{delivery::Outcome, spec::HttpSenderSpec};
use reqwest::{
    Response, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER},
};

use super::{Job, Jobs};
use crate::{
    policy::{Dialer, Policy, denied},
    secret,
};

/// Enough to keep a distant sink busy; more would only open connections.
const REQUESTS_MAX: usize = 8;
/// What is kept of a sink's own words on a refused record.
const WORDS_BYTES_MAX: usize = 512;

#[derive(Debug)]
pub(crate) struct HttpSender {
    url: Url,
    dialer: Dialer,
    policy: Arc<Policy>,
    headers: BTreeMap<String, String>,
    resolved: HeaderMap,
}

impl HttpSender {
    pub(super) fn new(spec: &HttpSenderSpec, policy: &Arc<Policy>) -> Result<Self, String> {
        let url = Url::parse(&spec.url).map_err(|error| format!("`{}` is not a URL: {error}", spec.url))?;
        let resolved = secret::headers(policy, &spec.headers)?;
        let timeout = Duration::from_millis(spec.timeout_ms);
        let dialer = Dialer::new(policy.clone(), |builder| builder.timeout(timeout).connect_timeout(timeout.min(Duration::from_secs(10))))
            .map_err(|error| format!("no HTTP client: {error}"))?;
        Ok(Self { url, dialer, policy: policy.clone(), headers: spec.headers.clone(), resolved })
    }

    /// Asks the sink for its head, with this sender's headers: where it is, and what it answers. Errors: why it does not, for people.
    pub(super) async fn head(&self) -> Result<(String, StatusCode), String> {
        let client = self.dialer.client(&self.url).map_err(|denied| denied.to_string())?;
        let place = place(&self.url);
        match client.head(self.url.clone()).headers(self.resolved.clone()).send().await {
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
                        let (dialer, url, headers) = (self.dialer.clone(), self.url.clone(), self.resolved.clone());
                        requests.push(async move {
                            let outcome = post(&dialer, url, headers, &job).await;
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

async fn post(dialer: &Dialer, url: Url, headers: HeaderMap, job: &Job) -> Outcome {
    let client = match dialer.client(&url) {
        Ok(client) => client,
        Err(denied) => return Outcome::Paused { reason: denied.to_string() },
    };
    let place = place(&url);
    let ndjson = HeaderValue::from_static("application/x-ndjson");
    match client.post(url).header(CONTENT_TYPE, ndjson).headers(headers).body(job.parcel.bytes().clone()).send().await {
        Ok(response) => answered(&place, response).await,
        Err(error) => match denied(&error) {
            Some(denied) => Outcome::Paused { reason: denied.to_string() },
            None => Outcome::Retry { reason: format!("{place}: {}", causes(&error.without_url())), after: None },
        },
    }
}

/// RFC 9110 section 15, and RFC 6585 for 429.
async fn answered(place: &str, response: Response) -> Outcome {
    let status = response.status();
    let reason = format!("{place} answers {status}");
    match status.as_u16() {
        200..300 => Outcome::Acknowledged,
        408 | 425 | 429 | 500.. => Outcome::Retry { reason, after: retry_after(response.headers(), Utc::now()) },
        // 414 and 431 speak of the request's line and headers, which no halving makes shorter.
        400 | 413 | 422 => Outcome::Rejected { reason: format!("{reason}{}", words(response).await) },
        300..400 => Outcome::Paused { reason: format!("{reason}; redirects are not followed: write the address that it leads to") },
        _ => Outcome::Paused { reason: format!("{reason}; {}", advice(status)) },
    }
}

fn advice(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "check the sender's headers and its right to write there",
        StatusCode::NOT_FOUND => "check the sender's url",
        _ => "it will not take what this sender posts (NDJSON); check its url",
    }
}

/// Scheme, host and port: a path or a query may hold a secret.
fn place(url: &Url) -> String {
    url.origin().ascii_serialization()
}

fn causes(error: &(dyn std::error::Error + 'static)) -> String {
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
async fn words(mut response: Response) -> String {
    let mut words = Vec::new();
    while words.len() < WORDS_BYTES_MAX
        && let Ok(Some(chunk)) = response.chunk().await
    {
        words.extend_from_slice(&chunk[..chunk.len().min(WORDS_BYTES_MAX - words.len())]);
    }
    let words = String::from_utf8_lossy(&words);
    if words.trim().is_empty() { String::new() } else { format!(": {}", words.trim()) }
}

/// RFC 9110 section 10.2.3: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
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
