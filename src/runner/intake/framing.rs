//! Takes a stream of bytes apart into messages, whatever the borders of the reads.
//!
//! Syslog over TCP has two framings (RFC 6587 section 3.4), and a sender does not say which: `LENGTH SP MESSAGE`, or `MESSAGE LF`. A message begins
//! with `<`, so a length is one only before ` <`. Lines of other streams end with LF or CRLF.

use bytes::{Buf, Bytes, BytesMut};

use crate::queue::Entry;

/// Digits of a length: more would be over 999 MiB.
const DIGITS_MAX: usize = 9;

/// One stream's. Holds at most the limit and one read.
#[derive(Debug)]
pub(super) struct Framer {
    bytes_max: usize,
    /// Whether a message may be preceded by its length.
    counted: bool,
    held: BytesMut,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a message.
    Between,
    /// In a message that ends with LF, of which so many of the held bytes have been looked at.
    Line { seen: usize },
    /// In a line that was longer than the limit, and has been given.
    SkipLine,
    /// In a message of which so many bytes are still to come or held.
    Counted { bytes: usize },
    /// So many bytes are left of a message that was longer than the limit, and has been given.
    SkipCounted { bytes: usize },
}

/// What a message begins with.
#[derive(Debug, PartialEq, Eq)]
enum Beginning {
    Length { digits: usize, bytes: usize },
    Line,
    Unsure,
}

impl Framer {
    /// Of a stream of lines.
    pub(super) fn lines(bytes_max: usize) -> Self {
        Self { bytes_max, counted: false, held: BytesMut::new(), state: State::Between }
    }

    /// Of a syslog stream.
    pub(super) fn syslog(bytes_max: usize) -> Self {
        Self { counted: true, ..Self::lines(bytes_max) }
    }

    /// Takes the next bytes, and gives the messages that end in them.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Entry> {
        self.held.extend_from_slice(bytes);
        let mut entries = Vec::new();
        while let Some(entry) = self.step() {
            entries.extend(entry);
        }
        entries
    }

    /// Nothing more will come: gives what is held. A message whose length was told and that is shorter is marked as cut.
    pub(super) fn finish(&mut self) -> Option<Entry> {
        let state = std::mem::replace(&mut self.state, State::Between);
        let held = self.held.split().freeze();
        match state {
            State::Between | State::Line { .. } => self.line(held),
            State::Counted { .. } => (!held.is_empty()).then_some(Entry { bytes: held, cut: true }),
            State::SkipLine | State::SkipCounted { .. } => None,
        }
    }

    /// None: it takes more bytes to go on.
    fn step(&mut self) -> Option<Option<Entry>> {
        match self.state {
            State::Between => self.begin(),
            State::Line { seen } => self.end_line(seen),
            State::SkipLine => {
                let Some(end) = memchr::memchr(b'\n', &self.held) else {
                    self.held.clear();
                    return None;
                };
                self.held.advance(end + 1);
                self.state = State::Between;
                Some(None)
            }
            State::Counted { bytes } => self.end_counted(bytes),
            State::SkipCounted { bytes } => {
                let now = bytes.min(self.held.len());
                self.held.advance(now);
                self.state = if now == bytes { State::Between } else { State::SkipCounted { bytes: bytes - now } };
                (now == bytes).then_some(None)
            }
        }
    }

    fn begin(&mut self) -> Option<Option<Entry>> {
        if self.held.is_empty() {
            return None;
        }
        if self.counted && matches!(self.held[0], b'\n' | b'\r' | 0) {
            // Between messages some senders put what ends a line.
            self.held.advance(1);
            return Some(None);
        }
        match if self.counted { beginning(&self.held) } else { Beginning::Line } {
            Beginning::Length { digits, bytes } => {
                self.held.advance(digits + 1);
                self.state = State::Counted { bytes };
            }
            Beginning::Line => self.state = State::Line { seen: 0 },
            Beginning::Unsure => return None,
        }
        Some(None)
    }

    fn end_line(&mut self, seen: usize) -> Option<Option<Entry>> {
        if let Some(end) = memchr::memchr(b'\n', &self.held[seen..]) {
            let line = self.held.split_to(seen + end).freeze();
            self.held.advance(1);
            self.state = State::Between;
            return Some(self.line(line));
        }
        // One more than the limit may be held: a CR there belongs to the line's end.
        if self.held.len() > self.bytes_max + 1 {
            let line = self.held.split().freeze();
            self.state = State::SkipLine;
            return Some(self.line(line));
        }
        self.state = State::Line { seen: self.held.len() };
        None
    }

    fn end_counted(&mut self, bytes: usize) -> Option<Option<Entry>> {
        if self.held.len() < bytes.min(self.bytes_max) {
            return None;
        }
        let message = self.held.split_to(bytes.min(self.bytes_max)).freeze();
        let rest = bytes - message.len();
        if rest > 0 {
            self.state = State::SkipCounted { bytes: rest };
            return Some(Some(Entry { bytes: message, cut: true }));
        }
        self.state = State::Between;
        // A line end within the count is not the message's.
        let end = message.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
        Some((end > 0).then(|| Entry { bytes: message.slice(..end), cut: false }))
    }

    /// A line without its LF. An empty one is none.
    fn line(&self, line: Bytes) -> Option<Entry> {
        let line = if line.last() == Some(&b'\r') { line.slice(..line.len() - 1) } else { line };
        let cut = line.len() > self.bytes_max;
        let bytes = line.slice(..line.len().min(self.bytes_max));
        (!bytes.is_empty()).then_some(Entry { bytes, cut })
    }
}

fn beginning(held: &[u8]) -> Beginning {
    let digits = held.iter().take(DIGITS_MAX + 1).take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || held[0] == b'0' || digits > DIGITS_MAX {
        return Beginning::Line;
    }
    match held.get(digits..) {
        Some([b' ', b'<', ..]) => {
            let number = held[..digits].iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0'));
            Beginning::Length { digits, bytes: number }
        }
        Some([] | [b' ']) => Beginning::Unsure,
        _ => Beginning::Line,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(text: &str) -> Entry {
        Entry { bytes: Bytes::copy_from_slice(text.as_bytes()), cut: false }
    }

    fn cut(text: &str) -> Entry {
        Entry { cut: true, ..whole(text) }
    }

    fn all(mut framer: Framer, blocks: &[&[u8]]) -> Vec<Entry> {
        let mut entries: Vec<Entry> = blocks.iter().flat_map(|block| framer.push(block)).collect();
        entries.extend(framer.finish());
        entries
    }

    /// RFC 6587 section 3.4.1, and a line end that some senders count.
    #[test]
    fn counted_messages_may_hold_line_ends() {
        let stream = b"11 <13>1 a\nb c10 <14>1 line\n\n5 <1>ab";
        assert_eq!(all(Framer::syslog(100), &[stream]), [whole("<13>1 a\nb c"), whole("<14>1 line"), whole("<1>ab")]);
    }

    /// RFC 6587 section 3.4.2.
    #[test]
    fn lines_end_with_lf_or_crlf_and_may_begin_with_digits() {
        let stream = b"<13>one\n<14>two\r\n\n2026 is a year\n77\n0 <zero\nlast without an end";
        let lines = ["<13>one", "<14>two", "2026 is a year", "77", "0 <zero", "last without an end"];
        assert_eq!(all(Framer::syslog(100), &[stream]), lines.map(whole));
    }

    #[test]
    fn both_framings_may_come_on_one_connection() {
        assert_eq!(all(Framer::syslog(100), &[b"<1>a\n5 <2>bc<3>d\n"]), [whole("<1>a"), whole("<2>bc"), whole("<3>d")]);
    }

    #[test]
    fn what_is_over_the_limit_is_cut_and_its_neighbours_are_whole() {
        let long = "x".repeat(5_000);
        let stream = format!("<1>a\n<2>{long}\n<3>b\n5003 <4>{long}5 <5>cd");
        assert_eq!(all(Framer::syslog(8), &[stream.as_bytes()]), [whole("<1>a"), cut("<2>xxxxx"), whole("<3>b"), cut("<4>xxxxx"), whole("<5>cd")]);
    }

    /// Case 31 of the data plane's list: nothing that came is lost.
    #[test]
    fn half_a_counted_message_at_the_close_is_kept_and_marked() {
        assert_eq!(all(Framer::syslog(100), &[b"<1>a\n20 <2>half"]), [whole("<1>a"), cut("<2>half")]);
        assert_eq!(all(Framer::syslog(100), &[b"20 <"]), [cut("<")]);
        assert_eq!(all(Framer::syslog(100), &[b"20 "]), [whole("20 ")]);
    }

    #[test]
    fn a_length_that_nobody_can_mean_holds_no_memory() {
        let mut framer = Framer::syslog(16);
        assert_eq!(framer.push(b"999999999 <1>0123456789abcdef"), [cut("<1>0123456789abc")]);
        for _ in 0..100 {
            assert_eq!(framer.push(&[b'x'; 1_000]), []);
        }
        assert!(framer.held.is_empty());
    }

    #[test]
    fn a_line_without_an_end_holds_no_more_than_the_limit() {
        let mut framer = Framer::lines(16);
        let found: Vec<Entry> = (0..100).flat_map(|_| framer.push(&[b'x'; 1_000])).collect();
        assert_eq!((found, framer.held.len()), (vec![cut("xxxxxxxxxxxxxxxx")], 0));
        assert_eq!(framer.push(b"end\nnext\n"), [whole("next")]);
    }

    proptest! {
        /// However a stream is cut by the network, the messages are the same.
        #[test]
        fn the_borders_of_reads_mean_nothing(
            parts in prop::collection::vec(prop_oneof![
                "<[0-9]{1,2}>[a-z]{0,12}\n".prop_map(String::into_bytes),
                "<[0-9]{1,2}>[a-z\n]{0,12}[a-z]".prop_map(|message| format!("{} {message}", message.len()).into_bytes()),
                "[0-9 <]{0,6}\r?\n".prop_map(String::into_bytes),
            ], 0..8),
            cuts in prop::collection::vec(0_usize..80, 0..6),
            most in 4_usize..20,
        ) {
            let stream = parts.concat();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).chain([0, stream.len()]).collect();
            cuts.sort_unstable();
            let blocks: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
            prop_assert_eq!(all(Framer::syslog(most), &blocks), all(Framer::syslog(most), &[&stream]));
        }

        #[test]
        fn garbage_does_no_harm(stream in prop::collection::vec(any::<u8>(), 0..200)) {
            let given: usize = all(Framer::syslog(16), &[&stream]).iter().map(|entry| entry.bytes.len()).sum();
            prop_assert!(given <= stream.len());
        }
    }
}
