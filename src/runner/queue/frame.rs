//! How records lie in a segment.
//!
//! ```text
//! segment:  head head record record …          the head twice: one flipped byte must not make all that follows unreadable
//! head:     "lvqueue1" salt[16] crc[4]
//! record:   A5 'L' 'V' 'Q'  length[4]  crc[4]  flags[1] line[length - 1]         numbers little-endian
//! ```
//! A record's checksum (CRC32C, Castagnoli 1993) is over the segment's salt, the record's offset, its length and its bytes. So neither what a block
//! of the disk held before, nor a record that somebody sends within a line of his own, is ever taken for one.

use bytes::Bytes;
use logvine_cluster::checkpoint::FileName;
use memchr::memmem;

const HEAD_MAGIC: [u8; 8] = *b"lvqueue1";
const HEAD_COPY_BYTES: usize = 28;
pub(super) const HEAD_LENGTH: usize = 2 * HEAD_COPY_BYTES;
/// Where the first record begins.
pub(super) const HEAD_BYTES: u64 = HEAD_LENGTH as u64;
const MAGIC: [u8; 4] = [0xa5, b'L', b'V', b'Q'];
/// Before a record's flags.
const PREFIX_BYTES: usize = 12;
const CUT: u8 = 1;

/// One line that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Without a line end.
    pub(crate) bytes: Bytes,
    /// Whether it was longer than the limit and lost its rest.
    pub(crate) cut: bool,
}

impl Entry {
    /// What it takes in a segment.
    pub(super) fn framed_bytes(&self) -> u64 {
        (PREFIX_BYTES + 1 + self.bytes.len()) as u64
    }
}

/// Drawn for each segment, so that no two share a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Salt(pub(super) [u8; 16]);

impl Salt {
    pub(super) fn head(self) -> Vec<u8> {
        let copy = self.head_copy();
        [copy, copy].concat()
    }

    fn head_copy(self) -> [u8; HEAD_COPY_BYTES] {
        let mut copy = [0; HEAD_COPY_BYTES];
        copy[..8].copy_from_slice(&HEAD_MAGIC);
        copy[8..24].copy_from_slice(&self.0);
        let crc = crc32c::crc32c(&copy[..24]);
        copy[24..].copy_from_slice(&crc.to_le_bytes());
        copy
    }

    /// The salt of a segment that begins with `head`; None if neither copy of it is whole.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        head.chunks_exact(HEAD_COPY_BYTES).take(2).find_map(|copy| {
            let salt = Self(copy[8..24].try_into().expect("16 bytes"));
            (copy == salt.head_copy()).then_some(salt)
        })
    }

    /// What checkpoints and record ids know the segment by.
    pub(super) fn name(self) -> FileName {
        FileName::of(&self.head_copy()).expect("it is not empty")
    }

    fn crc(self, offset: u64, length: [u8; 4], body: &[u8]) -> u32 {
        let crc = crc32c::crc32c(&self.0);
        let crc = crc32c::crc32c_append(crc, &offset.to_le_bytes());
        let crc = crc32c::crc32c_append(crc, &length);
        crc32c::crc32c_append(crc, body)
    }
}

/// Appends the record that stands at `offset` of its segment.
pub(super) fn encode(out: &mut Vec<u8>, salt: Salt, offset: u64, entry: &Entry) {
    let length = u32::try_from(entry.bytes.len() + 1).expect("lines are bounded far below 4 GiB").to_le_bytes();
    let begin = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&length);
    out.extend_from_slice(&[0; 4]);
    out.push(if entry.cut { CUT } else { 0 });
    out.extend_from_slice(&entry.bytes);
    let crc = salt.crc(offset, length, &out[begin + PREFIX_BYTES..]);
    out[begin + 8..begin + PREFIX_BYTES].copy_from_slice(&crc.to_le_bytes());
}

/// What stands at a place of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A whole record of so many bytes.
    Record { entry: Entry, bytes: usize },
    /// A record may begin here, and would be so long: `block` does not reach to its end.
    More { bytes: usize },
    /// No record.
    Bad,
}

/// Looks at `at` of `block`, which begins at `base` of its segment; the segment ends at `end`.
pub(super) fn step(salt: Salt, block: &Bytes, base: u64, at: usize, end: u64) -> Step {
    let offset = base + at as u64;
    let left = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
    if left < PREFIX_BYTES + 1 {
        return Step::Bad;
    }
    let here = &block[at..];
    if here.len() < PREFIX_BYTES {
        return Step::More { bytes: PREFIX_BYTES + 1 };
    }
    let length: [u8; 4] = here[4..8].try_into().expect("4 bytes");
    let body = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if here[..4] != MAGIC || body == 0 || body > left - PREFIX_BYTES {
        return Step::Bad;
    }
    let bytes = PREFIX_BYTES + body;
    if here.len() < bytes {
        return Step::More { bytes };
    }
    if here[8..PREFIX_BYTES] != salt.crc(offset, length, &here[PREFIX_BYTES..bytes]).to_le_bytes() {
        return Step::Bad;
    }
    let entry = Entry { cut: here[PREFIX_BYTES] & CUT != 0, bytes: block.slice(at + PREFIX_BYTES + 1..at + bytes) };
    Step::Record { entry, bytes }
}

/// The first whole record after `from`; `block` is the rest of a segment that begins at `base`.
pub(super) fn resync(salt: Salt, block: &Bytes, base: u64, from: usize) -> Option<usize> {
    let end = base + block.len() as u64;
    let candidates = memmem::find_iter(&block[from..], &MAGIC).map(|at| from + at);
    candidates.into_iter().find(|at| matches!(step(salt, block, base, *at, end), Step::Record { .. }))
}

/// Where the last whole record of a segment ends: what is after it was torn by a crash. `records` is all of the segment from its first record on.
pub(super) fn whole_end(salt: Salt, records: &Bytes) -> u64 {
    let end = HEAD_BYTES + records.len() as u64;
    let mut at = 0;
    loop {
        match step(salt, records, HEAD_BYTES, at, end) {
            Step::Record { bytes, .. } => at += bytes,
            Step::More { .. } | Step::Bad => match resync(salt, records, HEAD_BYTES, at) {
                Some(next) => at = next,
                None => return HEAD_BYTES + at as u64,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: Salt = Salt([7; 16]);

    fn entry(text: &str) -> Entry {
        Entry { bytes: Bytes::copy_from_slice(text.as_bytes()), cut: text.len() > 5 }
    }

    fn segment(texts: &[&str]) -> Bytes {
        let mut out = Vec::new();
        for text in texts {
            let offset = HEAD_BYTES + out.len() as u64;
            encode(&mut out, SALT, offset, &entry(text));
        }
        out.into()
    }

    /// All that is found in the records of a segment.
    fn found(salt: Salt, records: &Bytes) -> Vec<Entry> {
        let end = HEAD_BYTES + records.len() as u64;
        let (mut at, mut found) = (0, Vec::new());
        while at < records.len() {
            match step(salt, records, HEAD_BYTES, at, end) {
                Step::Record { entry, bytes } => {
                    found.push(entry);
                    at += bytes;
                }
                _ => match resync(salt, records, HEAD_BYTES, at) {
                    Some(next) => at = next,
                    None => break,
                },
            }
        }
        found
    }

    /// Golden: what a release has written, later ones read.
    #[test]
    fn a_segment_is_read_for_ever() {
        let bytes = [&SALT.head()[..], &segment(&["one", "", "cut it"])].concat();
        let golden = expect_test::expect![
            "6c76717565756531070707070707070707070707070707070ecfb6f96c76717565756531070707070707070707070707070707070ecfb6f9a54c565104000000f1a88219006f6e65a54c565101000000d313374e00a54c565107000000c6b6502601637574206974"
        ];
        golden.assert_eq(&hex::encode(&bytes));
        assert_eq!(Salt::of(&bytes[..56]), Some(SALT));
        assert_eq!(found(SALT, &bytes.split_off_head()), [entry("one"), entry(""), entry("cut it")]);
    }

    trait SplitOffHead {
        fn split_off_head(&self) -> Bytes;
    }

    impl SplitOffHead for Vec<u8> {
        fn split_off_head(&self) -> Bytes {
            Bytes::copy_from_slice(&self[HEAD_LENGTH..])
        }
    }

    #[test]
    fn one_flipped_byte_costs_its_own_record_and_no_other() {
        let texts = ["first", "second line", "", "fourth"];
        let whole = segment(&texts);
        for at in 0..whole.len() {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 0x10;
            let left = found(SALT, &bytes.into());
            assert_eq!(left.len(), 3, "byte {at}");
            assert!(left.iter().all(|entry| texts.contains(&std::str::from_utf8(&entry.bytes).unwrap())), "byte {at}");
        }
    }

    #[test]
    fn one_flipped_byte_of_a_head_costs_nothing() {
        for at in 0..HEAD_LENGTH {
            let mut head = SALT.head();
            head[at] ^= 1;
            assert_eq!(Salt::of(&head), Some(SALT), "byte {at}");
        }
        assert_eq!(Salt::of(&SALT.head()[..20]), None);
        assert_eq!(Salt::of(&[0; 56]), None);
    }

    #[test]
    fn what_is_torn_is_cut_where_the_last_whole_record_ends() {
        let whole = segment(&["one", "two"]);
        let one = segment(&["one"]).len();
        for length in one..whole.len() {
            assert_eq!(whole_end(SALT, &whole.slice(..length)), HEAD_BYTES + one as u64);
            let zeroed: Bytes = [&whole[..length], &[0; 40]].concat().into();
            assert_eq!(whole_end(SALT, &zeroed), HEAD_BYTES + one as u64);
        }
        assert_eq!(whole_end(SALT, &whole), HEAD_BYTES + whole.len() as u64);
    }

    /// Who sends a line that looks like a record must not get it taken for one where the record around it is damaged.
    #[test]
    fn a_record_within_a_line_is_none() {
        let mut inner = Vec::new();
        encode(&mut inner, Salt([9; 16]), HEAD_BYTES + PREFIX_BYTES as u64 + 1, &entry("forged"));
        let mut out = Vec::new();
        encode(&mut out, SALT, HEAD_BYTES, &Entry { bytes: inner.into(), cut: false });
        out[5] ^= 1;
        assert_eq!(found(SALT, &out.into()), []);
    }

    #[test]
    fn a_record_that_goes_past_the_block_says_how_much_is_needed() {
        let whole = segment(&["one"]);
        let end = HEAD_BYTES + whole.len() as u64;
        assert_eq!(step(SALT, &whole.slice(..5), HEAD_BYTES, 0, end), Step::More { bytes: 13 });
        assert_eq!(step(SALT, &whole.slice(..14), HEAD_BYTES, 0, end), Step::More { bytes: whole.len() });
    }
}
