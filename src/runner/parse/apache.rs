//! Apache's access log (mod_log_config): a `LogFormat` becomes variables and the texts between them, which nginx's machinery takes apart.
//!
//! Fields have the names that nginx has for the same, so that what comes after need not know which server it was.

use logvine_cluster::spec::ApacheParseSpec;

use super::{Wrong, nginx::Nginx};

const COMMON: &str = r#"%h %l %u %t "%r" %>s %b"#;
const COMBINED: &str = r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#;
const VHOST_COMBINED: &str = r#"%v:%p %h %l %u %t "%r" %>s %O "%{Referer}i" "%{User-Agent}i""#;

/// Directives without an argument, and what their fields are called.
const NAMES: [(char, &str); 24] = [
    ('a', "remote_ip"),
    ('A', "server_addr"),
    ('b', "body_bytes_sent"),
    ('B', "body_bytes_sent"),
    ('D', "request_time_us"),
    ('f', "request_filename"),
    ('h', "remote_addr"),
    ('H', "server_protocol"),
    ('I', "request_length"),
    ('k', "connection_requests"),
    ('l', "remote_logname"),
    ('L', "request_id"),
    ('m', "request_method"),
    ('O', "bytes_sent"),
    ('p', "server_port"),
    ('P', "pid"),
    ('q', "args"),
    ('r', "request"),
    ('s', "status"),
    ('S', "bytes_transferred"),
    ('T', "request_time"),
    ('u', "remote_user"),
    ('U', "uri"),
    ('X', "connection_status"),
];

/// Directives with an argument: what comes before its name, in lower case and with `_` for `-`.
const NAMED: [(char, &str); 5] = [('i', "http_"), ('o', "sent_http_"), ('C', "cookie_"), ('e', "env_"), ('n', "note_")];

/// Prepares the stage. Errors: the format has a directive that is not known, or two with nothing between them.
pub(super) fn stage(spec: &ApacheParseSpec) -> Result<Nginx, Wrong> {
    let format = match spec.format.as_deref() {
        None | Some("combined") => COMBINED,
        Some("common") => COMMON,
        Some("vhost_combined") => VHOST_COMBINED,
        Some(text) => text,
    };
    let (prefix, pieces) = pieces(format).map_err(|detail| Wrong::new("format", detail))?;
    Nginx::of_pieces("apache", prefix, pieces)
}

/// The text before the first directive, and each directive's field with the text after it.
fn pieces(format: &str) -> Result<(String, Vec<(String, String)>), String> {
    let mut texts = vec![String::new()];
    let mut names = Vec::new();
    // As it is written in a configuration, within quotes.
    let format = format.replace("\\\"", "\"").replace("\\t", "\t");
    let mut rest = format.as_str();
    while let Some((text, directive)) = rest.split_once('%') {
        let last = texts.last_mut().expect("there is one from the start");
        last.push_str(text);
        if let Some(after) = directive.strip_prefix('%') {
            last.push('%');
            rest = after;
            continue;
        }
        let (name, after) = name(directive)?;
        // `%t` has its own brackets.
        let (before, behind) = if name == "time_local" { ("[", "]") } else { ("", "") };
        last.push_str(before);
        names.push(name);
        texts.push(behind.to_owned());
        rest = after;
    }
    texts.last_mut().expect("there is one from the start").push_str(rest);
    if names.is_empty() {
        return Err(format!("`{format}` is not a format: write combined, common, vhost_combined, or the text of a LogFormat with its % directives"));
    }
    let mut texts = texts.into_iter();
    let prefix = texts.next().unwrap_or_default();
    Ok((prefix, names.into_iter().zip(texts).collect()))
}

/// The field of a directive whose `%` has gone before, and what follows it.
fn name(directive: &str) -> Result<(String, &str), String> {
    // Which status codes it is for, and whether of the first or the last request (`%!200,304{User-agent}i`, `%>s`).
    let plain = directive.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '!' | ',' | '<' | '>'));
    let (argument, plain) = match plain.strip_prefix('{') {
        Some(braced) => {
            braced.split_once('}').map(|(argument, rest)| (Some(argument), rest)).ok_or_else(|| format!("`%{directive}` has no closing brace"))?
        }
        None => (None, plain),
    };
    let mut rest = plain.chars();
    let letter = rest.next().ok_or_else(|| format!("`%{directive}` is not a directive"))?;
    let known = |table: &[(char, &'static str)]| table.iter().find(|(known, _)| *known == letter).map(|(_, name)| *name);
    let name = match (argument, letter) {
        (None, 't') => "time_local".to_owned(),
        (None, 'v' | 'V') => "server_name".to_owned(),
        (None, _) => known(&NAMES).map(str::to_owned).ok_or_else(|| format!("`%{letter}` is not a directive that is known here"))?,
        (Some("c"), 'a') => "remote_addr".to_owned(),
        (Some("us"), 'T') => "request_time_us".to_owned(),
        (Some("ms"), 'T') => "request_time_ms".to_owned(),
        (Some("s"), 'T') => "request_time".to_owned(),
        (Some("sec"), 't') => "msec".to_owned(),
        (Some(argument), _) => {
            let prefix = known(&NAMED).ok_or_else(|| format!("`%{{{argument}}}{letter}` is not a directive that is known here"))?;
            format!("{prefix}{}", argument.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_"))
        }
    };
    Ok((name, rest.as_str()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::*;
    use crate::{json_text::Room, record::Body};

    fn parse(format: Option<&str>, line: &str) -> (Value, Option<u64>) {
        let stage = stage(&ApacheParseSpec { format: format.map(str::to_owned) }).unwrap();
        let (body, known) = stage.parse(&Bytes::copy_from_slice(line.as_bytes()), &mut Room::default()).unwrap();
        assert_eq!(known.error, None);
        match body {
            Body::Json(text) => (serde_json::from_slice(&text).unwrap(), known.time),
            other => panic!("{other:?}"),
        }
    }

    /// The example of Apache's manual, "Log Files", with a quote as mod_log_config escapes it.
    #[test]
    fn combined_is_the_default() {
        let line = r#"127.0.0.1 - frank [21/Nov/2026:15:26:09 -0800] "GET /apache_pb.gif HTTP/1.0" 200 2326 "http://www.example.com/start.html" "Mozilla \"4.08\" [en]""#;
        let expected = json!({
            "remote_addr": "127.0.0.1", "remote_user": "frank", "time_local": "21/Nov/2026:15:26:09 -0800", "request": "GET /apache_pb.gif HTTP/1.0",
            "request_method": "GET", "request_uri": "/apache_pb.gif", "server_protocol": "HTTP/1.0", "status": 200, "body_bytes_sent": 2326,
            "http_referer": "http://www.example.com/start.html", "http_user_agent": "Mozilla \"4.08\" [en]",
        });
        assert_eq!(parse(None, line), (expected, Some(1_795_303_569_000_000)));
    }

    #[test]
    fn common_without_a_body() {
        let (fields, _) = parse(Some("common"), r#"::1 - - [21/Nov/2026:23:26:09 +0000] "HEAD / HTTP/1.1" 304 -"#);
        assert_eq!((&fields["status"], fields.get("body_bytes_sent")), (&json!(304), None));
    }

    #[test]
    fn a_log_format_of_directives() {
        let format = r#"%v:%p %!400a \"%r\" %>s %D %{X-Request-Id}i 100%%"#;
        let (fields, _) = parse(Some(format), r#"example.net:443 192.0.2.7 "GET /a HTTP/2.0" 201 1523 ab-1 100%"#);
        let expected = json!({
            "server_name": "example.net", "server_port": 443, "remote_ip": "192.0.2.7", "request": "GET /a HTTP/2.0", "request_method": "GET",
            "request_uri": "/a", "server_protocol": "HTTP/2.0", "status": 201, "request_time_us": 1523, "http_x_request_id": "ab-1",
        });
        assert_eq!(fields, expected);
    }

    #[test]
    fn what_is_wrong_with_a_format_is_told() {
        for (format, told) in [
            ("", "not a format"),
            ("%z", "`%z` is not a directive"),
            ("%{x}z", "`%{x}z`"),
            ("%{x", "brace"),
            ("%h%l", "nothing between"),
            ("%h %h", "twice"),
            ("%", "not a directive"),
        ] {
            let error = stage(&ApacheParseSpec { format: Some(format.to_owned()) }).unwrap_err().to_string();
            assert!(error.contains(told), "{format}: {error}");
        }
    }
}
