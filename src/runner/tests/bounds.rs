//! What bounds a request, whatever has gathered.

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
