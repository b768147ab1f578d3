use serde_json::{Value, json};

use super::*;

fn stage(format: Option<&str>) -> Result<Nginx, Wrong> {
    Nginx::new(&NginxParseSpec { format: format.map(str::to_owned) })
}

fn take(stage: &Nginx, line: &str) -> Taken {
    stage.parse(&Bytes::copy_from_slice(line.as_bytes()), &mut Room::default())
}

fn at(time: u64) -> Known {
    Known { time: Some(time), ..Known::default() }
}

fn parse(format: Option<&str>, line: &str) -> (Value, Known) {
    match take(&stage(format).unwrap(), line).unwrap() {
        (Body::Json(fields), known) => (serde_json::from_slice(&fields).unwrap(), known),
        (other, _) => panic!("{other:?}"),
    }
}

#[test]
fn combined_is_the_default() {
    let line = r#"192.0.2.7 - alice [21/Nov/2026:23:26:09 +0000] "GET /a b?q=1 HTTP/1.1" 200 1234 "-" "curl/8.5 (\x22quoted\x22)""#;
    let (fields, known) = parse(None, line);
    let expected = json!({
        "remote_addr": "192.0.2.7", "remote_user": "alice", "time_local": "21/Nov/2026:23:26:09 +0000",
        "request": "GET /a b?q=1 HTTP/1.1", "request_method": "GET", "request_uri": "/a b?q=1", "server_protocol": "HTTP/1.1",
        "status": 200, "body_bytes_sent": 1234, "http_user_agent": "curl/8.5 (\"quoted\")",
    });
    assert_eq!((fields, known), (expected, at(1_795_303_569_000_000)));
}

#[test]
fn common_and_odd_requests() {
    let (fields, _) = parse(Some("common"), r#"2001:db8::1 - - [21/Nov/2026:23:26:09 +0000] "\x16\x03\x01" 400 150"#);
    let expected = json!({
        "remote_addr": "2001:db8::1", "time_local": "21/Nov/2026:23:26:09 +0000", "request": "\u{16}\u{3}\u{1}", "status": 400, "body_bytes_sent": 150,
    });
    assert_eq!(fields, expected);
    let (fields, _) = parse(Some("common"), r#"::1 - - [21/Nov/2026:23:26:09 +0000] "" 400 0"#);
    assert_eq!(fields["request"], "");
}

#[test]
fn any_log_format_of_variables() {
    let format = r#"<$msec> ${host}:$server_port "$request_uri" rt=$request_time ut="$upstream_response_time" $http_x;"#;
    let (fields, known) = parse(Some(format), r#"<1795303569.123> example.net:8443 "/\xC3\xA9" rt=0.005 ut="0.001, 0.002" a b;"#);
    let expected = json!({
        "msec": 1_795_303_569.123, "host": "example.net", "server_port": 8443, "request_uri": "/é",
        "request_time": 0.005, "upstream_response_time": "0.001, 0.002", "http_x": "a b",
    });
    assert_eq!((fields, known), (expected, at(1_795_303_569_123_000)));
}

#[test]
fn json_escapes_do_not_end_a_value() {
    let (fields, _) = parse(Some(r#"{"a":"$arg_a","b":"$arg_b"}"#), r#"{"a":"say \"hi\", \\","b":"tab\there"}"#);
    assert_eq!(fields, json!({"arg_a": "say \"hi\", \\", "arg_b": "tab\there"}));
}

#[test]
fn lines_of_another_shape_are_refused_with_the_reason() {
    let combined = stage(None).unwrap();
    let refuse = |line: &str| take(&combined, line).unwrap_err();
    assert!(refuse("hello").contains("`remote_addr`"));
    assert!(refuse("").contains("`remote_addr`"));
    assert!(refuse(r#"::1 - - [21/Nov/2026:23:26:09 +0000] "GET / HTTP/1.1" 200 0"#).contains("`body_bytes_sent`"));
    assert!(refuse(r#"::1 - - [21/Nov/2026:23:26:09 +0000] "GET / HTTP/1.1" 200 0 "-" "x" more"#).contains("goes on"));
    let prefixed = stage(Some("<$status>")).unwrap();
    assert!(take(&prefixed, "200").unwrap_err().contains("begin"));
}

#[test]
fn a_bad_time_is_told_and_the_fields_are_kept() {
    let (fields, known) = parse(Some("[$time_local] $status"), "[yesterday] 200");
    assert_eq!(fields["status"], 200);
    assert!(known.error.unwrap().contains("`yesterday` is not a time"));
}

#[test]
fn what_is_wrong_with_a_format_is_told() {
    for (format, told) in [
        ("", "not a format"),
        ("combine", "not a format"),
        ("$a$b", "nothing between"),
        ("$a $ b", "not a variable"),
        ("${a", "brace"),
        ("$a $a", "twice"),
    ] {
        assert!(stage(Some(format)).unwrap_err().to_string().contains(told), "{format}");
    }
}

#[test]
fn fields_stand_in_the_formats_order_and_numbers_as_they_are_written() {
    let stage = stage(Some("$status $request_time $body_bytes_sent $http_x")).unwrap();
    let (body, _) = take(&stage, "007 0.500 1e3 \u{e9}\\x01").unwrap();
    assert_eq!(body, Body::Json(Bytes::from(r#"{"status":7,"request_time":0.500,"body_bytes_sent":1000.0,"http_x":"é\u0001"}"#)));
}

/// Lines share their room: one that fails in its middle must leave nothing in the next.
#[test]
fn a_line_that_fails_leaves_nothing_behind() {
    let stage = stage(Some("$a $b;")).unwrap();
    let mut room = Room::default();
    let mut take = |line: &'static str| stage.parse(&Bytes::from(line), &mut room).map(|(body, _)| body);
    assert!(take("1 2").is_err());
    assert_eq!(take("3 4;"), Ok(Body::Json(Bytes::from(r#"{"a":"3","b":"4"}"#))));
}
