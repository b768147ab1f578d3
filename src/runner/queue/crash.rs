//! A queue on a simulated disk, on which each write, sync, rename and removal may be the last, and what was not synced is lost, torn or kept.

use std::{
    collections::BTreeSet,
    io,
    sync::atomic::{AtomicU8, Ordering::Relaxed},
};

use bytes::Bytes;
use logvine_cluster::checkpoint::{FileKey, Position};

use super::{
    cursor::{Cursor, Piece},
    disk::Disk,
    frame::{Entry, HEAD_LENGTH, Salt},
    log::{Amiss, Log},
};
use crate::simulated_disk::{Platters, SimulatedDisk, remains};

/// So that a few records fill a segment.
const SEGMENT_BYTES: u64 = 130;

static DRAWN: AtomicU8 = AtomicU8::new(0);

fn draw() -> io::Result<Salt> {
    Ok(Salt([DRAWN.fetch_add(1, Relaxed); 16]))
}

fn entry(number: u32) -> Entry {
    Entry { bytes: Bytes::from(format!("record {number}")), cut: false }
}

/// What a node knows, as its store has it: a checkpoint is all there or not at all.
#[derive(Debug, Clone, Default)]
struct Known {
    checkpoint: Option<(FileKey, Position)>,
    /// Records before this one are before the checkpoint.
    passed: u32,
    /// Records that somebody was told are safe.
    safe: BTreeSet<u32>,
    /// Records that were pushed: those that are not safe may have been written as well.
    tried: u32,
}

impl Known {
    fn open(&self, disk: SimulatedDisk) -> io::Result<Log<SimulatedDisk>> {
        let (log, amiss) = Log::open(disk, SEGMENT_BYTES, self.checkpoint.map(|(key, _)| key), draw)?;
        assert_eq!((amiss.missing, amiss.unreadable), (0, 0), "a crash is no damage");
        Ok(log)
    }

    /// What must be there: all that is safe and not acknowledged, once, in order, and nothing that nobody pushed.
    fn check(&self, platters: Platters) {
        let log = self.open(SimulatedDisk::new(platters, usize::MAX, false)).unwrap();
        let found: Vec<u32> = read(&mut Cursor::at(self.checkpoint), &log).unwrap().into_iter().map(|(number, ..)| number).collect();
        assert!(found.is_sorted_by(|a, b| a < b), "{found:?}");
        assert!(found.iter().all(|number| (self.passed..self.tried).contains(number)), "{found:?} {self:?}");
        let lost: Vec<&u32> = self.safe.range(self.passed..).filter(|number| !found.contains(number)).collect();
        assert!(lost.is_empty(), "{lost:?} of {self:?}; found {found:?}");
    }
}

/// Reads on, and says which records came, and where each one's chunk is.
fn read<D: Disk>(cursor: &mut Cursor, log: &Log<D>) -> io::Result<Vec<(u32, FileKey, Position)>> {
    let mut found = vec![];
    loop {
        match cursor.read(log, 40)? {
            Piece::Chunk(chunk) => {
                let number = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().strip_prefix("record ").unwrap().parse().unwrap();
                found.extend(chunk.lines.iter().map(|line| (number(&line.bytes), chunk.file, chunk.end)));
            }
            Piece::Damaged { .. } => panic!("a crash damages nothing that counts"),
            Piece::End => return Ok(found),
        }
    }
}

/// Records come in by groups, are read, acknowledged and removed, until the disk dies.
fn work(disk: &SimulatedDisk, known: &mut Known) -> io::Result<()> {
    let log = known.open(disk.clone())?;
    let mut cursor = Cursor::at(known.checkpoint);
    for group in 1..=4 {
        let from = known.tried;
        known.tried = from + group;
        log.append(&(from..from + group).map(entry).collect::<Vec<_>>())?;
        known.safe.extend(from..from + group);
        let found = read(&mut cursor, &log)?;
        // All but the last chunk is acknowledged, so that a start finds segments that are half read.
        let last = found.last().map(|(.., end)| *end);
        if let Some((number, key, end)) = found.iter().rev().find(|(.., end)| Some(*end) != last) {
            known.checkpoint = Some((*key, *end));
            known.passed = number + 1;
            log.release(key.lineage)?;
        }
    }
    Ok(())
}

/// DESIGN §9, PITFALLS §6: every write, sync, rename and removal × {lost, torn, kept}, and again during the start after it.
#[test]
fn no_crash_loses_what_was_safe_or_shows_what_never_was() {
    let mut before = Known::default();
    let disk = SimulatedDisk::new(Platters::default(), usize::MAX, false);
    work(&disk, &mut before).unwrap();
    let begun = disk.platters();
    let (mut crashes, mut again) = (0, 0);
    for torn in [false, true] {
        for dies_at in 1.. {
            let mut known = before.clone();
            let disk = SimulatedDisk::new(begun.clone(), dies_at, torn);
            let result = work(&disk, &mut known);
            let platters = disk.platters();
            for left in remains(&platters) {
                crashes += 1;
                known.check(left.clone());
                for dies_again in 1.. {
                    let disk = SimulatedDisk::new(left.clone(), dies_again, torn);
                    if known.open(disk.clone()).is_ok() {
                        break;
                    }
                    let platters = disk.platters();
                    for left in remains(&platters) {
                        again += 1;
                        known.check(left);
                    }
                }
            }
            if result.is_ok() {
                break;
            }
        }
    }
    // Each of some thirty operations, by each of the ways.
    assert!(crashes > 300 && again > 1_000, "{crashes} crashes, {again} during the start after one");
}

/// The disk after records have come in, with nothing read: three segments of three records each, and one that has one.
fn filled() -> (Platters, Vec<String>) {
    let disk = SimulatedDisk::new(Platters::default(), usize::MAX, false);
    let (log, _) = Log::open(disk.clone(), SEGMENT_BYTES, None, draw).unwrap();
    for number in 0..10 {
        log.append(&[entry(number)]).unwrap();
    }
    let platters = disk.platters();
    let names = platters.names.keys().cloned().collect();
    (platters, names)
}

/// What a start finds amiss, the records that are read, how many damages are told, and the files that are there after all of it was acknowledged.
fn salvage(platters: Platters) -> (Amiss, Vec<u32>, u32, Vec<String>) {
    let disk = SimulatedDisk::new(platters, usize::MAX, false);
    let (log, amiss) = Log::open(disk.clone(), SEGMENT_BYTES, None, draw).unwrap();
    let (mut cursor, mut found, mut damages) = (Cursor::default(), vec![], 0);
    loop {
        match cursor.read(&log, 64).unwrap() {
            Piece::Chunk(chunk) => {
                found.extend(chunk.lines.iter().map(|line| std::str::from_utf8(&line.bytes).unwrap()["record ".len()..].parse::<u32>().unwrap()));
            }
            Piece::Damaged { .. } => damages += 1,
            Piece::End => break,
        }
    }
    log.release(u32::MAX).unwrap();
    (amiss, found, damages, disk.list().unwrap())
}

/// Case 25 of the data plane's list: a flipped byte costs its own record, is counted, and its segment is kept.
#[test]
fn a_flipped_byte_costs_one_record_and_is_told() {
    let (platters, names) = filled();
    assert_eq!(names.len(), 4);
    let inode = platters.names[&names[1]];
    for at in 0..platters.inodes[&inode].now.len() {
        let mut platters = platters.clone();
        platters.inodes.get_mut(&inode).unwrap().now[at] ^= 0x20;
        let (amiss, found, damages, left) = salvage(platters);
        assert_eq!(amiss, Amiss::default());
        if at < HEAD_LENGTH {
            assert_eq!((found.len(), damages, left), (10, 0, vec![]), "byte {at} is of the head, which is there twice");
        } else {
            assert_eq!((found.len(), damages), (9, 1), "byte {at}");
            assert_eq!(left, [names[1].replace("queue", "bad")]);
        }
    }
}

#[test]
fn a_missing_segment_and_an_unreadable_one_are_counted_and_the_rest_is_read() {
    let (mut platters, names) = filled();
    platters.names.remove(&names[1]);
    let (amiss, found, ..) = salvage(platters);
    assert_eq!((amiss.missing, found), (1, vec![0, 1, 2, 6, 7, 8, 9]));

    let (mut platters, names) = filled();
    let inode = platters.names[&names[2]];
    platters.inodes.get_mut(&inode).unwrap().now[..HEAD_LENGTH].fill(0xee);
    let (amiss, found, _, left) = salvage(platters);
    assert_eq!((amiss.unreadable, amiss.missing, found), (1, 0, vec![0, 1, 2, 3, 4, 5, 9]));
    assert_eq!(left, [names[2].replace("queue", "bad")]);
}

/// A disk image that was put back may hold another segment under the number of the one that was read: it is read whole, after the rest.
#[test]
fn a_segment_that_took_anothers_number_is_not_taken_for_it() {
    let (platters, names) = filled();
    let gone = FileKey { lineage: 1, named: 0, name: Salt([0xfe; 16]).name() };
    let disk = SimulatedDisk::new(platters, usize::MAX, false);
    let (log, amiss) = Log::open(disk.clone(), SEGMENT_BYTES, Some(gone), draw).unwrap();
    assert_eq!(amiss.missing, 1, "the one that was read is gone");
    let at = Position { offset: 60, marker: 0 };
    let found: Vec<u32> = read(&mut Cursor::at(Some((gone, at))), &log).unwrap().into_iter().map(|(number, ..)| number).collect();
    assert_eq!(found, [6, 7, 8, 9, 3, 4, 5]);
    assert!(!disk.list().unwrap().contains(&names[0]), "what is before the checkpoint is done with");
}

/// A disk that is full takes nothing, and goes on once there is room: no segments pile up meanwhile.
#[test]
fn a_full_disk_is_told_and_leaves_nothing_behind() {
    let disk = SimulatedDisk::new(Platters::default(), usize::MAX, false);
    let (log, _) = Log::open(disk.clone(), SEGMENT_BYTES, None, draw).unwrap();
    log.append(&[entry(0)]).unwrap();
    disk.full.store(true, Relaxed);
    for _ in 0..50 {
        log.append(&[entry(1)]).unwrap_err();
        log.append(&(1..30).map(entry).collect::<Vec<_>>()).unwrap_err();
    }
    assert!(disk.list().unwrap().len() <= 2, "{:?}", disk.list());
    disk.full.store(false, Relaxed);
    log.append(&[entry(1)]).unwrap();
    let found: Vec<u32> = read(&mut Cursor::default(), &log).unwrap().into_iter().map(|(number, ..)| number).collect();
    assert_eq!(found, [0, 1]);
}

/// Two checkpoints are on the disk at about the same time, and each lets go what is before it.
#[test]
fn two_who_let_go_at_once_do_not_meet_in_one_segment() {
    for _ in 0..200 {
        let disk = SimulatedDisk::new(filled().0, usize::MAX, false);
        let (log, _) = Log::open(disk, SEGMENT_BYTES, None, draw).unwrap();
        let both = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            let releases = [3, 4].map(|number| {
                let (log, both) = (&log, &both);
                scope.spawn(move || {
                    both.wait();
                    log.release(number)
                })
            });
            for release in releases {
                release.join().unwrap().unwrap();
            }
        });
    }
}
