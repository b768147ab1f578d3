//! An operator's words, and what is answered (DESIGN §6). All management is writing to the catalog.

use std::{collections::BTreeSet, time::Duration};

use logvine_gossip::{ClockOff, NodeId, Stamp};

use crate::{
    catalog::Desired,
    name::Name,
    selection::Selection,
    setting::Setting,
    spec::{RunnerSpec, SourceSpec, SpecFault},
};

/// A write is answered after so long, whatever is known then (DESIGN §6, 4: never longer than 3 s).
pub const ANSWER_WITHIN: Duration = Duration::from_millis(2_500);

/// What an operator asks for.
#[derive(Debug, Clone)]
pub enum Command {
    /// Only if what the command changes is still at this revision (`Stamp::ZERO`: only if nothing is there). See `Node::revision_of`.
    If { revision: Stamp, command: Box<Command> },
    /// Only if it concerns so many nodes: those that a look before has shown.
    Expect { targets: usize, command: Box<Command> },
    /// Create or replace a runner.
    PutRunner { spec: Box<RunnerSpec> },
    /// Each with its sources and all that was said of it.
    DeleteRunners { runners: Vec<Name> },
    /// Start, stop or remove runners: on all of their nodes (`nodes` none), or on those that a selection resolves to now.
    Desire { runners: Vec<Name>, nodes: Option<Selection>, desired: Desired },
    /// Clear what was said of single nodes: they follow the runner again.
    Follow { runners: Vec<Name>, nodes: Selection },
    /// Begin anew where they run: on all of their nodes (`nodes` none), or on those of a selection. No state: who hears of it a minute late does not.
    Restart { runners: Vec<Name>, nodes: Option<Selection> },
    /// Read sources again from their beginning: all of these runners', the pinned ones of a selection of nodes, or single ones of one runner.
    Rewind { runners: Vec<Name>, nodes: Option<Selection>, sources: BTreeSet<Name> },
    /// Have instances count from nothing again: on all of their nodes (`nodes` none), or on those that a selection resolves to now.
    ClearCounters { runners: Vec<Name>, nodes: Option<Selection> },
    /// Throw away what waits in disk queues: on all nodes where they are to run (`nodes` none), or on those of a selection. No state: who hears of it a minute
    /// late does not.
    DropQueue { runners: Vec<Name>, nodes: Option<Selection> },
    /// Add or replace movable sources, and remove some.
    PatchSources { runner: Name, put: Vec<SourceSpec>, remove: Vec<Name> },
    /// The whole of a node's tags, whatever its configuration says.
    SetTags { node: NodeId, tags: BTreeSet<Name> },
    /// Give a tag another name, on its nodes and in all that is placed by it, in steps.
    RenameTag { from: Name, to: Name },
    /// Hand everything over and take nothing, or take part again.
    Drain { node: NodeId, draining: bool },
    /// Forget a node that is down or has left: it is in nobody's view any more. If it lives after all it comes back by itself.
    Forget { node: NodeId },
    /// Set a cluster-wide setting; none: back to its default.
    Set { setting: &'static Setting, value: Option<u64> },
}

impl Command {
    /// What is to be done, whatever it depends on.
    pub fn unconditional(&self) -> &Self {
        if let Self::If { command, .. } | Self::Expect { command, .. } = self { command.unconditional() } else { self }
    }
}

/// Who commands, and how it was said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    pub actor: String,
    pub reason: Option<String>,
    /// A command that is said again under the same key is carried out once.
    pub idempotency_key: Option<String>,
}

/// What is answered: once all of a write's targets have said what became of it, or after [`ANSWER_WITHIN`].
#[derive(Debug, Clone)]
pub struct Answer {
    pub operation: String,
    /// The stamp of what is there now.
    pub revision: Stamp,
    pub accepted: bool,
}

/// Why a command was refused. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("there is no {kind} `{name}`")]
    NotFound { kind: &'static str, name: String },
    #[error("it has {} fault(s)", faults.len())]
    Invalid { faults: Vec<SpecFault> },
    #[error("the revision is {revision} now, not {wanted}: read it again and repeat the change")]
    Conflict { wanted: Stamp, revision: Stamp },
    #[error("it concerns {found} {} now, not {expected}", if *found == 1 { "node" } else { "nodes" })]
    Unexpected { expected: usize, found: usize },
    #[error("what it changes has no revision that it could depend on")]
    Unconditional,
    #[error("`{selection}` matches no node")]
    NobodySelected { selection: String },
    #[error("none of these runners is to run on any of these nodes: start them there, and they begin anew")]
    NothingRuns,
    #[error("`{runner}` has no disk queue: its reader can wait, and reads on once its senders take what it brings")]
    NoQueue { runner: String },
    #[error("none of these runners is placed on any of these nodes")]
    NothingPlaced,
    #[error("this node's clock is {0}: what it writes could win over later words, or lose against earlier ones")]
    ClockOff(ClockOff),
    #[error("`{node}` is {status}: a node that lives would be back at once")]
    Alive { node: String, status: &'static str },
    #[error("it changes {count} things at once, and {most} is the most")]
    TooMany { count: usize, most: usize },
    #[error("each of {runners} runners on each of {nodes} nodes is more than {most} desired states, which is the most at once")]
    TooManyDesired { runners: usize, nodes: usize, most: usize },
    #[error("{0}")]
    State(String),
    #[error("this node is stopping: ask another")]
    Stopping,
}
