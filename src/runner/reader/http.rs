//! Follows a growing remote file by Range (RFC 9110 section 14): any web server that serves files is a source.
//!
//! Each request begins ≤ 256 bytes before the place to go on from. If the answer does not begin with the bytes that were read there, or the file has become
//! shorter, twice running, it was truncated or replaced: then the rest of what was read is looked for at the source's `rotated` URLs, and what came after it
//! there is read, oldest first, before the new content. ETag and Last-Modified are not needed for that, and servers make them in too many ways.
//!
//! ```text
//!            does not fit, twice          found at rotated[n]                       to its end, and quiet
//! at `url` ─────────────────────> search ────────────────────> at rotated[n] ──────────────────────────────> at rotated[n - 1] … at `url`
//!                                    └── found nowhere: a gap ──> at `url`, from 0
//! ```
//! Another rotation may come at any time: before the next of them is begun, the one before it must still be where it was.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use logvine_cluster::{
    checkpoint::{FileKey, FileName, HEAD_BYTES_MAX, MARKER_BYTES_MAX, Position, hash64},
    spec::{HttpReaderSpec, SourceSpec, StartAt},
};
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, RANGE};
use tokio::time::Instant;

use self::remote::{Part, Remote};
pub(super) use self::remote::{causes, shown};
use super::{BACKOFF_MAX, CHUNK_BYTES_MAX, Read, ReadError, Reader, lines::Framing, tail::Tail};
use crate::{
    budget::Room,
    policy::{Dialer, Policy},
    secret,
};

mod remote;

/// A host that does not answer a connection in this time is down or filtered.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// An answer that stalls for this long is given up; what came of it counts.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Answers running that must find the file shorter or other than it was: one may come from a cache, or from a replica that is behind.
const DOUBTS_MAX: u32 = 2;
/// Looks without a change after which a file that was rotated last is final: its writer may go on until it is told to reopen.
const QUIET_LOOKS: u32 = 4;
/// The pause between these, where the source is asked more seldom.
const QUIET_POLL: Duration = Duration::from_millis(500);
/// Bytes at the end of a file in which its last line end is looked for, to begin there.
const LAST_LINE_BYTES_MAX: u64 = 64 << 10;

/// What all `http` sources of an instance share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpReaders {
    dialer: Dialer,
    start_at: StartAt,
    poll: Duration,
    framing: Framing,
    has_headers: bool,
    /// The counter of the epoch by which it is read.
    counter: u64,
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
        Ok(Self {
            dialer,
            start_at: spec.start_at,
            poll: Duration::from_millis(spec.poll_ms),
            framing,
            has_headers: !spec.headers.is_empty(),
            counter: 0,
        })
    }

    /// The same, for sources that are read from their beginning whatever the spec says of those that were never read.
    #[must_use]
    pub fn from_beginning(self) -> Self {
        Self { start_at: StartAt::Beginning, ..self }
    }

    /// The same, for the owner by an epoch with this counter.
    #[must_use]
    pub fn under(self, counter: u64) -> Self {
        Self { counter, ..self }
    }

    fn resumed(&self, key: FileKey, offset: u64, before: &[u8]) -> Tail {
        Tail::resumed(&self.framing, key, offset, before).under(self.counter)
    }

    /// Follows `source` from `resume` (of `Checkpoint::resume`) on; None: from the spec's `start_at`. Errors: the URL is malformed or forbidden.
    pub fn open(&self, source: &SourceSpec, resume: Option<(FileKey, Position)>) -> Result<HttpReader, ReadError> {
        let urls = std::iter::once(&source.url).chain(&source.rotated);
        let places = urls.map(|url| Remote::new(&self.dialer, url, self.has_headers)).collect::<Result<_, _>>()?;
        let state = match (resume, self.start_at) {
            (Some((key, position)), _) => State::Resuming(key, position),
            (None, StartAt::Beginning) => State::Following,
            (None, StartAt::End) => State::Ending,
        };
        Ok(HttpReader {
            shared: self.clone(),
            places,
            at: 0,
            quiet: 0,
            tail: Tail::new(&self.framing).under(self.counter),
            state,
            doubts: 0,
            ready: VecDeque::new(),
            wake: Instant::now(),
            backoff: Duration::ZERO,
            lag: 0,
            more: None,
            room: Room::default(),
        })
    }
}

/// Follows one remote file.
#[derive(Debug)]
pub struct HttpReader {
    shared: HttpReaders,
    /// Where the file is, then where it is found after one rotation, two, and so on.
    places: Vec<Remote>,
    /// Which of them is being read.
    at: usize,
    /// Looks running that found nothing new there.
    quiet: u32,
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
    /// Whether the last answer had all that was asked for; None: there was none yet.
    more: Option<bool>,
    room: Room,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Following,
    /// Not asked yet; of the bytes before the position only the marker is known.
    Resuming(FileKey, Position),
    /// The file is not where it was: it is looked for where rotations put it.
    Searching(FileKey, Position),
    /// Not asked yet, and to begin at the file's end.
    Ending,
}

impl HttpReader {
    async fn step(&mut self) -> Result<Option<Read>, ReadError> {
        match self.state {
            State::Following => self.follow().await,
            State::Resuming(key, position) => self.resume(key, position).await,
            State::Searching(key, position) => self.search(key, position).await,
            State::Ending => self.begin_at_end().await,
        }
    }

    /// What it may read.
    pub(crate) fn room(&mut self) -> &mut Room {
        &mut self.room
    }

    fn place(&self) -> &Remote {
        &self.places[self.at]
    }

    async fn follow(&mut self) -> Result<Option<Read>, ReadError> {
        let recent = self.tail.recent().len();
        let from = self.tail.offset() - recent as u64;
        let most = match self.more {
            // Nothing is held while a slow server says that there is nothing.
            Some(false) => self.room.glance(),
            more => self.room.take(more.is_some()).await,
        };
        match self.place().ask(from, recent + most).await? {
            Part::Beyond if self.tail.offset() == 0 => self.at_end().await,
            Part::Missing(_) if self.tail.offset() == 0 && self.at > 0 => self.at_end().await,
            Part::Missing(status) if self.at == 0 => Err(self.place().missing(status)),
            Part::Beyond | Part::Missing(_) => Ok(self.doubt()),
            Part::Bytes { bytes, size, broken } if bytes.starts_with(self.tail.recent()) => {
                self.doubts = 0;
                let block = self.tail.whole_units(&bytes.slice(recent..));
                let end = self.tail.offset() + block.len() as u64;
                self.lag = size.map_or(0, |size| size.saturating_sub(end));
                self.more = Some(bytes.len() == recent + most);
                match (block.is_empty(), broken) {
                    (false, _) => Ok(self.take(block)),
                    (true, None) => self.at_end().await,
                    (true, Some(broken)) => Err(self.place().broke_off(&broken)),
                }
            }
            // What came of a broken answer may be too little to compare.
            Part::Bytes { broken: Some(broken), .. } => Err(self.place().broke_off(&broken)),
            Part::Bytes { .. } => Ok(self.doubt()),
        }
    }

    fn take(&mut self, block: Bytes) -> Option<Read> {
        self.quiet = 0;
        self.tail.take(block).map(Read::Chunk)
    }

    /// Looks whether the file is still the one that was read up to `position`, here or on another node.
    async fn resume(&mut self, key: FileKey, position: Position) -> Result<Option<Read>, ReadError> {
        let before = same(self.place(), key, position).await?;
        self.tail = self.shared.resumed(key, position.offset, before.as_deref().unwrap_or_default());
        if before.is_some() {
            self.state = State::Following;
            self.doubts = 0;
            return Ok(None);
        }
        Ok(self.doubt())
    }

    /// Looks where rotations put the file, the newest first, and at its own place again.
    async fn search(&mut self, key: FileKey, position: Position) -> Result<Option<Read>, ReadError> {
        for at in (1..self.places.len()).chain([0]) {
            if let Some(before) = same(&self.places[at], key, position).await? {
                if self.tail.recent() != before {
                    self.tail = self.shared.resumed(key, position.offset, &before);
                }
                (self.at, self.quiet, self.state) = (at, 0, State::Following);
                return Ok(None);
            }
        }
        // What it held past the last position is nowhere any more. Where it was a rotated one that has been pushed off the end, all that are left came after it.
        self.at = if self.at > 0 { self.places.len() - 1 } else { 0 };
        self.state = State::Following;
        self.tail.rotate(true, &mut self.ready);
        Ok(None)
    }

    /// Goes on with the file that was begun when this one was rotated. What comes of that one counts only if this one is still where it was afterwards: else
    /// there was another rotation meanwhile, and it was another file.
    async fn go_on(&mut self) -> Result<Option<Read>, ReadError> {
        let next = match self.places[self.at - 1].ask(0, self.room.glance()).await? {
            Part::Bytes { bytes, .. } => self.tail.whole_units(&bytes),
            Part::Beyond => Bytes::new(),
            Part::Missing(status) => return Err(self.places[self.at - 1].missing(status)),
        };
        if let Some(key) = self.tail.key() {
            let here = Position { offset: self.tail.offset(), marker: hash64(self.tail.recent()) };
            if same(self.place(), key, here).await?.is_none() {
                self.state = State::Searching(key, here);
                return Ok(None);
            }
        }
        self.at -= 1;
        self.tail.rotate(false, &mut self.ready);
        if !next.is_empty() {
            let chunk = self.take(next);
            self.ready.extend(chunk);
        }
        self.quiet = 0;
        Ok(None)
    }

    /// Begins after the last whole line that is there now.
    async fn begin_at_end(&mut self) -> Result<Option<Read>, ReadError> {
        let (head, size) = match self.place().ask(0, HEAD_BYTES_MAX).await? {
            Part::Beyond => {
                // What comes after the start is new.
                self.state = State::Following;
                return self.at_end().await;
            }
            Part::Missing(status) => return Err(self.place().missing(status)),
            Part::Bytes { bytes, size: Some(size), broken: None } => (bytes, size),
            Part::Bytes { size: None, .. } => {
                return Err(self.place().error(format_args!("it does not tell its size, so its end cannot be found; use start_at = \"beginning\"")));
            }
            Part::Bytes { broken: Some(broken), .. } => return Err(self.place().broke_off(&broken)),
        };
        let from = size.saturating_sub(LAST_LINE_BYTES_MAX);
        let last = self.place().ask_whole(from, size - from).await?;
        let end = self.shared.framing.last_line_end(from, &last).and_then(|end| usize::try_from(end - from).ok());
        let end = end.unwrap_or(if from == 0 { 0 } else { last.len() });
        if let Some(name) = FileName::of(&head) {
            let key = FileKey { lineage: 0, named: self.shared.counter, name };
            self.tail = self.shared.resumed(key, from + end as u64, &last[..end]);
        }
        self.state = State::Following;
        Ok(self.tail.here().map(Read::Chunk))
    }

    async fn at_end(&mut self) -> Result<Option<Read>, ReadError> {
        (self.lag, self.more) = (0, Some(false));
        if let Some(chunk) = self.tail.flush_waiting() {
            return Ok(Some(Read::Chunk(chunk)));
        }
        let mut pause = self.shared.poll;
        if self.at > 0 {
            self.quiet += 1;
            // Only what was rotated last may still be written to.
            if self.at > 1 || self.quiet > QUIET_LOOKS {
                return self.go_on().await;
            }
            pause = pause.min(QUIET_POLL);
        }
        let poll = Instant::now() + pause;
        self.wake = self.tail.due().map_or(poll, |due| due.min(poll));
        Ok(Some(Read::AtEnd))
    }

    /// The answer does not fit what was read. If the next one does not either, the file is another one.
    fn doubt(&mut self) -> Option<Read> {
        self.doubts += 1;
        self.wake = Instant::now() + self.shared.poll.min(QUIET_POLL);
        if self.doubts < DOUBTS_MAX {
            return Some(Read::AtEnd);
        }
        self.doubts = 0;
        self.state = match (self.state, self.tail.key()) {
            (State::Resuming(key, position), _) => State::Searching(key, position),
            (_, Some(key)) => State::Searching(key, Position { offset: self.tail.offset(), marker: hash64(self.tail.recent()) }),
            (state, None) => state,
        };
        None
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

/// The bytes before `position`, if the file there is the one that was read up to it. Before the first byte there is no marker: only the head tells.
async fn same(place: &Remote, key: FileKey, position: Position) -> Result<Option<Bytes>, ReadError> {
    let most = position.offset.min(MARKER_BYTES_MAX);
    if most == 0 {
        let head = place.ask_whole(0, u64::from(key.name.head_bytes)).await?;
        return Ok((FileName::of(&head) == Some(key.name)).then(Bytes::new));
    }
    let before = place.ask_whole(position.offset - most, most).await?;
    Ok((before.len() as u64 == most && hash64(&before) == position.marker).then_some(before))
}

fn headers(spec: &HttpReaderSpec, policy: &Policy) -> Result<HeaderMap, ReadError> {
    let headers = secret::headers(policy, &spec.headers).map_err(ReadError::new)?;
    match headers.keys().find(|name| [RANGE, ACCEPT_ENCODING].contains(name)) {
        Some(name) => Err(ReadError::new(format!("header `{name}` is set by the reader itself: leave it out"))),
        None => Ok(headers),
    }
}

#[cfg(test)]
mod tests;
