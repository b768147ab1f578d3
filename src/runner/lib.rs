//! The data plane's IO: reader → parse → transform → senders.
//!
//! What was acknowledged, what is sent again and how far a reader may go is decided by `logvine_cluster::delivery`; which runners and sources are
//! here, by `logvine_cluster::node`. One task tree per instance: one that fails or panics stops alone.

mod append;
mod board;
mod budget;
mod clock;
mod dead_letter;
mod enrich;
mod files;
mod instance;
mod intake;
mod json_text;

pub mod parse;
mod payload;
pub mod policy;
mod queue;
pub mod reader;
pub mod record;
mod route;
pub mod sample;
pub mod secret;
pub mod sender;
pub mod severity;
pub mod sight;
#[cfg(test)]
mod simulated_disk;
mod source;
mod stages;
pub mod suite;
pub mod tap;
mod tasks;
#[cfg(test)]
mod tests;
pub mod transform;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use logvine_cluster::{
    instance::{InstanceCommand, InstanceEvent},
    name::Name,
};
use logvine_gossip::NodeId;
use tokio::sync::mpsc;

pub use self::{enrich::Tags, sight::Sights};
use crate::policy::Policy;

/// What runners know of the node that they run on.
#[derive(Debug, Clone)]
pub struct RunnerContext {
    /// For people: `{node}` in paths, `node` in records.
    pub node_name: Name,
    pub node_id: NodeId,
    pub policy: Arc<Policy>,
    /// Dead letters are kept beneath it.
    pub data_dir: PathBuf,
    /// What people see of each instance.
    pub sights: Sights,
    /// Kept up to date by whoever knows them.
    pub tags: Tags,
}

/// All instances of this node. Dropping it ends them all at once; a planned end says `Stop` to each and waits for `Stopped`.
#[derive(Debug)]
pub struct Runners {
    context: Arc<RunnerContext>,
    events: mpsc::Sender<InstanceEvent>,
    /// One that was stopped waits for its next start: some hundred bytes for each name that was ever used here.
    instances: BTreeMap<Name, mpsc::UnboundedSender<InstanceCommand>>,
}

impl Runners {
    /// `events` must be drained: an instance that cannot tell its checkpoints reads no further.
    pub fn new(context: RunnerContext, events: mpsc::Sender<InstanceEvent>) -> Self {
        Self { context: Arc::new(context), events, instances: BTreeMap::new() }
    }

    /// Passes a command on to its instance. Never waits; must be called inside the runtime. What comes of it is told by events.
    pub fn handle(&mut self, command: InstanceCommand) {
        let runner = runner(&command).clone();
        let queue = self.instances.entry(runner).or_insert_with_key(|runner| {
            // Not bounded here: an instance takes its commands as they come, and what it keeps of them is one entry for each source.
            let (queue, commands) = mpsc::unbounded_channel();
            tokio::spawn(instance::Instance::new(runner.clone(), self.context.clone(), self.events.clone()).run(commands));
            queue
        });
        queue.send(command).expect("an instance listens as long as its queue is held");
    }
}

fn runner(command: &InstanceCommand) -> &Name {
    match command {
        InstanceCommand::Start { runner, .. }
        | InstanceCommand::Restart { runner, .. }
        | InstanceCommand::Rewind { runner, .. }
        | InstanceCommand::ClearCounters { runner, .. }
        | InstanceCommand::DropQueue { runner, .. }
        | InstanceCommand::RemoveQueue { runner, .. }
        | InstanceCommand::Stop { runner, .. }
        | InstanceCommand::Open { runner, .. }
        | InstanceCommand::Close { runner, .. }
        | InstanceCommand::Cap { runner, .. }
        | InstanceCommand::Held { runner, .. } => runner,
    }
}
