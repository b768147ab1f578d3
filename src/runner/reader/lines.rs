//! Splits blocks of a file into lines, whatever the blocks' borders.
//!
//! A line ends with LF or CRLF. One that is longer than the limit is cut and its rest skipped, so memory is bounded by the limit and one block.

use bytes::{Bytes, BytesMut};
use logvine_cluster::checkpoint::{FileKey, MARKER_BYTES_MAX, Position, hash64};

use crate::record::{Chunk, Line};

const MARKER_BYTES: usize = 256;
const _: () = assert!(MARKER_BYTES as u64 == MARKER_BYTES_MAX);

/// Splits one file's bytes, which come without a gap.
#[derive(Debug, Clone)]
pub(super) struct Splitter {
    line_bytes_max: usize,
    /// After the last whole line.
    position: Position,
    /// Of the next byte to come: past `position` by the unfinished line.
    offset: u64,
    /// The ≤ [`MARKER_BYTES_MAX`] bytes before `offset`.
    recent: Vec<u8>,
    /// The unfinished line's bytes, at most one more than the limit: a CR there may belong to the line's end.
    held: BytesMut,
    /// Whether the last byte that came is a CR.
    after_cr: bool,
}

impl Splitter {
    /// Begins at `offset`, before which are the bytes `before` (at least [`MARKER_BYTES_MAX`] of them, or all).
    pub(super) fn new(line_bytes_max: usize, offset: u64, before: &[u8]) -> Self {
        let recent = tail(before).to_vec();
        let position = Position { offset, marker: hash64(&recent) };
        Self { line_bytes_max, position, offset, recent, held: BytesMut::new(), after_cr: false }
    }

    /// After the last whole line.
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

    /// Takes the next bytes. None if no line ends in them.
    pub(super) fn push(&mut self, file: FileKey, block: &Bytes) -> Option<Chunk> {
        let start = self.position;
        let mut lines = Vec::new();
        let mut from = 0;
        for end in memchr::memchr_iter(b'\n', block) {
            lines.push(self.line(block.slice(from..end)));
            from = end + 1;
            self.position.offset = self.offset + from as u64;
        }
        let rest = &block[from..];
        self.hold(rest);
        if let Some(last) = rest.last() {
            self.after_cr = *last == b'\r';
        }
        if from > 0 {
            self.position.marker = hash64(&joined_tail(&self.recent, &block[..from]));
        }
        self.recent = joined_tail(&self.recent, block);
        self.offset += block.len() as u64;
        (!lines.is_empty()).then_some(Chunk { file, start, end: self.position, lines })
    }

    /// Passes over bytes that are no content, between two lines.
    pub(super) fn skip(&mut self, bytes: &[u8]) {
        debug_assert_eq!(self.position.offset, self.offset, "only between two lines");
        self.recent = joined_tail(&self.recent, bytes);
        self.offset += bytes.len() as u64;
        self.position = Position { offset: self.offset, marker: hash64(&self.recent) };
    }

    /// Gives the unfinished line, as no end of it will come.
    pub(super) fn flush(&mut self, file: FileKey) -> Option<Chunk> {
        let start = self.position;
        if start.offset == self.offset {
            return None;
        }
        let cut = self.offset - start.offset > self.line_bytes_max as u64;
        let mut bytes = std::mem::take(&mut self.held);
        bytes.truncate(self.line_bytes_max);
        self.after_cr = false;
        self.position = Position { offset: self.offset, marker: hash64(&self.recent) };
        Some(Chunk { file, start, end: self.position, lines: vec![Line { offset: start.offset, bytes: bytes.freeze(), cut }] })
    }

    /// The line whose last bytes are `end`, and what was held before them.
    fn line(&mut self, end: Bytes) -> Line {
        let offset = self.position.offset;
        let held = self.offset.saturating_sub(offset);
        let cr = end.last().map_or(held > 0 && self.after_cr, |last| *last == b'\r');
        let bytes_all = held + end.len() as u64 - u64::from(cr);
        let whole = if held == 0 {
            end
        } else {
            self.hold(&end);
            std::mem::take(&mut self.held).freeze()
        };
        let keep = usize::try_from(bytes_all).unwrap_or(usize::MAX).min(self.line_bytes_max);
        Line { offset, bytes: whole.slice(..keep), cut: bytes_all > keep as u64 }
    }

    fn hold(&mut self, bytes: &[u8]) {
        let room = (self.line_bytes_max + 1).saturating_sub(self.held.len());
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
        FileKey { lineage: 0, name: FileName::of(b"x").unwrap() }
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

    fn split(all: &[u8], borders: &[usize], limit: usize) -> (Vec<Chunk>, Splitter) {
        let mut splitter = Splitter::new(limit, 0, b"");
        let mut chunks = Vec::new();
        let mut from = 0;
        for to in borders.iter().copied().chain([all.len()]) {
            chunks.extend(splitter.push(key(), &Bytes::copy_from_slice(&all[from..to])));
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
            let flushed: Vec<_> = splitter.flush(key()).into_iter().collect();
            let expected: Vec<_> = (!rest.is_empty()).then(|| (end as u64, rest[..rest.len().min(limit)].to_vec(), rest.len() > limit)).into_iter().collect();
            prop_assert_eq!(plain(&flushed), expected);
            prop_assert_eq!(splitter.position(), Position { offset: all.len() as u64, marker: marker(&all, all.len()) });
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
        let mut resumed = Splitter::new(100, at.offset, &all[offset - MARKER_BYTES..offset]);
        assert_eq!(resumed.position(), at);
        let rest = resumed.push(key(), &Bytes::copy_from_slice(&all[offset..])).unwrap();
        assert_eq!((rest.end, plain(&[rest])), (chunks[1].end, plain(&chunks[1..])));
    }
}
