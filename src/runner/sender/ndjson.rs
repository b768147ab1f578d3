//! A record as one line of JSON: what the `file`, `stdout` and `http` senders write.
//!
//! | field | what |
//! |---|---|
//! | `id` | 32 hex digits, the same each time the record is sent |
//! | `time` | RFC 3339 UTC, when it happened; absent where the record does not say |
//! | `severity` | `TRACE` to `FATAL4`, as OTLP names them; absent where the record does not say |
//! | `runner`, `node`, `source` | where it came through |
//! | `offset` | of its line's first byte in its file |
//! | `body` | the line as text, or the object that it was parsed into |
//! | `body_base64` | the line's bytes (RFC 4648 section 4), where they are not UTF-8: `body` then has U+FFFD for what is not, so nothing is lost |
//! | `error` | why a stage failed on it; it is sent all the same |
//! | `cut` | true where the line was longer than the reader's limit |

use std::io::Write;

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, SecondsFormat};

use crate::record::{Body, Record};

/// What the lines of one source have in common.
#[derive(Debug, Clone)]
pub struct Origin {
    pub runner: String,
    pub node: String,
    pub source: String,
}

/// Appends `record` to `out` as one line with its end.
pub fn write(out: &mut Vec<u8>, origin: &Origin, record: &Record) {
    out.extend_from_slice(b"{\"id\":\"");
    out.extend_from_slice(hex::encode(record.id).as_bytes());
    out.push(b'"');
    if let Some(time) = record.time.and_then(rfc3339) {
        text(out, "time", &time);
    }
    if let Some(severity) = record.severity {
        text(out, "severity", severity.name());
    }
    text(out, "runner", &origin.runner);
    text(out, "node", &origin.node);
    text(out, "source", &origin.source);
    write!(out, ",\"offset\":{},\"body\":", record.offset).expect("memory takes all");
    body(out, &record.body);
    if let Some(error) = &record.error {
        text(out, "error", error);
    }
    if record.cut {
        out.extend_from_slice(b",\"cut\":true");
    }
    out.extend_from_slice(b"}\n");
}

fn body(out: &mut Vec<u8>, body: &Body) {
    match body {
        Body::Text(bytes) => match str::from_utf8(bytes) {
            Ok(text) => json(out, text),
            Err(_) => {
                json(out, String::from_utf8_lossy(bytes).as_ref());
                text(out, "body_base64", &STANDARD.encode(bytes));
            }
        },
        Body::Json(bytes) => out.extend_from_slice(bytes),
        Body::Object(fields) => serde_json::to_writer(out, fields).expect("fields have text keys, and memory takes all"),
    }
}

pub(super) fn text(out: &mut Vec<u8>, key: &str, value: &str) {
    write!(out, ",\"{key}\":").expect("memory takes all");
    json(out, value);
}

pub(super) fn json(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("text is JSON, and memory takes all");
}

/// Microseconds since 1970 as text; None past the year 262,142.
pub(super) fn rfc3339(micros: u64) -> Option<String> {
    let time = DateTime::from_timestamp_micros(i64::try_from(micros).ok()?)?;
    Some(time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::severity::Severity;

    fn line(record: &Record) -> String {
        let origin = Origin { runner: "nginx".into(), node: "web-1".into(), source: "web-001".into() };
        let mut out = vec![];
        write(&mut out, &origin, record);
        String::from_utf8(out).unwrap()
    }

    fn record(body: Body) -> Record {
        Record { id: [0xab; 16], offset: 42, time: None, severity: None, body, error: None, cut: false }
    }

    const HEAD: &str = r#"{"id":"abababababababababababababababab","runner":"nginx","node":"web-1","source":"web-001","offset":42,"#;

    #[test]
    fn a_line_is_text() {
        assert_eq!(line(&record(Body::Text(Bytes::from_static(b"a \"b\"\x01\n")))), format!("{HEAD}\"body\":\"a \\\"b\\\"\\u0001\\n\"}}\n"));
    }

    #[test]
    fn a_json_line_keeps_its_bytes() {
        assert_eq!(line(&record(Body::Json(Bytes::from_static(b"{\"z\":1.0,\"a\":2}")))), format!("{HEAD}\"body\":{{\"z\":1.0,\"a\":2}}}}\n"));
    }

    #[test]
    fn time_severity_error_and_cut_are_told_where_they_are() {
        let fields = serde_json::json!({"status": 200}).as_object().unwrap().clone();
        let record = Record {
            time: Some(1_700_000_000_250_000),
            severity: Severity::of_word("err"),
            error: Some("vrl: no".into()),
            cut: true,
            ..record(Body::Object(fields))
        };
        let value: serde_json::Value = serde_json::from_str(&line(&record)).unwrap();
        assert_eq!((&value["time"], &value["severity"]), (&"2023-11-14T22:13:20.250Z".into(), &"ERROR".into()));
        assert_eq!((&value["body"]["status"], &value["error"], &value["cut"]), (&200.into(), &"vrl: no".into(), &true.into()));
    }

    #[test]
    fn bytes_that_are_not_utf8_are_kept() {
        let value: serde_json::Value = serde_json::from_str(&line(&record(Body::Text(Bytes::from_static(b"caf\xe9"))))).unwrap();
        assert_eq!(value["body"], "caf\u{fffd}");
        assert_eq!(STANDARD.decode(value["body_base64"].as_str().unwrap()).unwrap(), b"caf\xe9");
    }
}
