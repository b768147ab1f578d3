//! What a finder and its readers know together: which files are followed, and how a file is known again.

use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use glob::{MatchOptions, Pattern};
use logvine_cluster::{
    checkpoint::{Checkpoint, FileKey, FileName, HEAD_BYTES_MAX, MARKER_BYTES_MAX, Position, hash64},
    instance::FilePlace,
};
use rustix::io::Errno;
use tokio::sync::Notify;

use super::{content::Content, descriptors::Descriptors, lines::Framing};
use crate::policy::{OpenError, Policy};

/// A `*` stays within one directory, as in a shell.
pub(super) const GLOB: MatchOptions = MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

/// How a file is recognised on this node. The birth time tells a reused inode from its last user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity {
    pub(super) device: u64,
    pub(super) inode: u64,
    /// Microseconds since 1970.
    pub(super) born: Option<u64>,
}

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino(), born: metadata.created().ok().map(micros) }
    }

    pub(super) fn place(self, path: &Path) -> FilePlace {
        FilePlace { device: self.device, inode: self.inode, born: self.born, path: path.to_string_lossy().into_owned() }
    }
}

impl From<&FilePlace> for Identity {
    fn from(place: &FilePlace) -> Self {
        Self { device: place.device, inode: place.inode, born: place.born }
    }
}

/// Microseconds since 1970; zero before.
pub(super) fn micros(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// What the readers of one instance share with their finder.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) policy: Arc<Policy>,
    pub(super) paths: Vec<Pattern>,
    pub(super) exclude: Vec<Pattern>,
    pub(super) poll: Duration,
    pub(super) framing: Framing,
    pub(super) files: Descriptors,
    /// What opening these fails with.
    #[cfg(test)]
    pub(super) faults: Mutex<BTreeMap<PathBuf, Errno>>,
    known: Mutex<Known>,
}

/// The files that are spoken for.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) followed: BTreeMap<Identity, Progress>,
    /// Copies whose content was read as the rest of a truncated file.
    pub(super) copies: BTreeMap<Identity, Copied>,
    /// Copies found since the finder looked last, with the path of the file that they are a copy of: those made after them are to be read too.
    pub(super) claimed: Vec<(PathBuf, Identity)>,
}

impl Known {
    /// Copies kept in mind: a rotation makes one, and they matter as long as the globs mean them.
    const COPIES_MAX: usize = 1024;

    pub(super) fn add_copy(&mut self, identity: Identity, copy: Copied) {
        self.copies.insert(identity, copy);
        while self.copies.len() > Self::COPIES_MAX {
            self.copies.pop_first();
        }
    }
}

/// A copy whose content was read as the rest of a truncated file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copied {
    /// When it was found.
    pub(super) size: u64,
    /// The file that was truncated, and its name before that.
    pub(super) of: Identity,
    pub(super) key: FileKey,
    /// What was read of it, once it was read to its end.
    pub(super) end: Option<u64>,
    /// All of that has been acknowledged: a checkpoint of its own may say so.
    pub(super) acknowledged: bool,
}

/// Tells a finder what has been acknowledged of one file.
#[derive(Debug, Clone)]
pub struct Acknowledged {
    pub(super) context: Arc<Context>,
    pub(super) identity: Identity,
}

impl Acknowledged {
    pub fn note(&self, checkpoint: &Checkpoint) {
        let mut known = self.context.known();
        for copy in known.copies.values_mut().filter(|copy| copy.of == self.identity && !copy.acknowledged) {
            let Some(end) = copy.end else { continue };
            copy.acknowledged = match checkpoint.files.get(&copy.key) {
                Some(positions) => positions.values().all(|position| position.offset >= end),
                // Later files are only sent after it.
                None => checkpoint.files.keys().any(|key| key.lineage > copy.key.lineage),
            };
        }
    }
}

/// What changes of a file whenever it is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stat {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let (modified, changed) = ((metadata.mtime(), metadata.mtime_nsec()), (metadata.ctime(), metadata.ctime_nsec()));
        Self { size: metadata.len(), modified, changed }
    }
}

/// How far the reader of a followed file is.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    /// Where the file was last seen.
    pub(super) path: Arc<Path>,
    /// It is not looked at until it is other than this, or is not listed any more.
    pub(super) asleep: Option<Stat>,
    /// Wakes it.
    pub(super) woken: Arc<Notify>,
    /// The size of a deleted file that is not read any further, as it kept too much from the disk.
    pub(super) given_up: Option<u64>,
    pub(super) key: Option<FileKey>,
    /// After the last whole line.
    pub(super) position: Position,
    /// Of the next byte to read, and the bytes before it.
    pub(super) offset: u64,
    pub(super) recent: Vec<u8>,
}

impl Progress {
    /// Wakes its reader, unless the file is as it was when that left it alone.
    pub(super) fn wake_unless(&mut self, listed: Option<&Listed>) {
        if self.asleep.is_some() && self.asleep != listed.map(|listed| Stat::of(&listed.metadata)) {
            self.asleep = None;
            self.woken.notify_one();
        }
    }
}

impl Context {
    pub(super) fn new(policy: Arc<Policy>, paths: Vec<Pattern>, exclude: Vec<Pattern>, poll: Duration, framing: Framing) -> Self {
        Self {
            policy,
            paths,
            exclude,
            poll,
            framing,
            files: Descriptors::of_process(),
            #[cfg(test)]
            faults: Mutex::default(),
            known: Mutex::default(),
        }
    }

    /// A thread that panicked held it for plain assignments only, so what is in it is whole.
    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the spec's globs mean this path.
    pub(super) fn follows(&self, path: &Path) -> bool {
        self.paths.iter().any(|glob| glob.matches_path_with(path, GLOB)) && !self.excludes(path)
    }

    pub(super) fn excludes(&self, path: &Path) -> bool {
        self.exclude.iter().any(|glob| glob.matches_path_with(path, GLOB))
    }

    /// Looks among the siblings of `path` for a file that is not spoken for and has what `name` was named by, and the bytes before `at`.
    pub(super) fn find_sibling(&self, path: &Path, name: FileName, at: Position) -> Option<Sibling> {
        let mut siblings = siblings(path).ok()?;
        siblings.retain(|sibling| {
            (sibling.metadata.len() >= at.offset || sibling.is_named_packed()) && {
                let known = self.known();
                !known.followed.contains_key(&sibling.identity) && !known.copies.contains_key(&sibling.identity)
            }
        });
        // The longest: of two copies the one made last holds the most.
        siblings.sort_by_key(|sibling| std::cmp::Reverse(sibling.metadata.len()));
        siblings.into_iter().find_map(|Listed { path, identity, metadata }| {
            let (file, _) = self.open(&path).ok()?;
            let before = verify(&file, name, at).ok()??;
            Some(Sibling { file, identity, size: metadata.len(), before })
        })
    }

    pub(super) fn open(&self, path: &Path) -> Result<(Content, Metadata), OpenError> {
        let io = |source| OpenError::Io { path: path.display().to_string(), source };
        #[cfg(test)]
        if let Some(fault) = self.faults.lock().expect("no test panics with it").get(path) {
            return Err(io((*fault).into())).inspect_err(|error| self.make_room(error));
        }
        let file = self.policy.open_read(path).inspect_err(|error| self.make_room(error))?;
        let metadata = file.metadata().map_err(io)?;
        Ok((Content::new(file).map_err(io)?, metadata))
    }

    /// Where no descriptor is left, the next attempt finds some.
    fn make_room(&self, error: &OpenError) {
        let OpenError::Io { source, .. } = error else { return };
        if source.raw_os_error().is_some_and(|error| [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error).contains(&error)) {
            self.files.close_half();
        }
    }

    /// The followed file that was last seen at `path`, opened again where it was closed. None if it is not there, nor beside it.
    pub(super) fn file(&self, identity: Identity, path: &Path) -> io::Result<Option<Arc<Content>>> {
        if let Some(file) = self.files.get(identity) {
            return Ok(Some(file));
        }
        let found = match Listed::at(path.to_path_buf())?.filter(|listed| listed.identity == identity) {
            Some(listed) => Some(listed),
            None => siblings(path)?.into_iter().find(|sibling| sibling.identity == identity),
        };
        let Some(found) = found else { return Ok(None) };
        let (file, metadata) = self.open(&found.path).map_err(|error| match error {
            OpenError::Io { source, .. } => source,
            error => io::Error::other(error),
        })?;
        if Identity::of(&metadata) != identity {
            return Ok(None);
        }
        let file = Arc::new(file);
        self.files.put(identity, file.clone());
        Ok(Some(file))
    }

    /// Leaves a file alone until the finder sees it change.
    pub(super) fn sleep(&self, identity: Identity, seen: Stat) {
        if let Some(progress) = self.known().followed.get_mut(&identity) {
            progress.asleep = Some(seen);
        }
    }
}

/// A file that goes on where another ended.
#[derive(Debug)]
pub(super) struct Sibling {
    pub(super) file: Content,
    pub(super) identity: Identity,
    pub(super) size: u64,
    /// The bytes before the position that was asked for.
    pub(super) before: Vec<u8>,
}

/// A regular file of a directory.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) path: PathBuf,
    pub(super) identity: Identity,
    pub(super) metadata: Metadata,
}

impl Listed {
    /// Whether its content may be longer than it is.
    fn is_named_packed(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "gz")
    }

    /// None if there is no regular file at `path` (any more).
    pub(super) fn at(path: PathBuf) -> io::Result<Option<Self>> {
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => Ok(Some(Self { identity: Identity::of(&metadata), path, metadata })),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The other regular files beside `path`. A link is no file of its own.
pub(super) fn siblings(path: &Path) -> io::Result<Vec<Listed>> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type().is_ok_and(|kind| kind.is_file()) && entry.path() != path {
            found.extend(Listed::at(entry.path()).ok().flatten());
        }
    }
    Ok(found)
}

/// The bytes before `at`, if `file` is the one that `name` and `at` speak of: it has the head, is long enough, and has the marker.
pub(super) fn verify(file: &Content, name: FileName, at: Position) -> io::Result<Option<Vec<u8>>> {
    let head = file.read_at(0, usize::from(name.head_bytes))?;
    let before = read_before(file, at.offset)?;
    Ok((FileName::of(&head) == Some(name) && before.len() as u64 == at.offset.min(MARKER_BYTES_MAX) && hash64(&before) == at.marker)
        .then_some(before))
}

/// The ≤ [`MARKER_BYTES_MAX`] bytes before `offset`; fewer where the file is shorter.
pub(super) fn read_before(file: &Content, offset: u64) -> io::Result<Vec<u8>> {
    let from = offset.saturating_sub(MARKER_BYTES_MAX);
    let most = usize::try_from(offset - from).unwrap_or(HEAD_BYTES_MAX);
    file.read_at(from, most)
}
