//! Simulated sources: growing files of numbered lines, which every node can reach.

use std::{ops::Range, time::Duration};

use logvine_cluster::{checkpoint::FileName, name::Name};
use logvine_gossip::Instant;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::file::seconds;

/// One source and how it grows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourcePlan {
    pub id: Name,
    /// From one line to the next, on average.
    #[serde(with = "seconds")]
    pub gap: Duration,
    /// Longest line, its end included.
    pub line_bytes_max: usize,
    /// From the run's beginning until its first line is written: until then there is no file.
    #[serde(default, with = "seconds", skip_serializing_if = "Duration::is_zero")]
    pub begins: Duration,
    /// Each line is as long as it may be, and comes just when it should: its rate has no noise.
    #[serde(default)]
    pub is_steady: bool,
}

impl SourcePlan {
    /// The n-th source, `s01` and so on.
    pub fn numbered(number: usize, gap: Duration, line_bytes_max: usize) -> Self {
        let id = format!("s{number:02}").parse().expect("a letter and digits are a name");
        Self { id, gap, line_bytes_max, begins: Duration::ZERO, is_steady: false }
    }
}

/// A source's file: every line is `<source> <number> <filling>` and a line end.
#[derive(Debug)]
pub struct Source {
    pub plan: SourcePlan,
    /// From one line to the next at present, on average.
    pub gap: Duration,
    content: Vec<u8>,
    /// Where each line begins, and at the end where the next one will.
    starts: Vec<u64>,
    /// When each line was written.
    written: Vec<Instant>,
}

/// Whole lines of a source, from one offset to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub start: u64,
    pub end: u64,
    /// Where each line begins.
    pub lines: Vec<u64>,
}

impl Piece {
    /// Where a line begins and ends. `record` counts from 0.
    pub fn line(&self, record: u32) -> Range<u64> {
        let at = record as usize;
        self.lines[at]..self.lines.get(at + 1).copied().unwrap_or(self.end)
    }
}

impl Source {
    pub fn new(plan: SourcePlan) -> Self {
        Self { gap: plan.gap, plan, content: Vec::new(), starts: vec![0], written: Vec::new() }
    }

    /// Writes a line.
    pub fn grow(&mut self, now: Instant, rng: &mut ChaCha8Rng) {
        self.written.push(now);
        let before = self.content.len();
        self.content.extend_from_slice(format!("{} {}", self.plan.id, self.starts.len()).as_bytes());
        let room = self.plan.line_bytes_max.saturating_sub(self.content.len() - before + 1);
        let filled = self.content.len() + if self.plan.is_steady { room } else { rng.random_range(0..=room) };
        self.content.resize(filled, b'.');
        self.content.push(b'\n');
        self.starts.push(self.content.len() as u64);
    }

    /// Bytes written.
    pub fn len(&self) -> u64 {
        self.content.len() as u64
    }

    /// Lines written.
    pub fn lines(&self) -> usize {
        self.starts.len() - 1
    }

    /// Bytes that were written after `since`.
    pub fn written_since(&self, since: Instant) -> u64 {
        let first = self.written.partition_point(|written| *written <= since);
        self.len() - self.starts[first]
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.content.is_empty()
    }

    /// The whole lines after `from` that were written by `until`, at least one if there is one, else at most `bytes_max`. None at the end.
    pub fn read(&self, from: u64, bytes_max: u64, until: Instant) -> Option<Piece> {
        let first = self.starts.partition_point(|start| *start < from);
        let last = self.starts.partition_point(|start| *start <= from.saturating_add(bytes_max)).saturating_sub(1).max(first + 1);
        let last = last.min(self.written.partition_point(|written| *written <= until));
        if last <= first {
            return None;
        }
        let end = *self.starts.get(last)?;
        Some(Piece { start: from, end, lines: self.starts[first..last].to_vec() })
    }

    /// The bytes from one offset to another, as far as they are written.
    pub fn bytes(&self, from: u64, to: u64) -> &[u8] {
        let within = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(self.content.len());
        &self.content[within(from)..within(to)]
    }

    /// Whether `name` names this source's file, by what is in its head.
    pub fn is_named(&self, name: FileName) -> bool {
        FileName::of(self.bytes(0, name.head_bytes.into())) == Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::{Concern, stream};

    const NOW: Instant = Instant::from_micros(u64::MAX);

    fn source(lines: usize) -> Source {
        let mut source = Source::new(SourcePlan::numbered(1, Duration::ZERO, 40));
        let mut rng = stream(1, Concern::Sources);
        (0..lines).for_each(|line| source.grow(Instant::from_micros(line as u64), &mut rng));
        source
    }

    #[test]
    fn it_reads_whole_lines_in_order_without_a_gap() {
        let source = source(20);
        let (mut at, mut lines) = (0, 0);
        while let Some(piece) = source.read(at, 64, NOW) {
            assert_eq!(piece.start, at);
            assert!(piece.end - piece.start <= 64);
            lines += piece.lines.len();
            at = piece.end;
        }
        assert_eq!((at, lines), (source.len(), 20));
    }

    #[test]
    fn a_line_longer_than_the_bound_is_read_alone() {
        let source = source(3);
        assert_eq!(source.read(0, 1, NOW).map(|piece| piece.lines.len()), Some(1));
    }

    /// A shared mount shows late what is written.
    #[test]
    fn what_is_written_later_is_not_read() {
        let source = source(9);
        let seen = |until| source.read(0, 1 << 10, Instant::from_micros(until)).map(|piece| piece.lines.len());
        assert_eq!((seen(0), seen(4), seen(99)), (Some(1), Some(5), Some(9)));
        let end = source.read(0, 1 << 10, Instant::from_micros(4)).map_or(0, |piece| piece.end);
        assert_eq!(source.read(end, 1 << 10, Instant::from_micros(2)), None, "a reader may have been further already");
        assert_eq!(source.written_since(Instant::from_micros(4)), source.len() - end);
        assert_eq!(source.written_since(Instant::from_micros(8)), 0);
    }

    #[test]
    fn a_name_is_of_its_own_head_only() {
        let source = source(9);
        let name = FileName::of(source.bytes(0, 50)).unwrap();
        assert!(source.is_named(name));
        assert!(!source.is_named(FileName { head_hash: name.head_hash ^ 1, ..name }));
    }
}
