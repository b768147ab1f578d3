//! What comes from outside, thrown at what reads it: one function for each way in, which must return for all bytes there are.
//!
//! cargo-fuzz calls them with what libFuzzer finds (`fuzz/fuzz_targets`), on a nightly compiler; [`bounded`] calls them on any compiler with the committed
//! corpus and a number of seeded mutations of it, which `cargo xtask test` does for each change.

pub mod bounded;
mod call;
mod datagram;
mod frame;
mod frames;
mod node;
pub mod record;
mod runner_spec;
mod sealed;

/// A way in.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// As cargo-fuzz and the corpus's directory have it.
    pub name: &'static str,
    /// Whether some of the input was understood: it came past the first checks, to what reads it. Panics where the code that it calls is wrong.
    pub run: fn(&[u8]) -> bool,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "datagram", run: datagram::run },
    Target { name: "sealed", run: sealed::run },
    Target { name: "call", run: call::run },
    Target { name: "frame", run: frame::run },
    Target { name: "runner_spec", run: runner_spec::run },
];
