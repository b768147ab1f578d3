//! Connections that this node has dialled: one for each peer, kept while they are of use.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use logvine_gossip::NodeId;
use quinn::Connection;

/// At most `most` connections, one for each peer; the least recently used one makes room.
#[derive(Debug)]
pub(crate) struct Pool {
    most: usize,
    slots: Mutex<BTreeMap<NodeId, Entry>>,
}

#[derive(Debug)]
struct Entry {
    slot: Arc<Slot>,
    used: Instant,
}

/// One peer's connection, if there is one. Locked while it is dialled, so that many calls at once dial once.
pub(crate) type Slot = tokio::sync::Mutex<Option<(SocketAddr, Connection)>>;

/// Every connection of the pool has a call at work, so none can make room.
#[derive(Debug)]
pub(crate) struct Full;

impl Pool {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, slots: Mutex::default() }
    }

    /// The slot of `peer`. Whoever holds it keeps its connection from being closed as idle or to make room.
    pub(crate) fn slot(&self, peer: NodeId, now: Instant) -> Result<Arc<Slot>, Full> {
        let mut slots = self.slots();
        if !slots.contains_key(&peer) && slots.len() >= self.most {
            let oldest = slots.iter().filter(|(_, entry)| entry.is_unused()).min_by_key(|(_, entry)| entry.used).map(|(id, _)| *id);
            slots.remove(&oldest.ok_or(Full)?);
        }
        let entry = slots.entry(peer).or_insert_with(|| Entry { slot: Arc::default(), used: now });
        entry.used = now;
        Ok(entry.slot.clone())
    }

    /// Notes that a call to `peer` has ended at `now`: it is from here that the connection idles.
    pub(crate) fn touch(&self, peer: NodeId, now: Instant) {
        if let Some(entry) = self.slots().get_mut(&peer) {
            entry.used = now;
        }
    }

    /// Lets go of connections that nobody has used for `idle`; the last hold on a connection closes it.
    pub(crate) fn close_idle(&self, now: Instant, idle: Duration) {
        self.slots().retain(|_, entry| !entry.is_unused() || now.saturating_duration_since(entry.used) < idle);
    }

    /// Forgets all connections; those with a call at work end with it.
    pub(crate) fn clear(&self) {
        self.slots().clear();
    }

    /// How many peers have a slot.
    pub(crate) fn len(&self) -> usize {
        self.slots().len()
    }

    /// The map is whole after every statement that changes it, so a panic elsewhere spoils nothing.
    fn slots(&self) -> MutexGuard<'_, BTreeMap<NodeId, Entry>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// No call holds the slot. New holds are given under the pool's lock only, which whoever asks has.
    fn is_unused(&self) -> bool {
        Arc::strong_count(&self.slot) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn peer(n: u8) -> NodeId {
        NodeId([n; 16])
    }

    #[test]
    fn the_least_recently_used_peer_makes_room() {
        let (pool, start) = (Pool::new(2), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        pool.slot(peer(1), at(1)).unwrap();
        pool.slot(peer(2), at(2)).unwrap();
        pool.slot(peer(1), at(3)).unwrap();
        pool.slot(peer(3), at(4)).unwrap();
        assert_eq!(pool.slots().keys().copied().collect::<Vec<_>>(), [peer(1), peer(3)]);
    }

    #[test]
    fn a_peer_with_a_call_at_work_keeps_its_slot() {
        let (pool, now) = (Pool::new(2), Instant::now());
        let first = pool.slot(peer(1), now).unwrap();
        let second = pool.slot(peer(2), now).unwrap();
        assert!(pool.slot(peer(3), now).is_err());
        pool.close_idle(now + Duration::from_secs(60), Duration::from_secs(30));
        assert_eq!(pool.len(), 2);
        drop(second);
        assert!(pool.slot(peer(3), now).is_ok());
        assert!(Arc::ptr_eq(&first, &pool.slot(peer(1), now).unwrap()));
    }

    #[test]
    fn idleness_counts_from_the_end_of_the_last_call() {
        let (pool, start) = (Pool::new(2), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        drop(pool.slot(peer(1), at(0)).unwrap());
        pool.touch(peer(1), at(20));
        pool.close_idle(at(49), Duration::from_secs(30));
        assert_eq!(pool.len(), 1);
        pool.close_idle(at(50), Duration::from_secs(30));
        assert_eq!(pool.len(), 0);
    }
}
