//! The memory that the batches of an instance take together, and what a source may read in view of it.
//!
//! A reader that has something to read takes room for it first, and waits where there is none: a thousand files that have grown while nobody read them must
//! not be in memory at once. Its source gives the room back once the records are written, which then take as much as they are.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

use crate::reader::CHUNK_BYTES_MAX;

/// What the batches of all sources of an instance may take, exceeded by at most a chunk of each source.
const BYTES_MAX: u64 = 12 << 20;
/// What one read of a file takes whose senders make no request of it: each chunk has its turns between threads, whatever its length.
const LONG_CHUNK_BYTES_MAX: usize = 2 * CHUNK_BYTES_MAX;
/// What is read at once where it is not known that there is more.
const SHORT_CHUNK_BYTES_MAX: usize = 64 << 10;
/// What is read without room: so little that it can be had of each of thousands of sources.
const LEAST_CHUNK_BYTES: usize = 4 << 10;
/// A source that has waited this long reads without room: those that have it may wait for something else than their sinks, and none is to starve.
const PATIENCE: Duration = Duration::from_secs(5);
/// Short lines become so much longer by what is written around them.
const WRITTEN: u64 = 3;

/// Of one instance.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    used: AtomicU64,
    /// Signalled when there may be room again; one at a time, the first first.
    freed: Notify,
}

impl Budget {
    /// Whether a source that holds something already may read more.
    pub(crate) fn has_room(&self) -> bool {
        self.used.load(Relaxed) < BYTES_MAX
    }

    /// Takes memory, whether there is room or not.
    pub(crate) fn lease(self: &Arc<Self>, bytes: u64) -> Lease {
        self.used.fetch_add(bytes, Relaxed);
        Lease { budget: self.clone(), bytes }
    }

    async fn room(&self) {
        while !self.has_room() {
            self.freed.notified().await;
        }
    }

    fn wake_next(&self) {
        if self.has_room() {
            self.freed.notify_one();
        }
    }
}

/// A share of the memory; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Relaxed);
        self.budget.wake_next();
    }
}

/// What one source may read. Without a budget (as by default) it is limited by the length of a chunk alone.
#[derive(Debug, Default)]
pub(crate) struct Room {
    budget: Option<Arc<Budget>>,
    is_long: bool,
    held: Option<Lease>,
}

impl Room {
    /// `is_long`: a chunk may have [`LONG_CHUNK_BYTES_MAX`].
    pub(crate) fn new(budget: Arc<Budget>, is_long: bool) -> Self {
        Self { budget: Some(budget), is_long, held: None }
    }

    /// Bytes that a look may take where it is not known that there are any; nothing is held for them.
    pub(crate) fn glance(&self) -> usize {
        let has_room = self.budget.as_ref().is_none_or(|budget| budget.has_room());
        if has_room { SHORT_CHUNK_BYTES_MAX } else { LEAST_CHUNK_BYTES }
    }

    /// Room for the next chunk, in bytes of the source; `more`: it is known that there are as many. Held until [`Self::give_back`], or until it is taken again.
    pub(crate) async fn take(&mut self, more: bool) -> usize {
        self.give_back();
        let most = match (more, self.is_long) {
            (false, _) => SHORT_CHUNK_BYTES_MAX,
            (true, false) => CHUNK_BYTES_MAX,
            (true, true) => LONG_CHUNK_BYTES_MAX,
        };
        let Some(budget) = &self.budget else { return most };
        let bytes = if timeout(PATIENCE, budget.room()).await.is_ok() { most } else { LEAST_CHUNK_BYTES };
        self.held = Some(budget.lease(bytes as u64 * WRITTEN));
        // Whoever waits behind this one was not told where it was told of more than it took.
        budget.wake_next();
        bytes
    }

    pub(crate) fn give_back(&mut self) {
        self.held = None;
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, future::join_all};

    use super::*;

    #[test]
    fn memory_is_given_back_with_the_last_of_a_lease() {
        let budget = Arc::new(Budget::default());
        let lease = Arc::new(budget.lease(BYTES_MAX));
        let other = lease.clone();
        drop(lease);
        assert!(!budget.has_room());
        drop(other);
        assert!(budget.has_room());
    }

    /// They may all have something at once: after a night without an agent.
    #[tokio::test(start_paused = true)]
    async fn sources_that_begin_at_once_do_not_all_read_at_once() {
        let budget = Arc::new(Budget::default());
        let mut rooms: Vec<Room> = (0..1_000).map(|_| Room::new(budget.clone(), true)).collect();
        let taken: Vec<usize> = join_all(rooms.iter_mut().map(|room| room.take(false))).await;
        let whole = taken.iter().filter(|bytes| **bytes == SHORT_CHUNK_BYTES_MAX).count() as u64;
        assert_eq!(whole, BYTES_MAX.div_ceil(SHORT_CHUNK_BYTES_MAX as u64 * WRITTEN));
        assert!(taken.iter().all(|bytes| [SHORT_CHUNK_BYTES_MAX, LEAST_CHUNK_BYTES].contains(bytes)), "none starves");
        assert!(!budget.has_room());
        drop(rooms);
        assert_eq!(budget.used.load(Relaxed), 0);
    }

    /// As each gives back what it has, all get their whole chunk: requests of a thousand little pieces would take a sink's time.
    #[tokio::test(start_paused = true)]
    async fn who_waits_for_room_gets_it_in_turn() {
        let budget = Arc::new(Budget::default());
        let turns = (0..1_000).map(|_| {
            let mut room = Room::new(budget.clone(), false);
            async move {
                let bytes = room.take(true).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
                room.give_back();
                bytes
            }
        });
        assert!(join_all(turns).await.into_iter().all(|bytes| bytes == CHUNK_BYTES_MAX));
        assert_eq!(budget.used.load(Relaxed), 0);
    }

    /// One large batch may be followed by several small ones.
    #[tokio::test(start_paused = true)]
    async fn what_one_gives_back_is_room_for_several() {
        let budget = Arc::new(Budget::default());
        let lease = budget.lease(BYTES_MAX);
        let mut rooms = [(); 3].map(|()| Room::new(budget.clone(), false));
        let waiting = join_all(rooms.iter_mut().map(|room| room.take(false)));
        tokio::pin!(waiting);
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(lease);
        assert_eq!(waiting.await, [SHORT_CHUNK_BYTES_MAX; 3]);
    }

    /// One that is dropped while it waits does not take the word with it.
    #[tokio::test(start_paused = true)]
    async fn a_source_that_is_closed_while_it_waits_leaves_its_turn_to_the_next() {
        let budget = Arc::new(Budget::default());
        let lease = budget.lease(BYTES_MAX);
        let mut rooms = [(); 2].map(|()| Room::new(budget.clone(), false));
        let [first, second] = &mut rooms;
        let mut waiting = Box::pin(first.take(false));
        let mut next = Box::pin(second.take(false));
        assert!(waiting.as_mut().now_or_never().is_none() && next.as_mut().now_or_never().is_none());
        drop(lease);
        drop(waiting);
        assert_eq!(next.now_or_never(), Some(SHORT_CHUNK_BYTES_MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn a_glance_takes_little_where_there_is_no_room_and_holds_nothing() {
        let budget = Arc::new(Budget::default());
        let room = Room::new(budget.clone(), false);
        assert_eq!((room.glance(), budget.used.load(Relaxed)), (SHORT_CHUNK_BYTES_MAX, 0));
        let _lease = budget.lease(BYTES_MAX);
        assert_eq!(room.glance(), LEAST_CHUNK_BYTES);
    }
}
