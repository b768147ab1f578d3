//! Lines that are one JSON object each: checked, and kept as they are written, key order and number digits too.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use logvine_cluster::spec::JsonParseSpec;
use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor},
};

use serde_json::Value;

use super::{Known, Taken, time};
use crate::{record::Body, severity::Severity};

#[derive(Debug)]
pub(super) struct Json {
    time: Option<String>,
    severity: Option<String>,
}

impl Json {
    pub(super) fn new(spec: &JsonParseSpec) -> Self {
        Self { time: spec.time.clone(), severity: spec.severity.clone() }
    }

    pub(super) fn parse(&self, line: &Bytes) -> Taken {
        let text = line.trim_ascii();
        // serde_json passes over strings without looking at their bytes.
        let checked = str::from_utf8(text).map_err(|_| "not UTF-8")?;
        let mut json = serde_json::Deserializer::from_str(checked);
        let found = Wanted([self.time.as_deref(), self.severity.as_deref()]).deserialize(&mut json);
        let [time, severity] = found.and_then(|found| json.end().map(|()| found)).map_err(|error| format!("not one JSON object: {error}"))?;
        let mut known = Known::default();
        if let (Some(value), Some(name)) = (time, &self.time) {
            known.set_time(time::of_value(&value).map(Some).map_err(|error| format!("field `{name}`: {error}")));
        }
        known.severity = severity.as_ref().and_then(Value::as_str).and_then(Severity::of_word);
        Ok((Body::Json(line.slice_ref(text)), known))
    }
}

/// Checks an object and picks fields of it, of each the last of its name.
struct Wanted<'a>([Option<&'a str>; 2]);

impl<'de> DeserializeSeed<'de> for Wanted<'_> {
    type Value = [Option<Value>; 2];

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Wanted<'_> {
    type Value = [Option<Value>; 2];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None, None];
        if self.0 == [None, None] {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(found);
        }
        while let Some(key) = map.next_key::<Key<'de>>()? {
            if self.0.contains(&Some(&*key.0)) {
                let value = map.next_value::<Value>()?;
                for (wanted, found) in self.0.iter().zip(&mut found) {
                    if *wanted == Some(&*key.0) {
                        *found = Some(value.clone());
                    }
                }
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// serde takes a `Cow` by itself as owned always.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(time: Option<&str>, line: &str) -> Taken {
        Json::new(&JsonParseSpec { time: time.map(str::to_owned), severity: None }).parse(&Bytes::copy_from_slice(line.as_bytes()))
    }

    #[test]
    fn an_object_is_kept_as_it_is_written() {
        let text = r#"{"z":1,"a":18446744073709551616,"a":[{}],"s":"\u00e9"}"#;
        assert_eq!(check(None, &format!(" {text}\t")), Ok((Body::Json(Bytes::from(text)), Known::default())));
    }

    #[test]
    fn what_is_not_one_object_is_refused_with_the_reason() {
        for line in ["", "text", "[1]", "1", "null", r#"{"a":1"#, r#"{"a":1}{"b":2}"#, r#"{"a":1} x"#, "{'a':1}", r#"{"a":01}"#] {
            assert!(check(None, line).unwrap_err().contains("not one JSON object"), "{line}");
            assert!(check(Some("t"), line).is_err(), "{line}");
        }
        let parsed = Json::new(&JsonParseSpec::default()).parse(&Bytes::from_static(b"{\"a\":\"\xff\"}"));
        assert_eq!(parsed.unwrap_err(), "not UTF-8");
    }

    #[test]
    fn the_time_is_read_where_it_is_configured() {
        let time = |line: &str| check(Some("ts"), line).unwrap().1.time;
        assert_eq!(time(r#"{"a":{"ts":1},"ts":"2026-11-21T23:26:09.5Z"}"#), Some(1_795_303_569_500_000));
        assert_eq!(time(r#"{"\u0074s":1795303569}"#), Some(1_795_303_569_000_000));
        assert_eq!(time(r#"{"a":1}"#), None);
        assert!(check(Some("ts"), r#"{"ts":"noon"}"#).unwrap().1.error.unwrap().contains("`ts`"));
    }

    #[test]
    fn the_level_is_read_where_it_is_configured_though_it_be_the_times_field() {
        let severity = |time: Option<&str>, line: &'static str| {
            let spec = JsonParseSpec { time: time.map(str::to_owned), severity: Some("level".to_owned()) };
            Json::new(&spec).parse(&Bytes::from(line)).unwrap().1.severity.map(Severity::name)
        };
        assert_eq!(severity(None, r#"{"level":"debug","level":"Warning"}"#), Some("WARN"));
        assert_eq!(severity(Some("level"), r#"{"level":"info"}"#), Some("INFO"));
        assert_eq!(severity(None, r#"{"level":30}"#), None);
    }
}
