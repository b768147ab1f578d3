//! Splits blocks of a file into lines, and joins lines to records, whatever the blocks' borders.
//!
//! A line ends with LF or CRLF. One that is longer than the limit is cut and its rest skipped, so memory is bounded by the limits of a line and a record and
//! one block. Positions count the file's own bytes, and are never inside a record whose end has not been seen.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use logvine_cluster::{
    checkpoint::{FileKey, MARKER_BYTES_MAX, Position, hash64},
    spec::{Encoding, MultilineSpec},
};
use tokio::time::Instant;

use super::{
    ReadError,
    encoding::{decoded, ends_in_cr, line_feeds, unit_bytes},
    multiline::{Joiner, Pattern},
};
use crate::record::{Chunk, Line};

const MARKER_BYTES: usize = 256;
const _: () = assert!(MARKER_BYTES as u64 == MARKER_BYTES_MAX);

/// How a file's bytes become records. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Framing {
    /// In whole units of the encoding.
    line_bytes_max: usize,
    encoding: Encoding,
    pattern: Option<Arc<Pattern>>,
}

impl Framing {
    /// Errors: the regular expression of `multiline` is malformed.
    pub(super) fn new(line_bytes_max: usize, encoding: Encoding, multiline: Option<&MultilineSpec>) -> Result<Self, ReadError> {
        let unit = unit_bytes(encoding);
        let pattern = multiline.map(Pattern::new).transpose()?.map(Arc::new);
        Ok(Self { line_bytes_max: line_bytes_max.next_multiple_of(unit), encoding, pattern })
    }

    pub(super) fn line_bytes_max(&self) -> usize {
        self.line_bytes_max
    }

    /// The part of a block, which begins between two units, that ends so too.
    pub(super) fn whole_units(&self, block: &Bytes) -> Bytes {
        block.slice(..block.len() - block.len() % unit_bytes(self.encoding))
    }

    /// After the last line end in `bytes`, which are from the file's `offset` on.
    pub(super) fn last_line_end(&self, offset: u64, bytes: &[u8]) -> Option<u64> {
        let unit = unit_bytes(self.encoding);
        let skip = usize::from(unit == 2 && offset % 2 == 1).min(bytes.len());
        line_feeds(self.encoding, &bytes[skip..]).next_back().map(|at| offset + (skip + at + unit) as u64)
    }
}

/// Splits one file's bytes, which come without a gap.
#[derive(Debug)]
pub(super) struct Splitter {
    framing: Framing,
    joiner: Option<Joiner>,
    /// After the last whole record.
    position: Position,
    /// After the last whole line, which may belong to a record that is not.
    line: Position,
    /// Of the next byte to come: past `line` by the unfinished line.
    offset: u64,
    /// The ≤ [`MARKER_BYTES_MAX`] bytes before `offset`.
    recent: Vec<u8>,
    /// The unfinished line's bytes, at most one unit more than the limit: a CR there may belong to the line's end.
    held: BytesMut,
    /// Whether the last unit that came is a CR.
    after_cr: bool,
}

impl Splitter {
    /// Begins at `offset`, before which are the bytes `before` (at least [`MARKER_BYTES_MAX`] of them, or all).
    pub(super) fn new(framing: Framing, offset: u64, before: &[u8]) -> Self {
        let recent = tail(before).to_vec();
        let position = Position { offset, marker: hash64(&recent) };
        let joiner = framing.pattern.clone().map(Joiner::new);
        Self { framing, joiner, position, line: position, offset, recent, held: BytesMut::new(), after_cr: false }
    }

    /// After the last whole record.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Of the next byte to come.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The ≤ [`MARKER_BYTES_MAX`] bytes before [`Self::offset`]: what must still be there when more is read.
    pub(super) fn recent(&self) -> &[u8] {
        &self.recent
    }

    /// When a record that waits for its next line has waited long enough.
    pub(super) fn due(&self) -> Option<Instant> {
        self.joiner.as_ref().and_then(Joiner::due)
    }

    /// Takes the next bytes, in whole units. None if no record ends in them.
    pub(super) fn push(&mut self, now: Instant, file: FileKey, block: &Bytes) -> Option<Chunk> {
        let (start, line) = (self.position, self.line);
        // Growing it from nothing would copy it some ten times.
        let mut lines = Vec::with_capacity(block.len() / 128);
        let mut from = 0;
        for end in line_feeds(self.framing.encoding, block) {
            lines.push(self.finish(block.slice(from..end)));
            from = end + unit_bytes(self.framing.encoding);
            self.line.offset = self.offset + from as u64;
        }
        let rest = &block[from..];
        self.hold(rest);
        if !rest.is_empty() {
            self.after_cr = ends_in_cr(self.framing.encoding, rest);
        }
        let marker = |to: usize| hash64(&joined_tail(&self.recent, &block[..to]));
        if from > 0 {
            self.line.marker = marker(from);
        }
        self.position = self.line;
        if let Some(joiner) = &mut self.joiner {
            lines = joiner.take(now, lines);
            // The record that waits began where it did before, or with the line that was unfinished, or in this block.
            self.position = match joiner.begin() {
                None => self.line,
                Some(at) if at == start.offset => start,
                Some(at) if at == line.offset => line,
                Some(at) => Position { offset: at, marker: marker(usize::try_from(at - self.offset).unwrap_or(from)) },
            };
        }
        self.recent = joined_tail(&self.recent, block);
        self.offset += block.len() as u64;
        (!lines.is_empty()).then_some(Chunk { file, start, end: self.position, lines })
    }

    /// Passes over bytes that are no content, between two records.
    pub(super) fn skip(&mut self, bytes: &[u8]) {
        debug_assert_eq!(self.position.offset, self.offset, "only between two records");
        self.recent = joined_tail(&self.recent, bytes);
        self.offset += bytes.len() as u64;
        self.line = Position { offset: self.offset, marker: hash64(&self.recent) };
        self.position = self.line;
    }

    /// Gives the record that waits for its next line, as it has waited long enough.
    pub(super) fn flush_waiting(&mut self, file: FileKey) -> Option<Chunk> {
        let start = self.position;
        let record = self.joiner.as_mut()?.flush()?;
        self.position = self.line;
        Some(Chunk { file, start, end: self.position, lines: vec![record] })
    }

    /// Gives the unfinished line, as no end of it will come, and the record that waits.
    pub(super) fn flush(&mut self, now: Instant, file: FileKey) -> Option<Chunk> {
        let start = self.position;
        let mut lines = Vec::new();
        if self.line.offset < self.offset {
            let offset = self.line.offset;
            let cut = self.offset - offset > self.framing.line_bytes_max as u64;
            let mut bytes = std::mem::take(&mut self.held);
            bytes.truncate(self.framing.line_bytes_max);
            self.after_cr = false;
            self.line = Position { offset: self.offset, marker: hash64(&self.recent) };
            lines.push(Line { offset, bytes: decoded(self.framing.encoding, bytes.freeze(), offset == 0), cut });
        }
        if let Some(joiner) = &mut self.joiner {
            lines = joiner.take(now, lines);
            lines.extend(joiner.flush());
        }
        self.position = self.line;
        (!lines.is_empty()).then_some(Chunk { file, start, end: self.position, lines })
    }

    /// The line whose last bytes are `end`, and what was held before them.
    fn finish(&mut self, end: Bytes) -> Line {
        let offset = self.line.offset;
        let held = self.offset.saturating_sub(offset);
        let cr = if end.is_empty() { held > 0 && self.after_cr } else { ends_in_cr(self.framing.encoding, &end) };
        let unit = unit_bytes(self.framing.encoding) as u64;
        let bytes_all = held + end.len() as u64 - if cr { unit } else { 0 };
        let mut whole = if held == 0 {
            end
        } else {
            self.hold(&end);
            std::mem::take(&mut self.held).freeze()
        };
        let keep = usize::try_from(bytes_all).unwrap_or(usize::MAX).min(self.framing.line_bytes_max);
        // A slice would count one more that has the block, for each line.
        whole.truncate(keep);
        Line { offset, bytes: decoded(self.framing.encoding, whole, offset == 0), cut: bytes_all > keep as u64 }
    }

    fn hold(&mut self, bytes: &[u8]) {
        let room = (self.framing.line_bytes_max + unit_bytes(self.framing.encoding)).saturating_sub(self.held.len());
        self.held.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

fn tail(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.len().saturating_sub(MARKER_BYTES)..]
}

fn joined_tail(before: &[u8], bytes: &[u8]) -> Vec<u8> {
    let bytes = tail(bytes);
    let keep = before.len().min(MARKER_BYTES - bytes.len());
    [&before[before.len() - keep..], bytes].concat()
}

#[cfg(test)]
mod tests {
    use logvine_cluster::checkpoint::FileName;
    use proptest::prelude::*;

    use super::*;

    fn key() -> FileKey {
        FileKey { lineage: 0, named: 0, name: FileName::of(b"x").unwrap() }
    }

    /// (offset, bytes, cut) of each line, then the offset after the last whole line, split at once and without cleverness.
    fn naive(all: &[u8], limit: usize) -> (Vec<(u64, Vec<u8>, bool)>, usize) {
        let mut lines = Vec::new();
        let mut from = 0;
        while let Some(end) = all[from..].iter().position(|byte| *byte == b'\n') {
            let line = &all[from..from + end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            lines.push((from as u64, line[..line.len().min(limit)].to_vec(), line.len() > limit));
            from += end + 1;
        }
        (lines, from)
    }

    fn marker(all: &[u8], offset: usize) -> u64 {
        hash64(&all[offset.saturating_sub(MARKER_BYTES)..offset])
    }

    fn plain(chunks: &[Chunk]) -> Vec<(u64, Vec<u8>, bool)> {
        chunks.iter().flat_map(|chunk| &chunk.lines).map(|line| (line.offset, line.bytes.to_vec(), line.cut)).collect()
    }

    fn framing(limit: usize) -> Framing {
        Framing::new(limit, Encoding::Utf8, None).unwrap()
    }

    fn split(all: &[u8], borders: &[usize], limit: usize) -> (Vec<Chunk>, Splitter) {
        split_as(&framing(limit), all, borders)
    }

    fn split_as(framing: &Framing, all: &[u8], borders: &[usize]) -> (Vec<Chunk>, Splitter) {
        let mut splitter = Splitter::new(framing.clone(), 0, b"");
        let mut chunks = Vec::new();
        let mut from = 0;
        for to in borders.iter().copied().chain([all.len()]) {
            chunks.extend(splitter.push(Instant::now(), key(), &Bytes::copy_from_slice(&all[from..to])));
            from = to;
        }
        (chunks, splitter)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_borders_give_the_same_lines_positions_and_markers(
            all in prop::collection::vec(prop::sample::select(b"ab\r\n\0\xff".to_vec()), 0..900),
            mut borders in prop::collection::vec(0..900_usize, 0..40),
            limit in 1..12_usize,
        ) {
            borders.retain(|border| *border <= all.len());
            borders.sort_unstable();
            let (chunks, mut splitter) = split(&all, &borders, limit);
            let (lines, end) = naive(&all, limit);
            prop_assert_eq!(plain(&chunks), lines);
            let mut at = Position { offset: 0, marker: hash64(b"") };
            for chunk in &chunks {
                prop_assert_eq!(chunk.start, at);
                let offset = usize::try_from(chunk.end.offset).unwrap();
                prop_assert_eq!(chunk.end.marker, marker(&all, offset));
                at = chunk.end;
            }
            prop_assert_eq!(splitter.position(), Position { offset: end as u64, marker: marker(&all, end) });
            prop_assert_eq!(splitter.offset(), all.len() as u64);
            prop_assert!(splitter.held.len() <= limit + 1);
            let rest = &all[end..];
            let flushed: Vec<_> = splitter.flush(Instant::now(), key()).into_iter().collect();
            let expected: Vec<_> = (!rest.is_empty()).then(|| (end as u64, rest[..rest.len().min(limit)].to_vec(), rest.len() > limit)).into_iter().collect();
            prop_assert_eq!(plain(&flushed), expected);
            prop_assert_eq!(splitter.position(), Position { offset: all.len() as u64, marker: marker(&all, all.len()) });
        }

        /// A record is the same whatever the borders; and whoever goes on from any position that was told reads the records after it.
        #[test]
        fn records_of_several_lines_are_the_same_from_any_position(
            all in prop::collection::vec(prop::sample::select(vec!["+a", "b", "+\r", "", "+c\n+", "+long line"]), 0..60),
            mut borders in prop::collection::vec(0..500_usize, 0..30),
            rule in prop::sample::select(vec![("start", "^[a-z]"), ("continue", r"^\+"), ("end", "b$")]),
        ) {
            let all = all.join("\n").into_bytes();
            borders.retain(|border| *border <= all.len());
            borders.sort_unstable();
            let spec = serde_json::from_value(serde_json::json!({ rule.0: rule.1 })).unwrap();
            let framing = Framing::new(8, Encoding::Utf8, Some(&spec)).unwrap();
            let (mut whole, mut splitter) = split_as(&framing, &all, &[]);
            whole.extend(splitter.flush(Instant::now(), key()));
            let whole = plain(&whole);
            let (mut chunks, mut splitter) = split_as(&framing, &all, &borders);
            chunks.extend(splitter.flush(Instant::now(), key()));
            prop_assert_eq!(&plain(&chunks), &whole);
            let mut at = Position { offset: 0, marker: hash64(b"") };
            for chunk in &chunks {
                prop_assert_eq!(chunk.start, at);
                at = chunk.end;
                let offset = usize::try_from(at.offset).unwrap();
                prop_assert_eq!(at.marker, marker(&all, offset));
                let mut resumed = Splitter::new(framing.clone(), at.offset, &all[..offset]);
                let mut rest: Vec<_> = resumed.push(Instant::now(), key(), &Bytes::copy_from_slice(&all[offset..])).into_iter().collect();
                rest.extend(resumed.flush(Instant::now(), key()));
                let after: Vec<_> = whole.iter().filter(|(offset, ..)| *offset >= at.offset).cloned().collect();
                prop_assert_eq!(plain(&rest), after);
            }
            prop_assert_eq!(at.offset, all.len() as u64);
        }

        #[test]
        fn utf_16_lines_are_those_of_the_text_whatever_the_borders(
            lines in prop::collection::vec(prop::sample::select(vec!["", "é", "\u{0a0a}\u{010a}", "𐍈 line\r", "x"]), 0..40),
            mut borders in prop::collection::vec(0..300_usize, 0..20),
            big in any::<bool>(),
        ) {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let unit = |unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() };
            let all: Vec<u8> = "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(unit).collect();
            borders.iter_mut().for_each(|border| *border *= 2);
            borders.retain(|border| *border <= all.len());
            borders.sort_unstable();
            let framing = Framing::new(64, if big { Encoding::Utf16Be } else { Encoding::Utf16Le }, None).unwrap();
            let (chunks, splitter) = split_as(&framing, &all, &borders);
            let got: Vec<_> = chunks.iter().flat_map(|chunk| &chunk.lines).map(|line| String::from_utf8(line.bytes.to_vec()).unwrap()).collect();
            let expected: Vec<_> = lines.iter().map(|line| line.trim_end_matches('\r').to_owned()).collect();
            prop_assert_eq!(got, expected);
            let end = if lines.is_empty() { 0 } else { all.len() as u64 };
            prop_assert_eq!(splitter.position().offset, end, "positions count the file's own bytes");
        }
    }

    #[test]
    fn a_line_of_the_limit_is_whole_though_crlf_ends_it_in_the_next_block() {
        let (chunks, _) = split(b"abcd\r\nabcde\r\n", &[4, 5, 11, 12], 4);
        assert_eq!(plain(&chunks), [(0, b"abcd".to_vec(), false), (6, b"abcd".to_vec(), true)]);
    }

    #[test]
    fn a_resumed_file_has_the_positions_of_one_read_from_its_start() {
        let all: Vec<u8> = (0..200).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        let (chunks, _) = split(&all, &[700], 100);
        let at = chunks[0].end;
        let offset = usize::try_from(at.offset).unwrap();
        let mut resumed = Splitter::new(framing(100), at.offset, &all[offset - MARKER_BYTES..offset]);
        assert_eq!(resumed.position(), at);
        let rest = resumed.push(Instant::now(), key(), &Bytes::copy_from_slice(&all[offset..])).unwrap();
        assert_eq!((rest.end, plain(&[rest])), (chunks[1].end, plain(&chunks[1..])));
    }

    #[test]
    fn a_record_that_has_waited_is_given_and_the_unfinished_line_waits_on() {
        let spec = serde_json::from_value(serde_json::json!({ "start": "^new" })).unwrap();
        let framing = Framing::new(100, Encoding::Utf8, Some(&spec)).unwrap();
        let (chunks, mut splitter) = split_as(&framing, b"new\n one\n tw", &[]);
        assert!(chunks.is_empty() && splitter.due().is_some() && splitter.position().offset == 0);
        let chunk = splitter.flush_waiting(key()).unwrap();
        assert_eq!((plain(std::slice::from_ref(&chunk)), chunk.end.offset), (vec![(0, b"new\n one".to_vec(), false)], 9));
        assert_eq!((splitter.due(), splitter.flush_waiting(key()).is_none()), (None, true));
        splitter.push(Instant::now(), key(), &Bytes::from_static(b"o\n"));
        assert_eq!(plain(&[splitter.flush(Instant::now(), key()).unwrap()]), [(9, b" two".to_vec(), false)]);
    }

    #[test]
    fn the_last_line_end_is_found_wherever_the_search_begins() {
        let le = Framing::new(100, Encoding::Utf16Le, None).unwrap();
        assert_eq!(le.last_line_end(3, b"\0\n\0a\0"), Some(6));
        assert_eq!(le.last_line_end(0, b"\x0a\x01"), None);
        assert_eq!(framing(100).last_line_end(7, b"a\nb"), Some(9));
    }
}
