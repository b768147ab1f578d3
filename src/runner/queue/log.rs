//! The segments of a queue: written at one end, read in between, removed at the other.
//!
//! ```text
//! 0000000007.queue  0000000008.bad  0000000009.queue        records go to the last one, whole groups at a time, each synced before it counts
//!        └ removed once a checkpoint on the disk is in a later one
//! ```
//! A segment's number is its lineage, so that a later one is a later file to checkpoints. After each start records go to a new one: no offset is ever
//! used twice. `.bad`: a record in it was damaged; it is read like the others, and then kept for people, the latest four of them.
//! Blocks on the disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use logvine_cluster::checkpoint::{FileKey, Position};

use super::{
    cursor::position,
    disk::Disk,
    frame::{self, Entry, HEAD_BYTES, HEAD_LENGTH, Salt},
};

/// Damaged segments that are kept after they were read.
const BAD_MAX: usize = 4;

/// See the module.
#[derive(Debug)]
pub(super) struct Log<D> {
    disk: D,
    /// No record is added to a segment that is this long.
    segment_bytes: u64,
    segments: Mutex<BTreeMap<u32, Segment>>,
    writer: Mutex<Writer>,
    /// Two checkpoints may be on the disk at once, and each lets segments go.
    releasing: Mutex<()>,
    draw: fn() -> io::Result<Salt>,
}

/// One that can be read.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) number: u32,
    file: String,
    pub(super) salt: Salt,
    /// Up to here it is safe on the disk.
    pub(super) end: u64,
}

impl Segment {
    pub(super) fn key(&self) -> FileKey {
        FileKey { lineage: self.number, named: 0, name: self.salt.name() }
    }
}

#[derive(Debug)]
struct Writer {
    /// The one that records go to.
    active: Option<u32>,
    next: u32,
}

/// What was found amiss at the start.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Amiss {
    /// Segments that should be there, and are not.
    pub(super) missing: u32,
    /// Segments of which not even the beginning can be read: kept as `.bad`.
    pub(super) unreadable: u32,
    /// Bytes of a record at the very end that a crash has torn: nobody was told that it is safe.
    pub(super) torn_bytes: u64,
}

impl<D: Disk> Log<D> {
    /// Goes on with what is in the directory. `resume` is the segment that the checkpoint on the disk is in: those before it are done with.
    pub(super) fn open(disk: D, segment_bytes: u64, resume: Option<FileKey>, draw: fn() -> io::Result<Salt>) -> io::Result<(Self, Amiss)> {
        let mut found = Recovery { disk: &disk, resume, amiss: Amiss::default(), segments: BTreeMap::new(), there: BTreeSet::new() };
        found.run()?;
        let (segments, amiss) = (found.segments, found.amiss);
        let last = found.there.last().copied().max(resume.map(|key| key.lineage));
        let next = last.map_or(Ok(0), after)?;
        let log = Self {
            disk,
            segment_bytes,
            segments: Mutex::new(segments),
            writer: Mutex::new(Writer { active: None, next }),
            releasing: Mutex::default(),
            draw,
        };
        log.prune()?;
        Ok((log, amiss))
    }

    /// What it takes on the disk, without what is kept of damaged ones.
    pub(super) fn bytes(&self) -> u64 {
        self.segments().values().map(|segment| segment.end).sum()
    }

    /// Where what is there ends.
    pub(super) fn tail(&self) -> Option<(FileKey, Position)> {
        self.segments().last_key_value().map(|(_, segment)| (segment.key(), position(segment.key(), segment.end)))
    }

    /// Bytes after a place.
    pub(super) fn bytes_after(&self, number: u32, offset: u64) -> u64 {
        let segments = self.segments();
        let here = segments.get(&number).map_or(0, |segment| segment.end.saturating_sub(offset.max(HEAD_BYTES)));
        here + segments.range(number.saturating_add(1)..).map(|(_, later)| later.end - HEAD_BYTES).sum::<u64>()
    }

    /// The first segment from `number` on, and whether there is a later one: then nothing is added to it any more.
    pub(super) fn segment(&self, number: u32) -> Option<(Segment, bool)> {
        let segments = self.segments();
        let mut from = segments.range(number..);
        let (_, segment) = from.next()?;
        Some((segment.clone(), from.next().is_some()))
    }

    /// Adds records, and returns once all of them are safe. After an error none of them counts, though they may come to be read after a crash.
    pub(super) fn append(&self, entries: &[Entry]) -> io::Result<()> {
        let bytes: u64 = entries.iter().map(Entry::framed_bytes).sum();
        let mut writer = lock(&self.writer);
        let active = writer.active.filter(|active| {
            let end = self.segments()[active].end;
            end == HEAD_BYTES || end + bytes <= self.segment_bytes
        });
        let number = match active {
            Some(number) => number,
            None => self.begin_segment(&mut writer)?,
        };
        let segment = self.segments()[&number].clone();
        let mut frames = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
        for entry in entries {
            let offset = segment.end + frames.len() as u64;
            frame::encode(&mut frames, segment.salt, offset, entry);
        }
        let written = self.disk.append(&segment.file, &frames);
        let was_written = written.is_ok();
        if let Err(error) = written.and_then(|()| self.disk.sync(&segment.file)) {
            let cut = self.disk.truncate(&segment.file, segment.end).and_then(|()| self.disk.sync(&segment.file));
            // After a failed sync nobody knows what the disk has of it: nothing more goes there. A disk that was merely full has said what it has.
            writer.active = writer.active.filter(|_| !was_written && cut.is_ok());
            return Err(error);
        }
        if let Some(segment) = self.segments().get_mut(&number) {
            segment.end += frames.len() as u64;
        }
        Ok(())
    }

    fn begin_segment(&self, writer: &mut Writer) -> io::Result<u32> {
        writer.active = None;
        let (number, salt) = (writer.next, (self.draw)()?);
        let next = after(number)?;
        let file = file_name(number, false);
        let begun = self.disk.create(&file).or_else(|error| match error.kind() {
            // Left by an attempt that failed: nothing in it counts.
            io::ErrorKind::AlreadyExists => self.disk.remove(&file).and_then(|()| self.disk.create(&file)),
            _ => Err(error),
        });
        begun?;
        let head = self.disk.append(&file, &salt.head()).and_then(|()| self.disk.sync(&file)).and_then(|()| self.disk.sync_names());
        if let Err(error) = head {
            let _ = self.disk.remove(&file);
            return Err(error);
        }
        self.segments().insert(number, Segment { number, file, salt, end: HEAD_BYTES });
        (writer.active, writer.next) = (Some(number), next);
        Ok(number)
    }

    /// The bytes of a segment from `offset` on, `most` at most, none past its end.
    pub(super) fn read(&self, segment: &Segment, offset: u64, most: usize) -> io::Result<Bytes> {
        let left = usize::try_from(segment.end.saturating_sub(offset)).unwrap_or(usize::MAX);
        Ok(self.disk.read(&segment.file, offset, most.min(left))?.into())
    }

    /// Notes that a record of this segment is damaged, so that it is kept.
    pub(super) fn note_bad(&self, number: u32) -> io::Result<()> {
        let _writer = lock(&self.writer);
        let Some(file) = self.segments().get(&number).map(|segment| segment.file.clone()) else { return Ok(()) };
        let bad = file_name(number, true);
        if file != bad {
            self.disk.rename(&file, &bad)?;
            if let Some(segment) = self.segments().get_mut(&number) {
                segment.file = bad;
            }
        }
        Ok(())
    }

    /// A checkpoint that is on the disk is in segment `number`: removes those before it.
    pub(super) fn release(&self, number: u32) -> io::Result<()> {
        let _alone = lock(&self.releasing);
        let done: Vec<Segment> = self.segments().range(..number).map(|(_, segment)| segment.clone()).collect();
        for segment in &done {
            if segment.file == file_name(segment.number, false) {
                self.disk.remove(&segment.file)?;
            }
            self.segments().remove(&segment.number);
        }
        if done.is_empty() { Ok(()) } else { self.prune() }
    }

    /// Removes all that is there. Answers how many bytes that were.
    pub(super) fn clear(&self) -> io::Result<u64> {
        let mut writer = lock(&self.writer);
        writer.active = None;
        let next = writer.next;
        drop(writer);
        let bytes = self.bytes();
        self.release(next)?;
        Ok(bytes)
    }

    /// Keeps the latest of the damaged segments that are done with.
    fn prune(&self) -> io::Result<()> {
        let readable: BTreeSet<String> = self.segments().values().map(|segment| segment.file.clone()).collect();
        let mut kept: Vec<String> = self.disk.list()?.into_iter().filter(|file| number_of(file).is_some_and(|(_, bad)| bad)).collect();
        kept.retain(|file| !readable.contains(file));
        kept.sort_unstable();
        for file in kept.iter().rev().skip(BAD_MAX) {
            self.disk.remove(file)?;
        }
        Ok(())
    }

    fn segments(&self) -> MutexGuard<'_, BTreeMap<u32, Segment>> {
        lock(&self.segments)
    }
}

/// What is done at a start.
struct Recovery<'a, D> {
    disk: &'a D,
    resume: Option<FileKey>,
    amiss: Amiss,
    segments: BTreeMap<u32, Segment>,
    /// The numbers that are in use.
    there: BTreeSet<u32>,
}

impl<D: Disk> Recovery<'_, D> {
    fn run(&mut self) -> io::Result<()> {
        let mut files: Vec<(u32, bool, String)> =
            self.disk.list()?.into_iter().filter_map(|file| number_of(&file).map(|(number, bad)| (number, bad, file))).collect();
        files.sort_unstable();
        let last = files.last().map(|(number, ..)| *number);
        let first = self.resume.map_or(0, |key| key.lineage);
        for (number, bad, file) in files {
            if number >= first {
                self.take(number, bad, file, last == Some(number))?;
            } else if !bad {
                self.disk.remove(&file)?;
            }
        }
        self.set_foreign_aside()?;
        self.cut_torn()?;
        let at = self.resume.map(|key| key.lineage);
        if let (Some(lowest), Some(highest)) = (at.or(self.there.first().copied()), self.there.last().copied().max(at)) {
            let expected = u64::from(highest) + 1 - u64::from(lowest);
            self.amiss.missing = u32::try_from(expected.saturating_sub(self.there.len() as u64)).unwrap_or(u32::MAX);
        }
        self.disk.sync_names()
    }

    fn take(&mut self, number: u32, bad: bool, file: String, is_last: bool) -> io::Result<()> {
        let size = self.disk.size(&file)?;
        let head = self.disk.read(&file, 0, HEAD_LENGTH)?;
        match Salt::of(&head) {
            Some(salt) => {
                self.segments.insert(number, Segment { number, file, salt, end: size.max(HEAD_BYTES) });
            }
            // The crash came while it was made: no record was in it.
            None if is_last && size <= HEAD_BYTES => return self.disk.remove(&file),
            None if bad => {}
            None => {
                self.disk.rename(&file, &file_name(number, true))?;
                self.amiss.unreadable += 1;
            }
        }
        self.there.insert(number);
        Ok(())
    }

    /// A segment that has the number of the one that was read, and is another, has not been read: it comes after the rest.
    fn set_foreign_aside(&mut self) -> io::Result<()> {
        let Some(key) = self.resume else { return Ok(()) };
        let foreign = self.segments.get(&key.lineage).is_some_and(|segment| segment.salt.name() != key.name);
        if foreign && let Some(mut segment) = self.segments.remove(&key.lineage) {
            let last = self.there.last().copied().unwrap_or(key.lineage);
            segment.number = after(last)?;
            let file = file_name(segment.number, segment.file == file_name(key.lineage, true));
            self.disk.rename(&segment.file, &file)?;
            segment.file = file;
            self.there.remove(&key.lineage);
            self.there.insert(segment.number);
            self.segments.insert(segment.number, segment);
        }
        Ok(())
    }

    /// A torn record at the end of the last segment goes: else it would look like damage once there is a later one.
    fn cut_torn(&mut self) -> io::Result<()> {
        let Some(segment) = self.segments.values_mut().next_back() else { return Ok(()) };
        let most = usize::try_from(segment.end).unwrap_or(usize::MAX);
        let records = self.disk.read(&segment.file, HEAD_BYTES, most)?;
        let whole = frame::whole_end(segment.salt, &records.into());
        self.amiss.torn_bytes = segment.end - whole;
        if self.amiss.torn_bytes > 0 {
            self.disk.truncate(&segment.file, whole)?;
            segment.end = whole;
        }
        // What was written and not synced before a crash counts from now on, as it will be read.
        self.disk.sync(&segment.file)
    }
}

fn after(number: u32) -> io::Result<u32> {
    number.checked_add(1).ok_or_else(|| io::Error::other("the queue has used up its numbers: delete the runner and make it anew"))
}

fn file_name(number: u32, bad: bool) -> String {
    format!("{number:010}.{}", if bad { "bad" } else { "queue" })
}

fn number_of(file: &str) -> Option<(u32, bool)> {
    let (number, kind) = file.split_once('.')?;
    let bad = match kind {
        "queue" => false,
        "bad" => true,
        _ => return None,
    };
    (number.len() == 10).then(|| number.parse().ok().map(|number| (number, bad)))?
}

/// What is behind these locks is changed by single steps, so that a panic elsewhere leaves it whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
