//! Rotated files that are packed (case 5): content once, whatever it is in.

use super::*;
use crate::reader::content::tests::packed;

impl Rig {
    /// gzip, which takes its time: the file is there before it is whole, then the original goes.
    fn pack(&self, name: &str) {
        fs::write(self.at(&format!("{name}.gz")), packed(&fs::read(self.at(name)).unwrap())).unwrap();
        fs::remove_file(self.at(name)).unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn a_backlog_of_packed_files_is_read_once_also_over_a_restart() {
    let mut rig = Rig::new(&["a.log*"]);
    for n in 2..5 {
        fs::write(rig.at(&format!("a.log.{n}.gz")), packed(format!("{n} a\n{n} b\n{n}, unfinished").as_bytes())).unwrap();
    }
    rig.append("a.log", "now\n");
    rig.run(2 * LONG).await;
    rig.restart();
    rig.run(2 * LONG).await;
    assert_eq!(rig.lines.iter().filter(|line| line.ends_with(" a") || line.ends_with(" b")).count(), 6, "{:?}", rig.lines);
    fs::remove_file(rig.at("a.log.4.gz")).unwrap();
    rig.run(2 * LONG).await;
    assert_eq!((rig.lines.len(), rig.lines.last().unwrap().as_str()), (8, "4, unfinished"), "it is final when it is gone");
}

#[tokio::test]
async fn what_was_read_before_it_was_packed_is_not_read_again() {
    for stopped in [false, true] {
        let mut rig = Rig::new(&["a.log*"]);
        for n in 0..4 {
            rig.append("a.log", format!("{n} a\n"));
            rig.run(2).await;
            rig.append("a.log", format!("{n} b, unread\n"));
            if stopped {
                rig.restart();
            }
            for old in (1..4).rev().filter(|old| rig.at(&format!("a.log.{old}.gz")).exists()) {
                rig.rename(&format!("a.log.{old}.gz"), &format!("a.log.{}.gz", old + 1));
            }
            rig.rename("a.log", "a.log.1");
            rig.pack("a.log.1");
            rig.run(2 * LONG).await;
            if n % 2 == 1 {
                rig.restart();
                rig.run(2 * LONG).await;
            }
        }
        assert_eq!(rig.sorted(), ["0 a", "0 b, unread", "1 a", "1 b, unread", "2 a", "2 b, unread", "3 a", "3 b, unread"], "stopped: {stopped}");
        assert!(rig.rotated.is_empty() && rig.errors.is_empty(), "{:?}", rig.errors);
    }
}

#[tokio::test]
async fn a_packed_file_beside_its_original_is_left_to_that() {
    let mut rig = Rig::new(&["a.log*"]);
    rig.append("a.log", "one\n");
    rig.run(2).await;
    fs::write(rig.at("a.log.gz"), packed(b"one\n")).unwrap();
    rig.run(2 * LONG).await;
    assert_eq!(rig.lines, ["one"]);
}

#[tokio::test]
async fn a_damaged_one_is_read_as_far_as_it_goes_and_told() {
    let mut rig = Rig::new(&["*.gz"]);
    let all: String = (0..5_000).map(|n| format!("line {n}\n")).collect();
    let whole = packed(all.as_bytes());
    fs::write(rig.at("a.gz"), &whole[..whole.len() / 2]).unwrap();
    for _ in 0..2 * LONG {
        for found in rig.finder.poll().await.found {
            rig.readers.insert(found.source, found.reader);
        }
    }
    let source = rig.readers.keys().next().unwrap().clone();
    let mut lines = 0;
    let error = loop {
        match rig.readers.get_mut(&source).unwrap().next().await {
            Ok(Read::Chunk(chunk)) => lines += chunk.lines.len(),
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert!(lines > 1_000, "{lines}");
    assert!(error.message.contains("a.gz") && error.message.contains("not whole gzip"), "{error}");
}
