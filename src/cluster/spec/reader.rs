//! The readers as people write them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Placement, faults::Faults};

/// What reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ReaderSpec {
    /// Follows files of the node itself.
    File(FileReaderSpec),
    /// Follows growing remote files over HTTP by Range.
    Http(HttpReaderSpec),
}

/// Where to begin with what was never read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum StartAt {
    #[default]
    Beginning,
    End,
}

/// `type = "file"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct FileReaderSpec {
    /// Absolute paths or globs.
    pub paths: Vec<String>,
    /// Globs of what `paths` matches but shall not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Where to begin with files that were there before the runner.
    #[serde(default)]
    pub start_at: StartAt,
    /// How often files are looked at, in milliseconds (50 to 60,000).
    #[serde(default = "poll_ms")]
    pub poll_ms: u64,
    /// Longest line, in bytes (256 to 16 MiB); what is longer is cut, marked and counted.
    #[serde(default = "line_bytes_max")]
    pub line_bytes_max: usize,
}

/// `type = "http"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HttpReaderSpec {
    /// Where to begin with a source that was never read.
    #[serde(default)]
    pub start_at: StartAt,
    /// How often a source that has been read to its end is asked again, in milliseconds (50 to 600,000).
    #[serde(default = "poll_ms")]
    pub poll_ms: u64,
    /// Longest line, in bytes (256 to 16 MiB); what is longer is cut, marked and counted.
    #[serde(default = "line_bytes_max")]
    pub line_bytes_max: usize,
    /// Headers sent with each request; a value may be a secret (`secret://env/NAME`, `secret://file/PATH`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

fn poll_ms() -> u64 {
    500
}

fn line_bytes_max() -> usize {
    1 << 20
}

impl ReaderSpec {
    /// Whether its sources are reached from any node, so that each is read by one of them.
    pub fn is_movable(&self) -> bool {
        match self {
            Self::File(_) => false,
            Self::Http(_) => true,
        }
    }

    /// What its `type` says.
    pub fn word(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Http(_) => "http",
        }
    }

    /// Whether it can run so placed, and with sources of its own.
    pub(super) fn check_place(&self, placement: &Placement, has_sources: bool, faults: &mut Faults) {
        match (placement, self.is_movable()) {
            (Placement::Spread(_), false) => {
                faults.add("/placement", format!("a `{}` reader reads what its own node has, which cannot move: use `every`", self.word()));
            }
            (Placement::Every(_), true) => {
                let detail = format!("the sources of `{}` are movable: use `spread`, or every node reads each of them", self.word());
                faults.add("/placement", detail);
            }
            _ => {}
        }
        if !self.is_movable() && has_sources {
            faults.add("/sources", format!("only a reader of remote sources has them, such as `http`; `{}` has none", self.word()));
        }
    }

    pub(super) fn check(&self, faults: &mut Faults) {
        match self {
            Self::File(file) => file.check(faults),
            Self::Http(http) => http.check(faults),
        }
    }
}

impl FileReaderSpec {
    fn check(&self, faults: &mut Faults) {
        if self.paths.is_empty() {
            faults.add("/reader/paths", "name at least one path or glob");
        }
        for (at, path) in self.paths.iter().enumerate() {
            if !path.starts_with('/') {
                faults.add(format!("/reader/paths/{at}"), "must be an absolute path or glob");
            }
        }
        faults.range("/reader/poll_ms", self.poll_ms, 50, 60_000);
        faults.range("/reader/line_bytes_max", self.line_bytes_max as u64, 256, 16 << 20);
    }
}

impl HttpReaderSpec {
    fn check(&self, faults: &mut Faults) {
        faults.headers("/reader/headers", &self.headers);
        faults.range("/reader/poll_ms", self.poll_ms, 50, 600_000);
        faults.range("/reader/line_bytes_max", self.line_bytes_max as u64, 256, 16 << 20);
    }
}
