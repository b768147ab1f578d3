//! Lines over HTTP: `POST` to any path, NDJSON or plain, gzip or not.
//!
//! | answer | when |
//! |---|---|
//! | 200 `{"records": N}` | they are safe on this node's disk |
//! | 401 | without the token |
//! | 405 | not `POST` |
//! | 413 | the body is over the bound, or would be once unpacked: none of it was taken |
//! | 400, 415 | it cannot be unpacked, or is packed otherwise |
//! | 429, `Retry-After` | the disk queue is full: none of it was taken |
//! | 503, `Retry-After` | the disk takes nothing now: post it again |

use std::{convert::Infallible, io::Read, sync::Arc, time::Duration};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, RETRY_AFTER, WWW_AUTHENTICATE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use logvine_cluster::spec::HttpPushReaderSpec;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet, time::timeout};

use super::{
    desk::{Desk, RETRY_AFTER as LOOK_AGAIN},
    framing::Framer,
    listen::{accepted, acceptor, bound, shaken},
};
use crate::{
    queue::{Entry, PushError, Queue},
    secret,
};

/// A full queue empties as its senders go: soon enough to try again.
const RETRY_AFTER_S: u64 = 5;
const CONNECTIONS_MAX: usize = 256;
/// Bodies in memory at once.
const BODIES_MAX: usize = 16;
/// For a head, from its first byte to its last; and for a body.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
const BODY_PATIENCE: Duration = Duration::from_secs(60);

type Answer = Response<Full<Bytes>>;

struct Door {
    desk: Arc<Desk>,
    queue: Arc<Queue>,
    /// SHA-256, so that to compare tells nothing of it.
    token: Option<[u8; 32]>,
    body_bytes_max: usize,
    line_bytes_max: usize,
    bodies: Semaphore,
}

/// Takes in until it is dropped.
pub(super) async fn run(spec: &HttpPushReaderSpec, desk: &Arc<Desk>, queue: &Arc<Queue>) {
    let token = match &spec.token {
        Some(token) => Some(resolved(desk, token).await),
        None => None,
    };
    let door = Arc::new(Door {
        desk: desk.clone(),
        queue: queue.clone(),
        token: token.map(|token| Sha256::digest(token).into()),
        body_bytes_max: spec.body_bytes_max,
        line_bytes_max: spec.line_bytes_max,
        bodies: Semaphore::new(BODIES_MAX),
    });
    let acceptor = match (&spec.certificate, &spec.key) {
        (Some(certificate), Some(key)) => Some(acceptor(desk, certificate, key).await),
        _ => None,
    };
    let listener = bound(desk, "http", &spec.listen, TcpListener::bind).await;
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut tasks = JoinSet::new();
    loop {
        let permit = connections.clone().acquire_owned().await.expect("it is never closed");
        let stream = accepted(desk, "http", &listener).await;
        while tasks.try_join_next().is_some() {}
        let (door, acceptor) = (door.clone(), acceptor.clone());
        tasks.spawn(async move {
            let _permit = permit;
            let Ok(stream) = shaken(acceptor.as_ref(), stream).await else { return };
            let service = service_fn(|request| {
                let door = door.clone();
                async move { Ok::<_, Infallible>(door.take(request).await) }
            });
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE);
            // What was answered is known; a connection that ends without an answer has its sender post again.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// The token, as soon as it can be had.
async fn resolved(desk: &Desk, token: &str) -> String {
    loop {
        let (policy, token) = (desk.policy.clone(), token.to_owned());
        let found = tokio::task::spawn_blocking(move || secret::resolve(&policy, &token)).await;
        match found.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(token) if !token.is_empty() => {
                desk.note("token", None);
                return token;
            }
            Ok(_) => desk.note("token", Some("token: it is empty, which would let everybody in".to_owned())),
            Err(text) => desk.note("token", Some(format!("token: {text}"))),
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

impl Door {
    async fn take(&self, request: Request<Incoming>) -> Answer {
        if !self.admits(request.headers()) {
            let mut answer = refusal(StatusCode::UNAUTHORIZED, "show the reader's token: Authorization: Bearer TOKEN");
            answer.headers_mut().insert(WWW_AUTHENTICATE, "Bearer".parse().expect("a header"));
            return answer;
        }
        if request.method() != Method::POST {
            let mut answer = refusal(StatusCode::METHOD_NOT_ALLOWED, "POST lines here");
            answer.headers_mut().insert(ALLOW, "POST".parse().expect("a header"));
            return answer;
        }
        let packed = match request.headers().get(CONTENT_ENCODING).map(|encoding| encoding.as_bytes().to_ascii_lowercase()) {
            None => false,
            Some(encoding) if encoding == b"identity" => false,
            Some(encoding) if encoding == b"gzip" || encoding == b"x-gzip" => true,
            Some(_) => return refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send it plain, or with Content-Encoding: gzip"),
        };
        let _body = self.bodies.acquire().await.expect("it is never closed");
        let body = match timeout(BODY_PATIENCE, Limited::new(request.into_body(), self.body_bytes_max).collect()).await {
            Err(_) => return refusal(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
            Ok(Err(error)) if error.is::<LengthLimitError>() => return self.too_long(),
            Ok(Err(error)) => return refusal(StatusCode::BAD_REQUEST, &format!("the body cannot be read: {error}")),
            Ok(Ok(body)) => body.to_bytes(),
        };
        let (most, line_bytes_max) = (self.body_bytes_max, self.line_bytes_max);
        // Unpacking takes long enough to leave the async threads alone.
        let entries = tokio::task::spawn_blocking(move || unpacked(body, packed, most).map(|body| lines(&body, line_bytes_max))).await;
        match entries.unwrap_or_else(|error| Err(Unpacking::Broken(error.to_string()))) {
            Ok(entries) => self.push(entries).await,
            Err(Unpacking::TooLong) => self.too_long(),
            Err(Unpacking::Broken(error)) => {
                refusal(StatusCode::BAD_REQUEST, &format!("the body is not gzip, as its Content-Encoding says: {error}"))
            }
        }
    }

    async fn push(&self, entries: Vec<Entry>) -> Answer {
        let records = entries.len();
        let again = |status, text: &str| {
            let mut answer = refusal(status, text);
            answer.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S.into());
            answer
        };
        match self.queue.push(entries).await {
            Ok(()) => {
                self.desk.note("queue", None);
                said(StatusCode::OK, &json!({ "records": records }))
            }
            Err(full @ PushError::Full { .. }) => {
                self.desk.note("queue", Some(full.to_string()));
                again(StatusCode::TOO_MANY_REQUESTS, &full.to_string())
            }
            Err(error) => {
                self.desk.note("queue", Some(error.to_string()));
                again(StatusCode::SERVICE_UNAVAILABLE, "the disk queue takes nothing now: post it again")
            }
        }
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let shown = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        shown.is_some_and(|shown| Sha256::digest(shown)[..] == token[..])
    }

    fn too_long(&self) -> Answer {
        let text = format!("the body is over {} bytes (body_bytes_max), unpacked: post it in parts", self.body_bytes_max);
        refusal(StatusCode::PAYLOAD_TOO_LARGE, &text)
    }
}

fn refusal(status: StatusCode, text: &str) -> Answer {
    said(status, &json!({ "error": text }))
}

fn said(status: StatusCode, body: &serde_json::Value) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(format!("{body}\n"))));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, "application/json".parse().expect("a header"));
    answer
}

/// Why a body was not unpacked.
#[derive(Debug)]
enum Unpacking {
    TooLong,
    Broken(String),
}

fn unpacked(body: Bytes, packed: bool, most: usize) -> Result<Bytes, Unpacking> {
    if !packed {
        return Ok(body);
    }
    let mut plain = Vec::new();
    let read = MultiGzDecoder::new(&body[..]).take(most as u64 + 1).read_to_end(&mut plain);
    match read {
        Err(error) => Err(Unpacking::Broken(error.to_string())),
        Ok(bytes) if bytes > most => Err(Unpacking::TooLong),
        Ok(_) => Ok(plain.into()),
    }
}

fn lines(body: &Bytes, line_bytes_max: usize) -> Vec<Entry> {
    let mut framer = Framer::lines(line_bytes_max);
    let mut entries = framer.push(body);
    entries.extend(framer.finish());
    entries
}
