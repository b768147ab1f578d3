use serde_json::json;

use super::*;

fn stage(format: Option<SyslogFormat>) -> Syslog {
    let now = || DateTime::parse_from_rfc3339("2026-11-22T12:00:00Z").unwrap().to_utc();
    Syslog { format, now }
}

fn parse(line: &str) -> (Value, Known) {
    match stage(None).parse(&Bytes::copy_from_slice(line.as_bytes())).unwrap() {
        (Body::Object(fields), known) => (fields.into(), known),
        (other, _) => panic!("{other:?}"),
    }
}

/// RFC 5424 section 6.5, examples 1 and 3.
#[test]
fn rfc_5424() {
    let (fields, known) =
        parse("<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{feff}'su root' failed for lonvick on /dev/pts/8");
    let expected = json!({
        "facility": "auth", "severity": "crit", "hostname": "mymachine.example.com", "appname": "su", "msgid": "ID47", "version": 1,
        "message": "'su root' failed for lonvick on /dev/pts/8",
    });
    assert_eq!(fields, expected);
    assert_eq!((known.time, known.severity.unwrap().name()), (Some(1_065_910_455_003_000), "ERROR2"));
    let (fields, _) = parse(
        r#"<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog 12 ID47 [exampleSDID@32473 iut="3" eventSource="A \"b\" \\ \] \n"][x@1 y="z"] An entry"#,
    );
    let expected = json!({ "exampleSDID@32473": { "iut": "3", "eventSource": r#"A "b" \ ] \n"# }, "x@1": { "y": "z" } });
    assert_eq!((&fields["structured_data"], &fields["procid"], &fields["message"]), (&expected, &json!("12"), &json!("An entry")));
}

#[test]
fn a_message_of_rfc_5424_may_have_no_time_and_no_text() {
    let (fields, known) = parse("<14>1 - host app - - -");
    assert_eq!(fields, json!({ "facility": "user", "severity": "info", "hostname": "host", "appname": "app", "version": 1, "message": "" }));
    assert_eq!((known.time, known.severity.unwrap().name()), (None, "INFO"));
}

/// RFC 3164 section 5.4, example 1, and what rsyslog writes to its files.
#[test]
fn rfc_3164_with_and_without_its_priority() {
    let (fields, known) = parse("<34>Oct 11 22:14:15 mymachine su[77]: 'su root' failed");
    let expected = json!({
        "facility": "auth", "severity": "crit", "hostname": "mymachine", "appname": "su", "procid": "77", "message": "'su root' failed",
    });
    assert_eq!((fields, known.time), (expected, Some(1_791_756_855_000_000)));
    let (fields, known) = parse("Oct 11 22:14:15 mymachine CRON[1]: (root) CMD");
    assert_eq!(fields, json!({ "hostname": "mymachine", "appname": "CRON", "procid": "1", "message": "(root) CMD" }));
    assert_eq!(known.severity, None);
}

#[test]
fn a_time_without_a_year_is_the_last_that_was() {
    let year_of = |now: &str, date| year(DateTime::parse_from_rfc3339(now).unwrap().to_utc(), date);
    assert_eq!(year_of("2026-11-22T12:00:00Z", (11, 22, 12, 0, 0)), 2026);
    assert_eq!(year_of("2026-11-22T12:00:00Z", (11, 24, 12, 0, 0)), 2025);
    assert_eq!(year_of("2027-01-01T00:00:01Z", (12, 31, 23, 59, 59)), 2026);
    assert_eq!(year_of("2026-12-31T23:59:59Z", (1, 1, 0, 0, 1)), 2027, "a sender's clock may go before ours");
    assert_eq!(year_of("2026-11-22T12:00:00Z", (2, 29, 0, 0, 0)), 2024);
    assert_eq!(year_of("2026-11-22T12:00:00Z", (2, 31, 0, 0, 0)), 2026, "no year has it");
}

#[test]
fn what_is_no_message_is_refused_with_the_reason() {
    let refuse = |format, line: &'static str| stage(format).parse(&Bytes::from(line)).unwrap_err();
    assert!(refuse(None, "hello").contains("neither a message of RFC 5424 nor"));
    assert!(refuse(Some(SyslogFormat::Rfc5424), "<34>Oct 11 22:14:15 m su: x").contains("not a message of RFC 5424"));
    assert!(refuse(Some(SyslogFormat::Rfc3164), "<14>1 - host app - - -").contains("not a message of RFC 3164"));
    assert_eq!(stage(None).parse(&Bytes::from_static(b"<14>1 - h a - - - \xff")).unwrap_err(), "not UTF-8");
}
