//! opendal's requests by this node's own dialer, so that the policy sees each; what is not a success comes back as what it means for the records.

use std::sync::Arc;

use bytes::Bytes;
use chrono::Utc;
use logvine_cluster::delivery::Outcome;
use opendal::{Buffer, Error, ErrorKind, HttpBody, HttpTransport};
use reqwest::{StatusCode, Url};

use crate::{
    policy::{Dialer, denied},
    sender::http::{WORDS_BYTES_MAX, causes, place, read, retry_after},
};

/// Why a request brought nothing.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0:?}")]
pub(super) struct Failed(pub(super) Outcome);

#[derive(Debug)]
pub(super) struct Transport {
    pub(super) dialer: Arc<Dialer>,
}

fn failed(outcome: Outcome) -> Error {
    Error::new(ErrorKind::Unexpected, "the request failed").set_source(Failed(outcome))
}

/// What became of a request that opendal says has failed.
pub(super) fn outcome(error: &Error) -> Outcome {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(Failed(outcome)) = error.downcast_ref() {
            return outcome.clone();
        }
        cause = error.source();
    }
    Outcome::Retry { reason: causes(error), after: None }
}

impl HttpTransport for Transport {
    async fn fetch(&self, request: http::Request<Buffer>) -> Result<http::Response<HttpBody>, Error> {
        let (parts, body) = request.into_parts();
        let url = Url::parse(&parts.uri.to_string()).map_err(|error| failed(Outcome::Paused { reason: format!("endpoint: {error}") }))?;
        let client = self.dialer.client(&url).map_err(|denied| failed(Outcome::Paused { reason: denied.to_string() }))?;
        let place = place(&url);
        let retry = |reason: String| failed(Outcome::Retry { reason: format!("{place}: {reason}"), after: None });
        let request = client.request(parts.method, url).headers(parts.headers).body(body.to_bytes());
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                return Err(match denied(&error) {
                    Some(denied) => failed(Outcome::Paused { reason: denied.to_string() }),
                    None => retry(causes(&error.without_url())),
                });
            }
        };
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        if !status.is_success() {
            let words = read(response, WORDS_BYTES_MAX).await.unwrap_or_default();
            return Err(failed(answered(&place, status, retry_after(&headers, Utc::now()), &String::from_utf8_lossy(&words))));
        }
        // Nothing that this sender asks for is answered at length.
        let answer: Bytes = read(response, WORDS_BYTES_MAX).await.map_err(|error| retry(causes(&error.without_url())))?.into();
        let length = answer.len() as u64;
        let mut response = http::Response::new(HttpBody::new(futures::stream::iter([Ok(Buffer::from(answer))]), Some(length)));
        (*response.status_mut(), *response.headers_mut()) = (status, headers);
        Ok(response)
    }
}

/// What an answer that is no success says of an object: its status, and S3's own code where that says more
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>).
fn answered(place: &str, status: StatusCode, after: Option<std::time::Duration>, words: &str) -> Outcome {
    let code = words.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map_or("", |(code, _)| code);
    let message = words.split_once("<Message>").and_then(|(_, rest)| rest.split_once("</Message>")).map_or("", |(message, _)| message);
    let reason =
        [code, message].iter().filter(|text| !text.is_empty()).fold(format!("{place} answers {status}"), |text, more| format!("{text}: {more}"));
    match (status.as_u16(), code) {
        // It took too long to come.
        (408 | 425 | 429 | 500.., _) | (_, "RequestTimeout" | "OperationAborted" | "SlowDown") => Outcome::Retry { reason, after },
        (413, _) | (_, "EntityTooLarge") => Outcome::Rejected { reason },
        (_, "RequestTimeTooSkewed") => Outcome::Paused { reason: format!("{reason}; set this node's clock") },
        (401 | 403, _) => Outcome::Paused { reason: format!("{reason}; check the sender's keys, and their right to write (s3:PutObject) there") },
        (404, _) => Outcome::Paused { reason: format!("{reason}; make the bucket, or mend the sender's endpoint and bucket") },
        (300..=399, _) => Outcome::Paused { reason: format!("{reason}; redirects are not followed: write the endpoint and region of the bucket") },
        // No object is refused for what its records say.
        _ => Outcome::Paused { reason: format!("{reason}; check the sender's endpoint, region and bucket") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_retried_pauses_or_speaks_of_the_size() {
        let of = |status: u16, words: &str| match answered("http://s3", StatusCode::from_u16(status).unwrap(), None, words) {
            Outcome::Retry { .. } => "retry",
            Outcome::Paused { .. } => "paused",
            Outcome::Rejected { .. } => "rejected",
            other => panic!("{other:?}"),
        };
        assert_eq!([408, 429, 500, 502, 503, 504].map(|status| of(status, "")), ["retry"; 6]);
        assert_eq!([301, 400, 401, 403, 404, 405, 412, 422].map(|status| of(status, "")), ["paused"; 8]);
        assert_eq!(of(413, ""), "rejected");
        assert_eq!(of(400, "<Error><Code>EntityTooLarge</Code></Error>"), "rejected");
        assert_eq!(of(400, "<Error><Code>RequestTimeout</Code></Error>"), "retry");
        assert_eq!(of(409, "<Error><Code>OperationAborted</Code></Error>"), "retry");
        assert_eq!(of(403, "<Error><Code>RequestTimeTooSkewed</Code></Error>"), "paused");
    }
}
