//! When a deletion may be forgotten, and what then becomes of a copy that never heard of it (DESIGN §3.2, "tombstones").
//!
//! A node that forgets tombstones raises its *floor* to the greatest of their stamps: whatever was written up to there it holds, or it is deleted. On
//! meeting a node with a lower floor, what that one holds from below the higher floor and the other lacks was deleted in its absence: it drops it.
//! So nobody drops anything by its own clock or absence alone: a cluster that was off for eight days has the same on both sides of each meeting.
//!
//! Until it takes over that floor (it must have all that the other has for that), it remembers what it dropped, over a restart too: who was away with it may
//! not have heard yet, and offers it again.
//!
//! A floor is only as good as who sets it. So it takes more than half of all nodes, a clock that agrees with theirs, and ten minutes in which both held
//! and the tombstone was there; and a floor that is younger than any that an honest node sets is not believed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::Replica;
use crate::{Change, Durable, Entry, Instant, Now, Output, Stamp, UnixMicros, canary::planted, marks};

/// For how long a tombstone is kept: longer than a machine is away over holidays.
const TOMBSTONE_TIME: Duration = Duration::from_secs(7 * 24 * 3_600);
/// A floor younger than this was set by a clock that is ahead, or is forged. A day less than the above, for clocks that are not alike.
const FLOOR_TIME_MIN: Duration = Duration::from_secs(6 * 24 * 3_600);
/// How often tombstones are looked through; one that goes was ripe the last time too. In that time all that came with it has come.
const LOOK_INTERVAL: Duration = Duration::from_secs(600);

/// Tombstones that were old enough when last looked at.
#[derive(Debug, Default)]
pub(super) struct Ripening {
    ripe: BTreeSet<(Stamp, Arc<str>)>,
    looked: Option<Instant>,
}

/// What was dropped, by key, with the floor that told so.
#[derive(Debug, Default)]
pub(super) struct Dropped(BTreeMap<String, Stamp>);

impl Dropped {
    /// Most that are remembered: as many as a catalog holds.
    const MAX: usize = crate::catalog::CATALOG_ENTRIES_MAX;

    /// As the disk has it. What this node's own floor tells by now is no longer needed.
    pub(super) fn restored(dropped: Vec<(String, Stamp)>, floor: Stamp) -> Self {
        Self(dropped.into_iter().filter(|(_, below)| *below > floor).take(Self::MAX).collect())
    }

    /// Whether there was room for it.
    fn note(&mut self, key: &str, floor: Stamp) -> bool {
        let has_room = self.0.len() < Self::MAX;
        if has_room {
            self.0.insert(key.to_owned(), floor);
        }
        has_room
    }

    /// Whether an entry of this stamp was dropped, and comes from who has no such floor.
    fn has(&self, key: &str, stamp: Stamp, floor: Stamp) -> bool {
        let below = self.0.get(key).is_some_and(|below| stamp <= *below && floor < *below);
        below && !planted("dropped-taken-again")
    }
}

/// The stamp that was made so long ago.
fn before(wall: UnixMicros, time: Duration) -> Stamp {
    Stamp::from_millis(wall.as_millis().saturating_sub(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
}

impl Replica {
    /// Forgets what was deleted long ago. `may`: this node sees more than half of all, its clock agrees with theirs.
    pub(crate) fn forget_tombstones(&mut self, now: Now, may: bool) {
        if !may {
            self.ripening = Ripening::default();
            return;
        }
        if self.ripening.looked.is_some_and(|looked| now.at.since(looked) < LOOK_INTERVAL) {
            return;
        }
        let ripe = self.catalog.tombstones_before(before(now.wall, TOMBSTONE_TIME));
        let (going, staying): (BTreeSet<_>, BTreeSet<_>) = ripe.into_iter().partition(|tombstone| self.ripening.ripe.contains(tombstone));
        self.ripening = Ripening { ripe: staying, looked: Some(now.at) };
        let Some((floor, _)) = going.last().cloned() else { return };
        for (_, key) in going {
            self.catalog.remove(&key);
            self.outputs.push(Output::Persist(Durable::CatalogForgotten { key: key.to_string() }));
        }
        self.raise_floor(floor);
    }

    pub(super) fn raise_floor(&mut self, floor: Stamp) {
        if self.catalog.raise_floor(floor) {
            self.clock.observe(floor);
            self.outputs.push(Output::Persist(Durable::CatalogFloor(floor)));
            for (key, _) in self.dropped.0.extract_if(.., |_, below| *below <= floor) {
                self.outputs.push(Output::Persist(Durable::CatalogDropped { key, floor: None }));
            }
        }
    }

    /// A peer's floor, if it can be one.
    pub(crate) fn believed(now: Now, floor: Stamp) -> Stamp {
        if floor <= before(now.wall, FLOOR_TIME_MIN) { floor } else { Stamp::ZERO }
    }

    /// Whether an entry of this stamp under a key that is not held here was deleted, and comes from who does not know that.
    pub(crate) fn is_deleted(&self, key: &str, stamp: Stamp, floor: Stamp) -> bool {
        let below = stamp <= self.catalog.floor() && floor < self.catalog.floor();
        (below || self.dropped.has(key, stamp, floor)) && self.catalog.held(key).is_none()
    }

    /// Drops what a peer with a higher floor lacks from below it.
    pub(super) fn drop_deleted(&mut self, key_hash: u64, floor: Stamp) {
        let keys: Vec<String> = self.catalog.by_hash(key_hash).filter(|(_, entry, _)| entry.stamp <= floor).map(|(key, ..)| key.to_owned()).collect();
        for key in keys {
            let Some(entry) = self.catalog.remove(&key) else { continue };
            if self.dropped.note(&key, floor) {
                self.outputs.push(Output::Persist(Durable::CatalogDropped { key: key.clone(), floor: Some(floor) }));
            }
            self.outputs.push(Output::Persist(Durable::CatalogForgotten { key: key.clone() }));
            if let Entry { value: Some(_), .. } = entry {
                marks::reached("an entry from below a peer's floor was dropped");
                self.outputs.push(Output::Changed(Change::Dropped { key: key.clone(), entry, floor }));
                self.outputs.push(Output::Changed(Change::Catalog { key }));
            }
        }
    }
}
