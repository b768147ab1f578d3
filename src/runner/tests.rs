//! Whole instances, with real files and real HTTP, driven as a node drives them.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use axum::http::StatusCode;
use logvine_cluster::{
    checkpoint::Checkpoint,
    instance::{Counts, Epoch, InstanceState, InstanceStatus, Pinned, SenderCounts},
    spec::{RunnerSpec, SourceSpec},
};
use logvine_gossip::Stamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::{policy::PolicyConfig, sender::ndjson::Origin};

mod bounds;
mod gaps;
mod judged;
mod pushed;
mod rewinds;
mod routed;
pub(crate) mod sink;

use sink::{Sink, Web};

/// Far above what any step here takes: only a broken one meets it.
const PATIENCE: Duration = Duration::from_secs(60);
const FLUSH: Duration = Duration::from_secs(10);

pub(crate) fn body_of(line: &str) -> String {
    let record: Value = serde_json::from_str(line).unwrap();
    record["body"].as_str().unwrap().to_owned()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn numbers(range: std::ops::Range<u32>) -> String {
    range.map(|n| format!("line {n:03}\n")).collect()
}

fn words(range: std::ops::Range<u32>) -> Vec<String> {
    numbers(range).lines().map(str::to_owned).collect()
}

/// A node's side: it holds each checkpoint that it hears of at once.
struct Host {
    place: TempDir,
    runners: Runners,
    events: mpsc::Receiver<InstanceEvent>,
    sights: Sights,
}

/// A node that allows what is allowed where nobody else can write runners, without a data directory.
pub(crate) fn context() -> RunnerContext {
    let policy = Arc::new(Policy::new(&PolicyConfig::default(), false, Path::new("/nowhere")));
    RunnerContext {
        node_name: name("web-1"),
        node_id: NodeId([7; 16]),
        policy,
        data_dir: "/nowhere".into(),
        sights: Sights::default(),
        tags: crate::Tags::default(),
    }
}

/// The origin that the mappings' tests have, with all that `enrich` adds.
pub(crate) fn enriched() -> Origin {
    Origin::enriched("nginx", "web-1", "web-001", Some("web-1.example"), Some(&["edge", "zone-a"].map(name)))
}

impl Host {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let data_dir = place.path().join("data");
        let policy = Arc::new(Policy::new(&PolicyConfig::default(), false, &data_dir));
        let (tell, events) = mpsc::channel(64);
        let sights = Sights::default();
        let context = RunnerContext { policy, data_dir, sights: sights.clone(), ..context() };
        Self { place, runners: Runners::new(context, tell), events, sights }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        use std::io::Write;
        let mut file = fs::OpenOptions::new().append(true).create(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// The bodies of the records in a file of NDJSON, in its order.
    fn records(&self, name: &str) -> Vec<String> {
        fs::read_to_string(self.path(name)).unwrap_or_default().lines().map(body_of).collect()
    }

    /// `input` is followed; `sender` takes it.
    fn file_spec(&self, runner: &str, input: &str, sender: impl Into<Value>) -> RunnerSpec {
        let reader = json!({"type": "file", "paths": [self.path(input)], "poll_ms": 50});
        let spec = json!({"name": runner, "placement": {"every": "all"}, "reader": reader, "senders": [sender.into()]});
        serde_json::from_value(spec).unwrap()
    }

    fn to_file(&self, output: &str) -> Value {
        json!({"name": "out", "type": "file", "path": self.path(output)})
    }

    fn start(&mut self, revision: u64, spec: RunnerSpec) {
        let (runner, pinned) = (spec.name.clone(), BTreeMap::new());
        self.runners.handle(InstanceCommand::Start {
            runner,
            uid: Stamp(1),
            revision: Stamp(revision),
            spec: Arc::new(spec),
            pinned,
            rewind: Stamp::ZERO,
            counts: Counts::default(),
        });
    }

    async fn next(&mut self) -> InstanceEvent {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("an event comes").unwrap();
        if let InstanceEvent::Checkpoint { runner, source, epoch, checkpoint, .. } = event.clone() {
            self.runners.handle(InstanceCommand::Held { runner, source, epoch, checkpoint });
        }
        event
    }

    async fn until<T>(&mut self, mut wanted: impl FnMut(InstanceEvent) -> Option<T>) -> T {
        loop {
            let event = self.next().await;
            if let Some(found) = wanted(event) {
                return found;
            }
        }
    }

    async fn status(&mut self, of: &str, mut wanted: impl FnMut(&InstanceStatus) -> bool) -> InstanceStatus {
        self.until(|event| match event {
            InstanceEvent::Status { runner, status } if runner.as_str() == of && wanted(&status) => Some(status),
            _ => None,
        })
        .await
    }

    /// Waits for what is no event, and drains the events meanwhile.
    async fn settle(&mut self, mut done: impl FnMut(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !done(self) {
            assert!(tokio::time::Instant::now() < deadline, "it never comes");
            // A status comes each second at most, so what is waited for is looked at often enough.
            let _ = tokio::time::timeout(Duration::from_millis(20), self.next()).await;
        }
    }

    async fn stop(&mut self, runner: &str, flush: Duration) -> Vec<InstanceEvent> {
        self.runners.handle(InstanceCommand::Stop { runner: name(runner), flush });
        let mut before = vec![];
        self.until(|event| match event {
            InstanceEvent::Stopped { runner: of } if of.as_str() == runner => Some(()),
            event => {
                before.push(event);
                None
            }
        })
        .await;
        before
    }
}

#[tokio::test]
async fn lines_of_a_file_arrive_in_order_with_ids_of_their_own() {
    let mut host = Host::new();
    host.write("in.log", &numbers(0..200));
    host.start(1, host.file_spec("r", "in.log", host.to_file("out-{node}-{runner}.ndjson")));
    host.settle(|host| host.records("out-web-1-r.ndjson").len() == 200).await;
    host.write("in.log", &numbers(200..300));
    host.settle(|host| host.records("out-web-1-r.ndjson").len() == 300).await;
    assert_eq!(host.records("out-web-1-r.ndjson"), words(0..300));
    let text = fs::read_to_string(host.path("out-web-1-r.ndjson")).unwrap();
    let ids: std::collections::BTreeSet<String> = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].to_string()).collect();
    assert_eq!(ids.len(), 300);
}

/// DESIGN §8.1: the last checkpoint is told before `Stopped`, and a start from it repeats nothing.
#[tokio::test]
async fn stopping_flushes_and_the_next_start_goes_on_from_there() {
    let mut host = Host::new();
    host.write("in.log", &numbers(0..100));
    let spec = host.file_spec("r", "in.log", host.to_file("out.ndjson"));
    host.start(1, spec.clone());
    host.settle(|host| host.records("out.ndjson").len() == 100).await;
    let last = host.stop("r", FLUSH).await.into_iter().rev().find_map(|event| match event {
        InstanceEvent::Checkpoint { source, checkpoint, place, .. } => Some((source, Pinned { checkpoint, place: place.unwrap() })),
        _ => None,
    });
    let (source, pinned) = last.expect("a last checkpoint is told");
    let offsets: Vec<u64> = pinned.checkpoint.files.values().flat_map(|positions| positions.values()).map(|position| position.offset).collect();
    assert_eq!(offsets, [900]);
    host.write("in.log", &numbers(100..150));
    let runner = name("r");
    let pinned = [(source, pinned)].into();
    host.runners.handle(InstanceCommand::Start {
        runner,
        uid: Stamp(1),
        revision: Stamp(1),
        spec: Arc::new(spec),
        pinned,
        rewind: Stamp::ZERO,
        counts: Counts::default(),
    });
    host.settle(|host| host.records("out.ndjson").len() >= 150).await;
    assert_eq!(host.records("out.ndjson"), words(0..150));
}

/// The node keeps them over crashes, and an operator clears them.
#[tokio::test]
async fn counters_go_on_from_where_they_were_and_from_nothing_once_cleared() {
    let mut host = Host::new();
    host.write("in.log", &numbers(0..10));
    let (runner, spec) = (name("r"), Arc::new(host.file_spec("r", "in.log", host.to_file("out.ndjson"))));
    let of_sender = SenderCounts { records: 900, dead_lettered: 3, ..SenderCounts::default() };
    let (stages, senders) = (BTreeMap::from([("send out".to_owned(), 3)]), BTreeMap::from([(name("out"), of_sender)]));
    let (uid, counts) = (Stamp(1), Counts { records: 1_000, dead_lettered: 3, stages, senders, ..Counts::default() });
    let start = InstanceCommand::Start { runner: runner.clone(), uid, revision: uid, spec, pinned: BTreeMap::new(), rewind: Stamp::ZERO, counts };
    host.runners.handle(start);
    let status = host.status("r", |status| status.records == 1_010).await;
    assert_eq!((status.dead_lettered, status.counted_since), (3, Stamp::ZERO));
    let sights = host.sights.clone();
    let seen = || {
        let detail = sights.of(&name("r")).unwrap().detail();
        let sender = &detail.senders["out"].counts;
        (sender.records, sender.dead_lettered, detail.stages["send out"].count)
    };
    assert_eq!(seen(), (910, 3, 3));
    host.runners.handle(InstanceCommand::ClearCounters { runner: runner.clone(), uid, since: Stamp(7) });
    let status = host.status("r", |status| status.counted_since == Stamp(7)).await;
    assert_eq!((status.records, status.dead_lettered, seen()), (0, 0, (0, 0, 0)));
    // Said again, or late, it changes nothing.
    host.write("in.log", &numbers(10..15));
    host.status("r", |status| status.records == 5).await;
    host.runners.handle(InstanceCommand::ClearCounters { runner, uid, since: Stamp(6) });
    host.runners.handle(InstanceCommand::Restart { runner: name("r"), operation: Stamp(9) });
    host.status("r", |status| status.restarted == Stamp(9) && status.records == 5).await;
    assert_eq!(seen(), (5, 0, 0));
}

/// What a start that fails has counted is kept as any other count, and so is what was counted before it.
#[tokio::test]
async fn errors_of_a_start_that_fails_are_counted_on() {
    let mut host = Host::new();
    host.write("in.log", &numbers(0..10));
    let headers = json!({"authorization": "secret://env/NO_SUCH_VARIABLE"});
    let sender = json!({"name": "out", "type": "http", "url": "http://127.0.0.1:9/logs", "headers": headers});
    let spec = Arc::new(host.file_spec("r", "in.log", sender));
    let counts = Counts { stages: BTreeMap::from([("instance".to_owned(), 4)]), ..Counts::default() };
    let start =
        InstanceCommand::Start { runner: name("r"), uid: Stamp(1), revision: Stamp(1), spec, pinned: BTreeMap::new(), rewind: Stamp::ZERO, counts };
    host.runners.handle(start);
    let told = host.until(|event| if let InstanceEvent::Counted { counts, .. } = event { Some(counts) } else { None }).await;
    assert_eq!(told.stages["instance"], 5);
}

#[tokio::test]
async fn a_dead_sink_does_not_hold_a_stop_beyond_its_flush() {
    let mut host = Host::new();
    host.write("in.log", &numbers(0..10));
    host.start(1, host.file_spec("r", "in.log", json!({"name": "out", "type": "http", "url": "http://127.0.0.1:9/logs"})));
    let status = host.status("r", |status| status.error.is_some()).await;
    assert_eq!(status.state, InstanceState::Running);
    assert!(status.error.unwrap().contains("127.0.0.1:9"));
    let told = host.stop("r", Duration::from_millis(100)).await;
    let positions = told.iter().filter_map(|event| match event {
        InstanceEvent::Checkpoint { checkpoint, .. } => checkpoint.files.values().next_back()?.values().next().copied(),
        _ => None,
    });
    assert!(positions.map(|position| position.offset).all(|offset| offset == 0), "nothing was acknowledged");
}

#[tokio::test]
async fn a_movable_source_is_handed_over_without_a_repeat() {
    let web = Web::start().await;
    let mut host = Host::new();
    let reader = json!({"type": "http", "poll_ms": 50});
    let spec = json!({"name": "r", "placement": {"spread": "all"}, "reader": reader, "senders": [host.to_file("out.ndjson")]});
    host.start(1, serde_json::from_value(spec).unwrap());
    let source = Arc::new(SourceSpec { id: name("web-001"), url: web.url.clone(), rotated: vec![], selection: None });
    let epoch = |counter| Epoch { counter, taker: NodeId([7; 16]) };
    web.append(&numbers(0..50));
    let open = |epoch, resume| InstanceCommand::Open { runner: name("r"), source: source.clone(), epoch, resume };
    host.runners.handle(open(epoch(1), Checkpoint::default()));
    host.settle(|host| host.records("out.ndjson").len() == 50).await;
    host.runners.handle(InstanceCommand::Close { runner: name("r"), source: name("web-001"), epoch: epoch(1), flush: FLUSH });
    let (checkpoint, flushed) = host
        .until(|event| match event {
            InstanceEvent::Closed { checkpoint, flushed, epoch: of, .. } if of == epoch(1) => Some((checkpoint, flushed)),
            _ => None,
        })
        .await;
    assert!(flushed);
    web.append(&numbers(50..80));
    host.runners.handle(open(epoch(2), checkpoint));
    host.settle(|host| host.records("out.ndjson").len() >= 80).await;
    assert_eq!(host.records("out.ndjson"), words(0..80));
}

/// A fenced owner stops at once: `flush` is zero, and what is in flight is the next owner's.
#[tokio::test]
async fn a_source_that_is_not_open_is_closed_all_the_same() {
    let mut host = Host::new();
    let epoch = Epoch { counter: 3, taker: NodeId([7; 16]) };
    host.runners.handle(InstanceCommand::Close { runner: name("r"), source: name("s"), epoch, flush: Duration::ZERO });
    let closed = host.until(|event| matches!(event, InstanceEvent::Closed { .. }).then_some(event)).await;
    assert!(matches!(closed, InstanceEvent::Closed { flushed: true, .. }));
    host.stop("never-started", FLUSH).await;
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_sent_in_smaller_ones() {
    let sink = Sink::start(|post| if post.lines() > 3 { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::OK }).await;
    let mut host = Host::new();
    host.write("in.log", &numbers(0..40));
    host.start(1, host.file_spec("r", "in.log", json!({"name": "out", "type": "http", "url": sink.url})));
    host.settle(|_| sink.records().len() >= 40).await;
    assert_eq!(sink.records(), words(0..40));
    assert!(!host.path("data/dead-letter/r.ndjson").exists());
}

#[tokio::test]
async fn a_record_that_the_sink_refuses_is_kept_aside_and_the_rest_arrives() {
    let answer = |post: &sink::Post| match post.body.contains("line 017") {
        true => (StatusCode::BAD_REQUEST, "no such field"),
        false => (StatusCode::OK, ""),
    };
    let sink = Sink::start(answer).await;
    let mut host = Host::new();
    host.write("in.log", &numbers(0..40));
    host.start(1, host.file_spec("r", "in.log", json!({"name": "out", "type": "http", "url": sink.url})));
    let status = host.status("r", |status| status.records == 40).await;
    assert_eq!((status.dead_lettered, status.state), (1, InstanceState::Running));
    assert_eq!(sink.records(), words(0..40).into_iter().filter(|line| line != "line 017").collect::<Vec<_>>());
    let letter = fs::read_to_string(host.path("data/dead-letter/r.ndjson")).unwrap();
    let letter: Value = serde_json::from_str(letter.trim_end()).expect("one letter");
    assert_eq!((&letter["sender"], &letter["record"]["body"]), (&"out".into(), &"line 017".into()));
    assert!(letter["reason"].as_str().unwrap().ends_with("answers 400 Bad Request: no such field"), "{letter}");
    assert_eq!(letter["record"]["id"].as_str().unwrap().len(), 32);
}

#[tokio::test]
async fn a_sink_that_refuses_us_pauses_the_instance_and_says_why() {
    let sink = Sink::start(|_| StatusCode::UNAUTHORIZED).await;
    let mut host = Host::new();
    host.write("in.log", &numbers(0..5));
    host.start(1, host.file_spec("r", "in.log", json!({"name": "out", "type": "http", "url": sink.url})));
    let status = host.status("r", |status| status.state == InstanceState::Paused).await;
    assert!(status.error.unwrap().contains("401"));
}

#[tokio::test]
async fn a_sink_that_comes_back_gets_everything() {
    let refusals = AtomicU32::new(2);
    let sink = Sink::start(move |_| {
        let refuse = refusals.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
        if refuse { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::NO_CONTENT }
    })
    .await;
    let mut host = Host::new();
    host.write("in.log", &numbers(0..20));
    host.start(1, host.file_spec("r", "in.log", json!({"name": "out", "type": "http", "url": sink.url})));
    host.settle(|_| sink.records().len() >= 20).await;
    assert_eq!(sink.records(), words(0..20));
}

#[tokio::test]
async fn a_forbidden_output_is_told_and_nothing_is_lost() {
    let mut host = Host::new();
    host.write("in.log", &numbers(0..5));
    // What lies directly in the data directory is the node's own, whatever the policy.
    host.start(1, host.file_spec("r", "in.log", host.to_file("data/store.redb")));
    let status = host.status("r", |status| status.state == InstanceState::Paused).await;
    assert!(status.error.unwrap().contains("own state"));
    host.start(2, host.file_spec("r", "in.log", host.to_file("out.ndjson")));
    host.settle(|host| host.records("out.ndjson").len() >= 5).await;
    assert_eq!(host.records("out.ndjson"), words(0..5));
}

#[tokio::test]
async fn another_revision_goes_on_where_the_last_one_ended() {
    let mut host = Host::new();
    host.write("in.log", &numbers(0..30));
    host.start(1, host.file_spec("r", "in.log", host.to_file("one.ndjson")));
    host.settle(|host| host.records("one.ndjson").len() == 30).await;
    host.start(2, host.file_spec("r", "in.log", host.to_file("two.ndjson")));
    host.write("in.log", &numbers(30..60));
    host.status("r", |status| status.revision == Stamp(2) && status.state == InstanceState::Running).await;
    host.settle(|host| host.records("one.ndjson").len() + host.records("two.ndjson").len() >= 60).await;
    let mut all = host.records("one.ndjson");
    all.extend(host.records("two.ndjson"));
    assert_eq!(all, words(0..60));
    assert!(!host.records("two.ndjson").is_empty());
}

#[tokio::test]
async fn a_revision_that_cannot_run_leaves_the_last_good_one_at_work() {
    let mut host = Host::new();
    host.write("in.log", &numbers(0..10));
    host.start(1, host.file_spec("r", "in.log", host.to_file("out.ndjson")));
    host.settle(|host| host.records("out.ndjson").len() == 10).await;
    let headers = json!({"authorization": "secret://env/NO_SUCH_VARIABLE"});
    let sender = json!({"name": "out", "type": "http", "url": "http://127.0.0.1:9/logs", "headers": headers});
    host.start(2, host.file_spec("r", "in.log", sender));
    let status = host.status("r", |status| status.error.is_some()).await;
    assert_eq!((status.state, status.revision), (InstanceState::Running, Stamp(1)));
    assert!(status.error.unwrap().contains("NO_SUCH_VARIABLE"));
    host.write("in.log", &numbers(10..20));
    host.settle(|host| host.records("out.ndjson").len() >= 20).await;
    assert_eq!(host.records("out.ndjson"), words(0..20));
}

#[tokio::test]
async fn a_runner_that_cannot_run_says_why() {
    let mut host = Host::new();
    let headers = json!({"authorization": "secret://env/NO_SUCH_VARIABLE"});
    let sender = json!({"name": "out", "type": "http", "url": "http://127.0.0.1:9/logs", "headers": headers});
    host.start(1, host.file_spec("r", "in.log", sender));
    let status = host.status("r", |_| true).await;
    assert_eq!(status.state, InstanceState::Failed);
    assert_eq!(status.error.unwrap(), "sender `out`: header `authorization`: the agent has no environment variable NO_SUCH_VARIABLE");
}

/// Fly.io 2024 (PITFALLS §5): a runner that panics stops alone.
#[tokio::test]
async fn a_runner_that_panics_stops_alone_and_says_why() {
    let mut host = Host::new();
    host.write("bad.log", "fine\npanic!\n");
    host.write("good.log", &numbers(0..10));
    host.start(1, host.file_spec("bad", "bad.log", host.to_file("bad.ndjson")));
    host.start(1, host.file_spec("good", "good.log", host.to_file("good.ndjson")));
    let status = host.status("bad", |status| status.state == InstanceState::Failed).await;
    assert!(status.error.unwrap().contains("a stage was told to panic"));
    host.write("good.log", &numbers(10..20));
    host.settle(|host| host.records("good.ndjson").len() >= 20).await;
    assert_eq!(host.records("good.ndjson"), words(0..20));
}

#[tokio::test]
async fn a_runner_that_has_panicked_is_started_again_and_loses_nothing() {
    let mut host = Host::new();
    host.write("in.log", &format!("{}panic once\n{}", numbers(0..10), numbers(10..20)));
    host.start(1, host.file_spec("r", "in.log", host.to_file("out.ndjson")));
    host.status("r", |status| status.state == InstanceState::Failed).await;
    host.settle(|host| host.records("out.ndjson").len() >= 21).await;
    assert_eq!(host.records("out.ndjson").len(), 21);
    host.status("r", |status| status.state == InstanceState::Running).await;
}
