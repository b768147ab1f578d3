//! `[[tests]]`: what is expected of a runner's stages, beside the runner that they are of.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::faults::Faults;
use crate::name::Name;

/// Sample lines and the records that they must become. `logvine runner test` runs it, without an agent; a runner at work takes no notice of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TestSpec {
    /// What it shows, for people; unique in the runner.
    pub name: String,
    /// The lines, each without its end.
    pub lines: Vec<String>,
    /// The record of each line, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<ExpectedRecord>,
    /// By sender, the records that it takes, in order.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub routed: BTreeMap<Name, Vec<ExpectedRecord>>,
}

/// What must be so of a record; what is left out may be anything, except `error`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ExpectedRecord {
    /// RFC 3339 UTC, such as `2026-11-21T23:26:09.500Z`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// `TRACE` to `FATAL4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// The whole body: a text, or an object with all its fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// A part of why a stage failed on it. Without it no stage may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A runner's spec is on every node: its tests are examples, not a corpus.
const TESTS_MAX: usize = 100;
const LINES_MAX: usize = 100;
const LINE_BYTES_MAX: usize = 16 << 10;

/// Finds what is wrong with the tests of a runner that has these senders.
pub(super) fn check(tests: &[TestSpec], senders: &BTreeSet<&Name>, faults: &mut Faults) {
    if tests.len() > TESTS_MAX {
        faults.add("/tests", format!("has {} tests, where at most {TESTS_MAX} are kept", tests.len()));
    }
    let mut names = BTreeSet::new();
    for (at, test) in tests.iter().enumerate() {
        let pointer = format!("/tests/{at}");
        if !names.insert(&test.name) {
            faults.add(format!("{pointer}/name"), format!("`{}` is there twice", test.name));
        }
        if !(1..=LINES_MAX).contains(&test.lines.len()) {
            let detail = format!("has {} lines: give 1 to {LINES_MAX}, such as [\"level=info msg=ready\"]", test.lines.len());
            faults.add(format!("{pointer}/lines"), detail);
        }
        for (number, line) in test.lines.iter().enumerate() {
            if line.len() > LINE_BYTES_MAX {
                faults.add(format!("{pointer}/lines/{number}"), format!("has {} bytes, where a line has at most {LINE_BYTES_MAX}", line.len()));
            }
        }
        if test.expect.is_empty() && test.routed.is_empty() {
            faults.add(&pointer, "expects nothing: give `expect`, such as [{\"severity\": \"INFO\", \"body\": {\"msg\": \"ready\"}}], or `routed`");
        }
        for sender in test.routed.keys().filter(|name| !senders.contains(name)) {
            let known: Vec<&str> = senders.iter().map(|name| name.as_str()).collect();
            faults.add(format!("{pointer}/routed/{sender}"), format!("the runner has no sender `{sender}`: it has {}", known.join(", ")));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_wrong_part_is_named_with_what_is_allowed() {
        let tests: Vec<TestSpec> = serde_json::from_value(json!([
            {"name": "a", "lines": ["x"], "expect": [{"body": "x"}], "routed": {"out": []}},
            {"name": "a", "lines": [], "routed": {"elsewhere": [{}]}},
            {"name": "b", "lines": ["x".repeat(LINE_BYTES_MAX + 1)]},
        ]))
        .unwrap();
        let out: Name = "out".parse().unwrap();
        let mut faults = Faults::default();
        check(&tests, &[&out].into(), &mut faults);
        let pointers: Vec<_> = faults.0.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(pointers, ["/tests/1/name", "/tests/1/lines", "/tests/1/routed/elsewhere", "/tests/2/lines/0", "/tests/2"]);
        assert!(faults.0[2].detail.ends_with("it has out"));
    }

    #[test]
    fn what_is_expected_survives_the_wire() {
        let test: TestSpec =
            serde_json::from_value(json!({"name": "a", "lines": ["x"], "expect": [{"body": {"n": [1, null, 1.5]}, "error": "no"}]})).unwrap();
        let back: TestSpec = rmp_serde::from_slice(&rmp_serde::to_vec_named(&test).unwrap()).unwrap();
        assert_eq!(back, test);
    }
}
