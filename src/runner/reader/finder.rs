//! Finds the files of a `file` reader, and knows them again.
//!
//! A listed file is one of: followed already · remembered (`pinned`): by device, inode and birth; else by its head and the bytes before the position, for
//! a copy or another disk · the copy of a truncated one, whose rest was read from it · new. A remembered file that no glob means any more is looked for
//! among its siblings. Files that were rotated between two looks, or while the node was stopped, are the siblings named after a path and born after the
//! file that was there.
//! Not here: what happens within a file (`file`).

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use glob::Pattern;
use logvine_cluster::{
    checkpoint::{FileKey, FileName, HEAD_BYTES_MAX, Position, hash64},
    instance::Pinned,
    name::Name,
    spec::{FileReaderSpec, StartAt},
};
use logvine_gossip::NodeId;
use tokio::{sync::Mutex, time::Instant};
use tracing::warn;

use self::packed::content_bytes;
use super::{
    ReadError,
    content::Content,
    deleted::DeletedBound,
    file::{FileReader, Start, blocking, same_device},
    known::{Context, Copied, GLOB, Identity, Listed, Progress, micros, read_before, siblings, verify},
    lines::Framing,
    watch::{Changes, Watch, literal_directory},
};
use crate::policy::{Policy, opened_path};

mod packed;
mod quiet;

/// Looks at a readable directory without finding a remembered file after which it is gone for good.
const GONE_LOOKS: u32 = 10;
/// The same where its directory is on another file system than it was: not mounted yet, most likely; or its device has got another number.
const UNMOUNTED_LOOKS: u32 = 1_200;
/// Looks for which what may be a copy, made just before its original is truncated, is left alone after it stopped changing. Then it is a file like others.
const COPY_LOOKS: u32 = 20;
/// Left files that are kept in mind, in case their old writer goes on.
const LEFT_MAX: usize = 64;
/// Files that were read to their end and are kept in mind, in case they are found again packed.
const PAST_MAX: usize = 256;
/// How files begin that are packed in a way that is not read: zstd, xz, bzip2.
const UNREADABLE: [&[u8]; 3] = [&[0x28, 0xb5, 0x2f, 0xfd], b"\xfd7zXZ\0", b"BZh"];

/// Finds the files of one instance.
#[derive(Debug)]
pub struct Finder {
    context: Arc<Context>,
    memory: Arc<Mutex<Memory>>,
    bound: DeletedBound,
}

/// What is remembered from look to look.
#[derive(Debug)]
struct Memory {
    node: NodeId,
    senders: Vec<Name>,
    /// Where to begin with a new file; `End` at the first look only.
    start_at: StartAt,
    /// Remembered files that were not found yet.
    waiting: BTreeMap<Name, Waiting>,
    sources: BTreeMap<Name, Identity>,
    /// The file that was last seen at a path.
    at_path: BTreeMap<PathBuf, Identity>,
    /// Files of which nothing was read yet: they were empty, or could not be opened. Rotated then, they are to be found as well.
    unread: BTreeSet<Identity>,
    /// Paths whose file was rotated, with that file: what was born after it is to be found.
    rotated: Vec<(PathBuf, Identity)>,
    /// What may be a copy: its size, and for how many looks it has been that.
    copies: BTreeMap<Identity, (u64, u32)>,
    compressed: BTreeSet<Identity>,
    /// Packed files whose content is read from their original, with that.
    packed: BTreeMap<Identity, Identity>,
    left: Vec<Left>,
    past: Vec<Past>,
    /// Deleted files that are not read to their end, since when.
    deleted: BTreeMap<Identity, Instant>,
    /// Whether the last whole look could not look at everything.
    faulty: bool,
    watch: Watch,
    /// What nobody has taken yet: a look that is not waited for loses nothing.
    scan: Scan,
}

#[derive(Debug)]
struct Waiting {
    path: PathBuf,
    identity: Identity,
    resume: Option<(FileKey, Position)>,
    looks: u32,
}

/// What an original was, and how far it had been read, before it was truncated in an earlier run.
#[derive(Debug)]
struct Past {
    path: PathBuf,
    key: FileKey,
    position: Position,
}

/// A file that was finished and is still there under another name.
#[derive(Debug)]
struct Left {
    source: Name,
    path: PathBuf,
    identity: Identity,
    resume: (FileKey, Position),
}

/// A file to follow, as a pinned source.
#[derive(Debug)]
pub struct Found {
    /// New, or the one that it had in `pinned`. Made of the node's id and the file's device, inode and birth, so no two files of a cluster share it.
    pub source: Name,
    /// Where the reader begins: the key and the least position of the present senders. None for a file that was never read.
    pub resume: Option<(FileKey, Position)>,
    pub reader: FileReader,
}

/// What one look at the directories has found.
#[derive(Debug, Default)]
pub struct Scan {
    /// Files that nobody follows yet.
    pub found: Vec<Found>,
    /// Pinned sources whose file is gone for good: tell `Finished`. Their unread rest, if they had any, cannot be known.
    pub gone: Vec<Name>,
    /// Deleted files whose unread rest is lost, as it kept more from the disk than the spec allows, or for longer. Told once.
    pub given_up: Vec<GivenUp>,
    /// What could not be looked at; the rest was. Told again at each look as long as it holds.
    pub errors: Vec<ReadError>,
}

/// A deleted file that is not read any further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    pub source: Name,
    pub path: PathBuf,
    /// What was not read of it.
    pub bytes: u64,
}

impl Finder {
    /// Prepares to find what `spec` names. `pinned` is what is remembered of earlier starts. Errors: a glob is malformed, or the policy forbids all that it
    /// could match.
    pub fn new(
        spec: &FileReaderSpec,
        policy: Arc<Policy>,
        node: NodeId,
        senders: &[Name],
        pinned: BTreeMap<Name, Pinned>,
    ) -> Result<Self, ReadError> {
        let globs = |texts: &[String]| texts.iter().map(|text| glob(text)).collect::<Result<Vec<_>, _>>();
        let (paths, exclude) = (globs(&spec.paths)?, globs(&spec.exclude)?);
        for path in &spec.paths {
            policy.check_glob(&fixed_part(path)).map_err(|denied| ReadError::new(denied.to_string()))?;
        }
        let start_at = if pinned.is_empty() { spec.start_at } else { StartAt::Beginning };
        let past = pinned.values().flat_map(|pinned| past(pinned, senders)).collect();
        let waiting: BTreeMap<Name, Waiting> = pinned.into_iter().map(|(source, pinned)| (source, Waiting::of(&pinned, senders))).collect();
        let memory = Memory {
            node,
            senders: senders.to_vec(),
            start_at,
            unread: BTreeSet::new(),
            at_path: waiting.values().map(|waiting| (waiting.path.clone(), waiting.identity)).collect(),
            waiting,
            sources: BTreeMap::new(),
            rotated: Vec::new(),
            copies: BTreeMap::new(),
            compressed: BTreeSet::new(),
            packed: BTreeMap::new(),
            left: Vec::new(),
            past,
            deleted: BTreeMap::new(),
            faulty: false,
            watch: Watch::new(),
            scan: Scan::default(),
        };
        let framing = Framing::new(spec.line_bytes_max, spec.encoding, spec.multiline.as_ref())?;
        let context = Context::new(policy, paths, exclude, Duration::from_millis(spec.poll_ms), framing);
        let bound = DeletedBound { bytes_max: spec.deleted_bytes_max, age_max: Duration::from_secs(spec.deleted_age_max_s) };
        Ok(Self { context: Arc::new(context), memory: Arc::new(Mutex::new(memory)), bound })
    }

    /// Looks once. To be called every `poll_ms`. Cancel-safe.
    pub async fn poll(&mut self) -> Scan {
        let (context, memory, bound) = (self.context.clone(), self.memory.clone(), self.bound);
        let looked = blocking(move || {
            let mut memory = memory.blocking_lock();
            Look { context: &context, memory: &mut memory }.run(bound);
            Ok(())
        })
        .await;
        let mut scan = std::mem::take(&mut self.memory.lock().await.scan);
        if let Err(error) = looked {
            scan.errors.push(ReadError::new(format!("cannot look for files: {error}")));
        }
        scan
    }

    /// The reader of `source` was dropped, or its file is not found yet. `known`: where that is to be gone on with; None if all of it was read, and it is
    /// found again only should it grow under another name.
    pub async fn finished(&mut self, source: &Name, known: Option<Pinned>) {
        let mut memory = self.memory.lock().await;
        let Some(identity) = memory.sources.remove(source) else {
            if let (Some(known), true) = (known, memory.waiting.contains_key(source)) {
                let waiting = Waiting::of(&known, &memory.senders);
                memory.waiting.insert(source.clone(), waiting);
            }
            return;
        };
        let Some(progress) = self.context.known().followed.remove(&identity) else { return };
        let file = self.context.files.remove(identity);
        if let Some(known) = known {
            let waiting = Waiting::of(&known, &memory.senders);
            memory.waiting.insert(source.clone(), waiting);
            return;
        }
        if let (Some(key), true) = (progress.key, progress.position.offset > 0) {
            if memory.past.len() == PAST_MAX {
                memory.past.remove(0);
            }
            let position = progress.position;
            memory.past.push(Past { path: progress.path.to_path_buf(), key, position });
        }
        if let (Some(key), Some(Ok(path))) = (progress.key, file.map(|file| opened_path(file.file()))) {
            if memory.left.len() == LEFT_MAX {
                memory.left.remove(0);
            }
            memory.left.push(Left { source: source.clone(), path, identity, resume: (key, progress.position) });
        }
    }
}

/// The files before the present one, each with how far all senders are.
fn past(pinned: &Pinned, senders: &[Name]) -> Vec<Past> {
    let path = PathBuf::from(&pinned.place.path);
    let older = pinned.checkpoint.files.iter().rev().skip(1);
    let least = |positions: &BTreeMap<Name, Position>| senders.iter().map(|sender| positions.get(sender).copied()).min().flatten();
    let read = older.filter_map(|(key, positions)| Some((*key, least(positions).filter(|position| position.offset > 0)?)));
    read.map(|(key, position)| Past { path: path.clone(), key, position }).collect()
}

impl Waiting {
    fn of(pinned: &Pinned, senders: &[Name]) -> Self {
        let resume = pinned.checkpoint.resume(senders).map(|(key, each)| (key, each.values().min().copied().unwrap_or_default()));
        Self { path: PathBuf::from(&pinned.place.path), identity: (&pinned.place).into(), resume, looks: 0 }
    }
}

/// One look at the directories.
struct Look<'a> {
    context: &'a Arc<Context>,
    memory: &'a mut Memory,
}

impl Look<'_> {
    fn run(&mut self, bound: DeletedBound) {
        self.find_left();
        if let Changes::Written(paths) = self.memory.watch.changes()
            && self.is_settled()
            && self.wake_written(&paths)
        {
            return;
        }
        self.memory.scan.errors.clear();
        let listed = self.list();
        self.find_waiting(&listed);
        for file in &listed {
            self.consider(file);
            if self.is_known(file) || self.memory.compressed.contains(&file.identity) {
                self.memory.unread.remove(&file.identity);
            } else {
                self.memory.unread.insert(file.identity);
            }
        }
        self.find_rotated(&listed);
        self.wake(&listed);
        self.bound_deleted(&listed, bound);
        self.remember(&listed);
        let literal: Vec<_> = self.context.paths.iter().map(|glob| literal_directory(glob.as_str())).collect();
        self.memory.watch.cover(&literal, &listed);
        self.memory.faulty = !self.memory.scan.errors.is_empty();
    }

    /// What the globs mean now. A directory that cannot be read hides files; it does not delete them.
    fn list(&mut self) -> Vec<Listed> {
        let mut listed = Vec::new();
        for pattern in &self.context.paths {
            let paths = glob::glob_with(pattern.as_str(), GLOB).into_iter().flatten();
            for path in paths {
                let found =
                    path.map_err(|error| (error.path().to_path_buf(), io::Error::from(error))).and_then(|path| match self.context.excludes(&path) {
                        true => Ok(None),
                        false => Listed::at(path.clone()).map_err(|error| (path, error)),
                    });
                match found {
                    Ok(file) => listed.extend(file),
                    Err((path, error)) => self.memory.scan.errors.push(ReadError::new(format!("cannot look at {}: {error}", path.display()))),
                }
            }
        }
        listed
    }

    /// Finds remembered files among what is listed and their siblings: all by identity first, then by content what is left.
    fn find_waiting(&mut self, listed: &[Listed]) {
        let mut waiting = std::mem::take(&mut self.memory.waiting);
        waiting.retain(|source, waiting| {
            let own = listed
                .iter()
                .find(|file| file.identity == waiting.identity)
                .cloned()
                .or_else(|| siblings(&waiting.path).ok()?.into_iter().find(|file| file.identity == waiting.identity));
            !own.is_some_and(|file| self.resume(source, &file, waiting.resume, true))
        });
        let taken: BTreeSet<Identity> = waiting.values().map(|waiting| waiting.identity).collect();
        waiting.retain(|source, waiting| {
            let Ok(beside) = siblings(&waiting.path) else { return true };
            let mut others = listed.iter().chain(&beside).filter(|file| !taken.contains(&file.identity));
            if others.any(|file| self.resume(source, file, waiting.resume, false)) {
                return false;
            }
            waiting.looks += u32::from(self.memory.scan.errors.is_empty());
            let patience = if same_device(&waiting.path, waiting.identity) { GONE_LOOKS } else { UNMOUNTED_LOOKS };
            if waiting.looks >= patience {
                self.memory.scan.gone.push(source.clone());
            }
            waiting.looks < patience
        });
        self.memory.waiting = waiting;
    }

    /// Finds files that had left and were finished, but have grown since.
    fn find_left(&mut self) {
        for left in std::mem::take(&mut self.memory.left) {
            let Ok(Some(file)) = Listed::at(left.path.clone()) else { continue };
            let grown = file.metadata.len() > left.resume.1.offset;
            if file.identity == left.identity && !(grown && self.resume(&left.source, &file, Some(left.resume), false)) {
                self.memory.left.push(left);
            }
        }
    }

    /// Finds files that were at a path between two looks and have another name by now.
    fn find_rotated(&mut self, listed: &[Listed]) {
        let mut rotated = std::mem::take(&mut self.memory.rotated);
        rotated.append(&mut self.context.known().claimed);
        for file in listed {
            if let Some(before) = self.memory.at_path.get(&file.path).filter(|before| **before != file.identity) {
                rotated.push((file.path.clone(), *before));
            }
        }
        rotated.retain(|(path, before)| {
            let Ok(siblings) = siblings(path) else { return true };
            let unread = &self.memory.unread;
            let later = siblings.iter().filter(|sibling| {
                let is_later = sibling.identity != *before && sibling.identity.born >= before.born && before.born.is_some();
                is_family(&sibling.path, path) && (is_later || unread.contains(&sibling.identity)) && !self.context.excludes(&sibling.path)
            });
            let later: Vec<_> = later.collect();
            let unsettled = later.into_iter().filter(|sibling| !self.consider(sibling)).count();
            unsettled > 0
        });
        self.memory.rotated = rotated;
    }

    fn remember(&mut self, listed: &[Listed]) {
        let memory = &mut *self.memory;
        memory.start_at = StartAt::Beginning;
        let known = self.context.known();
        let there: BTreeSet<Identity> = listed.iter().map(|file| file.identity).collect();
        memory
            .at_path
            .retain(|_, identity| known.followed.contains_key(identity) || memory.waiting.values().any(|waiting| waiting.identity == *identity));
        memory.at_path.extend(listed.iter().map(|file| (file.path.clone(), file.identity)));
        memory.unread.retain(|identity| there.contains(identity) || memory.rotated.iter().any(|(_, before)| before == identity));
        memory.compressed.retain(|identity| there.contains(identity));
        memory.packed.retain(|identity, _| there.contains(identity));
        memory.copies.retain(|identity, _| there.contains(identity) || !memory.rotated.is_empty());
    }

    /// Goes on with a remembered file. `surely`: it is that file, whatever is in it now; else only if its content says so.
    fn resume(&mut self, source: &Name, listed: &Listed, resume: Option<(FileKey, Position)>, surely: bool) -> bool {
        if self.is_known(listed) {
            return false;
        }
        let Some(file) = self.open(listed) else { return false };
        let start = match resume {
            None if surely => Start::Fresh,
            None => return false,
            Some((key, position)) => match verify(&file, key.name, position) {
                Ok(Some(before)) if surely || position.offset > 0 => Start::At { key, offset: position.offset, before, told: true },
                Ok(_) if surely => Start::Lost { key, position },
                Ok(_) => return false,
                Err(error) => {
                    self.fault(&listed.path, &error);
                    return false;
                }
            },
        };
        self.follow(source.clone(), listed, file, start);
        true
    }

    /// Follows a listed file unless it is known, empty, compressed, or may be a copy. Answers whether that is the last word on it.
    fn consider(&mut self, listed: &Listed) -> bool {
        if self.memory.waiting.values().any(|waiting| waiting.identity == listed.identity) {
            // It is remembered, and could not be gone on with now: it is no new file.
            return false;
        }
        if self.is_known(listed) || listed.metadata.len() == 0 || self.memory.compressed.contains(&listed.identity) {
            return true;
        }
        let Some(file) = self.open(listed) else { return false };
        if file.is_packed() {
            return self.consider_packed(listed, file);
        }
        let begin = file.read_at(0, HEAD_BYTES_MAX).and_then(|head| match () {
            () if UNREADABLE.iter().any(|magic| head.starts_with(magic)) => Ok(None),
            () => Ok(Some((self.is_copy(listed, &file, &head)?, self.beginning(listed, &file, &head)?))),
        });
        match begin {
            Ok(None) => {
                warn!(path = %listed.path.display(), "not read, as it is packed with zstd, xz or bzip2; of packed files only gzip is");
                self.memory.compressed.insert(listed.identity);
                true
            }
            Ok(Some((true, _))) if self.wait_for_copy(listed) => false,
            Ok(Some((_, start))) => {
                self.memory.copies.remove(&listed.identity);
                self.follow(self.name(listed.identity), listed, file, start);
                true
            }
            Err(error) => {
                self.fault(&listed.path, &error);
                false
            }
        }
    }

    /// Whether somebody speaks for this file already.
    fn is_known(&self, listed: &Listed) -> bool {
        let known = self.context.known();
        // A copy that the globs mean is followed from its end on, once that is a fact: so it is known as read after a restart.
        let read = |copy: &Copied| copy.size >= listed.metadata.len() && !(copy.acknowledged && self.context.follows(&listed.path));
        known.followed.contains_key(&listed.identity) || known.copies.get(&listed.identity).is_some_and(read)
    }

    /// Whether `file` has what a followed one had as far as that was read.
    fn is_copy(&self, listed: &Listed, file: &Content, head: &[u8]) -> io::Result<bool> {
        let mut heads = BTreeMap::new();
        let mut same_head = |name: FileName| {
            let bytes = usize::from(name.head_bytes);
            *heads.entry(name.head_bytes).or_insert_with(|| head.get(..bytes).and_then(FileName::of)) == Some(name)
        };
        let alike: Vec<(Identity, Progress)> = {
            let known = self.context.known();
            let alike = known.followed.iter().filter(|(_, followed)| followed.key.is_some_and(|key| same_head(key.name)));
            alike.map(|(identity, followed)| (*identity, followed.clone())).collect()
        };
        for followed in alike {
            let position = followed.1.position;
            if followed.1.recent.is_empty() && position.offset > 0 {
                // Its reader looks for the rest of what was truncated.
                if hash64(&read_before(file, position.offset)?) == position.marker {
                    return Ok(true);
                }
                continue;
            }
            let at = followed.1.offset.min(listed.metadata.len());
            let theirs = match at == followed.1.offset {
                true => followed.1.recent,
                false => match self.context.file(followed.0, &followed.1.path)? {
                    Some(original) => read_before(&original, at)?,
                    None => continue,
                },
            };
            if read_before(file, at)? == theirs {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn wait_for_copy(&mut self, listed: &Listed) -> bool {
        let size = listed.metadata.len();
        let (seen, looks) = self.memory.copies.entry(listed.identity).or_insert((size, 0));
        *looks = if *seen == size { *looks + 1 } else { 0 };
        *seen = size;
        *looks <= COPY_LOOKS
    }

    /// Where to begin with a new file: after what was read of it as a copy, or as the spec says.
    fn beginning(&mut self, listed: &Listed, file: &Content, head: &[u8]) -> io::Result<Start> {
        let read = self.context.known().copies.get(&listed.identity).map(|copy| copy.end.unwrap_or(copy.size));
        let read = match read {
            None => self.read_before_stop(listed, file)?,
            read => read,
        };
        let offset = match (read, self.memory.start_at) {
            (Some(offset), _) => offset,
            (None, StartAt::Beginning) => return Ok(Start::Fresh),
            (None, StartAt::End) if file.is_packed() => content_bytes(file)?,
            (None, StartAt::End) => last_line_end(file, listed.metadata.len(), &self.context.framing)?,
        };
        let Some(name) = FileName::of(head) else { return Ok(Start::Fresh) };
        Ok(Start::At { key: FileKey { lineage: 0, named: 0, name }, offset, before: read_before(file, offset)?, told: false })
    }

    /// How far a copy, made before the start, of a file that was truncated since was read: its original's checkpoint still knows.
    fn read_before_stop(&mut self, listed: &Listed, file: &Content) -> io::Result<Option<u64>> {
        for at in 0..self.memory.past.len() {
            let Past { path, key, position } = &self.memory.past[at];
            if is_family(&listed.path, path) && verify(file, key.name, *position)?.is_some() {
                return Ok(Some(self.memory.past.swap_remove(at).position.offset));
            }
        }
        Ok(None)
    }

    fn follow(&mut self, source: Name, listed: &Listed, file: Content, start: Start) {
        let resume = match &start {
            Start::Fresh => None,
            Start::At { key, offset, before, .. } => Some((*key, Position { offset: *offset, marker: hash64(before) })),
            Start::Lost { key, position } => Some((*key, *position)),
        };
        let reader = FileReader::new(self.context.clone(), listed.path.clone(), listed.identity, file, start);
        self.memory.sources.insert(source.clone(), listed.identity);
        self.memory.scan.found.push(Found { source, resume, reader });
    }

    /// None if it cannot be opened, which is told, or is another file by now.
    fn open(&mut self, listed: &Listed) -> Option<Content> {
        match self.context.open(&listed.path) {
            Ok((file, metadata)) => (Identity::of(&metadata) == listed.identity).then_some(file),
            Err(error) => {
                self.memory.scan.errors.push(ReadError::new(error.to_string()));
                None
            }
        }
    }

    fn fault(&mut self, path: &Path, error: &io::Error) {
        self.memory.scan.errors.push(ReadError::new(format!("cannot read {}: {error}", path.display())));
    }

    /// A name that no other file of the cluster has; where the file system keeps no birth time, the time of the finding stands for it.
    fn name(&self, identity: Identity) -> Name {
        let born = identity.born.unwrap_or_else(|| micros(SystemTime::now()));
        let text = format!("{}-{:x}-{:x}-{born:x}", self.memory.node.short(), identity.device, identity.inode);
        Name::try_from(text).expect("at most 8 + 3 × 17 letters, digits and dashes")
    }
}

/// Whether `path` is named after `original` and lies beside it.
fn is_family(path: &Path, original: &Path) -> bool {
    let named_after = |name: &OsStr, original: &OsStr| name.as_encoded_bytes().starts_with(original.as_encoded_bytes());
    path.parent() == original.parent() && path.file_name().zip(original.file_name()).is_some_and(|(name, original)| named_after(name, original))
}

fn glob(text: &str) -> Result<Pattern, ReadError> {
    Pattern::new(text).map_err(|error| ReadError::new(format!("`{text}` is not a glob: {} at character {}", error.msg, error.pos + 1)))
}

/// The directory beneath which all matches of a glob are, or the file itself where it is no glob.
fn fixed_part(glob: &str) -> PathBuf {
    match glob.find(['*', '?', '[']) {
        Some(at) => PathBuf::from(&glob[..glob[..at].rfind('/').map_or(0, |slash| slash + 1)]),
        None => PathBuf::from(glob),
    }
}

/// After the last whole line of a file; its end where none ends in as many bytes as a line may have.
fn last_line_end(file: &Content, size: u64, framing: &Framing) -> io::Result<u64> {
    let from = size.saturating_sub(framing.line_bytes_max() as u64);
    let most = usize::try_from(size - from).unwrap_or(framing.line_bytes_max());
    let end = framing.last_line_end(from, &file.read_at(from, most)?);
    Ok(end.unwrap_or(if from == 0 { 0 } else { size }))
}

#[cfg(test)]
mod tests;
