//! State that comes by calls: bodies and replies of a peer that has proved who it is, and may send whatever it likes.
//!
//! Input: bodies, see [`pieces`]; each is taken as a call and as a reply.

use crate::node::{Thrown, id, pieces};

pub(crate) fn run(data: &[u8]) {
    let mut node = Thrown::new();
    for (sender, body) in pieces(data) {
        node.take(|gossip, now| drop(gossip.handle_call(now, id(sender), body)));
        node.take(|gossip, now| drop(gossip.handle_reply(now, id(sender), Some(body))));
    }
    node.check(data.len());
}
