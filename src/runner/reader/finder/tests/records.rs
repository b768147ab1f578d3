//! Records of several lines and of other encodings, over ends of files, restarts and rotations.

use super::*;

/// A record waits for its next line for ever, or not at all.
fn stack_traces(timeout_ms: u64) -> Rig {
    let mut rig = Rig::new(&["a.log"]);
    rig.spec.multiline = Some(serde_json::from_value(serde_json::json!({ "continue": r"^\s", "timeout_ms": timeout_ms })).unwrap());
    rig.restart();
    rig
}

const FOR_EVER: u64 = 3_600_000;

#[tokio::test]
async fn a_record_is_joined_though_its_lines_come_one_by_one() {
    let mut rig = stack_traces(FOR_EVER);
    for piece in ["one\n", " at a\n", " at", " b\n", "two\n"] {
        rig.append("a.log", piece);
        rig.run(2).await;
    }
    assert_eq!(rig.lines, ["one\n at a\n at b"]);
}

#[tokio::test]
async fn the_last_record_is_given_once_when_it_has_waited_long_enough() {
    let mut rig = stack_traces(10);
    rig.append("a.log", "one\n at a\n at");
    while rig.lines.is_empty() {
        rig.run(1).await;
    }
    rig.append("a.log", " b\ntwo\n");
    while rig.lines.len() < 3 {
        rig.run(1).await;
    }
    rig.restart();
    rig.run(LONG).await;
    assert_eq!(rig.lines, ["one\n at a", " at b", "two"]);
}

/// The position is before the unfinished record, so whoever goes on reads it whole.
#[tokio::test]
async fn a_record_is_joined_once_over_a_restart() {
    let mut rig = stack_traces(FOR_EVER);
    rig.append("a.log", "one\n at a\n");
    rig.run(2).await;
    rig.append("a.log", "two\n at c\n");
    rig.run(2).await;
    rig.restart();
    rig.append("a.log", " at d\nthree\n");
    rig.run(2).await;
    assert_eq!(rig.lines, ["one\n at a", "two\n at c\n at d"]);
}

#[tokio::test]
async fn a_record_at_the_end_of_a_rotated_file_is_given_with_its_unfinished_line() {
    let mut rig = stack_traces(FOR_EVER);
    rig.append("a.log", "one\n at a\n at b");
    rig.run(2).await;
    rig.rename("a.log", "a.log.1");
    rig.append("a.log", "two\n at c\n");
    rig.run(LONG).await;
    assert_eq!((rig.lines.as_slice(), rig.finished), (["one\n at a\n at b".to_owned()].as_slice(), 1));
    rig.copytruncate("a.log", "a.log.2");
    rig.run(LONG).await;
    assert_eq!(rig.lines, ["one\n at a\n at b", "two\n at c"]);
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[tokio::test]
async fn utf_16_is_read_by_its_own_bytes_over_a_restart_and_in_odd_pieces() {
    let mut rig = Rig::new(&["a.log"]);
    rig.spec.encoding = logvine_cluster::spec::Encoding::Utf16Le;
    rig.restart();
    let all = utf16("\u{feff}é\r\n\u{0a0a}\n\nlast\n");
    for (at, byte) in all.iter().enumerate() {
        rig.append("a.log", [*byte]);
        rig.run(2).await;
        if at == all.len() / 2 {
            rig.restart();
        }
    }
    rig.restart();
    rig.run(2).await;
    assert_eq!(rig.lines, ["é", "\u{0a0a}", "", "last"]);
    let at = rig.pinned.values().next().unwrap().checkpoint.bytes();
    assert_eq!(at, all.len() as u64);
}

#[tokio::test]
async fn latin1_becomes_utf_8() {
    let mut rig = Rig::new(&["a.log"]);
    rig.spec.encoding = logvine_cluster::spec::Encoding::Latin1;
    rig.restart();
    rig.append("a.log", b"caf\xe9\r\n\xff\n");
    rig.run(2).await;
    assert_eq!(rig.lines, ["café", "ÿ"]);
}
