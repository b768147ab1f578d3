use std::collections::BTreeSet;

use super::*;

const ME: NodeId = NodeId([1; 16]);

fn tell(log: &EventLog, detail: &str) -> String {
    let words = Words {
        level: Level::Debug,
        kind: "test",
        node: None,
        runner: None,
        source: None,
        sources: None,
        operation: None,
        detail: detail.to_owned(),
    };
    log.tell(UnixMicros(1_000_000_000), words);
    log.0.memory.kept().rows.back().unwrap().1.id.clone()
}

fn details(slice: &Slice) -> Vec<&str> {
    slice.rows.iter().map(|row| row.detail.as_str()).collect()
}

/// All that is kept after a point, look after look.
async fn all(log: &EventLog, mut after: Stamp) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        let slice = log.after(after).await;
        if slice.rows.is_empty() {
            return found;
        }
        after = slice.until;
        found.extend(slice.rows.iter().map(|row| row.detail.clone()));
    }
}

/// Waits until the writer has written this one.
async fn written(directory: &Path, detail: &str) {
    while journal::newest(directory, 1).unwrap().last().is_none_or(|(_, row)| row.detail != detail) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn events_are_kept_in_order_and_read_from_a_point_on() {
    let log = EventLog::new(ME);
    let first = tell(&log, "a");
    tell(&log, "b");
    let slice = log.after(log.point(&first).unwrap()).await;
    assert_eq!((details(&slice), slice.gap), (vec!["b"], false));
    assert!(log.after(slice.until).await.rows.is_empty());
}

#[tokio::test]
async fn a_point_that_is_no_longer_kept_is_said_to_be_gone() {
    let log = EventLog::new(ME);
    let first = tell(&log, "first");
    (0..=KEPT_MAX).for_each(|_| drop(tell(&log, "x")));
    assert!(log.after(log.point(&first).unwrap()).await.gap);
    let from_the_start = log.after(Stamp::ZERO).await;
    assert_eq!((from_the_start.rows.len(), from_the_start.gap), (KEPT_MAX, false), "who asks for all that is kept misses nothing of it");
}

#[tokio::test]
async fn a_restart_keeps_the_events_and_ids_go_on_growing() {
    let home = tempfile::tempdir().unwrap();
    let (log, last) = EventLog::open(ME, home.path());
    assert_eq!(last, None);
    let first = tell(&log, "a");
    tell(&log, "b");
    // What was told last is on disk when the log is gone.
    drop(log);
    let (log, last) = EventLog::open(ME, home.path());
    assert!(last.is_some());
    // The wall clock stands still in this test: only what was seen on disk makes the next id greater.
    assert!(tell(&log, "c") > first);
    let slice = log.after(log.point(&first).unwrap()).await;
    assert_eq!((details(&slice), slice.gap), (vec!["b", "c"], false));
}

#[tokio::test]
async fn what_memory_has_dropped_is_read_from_the_disk_without_a_hole_or_a_repeat() {
    let home = tempfile::tempdir().unwrap();
    let (log, _) = EventLog::open(ME, home.path());
    let count = KEPT_MAX + 2_000;
    for at in 0..count {
        tell(&log, &at.to_string());
        if at % 1_000 == 999 {
            written(home.path(), &at.to_string()).await;
        }
    }
    let expected: Vec<String> = (0..count).map(|at| at.to_string()).collect();
    assert!(all(&log, Stamp::ZERO).await == expected);
}

/// Another node's clock may be ahead: what this one told at that time must not be skipped.
#[tokio::test]
async fn a_point_of_another_node_begins_earlier() {
    let log = EventLog::new(ME);
    tell(&log, "a");
    let foreign = id_of(Stamp::from_millis(1_000_000 + 20_000), &NodeId([2; 16]));
    let slice = log.after(log.point(&foreign).unwrap()).await;
    assert_eq!(details(&slice), ["a"]);
    assert_eq!(log.point("nothing"), None);
}

/// A disk that does not keep up: the order is kept, and the hole is said where it is.
#[test]
fn what_the_disk_did_not_take_is_counted_in_its_place() {
    let log = EventLog(Arc::new(Inner::new(ME, Some(PathBuf::from("/nowhere")), Vec::new())));
    (0..UNWRITTEN_MAX + 3).for_each(|at| drop(tell(&log, &at.to_string())));
    let (told, _) = log.0.memory.take_unwritten(Duration::ZERO);
    assert_eq!(told.len(), UNWRITTEN_MAX + 1);
    let last = &told.last().unwrap().1;
    assert_eq!((last.kind.as_str(), last.detail.starts_with("3 events")), ("events.lost", true), "{last:?}");
    tell(&log, "after");
    assert_eq!(log.0.memory.take_unwritten(Duration::ZERO).0.len(), 1);
}

/// A kind that is told and not listed could not be asked for.
#[test]
fn each_kind_that_is_told_is_listed() {
    let (_, log) = include_str!("../events.rs").split_once("];").expect("the list itself");
    let code = [log, include_str!("words.rs")].concat();
    let is_kind = |word: &&str| {
        let right = |part: &str| !part.is_empty() && part.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_');
        word.split_once('.').is_some_and(|(begin, rest)| right(begin) && right(rest))
    };
    let told: BTreeSet<&str> = code.split('"').filter(is_kind).collect();
    assert_eq!(told, KINDS.iter().copied().collect());
}
