//! Readers turn sources into [`Chunk`]s of whole lines, and know files again.

use super::record::Chunk;

/// What a reader has to say.
#[derive(Debug)]
pub enum Read {
    /// More lines.
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

/// Follows one source.
///
/// `next` waits for at most about one poll interval, holds at most one chunk (≤ 256 KiB unless a single line is longer), and is cancel-safe: a chunk
/// that was not returned is read again.
pub trait Reader: Send {
    fn next(&mut self) -> impl Future<Output = Result<Read, ReadError>> + Send;

    /// Bytes known to wait.
    fn lag_bytes(&self) -> u64;
}
