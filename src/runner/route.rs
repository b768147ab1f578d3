//! Routing: which senders take a record, by their `when`.
//!
//! What the conditions look at is picked out of a record once for all of them: a body that was not taken apart stays as it is, and nothing becomes a VRL
//! object unless a condition is written in VRL. Without any `when` no record comes here.

use std::{borrow::Cow, fmt};

use logvine_cluster::spec::{OneOf, Scalar, SenderSpec, WhenSpec};
use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor},
};
use serde_json::Value;

use crate::{
    record::{Body, Record},
    transform::{Asked, Expression},
};

/// The conditions of a runner's senders, ready to be asked by one task; clone it for another.
#[derive(Debug, Clone)]
pub(crate) struct Router {
    conditions: Vec<Condition>,
    /// First names of the fields that they look at.
    keys: Vec<String>,
    /// By condition: whether it holds for the last record.
    held: Vec<bool>,
}

#[derive(Debug, Clone)]
struct Condition {
    /// OTLP's `severity_number`.
    severity: Option<u8>,
    failed: Option<bool>,
    fields: Vec<(Path, OneOf)>,
    exists: Vec<Path>,
    expression: Option<Expression>,
    not: bool,
}

/// Where a field is: its first name by its place among the router's keys, then the names within.
#[derive(Debug, Clone)]
struct Path {
    key: usize,
    within: Vec<String>,
}

/// The distinct conditions among senders, in the order of their places.
pub(crate) fn conditions(senders: &[SenderSpec]) -> Vec<&WhenSpec> {
    let mut distinct = Vec::new();
    for when in senders.iter().filter_map(SenderSpec::when) {
        if !distinct.contains(&when) {
            distinct.push(when);
        }
    }
    distinct
}

impl Router {
    /// None: no sender has a condition. Errors: which sender's is wrong, for people.
    pub(crate) fn new(senders: &[SenderSpec]) -> Result<Option<Self>, String> {
        let mut keys = Vec::new();
        let compiled = conditions(senders).into_iter().map(|when| {
            Condition::new(when, &mut keys).map_err(|error| {
                let of = senders.iter().find(|sender| sender.when() == Some(when)).map_or("", |sender| sender.name().as_str());
                format!("sender `{of}`: when: {error}")
            })
        });
        let conditions: Vec<_> = compiled.collect::<Result<_, _>>()?;
        let held = vec![false; conditions.len()];
        Ok((!conditions.is_empty()).then_some(Self { conditions, keys, held }))
    }

    /// Whether it runs VRL.
    pub(crate) fn has_expressions(&self) -> bool {
        self.conditions.iter().any(|condition| condition.expression.is_some())
    }

    /// By condition, whether it holds for the record. One that fails holds, and its reason is among the errors: nobody misses a record by it.
    pub(crate) fn ask(&mut self, record: &Record, errors: &mut Vec<String>) -> &[bool] {
        let found = pick(&record.body, &self.keys);
        let mut asked = Asked::default();
        for (condition, held) in self.conditions.iter_mut().zip(&mut self.held) {
            *held = condition.holds(record, &found, &mut asked).unwrap_or_else(|error| {
                errors.push(format!("when: {error}"));
                true
            });
        }
        &self.held
    }
}

impl Condition {
    fn new(when: &WhenSpec, keys: &mut Vec<String>) -> Result<Self, String> {
        let mut path = |text: &str| {
            let mut names = text.split('.').map(str::to_owned);
            let first = names.next().unwrap_or_default();
            let known = keys.iter().position(|key| *key == first);
            let key = known.unwrap_or_else(|| {
                keys.push(first);
                keys.len() - 1
            });
            Path { key, within: names.collect() }
        };
        Ok(Self {
            severity: when.severity_number(),
            failed: when.failed,
            fields: when.fields.iter().map(|(name, values)| (path(name), values.clone())).collect(),
            exists: when.exists.iter().map(|name| path(name)).collect(),
            expression: when.vrl.as_deref().map(Expression::compile).transpose()?,
            not: when.not,
        })
    }

    /// Errors: the VRL expression failed.
    fn holds(&mut self, record: &Record, found: &[Option<Cow<'_, Value>>], asked: &mut Asked) -> Result<bool, String> {
        let native = self.severity.is_none_or(|least| record.severity.is_some_and(|severity| severity.number() >= least))
            && self.failed.is_none_or(|failed| record.error.is_some() == failed)
            && self.fields.iter().all(|(path, values)| path.of(found).is_some_and(|value| values.values().iter().any(|one| is(one, value))))
            && self.exists.iter().all(|path| path.of(found).is_some_and(|value| !value.is_null()));
        let all = native && self.expression.as_mut().map_or(Ok(true), |expression| expression.holds(&record.body, asked))?;
        Ok(all != self.not)
    }
}

impl Path {
    fn of<'a>(&self, found: &'a [Option<Cow<'_, Value>>]) -> Option<&'a Value> {
        self.within.iter().try_fold(found[self.key].as_deref()?, |value, name| value.get(name))
    }
}

fn is(wanted: &Scalar, value: &Value) -> bool {
    match wanted {
        Scalar::Text(text) => value.as_str() == Some(text),
        Scalar::Integer(number) => value.as_i64() == Some(*number),
        Scalar::Bool(truth) => value.as_bool() == Some(*truth),
    }
}

/// The values of some first names of a body's fields, each the last of its name.
fn pick<'a>(body: &'a Body, keys: &[String]) -> Vec<Option<Cow<'a, Value>>> {
    match body {
        _ if keys.is_empty() => Vec::new(),
        Body::Text(text) => {
            let value = |key: &String| (key == "message").then(|| Cow::Owned(String::from_utf8_lossy(text).into()));
            keys.iter().map(value).collect()
        }
        // Checked already: what cannot be read is nested deeper than the parser goes, and has no field that can be reached.
        Body::Json(json) => {
            let found = Wanted(keys).deserialize(&mut serde_json::Deserializer::from_slice(json));
            found.unwrap_or_else(|_| vec![None; keys.len()]).into_iter().map(|value| value.map(Cow::Owned)).collect()
        }
        Body::Object(fields) => keys.iter().map(|key| fields.get(key).map(Cow::Borrowed)).collect(),
    }
}

struct Wanted<'a>(&'a [String]);

impl<'de> DeserializeSeed<'de> for Wanted<'_> {
    type Value = Vec<Option<Value>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Wanted<'_> {
    type Value = Vec<Option<Value>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = vec![None; self.0.len()];
        while let Some(name) = map.next_key::<Name<'de>>()? {
            match self.0.iter().position(|key| *key == name.0) {
                Some(at) => found[at] = Some(map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

/// serde takes a `Cow` by itself as owned always.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::severity::Severity;

    fn router(whens: &[Value]) -> Router {
        let sender = |(at, when): (usize, &Value)| {
            let mut sender = json!({"type": "stdout", "name": format!("s{at}")});
            if !when.is_null() {
                sender["when"] = when.clone();
            }
            sender
        };
        let senders: Vec<SenderSpec> = serde_json::from_value(whens.iter().enumerate().map(sender).collect()).unwrap();
        Router::new(&senders).unwrap().unwrap()
    }

    fn record(body: Body) -> Record {
        Record { id: [0; 16], offset: 0, time: None, severity: None, body, error: None, cut: false }
    }

    fn bodies(value: &Value) -> [Body; 2] {
        [Body::Json(value.to_string().into()), Body::Object(value.as_object().unwrap().clone())]
    }

    fn ask(router: &mut Router, record: &Record) -> Vec<bool> {
        let mut errors = vec![];
        let held = router.ask(record, &mut errors).to_vec();
        assert_eq!(errors, [""; 0]);
        held
    }

    #[test]
    fn senders_without_conditions_need_no_router() {
        let senders: Vec<SenderSpec> = serde_json::from_value(json!([{"type": "stdout", "name": "a"}])).unwrap();
        assert!(Router::new(&senders).unwrap().is_none());
    }

    #[test]
    fn fields_are_equal_to_one_of_their_values_wherever_they_are() {
        let mut router = router(&[
            json!({"fields": {"http.status": [500, 503]}}),
            json!({"fields": {"tenant": "acme", "http.tls": true}}),
            json!({"exists": ["http.status", "tenant"]}),
            json!({"exists": ["none"]}),
            json!({"fields": {"tenant": "acme"}, "not": true}),
        ]);
        for body in bodies(&json!({"http": {"status": 503, "tls": true}, "tenant": "acme", "none": null})) {
            assert_eq!(ask(&mut router, &record(body)), [true, true, true, false, false]);
        }
        for body in bodies(&json!({"http": {"status": "503", "tls": true}, "tenant": ["acme"]})) {
            assert_eq!(ask(&mut router, &record(body)), [false, false, true, false, true]);
        }
        for body in bodies(&json!({"http": 503, "tenant": "x"})) {
            assert_eq!(ask(&mut router, &record(body)), [false, false, false, false, true]);
        }
    }

    #[test]
    fn of_a_name_that_is_there_twice_the_last_counts_however_it_is_written() {
        let mut router = router(&[json!({"fields": {"a": 2}})]);
        assert_eq!(ask(&mut router, &record(Body::Json(r#"{"a":1,"\u0061":2}"#.into()))), [true]);
    }

    #[test]
    fn a_line_that_was_not_taken_apart_is_its_message() {
        let mut router = router(&[json!({"fields": {"message": "ready"}}), json!({"exists": ["status"]})]);
        assert_eq!(ask(&mut router, &record(Body::Text("ready".into()))), [true, false]);
    }

    #[test]
    fn severities_from_the_least_on_and_failures_are_told_apart() {
        let mut router =
            router(&[json!({"severity": "warn"}), json!({"failed": true}), json!({"failed": false}), json!({"severity": "info", "failed": false})]);
        let graded = |word| Record { severity: Severity::of_word(word), ..record(Body::Text("x".into())) };
        assert_eq!(ask(&mut router, &graded("info")), [false, false, true, true]);
        assert_eq!(ask(&mut router, &graded("error")), [true, false, true, true]);
        let failed = Record { error: Some("json: no object".into()), ..record(Body::Text("x".into())) };
        assert_eq!(ask(&mut router, &failed), [false, true, false, false]);
    }

    #[cfg(feature = "vrl")]
    #[test]
    fn an_expression_is_asked_of_the_fields_and_one_that_fails_holds_and_is_told() {
        let mut router = router(&[json!({"vrl": ".status == 500"}), json!({"vrl": "to_int!(.status) >= 500", "exists": ["status"]})]);
        assert_eq!(ask(&mut router, &record(Body::Json(r#"{"status":500}"#.into()))), [true, true]);
        assert_eq!(ask(&mut router, &record(Body::Text("x".into()))), [false, false]);
        let mut errors = vec![];
        let odd = record(Body::Json(r#"{"status":[]}"#.into()));
        assert_eq!(router.ask(&odd, &mut errors), [false, true]);
        assert!(errors.len() == 1 && errors[0].starts_with("when: vrl: "), "{errors:?}");
    }

    #[cfg(feature = "vrl")]
    #[test]
    fn an_expression_that_is_no_condition_is_refused_with_its_senders_name() {
        for (program, told) in
            [(".a", "true or false"), (".a = true", "read-only"), ("no_such(.a)", "undefined function"), ("true\nfoo", "undefined")]
        {
            let senders: Vec<SenderSpec> = serde_json::from_value(json!([{"type": "stdout", "name": "out", "when": {"vrl": program}}])).unwrap();
            let error = Router::new(&senders).unwrap_err();
            assert!(error.starts_with("sender `out`: when: ") && error.contains(told), "{error}");
        }
    }
}
