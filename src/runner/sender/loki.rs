//! `loki`: entries by Grafana Loki's push API, in JSON.
//!
//! A stream is named by its labels; an entry has its time in nanoseconds, its line (the text, or the body as JSON), and as structured metadata the
//! record's `id`, `offset`, `severity`, `error` and `cut`, and where `enrich` says so the node's `host` name and its `tags`, with commas. Loki takes an entry of the same stream, time, line and metadata once. Of a push with entries that it finds
//! too old it takes the others and answers 400: halved, only those are put aside.
//! The API: <https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs>.

use std::{borrow::Cow, collections::BTreeMap};

use base64::{Engine, engine::general_purpose::STANDARD};
use logvine_cluster::spec::{LabelValue, LokiSenderSpec};
use serde_json::{Map, Value};

use super::{encoding::halves, ndjson::Origin};
use crate::{
    payload::Parcel,
    record::{Body, Record},
};

/// Of a label's value; Loki takes 2,048 bytes, and what is longer names no stream that anybody looks for.
const VALUE_CHARS_MAX: usize = 256;

/// What entries look like.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Form {
    labels: Vec<(String, LabelValue)>,
    structured_metadata: bool,
}

impl Form {
    /// Errors: which label is wrong, for people.
    pub(super) fn new(spec: &LokiSenderSpec) -> Result<Self, String> {
        let label = |(name, value): (&String, &String)| match LabelValue::of(value) {
            Ok(value) => Ok((name.clone(), value)),
            Err(error) => Err(format!("labels: {error}")),
        };
        Ok(Self { labels: spec.labels.iter().map(label).collect::<Result<_, _>>()?, structured_metadata: spec.structured_metadata })
    }

    /// Appends the record's labels and its entry, each as a line.
    pub(super) fn write(&self, out: &mut Vec<u8>, origin: &Origin, record: &Record, observed: u64) {
        json(out, &self.labels(origin, record));
        out.push(b'\n');
        let nanos = (u128::from(record.time.unwrap_or(observed)) * 1_000).to_string();
        let line = match &record.body {
            Body::Text(bytes) => String::from_utf8_lossy(bytes),
            Body::Json(bytes) => String::from_utf8_lossy(bytes),
            Body::Object(fields) => Cow::Owned(serde_json::to_string(fields).expect("fields have text keys")),
        };
        match self.structured_metadata {
            true => json(out, &(nanos, line, metadata(origin, record))),
            false => json(out, &(nanos, line)),
        }
        out.push(b'\n');
    }

    fn labels<'a>(&'a self, origin: &'a Origin, record: &Record) -> BTreeMap<&'a str, Cow<'a, str>> {
        let wants_fields = self.labels.iter().any(|(_, value)| matches!(value, LabelValue::Field(_)));
        let fields = if wants_fields { fields(&record.body) } else { None };
        let value = |value: &'a LabelValue| match value {
            LabelValue::Text(text) => Some(Cow::Borrowed(text.as_str())),
            LabelValue::Runner => Some(Cow::Borrowed(origin.runner.as_str())),
            LabelValue::Node => Some(Cow::Borrowed(origin.node.as_str())),
            LabelValue::Source => Some(Cow::Borrowed(origin.source.as_str())),
            LabelValue::Field(keys) => fields.as_deref().and_then(|fields| field(fields, keys)).map(Cow::Owned),
        };
        self.labels.iter().filter_map(|(name, of)| Some((name.as_str(), value(of)?))).collect()
    }
}

fn metadata(origin: &Origin, record: &Record) -> BTreeMap<&'static str, String> {
    let mut metadata = BTreeMap::from([("id", hex::encode(record.id)), ("offset", record.offset.to_string())]);
    metadata.extend(origin.host.clone().map(|host| ("host", host)));
    metadata.extend(origin.tags.as_ref().map(|tags| ("tags", tags.join(","))));
    metadata.extend(record.error.clone().map(|error| ("error", error)));
    metadata.extend(record.severity.map(|severity| ("severity", severity.name().to_owned())));
    metadata.extend(record.cut.then(|| ("cut", "true".to_owned())));
    if let Body::Text(bytes) = &record.body
        && str::from_utf8(bytes).is_err()
    {
        metadata.insert("body_base64", STANDARD.encode(bytes));
    }
    metadata
}

fn fields(body: &Body) -> Option<Cow<'_, Map<String, Value>>> {
    match body {
        Body::Text(_) => None,
        Body::Json(bytes) => serde_json::from_slice(bytes).ok().map(Cow::Owned),
        Body::Object(fields) => Some(Cow::Borrowed(fields)),
    }
}

/// A field that can be a label: a text, a number or a truth value that is not empty.
fn field(fields: &Map<String, Value>, keys: &[String]) -> Option<String> {
    let (first, rest) = keys.split_first()?;
    let found = rest.iter().try_fold(fields.get(first)?, |value, key| value.get(key))?;
    let text = match found {
        Value::String(text) => text.chars().take(VALUE_CHARS_MAX).collect(),
        Value::Number(_) | Value::Bool(_) => found.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    (!text.is_empty()).then_some(text)
}

fn json(out: &mut Vec<u8>, value: &impl serde::Serialize) {
    serde_json::to_writer(out, value).expect("it has text keys, and memory takes all");
}

/// The push of these records: each stream once, its entries in their order.
pub(super) fn body(parcel: &Parcel) -> Vec<u8> {
    let mut streams: BTreeMap<&[u8], Vec<&[u8]>> = BTreeMap::new();
    for item in parcel.items() {
        let (labels, entry) = halves(item.bytes);
        streams.entry(labels).or_default().push(entry);
    }
    let mut out = Vec::with_capacity(parcel.bytes().len() + 64);
    out.extend_from_slice(b"{\"streams\":[");
    for (at, (labels, entries)) in streams.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"{\"stream\":" } else { b",{\"stream\":" });
        out.extend_from_slice(labels);
        out.extend_from_slice(b",\"values\":[");
        for (at, entry) in entries.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b"" } else { b"," });
            out.extend_from_slice(entry);
        }
        out.extend_from_slice(b"]}");
    }
    out.extend_from_slice(b"]}");
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use expect_test::expect;
    use serde_json::json;

    use super::*;
    use crate::{sender::encoding::Encoding, severity::Severity};

    fn form(extra: &Value) -> Form {
        let mut spec = json!({"name": "loki", "url": "http://loki:3100"});
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        Form::new(&serde_json::from_value(spec).unwrap()).unwrap()
    }

    fn written(form: &Form, record: &Record) -> String {
        let origin = Origin::new("nginx", "web-1", "web-001");
        let mut out = vec![];
        form.write(&mut out, &origin, record, 1_700_000_000_250_000);
        String::from_utf8(out).unwrap()
    }

    fn record(body: Body) -> Record {
        Record { id: [0xab; 16], offset: 42, time: None, severity: None, body, error: None, cut: false }
    }

    #[test]
    fn a_line_is_an_entry_with_its_id() {
        expect![[r#"
            {"node":"web-1","runner":"nginx","source":"web-001"}
            ["1700000000250000000","a \"b\"",{"id":"abababababababababababababababab","offset":"42"}]
        "#]]
        .assert_eq(&written(&form(&json!({})), &record(Body::Text(Bytes::from_static(b"a \"b\"")))));
    }

    #[test]
    fn labels_are_texts_names_and_fields_that_are_there() {
        let form = form(&json!({"labels": {"job": "web", "level": "{body.http.level}", "code": "{body.code}", "no": "{body.none}"}}));
        let body = Body::Json(Bytes::from_static(br#"{"http":{"level":"warn"},"code":404}"#));
        let failed = Record { time: Some(1), severity: Severity::of_word("warn"), error: Some("vrl: no".into()), cut: true, ..record(body) };
        expect![[r#"
            {"code":"404","job":"web","level":"warn"}
            ["1000","{\"http\":{\"level\":\"warn\"},\"code\":404}",{"cut":"true","error":"vrl: no","id":"abababababababababababababababab","offset":"42","severity":"WARN"}]
        "#]]
        .assert_eq(&written(&form, &failed));
    }

    #[test]
    fn what_enriches_a_record_is_structured_metadata() {
        let mut out = vec![];
        form(&json!({"labels": {"a": "b"}})).write(&mut out, &crate::tests::enriched(), &record(Body::Text(Bytes::from_static(b"x"))), 1);
        expect![[r#"
            {"a":"b"}
            ["1000","x",{"host":"web-1.example","id":"abababababababababababababababab","offset":"42","tags":"edge,zone-a"}]
        "#]]
        .assert_eq(&String::from_utf8(out).unwrap());
    }

    #[test]
    fn without_structured_metadata_an_entry_is_a_time_and_a_line() {
        let form = form(&json!({"structured_metadata": false, "labels": {"a": "b"}}));
        let fields = json!({"level": "x".repeat(300)}).as_object().unwrap().clone();
        assert!(written(&form, &record(Body::Text(Bytes::from_static(b"x")))).ends_with("[\"1700000000250000000\",\"x\"]\n"));
        assert_eq!(field(&fields, &["level".into()]).unwrap().len(), VALUE_CHARS_MAX);
    }

    #[test]
    fn a_push_has_each_stream_once_and_its_entries_in_order() {
        let parts: [&[u8]; 3] = [b"{\"a\":\"1\"}\n[\"1\",\"x\"]\n", b"{\"a\":\"0\"}\n[\"2\",\"y\"]\n", b"{\"a\":\"1\"}\n[\"3\",\"z\"]\n"];
        let parcel = Parcel::of_parts(Encoding::Loki(Arc::new(form(&json!({})))), &parts);
        let pushed: Value = serde_json::from_slice(&body(&parcel)).unwrap();
        assert_eq!(
            pushed,
            json!({"streams": [
                {"stream": {"a": "0"}, "values": [["2", "y"]]},
                {"stream": {"a": "1"}, "values": [["1", "x"], ["3", "z"]]},
            ]})
        );
        let first = parcel.items().next().unwrap();
        assert_eq!(&parcel.shown(&first)[..], br#"{"labels":{"a":"1"},"entry":["1","x"]}"#);
    }
}
