//! What flows through a runner.

use bytes::Bytes;
use logvine_cluster::checkpoint::{FileKey, Position};

use super::severity::Severity;

/// Whole lines of one file, in order, without a gap to the chunk before.
#[derive(Debug, Clone)]
pub struct Chunk {
    pub file: FileKey,
    /// Before the first line.
    pub start: Position,
    /// After the last line and its line end: where a checkpoint goes when all of it is acknowledged.
    pub end: Position,
    pub lines: Vec<Line>,
}

/// One line.
#[derive(Debug, Clone)]
pub struct Line {
    /// Of its first byte in the file.
    pub offset: u64,
    /// Without the line end.
    pub bytes: Bytes,
    /// Whether it was longer than the limit and lost its rest.
    pub cut: bool,
}

/// One log record: OTLP's log data model, kept as bytes until somebody looks inside.
#[derive(Debug, Clone)]
pub struct Record {
    /// `logvine_cluster::checkpoint::record_id`.
    pub id: [u8; 16],
    /// Of its line's first byte in the file.
    pub offset: u64,
    /// When it happened, as the record itself says, in microseconds since 1970.
    pub time: Option<u64>,
    /// How grave it is, as the record itself says.
    pub severity: Option<Severity>,
    pub body: Body,
    /// Why a stage failed on it. It is kept and sent with this mark.
    pub error: Option<String>,
    /// Its line was longer than the limit and lost its rest.
    pub cut: bool,
}

/// A mark on a record says what is wrong, it does not repeat the record.
const ERROR_CHARS_MAX: usize = 500;

impl Record {
    /// Notes that a stage failed on it, after what is noted already.
    pub(crate) fn mark(&mut self, error: &str) {
        let error: String = error.chars().take(ERROR_CHARS_MAX).collect();
        self.error = Some(match self.error.take() {
            Some(earlier) => format!("{earlier}; {error}"),
            None => error,
        });
    }
}

/// A record's content.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// A line as it was read.
    Text(Bytes),
    /// A line that is one JSON object, checked but not taken apart: it keeps its key order.
    Json(Bytes),
    /// Fields.
    Object(serde_json::Map<String, serde_json::Value>),
}
