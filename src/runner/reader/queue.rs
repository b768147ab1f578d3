//! Reads what came in, from the disk queue: the source of every reader that cannot wait.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use logvine_cluster::{
    checkpoint::{FileKey, Position},
    instance::FilePlace,
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{BACKOFF_MAX, CHUNK_BYTES_MAX, Read, ReadError, Reader, file::blocking};
use crate::queue::{Cursor, Piece, Queue};

/// How long it waits for something to come in before it says that nothing has.
const POLL: Duration = Duration::from_millis(500);

/// Follows the queue of one runner.
#[derive(Debug)]
pub(crate) struct QueueReader {
    directory: PathBuf,
    /// None until it is open.
    opened: watch::Receiver<Option<Arc<Queue>>>,
    cursor: Cursor,
    lag: u64,
    wake: Instant,
    backoff: Duration,
}

impl QueueReader {
    /// Begins at `resume`, with what `opened` will hold.
    pub(crate) fn new(directory: PathBuf, opened: watch::Receiver<Option<Arc<Queue>>>, resume: Option<(FileKey, Position)>) -> Self {
        Self { directory, opened, cursor: Cursor::at(resume), lag: 0, wake: Instant::now(), backoff: Duration::ZERO }
    }

    pub(crate) fn place(&self) -> FilePlace {
        place_of(&self.directory)
    }

    async fn step(&mut self, queue: &Arc<Queue>) -> std::io::Result<Piece> {
        let (mut cursor, at) = (self.cursor, queue.clone());
        let (cursor, lag, piece) = blocking(move || {
            let piece = cursor.next(&at, CHUNK_BYTES_MAX)?;
            Ok((cursor, cursor.lag_bytes(&at), piece))
        })
        .await?;
        (self.cursor, self.lag) = (cursor, lag);
        Ok(piece)
    }
}

/// A queue as a pinned source's file.
pub(crate) fn place_of(directory: &Path) -> FilePlace {
    FilePlace { device: 0, inode: 0, born: None, path: directory.to_string_lossy().into_owned() }
}

impl Reader for QueueReader {
    async fn next(&mut self) -> Result<Read, ReadError> {
        tokio::time::sleep_until(self.wake).await;
        let opened = timeout(POLL, self.opened.wait_for(Option::is_some)).await;
        let Some(queue) = opened.ok().and_then(Result::ok).and_then(|queue| queue.clone()) else { return Ok(Read::AtEnd) };
        let grown = queue.grown();
        tokio::pin!(grown);
        // From here on nothing that comes in is missed.
        grown.as_mut().enable();
        let ended = queue.has_ended();
        match self.step(&queue).await {
            Ok(Piece::Chunk(chunk)) => {
                self.backoff = Duration::ZERO;
                Ok(Read::Chunk(chunk))
            }
            Ok(Piece::Damaged { bytes, number }) => Err(ReadError::new(format!(
                "{bytes} bytes of the disk queue are damaged and were passed over; their segment is kept as {:010}.bad in {}",
                number,
                self.directory.display()
            ))),
            Ok(Piece::End) if ended => {
                // Asked again, it says so again.
                self.wake = Instant::now() + POLL;
                Ok(Read::Finished)
            }
            Ok(Piece::End) => {
                let _ = timeout(POLL, grown).await;
                Ok(Read::AtEnd)
            }
            Err(error) => {
                self.backoff = (self.backoff * 2).clamp(POLL, BACKOFF_MAX);
                self.wake = Instant::now() + self.backoff;
                Err(ReadError::new(format!("cannot read the disk queue in {}: {error}", self.directory.display())))
            }
        }
    }

    fn lag_bytes(&self) -> u64 {
        self.lag
    }
}
