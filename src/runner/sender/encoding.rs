//! How records are written for a kind of sender, and how what was written is shown to people.

use std::borrow::Cow;

use logvine_cluster::spec::SenderSpec;

use super::ndjson::{self, Origin};
use crate::record::Record;

/// What the bytes of a record are. Senders that have the same one share the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// A line of JSON with its end.
    Ndjson,
}

impl Encoding {
    /// What a sender takes.
    pub(crate) fn of(spec: &SenderSpec) -> Self {
        match spec {
            SenderSpec::File(_) | SenderSpec::Stdout(_) | SenderSpec::Http(_) => Self::Ndjson,
        }
    }

    /// Appends `record` to `out`: at least one byte.
    pub(crate) fn write(&self, out: &mut Vec<u8>, origin: &Origin, record: &Record) {
        match self {
            Self::Ndjson => ndjson::write(out, origin, record),
        }
    }

    /// One written record as one JSON value: for taps, and for what is put aside.
    pub(crate) fn shown<'a>(&self, record: &'a [u8]) -> Cow<'a, [u8]> {
        match self {
            Self::Ndjson => Cow::Borrowed(record.trim_ascii_end()),
        }
    }
}
