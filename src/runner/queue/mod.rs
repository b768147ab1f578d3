//! The disk queue of a reader that cannot wait: what comes in is safe on this node's disk before whoever gave it hears that it was taken (DESIGN §7).
//!
//! ```text
//! intake ─push─> bound ─> group ─write, sync─> segments ─> cursor ─> stages … senders ─> checkpoint on the disk ─> segments removed
//!                  └ full: held back, refused, or dropped and counted, as who gave it can bear
//! ```
//! Its position is a segment (a lineage and a name, as a file's) and an offset, so checkpoints and record ids are those of files.
//! Not here: who gives records (`intake`), and when they count as delivered (`logvine_cluster::delivery`).

#[cfg(test)]
mod crash;
mod cursor;
pub(crate) mod disk;
mod frame;
mod log;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use logvine_cluster::{
    checkpoint::{Checkpoint, FileKey, Position},
    name::Name,
};
use tokio::sync::{Notify, mpsc, oneshot};

pub(crate) use self::{
    cursor::{Cursor, Piece},
    frame::Entry,
};
use self::{
    disk::Directory,
    frame::Salt,
    log::{Amiss, Log},
};

/// A segment is a sixteenth of the bound, so that room comes back in small parts, but no longer than this.
const SEGMENT_BYTES_MAX: u64 = 16 << 20;
/// One write and one sync take what waits, up to so many bytes.
const GROUP_BYTES_MAX: u64 = 4 << 20;
/// How often who waits for room looks again, should nobody tell him.
const ROOM_LOOK: Duration = Duration::from_secs(1);

/// Why records were not taken. None of them was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PushError {
    #[error("the disk queue is full: it holds {bytes} of {bytes_max} bytes until its senders take them")]
    Full { bytes: u64, bytes_max: u64 },
    #[error("cannot write the disk queue: {source}")]
    Io { source: io::Error },
    #[error("the disk queue is closed")]
    Closed,
}

#[derive(Debug)]
struct Push {
    entries: Vec<Entry>,
    bytes: u64,
    done: oneshot::Sender<Result<(), PushError>>,
}

/// The queue of one runner on this node.
#[derive(Debug)]
pub(crate) struct Queue {
    log: Arc<Log<Directory>>,
    bytes_max: u64,
    /// Bytes of pushes that are not on the disk yet.
    waiting: Arc<AtomicU64>,
    pushes: mpsc::UnboundedSender<Push>,
    grown: Arc<Notify>,
    room: Notify,
    /// Nothing more will come.
    ended: AtomicBool,
}

impl Queue {
    /// Opens the queue in `directory`, or makes it. `resume` is the segment that the checkpoint on the disk is in. Must be called inside the runtime.
    /// Blocks on the disk. Errors: the disk's.
    pub(crate) fn open(directory: PathBuf, bytes_max: u64, resume: Option<FileKey>) -> io::Result<(Self, Vec<String>)> {
        let segment_bytes = (bytes_max / 16).min(SEGMENT_BYTES_MAX);
        let (log, amiss) = Log::open(Directory::open(directory)?, segment_bytes, resume, draw)?;
        let log = Arc::new(log);
        let (pushes, queue) = mpsc::unbounded_channel();
        let (waiting, grown) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
        tokio::spawn(commit(log.clone(), queue, waiting.clone(), grown.clone()));
        Ok((Self { log, bytes_max, waiting, pushes, grown, room: Notify::new(), ended: AtomicBool::new(false) }, told(amiss)))
    }

    /// Takes records: all of them, safe on the disk, or none. Answers at once where there is no room. If the caller is dropped, they may be taken.
    pub(crate) async fn push(&self, entries: Vec<Entry>) -> Result<(), PushError> {
        if entries.is_empty() {
            return Ok(());
        }
        let bytes: u64 = entries.iter().map(Entry::framed_bytes).sum();
        let waiting = self.waiting.fetch_add(bytes, Relaxed);
        let used = self.log.bytes() + waiting;
        if used + bytes > self.bytes_max {
            self.waiting.fetch_sub(bytes, Relaxed);
            return Err(PushError::Full { bytes: used, bytes_max: self.bytes_max });
        }
        let (done, answer) = oneshot::channel();
        self.pushes.send(Push { entries, bytes, done }).map_err(|_| PushError::Closed)?;
        answer.await.unwrap_or(Err(PushError::Closed))
    }

    /// Waits until there may be room again.
    pub(crate) async fn room(&self) {
        // A word may have come before this is asked: then the next look finds it.
        let _ = tokio::time::timeout(ROOM_LOOK, self.room.notified()).await;
    }

    /// A checkpoint that is on the disk is in segment `number`: what is before goes. Blocks on the disk.
    pub(crate) fn release(&self, number: u32) -> io::Result<()> {
        let result = self.log.release(number);
        self.room.notify_waiters();
        result
    }

    /// The place behind all that is there, and how many bytes before it a checkpoint of these senders is. None where nothing is there.
    pub(crate) fn tail(&self, checkpoint: &Checkpoint, senders: &[Name]) -> Option<((FileKey, Position), u64)> {
        let tail = self.log.tail()?;
        let resume = checkpoint.resume(senders).and_then(|(file, each)| Some((file, *each.values().min()?)));
        Some((tail, Cursor::at(resume).lag_bytes(self)))
    }

    /// Throws away all that is there. Answers how many bytes that were. Blocks on the disk.
    pub(crate) fn clear(&self) -> io::Result<u64> {
        let result = self.log.clear();
        self.room.notify_waiters();
        result
    }

    /// Ends when something more has come in. Tells nothing of what came before it was first polled or enabled.
    pub(crate) fn grown(&self) -> tokio::sync::futures::Notified<'_> {
        self.grown.notified()
    }

    /// Nothing more will come.
    pub(crate) fn end(&self) {
        self.ended.store(true, Relaxed);
        self.grown.notify_waiters();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }
}

/// What was found amiss, for people.
fn told(amiss: Amiss) -> Vec<String> {
    let missing = (amiss.missing > 0).then(|| format!("{} segment(s) of the disk queue are missing: what was in them is lost", amiss.missing));
    let unreadable = (amiss.unreadable > 0)
        .then(|| format!("{} segment(s) of the disk queue cannot be read and are kept as .bad: what was in them is lost", amiss.unreadable));
    if amiss.torn_bytes > 0 {
        tracing::info!(bytes = amiss.torn_bytes, "cut what a crash has torn at the end of a disk queue: nobody was told that it is safe");
    }
    missing.into_iter().chain(unreadable).collect()
}

fn draw() -> io::Result<Salt> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(io::Error::other)?;
    Ok(Salt(salt))
}

/// Writes what is pushed, many pushes by one sync, until the queue is dropped.
async fn commit(log: Arc<Log<Directory>>, mut queue: mpsc::UnboundedReceiver<Push>, waiting: Arc<AtomicU64>, grown: Arc<Notify>) {
    while let Some(first) = queue.recv().await {
        let mut bytes = first.bytes;
        let mut group = vec![first];
        while bytes < GROUP_BYTES_MAX
            && let Ok(push) = queue.try_recv()
        {
            bytes += push.bytes;
            group.push(push);
        }
        let (entries, answers): (Vec<_>, Vec<_>) = group.into_iter().map(|push| (push.entries, push.done)).unzip();
        let log = log.clone();
        let write = tokio::task::spawn_blocking(move || log.append(&entries.concat())).await;
        let written = write.unwrap_or_else(|error| Err(io::Error::other(error)));
        waiting.fetch_sub(bytes, Relaxed);
        if written.is_ok() {
            grown.notify_waiters();
        }
        for answer in answers {
            let result = match &written {
                Ok(()) => Ok(()),
                Err(error) => Err(PushError::Io { source: io::Error::new(error.kind(), error.to_string()) }),
            };
            // Who no longer waits has to reckon with both.
            let _ = answer.send(result);
        }
    }
}
