//! Which runners run here, and what they tell.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use logvine_gossip::{Instant, Now, Stamp};

use super::{After, Node, Output, Table};
use crate::{
    catalog::{Desired, Runner, pack},
    event::Event,
    instance::{InstanceCommand, InstanceEvent, InstanceState, InstanceStatus, Pinned},
    member::{NodeInfo, Phase},
    name::Name,
    selection::Selection,
};

/// How long senders are flushed when a runner stops (DESIGN §8.1).
pub(super) const FLUSH: Duration = Duration::from_secs(20);

/// How often numbers alone are worth a word in the node map.
const SAY_EVERY: Duration = Duration::from_secs(5);
/// Sign, exponent and the first two digits of a double's mantissa.
const TWO_DIGITS: u64 = !0 << 50;

/// What runs here.
#[derive(Debug)]
pub(super) struct Instances {
    running: BTreeMap<Name, Instance>,
    pinned: BTreeMap<(Stamp, Name), Pinned>,
}

#[derive(Debug)]
struct Instance {
    uid: Stamp,
    revision: Stamp,
    /// Asked to stop, and not yet stopped.
    stopping: bool,
    status: Option<InstanceStatus>,
    /// What the node map says of it, and since when.
    said: Option<(InstanceStatus, Instant)>,
}

impl Instances {
    pub(super) fn new(pinned: BTreeMap<(Stamp, Name), Pinned>) -> Self {
        Self { running: BTreeMap::new(), pinned }
    }

    /// Whether nothing runs or stops here.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether an instance of this runner takes sources.
    pub(super) fn is_ready(&self, runner: &Name, uid: Stamp) -> bool {
        self.running.get(runner).is_some_and(|instance| instance.uid == uid && !instance.stopping)
    }

    /// The node map begins anew.
    pub(super) fn say_again(&mut self) {
        for instance in self.running.values_mut() {
            instance.said = None;
        }
    }

    pub(super) fn source_error(&self, runner: &Name, source: &Name) -> Option<String> {
        self.running.get(runner)?.status.as_ref()?.source_errors.get(source).cloned()
    }

    /// How this node's own instances do.
    pub(super) fn statuses(&self) -> impl Iterator<Item = (&Name, &InstanceStatus)> {
        self.running.iter().filter_map(|(name, instance)| Some((name, instance.status.as_ref()?)))
    }
}

impl Node {
    /// What the data plane tells.
    pub fn handle_instance(&mut self, now: Now, event: InstanceEvent) {
        match event {
            InstanceEvent::Checkpoint { runner, source, epoch: Some(epoch), checkpoint, .. } => {
                self.note_checkpoint(now, &runner, &source, epoch, &checkpoint);
            }
            InstanceEvent::Checkpoint { runner, source, epoch: None, checkpoint, place } => {
                if let (Some(instance), Some(place)) = (self.instances.running.get(&runner), place) {
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
            InstanceEvent::Closed { runner, source, epoch, checkpoint, .. } => self.note_closed(now, &runner, &source, epoch, &checkpoint),
            InstanceEvent::Stopped { runner } => {
                self.instances.running.remove(&runner);
                self.unsay(now, &format!("runner/{runner}"));
                self.dirty = true;
            }
            InstanceEvent::Status { runner, status } => self.note_status(now, runner, status),
        }
        self.settle(now);
    }

    /// How this node's own instances do, by runner.
    pub fn instances(&self) -> impl Iterator<Item = (&Name, &InstanceStatus)> {
        self.instances.statuses()
    }

    fn note_status(&mut self, now: Now, runner: Name, status: InstanceStatus) {
        let Some(instance) = self.instances.running.get_mut(&runner) else { return };
        let failed = |status: &InstanceStatus| status.state == InstanceState::Failed;
        let newly_failed = failed(&status) && !instance.status.as_ref().is_some_and(failed);
        instance.status = Some(status.clone());
        if instance.is_worth_saying(now.at) {
            self.say_status(now, &runner);
        }
        if newly_failed {
            self.tell(Event::Failed { runner, error: status.error.unwrap_or_default() });
        }
    }

    fn say_status(&mut self, now: Now, runner: &Name) {
        if let Some(instance) = self.instances.running.get_mut(runner)
            && let Some(status) = instance.status.as_ref().map(InstanceStatus::quantised)
        {
            instance.said = Some((status.clone(), now.at));
            self.say(now, &format!("runner/{runner}"), &status);
        }
    }

    /// Starts and stops instances. A runner stops here once its sources are closed, so that their last checkpoints are known.
    pub(super) fn decide_instances(&mut self) {
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
            self.start(&name);
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
    pub(super) fn placed(&self, name: &Name, runner: &Runner) -> impl Iterator<Item = &NodeInfo> {
        let selection = runner.spec.placement.selection().parse::<Selection>().ok();
        let selected = self.view.values().filter(move |info| selection.as_ref().is_some_and(|selection| selection.matches(*info)));
        selected.filter(|info| self.catalog.desired_on(name, &info.id) == Desired::Running)
    }

    /// Whether that holds for this node.
    pub(super) fn is_placed_here(&self, name: &Name, runner: &Runner) -> bool {
        self.placed(name, runner).any(|info| info.id == self.id())
    }

    fn start(&mut self, name: &Name) {
        let Some(Runner { uid, revision, spec }) = self.catalog.runner(name).cloned() else { return };
        match self.instances.running.get_mut(name) {
            Some(instance) if instance.uid != uid || instance.stopping || instance.revision == revision => return,
            Some(instance) => instance.revision = revision,
            None => {
                self.instances.running.insert(name.clone(), Instance { uid, revision, stopping: false, status: None, said: None });
            }
        }
        let of_runner = (uid, first_name())..;
        let pinned = self.instances.pinned.range(of_runner).take_while(|((of, _), _)| *of == uid);
        let pinned = pinned.map(|((_, source), pinned)| (source.clone(), pinned.clone())).collect();
        self.outputs.push_back(Output::Instance(InstanceCommand::Start { runner: name.clone(), uid, revision, spec, pinned }));
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
    /// Numbers are published when they moved by a step, at most once per interval; what people must see, at once (DESIGN §3.2).
    fn is_worth_saying(&self, now: Instant) -> bool {
        let (Some(status), Some((said, at))) = (&self.status, &self.said) else { return self.status.is_some() };
        let urgent = |status: &InstanceStatus| (status.state, status.revision, status.error.clone(), status.source_errors.clone());
        urgent(status) != urgent(said) || (now.since(*at) >= SAY_EVERY && status.quantised() != *said)
    }
}

impl InstanceStatus {
    /// Rates and lag to two binary digits: a step of about a quarter.
    fn quantised(&self) -> Self {
        let mut rough = self.clone();
        rough.records_per_s = f64::from_bits(self.records_per_s.to_bits() & TWO_DIGITS);
        rough.bytes_per_s = f64::from_bits(self.bytes_per_s.to_bits() & TWO_DIGITS);
        let shift = self.lag_bytes.checked_ilog2().unwrap_or(0).saturating_sub(2);
        rough.lag_bytes = self.lag_bytes >> shift << shift;
        rough
    }
}

/// The least name there is: where a range over names begins.
fn first_name() -> Name {
    "0".parse().expect("a name")
}
