//! Senders that speak a protocol of their own over HTTP.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    super::{faults::Faults, when::WhenSpec},
    Compression,
    index::IndexPattern,
    timeout_ms,
};
use crate::name::Name;

/// `type = "elasticsearch"`: the bulk API, which OpenSearch, Quickwit and VictoriaLogs have as well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ElasticsearchSenderSpec {
    /// Unique in the runner; its checkpoint is kept under this name.
    pub name: Name,
    /// Which records go there; absent: every record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Box<WhenSpec>>,
    /// Where the API is; `/_bulk` is added to its path, and a query is kept. Quickwit: `http://HOST:7280/api/v1/_elastic`. VictoriaLogs:
    /// `http://HOST:9428/insert/elasticsearch?_time_field=@timestamp&_msg_field=message`.
    pub url: String,
    /// An index, an alias or a data stream; `{runner}`, `{node}` and one date of the record in UTC can be in it, such as `logs-{+%Y.%m.%d}` (`%Y` year,
    /// `%m` month, `%d` day, `%H` hour, `%G` and `%V` ISO year and week).
    pub index: String,
    /// Headers sent with each request; a value may be a secret (`secret://env/NAME`, `secret://file/PATH`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// How a request's body is compressed.
    #[serde(default = "Compression::gzip")]
    pub compression: Compression,
    /// Longest wait for an answer, in milliseconds (100 to 600,000).
    #[serde(default = "timeout_ms")]
    #[cfg_attr(feature = "schema", schema(default = timeout_ms, minimum = 100, maximum = 600_000))]
    pub timeout_ms: u64,
}

/// `type = "loki"`: Grafana Loki's push API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LokiSenderSpec {
    /// Unique in the runner; its checkpoint is kept under this name.
    pub name: Name,
    /// Which records go there; absent: every record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Box<WhenSpec>>,
    /// Where Loki is, such as `http://HOST:3100`; `/loki/api/v1/push` is added to its path.
    pub url: String,
    /// Labels of the streams, at most 15. A value is a text, or one of `{runner}`, `{node}`, `{source}` and a field of the record's body, such as
    /// `{body.level}`: each combination of values is a stream, so take fields that have few. A field that is not there leaves its label out.
    #[serde(default = "labels")]
    pub labels: BTreeMap<String, String>,
    /// Whether the record's id, offset and error are sent as structured metadata (Loki 3; before that it is refused unless allowed there).
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    #[cfg_attr(feature = "schema", schema(default = yes))]
    pub structured_metadata: bool,
    /// Headers sent with each request, such as `X-Scope-OrgID`; a value may be a secret (`secret://env/NAME`, `secret://file/PATH`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// How a request's body is compressed.
    #[serde(default = "Compression::gzip")]
    pub compression: Compression,
    /// Longest wait for an answer, in milliseconds (100 to 600,000).
    #[serde(default = "timeout_ms")]
    #[cfg_attr(feature = "schema", schema(default = timeout_ms, minimum = 100, maximum = 600_000))]
    pub timeout_ms: u64,
}

/// `type = "otlp"`: OpenTelemetry's protocol, protobuf over HTTP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct OtlpSenderSpec {
    /// Unique in the runner; its checkpoint is kept under this name.
    pub name: Name,
    /// Which records go there; absent: every record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Box<WhenSpec>>,
    /// Where the collector is, such as `http://HOST:4318`; `/v1/logs` is added to its path.
    pub url: String,
    /// Headers sent with each request; a value may be a secret (`secret://env/NAME`, `secret://file/PATH`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// How a request's body is compressed.
    #[serde(default = "Compression::gzip")]
    pub compression: Compression,
    /// Longest wait for an answer, in milliseconds (100 to 600,000).
    #[serde(default = "timeout_ms")]
    #[cfg_attr(feature = "schema", schema(default = timeout_ms, minimum = 100, maximum = 600_000))]
    pub timeout_ms: u64,
}

/// Loki's own limit (`max_label_names_per_series`).
const LABELS_MAX: usize = 15;
/// A label's value where it is a text.
const LABEL_CHARS_MAX: usize = 256;

fn labels() -> BTreeMap<String, String> {
    ["runner", "node", "source"].map(|name| (name.to_owned(), format!("{{{name}}}"))).into()
}

fn yes() -> bool {
    true
}

fn is_true(value: &bool) -> bool {
    *value
}

/// None of these protocols knows zstd for sure.
fn check_compression(pointer: &str, compression: Compression, faults: &mut Faults) {
    if compression == Compression::Zstd {
        faults.add(format!("{pointer}/compression"), "this sink need not understand zstd: write \"gzip\" or \"none\"");
    }
}

impl ElasticsearchSenderSpec {
    pub(super) fn check(&self, pointer: &str, faults: &mut Faults) {
        faults.url(format!("{pointer}/url"), &self.url);
        if let Err(error) = self.index.parse::<IndexPattern>() {
            faults.add(format!("{pointer}/index"), error.to_string());
        }
        faults.headers(&format!("{pointer}/headers"), &self.headers);
        check_compression(pointer, self.compression, faults);
        faults.range(format!("{pointer}/timeout_ms"), self.timeout_ms, 100, 600_000);
    }
}

impl LokiSenderSpec {
    pub(super) fn check(&self, pointer: &str, faults: &mut Faults) {
        faults.url(format!("{pointer}/url"), &self.url);
        faults.headers(&format!("{pointer}/headers"), &self.headers);
        check_compression(pointer, self.compression, faults);
        faults.range(format!("{pointer}/timeout_ms"), self.timeout_ms, 100, 600_000);
        if self.labels.is_empty() || self.labels.len() > LABELS_MAX {
            let detail =
                format!("has {} labels; Loki takes 1 to {LABELS_MAX}, such as {{\"job\": \"nginx\", \"node\": \"{{node}}\"}}", self.labels.len());
            faults.add(format!("{pointer}/labels"), detail);
        }
        for (name, value) in &self.labels {
            let at = format!("{pointer}/labels/{}", name.replace('~', "~0").replace('/', "~1"));
            if !is_label(name) {
                faults.add(&at, format!("`{name}` is no label: letters, digits and `_`, beginning with no digit, such as `job`"));
            }
            if let Err(detail) = LabelValue::of(value) {
                faults.add(&at, detail);
            }
        }
    }
}

impl OtlpSenderSpec {
    pub(super) fn check(&self, pointer: &str, faults: &mut Faults) {
        faults.url(format!("{pointer}/url"), &self.url);
        faults.headers(&format!("{pointer}/headers"), &self.headers);
        check_compression(pointer, self.compression, faults);
        faults.range(format!("{pointer}/timeout_ms"), self.timeout_ms, 100, 600_000);
    }
}

/// Prometheus' data model: `[a-zA-Z_][a-zA-Z0-9_]*`.
fn is_label(name: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(part) && name.chars().next().is_some_and(|first| !first.is_ascii_digit())
}

/// What a label's value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelValue {
    Text(String),
    Runner,
    Node,
    Source,
    /// A field of the record's body, by its keys.
    Field(Vec<String>),
}

impl LabelValue {
    /// Errors: what is allowed, for people.
    pub fn of(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is none of a text, {{runner}}, {{node}}, {{source}} and a field such as {{body.level}}");
        let Some(inner) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) else {
            let plain = !text.is_empty() && text.chars().count() <= LABEL_CHARS_MAX && !text.contains(['{', '}']);
            return if plain { Ok(Self::Text(text.to_owned())) } else { Err(wrong()) };
        };
        match inner {
            "runner" => Ok(Self::Runner),
            "node" => Ok(Self::Node),
            "source" => Ok(Self::Source),
            _ => {
                let keys: Vec<String> = inner.strip_prefix("body.").ok_or_else(wrong)?.split('.').map(str::to_owned).collect();
                if keys.iter().any(String::is_empty) { Err(wrong()) } else { Ok(Self::Field(keys)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::spec::SenderSpec;

    fn faults(sender: serde_json::Value) -> Vec<String> {
        let sender: SenderSpec = serde_json::from_value(sender).unwrap();
        let mut faults = crate::spec::faults::Faults::default();
        sender.check("/senders/0", &mut faults);
        faults.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_good_has_no_faults() {
        for good in [
            json!({"type": "elasticsearch", "name": "es", "url": "http://es:9200", "index": "logs-{+%Y.%m.%d}"}),
            json!({"type": "loki", "name": "loki", "url": "http://loki:3100"}),
            json!({"type": "loki", "name": "loki", "url": "http://loki:3100", "labels": {"job": "nginx", "level": "{body.http.level}"}}),
            json!({"type": "otlp", "name": "otel", "url": "https://otel:4318", "compression": "none"}),
        ] {
            assert_eq!(faults(good.clone()), [""; 0], "{good}");
        }
    }

    #[test]
    fn each_wrong_field_is_named_with_what_is_allowed() {
        let elastic = faults(json!({"type": "elasticsearch", "name": "es", "url": "es:9200", "index": "Logs", "timeout_ms": 1}));
        assert_eq!(elastic.len(), 3, "{elastic:?}");
        assert!(elastic[1].starts_with("/senders/0/index: ") && elastic[1].contains("logs-{+%Y.%m.%d}"), "{elastic:?}");
        let loki = faults(json!({"type": "loki", "name": "l", "url": "http://l", "labels": {"1": "x", "a": "{level}", "b": ""}}));
        assert!(loki[0].starts_with("/senders/0/labels/1: ") && loki[1].contains("{body.level}"), "{loki:?}");
        assert_eq!(loki.len(), 3);
        let none = faults(json!({"type": "loki", "name": "l", "url": "http://l", "labels": {}}));
        assert!(none[0].contains("1 to 15"), "{none:?}");
        let zstd = faults(json!({"type": "otlp", "name": "o", "url": "http://o", "compression": "zstd"}));
        assert!(zstd[0].starts_with("/senders/0/compression: ") && zstd[0].contains("gzip"), "{zstd:?}");
    }
}
