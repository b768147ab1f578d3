//! logfmt: `key=value key="a value" flag`, as Go's loggers and Heroku write it.
//!
//! Values are texts; a key alone is true; of equal keys the last one counts.
//! In quotes, `\"`, `\\`, `\n`, `\r`, `\t` and `\uXXXX` are what JSON has them be.

use std::borrow::Cow;

use bytes::Bytes;
use logvine_cluster::spec::LogfmtParseSpec;
use serde_json::Value;

use super::{Fields, Known, Marks, Taken, Wrong};
use crate::record::Body;

#[derive(Debug)]
pub(super) struct Logfmt {
    marks: Marks,
}

impl Logfmt {
    pub(super) fn new(spec: &LogfmtParseSpec) -> Result<Self, Wrong> {
        let marks = Marks::new(spec.time.as_deref(), spec.time_layout.as_deref(), spec.severity.as_deref(), |_| true)?;
        Ok(Self { marks })
    }

    pub(super) fn parse(&self, line: &Bytes) -> Taken {
        let text = str::from_utf8(line).map_err(|_| "not UTF-8")?;
        let mut fields = Fields::new();
        let mut known = Known::default();
        let mut pairs = 0_usize;
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (key, value, after) = pair(rest)?;
            pairs += usize::from(value.is_some());
            if let Some(value) = &value {
                self.marks.note(&mut known, key, value);
            }
            fields.insert(key.to_owned(), value.map_or(Value::Bool(true), |value| Value::String(value.into_owned())));
            rest = after.trim_start();
        }
        if pairs == 0 {
            return Err("the line has no key=value".to_owned());
        }
        Ok((Body::Object(fields), known))
    }
}

/// The first pair of `text`, which begins with no space, and what follows it.
fn pair(text: &str) -> Result<(&str, Option<Cow<'_, str>>, &str), String> {
    let end = text.find(|c: char| c == '=' || c == '"' || c.is_whitespace()).unwrap_or(text.len());
    let (key, rest) = text.split_at(end);
    if key.is_empty() || rest.starts_with('"') {
        let shown: String = text.chars().take(32).collect();
        return Err(format!("`{shown}` does not begin with a key: a value with spaces in it must be in quotes"));
    }
    let Some(rest) = rest.strip_prefix('=') else { return Ok((key, None, rest)) };
    let Some(quoted) = rest.strip_prefix('"') else {
        let (value, rest) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
        return Ok((key, Some(value.into()), rest));
    };
    let close = close(quoted).ok_or_else(|| format!("the quote of `{key}` is not closed"))?;
    let (value, rest) = (&quoted[..close], &quoted[close + 1..]);
    if rest.starts_with(|c: char| !c.is_whitespace()) {
        return Err(format!("the value of `{key}` goes on after its closing quote"));
    }
    Ok((key, Some(unescaped(value)), rest))
}

/// Where the closing quote is.
fn close(quoted: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', &quoted.as_bytes()[from..])?;
        if quoted.as_bytes()[at] == b'"' {
            return Some(at);
        }
        from = (at + 2 <= quoted.len()).then_some(at + 2)?;
    }
}

/// What cannot be an escape stays as it is.
fn unescaped(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return value.into();
    }
    let json = format!("\"{}\"", value.replace('\t', "\\t"));
    serde_json::from_str::<String>(&json).map_or_else(|_| value.into(), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(line: &str) -> Taken {
        let spec = LogfmtParseSpec { time: Some("ts".to_owned()), severity: Some("level".to_owned()), time_layout: None };
        Logfmt::new(&spec).unwrap().parse(&Bytes::copy_from_slice(line.as_bytes()))
    }

    fn fields(line: &str) -> Value {
        match parse(line).unwrap().0 {
            Body::Object(fields) => fields.into(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pairs_flags_and_quoted_values_become_fields() {
        let line = r#"  ts=2026-11-21T23:26:09Z level=warn msg="disk \"a\" is\nfull" path=C:\x=y empty= none="" flag  n=1 n=2 "#;
        let (body, known) = parse(line).unwrap();
        let expected = json!({
            "ts": "2026-11-21T23:26:09Z", "level": "warn", "msg": "disk \"a\" is\nfull", "path": "C:\\x=y", "empty": "", "none": "", "flag": true, "n": "2",
        });
        assert_eq!(body, Body::Object(expected.as_object().unwrap().clone()));
        assert_eq!((known.time, known.severity.unwrap().name(), known.error), (Some(1_795_303_569_000_000), "WARN", None));
    }

    #[test]
    fn an_escape_that_is_none_stays_as_it_is() {
        assert_eq!(fields(r#"a="c:\dir\new" b="\u00e9""#), json!({"a": "c:\\dir\\new", "b": "é"}));
    }

    #[test]
    fn what_is_no_logfmt_is_refused_with_the_reason() {
        for (line, why) in [
            ("", "no key=value"),
            ("only words here", "no key=value"),
            ("=x", "does not begin with a key"),
            (r#"a=1 "b"=2"#, "does not begin with a key"),
            (r#"a="b"#, "`a` is not closed"),
            (r#"a="b\"#, "`a` is not closed"),
            (r#"a="b"c=d"#, "after its closing quote"),
        ] {
            assert!(parse(line).unwrap_err().contains(why), "{line}");
        }
    }

    #[test]
    fn a_bad_time_is_told_and_the_fields_are_kept() {
        let (body, known) = parse("ts=noon level=loud").unwrap();
        assert_eq!(body, Body::Object(json!({"ts": "noon", "level": "loud"}).as_object().unwrap().clone()));
        assert!(known.error.unwrap().contains("`noon` is not a time"));
        assert_eq!(known.severity, None, "a word that is no level says nothing");
    }
}
