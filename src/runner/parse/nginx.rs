//! nginx's access log (ngx_http_log_module): any `log_format` of variables and the texts between them, found by memmem instead of a regular expression.

use std::borrow::Cow;

use bytes::Bytes;
use logvine_cluster::spec::NginxParseSpec;
use memchr::memmem;
use serde_json::{Number, Value};

use super::{Fields, Taken, time};
use crate::record::Body;

const COMMON: &str = r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent"#;
const COMBINED: &str = r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent""#;

/// Variables that are numbers. With several upstreams nginx writes a list (`0.001, 0.002`), which stays a text.
const NUMBERS: [&str; 19] = [
    "body_bytes_sent",
    "bytes_sent",
    "connection",
    "connection_requests",
    "connection_time",
    "content_length",
    "gzip_ratio",
    "msec",
    "pid",
    "remote_port",
    "request_length",
    "request_time",
    "server_port",
    "status",
    "upstream_bytes_received",
    "upstream_connect_time",
    "upstream_header_time",
    "upstream_response_length",
    "upstream_response_time",
];

/// Variables that tell the time, the most precise first.
const TIMES: [&str; 3] = ["msec", "time_iso8601", "time_local"];

#[derive(Debug)]
pub(super) struct Nginx {
    /// What a line begins with before the first variable.
    prefix: Vec<u8>,
    variables: Vec<Variable>,
    /// Which variable tells the time.
    time: Option<usize>,
}

#[derive(Debug)]
struct Variable {
    name: String,
    number: bool,
    /// The text that ends it; the last one of a format may end with the line.
    end: memmem::Finder<'static>,
}

impl Nginx {
    pub(super) fn new(spec: &NginxParseSpec) -> Result<Self, String> {
        let format = match spec.format.as_deref() {
            None | Some("combined") => COMBINED,
            Some("common") => COMMON,
            Some(text) => text,
        };
        let (prefix, pieces) = pieces(format)?;
        for (at, (name, end)) in pieces.iter().enumerate() {
            if let (true, Some((next, _))) = (end.is_empty(), pieces.get(at + 1)) {
                return Err(format!("`${name}` and `${next}` have nothing between them: where one ends cannot be seen"));
            }
            if pieces[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(format!("`${name}` is there twice"));
            }
        }
        let time = TIMES.iter().find_map(|time| pieces.iter().position(|(name, _)| name == time));
        let variable =
            |(name, end): (String, String)| Variable { number: NUMBERS.contains(&name.as_str()), end: memmem::Finder::new(&end).into_owned(), name };
        Ok(Self { prefix: prefix.into_bytes(), variables: pieces.into_iter().map(variable).collect(), time })
    }

    pub(super) fn parse(&self, line: &Bytes) -> Taken {
        let mut rest = line.strip_prefix(&*self.prefix).ok_or("the line does not begin as the format does")?;
        let mut fields = Fields::new();
        let mut time = Ok(None);
        for (at, variable) in self.variables.iter().enumerate() {
            let (value, after) = variable.split(rest).ok_or_else(|| format!("the line has no end of ${} as the format has it", variable.name))?;
            rest = after;
            if self.time == Some(at) {
                time = read_time(&variable.name, value).map(Some);
            }
            if let Some(value) = variable.value(value) {
                fields.insert(variable.name.clone(), value);
            }
        }
        if !rest.is_empty() {
            return Err("the line goes on after the end of the format".to_owned());
        }
        add_request_parts(&mut fields);
        Ok((Body::Object(fields), time))
    }
}

impl Variable {
    /// The value, and what follows the text that ends it.
    fn split<'a>(&self, rest: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let end = self.end.needle();
        if end.is_empty() {
            return Some((rest, &[]));
        }
        let mut found = self.end.find_iter(rest);
        // With `escape=json` a quote within a value is written `\"`; by default it is `\x22`, and a backslash `\x5C`.
        let at = found.find(|at| end[0] != b'"' || rest[..*at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 0)?;
        Some((&rest[..at], &rest[at + end.len()..]))
    }

    /// None for what nginx did not have.
    fn value(&self, bytes: &[u8]) -> Option<Value> {
        if bytes == b"-" {
            return None;
        }
        let bytes = unescaped(bytes);
        let text = String::from_utf8_lossy(&bytes);
        let number = || text.parse::<u64>().map(Number::from).ok().or_else(|| text.parse().ok().and_then(Number::from_f64));
        let number = self.number.then(number).flatten();
        Some(number.map_or_else(|| Value::String(text.into_owned()), Value::Number))
    }
}

fn read_time(name: &str, value: &[u8]) -> Result<u64, String> {
    let text = String::from_utf8_lossy(value);
    if name == "time_local" { time::of_nginx(&text) } else { time::of_text(&text) }
}

/// `$request` is the request line: its parts under the names of nginx's own variables.
fn add_request_parts(fields: &mut Fields) {
    let Some(Value::String(request)) = fields.get("request") else { return };
    let Some((method, rest)) = request.split_once(' ') else { return };
    let Some((uri, protocol)) = rest.rsplit_once(' ') else { return };
    let parts = [("request_method", method.to_owned()), ("request_uri", uri.to_owned()), ("server_protocol", protocol.to_owned())];
    for (name, value) in parts {
        fields.entry(name).or_insert(Value::String(value));
    }
}

/// What nginx has escaped in a value: `\xHH`, and `\"`, `\\`, `\n`, `\r`, `\t` of `escape=json`.
fn unescaped(bytes: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr::memchr(b'\\', bytes) else { return bytes.into() };
    let mut plain = bytes[..first].to_vec();
    let mut rest = &bytes[first..];
    while let Some(byte) = rest.first() {
        let (decoded, taken) = match rest {
            [b'\\', b'x', high, low, ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, 4),
                _ => (b'\\', 1),
            },
            [b'\\', escaped @ (b'"' | b'\\'), ..] => (*escaped, 2),
            [b'\\', b'n', ..] => (b'\n', 2),
            [b'\\', b'r', ..] => (b'\r', 2),
            [b'\\', b't', ..] => (b'\t', 2),
            _ => (*byte, 1),
        };
        plain.push(decoded);
        rest = &rest[taken..];
    }
    plain.into()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// The text before the first variable, and each variable with the text after it.
fn pieces(format: &str) -> Result<(String, Vec<(String, String)>), String> {
    let mut parts = format.split('$');
    let prefix = parts.next().unwrap_or_default().to_owned();
    let mut pieces = Vec::new();
    for part in parts {
        let (name, end) = match part.strip_prefix('{') {
            Some(braced) => braced.split_once('}').ok_or_else(|| format!("`${part}` has no closing brace"))?,
            None => part.split_at(part.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(part.len())),
        };
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(format!("`${part}` is not a variable"));
        }
        pieces.push((name.to_owned(), end.to_owned()));
    }
    if pieces.is_empty() {
        return Err(format!("`{format}` is not a format: write combined, common, or the text of a log_format with its $variables"));
    }
    Ok((prefix, pieces))
}

#[cfg(test)]
mod tests;
