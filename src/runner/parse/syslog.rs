//! Syslog messages: RFC 5424 with structured data, RFC 3164 and what has grown around it (the syslog_loose crate).
//!
//! Fields have the names of the RFCs: `facility`, `severity`, `hostname`, `appname`, `procid`, `msgid`, `structured_data` (by id, then by name), `message`.
//! Those that a message does not have (NILVALUE) are not there. Times without a zone are UTC: the same on every node.

use std::borrow::Cow;

use bytes::Bytes;
use chrono::{DateTime, Datelike, Duration, NaiveDate, Utc};
use logvine_cluster::spec::{SyslogFormat, SyslogParseSpec};
use serde_json::Value;
use syslog_loose::{IncompleteDate, Message, Protocol, Variant};

use super::{Fields, Known, Taken};
use crate::{record::Body, severity::Severity};

#[derive(Debug)]
pub(super) struct Syslog {
    format: Option<SyslogFormat>,
    /// RFC 3164 leaves the year out.
    now: fn() -> DateTime<Utc>,
}

impl Syslog {
    pub(super) fn new(spec: &SyslogParseSpec) -> Self {
        Self { format: spec.format, now: Utc::now }
    }

    pub(super) fn parse(&self, line: &Bytes) -> Taken {
        let text = str::from_utf8(line).map_err(|_| "not UTF-8")?;
        let variant = match self.format {
            None => Variant::Either,
            Some(SyslogFormat::Rfc5424) => Variant::RFC5424,
            Some(SyslogFormat::Rfc3164) => Variant::RFC3164,
        };
        let timed = with_a_time(text).filter(|_| self.format != Some(SyslogFormat::Rfc3164));
        let now = self.now;
        let read = syslog_loose::parse_message_with_year_exact_tz(timed.as_deref().unwrap_or(text), |date| year(now(), date), Some(Utc), variant);
        let message = read.map_err(|_| match self.format {
            None => "neither a message of RFC 5424 nor one of RFC 3164",
            Some(SyslogFormat::Rfc5424) => "not a message of RFC 5424",
            Some(SyslogFormat::Rfc3164) => "not a message of RFC 3164",
        })?;
        let mut known = Known::default();
        if timed.is_none() {
            known.time = message.timestamp.and_then(|time| u64::try_from(time.timestamp_micros()).ok());
        }
        known.severity = message.severity.and_then(|severity| Severity::of_syslog(severity as u8));
        Ok((Body::Object(fields(&message)), known))
    }
}

fn fields(message: &Message<&str>) -> Fields {
    let mut fields = Fields::new();
    let mut add = |name: &str, value: Option<Cow<'_, str>>| {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value.into());
        }
    };
    add("facility", message.facility.map(|facility| facility.as_str().into()));
    add("severity", message.severity.map(|severity| severity.as_str().into()));
    add("hostname", message.hostname.map(Cow::Borrowed));
    add("appname", message.appname.map(Cow::Borrowed));
    add("procid", message.procid.as_ref().map(|procid| procid.to_string().into()));
    add("msgid", message.msgid.map(Cow::Borrowed));
    // RFC 5424 section 6.4: a message in UTF-8 may begin with a byte order mark.
    add("message", Some(message.msg.strip_prefix('\u{feff}').unwrap_or(message.msg).into()));
    if !message.structured_data.is_empty() {
        let params = |params: &[(&str, &str)]| params.iter().map(|(name, value)| ((*name).to_owned(), unescaped(value).into())).collect();
        let elements = message.structured_data.iter().map(|element| (element.id.to_owned(), Value::Object(params(&element.params))));
        fields.insert("structured_data".to_owned(), Value::Object(elements.collect()));
    }
    if let Protocol::RFC5424(version) = message.protocol {
        fields.insert("version".to_owned(), version.into());
    }
    fields
}

/// A message of RFC 5424 whose time is left out (`-`, section 6.2.3) with one put in: syslog_loose wants one. None for any other.
fn with_a_time(text: &str) -> Option<String> {
    let text = text.trim_start();
    let (priority, rest) = text.strip_prefix('<')?.split_once('>')?;
    let (version, rest) = rest.split_once(' ')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let rest = rest.strip_prefix("- ").filter(|_| digits(priority) && digits(version))?;
    Some(format!("<{priority}>{version} 1970-01-01T00:00:00Z {rest}"))
}

/// The year of a date that has none: the last one in which it was, but for a clock that goes a day before ours.
fn year(now: DateTime<Utc>, (month, day, hour, minute, second): IncompleteDate) -> i32 {
    let latest = now + Duration::days(1);
    let has_been = |year: &i32| {
        let time = NaiveDate::from_ymd_opt(*year, month, day).and_then(|date| date.and_hms_opt(hour, minute, second));
        time.is_some_and(|time| time.and_utc() <= latest)
    };
    // A 29 February was at most eight years ago.
    (0..10).map(|back| now.year() + 1 - back).find(has_been).unwrap_or(now.year())
}

/// RFC 5424 section 6.3.3: `\"`, `\\` and `\]`; another backslash is one.
fn unescaped(value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        let escaped = rest.clone().next().filter(|next| c == '\\' && matches!(next, '"' | '\\' | ']'));
        plain.push(escaped.unwrap_or(c));
        if escaped.is_some() {
            rest.next();
        }
    }
    plain
}

#[cfg(test)]
mod tests;
