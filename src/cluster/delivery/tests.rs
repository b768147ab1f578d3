use std::{collections::BTreeMap, ops::Range, time::Duration};

use logvine_gossip::{Instant, Now, UnixMicros};

use super::*;
use crate::checkpoint::FileName;

mod properties;

fn at(millis: u64) -> Now {
    Now { at: Instant::from_micros(millis * 1_000), wall: UnixMicros(0) }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn file(lineage: u32) -> FileKey {
    FileKey { lineage, named: 0, name: FileName::of(b"head").unwrap() }
}

fn position(offset: u64) -> Position {
    Position { offset, marker: offset * 31 }
}

fn batch(lineage: u32, bytes: Range<u64>, records: u32) -> Batch {
    Batch { file: file(lineage), start: position(bytes.start), end: position(bytes.end), records, bytes: bytes.end - bytes.start }
}

fn checkpoint(positions: &[(u32, &str, u64)]) -> Checkpoint {
    let mut checkpoint = Checkpoint::default();
    for (lineage, sender, offset) in positions {
        checkpoint.files.entry(file(*lineage)).or_default().insert(name(sender), position(*offset));
    }
    checkpoint
}

fn retry(reason: &str) -> Outcome {
    Outcome::Retry { reason: reason.into(), after: None }
}

fn rejected() -> Outcome {
    Outcome::Rejected { reason: "400".into() }
}

/// Drains the outputs into words: sends as `sender:batch first..last #attempt`.
fn said(delivery: &mut Delivery) -> Vec<String> {
    let mut words = vec![];
    while let Some(output) = delivery.poll_output() {
        words.push(match output {
            Output::Send { sender, batch, records, attempt, .. } => {
                let runs: Vec<String> = records.runs().iter().map(|run| format!("{}..{}", run.start, run.end)).collect();
                format!("{sender}:{} {} #{attempt}", batch.0, runs.join(","))
            }
            Output::DeadLetter { sender, batch, refused, .. } => {
                let refused: Vec<String> = refused.iter().map(|refusal| format!("{} {}", refusal.record, refusal.reason)).collect();
                format!("dead {sender}:{} {}", batch.0, refused.join(", "))
            }
            Output::Done { batch } => format!("done {}", batch.0),
            Output::Checkpoint { checkpoint } => format!("checkpoint {}", positions(&checkpoint)),
            Output::Closed { checkpoint, flushed } => format!("closed {} flushed={flushed}", positions(&checkpoint)),
        });
    }
    words
}

fn positions(checkpoint: &Checkpoint) -> String {
    let mut words = vec![];
    for (file, positions) in &checkpoint.files {
        words.extend(positions.iter().map(|(sender, position)| format!("{}/{sender}={}", file.lineage, position.offset)));
    }
    words.join(" ")
}

/// With one sender `out`, whose sends are numbered from 0 as they come. As which file it reads is held.
fn one_sender() -> Delivery {
    let mut delivery = Delivery::new(DeliveryConfig::default(), &[name("out")], Checkpoint::default(), 1);
    delivery.handle_held(at(0), &checkpoint(&[(0, "out", 0)]));
    delivery
}

/// The same with `a` and `b`.
fn two_senders(resume: Checkpoint) -> Delivery {
    let mut delivery = Delivery::new(DeliveryConfig::default(), &[name("a"), name("b")], resume, 1);
    delivery.handle_held(at(0), &checkpoint(&[(0, "a", 0), (0, "b", 0)]));
    delivery
}

/// DESIGN §5.2, rate cap: back-pressure on the reader, whatever the senders would take.
#[test]
fn under_a_cap_a_batch_waits_until_the_one_before_has_had_its_time() {
    let mut delivery = one_sender();
    delivery.handle_cap(at(0), Some(1_000));
    let mut read = Vec::new();
    for millis in (0..3_000).step_by(10) {
        delivery.handle_timeout(at(millis));
        if delivery.may_read() {
            let start = read.len() as u64 * 500;
            delivery.handle_batch(at(millis), batch(0, start..start + 500, 1)).unwrap();
            read.push(millis);
        }
    }
    assert_eq!(read, [0, 500, 1_000, 1_500, 2_000, 2_500]);
    assert_eq!(delivery.poll_timeout().map(|(at, why)| (at.as_micros(), why)), Some((3_000_000, "cap")));
    delivery.handle_cap(at(2_600), None);
    assert!(delivery.may_read(), "lifted, it is read at once");
    delivery.handle_cap(at(2_600), Some(1));
    delivery.handle_batch(at(2_600), batch(0, 3_000..4_000, 1)).unwrap();
    delivery.handle_timeout(at(12_600));
    assert!(delivery.may_read(), "a large batch under a low cap: no source stands still for longer");
}

/// DESIGN §5.2: sender queues enter the load. A sink that answers in time leaves them next to empty, one that does not fills them.
#[test]
fn a_queue_is_as_full_as_what_waits_for_its_slowest_sender() {
    let mut delivery = two_senders(Checkpoint::default());
    assert_eq!(delivery.queue_permille(), 0);
    for number in 0..32 {
        delivery.handle_batch(at(0), batch(0, number * 10..number * 10 + 10, 1)).unwrap();
    }
    assert_eq!(delivery.queue_permille(), 500, "half of the batches that may wait");
    delivery.handle_batch(at(0), batch(0, 320..(3 << 20) + 320, 1)).unwrap();
    assert_eq!(delivery.queue_permille(), 750, "three quarters of the bytes");
    delivery.handle_outcome(at(1), SendId(0), Outcome::Paused { reason: "401".into() });
    assert_eq!(delivery.queue_permille(), 0, "another node would stand before the same door");
}

#[test]
fn a_batch_goes_to_every_sender_and_is_done_when_all_have_it() {
    let mut delivery = two_senders(Checkpoint::default());
    delivery.handle_batch(at(0), batch(0, 0..100, 3)).unwrap();
    assert_eq!(said(&mut delivery), ["a:0 0..3 #1", "b:0 0..3 #1", "checkpoint 0/a=0 0/b=0"]);
    delivery.handle_outcome(at(10), SendId(0), Outcome::Acknowledged);
    assert_eq!(said(&mut delivery), [""; 0]);
    delivery.handle_outcome(at(20), SendId(1), Outcome::Acknowledged);
    assert_eq!(said(&mut delivery), ["done 0"]);
    assert!(delivery.is_drained());
    assert_eq!(positions(&delivery.checkpoint()), "0/a=100 0/b=100");
}

/// S1: the later batch is acknowledged first; the checkpoint waits for the earlier one.
#[test]
fn a_checkpoint_waits_for_the_contiguous_prefix() {
    let mut delivery = one_sender();
    delivery.handle_batch(at(0), batch(0, 0..100, 1)).unwrap();
    delivery.handle_batch(at(0), batch(0, 100..200, 1)).unwrap();
    delivery.handle_outcome(at(10), SendId(1), Outcome::Acknowledged);
    assert_eq!(positions(&delivery.checkpoint()), "0/out=0");
    delivery.handle_outcome(at(20), SendId(0), Outcome::Acknowledged);
    assert_eq!(positions(&delivery.checkpoint()), "0/out=200");
}

#[test]
fn checkpoints_are_told_once_a_second() {
    let mut delivery = one_sender();
    for n in 0..3 {
        delivery.handle_batch(at(0), batch(0, n * 100..(n + 1) * 100, 1)).unwrap();
    }
    said(&mut delivery);
    delivery.handle_outcome(at(200), SendId(0), Outcome::Acknowledged);
    delivery.handle_outcome(at(400), SendId(1), Outcome::Acknowledged);
    assert_eq!(said(&mut delivery), ["done 0", "done 1"]);
    assert_eq!(delivery.poll_timeout(), Some((Instant::from_micros(1_000_000), "checkpoint")));
    delivery.handle_timeout(at(1_000));
    assert_eq!(said(&mut delivery), ["checkpoint 0/out=200"]);
    assert_eq!(delivery.poll_timeout(), None, "nothing new to tell");
}

#[test]
fn a_checkpoint_is_told_at_once_when_half_of_the_window_is_used() {
    let mut delivery = one_sender();
    const MIB: u64 = 1 << 20;
    for n in 0..2 {
        delivery.handle_batch(at(0), batch(0, n * MIB..(n + 1) * MIB, 1)).unwrap();
    }
    said(&mut delivery);
    delivery.handle_outcome(at(100), SendId(0), Outcome::Acknowledged);
    assert_eq!(said(&mut delivery), ["done 0", "checkpoint 0/out=1048576"]);
}

/// S4, DESIGN §5.3 "Fencing": W = 4 MiB, whatever the sender has acknowledged, until a majority holds the checkpoint.
#[test]
fn nothing_is_emitted_more_than_the_window_past_what_is_held() {
    let mut delivery = one_sender();
    const MIB: u64 = 1 << 20;
    for n in 0..6 {
        delivery.handle_batch(at(n), batch(0, n * MIB..(n + 1) * MIB, 1)).unwrap();
        delivery.handle_outcome(at(n), SendId(n), Outcome::Acknowledged);
    }
    let sent = said(&mut delivery).iter().filter(|word| word.starts_with("out:")).count();
    assert_eq!((sent, delivery.unheld_bytes()), (4, 4 * MIB));
    delivery.handle_held(at(100), &checkpoint(&[(0, "out", MIB)]));
    assert_eq!(said(&mut delivery), ["out:4 0..1 #1"]);
}

/// DESIGN §7: a record's id is made of its file's name, and that of how long the head was when it was first read. Whoever reads on must know it.
#[test]
fn nothing_of_a_file_is_sent_before_its_name_is_held() {
    let mut delivery = Delivery::new(DeliveryConfig::default(), &[name("out")], Checkpoint::default(), 1);
    delivery.handle_batch(at(0), batch(0, 0..5, 1)).unwrap();
    assert_eq!(said(&mut delivery), ["checkpoint 0/out=0"], "it is told, and not sent");
    delivery.handle_batch(at(100), batch(0, 5..900, 1)).unwrap();
    delivery.handle_held(at(200), &checkpoint(&[(0, "out", 0)]));
    assert_eq!(said(&mut delivery), ["out:0 0..1 #1", "out:1 0..1 #1"]);
    // The next file is told of as soon as all of the one before is acknowledged, however little time has passed.
    delivery.handle_batch(at(300), batch(1, 0..5, 1)).unwrap();
    assert_eq!(said(&mut delivery), [""; 0]);
    delivery.handle_outcome(at(310), SendId(0), Outcome::Acknowledged);
    delivery.handle_outcome(at(320), SendId(1), Outcome::Acknowledged);
    assert_eq!(said(&mut delivery), ["done 0", "done 1", "checkpoint 0/out=900 1/out=0"]);
    delivery.handle_held(at(400), &checkpoint(&[(0, "out", 900), (1, "out", 0)]));
    assert_eq!(said(&mut delivery), ["out:2 0..1 #1"]);
}

#[test]
fn nothing_new_is_emitted_while_an_emission_is_unheld_for_five_seconds() {
    let mut delivery = one_sender();
    delivery.handle_batch(at(0), batch(0, 0..100, 1)).unwrap();
    delivery.handle_outcome(at(1), SendId(0), retry("503"));
    delivery.handle_batch(at(5_001), batch(0, 100..200, 1)).unwrap();
    let words = said(&mut delivery);
    assert!(words.contains(&"out:0 0..1 #2".into()), "a repeat is no new emission: {words:?}");
    delivery.handle_outcome(at(5_100), SendId(1), Outcome::Acknowledged);
    assert_eq!(said(&mut delivery), ["done 0", "checkpoint 0/out=100"]);
    delivery.handle_held(at(5_200), &checkpoint(&[(0, "out", 100)]));
    assert_eq!(said(&mut delivery), ["out:1 0..1 #1"]);
}

#[test]
fn a_batch_above_the_window_goes_out_alone() {
    let mut delivery = one_sender();
    delivery.handle_batch(at(0), batch(0, 0..9 << 20, 1)).unwrap();
    assert_eq!(said(&mut delivery)[0], "out:0 0..1 #1");
    assert!(!delivery.may_read());
}

/// Of two halves of a batch with one bad record, the good ones arrive and the bad one is put aside.
#[test]
fn a_rejected_batch_is_halved_down_to_the_bad_record() {
    let mut delivery = one_sender();
    delivery.handle_batch(at(0), batch(0, 0..100, 3)).unwrap();
    said(&mut delivery);
    delivery.handle_outcome(at(1), SendId(0), rejected());
    assert_eq!(said(&mut delivery), ["out:0 0..1 #1", "out:0 1..3 #1"]);
    delivery.handle_outcome(at(2), SendId(1), Outcome::Acknowledged);
    delivery.handle_outcome(at(2), SendId(2), rejected());
    assert_eq!(said(&mut delivery), ["out:0 1..2 #1", "out:0 2..3 #1"]);
    delivery.handle_outcome(at(3), SendId(3), rejected());
    assert_eq!(said(&mut delivery), ["dead out:0 1 400"]);
    delivery.handle_outcome(at(3), SendId(4), Outcome::Acknowledged);
    assert_eq!(positions(&delivery.checkpoint()), "0/out=0", "the dead letter is not durable yet");
    delivery.handle_dead_lettered(at(4), SendId(5));
    assert_eq!(said(&mut delivery), ["done 0"]);
    assert_eq!(positions(&delivery.checkpoint()), "0/out=100");
}

/// `rejected` with `400`, `again` with `429`.
fn mixed(rejected: &[u32], again: &[u32], after: Option<Duration>) -> Outcome {
    let rejected = rejected.iter().map(|record| Refusal { record: *record, reason: "400".into() }).collect();
    let again = (!again.is_empty()).then(|| Again { records: again.iter().copied().collect(), reason: "429".into(), after });
    Outcome::Mixed { rejected, again }
}

/// Case 23 of the data plane's research: a bulk with 400 and 429 among its items. The others are not sent again.
#[test]
fn of_a_bulk_only_the_items_that_may_be_taken_later_are_sent_again() {
    let mut delivery = one_sender();
    delivery.handle_batch(at(0), batch(0, 0..100, 10)).unwrap();
    said(&mut delivery);
    delivery.handle_outcome(at(1), SendId(0), mixed(&[2, 9], &[0, 4, 5], None));
    assert_eq!(said(&mut delivery), ["dead out:0 2 400, 9 400"], "what is to come again waits");
    assert_eq!(delivery.troubles().collect::<Vec<_>>(), [(&name("out"), &Trouble::Retrying { reason: "429".into() })]);
    let (due, _) = delivery.poll_timeout().unwrap_or((at(1_001).at, ""));
    delivery.handle_dead_lettered(at(2), SendId(1));
    assert_eq!(positions(&delivery.checkpoint()), "0/out=0", "three records are still owed");
    let due = Now { at: due.max(at(1_001).at), wall: UnixMicros(0) };
    delivery.handle_timeout(due);
    assert_eq!(said(&mut delivery), ["out:0 0..1,4..6 #2"]);
    delivery.handle_outcome(due, SendId(2), Outcome::Acknowledged);
    assert_eq!(positions(&delivery.checkpoint()), "0/out=100");
    assert_eq!(delivery.troubles().count(), 0);
}

#[test]
fn the_wait_that_a_sink_asks_for_some_records_is_honoured() {
    let mut delivery = one_sender();
    delivery.handle_batch(at(0), batch(0, 0..100, 3)).unwrap();
    delivery.handle_outcome(at(10), SendId(0), mixed(&[], &[1], Some(Duration::from_secs(90))));
    assert_eq!(delivery.poll_timeout(), Some((at(90_010).at, "retry")));
}

/// Halving goes on with what is left of a batch, not with what the sink has.
#[test]
fn records_that_came_again_can_still_be_refused_as_a_whole() {
    let mut delivery = one_sender();
    delivery.handle_batch(at(0), batch(0, 0..100, 10)).unwrap();
    delivery.handle_outcome(at(1), SendId(0), mixed(&[], &[0, 4, 5, 9], Some(Duration::ZERO)));
    delivery.handle_timeout(at(1_001));
    said(&mut delivery);
    delivery.handle_outcome(at(1_002), SendId(1), rejected());
    assert_eq!(said(&mut delivery)[..2], ["out:0 0..1,4..5 #1", "out:0 5..6,9..10 #1"]);
}

/// A sink's word on records that it was not sent is no reason to keep or to drop anything, and one said both ways is not lost.
#[test]
fn only_records_of_the_send_are_judged() {
    let mut delivery = one_sender();
    delivery.handle_batch(at(0), batch(0, 0..100, 4)).unwrap();
    said(&mut delivery);
    delivery.handle_outcome(at(1), SendId(0), mixed(&[1, 77], &[1, 88], None));
    assert_eq!(said(&mut delivery), [""; 0], "record 1 comes again");
    delivery.handle_timeout(at(1_001));
    assert_eq!(said(&mut delivery), ["out:0 1..2 #2"]);
    delivery.handle_outcome(at(1_002), SendId(1), mixed(&[77], &[], None));
    assert_eq!(said(&mut delivery)[0], "done 0");
}

/// A send without a record for its sender is no proof that the sink is well again.
#[test]
fn what_is_skipped_is_acknowledged_and_lifts_no_wait() {
    let mut delivery = one_sender();
    delivery.handle_batch(at(0), batch(0, 0..100, 1)).unwrap();
    delivery.handle_batch(at(0), batch(0, 100..200, 1)).unwrap();
    said(&mut delivery);
    delivery.handle_outcome(at(10), SendId(0), Outcome::Retry { reason: "429".into(), after: Some(Duration::from_secs(90)) });
    delivery.handle_outcome(at(20), SendId(1), Outcome::Skipped);
    assert_eq!(said(&mut delivery), ["done 1"]);
    assert_eq!(delivery.poll_timeout(), Some((at(90_010).at, "retry")));
    delivery.handle_timeout(at(90_010));
    delivery.handle_outcome(at(90_020), SendId(2), Outcome::Skipped);
    assert_eq!(delivery.troubles().count(), 1, "still nothing has arrived");
    assert_eq!(positions(&delivery.checkpoint()), "0/out=200");
}

/// A sink that comes back is not met by all that has waited (no thundering retry).
#[test]
fn after_a_failure_one_batch_at_a_time_is_tried() {
    let mut delivery = one_sender();
    for n in 0..3 {
        delivery.handle_batch(at(0), batch(0, n * 100..(n + 1) * 100, 1)).unwrap();
    }
    said(&mut delivery);
    for send in 0..3 {
        delivery.handle_outcome(at(10), SendId(send), retry("503"));
    }
    assert_eq!(said(&mut delivery), [""; 0]);
    let (due, why) = delivery.poll_timeout().unwrap();
    assert_eq!(why, "retry");
    assert!(due >= at(510).at && due <= at(1_010).at, "the first wait is 0.5 s to 1 s: {due:?}");
    let due = Now { at: due, wall: UnixMicros(0) };
    delivery.handle_timeout(due);
    assert_eq!(said(&mut delivery), ["out:0 0..1 #2"]);
    delivery.handle_outcome(due, SendId(3), Outcome::Acknowledged);
    let words = said(&mut delivery);
    assert!(words.contains(&"out:1 0..1 #2".into()) && words.contains(&"out:2 0..1 #2".into()), "{words:?}");
}

#[test]
fn waits_between_retries_grow_to_half_a_minute_and_never_end() {
    let mut delivery = one_sender();
    delivery.handle_batch(at(0), batch(0, 0..100, 1)).unwrap();
    let mut now = at(0);
    let mut waits = vec![];
    for send in 0..40 {
        delivery.handle_outcome(now, SendId(send), retry("503"));
        let (due, _) = delivery.poll_timeout().unwrap();
        waits.push(due.since(now.at));
        now.at = due;
        delivery.handle_timeout(now);
    }
    assert!(waits[0] >= Duration::from_millis(500) && waits[0] <= Duration::from_secs(1));
    assert!(waits[10..].iter().all(|wait| *wait >= Duration::from_secs(15) && *wait <= Duration::from_secs(30)), "{waits:?}");
}

/// RFC 9110 section 10.2.3: a sink that names its wait is not asked before.
#[test]
fn retry_after_is_honoured() {
    let mut delivery = one_sender();
    delivery.handle_batch(at(0), batch(0, 0..100, 1)).unwrap();
    delivery.handle_batch(at(0), batch(0, 100..200, 1)).unwrap();
    delivery.handle_outcome(at(10), SendId(0), Outcome::Retry { reason: "429".into(), after: Some(Duration::from_secs(90)) });
    delivery.handle_outcome(at(20), SendId(1), Outcome::Acknowledged);
    assert_eq!(delivery.poll_timeout(), Some((at(90_010).at, "retry")), "an answer to an earlier send does not lift the wait");
}

#[test]
fn a_paused_sender_is_tried_slowly_and_told() {
    let mut delivery = one_sender();
    delivery.handle_batch(at(0), batch(0, 0..100, 1)).unwrap();
    said(&mut delivery);
    delivery.handle_outcome(at(10), SendId(0), Outcome::Paused { reason: "401".into() });
    assert_eq!(delivery.troubles().collect::<Vec<_>>(), [(&name("out"), &Trouble::Paused { reason: "401".into() })]);
    assert_eq!(delivery.poll_timeout(), Some((at(30_010).at, "retry")));
    delivery.handle_timeout(at(29_000));
    assert_eq!(said(&mut delivery), [""; 0]);
    delivery.handle_timeout(at(30_010));
    assert_eq!(said(&mut delivery), ["out:0 0..1 #2"]);
    delivery.handle_outcome(at(30_020), SendId(1), Outcome::Acknowledged);
    assert_eq!(delivery.troubles().count(), 0);
}

/// DESIGN §5.4: resume at the least position of the present senders; a new sender begins there too.
#[test]
fn a_sender_that_is_ahead_is_spared_what_it_has() {
    let mut delivery = two_senders(checkpoint(&[(0, "a", 200), (0, "b", 100), (0, "gone", 50)]));
    assert_eq!(delivery.resume(), Some((file(0), position(100))));
    delivery.handle_batch(at(0), batch(0, 100..200, 2)).unwrap();
    delivery.handle_batch(at(0), batch(0, 200..300, 2)).unwrap();
    assert_eq!(said(&mut delivery), ["b:0 0..2 #1", "a:1 0..2 #1", "b:1 0..2 #1"]);
}

#[test]
fn a_batch_partly_before_a_position_is_sent() {
    let mut delivery = two_senders(checkpoint(&[(0, "a", 150), (0, "b", 100)]));
    delivery.handle_batch(at(0), batch(0, 100..200, 2)).unwrap();
    assert_eq!(said(&mut delivery), ["a:0 0..2 #1", "b:0 0..2 #1"]);
}

#[test]
fn a_new_sender_begins_where_the_others_are() {
    let delivery = two_senders(checkpoint(&[(0, "a", 200)]));
    assert_eq!(delivery.resume(), Some((file(0), position(200))));
    assert_eq!(positions(&delivery.checkpoint()), "0/a=200 0/b=200");
}

/// Resuming goes to the last file of a checkpoint. If the next file were in it while `b` still owes the rest of the first, that rest would be
/// skipped.
#[test]
fn a_file_is_in_the_checkpoint_only_when_every_sender_is_done_with_those_before() {
    let mut delivery = two_senders(Checkpoint::default());
    delivery.handle_batch(at(0), batch(0, 0..100, 1)).unwrap();
    // Nothing is to be sent of the second: a has both, b only that one.
    delivery.handle_batch(at(0), batch(1, 0..50, 0)).unwrap();
    delivery.handle_outcome(at(1), SendId(0), Outcome::Acknowledged);
    assert_eq!(positions(&delivery.checkpoint()), "0/a=100 0/b=0");
    assert_eq!(delivery.checkpoint().resume(&[name("a"), name("b")]).unwrap().0, file(0));
    delivery.handle_outcome(at(1), SendId(1), Outcome::Acknowledged);
    assert_eq!(positions(&delivery.checkpoint()), "0/a=100 0/b=100 1/a=50 1/b=50");
}

#[test]
fn a_batch_of_no_records_moves_the_checkpoint_without_a_send() {
    let mut delivery = one_sender();
    delivery.handle_batch(at(0), batch(0, 0..100, 0)).unwrap();
    assert_eq!(said(&mut delivery), ["done 0", "checkpoint 0/out=100"]);
}

#[test]
fn a_gap_between_batches_is_refused() {
    let mut delivery = two_senders(checkpoint(&[(3, "a", 200), (3, "b", 100)]));
    let gap = BatchError::Gap { file: file(3), start: 101, expected: 100 };
    assert_eq!(delivery.handle_batch(at(0), batch(3, 101..200, 1)), Err(gap));
    delivery.handle_batch(at(0), batch(3, 100..200, 1)).unwrap();
    assert_eq!(delivery.handle_batch(at(0), batch(2, 0..10, 1)), Err(BatchError::EarlierFile { file: file(2), current: file(3) }));
    let backwards = Batch { end: position(199), ..batch(3, 200..200, 1) };
    assert_eq!(delivery.handle_batch(at(0), backwards), Err(BatchError::Backwards { start: 200, end: 199 }));
}

#[test]
fn a_full_buffer_holds_the_reader_back_until_something_is_acknowledged() {
    let mut delivery = one_sender();
    delivery.handle_batch(at(0), batch(0, 0..4 << 20, 1)).unwrap();
    assert!(!delivery.may_read());
    assert_eq!(delivery.handle_batch(at(0), batch(0, 4 << 20..5 << 20, 1)), Err(BatchError::Backlogged));
    delivery.handle_outcome(at(1), SendId(0), retry("connection refused"));
    assert!(!delivery.may_read(), "what waits for a retry is in flight");
    delivery.handle_timeout(at(2_000));
    delivery.handle_outcome(at(2_001), SendId(1), Outcome::Acknowledged);
    assert!(delivery.may_read());
}

#[test]
fn closing_flushes_what_was_emitted() {
    let mut delivery = one_sender();
    delivery.handle_batch(at(0), batch(0, 0..100, 1)).unwrap();
    said(&mut delivery);
    delivery.handle_close(at(10), Duration::from_secs(10));
    assert!(!delivery.may_read());
    assert_eq!(delivery.poll_timeout(), Some((at(10_010).at, "flush ends")));
    delivery.handle_outcome(at(20), SendId(0), Outcome::Acknowledged);
    assert_eq!(said(&mut delivery), ["done 0", "closed 0/out=100 flushed=true"]);
    assert_eq!(delivery.poll_timeout(), None);
}

#[test]
fn closing_gives_up_at_the_deadline_and_says_so() {
    let mut delivery = one_sender();
    delivery.handle_batch(at(0), batch(0, 0..100, 1)).unwrap();
    delivery.handle_batch(at(0), batch(0, 100..200, 1)).unwrap();
    delivery.handle_outcome(at(5), SendId(0), Outcome::Acknowledged);
    said(&mut delivery);
    delivery.handle_close(at(10), Duration::from_secs(10));
    delivery.handle_timeout(at(10_010));
    assert_eq!(said(&mut delivery), ["closed 0/out=100 flushed=false"]);
    delivery.handle_outcome(at(10_020), SendId(1), Outcome::Acknowledged);
    assert_eq!(said(&mut delivery), [""; 0], "after the last word there is none");
}

/// What was read but never sent is read again by the next owner without a repeat, so waiting for it would only lengthen the pause.
#[test]
fn closing_forgets_what_was_never_emitted() {
    let mut delivery = one_sender();
    delivery.handle_batch(at(0), batch(0, 0..100, 1)).unwrap();
    delivery.handle_outcome(at(1), SendId(0), Outcome::Acknowledged);
    delivery.handle_batch(at(6_000), batch(0, 100..200, 1)).unwrap();
    said(&mut delivery);
    delivery.handle_close(at(6_001), Duration::from_secs(10));
    assert_eq!(said(&mut delivery), ["closed 0/out=100 flushed=true"]);
}

#[test]
fn closing_with_no_time_drops_what_is_in_flight_at_once() {
    let mut delivery = one_sender();
    delivery.handle_batch(at(0), batch(0, 0..100, 1)).unwrap();
    said(&mut delivery);
    delivery.handle_close(at(10), Duration::ZERO);
    assert_eq!(said(&mut delivery), ["closed 0/out=0 flushed=false"]);
}

/// A handover that is flushing is fenced: it must end at once.
#[test]
fn a_second_close_can_only_shorten_the_flush() {
    let mut delivery = one_sender();
    delivery.handle_batch(at(0), batch(0, 0..100, 1)).unwrap();
    said(&mut delivery);
    delivery.handle_close(at(10), Duration::from_secs(10));
    delivery.handle_close(at(20), Duration::from_secs(60));
    assert_eq!(delivery.poll_timeout(), Some((at(10_010).at, "flush ends")));
    delivery.handle_close(at(30), Duration::ZERO);
    assert_eq!(said(&mut delivery), ["closed 0/out=0 flushed=false"]);
}

#[test]
fn the_rewind_of_the_checkpoint_stays() {
    let resume = Checkpoint { rewind: logvine_gossip::Stamp(7), ..checkpoint(&[(0, "out", 0)]) };
    let mut delivery = Delivery::new(DeliveryConfig::default(), &[name("out")], resume, 1);
    delivery.handle_batch(at(0), batch(0, 0..100, 1)).unwrap();
    assert_eq!(delivery.checkpoint().rewind, logvine_gossip::Stamp(7));
    delivery.handle_held(at(1), &checkpoint(&[(0, "out", 100)]));
    assert_eq!(delivery.unheld_bytes(), 100, "a checkpoint from before the rewind holds nothing of it");
}
