//! Follows another host's journal, which systemd-journal-gatewayd(8) shows over HTTP.
//!
//! Within one reading it goes on from the last entry's cursor. What a checkpoint keeps of that is its time and twelve bits of its hash, as the
//! marker; the offset is the bytes of all entries before it in the export format, so that it only grows, whatever the host's clock does.
//!
//! ```text
//! resume ─seek by time─> the entry is there ─> on from it
//!                          └ not: looked for from the beginning (a clock was set back) ─> there: on from it
//!                                                        └ not: vacuumed; told and counted; on from the oldest that is left
//! ```

mod export;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures::FutureExt;
use logvine_cluster::{
    checkpoint::{FileKey, FileName, Position, hash64},
    spec::{JournalReaderSpec, SourceSpec, StartAt},
};
use reqwest::{
    Response, StatusCode, Url,
    header::{ACCEPT, RANGE},
};
use tokio::time::Instant;

use self::export::{Entry, Parser};
use super::{
    BACKOFF_MAX, CHUNK_BYTES_MAX, Read, ReadError, Reader,
    http::{causes, shown},
};
use crate::{
    policy::{Dialer, Policy, denied},
    record::{Chunk, Line},
    secret,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// An answer that stalls for this long is given up; what came of it counts.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Entries of one answer.
const ENTRIES_MAX: usize = 2_000;
const HASH_BITS: u32 = 12;

/// What all `journal` sources of an instance share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct JournalReaders {
    dialer: Dialer,
    start_at: StartAt,
    poll: Duration,
    bytes_max: usize,
    matches: Arc<Vec<(String, String)>>,
    /// The counter of the epoch by which it is read.
    counter: u64,
}

impl JournalReaders {
    /// Errors: a header is malformed. Blocks on the disk (secrets, TLS roots).
    pub fn new(spec: &JournalReaderSpec, policy: Arc<Policy>) -> Result<Self, ReadError> {
        let headers = secret::headers(&policy, &spec.headers).map_err(ReadError::new)?;
        let dialer = Dialer::new(policy, |builder| {
            let builder = builder.connect_timeout(CONNECT_TIMEOUT).read_timeout(STALL_TIMEOUT);
            builder.user_agent(concat!("logvine/", env!("CARGO_PKG_VERSION"))).default_headers(headers.clone())
        });
        let dialer = dialer.map_err(|error| ReadError::new(format!("cannot make an HTTP client: {}", causes(&error))))?;
        let matches = spec.matches.iter().map(|(field, value)| (field.clone(), value.clone())).collect();
        let poll = Duration::from_millis(spec.poll_ms);
        Ok(Self { dialer, start_at: spec.start_at, poll, bytes_max: spec.line_bytes_max, matches: Arc::new(matches), counter: 0 })
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

    /// Follows `source` from `resume` on; None: from the spec's `start_at`. Errors: the URL is malformed or forbidden.
    pub fn open(&self, source: &SourceSpec, resume: Option<(FileKey, Position)>) -> Result<JournalReader, ReadError> {
        let wrong = |error: &dyn std::fmt::Display| ReadError::new(format!("`{}` is not a gateway's URL: {error}", source.url));
        let mut url: Url = source.url.parse().map_err(|error| wrong(&error))?;
        self.dialer.client(&url).map_err(|denied| ReadError::new(denied.to_string()))?;
        url.path_segments_mut().map_err(|()| wrong(&"it has no path"))?.pop_if_empty().push("entries");
        if !self.matches.is_empty() {
            url.query_pairs_mut().clear().extend_pairs(self.matches.iter());
        }
        let place = match (resume, self.start_at) {
            (Some((_, position)), _) if position.offset > 0 => Place::Seeking(position.marker),
            (Some(_), _) | (None, StartAt::Beginning) => Place::Beginning,
            (None, StartAt::End) => Place::Ending(None),
        };
        let position = resume.map_or_else(Position::start, |(_, position)| position);
        Ok(JournalReader {
            shared: self.clone(),
            shown: shown(&url),
            url,
            key: resume.map(|(key, _)| key),
            position,
            place,
            answer: None,
            ready: VecDeque::new(),
            wake: Instant::now(),
            backoff: Duration::ZERO,
        })
    }
}

/// Follows one journal.
#[derive(Debug)]
pub struct JournalReader {
    shared: JournalReaders,
    url: Url,
    shown: String,
    /// None until its first entry was read.
    key: Option<FileKey>,
    /// After the last entry that was given.
    position: Position,
    place: Place,
    answer: Option<Answer>,
    ready: VecDeque<Result<Read, ReadError>>,
    wake: Instant,
    backoff: Duration,
}

/// Where it is in the journal, which says what to ask for and what to make of what comes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// Before the oldest entry that is there.
    Beginning,
    /// After the newest one that is there, so far this.
    Ending(Option<Box<Entry>>),
    /// Not asked yet; of the last entry only its mark is known.
    Seeking(u64),
    /// The entry of this mark was not where its time says. Whether the first of all was looked at.
    Scanning(u64, bool),
    /// At the first entry of this time, which is to be read with all after it.
    From(u64),
    /// After the entry of this cursor.
    After(String),
}

/// An answer that is being read.
#[derive(Debug)]
struct Answer {
    response: Response,
    parser: Parser,
    entries: usize,
}

/// What a checkpoint knows an entry by: its time, so that it can be sought, and a little of its hash, as many may have one time.
fn mark(entry: &Entry) -> u64 {
    entry.realtime << HASH_BITS | hash64(entry.cursor.as_bytes()) >> (u64::BITS - HASH_BITS)
}

fn time(mark: u64) -> u64 {
    mark >> HASH_BITS
}

impl Place {
    /// Of systemd-journal-gatewayd(8): `CURSOR:SKIP:COUNT`. A cursor that is only a time is one.
    fn range(&self) -> String {
        let most = ENTRIES_MAX;
        match self {
            Self::Beginning => format!("entries=:0:{most}"),
            // All that is there, in one answer.
            Self::Scanning(..) => "entries=:0:".to_owned(),
            Self::Ending(_) => format!("entries=:-1:{most}"),
            Self::Seeking(mark) => format!("entries=t={:x}:0:{most}", time(*mark)),
            Self::From(time) => format!("entries=t={time:x}:0:{most}"),
            Self::After(cursor) => format!("entries={cursor}:0:{most}"),
        }
    }
}

impl JournalReader {
    fn error(&self, why: impl std::fmt::Display) -> ReadError {
        ReadError::new(format!("cannot read {}: {why}", self.shown))
    }

    async fn ask(&mut self) -> Result<(), ReadError> {
        if let Place::Scanning(_, begun) = &mut self.place {
            *begun = false;
        }
        let range = self.place.range();
        let client = self.shared.dialer.client(&self.url).map_err(|denied| ReadError::new(denied.to_string()))?;
        let request = client.get(self.url.clone()).header(RANGE, range).header(ACCEPT, "application/vnd.fdo.journal");
        let response = request.send().await.map_err(|error| match denied(&error) {
            Some(denied) => ReadError::new(denied.to_string()),
            None => self.error(causes(&error)),
        })?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(self.error("the gateway lets nobody in without credentials: give them under `headers` of the reader"));
            }
            status => return Err(self.error(format_args!("the gateway answers {status}: is it systemd-journal-gatewayd's address?"))),
        }
        self.answer = Some(Answer { response, parser: Parser::new(self.shared.bytes_max), entries: 0 });
        Ok(())
    }

    /// Reads some of an answer. Cancel-safe: after its last wait all that came is given.
    async fn step(&mut self) -> Result<(), ReadError> {
        if self.answer.is_none() {
            self.ask().await?;
        }
        let Some(answer) = &mut self.answer else { return Ok(()) };
        let mut came = answer.response.chunk().await;
        let (mut taken, mut bytes) = (Vec::new(), 0);
        let result = loop {
            let block = match came {
                Ok(Some(block)) => block,
                Ok(None) => break self.end_answer(),
                Err(error) => break Err(self.error(format_args!("its answer broke off: {}", causes(&error)))),
            };
            bytes += block.len();
            if let Err(error) = self.take_block(&block, &mut taken) {
                break Err(error);
            }
            let more = self.answer.as_mut().filter(|_| bytes < CHUNK_BYTES_MAX).and_then(|answer| answer.response.chunk().now_or_never());
            let Some(more) = more else { break Ok(false) };
            came = more;
        };
        // What came before the end, or before an error, counts.
        self.give(taken);
        match result {
            Ok(true) => self.ready.push_back(Ok(Read::AtEnd)),
            Ok(false) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn take_block(&mut self, block: &[u8], taken: &mut Vec<Entry>) -> Result<(), ReadError> {
        let Some(answer) = &mut self.answer else { return Ok(()) };
        let (entries, wrong) = answer.parser.push(block);
        entries.into_iter().for_each(|entry| self.take(entry, taken));
        wrong.map_or(Ok(()), |why| Err(self.error(why)))
    }

    /// One entry of an answer, as the place says.
    fn take(&mut self, entry: Entry, taken: &mut Vec<Entry>) {
        let Some(answer) = &mut self.answer else { return };
        answer.entries += 1;
        let first = answer.entries == 1;
        match &mut self.place {
            Place::Beginning | Place::From(_) => self.accept(entry, taken),
            Place::Ending(last) => *last = Some(Box::new(entry)),
            Place::Seeking(wanted) if mark(&entry) == *wanted => self.place = Place::After(entry.cursor),
            Place::Seeking(wanted) => {
                if entry.realtime != time(*wanted) {
                    self.place = Place::Scanning(*wanted, false);
                    self.answer = None;
                }
            }
            Place::Scanning(wanted, _) if mark(&entry) == *wanted => self.place = Place::After(entry.cursor),
            Place::Scanning(wanted, begun) => {
                let vacuumed = !*begun && entry.realtime > time(*wanted);
                *begun = true;
                if vacuumed {
                    self.answer = None;
                    self.lose(Place::Beginning);
                }
            }
            Place::After(cursor) if first && *cursor == entry.cursor => {}
            Place::After(_) if first => {
                self.lost();
                self.accept(entry, taken);
            }
            Place::After(_) => self.accept(entry, taken),
        }
    }

    fn accept(&mut self, entry: Entry, taken: &mut Vec<Entry>) {
        self.place = Place::After(entry.cursor.clone());
        taken.push(entry);
    }

    fn lose(&mut self, place: Place) {
        self.lost();
        self.place = place;
    }

    fn lost(&mut self) {
        let why =
            "the entry that was read last is no longer in the journal: what came after it may have been vacuumed unread; goes on with what is left";
        self.ready.push_back(Err(self.error(why)));
    }

    /// Whether all that is there was read.
    fn end_answer(&mut self) -> Result<bool, ReadError> {
        let Some(answer) = self.answer.take() else { return Ok(false) };
        if !answer.parser.is_between() {
            return Err(self.error("its answer ends within an entry"));
        }
        match &mut self.place {
            Place::Ending(last) => {
                let last = last.take();
                self.place = Place::Beginning;
                if let Some(last) = last {
                    self.begin_after(*last);
                }
            }
            // Nothing that is not older than it: whether it is there at all must be looked at.
            Place::Seeking(wanted) if answer.entries > 0 => self.place = Place::Scanning(*wanted, false),
            Place::Scanning(wanted, true) => {
                let from = time(*wanted);
                self.lose(Place::From(from));
            }
            _ if answer.entries >= ENTRIES_MAX => {}
            _ => {
                self.wake = Instant::now() + self.shared.poll;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Begins after the newest entry, and says so, as no checkpoint knows of it.
    fn begin_after(&mut self, last: Entry) {
        let key = self.key(&last);
        self.position = Position { offset: last.bytes, marker: mark(&last) };
        self.ready.push_back(Ok(Read::Chunk(Chunk { file: key, start: self.position, end: self.position, lines: Vec::new() })));
        self.place = Place::After(last.cursor);
    }

    /// Named by the first entry that was read, so that two readings that began elsewhere never give one id to two records.
    fn key(&mut self, first: &Entry) -> FileKey {
        let name = || FileName::of(first.cursor.as_bytes()).unwrap_or(FileName { head_hash: 0, head_bytes: 1 });
        let named = self.shared.counter;
        *self.key.get_or_insert_with(|| FileKey { lineage: 0, named, name: name() })
    }

    fn give(&mut self, taken: Vec<Entry>) {
        let (Some(first), Some(last)) = (taken.first(), taken.last()) else { return };
        let (key, marker, start) = (self.key(first), mark(last), self.position);
        let mut offset = start.offset;
        let lines = taken.into_iter().map(|entry| {
            let begin = offset;
            offset += entry.bytes;
            Line { offset: begin, bytes: entry.line, cut: entry.cut }
        });
        let lines = lines.collect();
        self.position = Position { offset, marker };
        self.ready.push_back(Ok(Read::Chunk(Chunk { file: key, start, end: self.position, lines })));
    }
}

impl Reader for JournalReader {
    async fn next(&mut self) -> Result<Read, ReadError> {
        loop {
            if let Some(read) = self.ready.pop_front() {
                return read;
            }
            tokio::time::sleep_until(self.wake).await;
            match self.step().await {
                Ok(()) => self.backoff = Duration::ZERO,
                Err(error) => {
                    self.answer = None;
                    self.backoff = (self.backoff * 2).clamp(self.shared.poll, BACKOFF_MAX);
                    self.wake = Instant::now() + self.backoff;
                    return Err(error);
                }
            }
        }
    }

    /// A gateway does not say how much there is.
    fn lag_bytes(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests;
