//! The records of a chunk as their senders take them: written once for each encoding, cut out for each send.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use logvine_cluster::{delivery::Records, name::Name, spec::SenderSpec};

use crate::{
    record::Record,
    route,
    sender::{encoding::Encoding, ndjson::Origin},
};

/// What is written around a short line, in NDJSON: the first guess.
const FRAME_BYTES: usize = 192;
/// A batch has about so much besides its records, in maps and queues.
const BATCH_BYTES: usize = 512;

/// What is written of each record, and which sender takes which of it.
#[derive(Debug, Default)]
pub(crate) struct Outlets {
    outlets: Vec<Outlet>,
    /// How long a record of each was in the last chunk of any source, on average; 0 before the first. So a chunk's memory is as large as what is written.
    lengths: Vec<AtomicUsize>,
    by_sender: BTreeMap<Name, usize>,
}

/// What senders of the same encoding and condition take.
#[derive(Debug, PartialEq, Eq)]
struct Outlet {
    encoding: Encoding,
    /// The place of their condition among the distinct ones; None: they take all.
    when: Option<usize>,
}

impl Outlets {
    /// One for each distinct encoding and condition.
    /// Errors: what is wrong with which sender, for people.
    pub(crate) fn new(senders: &[SenderSpec]) -> Result<Self, String> {
        let mut outlets = Self::default();
        let conditions = route::conditions(senders);
        for sender in senders {
            let encoding = Encoding::of(sender).map_err(|error| format!("sender `{}`: {error}", sender.name()))?;
            let outlet = Outlet { encoding, when: sender.when().and_then(|when| conditions.iter().position(|known| *known == when)) };
            let known = outlets.outlets.iter().position(|known| *known == outlet);
            let at = known.unwrap_or_else(|| {
                outlets.outlets.push(outlet);
                outlets.lengths.push(AtomicUsize::new(0));
                outlets.outlets.len() - 1
            });
            outlets.by_sender.insert(sender.name().clone(), at);
        }
        Ok(outlets)
    }

    /// Whether any of them needs the records' ids, which are dear where nothing else is done.
    pub(crate) fn need_ids(&self) -> bool {
        self.outlets.iter().any(|outlet| outlet.encoding.needs_id())
    }
}

/// Writes the records of one chunk.
pub(crate) struct Writer {
    outlets: Arc<Outlets>,
    /// When the chunk was read, in microseconds since 1970: of a record that does not say when it happened.
    observed: u64,
    ids: Vec<[u8; 16]>,
    parts: Vec<(Vec<u8>, Vec<usize>)>,
}

impl Writer {
    /// `records` and `bytes`: how many lines there are in the chunk, and how long they are together.
    pub(crate) fn new(outlets: &Arc<Outlets>, records: usize, bytes: usize, observed: u64) -> Self {
        let guess = |length: &AtomicUsize| match length.load(Relaxed) {
            0 => bytes + records * FRAME_BYTES,
            length => records * (length + length / 16 + 1),
        };
        let parts = outlets.lengths.iter().map(|length| (Vec::with_capacity(guess(length)), Vec::with_capacity(records))).collect();
        Self { outlets: outlets.clone(), observed, ids: Vec::with_capacity(records), parts }
    }

    /// `held`: by condition, whether it holds for the record. False: no sender takes it.
    pub(crate) fn push(&mut self, origin: &Origin, record: &Record, held: &[bool]) -> bool {
        self.ids.push(record.id);
        let mut taken = false;
        for (Outlet { encoding, when }, (bytes, ends)) in self.outlets.outlets.iter().zip(&mut self.parts) {
            if when.is_none_or(|at| held[at]) {
                encoding.write(bytes, origin, record, self.observed);
                taken = true;
            }
            ends.push(bytes.len());
        }
        taken
    }

    pub(crate) fn finish(self) -> Payload {
        let ids: Arc<[[u8; 16]]> = self.ids.into();
        let encoded = self.outlets.outlets.iter().zip(&self.outlets.lengths).zip(self.parts);
        let encoded = encoded.map(|((Outlet { encoding, .. }, length), (mut bytes, ends))| {
            if !ids.is_empty() {
                length.store(bytes.len().div_ceil(ids.len()), Relaxed);
            }
            if bytes.capacity() - bytes.len() > bytes.len() / 4 {
                bytes.shrink_to_fit();
            }
            Arc::new(Encoded { encoding: encoding.clone(), bytes: bytes.into(), ends, ids: ids.clone() })
        });
        Payload { encoded: encoded.collect(), records: ids.len(), outlets: self.outlets }
    }
}

/// The records of one chunk.
#[derive(Debug)]
pub(crate) struct Payload {
    outlets: Arc<Outlets>,
    encoded: Vec<Arc<Encoded>>,
    records: usize,
}

/// The same in one encoding.
#[derive(Debug)]
struct Encoded {
    encoding: Encoding,
    bytes: Bytes,
    /// Where each record ends. One that is not for the senders of this has no bytes.
    ends: Vec<usize>,
    ids: Arc<[[u8; 16]]>,
}

impl Encoded {
    fn end(&self, count: u32) -> usize {
        count.checked_sub(1).map_or(0, |last| self.ends[last as usize])
    }
}

impl Payload {
    /// How many records there are.
    pub(crate) fn records(&self) -> u32 {
        u32::try_from(self.records).expect("a chunk has fewer lines than bytes, and is far below 4 GiB")
    }

    /// Memory that it takes.
    pub(crate) fn bytes(&self) -> u64 {
        let encoded: usize = self.encoded.iter().map(|encoded| encoded.bytes.len() + encoded.ends.len() * size_of::<usize>()).sum();
        (BATCH_BYTES + encoded + self.records * size_of::<[u8; 16]>()) as u64
    }

    /// Some of the records as `sender` takes them. Copied only where they are not next to each other.
    pub(crate) fn parcel(&self, sender: &Name, records: Records) -> Parcel {
        let of = self.encoded[self.outlets.by_sender[sender]].clone();
        let cut = |run: &std::ops::Range<u32>| of.end(run.start)..of.end(run.end);
        let bytes = match records.runs() {
            [run] => of.bytes.slice(cut(run)),
            runs => runs.iter().map(|run| &of.bytes[cut(run)]).collect::<Vec<_>>().concat().into(),
        };
        Parcel { of, records, bytes }
    }
}

/// The records of one send, as its sender takes them.
#[derive(Debug, Clone)]
pub(crate) struct Parcel {
    of: Arc<Encoded>,
    records: Records,
    bytes: Bytes,
}

/// A record of a parcel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Item<'a> {
    /// Its number in the batch: what outcomes name it by.
    pub(crate) record: u32,
    /// What the sink may tell repeats by.
    pub(crate) id: [u8; 16],
    pub(crate) bytes: &'a [u8],
}

impl Parcel {
    /// All of it, one record after the other.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether none of the records is for this sender.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The records that are for this sender.
    pub(crate) fn items(&self) -> impl Iterator<Item = Item<'_>> {
        let item =
            |record: u32| Item { record, id: self.of.ids[record as usize], bytes: &self.of.bytes[self.of.end(record)..self.of.end(record + 1)] };
        self.records.numbers().map(item).filter(|item| !item.bytes.is_empty())
    }

    /// One of the items as one JSON value, for people.
    pub(crate) fn shown<'a>(&self, item: &Item<'a>) -> Cow<'a, [u8]> {
        self.of.encoding.shown(item.bytes)
    }
}

#[cfg(test)]
impl Parcel {
    /// Records that are written already; their ids are their numbers.
    pub(crate) fn of_parts(encoding: Encoding, parts: &[&[u8]]) -> Self {
        let ends = parts.iter().scan(0, |end, part| {
            *end += part.len();
            Some(*end)
        });
        let ids = (0_u128..).take(parts.len()).map(u128::to_be_bytes).collect();
        let bytes: Bytes = parts.concat().into();
        let count = u32::try_from(parts.len()).unwrap();
        Self { of: Arc::new(Encoded { encoding, bytes: bytes.clone(), ends: ends.collect(), ids }), records: (0..count).into(), bytes }
    }

    /// Lines of NDJSON.
    pub(crate) fn of_lines(lines: &str) -> Self {
        Self::of_parts(Encoding::Ndjson, &lines.split_inclusive('\n').map(str::as_bytes).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Body;

    fn senders(senders: serde_json::Value) -> Vec<SenderSpec> {
        serde_json::from_value(senders).unwrap()
    }

    fn payload(count: u8) -> Payload {
        let outlets = Outlets::new(&senders(serde_json::json!([{"type": "stdout", "name": "a"}, {"type": "file", "name": "b", "path": "/x"}])));
        let mut writer = Writer::new(&Arc::new(outlets.unwrap()), 0, 0, 0);
        let origin = Origin::new("r", "n", "s");
        for n in 0..count {
            let body = Body::Text(n.to_string().into());
            writer.push(&origin, &Record { id: [n; 16], offset: n.into(), time: None, severity: None, body, error: None, cut: false }, &[]);
        }
        writer.finish()
    }

    fn bodies(lines: &[u8]) -> Vec<String> {
        str::from_utf8(lines).unwrap().lines().map(crate::tests::body_of).collect()
    }

    #[test]
    fn senders_of_one_encoding_share_its_bytes() {
        let payload = payload(3);
        let [a, b] = ["a", "b"].map(|sender| payload.parcel(&sender.parse().unwrap(), (0..3).into()));
        assert_eq!(a.bytes().as_ptr(), b.bytes().as_ptr());
        assert_eq!(payload.bytes(), BATCH_BYTES as u64 + a.bytes().len() as u64 + 3 * (8 + 16));
    }

    #[test]
    fn records_are_cut_out_whole_with_their_numbers_and_ids() {
        let parcel = payload(10).parcel(&"a".parse().unwrap(), [2, 3, 7].into_iter().collect());
        assert_eq!(bodies(parcel.bytes()), ["2", "3", "7"]);
        assert_eq!(parcel.items().map(|item| (item.record, item.id[0])).collect::<Vec<_>>(), [(2, 2), (3, 3), (7, 7)]);
        assert_eq!(parcel.items().flat_map(|item| bodies(item.bytes)).collect::<Vec<_>>(), ["2", "3", "7"]);
    }

    #[test]
    fn a_record_goes_to_the_senders_whose_conditions_hold() {
        let specs = senders(serde_json::json!([
            {"type": "stdout", "name": "all"},
            {"type": "stdout", "name": "odd", "when": {"exists": ["odd"]}},
            {"type": "file", "name": "odd-too", "path": "/x", "when": {"exists": ["odd"]}},
            {"type": "stdout", "name": "none", "when": {"exists": ["none"]}},
        ]));
        let mut writer = Writer::new(&Arc::new(Outlets::new(&specs).unwrap()), 0, 0, 0);
        let origin = Origin::new("r", "n", "s");
        for n in 0..4_u8 {
            let record =
                Record { id: [n; 16], offset: n.into(), time: None, severity: None, body: Body::Text(n.to_string().into()), error: None, cut: false };
            assert!(writer.push(&origin, &record, &[n % 2 == 1, false]));
        }
        let payload = writer.finish();
        let parcel = |sender: &str| payload.parcel(&sender.parse().unwrap(), (0..4).into());
        assert_eq!(bodies(parcel("all").bytes()), ["0", "1", "2", "3"]);
        let odd = parcel("odd");
        assert_eq!(bodies(odd.bytes()), ["1", "3"]);
        assert_eq!(odd.items().map(|item| (item.record, item.id[0])).collect::<Vec<_>>(), [(1, 1), (3, 3)]);
        assert_eq!(odd.bytes().as_ptr(), parcel("odd-too").bytes().as_ptr());
        assert!(parcel("none").is_empty());
    }

    #[test]
    fn a_record_without_bytes_is_no_item() {
        let parcel = Parcel::of_parts(Encoding::Ndjson, &[b"", b"{}\n", b""]);
        assert_eq!(parcel.items().map(|item| item.record).collect::<Vec<_>>(), [1]);
        assert!(!parcel.is_empty() && Parcel::of_parts(Encoding::Ndjson, &[b"", b""]).is_empty());
    }
}
