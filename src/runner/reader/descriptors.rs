//! Which of the followed files are open: at most so many, of which those looked at longest ago are closed and opened again when they have changed.
//!
//! A deleted file stays open whatever the bound: nothing would find it again.

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{content::Content, known::Identity};

/// Files of one instance that are open at once, where the process may have many more.
const OPEN_MAX: usize = 1024;
/// The part of the process's limit that one instance takes.
const SHARE: u64 = 8;

#[derive(Debug)]
pub(super) struct Descriptors {
    most: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    uses: u64,
    files: BTreeMap<Identity, (Arc<Content>, u64)>,
    /// By last use, without those that must stay open.
    by_use: BTreeMap<u64, Identity>,
}

impl Descriptors {
    /// As many as the process's limit allows one instance.
    pub(super) fn of_process() -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let share = limit.map_or(OPEN_MAX, |limit| usize::try_from(limit / SHARE).unwrap_or(OPEN_MAX));
        Self::new(share.clamp(16, OPEN_MAX))
    }

    pub(super) fn new(most: usize) -> Self {
        Self { most, open: Mutex::default() }
    }

    pub(super) fn get(&self, identity: Identity) -> Option<Arc<Content>> {
        let mut open = self.open();
        let file = open.files.get(&identity)?.0.clone();
        open.touch(identity, file.clone());
        Some(file)
    }

    /// Keeps a file open, and closes another if that makes too many.
    pub(super) fn put(&self, identity: Identity, file: Arc<Content>) {
        let mut open = self.open();
        open.touch(identity, file);
        open.shrink(self.most);
    }

    pub(super) fn remove(&self, identity: Identity) -> Option<Arc<Content>> {
        let mut open = self.open();
        let (file, used) = open.files.remove(&identity)?;
        open.by_use.remove(&used);
        Some(file)
    }

    /// Makes room where the process has no descriptor left: half of the files are closed, for all may be opened again.
    pub(super) fn close_half(&self) {
        let mut open = self.open();
        let half = open.files.len() / 2;
        open.shrink(half);
    }

    /// The file if it is open, without a use of it.
    pub(super) fn peek(&self, identity: Identity) -> Option<Arc<Content>> {
        self.open().files.get(&identity).map(|(file, _)| file.clone())
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.open().files.len()
    }

    /// A panic while it was held leaves a file that is closed later than it could be.
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn touch(&mut self, identity: Identity, file: Arc<Content>) {
        self.uses += 1;
        if let Some((_, used)) = self.files.insert(identity, (file, self.uses)) {
            self.by_use.remove(&used);
        }
        self.by_use.insert(self.uses, identity);
    }

    fn shrink(&mut self, most: usize) {
        while self.files.len() > most {
            let Some((_, identity)) = self.by_use.pop_first() else { return };
            if self.files.get(&identity).is_some_and(|(file, _)| file.metadata().is_ok_and(|metadata| metadata.nlink() > 0)) {
                self.files.remove(&identity);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(path: &std::path::Path) -> Arc<Content> {
        std::fs::write(path, "").unwrap();
        Arc::new(Content::new(std::fs::File::open(path).unwrap()).unwrap())
    }

    fn identity(inode: u64) -> Identity {
        Identity { device: 1, inode, born: None }
    }

    #[test]
    fn the_file_that_was_used_longest_ago_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: u64| content(&dir.path().join(name.to_string()));
        let files = Descriptors::new(2);
        (1..=2).for_each(|name| files.put(identity(name), file(name)));
        files.get(identity(1)).unwrap();
        files.put(identity(3), file(3));
        assert_eq!([1, 2, 3].map(|name| files.peek(identity(name)).is_some()), [true, false, true]);
        files.remove(identity(3)).unwrap();
        files.close_half();
        assert_eq!(files.len(), 0);
    }

    #[test]
    fn a_deleted_file_stays_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gone");
        let files = Descriptors::new(1);
        files.put(identity(1), content(&path));
        std::fs::remove_file(&path).unwrap();
        for other in 2..5 {
            files.put(identity(other), content(&dir.path().join("other")));
        }
        assert!(files.peek(identity(1)).is_some());
        assert!(files.len() <= 2);
    }
}
