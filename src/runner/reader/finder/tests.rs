//! Real files through finder and readers, as an instance runs them.

use std::{
    fs::{self, OpenOptions},
    io::Write,
};

use logvine_cluster::checkpoint::{Checkpoint, record_id};
use logvine_gossip::Stamp;

use super::*;
use crate::{
    policy::PolicyConfig,
    reader::{Read, Reader, descriptors::Descriptors},
    record::Chunk,
};

mod cases;
mod packed;
mod records;

/// Enough looks for all that is decided by counting looks: more than from one whole look to the next.
const LONG: u32 = 70;

struct Rig {
    dir: tempfile::TempDir,
    spec: FileReaderSpec,
    finder: Finder,
    readers: BTreeMap<Name, FileReader>,
    pinned: BTreeMap<Name, Pinned>,
    lines: Vec<String>,
    ids: BTreeSet<[u8; 16]>,
    cut: usize,
    rotated: Vec<bool>,
    finished: usize,
    gone: usize,
    given_up: Vec<u64>,
    errors: Vec<String>,
}

fn spec(paths: &[String], start_at: StartAt, line_bytes_max: usize) -> FileReaderSpec {
    let spec = serde_json::json!({ "paths": paths, "start_at": start_at, "poll_ms": 1, "line_bytes_max": line_bytes_max });
    serde_json::from_value(spec).unwrap()
}

fn finder(spec: &FileReaderSpec, pinned: &BTreeMap<Name, Pinned>) -> Finder {
    let policy = Policy::new(&PolicyConfig::default(), false, Path::new("/nonexistent"));
    Finder::new(spec, Arc::new(policy), NodeId([7; 16]), &[sender()], pinned.clone()).unwrap()
}

fn sender() -> Name {
    "out".parse().unwrap()
}

impl Rig {
    fn new(globs: &[&str]) -> Self {
        Self::starting_at(globs, StartAt::Beginning, tempfile::tempdir().unwrap())
    }

    fn starting_at(globs: &[&str], start_at: StartAt, dir: tempfile::TempDir) -> Self {
        let paths: Vec<String> = globs.iter().map(|glob| dir.path().join(glob).to_str().unwrap().to_owned()).collect();
        let spec = spec(&paths, start_at, 1 << 16);
        let finder = finder(&spec, &BTreeMap::new());
        let (readers, pinned) = (BTreeMap::new(), BTreeMap::new());
        let (lines, ids, rotated, errors) = (vec![], BTreeSet::new(), vec![], vec![]);
        Self { dir, spec, finder, readers, pinned, lines, ids, cut: 0, rotated, finished: 0, gone: 0, given_up: vec![], errors }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn append(&self, name: &str, text: impl AsRef<[u8]>) {
        OpenOptions::new().create(true).append(true).open(self.at(name)).unwrap().write_all(text.as_ref()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.at(from), self.at(to)).unwrap();
        // Births a clock tick apart, as rotations are.
        std::thread::sleep(Duration::from_millis(10));
    }

    /// logrotate's `copytruncate`.
    fn copytruncate(&self, from: &str, to: &str) {
        fs::copy(self.at(from), self.at(to)).unwrap();
        fs::File::create(self.at(from)).unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }

    /// Looks `times` times and reads all there is, and acknowledges it.
    async fn run(&mut self, times: u32) {
        for _ in 0..times {
            let Scan { found, gone, given_up, errors } = self.finder.poll().await;
            self.given_up.extend(given_up.into_iter().map(|file| file.bytes));
            self.gone += gone.len();
            gone.iter().for_each(|source| drop(self.pinned.remove(source)));
            self.errors = errors.into_iter().map(|error| error.message).collect();
            for found in found {
                assert!(self.readers.insert(found.source.clone(), found.reader).is_none(), "{} is followed already", found.source);
            }
            for source in self.readers.keys().cloned().collect::<Vec<_>>() {
                self.read(&source).await;
            }
        }
    }

    async fn read(&mut self, source: &Name) {
        loop {
            if self.readers[source].is_asleep() {
                return;
            }
            let read = match self.readers.get_mut(source).unwrap().next().await {
                Err(_) if !self.finder.context.faults.lock().unwrap().is_empty() => return,
                read => read.unwrap(),
            };
            match read {
                Read::Chunk(chunk) => self.take(source, &chunk),
                Read::AtEnd => return,
                Read::Rotated { gap } => self.rotated.push(gap),
                Read::Finished => {
                    self.finished += 1;
                    self.readers.remove(source);
                    self.pinned.remove(source);
                    self.finder.finished(source, None).await;
                    return;
                }
            }
        }
    }

    fn take(&mut self, source: &Name, chunk: &Chunk) {
        for line in &chunk.lines {
            self.lines.push(String::from_utf8_lossy(&line.bytes).into_owned());
            self.cut += usize::from(line.cut);
            assert!(self.ids.insert(record_id(Stamp(1), source.as_str(), &chunk.file, line.offset)), "an id is there twice");
        }
        let place = self.readers[source].place();
        let pinned = self.pinned.entry(source.clone()).or_insert_with(|| Pinned { checkpoint: Checkpoint::default(), place: place.clone() });
        pinned.place = place;
        let from = pinned.checkpoint.files.entry(chunk.file).or_default().insert(sender(), chunk.end);
        assert!(from.is_none_or(|from| from == chunk.start), "a chunk begins where the last one ended");
        while pinned.checkpoint.files.len() > Checkpoint::FILES_MAX {
            pinned.checkpoint.files.pop_first();
        }
        self.readers[source].acknowledged().note(&pinned.checkpoint);
    }

    /// Stops the node and starts it again.
    fn restart(&mut self) {
        self.readers.clear();
        self.finder = finder(&self.spec, &self.pinned);
    }

    /// All lines so far, sorted: files have no order among them.
    fn sorted(&self) -> Vec<&str> {
        let mut lines: Vec<_> = self.lines.iter().map(String::as_str).collect();
        lines.sort_unstable();
        lines
    }
}

#[tokio::test]
async fn new_files_and_new_lines_are_read_once_also_over_a_restart() {
    let mut rig = Rig::new(&["*.log", "*/x.log"]);
    rig.append("a.log", "a1\na2\n");
    rig.append("none.txt", "no\n");
    rig.run(2).await;
    rig.append("a.log", "a3\n");
    rig.append("b.log", "b1\n");
    fs::create_dir(rig.at("dir")).unwrap();
    rig.append("dir/x.log", "x1\n");
    rig.run(2).await;
    rig.restart();
    rig.append("a.log", "a4\n");
    rig.append("c.log", "c1\n");
    rig.run(3).await;
    assert_eq!(rig.sorted(), ["a1", "a2", "a3", "a4", "b1", "c1", "x1"]);
    assert!(rig.rotated.is_empty() && rig.errors.is_empty());
}

#[tokio::test]
async fn an_unfinished_line_waits_for_its_end_also_over_a_restart() {
    let mut rig = Rig::new(&["a.log"]);
    rig.append("a.log", "one\nha");
    rig.run(LONG).await;
    assert_eq!(rig.lines, ["one"]);
    rig.restart();
    rig.append("a.log", "lf");
    rig.run(2).await;
    rig.append("a.log", "\r\n");
    rig.run(2).await;
    assert_eq!(rig.lines, ["one", "half"]);
}

#[tokio::test]
async fn a_renamed_file_is_read_to_its_end_and_then_finished() {
    let mut rig = Rig::new(&["a.log"]);
    rig.append("a.log", "one\n");
    rig.run(2).await;
    rig.append("a.log", "two\n");
    rig.rename("a.log", "a.log.1");
    rig.append("a.log.1", "late\n");
    rig.append("a.log", "new\n");
    rig.run(3).await;
    assert_eq!(rig.sorted(), ["late", "new", "one", "two"]);
    assert_eq!(rig.finished, 0, "its writer may go on for a while");
    rig.append("a.log.1", "last, unfinished");
    rig.run(LONG).await;
    assert_eq!((rig.finished, rig.lines.last().unwrap().as_str()), (1, "last, unfinished"));
    assert!(rig.rotated.is_empty());
}

#[tokio::test]
async fn a_writer_that_goes_on_after_its_file_was_finished_loses_nothing() {
    let mut rig = Rig::new(&["a.log"]);
    rig.append("a.log", "one\n");
    rig.run(2).await;
    rig.rename("a.log", "old");
    rig.run(LONG).await;
    assert_eq!(rig.finished, 1);
    rig.append("old", "very late\n");
    rig.run(2).await;
    assert_eq!(rig.lines, ["one", "very late"]);
}

#[tokio::test]
async fn a_file_recreated_late_is_read_from_its_start() {
    let mut rig = Rig::new(&["a.log"]);
    rig.append("a.log", "one\n");
    rig.run(2).await;
    rig.rename("a.log", "elsewhere");
    rig.run(5).await;
    rig.append("a.log", "two\n");
    rig.run(LONG).await;
    assert_eq!((rig.sorted(), rig.finished), (vec!["one", "two"], 1));
}

#[tokio::test]
async fn a_file_renamed_within_the_globs_is_followed_under_its_new_name() {
    let mut rig = Rig::new(&["a.log*"]);
    rig.append("a.log", "one\nrest");
    rig.run(2).await;
    rig.rename("a.log", "a.log.1");
    rig.append("a.log", "two\n");
    rig.run(LONG).await;
    assert_eq!(rig.sorted(), ["one", "rest", "two"]);
    rig.restart();
    rig.append("a.log.1", "three\n");
    rig.run(LONG).await;
    assert_eq!((rig.sorted(), rig.finished), (vec!["one", "rest", "three", "two"], 0));
}

#[tokio::test]
async fn rotations_faster_than_the_looks_lose_nothing() {
    let mut rig = Rig::new(&["a.log"]);
    rig.append("a.log", "0\n");
    rig.run(2).await;
    for n in 1..=3 {
        for old in (1..n).rev() {
            rig.rename(&format!("a.log.{old}"), &format!("a.log.{}", old + 1));
        }
        rig.rename("a.log", "a.log.1");
        rig.append("a.log", format!("{n}\n"));
    }
    rig.run(LONG).await;
    assert_eq!(rig.sorted(), ["0", "1", "2", "3"]);
}

#[tokio::test]
async fn what_was_rotated_while_stopped_is_found_under_its_new_names() {
    for rotations in [1, 3] {
        let mut rig = Rig::new(&["a.log"]);
        rig.append("a.log.9", "older than the runner\n");
        std::thread::sleep(Duration::from_millis(10));
        rig.append("a.log", "0\n");
        rig.run(2).await;
        rig.append("a.log", "0, unread\n");
        let mut expected = vec!["0".to_owned(), "0, unread".to_owned()];
        for n in 1..=rotations {
            for old in (1..n).rev() {
                rig.rename(&format!("a.log.{old}"), &format!("a.log.{}", old + 1));
            }
            rig.rename("a.log", "a.log.1");
            rig.append("a.log", format!("{n}\n"));
            expected.push(n.to_string());
        }
        rig.restart();
        rig.run(LONG).await;
        assert_eq!(rig.sorted(), expected);
        assert!(rig.rotated.is_empty());
    }
}

#[tokio::test]
async fn a_deleted_file_is_read_to_its_end_and_finished() {
    let mut rig = Rig::new(&["a.log"]);
    rig.append("a.log", "one\n");
    rig.run(2).await;
    rig.append("a.log", "two\nrest");
    fs::remove_file(rig.at("a.log")).unwrap();
    rig.run(LONG).await;
    assert_eq!((rig.lines.join(","), rig.finished), ("one,two,rest".to_owned(), 1));
}

#[tokio::test]
async fn copytruncate_is_read_once_though_the_copy_is_in_the_globs() {
    let mut rig = Rig::new(&["a.log*"]);
    for n in 0..4 {
        rig.append("a.log", format!("{n} a\n{n} b\n"));
        rig.run(2).await;
        rig.append("a.log", format!("{n} c, unread\n"));
        rig.copytruncate("a.log", &format!("a.log.{n}"));
        rig.run(2).await;
    }
    rig.run(LONG).await;
    assert_eq!(rig.lines.len(), 12, "{:?}", rig.lines);
    assert_eq!(rig.rotated, [false; 4]);
}

/// Size alone cannot see this one.
#[tokio::test]
async fn a_file_regrown_past_the_offset_after_copytruncate_is_read_from_its_start() {
    for stopped in [false, true] {
        let mut rig = Rig::new(&["a.log"]);
        rig.append("a.log", "one\n");
        rig.run(2).await;
        rig.append("a.log", "two, unread\n");
        if stopped {
            rig.restart();
        }
        rig.copytruncate("a.log", "a.log.1");
        rig.append("a.log", "new, and longer than what was there before\nnext\n");
        rig.run(4).await;
        assert_eq!(rig.lines, ["one", "two, unread", "new, and longer than what was there before", "next"]);
        assert_eq!(rig.rotated, [false]);
    }
}

#[tokio::test]
async fn truncation_without_a_copy_is_a_counted_gap() {
    let mut rig = Rig::new(&["a.log"]);
    rig.append("a.log", "same head\nha");
    rig.run(2).await;
    fs::File::create(rig.at("a.log")).unwrap();
    rig.append("a.log", "same head\n");
    rig.run(3).await;
    assert_eq!(rig.lines, ["same head", "ha", "same head"]);
    assert_eq!(rig.rotated, [true]);
    rig.restart();
    rig.append("a.log", "next\n");
    rig.run(2).await;
    assert_eq!(rig.lines.last().unwrap(), "next");
}

/// A writer without O_APPEND goes on at its old offset after a truncation: the hole before it is no content.
#[tokio::test]
async fn the_hole_that_a_truncation_leaves_is_passed_over() {
    let mut rig = Rig::new(&["a.log"]);
    let mut writer = fs::File::create(rig.at("a.log")).unwrap();
    for n in 0..30_000 {
        writeln!(writer, "line {n}").unwrap();
    }
    rig.run(3).await;
    assert_eq!(rig.lines.len(), 30_000);
    fs::OpenOptions::new().write(true).open(rig.at("a.log")).unwrap().set_len(0).unwrap();
    writeln!(writer, "after the hole").unwrap();
    rig.run(3).await;
    assert_eq!(rig.lines.last().unwrap(), "after the hole");
    assert_eq!((rig.lines.len(), rig.cut), (30_001, 0));
}

#[tokio::test]
async fn an_inode_that_is_used_again_is_a_new_file() {
    for stopped in [false, true] {
        let mut rig = Rig::new(&["a.log"]);
        rig.append("a.log", "old\n");
        rig.run(2).await;
        if stopped {
            rig.restart();
        }
        fs::remove_file(rig.at("a.log")).unwrap();
        std::thread::sleep(Duration::from_millis(10));
        rig.append("a.log", "new, and longer than the old one\n");
        rig.run(LONG).await;
        assert_eq!(rig.lines, ["old", "new, and longer than the old one"]);
    }
}

#[tokio::test]
async fn files_with_equal_heads_are_files_of_their_own() {
    let head = format!("{}\n", "h".repeat(1500));
    let mut rig = Rig::new(&["*.log"]);
    rig.append("a.log", format!("{head}a\n"));
    rig.append("b.log", format!("{head}b\n"));
    rig.run(2).await;
    rig.append("c.log", &head);
    rig.append("c.log", "c\n");
    rig.append("d.log", "d");
    rig.append("empty.log", "");
    rig.run(LONG).await;
    rig.append("empty.log", "now\n");
    rig.append("d.log", "\n");
    rig.restart();
    rig.run(3).await;
    assert_eq!(rig.lines.iter().filter(|line| line.len() == 1500).count(), 3);
    assert_eq!(rig.sorted()[..4], ["a", "b", "c", "d"]);
    assert_eq!(rig.sorted().last(), Some(&"now"));
}

#[tokio::test]
async fn two_equal_files_are_both_read_in_the_end() {
    let mut rig = Rig::new(&["*.log"]);
    rig.append("a.log", "started\n");
    rig.run(2).await;
    rig.append("b.log", "started\n");
    rig.run(LONG).await;
    assert_eq!(rig.lines, ["started", "started"]);
}

#[tokio::test]
async fn links_to_a_file_do_not_double_it() {
    let mut rig = Rig::new(&["*.log"]);
    rig.append("a.log", "one\n");
    std::os::unix::fs::symlink(rig.at("a.log"), rig.at("b.log")).unwrap();
    fs::hard_link(rig.at("a.log"), rig.at("c.log")).unwrap();
    rig.run(LONG).await;
    assert_eq!(rig.lines, ["one"]);
}

#[tokio::test]
async fn long_lines_are_cut_and_their_neighbours_whole() {
    let mut rig = Rig::new(&["a.log"]);
    rig.append("a.log", "before\n");
    rig.append("a.log", "x".repeat(4 << 20));
    rig.run(2).await;
    rig.append("a.log", "\nafter\n");
    rig.run(2).await;
    assert_eq!(rig.lines.iter().map(String::len).collect::<Vec<_>>(), [6, 1 << 16, 5]);
    assert_eq!(rig.cut, 1);
}

#[tokio::test]
async fn bytes_are_kept_whatever_they_are() {
    let mut rig = Rig::new(&["a.log"]);
    rig.append("a.log", b"crlf\r\n\n\0nul\0\n");
    rig.append("a.log", b"\xff\xfe\n");
    rig.run(2).await;
    assert_eq!(rig.lines, ["crlf", "", "\0nul\0", "\u{fffd}\u{fffd}"]);
}

#[tokio::test]
async fn start_at_the_end_holds_for_what_was_there_at_the_first_start_only() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.log"), "old\nhalf").unwrap();
    let mut rig = Rig::starting_at(&["*.log"], StartAt::End, dir);
    rig.run(1).await;
    rig.append("a.log", " line\n");
    rig.append("b.log", "new file\n");
    rig.run(2).await;
    assert_eq!(rig.sorted(), ["half line", "new file"]);
    rig.restart();
    rig.append("c.log", "new since\n");
    rig.run(2).await;
    assert_eq!(rig.sorted(), ["half line", "new file", "new since"]);
}

/// Nothing may come for long after the start, and the node may stop meanwhile.
#[tokio::test]
async fn what_comes_while_stopped_is_read_though_nothing_came_since_the_start_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.log"), "old\n").unwrap();
    let mut rig = Rig::starting_at(&["*.log"], StartAt::End, dir);
    rig.run(2).await;
    rig.restart();
    rig.append("a.log", "new\n");
    rig.run(2).await;
    assert_eq!(rig.lines, ["new"]);
}

#[tokio::test]
async fn a_reader_that_was_dropped_early_is_made_again_where_the_checkpoint_says() {
    let mut rig = Rig::new(&["a.log"]);
    rig.append("a.log", "one\n");
    rig.run(2).await;
    let (source, pinned) = rig.pinned.pop_first().unwrap();
    rig.append("a.log", "two, read and never acknowledged\n");
    rig.run(2).await;
    rig.readers.clear();
    rig.ids.clear();
    rig.pinned = [(source.clone(), pinned.clone())].into();
    rig.finder.finished(&source, Some(pinned)).await;
    rig.run(2).await;
    assert_eq!(rig.lines, ["one", "two, read and never acknowledged", "two, read and never acknowledged"]);
}

#[tokio::test]
async fn a_remembered_file_that_is_gone_is_forgotten_unless_its_directory_is_gone_too() {
    for (remove_directory, gone) in [(false, 1), (true, 0)] {
        let mut rig = Rig::new(&["logs/*.log"]);
        fs::create_dir(rig.at("logs")).unwrap();
        rig.append("logs/a.log", "one\n");
        rig.run(2).await;
        fs::remove_file(rig.at("logs/a.log")).unwrap();
        if remove_directory {
            fs::remove_dir(rig.at("logs")).unwrap();
        }
        rig.restart();
        rig.run(LONG).await;
        assert_eq!(rig.gone, gone);
    }
}

/// The device has another number after a reboot, or the file came from a backup.
#[tokio::test]
async fn a_file_is_known_by_its_content_where_its_numbers_have_changed() {
    let mut rig = Rig::new(&["a.log"]);
    rig.append("a.log", "one\ntwo\n");
    rig.run(2).await;
    fs::copy(rig.at("a.log"), rig.at("copy")).unwrap();
    fs::remove_file(rig.at("a.log")).unwrap();
    fs::rename(rig.at("copy"), rig.at("a.log")).unwrap();
    rig.append("a.log", "three\n");
    rig.restart();
    rig.run(LONG).await;
    assert_eq!(rig.lines, ["one", "two", "three"]);
}

#[tokio::test]
async fn excluded_files_and_those_packed_otherwise_than_by_gzip_are_left_alone() {
    let mut rig = Rig::new(&["a.log*"]);
    rig.spec.exclude = vec![rig.at("*.bak").to_str().unwrap().to_owned()];
    rig.restart();
    rig.append("a.log", "one\n");
    rig.append("a.log.bak", "no\n");
    rig.append("a.log.1.zst", b"\x28\xb5\x2f\xfd\0\n\n");
    rig.run(LONG).await;
    assert_eq!(rig.lines, ["one"]);
}

#[test]
fn a_bad_glob_and_a_forbidden_one_are_told_at_once() {
    let make = |glob: &str| {
        let spec = spec(&[glob.to_owned()], StartAt::Beginning, 100);
        let policy = Policy::new(&PolicyConfig { read: vec!["/var/log".into()], ..PolicyConfig::default() }, true, Path::new("/nonexistent"));
        Finder::new(&spec, Arc::new(policy), NodeId::default(), &[], BTreeMap::new()).map(drop).map_err(|error| error.message)
    };
    make("/var/log/*.log").unwrap();
    assert!(make("/var/log/***").unwrap_err().contains("is not a glob"));
    assert!(make("/srv/*.log").unwrap_err().contains("--allow-read"));
}

#[tokio::test]
async fn what_cannot_be_opened_is_told_and_the_rest_is_read() {
    let mut rig = Rig::new(&["*.log"]);
    rig.append("a.log", "one\n");
    fs::create_dir(rig.at("other")).unwrap();
    rig.append("other/b.log", "no\n");
    let allowed = rig.at("allowed");
    fs::create_dir(&allowed).unwrap();
    rig.spec.paths.push(allowed.join("*.log").to_str().unwrap().to_owned());
    fs::write(allowed.join("a.log"), "yes\n").unwrap();
    std::os::unix::fs::symlink(rig.at("other/b.log"), allowed.join("b.log")).unwrap();
    let policy = Policy::new(&PolicyConfig { read: vec![allowed], ..PolicyConfig::default() }, true, Path::new("/nonexistent"));
    rig.finder = Finder::new(&rig.spec, Arc::new(policy), NodeId::default(), &[], BTreeMap::new()).unwrap();
    rig.run(2).await;
    assert_eq!(rig.lines, ["yes"]);
    assert_eq!(rig.errors.len(), 2, "{:?}", rig.errors);
    assert!(rig.errors[0].contains("--allow-read"));
}
