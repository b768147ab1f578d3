//! `senders[].when`: which records a sender takes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::faults::Faults;

/// Which records a sender takes: those for which all that is given here holds. Without it, it takes every record. A record that no sender takes is counted as
/// `unrouted`, and its place is acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct WhenSpec {
    /// The least severity: `trace`, `debug`, `info`, `warn`, `error`, `fatal`, or a step between (`info2`). It does not hold for a record that says none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// Fields of the record's body, by name (`status`, or `http.status` of an object within it), each with the value that it has, or a list of values of which
    /// it has one: a text, an integer or a truth value. A line that was not taken apart has the one field `message`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, OneOf>,
    /// Fields that are there and not null.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exists: Vec<String>,
    /// True: only records on which a stage failed. False: only others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<bool>,
    /// A VRL expression that is true or false; `.` is the record's fields. Asked last, as it is the dearest. Where it fails, the sender takes the record, which is
    /// marked. Needs a build with the feature `vrl`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vrl: Option<String>,
    /// The sender takes the records for which the rest does not hold.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub not: bool,
}

/// What a field may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(untagged, expecting = "a field's value is a text, an integer or a truth value, or a list of them, such as \"acme\" or [500, 503]")]
pub enum OneOf {
    One(Scalar),
    Several(Vec<Scalar>),
}

impl OneOf {
    /// The values that it may have.
    pub fn values(&self) -> &[Scalar] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Several(values) => values,
        }
    }
}

/// A value that is equal to another or not; fractions of seconds and the like are not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum Scalar {
    Bool(bool),
    Integer(i64),
    Text(String),
}

/// Fields that one condition looks at, and values of one: a search, not a list to grow.
const FIELDS_MAX: usize = 32;
const VALUES_MAX: usize = 1_000;
/// The words of `severity`; a step between is one of them with 2, 3 or 4.
const SEVERITIES: [&str; 6] = ["trace", "debug", "info", "warn", "error", "fatal"];

impl WhenSpec {
    /// The least OTLP `severity_number` that is taken; None where any is, or the word is none.
    pub fn severity_number(&self) -> Option<u8> {
        let word = self.severity.as_deref()?.to_ascii_lowercase();
        SEVERITIES.iter().zip((1..).step_by(4)).find_map(|(name, number)| match word.strip_prefix(name)? {
            "" => Some(number),
            "2" => Some(number + 1),
            "3" => Some(number + 2),
            "4" => Some(number + 3),
            _ => None,
        })
    }

    pub(super) fn check(&self, pointer: &str, faults: &mut Faults) {
        if (Self { not: false, ..self.clone() }) == Self::default() {
            let detail = "says nothing: give one of severity, fields, exists, failed and vrl, such as {\"severity\": \"error\"}; a sender without `when` takes all";
            faults.add(pointer, detail);
        }
        if let (Some(word), None) = (&self.severity, self.severity_number()) {
            let detail = format!("`{word}` is no severity: {}, or a step between such as `info2`", SEVERITIES.join(", "));
            faults.add(format!("{pointer}/severity"), detail);
        }
        for (key, count) in [("fields", self.fields.len()), ("exists", self.exists.len())] {
            if count > FIELDS_MAX {
                faults.add(format!("{pointer}/{key}"), format!("has {count} fields, where at most {FIELDS_MAX} are looked at"));
            }
        }
        for (name, values) in &self.fields {
            let at = format!("{pointer}/fields/{}", name.replace('~', "~0").replace('/', "~1"));
            check_path(&at, name, faults);
            let count = values.values().len();
            if !(1..=VALUES_MAX).contains(&count) {
                faults.add(at, format!("has {count} values: give 1 to {VALUES_MAX}, such as [500, 502, 503]"));
            }
        }
        for (at, name) in self.exists.iter().enumerate() {
            check_path(&format!("{pointer}/exists/{at}"), name, faults);
        }
    }
}

fn check_path(pointer: &str, path: &str, faults: &mut Faults) {
    if path.split('.').any(str::is_empty) {
        faults.add(pointer, format!("`{path}` is no field: write its name, such as `status`, or `http.status` of an object within the body"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn faults(when: &Value) -> Vec<String> {
        let when: WhenSpec = serde_json::from_value(when.clone()).unwrap();
        let mut faults = Faults::default();
        when.check("/senders/0/when", &mut faults);
        faults.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_wrong_part_is_named_with_what_is_allowed() {
        assert_eq!(faults(&json!({"severity": "Warn3", "fields": {"http.status": [500, "x", true]}, "exists": ["a.b"], "not": true})), [""; 0]);
        let told = faults(&json!({"severity": "loud", "fields": {"a..b": 1, "a/b": []}, "exists": [""]}));
        let expected = [
            ("/senders/0/when/severity: ", "trace, debug, info"),
            ("/senders/0/when/fields/a..b: ", "`http.status`"),
            ("/senders/0/when/fields/a~1b: ", "[500, 502, 503]"),
            ("/senders/0/when/exists/0: ", "`status`"),
        ];
        assert_eq!(told.len(), expected.len(), "{told:?}");
        for (told, (pointer, example)) in told.iter().zip(expected) {
            assert!(told.starts_with(pointer) && told.contains(example), "{told}");
        }
        for empty in [json!({}), json!({"not": true})] {
            assert!(faults(&empty)[0].contains("such as {\"severity\": \"error\"}"));
        }
        assert_eq!(faults(&json!({"exists": vec!["a"; 33]})).len(), 1);
    }

    #[test]
    fn a_value_of_another_kind_is_told_the_known_ones() {
        let told = serde_json::from_value::<WhenSpec>(json!({"fields": {"a": {"b": 1}}})).unwrap_err().to_string();
        assert!(told.contains("a text, an integer or a truth value") && told.contains("[500, 503]"), "{told}");
    }

    #[test]
    fn severities_are_numbered_as_in_otlp() {
        let number = |word: &str| WhenSpec { severity: Some(word.to_owned()), ..WhenSpec::default() }.severity_number();
        assert_eq!(["trace", "INFO", "info4", "Fatal4", "fatal5", "err"].map(number), [Some(1), Some(9), Some(12), Some(24), None, None]);
    }

    /// Specs are kept as MessagePack on disk and between nodes.
    #[test]
    fn a_condition_survives_the_wire() {
        let when: WhenSpec = serde_json::from_value(json!({"fields": {"a": "x", "b": [1, true]}, "failed": false})).unwrap();
        let back: WhenSpec = rmp_serde::from_slice(&rmp_serde::to_vec_named(&when).unwrap()).unwrap();
        assert_eq!(back, when);
    }
}
