//! The messages of `opentelemetry/proto/{common,resource,logs,collector/logs}/v1`, as far as they are written or read here.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Number, Value};

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AnyValue {
    #[prost(oneof = "any_value::Value", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub(crate) value: Option<any_value::Value>,
}

pub(crate) mod any_value {
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(crate) enum Value {
        #[prost(string, tag = "1")]
        Text(String),
        #[prost(bool, tag = "2")]
        Bool(bool),
        #[prost(int64, tag = "3")]
        Int(i64),
        #[prost(double, tag = "4")]
        Double(f64),
        #[prost(message, tag = "5")]
        Array(super::ArrayValue),
        #[prost(message, tag = "6")]
        Fields(super::KeyValueList),
        #[prost(bytes = "vec", tag = "7")]
        Bytes(Vec<u8>),
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ArrayValue {
    #[prost(message, repeated, tag = "1")]
    pub(crate) values: Vec<AnyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct KeyValueList {
    #[prost(message, repeated, tag = "1")]
    pub(crate) values: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct KeyValue {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct LogRecord {
    #[prost(fixed64, tag = "1")]
    pub(crate) time_unix_nano: u64,
    /// The enumeration `SeverityNumber`: 1 (`TRACE`) to 24 (`FATAL4`), 0 for none.
    #[prost(int32, tag = "2")]
    pub(crate) severity_number: i32,
    #[prost(string, tag = "3")]
    pub(crate) severity_text: String,
    #[prost(message, optional, tag = "5")]
    pub(crate) body: Option<AnyValue>,
    #[prost(message, repeated, tag = "6")]
    pub(crate) attributes: Vec<KeyValue>,
    #[prost(fixed64, tag = "11")]
    pub(crate) observed_time_unix_nano: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Resource {
    #[prost(message, repeated, tag = "1")]
    pub(crate) attributes: Vec<KeyValue>,
}

/// `InstrumentationScope`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Scope {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) version: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ScopeLogs {
    #[prost(message, optional, tag = "1")]
    pub(crate) scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) log_records: Vec<LogRecord>,
}

/// `ExportLogsServiceResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Answer {
    #[prost(message, optional, tag = "1")]
    pub(crate) partial_success: Option<PartialSuccess>,
}

/// `ExportLogsPartialSuccess`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PartialSuccess {
    #[prost(int64, tag = "1")]
    pub(crate) rejected_log_records: i64,
    #[prost(string, tag = "2")]
    pub(crate) error_message: String,
}

/// An object as it is.
pub(crate) fn of_fields(fields: &Map<String, Value>) -> any_value::Value {
    let pair = |(key, value): (&String, &Value)| KeyValue { key: key.clone(), value: Some(value.into()) };
    any_value::Value::Fields(KeyValueList { values: fields.iter().map(pair).collect() })
}

impl From<&Value> for AnyValue {
    /// A number beyond 64 bits is a double; null is the empty value.
    fn from(value: &Value) -> Self {
        let value = match value {
            Value::Null => return Self { value: None },
            Value::Bool(truth) => any_value::Value::Bool(*truth),
            Value::Number(number) => match number.as_i64() {
                Some(whole) => any_value::Value::Int(whole),
                None => any_value::Value::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => any_value::Value::Text(text.clone()),
            Value::Array(values) => any_value::Value::Array(ArrayValue { values: values.iter().map(Self::from).collect() }),
            Value::Object(fields) => of_fields(fields),
        };
        Self { value: Some(value) }
    }
}

impl From<AnyValue> for Value {
    /// Bytes are base64, as in OTLP's own JSON.
    fn from(value: AnyValue) -> Self {
        match value.value {
            None => Self::Null,
            Some(any_value::Value::Text(text)) => Self::String(text),
            Some(any_value::Value::Bool(truth)) => Self::Bool(truth),
            Some(any_value::Value::Int(whole)) => whole.into(),
            Some(any_value::Value::Double(number)) => Number::from_f64(number).map_or(Self::Null, Self::Number),
            Some(any_value::Value::Array(array)) => array.values.into_iter().map(Self::from).collect(),
            Some(any_value::Value::Fields(list)) => {
                let pair = |pair: KeyValue| (pair.key, pair.value.map(Self::from).unwrap_or_default());
                Self::Object(list.values.into_iter().map(pair).collect())
            }
            Some(any_value::Value::Bytes(bytes)) => Self::String(STANDARD.encode(bytes)),
        }
    }
}
