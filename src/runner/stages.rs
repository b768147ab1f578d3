//! Parse, transform, and what senders take of it: a chunk becomes a payload.

use std::{collections::BTreeMap, sync::Arc};

use logvine_cluster::{checkpoint::RecordIds, name::Name, spec::RunnerSpec};
use logvine_gossip::Stamp;

use super::{
    RunnerContext, clock,
    enrich::Enrichment,
    parse::{Parsed, Parser, Room},
    payload::{Outlets, Payload, Writer},
    record::{Chunk, Record},
    route::Router,
    sender::ndjson::{self, Origin},
    sight::Sight,
    tap::{Looking, Stage},
    transform::Transform,
};

/// The stages of an instance, ready to run. Each source has its own clone.
#[derive(Debug, Clone)]
pub(super) struct Stages {
    uid: Stamp,
    parser: Parser,
    transform: Option<Transform>,
    origin: Origin,
    enrichment: Enrichment,
    /// None where every sender takes every record.
    router: Option<Router>,
    outlets: Arc<Outlets>,
    sight: Arc<Sight>,
}

/// What has become of one chunk.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) payload: Payload,
    pub(super) notes: Notes,
}

/// What went wrong on the records of one chunk.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Records that no sender takes.
    pub(super) unrouted: u64,
    /// Records on which a stage failed, or that were cut.
    pub(super) errors: u64,
    /// The same by stage.
    pub(super) faults: BTreeMap<&'static str, StageFaults>,
}

/// The records of a chunk on which one stage failed.
#[derive(Debug)]
pub(super) struct StageFaults {
    pub(super) count: u64,
    /// Why it failed on the last of them.
    pub(super) last: String,
}

impl Stages {
    /// Compiles the stages of `spec`. Errors: the stage's own diagnostics, for people.
    pub(super) fn new(spec: &RunnerSpec, uid: Stamp, context: &RunnerContext, sight: Arc<Sight>) -> Result<Self, String> {
        let parser = Parser::new(&spec.parse).map_err(|error| format!("parse: {error}"))?;
        let transform = (!spec.transform.is_empty()).then(|| Transform::new(&spec.transform)).transpose();
        let transform = transform.map_err(|error| format!("transform: {error}"))?;
        let mut enrichment = Enrichment::new(&spec.enrich, &context.tags);
        let origin = enrichment.origin(spec.name.as_str(), context.node_name.as_str(), "");
        let router = Router::new(&spec.senders)?;
        let outlets = Arc::new(Outlets::new(&spec.senders)?);
        Ok(Self { uid, parser, transform, origin, enrichment, router, outlets, sight })
    }

    /// The same for one source. Boxed, as its task moves them about.
    pub(super) fn of(&self, source: &Name) -> Box<Self> {
        let mut stages = Box::new(self.clone());
        stages.origin = stages.enrichment.origin(&self.origin.runner, &self.origin.node, source.as_str());
        stages
    }

    /// Runs the stages on a chunk; a panic of a stage goes through. VRL takes long enough, and stack enough, to leave the async threads alone; the
    /// native stages take a chunk in about a millisecond.
    pub(super) async fn apply(mut self: Box<Self>, chunk: Chunk) -> (Box<Self>, Staged) {
        if self.transform.is_none() && !self.router.as_ref().is_some_and(Router::has_expressions) {
            let staged = self.run(chunk);
            return (self, staged);
        }
        let run = move || {
            let staged = self.run(chunk);
            (self, staged)
        };
        match tokio::task::spawn_blocking(run).await {
            Ok(done) => done,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    fn run(&mut self, chunk: Chunk) -> Staged {
        self.enrichment.renew(&mut self.origin);
        let bytes = chunk.lines.iter().map(|line| line.bytes.len()).sum();
        let mut writer = Writer::new(&self.outlets, chunk.lines.len(), bytes, clock::now().wall.0);
        let mut notes = Notes::default();
        let taps = [Stage::Read, Stage::Parse, Stage::Transform].map(|stage| self.sight.taps.look_at(stage, &self.origin.source));
        let mut room = Room::default();
        let ids = RecordIds::new(self.uid, &self.origin.source, &chunk.file);
        let need_ids = self.outlets.need_ids() || taps.iter().any(Looking::is_worth_it);
        for line in chunk.lines {
            #[cfg(test)]
            tests::panic_if_told(&line.bytes);
            let id = if need_ids { ids.at(line.offset) } else { [0; 16] };
            taps[0].show(&self.origin.source, None, &line.bytes);
            let Parsed { body, time, severity, error } = self.parser.parse(line.bytes, &mut room);
            let mut record = Record { id, offset: line.offset, time, severity, body, error, cut: line.cut };
            if record.cut {
                notes.note("read", "the line is longer than `line_bytes_max` and lost its rest");
            }
            if let Some(error) = &record.error {
                notes.note("parse", error);
            }
            self.show(&taps[1], &record);
            if let Some(transform) = &mut self.transform {
                let before = record.error.as_ref().map(String::len);
                transform.apply(&mut record);
                // A transform appends its own error to the parser's.
                if let Some(error) = record.error.as_ref().filter(|error| Some(error.len()) != before) {
                    notes.note("transform", error);
                }
            }
            self.show(&taps[2], &record);
            let mut reasons = Vec::new();
            let held = self.router.as_mut().map_or(&[][..], |router| router.ask(&record, &mut reasons));
            for reason in reasons {
                notes.note("route", &reason);
                record.mark(&reason);
            }
            notes.errors += u64::from(record.error.is_some() || record.cut);
            notes.unrouted += u64::from(!writer.push(&self.origin, &record, held));
        }
        Staged { payload: writer.finish(), notes }
    }
}

impl Stages {
    fn show(&self, looking: &Looking, record: &Record) {
        if looking.is_worth_it() {
            let mut line = Vec::new();
            ndjson::write(&mut line, &self.origin, record);
            looking.show(&self.origin.source, None, &line);
        }
    }
}

impl Notes {
    fn note(&mut self, stage: &'static str, error: &str) {
        match self.faults.get_mut(stage) {
            Some(faults) => {
                faults.count += 1;
                if faults.last != error {
                    error.clone_into(&mut faults.last);
                }
            }
            None => drop(self.faults.insert(stage, StageFaults { count: 1, last: error.to_owned() })),
        }
    }
}

#[cfg(test)]
mod tests {
    use logvine_cluster::checkpoint::{FileKey, FileName, Position, record_id};

    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::*;
    use crate::record::Line;

    /// No stage panics that we know of; the supervisor's tests need one that does.
    pub(super) fn panic_if_told(line: &[u8]) {
        static AGAIN: AtomicBool = AtomicBool::new(false);
        assert!(line != b"panic!" && (line != b"panic once" || AGAIN.swap(true, Relaxed)), "a stage was told to panic");
    }

    fn stages(more: &Value, context: &RunnerContext) -> Box<Stages> {
        let mut spec = json!({
            "name": "r", "placement": {"every": "all"}, "reader": {"type": "file", "paths": ["/x"]}, "senders": [{"type": "stdout", "name": "out"}],
        });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Stages::new(&serde_json::from_value(spec).unwrap(), Stamp(1), context, Arc::default()).unwrap().of(&"s".parse().unwrap())
    }

    fn chunk(lines: &[&'static str]) -> Chunk {
        let file = FileKey { lineage: 0, named: 0, name: FileName::of(b"one").unwrap() };
        let line = |(at, text): (u64, &&'static str)| Line { offset: 4 * at, bytes: Bytes::from_static(text.as_bytes()), cut: false };
        Chunk { file, start: Position::default(), end: Position::default(), lines: (0..).zip(lines).map(line).collect() }
    }

    /// The records that `sender` takes.
    fn records(staged: &Staged, sender: &str) -> Vec<Value> {
        let parcel = staged.payload.parcel(&sender.parse().unwrap(), (0..staged.payload.records()).into());
        parcel.items().map(|item| serde_json::from_slice(item.bytes).unwrap()).collect()
    }

    #[tokio::test]
    async fn records_of_a_chunk_are_cut_out_whole() {
        let chunk = chunk(&["one", "two", "three"]);
        let file = chunk.file;
        let (_, staged) = stages(&json!({}), &crate::tests::context()).apply(chunk).await;
        assert_eq!(staged.payload.records(), 3);
        let parcel = staged.payload.parcel(&"out".parse().unwrap(), (1..3).into());
        let lines: Vec<Value> = parcel.items().map(|item| serde_json::from_slice(item.bytes).unwrap()).collect();
        assert_eq!(lines.iter().map(|line| line["body"].as_str().unwrap()).collect::<Vec<_>>(), ["two", "three"]);
        assert_eq!(lines[0]["id"], hex::encode(record_id(Stamp(1), "s", &file, 4)));
    }

    #[tokio::test]
    async fn what_enriches_a_record_changes_with_the_node_and_not_its_id() {
        let context = crate::tests::context();
        let (_, plain) = stages(&json!({}), &context).apply(chunk(&["one"])).await;
        let (stages, before) = stages(&json!({"enrich": {"tags": true}}), &context).apply(chunk(&["one"])).await;
        context.tags.set(["edge".parse().unwrap()]);
        let (_, after) = stages.apply(chunk(&["one"])).await;
        let [plain, before, after] = [plain, before, after].map(|staged| records(&staged, "out").remove(0));
        assert_eq!([&plain["tags"], &before["tags"], &after["tags"]], [&Value::Null, &json!([]), &json!(["edge"])]);
        assert_eq!((&plain["id"], &before["id"]), (&before["id"], &after["id"]));
    }

    #[cfg(feature = "vrl")]
    #[tokio::test]
    async fn a_record_on_which_the_program_fails_is_kept_marked_and_counted() {
        let program = json!({"transform": {"vrl": ".n = to_int!(.message)"}});
        let (_, staged) = stages(&program, &crate::tests::context()).apply(chunk(&["1", "x", "3"])).await;
        let records = records(&staged, "out");
        assert_eq!(records.iter().map(|record| record.get("error").is_some()).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!((&records[0]["body"]["n"], &records[1]["body"]), (&json!(1), &json!("x")));
        let fault = &staged.notes.faults["transform"];
        assert_eq!((staged.notes.errors, fault.count, fault.last.starts_with("vrl: ")), (1, 1, true));
    }

    #[cfg(feature = "vrl")]
    #[tokio::test]
    async fn a_record_on_which_a_condition_fails_is_taken_marked_and_counted() {
        let senders = json!({"senders": [
            {"type": "stdout", "name": "few", "when": {"vrl": "to_int!(.message) > 1"}},
            {"type": "stdout", "name": "none", "when": {"exists": ["none"]}},
        ]});
        let (_, staged) = stages(&senders, &crate::tests::context()).apply(chunk(&["1", "x", "3"])).await;
        let taken = records(&staged, "few");
        assert_eq!(taken.iter().map(|record| record["body"].as_str().unwrap()).collect::<Vec<_>>(), ["x", "3"]);
        assert!(taken[0]["error"].as_str().unwrap().starts_with("when: vrl: "), "{taken:?}");
        assert_eq!((staged.notes.errors, staged.notes.unrouted, staged.notes.faults["route"].count), (1, 1, 1));
        assert_eq!(records(&staged, "none"), [Value::Null; 0]);
    }
}
