use std::{fs, time::Duration};

use axum::http::{StatusCode, header};
use serde_json::json;

use super::{bench::Bench, encoding::Encoding, *};
use crate::{
    policy::PolicyConfig,
    tests::sink::{Post, Sink},
};

fn http(url: &str) -> Bench {
    Bench::of(json!({"name": "out", "type": "http", "url": url, "timeout_ms": 500}))
}

async fn outcome_of(status: u16) -> Outcome {
    let sink = Sink::start(move |_| StatusCode::from_u16(status).unwrap()).await;
    http(&sink.url).outcome("{}\n{}\n").await
}

#[tokio::test]
async fn a_file_has_what_was_acknowledged() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("new/{node}-{runner}.ndjson");
    let mut bench = Bench::of(json!({"name": "out", "type": "file", "path": path}));
    for send in 0..3 {
        bench.give(send, Parcel::of_lines("{\"a\":1}\n{\"a\":2}\n"));
    }
    for send in 0..3 {
        assert_eq!(bench.answer().await, (SendId(send), Outcome::Acknowledged));
    }
    assert_eq!(fs::read_to_string(place.path().join("new/web-1-nginx.ndjson")).unwrap(), "{\"a\":1}\n{\"a\":2}\n".repeat(3));
}

#[tokio::test]
async fn a_file_that_cannot_be_written_now_is_tried_again_and_a_forbidden_one_waits_for_an_operator() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("a-file"), "").unwrap();
    let beneath_a_file = place.path().join("a-file/out.ndjson");
    let mut bench = Bench::of(json!({"name": "out", "type": "file", "path": beneath_a_file}));
    let Outcome::Retry { reason, .. } = bench.outcome("{}\n").await else { panic!("it may be mended") };
    assert!(reason.contains("a-file"), "{reason}");
    let narrow = PolicyConfig { write: vec!["/var/lib/elsewhere".into()], ..PolicyConfig::default() };
    let mut bench = Bench::new(&serde_json::from_value(json!({"name": "out", "type": "file", "path": place.path().join("out")})).unwrap(), &narrow);
    let Outcome::Paused { reason } = bench.outcome("{}\n").await else { panic!("only another policy mends it") };
    assert!(reason.contains("--allow-write"), "{reason}");
    assert!(!place.path().join("out").exists());
}

/// A source that was closed is another owner's: what waits here for it must not be sent.
#[tokio::test]
async fn jobs_of_a_closed_source_are_dropped() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("out.ndjson");
    let mut bench = Bench::of(json!({"name": "out", "type": "file", "path": path}));
    let (to, closed) = mpsc::unbounded_channel();
    drop(closed);
    bench.jobs.send(bench.job(9, Parcel::of_lines("{\"stale\":1}\n"), to)).unwrap();
    assert_eq!(bench.outcome("{}\n").await, Outcome::Acknowledged);
    assert_eq!(fs::read_to_string(&path).unwrap(), "{}\n");
}

#[tokio::test]
async fn a_batch_is_posted_as_ndjson_with_the_headers_of_the_spec() {
    let sink = Sink::start(|_| StatusCode::ACCEPTED).await;
    let headers = json!({"x-tenant": "blue"});
    let mut bench = Bench::of(json!({"name": "out", "type": "http", "url": sink.url, "headers": headers}));
    assert_eq!(bench.outcome("{\"a\":1}\n{\"a\":2}\n").await, Outcome::Acknowledged);
    let Post { headers, body } = sink.taken().remove(0);
    assert_eq!((&headers[header::CONTENT_TYPE], &headers["x-tenant"]), (&"application/x-ndjson".parse().unwrap(), &"blue".parse().unwrap()));
    assert_eq!(body, "{\"a\":1}\n{\"a\":2}\n");
}

/// DESIGN §7: which answer means what.
#[tokio::test]
async fn each_status_has_its_outcome() {
    for status in [200, 202, 204] {
        assert_eq!(outcome_of(status).await, Outcome::Acknowledged, "{status}");
    }
    for status in [408, 429, 500, 502, 503, 504] {
        assert!(matches!(outcome_of(status).await, Outcome::Retry { after: None, .. }), "{status}");
    }
    for status in [400, 413, 422] {
        assert!(matches!(outcome_of(status).await, Outcome::Rejected { .. }), "{status}");
    }
    for status in [301, 401, 403, 404, 405] {
        let Outcome::Paused { reason } = outcome_of(status).await else { panic!("{status}") };
        assert!(reason.contains(&status.to_string()), "{reason}");
    }
}

/// Halving a batch whose other records are for other senders would ask the sink again about the same one.
#[tokio::test]
async fn the_only_record_of_a_send_is_refused_by_its_number() {
    let sink = Sink::start(|_| (StatusCode::BAD_REQUEST, "what is this")).await;
    let mut bench = http(&sink.url);
    let Outcome::Mixed { rejected, again: None } = bench.outcome_of(Parcel::of_parts(Encoding::Ndjson, &[b"", b"", b"{}\n"])).await else { panic!() };
    assert_eq!(rejected.iter().map(|refusal| refusal.record).collect::<Vec<_>>(), [2]);
    assert!(rejected[0].reason.ends_with("what is this"), "{rejected:?}");
}

#[tokio::test]
async fn the_wait_that_a_sink_asks_for_is_passed_on() {
    let sink = Sink::start(|_| (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "7")])).await;
    let Outcome::Retry { after, .. } = http(&sink.url).outcome("{}\n").await else { panic!("429 is to be tried again") };
    assert_eq!(after, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Sink::start(|_| StatusCode::OK).await;
    let to = elsewhere.url.clone();
    let sink = Sink::start(move |_| (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to.clone())])).await;
    let Outcome::Paused { reason } = http(&sink.url).outcome("{}\n").await else { panic!("an operator must write the address") };
    assert!(reason.contains("redirect"), "{reason}");
    assert!(elsewhere.taken().is_empty());
}

#[tokio::test]
async fn a_sink_that_is_not_there_or_hangs_is_tried_again() {
    let refused = http("http://127.0.0.1:9/logs").outcome("{}\n").await;
    assert!(matches!(&refused, Outcome::Retry { reason, .. } if reason.starts_with("http://127.0.0.1:9")), "{refused:?}");
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hung = http(&format!("http://{}/logs?token=hush", silent.local_addr().unwrap())).outcome("{}\n").await;
    let Outcome::Retry { reason, .. } = hung else { panic!("a time-out is to be tried again") };
    assert!(!reason.contains("hush"), "a query may be secret: {reason}");
}

/// Nobody knows then whether it was taken: it comes again, under its ids.
#[tokio::test]
async fn a_connection_that_breaks_off_is_tried_again() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    for (kind, answer) in [
        ("http", ""),
        ("http", "HTTP/1.1 200"),
        ("elasticsearch", "HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"errors\":fal"),
        ("otlp", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n\x0a"),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut spec = json!({"name": "out", "type": kind, "url": format!("http://{}", listener.local_addr().unwrap())});
        if kind == "elasticsearch" {
            spec["index"] = "logs".into();
        }
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                // All of the head and not all of the body: what is unread at the end is a reset for the client.
                client.read_u8().await.unwrap();
                client.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let outcome = Bench::of(spec).outcome_of(bulk()).await;
        assert!(matches!(outcome, Outcome::Retry { .. }), "{kind} {answer:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn an_address_that_the_policy_forbids_is_not_dialled() {
    let sink = Sink::start(|_| StatusCode::OK).await;
    let narrow = PolicyConfig { connect: vec!["10.0.0.0/8".parse().unwrap()], ..PolicyConfig::default() };
    let mut bench = Bench::new(&serde_json::from_value(json!({"name": "out", "type": "http", "url": sink.url})).unwrap(), &narrow);
    let Outcome::Paused { reason } = bench.outcome("{}\n").await else { panic!("only another policy mends it") };
    assert!(reason.contains("--allow-connect"), "{reason}");
    assert!(sink.taken().is_empty());
}

/// Each answer goes to its own batch, whatever the others get (Fluent Bit: 429, then 200, lost the first).
#[tokio::test]
async fn requests_side_by_side_are_answered_each_for_itself() {
    let sink = Sink::start(|post| if post.body.contains("bad") { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }).await;
    let mut bench = http(&sink.url);
    let outcomes = bench.outcomes(&["\"bad\"\n", "\"good\"\n"].map(Parcel::of_lines)).await;
    assert!(matches!(outcomes[..], [Outcome::Retry { .. }, Outcome::Acknowledged]), "{outcomes:?}");
}

/// DESIGN §7: what only an operator can mend pauses and puts nothing aside, whatever is spoken over HTTP.
#[tokio::test]
async fn a_missing_right_or_address_pauses_each_kind_of_sender() {
    for (kind, path, parcel) in [
        ("http", "/logs", Parcel::of_lines("{}\n{}\n")),
        ("elasticsearch", "/_bulk", bulk()),
        ("loki", "/loki/api/v1/push", entries()),
        ("otlp", "/v1/logs", Parcel::of_parts(Encoding::Otlp, &[b"\x12\x00"])),
    ] {
        for status in [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND] {
            let sink = Sink::at(path, move |_| status).await;
            let mut spec = json!({"name": "out", "type": kind, "url": sink.url});
            if kind == "elasticsearch" {
                spec["index"] = "logs".into();
            }
            let Outcome::Paused { reason } = Bench::of(spec).outcome_of(parcel.clone()).await else { panic!("{kind} {status}") };
            assert!(reason.contains(status.as_str()) && reason.contains("check the sender's"), "{kind}: {reason}");
        }
    }
}

/// OTLP forbids to send any of it again, and does not say which were refused.
#[tokio::test]
async fn a_partial_success_of_otlp_puts_all_of_the_request_aside() {
    // ExportLogsServiceResponse { partial_success: { rejected_log_records: 1, error_message: "no" } }
    let sink = Sink::at("/v1/logs", |_| b"\x0a\x06\x08\x01\x12\x02no".to_vec()).await;
    let mut bench = Bench::of(json!({"name": "out", "type": "otlp", "url": sink.url}));
    let outcome = bench.outcome_of(Parcel::of_parts(Encoding::Otlp, &[b"\x12\x00", b"\x12\x00"])).await;
    let Outcome::Mixed { rejected, again: None } = outcome else { panic!("{outcome:?}") };
    assert_eq!(rejected.iter().map(|refusal| refusal.record).collect::<Vec<_>>(), [0, 1]);
    assert!(rejected[0].reason.contains("refuses 1 of 2 records") && rejected[0].reason.ends_with("no"), "{rejected:?}");
    assert_eq!(sink.taken().len(), 1);
}

fn bulk() -> Parcel {
    let two: &[u8] = b"{\"create\":{\"_id\":\"0\"}}\n{\"message\":\"x\"}\n";
    Parcel::of_parts(Encoding::Bulk("logs".parse::<logvine_cluster::spec::IndexPattern>().unwrap().into()), &[two, two, two])
}

#[tokio::test]
async fn a_bulk_is_posted_compressed_and_judged_item_by_item() {
    let sink = Sink::at("/es/_bulk", |_| {
        json!({"errors": true, "items": [{"create": {"status": 201}}, {"create": {"status": 400}}, {"create": {"status": 429}}]}).to_string()
    });
    let sink = sink.await;
    let url = format!("{}?pipeline=logs", sink.url.strip_suffix("/_bulk").unwrap());
    let mut bench = Bench::of(json!({"name": "out", "type": "elasticsearch", "url": url, "index": "logs"}));
    let Outcome::Mixed { rejected, again: Some(again) } = bench.outcome_of(bulk()).await else { panic!() };
    assert_eq!((rejected[0].record, again.records), (1, [2].into_iter().collect()));
    let Post { headers, body } = sink.taken().remove(0);
    assert_eq!(
        (&headers[header::CONTENT_TYPE], &headers[header::CONTENT_ENCODING]),
        (&"application/x-ndjson".parse().unwrap(), &"gzip".parse().unwrap())
    );
    assert_eq!(body.as_bytes(), &bulk().bytes()[..]);
}

#[tokio::test]
async fn a_push_to_loki_is_json_and_its_refusal_is_halved() {
    let sink = Sink::at("/loki/api/v1/push", |_| StatusCode::NO_CONTENT).await;
    let taken = Bench::of(loki(sink.url.strip_suffix("/loki/api/v1/push").unwrap())).outcome_of(entries()).await;
    assert_eq!(taken, Outcome::Acknowledged);
    let Post { headers, body } = sink.taken().remove(0);
    assert_eq!(headers[header::CONTENT_TYPE], "application/json");
    assert_eq!(body, r#"{"streams":[{"stream":{"a":"b"},"values":[["1","x"],["2","y"]]}]}"#);
    let old = Sink::at("/loki/api/v1/push", |_| (StatusCode::BAD_REQUEST, "entry too far behind")).await;
    let Outcome::Rejected { reason } = Bench::of(loki(&old.url)).outcome_of(entries()).await else { panic!() };
    assert!(reason.ends_with("entry too far behind"), "{reason}");
}

fn entries() -> Parcel {
    let encoding = Encoding::of(&serde_json::from_value(loki("http://x")).unwrap()).unwrap();
    Parcel::of_parts(encoding, &[b"{\"a\":\"b\"}\n[\"1\",\"x\"]\n", b"{\"a\":\"b\"}\n[\"2\",\"y\"]\n"])
}

fn loki(url: &str) -> serde_json::Value {
    json!({"name": "out", "type": "loki", "url": url})
}

#[tokio::test]
async fn otlp_is_posted_as_protobuf() {
    let sink = Sink::at("/v1/logs", |_| StatusCode::OK).await;
    let mut bench = Bench::of(json!({"name": "out", "type": "otlp", "url": sink.url, "compression": "none"}));
    assert_eq!(bench.outcome_of(Parcel::of_parts(Encoding::Otlp, &[b"\x12\x00"])).await, Outcome::Acknowledged);
    let Post { headers, body } = sink.taken().remove(0);
    assert_eq!(headers[header::CONTENT_TYPE], "application/x-protobuf");
    assert!(headers.get(header::CONTENT_ENCODING).is_none() && body.contains("service.name"), "{body}");
}

#[tokio::test]
async fn all_that_was_acknowledged_is_in_the_file_or_in_those_put_aside() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("out");
    let rotate = json!({"bytes": 65_536, "keep": 100});
    let mut bench = Bench::of(json!({"name": "out", "type": "file", "path": path, "rotate": rotate, "fsync": "never"}));
    let line = format!("\"{}\"\n", "x".repeat(30_000));
    for _ in 0..7 {
        assert_eq!(bench.outcome(&line).await, Outcome::Acknowledged);
    }
    let lengths = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len() / line.len() as u64);
    let mut lengths: Vec<u64> = lengths.collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [1, 2, 2, 2]);
}
