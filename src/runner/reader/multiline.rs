//! Joins the lines of one file into records: a stack trace is one.
//!
//! What belongs together is said by one regular expression: of lines that begin a record, go on with one, or end one. A record is also ended by its bounds,
//! and by waiting too long for its next line. Pure: time is handed in.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use logvine_cluster::spec::MultilineSpec;
use regex::bytes::Regex;
use tokio::time::Instant;

use super::ReadError;
use crate::record::Line;

/// A spec's `multiline`, compiled. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    rule: Rule,
    timeout: Duration,
    lines_max: usize,
    bytes_max: usize,
}

#[derive(Debug, Clone)]
enum Rule {
    Start(Regex),
    Continue(Regex),
    End(Regex),
}

impl Pattern {
    /// Errors: the regular expression is malformed, or there is none.
    pub(super) fn new(spec: &MultilineSpec) -> Result<Self, ReadError> {
        let regex = |key: &str, text: &str| Regex::new(text).map_err(|error| ReadError::new(format!("multiline: `{key}`: {error}")));
        let rule = match (&spec.start, &spec.continues, &spec.end) {
            (Some(text), None, None) => Rule::Start(regex("start", text)?),
            (None, Some(text), None) => Rule::Continue(regex("continue", text)?),
            (None, None, Some(text)) => Rule::End(regex("end", text)?),
            _ => return Err(ReadError::new("multiline: give exactly one of `start`, `continue` and `end`")),
        };
        Ok(Self { rule, timeout: Duration::from_millis(spec.timeout_ms), lines_max: spec.lines_max, bytes_max: spec.bytes_max })
    }
}

/// Joins the lines of one file, which come in order. Holds at most `bytes_max` bytes.
#[derive(Debug)]
pub(super) struct Joiner {
    pattern: Arc<Pattern>,
    held: Option<Event>,
}

/// A record whose end has not been seen.
#[derive(Debug)]
struct Event {
    offset: u64,
    bytes: BytesMut,
    lines: usize,
    cut: bool,
    /// When its last line came.
    since: Instant,
}

impl Joiner {
    pub(super) fn new(pattern: Arc<Pattern>) -> Self {
        Self { pattern, held: None }
    }

    /// Takes the next lines; gives the records that they end.
    pub(super) fn take(&mut self, now: Instant, lines: Vec<Line>) -> Vec<Line> {
        let mut events = Vec::new();
        for line in lines {
            let ended_before = match &self.pattern.rule {
                Rule::Start(regex) => regex.is_match(&line.bytes),
                Rule::Continue(regex) => !regex.is_match(&line.bytes),
                Rule::End(_) => false,
            };
            let ends = matches!(&self.pattern.rule, Rule::End(regex) if regex.is_match(&line.bytes));
            if ended_before || self.held.as_ref().is_some_and(|held| self.is_full(held, &line)) {
                events.extend(self.flush());
            }
            self.hold(now, &line);
            if ends {
                events.extend(self.flush());
            }
        }
        events
    }

    /// Where the record begins whose end has not been seen.
    pub(super) fn begin(&self) -> Option<u64> {
        self.held.as_ref().map(|held| held.offset)
    }

    /// When it has waited long enough.
    pub(super) fn due(&self) -> Option<Instant> {
        self.held.as_ref().map(|held| held.since + self.pattern.timeout)
    }

    /// Ends it.
    pub(super) fn flush(&mut self) -> Option<Line> {
        self.held.take().map(|held| Line { offset: held.offset, bytes: held.bytes.freeze(), cut: held.cut })
    }

    fn is_full(&self, held: &Event, line: &Line) -> bool {
        held.lines >= self.pattern.lines_max || held.bytes.len() + 1 + line.bytes.len() > self.pattern.bytes_max
    }

    /// Copies the line: it is a piece of a block that would be kept whole with it.
    fn hold(&mut self, now: Instant, line: &Line) {
        match &mut self.held {
            Some(held) => {
                held.bytes.extend_from_slice(b"\n");
                held.bytes.extend_from_slice(&line.bytes);
                held.lines += 1;
                held.cut |= line.cut;
                held.since = now;
            }
            None => {
                let bytes = BytesMut::from(&line.bytes[..]);
                self.held = Some(Event { offset: line.offset, bytes, lines: 1, cut: line.cut, since: now });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn spec(rule: &str, regex: &str) -> MultilineSpec {
        serde_json::from_value(serde_json::json!({ rule: regex, "timeout_ms": 1_000, "lines_max": 4, "bytes_max": 256 })).unwrap()
    }

    fn joiner(rule: &str, regex: &str) -> Joiner {
        Joiner::new(Arc::new(Pattern::new(&spec(rule, regex)).unwrap()))
    }

    fn lines(text: &str) -> Vec<Line> {
        let mut offset = 0;
        let line = |text: &str| {
            let line = Line { offset, bytes: Bytes::copy_from_slice(text.as_bytes()), cut: false };
            offset += text.len() as u64 + 1;
            line
        };
        text.lines().map(line).collect()
    }

    /// The records that are ended, then the one that is not.
    fn joined(rule: &str, regex: &str, text: &str) -> (Vec<(u64, String)>, Option<String>) {
        let mut joiner = joiner(rule, regex);
        let text_of = |line: Line| (line.offset, String::from_utf8(line.bytes.to_vec()).unwrap());
        let ended = joiner.take(Instant::now(), lines(text)).into_iter().map(text_of).collect();
        (ended, joiner.flush().map(|line| text_of(line).1))
    }

    #[test]
    fn a_line_that_matches_start_begins_a_record() {
        let (ended, held) = joined("start", r"^\d", "  of one before\n1 a\n  b\n2 c\n3 d\n e");
        assert_eq!(ended, [(0, "  of one before".into()), (16, "1 a\n  b".into()), (24, "2 c".into())]);
        assert_eq!(held.as_deref(), Some("3 d\n e"));
    }

    #[test]
    fn a_line_that_matches_continue_belongs_to_the_one_before() {
        let (ended, held) = joined("continue", r"^\s|^Caused by", "error\n at a\nCaused by b\n at c\nfine\nbad\n at d");
        assert_eq!(ended, [(0, "error\n at a\nCaused by b\n at c".into()), (30, "fine".into())]);
        assert_eq!(held.as_deref(), Some("bad\n at d"));
    }

    #[test]
    fn a_line_that_matches_end_ends_its_record() {
        let (ended, held) = joined("end", ";$", "select 1\nfrom a;\nselect 2;\nselect");
        assert_eq!(ended, [(0, "select 1\nfrom a;".into()), (17, "select 2;".into())]);
        assert_eq!(held.as_deref(), Some("select"));
    }

    #[test]
    fn what_goes_beyond_the_bounds_is_a_record_of_its_own_and_nothing_is_lost() {
        let (ended, held) = joined("start", "^new", "new\n1\n2\n3\n4\n5");
        assert_eq!((ended[0].1.as_str(), held.as_deref()), ("new\n1\n2\n3", Some("4\n5")));
        let long = "x".repeat(200);
        let (ended, held) = joined("start", "^new", &format!("new\n{long}\n{long}"));
        assert_eq!((ended[0].1.len(), held.map(|held| held.len())), (204, Some(200)));
    }

    #[test]
    fn a_record_is_due_when_its_last_line_is_old_enough() {
        let mut joiner = joiner("start", "^new");
        let now = Instant::now();
        assert_eq!(joiner.due(), None);
        joiner.take(now, lines("new"));
        let later = now + Duration::from_millis(700);
        joiner.take(later, lines(" more"));
        assert_eq!((joiner.due(), joiner.begin()), (Some(later + Duration::from_secs(1)), Some(0)));
        assert_eq!(joiner.flush().unwrap().bytes, "new\n more");
        assert_eq!((joiner.due(), joiner.begin()), (None, None));
    }

    #[test]
    fn a_bad_expression_is_told_with_its_key() {
        assert!(Pattern::new(&spec("start", "(")).unwrap_err().message.starts_with("multiline: `start`: regex parse error"));
    }
}
