#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let target = logvine_fuzz_targets::TARGETS.iter().find(|target| target.name == "call");
    let _ = (target.expect("a test holds these files to the list").run)(data);
});
