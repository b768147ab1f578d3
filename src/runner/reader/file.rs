//! Follows one file through its growth, renaming, truncation and end.
//!
//! ```text
//!            grows                     truncated, or its bytes changed        the copy is read, or none was found
//! following ─────────> chunks          following ─────────> rest of a copy ─────────> Rotated, a new lineage from 0
//!     └── renamed out of the globs or deleted, and quiet ──> the unfinished last line, Finished
//! ```
//! Polling is the truth. Each read begins with the ≤ 256 bytes before it: if they are not those that were read, the file is not the one that was read,
//! however long it has become. The descriptor is kept while the file is in use, so a rename loses nothing (`descriptors`); a file that has been quiet is
//! left alone until the finder, which looks at all of them at once, sees it change.
//! Not here: which files there are (`finder`).

use std::{
    collections::VecDeque,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use logvine_cluster::{
    checkpoint::{FileKey, Position, hash64},
    instance::FilePlace,
};
use tokio::{sync::Notify, time::Instant};

use super::{
    BACKOFF_MAX, Read, ReadError, Reader,
    content::Content,
    known::{Acknowledged, Context, Copied, Identity, Listed, Progress, Sibling, Stat},
    tail::Tail,
};
use crate::{budget::Room, policy::opened_path};

/// Looks without a change after which a file that left its place is final. Its writer may go on for a while after a rename: nginx until it is told to
/// reopen, which logrotate does at once; ten looks are 5 s by default.
const QUIET_POLLS: u32 = 10;

/// Follows one file. Made by [`super::finder::Finder`].
#[derive(Debug)]
pub struct FileReader {
    context: Arc<Context>,
    /// Where the file was last seen.
    path: Arc<Path>,
    identity: Identity,
    tail: Tail,
    state: State,
    /// What is to be said before the file is looked at again.
    ready: VecDeque<Read>,
    /// When to look again.
    wake: Instant,
    backoff: Duration,
    /// What the last look saw, and how many looks it has stayed so.
    seen: Option<Stat>,
    quiet: u32,
    /// Looks running at which it was neither open nor found.
    missing: u32,
    /// Signalled when it has changed while it was left alone.
    woken: Arc<Notify>,
    asleep: bool,
    /// It has got another name that the globs mean too: its old writer will not come back.
    renamed: bool,
    lag: u64,
    room: Room,
    /// Whether the last look took all that it might; None: there was none yet.
    more: Option<bool>,
}

#[derive(Debug)]
enum State {
    Following,
    /// The file is not what was read up to this position; the rest is looked for.
    Lost(Position),
    /// Reading the rest of what was truncated from a copy of it.
    Rest(Arc<Content>, Identity),
    Finished,
}

/// Where a reader begins.
#[derive(Debug)]
pub(super) enum Start {
    /// A file that was never read.
    Fresh,
    /// `before` are the bytes before `offset`; `told`: this place comes from a checkpoint.
    At { key: FileKey, offset: u64, before: Vec<u8>, told: bool },
    /// The file that was read up to `position` is no longer what is in it.
    Lost { key: FileKey, position: Position },
}

/// What one look at a file has seen.
struct Look {
    stat: Stat,
    packed: bool,
    whereabouts: Whereabouts,
    bytes: Bytes,
    /// There may be more.
    more: bool,
}

enum Whereabouts {
    InPlace,
    Renamed(PathBuf),
    /// Deleted, or where no glob means it.
    Left,
}

impl FileReader {
    pub(super) fn new(context: Arc<Context>, path: PathBuf, identity: Identity, file: Content, start: Start) -> Self {
        let framing = &context.framing;
        let mut ready = VecDeque::new();
        let (tail, state) = match start {
            Start::Fresh => (Tail::new(framing), State::Following),
            Start::At { key, offset, before, told } => {
                let tail = Tail::resumed(framing, key, offset, &before);
                ready.extend(if told { None } else { tail.here().map(Read::Chunk) });
                (tail, State::Following)
            }
            Start::Lost { key, position } => (Tail::resumed(framing, key, position.offset, b""), State::Lost(position)),
        };
        context.files.put(identity, Arc::new(file));
        let reader = Self {
            context,
            path: path.into(),
            identity,
            tail,
            state,
            ready,
            wake: Instant::now(),
            backoff: Duration::ZERO,
            seen: None,
            quiet: 0,
            missing: 0,
            woken: Arc::default(),
            asleep: false,
            renamed: false,
            lag: 0,
            room: Room::default(),
            more: None,
        };
        reader.tell_progress();
        reader
    }

    /// How the file is recognised, for the checkpoint that goes to this node's disk.
    pub fn place(&self) -> FilePlace {
        self.identity.place(&self.path)
    }

    /// Who is to hear what of this file has been acknowledged.
    pub fn acknowledged(&self) -> Acknowledged {
        Acknowledged { context: self.context.clone(), identity: self.identity }
    }

    async fn step(&mut self) -> Result<Option<Read>, io::Error> {
        match &self.state {
            State::Finished => {
                self.wake = Instant::now() + self.context.poll;
                Ok(Some(Read::Finished))
            }
            State::Lost(position) => {
                let position = *position;
                self.find_rest(position).await?;
                Ok(None)
            }
            State::Rest(copy, _) => match self.look(Some(copy.clone())).await? {
                Some(look) => Ok(self.take_rest(&look)),
                None => Ok(None),
            },
            State::Following if self.is_given_up() => Ok(self.end()),
            State::Following => match self.look(None).await? {
                Some(look) => Ok(self.take(&look)),
                None => Ok(self.miss()),
            },
        }
    }

    /// What it may read.
    pub(crate) fn room(&mut self) -> &mut Room {
        &mut self.room
    }

    /// Looks at `copy`, or at the file itself. None: it is not open, and not found.
    async fn look(&mut self, copy: Option<Arc<Content>>) -> Result<Option<Look>, io::Error> {
        let before = self.tail.recent().len();
        let from = self.tail.offset() - before as u64;
        let most = before
            + match self.more {
                // It was read to its end, and most looks find nothing.
                Some(false) => self.room.glance(),
                more => self.room.take(more.is_some()).await,
            };
        let (path, identity, context) = (self.path.clone(), self.identity, self.context.clone());
        blocking(move || {
            let own = copy.is_none();
            let Some(file) = copy.map_or_else(|| context.file(identity, &path), |copy| Ok(Some(copy)))? else { return Ok(None) };
            let metadata = file.metadata()?;
            let packed = file.is_packed();
            let waiting = if packed { usize::MAX } else { usize::try_from(metadata.len().saturating_sub(from)).unwrap_or(usize::MAX) };
            let bytes = file.read_at(from, waiting.min(most))?;
            let whereabouts = match () {
                () if !own => Whereabouts::InPlace,
                () if metadata.nlink() == 0 => Whereabouts::Left,
                () => whereabouts(&context, &path, identity, &file),
            };
            Ok(Some(Look { stat: Stat::of(&metadata), packed, whereabouts, more: bytes.len() == most, bytes: bytes.into() }))
        })
        .await
    }

    /// It was closed, as it was quiet, and is not where it was any more: what was written to it meanwhile cannot be known.
    fn miss(&mut self) -> Option<Read> {
        self.missing += 1;
        self.wake = Instant::now() + self.context.poll;
        if self.missing < QUIET_POLLS {
            return Some(Read::AtEnd);
        }
        self.end();
        self.ready.push_front(Read::Rotated { gap: true });
        None
    }

    /// Nothing more is read of it.
    fn end(&mut self) -> Option<Read> {
        self.state = State::Finished;
        let last = self.flush();
        self.ready.extend(last);
        self.ready.push_back(Read::Finished);
        None
    }

    /// See [`super::finder::Scan::given_up`].
    fn is_given_up(&self) -> bool {
        self.context.known().followed.get(&self.identity).is_some_and(|progress| progress.given_up.is_some())
    }

    fn take(&mut self, look: &Look) -> Option<Read> {
        (self.missing, self.more) = (0, Some(look.more));
        let recent = self.tail.recent();
        // What a packed file holds is not known before it is unpacked.
        self.lag = if look.packed { 0 } else { look.stat.size.saturating_sub(self.tail.offset()) };
        if !look.bytes.starts_with(recent) {
            self.state = State::Lost(Position { offset: self.tail.offset(), marker: hash64(recent) });
            return None;
        }
        let block = self.tail.whole_units(&look.bytes.slice(recent.len()..));
        if block.is_empty() { self.at_end(look) } else { self.push(block) }
    }

    /// The rest of a truncated file: it is complete, as it was copied before the truncation.
    fn take_rest(&mut self, look: &Look) -> Option<Read> {
        self.more = Some(look.more);
        let recent = self.tail.recent();
        let whole = look.bytes.starts_with(recent);
        let block = if whole { self.tail.whole_units(&look.bytes.slice(recent.len()..)) } else { Bytes::new() };
        if !block.is_empty() {
            return self.push(block);
        }
        if let (State::Rest(_, copy), true) = (&self.state, whole)
            && let Some(copy) = self.context.known().copies.get_mut(copy)
        {
            copy.end = Some(self.tail.offset());
        }
        self.rotate(!whole);
        None
    }

    fn push(&mut self, block: Bytes) -> Option<Read> {
        self.quiet = 0;
        self.lag = self.lag.saturating_sub(block.len() as u64);
        let chunk = self.tail.take(block);
        self.tell_progress();
        chunk.map(Read::Chunk)
    }

    fn at_end(&mut self, look: &Look) -> Option<Read> {
        let left = match &look.whereabouts {
            Whereabouts::InPlace => false,
            Whereabouts::Left => true,
            Whereabouts::Renamed(path) => {
                self.path = path.as_path().into();
                self.renamed = true;
                self.tell_progress();
                false
            }
        };
        self.quiet = if self.seen == Some(look.stat) { self.quiet.saturating_add(1) } else { 0 };
        self.seen = Some(look.stat);
        if left && self.quiet >= QUIET_POLLS {
            return self.end();
        }
        if self.renamed
            && self.quiet >= QUIET_POLLS
            && let Some(chunk) = self.flush()
        {
            return Some(chunk);
        }
        if let Some(chunk) = self.tail.flush_waiting() {
            self.tell_progress();
            return Some(Read::Chunk(chunk));
        }
        let poll = Instant::now() + self.context.poll;
        self.wake = self.tail.due().map_or(poll, |due| due.min(poll));
        if !left && self.quiet >= QUIET_POLLS && self.tail.due().is_none() {
            // The finder looks at all files at once, for less than each of them can.
            self.asleep = true;
            self.context.sleep(self.identity, look.stat);
        }
        Some(Read::AtEnd)
    }

    /// The unfinished last line of what will not grow any more.
    fn flush(&mut self) -> Option<Read> {
        let chunk = self.tail.flush()?;
        self.tell_progress();
        Some(Read::Chunk(chunk))
    }

    async fn find_rest(&mut self, position: Position) -> Result<(), io::Error> {
        let key = self.tail.key().expect("what was read has a name");
        let (context, path) = (self.context.clone(), self.path.clone());
        let found = blocking(move || Ok(context.find_sibling(&path, key.name, position))).await?;
        match found {
            Some(Sibling { file, identity, size, before, .. }) => {
                let mut known = self.context.known();
                known.add_copy(identity, Copied { size, of: self.identity, key, end: None, acknowledged: false });
                known.claimed.push((self.path.to_path_buf(), identity));
                drop(known);
                if self.tail.recent() != before {
                    self.tail = Tail::resumed(&self.context.framing, key, position.offset, &before);
                }
                self.state = State::Rest(Arc::new(file), identity);
            }
            None => self.rotate(true),
        }
        Ok(())
    }

    fn rotate(&mut self, gap: bool) {
        self.tail.rotate(gap, &mut self.ready);
        self.state = State::Following;
        self.tell_progress();
    }

    fn tell_progress(&self) {
        let mut known = self.context.known();
        let given_up = known.followed.get(&self.identity).and_then(|progress| progress.given_up);
        let progress = Progress {
            path: self.path.clone(),
            asleep: None,
            woken: self.woken.clone(),
            given_up,
            key: self.tail.key(),
            position: if let State::Lost(position) = self.state { position } else { self.tail.position() },
            offset: self.tail.offset(),
            recent: self.tail.recent().to_vec(),
        };
        known.followed.insert(self.identity, progress);
    }

    /// Whether it is left alone until the finder sees it change.
    #[cfg(test)]
    pub(super) fn is_asleep(&self) -> bool {
        let waits = |progress: &Progress| progress.asleep.is_some();
        self.ready.is_empty() && self.asleep && self.context.known().followed.get(&self.identity).is_some_and(waits)
    }
}

impl Reader for FileReader {
    async fn next(&mut self) -> Result<Read, ReadError> {
        loop {
            if let Some(read) = self.ready.pop_front() {
                return Ok(read);
            }
            tokio::time::sleep_until(self.wake).await;
            if self.asleep {
                self.woken.notified().await;
                self.asleep = false;
                self.quiet = 0;
            }
            match self.step().await {
                Ok(read) => {
                    self.backoff = Duration::ZERO;
                    if let Some(read) = read {
                        return Ok(read);
                    }
                }
                Err(error) => {
                    self.backoff = (self.backoff * 2).clamp(self.context.poll, BACKOFF_MAX);
                    self.wake = Instant::now() + self.backoff;
                    return Err(ReadError::new(format!("cannot read {}: {error}", self.path.display())));
                }
            }
        }
    }

    fn lag_bytes(&self) -> u64 {
        self.lag
    }
}

/// Where the file that was at `path` is now.
fn whereabouts(context: &Context, path: &Path, identity: Identity, file: &Content) -> Whereabouts {
    let is_ours = |path: &Path| matches!(Listed::at(path.to_path_buf()), Ok(Some(listed)) if listed.identity == identity);
    match Listed::at(path.to_path_buf()) {
        Ok(Some(listed)) if listed.identity == identity => return Whereabouts::InPlace,
        // A path that cannot be looked at now says nothing.
        Err(_) => return Whereabouts::InPlace,
        Ok(_) => {}
    }
    let Ok(now) = opened_path(file.file()) else { return Whereabouts::Left };
    // The globs may lead through a link to the directory that the descriptor names.
    let beside = now.file_name().map(|name| path.with_file_name(name));
    match beside.into_iter().chain([now]).find(|path| context.follows(path) && is_ours(path)) {
        Some(path) => Whereabouts::Renamed(path),
        // Its file system is not mounted there now: that says nothing of the file either.
        None if !same_device(path, identity) => Whereabouts::InPlace,
        None => Whereabouts::Left,
    }
}

/// Whether the directory of `path` is on the file system of a file that was there.
pub(super) fn same_device(path: &Path, identity: Identity) -> bool {
    path.parent().is_some_and(|directory| directory.metadata().is_ok_and(|metadata| metadata.dev() == identity.device))
}

/// Runs what waits for the disk where waiting holds nobody up. If the caller is dropped meanwhile, nothing has changed.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, io::Error> + Send + 'static) -> Result<T, io::Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(io::Error::other(error)),
    }
}
