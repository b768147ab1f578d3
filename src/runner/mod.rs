//! The data plane's IO: reader → parse → transform → senders.
//!
//! What was acknowledged, what is sent again and how far a reader may go is decided by `logvine_cluster::delivery`.

pub mod parse;
pub mod reader;
pub mod record;
pub mod sender;
pub mod transform;
