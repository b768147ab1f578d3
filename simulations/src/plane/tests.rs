use std::collections::BTreeMap as Map;

use logvine_cluster::{
    instance::Counts,
    spec::{
        Encoding, EnrichSpec, HttpReaderSpec, ParseSpec, Placement, ReaderSpec, SenderSpec, SourceSpec, StartAt, StdoutSenderSpec, TransformSpec,
    },
};
use logvine_gossip::UnixMicros;

use super::*;
use crate::{
    chance::{Concern, stream},
    source::SourcePlan,
};

fn now(seconds: u64) -> Now {
    Now { at: Instant::from_micros(seconds * 1_000_000), wall: UnixMicros(0) }
}

fn source(lines: usize) -> Source {
    let mut source = Source::new(SourcePlan::numbered(1, Duration::ZERO, 40));
    let mut rng = stream(1, Concern::Sources);
    (0..lines).for_each(|_| source.grow(Instant::ZERO, &mut rng));
    source
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A plane whose one runner has opened `s01`.
fn opened(resume: Checkpoint) -> Plane {
    let spec = RunnerSpec {
        name: name("logs"),
        placement: Placement::Spread("all".into()),
        reader: ReaderSpec::Http(HttpReaderSpec {
            start_at: StartAt::Beginning,
            poll_ms: 500,
            line_bytes_max: 1_024,
            headers: Map::new(),
            encoding: Encoding::Utf8,
            multiline: None,
        }),
        sources: vec![],
        parse: ParseSpec::Raw,
        transform: TransformSpec::default(),
        enrich: EnrichSpec::default(),
        senders: vec![SenderSpec::Stdout(StdoutSenderSpec { name: name("out"), when: None })],
        tests: vec![],
    };
    let mut plane = Plane::new(PlanePlan { piece_bytes_max: 100, ..PlanePlan::default() }, 1);
    let (runner, uid) = (name("logs"), Stamp(1));
    plane.handle_command(
        now(0),
        InstanceCommand::Start {
            runner: runner.clone(),
            uid,
            revision: uid,
            spec: Arc::new(spec),
            pinned: Map::new(),
            rewind: Stamp::ZERO,
            counts: Counts::default(),
        },
    );
    let spec = Arc::new(SourceSpec { id: name("s01"), url: "http://s01.test/".into(), rotated: vec![], selection: None });
    plane.handle_command(now(0), InstanceCommand::Open { runner, source: spec, epoch: Epoch::default(), resume });
    plane
}

/// Carries out everything at once, with a sink that acknowledges `takes` sends and then falls silent, and witnesses that hold all that they are told. Gives back what arrived, and what was told.
fn drive(plane: &mut Plane, source: &Source, mut takes: usize) -> (Vec<Range<u64>>, Vec<InstanceEvent>) {
    let (mut arrived, mut told) = (Vec::new(), Vec::new());
    while let Some(effect) = plane.poll_effect() {
        match effect {
            Effect::Read { flow, after } if after.is_zero() => plane.handle_read(now(1), flow, source, Instant::ZERO),
            Effect::Read { .. } | Effect::DeadLetter { .. } => {}
            Effect::Send { flow, send, lines, .. } if takes > 0 => {
                takes -= 1;
                arrived.extend(lines);
                plane.handle_outcome(now(1), flow, send, Outcome::Acknowledged);
            }
            Effect::Send { .. } => {}
            Effect::Tell(event) => {
                if let InstanceEvent::Checkpoint { runner, source, epoch, checkpoint, .. } = event.clone() {
                    plane.handle_command(now(1), InstanceCommand::Held { runner, source, epoch, checkpoint });
                }
                told.push(event);
            }
        }
    }
    (arrived, told)
}

fn close(plane: &mut Plane, flush: Duration) {
    plane.handle_command(now(2), InstanceCommand::Close { runner: name("logs"), source: name("s01"), epoch: Epoch::default(), flush });
}

fn closed(told: &[InstanceEvent]) -> Option<(u64, bool)> {
    told.iter().find_map(|event| match event {
        InstanceEvent::Closed { checkpoint, flushed, .. } => Some((checkpoint.resume(&[name("out")])?.1[&name("out")].offset, *flushed)),
        _ => None,
    })
}

#[test]
fn every_line_arrives_once_and_the_last_word_says_so() {
    let source = source(30);
    let mut plane = opened(Checkpoint::default());
    let (arrived, _) = drive(&mut plane, &source, usize::MAX);
    assert_eq!(arrived.len(), 30);
    close(&mut plane, Duration::from_secs(10));
    let (_, told) = drive(&mut plane, &source, 0);
    assert_eq!(closed(&told), Some((source.len(), true)));
}

#[test]
fn a_closed_source_is_resumed_where_its_last_word_was() {
    let source = source(30);
    let mut plane = opened(Checkpoint::default());
    let (first, _) = drive(&mut plane, &source, 2);
    close(&mut plane, Duration::ZERO);
    let (_, told) = drive(&mut plane, &source, 0);
    let checkpoint = told.iter().find_map(|event| if let InstanceEvent::Closed { checkpoint, .. } = event { Some(checkpoint.clone()) } else { None });
    let mut next = opened(checkpoint.unwrap());
    let (rest, _) = drive(&mut next, &source, usize::MAX);
    assert_eq!(first.last().unwrap().end, rest[0].start);
    assert_eq!(rest.last().unwrap().end, source.len());
    assert!(matches!(closed(&told), Some((_, false))), "a send was unanswered");
}

#[test]
fn a_runner_that_never_started_is_stopped_at_once() {
    let mut plane = Plane::new(PlanePlan::default(), 1);
    plane.handle_command(now(0), InstanceCommand::Stop { runner: name("logs"), flush: Duration::ZERO });
    assert!(matches!(plane.poll_effect(), Some(Effect::Tell(InstanceEvent::Stopped { .. }))));
}
