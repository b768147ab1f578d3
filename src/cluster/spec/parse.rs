//! The parse stages as people write them.

use serde::{Deserialize, Serialize};

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
    /// Named groups of a regular expression.
    Regex(RegexParseSpec),
}

/// `type = "json"`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct JsonParseSpec {
    /// The field that holds the record's time (RFC 3339, or seconds or milliseconds since 1970).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
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
    /// That time's layout (strftime); RFC 3339 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_layout: Option<String>,
}
