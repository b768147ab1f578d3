//! A runner as people write it (DESIGN §4, §7): the tree of its TOML, YAML or JSON.
//!
//! Only shapes and the faults that can be seen without IO. Not here: what a component does (`logvine::runner`).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::name::Name;

/// A named pipeline: reader → parse → transform → senders, with its placement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RunnerSpec {
    /// The runner's name; the API's path may give it instead.
    pub name: Name,
    /// Where it runs.
    pub placement: Placement,
    /// What reads.
    pub reader: ReaderSpec,
    /// The movable sources that the spec itself names; more can be added by themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceSpec>,
    /// How a line is taken apart.
    #[serde(default)]
    pub parse: ParseSpec,
    /// What is changed in each record.
    #[serde(default, skip_serializing_if = "TransformSpec::is_empty")]
    pub transform: TransformSpec,
    /// Where records go; each sees every record.
    pub senders: Vec<SenderSpec>,
}

/// Where a runner runs. The text is a selection (DESIGN §4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// On every node of the selection.
    Every(String),
    /// Each source on one node of the selection.
    Spread(String),
}

impl Placement {
    /// The selection's text.
    pub fn selection(&self) -> &str {
        match self {
            Self::Every(selection) | Self::Spread(selection) => selection,
        }
    }

    /// The same on the nodes of another selection.
    #[must_use]
    pub(crate) fn with_selection(&self, selection: String) -> Self {
        match self {
            Self::Every(_) => Self::Every(selection),
            Self::Spread(_) => Self::Spread(selection),
        }
    }
}

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

/// One movable source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SourceSpec {
    /// Unique in the runner, and immutable: it is what nodes rank by.
    pub id: Name,
    /// Where it is (`http` reader).
    pub url: String,
    /// Narrows the placement's selection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<String>,
}

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

/// What is changed in each record.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct TransformSpec {
    /// A VRL program; `.` is the record's fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vrl: Option<String>,
}

impl TransformSpec {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.vrl.is_none()
    }
}

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
            Self::File(FileSenderSpec { name, .. }) | Self::Stdout(StdoutSenderSpec { name }) | Self::Http(HttpSenderSpec { name, .. }) => name,
        }
    }
}

/// A fault of a spec, with the place as a JSON pointer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {detail}")]
pub struct SpecFault {
    pub pointer: String,
    pub detail: String,
}

impl RunnerSpec {
    /// All faults that can be seen without IO; none means that it may be stored.
    pub fn faults(&self) -> Vec<SpecFault> {
        let mut faults = Faults::default();
        if let Err(error) = self.placement.selection().parse::<crate::selection::Selection>() {
            faults.add("/placement", error.to_string());
        }
        self.reader.check(&mut faults);
        self.check_sources(&mut faults);
        self.check_senders(&mut faults);
        faults.0
    }

    fn check_sources(&self, faults: &mut Faults) {
        let movable = matches!(self.reader, ReaderSpec::Http(_));
        match (&self.placement, movable) {
            (Placement::Spread(_), false) => {
                faults.add("/placement", "a `file` reader reads the node's own files, which cannot move: use `every`");
            }
            (Placement::Every(_), true) => {
                faults.add("/placement", "an `http` reader's sources are movable: use `spread`, or every node reads each of them");
            }
            _ => {}
        }
        if !movable && !self.sources.is_empty() {
            faults.add("/sources", "only an `http` reader has sources; a `file` reader has `paths`");
        }
        let mut seen = BTreeSet::new();
        for (at, source) in self.sources.iter().enumerate() {
            if !seen.insert(&source.id) {
                faults.add(format!("/sources/{at}/id"), format!("`{}` is there twice", source.id));
            }
            for fault in source.faults() {
                faults.add(format!("/sources/{at}{}", fault.pointer), fault.detail);
            }
        }
    }

    fn check_senders(&self, faults: &mut Faults) {
        if self.senders.is_empty() {
            faults.add("/senders", "a runner needs at least one sender");
        }
        let mut seen = BTreeSet::new();
        for (at, sender) in self.senders.iter().enumerate() {
            if !seen.insert(sender.name()) {
                faults.add(format!("/senders/{at}/name"), format!("`{}` is there twice", sender.name()));
            }
            match sender {
                SenderSpec::File(file) if !file.path.starts_with('/') => {
                    faults.add(format!("/senders/{at}/path"), "must be an absolute path");
                }
                SenderSpec::Http(http) => {
                    faults.url(format!("/senders/{at}/url"), &http.url);
                    faults.headers(&format!("/senders/{at}/headers"), &http.headers);
                    faults.range(format!("/senders/{at}/timeout_ms"), http.timeout_ms, 100, 600_000);
                }
                _ => {}
            }
        }
    }
}

impl ReaderSpec {
    fn check(&self, faults: &mut Faults) {
        let (poll_ms, poll_ms_max, line_bytes_max) = match self {
            Self::File(file) => {
                if file.paths.is_empty() {
                    faults.add("/reader/paths", "name at least one path or glob");
                }
                for (at, path) in file.paths.iter().enumerate() {
                    if !path.starts_with('/') {
                        faults.add(format!("/reader/paths/{at}"), "must be an absolute path or glob");
                    }
                }
                (file.poll_ms, 60_000, file.line_bytes_max)
            }
            Self::Http(http) => {
                faults.headers("/reader/headers", &http.headers);
                (http.poll_ms, 600_000, http.line_bytes_max)
            }
        };
        faults.range("/reader/poll_ms", poll_ms, 50, poll_ms_max);
        faults.range("/reader/line_bytes_max", line_bytes_max as u64, 256, 16 << 20);
    }
}

impl SourceSpec {
    /// All faults that can be seen without IO.
    pub fn faults(&self) -> Vec<SpecFault> {
        let mut faults = Faults::default();
        faults.url("/url", &self.url);
        if let Some(Err(error)) = self.selection.as_deref().map(str::parse::<crate::selection::Selection>) {
            faults.add("/selection", error.to_string());
        }
        faults.0
    }
}

fn is_http(url: &str) -> bool {
    url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")).is_some_and(|rest| !rest.is_empty())
}

/// Whether a URL has a user or a password before its host (RFC 3986 section 3.2.1).
fn has_user(url: &str) -> bool {
    let after = url.split_once("://").map_or(url, |(_, rest)| rest);
    after.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@'))
}

/// Headers whose values are secrets whatever they are.
const SECRET_HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "x-api-key"];

#[derive(Default)]
struct Faults(Vec<SpecFault>);

impl Faults {
    fn add(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.0.push(SpecFault { pointer: pointer.into(), detail: detail.into() });
    }

    fn url(&mut self, pointer: impl Into<String>, url: &str) {
        let pointer = pointer.into();
        if !is_http(url) {
            self.add(pointer, "must begin with http:// or https://");
        } else if has_user(url) {
            // Everybody who may look sees a spec, and every node has it.
            self.add(pointer, "must have no user or password in it: put `authorization = \"secret://file/PATH\"` among the headers");
        }
    }

    fn headers(&mut self, pointer: &str, headers: &BTreeMap<String, String>) {
        for (name, value) in headers {
            if SECRET_HEADERS.contains(&name.to_ascii_lowercase().as_str()) && !value.starts_with("secret://") {
                let detail = "is a secret, which every node and whoever may look would see here: write secret://env/NAME or secret://file/PATH";
                self.add(format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1")), detail);
            }
        }
    }

    fn range(&mut self, pointer: impl Into<String>, value: u64, least: u64, most: u64) {
        if !(least..=most).contains(&value) {
            self.add(pointer, format!("{value} is not from {least} to {most}"));
        }
    }
}
