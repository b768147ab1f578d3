use bytes::Bytes;
use expect_test::expect;

use super::*;
use crate::{sender::encoding::Encoding, severity::Severity};

fn written(record: &Record) -> Vec<u8> {
    let origin = Origin::new("nginx", "web-1", "web-001");
    let mut out = vec![];
    write(&mut out, &origin, record, 1_700_000_000_250_000);
    out
}

fn record(body: Body) -> Record {
    Record { id: [0xab; 16], offset: 42, time: Some(1_700_000_000_000_000), severity: None, body, error: None, cut: false }
}

/// The whole of a request, as a collector reads it; checked against the schema's field numbers by hand.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    resource_logs: Vec<ResourceLogs>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceLogs {
    #[prost(message, optional, tag = "1")]
    resource: Option<proto::Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_logs: Vec<proto::ScopeLogs>,
}

#[test]
fn the_bytes_of_a_record_are_these() {
    expect!["1281010900002a36fe9c97172a040a02686932340a0e6c6f672e7265636f72642e75696412220a206162616261626162616261626162616261626162616261626162616261626162321b0a0e6c6f6776696e652e736f7572636512090a077765622d30303132140a0e6c6f6776696e652e6f66667365741202182a5980b21045fe9c9717"]
        .assert_eq(&hex::encode(written(&record(Body::Text(Bytes::from_static(b"hi"))))));
}

#[test]
fn a_record_is_shown_with_all_that_was_sent() {
    let fields = json!({"status": 200, "tags": ["a", null, true], "ratio": 0.5, "big": u64::MAX}).as_object().unwrap().clone();
    let failed = Record { severity: Severity::of_word("warn"), error: Some("vrl: no".into()), cut: true, ..record(Body::Object(fields)) };
    let shown: Value = serde_json::from_slice(&shown(&written(&failed))).unwrap();
    assert_eq!(
        shown,
        json!({
            "time_unix_nano": 1_700_000_000_000_000_000_u64,
            "observed_time_unix_nano": 1_700_000_000_250_000_000_u64,
            "severity_text": "WARN",
            "body": {"status": 200, "tags": ["a", null, true], "ratio": 0.5, "big": 18_446_744_073_709_551_615.0},
            "attributes": {
                "log.record.uid": "abababababababababababababababab", "logvine.source": "web-001", "logvine.offset": 42,
                "logvine.error": "vrl: no", "logvine.cut": true,
            },
        })
    );
}

#[test]
fn bytes_and_unparsed_objects_are_bodies_too() {
    let body = |body: Body| serde_json::from_slice::<Value>(&shown(&written(&record(body)))).unwrap()["body"].take();
    assert_eq!(body(Body::Text(Bytes::from_static(b"caf\xe9"))), STANDARD.encode(b"caf\xe9"));
    assert_eq!(body(Body::Json(Bytes::from_static(b"{\"a\":1.0}"))), json!({"a": 1.0}));
}

#[test]
fn what_the_decoder_cannot_show_is_still_put_aside() {
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100), "]".repeat(100));
    let shown: Value = serde_json::from_slice(&shown(&written(&record(Body::Json(deep.into()))))).unwrap();
    assert!(shown["protobuf_base64"].is_string(), "{shown}");
}

fn parcel(texts: &[&'static str]) -> Parcel {
    let parts: Vec<Vec<u8>> = texts.iter().map(|text| written(&record(Body::Text(Bytes::from_static(text.as_bytes()))))).collect();
    Parcel::of_parts(Encoding::Otlp, &parts.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

#[test]
fn a_request_has_its_resource_its_scope_and_its_records() {
    let request = Request::decode(&Resource::new("nginx", "web-1", None).body(&parcel(&["one", "two"]))[..]).unwrap();
    let [of_resource] = &request.resource_logs[..] else { panic!("{request:?}") };
    let attributes: Vec<_> =
        of_resource.resource.clone().unwrap().attributes.into_iter().map(|pair| (pair.key, Value::from(pair.value.unwrap()))).collect();
    assert_eq!(attributes, [("service.name".into(), json!("nginx")), ("host.name".into(), json!("web-1"))]);
    let [scope] = &of_resource.scope_logs[..] else { panic!("{request:?}") };
    assert_eq!(scope.scope.as_ref().unwrap().name, "logvine");
    let bodies: Vec<_> = scope.log_records.iter().map(|record| Value::from(record.body.clone().unwrap())).collect();
    assert_eq!(bodies, ["one", "two"]);
}

fn answer(rejected: i64, message: &str) -> Vec<u8> {
    proto::Answer { partial_success: Some(proto::PartialSuccess { rejected_log_records: rejected, error_message: message.into() }) }.encode_to_vec()
}

#[test]
fn what_a_partial_success_refuses_is_put_aside() {
    let sent = parcel(&["one", "two"]);
    assert_eq!(judged("http://otel", &sent, b""), Outcome::Acknowledged);
    assert_eq!(judged("http://otel", &sent, &answer(0, "a warning")), Outcome::Acknowledged);
    for (rejected, said) in [(2, "http://otel refuses it: too big"), (1, "refuses 1 of 2 records")] {
        let Outcome::Mixed { rejected, again: None } = judged("http://otel", &sent, &answer(rejected, "too big")) else { panic!() };
        assert_eq!(rejected.iter().map(|refusal| refusal.record).collect::<Vec<_>>(), [0, 1]);
        assert!(rejected[0].reason.contains(said), "{rejected:?}");
    }
    assert!(matches!(judged("http://otel", &sent, b"<html>"), Outcome::Paused { .. }));
}

#[test]
fn what_enriches_a_record_is_in_its_attributes_and_the_resource() {
    let mut out = vec![];
    write(&mut out, &crate::tests::enriched(), &record(Body::Text(Bytes::from_static(b"x"))), 1);
    let shown: Value = serde_json::from_slice(&shown(&out)).unwrap();
    assert_eq!(shown["attributes"]["logvine.tags"], json!(["edge", "zone-a"]));
    let request = Request::decode(&Resource::new("nginx", "web-1", Some("web-1.example")).body(&parcel(&["one"]))[..]).unwrap();
    let attributes = request.resource_logs[0].resource.clone().unwrap().attributes;
    let attributes: Vec<_> = attributes.into_iter().map(|pair| (pair.key, Value::from(pair.value.unwrap()))).collect();
    let pairs = [("service.name", "nginx"), ("host.name", "web-1.example"), ("logvine.node", "web-1")];
    assert_eq!(attributes, pairs.map(|(key, value)| (key.to_owned(), Value::from(value))));
}
