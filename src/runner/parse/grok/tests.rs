use serde_json::{Value, json};

use super::*;

fn stage(spec: Value) -> Result<Grok, Wrong> {
    Grok::new(&serde_json::from_value(spec).unwrap())
}

fn parse(spec: Value, line: &str) -> Result<(Value, Known), String> {
    match stage(spec).unwrap().parse(&Bytes::copy_from_slice(line.as_bytes()))? {
        (Body::Object(fields), known) => Ok((fields.into(), known)),
        (other, _) => panic!("{other:?}"),
    }
}

/// The value that `%{NAME}` finds in a text; null if none.
fn find(name: &str, text: &str) -> Value {
    let pattern = format!("%{{{name}:x}}");
    parse(json!({ "pattern": pattern }), text).map_or(Value::Null, |(fields, _)| fields["x"].clone())
}

#[test]
fn each_stock_pattern_compiles_alone_and_with_a_name() {
    for (name, _) in stock::STOCK {
        stage(json!({ "pattern": format!("%{{{name}:x}}") })).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn combinedapachelog_takes_a_line_of_apache_apart() {
    let line = r#"83.149.9.216 - frank@x.org [17/May/2015:10:05:03 +0000] "GET /images/a.png?x=1 HTTP/1.1" 200 203023 "http://x/y" "Mozilla/5.0 (X11) \"q\"""#;
    let (fields, _) = parse(json!({ "pattern": "^%{COMBINEDAPACHELOG}$" }), line).unwrap();
    let expected = json!({
        "clientip": "83.149.9.216", "ident": "-", "auth": "frank@x.org", "timestamp": "17/May/2015:10:05:03 +0000", "verb": "GET",
        "request": "/images/a.png?x=1", "httpversion": "1.1", "response": "200", "bytes": "203023", "referrer": "\"http://x/y\"",
        "agent": r#""Mozilla/5.0 (X11) \"q\"""#,
    });
    assert_eq!(fields, expected);
}

#[test]
fn stock_patterns_find_what_they_are_named_for() {
    for (name, text, found) in [
        ("IP", "from 192.0.2.255 port", "192.0.2.255"),
        ("IP", "at 12:34:56 [2001:db8::1:2]", "2001:db8::1:2"),
        ("IP", "::1", "::1"),
        ("IP", "::ffff:192.0.2.1!", "::ffff:192.0.2.1"),
        ("IP", "fe80::1%eth0", "fe80::1%eth0"),
        ("IP", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"),
        ("HOSTPORT", "to db-1.example.net:5432,", "db-1.example.net:5432"),
        ("NUMBER", "took -1.25s", "-1.25"),
        ("TIMESTAMP_ISO8601", "2026-11-22T15:41:18.123+01:00 x", "2026-11-22T15:41:18.123+01:00"),
        ("TIMESTAMP_ISO8601", "[2026-11-22 15:41:18,123]", "2026-11-22 15:41:18,123"),
        ("SYSLOGTIMESTAMP", "Nov  2 15:41:18 h", "Nov  2 15:41:18"),
        ("DATESTAMP_RFC2822", "Sun, 22 Nov 2026 15:41:18 +0000", "Sun, 22 Nov 2026 15:41:18 +0000"),
        ("HTTPDATE", "[22/Nov/2026:15:41:18 +0000]", "22/Nov/2026:15:41:18 +0000"),
        ("QS", r#"a "b \" c" d"#, r#""b \" c""#),
        ("UUID", "id=01234567-89ab-cdef-0123-456789abcdef;", "01234567-89ab-cdef-0123-456789abcdef"),
        ("MAC", "00:1a:2b:3c:4d:5e", "00:1a:2b:3c:4d:5e"),
        ("EMAILADDRESS", "<a.b+c@example.org>", "a.b+c@example.org"),
        ("URI", "GET https://u:p@example.org:8443/a/b?c=d&e=%20 now", "https://u:p@example.org:8443/a/b?c=d&e=%20"),
        ("PATH", "open /var/log/a-b.log:", "/var/log/a-b.log:"),
        ("WORD", "… über-all", "über"),
        ("LOGLEVEL", "<Warning>", "Warning"),
        ("JAVACLASS", "org.example.Main$1(", "org.example.Main$1"),
    ] {
        assert_eq!(find(name, text), found, "{name} in {text}");
    }
    for (name, text) in [("IP", "12:34:56"), ("IPV4", "1.2.3.456"), ("POSINT", "0"), ("UUID", "0123"), ("TIME", "24:61")] {
        assert_eq!(find(name, text), Value::Null, "{name} in {text}");
    }
}

#[test]
fn fields_have_types_names_time_and_severity() {
    let spec = json!({
        "pattern": r"^%{TIMESTAMP_ISO8601:at} \[%{LOGLEVEL:level}\] (?<thread>\w+) %{ORDER:[order][id]:int} took %{NUMBER:took:float}(?: ok=%{WORD:ok:bool})?",
        "patterns": { "ORDER": "#%{DIGITS:digits}", "DIGITS": "[0-9]+" }, "time": "at", "severity": "level",
    });
    let (fields, known) = parse(spec.clone(), "2026-11-21T23:26:09Z [ERROR] main #17 took 0.5 ok=true").unwrap();
    assert_eq!(
        fields,
        json!({ "at": "2026-11-21T23:26:09Z", "level": "ERROR", "thread": "main", "order.id": "#17", "digits": "17", "took": 0.5, "ok": true })
    );
    assert_eq!((known.time, known.severity.unwrap().name()), (Some(1_795_303_569_000_000), "ERROR"));
    assert!(known.error.unwrap().contains("field `order.id`: `#17` is not of type int"), "it is kept as text");
    assert_eq!(parse(spec, "something else").unwrap_err(), "the line does not match the pattern");
}

#[test]
fn a_field_of_two_alternatives_is_the_one_that_was_there() {
    let spec = json!({ "pattern": "^(?:%{INT:n:int}|n=%{INT:n:int})$" });
    assert_eq!(parse(spec.clone(), "7").unwrap().0, json!({ "n": 7 }));
    assert_eq!(parse(spec, "n=8").unwrap().0, json!({ "n": 8 }));
}

#[test]
fn what_is_wrong_with_a_pattern_is_told_with_what_to_do() {
    for (spec, told) in [
        (json!({ "pattern": "%{IP}" }), "pattern: has no field: name what"),
        (json!({ "pattern": "%{IPX:a}" }), "there is no pattern `IPX`: define it"),
        (json!({ "pattern": "%{ip:a}" }), "there is `IP`"),
        (json!({ "pattern": "%{IP:a:bigint}" }), "`bigint` of `%{IP:a:bigint}` is not a type"),
        (json!({ "pattern": "%{IP:}" }), "without a name"),
        (json!({ "pattern": "%{IP:a" }), "closing brace"),
        (json!({ "pattern": "(%{IP:a}" }), "malformed"),
        (json!({ "pattern": "%{IP:a}(?=x)" }), "has look-ahead at `(?=x)`"),
        (json!({ "pattern": "(?<![0-9])%{IP:a}" }), "has look-behind at"),
        (json!({ "pattern": r"(?<q>['`]).*\1" }), "has a back-reference at"),
        (json!({ "pattern": "%{A:a}", "patterns": { "A": "(?>x)" } }), "patterns: `A` has an atomic group"),
        (json!({ "pattern": "%{A:a}", "patterns": { "A": "%{B}", "B": "%{A}" } }), "use themselves"),
        (json!({ "pattern": "%{A:a}", "patterns": { "A B": "x" } }), "is not a name"),
        (json!({ "pattern": "%{IP:a}", "time": "b" }), "time: the pattern has no field `b`"),
    ] {
        let error = stage(spec.clone()).unwrap_err().to_string();
        assert!(error.contains(told), "{spec}: {error}");
    }
}

#[test]
fn what_only_looks_like_look_around_is_none() {
    for pattern in [r"\(?=%{INT:a}", "[(?=]%{INT:a}", r"\\%{INT:a}", r"[\]\1(?!]%{INT:a}"] {
        assert!(no_look_around(pattern).is_ok(), "{pattern}");
    }
}
