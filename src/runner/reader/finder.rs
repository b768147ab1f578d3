//! Finds the files of a `file` reader, and knows them again.
//!
//! A listed file is one of: followed already · remembered (`pinned`): by device, inode and birth; else by its head and the bytes before the position, for
//! a copy or another disk · the copy of a truncated one, whose rest was read from it · new. A remembered file that no glob means any more is looked for
//! among its siblings. Files that were rotated between two looks, or while the node was stopped, are the siblings named after a path and born after the
//! file that was there.
//! Not here: what happens within a file (`file`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
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
use tokio::sync::Mutex;
use tracing::info;

use super::{
    ReadError,
    file::{FileReader, Start, blocking},
    known::{Context, GLOB, Identity, Listed, Progress, micros, read_at, read_before, siblings, verify},
    lines::Framing,
};
use crate::policy::{Policy, opened_path};

/// Looks at a readable directory without finding a remembered file after which it is gone for good.
const GONE_LOOKS: u32 = 10;
/// Looks for which what may be a copy, made just before its original is truncated, is left alone after it stopped changing. Then it is a file like others.
const COPY_LOOKS: u32 = 20;
/// Left files that are kept in mind, in case their old writer goes on.
const LEFT_MAX: usize = 64;
/// How compressed files begin: gzip, zstd, xz, bzip2. Rotated logs that were read before they were compressed.
const COMPRESSED: [&[u8]; 4] = [&[0x1f, 0x8b], &[0x28, 0xb5, 0x2f, 0xfd], b"\xfd7zXZ\0", b"BZh"];

/// Finds the files of one instance.
#[derive(Debug)]
pub struct Finder {
    context: Arc<Context>,
    memory: Arc<Mutex<Memory>>,
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
    /// Paths whose file was rotated, with that file: what was born after it is to be found.
    rotated: Vec<(PathBuf, Identity)>,
    /// What may be a copy: its size, and for how many looks it has been that.
    copies: BTreeMap<Identity, (u64, u32)>,
    compressed: BTreeSet<Identity>,
    left: Vec<Left>,
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
    /// What could not be looked at; the rest was. Told again at each look as long as it holds.
    pub errors: Vec<ReadError>,
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
        let waiting: BTreeMap<Name, Waiting> = pinned.into_iter().map(|(source, pinned)| (source, Waiting::of(&pinned, senders))).collect();
        let memory = Memory {
            node,
            senders: senders.to_vec(),
            start_at,
            at_path: waiting.values().map(|waiting| (waiting.path.clone(), waiting.identity)).collect(),
            waiting,
            sources: BTreeMap::new(),
            rotated: Vec::new(),
            copies: BTreeMap::new(),
            compressed: BTreeSet::new(),
            left: Vec::new(),
            scan: Scan::default(),
        };
        let framing = Framing::new(spec.line_bytes_max, spec.encoding, spec.multiline.as_ref())?;
        let context = Context::new(policy, paths, exclude, Duration::from_millis(spec.poll_ms), framing);
        Ok(Self { context: Arc::new(context), memory: Arc::new(Mutex::new(memory)) })
    }

    /// Looks once. To be called every `poll_ms`. Cancel-safe.
    pub async fn poll(&mut self) -> Scan {
        let (context, memory) = (self.context.clone(), self.memory.clone());
        let looked = blocking(move || {
            let mut memory = memory.blocking_lock();
            memory.scan.errors.clear();
            Look { context: &context, memory: &mut memory }.run();
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
        if let Some(known) = known {
            let waiting = Waiting::of(&known, &memory.senders);
            memory.waiting.insert(source.clone(), waiting);
        } else if let (Some(key), Ok(path)) = (progress.key, opened_path(&progress.file)) {
            if memory.left.len() == LEFT_MAX {
                memory.left.remove(0);
            }
            memory.left.push(Left { source: source.clone(), path, identity, resume: (key, progress.position) });
        }
    }
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
    fn run(&mut self) {
        let listed = self.list();
        self.find_waiting(&listed);
        self.find_left();
        for file in &listed {
            self.consider(file);
        }
        self.find_rotated(&listed);
        self.remember(&listed);
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
            if waiting.looks >= GONE_LOOKS {
                self.memory.scan.gone.push(source.clone());
            }
            waiting.looks < GONE_LOOKS
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
            let family = |sibling: &Listed| match (sibling.path.file_name(), path.file_name()) {
                (Some(name), Some(family)) => name.as_encoded_bytes().starts_with(family.as_encoded_bytes()),
                _ => false,
            };
            let Ok(siblings) = siblings(path) else { return true };
            let later = siblings
                .iter()
                .filter(|sibling| family(sibling) && sibling.identity != *before && sibling.identity.born >= before.born && before.born.is_some());
            let unsettled = later.filter(|sibling| !self.context.excludes(&sibling.path)).filter(|sibling| !self.consider(sibling)).count();
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
        memory.compressed.retain(|identity| there.contains(identity));
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
        if self.is_known(listed) || listed.metadata.len() == 0 || self.memory.compressed.contains(&listed.identity) {
            return true;
        }
        let Some(file) = self.open(listed) else { return false };
        let begin = read_at(&file, 0, HEAD_BYTES_MAX).and_then(|head| match () {
            () if COMPRESSED.iter().any(|magic| head.starts_with(magic)) => Ok(None),
            () => Ok(Some((self.is_copy(listed, &file, &head)?, self.beginning(listed, &file, &head)?))),
        });
        match begin {
            Ok(None) => {
                info!(path = %listed.path.display(), "a compressed file is not read");
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
        known.followed.contains_key(&listed.identity) || known.copies.get(&listed.identity).is_some_and(|size| *size >= listed.metadata.len())
    }

    /// Whether `file` has what a followed one had as far as that was read.
    fn is_copy(&self, listed: &Listed, file: &File, head: &[u8]) -> io::Result<bool> {
        let mut heads = BTreeMap::new();
        let mut same_head = |name: FileName| {
            let bytes = usize::from(name.head_bytes);
            *heads.entry(name.head_bytes).or_insert_with(|| head.get(..bytes).and_then(FileName::of)) == Some(name)
        };
        let alike: Vec<Progress> =
            self.context.known().followed.values().filter(|followed| followed.key.is_some_and(|key| same_head(key.name))).cloned().collect();
        for followed in alike {
            let at = followed.offset.min(listed.metadata.len());
            let theirs = if at == followed.offset { followed.recent } else { read_before(&followed.file, at)? };
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
    fn beginning(&self, listed: &Listed, file: &File, head: &[u8]) -> io::Result<Start> {
        let read = self.context.known().copies.get(&listed.identity).copied();
        let offset = match (read, self.memory.start_at) {
            (Some(offset), _) => offset,
            (None, StartAt::Beginning) => return Ok(Start::Fresh),
            (None, StartAt::End) => last_line_end(file, listed.metadata.len(), &self.context.framing)?,
        };
        let Some(name) = FileName::of(head) else { return Ok(Start::Fresh) };
        Ok(Start::At { key: FileKey { lineage: 0, name }, offset, before: read_before(file, offset)?, told: false })
    }

    fn follow(&mut self, source: Name, listed: &Listed, file: File, start: Start) {
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
    fn open(&mut self, listed: &Listed) -> Option<File> {
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
fn last_line_end(file: &File, size: u64, framing: &Framing) -> io::Result<u64> {
    let from = size.saturating_sub(framing.line_bytes_max() as u64);
    let most = usize::try_from(size - from).unwrap_or(framing.line_bytes_max());
    let end = framing.last_line_end(from, &read_at(file, from, most)?);
    Ok(end.unwrap_or(if from == 0 { 0 } else { size }))
}

#[cfg(test)]
mod tests;
