//! Native parse stages: a line becomes a record's body and time. A line that cannot be taken apart stays as it is, with the reason.

mod apache;
mod csv;
mod grok;
mod json;
mod logfmt;
mod marks;
mod nginx;
mod regex;
mod syslog;
mod time;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use logvine_cluster::spec::ParseSpec;

use self::marks::{Kind, Known, Marks};
pub use super::json_text::Room;
use super::{record::Body, severity::Severity};

/// A parse stage, ready to run. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Parser {
    stage: Arc<Stage>,
}

#[derive(Debug)]
enum Stage {
    Raw,
    Json(json::Json),
    /// Apache's, too.
    Nginx(nginx::Nginx),
    Logfmt(logfmt::Logfmt),
    Csv(Box<csv::Csv>),
    Syslog(syslog::Syslog),
    Regex(regex::Regex),
    Grok(grok::Grok),
}

/// What is wrong with a stage's spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// Of the spec.
    pub field: &'static str,
    /// For people: what is wrong, and what to do.
    pub detail: String,
}

impl Wrong {
    fn new(field: &'static str, detail: impl Into<String>) -> Self {
        Self { field, detail: detail.into() }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.detail)
    }
}

/// What a line became.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The line as it is (`Body::Text`) where it could not be taken apart.
    pub body: Body,
    /// In microseconds since 1970, where the line says it.
    pub time: Option<u64>,
    /// Where the line says it.
    pub severity: Option<Severity>,
    /// Why the line could not be taken apart, or a value of it not be read.
    pub error: Option<String>,
}

/// The fields of a line.
type Fields = serde_json::Map<String, serde_json::Value>;

impl Parser {
    /// Compiles a stage. Errors: the pattern or format is malformed, with what is wrong.
    pub fn new(spec: &ParseSpec) -> Result<Self, Wrong> {
        let stage = match spec {
            ParseSpec::Raw => Stage::Raw,
            ParseSpec::Json(spec) => Stage::Json(json::Json::new(spec)),
            ParseSpec::Nginx(spec) => Stage::Nginx(nginx::Nginx::new(spec)?),
            ParseSpec::Apache(spec) => Stage::Nginx(apache::stage(spec)?),
            ParseSpec::Logfmt(spec) => Stage::Logfmt(logfmt::Logfmt::new(spec)?),
            ParseSpec::Csv(spec) => Stage::Csv(Box::new(csv::Csv::new(spec)?)),
            ParseSpec::Syslog(spec) => Stage::Syslog(syslog::Syslog::new(spec)),
            ParseSpec::Regex(spec) => Stage::Regex(regex::Regex::new(spec)?),
            ParseSpec::Grok(spec) => Stage::Grok(grok::Grok::new(spec)?),
        };
        Ok(Self { stage: Arc::new(stage) })
    }

    /// Takes one line apart. What a body needs room for is taken from `room`, which many lines may share.
    pub fn parse(&self, line: Bytes, room: &mut Room) -> Parsed {
        let (stage, taken) = match &*self.stage {
            Stage::Raw => return Parsed { body: Body::Text(line), time: None, severity: None, error: None },
            Stage::Json(json) => ("json", json.parse(&line)),
            Stage::Nginx(nginx) => (nginx.name(), nginx.parse(&line, room)),
            Stage::Logfmt(logfmt) => ("logfmt", logfmt.parse(&line)),
            Stage::Csv(csv) => ("csv", csv.parse(&line)),
            Stage::Syslog(syslog) => ("syslog", syslog.parse(&line)),
            Stage::Regex(regex) => ("regex", regex.parse(&line)),
            Stage::Grok(grok) => ("grok", grok.parse(&line)),
        };
        let (body, Known { time, severity, error }) = taken.unwrap_or_else(|error| {
            let known = Known { error: Some(error), ..Known::default() };
            (Body::Text(line), known)
        });
        Parsed { body, time, severity, error: error.map(|error| format!("{stage}: {error}")) }
    }
}

/// A body and what is known besides; or why the line is no such body.
type Taken = Result<(Body, Known), String>;

#[cfg(test)]
mod tests;
