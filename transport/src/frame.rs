//! What one call carries each way: `[format:1][body length:4, big-endian][body: MessagePack, named fields]`.

use bytes::{BufMut, Bytes, BytesMut};
use quinn::{ReadError, ReadExactError, RecvStream};
use serde::{Serialize, de::DeserializeOwned};

/// The layout above.
pub const FRAME_FORMAT: u8 = 1;

/// Largest body of a frame, in bytes.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

const HEADER_BYTES: usize = 5;

/// How deep a body may nest. Ours nest to some six; what is deeper would only spend the stack (also in fields that are skipped).
const DEPTH_MAX: usize = 48;

/// Memory set aside for a body before any of it is here. The rest follows what arrives, so an announced length costs nothing.
const EAGER_BYTES_MAX: usize = 64 * 1024;

/// Why bytes are not a frame, or a value makes none.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("frame of format {format}, and this node knows {FRAME_FORMAT} only")]
    Format { format: u8 },
    #[error("frame body of {bytes} bytes is over the limit of {FRAME_BYTES_MAX}")]
    TooLarge { bytes: usize },
    #[error("frame ends early")]
    Truncated,
    #[error("{bytes} bytes follow the frame's value")]
    Trailing { bytes: usize },
    #[error("value does not encode as MessagePack")]
    Encode { source: rmp_serde::encode::Error },
    #[error("frame body does not decode")]
    Body { source: rmp_serde::decode::Error },
}

/// `value` as a whole frame, header included.
///
/// Errors: `TooLarge`, `Encode`.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, FrameError> {
    let mut writer = BytesMut::from(&[FRAME_FORMAT, 0, 0, 0, 0][..]).writer();
    rmp_serde::encode::write_named(&mut writer, value).map_err(|source| FrameError::Encode { source })?;
    let mut frame = writer.into_inner();
    let bytes = frame.len() - HEADER_BYTES;
    let length = u32::try_from(bytes).ok().filter(|_| bytes <= FRAME_BYTES_MAX).ok_or(FrameError::TooLarge { bytes })?;
    frame[1..HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
    Ok(frame.freeze())
}

/// The value of a whole frame, header included.
///
/// Errors: all but `Encode`. Unknown fields are ignored, so that versions can mix.
pub fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, FrameError> {
    let (header, body) = frame.split_first_chunk().ok_or(FrameError::Truncated)?;
    let bytes = body_bytes(*header)?;
    match body.len() {
        present if present < bytes => Err(FrameError::Truncated),
        present if present > bytes => Err(FrameError::Trailing { bytes: present - bytes }),
        _ => decode_body(body),
    }
}

/// The value of a frame's body.
pub(crate) fn decode_body<T: DeserializeOwned>(mut body: &[u8]) -> Result<T, FrameError> {
    let mut deserializer = rmp_serde::Deserializer::new(&mut body);
    deserializer.set_max_depth(DEPTH_MAX);
    let value = T::deserialize(&mut deserializer).map_err(|source| FrameError::Body { source })?;
    if body.is_empty() { Ok(value) } else { Err(FrameError::Trailing { bytes: body.len() }) }
}

/// Length of the body that follows `header`, in bytes. Nothing has been allocated for it yet.
fn body_bytes(header: [u8; HEADER_BYTES]) -> Result<usize, FrameError> {
    let [format, length @ ..] = header;
    if format != FRAME_FORMAT {
        return Err(FrameError::Format { format });
    }
    let bytes = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if bytes > FRAME_BYTES_MAX { Err(FrameError::TooLarge { bytes }) } else { Ok(bytes) }
}

/// Why no frame could be read from a stream.
#[derive(Debug)]
pub(crate) enum ReadFrameError {
    Frame(FrameError),
    Stream(ReadError),
}

/// Reads the body of the one frame that `stream` carries.
pub(crate) async fn read(stream: &mut RecvStream) -> Result<Bytes, ReadFrameError> {
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).await.map_err(|error| match error {
        ReadExactError::FinishedEarly(_) => ReadFrameError::Frame(FrameError::Truncated),
        ReadExactError::ReadError(error) => ReadFrameError::Stream(error),
    })?;
    let bytes = body_bytes(header).map_err(ReadFrameError::Frame)?;
    let mut body = BytesMut::with_capacity(bytes.min(EAGER_BYTES_MAX));
    while body.len() < bytes {
        match stream.read_chunk(bytes - body.len(), true).await.map_err(ReadFrameError::Stream)? {
            Some(chunk) => body.extend_from_slice(&chunk.bytes),
            None => return Err(ReadFrameError::Frame(FrameError::Truncated)),
        }
    }
    Ok(body.freeze())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use expect_test::expect;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Ask {
        source: String,
        at: u64,
    }

    /// The released format, byte for byte: every later version must read it.
    #[test]
    fn golden_bytes() {
        let ask = Ask { source: "web-1".to_owned(), at: 300 };
        let frame = encode(&ask).unwrap();
        expect!["010000001482a6736f75726365a57765622d31a26174cd012c"].assert_eq(&hex::encode(&frame));
        assert_eq!(decode::<Ask>(&frame).unwrap(), ask);
    }

    #[test]
    fn fields_of_a_later_version_are_ignored() {
        #[derive(Serialize)]
        struct Later {
            source: &'static str,
            at: u64,
            why: &'static str,
        }
        let frame = encode(&Later { source: "web-1", at: 1, why: "news" }).unwrap();
        assert_eq!(decode::<Ask>(&frame).unwrap(), Ask { source: "web-1".to_owned(), at: 1 });
    }

    #[test]
    fn the_limit_is_exact_both_ways() {
        let largest = vec![0u8; FRAME_BYTES_MAX - 5]; // a MessagePack binary's own header is five bytes here
        let frame = encode(serde_bytes(&largest)).unwrap();
        assert_eq!(frame.len(), HEADER_BYTES + FRAME_BYTES_MAX);
        assert!(matches!(encode(serde_bytes(&[largest, vec![0]].concat())), Err(FrameError::TooLarge { bytes }) if bytes == FRAME_BYTES_MAX + 1));
        let header = |length: usize| {
            let [.., a, b, c, d] = length.to_be_bytes();
            [FRAME_FORMAT, a, b, c, d]
        };
        assert_eq!(body_bytes(header(FRAME_BYTES_MAX)).unwrap(), FRAME_BYTES_MAX);
        assert!(matches!(body_bytes(header(FRAME_BYTES_MAX + 1)), Err(FrameError::TooLarge { .. })));
        assert!(matches!(body_bytes([FRAME_FORMAT, 0xff, 0xff, 0xff, 0xff]), Err(FrameError::TooLarge { .. })));
    }

    fn serde_bytes(bytes: &[u8]) -> &serde_bytes::Bytes {
        serde_bytes::Bytes::new(bytes)
    }

    #[test]
    fn garbage_is_refused() {
        let whole = encode(&Ask { source: "web-1".to_owned(), at: 300 }).unwrap();
        for bytes in 0..whole.len() {
            assert!(matches!(decode::<Ask>(&whole[..bytes]), Err(FrameError::Truncated)), "{bytes} bytes");
        }
        let longer = [&whole[..], &[0]].concat();
        assert!(matches!(decode::<Ask>(&longer), Err(FrameError::Trailing { bytes: 1 })));
        let mut later = whole.to_vec();
        later[0] = 2;
        assert!(matches!(decode::<Ask>(&later), Err(FrameError::Format { format: 2 })));
        assert!(matches!(decode::<u8>(&[FRAME_FORMAT, 0, 0, 0, 2, 1, 1]), Err(FrameError::Trailing { bytes: 1 })));
        assert!(matches!(decode::<String>(&whole), Err(FrameError::Body { .. })));
    }

    /// rmp-serde allows 1,024 levels; a skipped field must not spend the stack either.
    #[test]
    fn deep_nesting_is_refused_also_where_it_is_skipped() {
        let mut body = b"\x81\xa1x".to_vec();
        body.extend([0x91; 4000]);
        body.push(0xc0);
        assert!(matches!(decode_body::<Ask>(&body), Err(FrameError::Body { .. })));
        assert!(matches!(decode_body::<BTreeMap<String, serde::de::IgnoredAny>>(&body), Err(FrameError::Body { .. })));
    }

    /// An array that claims four thousand million elements must not be believed before they are there.
    #[test]
    fn a_claimed_count_allocates_nothing() {
        assert!(matches!(decode_body::<Vec<u64>>(&[0xdd, 0xff, 0xff, 0xff, 0xff]), Err(FrameError::Body { .. })));
        assert!(matches!(decode_body::<String>(&[0xdb, 0xff, 0xff, 0xff, 0xff]), Err(FrameError::Body { .. })));
    }
}
