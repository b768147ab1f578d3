//! State that comes by calls: bodies and replies of a peer that has proved who it is, and may send whatever it likes.
//!
//! Input: bodies, see [`pieces`]; each is taken as a call and as a reply.

use crate::node::{Thrown, id, pieces};

pub(crate) fn run(data: &[u8]) -> bool {
    let mut node = Thrown::new();
    let mut understood = false;
    for (sender, body) in pieces(data) {
        node.take(|gossip, now| understood |= gossip.handle_call(now, id(sender), body).is_ok());
        node.take(|gossip, now| understood |= gossip.handle_reply(now, id(sender), Some(body)).is_ok());
    }
    node.check(data.len());
    understood
}
