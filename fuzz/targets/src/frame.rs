//! No bytes end the decoder of calls and answers; what it accepts, it writes again so that it reads the same.
//!
//! Input: a whole frame, header included.

use logvine_cluster::message::{Reply, Request};
use logvine_transport::{FRAME_FORMAT, decode, encode};
use serde::{Serialize, de::DeserializeOwned};

/// Format and length.
const HEADER_BYTES: usize = 5;

/// Whether it reads as a `T`.
fn check<T: Serialize + DeserializeOwned>(frame: &[u8]) -> bool {
    let Ok(value) = decode::<T>(frame) else { return false };
    // A value can be longer as written than it was as sent (unknown fields are dropped, short forms are written long): then it is refused, no more.
    let Ok(written) = encode(&value) else { return true };
    let read: T = decode(&written).expect("what this node writes, it reads");
    assert_eq!(encode(&read).expect("as long as before"), written);
    true
}

pub(crate) fn run(data: &[u8]) -> bool {
    let as_it_is = check::<Request>(data) | check::<Reply>(data);
    // A length that is wrong ends the reading before the body: the same body under the right one.
    let mended = mended(data);
    let mended = check::<Request>(&mended) | check::<Reply>(&mended);
    as_it_is || mended
}

/// The same body under a header that fits it.
fn mended(frame: &[u8]) -> Vec<u8> {
    let body = frame.get(HEADER_BYTES..).unwrap_or_default();
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [&[FRAME_FORMAT], &length.to_be_bytes()[..], body].concat()
}
