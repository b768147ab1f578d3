//! What bounds a request, whatever has gathered.

use std::{collections::BTreeSet, sync::atomic::AtomicBool};

use super::*;

/// A request is of one batch, which is of what is read at once (256 KiB, and the rest of a line): no sink is given more for its being behind.
#[tokio::test]
async fn no_request_has_more_than_was_read_at_once() {
    let mut host = Host::new();
    let line = |n: u32| format!("{n:05} {}", "x".repeat(994));
    host.write("input", &(0..3_000).map(|n| line(n) + "\n").collect::<String>());
    let sink = Sink::start(|_| StatusCode::OK).await;
    host.start(1, host.file_spec("posted", "input", json!({"name": "out", "type": "http", "url": sink.url})));
    host.settle(|_| sink.taken().iter().map(sink::Post::lines).sum::<usize>() >= 3_000).await;
    assert_eq!(sink.records(), (0..3_000).map(line).collect::<Vec<_>>());
    let lines: Vec<usize> = sink.taken().iter().map(sink::Post::lines).collect();
    assert!(lines.iter().all(|lines| *lines <= (256 << 10) / 1_000 + 1), "{lines:?}");
}

/// After a night without an agent a thousand files may have grown, and their sink may be down as well.
#[tokio::test]
async fn files_with_a_backlog_are_not_all_in_memory() {
    let mut host = Host::new();
    let line = |file: u32, n: u32| format!("{file:03} {n:02} {}", "x".repeat(992));
    for file in 0..400 {
        host.write(&format!("{file}.log"), &(0..70).map(|n| line(file, n) + "\n").collect::<String>());
    }
    let is_up = Arc::new(AtomicBool::new(false));
    let asked = is_up.clone();
    let answer = move |_: &sink::Post| if asked.load(Relaxed) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let sink = Sink::start(answer).await;
    host.start(1, host.file_spec("posted", "*.log", json!({"name": "out", "type": "http", "url": sink.url})));
    let sights = host.sights.clone();
    let read = || sights.of(&name("posted")).map_or(0, |sight| sight.detail().read_bytes);
    let taken = || sink.taken().iter().map(sink::Post::lines).sum::<usize>() as u64;
    let mut most = 0;
    host.settle(|_| {
        most = most.max(read());
        most > 4 << 20
    })
    .await;
    // By now all would have been read, if nothing held it back.
    host.status("posted", |status| status.error.is_some()).await;
    is_up.store(true, Relaxed);
    host.settle(|_| {
        // What has come later is not in memory.
        let came = taken() * 1_000;
        most = most.max(read().saturating_sub(came));
        came == 28_000_000
    })
    .await;
    assert!(most <= 12 << 20, "{most} bytes of 28 million were read and not acknowledged");
    let expected: BTreeSet<String> = (0..400).flat_map(|file| (0..70).map(move |n| line(file, n))).collect();
    assert_eq!(BTreeSet::from_iter(sink.records()), expected);
}
