use proptest::prelude::*;
use serde_json::json;

use super::*;

fn parser(spec: serde_json::Value) -> Parser {
    Parser::new(&serde_json::from_value(spec).unwrap()).unwrap()
}

#[test]
fn raw_lines_stay_as_they_are() {
    let line = Bytes::from_static(b"\xff any\0thing");
    let parsed = Parser::new(&ParseSpec::Raw).unwrap().parse(line.clone(), &mut Room::default());
    assert_eq!(parsed, Parsed { body: Body::Text(line), time: None, severity: None, error: None });
}

#[test]
fn a_failing_line_is_kept_with_the_stage_that_failed() {
    let parsed = parser(json!({ "type": "apache" })).parse(Bytes::from("hello"), &mut Room::default());
    assert_eq!(parsed.body, Body::Text(Bytes::from("hello")));
    assert!(parsed.error.unwrap().starts_with("apache: the line has no end of `remote_addr`"));
}

/// Each stage, and words that its lines are made of.
fn stages() -> Vec<(Parser, Vec<&'static str>)> {
    let web = vec!["::1", " - ", "[21/Nov/2026:23:26:09 +0000]", " \"GET / HTTP/1.1\" ", "200", "-", "\"", "\\", "\\x", " ", "\u{e9}"];
    let syslog =
        vec!["<34>", "1", " ", "-", "2026-11-21T23:26:09Z", "Oct 11 22:14:15", "[a b=\"c\"]", "[", "]", "=", "\"", "\\", ":", "\u{e9}", "su[7]:"];
    let rows = [
        (
            json!({ "type": "json", "time": "t", "severity": "l" }),
            vec!["{", "}", "\"t\"", "\"l\"", ":", ",", "1", "\"info\"", "[", "]", "\\", "\u{e9}"],
        ),
        (json!({ "type": "nginx" }), web.clone()),
        (json!({ "type": "apache", "format": "%h %t \"%r\" %>s" }), web.clone()),
        (
            json!({ "type": "logfmt", "time": "t", "severity": "l" }),
            vec!["t", "l", "=", "\"", "\\", "\\u00", " ", "\t", "1795303569", "warn", "\u{e9}"],
        ),
        (json!({ "type": "csv", "columns": ["a", "b:int", "c"], "delimiter": ";" }), vec![";", "\"", "1", "x", "\\", "\u{e9}", " "]),
        (json!({ "type": "syslog" }), syslog.clone()),
        (json!({ "type": "syslog", "format": "rfc3164" }), syslog),
        (json!({ "type": "regex", "pattern": r"(?<a>\w+)=(?<b>\d+)?", "severity": "a" }), vec!["a", "=", "1", "\u{e9}", " "]),
        (json!({ "type": "grok", "pattern": "%{COMBINEDAPACHELOG} %{IP:x}?%{NUMBER:n:int}" }), web),
    ];
    rows.into_iter().map(|(spec, words)| (parser(spec), words)).collect()
}

/// A line may be refused, but not be lost: what is not in fields is the line itself.
fn check(parser: &Parser, line: &[u8], room: &mut Room) {
    let parsed = parser.parse(Bytes::copy_from_slice(line), room);
    match &parsed.body {
        Body::Text(text) => {
            assert_eq!(text, line);
            assert!(parsed.error.is_some());
        }
        Body::Json(text) => assert!(serde_json::from_slice::<Fields>(text).is_ok(), "{}", String::from_utf8_lossy(text)),
        Body::Object(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_line_makes_a_stage_panic_or_lose_it(
        picks in prop::collection::vec((0..64_usize, any::<Option<u8>>()), 0..24),
        noise in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        thread_local!(static STAGES: Vec<(Parser, Vec<&'static str>)> = stages());
        STAGES.with(|stages| {
            let mut room = Room::default();
            for (parser, words) in stages {
                let mut line = Vec::new();
                for (pick, byte) in &picks {
                    line.extend_from_slice(words[pick % words.len()].as_bytes());
                    line.extend(byte.filter(|byte| byte % 7 == 0));
                }
                check(parser, &line, &mut room);
                check(parser, &noise, &mut room);
            }
        });
    }
}
