//! What was lost before it could be read is counted and told.

use super::*;

#[tokio::test]
async fn a_file_that_was_truncated_before_it_was_read_is_a_counted_rotation_gap() {
    let mut host = Host::new();
    host.write("in.log", &numbers(0..10));
    host.start(1, host.file_spec("r", "in.log", host.to_file("out.ndjson")));
    host.settle(|host| host.records("out.ndjson").len() == 10).await;
    fs::write(host.path("in.log"), "another file\n").unwrap();
    let counted = |event: InstanceEvent| match event {
        InstanceEvent::Counted { counts, .. } if counts.rotation_gaps > 0 => Some(counts),
        _ => None,
    };
    assert_eq!(host.until(counted).await.rotation_gaps, 1);
    let detail = host.sights.of(&name("r")).unwrap().detail();
    assert_eq!(detail.rotation_gaps, 1);
    assert!(detail.stages["read"].recent[0].error.starts_with("rotation_gap: "), "{detail:?}");
    host.settle(|host| host.records("out.ndjson").len() == 11).await;
}
