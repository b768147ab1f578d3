//! The senders as people write them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{faults::Faults, when::WhenSpec};
use crate::name::Name;

mod index;
mod kafka;
mod nats;
mod push;
mod s3;

pub use self::{
    index::{IndexPattern, IndexPatternError, IndexPiece},
    kafka::{KafkaCompression, KafkaSenderSpec},
    nats::NatsSenderSpec,
    push::{ElasticsearchSenderSpec, LabelValue, LokiSenderSpec, OtlpSenderSpec},
    s3::S3SenderSpec,
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
    /// Apache Kafka. Needs a build with the feature `kafka`.
    Kafka(KafkaSenderSpec),
    /// NATS JetStream. Needs a build with the feature `nats`.
    Nats(NatsSenderSpec),
    /// Objects in a bucket. Needs a build with the feature `s3`.
    S3(S3SenderSpec),
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
    /// RFC 8878.
    Zstd,
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
    /// Which records go there; absent: every record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Box<WhenSpec>>,
    /// An absolute path; `{node}` and `{runner}` stand for the names of the two.
    pub path: String,
    /// When the file is put aside under a name with the time, such as `out.ndjson.20261122T150000Z`, and begun anew. Absent: never, or by a program
    /// such as logrotate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate: Option<RotateSpec>,
    /// When records count as written.
    #[serde(default, skip_serializing_if = "Fsync::is_default")]
    pub fsync: Fsync,
    /// How a record is written.
    #[serde(default, skip_serializing_if = "FileFormat::is_default")]
    pub format: FileFormat,
}

/// When a file is rotated, and what becomes of what was put aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RotateSpec {
    /// Before it would be longer, in bytes (65,536 to 1,099,511,627,776). A write of many records at once may be longer by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(minimum = 65_536, maximum = 1_099_511_627_776_i64))]
    pub bytes: Option<u64>,
    /// With the first record of each such span, in seconds (60 to 31,536,000); spans count from 1970 in UTC, so 86400 is each midnight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(minimum = 60, maximum = 31_536_000))]
    pub every_s: Option<u64>,
    /// How many rotated files are kept (1 to 10,000); older ones are deleted.
    #[serde(default = "keep")]
    #[cfg_attr(feature = "schema", schema(default = keep, minimum = 1, maximum = 10_000))]
    pub keep: u32,
    /// How rotated files are compressed.
    #[serde(default, skip_serializing_if = "Compression::is_none")]
    pub compression: Compression,
}

fn keep() -> u32 {
    7
}

/// When what was written to a file is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Fsync {
    /// Once the disk has it: nothing is lost in a power cut.
    #[default]
    Always,
    /// Once the system has it: faster, and what the system had not written is lost in a power cut.
    Never,
}

impl Fsync {
    fn is_default(&self) -> bool {
        *self == Self::Always
    }
}

/// How a file's records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FileFormat {
    /// A line of JSON with the record's id, time, origin and body.
    #[default]
    Ndjson,
    /// The body alone: a line as it was read, fields as JSON. Nothing says then where it came from.
    Raw,
}

impl FileFormat {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// `type = "stdout"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct StdoutSenderSpec {
    /// Unique in the runner; its checkpoint is kept under this name.
    pub name: Name,
    /// Which records go there; absent: every record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Box<WhenSpec>>,
}

/// `type = "http"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HttpSenderSpec {
    /// Unique in the runner; its checkpoint is kept under this name.
    pub name: Name,
    /// Which records go there; absent: every record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Box<WhenSpec>>,
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
    #[cfg_attr(feature = "schema", schema(default = timeout_ms, minimum = 100, maximum = 600_000))]
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
            | Self::Stdout(StdoutSenderSpec { name, .. })
            | Self::Http(HttpSenderSpec { name, .. })
            | Self::Elasticsearch(ElasticsearchSenderSpec { name, .. })
            | Self::Loki(LokiSenderSpec { name, .. })
            | Self::Otlp(OtlpSenderSpec { name, .. })
            | Self::Kafka(KafkaSenderSpec { name, .. })
            | Self::Nats(NatsSenderSpec { name, .. })
            | Self::S3(S3SenderSpec { name, .. }) => name,
        }
    }

    /// Which records it takes; None: all.
    pub fn when(&self) -> Option<&WhenSpec> {
        match self {
            Self::File(FileSenderSpec { when, .. })
            | Self::Stdout(StdoutSenderSpec { when, .. })
            | Self::Http(HttpSenderSpec { when, .. })
            | Self::Elasticsearch(ElasticsearchSenderSpec { when, .. })
            | Self::Loki(LokiSenderSpec { when, .. })
            | Self::Otlp(OtlpSenderSpec { when, .. })
            | Self::Kafka(KafkaSenderSpec { when, .. })
            | Self::Nats(NatsSenderSpec { when, .. })
            | Self::S3(S3SenderSpec { when, .. }) => when.as_deref(),
        }
    }

    /// All faults of the one at `pointer`.
    pub(super) fn check(&self, pointer: &str, faults: &mut Faults) {
        if let Some(when) = self.when() {
            when.check(&format!("{pointer}/when"), faults);
        }
        match self {
            Self::File(file) => file.check(pointer, faults),
            Self::Stdout(_) => {}
            Self::Http(http) => http.check(pointer, faults),
            Self::Elasticsearch(elasticsearch) => elasticsearch.check(pointer, faults),
            Self::Loki(loki) => loki.check(pointer, faults),
            Self::Otlp(otlp) => otlp.check(pointer, faults),
            Self::Kafka(kafka) => kafka.check(pointer, faults),
            Self::Nats(nats) => nats.check(pointer, faults),
            Self::S3(s3) => s3.check(pointer, faults),
        }
    }
}

impl FileSenderSpec {
    fn check(&self, pointer: &str, faults: &mut Faults) {
        if !self.path.starts_with('/') {
            faults.add(format!("{pointer}/path"), "must be an absolute path");
        }
        if let Some(rotate) = &self.rotate {
            rotate.check(&format!("{pointer}/rotate"), faults);
        }
    }
}

impl RotateSpec {
    fn check(&self, pointer: &str, faults: &mut Faults) {
        if self.bytes.is_none() && self.every_s.is_none() {
            faults.add(pointer, "needs `bytes` or `every_s`, such as {\"bytes\": 104857600, \"keep\": 7, \"compression\": \"gzip\"}");
        }
        if let Some(bytes) = self.bytes {
            faults.range(format!("{pointer}/bytes"), bytes, 64 << 10, 1 << 40);
        }
        if let Some(every_s) = self.every_s {
            faults.range(format!("{pointer}/every_s"), every_s, 60, 31_536_000);
        }
        faults.range(format!("{pointer}/keep"), self.keep.into(), 1, 10_000);
    }
}

impl HttpSenderSpec {
    fn check(&self, pointer: &str, faults: &mut Faults) {
        faults.url(format!("{pointer}/url"), &self.url);
        faults.headers(&format!("{pointer}/headers"), &self.headers);
        faults.range(format!("{pointer}/timeout_ms"), self.timeout_ms, 100, 600_000);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rotation_says_when_and_within_its_bounds() {
        let faults = |rotate: serde_json::Value| {
            let spec: SenderSpec = serde_json::from_value(json!({"type": "file", "name": "f", "path": "/f", "rotate": rotate})).unwrap();
            let mut faults = Faults::default();
            spec.check("/senders/0", &mut faults);
            faults.0.into_iter().map(|fault| fault.pointer).collect::<Vec<_>>()
        };
        assert_eq!(faults(json!({"bytes": 65_536, "every_s": 86_400, "compression": "gzip"})), [""; 0]);
        assert_eq!(faults(json!({})), ["/senders/0/rotate"]);
        assert_eq!(
            faults(json!({"bytes": 1, "every_s": 1, "keep": 0})),
            ["bytes", "every_s", "keep"].map(|field| format!("/senders/0/rotate/{field}"))
        );
    }
}
