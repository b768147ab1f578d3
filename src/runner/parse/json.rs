//! Lines that are one JSON object each: checked, and kept as they are written, key order and number digits too.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use logvine_cluster::spec::JsonParseSpec;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{Taken, time};
use crate::record::Body;

#[derive(Debug)]
pub(super) struct Json {
    time: Option<String>,
}

impl Json {
    pub(super) fn new(spec: &JsonParseSpec) -> Self {
        Self { time: spec.time.clone() }
    }

    pub(super) fn parse(&self, line: &Bytes) -> Taken {
        let text = line.trim_ascii();
        // serde_json passes over strings without looking at their bytes.
        let checked = std::str::from_utf8(text).map_err(|_| "not UTF-8".to_owned())?;
        let mut json = serde_json::Deserializer::from_str(checked);
        let found = Field(self.time.as_deref()).deserialize(&mut json).and_then(|found| json.end().map(|()| found));
        let found = found.map_err(|error| format!("not one JSON object: {error}"))?;
        let micros = match (found, &self.time) {
            (Some(value), Some(name)) => time::of_value(&value).map(Some).map_err(|error| format!("field `{name}`: {error}")),
            _ => Ok(None),
        };
        Ok((Body::Json(line.slice_ref(text)), micros))
    }
}

/// Checks an object and picks one field of it, the last of its name.
struct Field<'a>(Option<&'a str>);

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = Option<serde_json::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Option<serde_json::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        let Some(wanted) = self.0 else {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(None);
        };
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key == wanted {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(time: Option<&str>, line: &str) -> Taken {
        Json::new(&JsonParseSpec { time: time.map(str::to_owned) }).parse(&Bytes::copy_from_slice(line.as_bytes()))
    }

    #[test]
    fn an_object_is_kept_as_it_is_written() {
        let text = r#"{"z":1,"a":18446744073709551616,"a":[{}],"s":"\u00e9"}"#;
        assert_eq!(check(None, &format!(" {text}\t")), Ok((Body::Json(Bytes::from(text)), Ok(None))));
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
        let time = |line: &str| check(Some("ts"), line).unwrap().1;
        assert_eq!(time(r#"{"a":{"ts":1},"ts":"2026-11-21T23:26:09.5Z"}"#), Ok(Some(1_795_303_569_500_000)));
        assert_eq!(time(r#"{"\u0074s":1795303569}"#), Ok(Some(1_795_303_569_000_000)));
        assert_eq!(time(r#"{"a":1}"#), Ok(None));
        assert!(time(r#"{"ts":"noon"}"#).unwrap_err().contains("`ts`"));
    }
}
