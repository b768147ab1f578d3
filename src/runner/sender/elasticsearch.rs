//! `elasticsearch`: documents by the bulk API, each created under its record's id, so that a repeat is told and not taken twice.
//!
//! | field | what |
//! |---|---|
//! | `_id` | the record's id |
//! | `@timestamp` | RFC 3339 UTC, when it happened; when it was read, where the record does not say |
//! | `message` | the line as text; with `message_base64` where it is not UTF-8 |
//! | `body` | the object that it was parsed into |
//! | `log.level` | `TRACE` to `FATAL4`, where the record says |
//! | `host.name`, `logvine.runner`, `logvine.source`, `log.offset` | where it came through (Elastic Common Schema where that has a name) |
//! | `host.hostname`, `tags` | of the node: its machine's host name and its tags, where `enrich` says so |
//! | `error.message`, `logvine.cut` | a stage failed on it; its line was longer than the limit |
//!
//! The API: <https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk>.

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::DateTime;
use logvine_cluster::{
    delivery::{Again, Outcome, Records, Refusal},
    spec::{IndexPattern, IndexPiece},
};
use serde::Deserialize;

use super::ndjson::{self, Origin, json, text};
use crate::{
    payload::Parcel,
    record::{Body, Record},
};

/// Appends the two lines that create the record's document.
pub(super) fn write(out: &mut Vec<u8>, index: &IndexPattern, origin: &Origin, record: &Record, observed: u64) {
    let time = record.time.unwrap_or(observed);
    out.extend_from_slice(b"{\"create\":{\"_index\":");
    json(out, &index_of(index, origin, time));
    out.extend_from_slice(b",\"_id\":\"");
    out.extend_from_slice(hex::encode(record.id).as_bytes());
    out.extend_from_slice(b"\"}}\n{\"@timestamp\":");
    json(out, &ndjson::rfc3339(time).unwrap_or_default());
    match &record.body {
        Body::Text(bytes) => {
            text(out, "message", &String::from_utf8_lossy(bytes));
            if str::from_utf8(bytes).is_err() {
                text(out, "message_base64", &STANDARD.encode(bytes));
            }
        }
        Body::Json(bytes) => {
            out.extend_from_slice(b",\"body\":");
            out.extend_from_slice(bytes);
        }
        Body::Object(fields) => {
            out.extend_from_slice(b",\"body\":");
            serde_json::to_writer(&mut *out, fields).expect("fields have text keys, and memory takes all");
        }
    }
    out.extend_from_slice(b",\"host\":{\"name\":");
    json(out, &origin.node);
    if let Some(host) = &origin.host {
        text(out, "hostname", host);
    }
    out.push(b'}');
    if let Some(tags) = &origin.tags {
        out.extend_from_slice(b",\"tags\":");
        ndjson::texts(out, tags);
    }
    out.extend_from_slice(b",\"logvine\":{\"runner\":");
    json(out, &origin.runner);
    text(out, "source", &origin.source);
    if record.cut {
        out.extend_from_slice(b",\"cut\":true");
    }
    out.extend_from_slice(format!("}},\"log\":{{\"offset\":{}", record.offset).as_bytes());
    if let Some(severity) = record.severity {
        text(out, "level", severity.name());
    }
    out.push(b'}');
    if let Some(error) = &record.error {
        out.extend_from_slice(b",\"error\":{\"message\":");
        json(out, error);
        out.push(b'}');
    }
    out.extend_from_slice(b"}\n");
}

fn index_of(index: &IndexPattern, origin: &Origin, time: u64) -> String {
    let date = || i64::try_from(time).ok().and_then(DateTime::from_timestamp_micros).unwrap_or_default();
    let piece = |piece: &IndexPiece| match piece {
        IndexPiece::Text(text) => text.clone(),
        IndexPiece::Runner => origin.runner.clone(),
        IndexPiece::Node => origin.node.clone(),
        IndexPiece::Date(format) => date().format(format).to_string(),
    };
    index.0.iter().map(piece).collect()
}

/// A bulk's answer, as far as it matters.
#[derive(Deserialize)]
struct Answer {
    errors: bool,
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    create: Action,
}

#[derive(Deserialize)]
struct Action {
    status: u16,
    error: Option<serde_json::Value>,
}

/// What a 2xx answer to a bulk of these records says. `place`: who answers, for people.
pub(super) fn judged(place: &str, parcel: &Parcel, answer: &[u8]) -> Outcome {
    let Ok(answer) = serde_json::from_slice::<Answer>(answer) else {
        return Outcome::Paused { reason: format!("{place} answers what is no bulk's result; check the sender's url") };
    };
    if !answer.errors {
        return Outcome::Acknowledged;
    }
    let count = parcel.items().count();
    if answer.items.len() != count {
        // Whatever it has taken it knows again by its id.
        return Outcome::Retry { reason: format!("{place} answers {} items to {count}", answer.items.len()), after: None };
    }
    let mut rejected = Vec::new();
    let mut again: Option<(Vec<u32>, String)> = None;
    for (sent, Item { create }) in parcel.items().zip(&answer.items) {
        let reason = || format!("{place} answers {} for this record: {}", create.status, why(create.error.as_ref()));
        match create.status {
            // 409: there is a document of this id, which is this record's.
            200..300 | 409 => {}
            408 | 425 | 429 | 500.. => again.get_or_insert_with(|| (Vec::new(), reason())).0.push(sent.record),
            // No index, or no right to it: no fault of the record's.
            401 | 403 | 404 => return Outcome::Paused { reason: reason() },
            _ => rejected.push(Refusal { record: sent.record, reason: reason() }),
        }
    }
    match (again, rejected.is_empty()) {
        (None, true) => Outcome::Acknowledged,
        (again, _) => {
            let again = again.map(|(records, reason)| Again { records: records.into_iter().collect::<Records>(), reason, after: None });
            Outcome::Mixed { rejected, again }
        }
    }
}

/// `type: reason`, with the cause that says which field it is.
fn why(error: Option<&serde_json::Value>) -> String {
    let Some(error) = error else { return "without a reason".to_owned() };
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let said = [&error["type"], &error["reason"], &error["caused_by"]["reason"]].into_iter().filter_map(text).collect::<Vec<_>>().join(": ");
    let said = if said.is_empty() { error.to_string() } else { said };
    said.chars().take(super::http::WORDS_BYTES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use expect_test::expect;
    use serde_json::json;

    use super::*;
    use crate::{sender::encoding::Encoding, severity::Severity};

    const OBSERVED: u64 = 1_700_000_000_250_000;

    fn written(index: &str, record: &Record) -> String {
        let origin = Origin::new("nginx", "web-1", "web-001");
        let mut out = vec![];
        write(&mut out, &index.parse().unwrap(), &origin, record, OBSERVED);
        String::from_utf8(out).unwrap()
    }

    fn record(body: Body) -> Record {
        Record { id: [0xab; 16], offset: 42, time: None, severity: None, body, error: None, cut: false }
    }

    #[test]
    fn a_record_is_created_under_its_id() {
        let line = record(Body::Text(Bytes::from_static(b"a \"b\"")));
        expect![[r#"
            {"create":{"_index":"logs-nginx-web-1-2023.11.14","_id":"abababababababababababababababab"}}
            {"@timestamp":"2023-11-14T22:13:20.250Z","message":"a \"b\"","host":{"name":"web-1"},"logvine":{"runner":"nginx","source":"web-001"},"log":{"offset":42}}
        "#]]
        .assert_eq(&written("logs-{runner}-{node}-{+%Y.%m.%d}", &line));
    }

    #[test]
    fn what_enriches_a_record_has_the_names_of_the_common_schema() {
        let mut out = vec![];
        write(&mut out, &"x".parse().unwrap(), &crate::tests::enriched(), &record(Body::Text(Bytes::from_static(b"x"))), OBSERVED);
        expect![[r#"
            {"create":{"_index":"x","_id":"abababababababababababababababab"}}
            {"@timestamp":"2023-11-14T22:13:20.250Z","message":"x","host":{"name":"web-1","hostname":"web-1.example"},"tags":["edge","zone-a"],"logvine":{"runner":"nginx","source":"web-001"},"log":{"offset":42}}
        "#]]
        .assert_eq(&String::from_utf8(out).unwrap());
    }

    #[test]
    fn a_parsed_record_keeps_its_time_its_fields_and_its_faults() {
        let parsed = Record {
            time: Some(0),
            severity: Severity::of_word("warn"),
            error: Some("vrl: no".into()),
            cut: true,
            ..record(Body::Json(Bytes::from_static(b"{\"z\":1.0,\"a\":2}")))
        };
        expect![[r#"
            {"create":{"_index":"logs-1970.01","_id":"abababababababababababababababab"}}
            {"@timestamp":"1970-01-01T00:00:00Z","body":{"z":1.0,"a":2},"host":{"name":"web-1"},"logvine":{"runner":"nginx","source":"web-001","cut":true},"log":{"offset":42,"level":"WARN"},"error":{"message":"vrl: no"}}
        "#]]
        .assert_eq(&written("logs-{+%G.%V}", &parsed));
        let bytes = written("x", &record(Body::Text(Bytes::from_static(b"caf\xe9"))));
        assert!(bytes.contains("\"message_base64\":\"Y2Fm6Q==\""), "{bytes}");
    }

    fn parcel(count: usize) -> Parcel {
        Parcel::of_parts(Encoding::Bulk("x".parse::<IndexPattern>().unwrap().into()), &vec![&b"{}\n{}\n"[..]; count])
    }

    fn answer(statuses: &[u16]) -> Outcome {
        let error = json!({"type": "document_parsing_exception", "reason": "failed to parse", "caused_by": {"reason": "not a number"}});
        let item = |status: &u16| match status {
            200..300 => json!({"create": {"_id": "x", "status": status}}),
            _ => json!({"create": {"_id": "x", "status": status, "error": error}}),
        };
        let errors = statuses.iter().any(|status| *status >= 300);
        let items: Vec<_> = statuses.iter().map(item).collect();
        judged("http://es", &parcel(statuses.len()), json!({"took": 1, "errors": errors, "items": items}).to_string().as_bytes())
    }

    #[test]
    fn each_item_has_its_own_outcome() {
        assert_eq!(answer(&[201, 201]), Outcome::Acknowledged);
        assert_eq!(answer(&[201, 409]), Outcome::Acknowledged, "it was there already");
        let Outcome::Mixed { rejected, again: Some(again) } = answer(&[201, 400, 429, 409, 503]) else { panic!() };
        assert_eq!(again.records, [2, 4].into_iter().collect());
        assert!(again.reason.contains("429"), "{again:?}");
        let [refusal] = &rejected[..] else { panic!("{rejected:?}") };
        assert_eq!(refusal.record, 1);
        assert_eq!(refusal.reason, "http://es answers 400 for this record: document_parsing_exception: failed to parse: not a number");
    }

    /// A missing index or right is for an operator: nothing of it is the record's fault.
    #[test]
    fn an_item_that_an_operator_must_mend_pauses() {
        for status in [401, 403, 404] {
            assert!(matches!(answer(&[201, 400, status]), Outcome::Paused { .. }), "{status}");
        }
    }

    #[test]
    fn an_answer_that_is_no_bulks_is_not_taken_for_one() {
        assert!(matches!(judged("http://es", &parcel(1), b"<html>please log in</html>"), Outcome::Paused { .. }));
        assert!(matches!(judged("http://es", &parcel(2), br#"{"errors":true,"items":[]}"#), Outcome::Retry { .. }));
    }

    #[test]
    fn what_is_put_aside_shows_the_document() {
        let parcel = parcel(1);
        let item = parcel.items().next().unwrap();
        assert_eq!(&parcel.shown(&item)[..], br#"{"action":{},"document":{}}"#);
    }
}
