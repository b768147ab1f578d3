//! Tries a runner that is not applied: reads a few lines of a source, and takes them through its stages (DESIGN §8.2: try before you save).
//!
//! On the node where it shall run, under that node's policy, with that node's files and secrets. It delivers nothing; all that stays is an event.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use logvine_cluster::{
    instance::Counts,
    name::Name,
    spec::{ReaderSpec, RunnerSpec, SenderSpec, SourceSpec, StartAt},
};
use logvine_gossip::Stamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    RunnerContext, Sights,
    enrich::Enrichment,
    parse::{Parsed, Parser, Room},
    reader::{Read, ReadError, Reader, finder::Finder, http::HttpReaders, journal::JournalReaders},
    record::{Line, Record},
    sender::{
        self, SinkCheck,
        ndjson::{self, Origin},
    },
    tasks::{Built, Wanted},
    transform::Transform,
};

/// Lines of a sample.
pub const LINES_MAX: usize = 100;
/// Of one line; the rest is cut, and the cut is said.
const LINE_BYTES_MAX: usize = 16 << 10;
/// A source that has not answered by then is said to be silent.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// Senders whose sinks are looked at, all at once.
const SENDERS_MAX: usize = 32;
/// Paths that are listed.
const PATHS_MAX: usize = 100;

/// What is tried.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SampleSpec {
    /// The runner as JSON: its shape is checked by whoever runs it.
    pub runner: String,
    pub input: Input,
    /// Who tries it, for the record.
    #[serde(default)]
    pub by: String,
}

/// Where lines come from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Input {
    /// A source of the runner (its id, or a path that it finds; none: the first), so many lines from its beginning.
    Source { source: Option<String>, lines: usize },
    /// These lines, through the stages alone.
    Lines(Vec<String>),
    /// None: only whether the runner can be built there, and whether its senders' sinks are there for it.
    Nothing,
}

impl SampleSpec {
    /// The runner's name; empty where it says none.
    pub fn runner_name(&self) -> String {
        let runner: Value = serde_json::from_str(&self.runner).unwrap_or_default();
        runner["name"].as_str().unwrap_or_default().to_owned()
    }
}

impl Input {
    /// What is tried with it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Source { .. } => "read",
            Self::Lines(_) => "lines",
            Self::Nothing => "send",
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Sample {
    /// The source that was read: an id, or a path.
    pub source: Option<String>,
    /// What the reader finds there: ids, or paths, at most 100.
    pub found: Vec<String>,
    /// The lines, in order, with what the stages make of each.
    pub records: Vec<SampleRecord>,
    /// What cannot be read, though the rest was.
    pub errors: Vec<String>,
    /// Each sender's sink, as it was seen; only where the senders are tried.
    pub senders: Vec<SinkCheck>,
}

/// One line and what became of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct SampleRecord {
    /// Of its first byte in the file.
    pub offset: u64,
    /// As it was read; bytes that are no UTF-8 are U+FFFD.
    pub line: String,
    /// It lost its rest: it is longer than 16 KiB, or than the reader's limit.
    pub cut: bool,
    /// As the parse stage made it.
    #[serde(with = "as_text")]
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub parsed: Value,
    /// As a sender would get it.
    #[serde(with = "as_text")]
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub record: Value,
    /// Why a stage failed on it.
    pub error: Option<String>,
}

/// JSON inside MessagePack as text, inside JSON as itself.
mod as_text {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
    use serde_json::Value;

    pub(super) fn serialize<S: Serializer>(value: &Value, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { value.serialize(serializer) } else { value.to_string().serialize(serializer) }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        if deserializer.is_human_readable() {
            return Value::deserialize(deserializer);
        }
        serde_json::from_str(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// Tries it on this node. Errors: why it cannot be, for people.
pub async fn take(context: &RunnerContext, sample: &SampleSpec) -> Result<Sample, String> {
    let spec: RunnerSpec = serde_json::from_str(&sample.runner).map_err(|error| format!("the runner is not one that this node knows: {error}"))?;
    match &sample.input {
        Input::Nothing => {
            let look = |sender: &SenderSpec| sender::check(sender.clone(), spec.name.clone(), context.node_name.clone(), context.policy.clone());
            let looks: Vec<_> = spec.senders.iter().take(SENDERS_MAX).map(look).collect();
            build(context, spec).await?;
            Ok(Sample { senders: futures::future::join_all(looks).await, ..Sample::default() })
        }
        Input::Lines(lines) => {
            let lines = lines.iter().take(LINES_MAX).scan(0, |offset, line| {
                let begin = *offset;
                *offset += line.len() as u64 + 1;
                Some(Line { offset: begin, bytes: Bytes::copy_from_slice(line.as_bytes()), cut: false })
            });
            let lines = lines.collect();
            Ok(Sample { records: through(context, spec, "sample".to_owned(), lines).await?, ..Sample::default() })
        }
        Input::Source { source, lines } => {
            let read =
                tokio::time::timeout(READ_WITHIN + Duration::from_secs(1), read(context, &spec, source.as_deref(), (*lines).clamp(1, LINES_MAX)))
                    .await;
            let (sample, lines) = read.map_err(|_| "reading it takes too long: is it a dead mount or a silent server?".to_owned())??;
            let source = sample.source.clone().unwrap_or_default();
            Ok(Sample { records: through(context, spec, source, lines).await?, ..sample })
        }
    }
}

/// Builds all of it, and lets go of it.
async fn build(context: &RunnerContext, spec: RunnerSpec) -> Result<(), String> {
    // What is seen of a runner of that name, if one runs here, is not this one's.
    let context = RunnerContext { sights: Sights::default(), ..context.clone() };
    let wanted = Wanted {
        uid: Stamp::ZERO,
        revision: Stamp::ZERO,
        spec: Arc::new(spec),
        pinned: BTreeMap::new(),
        rewind: Stamp::ZERO,
        counts: Counts::default(),
    };
    let built = tokio::task::spawn_blocking(move || Built::new(&context, &wanted).map(drop)).await;
    built.unwrap_or_else(|error| Err(format!("building it panicked: {error}")))
}

async fn read(context: &RunnerContext, spec: &RunnerSpec, source: Option<&str>, lines: usize) -> Result<(Sample, Vec<Line>), String> {
    match &spec.reader {
        ReaderSpec::File(file) => {
            let file = logvine_cluster::spec::FileReaderSpec { start_at: StartAt::Beginning, ..file.clone() };
            let senders: Vec<Name> = spec.senders.iter().map(|sender| sender.name().clone()).collect();
            let finder = Finder::new(&file, context.policy.clone(), context.node_id, &senders, BTreeMap::new());
            let scan = finder.map_err(|error| format!("reader: {error}"))?.poll().await;
            let path = |found: &super::reader::finder::Found| found.reader.place().path;
            let mut sample = Sample {
                found: scan.found.iter().take(PATHS_MAX).map(path).collect(),
                errors: scan.errors.iter().map(ToString::to_string).collect(),
                ..Sample::default()
            };
            let wanted = |found: &super::reader::finder::Found| source.is_none_or(|source| path(found) == source || found.source.as_str() == source);
            let Some(mut found) = scan.found.into_iter().find(wanted) else {
                let nothing = source
                    .map_or_else(|| "no file is found here".to_owned(), |source| format!("`{source}` is none of the files that are found here"));
                return Err(std::iter::once(nothing).chain(sample.errors).collect::<Vec<_>>().join("; "));
            };
            sample.source = Some(path(&found));
            let read = first_lines(&mut found.reader, lines).await?;
            Ok((sample, read))
        }
        ReaderSpec::Http(http) => {
            let http = logvine_cluster::spec::HttpReaderSpec { start_at: StartAt::Beginning, ..http.clone() };
            let policy = context.policy.clone();
            let build = move || HttpReaders::new(&http, policy).map_err(|error| error.to_string());
            movable(spec, source, lines, build, |readers, tried| readers.open(tried, None)).await
        }
        ReaderSpec::Journal(journal) => {
            let journal = logvine_cluster::spec::JournalReaderSpec { start_at: StartAt::Beginning, ..journal.clone() };
            let policy = context.policy.clone();
            let build = move || JournalReaders::new(&journal, policy).map_err(|error| error.to_string());
            movable(spec, source, lines, build, |readers, tried| readers.open(tried, None)).await
        }
        ReaderSpec::Syslog(_) | ReaderSpec::HttpPush(_) | ReaderSpec::Stdin(_) => Err(format!(
            "a `{}` reader waits for what it is sent: there is nothing to read on request, so give lines of your own",
            spec.reader.word()
        )),
    }
}

/// The first lines of a source that any node can reach. `build` blocks on the disk (secrets).
async fn movable<M: Send + 'static, R: Reader>(
    spec: &RunnerSpec,
    source: Option<&str>,
    lines: usize,
    build: impl FnOnce() -> Result<M, String> + Send + 'static,
    open: impl FnOnce(&M, &SourceSpec) -> Result<R, ReadError>,
) -> Result<(Sample, Vec<Line>), String> {
    let readers = tokio::task::spawn_blocking(build).await;
    let readers = readers.map_err(|error| error.to_string())?.map_err(|error| format!("reader: {error}"))?;
    let tried = tried(spec, source)?;
    let mut reader = open(&readers, &tried).map_err(|error| error.to_string())?;
    let found = spec.sources.iter().take(PATHS_MAX).map(|source| source.id.to_string()).collect();
    let read = first_lines(&mut reader, lines).await?;
    Ok((Sample { source: Some(tried.id.to_string()), found, ..Sample::default() }, read))
}

/// The source that is meant: one of the spec's, or, as it may not be in it yet, one by its address.
fn tried(spec: &RunnerSpec, source: Option<&str>) -> Result<SourceSpec, String> {
    let of_spec = spec.sources.iter().find(|known| source.is_none_or(|source| known.id.as_str() == source)).cloned();
    let by_url = source.filter(|source| source.contains("://")).map(|url| SourceSpec {
        id: "sample".parse().expect("a name"),
        url: url.to_owned(),
        rotated: vec![],
        selection: None,
    });
    by_url.or(of_spec).ok_or_else(|| "there is no such source in the runner: name one of its `sources`, or a URL".to_owned())
}

/// The first lines of a source; fewer where it has no more, or is slow.
async fn first_lines<R: Reader>(reader: &mut R, most: usize) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    let until = Instant::now() + READ_WITHIN;
    while lines.len() < most {
        match tokio::time::timeout_at(until, reader.next()).await {
            Ok(Ok(Read::Chunk(chunk))) => lines.extend(chunk.lines),
            Ok(Ok(Read::Rotated { .. })) => {}
            Ok(Ok(Read::AtEnd | Read::Finished)) | Err(_) => break,
            Ok(Err(error)) => return Err(error.to_string()),
        }
    }
    lines.truncate(most);
    Ok(lines)
}

/// What the stages make of lines.
async fn through(context: &RunnerContext, spec: RunnerSpec, source: String, lines: Vec<Line>) -> Result<Vec<SampleRecord>, String> {
    let origin = Enrichment::new(&spec.enrich, &context.tags).origin(spec.name.as_str(), context.node_name.as_str(), &source);
    let run = move || {
        let parser = Parser::new(&spec.parse).map_err(|error| format!("parse: {error}"))?;
        let mut transform = Transform::new(&spec.transform).map_err(|error| format!("transform: {error}"))?;
        Ok(lines.into_iter().map(|line| one(&origin, &parser, &mut transform, line)).collect())
    };
    // A transform's program takes long enough, and stack enough, to leave the async threads alone.
    tokio::task::spawn_blocking(run).await.unwrap_or_else(|error| Err(format!("a stage panicked: {error}")))
}

fn one(origin: &Origin, parser: &Parser, transform: &mut Transform, line: Line) -> SampleRecord {
    let shown = &line.bytes[..line.bytes.len().min(LINE_BYTES_MAX)];
    let mut row = SampleRecord {
        offset: line.offset,
        line: String::from_utf8_lossy(shown).into_owned(),
        cut: line.cut || shown.len() < line.bytes.len(),
        ..SampleRecord::default()
    };
    let Parsed { body, time, severity, error } = parser.parse(line.bytes, &mut Room::default());
    // It has no id: that depends on the runner's creation, which has not been.
    let mut record = Record { id: [0; 16], offset: line.offset, time, severity, body, error, cut: line.cut };
    row.parsed = json(origin, &record);
    transform.apply(&mut record);
    row.record = json(origin, &record);
    row.error = record.error;
    row
}

fn json(origin: &Origin, record: &Record) -> Value {
    let mut line = Vec::new();
    ndjson::write(&mut line, origin, record);
    let mut value: Value = serde_json::from_slice(&line).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("id");
    }
    value
}

#[cfg(test)]
mod tests {
    use logvine_gossip::NodeId;
    use serde_json::json;

    use super::*;
    use crate::policy::{Policy, PolicyConfig};

    fn context(home: &std::path::Path, read: &[&str]) -> RunnerContext {
        let config = PolicyConfig { read: read.iter().map(|path| (*path).into()).collect(), ..PolicyConfig::default() };
        RunnerContext {
            node_name: "here".parse().unwrap(),
            node_id: NodeId([1; 16]),
            policy: Arc::new(Policy::new(&config, true, home)),
            data_dir: home.to_owned(),
            sights: Sights::default(),
            tags: crate::Tags::default(),
        }
    }

    fn sample(paths: &str, input: Input) -> SampleSpec {
        let runner = json!({
            "name": "r", "placement": { "every": "all" }, "reader": { "type": "file", "paths": [paths] }, "parse": { "type": "json" },
            "senders": [{ "name": "out", "type": "stdout" }],
        });
        SampleSpec { runner: runner.to_string(), input, by: String::new() }
    }

    #[tokio::test]
    async fn the_first_lines_of_a_file_are_shown_with_what_the_stages_make_of_them() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.log");
        std::fs::write(&path, "{\"a\":1}\nno json\n{\"a\":3}\n").unwrap();
        let text = path.to_str().unwrap();
        let context = context(&home.path().join("data"), &[home.path().to_str().unwrap()]);
        let taken = take(&context, &sample(text, Input::Source { source: None, lines: 2 })).await.unwrap();
        assert_eq!((taken.source.as_deref(), taken.found.as_slice()), (Some(text), &[text.to_owned()][..]));
        let rows: Vec<_> = taken.records.iter().map(|row| (row.offset, row.line.as_str(), &row.record["body"], row.error.is_some())).collect();
        assert_eq!(rows, [(0, "{\"a\":1}", &json!({ "a": 1 }), false), (8, "no json", &json!("no json"), true)]);
    }

    #[tokio::test]
    async fn what_the_nodes_own_policy_forbids_is_not_read() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("secret"), "it\n").unwrap();
        let context = context(&home.path().join("data"), &["/nowhere"]);
        let path = home.path().join("secret");
        let refused = take(&context, &sample(path.to_str().unwrap(), Input::Source { source: None, lines: 1 })).await;
        assert!(refused.as_ref().is_err_and(|error| error.contains("secret")), "{refused:?}");
    }

    #[tokio::test]
    async fn lines_that_are_given_go_through_the_stages_alone() {
        let home = tempfile::tempdir().unwrap();
        let taken = take(&context(home.path(), &[]), &sample("/x", Input::Lines(vec!["{\"b\":2}".to_owned()]))).await.unwrap();
        assert_eq!(taken.records[0].parsed["body"], json!({ "b": 2 }));
    }

    #[tokio::test]
    async fn a_runner_that_cannot_be_built_is_told_why() {
        let home = tempfile::tempdir().unwrap();
        let mut spec = sample("/x", Input::Nothing);
        take(&context(home.path(), &["/x"]), &spec).await.unwrap();
        spec.runner = spec.runner.replace("\"json\"", "\"regex\",\"pattern\":\"(\"");
        assert!(take(&context(home.path(), &["/x"]), &spec).await.unwrap_err().contains("parse"));
    }

    #[test]
    fn a_sample_is_the_same_after_a_call() {
        let row = SampleRecord { parsed: json!({ "a": [1, null] }), ..SampleRecord::default() };
        let bytes = rmp_serde::to_vec_named(&row).unwrap();
        let back: SampleRecord = rmp_serde::from_slice(&bytes).unwrap();
        assert_eq!(back.parsed, row.parsed);
        assert_eq!(serde_json::to_value(&row).unwrap()["parsed"]["a"][0], 1);
    }
}
