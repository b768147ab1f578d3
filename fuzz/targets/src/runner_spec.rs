//! No text ends the reading of a runner; each way to write an accepted one says the same.
//!
//! Input: TOML or JSON.

use logvine_cluster::spec::RunnerSpec;

fn check(spec: &RunnerSpec) {
    let faults = spec.faults();
    let json = serde_json::to_string(spec).expect("a spec is text, numbers and lists");
    let read: RunnerSpec = serde_json::from_str(&json).expect("what this node writes, it reads");
    assert_eq!(&read, spec);
    assert_eq!(read.faults().len(), faults.len());
}

pub(crate) fn run(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let read = [toml::from_str::<RunnerSpec>(text).ok(), serde_json::from_str::<RunnerSpec>(text).ok()];
    read.iter().flatten().map(check).count() > 0
}
