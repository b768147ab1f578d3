//! What is measured in real time, a package of its own so that nobody else builds the tool for it: `cargo bench -p logvine-benches`.
