//! What the kernel says of the directories that are looked at (inotify): a hint which of them need no look now, never the truth.
//!
//! Where it says nothing of what happens (another machine writes to the file system, a glob for directories, a link), every look is a whole one. It is
//! asked when a look is due, and every so often a look is whole whatever it says.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    mem::MaybeUninit,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        inotify::{self, CreateFlags, ReadFlags, WatchFlags},
        statfs,
    },
    io::Errno,
};

use super::known::Listed;

/// Looks of which one is whole, whatever the kernel says: 30 s by default. It says nothing of a write through a memory map, which hardly any log is.
const WHOLE_EVERY: u32 = 60;
/// Directories of one instance that are watched.
const DIRECTORIES_MAX: usize = 256;
/// File systems whose every change is made by this kernel: ext2 to 4, XFS, Btrfs, tmpfs, F2FS, ZFS.
const LOCAL: [i64; 6] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0xf2f5_2010, 0x2fc1_2fc1];
const CHANGES: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// What to look at.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Changes {
    /// Everything.
    Unknown,
    /// These were written to; nothing else has changed that is known.
    Written(BTreeSet<PathBuf>),
}

#[derive(Debug)]
pub(super) struct Watch {
    /// None where there is no inotify, or no instance of it left.
    queue: Option<OwnedFd>,
    directories: BTreeMap<i32, PathBuf>,
    /// Whether all that a whole look looks at is watched.
    covers: bool,
    /// Looks since the last whole one.
    looks: u32,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self { queue: inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok(), ..Self::none() }
    }

    /// Without inotify.
    pub(super) fn none() -> Self {
        Self { queue: None, directories: BTreeMap::new(), covers: false, looks: 0 }
    }

    /// What has changed since the last time. To be asked before each look.
    pub(super) fn changes(&mut self) -> Changes {
        self.looks += 1;
        match self.read() {
            Some(written) if self.covers && self.looks < WHOLE_EVERY => Changes::Written(written),
            _ => Changes::Unknown,
        }
    }

    /// After a whole look: watches the directories of the globs, whose files are `listed`. `literal`: of each glob the directory, where it names one.
    pub(super) fn cover(&mut self, literal: &[Option<PathBuf>], listed: &[Listed]) {
        self.looks = 0;
        let Some(queue) = &self.queue else { return };
        let wanted: Option<BTreeSet<&PathBuf>> = literal.iter().map(Option::as_ref).collect();
        let Some(wanted) = wanted.filter(|wanted| wanted.len() <= DIRECTORIES_MAX) else { return };
        let mut covers = true;
        for directory in wanted {
            if self.directories.values().any(|known| known == directory) {
                continue;
            }
            let local = statfs(directory).is_ok_and(|at| LOCAL.contains(&at.f_type));
            match local.then(|| inotify::add_watch(queue, directory, CHANGES)) {
                Some(Ok(watch)) => drop(self.directories.insert(watch, directory.clone())),
                _ => covers = false,
            }
            // What came before it was watched is seen by another whole look.
            self.looks = WHOLE_EVERY;
        }
        // What is written by another name, or behind a link, is not told of this one.
        self.covers = covers && listed.iter().all(|file| file.metadata.nlink() == 1 && !file.path.is_symlink());
    }

    /// The files that were written to. None: more than that has happened.
    fn read(&mut self) -> Option<BTreeSet<PathBuf>> {
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut events = inotify::Reader::new(self.queue.as_ref()?, &mut buffer);
        let mut written = Some(BTreeSet::new());
        loop {
            let event = match events.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return written,
                Err(Errno::INTR) => continue,
                Err(_) => return None,
            };
            if event.events().intersects(ReadFlags::IGNORED | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT) {
                self.directories.remove(&event.wd());
            }
            let directory = self.directories.get(&event.wd());
            let only_written = event.events().difference(ReadFlags::MODIFY | ReadFlags::ATTRIB).is_empty();
            match (directory, event.file_name(), only_written) {
                (Some(directory), Some(name), true) => {
                    let path = directory.join(OsStr::from_bytes(name.to_bytes()));
                    if let Some(written) = &mut written {
                        written.insert(path);
                    }
                }
                _ => written = None,
            }
        }
    }
}

/// The directory of a glob that has its only wildcards in the file's name.
pub(super) fn literal_directory(glob: &str) -> Option<PathBuf> {
    let directory = Path::new(glob).parent()?;
    directory.to_str().filter(|text| !text.contains(['*', '?', '['])).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn watched(dir: &Path) -> Watch {
        let mut watch = Watch::new();
        for _ in 0..2 {
            watch.cover(&[Some(dir.to_path_buf())], &[]);
            assert_eq!(watch.changes(), if watch.looks < WHOLE_EVERY { Changes::Written(BTreeSet::new()) } else { Changes::Unknown });
        }
        watch
    }

    #[test]
    fn what_is_written_is_named_and_what_comes_or_goes_wants_a_whole_look() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("a.log");
        fs::write(&log, "").unwrap();
        let mut watch = watched(dir.path());
        fs::write(&log, "one\n").unwrap();
        assert_eq!(watch.changes(), Changes::Written([log.clone()].into()));
        assert_eq!(watch.changes(), Changes::Written(BTreeSet::new()));
        fs::write(dir.path().join("b.log"), "").unwrap();
        assert_eq!(watch.changes(), Changes::Unknown);
        fs::rename(&log, dir.path().join("a.log.1")).unwrap();
        assert_eq!(watch.changes(), Changes::Unknown);
    }

    #[test]
    fn a_look_is_whole_every_so_often_whatever_the_kernel_says() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = watched(dir.path());
        let whole = (0..WHOLE_EVERY).filter(|_| watch.changes() == Changes::Unknown).count();
        assert!(whole >= 1);
    }

    /// The queue has a bound; what did not fit is not known.
    #[test]
    fn an_overflow_of_the_queue_wants_a_whole_look() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&a, "").unwrap();
        fs::write(&b, "").unwrap();
        let mut watch = watched(dir.path());
        let events_max: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
        let (mut a, mut b) = (fs::File::create(&a).unwrap(), fs::File::create(&b).unwrap());
        for _ in 0..=events_max / 2 {
            // Equal events in a row are one.
            std::io::Write::write_all(&mut a, b"x").unwrap();
            std::io::Write::write_all(&mut b, b"x").unwrap();
        }
        assert_eq!(watch.changes(), Changes::Unknown);
        assert_eq!(watch.changes(), Changes::Written(BTreeSet::new()));
    }

    #[test]
    fn a_directory_that_is_made_anew_is_watched_anew() {
        let dir = tempfile::tempdir().unwrap();
        let logs = dir.path().join("logs");
        fs::create_dir(&logs).unwrap();
        let mut watch = watched(&logs);
        fs::remove_dir(&logs).unwrap();
        assert_eq!(watch.changes(), Changes::Unknown);
        fs::create_dir(&logs).unwrap();
        watch.cover(&[Some(logs.clone())], &[]);
        assert_eq!(watch.changes(), Changes::Unknown, "what came before it was watched is looked for");
        watch.cover(&[Some(logs.clone())], &[]);
        assert_eq!(watch.changes(), Changes::Written(BTreeSet::new()));
        fs::write(logs.join("a.log"), "").unwrap();
        assert_eq!(watch.changes(), Changes::Unknown);
    }

    #[test]
    fn without_inotify_and_with_globs_for_directories_every_look_is_whole() {
        let mut none = Watch::none();
        none.cover(&[], &[]);
        assert_eq!(none.changes(), Changes::Unknown);
        assert_eq!(literal_directory("/var/log/*.log"), Some("/var/log".into()));
        assert_eq!(literal_directory("/var/*/a.log"), None);
        let mut watch = Watch::new();
        watch.cover(&[None], &[]);
        assert_eq!(watch.changes(), Changes::Unknown);
    }
}
