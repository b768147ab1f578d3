//! Cases of `docs/reader-cases.md` that need many files, restarts or faults. Each counts lines.

use std::os::unix::fs::symlink;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::io::Errno;

use super::*;
use crate::budget::{Budget, Room};

/// 10 restarts under writing, with rotations between them (cases 1, 2, 12, 13).
#[tokio::test]
async fn restarts_and_rotations_under_writing_lose_nothing_and_double_nothing() {
    let mut rig = Rig::new(&["a.log"]);
    let mut written = Vec::new();
    for n in 0..40 {
        let line = format!("{n:03}");
        rig.append("a.log", format!("{line}\n"));
        written.push(line);
        if n % 3 == 0 {
            rig.run(1).await;
        }
        if n % 4 == 1 {
            rig.restart();
        }
        if n % 10 == 7 {
            (1..5).rev().filter(|old| rig.at(&format!("a.log.{old}")).exists()).for_each(|old| {
                fs::rename(rig.at(&format!("a.log.{old}")), rig.at(&format!("a.log.{}", old + 1))).unwrap();
            });
            rig.rename("a.log", "a.log.1");
        }
    }
    rig.run(LONG).await;
    assert_eq!(rig.sorted(), written);
}

/// The same where now and then a file cannot be opened: not even before it is rotated out of the globs (case 26). What nobody could open before a restart
/// either is a file that nobody has seen.
#[tokio::test]
async fn a_file_that_cannot_be_opened_now_and_then_is_read_once() {
    for seed in 0..12_u64 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut rig = Rig::new(&["a.log"]);
        let mut written = Vec::new();
        for n in 0..40 {
            let line = format!("{n:03}");
            rig.append("a.log", format!("{line}\n"));
            written.push(line);
            for old in ["a.log", "a.log.1", "a.log.2", "a.log.3", "a.log.4"] {
                if rng.random_range(0..3) == 0 {
                    rig.finder.context.faults.lock().unwrap().insert(rig.at(old), Errno::MFILE);
                }
            }
            if n % 3 == 0 {
                rig.run(1).await;
            }
            if rng.random_range(0..2) == 0 {
                rig.finder.context.faults.lock().unwrap().clear();
            }
            if n % 4 == 1 {
                rig.finder.context.faults.lock().unwrap().clear();
                rig.run(1).await;
                rig.restart();
            }
            if n % 10 == 7 {
                (1..5).rev().filter(|old| rig.at(&format!("a.log.{old}")).exists()).for_each(|old| {
                    fs::rename(rig.at(&format!("a.log.{old}")), rig.at(&format!("a.log.{}", old + 1))).unwrap();
                });
                rig.rename("a.log", "a.log.1");
            }
        }
        rig.finder.context.faults.lock().unwrap().clear();
        rig.run(LONG).await;
        assert_eq!(rig.sorted(), written, "seed {seed}");
    }
}

/// As logrotate's `create` leaves it: it was empty at the look before, and is written and rotated before the next (case 3, 21).
#[tokio::test]
async fn a_file_that_was_empty_when_it_was_seen_and_is_rotated_before_the_next_look_is_read() {
    let mut rig = Rig::new(&["a.log"]);
    rig.append("a.log", "one\n");
    rig.run(1).await;
    rig.rename("a.log", "a.log.2");
    rig.append("a.log", "");
    rig.run(1).await;
    rig.append("a.log", "two\n");
    rig.rename("a.log", "a.log.1");
    rig.append("a.log", "three\n");
    rig.run(LONG).await;
    assert_eq!(rig.sorted(), ["one", "three", "two"]);
}

/// Whoever goes on from an earlier checkpoint reads the lines after it again, under the ids that they had (case 14).
#[tokio::test]
async fn after_a_kill_the_lines_past_the_checkpoint_come_again_with_their_ids() {
    let mut rig = Rig::new(&["a.log"]);
    let (mut ids, mut read) = (BTreeSet::new(), 0);
    for n in 0..20 {
        rig.append("a.log", format!("{n} a\n"));
        rig.run(1).await;
        let held = rig.pinned.clone();
        rig.append("a.log", format!("{n} b, read and not acknowledged\n"));
        rig.run(1).await;
        ids.append(&mut rig.ids);
        read += rig.lines.drain(..).count();
        rig.pinned = held;
        rig.restart();
    }
    rig.run(LONG).await;
    ids.append(&mut rig.ids);
    read += rig.lines.len();
    assert_eq!(ids.len(), 40);
    assert!(read <= 40 + 20, "{read}: one batch is repeated at each kill");
}

/// Case 3 and 4: what left the globs is followed by its descriptor.
#[tokio::test]
async fn a_file_that_is_moved_to_another_directory_is_read_to_its_end() {
    let mut rig = Rig::new(&["a.log"]);
    fs::create_dir(rig.at("old")).unwrap();
    rig.append("a.log", "one\n");
    rig.run(2).await;
    rig.append("a.log", "two\n");
    rig.rename("a.log", "old/a.log");
    rig.append("old/a.log", "three\n");
    rig.run(LONG).await;
    assert_eq!((rig.lines.join(" "), rig.finished), ("one two three".to_owned(), 1));
}

/// Case 8: who has started anew does not know the copies by having made them.
#[tokio::test]
async fn copies_in_the_globs_are_read_once_over_restarts() {
    let mut rig = Rig::new(&["a.log*"]);
    for n in 0..12 {
        rig.append("a.log", format!("{n} a\n{n} b\n"));
        rig.run(2).await;
        rig.append("a.log", format!("{n} c, unread\n"));
        if n % 3 == 1 {
            rig.restart();
        }
        rig.copytruncate("a.log", &format!("a.log.{n}"));
        rig.run(2).await;
        if n % 3 == 0 {
            rig.restart();
        }
    }
    rig.restart();
    rig.run(LONG).await;
    assert_eq!(rig.sorted().len(), 36, "{:?}", rig.sorted());
    assert!(rig.rotated.iter().all(|gap| !gap));
}

/// Case 8: the copy is there when the node starts, its original was truncated while it was stopped.
#[tokio::test]
async fn a_copy_made_while_stopped_is_read_from_where_its_original_was_read_to() {
    let mut rig = Rig::new(&["a.log*"]);
    rig.append("a.log", "one\n");
    rig.run(2).await;
    rig.append("a.log", "two, unread\n");
    rig.restart();
    rig.copytruncate("a.log", "a.log.1");
    rig.append("a.log", "three\n");
    rig.run(LONG).await;
    rig.restart();
    rig.run(LONG).await;
    assert_eq!(rig.sorted(), ["one", "three", "two, unread"]);
}

/// Case 9.
#[tokio::test]
async fn a_file_rewritten_with_the_same_first_line_is_read_whole() {
    let mut rig = Rig::new(&["a.log"]);
    rig.append("a.log", "# header\none\ntwo\n");
    rig.run(2).await;
    fs::write(rig.at("a.log"), "# header\nthree\nfour\nfive\n").unwrap();
    rig.run(3).await;
    assert_eq!(rig.lines, ["# header", "one", "two", "# header", "three", "four", "five"]);
}

/// Case 20.
#[tokio::test]
async fn a_link_that_is_switched_leads_to_a_file_of_its_own() {
    let mut rig = Rig::new(&["current"]);
    rig.append("day-1", "one\n");
    symlink(rig.at("day-1"), rig.at("current")).unwrap();
    rig.run(2).await;
    rig.append("day-1", "two\n");
    rig.append("day-2", "three\n");
    symlink(rig.at("day-2"), rig.at("next")).unwrap();
    rig.rename("next", "current");
    rig.append("day-1", "late\n");
    rig.run(LONG).await;
    assert_eq!(rig.sorted(), ["late", "one", "three", "two"]);
}

/// Case 18. The file is a hole, so it takes no space.
#[tokio::test]
async fn a_line_of_a_gigabyte_is_cut_and_its_neighbours_are_whole() {
    let mut rig = Rig::new(&["a.log"]);
    rig.append("a.log", "before\nlong");
    OpenOptions::new().write(true).open(rig.at("a.log")).unwrap().set_len(1 << 30).unwrap();
    rig.append("a.log", "\nafter\n");
    rig.run(2).await;
    assert_eq!(rig.lines.iter().map(String::len).collect::<Vec<_>>(), [6, 1 << 16, 5]);
    assert_eq!(rig.cut, 1);
}

/// Case 11: the sink takes nothing, so the reader is not asked; the disk is freed all the same, and what is lost is told once.
#[tokio::test]
async fn deleted_files_that_nobody_reads_are_given_up_beyond_the_bound() {
    let mut rig = Rig::new(&["*.log"]);
    rig.spec.deleted_bytes_max = 64 << 10;
    rig.restart();
    for name in ["a.log", "b.log"] {
        rig.append(name, "read\n");
    }
    rig.run(2).await;
    let blocked = std::mem::take(&mut rig.readers);
    rig.append("a.log", vec![b'x'; 48 << 10]);
    rig.append("b.log", vec![b'x'; 48 << 10]);
    fs::remove_file(rig.at("a.log")).unwrap();
    rig.run(1).await;
    assert!(rig.given_up.is_empty(), "one is within the bound");
    fs::remove_file(rig.at("b.log")).unwrap();
    rig.run(3).await;
    assert_eq!(rig.given_up, [48 << 10], "the older goes, the younger is kept");
    rig.readers = blocked;
    rig.append("c.log", "others go on\n");
    rig.run(LONG).await;
    assert_eq!(rig.finished, 2, "both have ended");
    assert_eq!(rig.lines.iter().filter(|line| line.len() == 48 << 10).count(), 1);
    assert!(rig.lines.contains(&"others go on".to_owned()));
}

/// Cases 1 and 28: 600 files with 16 descriptors, of which 150 are rotated away.
#[tokio::test]
async fn many_files_are_followed_with_few_descriptors() {
    const FILES: usize = 600;
    let mut rig = Rig::new(&["*.log"]);
    rig.finder = finder_with(&rig, 16);
    for round in 0..3 {
        for n in 0..FILES {
            rig.append(&format!("{n}.log"), format!("{n} {round}\n"));
        }
        rig.run(2).await;
    }
    // Quiet readers are left alone, and their files closed.
    rig.run(LONG).await;
    assert!(rig.readers.values().all(FileReader::is_asleep));
    assert!(rig.finder.context.files.len() <= 16);
    for n in 0..150 {
        rig.append(&format!("{n}.log"), "last\n");
        fs::rename(rig.at(&format!("{n}.log")), rig.at(&format!("{n}.old"))).unwrap();
    }
    rig.run(LONG).await;
    assert_eq!((rig.lines.len(), rig.finished, rig.rotated.len()), (3 * FILES + 150, 150, 0));
    let memory = rig.finder.memory.lock().await;
    assert!(memory.left.len() <= LEFT_MAX && memory.sources.len() == FILES - 150 && memory.at_path.len() == FILES - 150);
    assert_eq!(rig.finder.context.known().followed.len(), FILES - 150);
}

fn finder_with(rig: &Rig, descriptors: usize) -> Finder {
    let mut finder = finder(&rig.spec, &rig.pinned);
    Arc::get_mut(&mut finder.context).unwrap().files = Descriptors::new(descriptors);
    finder
}

/// A file that was quiet and closed, and then written to and deleted between two looks, is lost: that is told.
#[tokio::test]
async fn what_is_lost_with_a_closed_file_is_told() {
    let mut rig = Rig::new(&["*.log"]);
    rig.finder = finder_with(&rig, 1);
    rig.append("a.log", "one\n");
    rig.append("b.log", "two\n");
    rig.run(LONG).await;
    for name in ["a.log", "b.log"] {
        fs::remove_file(rig.at(name)).unwrap();
    }
    rig.run(LONG).await;
    assert_eq!((rig.finished, rig.rotated.as_slice()), (2, [true].as_slice()));
}

/// Case 26: one that cannot be opened or read is told, the others go on, and it is read once it can be.
#[tokio::test]
async fn a_file_that_fails_does_not_stop_the_others() {
    for errno in [Errno::MFILE, Errno::ACCESS, Errno::IO, Errno::STALE] {
        let mut rig = Rig::new(&["*.log"]);
        rig.append("a.log", "one\n");
        rig.append("b.log", "two\n");
        rig.finder.context.faults.lock().unwrap().insert(rig.at("a.log"), errno);
        rig.run(LONG).await;
        assert_eq!((rig.lines.as_slice(), rig.errors.len()), (["two".to_owned()].as_slice(), 1), "{errno}");
        rig.append("b.log", "three\n");
        rig.run(LONG).await;
        rig.finder.context.faults.lock().unwrap().clear();
        rig.run(2).await;
        assert_eq!((rig.sorted(), rig.errors.len(), rig.gone), (vec!["one", "three", "two"], 0, 0), "{errno}");
    }
}

/// Case 26: a closed file that cannot be opened now is not gone (Filebeat 51766 took EMFILE for that and read all again).
#[tokio::test]
async fn a_closed_file_that_cannot_be_opened_now_is_read_later() {
    let mut rig = Rig::new(&["*.log"]);
    rig.finder = finder_with(&rig, 1);
    rig.append("a.log", "one\n");
    rig.append("b.log", "two\n");
    rig.run(LONG).await;
    for name in ["a.log", "b.log"] {
        rig.finder.context.faults.lock().unwrap().insert(rig.at(name), Errno::MFILE);
        rig.append(name, "late\n");
    }
    rig.finder.context.files.close_half();
    let mut failed = 0;
    rig.finder.poll().await;
    for reader in rig.readers.values_mut() {
        failed += usize::from(reader.next().await.is_err());
    }
    assert_eq!(failed, 2);
    rig.finder.context.faults.lock().unwrap().clear();
    rig.run(LONG).await;
    assert_eq!((rig.sorted(), rig.finished), (vec!["late", "late", "one", "two"], 0));
}

/// Case 26: the file system of a directory is not mounted (yet): what is known of its files is kept.
#[tokio::test]
async fn files_of_a_file_system_that_is_not_mounted_are_not_forgotten() {
    let mut rig = Rig::new(&["*.log"]);
    rig.append("a.log", "one\n");
    rig.run(2).await;
    fs::remove_file(rig.at("a.log")).unwrap();
    for pinned in rig.pinned.values_mut() {
        pinned.place.device += 1;
    }
    rig.restart();
    rig.run(LONG).await;
    assert_eq!(rig.gone, 0);
}

/// Case 27: nothing tells of changes, and nothing is lost.
#[tokio::test]
async fn polling_alone_finds_everything() {
    let mut rig = Rig::new(&["*.log"]);
    rig.finder.memory.lock().await.watch = Watch::none();
    rig.append("a.log", "one\n");
    rig.run(LONG).await;
    assert!(rig.readers.values().all(FileReader::is_asleep));
    rig.append("a.log", "two\n");
    rig.append("b.log", "three\n");
    rig.run(2).await;
    rig.rename("a.log", "a.old");
    rig.append("a.log", "four\n");
    rig.append("a.old", "five\n");
    rig.run(LONG).await;
    assert_eq!(rig.sorted(), ["five", "four", "one", "three", "two"]);
}

#[tokio::test(start_paused = true)]
async fn a_chunk_is_short_at_first_and_as_long_as_there_is_room_where_there_is_more() {
    let mut rig = Rig::new(&["*.log"]);
    let lines: String = (0..1_500).map(|n| format!("{n:0>999}\n")).collect();
    rig.append("a.log", &lines);
    let mut reader = rig.finder.poll().await.found.remove(0).reader;
    let budget = Arc::new(Budget::default());
    for (kib, is_long, others) in [(64, true, 0), (512, true, 0), (256, false, 0), (4, false, 1 << 30), (256, false, 0)] {
        let _others = budget.lease(others);
        *reader.room() = Room::new(budget.clone(), is_long);
        let Read::Chunk(chunk) = reader.next().await.unwrap() else { panic!() };
        // The unfinished line of before comes with it, that at its end does not.
        let bytes = chunk.end.offset - chunk.start.offset;
        assert!(bytes.abs_diff(kib << 10) <= 1_000, "{bytes} of {kib} KiB");
    }
}

/// Case 33: times say whether a file has changed, never in which order.
#[tokio::test]
async fn clocks_that_step_stall_nothing_and_double_nothing() {
    let mut rig = Rig::new(&["*.log"]);
    for (n, seconds) in [4_000_000_000, 0, 86_400 * 365, 2_000_000_000, 0].into_iter().enumerate() {
        rig.append("a.log", format!("{n}\n"));
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        OpenOptions::new().append(true).open(rig.at("a.log")).unwrap().set_modified(time).unwrap();
        rig.run(LONG).await;
    }
    assert_eq!(rig.lines, ["0", "1", "2", "3", "4"]);
}
