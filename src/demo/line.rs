//! The lines of the demo's sources: each one is unique, and proves that it arrived as it was written.

use logvine_cluster::{checkpoint::hash64, name::Name};
use serde_json::Value;

/// Which line of which source. Sources count from 1, lines from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LineId {
    pub(super) source: u32,
    pub(super) number: u64,
}

impl LineId {
    /// The source's name: `app-07`.
    pub(super) fn source_name(self) -> Name {
        source_name(self.source)
    }

    /// What nobody guesses and no damage leaves as it is: the path that this line's request asks for.
    fn path(self, run: u64) -> String {
        let Self { source, number } = self;
        let proof = hash64(format!("{run} {source} {number}").as_bytes());
        format!("/{}/{number}/{proof:016x}", source_name(source))
    }

    /// The line in nginx's `combined` format, without its line end. `time_local` is the time in nginx's words.
    pub(super) fn write(self, run: u64, time_local: &str) -> String {
        let path = self.path(run);
        let (host, status, bytes) =
            (self.number % 250 + 1, [200, 200, 200, 304, 404][usize::try_from(self.number % 5).unwrap_or(0)], self.number % 9_000);
        format!("10.1.{}.{host} - - [{time_local}] \"GET {path} HTTP/1.1\" {status} {bytes} \"-\" \"logvine-demo\"", self.source % 256)
    }

    /// Finds the line that a delivered record was made of, wherever the path stands in it. None for a record of no line of this run.
    pub(super) fn find(run: u64, record: &Value) -> Option<Self> {
        match record {
            Value::String(text) => Self::find_in(run, text),
            Value::Array(items) => items.iter().find_map(|item| Self::find(run, item)),
            Value::Object(fields) => fields.values().find_map(|field| Self::find(run, field)),
            _ => None,
        }
    }

    fn find_in(run: u64, text: &str) -> Option<Self> {
        let (_, rest) = text.split_once("/app-")?;
        let mut parts = rest.split('/');
        let id = Self { source: parts.next()?.parse().ok()?, number: parts.next()?.parse().ok()? };
        text.contains(&id.path(run)).then_some(id)
    }
}

/// The name of a source by its number.
pub(super) fn source_name(source: u32) -> Name {
    format!("app-{source:02}").parse().expect("letters, a dash and digits make a name")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: LineId = LineId { source: 7, number: 1234 };
    const TIME: &str = "21/Nov/2026:23:10:00 +0000";

    #[test]
    fn a_line_is_found_again_in_a_record_of_any_shape() {
        let text = LINE.write(42, TIME);
        assert_eq!(LineId::find(42, &serde_json::json!({ "body": text })), Some(LINE));
        let path = text.split_whitespace().nth(6).expect("the request's path");
        assert_eq!(LineId::find(42, &serde_json::json!({ "id": "ab", "attributes": { "request": ["GET", path] } })), Some(LINE));
    }

    #[test]
    fn a_damaged_line_and_another_runs_line_are_nobodys() {
        let text = LINE.write(42, TIME);
        assert_eq!(LineId::find(42, &Value::String(text.replace("/1234/", "/1235/"))), None);
        assert_eq!(LineId::find(43, &Value::String(text)), None);
    }

    #[test]
    fn lines_are_unique() {
        let line = |source, number| LineId { source, number }.write(42, TIME);
        let all: std::collections::BTreeSet<_> = (1..=20).flat_map(|source| (0..500).map(move |number| line(source, number))).collect();
        assert_eq!(all.len(), 20 * 500);
    }
}
