//! A runner as people write it (DESIGN §4, §7): the tree of its TOML, YAML or JSON.
//!
//! Only shapes and the faults that can be seen without IO. Not here: what a component does (`logvine::runner`).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use self::faults::Faults;
pub use self::{
    expectations::{ExpectedRecord, TestSpec},
    faults::SpecFault,
    journal::JournalReaderSpec,
    listener::{HttpPushReaderSpec, StdinReaderSpec, SyslogReaderSpec},
    parse::{
        ApacheParseSpec, CsvParseSpec, GrokParseSpec, JsonParseSpec, LogfmtParseSpec, NginxParseSpec, ParseSpec, RegexParseSpec, SyslogFormat,
        SyslogParseSpec,
    },
    reader::{Encoding, FileReaderSpec, HttpReaderSpec, MultilineSpec, ReaderSpec, StartAt},
    sender::{
        Compression, ElasticsearchSenderSpec, FileFormat, FileSenderSpec, Fsync, HttpSenderSpec, IndexPattern, IndexPatternError, IndexPiece,
        KafkaCompression, KafkaSenderSpec, LabelValue, LokiSenderSpec, NatsSenderSpec, OtlpSenderSpec, RotateSpec, S3SenderSpec, SenderSpec,
        StdoutSenderSpec,
    },
    when::{OneOf, Scalar, WhenSpec},
};
use crate::name::Name;

mod expectations;
mod faults;
mod journal;
mod listener;
mod parse;
mod reader;
mod sender;
mod when;

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
    /// What is said in each record of the node that it came through.
    #[serde(default, skip_serializing_if = "EnrichSpec::is_empty")]
    pub enrich: EnrichSpec,
    /// Where records go; each sees every record, unless its `when` says which.
    pub senders: Vec<SenderSpec>,
    /// What is expected of it: examples, which `logvine runner test` runs. They change nothing of how it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<TestSpec>,
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

/// URLs at which the rest of a rotated file is looked for.
const ROTATED_MAX: usize = 32;

/// One movable source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SourceSpec {
    /// Unique in the runner, and immutable: it is what nodes rank by.
    pub id: Name,
    /// Where it is: of an `http` reader the file's address, of a `journal` reader its gateway's, such as `http://10.0.0.1:19531`.
    pub url: String,
    /// Where what was at `url` is found after a rotation, the newest first: `http://HOST/access.log.1`. What of the old file is at none of them when it has
    /// been rotated is a `rotation_gap`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rotated: Vec<String>,
    /// Narrows the placement's selection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<String>,
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

/// What is said in each record of the node that it came through, besides the node's name. A record's id does not depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct EnrichSpec {
    /// The host name of the node's machine.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub host: bool,
    /// The node's tags, as they are when the record is read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tags: bool,
}

impl EnrichSpec {
    /// Whether it adds nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
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
        self.parse.check(&mut faults);
        self.check_senders(&mut faults);
        expectations::check(&self.tests, &self.senders.iter().map(SenderSpec::name).collect(), &mut faults);
        faults.0
    }

    fn check_sources(&self, faults: &mut Faults) {
        self.reader.check_place(&self.placement, !self.sources.is_empty(), faults);
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
            let pointer = format!("/senders/{at}");
            if !seen.insert(sender.name()) {
                faults.add(format!("{pointer}/name"), format!("`{}` is there twice", sender.name()));
            }
            sender.check(&pointer, faults);
        }
    }
}

impl SourceSpec {
    /// All faults that can be seen without IO.
    pub fn faults(&self) -> Vec<SpecFault> {
        let mut faults = Faults::default();
        faults.url("/url", &self.url);
        if self.rotated.len() > ROTATED_MAX {
            faults.add("/rotated", format!("has {} URLs, where at most {ROTATED_MAX} are looked at", self.rotated.len()));
        }
        for (at, url) in self.rotated.iter().enumerate() {
            faults.url(format!("/rotated/{at}"), url);
            if *url == self.url || self.rotated[..at].contains(url) {
                faults.add(format!("/rotated/{at}"), "is there twice: name `url`.1, `url`.2 and so on");
            }
        }
        if let Some(Err(error)) = self.selection.as_deref().map(str::parse::<crate::selection::Selection>) {
            faults.add("/selection", error.to_string());
        }
        faults.0
    }
}
