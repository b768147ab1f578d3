//! A runner's own tests (`[[tests]]`): sample lines go through its stages, and what becomes of them is held against what is expected. Nothing is read or sent.

use std::{collections::BTreeMap, panic::resume_unwind, thread};

use bytes::Bytes;
use chrono::DateTime;
use logvine_cluster::spec::{ExpectedRecord, RunnerSpec, SenderSpec, TestSpec};
use serde_json::Value;

use crate::{
    parse::{Parsed, Parser, Room},
    record::Record,
    route::{self, Router},
    sender::ndjson::{self, Origin},
    transform::{STACK_BYTES, Transform},
};

/// What came of one test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestOutcome {
    pub name: String,
    /// None: it holds.
    pub differences: Vec<Difference>,
}

/// One thing that is not as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// For people: `line 2: severity`, `sender alarms, record 1: body`.
    pub place: String,
    pub expected: String,
    pub got: String,
}

/// Runs the tests of a runner, in their order. Errors: a stage or a condition does not compile, for people.
pub fn run(spec: &RunnerSpec) -> Result<Vec<TestOutcome>, String> {
    let all = || Stages::new(spec).map(|mut stages| spec.tests.iter().map(|test| stages.outcome(test)).collect());
    // A program may need more stack than the caller has.
    thread::scope(|scope| {
        let running = thread::Builder::new().name("tests".to_owned()).stack_size(STACK_BYTES).spawn_scoped(scope, all);
        let running = running.map_err(|error| format!("there is no thread to run them on: {error}"))?;
        running.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

struct Stages<'a> {
    parser: Parser,
    transform: Transform,
    router: Option<Router>,
    origin: Origin,
    /// Each with the place of its condition.
    senders: Vec<(&'a SenderSpec, Option<usize>)>,
}

impl<'a> Stages<'a> {
    fn new(spec: &'a RunnerSpec) -> Result<Self, String> {
        let conditions = route::conditions(&spec.senders);
        let place = |sender: &SenderSpec| sender.when().and_then(|when| conditions.iter().position(|known| *known == when));
        Ok(Self {
            parser: Parser::new(&spec.parse).map_err(|error| format!("parse: {error}"))?,
            transform: Transform::new(&spec.transform).map_err(|error| format!("transform: {error}"))?,
            router: Router::new(&spec.senders)?,
            origin: Origin::new(spec.name.as_str(), "node", "test"),
            senders: spec.senders.iter().map(|sender| (sender, place(sender))).collect(),
        })
    }

    fn outcome(&mut self, test: &TestSpec) -> TestOutcome {
        let (mut all, mut routed): (Vec<Value>, BTreeMap<_, Vec<Value>>) = Default::default();
        for line in &test.lines {
            let (record, held) = self.record(line);
            for (sender, _) in self.senders.iter().filter(|(_, when)| when.is_none_or(|at| held[at])) {
                routed.entry(sender.name()).or_default().push(record.clone());
            }
            all.push(record);
        }
        let mut differences = Vec::new();
        if !test.expect.is_empty() {
            compare("line", &test.expect, &all, &mut differences);
        }
        for (sender, expected) in &test.routed {
            compare(&format!("sender {sender}, record"), expected, routed.get(sender).map_or(&[], Vec::as_slice), &mut differences);
        }
        TestOutcome { name: test.name.clone(), differences }
    }

    /// What a line becomes, as a line of NDJSON has it, and which conditions hold for it.
    fn record(&mut self, line: &str) -> (Value, Vec<bool>) {
        let Parsed { body, time, severity, error } = self.parser.parse(Bytes::copy_from_slice(line.as_bytes()), &mut Room::default());
        let mut record = Record { id: [0; 16], offset: 0, time, severity, body, error, cut: false };
        self.transform.apply(&mut record);
        let mut reasons = Vec::new();
        let held = self.router.as_mut().map(|router| router.ask(&record, &mut reasons).to_vec()).unwrap_or_default();
        reasons.iter().for_each(|reason| record.mark(reason));
        let mut shown = Vec::new();
        ndjson::write(&mut shown, &self.origin, &record);
        (serde_json::from_slice(&shown).unwrap_or_default(), held)
    }
}

fn compare(what: &str, expected: &[ExpectedRecord], got: &[Value], differences: &mut Vec<Difference>) {
    for (number, (expected, got)) in (1..).zip(expected.iter().zip(got)) {
        for (field, expected, got) in differing(expected, got) {
            differences.push(Difference { place: format!("{what} {number}: {field}"), expected, got });
        }
    }
    if expected.len() != got.len() {
        let (place, words) = (format!("{what}s"), |count: usize| format!("{count} record{}", if count == 1 { "" } else { "s" }));
        let rest: Vec<String> = got.iter().skip(expected.len()).map(|record| record["body"].to_string()).collect();
        let more = if rest.is_empty() { String::new() } else { format!(", the last: {}", rest.join(" ")) };
        differences.push(Difference { place, expected: words(expected.len()), got: format!("{}{more}", words(got.len())) });
    }
}

/// The fields that are not as expected: their names, what is expected, what there is.
fn differing(expected: &ExpectedRecord, got: &Value) -> Vec<(&'static str, String, String)> {
    let shown = |field: &str| got.get(field).map_or_else(|| "nothing".to_owned(), Value::to_string);
    let text = |field: &str| got[field].as_str();
    let mut differing = Vec::new();
    if let Some(time) = &expected.time {
        let micros = |text: &str| DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_micros());
        if text("time").is_none() || micros(time) != text("time").and_then(micros) {
            differing.push(("time", format!("\"{time}\""), shown("time")));
        }
    }
    if let Some(severity) = &expected.severity
        && !text("severity").is_some_and(|got| got.eq_ignore_ascii_case(severity))
    {
        differing.push(("severity", format!("\"{severity}\""), shown("severity")));
    }
    if let Some(body) = &expected.body
        && *body != got["body"]
    {
        differing.push(("body", body.to_string(), shown("body")));
    }
    match (&expected.error, text("error")) {
        (None, None) => {}
        (None, Some(_)) => differing.push(("error", "nothing".to_owned(), shown("error"))),
        (Some(part), got) if got.is_some_and(|got| got.contains(part)) => {}
        (Some(part), _) => differing.push(("error", format!("\"{part}\" in it"), shown("error"))),
    }
    differing
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn outcomes(tests: &Value) -> Vec<TestOutcome> {
        let spec: RunnerSpec = serde_json::from_value(json!({
            "name": "shop", "placement": {"every": "all"}, "reader": {"type": "stdin"},
            "parse": {"type": "json", "time": "ts", "severity": "level"},
            "senders": [{"type": "stdout", "name": "all"}, {"type": "stdout", "name": "alarms", "when": {"severity": "error"}}],
            "tests": tests,
        }))
        .unwrap();
        assert_eq!(spec.faults(), []);
        run(&spec).unwrap()
    }

    const ERROR: &str = r#"{"level":"error","ts":"2026-11-21T23:26:09.5Z","n":1}"#;

    #[test]
    fn tests_that_hold_have_no_differences() {
        let outcomes = outcomes(&json!([{
            "name": "all of it",
            "lines": [ERROR, r#"{"level":"info"}"#, "no json"],
            "expect": [
                {"time": "2026-11-22T00:26:09.500+01:00", "severity": "error", "body": {"n": 1, "level": "error", "ts": "2026-11-21T23:26:09.5Z"}},
                {},
                {"body": "no json", "error": "not one JSON object"},
            ],
            "routed": {"alarms": [{"severity": "ERROR"}], "all": [{}, {}, {"error": "json"}]},
        }]));
        assert_eq!(outcomes, [TestOutcome { name: "all of it".to_owned(), differences: vec![] }]);
    }

    #[test]
    fn each_difference_says_where_it_is_and_what_is_there() {
        let outcomes = outcomes(&json!([{
            "name": "wrong",
            "lines": [ERROR, "no json"],
            "expect": [{"time": "noon", "severity": "WARN", "body": {"n": 2}, "error": "oh"}, {}, {}],
            "routed": {"alarms": []},
        }]));
        let told: Vec<_> = outcomes[0].differences.iter().map(|of| (of.place.as_str(), of.expected.as_str())).collect();
        let expected = [
            ("line 1: time", "\"noon\""),
            ("line 1: severity", "\"WARN\""),
            ("line 1: body", r#"{"n":2}"#),
            ("line 1: error", "\"oh\" in it"),
            ("line 2: error", "nothing"),
            ("lines", "3 records"),
            ("sender alarms, records", "0 records"),
        ];
        assert_eq!(told, expected);
        assert_eq!(outcomes[0].differences[0].got, "\"2026-11-21T23:26:09.500Z\"");
        assert!(outcomes[0].differences[6].got.starts_with("1 record, the last: {\"level\":\"error\""), "{outcomes:?}");
    }
}
