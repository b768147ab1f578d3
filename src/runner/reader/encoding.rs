//! Where lines end in a file's own encoding, and what they are in UTF-8.

use bytes::Bytes;
use encoding_rs::{UTF_16BE, UTF_16LE, mem::decode_latin1};
use logvine_cluster::spec::Encoding;

/// Bytes of one unit: a line end is one.
pub(super) const fn unit_bytes(encoding: Encoding) -> usize {
    match encoding {
        Encoding::Utf8 | Encoding::Latin1 => 1,
        Encoding::Utf16Le | Encoding::Utf16Be => 2,
    }
}

/// Where line feeds begin in `block`, which begins between two units.
pub(super) fn line_feeds(encoding: Encoding, block: &[u8]) -> impl DoubleEndedIterator<Item = usize> {
    memchr::memchr_iter(b'\n', block).filter_map(move |at| match encoding {
        Encoding::Utf8 | Encoding::Latin1 => Some(at),
        Encoding::Utf16Le => (at % 2 == 0 && block.get(at + 1) == Some(&0)).then_some(at),
        Encoding::Utf16Be => (at % 2 == 1 && block[at - 1] == 0).then(|| at - 1),
    })
}

/// Whether `bytes`, which begin between two units, end in a carriage return.
pub(super) fn ends_in_cr(encoding: Encoding, bytes: &[u8]) -> bool {
    match encoding {
        Encoding::Utf8 | Encoding::Latin1 => bytes.ends_with(b"\r"),
        Encoding::Utf16Le => bytes.ends_with(b"\r\0"),
        Encoding::Utf16Be => bytes.ends_with(b"\0\r"),
    }
}

/// A line in UTF-8, without the byte order mark that a UTF-16 file (`first`: its first line) may begin with. What stands for no character becomes U+FFFD;
/// of UTF-8 every byte is kept.
pub(super) fn decoded(encoding: Encoding, bytes: Bytes, first: bool) -> Bytes {
    let utf16 = match encoding {
        Encoding::Utf8 => return bytes,
        Encoding::Latin1 => return decode_latin1(&bytes).into_owned().into(),
        Encoding::Utf16Le => UTF_16LE,
        Encoding::Utf16Be => UTF_16BE,
    };
    let text = if first { utf16.decode_with_bom_removal(&bytes).0 } else { utf16.decode_without_bom_handling(&bytes).0 };
    text.into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_another_character_is_no_line_feed() {
        // U+010A, U+0A00 and U+0A0A have the byte 0x0A; so has a line feed after U+0A00.
        let text = "\u{010a}\u{0a00}\u{0a0a}\n\u{0a00}\n";
        let le: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let be: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(line_feeds(Encoding::Utf16Le, &le).collect::<Vec<_>>(), [6, 10]);
        assert_eq!(line_feeds(Encoding::Utf16Be, &be).collect::<Vec<_>>(), [6, 10]);
    }

    #[test]
    fn lines_become_utf_8_and_a_byte_order_mark_is_no_content() {
        let be: Vec<u8> = "\u{feff}é𐍈".encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(decoded(Encoding::Utf16Be, be.clone().into(), true), "é𐍈");
        assert_eq!(decoded(Encoding::Utf16Be, be.into(), false), "\u{feff}é𐍈", "elsewhere it is a character");
        assert_eq!(decoded(Encoding::Latin1, Bytes::from_static(b"\xe9\x80"), true), "é\u{80}");
        assert_eq!(decoded(Encoding::Utf8, Bytes::from_static(b"\xef\xbb\xbf\xff"), true)[..], *b"\xef\xbb\xbf\xff");
        assert_eq!(decoded(Encoding::Utf16Le, Bytes::from_static(b"\x00\xd8a\0"), false), "\u{fffd}a");
    }
}
