//! Which deleted files are read no further, so that the disk is freed: those that are too old, and the oldest of too much.

use std::time::Duration;

use tokio::time::Instant;

use super::known::Identity;

/// How much deleted files that are not read yet may keep from the disk, and how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeletedBound {
    pub(super) bytes_max: u64,
    pub(super) age_max: Duration,
}

/// A deleted file that is not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deleted {
    pub(super) identity: Identity,
    pub(super) since: Instant,
    /// Kept from the disk.
    pub(super) bytes: u64,
    pub(super) unread: u64,
    pub(super) size: u64,
}

/// Which of the deleted files are given up: those that are too old, then the oldest until the rest is within the bound.
pub(super) fn too_many(mut deleted: Vec<Deleted>, now: Instant, bound: DeletedBound) -> Vec<Deleted> {
    deleted.sort_by_key(|file| (file.since, file.identity));
    let mut held: u64 = deleted.iter().map(|file| file.bytes).sum();
    deleted.retain(|file| {
        let given_up = held > bound.bytes_max || now.saturating_duration_since(file.since) >= bound.age_max;
        held -= if given_up { file.bytes } else { 0 };
        given_up
    });
    deleted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_deleted_files_go_first_and_those_too_old_in_any_case() {
        let now = Instant::now() + Duration::from_secs(1_000);
        let file = |inode, age, bytes| Deleted {
            identity: Identity { device: 1, inode, born: None },
            since: now - Duration::from_secs(age),
            bytes,
            unread: bytes,
            size: bytes,
        };
        let bound = DeletedBound { bytes_max: 100, age_max: Duration::from_secs(60) };
        let gone = |files: &[Deleted]| too_many(files.to_vec(), now, bound).iter().map(|file| file.identity.inode).collect::<Vec<_>>();
        assert_eq!(gone(&[file(1, 10, 60), file(2, 20, 60), file(3, 5, 30)]), [2]);
        assert_eq!(gone(&[file(1, 60, 1), file(2, 59, 99)]), [1]);
        assert_eq!(gone(&[file(1, 1, 101)]), [1]);
        assert!(gone(&[]).is_empty());
    }
}
