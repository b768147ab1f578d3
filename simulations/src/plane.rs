//! A node's data plane without IO: carries out [`InstanceCommand`]s with the real [`Delivery`], over simulated sources and sinks.
//!
//! It decides nothing about the cluster. Reads and sends take the time that the world draws; a crash drops all of it.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use logvine_cluster::{
    checkpoint::{Checkpoint, FileKey, FileName, HEAD_BYTES_MAX, MARKER_BYTES_MAX, Position, hash64},
    delivery::{Batch, BatchId, Delivery, DeliveryConfig, Outcome, Output, SendId},
    instance::{Epoch, InstanceCommand, InstanceEvent, InstanceState, InstanceStatus},
    name::Name,
    spec::RunnerSpec,
};
use logvine_gossip::{Instant, Now, Stamp};
use serde::{Deserialize, Serialize};

use crate::{
    file::{DeliveryForm, seconds},
    source::{Piece, Source},
};

/// How data planes read.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlanePlan {
    #[serde(with = "DeliveryForm")]
    pub delivery: DeliveryConfig,
    /// Bytes read at once, at the most.
    pub piece_bytes_max: u64,
    /// From the end of a source until it is asked again.
    #[serde(with = "seconds")]
    pub poll: Duration,
}

impl Default for PlanePlan {
    fn default() -> Self {
        Self { delivery: DeliveryConfig::default(), piece_bytes_max: 4 << 10, poll: Duration::from_millis(500) }
    }
}

/// One opening of a source by one process; never used twice by a [`Plane`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowId(pub u64);

/// What the world must do for a plane.
#[derive(Debug)]
pub enum Effect {
    /// Answer by [`Plane::handle_read`], some time after `after`.
    Read { flow: FlowId, after: Duration },
    /// Bring these lines to a sink; answer by [`Plane::handle_outcome`].
    Send { flow: FlowId, send: SendId, sender: Name, source: Name, file: FileKey, lines: Vec<Range<u64>> },
    /// Put lines durably aside; answer by [`Plane::handle_dead_lettered`].
    DeadLetter { flow: FlowId, send: SendId, sender: Name, source: Name, lines: Vec<Range<u64>> },
    /// To the node.
    Tell(InstanceEvent),
}

#[derive(Debug)]
struct Instance {
    spec: Arc<RunnerSpec>,
    revision: Stamp,
    stopping: bool,
}

#[derive(Debug)]
struct Flow {
    runner: Name,
    source: Name,
    epoch: Epoch,
    delivery: Delivery,
    /// None until the source has a first byte.
    file: Option<FileKey>,
    at: u64,
    /// A read is on its way.
    reading: bool,
    pieces: BTreeMap<BatchId, Piece>,
}

/// The data plane of one process.
#[derive(Debug)]
pub struct Plane {
    plan: PlanePlan,
    instances: BTreeMap<Name, Instance>,
    flows: BTreeMap<FlowId, Flow>,
    opened: u64,
    seed: u64,
    effects: VecDeque<Effect>,
}

impl Plane {
    pub fn new(plan: PlanePlan, seed: u64) -> Self {
        Self { plan, instances: BTreeMap::new(), flows: BTreeMap::new(), opened: 0, seed, effects: VecDeque::new() }
    }

    /// What to do next; drain it after each `handle_*`.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.flows.values().filter_map(|flow| flow.delivery.poll_timeout()).map(|(at, _)| at).min()
    }

    pub fn handle_command(&mut self, now: Now, command: InstanceCommand) {
        match command {
            InstanceCommand::Start { runner, revision, spec, .. } => {
                self.instances.insert(runner.clone(), Instance { spec, revision, stopping: false });
                let status = InstanceStatus { state: InstanceState::Running, revision, ..InstanceStatus::default() };
                self.effects.push_back(Effect::Tell(InstanceEvent::Status { runner, status }));
            }
            InstanceCommand::Restart { runner, operation } => {
                if let Some(Instance { revision, stopping: false, .. }) = self.instances.get(&runner) {
                    let status =
                        InstanceStatus { state: InstanceState::Running, revision: *revision, restarted: operation, ..InstanceStatus::default() };
                    self.effects.push_back(Effect::Tell(InstanceEvent::Status { runner, status }));
                }
            }
            // Its sources are all movable: they are opened anew.
            InstanceCommand::Rewind { .. } | InstanceCommand::ClearCounters { .. } => {}
            // Nor has it readers that cannot wait.
            InstanceCommand::DropQueue { .. } | InstanceCommand::RemoveQueue { .. } => {}
            InstanceCommand::Stop { runner, flush } => {
                for id in self.ids(|flow| flow.runner == runner) {
                    self.step(id, |flow| flow.delivery.handle_close(now, flush));
                }
                if let Some(instance) = self.instances.get_mut(&runner) {
                    instance.stopping = true;
                }
                self.end_stopped(&runner);
            }
            InstanceCommand::Open { runner, source, epoch, resume } => self.open(runner, &source.id, epoch, resume),
            InstanceCommand::Close { runner, source, epoch, flush } => {
                let open = self.ids(|flow| (&flow.runner, &flow.source, flow.epoch) == (&runner, &source, epoch));
                if open.is_empty() {
                    let checkpoint = Checkpoint::default();
                    self.effects.push_back(Effect::Tell(InstanceEvent::Closed { runner, source, epoch, checkpoint, flushed: true }));
                }
                for id in open {
                    self.step(id, |flow| flow.delivery.handle_close(now, flush));
                }
            }
            InstanceCommand::Cap { runner, source, epoch, bytes_per_s } => {
                for id in self.ids(|flow| (&flow.runner, &flow.source, flow.epoch) == (&runner, &source, epoch)) {
                    self.step(id, |flow| flow.delivery.handle_cap(now, bytes_per_s));
                }
            }
            InstanceCommand::Held { runner, source, epoch, checkpoint } => {
                for id in self.ids(|flow| (&flow.runner, &flow.source, Some(flow.epoch)) == (&runner, &source, epoch)) {
                    self.step(id, |flow| flow.delivery.handle_held(now, &checkpoint));
                }
            }
        }
    }

    fn ids(&self, wanted: impl Fn(&Flow) -> bool) -> Vec<FlowId> {
        self.flows.iter().filter(|(_, flow)| wanted(flow)).map(|(id, _)| *id).collect()
    }

    fn open(&mut self, runner: Name, source: &Name, epoch: Epoch, resume: Checkpoint) {
        let instance = self.instances.get(&runner).expect("an instance is started before its sources are opened");
        let senders: Vec<_> = instance.spec.senders.iter().map(|sender| sender.name().clone()).collect();
        let id = FlowId(self.opened);
        self.opened += 1;
        let delivery = Delivery::new(self.plan.delivery.clone(), &senders, resume, self.seed ^ id.0);
        let (file, at) = delivery.resume().map_or((None, 0), |(file, position)| (Some(file), position.offset));
        let flow = Flow { runner, source: source.clone(), epoch, delivery, file, at, reading: false, pieces: BTreeMap::new() };
        self.flows.insert(id, flow);
        self.step(id, |_| ());
    }

    /// A read that was asked for is done: what the source holds now, of which this host sees what was written by `until` (true time).
    pub fn handle_read(&mut self, now: Now, id: FlowId, source: &Source, until: Instant) {
        let (bytes_max, poll) = (self.plan.piece_bytes_max, self.plan.poll);
        let Some(flow) = self.flows.get_mut(&id) else { return };
        flow.reading = false;
        if !flow.delivery.may_read() {
            return;
        }
        let Some(piece) = source.read(flow.at, bytes_max, until) else {
            flow.reading = true;
            self.effects.push_back(Effect::Read { flow: id, after: poll });
            return;
        };
        self.step(id, |flow| flow.take(now, piece, source));
    }

    /// What became of a send.
    pub fn handle_outcome(&mut self, now: Now, id: FlowId, send: SendId, outcome: Outcome) {
        self.step(id, |flow| flow.delivery.handle_outcome(now, send, outcome));
    }

    /// A line that a sink refuses is durably aside.
    pub fn handle_dead_lettered(&mut self, now: Now, id: FlowId, send: SendId) {
        self.step(id, |flow| flow.delivery.handle_dead_lettered(now, send));
    }

    pub fn handle_timeout(&mut self, now: Now) {
        for id in self.ids(|flow| flow.delivery.poll_timeout().is_some_and(|(at, _)| at <= now.at)) {
            self.step(id, |flow| flow.delivery.handle_timeout(now));
        }
    }

    /// The flow that was opened last.
    pub fn newest(&self) -> Option<FlowId> {
        self.opened.checked_sub(1).map(FlowId)
    }

    /// Which source a flow reads, as long as it is open.
    pub fn source(&self, id: FlowId) -> Option<&Name> {
        self.flows.get(&id).map(|flow| &flow.source)
    }

    /// How full the queues of its flows' slowest senders are, in thousandths, on average.
    pub fn queue_permille(&self) -> u32 {
        let sum: u32 = self.flows.values().map(|flow| flow.delivery.queue_permille()).sum();
        sum.checked_div(u32::try_from(self.flows.len()).unwrap_or(u32::MAX)).unwrap_or(0)
    }

    /// Whether a sender of this source waits before it tries again.
    pub fn waits_to_retry(&self, source: &Name) -> bool {
        self.flows.values().any(|flow| flow.source == *source && flow.delivery.waits_to_retry())
    }

    /// Whether something is being flushed.
    pub fn is_busy(&self) -> bool {
        self.flows.values().any(|flow| !flow.delivery.is_drained())
    }

    /// Gives a flow its input, then carries on what comes of it. One that is closed already hears nothing.
    fn step(&mut self, id: FlowId, input: impl FnOnce(&mut Flow)) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        input(flow);
        let mut closed = false;
        while let Some(output) = flow.delivery.poll_output() {
            closed |= matches!(output, Output::Closed { .. });
            self.effects.extend(flow.effect(id, output));
        }
        if closed {
            let runner = self.flows.remove(&id).expect("it was there").runner;
            self.end_stopped(&runner);
        } else if !flow.reading && flow.delivery.may_read() {
            flow.reading = true;
            self.effects.push_back(Effect::Read { flow: id, after: Duration::ZERO });
        }
    }

    fn end_stopped(&mut self, runner: &Name) {
        let ended = self.instances.get(runner).is_none_or(|instance| instance.stopping) && self.flows.values().all(|flow| flow.runner != *runner);
        if ended {
            if let Some(Instance { revision, .. }) = self.instances.remove(runner) {
                let status = InstanceStatus { state: InstanceState::Stopped, revision, ..InstanceStatus::default() };
                self.effects.push_back(Effect::Tell(InstanceEvent::Status { runner: runner.clone(), status }));
            }
            self.effects.push_back(Effect::Tell(InstanceEvent::Stopped { runner: runner.clone() }));
        }
    }
}

impl Flow {
    fn take(&mut self, now: Now, piece: Piece, source: &Source) {
        let name = || FileName::of(source.bytes(0, HEAD_BYTES_MAX as u64)).expect("what has a line has a head");
        let file = *self.file.get_or_insert_with(|| FileKey { lineage: 0, named: self.epoch.counter, name: name() });
        assert!(source.is_named(file.name), "{} is to be read as {file:?}, which is another file", self.source);
        let position = |offset: u64| {
            let marker = hash64(source.bytes(offset.saturating_sub(MARKER_BYTES_MAX), offset));
            Position { offset, marker }
        };
        let records = u32::try_from(piece.lines.len()).expect("a piece is small");
        let batch = Batch { file, start: position(piece.start), end: position(piece.end), records, bytes: piece.end - piece.start };
        self.at = piece.end;
        let id = self.delivery.handle_batch(now, batch).expect("`may_read` was asked, and pieces follow each other");
        self.pieces.insert(id, piece);
    }

    fn effect(&mut self, flow: FlowId, output: Output) -> Option<Effect> {
        let Self { runner, source, epoch, .. } = &*self;
        let (runner, source, epoch) = (runner.clone(), source.clone(), *epoch);
        match output {
            Output::Send { send, sender, batch, records, .. } => {
                let lines = records.numbers().map(|record| self.pieces[&batch].line(record)).collect();
                let file = self.file.expect("what is sent was read of a file");
                Some(Effect::Send { flow, send, sender, source, file, lines })
            }
            Output::DeadLetter { send, sender, batch, refused } => {
                let lines = refused.iter().map(|refusal| self.pieces[&batch].line(refusal.record)).collect();
                Some(Effect::DeadLetter { flow, send, sender, source, lines })
            }
            Output::Done { batch } => {
                self.pieces.remove(&batch);
                None
            }
            Output::Checkpoint { checkpoint } => {
                Some(Effect::Tell(InstanceEvent::Checkpoint { runner, source, epoch: Some(epoch), checkpoint, place: None }))
            }
            Output::Closed { checkpoint, flushed } => Some(Effect::Tell(InstanceEvent::Closed { runner, source, epoch, checkpoint, flushed })),
        }
    }
}

#[cfg(test)]
mod tests;
