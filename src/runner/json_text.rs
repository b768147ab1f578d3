//! JSON written straight into bytes (RFC 8259): the records of a busy source spend most of their time here.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::Number;

/// Appends `text` as a JSON string.
pub(crate) fn push(out: &mut impl BufMut, text: &str) {
    out.put_u8(b'"');
    if is_plain(text.as_bytes()) {
        out.put_slice(text.as_bytes());
    } else {
        push_escaped(out, text);
    }
    out.put_u8(b'"');
}

/// Whether nothing needs an escape. Whole blocks without a branch, which the compiler does many bytes at a time.
fn is_plain(bytes: &[u8]) -> bool {
    let odd = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    let (blocks, rest) = bytes.as_chunks::<32>();
    blocks.iter().all(|block| !block.iter().fold(false, |found, byte| found | odd(byte))) && !rest.iter().any(odd)
}

fn push_escaped(out: &mut impl BufMut, text: &str) {
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
        out.put_slice(&bytes[from..at]);
        out.put_slice(&[b'\\', short]);
        if short == b'u' {
            out.put_slice(&[b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        from = at + 1;
    }
    out.put_slice(&bytes[from..]);
}

/// An object in the making, at the end of bytes that many share.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    room: &'a mut BytesMut,
}

/// What is asked for when the room is used up: a chunk's worth.
const ROOM_BYTES: usize = 64 << 10;

impl<'a> Object<'a> {
    /// `room` is empty.
    pub(crate) fn new(room: &'a mut BytesMut) -> Self {
        if room.capacity() < ROOM_BYTES / 16 {
            room.reserve(ROOM_BYTES);
        }
        Self { room }
    }

    /// Adds a text under a name that needs no escape and is not there yet.
    pub(crate) fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        push(self.room, value);
    }

    /// Adds a number as it is written; what is none becomes a text.
    pub(crate) fn number(&mut self, name: &str, value: &str) {
        if is_number(value) {
            self.name(name);
            self.room.put_slice(value.as_bytes());
            return;
        }
        let number = value.parse::<u64>().map(Number::from).ok().or_else(|| value.parse().ok().and_then(Number::from_f64));
        match number {
            Some(number) => {
                self.name(name);
                self.room.put_slice(number.to_string().as_bytes());
            }
            None => self.text(name, value),
        }
    }

    fn name(&mut self, name: &str) {
        self.room.put_slice(if self.room.is_empty() { b"{\"" } else { b",\"" });
        self.room.put_slice(name.as_bytes());
        self.room.put_slice(b"\":");
    }

    /// The object's bytes; the room is empty again.
    pub(crate) fn finish(self) -> Bytes {
        self.room.put_slice(if self.room.is_empty() { b"{}" } else { b"}" });
        self.room.split().freeze()
    }

    /// Leaves the room as it was.
    pub(crate) fn discard(self) {
        self.room.clear();
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
    }

    #[test]
    fn objects_share_a_room() {
        let mut room = BytesMut::new();
        let mut object = Object::new(&mut room);
        object.text("a", "x\ny");
        object.number("n", "0.50");
        assert_eq!(object.finish(), "{\"a\":\"x\\ny\",\"n\":0.50}");
        assert_eq!(Object::new(&mut room).finish(), "{}");
        let mut object = Object::new(&mut room);
        object.number("n", "1, 2");
        assert_eq!(object.finish(), "{\"n\":\"1, 2\"}");
    }

    #[test]
    fn numbers_that_json_would_not_have_so_are_written_anew() {
        for (written, read) in
            [("007", "7"), ("1e3", "1000.0"), ("18446744073709551615", "18446744073709551615"), ("-1", "-1.0"), (".5", "0.5"), ("inf", "\"inf\"")]
        {
            let mut room = BytesMut::new();
            let mut object = Object::new(&mut room);
            object.number("n", written);
            assert_eq!(object.finish(), format!("{{\"n\":{read}}}"), "{written}");
        }
    }
}
