//! JSON written straight into bytes (RFC 8259): the records of a busy source spend most of their time here.

use bytes::{Bytes, BytesMut};
use serde_json::Number;

/// Appends `text` as a JSON string.
pub(crate) fn push(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    if is_plain(text.as_bytes()) {
        out.extend_from_slice(text.as_bytes());
    } else {
        push_escaped(out, text);
    }
    out.push(b'"');
}

/// Whether nothing needs an escape. Eight bytes at a time, the last eight once more where they are not eight of their own.
fn is_plain(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    let plain = words.iter().fold(0, |found, word| found | odd(*word)) == 0;
    plain
        && match bytes.last_chunk::<8>() {
            _ if rest.is_empty() => true,
            Some(last) => odd(*last) == 0,
            None => !rest.iter().any(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\')),
        }
}

/// Not zero if one of the bytes is a quote, a backslash or below 0x20 (Mycroft's test for a zero byte, and his for one below a bound).
fn odd(word: [u8; 8]) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    let word = u64::from_le_bytes(word);
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word;
    (below(word, 0x20) | below(word ^ (ONES * u64::from(b'"')), 1) | below(word ^ (ONES * u64::from(b'\\')), 1)) & (ONES << 7)
}

fn push_escaped(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let short = match byte {
            b'"' | b'\\' => *byte,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            0..0x20 => b'u',
            _ => continue,
        };
        out.extend_from_slice(&bytes[from..at]);
        out.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            out.extend_from_slice(&[b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        from = at + 1;
    }
    out.extend_from_slice(&bytes[from..]);
}

/// Where objects are written: the bodies of a chunk's records share their memory.
#[derive(Debug, Default)]
pub struct Room {
    /// The object in the making.
    object: Vec<u8>,
    bytes: BytesMut,
}

/// What is asked for when the room is used up.
const ROOM_BYTES: usize = 64 << 10;

impl Room {
    /// Begins an object; one that was not finished is forgotten.
    pub(crate) fn object(&mut self) -> Object<'_> {
        self.object.clear();
        Object { room: self }
    }
}

/// An object in the making.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    room: &'a mut Room,
}

/// A field's name as it stands before its value.
#[derive(Debug, Clone)]
pub(crate) struct Key(Box<str>);

impl Key {
    /// Of a name that needs no escape.
    pub(crate) fn new(name: &str) -> Self {
        Self(format!(",\"{name}\":").into())
    }
}

impl Object<'_> {
    /// Adds a text under a name that is not there yet.
    pub(crate) fn text(&mut self, key: &Key, value: &str) {
        self.key(key);
        push(&mut self.room.object, value);
    }

    /// Adds a number as it is written; what is none becomes a text.
    pub(crate) fn number(&mut self, key: &Key, value: &str) {
        if is_number(value) {
            self.key(key);
            self.room.object.extend_from_slice(value.as_bytes());
            return;
        }
        let number = value.parse::<u64>().map(Number::from).ok().or_else(|| value.parse().ok().and_then(Number::from_f64));
        match number {
            Some(number) => {
                self.key(key);
                self.room.object.extend_from_slice(number.to_string().as_bytes());
            }
            None => self.text(key, value),
        }
    }

    fn key(&mut self, key: &Key) {
        self.room.object.extend_from_slice(key.0.as_bytes());
    }

    /// The object's bytes.
    pub(crate) fn finish(self) -> Bytes {
        let Room { object, bytes } = self.room;
        match object.first_mut() {
            // The comma before the first field.
            Some(first) => *first = b'{',
            None => object.push(b'{'),
        }
        object.push(b'}');
        if bytes.capacity() < object.len() {
            bytes.reserve(object.len().max(ROOM_BYTES));
        }
        bytes.extend_from_slice(object);
        bytes.split().freeze()
    }
}

/// Digits that every reader of JSON takes for the same number: no sign, no exponent, no more than a float of 64 bits holds.
fn is_number(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let digits = |text: &str| (1..=15).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole) && (whole.len() == 1 || !whole.starts_with('0')) && fraction.is_none_or(digits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn texts_are_written_as_serde_json_writes_them(text in prop_oneof![any::<String>(), "[ -~\\x00-\\x20\"\\\\é]{0,90}"]) {
            let mut out = Vec::new();
            push(&mut out, &text);
            prop_assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&text).unwrap());
        }

        #[test]
        fn what_needs_an_escape_is_seen_wherever_it_stands(
            mut bytes in prop::collection::vec(0x20..=0xff_u8, 1..40),
            at: prop::sample::Index,
            odd in 0..0x22_u8,
        ) {
            bytes.iter_mut().filter(|byte| matches!(byte, b'"' | b'\\')).for_each(|byte| *byte = b'x');
            prop_assert!(is_plain(&bytes));
            let at = at.index(bytes.len());
            bytes[at] = match odd { 0x20 => b'"', 0x21 => b'\\', byte => byte };
            prop_assert!(!is_plain(&bytes));
        }
    }

    #[test]
    fn objects_share_a_room() {
        let mut room = Room::default();
        let mut object = room.object();
        object.text(&Key::new("a"), "x\ny");
        object.number(&Key::new("n"), "0.50");
        assert_eq!(object.finish(), "{\"a\":\"x\\ny\",\"n\":0.50}");
        assert_eq!(room.object().finish(), "{}");
        room.object().text(&Key::new("forgotten"), "x");
        let mut object = room.object();
        object.number(&Key::new("n"), "1, 2");
        assert_eq!(object.finish(), "{\"n\":\"1, 2\"}");
    }

    #[test]
    fn numbers_that_json_would_not_have_so_are_written_anew() {
        for (written, read) in
            [("007", "7"), ("1e3", "1000.0"), ("18446744073709551615", "18446744073709551615"), ("-1", "-1.0"), (".5", "0.5"), ("inf", "\"inf\"")]
        {
            let mut room = Room::default();
            let mut object = room.object();
            object.number(&Key::new("n"), written);
            assert_eq!(object.finish(), format!("{{\"n\":{read}}}"), "{written}");
        }
    }
}
