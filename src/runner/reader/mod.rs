//! Readers turn sources into [`Chunk`]s of whole lines, and know files again.

mod content;
mod deleted;
mod descriptors;
mod encoding;
pub mod file;
pub mod finder;
pub mod http;
pub mod journal;
mod known;
pub(crate) mod queue;
pub(crate) use self::content::read_at;
mod lines;
mod multiline;
mod tail;
mod watch;

use std::time::Duration;

pub use self::known::Acknowledged;
use super::record::Chunk;

/// Bytes that one read takes at most.
pub(crate) const CHUNK_BYTES_MAX: usize = 256 << 10;
/// A reader that fails waits this long at most before it tries again.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// What a reader has to say.
#[derive(Debug)]
pub enum Read {
    /// More lines; or none, where the reader began at a place that no checkpoint has told of, so that it is remembered.
    Chunk(Chunk),
    /// Read to the end for now (an unfinished last line may wait).
    AtEnd,
    /// The file was truncated or replaced; `gap` when what it held past the last position could not be found.
    Rotated { gap: bool },
    /// The file is gone, or was renamed and then stayed unchanged, and all of it has been read.
    Finished,
}

/// Why a source cannot be read now. The reader may be asked again; it backs off by itself.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ReadError {
    /// What is wrong and what to do, for people.
    pub message: String,
}

impl ReadError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

/// Follows one source.
///
/// `next` waits for about one poll interval, or longer where nothing changes; it holds at most one chunk (≤ 256 KiB, a file's ≤ 512 KiB, unless a single line is longer), and is cancel-safe: a chunk
/// that was not returned is read again.
pub trait Reader: Send {
    fn next(&mut self) -> impl Future<Output = Result<Read, ReadError>> + Send;

    /// Bytes known to wait.
    fn lag_bytes(&self) -> u64;
}
