//! nginx's access log (ngx_http_log_module): any `log_format` of variables and the texts between them,
//! found by memmem instead of a regular expression.
//!
//! The same for Apache, whose formats become variables in `apache`.

use std::borrow::Cow;

use bytes::Bytes;
use logvine_cluster::spec::NginxParseSpec;
use memchr::memmem;

use super::{Known, Taken, Wrong, time};
use crate::{
    json_text::{Key, Object, Room},
    record::Body,
};

const COMMON: &str = r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent"#;
const COMBINED: &str = r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent""#;

/// Variables that are numbers. With several upstreams nginx writes a list (`0.001, 0.002`), which stays a text.
const NUMBERS: [&str; 22] = [
    "body_bytes_sent",
    "bytes_sent",
    "bytes_transferred",
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
    "request_time_ms",
    "request_time_us",
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

/// The parts of `$request`, under the names of nginx's own variables.
const REQUEST_PARTS: [&str; 3] = ["request_method", "request_uri", "server_protocol"];

/// An access log of nginx, or of Apache.
#[derive(Debug)]
pub(super) struct Nginx {
    /// Whose format it is.
    server: &'static str,
    /// What a line begins with before the first variable.
    prefix: String,
    variables: Vec<Variable>,
    /// Those of [`REQUEST_PARTS`] that the format does not have by itself.
    parts: [Option<Key>; 3],
}

#[derive(Debug)]
struct Variable {
    name: String,
    key: Key,
    what: What,
    /// The text that ends it; the last one of a format may end with the line.
    end: memmem::Finder<'static>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Text,
    Number,
    /// The one that tells the time.
    Time,
    /// The request line.
    Request,
}

impl Nginx {
    pub(super) fn new(spec: &NginxParseSpec) -> Result<Self, Wrong> {
        let format = match spec.format.as_deref() {
            None | Some("combined") => COMBINED,
            Some("common") => COMMON,
            Some(text) => text,
        };
        let (prefix, pieces) = pieces(format).map_err(|detail| Wrong::new("format", detail))?;
        Self::of_pieces("nginx", prefix, pieces)
    }

    /// Of a format's text before the first variable, and each variable with the text after it. Names are of letters, digits and `_`.
    pub(super) fn of_pieces(server: &'static str, prefix: String, pieces: Vec<(String, String)>) -> Result<Self, Wrong> {
        for (at, (name, end)) in pieces.iter().enumerate() {
            if let (true, Some((next, _))) = (end.is_empty(), pieces.get(at + 1)) {
                return Err(Wrong::new("format", format!("`{name}` and `{next}` have nothing between them: where one ends cannot be seen")));
            }
            if pieces[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(Wrong::new("format", format!("`{name}` is there twice")));
            }
        }
        let has = |name: &str| pieces.iter().any(|(known, _)| known == name);
        let time = TIMES.into_iter().find(|name| has(name));
        let parts = REQUEST_PARTS.map(|part| (!has(part)).then(|| Key::new(part)));
        let what = |name: &str| match name {
            _ if Some(name) == time => What::Time,
            "request" => What::Request,
            _ if NUMBERS.contains(&name) => What::Number,
            _ => What::Text,
        };
        let variable =
            |(name, end): (String, String)| Variable { key: Key::new(&name), what: what(&name), end: memmem::Finder::new(&end).into_owned(), name };
        Ok(Self { server, prefix, variables: pieces.into_iter().map(variable).collect(), parts })
    }

    /// Whose format it is.
    pub(super) fn name(&self) -> &'static str {
        self.server
    }

    /// The body is written as JSON at once, in the format's order: nobody may ever look at its fields.
    pub(super) fn parse(&self, line: &Bytes, room: &mut Room) -> Taken {
        // The lossy one goes byte by byte.
        let text = str::from_utf8(line).map_or_else(|_| String::from_utf8_lossy(line), Cow::Borrowed);
        let rest = text.strip_prefix(&*self.prefix).ok_or("the line does not begin as the format does")?;
        let mut object = room.object();
        let known = self.fill(rest, &mut object)?;
        Ok((Body::Json(object.finish()), known))
    }

    fn fill(&self, mut rest: &str, object: &mut Object<'_>) -> Result<Known, String> {
        let mut known = Known::default();
        for Variable { name, key, what, end } in &self.variables {
            let (value, after) = split(end, rest).ok_or_else(|| format!("the line has no end of `{name}` as the format has it"))?;
            rest = after;
            if *what == What::Time {
                known.set_time(read_time(name, value).map(Some));
            }
            // What the server did not have.
            if value == "-" {
                continue;
            }
            let value = unescaped(value);
            match what {
                What::Number => object.number(key, &value),
                What::Time if name == "msec" => object.number(key, &value),
                What::Text | What::Time => object.text(key, &value),
                What::Request => {
                    object.text(key, &value);
                    self.add_request_parts(&value, object);
                }
            }
        }
        if rest.is_empty() { Ok(known) } else { Err("the line goes on after the end of the format".to_owned()) }
    }

    fn add_request_parts(&self, request: &str, object: &mut Object<'_>) {
        let Some((method, rest)) = request.split_once(' ') else { return };
        let Some((uri, protocol)) = rest.rsplit_once(' ') else { return };
        for (key, part) in self.parts.iter().zip([method, uri, protocol]) {
            if let Some(key) = key {
                object.text(key, part);
            }
        }
    }
}

/// The value that begins `rest`, and what follows the text that ends it.
fn split<'a>(end: &memmem::Finder<'_>, rest: &'a str) -> Option<(&'a str, &'a str)> {
    let needle = end.needle();
    let bytes = rest.as_bytes();
    let at = match needle {
        [] => return Some((rest, "")),
        [b'"', ..] => {
            // With `escape=json` a quote within a value is written `\"`; by default it is `\x22`, and a backslash `\x5C`.
            let is_quote = |at: &usize| bytes[..*at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 0;
            end.find_iter(bytes).find(is_quote)?
        }
        [byte] => memchr::memchr(*byte, bytes)?,
        _ => end.find(bytes)?,
    };
    Some((&rest[..at], &rest[at + needle.len()..]))
}

fn read_time(name: &str, value: &str) -> Result<u64, String> {
    if name == "time_local" { time::of_nginx(value) } else { time::of_text(value) }
}

/// What nginx has escaped in a value: `\xHH`, and `\"`, `\\`, `\n`, `\r`, `\t` of `escape=json`.
fn unescaped(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let Some(first) = memchr::memchr(b'\\', bytes) else { return text.into() };
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
    String::from_utf8_lossy(&plain).into_owned().into()
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
