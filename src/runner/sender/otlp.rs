//! `otlp`: OpenTelemetry's logs by HTTP/protobuf (OTLP 1.x, <https://opentelemetry.io/docs/specs/otlp/#otlphttp>).
//!
//! | of `LogRecord` | what |
//! |---|---|
//! | `time_unix_nano` | when it happened; 0 where the record does not say |
//! | `observed_time_unix_nano` | when it was read |
//! | `severity_number`, `severity_text` | as the record says; none where it does not |
//! | `body` | the line as a text (as bytes, where it is not UTF-8), or the object that it was parsed into |
//! | `attributes` | `log.record.uid` (the record's id), `logvine.source`, `logvine.offset`, `logvine.error`, `logvine.cut` |
//!
//! The resource has `service.name` (the runner) and `host.name` (the node). Where `enrich` says so, each record has the node's tags as the attribute `logvine.tags`, and the
//! resource has its machine's host name as `host.name` and the node as `logvine.node`.

use base64::{Engine, engine::general_purpose::STANDARD};
use logvine_cluster::delivery::{Outcome, Refusal};
use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint},
};
use serde_json::{Map, Value, json};

use self::proto::{AnyValue, KeyValue, LogRecord, any_value};
use super::ndjson::Origin;
use crate::{
    payload::Parcel,
    record::{Body, Record},
};

pub(super) mod proto;

/// `ScopeLogs.log_records`.
const LOG_RECORDS: u32 = 2;

/// Appends the record as one of the `log_records` of a `ScopeLogs`: such fields one after the other are its content.
pub(super) fn write(out: &mut Vec<u8>, origin: &Origin, record: &Record, observed: u64) {
    let mut attributes = vec![
        attribute("log.record.uid", any_value::Value::Text(hex::encode(record.id))),
        attribute("logvine.source", any_value::Value::Text(origin.source.clone())),
        attribute("logvine.offset", any_value::Value::Int(i64::try_from(record.offset).unwrap_or(i64::MAX))),
    ];
    attributes.extend(origin.tags.as_ref().map(|tags| {
        let values = tags.iter().map(|tag| AnyValue { value: Some(any_value::Value::Text(tag.clone())) }).collect();
        attribute("logvine.tags", any_value::Value::Array(proto::ArrayValue { values }))
    }));
    attributes.extend(record.error.clone().map(|error| attribute("logvine.error", any_value::Value::Text(error))));
    attributes.extend(record.cut.then(|| attribute("logvine.cut", any_value::Value::Bool(true))));
    let record = LogRecord {
        time_unix_nano: record.time.unwrap_or_default().saturating_mul(1_000),
        observed_time_unix_nano: observed.saturating_mul(1_000),
        severity_number: record.severity.map_or(0, |severity| severity.number().into()),
        severity_text: record.severity.map(|severity| severity.name().to_owned()).unwrap_or_default(),
        body: Some(body_of(&record.body)),
        attributes,
    };
    prost::encoding::message::encode(LOG_RECORDS, &record, out);
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}

fn body_of(body: &Body) -> AnyValue {
    match body {
        Body::Text(bytes) => AnyValue {
            value: Some(match str::from_utf8(bytes) {
                Ok(text) => any_value::Value::Text(text.to_owned()),
                Err(_) => any_value::Value::Bytes(bytes.to_vec()),
            }),
        },
        Body::Json(bytes) => match serde_json::from_slice::<Value>(bytes) {
            Ok(value) => AnyValue::from(&value),
            // Deeper than the parser goes: then it is the text that it was.
            Err(_) => AnyValue { value: Some(any_value::Value::Text(String::from_utf8_lossy(bytes).into_owned())) },
        },
        Body::Object(fields) => AnyValue { value: Some(proto::of_fields(fields)) },
    }
}

/// The resource and the scope of all that a runner sends on a node: what comes before the records of a request.
#[derive(Debug)]
pub(super) struct Resource {
    resource: Vec<u8>,
    scope: Vec<u8>,
}

impl Resource {
    /// `host`: the machine's host name, where it is said.
    pub(super) fn new(runner: &str, node: &str, host: Option<&str>) -> Self {
        let text = |text: &str| any_value::Value::Text(text.to_owned());
        let mut attributes = vec![attribute("service.name", text(runner)), attribute("host.name", text(host.unwrap_or(node)))];
        attributes.extend(host.map(|_| attribute("logvine.node", text(node))));
        let (mut resource, mut scope) = (Vec::new(), Vec::new());
        prost::encoding::message::encode(1, &proto::Resource { attributes }, &mut resource);
        prost::encoding::message::encode(1, &proto::Scope { name: "logvine".into(), version: env!("CARGO_PKG_VERSION").into() }, &mut scope);
        Self { resource, scope }
    }

    /// An `ExportLogsServiceRequest` of these records, which are written already: only lengths and what they have in common are put before them.
    pub(super) fn body(&self, parcel: &Parcel) -> Vec<u8> {
        let scope_logs = self.scope.len() + parcel.bytes().len();
        let mut before = self.resource.clone();
        begin(&mut before, 2, scope_logs);
        let mut out = Vec::with_capacity(before.len() + scope_logs + 16);
        begin(&mut out, 1, before.len() + scope_logs);
        out.extend_from_slice(&before);
        out.extend_from_slice(&self.scope);
        out.extend_from_slice(parcel.bytes());
        out
    }
}

/// The head of a field that holds a message of so many bytes.
fn begin(out: &mut Vec<u8>, field: u32, bytes: usize) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(bytes as u64, out);
}

/// What a 2xx answer to these records says: the sink may have refused some, and never says which ("partial success", after which none may be sent again).
/// So all of them are put aside where not all are refused: what is kept twice is not lost.
pub(super) fn judged(place: &str, parcel: &Parcel, answer: &[u8]) -> Outcome {
    let Ok(answer) = proto::Answer::decode(answer) else {
        return Outcome::Paused { reason: format!("{place} answers what is no OTLP response; check the sender's url") };
    };
    let Some(partial) = answer.partial_success.filter(|partial| partial.rejected_log_records > 0) else { return Outcome::Acknowledged };
    let count = parcel.items().count();
    let said: String = partial.error_message.chars().take(super::http::WORDS_BYTES_MAX).collect();
    let reason = if usize::try_from(partial.rejected_log_records).is_ok_and(|rejected| rejected >= count) {
        format!("{place} refuses it: {said}")
    } else {
        format!("{place} refuses {} of {count} records that were sent together, and does not say which: {said}", partial.rejected_log_records)
    };
    Outcome::Mixed { rejected: parcel.items().map(|item| Refusal { record: item.record, reason: reason.clone() }).collect(), again: None }
}

/// A written record as JSON.
pub(super) fn shown(written: &[u8]) -> Vec<u8> {
    let record = proto::ScopeLogs::decode(written).ok().and_then(|scope| scope.log_records.into_iter().next());
    let value = match record {
        Some(record) => {
            let attributes: Map<String, Value> =
                record.attributes.into_iter().map(|pair| (pair.key, pair.value.map(Value::from).unwrap_or_default())).collect();
            json!({
                "time_unix_nano": record.time_unix_nano,
                "observed_time_unix_nano": record.observed_time_unix_nano,
                "severity_text": record.severity_text,
                "body": record.body.map(Value::from),
                "attributes": attributes,
            })
        }
        // Nested deeper than the decoder goes.
        None => json!({ "protobuf_base64": STANDARD.encode(written) }),
    };
    value.to_string().into_bytes()
}

#[cfg(test)]
mod tests;
