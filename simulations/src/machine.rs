//! What a simulated machine can take: its processors are busy with the bytes that its process sends, and the node is told so as a real one is.

use std::time::Duration;

use logvine_cluster::{
    balance::load::{HostLoad, bearable},
    ranking::Capacity,
};
use serde::{Deserialize, Serialize};

use crate::{
    host::Life,
    world::{Event, World},
};

/// As often as the agent measures its process.
const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// All that a machine has, in thousandths.
const WHOLE: u32 = 1_000;

/// A machine that work can make busy. One without a plan is never busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachinePlan {
    /// In quarter octaves, as its node says it.
    pub capacity: u8,
    /// All its processors are busy when its process sends so much.
    pub bytes_per_s: u64,
    /// The part of it that its process needs for what no source brings, in thousandths.
    #[serde(default)]
    pub background_permille: u32,
}

/// A machine as it is now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    plan: MachinePlan,
    /// The part of it that its process gets, in thousandths.
    quota: u32,
}

impl Machine {
    pub(crate) fn new(plan: MachinePlan) -> Self {
        Self { plan, quota: WHOLE }
    }

    /// Bytes a second that make it fully busy now.
    pub(crate) fn bytes_per_s(&self) -> u64 {
        (self.plan.bytes_per_s * u64::from(self.quota) / u64::from(WHOLE)).max(1)
    }

    /// How busy it is, while so many bytes are sent in one span between two measures, and with queues so full; and what it bears, in the balance's own measure.
    fn measure(&self, sent: u64, queue_permille: u32) -> (HostLoad, u64) {
        let possible = self.bytes_per_s() * MEASURE_EVERY.as_secs();
        let busy = sent * u64::from(WHOLE) / possible + u64::from(self.plan.background_permille);
        let cpu_permille = u32::try_from(busy.min(u64::from(WHOLE))).expect("at most a thousand");
        let bears = bearable(Capacity(self.plan.capacity)) / u64::from(WHOLE) * u64::from(self.quota);
        (HostLoad { cpu_permille, queue_permille }, bears)
    }
}

impl World {
    /// A process that has just been started on a machine that can be busy is measured from now on.
    pub(crate) fn watch_load(&mut self, at: usize) {
        if self.hosts[at].machine.is_some() {
            let life = self.hosts[at].life;
            self.after(MEASURE_EVERY, Event::Measure { host: at, life });
        }
    }

    pub(crate) fn measure_load(&mut self, at: usize, life: Life) {
        let Some(machine) = self.hosts[at].machine else { return };
        let Some(process) = self.hosts[at].process(life) else { return };
        let (load, bears) = machine.measure(std::mem::take(&mut process.sent), process.plane.queue_permille());
        self.input(at, life, |process, now| process.node.handle_host_load(now, load, bears));
        self.after(MEASURE_EVERY, Event::Measure { host: at, life });
    }

    /// From now on a machine gives its process this part of what it has.
    pub(crate) fn set_quota(&mut self, at: usize, permille: u32) {
        self.tell(Some(at), format_args!("gets {permille} thousandths of its machine"));
        if let Some(machine) = &mut self.hosts[at].machine {
            machine.quota = permille;
        }
    }

    /// From now on a source is so much faster, or slower, than it was planned.
    pub(crate) fn set_pace(&mut self, source: usize, permille: u32) {
        let Some(found) = self.sources.get_mut(source) else { return };
        found.gap = found.plan.gap * WHOLE / permille.max(1);
        let id = found.plan.id.clone();
        self.tell(None, format_args!("has {id} grow at {permille} thousandths of its pace"));
    }
}
