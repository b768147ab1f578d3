//! Takes the journal's export format apart (systemd.io/JOURNAL_EXPORT_FORMATS), whatever the borders of what comes, and writes entries as JSON.
//!
//! ```text
//! NAME=text LF                          a field; an entry has many, some names more than once
//! NAME LF length[8, little-endian] bytes LF     one that holds line ends or no UTF-8
//! LF                                    the entry's end
//! ```
//! As `journalctl -o json` does: a value that is no UTF-8 becomes an array of its bytes, a name that is there more than once an array of its values.

use bytes::{Buf, Bytes, BytesMut};
use serde_json::Value;

/// Field names are of at most 64 bytes (systemd.journal-fields(7)); those that begin with `__` are none of the longest either.
const NAME_BYTES_MAX: usize = 256;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// `__CURSOR`: where it is.
    pub(super) cursor: String,
    /// `__REALTIME_TIMESTAMP`: when the journal took it, in microseconds since 1970.
    pub(super) realtime: u64,
    /// A JSON object of all its fields.
    pub(super) line: Bytes,
    /// Whether fields were left out, as they made it longer than the limit.
    pub(super) cut: bool,
    /// What it takes in the export format.
    pub(super) bytes: u64,
}

/// Takes one answer apart. Holds at most the limit and one read.
#[derive(Debug)]
pub(super) struct Parser {
    bytes_max: usize,
    held: BytesMut,
    state: State,
    fields: Vec<(String, Vec<u8>)>,
    kept: usize,
    cut: bool,
    bytes: u64,
}

#[derive(Debug)]
enum State {
    Line,
    /// In a text value that is too long.
    SkipLine,
    Length {
        name: String,
    },
    /// `keep`: it fits.
    Data {
        name: String,
        value: Vec<u8>,
        left: u64,
        keep: bool,
    },
}

impl Parser {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, held: BytesMut::new(), state: State::Line, fields: Vec::new(), kept: 0, cut: false, bytes: 0 }
    }

    /// Takes the next bytes, and gives the entries that end in them; and what is wrong with what comes then, if it is not of this format.
    pub(super) fn push(&mut self, bytes: &[u8]) -> (Vec<Entry>, Option<String>) {
        self.held.extend_from_slice(bytes);
        let mut entries = Vec::new();
        loop {
            match self.step(&mut entries) {
                Ok(true) => {}
                Ok(false) => return (entries, None),
                Err(wrong) => return (entries, Some(wrong)),
            }
        }
    }

    /// Whether it is between two entries: an answer that ends elsewhere has broken off.
    pub(super) fn is_between(&self) -> bool {
        self.held.is_empty() && self.fields.is_empty() && matches!(self.state, State::Line)
    }

    /// False: it takes more bytes to go on.
    fn step(&mut self, entries: &mut Vec<Entry>) -> Result<bool, String> {
        match std::mem::replace(&mut self.state, State::Line) {
            State::Line => self.line(entries),
            State::SkipLine => {
                let end = memchr::memchr(b'\n', &self.held);
                let skip = end.map_or(self.held.len(), |end| end + 1);
                self.advance(skip);
                if end.is_none() {
                    self.state = State::SkipLine;
                }
                Ok(end.is_some())
            }
            State::Length { name } => {
                if self.held.len() < 8 {
                    self.state = State::Length { name };
                    return Ok(false);
                }
                let left = self.held.get_u64_le();
                self.bytes += 8;
                let keep = left <= self.bytes_max.saturating_sub(self.kept) as u64;
                self.state = State::Data { name, value: Vec::new(), left, keep };
                Ok(true)
            }
            State::Data { name, mut value, left, keep } => {
                let now = usize::try_from(left).unwrap_or(usize::MAX).min(self.held.len());
                if keep {
                    value.extend_from_slice(&self.held[..now]);
                }
                self.advance(now);
                let left = left - now as u64;
                if left > 0 || self.held.is_empty() {
                    self.state = State::Data { name, value, left, keep };
                    return Ok(false);
                }
                if self.held[0] != b'\n' {
                    return Err(format!("the value of {name} does not end where its length says"));
                }
                self.advance(1);
                if keep {
                    self.keep(name, value);
                } else {
                    self.cut = true;
                }
                Ok(true)
            }
        }
    }

    fn line(&mut self, entries: &mut Vec<Entry>) -> Result<bool, String> {
        let Some(end) = memchr::memchr(b'\n', &self.held) else {
            if self.held.len() > self.bytes_max + NAME_BYTES_MAX {
                self.cut = true;
                self.state = State::SkipLine;
                return Ok(true);
            }
            return Ok(false);
        };
        let line = self.held.split_to(end);
        self.held.advance(1);
        self.bytes += end as u64 + 1;
        if line.is_empty() {
            entries.extend(self.end()?);
            return Ok(true);
        }
        let equals = memchr::memchr(b'=', &line);
        let name = &line[..equals.unwrap_or(line.len())];
        let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty() && name.len() <= NAME_BYTES_MAX);
        let name = name.ok_or("a line is neither a field nor the end of an entry")?.to_owned();
        match equals {
            None => self.state = State::Length { name },
            Some(equals) if self.kept + line.len() <= self.bytes_max || name.starts_with("__") => self.keep(name, line[equals + 1..].to_vec()),
            Some(_) => self.cut = true,
        }
        Ok(true)
    }

    fn advance(&mut self, bytes: usize) {
        self.held.advance(bytes);
        self.bytes += bytes as u64;
    }

    fn keep(&mut self, name: String, value: Vec<u8>) {
        self.kept += name.len() + value.len();
        self.fields.push((name, value));
    }

    /// None where there was nothing between two ends.
    fn end(&mut self) -> Result<Option<Entry>, String> {
        let fields = std::mem::take(&mut self.fields);
        let (cut, bytes) = (std::mem::take(&mut self.cut), std::mem::take(&mut self.bytes));
        self.kept = 0;
        if fields.is_empty() && !cut {
            return Ok(None);
        }
        let text = |wanted: &str| fields.iter().find(|(name, _)| name == wanted).and_then(|(_, value)| std::str::from_utf8(value).ok());
        let cursor = text("__CURSOR").ok_or("an entry has no __CURSOR")?.to_owned();
        let realtime = text("__REALTIME_TIMESTAMP").and_then(|time| time.parse().ok()).ok_or("an entry has no __REALTIME_TIMESTAMP")?;
        Ok(Some(Entry { cursor, realtime, line: json(fields), cut, bytes }))
    }
}

fn json(fields: Vec<(String, Vec<u8>)>) -> Bytes {
    let mut object = serde_json::Map::new();
    for (name, value) in fields {
        let value = match String::from_utf8(value) {
            Ok(text) => Value::String(text),
            Err(error) => error.into_bytes().into_iter().map(Value::from).collect(),
        };
        match object.entry(name) {
            serde_json::map::Entry::Vacant(free) => drop(free.insert(value)),
            serde_json::map::Entry::Occupied(mut taken) => {
                // Values are texts, or arrays of bytes: an array of anything else is what was made of the name before.
                let before = taken.get_mut();
                let many = matches!(before, Value::Array(values) if values.iter().any(|value| !value.is_number()));
                match before {
                    Value::Array(values) if many => values.push(value),
                    before => *before = Value::Array(vec![before.take(), value]),
                }
            }
        }
    }
    serde_json::to_vec(&object).expect("a map of texts is JSON").into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn stream() -> Vec<u8> {
        let mut bytes = b"__CURSOR=c1\n__REALTIME_TIMESTAMP=17\nMESSAGE=a=b\nTAG=x\nTAG=y\nTAG=z\n\n".to_vec();
        bytes.extend_from_slice(b"__CURSOR=c2\n__REALTIME_TIMESTAMP=18\nMESSAGE\n");
        bytes.extend_from_slice(&9_u64.to_le_bytes());
        bytes.extend_from_slice(b"two\nlines\nBLOB\n");
        bytes.extend_from_slice(&3_u64.to_le_bytes());
        bytes.extend_from_slice(b"\xff\n=\n\n");
        bytes
    }

    fn value(entry: &Entry) -> Value {
        serde_json::from_slice(&entry.line).unwrap()
    }

    #[test]
    fn text_binary_and_repeated_fields_become_json() {
        let mut parser = Parser::new(1_000);
        let (entries, wrong) = parser.push(&stream());
        assert_eq!(wrong, None);
        let [one, two] = &entries[..] else { panic!("{entries:?}") };
        assert_eq!(value(one), json!({"__CURSOR": "c1", "__REALTIME_TIMESTAMP": "17", "MESSAGE": "a=b", "TAG": ["x", "y", "z"]}));
        assert_eq!(value(two), json!({"__CURSOR": "c2", "__REALTIME_TIMESTAMP": "18", "MESSAGE": "two\nlines", "BLOB": [255, 10, 61]}));
        assert_eq!((one.cursor.as_str(), one.realtime, two.realtime), ("c1", 17, 18));
        assert_eq!(one.bytes + two.bytes, stream().len() as u64);
        assert!(parser.is_between());
    }

    #[test]
    fn a_field_that_is_too_long_is_left_out_and_the_rest_is_whole() {
        let long = "m".repeat(5_000);
        let mut bytes = format!("__CURSOR=c1\n__REALTIME_TIMESTAMP=17\nMESSAGE={long}\nP=6\nBLOB\n").into_bytes();
        bytes.extend_from_slice(&5_000_u64.to_le_bytes());
        bytes.extend_from_slice(long.as_bytes());
        bytes.extend_from_slice(b"\n\n");
        let whole = bytes.len() as u64;
        bytes.extend_from_slice(b"__CURSOR=c2\n__REALTIME_TIMESTAMP=18\n\n");
        for block in [1, 7, 100_000] {
            let mut parser = Parser::new(100);
            let entries: Vec<Entry> = bytes.chunks(block).flat_map(|block| parser.push(block).0).collect();
            assert_eq!(value(&entries[0]), json!({"__CURSOR": "c1", "__REALTIME_TIMESTAMP": "17", "P": "6"}));
            assert_eq!((entries[0].cut, entries[0].bytes, entries[1].cut, entries.len()), (true, whole, false, 2));
        }
    }

    #[test]
    fn what_is_not_of_this_format_is_told() {
        let told = |bytes: &[u8]| Parser::new(100).push(bytes).1.unwrap();
        assert!(told(b"MESSAGE=x\n\n").contains("__CURSOR"));
        assert!(told(b"__CURSOR=c\n__REALTIME_TIMESTAMP=x\n\n").contains("__REALTIME_TIMESTAMP"));
        assert!(told(b"=x\n").contains("neither a field"));
        assert!(told(b"B\n\x01\0\0\0\0\0\0\0xy").contains("does not end"));
    }

    proptest! {
        #[test]
        fn the_borders_of_reads_mean_nothing(cuts in prop::collection::vec(0_usize..160, 0..8)) {
            let stream = stream();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).chain([0, stream.len()]).collect();
            cuts.sort_unstable();
            let mut parser = Parser::new(1_000);
            let entries: Vec<Entry> = cuts.windows(2).flat_map(|pair| parser.push(&stream[pair[0]..pair[1]]).0).collect();
            prop_assert_eq!(entries, Parser::new(1_000).push(&stream).0);
        }

        #[test]
        fn garbage_is_refused_or_waits(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Parser::new(50).push(&bytes);
        }
    }
}
