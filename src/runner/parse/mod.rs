//! Native parse stages: a line becomes a record's body and time. A line that cannot be taken apart stays as it is, with the reason.

mod json;
mod nginx;
mod regex;
mod time;

use std::sync::Arc;

use bytes::Bytes;
use logvine_cluster::spec::ParseSpec;

use super::record::Body;

/// A parse stage, ready to run. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Parser {
    stage: Arc<Stage>,
}

#[derive(Debug)]
enum Stage {
    Raw,
    Json(json::Json),
    Nginx(nginx::Nginx),
    Regex(regex::Regex),
}

/// What a line became.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The line as it is (`Body::Text`) where it could not be taken apart.
    pub body: Body,
    /// In microseconds since 1970, where the line says it.
    pub time: Option<u64>,
    /// Why the line could not be taken apart, or its time not be read.
    pub error: Option<String>,
}

/// The fields of a line.
type Fields = serde_json::Map<String, serde_json::Value>;

impl Parser {
    /// Compiles a stage. Errors: the pattern or format is malformed, with what is wrong.
    pub fn new(spec: &ParseSpec) -> Result<Self, String> {
        let stage = match spec {
            ParseSpec::Raw => Stage::Raw,
            ParseSpec::Json(spec) => Stage::Json(json::Json::new(spec)),
            ParseSpec::Nginx(spec) => Stage::Nginx(nginx::Nginx::new(spec)?),
            ParseSpec::Regex(spec) => Stage::Regex(regex::Regex::new(spec)?),
        };
        Ok(Self { stage: Arc::new(stage) })
    }

    /// Takes one line apart.
    pub fn parse(&self, line: Bytes) -> Parsed {
        let (stage, parsed) = match &*self.stage {
            Stage::Raw => return Parsed { body: Body::Text(line), time: None, error: None },
            Stage::Json(json) => ("json", json.parse(&line)),
            Stage::Nginx(nginx) => ("nginx", nginx.parse(&line)),
            Stage::Regex(regex) => ("regex", regex.parse(&line)),
        };
        let (body, time, error) = match parsed {
            Ok((body, time)) => {
                let (time, error) = time.map_or_else(|error| (None, Some(error)), |time| (time, None));
                (body, time, error)
            }
            Err(error) => (Body::Text(line), None, Some(error)),
        };
        Parsed { body, time, error: error.map(|error| format!("{stage}: {error}")) }
    }
}

/// A body, and its time or why that could not be read; or why the line is no such body.
type Taken = Result<(Body, Result<Option<u64>, String>), String>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_lines_stay_as_they_are() {
        let line = Bytes::from_static(b"\xff any\0thing");
        let parsed = Parser::new(&ParseSpec::Raw).unwrap().parse(line.clone());
        assert_eq!(parsed, Parsed { body: Body::Text(line), time: None, error: None });
    }
}
