//! How bodies, objects and files that are put aside are compressed.

use std::io::{self, Read, Write};

use bytes::Bytes;
use flate2::write::GzEncoder;
use logvine_cluster::spec::Compression;

/// The fastest level of gzip: the network's gain is nearly all there.
const GZIP_FAST: flate2::Compression = flate2::Compression::fast();
/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;

/// The `Content-Encoding` (RFC 9110 §8.4, RFC 8878 §7.2); None: the bytes are as they are.
pub(super) fn coding(compression: Compression) -> Option<&'static str> {
    match compression {
        Compression::None => None,
        Compression::Gzip => Some("gzip"),
        Compression::Zstd => Some("zstd"),
    }
}

/// What names of compressed files end in.
pub(super) fn ending(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "",
        Compression::Gzip => ".gz",
        Compression::Zstd => ".zst",
    }
}

/// Some milliseconds of work a megabyte.
pub(super) fn compressed(compression: Compression, bytes: &Bytes) -> Bytes {
    let mut out = Vec::with_capacity(bytes.len() / 4);
    match compression {
        Compression::None => return bytes.clone(),
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(&mut out, GZIP_FAST);
            encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes all");
        }
        Compression::Zstd => zstd::stream::copy_encode(&bytes[..], &mut out, ZSTD_LEVEL).expect("memory takes all"),
    }
    out.into()
}

/// Copies all of `plain`, compressed well, as it is read once and kept long.
pub(super) fn copy(compression: Compression, mut plain: impl Read, mut to: impl Write) -> io::Result<()> {
    match compression {
        Compression::None => io::copy(&mut plain, &mut to).map(drop),
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(to, flate2::Compression::default());
            io::copy(&mut plain, &mut encoder)?;
            encoder.finish().map(drop)
        }
        Compression::Zstd => {
            let mut encoder = zstd::stream::Encoder::new(to, ZSTD_LEVEL)?;
            // A file that breaks off, or rots, is told when it is read.
            encoder.include_checksum(true)?;
            io::copy(&mut plain, &mut encoder)?;
            encoder.finish().map(drop)
        }
    }
}

#[cfg(test)]
pub(super) fn plain(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match compression {
        Compression::None => out.extend_from_slice(bytes),
        Compression::Gzip => drop(flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).unwrap()),
        Compression::Zstd => zstd::stream::copy_decode(bytes, &mut out).unwrap(),
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_compressed_is_as_it_was() {
        let bytes = Bytes::from("{\"n\":1}\n".repeat(1_000));
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let at_once = compressed(compression, &bytes);
            let mut copied = Vec::new();
            copy(compression, &bytes[..], &mut copied).unwrap();
            assert_eq!((plain(compression, &at_once), plain(compression, &copied)), (bytes.to_vec(), bytes.to_vec()), "{compression:?}");
            assert!(compression == Compression::None || at_once.len().max(copied.len()) < bytes.len() / 10, "{compression:?}");
        }
    }
}
