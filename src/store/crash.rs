//! A store on a disk that loses its power after each write and each change of length, and what was not synced is lost, torn or kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex},
};

use redb::StorageBackend;

use super::*;

/// Of more writes than these between two syncs, not every subset is tried.
const ALL_SUBSETS_OF: usize = 4;
/// Of the crashes after which a store is started, one in so many crashes again: all of them, 85,040, held when this was written, in six minutes.
const AGAIN_EVERY: usize = 149;

#[derive(Debug, Clone)]
enum Done {
    Write(usize, Vec<u8>),
    Length(usize),
    Sync,
    /// The store was given so many batches.
    Given(usize),
    /// It has said that so many are on the disk.
    Reported(usize),
}

impl Done {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, written) => {
                bytes.resize(bytes.len().max(offset + written.len()), 0);
                bytes[*offset..offset + written.len()].copy_from_slice(written);
            }
            Self::Length(length) => bytes.resize(*length, 0),
            Self::Sync | Self::Given(_) | Self::Reported(_) => {}
        }
    }

    /// A write of which only the first half came through.
    fn half(&self) -> Self {
        match self {
            Self::Write(offset, written) => Self::Write(*offset, written[..written.len() / 2].to_vec()),
            other => other.clone(),
        }
    }
}

/// Keeps what is done to it, in order.
#[derive(Debug, Clone, Default)]
struct Recorder {
    bytes: Arc<Mutex<Vec<u8>>>,
    done: Arc<Mutex<Vec<Done>>>,
}

impl Recorder {
    fn of(bytes: Vec<u8>) -> Self {
        Self { bytes: Arc::new(Mutex::new(bytes)), done: Arc::default() }
    }

    fn note(&self, done: Done) {
        done.apply(&mut self.bytes.lock().unwrap());
        self.done.lock().unwrap().push(done);
    }

    fn database(&self) -> Result<Database, redb::Error> {
        Ok(builder().set_check_integrity_on_open(true).create_with_backend(self.clone())?)
    }
}

fn at(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

impl StorageBackend for Recorder {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes.lock().unwrap();
        out.copy_from_slice(bytes.get(at(offset)..at(offset) + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.note(Done::Length(at(length)));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.note(Done::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.note(Done::Write(at(offset), data.to_vec()));
        Ok(())
    }
}

/// What a store holds.
type Content = BTreeMap<(String, Vec<u8>), Vec<u8>>;

fn content(writes: &[Write]) -> Content {
    apply(Content::new(), writes)
}

fn apply(mut content: Content, writes: &[Write]) -> Content {
    for write in writes {
        let key = (format!("{:?}", write.table), write.key.clone());
        match &write.value {
            Some(value) => drop(content.insert(key, value.clone())),
            None => drop(content.remove(&key)),
        }
    }
    content
}

/// Checkpoints that are written over, rows that come and go, and now and then a batch for which the file must grow.
fn batch(number: usize) -> Vec<Write> {
    let put = |table, key: String, bytes: usize| Write { table, key: key.into_bytes(), value: Some(vec![u8::try_from(number).unwrap(); bytes]) };
    let bytes = if number % 5 == 3 { 300_000 } else { 40 * number + 1 };
    vec![
        put(Table::Pinned, "checkpoint".to_owned(), 60),
        put(Table::Catalog, format!("row {}", number % 4), bytes),
        Write { table: Table::Catalog, key: format!("row {}", (number + 2) % 4).into_bytes(), value: None },
    ]
}

/// A store is made on the disk, or found there; batches are persisted one after the other, as its thread does it, and it ends.
fn work(disk: &Recorder, batches: std::ops::Range<usize>) {
    let (database, _) = read(disk.database().unwrap()).unwrap().unwrap();
    let ((report, mut reports), (given, queue)) = (unbounded_channel(), mpsc::channel());
    let (home, reopen) = (tempfile::tempdir().unwrap(), || panic!("the disk is never full"));
    let writer = Writer { database: Some(database), reopen, directory: home.path().to_owned(), report };
    let thread = thread::spawn(move || writer.run(&queue));
    for number in batches {
        disk.note(Done::Given(number + 1));
        given.send(Batch { ticket: Ticket(number as u64), writes: batch(number) }).unwrap();
        assert_eq!(reports.blocking_recv().unwrap().unwrap(), Report::Persisted(Ticket(number as u64)));
        disk.note(Done::Reported(number + 1));
    }
    drop(given);
    thread.join().unwrap();
}

/// What may be found after the power went: `synced`, and of what came since each part that may have come through.
fn remains(synced: &[u8], since: &[Done]) -> BTreeSet<Vec<u8>> {
    let through = |chosen: &dyn Fn(usize) -> bool, torn: Option<usize>| {
        let mut bytes = synced.to_vec();
        for (at, done) in since.iter().enumerate().filter(|(at, _)| chosen(*at)) {
            if torn == Some(at) { done.half().apply(&mut bytes) } else { done.apply(&mut bytes) }
        }
        bytes
    };
    let count = since.len();
    let mut found = BTreeSet::from([through(&|_| false, None), through(&|_| true, None)]);
    if count <= ALL_SUBSETS_OF {
        found.extend((0..1_usize << count).map(|set| through(&|at| set >> at & 1 == 1, None)));
    }
    // The last one alone is new to this crash: what came of those before it alone was tried at theirs.
    if let Some(last) = count.checked_sub(1) {
        found.extend([through(&|at| at == last, None), through(&|at| at == last, Some(last)), through(&|_| true, Some(last))]);
        found.extend((0..last).flat_map(|gone| [through(&|at| at != gone, None), through(&|_| true, Some(gone))]));
    }
    found
}

/// Each crash of what was `done` on a disk that held `bytes`: what is found after it, how many batches were reported by then, and how many were given.
fn crashes(bytes: Vec<u8>, done: &[Done], (mut reported, mut given): (usize, usize), mut check: impl FnMut(&[u8], usize, usize)) {
    let (mut synced, mut since) = (bytes, vec![]);
    for done in done {
        match done {
            Done::Sync => since.drain(..).for_each(|done: Done| done.apply(&mut synced)),
            Done::Given(count) => given = *count,
            Done::Reported(count) => reported = *count,
            Done::Write(..) | Done::Length(_) => since.push(done.clone()),
        }
        for left in remains(&synced, &since) {
            check(&left, reported, given);
        }
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// DESIGN §9, PITFALLS §6: every write and sync × {lost, torn, kept}, and some of them again during the start after it.
#[test]
fn no_crash_loses_what_was_reported_or_shows_half_a_batch() {
    const BATCHES: usize = 6;
    let mut states = vec![Content::new()];
    for number in 0..BATCHES {
        states.push(apply(states[number].clone(), &batch(number)));
    }
    let disk = Recorder::default();
    work(&disk, 0..BATCHES - 2);
    work(&disk, BATCHES - 2..BATCHES);
    let done = disk.done.lock().unwrap().clone();
    let (mut tried, mut again, mut aside) = (0, 0, 0);
    let mut seen = BTreeMap::new();
    let mut check = |left: &[u8], reported: usize, given: usize, again: bool| -> Option<Vec<Done>> {
        // What is found is the same whatever was found before: one look at each.
        if left.is_empty() || seen.insert(hash(left), reported).is_some_and(|before| before >= reported) {
            return None;
        }
        let disk = Recorder::of(left.to_vec());
        match judged(Path::new(FILE), || read(disk.database()?)) {
            Ok((_database, writes)) => {
                let found = content(&writes);
                assert!(states[reported..=given].contains(&found), "{reported} reported, {given} given, again: {again}");
            }
            Err(LoadError::Corrupt(why)) => {
                assert_eq!(reported, 0, "it is set aside, and {reported} batches with it: {why}");
                aside += 1;
                return None;
            }
            Err(LoadError::Refused(error)) => panic!("{error:?}"),
        }
        let done = disk.done.lock().unwrap().clone();
        Some(done)
    };
    crashes(Vec::new(), &done, (0, 0), |left, reported, given| {
        tried += 1;
        let Some(start) = check(left, reported, given, false).filter(|_| tried % AGAIN_EVERY == 0) else { return };
        crashes(left.to_vec(), &start, (reported, given), |left, reported, given| {
            again += 1;
            check(left, reported, given, true);
        });
    });
    println!("{} operations, {tried} crashes, {again} during a start, {aside} set aside, {} different", done.len(), seen.len());
    assert!(tried > 300 && again > 300, "{tried} crashes, {again} during a start");
}
