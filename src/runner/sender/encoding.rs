//! How records are written for a kind of sender, and how what was written is shown to people.

use std::{borrow::Cow, sync::Arc};

use logvine_cluster::spec::{FileFormat, FileSenderSpec, IndexPattern, SenderSpec};

use super::{
    elasticsearch, loki,
    ndjson::{self, Origin},
    otlp,
};
use crate::{
    json_text,
    record::{Body, Record},
};

/// What the bytes of a record are. Senders that have the same one share the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// A line of JSON with its end.
    Ndjson,
    /// Two lines of a bulk: what to do, and the document.
    Bulk(Arc<IndexPattern>),
    /// Two lines of JSON: the labels, and the entry.
    Loki(Arc<loki::Form>),
    /// A `LogRecord`, as one of the `log_records` of a `ScopeLogs`.
    Otlp,
    /// The body with a line end.
    Raw,
}

impl Encoding {
    /// What a sender takes. Errors: what is wrong with its spec, for people.
    pub(crate) fn of(spec: &SenderSpec) -> Result<Self, String> {
        Ok(match spec {
            SenderSpec::File(FileSenderSpec { format: FileFormat::Raw, .. }) => Self::Raw,
            SenderSpec::File(_) | SenderSpec::Stdout(_) | SenderSpec::Http(_) | SenderSpec::Kafka(_) | SenderSpec::Nats(_) | SenderSpec::S3(_) => {
                Self::Ndjson
            }
            SenderSpec::Elasticsearch(spec) => Self::Bulk(Arc::new(spec.index.parse().map_err(|error| format!("index: {error}"))?)),
            SenderSpec::Loki(spec) => Self::Loki(Arc::new(loki::Form::new(spec)?)),
            SenderSpec::Otlp(_) => Self::Otlp,
        })
    }

    /// Appends `record` to `out`: at least one byte. `observed`: when it was read, in microseconds since 1970.
    pub(crate) fn write(&self, out: &mut Vec<u8>, origin: &Origin, record: &Record, observed: u64) {
        match self {
            Self::Ndjson => ndjson::write(out, origin, record),
            Self::Bulk(index) => elasticsearch::write(out, index, origin, record, observed),
            Self::Loki(form) => form.write(out, origin, record, observed),
            Self::Otlp => otlp::write(out, origin, record, observed),
            Self::Raw => write_raw(out, &record.body),
        }
    }

    /// One written record as one JSON value: for taps, and for what is put aside.
    pub(crate) fn shown<'a>(&self, record: &'a [u8]) -> Cow<'a, [u8]> {
        match self {
            Self::Ndjson => Cow::Borrowed(record.trim_ascii_end()),
            Self::Bulk(_) => Cow::Owned(pair(record, "action", "document")),
            Self::Loki(_) => Cow::Owned(pair(record, "labels", "entry")),
            Self::Otlp => Cow::Owned(otlp::shown(record)),
            Self::Raw => {
                let mut shown = Vec::with_capacity(record.len() + 2);
                json_text::push(&mut shown, &String::from_utf8_lossy(record.strip_suffix(b"\n").unwrap_or(record)));
                Cow::Owned(shown)
            }
        }
    }

    /// Whether what is written tells the record's id, or its sink wants it beside.
    pub(crate) fn needs_id(&self) -> bool {
        !matches!(self, Self::Raw)
    }
}

fn write_raw(out: &mut Vec<u8>, body: &Body) {
    match body {
        Body::Text(bytes) | Body::Json(bytes) => out.extend_from_slice(bytes),
        Body::Object(fields) => serde_json::to_writer(&mut *out, fields).expect("fields have text keys, and memory takes all"),
    }
    out.push(b'\n');
}

/// Two lines of JSON as one object.
fn pair(lines: &[u8], first: &str, second: &str) -> Vec<u8> {
    let (one, other) = halves(lines);
    [format!("{{\"{first}\":").as_bytes(), one, format!(",\"{second}\":").as_bytes(), other, b"}"].concat()
}

/// The two lines of a record that has two, without their ends.
pub(super) fn halves(lines: &[u8]) -> (&[u8], &[u8]) {
    let middle = memchr::memchr(b'\n', lines).expect("a record of two lines has two");
    (&lines[..middle], lines[middle + 1..].trim_ascii_end())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn raw_is_the_body_alone_whatever_its_bytes() {
        let origin = Origin::new("r", "n", "s");
        let mut out = Vec::new();
        let fields = serde_json::json!({ "a": 1 }).as_object().unwrap().clone();
        for body in [Body::Text(Bytes::from_static(b"caf\xe9 \"x\"")), Body::Json(Bytes::from("{ \"z\": 1.0 }")), Body::Object(fields)] {
            let record = Record { id: [0; 16], offset: 0, time: None, severity: None, body, error: None, cut: false };
            Encoding::Raw.write(&mut out, &origin, &record, 0);
        }
        assert_eq!(out, b"caf\xe9 \"x\"\n{ \"z\": 1.0 }\n{\"a\":1}\n");
        assert_eq!(&*Encoding::Raw.shown(b"caf\xe9 \"x\"\n"), "\"caf\u{fffd} \\\"x\\\"\"".as_bytes());
    }
}
