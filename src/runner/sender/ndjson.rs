//! A record as one line of JSON: what the `file`, `stdout` and `http` senders write.
//!
//! | field | what |
//! |---|---|
//! | `id` | 32 hex digits, the same each time the record is sent |
//! | `time` | RFC 3339 UTC, when it happened; absent where the record does not say |
//! | `severity` | `TRACE` to `FATAL4`, as OTLP names them; absent where the record does not say |
//! | `runner`, `node`, `source` | where it came through |
//! | `host`, `tags` | of the node: its machine's host name and its tags, where `enrich` says so |
//! | `offset` | of its line's first byte in its file |
//! | `body` | the line as text, or the object that it was parsed into |
//! | `body_base64` | the line's bytes (RFC 4648 section 4), where they are not UTF-8: `body` then has U+FFFD for what is not, so nothing is lost |
//! | `error` | why a stage failed on it; it is sent all the same |
//! | `cut` | true where the line was longer than the reader's limit |

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, Datelike, SecondsFormat, Timelike, Utc};
use logvine_cluster::name::Name;

use crate::{
    json_text,
    record::{Body, Record},
};

/// What the lines of one source have in common.
#[derive(Debug, Clone)]
pub struct Origin {
    pub runner: String,
    pub node: String,
    pub source: String,
    /// What `enrich` adds.
    pub(crate) host: Option<String>,
    pub(crate) tags: Option<Vec<String>>,
    /// All of it as it stands in a line, written once.
    frame: Vec<u8>,
}

impl Origin {
    /// Of a source, without what `enrich` adds.
    pub fn new(runner: &str, node: &str, source: &str) -> Self {
        Self::enriched(runner, node, source, None, None)
    }

    /// The same with the host name and the tags of the node.
    pub(crate) fn enriched(runner: &str, node: &str, source: &str, host: Option<&str>, tags: Option<&[Name]>) -> Self {
        let mut frame = Vec::new();
        text(&mut frame, "runner", runner);
        text(&mut frame, "node", node);
        if let Some(host) = host {
            text(&mut frame, "host", host);
        }
        let tags: Option<Vec<String>> = tags.map(|tags| tags.iter().map(Name::to_string).collect());
        if let Some(tags) = &tags {
            frame.extend_from_slice(b",\"tags\":");
            texts(&mut frame, tags);
        }
        text(&mut frame, "source", source);
        let [runner, node, source] = [runner, node, source].map(str::to_owned);
        Self { runner, node, source, host: host.map(str::to_owned), tags, frame }
    }
}

/// Appends `record` to `out` as one line with its end.
pub fn write(out: &mut Vec<u8>, origin: &Origin, record: &Record) {
    let mut id = [0; 32];
    hex::encode_to_slice(record.id, &mut id).expect("two digits a byte");
    out.extend_from_slice(b"{\"id\":\"");
    out.extend_from_slice(&id);
    out.push(b'"');
    if let Some(time) = record.time.and_then(|micros| DateTime::from_timestamp_micros(i64::try_from(micros).ok()?)) {
        out.extend_from_slice(b",\"time\":\"");
        push_rfc3339(out, &time);
        out.push(b'"');
    }
    if let Some(severity) = record.severity {
        text(out, "severity", severity.name());
    }
    out.extend_from_slice(&origin.frame);
    out.extend_from_slice(b",\"offset\":");
    out.extend_from_slice(itoa::Buffer::new().format(record.offset).as_bytes());
    out.extend_from_slice(b",\"body\":");
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
            Ok(text) => json_text::push(out, text),
            Err(_) => {
                json_text::push(out, &String::from_utf8_lossy(bytes));
                text(out, "body_base64", &STANDARD.encode(bytes));
            }
        },
        Body::Json(bytes) => out.extend_from_slice(bytes),
        Body::Object(fields) => serde_json::to_writer(out, fields).expect("fields have text keys, and memory takes all"),
    }
}

pub(super) fn text(out: &mut Vec<u8>, key: &str, value: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
    json_text::push(out, value);
}

/// A list of texts.
pub(super) fn texts(out: &mut Vec<u8>, texts: &[String]) {
    out.push(b'[');
    for (at, text) in texts.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        json_text::push(out, text);
    }
    out.push(b']');
}

pub(super) fn json(out: &mut Vec<u8>, text: &str) {
    json_text::push(out, text);
}

/// Microseconds since 1970 as text; None past the year 262,142.
pub(super) fn rfc3339(micros: u64) -> Option<String> {
    let time = DateTime::from_timestamp_micros(i64::try_from(micros).ok()?)?;
    let mut text = Vec::with_capacity(27);
    push_rfc3339(&mut text, &time);
    String::from_utf8(text).ok()
}

/// As chrono's `to_rfc3339_opts(AutoSi, true)`, which costs as much as the rest of the line; it has the years that have more than four digits.
fn push_rfc3339(out: &mut Vec<u8>, time: &DateTime<Utc>) {
    let Some(year) = u32::try_from(time.year()).ok().filter(|year| *year < 10_000) else {
        out.extend_from_slice(time.to_rfc3339_opts(SecondsFormat::AutoSi, true).as_bytes());
        return;
    };
    push_digits::<4>(out, year);
    for (before, value) in [(b'-', time.month()), (b'-', time.day()), (b'T', time.hour()), (b':', time.minute()), (b':', time.second())] {
        out.push(before);
        push_digits::<2>(out, value);
    }
    match time.timestamp_subsec_micros() {
        0 => {}
        micros => {
            out.push(b'.');
            if micros % 1000 == 0 { push_digits::<3>(out, micros / 1000) } else { push_digits::<6>(out, micros) }
        }
    }
    out.push(b'Z');
}

/// The last N digits of a number.
fn push_digits<const N: usize>(out: &mut Vec<u8>, mut number: u32) {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(number % 10).expect("a digit");
        number /= 10;
    }
    out.extend_from_slice(&digits);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::severity::Severity;

    fn line(record: &Record) -> String {
        let origin = Origin::new("nginx", "web-1", "web-001");
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
    fn what_enriches_a_record_stands_beside_its_node() {
        let mut out = vec![];
        write(&mut out, &crate::tests::enriched(), &record(Body::Text(Bytes::from_static(b"x"))));
        let head = HEAD.replace("\"web-1\",", "\"web-1\",\"host\":\"web-1.example\",\"tags\":[\"edge\",\"zone-a\"],");
        assert_eq!(String::from_utf8(out).unwrap(), format!("{head}\"body\":\"x\"}}\n"));
    }

    #[test]
    fn bytes_that_are_not_utf8_are_kept() {
        let value: serde_json::Value = serde_json::from_str(&line(&record(Body::Text(Bytes::from_static(b"caf\xe9"))))).unwrap();
        assert_eq!(value["body"], "caf\u{fffd}");
        assert_eq!(STANDARD.decode(value["body_base64"].as_str().unwrap()).unwrap(), b"caf\xe9");
    }

    #[test]
    fn times_are_written_as_chrono_writes_them() {
        for micros in
            [0, 1, 999_999, 1_000, 86_399_999_000, 951_782_400_000_000, 1_795_303_569_250_000, 253_402_300_799_999_999, 253_402_300_800_000_000]
        {
            let time = DateTime::from_timestamp_micros(micros).unwrap();
            let mut out = Vec::new();
            push_rfc3339(&mut out, &time);
            assert_eq!(String::from_utf8(out).unwrap(), time.to_rfc3339_opts(SecondsFormat::AutoSi, true));
        }
    }
}
