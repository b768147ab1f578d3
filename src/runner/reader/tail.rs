//! What following a file means, wherever its bytes come from: its name at the first bytes, its lines, its lineages.

use std::collections::VecDeque;

use bytes::Bytes;
use logvine_cluster::checkpoint::{FileKey, FileName, Position};
use tokio::time::Instant;

use super::{
    Read,
    lines::{Framing, Splitter},
};
use crate::record::Chunk;

/// The reading end of one source.
#[derive(Debug)]
pub(super) struct Tail {
    framing: Framing,
    lineage: u32,
    /// Of the files that it comes upon; see [`FileKey::named`].
    named: u64,
    /// None until the first bytes of this lineage were read.
    key: Option<FileKey>,
    splitter: Splitter,
    /// At the start of a file that was truncated: a writer that did not notice leaves a hole before its next line, which is no content.
    hole: bool,
}

impl Tail {
    /// Of a file that was never read.
    pub(super) fn new(framing: &Framing) -> Self {
        Self { framing: framing.clone(), lineage: 0, named: 0, key: None, splitter: Splitter::new(framing.clone(), 0, b""), hole: false }
    }

    /// Of a file that was read up to `offset`, before which are the bytes `before`.
    pub(super) fn resumed(framing: &Framing, key: FileKey, offset: u64, before: &[u8]) -> Self {
        let splitter = Splitter::new(framing.clone(), offset, before);
        Self { framing: framing.clone(), lineage: key.lineage, named: 0, key: Some(key), splitter, hole: false }
    }

    /// The same, for the owner by an epoch with this counter.
    pub(super) fn under(self, counter: u64) -> Self {
        Self { named: counter, ..self }
    }

    pub(super) fn key(&self) -> Option<FileKey> {
        self.key
    }

    pub(super) fn position(&self) -> Position {
        self.splitter.position()
    }

    /// Of the next byte to read.
    pub(super) fn offset(&self) -> u64 {
        self.splitter.offset()
    }

    /// The ≤ 256 bytes before [`Self::offset`]: what must still be there when more is read.
    pub(super) fn recent(&self) -> &[u8] {
        self.splitter.recent()
    }

    /// The part of what follows that can be taken: of a unit that is only half there nothing.
    pub(super) fn whole_units(&self, block: &Bytes) -> Bytes {
        self.framing.whole_units(block)
    }

    /// When [`Self::flush_waiting`] is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.splitter.due()
    }

    /// Takes the next bytes, at least one, in whole units. None if no record ends in them.
    pub(super) fn take(&mut self, mut block: Bytes) -> Option<Chunk> {
        let (lineage, named) = (self.lineage, self.named);
        let key = *self.key.get_or_insert_with(|| FileKey { lineage, named, name: FileName::of(&block).expect("the block is not empty") });
        if self.hole {
            let hole = block.iter().take_while(|byte| **byte == 0).count();
            let hole = self.framing.whole_units(&block.slice(..hole)).len();
            self.splitter.skip(&block.split_to(hole));
            self.hole = block.is_empty();
        }
        self.splitter.push(Instant::now(), key, &block)
    }

    /// A chunk without lines: so that a place which no checkpoint has told of is remembered, though nothing may come for long.
    pub(super) fn here(&self) -> Option<Chunk> {
        let at = self.splitter.position();
        Some(Chunk { file: self.key?, start: at, end: at, lines: Vec::new() })
    }

    /// Gives the record that has waited long enough for its next line.
    pub(super) fn flush_waiting(&mut self) -> Option<Chunk> {
        self.splitter.due().filter(|due| *due <= Instant::now())?;
        self.splitter.flush_waiting(self.key?)
    }

    /// Gives the unfinished last line and record, as no end of them will come.
    pub(super) fn flush(&mut self) -> Option<Chunk> {
        self.splitter.flush(Instant::now(), self.key?)
    }

    /// Ends this lineage and begins the next from 0. What is to be said of it goes to `ready`.
    pub(super) fn rotate(&mut self, gap: bool, ready: &mut VecDeque<Read>) {
        ready.extend(self.flush().map(Read::Chunk));
        ready.push_back(Read::Rotated { gap });
        *self = Self { lineage: self.lineage + 1, named: self.named, hole: true, ..Self::new(&self.framing) };
    }
}
