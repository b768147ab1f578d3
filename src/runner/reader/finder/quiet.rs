//! Files that are left alone: which of them are to be looked at again, and which of the deleted ones are given up.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::MetadataExt,
    path::PathBuf,
};

use tokio::time::Instant;

use super::{
    super::{
        deleted::{Deleted, DeletedBound, too_many},
        known::{Identity, Listed},
    },
    GivenUp, Look,
};

impl Look<'_> {
    /// Whether nothing is waited for that only a whole look finds.
    pub(super) fn is_settled(&self) -> bool {
        let memory = &*self.memory;
        memory.waiting.is_empty()
            && memory.rotated.is_empty()
            && memory.copies.is_empty()
            && memory.deleted.is_empty()
            && !memory.faulty
            && self.context.known().claimed.is_empty()
    }

    /// Wakes the readers of files that were written to. False: one of these is not followed (yet).
    pub(super) fn wake_written(&self, paths: &BTreeSet<PathBuf>) -> bool {
        let meant = paths.iter().filter(|path| self.context.follows(path));
        let listed: Option<Vec<Listed>> = meant.map(|path| Listed::at(path.clone()).ok().flatten()).collect();
        let Some(listed) = listed else { return false };
        let mut known = self.context.known();
        listed.iter().all(|file| known.followed.get_mut(&file.identity).map(|progress| progress.wake_unless(Some(file))).is_some())
    }

    /// Wakes the readers of files that have changed, and of those that are where no glob means them.
    pub(super) fn wake(&self, listed: &[Listed]) {
        let listed: BTreeMap<Identity, &Listed> = listed.iter().map(|file| (file.identity, file)).collect();
        for (identity, progress) in &mut self.context.known().followed {
            progress.wake_unless(listed.get(identity).copied());
        }
    }

    /// Gives up deleted files that keep too much from the disk, or for too long: where a sink takes nothing, its readers do not even know.
    pub(super) fn bound_deleted(&mut self, listed: &[Listed], bound: DeletedBound) {
        let listed: BTreeSet<Identity> = listed.iter().map(|file| file.identity).collect();
        let unlisted: Vec<(Identity, u64)> = {
            let known = self.context.known();
            let reading = known.followed.iter().filter(|(identity, progress)| !listed.contains(identity) && progress.given_up.is_none());
            reading.map(|(identity, progress)| (*identity, progress.offset)).collect()
        };
        let now = Instant::now();
        let mut deleted = Vec::new();
        for (identity, offset) in unlisted {
            let Some(metadata) = self.context.files.peek(identity).and_then(|file| file.metadata().ok()) else { continue };
            if metadata.nlink() == 0 {
                let since = *self.memory.deleted.entry(identity).or_insert(now);
                deleted.push(Deleted {
                    identity,
                    since,
                    bytes: metadata.blocks() * 512,
                    unread: metadata.len().saturating_sub(offset),
                    size: metadata.len(),
                });
            }
        }
        self.memory.deleted.retain(|identity, _| deleted.iter().any(|file| file.identity == *identity));
        for file in too_many(deleted, now, bound) {
            self.give_up(&file);
        }
    }

    fn give_up(&mut self, file: &Deleted) {
        self.context.files.remove(file.identity);
        self.memory.deleted.remove(&file.identity);
        let path = {
            let mut known = self.context.known();
            let Some(progress) = known.followed.get_mut(&file.identity) else { return };
            progress.given_up = Some(file.size);
            progress.asleep = None;
            progress.woken.notify_one();
            progress.path.clone()
        };
        let source = self.memory.sources.iter().find(|(_, identity)| **identity == file.identity).map(|(source, _)| source.clone());
        self.memory.scan.given_up.extend(source.map(|source| GivenUp { source, path: path.to_path_buf(), bytes: file.unread }));
    }
}
