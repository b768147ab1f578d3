//! Which runners run here, and what they tell.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use logvine_gossip::{Instant, Now, Stamp, UnixMicros};

use super::{After, Node, Output, Table, queues::QueueRow, rollouts::Chosen};
use crate::{
    catalog::{Desired, Runner, pack},
    event::Event,
    instance::{Counts, InstanceCommand, InstanceEvent, InstanceState, InstanceStatus, Pinned},
    member::{NodeInfo, Phase},
    name::Name,
    quantise::{step, with_hysteresis},
};

/// How long senders are flushed when a runner stops (DESIGN §8.1).
pub(super) const FLUSH: Duration = Duration::from_secs(20);

/// How often numbers alone are worth a word in the node map.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// What runs here.
#[derive(Debug)]
pub(super) struct Instances {
    running: BTreeMap<Name, Instance>,
    pub(super) pinned: BTreeMap<(Stamp, Name), Pinned>,
    /// By the runners' uids.
    pub(super) counts: BTreeMap<Stamp, Counts>,
    /// By the runners' uids.
    pub(super) queues: BTreeMap<Stamp, QueueRow>,
    /// Those that the data plane was asked to remove in this life.
    pub(super) removing: BTreeSet<Stamp>,
}

#[derive(Debug)]
struct Instance {
    uid: Stamp,
    revision: Stamp,
    /// The rewind generation of the pinned sources that it finds.
    rewind: Stamp,
    /// When it was started here, by the wall.
    begun: UnixMicros,
    /// The last command by which it was asked to begin anew.
    restart: Option<Stamp>,
    /// Asked to stop, and not yet stopped.
    stopping: bool,
    /// How it does, and since when.
    status: Option<(InstanceStatus, Instant)>,
    /// What the node map says of it, and since when.
    said: Option<(InstanceStatus, Instant)>,
}

impl Instances {
    pub(super) fn new(pinned: BTreeMap<(Stamp, Name), Pinned>, counts: BTreeMap<Stamp, Counts>, queues: BTreeMap<Stamp, QueueRow>) -> Self {
        Self { running: BTreeMap::new(), pinned, counts, queues, removing: BTreeSet::new() }
    }

    /// Whether nothing runs or stops here.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether an instance of this runner takes sources.
    pub(super) fn is_ready(&self, runner: &Name, uid: Stamp) -> bool {
        self.running.get(runner).is_some_and(|instance| instance.uid == uid && !instance.stopping)
    }

    /// What an instance of this runner told last.
    pub(super) fn status(&self, runner: &Name) -> Option<&InstanceStatus> {
        self.running.get(runner).filter(|instance| !instance.stopping)?.status.as_ref().map(|(status, _)| status)
    }

    /// The runner whose instance is here under this name.
    pub(super) fn uid(&self, runner: &Name) -> Option<Stamp> {
        self.running.get(runner).map(|instance| instance.uid)
    }

    /// The runner whose instance is here under this name and goes on.
    pub(super) fn at_work(&self, runner: &Name) -> Option<Stamp> {
        self.running.get(runner).filter(|instance| !instance.stopping).map(|instance| instance.uid)
    }

    /// Whether the instance that is here under this name was started after a command.
    pub(super) fn begun_since(&self, runner: &Name, operation: Stamp) -> bool {
        self.running.get(runner).is_some_and(|instance| instance.begun.as_millis() > operation.as_millis())
    }

    /// Whether an instance of this very runner is here, whatever its name was given to meanwhile.
    pub(super) fn runs(&self, uid: Stamp) -> bool {
        self.running.values().any(|instance| instance.uid == uid)
    }

    /// Whether an instance of this runner is here, in whatever state.
    pub(super) fn is_there(&self, runner: &Name) -> bool {
        self.running.contains_key(runner)
    }

    /// Whether an instance has begun since a command that it be restarted; none where nobody has asked it to.
    pub(super) fn has_begun_since(&self, runner: &Name, operation: Stamp) -> Option<bool> {
        let instance = self.running.get(runner)?;
        if instance.begun.as_millis() > operation.as_millis() {
            return Some(true);
        }
        instance.restart.filter(|asked| *asked >= operation)?;
        Some(instance.status.as_ref().is_some_and(|(status, _)| status.restarted >= operation))
    }

    /// The node map begins anew.
    pub(super) fn say_again(&mut self) {
        for instance in self.running.values_mut() {
            instance.said = None;
        }
    }

    /// What is known of a runner's pinned sources here.
    pub(super) fn pinned_of(&self, uid: Stamp) -> impl Iterator<Item = (&Name, &Pinned)> {
        let of_runner = (uid, first_name())..;
        self.pinned.range(of_runner).take_while(move |((of, _), _)| *of == uid).map(|((_, source), pinned)| (source, pinned))
    }

    /// Takes note of the rewind generation that a runner's instance is to be told, if it is there and has not been told of one as late.
    pub(super) fn note_rewind(&mut self, runner: &Name, uid: Stamp, rewind: Stamp, always: bool) -> bool {
        let Some(instance) = self.running.get_mut(runner).filter(|instance| instance.uid == uid && !instance.stopping) else { return false };
        let is_news = rewind > instance.rewind;
        instance.rewind = instance.rewind.max(rewind);
        is_news || always
    }

    pub(super) fn source_error(&self, runner: &Name, source: &Name) -> Option<String> {
        self.running.get(runner)?.status.as_ref()?.0.source_errors.get(source).cloned()
    }

    /// How this node's own instances do.
    pub(super) fn statuses(&self) -> impl Iterator<Item = (&Name, &InstanceStatus)> {
        self.running.iter().filter_map(|(name, instance)| Some((name, &instance.status.as_ref()?.0)))
    }
}

impl Node {
    /// What the data plane tells.
    pub fn handle_instance(&mut self, now: Now, event: InstanceEvent) {
        self.handle_instances(now, [event]);
    }

    /// The same of several words at once. What they mean together is decided once: a thousand runners that stop are no thousand looks at a thousand runners.
    pub fn handle_instances(&mut self, now: Now, events: impl IntoIterator<Item = InstanceEvent>) {
        for event in events {
            self.take_instance(now, event);
        }
        self.settle(now);
    }

    fn take_instance(&mut self, now: Now, event: InstanceEvent) {
        match event {
            InstanceEvent::Checkpoint { runner, source, epoch: Some(epoch), checkpoint, .. } => {
                self.note_checkpoint(now, &runner, &source, epoch, &checkpoint);
            }
            InstanceEvent::Checkpoint { runner, source, epoch: None, checkpoint, place } => {
                let known = self.instances.running.get(&runner).map(|instance| (instance.uid, source.clone()));
                let known = known.and_then(|key| self.instances.pinned.get(&key));
                let is_outranked = known.is_some_and(|known| known.checkpoint.rewind > checkpoint.rewind);
                // A rewind may have been said since it was found.
                self.dirty |= known.is_none();
                if let (Some(instance), Some(place), false) = (self.instances.running.get(&runner), place, is_outranked) {
                    let (uid, pinned) = (instance.uid, Pinned { checkpoint: checkpoint.clone(), place });
                    self.write(Table::Pinned, pack(&(uid, &source)).to_vec(), Some(pack(&pinned).to_vec()));
                    self.instances.pinned.insert((uid, source.clone()), pinned);
                    self.after.push(After::Instance(InstanceCommand::Held { runner, source, epoch: None, checkpoint }));
                }
            }
            InstanceEvent::Finished { runner, source } => {
                if let Some(uid) = self.instances.running.get(&runner).map(|instance| instance.uid) {
                    self.write(Table::Pinned, pack(&(uid, &source)).to_vec(), None);
                    self.instances.pinned.remove(&(uid, source));
                }
            }
            InstanceEvent::Closed { runner, source, epoch, checkpoint, flushed } => {
                self.note_closed(now, &runner, &source, epoch, &checkpoint, flushed);
            }
            InstanceEvent::Stopped { runner } => {
                self.instances.running.remove(&runner);
                self.unsay(now, &format!("runner/{runner}"));
                self.dirty = true;
            }
            InstanceEvent::Status { runner, status } => self.note_status(now, runner, status),
            InstanceEvent::Counted { runner, counts } => self.note_counts(&runner, counts),
            InstanceEvent::QueueDropped { runner, operation, result } => self.note_dropped(runner, operation, result),
            InstanceEvent::QueueRemoved { runner, uid, result } => self.note_removed(runner, uid, result),
        }
    }

    /// How this node's own instances do, by runner.
    pub fn instances(&self) -> impl Iterator<Item = (&Name, &InstanceStatus)> {
        self.instances.statuses()
    }

    fn note_status(&mut self, now: Now, runner: Name, status: InstanceStatus) {
        let Some(instance) = self.instances.running.get_mut(&runner) else { return };
        self.rollouts.note_status(now, &runner, &status);
        let failed = |status: &InstanceStatus| status.state == InstanceState::Failed;
        let newly_failed = failed(&status) && !instance.status.as_ref().is_some_and(|(status, _)| failed(status));
        let stage = |status: &InstanceStatus| (status.state, status.revision, status.restarted);
        if instance.status.as_ref().is_none_or(|(before, _)| stage(before) != stage(&status)) {
            // Somebody may wait for just that.
            self.dirty = true;
        }
        if instance.status.as_ref().is_none_or(|(before, _)| *before != status) {
            instance.status = Some((status.clone(), now.at));
        }
        if instance.is_worth_saying(now.at) {
            self.say_status(now, &runner);
        }
        if newly_failed {
            self.tell(Event::Failed { runner, error: status.error.unwrap_or_default() });
        }
    }

    fn say_status(&mut self, now: Now, runner: &Name) {
        if let Some(instance) = self.instances.running.get_mut(runner)
            && let Some((status, _)) = &instance.status
        {
            let status = status.told(instance.said.as_ref().map(|(said, _)| said));
            instance.said = Some((status.clone(), now.at));
            self.say(now, &format!("runner/{runner}"), &status);
        }
    }

    /// Starts and stops instances. A runner stops here once its sources are closed, so that their last checkpoints are known.
    pub(super) fn decide_instances(&mut self, now: Now) {
        self.forget_rollouts(now);
        self.rewind_pinned();
        self.clear_counts();
        if self.stopping.is_none() && self.phase != Phase::Joining {
            self.remove_queues();
        }
        let wanted = self.wanted_here();
        for name in self.instances.running.keys().cloned().collect::<Vec<_>>() {
            let instance = &self.instances.running[&name];
            let keep = wanted.contains(&name) && self.catalog.runner(&name).is_some_and(|runner| runner.uid == instance.uid);
            if !keep && !instance.stopping && !self.sources.has_open(&name) {
                self.instances.running.get_mut(&name).expect("listed above").stopping = true;
                self.outputs.push_back(Output::Instance(InstanceCommand::Stop { runner: name, flush: FLUSH }));
            }
        }
        for name in wanted {
            self.start(now, &name);
        }
    }

    /// The runners that should run here now; none before this node has a view, or once it stops.
    fn wanted_here(&self) -> BTreeSet<Name> {
        if self.stopping.is_some() || self.phase == Phase::Joining {
            return BTreeSet::new();
        }
        self.catalog.runners().filter(|(name, runner)| self.is_placed_here(name, runner)).map(|(name, _)| name.clone()).collect()
    }

    /// The nodes for which a runner's placement holds, and of which nobody said that it shall not run there.
    pub(super) fn placed<'a>(&'a self, name: &'a Name, runner: &'a Runner) -> impl Iterator<Item = &'a NodeInfo> {
        self.view.values().filter(move |info| self.is_placed_on(name, runner, info))
    }

    /// Whether that holds for this node.
    pub(super) fn is_placed_here(&self, name: &Name, runner: &Runner) -> bool {
        self.view.get(&self.id()).is_some_and(|info| self.is_placed_on(name, runner, info))
    }

    fn is_placed_on(&self, name: &Name, runner: &Runner, info: &NodeInfo) -> bool {
        runner.placed.as_ref().is_some_and(|placed| placed.matches(info)) && self.catalog.desired_on(name, &info.id) == Desired::Running
    }

    fn start(&mut self, now: Now, name: &Name) {
        let Some(runner) = self.catalog.runner(name).cloned() else { return };
        let uid = runner.uid;
        let instance = self.instances.running.get(name);
        if instance.is_some_and(|instance| instance.uid != uid || instance.stopping) {
            return;
        }
        let before = instance.and_then(|instance| instance.status.as_ref()).map(|(status, _)| status.clone());
        let Some(Chosen { revision, spec, on_trial }) = self.choose_revision(now, name, &runner, before.as_ref()) else { return };
        let (rewind, _) = self.catalog.rewinds_on(name, &self.id());
        let is_there = match self.instances.running.get_mut(name) {
            Some(instance) if instance.revision == revision => return,
            Some(instance) => {
                instance.revision = revision;
                true
            }
            None => {
                let instance = Instance { uid, revision, rewind, begun: now.wall, restart: None, stopping: false, status: None, said: None };
                self.instances.running.insert(name.clone(), instance);
                false
            }
        };
        let pinned = self.instances.pinned_of(uid).map(|(source, pinned)| (source.clone(), pinned.clone())).collect();
        let counts = self.counts_of(name, uid);
        if spec.reader.queue_bytes_max().is_some() {
            self.note_queue(name, uid);
        }
        let command = InstanceCommand::Start { runner: name.clone(), uid, revision, spec, pinned, rewind, counts };
        if on_trial && is_there {
            self.once_durable(After::Instance(command));
        } else {
            self.outputs.push_back(Output::Instance(command));
        }
    }

    /// Has an instance begin anew, if there is one that goes on.
    pub(super) fn restart_instance(&mut self, runner: &Name, operation: Stamp) {
        if let Some(instance) = self.instances.running.get_mut(runner).filter(|instance| !instance.stopping) {
            instance.restart = Some(operation);
            self.outputs.push_back(Output::Instance(InstanceCommand::Restart { runner: runner.clone(), operation }));
        }
    }

    /// Says what has become worth it, and again what the node map lost when it began anew.
    pub(super) fn say_statuses(&mut self, now: Now) {
        let due = self.instances.running.iter().filter(|(_, instance)| instance.is_worth_saying(now.at));
        for runner in due.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.say_status(now, &runner);
        }
    }
}

impl Instance {
    /// Numbers are published when they moved by a step, at most once per interval, and when they have come to rest; what people must see, at once
    /// (DESIGN §3.2).
    fn is_worth_saying(&self, now: Instant) -> bool {
        let (Some((status, since)), Some((said, at))) = (&self.status, &self.said) else { return self.status.is_some() };
        let urgent = |status: &InstanceStatus| (status.state, status.revision, status.restarted, status.error.clone(), status.source_errors.clone());
        let told = status.told(Some(said));
        let rests = now.since(*since) >= SAY_EVERY && told != *said;
        urgent(status) != urgent(said) || (now.since(*at) >= SAY_EVERY && (rests || told.has_moved(said)))
    }
}

impl InstanceStatus {
    /// What the node map says of this, after it said `said`: rates and lag in steps.
    fn told(&self, said: Option<&Self>) -> Self {
        let stepped = |of: fn(&Self) -> f64| said.map_or_else(|| step(of(self)), |said| with_hysteresis(of(self), of(said)));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a step of a u64 is one, or `as` saturates")]
        let lag_bytes = stepped(|status| status.lag_bytes as f64).round() as u64;
        Self { records_per_s: stepped(|status| status.records_per_s), bytes_per_s: stepped(|status| status.bytes_per_s), lag_bytes, ..self.clone() }
    }

    /// Whether this, told, is another step than `said`; of counters, which only grow, a quarter more.
    fn has_moved(&self, said: &Self) -> bool {
        let gauges = |status: &Self| (status.records_per_s, status.bytes_per_s, status.lag_bytes, status.dead_lettered);
        let counters = |status: &Self| [status.records, status.errors].map(|counter| step(counter as f64));
        gauges(self) != gauges(said) || counters(self) != counters(said)
    }
}

/// The least name there is: where a range over names begins.
fn first_name() -> Name {
    "0".parse().expect("a name")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often the node map is written in a minute in which an instance tells `status(second)`.
    fn words(status: impl Fn(u64) -> InstanceStatus) -> usize {
        let mut instance = Instance {
            uid: Stamp(1),
            revision: Stamp(1),
            rewind: Stamp::ZERO,
            begun: UnixMicros(0),
            restart: None,
            stopping: false,
            status: None,
            said: None,
        };
        let said = (0..60).filter(|second| {
            let now = Instant::from_micros(second * 1_000_000);
            let status = status(*second);
            if instance.status.as_ref().is_none_or(|(before, _)| *before != status) {
                instance.status = Some((status.clone(), now));
            }
            let worth = instance.is_worth_saying(now);
            if worth {
                instance.said = Some((status.told(instance.said.as_ref().map(|(said, _)| said)), now));
            }
            worth
        });
        said.count()
    }

    fn flowing(records_per_s: f64, records: u64) -> InstanceStatus {
        InstanceStatus { state: InstanceState::Running, records_per_s, records, ..InstanceStatus::default() }
    }

    #[test]
    fn a_rate_that_trembles_at_a_steps_edge_is_said_once() {
        assert_eq!(words(|second| flowing(if second % 2 == 0 { 1_023.0 } else { 1_025.0 }, 7)), 1);
    }

    #[test]
    fn a_steady_flow_is_said_as_often_as_its_count_grows_by_a_step() {
        let said = words(|second| flowing(1_000.0, 1_000_000 + second * 1_000));
        assert!(said <= 2, "{said} words a minute");
    }

    #[test]
    fn a_flow_that_ends_is_said_with_its_last_count() {
        let said = words(|second| flowing(if second < 20 { 100.0 } else { 0.0 }, 1_000 + second.min(20)));
        assert_eq!(said, 2);
    }

    #[test]
    fn numbers_that_jump_every_second_are_said_every_five() {
        assert_eq!(words(|second| flowing([1.0, 100.0][usize::from(second % 2 == 1)], 7)), 12);
    }

    #[test]
    fn what_people_must_see_is_said_at_once() {
        let status = |second| InstanceStatus { error: (second >= 3).then(|| "cannot dial".to_owned()), ..flowing(1.0, 1) };
        assert_eq!(words(status), 2);
    }
}
