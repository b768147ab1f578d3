//! What a node decides about the cluster, without IO: `handle_*` in, `poll_*` out (ARCHITECTURE).

pub mod checkpoint;
pub mod delivery;
pub mod instance;
pub mod name;
pub mod selection;
pub mod spec;
