//! What a stage finds out about a record besides its body: when it happened, how grave it is, and what was wrong with a value.

use serde_json::{Number, Value};

use super::{Wrong, time};
use crate::severity::Severity;

/// What is known of a record whose line could be taken apart.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Known {
    /// In microseconds since 1970.
    pub(super) time: Option<u64>,
    pub(super) severity: Option<Severity>,
    /// The first value that was not what it should be. It is in the body as it was written.
    pub(super) error: Option<String>,
}

impl Known {
    pub(super) fn set_time(&mut self, time: Result<Option<u64>, String>) {
        match time {
            Ok(time) => self.time = time,
            Err(error) => self.complain(error),
        }
    }

    pub(super) fn complain(&mut self, error: String) {
        self.error.get_or_insert(error);
    }
}

/// Which fields tell the time and the level.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// With its layout; RFC 3339 or a number without one.
    time: Option<(String, Option<time::Layout>)>,
    severity: Option<String>,
}

impl Marks {
    /// `has` says whether a field can be there. Errors: it cannot, or the layout is malformed.
    pub(super) fn new(time: Option<&str>, layout: Option<&str>, severity: Option<&str>, has: impl Fn(&str) -> bool) -> Result<Self, Wrong> {
        let layout = layout.map(time::Layout::new).transpose().map_err(|detail| Wrong::new("time_layout", detail))?;
        if layout.is_some() && time.is_none() {
            return Err(Wrong::new("time_layout", "needs `time`: name the field that holds the time"));
        }
        for (key, field) in [("time", time), ("severity", severity)] {
            if let Some(field) = field.filter(|field| !has(field)) {
                return Err(Wrong::new(key, format!("the pattern has no field `{field}`")));
            }
        }
        Ok(Self { time: time.map(|field| (field.to_owned(), layout)), severity: severity.map(str::to_owned) })
    }

    /// Notes what the value `text` of `field` says. A word that is no level says nothing.
    pub(super) fn note(&self, known: &mut Known, field: &str, text: &str) {
        if let Some((name, layout)) = &self.time
            && name == field
        {
            let read = layout.as_ref().map_or_else(|| time::of_text(text), |layout| layout.read(text));
            known.set_time(read.map(Some).map_err(|error| format!("field `{field}`: {error}")));
        }
        if self.severity.as_deref() == Some(field) {
            known.severity = Severity::of_word(text);
        }
    }
}

/// What a value is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Int,
    Float,
    Bool,
}

impl Kind {
    pub(super) fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            "text" | "string" => Self::Text,
            "int" | "integer" | "long" => Self::Int,
            "float" | "double" => Self::Float,
            "bool" | "boolean" => Self::Bool,
            _ => return None,
        })
    }

    /// None for a value that is not of this kind.
    fn read(self, text: &str) -> Option<Value> {
        match self {
            Self::Text => Some(text.into()),
            Self::Int => text.parse::<i64>().map(Value::from).ok().or_else(|| text.parse::<u64>().ok().map(Value::from)),
            Self::Float => text.parse().ok().and_then(Number::from_f64).map(Value::Number),
            Self::Bool => match text {
                "true" | "True" | "TRUE" => Some(true.into()),
                "false" | "False" | "FALSE" => Some(false.into()),
                _ => None,
            },
        }
    }

    /// The value of `field`; what is not of this kind stays a text, and that is noted.
    pub(super) fn value(self, known: &mut Known, field: &str, text: &str) -> Value {
        self.read(text).unwrap_or_else(|| {
            let kind = format!("{self:?}").to_lowercase();
            let shown: String = text.chars().take(64).collect();
            known.complain(format!("field `{field}`: `{shown}` is not of type {kind}"));
            text.into()
        })
    }
}
