//! No bytes end the decoder of calls and answers; what it accepts, it writes again so that it reads the same.
//!
//! Input: a whole frame, header included.

use logvine_cluster::message::{Reply, Request};
use logvine_transport::{decode, encode};
use serde::{Serialize, de::DeserializeOwned};

fn check<T: Serialize + DeserializeOwned>(frame: &[u8]) {
    let Ok(value) = decode::<T>(frame) else { return };
    // A value can be longer as written than it was as sent (unknown fields are dropped, short forms are written long): then it is refused, no more.
    let Ok(written) = encode(&value) else { return };
    let read: T = decode(&written).expect("what this node writes, it reads");
    assert_eq!(encode(&read).expect("as long as before"), written);
}

pub(crate) fn run(data: &[u8]) {
    check::<Request>(data);
    check::<Reply>(data);
}
