//! Follows a growing remote file by Range (RFC 9110 section 14): any web server that serves files is a source.
//!
//! Each request begins ≤ 256 bytes before the place to go on from. If the answer does not begin with the bytes that were read there, or the file has become
//! shorter, twice running, it was truncated or replaced: then its new content is read from 0. ETag and Last-Modified are not needed for that, and servers
//! make them in too many ways.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use logvine_cluster::{
    checkpoint::{FileKey, FileName, HEAD_BYTES_MAX, MARKER_BYTES_MAX, Position, hash64},
    spec::{HttpReaderSpec, SourceSpec, StartAt},
};
use reqwest::{
    Response, StatusCode, Url,
    header::{ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_RANGE, HeaderMap, LOCATION, RANGE},
};
use tokio::time::Instant;

use super::{BACKOFF_MAX, CHUNK_BYTES_MAX, Read, ReadError, Reader, lines::Framing, tail::Tail};
use crate::{
    policy::{Dialer, Policy, denied},
    secret,
};

/// A host that does not answer a connection in this time is down or filtered.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// An answer that stalls for this long is given up; what came of it counts.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Answers running that must find the file shorter or other than it was: one may come from a cache, or from a replica that is behind.
const DOUBTS_MAX: u32 = 2;
/// Bytes at the end of a file in which its last line end is looked for, to begin there.
const LAST_LINE_BYTES_MAX: u64 = 64 << 10;

/// What all `http` sources of an instance share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpReaders {
    dialer: Dialer,
    start_at: StartAt,
    poll: Duration,
    framing: Framing,
}

impl HttpReaders {
    /// Errors: a header is malformed, or one that the reader sets itself. Blocks on the disk (secrets, TLS roots).
    pub fn new(spec: &HttpReaderSpec, policy: Arc<Policy>) -> Result<Self, ReadError> {
        let headers = headers(spec, &policy)?;
        let dialer = Dialer::new(policy, |builder| {
            builder
                .connect_timeout(CONNECT_TIMEOUT)
                .read_timeout(STALL_TIMEOUT)
                .user_agent(concat!("logvine/", env!("CARGO_PKG_VERSION")))
                .default_headers(headers.clone())
        });
        let dialer = dialer.map_err(|error| ReadError::new(format!("cannot make an HTTP client: {}", causes(&error))))?;
        let framing = Framing::new(spec.line_bytes_max, spec.encoding, spec.multiline.as_ref())?;
        Ok(Self { dialer, start_at: spec.start_at, poll: Duration::from_millis(spec.poll_ms), framing })
    }

    /// The same, for sources that are read from their beginning whatever the spec says of those that were never read.
    #[must_use]
    pub fn from_beginning(self) -> Self {
        Self { start_at: StartAt::Beginning, ..self }
    }

    /// Follows `source` from `resume` (of `Checkpoint::resume`) on; None: from the spec's `start_at`. Errors: the URL is malformed or forbidden.
    pub fn open(&self, source: &SourceSpec, resume: Option<(FileKey, Position)>) -> Result<HttpReader, ReadError> {
        let url: Url = source.url.parse().map_err(|error| ReadError::new(format!("`{}` is not a URL: {error}", source.url)))?;
        self.dialer.client(&url).map_err(|denied| ReadError::new(denied.to_string()))?;
        let state = match (resume, self.start_at) {
            (Some((key, position)), _) => State::Resuming(key, position),
            (None, StartAt::Beginning) => State::Following,
            (None, StartAt::End) => State::Ending,
        };
        Ok(HttpReader {
            shared: self.clone(),
            shown: shown(&url),
            url,
            tail: Tail::new(&self.framing),
            state,
            doubts: 0,
            ready: VecDeque::new(),
            wake: Instant::now(),
            backoff: Duration::ZERO,
            lag: 0,
        })
    }
}

/// Follows one remote file.
#[derive(Debug)]
pub struct HttpReader {
    shared: HttpReaders,
    url: Url,
    /// The URL without what may be secret in it.
    shown: String,
    tail: Tail,
    state: State,
    /// Answers running that did not fit what was read before.
    doubts: u32,
    /// What is to be said before the file is asked for again.
    ready: VecDeque<Read>,
    /// When to ask again.
    wake: Instant,
    backoff: Duration,
    lag: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Following,
    /// Not asked yet; of the bytes before the position only the marker is known.
    Resuming(FileKey, Position),
    /// Not asked yet, and to begin at the file's end.
    Ending,
}

/// What a server has of the range that it was asked for.
enum Part {
    /// The bytes from where they were asked for, as many as came; the file's size where it was told; whether fewer came than were promised, and why.
    Bytes { bytes: Bytes, size: Option<u64>, broken: Option<String> },
    /// The file ends before the range begins.
    Beyond,
}

impl HttpReader {
    async fn step(&mut self) -> Result<Option<Read>, ReadError> {
        match self.state {
            State::Following => self.follow().await,
            State::Resuming(key, position) => self.resume(key, position).await,
            State::Ending => self.begin_at_end().await,
        }
    }

    async fn follow(&mut self) -> Result<Option<Read>, ReadError> {
        let recent = self.tail.recent().len();
        let from = self.tail.offset() - recent as u64;
        match self.ask(from, recent + CHUNK_BYTES_MAX).await? {
            Part::Beyond if self.tail.offset() == 0 => Ok(Some(self.at_end())),
            Part::Beyond => Ok(self.doubt()),
            Part::Bytes { bytes, size, broken } if bytes.starts_with(self.tail.recent()) => {
                self.doubts = 0;
                let block = self.tail.whole_units(&bytes.slice(recent..));
                let end = self.tail.offset() + block.len() as u64;
                self.lag = size.map_or(0, |size| size.saturating_sub(end));
                match (block.is_empty(), broken) {
                    (false, _) => Ok(self.tail.take(block).map(Read::Chunk)),
                    (true, None) => Ok(Some(self.tail.flush_waiting().map_or_else(|| self.at_end(), Read::Chunk))),
                    (true, Some(broken)) => Err(self.error(format_args!("its answer broke off: {broken}"))),
                }
            }
            // What came of a broken answer may be too little to compare.
            Part::Bytes { broken: Some(broken), .. } => Err(self.error(format_args!("its answer broke off: {broken}"))),
            Part::Bytes { .. } => Ok(self.doubt()),
        }
    }

    /// Looks whether the file is still the one that was read up to `position`, here or on another node.
    async fn resume(&mut self, key: FileKey, position: Position) -> Result<Option<Read>, ReadError> {
        let most = position.offset.min(MARKER_BYTES_MAX);
        let before = match most {
            0 => Bytes::new(),
            _ => self.ask_whole(position.offset - most, most).await?,
        };
        // Before the first byte there is no marker: only the head tells.
        let head = match most {
            0 => self.ask_whole(0, u64::from(key.name.head_bytes)).await?,
            _ => Bytes::new(),
        };
        let same = before.len() as u64 == most && hash64(&before) == position.marker && (most > 0 || FileName::of(&head) == Some(key.name));
        self.tail = Tail::resumed(&self.shared.framing, key, position.offset, &before);
        if same {
            self.state = State::Following;
            self.doubts = 0;
            return Ok(None);
        }
        Ok(self.doubt())
    }

    /// Begins after the last whole line that is there now.
    async fn begin_at_end(&mut self) -> Result<Option<Read>, ReadError> {
        let (head, size) = match self.ask(0, HEAD_BYTES_MAX).await? {
            Part::Beyond => {
                // What comes after the start is new.
                self.state = State::Following;
                return Ok(Some(self.at_end()));
            }
            Part::Bytes { bytes, size: Some(size), broken: None } => (bytes, size),
            Part::Bytes { size: None, .. } => {
                return Err(self.error(format_args!("it does not tell its size, so its end cannot be found; use start_at = \"beginning\"")));
            }
            Part::Bytes { broken: Some(broken), .. } => return Err(self.error(format_args!("its answer broke off: {broken}"))),
        };
        let from = size.saturating_sub(LAST_LINE_BYTES_MAX);
        let last = self.ask_whole(from, size - from).await?;
        let end = self.shared.framing.last_line_end(from, &last).and_then(|end| usize::try_from(end - from).ok());
        let end = end.unwrap_or(if from == 0 { 0 } else { last.len() });
        if let Some(name) = FileName::of(&head) {
            self.tail = Tail::resumed(&self.shared.framing, FileKey { lineage: 0, name }, from + end as u64, &last[..end]);
        }
        self.state = State::Following;
        Ok(self.tail.here().map(Read::Chunk))
    }

    fn at_end(&mut self) -> Read {
        self.lag = 0;
        let poll = Instant::now() + self.shared.poll;
        self.wake = self.tail.due().map_or(poll, |due| due.min(poll));
        Read::AtEnd
    }

    /// The answer does not fit what was read. If the next one does not either, the file is another one.
    fn doubt(&mut self) -> Option<Read> {
        self.doubts += 1;
        self.wake = Instant::now() + self.shared.poll;
        if self.doubts < DOUBTS_MAX {
            return Some(Read::AtEnd);
        }
        self.doubts = 0;
        self.state = State::Following;
        // What it held past the last position is not at this URL any more.
        self.tail.rotate(true, &mut self.ready);
        None
    }

    /// Asks for a range of at most [`LAST_LINE_BYTES_MAX`], and for no less: fewer bytes only where the file ends.
    async fn ask_whole(&self, from: u64, most: u64) -> Result<Bytes, ReadError> {
        match self.ask(from, usize::try_from(most).unwrap_or(CHUNK_BYTES_MAX)).await? {
            Part::Beyond => Ok(Bytes::new()),
            Part::Bytes { bytes, broken: None, .. } => Ok(bytes),
            Part::Bytes { broken: Some(broken), .. } => Err(self.error(format_args!("its answer broke off: {broken}"))),
        }
    }

    async fn ask(&self, from: u64, most: usize) -> Result<Part, ReadError> {
        let client = self.shared.dialer.client(&self.url).map_err(|denied| ReadError::new(denied.to_string()))?;
        let range = format!("bytes={from}-{}", from + most as u64 - 1);
        let request = client.get(self.url.clone()).header(RANGE, range).header(ACCEPT_ENCODING, "identity");
        let response = request.send().await.map_err(|error| match denied(&error) {
            Some(denied) => ReadError::new(denied.to_string()),
            None => self.error(format_args!("{}", causes(&error))),
        })?;
        if let Some(encoding) = response.headers().get(CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
            return Err(
                self.error(format_args!("it is sent compressed ({encoding:?}) though that was not asked for; let the server send it as it is"))
            );
        }
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let (first, last, size) = content_range(response.headers())
                    .ok_or_else(|| self.error(format_args!("its answer 206 has no Content-Range with the one range that was asked for")))?;
                if first != from {
                    return Err(self.error(format_args!("it was asked for the bytes from {from} on and sent those from {first} on")));
                }
                let promised = usize::try_from(last + 1 - first).unwrap_or(most).min(most);
                Ok(body(response, promised, size).await)
            }
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(Part::Beyond),
            // A range that is the whole file may be answered as such by a server that knows Range.
            StatusCode::OK if response.content_length() == Some(0) => Ok(Part::Bytes { bytes: Bytes::new(), size: Some(0), broken: None }),
            StatusCode::OK if from == 0 && accepts_ranges(&response) && response.content_length().is_some_and(|length| length <= most as u64) => {
                let size = response.content_length();
                let promised = size.and_then(|size| usize::try_from(size).ok()).unwrap_or(most);
                Ok(body(response, promised, size).await)
            }
            status => Err(self.refused(status, response.headers())),
        }
    }

    fn refused(&self, status: StatusCode, headers: &HeaderMap) -> ReadError {
        match status {
            StatusCode::OK => self.error(format_args!(
                "the server does not support Range requests for it (it answered 200 with all of the file); let the server serve it as a static file"
            )),
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                self.error(format_args!("the server answers {status}: there is no such file (yet); it is asked again until there is one"))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                self.error(format_args!("the server answers {status}: let it allow this node, or give credentials under `headers` of the reader"))
            }
            status if status.is_redirection() => {
                let to = headers.get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("nowhere");
                self.error(format_args!("the server answers {status} and leads to {to}; redirects are not followed: name that URL instead"))
            }
            status => self.error(format_args!("the server answers {status}")),
        }
    }

    fn error(&self, what: std::fmt::Arguments<'_>) -> ReadError {
        ReadError::new(format!("cannot read {}: {what}", self.shown))
    }
}

impl Reader for HttpReader {
    async fn next(&mut self) -> Result<Read, ReadError> {
        loop {
            if let Some(read) = self.ready.pop_front() {
                return Ok(read);
            }
            tokio::time::sleep_until(self.wake).await;
            match self.step().await {
                Ok(read) => {
                    self.backoff = Duration::ZERO;
                    if let Some(read) = read {
                        return Ok(read);
                    }
                }
                Err(error) => {
                    self.backoff = (self.backoff * 2).clamp(self.shared.poll, BACKOFF_MAX.max(self.shared.poll));
                    self.wake = Instant::now() + self.backoff;
                    return Err(error);
                }
            }
        }
    }

    fn lag_bytes(&self) -> u64 {
        self.lag
    }
}

/// Takes at most `promised` bytes. Those that came before the connection broke are as good as others.
async fn body(mut response: Response, promised: usize, size: Option<u64>) -> Part {
    let mut bytes = BytesMut::new();
    let mut broken = None;
    while bytes.len() < promised {
        match response.chunk().await {
            Ok(Some(more)) => bytes.extend_from_slice(&more[..more.len().min(promised - bytes.len())]),
            Ok(None) => {
                broken = Some(format!("{} of {promised} bytes came", bytes.len()));
                break;
            }
            Err(error) => {
                broken = Some(causes(&error));
                break;
            }
        }
    }
    Part::Bytes { bytes: bytes.freeze(), size, broken }
}

/// First and last byte and the size, of `bytes 0-9/10` (RFC 9110 section 14.4); the size may be `*`.
fn content_range(headers: &HeaderMap) -> Option<(u64, u64, Option<u64>)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    let size = if size == "*" { None } else { Some(size.parse().ok()?) };
    (first <= last && last < u64::MAX && size.is_none_or(|size| last < size)).then_some((first, last, size))
}

fn accepts_ranges(response: &Response) -> bool {
    response.headers().get(ACCEPT_RANGES).is_some_and(|unit| unit == "bytes")
}

fn headers(spec: &HttpReaderSpec, policy: &Policy) -> Result<HeaderMap, ReadError> {
    let headers = secret::headers(policy, &spec.headers).map_err(ReadError::new)?;
    match headers.keys().find(|name| [RANGE, ACCEPT_ENCODING].contains(name)) {
        Some(name) => Err(ReadError::new(format!("header `{name}` is set by the reader itself: leave it out"))),
        None => Ok(headers),
    }
}

/// A URL without user, password and query.
fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// An error with its causes. reqwest's own text names the URL, with what may be secret in it.
fn causes(error: &reqwest::Error) -> String {
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    let mut told = Vec::new();
    while let Some(error) = cause {
        told.push(error.to_string());
        cause = error.source();
    }
    match (told.last(), error.is_timeout()) {
        (_, true) => "no answer in time".to_owned(),
        (Some(last), _) => last.clone(),
        (None, _) => "the request failed".to_owned(),
    }
}

#[cfg(test)]
mod tests;
