//! The parse stages as people write them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::faults::Faults;

/// How a line is taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ParseSpec {
    /// Not at all: the line is the record's body.
    #[default]
    Raw,
    /// One JSON object a line.
    Json(JsonParseSpec),
    /// nginx's access log.
    Nginx(NginxParseSpec),
    /// Apache's access log.
    Apache(ApacheParseSpec),
    /// `key=value` pairs.
    Logfmt(LogfmtParseSpec),
    /// Values with a comma, or another character, between them.
    Csv(CsvParseSpec),
    /// Syslog messages, of RFC 5424 and RFC 3164.
    Syslog(SyslogParseSpec),
    /// Named groups of a regular expression.
    Regex(RegexParseSpec),
    /// Patterns with names, as Logstash has them.
    Grok(GrokParseSpec),
}

/// `type = "json"`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct JsonParseSpec {
    /// The field that holds the record's time (RFC 3339, or seconds or milliseconds since 1970).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The field that holds the record's level (`info`, `WARN`, `error`…).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
}

/// `type = "nginx"`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct NginxParseSpec {
    /// `combined` (nginx's default) or `common`, or the text of a `log_format` of `$variables`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

/// `type = "apache"`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ApacheParseSpec {
    /// `combined` (without it), `common`, `vhost_combined`, or the text of a `LogFormat` of `%` directives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

/// `type = "logfmt"`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct LogfmtParseSpec {
    /// The key that holds the record's time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// That time's layout (strftime); RFC 3339 or a number since 1970 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_layout: Option<String>,
    /// The key that holds the record's level (`info`, `WARN`, `error`…).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
}

/// `type = "csv"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CsvParseSpec {
    /// The columns in their order (1 to 1,000): `name`, or `name:type` with the type `int`, `float` or `bool`. An empty name passes over its column.
    pub columns: Vec<String>,
    /// What stands between two values: one ASCII character, as `;` or a tab; a comma without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// The column that holds the record's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// That time's layout (strftime); RFC 3339 or a number since 1970 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_layout: Option<String>,
    /// The column that holds the record's level (`info`, `WARN`, `error`…).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
}

/// `type = "syslog"`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct SyslogParseSpec {
    /// Which of the two forms lines have; either, without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<SyslogFormat>,
}

/// A form of syslog messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SyslogFormat {
    /// RFC 5424, with structured data.
    Rfc5424,
    /// RFC 3164 and what has grown around it; times without a year are of the last twelve months.
    Rfc3164,
}

/// `type = "regex"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RegexParseSpec {
    /// The regular expression (the regex crate's syntax); each named group becomes a field.
    pub pattern: String,
    /// The group that holds the record's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// That time's layout (strftime); RFC 3339 or a number since 1970 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_layout: Option<String>,
    /// The group that holds the record's level (`info`, `WARN`, `error`…).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
}

/// `type = "grok"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct GrokParseSpec {
    /// Text with `%{NAME}`, `%{NAME:field}` or `%{NAME:field:type}` (type `int`, `float` or `bool`) in it; the rest is a regular expression without look-around.
    pub pattern: String,
    /// Patterns of your own, by name; they may use each other and the stock ones.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub patterns: BTreeMap<String, String>,
    /// The field that holds the record's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// That time's layout (strftime); RFC 3339 or a number since 1970 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_layout: Option<String>,
    /// The field that holds the record's level (`info`, `WARN`, `error`…).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
}

/// Columns that a line of CSV may have.
const COLUMNS_MAX: usize = 1000;

impl ParseSpec {
    /// All faults that can be seen without compiling it.
    pub(super) fn check(&self, faults: &mut Faults) {
        if let Self::Csv(csv) = self {
            csv.check(faults);
        }
    }
}

impl CsvParseSpec {
    fn check(&self, faults: &mut Faults) {
        if !(1..=COLUMNS_MAX).contains(&self.columns.len()) {
            let detail = format!("needs 1 to {COLUMNS_MAX} columns in the order of the line, for example [\"host\", \"status:int\", \"took:float\"]");
            faults.add("/parse/columns", detail);
        }
        let mut seen = BTreeSet::new();
        for (at, column) in self.columns.iter().enumerate() {
            let (name, kind) = column.split_once(':').unwrap_or((column, "text"));
            if !name.is_empty() && !seen.insert(name) {
                faults.add(format!("/parse/columns/{at}"), format!("`{name}` is there twice"));
            }
            if !["text", "int", "float", "bool"].contains(&kind) {
                faults.add(format!("/parse/columns/{at}"), format!("`{kind}` is not a type: write int, float or bool, as in `status:int`"));
            }
        }
        if self.delimiter.is_some_and(|delimiter| !delimiter.is_ascii() || matches!(delimiter, '"' | '\r' | '\n' | '\0')) {
            faults.add("/parse/delimiter", "must be one ASCII character, and no quote or line end: for example \";\" or \"\\t\"");
        }
        for (field, column) in [("time", &self.time), ("severity", &self.severity)] {
            if let Some(column) = column.as_ref().filter(|column| !seen.contains(column.as_str())) {
                faults.add(format!("/parse/{field}"), format!("`{column}` is no column of this stage: write the name of one of `columns`"));
            }
        }
    }
}
