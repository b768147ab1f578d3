//! Native parse stages: a line becomes a record's body and time.

use bytes::Bytes;
use logvine_cluster::spec::ParseSpec;

use super::record::Body;

/// A parse stage, ready to run. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Parser {}

/// What a line became.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The line as it is (`Body::Text`) where `error` says why it could not be taken apart.
    pub body: Body,
    /// In microseconds since 1970, where the line says it.
    pub time: Option<u64>,
    pub error: Option<String>,
}

impl Parser {
    /// Compiles a stage. Errors: the pattern or format is malformed, with what is wrong.
    pub fn new(_spec: &ParseSpec) -> Result<Self, String> {
        Ok(Self {})
    }

    /// Takes one line apart.
    pub fn parse(&self, line: Bytes) -> Parsed {
        Parsed { body: Body::Text(line), time: None, error: None }
    }
}
