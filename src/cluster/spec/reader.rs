//! The readers as people write them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Placement,
    faults::Faults,
    journal::JournalReaderSpec,
    listener::{HttpPushReaderSpec, StdinReaderSpec, SyslogReaderSpec},
};

/// What reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ReaderSpec {
    /// Follows files of the node itself.
    File(FileReaderSpec),
    /// Follows growing remote files over HTTP by Range.
    Http(HttpReaderSpec),
    /// Follows the journals of other hosts, which systemd-journal-gatewayd shows over HTTP.
    Journal(JournalReaderSpec),
    /// Takes syslog messages (RFC 5424, RFC 3164) over UDP, TCP and TLS, and keeps them on this node's disk until they are sent.
    Syslog(SyslogReaderSpec),
    /// Takes lines that are posted over HTTP, and keeps them on this node's disk until they are sent.
    HttpPush(HttpPushReaderSpec),
    /// Reads the agent's standard input, and keeps it on this node's disk until it is sent.
    Stdin(StdinReaderSpec),
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

/// How a file's bytes stand for text. Records are UTF-8; positions count the file's own bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Encoding {
    /// Bytes are kept as they are, those that are no UTF-8 too.
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    #[serde(rename = "utf-16le")]
    Utf16Le,
    #[serde(rename = "utf-16be")]
    Utf16Be,
    /// ISO 8859-1.
    #[serde(rename = "latin1")]
    Latin1,
}

/// `[reader.multiline]`: which lines of a file are one record. Exactly one of `start`, `continue` and `end` is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MultilineSpec {
    /// A line that matches begins a record (`^\\d{4}-`). A regular expression of the regex crate's syntax, as the other two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// A line that matches goes on with the record before it (`^\\s`).
    #[serde(default, rename = "continue", skip_serializing_if = "Option::is_none")]
    pub continues: Option<String>,
    /// A line that matches ends its record (`;$`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// How long a record waits for its next line, in milliseconds (10 to 600,000).
    #[serde(default = "multiline_timeout_ms")]
    #[cfg_attr(feature = "schema", schema(default = multiline_timeout_ms, minimum = 10, maximum = 600_000))]
    pub timeout_ms: u64,
    /// Lines of one record at most (2 to 100,000); what goes beyond is a record of its own.
    #[serde(default = "lines_max")]
    #[cfg_attr(feature = "schema", schema(default = lines_max, minimum = 2, maximum = 100_000))]
    pub lines_max: usize,
    /// Bytes of one record at most (256 to 16 MiB); what goes beyond is a record of its own.
    #[serde(default = "line_bytes_max")]
    #[cfg_attr(feature = "schema", schema(default = line_bytes_max, minimum = 256, maximum = 16_777_216))]
    pub bytes_max: usize,
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
    #[cfg_attr(feature = "schema", schema(default = poll_ms, minimum = 50, maximum = 60_000))]
    pub poll_ms: u64,
    /// Longest line, in bytes (256 to 16 MiB); what is longer is cut, marked and counted.
    #[serde(default = "line_bytes_max")]
    #[cfg_attr(feature = "schema", schema(default = line_bytes_max, minimum = 256, maximum = 16_777_216))]
    pub line_bytes_max: usize,
    /// How the bytes stand for text: `utf-8` (kept as they are), `utf-16le`, `utf-16be` or `latin1`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub encoding: Encoding,
    /// Which lines are one record; without it each line is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiline: Option<MultilineSpec>,
    /// Bytes of deleted files that are kept from the disk until they have been read (1 MiB to 1 PiB). Beyond it the oldest are given up, told and counted.
    #[serde(default = "deleted_bytes_max", skip_serializing_if = "is_deleted_bytes_max")]
    #[cfg_attr(feature = "schema", schema(default = deleted_bytes_max, minimum = 1_048_576, maximum = 1_125_899_906_842_624_i64))]
    pub deleted_bytes_max: u64,
    /// How long a deleted file is kept from the disk until it has been read, in seconds (1 to 2,592,000).
    #[serde(default = "deleted_age_max_s", skip_serializing_if = "is_deleted_age_max_s")]
    #[cfg_attr(feature = "schema", schema(default = deleted_age_max_s, minimum = 1, maximum = 2_592_000))]
    pub deleted_age_max_s: u64,
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
    #[cfg_attr(feature = "schema", schema(default = poll_ms, minimum = 50, maximum = 600_000))]
    pub poll_ms: u64,
    /// Longest line, in bytes (256 to 16 MiB); what is longer is cut, marked and counted.
    #[serde(default = "line_bytes_max")]
    #[cfg_attr(feature = "schema", schema(default = line_bytes_max, minimum = 256, maximum = 16_777_216))]
    pub line_bytes_max: usize,
    /// Headers sent with each request; a value may be a secret (`secret://env/NAME`, `secret://file/PATH`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// How the bytes stand for text: `utf-8` (kept as they are), `utf-16le`, `utf-16be` or `latin1`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub encoding: Encoding,
    /// Which lines are one record; without it each line is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiline: Option<MultilineSpec>,
}

pub(super) fn poll_ms() -> u64 {
    500
}

pub(super) fn line_bytes_max() -> usize {
    1 << 20
}

fn multiline_timeout_ms() -> u64 {
    1_000
}

fn deleted_bytes_max() -> u64 {
    8 << 30
}

fn is_deleted_bytes_max(bytes: &u64) -> bool {
    *bytes == deleted_bytes_max()
}

fn deleted_age_max_s() -> u64 {
    86_400
}

fn is_deleted_age_max_s(seconds: &u64) -> bool {
    *seconds == deleted_age_max_s()
}

fn lines_max() -> usize {
    1_000
}

fn is_default(encoding: &Encoding) -> bool {
    *encoding == Encoding::default()
}

impl ReaderSpec {
    /// Whether its sources are reached from any node, so that each is read by one of them.
    pub fn is_movable(&self) -> bool {
        match self {
            Self::File(_) | Self::Syslog(_) | Self::HttpPush(_) | Self::Stdin(_) => false,
            Self::Http(_) | Self::Journal(_) => true,
        }
    }

    /// What its `type` says.
    pub fn word(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Http(_) => "http",
            Self::Journal(_) => "journal",
            Self::Syslog(_) => "syslog",
            Self::HttpPush(_) => "http_push",
            Self::Stdin(_) => "stdin",
        }
    }

    /// What its disk queue may take, in bytes. None: it can wait, so that it has none.
    pub fn queue_bytes_max(&self) -> Option<u64> {
        match self {
            Self::File(_) | Self::Http(_) | Self::Journal(_) => None,
            Self::Syslog(SyslogReaderSpec { queue_bytes_max, .. })
            | Self::HttpPush(HttpPushReaderSpec { queue_bytes_max, .. })
            | Self::Stdin(StdinReaderSpec { queue_bytes_max, .. }) => Some(*queue_bytes_max),
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
            Self::Journal(journal) => journal.check(faults),
            Self::Syslog(syslog) => syslog.check(faults),
            Self::HttpPush(push) => push.check(faults),
            Self::Stdin(stdin) => stdin.check(faults),
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
        faults.range("/reader/deleted_bytes_max", self.deleted_bytes_max, 1 << 20, 1 << 50);
        faults.range("/reader/deleted_age_max_s", self.deleted_age_max_s, 1, 2_592_000);
        faults.range("/reader/line_bytes_max", self.line_bytes_max as u64, 256, 16 << 20);
        self.multiline.iter().for_each(|multiline| multiline.check(faults));
    }
}

impl HttpReaderSpec {
    fn check(&self, faults: &mut Faults) {
        faults.headers("/reader/headers", &self.headers);
        faults.range("/reader/poll_ms", self.poll_ms, 50, 600_000);
        faults.range("/reader/line_bytes_max", self.line_bytes_max as u64, 256, 16 << 20);
        self.multiline.iter().for_each(|multiline| multiline.check(faults));
    }
}

impl MultilineSpec {
    fn check(&self, faults: &mut Faults) {
        let given = [&self.start, &self.continues, &self.end].into_iter().flatten().count();
        if given != 1 {
            let detail = "give exactly one of `start`, `continue` and `end`: start = '^\\d{4}-' where each record begins with a date";
            faults.add("/reader/multiline", detail);
        }
        faults.range("/reader/multiline/timeout_ms", self.timeout_ms, 10, 600_000);
        faults.range("/reader/multiline/lines_max", self.lines_max as u64, 2, 100_000);
        faults.range("/reader/multiline/bytes_max", self.bytes_max as u64, 256, 16 << 20);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::SourceSpec, *};

    fn faults(reader: serde_json::Value) -> Vec<String> {
        let reader: ReaderSpec = serde_json::from_value(reader).unwrap();
        let mut faults = Faults::default();
        reader.check(&mut faults);
        faults.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_wrong_with_multiline_and_the_bounds_is_told_with_what_to_write() {
        let file = |more: serde_json::Value| {
            let mut reader = serde_json::json!({ "type": "file", "paths": ["/var/log/a.log"] });
            reader.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            faults(reader)
        };
        assert!(file(serde_json::json!({ "encoding": "utf-16le", "multiline": { "continue": r"^\s" } })).is_empty());
        for given in [serde_json::json!({}), serde_json::json!({ "start": "a", "end": "b" })] {
            let told = file(serde_json::json!({ "multiline": given }));
            assert!(told.len() == 1 && told[0].starts_with("/reader/multiline: give exactly one of `start`, `continue` and `end`"), "{told:?}");
        }
        let told = file(serde_json::json!({ "multiline": { "end": ";$", "timeout_ms": 1, "lines_max": 1, "bytes_max": 1 } }));
        assert_eq!(told.len(), 3, "{told:?}");
        assert_eq!(told[0], "/reader/multiline/timeout_ms: 1 is not from 10 to 600000");
        assert_eq!(file(serde_json::json!({ "deleted_bytes_max": 1, "deleted_age_max_s": 0 })).len(), 2);
    }

    #[test]
    fn what_a_reader_leaves_out_is_not_written() {
        let written = serde_json::json!({ "type": "file", "paths": ["/a"], "start_at": "beginning", "poll_ms": 500, "line_bytes_max": 1 << 20 });
        let reader: ReaderSpec = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&reader).unwrap(), written);
    }

    #[test]
    fn rotated_urls_are_urls_and_each_is_there_once() {
        let source = |rotated: &[&str]| -> Vec<String> {
            let source: SourceSpec = serde_json::from_value(serde_json::json!({ "id": "a", "url": "http://a/x.log", "rotated": rotated })).unwrap();
            source.faults().iter().map(ToString::to_string).collect()
        };
        assert!(source(&["http://a/x.log.1", "http://a/x.log.2"]).is_empty());
        assert!(source(&["x.log.1"])[0].starts_with("/rotated/0: must begin with http://"));
        assert!(source(&["http://a/x.log.1", "http://a/x.log.1"])[0].starts_with("/rotated/1: is there twice"));
        assert!(source(&["http://a/x.log"])[0].starts_with("/rotated/0: is there twice"));
    }
}
