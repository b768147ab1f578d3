//! What is in a file: its bytes, or what they are unpacked (gzip, RFC 1952), by offset.

use std::{
    fs::{File, Metadata},
    io::{self, BufReader, Read},
    os::unix::fs::FileExt,
    sync::{Arc, Mutex, PoisonError},
};

use flate2::bufread::MultiGzDecoder;
use logvine_cluster::checkpoint::MARKER_BYTES_MAX;

const GZIP: &[u8] = &[0x1f, 0x8b];
/// Bytes that are unpacked at once.
const PIECE_BYTES: usize = 64 << 10;

/// An open file, read by offset. Of a packed one offsets are those of the content.
#[derive(Debug)]
pub(super) struct Content {
    file: Arc<File>,
    unpacked: Option<Mutex<Unpacked>>,
}

impl Content {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let file = Arc::new(file);
        let packed = read_at(&file, 0, GZIP.len())? == GZIP;
        Ok(Self { unpacked: packed.then(Mutex::default), file })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    pub(super) fn is_packed(&self) -> bool {
        self.unpacked.is_some()
    }

    /// The bytes from `offset` on, `most` at most; fewer only at the end. Cost: of a packed file what is before `offset` is unpacked too, unless it was just
    /// read up to there. Errors: also a packed file that is damaged or cut off, once all before that has been given.
    pub(super) fn read_at(&self, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        match &self.unpacked {
            None => read_at(&self.file, offset, most),
            // A panic while it was held would be the decoder's; it is made anew then, as after an error.
            Some(unpacked) => unpacked.lock().unwrap_or_else(PoisonError::into_inner).read_at(&self.file, offset, most),
        }
    }
}

/// A packed file's content, read forwards.
#[derive(Debug, Default)]
struct Unpacked {
    decoder: Option<MultiGzDecoder<BufReader<Forwards>>>,
    /// Of the next byte that is unpacked.
    offset: u64,
    /// The ≤ [`MARKER_BYTES_MAX`] bytes before it.
    recent: Vec<u8>,
    /// The furthest that was given.
    furthest: u64,
    /// The packed size at which its end was reached: the decoder is let go then.
    ended: Option<u64>,
}

impl Unpacked {
    fn read_at(&mut self, file: &Arc<File>, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        let size = file.metadata()?.len();
        let usable = self.decoder.is_some() || self.ended == Some(size);
        if !usable || offset < self.offset - self.recent.len() as u64 {
            let forwards = Forwards { file: file.clone(), offset: 0 };
            self.decoder = Some(MultiGzDecoder::new(BufReader::new(forwards)));
            (self.offset, self.ended) = (0, None);
            self.recent.clear();
        }
        let again = usize::try_from(self.offset.saturating_sub(offset)).unwrap_or(0);
        let mut bytes = self.recent[self.recent.len() - again.min(self.recent.len())..].to_vec();
        let mut piece = vec![0; PIECE_BYTES.min(most.max(1))];
        while let Some(decoder) = self.decoder.as_mut().filter(|_| bytes.len() < most) {
            let ahead = usize::try_from(offset.saturating_sub(self.offset)).unwrap_or(usize::MAX);
            let wanted = if ahead > 0 { ahead } else { most - bytes.len() };
            let room = wanted.min(piece.len());
            match decoder.read(&mut piece[..room]) {
                Ok(0) => (self.decoder, self.ended) = (None, Some(size)),
                Ok(read) => {
                    self.offset += read as u64;
                    self.recent.extend_from_slice(&piece[..read]);
                    let over = self.recent.len().saturating_sub(usize::try_from(MARKER_BYTES_MAX).unwrap_or(0));
                    self.recent.drain(..over);
                    if ahead == 0 {
                        bytes.extend_from_slice(&piece[..read]);
                    }
                }
                Err(error) => {
                    self.decoder = None;
                    if self.offset <= self.furthest {
                        return Err(io::Error::new(error.kind(), format!("it is not whole gzip: {error}")));
                    }
                }
            }
        }
        self.furthest = self.furthest.max(self.offset);
        bytes.truncate(most);
        Ok(bytes)
    }
}

/// Reads a file from its start, whoever else reads it.
#[derive(Debug)]
struct Forwards {
    file: Arc<File>,
    offset: u64,
}

impl Read for Forwards {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// The bytes from `offset` on, `most` at most; fewer only at the file's end.
pub(crate) fn read_at(file: &File, offset: u64, most: usize) -> io::Result<Vec<u8>> {
    // Into memory that nobody has filled with zeros before: a fifth of the work of a file that is only copied.
    let mut bytes = Vec::with_capacity(most);
    while bytes.len() < most {
        let at = offset + bytes.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), at) {
            Ok(0) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bytes.truncate(most);
    Ok(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    pub(in crate::reader) fn packed(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn content(bytes: &[u8]) -> Content {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Content::new(file).unwrap()
    }

    #[test]
    fn a_packed_file_is_read_by_the_offsets_of_its_content() {
        let all: Vec<u8> = (0..40_000_u32).flat_map(u32::to_be_bytes).collect();
        // Two members are one content.
        let file = content(&[packed(&all[..70_000]), packed(&all[70_000..])].concat());
        assert!(file.is_packed());
        for (offset, most) in
            [(0, 1_024), (0, 10), (900, 300), (1_000, 100_000), (100_744, 90_000), (5, 5), (159_990, 100), (160_000, 9), (170_000, 9)]
        {
            let end = (offset + most).min(all.len());
            assert_eq!(file.read_at(offset as u64, most).unwrap(), all[offset.min(end)..end], "{most} from {offset}");
        }
        assert_eq!(file.read_at(159_900, 1_000).unwrap(), all[159_900..], "its end is known without unpacking it again");
    }

    #[test]
    fn what_is_before_the_damage_is_given_and_then_the_damage_told() {
        let all: Vec<u8> = (0..40_000_u32).flat_map(u32::to_be_bytes).collect();
        let bytes = packed(&all);
        let file = content(&bytes[..bytes.len() / 2]);
        let mut got = Vec::new();
        let error = loop {
            match file.read_at(got.len() as u64, 10_000) {
                Ok(more) => got.extend(more),
                Err(error) => break error,
            }
        };
        assert!(!got.is_empty() && all.starts_with(&got));
        assert!(error.to_string().contains("not whole gzip"));
    }

    #[test]
    fn other_files_are_what_they_are() {
        let file = content(b"plain");
        assert!(!file.is_packed());
        assert_eq!(file.read_at(2, 9).unwrap(), b"ain");
    }
}
