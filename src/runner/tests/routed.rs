//! `senders[].when`: each sender gets its own records, and the checkpoint goes over the others.

use super::*;

#[tokio::test]
async fn each_sender_has_exactly_its_records_and_the_checkpoint_goes_over_the_rest() {
    let mut host = Host::new();
    let to = |name: &str, when: Value| json!({"name": name, "type": "file", "path": host.path(name), "when": when});
    let senders = json!([to("errors", json!({"severity": "error"})), to("acme", json!({"fields": {"tenant": "acme"}}))]);
    let mut spec = serde_json::to_value(host.file_spec("r", "in.log", host.to_file("x"))).unwrap();
    spec["senders"] = senders;
    spec["parse"] = json!({"type": "json", "severity": "level"});
    let lines: Vec<String> = [("info", "acme"), ("error", "acme"), ("error", "other"), ("info", "other"), ("debug", "other")]
        .iter()
        .map(|(level, tenant)| format!("{}\n", json!({"level": level, "tenant": tenant})))
        .collect();
    host.write("in.log", &lines.concat());
    let length = lines.concat().len() as u64;
    host.start(1, serde_json::from_value(spec).unwrap());
    let all = |event: InstanceEvent| match event {
        InstanceEvent::Checkpoint { checkpoint, .. } if checkpoint.bytes() == length => Some(()),
        _ => None,
    };
    host.until(all).await;
    let got = |name: &str| -> Vec<(String, String)> {
        let text = fs::read_to_string(host.path(name)).unwrap();
        let values = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["body"].clone());
        values.map(|body| (body["level"].as_str().unwrap().to_owned(), body["tenant"].as_str().unwrap().to_owned())).collect()
    };
    let pairs = |pairs: [(&str, &str); 2]| pairs.map(|(level, tenant)| (level.to_owned(), tenant.to_owned()));
    assert_eq!(got("errors"), pairs([("error", "acme"), ("error", "other")]));
    assert_eq!(got("acme"), pairs([("info", "acme"), ("error", "acme")]));
    let detail = host.sights.of(&name("r")).unwrap().detail();
    assert_eq!((detail.unrouted, detail.read_records, detail.stages.len()), (2, 5, 0));
}

/// A file whose records are for nobody is read to its end all the same.
#[tokio::test]
async fn records_for_no_sender_are_acknowledged() {
    let mut host = Host::new();
    let mut sender = host.to_file("out.ndjson");
    sender["when"] = json!({"failed": true});
    host.write("in.log", &numbers(0..10));
    let length = numbers(0..10).len() as u64;
    host.start(1, host.file_spec("r", "in.log", sender));
    host.until(|event| matches!(event, InstanceEvent::Checkpoint { checkpoint, .. } if checkpoint.bytes() == length).then_some(())).await;
    assert_eq!(host.records("out.ndjson"), [""; 0]);
    assert_eq!(host.sights.of(&name("r")).unwrap().detail().unrouted, 10);
}
