//! The senders as people write them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::faults::Faults;
use crate::name::Name;

mod index;
mod push;

pub use self::{
    index::{IndexPattern, IndexPatternError, IndexPiece},
    push::{ElasticsearchSenderSpec, LabelValue, LokiSenderSpec, OtlpSenderSpec},
};

/// Where records go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SenderSpec {
    /// NDJSON, appended to a file of the node that sends.
    File(FileSenderSpec),
    /// NDJSON on the agent's standard output.
    Stdout(StdoutSenderSpec),
    /// NDJSON by POST.
    Http(HttpSenderSpec),
    /// Elasticsearch's bulk API: also OpenSearch, Quickwit, VictoriaLogs.
    Elasticsearch(ElasticsearchSenderSpec),
    /// Grafana Loki.
    Loki(LokiSenderSpec),
    /// OpenTelemetry, protobuf over HTTP.
    Otlp(OtlpSenderSpec),
}

/// How bytes are compressed on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
}

impl Compression {
    fn is_none(&self) -> bool {
        *self == Self::None
    }

    fn gzip() -> Self {
        Self::Gzip
    }
}

/// `type = "file"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct FileSenderSpec {
    /// Unique in the runner; its checkpoint is kept under this name.
    pub name: Name,
    /// An absolute path; `{node}` and `{runner}` stand for the names of the two.
    pub path: String,
}

/// `type = "stdout"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct StdoutSenderSpec {
    /// Unique in the runner; its checkpoint is kept under this name.
    pub name: Name,
}

/// `type = "http"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HttpSenderSpec {
    /// Unique in the runner; its checkpoint is kept under this name.
    pub name: Name,
    /// Where to POST.
    pub url: String,
    /// Headers sent with each request; a value may be a secret (`secret://env/NAME`, `secret://file/PATH`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// How a request's body is compressed.
    #[serde(default, skip_serializing_if = "Compression::is_none")]
    pub compression: Compression,
    /// Longest wait for an answer, in milliseconds (100 to 600,000).
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
}

fn timeout_ms() -> u64 {
    30_000
}

impl SenderSpec {
    /// Its name, unique in the runner.
    pub fn name(&self) -> &Name {
        match self {
            Self::File(FileSenderSpec { name, .. })
            | Self::Stdout(StdoutSenderSpec { name })
            | Self::Http(HttpSenderSpec { name, .. })
            | Self::Elasticsearch(ElasticsearchSenderSpec { name, .. })
            | Self::Loki(LokiSenderSpec { name, .. })
            | Self::Otlp(OtlpSenderSpec { name, .. }) => name,
        }
    }

    /// All faults of the one at `pointer`.
    pub(super) fn check(&self, pointer: &str, faults: &mut Faults) {
        match self {
            Self::File(file) => file.check(pointer, faults),
            Self::Stdout(_) => {}
            Self::Http(http) => http.check(pointer, faults),
            Self::Elasticsearch(elasticsearch) => elasticsearch.check(pointer, faults),
            Self::Loki(loki) => loki.check(pointer, faults),
            Self::Otlp(otlp) => otlp.check(pointer, faults),
        }
    }
}

impl FileSenderSpec {
    fn check(&self, pointer: &str, faults: &mut Faults) {
        if !self.path.starts_with('/') {
            faults.add(format!("{pointer}/path"), "must be an absolute path");
        }
    }
}

impl HttpSenderSpec {
    fn check(&self, pointer: &str, faults: &mut Faults) {
        faults.url(format!("{pointer}/url"), &self.url);
        faults.headers(&format!("{pointer}/headers"), &self.headers);
        faults.range(format!("{pointer}/timeout_ms"), self.timeout_ms, 100, 600_000);
    }
}
