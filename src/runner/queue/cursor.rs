//! Reads a queue from a place on, record by record, over what is damaged.

use std::io;

use bytes::Bytes;
use logvine_cluster::checkpoint::{FileKey, Position};

use super::{
    Queue,
    disk::Disk,
    frame::{self, HEAD_BYTES, Step},
    log::{Log, Segment},
};
use crate::record::{Chunk, Line};

/// What a cursor has found.
#[derive(Debug)]
pub(crate) enum Piece {
    Chunk(Chunk),
    /// So many bytes that hold no whole record were passed over, in the segment of this number, which is kept.
    Damaged {
        bytes: u64,
        number: u32,
    },
    /// All that is there was read.
    End,
}

/// A place in a queue.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cursor {
    number: u32,
    /// Where to read on. Zero: before the first record of this segment, or of the first one after it.
    offset: u64,
    /// Where what was given ends: before `offset` by what was damaged in between, which no record is without.
    given: u64,
}

impl Cursor {
    /// Where a checkpoint says.
    pub(crate) fn at(resume: Option<(FileKey, Position)>) -> Self {
        resume.map_or_else(Self::default, |(key, position)| Self { number: key.lineage, offset: position.offset, given: position.offset })
    }

    /// Reads on, `most` bytes or one record. Blocks on the disk. After an error it is where it was.
    pub(crate) fn next(&mut self, queue: &Queue, most: usize) -> io::Result<Piece> {
        self.read(&queue.log, most)
    }

    pub(super) fn read<D: Disk>(&mut self, log: &Log<D>, most: usize) -> io::Result<Piece> {
        loop {
            let Some((segment, is_final)) = log.segment(self.number) else { return Ok(Piece::End) };
            let from = if segment.number == self.number { self.offset.max(HEAD_BYTES) } else { HEAD_BYTES };
            if from < segment.end {
                return self.read_segment(log, &segment, from, most);
            }
            if !is_final {
                return Ok(Piece::End);
            }
            *self = Self { number: segment.number.saturating_add(1), ..Self::default() };
        }
    }

    fn read_segment<D: Disk>(&mut self, log: &Log<D>, segment: &Segment, from: u64, most: usize) -> io::Result<Piece> {
        let mut block = log.read(segment, from, most)?;
        if let Step::More { bytes } = frame::step(segment.salt, &block, from, 0, segment.end) {
            block = log.read(segment, from, bytes)?;
        }
        // The prefix of a long record was only just in reach.
        if let Step::More { bytes } = frame::step(segment.salt, &block, from, 0, segment.end) {
            block = log.read(segment, from, bytes)?;
        }
        let mut lines = Vec::new();
        let mut at = 0;
        while let Step::Record { entry, bytes } = frame::step(segment.salt, &block, from, at, segment.end) {
            lines.push(Line { offset: from + at as u64, bytes: entry.bytes, cut: entry.cut });
            at += bytes;
        }
        if lines.is_empty() {
            return self.pass_over(log, segment, from);
        }
        let key = segment.key();
        let end = from + at as u64;
        let begin = if segment.number == self.number { self.given } else { 0 };
        *self = Self { number: segment.number, offset: end, given: end };
        Ok(Piece::Chunk(Chunk { file: key, start: position(key, begin), end: position(key, end), lines }))
    }

    /// Goes on at the next whole record, or at the segment's end.
    fn pass_over<D: Disk>(&mut self, log: &Log<D>, segment: &Segment, from: u64) -> io::Result<Piece> {
        let rest: Bytes = log.read(segment, from, usize::MAX)?;
        let next = frame::resync(segment.salt, &rest, from, 0).map_or(segment.end, |at| from + at as u64);
        log.note_bad(segment.number)?;
        let given = if segment.number == self.number { self.given } else { 0 };
        *self = Self { number: segment.number, offset: next, given };
        Ok(Piece::Damaged { bytes: next - from, number: segment.number })
    }

    /// Bytes that wait behind it.
    pub(crate) fn lag_bytes(&self, queue: &Queue) -> u64 {
        queue.log.bytes_after(self.number, self.offset)
    }
}

/// A checkpoint in a queue needs no marker of what was there: each record has a checksum of its own.
pub(super) fn position(key: FileKey, offset: u64) -> Position {
    if offset == 0 { Position::start() } else { Position { offset, marker: key.name.head_hash } }
}
