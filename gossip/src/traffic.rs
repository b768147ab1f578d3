//! What a node has sent, by what it was for: a figure to size networks by, and the measure of idleness.

use crate::{seal::SEAL_BYTES, wire::Parts};

/// Messages and their bytes: datagrams as sealed, without the IP and UDP headers; calls' bodies without those of QUIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// Datagrams, calls and replies.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a node has sent since it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Who is there: SWIM, its guards, and the comparison of members.
    pub membership: Sent,
    /// Catalog and node maps, compared and brought in line.
    pub state: Sent,
    /// Urgent news, passed on at once.
    pub rumours: Sent,
}

impl Traffic {
    /// A datagram of `parts`, `payload` bytes before sealing.
    pub(crate) fn datagram(&mut self, parts: &Parts, payload: usize) {
        self.count(parts, payload + SEAL_BYTES);
    }

    /// A ping or an acknowledgement in short form, `payload` bytes before sealing.
    pub(crate) fn short(&mut self, payload: usize) {
        self.membership.messages += 1;
        self.membership.bytes += (payload + SEAL_BYTES) as u64;
    }

    /// The answer to a comparison that has shown no difference, `payload` bytes before sealing.
    pub(crate) fn agreed(&mut self, payload: usize) {
        self.state.messages += 1;
        self.state.bytes += (payload + SEAL_BYTES) as u64;
    }

    /// A call or a reply of `parts`.
    pub(crate) fn count(&mut self, parts: &Parts, bytes: usize) {
        let Parts { roots, members, swim, hello, welcome, suspicion, left, rumour_entries, rumour_marks, rumour_words, .. } = parts;
        let of_members = *hello || swim.is_some() || welcome.is_some() || suspicion.is_some() || members.is_some() || !left.is_empty();
        let of_news = !rumour_entries.is_empty() || !rumour_marks.is_empty() || !rumour_words.is_empty();
        let sent = if of_news {
            &mut self.rumours
        } else if of_members || roots.is_some_and(|roots| roots.members.is_some()) {
            &mut self.membership
        } else {
            &mut self.state
        };
        sent.messages += 1;
        sent.bytes += bytes as u64;
    }
}
