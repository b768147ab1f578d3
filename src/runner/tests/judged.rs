//! Sinks that judge each record for itself.

use std::{collections::BTreeSet, sync::Mutex};

use super::*;

fn body_of_document(document: &str) -> String {
    serde_json::from_str::<Value>(document).unwrap()["message"].as_str().unwrap().to_owned()
}

/// Case 23 of the data plane's research: of a bulk with 400 and 429 among its items only the latter are sent again, and only the former put aside.
#[tokio::test]
async fn of_a_bulk_with_bad_and_busy_items_each_record_arrives_once_or_is_put_aside() {
    let there = Arc::new(Mutex::new(BTreeSet::new()));
    let (known, busy) = (there.clone(), AtomicU32::new(3));
    let bulk = move |post: &sink::Post| {
        let mut known = known.lock().unwrap();
        let lines: Vec<&str> = post.body.lines().collect();
        let mut status = |document: &str| match body_of_document(document) {
            line if line == "line 017" => 400,
            line if line == "line 020" && busy.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() => 429,
            line => {
                assert!(known.insert(line.clone()), "{line} came twice");
                201
            }
        };
        let items: Vec<Value> = lines.chunks(2).map(|pair| json!({"create": {"status": status(pair[1])}})).collect();
        json!({"errors": true, "items": items}).to_string()
    };
    let sink = Sink::at("/_bulk", bulk).await;
    let mut host = Host::new();
    host.write("in.log", &numbers(0..40));
    host.start(1, host.file_spec("r", "in.log", json!({"name": "out", "type": "elasticsearch", "url": sink.url, "index": "logs"})));
    let status = host.status("r", |status| status.records == 40).await;
    assert_eq!(status.dead_lettered, 1);
    let there: Vec<String> = there.lock().unwrap().iter().cloned().collect();
    assert_eq!(there, words(0..40).into_iter().filter(|line| line != "line 017").collect::<Vec<_>>());
    let letter: Value = serde_json::from_str(fs::read_to_string(host.path("data/dead-letter/r.ndjson")).unwrap().trim_end()).expect("one letter");
    assert_eq!(letter["record"]["document"]["message"], "line 017");
    assert_eq!(letter["record"]["action"]["create"]["_index"], "logs");
}
