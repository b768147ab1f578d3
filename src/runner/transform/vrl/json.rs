//! JSON to VRL's values and back, as `serde_json` would do it, without a text of its own for each field.

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;
use serde::de::{DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use vrl::value::{KeyString, ObjectMap, Value};

use crate::json_text;

/// Less deep than what parsers of JSON take: some of those that come after this take texts apart again.
const DEPTH_MAX: usize = 100;

/// The value that `json` is. Its texts are parts of `json`, where they have no escapes.
/// Errors: it is not JSON.
pub(super) fn read(json: &Bytes) -> serde_json::Result<Value> {
    let Ok(text) = ByteString::try_from(json.clone()) else {
        return serde_json::from_slice(json);
    };
    let mut parser = serde_json::Deserializer::from_str(&text);
    let value = Within(&text).deserialize(&mut parser)?;
    parser.end()?;
    Ok(value)
}

/// The same object as JSON; `guess`: about how many bytes. None: a field of it is a text that is not UTF-8, or it is deep.
pub(super) fn write(fields: &ObjectMap, guess: usize) -> Option<Bytes> {
    let mut out = Vec::with_capacity(guess);
    push_object(&mut out, fields, 1)?;
    Some(out.into())
}

fn push_object(out: &mut Vec<u8>, fields: &ObjectMap, depth: usize) -> Option<()> {
    out.push(b'{');
    for (at, (key, value)) in fields.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        json_text::push(out, key.as_str());
        out.push(b':');
        push(out, value, depth)?;
    }
    out.push(b'}');
    Some(())
}

fn push(out: &mut Vec<u8>, value: &Value, depth: usize) -> Option<()> {
    match value {
        Value::Bytes(bytes) => json_text::push(out, str::from_utf8(bytes).ok()?),
        Value::String(text) => json_text::push(out, text),
        Value::Integer(number) => out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
        Value::Object(fields) if depth < DEPTH_MAX => push_object(out, fields, depth + 1)?,
        Value::Array(values) if depth < DEPTH_MAX => {
            out.push(b'[');
            for (at, value) in values.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                push(out, value, depth + 1)?;
            }
            out.push(b']');
        }
        Value::Object(_) | Value::Array(_) => return None,
        Value::Regex(_) | Value::Float(_) | Value::Boolean(_) | Value::Timestamp(_) | Value::Null => serde_json::to_writer(out, value).ok()?,
    }
    Some(())
}

/// Reads a value that is a part of this text.
#[derive(Clone, Copy)]
struct Within<'a>(&'a ByteString);

impl<'de> DeserializeSeed<'de> for Within<'de> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Within<'de> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any valid JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    /// One that is too great becomes a float, as VRL has it.
    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        serde::Deserialize::deserialize(IntoDeserializer::<E>::into_deserializer(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        serde::Deserialize::deserialize(IntoDeserializer::<E>::into_deserializer(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Value, E> {
        Ok(Value::String(self.0.slice_ref(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = access.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut fields = ObjectMap::new();
        while let Some(key) = access.next_key::<KeyString>()? {
            fields.insert(key, access.next_value_seed(self)?);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<u64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
            "[a-z\"\\\\\n]{0,20}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            let map = prop::collection::hash_map("[a-z\"é]{0,4}", inner.clone(), 0..6);
            prop_oneof![prop::collection::vec(inner, 0..6).prop_map(Into::into), map.prop_map(|fields| fields.into_iter().collect())]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn values_are_read_and_written_as_serde_json_does_it(value in json()) {
            let text = Bytes::from(serde_json::to_vec(&serde_json::json!({ "it": value })).unwrap());
            let value: Value = serde_json::from_slice(&text).unwrap();
            prop_assert_eq!(&read(&text).unwrap(), &value);
            let Value::Object(fields) = &value else { panic!() };
            prop_assert_eq!(write(fields, 0).unwrap(), serde_json::to_vec(&value).unwrap());
        }
    }

    #[test]
    fn what_is_no_json_is_not_read() {
        for text in ["", "\"\u{0}\"", "{", "{} {}", "{\"a\":1,}", "\"\\ud800\""] {
            let told = |error: serde_json::Error| error.to_string();
            assert_eq!(read(&Bytes::from(text)).map_err(told), serde_json::from_slice::<Value>(text.as_bytes()).map_err(told), "{text}");
            assert!(read(&Bytes::from(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_deep_or_no_text_is_left_to_others() {
        let nested = |depth| (1..depth).fold(ObjectMap::new(), |within, _| ObjectMap::from([("a".into(), Value::Object(within))]));
        assert!(write(&nested(DEPTH_MAX), 0).is_some());
        assert_eq!(write(&nested(DEPTH_MAX + 1), 0), None);
        assert_eq!(write(&ObjectMap::from([("a".into(), Value::Bytes(Bytes::from_static(b"\xff")))]), 0), None);
    }
}
