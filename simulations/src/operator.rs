//! The people outside: they say a word to one node, and say it again to another while nobody answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use logvine_cluster::{
    catalog::Desired,
    command::{Answer, Command, CommandError},
    name::Name,
    node::{CommandId, Node},
    spec::{
        Compression, Encoding, EnrichSpec, HttpReaderSpec, HttpSenderSpec, ParseSpec, Placement, ReaderSpec, RunnerSpec, SenderSpec, SourceSpec,
        StartAt, TransformSpec,
    },
};
use logvine_gossip::NodeId;
use serde::{Deserialize, Serialize};

use crate::{
    scenario::Scenario,
    source::SourcePlan,
    world::{Event, World},
};

/// The one runner's name.
pub(crate) const RUNNER: &str = "logs";
/// How long a person waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// What an operator does to the runner. Sources by place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edit {
    /// Its settings change: its sources are opened anew.
    Revise,
    Stop,
    Start,
    /// It begins anew wherever it runs: no state, so it is said once.
    Restart,
    /// A source is removed, for good.
    Remove(usize),
    /// A source is read again from its beginning.
    Rewind(usize),
    /// All are.
    RewindAll,
}

impl Edit {
    /// The source that it is about, by place.
    pub fn source(&self) -> Option<usize> {
        match self {
            Self::Remove(source) | Self::Rewind(source) => Some(*source),
            Self::Revise | Self::Stop | Self::Start | Self::Restart | Self::RewindAll => None,
        }
    }

    /// The same about a source at another place.
    #[must_use]
    pub fn of_source(self, place: usize) -> Self {
        match self {
            Self::Remove(_) => Self::Remove(place),
            Self::Rewind(_) => Self::Rewind(place),
            edit @ (Self::Revise | Self::Stop | Self::Start | Self::Restart | Self::RewindAll) => edit,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Apply,
    Drain {
        node: usize,
        draining: bool,
    },
    /// The runner as it is after so many changes.
    Edit {
        edit: Edit,
        count: u32,
    },
    /// The n-th change of a node's tags.
    Tag {
        node: usize,
        count: usize,
    },
}

/// What was asked for and not answered yet.
#[derive(Debug, Default)]
pub(crate) struct Operator {
    pending: BTreeMap<usize, (Order, usize)>,
    orders: usize,
    drained: BTreeSet<usize>,
    /// What was said of a node's tags. Who loses its key is another node.
    tags: BTreeMap<NodeId, Tags>,
    /// Which tags of its node the relay of a command knew: these it clears.
    known: BTreeMap<CommandId, BTreeSet<Name>>,
    commands: u64,
    waiting: bool,
    /// How often the runner was changed, and whether it was stopped last.
    edits: u32,
    stopped: bool,
    removed: BTreeSet<usize>,
}

/// What was said of a node's tags. Each tag is a key of its own (DESIGN §4): a word clears those that its relay knows, and leaves those that it has not heard of.
#[derive(Debug, Default)]
struct Tags {
    /// How often they were changed.
    count: usize,
    /// What words before the last one may have left: true where it must still be there, as the word was accepted and no relay that knew of it has spoken since.
    left: BTreeMap<Name, bool>,
}

impl Operator {
    /// Nodes that were last taken out of service.
    pub(crate) fn drained(&self) -> Vec<usize> {
        self.drained.iter().copied().collect()
    }

    /// Whether the runner was stopped last.
    pub(crate) fn has_stopped(&self) -> bool {
        self.stopped
    }

    /// Whether a source was removed, or is about to be.
    pub(crate) fn has_removed(&self, source: usize) -> bool {
        self.removed.contains(&source)
    }

    /// Whether every word was answered.
    pub(crate) fn is_done(&self) -> bool {
        self.pending.is_empty()
    }

    fn order(&mut self, order: Order, via: usize) {
        self.pending.insert(self.orders, (order, via));
        self.orders += 1;
    }
}

impl World {
    pub(crate) fn apply(&mut self, via: usize) {
        self.operator.order(Order::Apply, via);
        self.ask();
    }

    pub(crate) fn drain(&mut self, node: usize, draining: bool) {
        if draining {
            self.operator.drained.insert(node)
        } else {
            self.operator.drained.remove(&node)
        };
        self.operator.pending.retain(|_, (order, _)| !matches!(order, Order::Drain { node: other, .. } if *other == node));
        self.operator.order(Order::Drain { node, draining }, node);
        self.ask();
    }

    pub(crate) fn edit(&mut self, via: usize, edit: Edit) {
        match edit {
            Edit::Revise => self.operator.edits += 1,
            Edit::Stop | Edit::Start => {
                self.operator.stopped = edit == Edit::Stop;
                let says = |order: &Order| matches!(order, Order::Edit { edit: Edit::Stop | Edit::Start, .. });
                self.operator.pending.retain(|_, (order, _)| !says(order));
            }
            Edit::Restart | Edit::Rewind(_) | Edit::RewindAll => {}
            Edit::Remove(source) => {
                self.operator.removed.insert(source);
            }
        }
        let count = self.operator.edits;
        self.operator.order(Order::Edit { edit, count }, via);
        self.ask();
    }

    pub(crate) fn tag(&mut self, node: usize) {
        let of_node = |order: &Order| matches!(order, Order::Tag { node: other, .. } if *other == node);
        let is_pending = self.operator.pending.values().any(|(order, _)| of_node(order));
        let said = self.operator.tags.entry(self.hosts[node].id).or_default();
        if said.count > 0 {
            said.left.insert(tag(said.count), !is_pending);
        }
        said.count += 1;
        let count = said.count;
        said.left.remove(&tag(count));
        let order = Order::Tag { node, count };
        let via = (node + count) % self.hosts.len();
        self.operator.pending.retain(|_, (order, _)| !of_node(order));
        self.operator.order(order, via);
        self.ask();
    }

    /// Whoever runs holds of each node's tags what was said last, if that was answered; and beside it what its relay had not heard of.
    pub(crate) fn last_words_hold(&self) -> Result<(), (&'static str, String)> {
        let orders = self.operator.pending.values();
        let pending: BTreeSet<_> =
            orders.filter_map(|(order, _)| if let Order::Tag { node, .. } = order { Some(self.hosts[*node].id) } else { None }).collect();
        for (id, Tags { count, left }) in self.operator.tags.iter().filter(|(id, _)| !pending.contains(id)) {
            let must = left.iter().filter(|(_, must)| **must).map(|(tag, _)| tag.clone()).chain([tag(*count)]);
            let wanted: BTreeSet<Name> = must.collect();
            for (at, reader) in self.running() {
                let held = reader.catalog().tags(id, &BTreeSet::new());
                let may = |tag: &Name| wanted.contains(tag) || left.contains_key(tag);
                if !wanted.is_subset(&held) || !held.iter().all(may) {
                    let detail = format!("{} was tagged {wanted:?} last; to {} it has {held:?}", self.names[id], self.hosts[at].name);
                    return Err(("", detail));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn ask_again(&mut self) {
        self.operator.waiting = false;
        self.ask();
    }

    /// Says everything that is not answered, each to the next node that runs.
    fn ask(&mut self) {
        let orders: Vec<_> = self.operator.pending.iter().map(|(number, (order, via))| (*number, *order, *via)).collect();
        let count = self.hosts.len();
        for (number, order, via) in orders {
            // Who changes a runner asks somebody who knows it.
            let knows = |node: &Node| !matches!(order, Order::Edit { .. }) || node.catalog().runner(&runner_name()).is_some();
            let runs = |at: &usize| self.hosts[*at].process.as_ref().is_some_and(|process| !process.stopping && knows(&process.node));
            let Some(at) = (via..via + count).map(|at| at % count).find(runs) else { continue };
            self.operator.pending.insert(number, (order, at + 1));
            if self.hosts[at].standstill.is_paused() {
                self.tell(Some(at), format_args!("does not answer an operator"));
            } else {
                self.command(at, number, order);
            }
        }
        if !self.operator.is_done() && !self.operator.waiting {
            self.operator.waiting = true;
            self.after(PATIENCE, Event::Operator);
        }
    }

    fn command(&mut self, at: usize, number: usize, order: Order) {
        let command = match order {
            Order::Apply => {
                self.tell(Some(at), format_args!("is asked to apply the runner"));
                Command::PutRunner { spec: Box::new(self.runner(0)) }
            }
            Order::Edit { edit, count } => {
                self.tell(Some(at), format_args!("is asked to change the runner: {edit:?}"));
                let desire = |desired| Command::Desire { runners: vec![runner_name()], nodes: None, desired };
                match edit {
                    Edit::Revise => Command::PutRunner { spec: Box::new(self.runner(count)) },
                    Edit::Stop => desire(Desired::Stopped),
                    Edit::Start => desire(Desired::Running),
                    Edit::Restart => Command::Restart { runners: vec![runner_name()], nodes: None },
                    Edit::Rewind(_) | Edit::RewindAll => {
                        let single = if let Edit::Rewind(source) = edit { Some(self.sources[source].plan.id.clone()) } else { None };
                        Command::Rewind { runners: vec![runner_name()], nodes: None, sources: single.into_iter().collect() }
                    }
                    Edit::Remove(source) => {
                        let id = self.sources[source].plan.id.clone();
                        Command::PatchSources { runner: runner_name(), put: Vec::new(), remove: vec![id] }
                    }
                }
            }
            Order::Drain { node, draining } => {
                let name = self.hosts[node].name.clone();
                self.tell(Some(at), format_args!("is asked to {} {name}", if draining { "drain" } else { "undrain" }));
                Command::Drain { node: self.hosts[node].id, draining }
            }
            Order::Tag { node, count } => {
                let name = self.hosts[node].name.clone();
                self.tell(Some(at), format_args!("is asked to tag {name} with {}", tag(count)));
                Command::SetTags { node: self.hosts[node].id, tags: BTreeSet::from([tag(count)]) }
            }
        };
        let id = CommandId(self.operator.commands);
        self.operator.commands += 1;
        let now = self.hosts[at].now(self.now);
        let found = self.found_at(at);
        let of_tags = if let Order::Tag { node, .. } = order { Some(self.hosts[node].id) } else { None };
        let Some(process) = &mut self.hosts[at].process else { return };
        process.commands.insert(id, number);
        if let Some(node) = of_tags {
            let known = known_tags(&process.node, &node);
            if let Some(said) = self.operator.tags.get_mut(&node) {
                said.left.iter_mut().filter(|(tag, _)| known.contains(*tag)).for_each(|(_, must)| *must = false);
            }
            self.operator.known.insert(id, known);
        }
        match process.node.handle_command(now, id, command) {
            Ok(()) => self.note_word(at, found),
            Err(error) => {
                self.tell(Some(at), format_args!("refuses: {error}"));
                if matches!(error, CommandError::NothingRuns | CommandError::NotFound { kind: "source", .. }) {
                    // It is stopped, or what was to be rewound was removed: that is an answer.
                    self.operator.pending.remove(&number);
                }
            }
        }
        self.carry_out(at);
    }

    /// A node answered. What is not accepted is said again, to another.
    pub(crate) fn answered(&mut self, at: usize, command: CommandId, answer: &Answer) {
        let number = self.hosts[at].process.as_mut().and_then(|process| process.commands.remove(&command));
        let known = self.operator.known.remove(&command).unwrap_or_default();
        if !answer.accepted {
            return;
        }
        if let Some((order, _)) = number.and_then(|number| self.operator.pending.remove(&number)) {
            if let Order::Edit { edit: Edit::Remove(source), .. } = order {
                self.removed(source);
            }
            if let Order::Tag { node, .. } = order
                && let Some(said) = self.operator.tags.get_mut(&self.hosts[node].id)
            {
                said.left.retain(|tag, _| !known.contains(tag));
            }
            self.tell(Some(at), format_args!("answers: written"));
        }
    }
}

/// The tags of a node as another has them, with those that it has proposed and nobody has taken yet.
fn known_tags(relay: &Node, node: &NodeId) -> BTreeSet<Name> {
    let prefix = format!("tag/{node}/");
    let proposed = relay.proposed().filter_map(|(key, _)| key.strip_prefix(&prefix)?.parse().ok());
    relay.catalog().tags(node, &BTreeSet::new()).into_iter().chain(proposed).collect()
}

/// The tag that a node gets by the n-th change. It comes round, so that what was cleared is set again.
fn tag(count: usize) -> Name {
    format!("t{}", count % 3).parse().expect("a letter and a digit are a name")
}

/// The same.
pub(crate) fn runner_name() -> Name {
    RUNNER.parse().expect("four letters are a name")
}

impl World {
    /// The one runner of a simulated world, after so many changes: all sources that were not removed, spread over all nodes.
    fn runner(&self, edits: u32) -> RunnerSpec {
        let there = self.scenario.sources.iter().enumerate().filter(|(place, _)| !self.operator.has_removed(*place));
        runner(&self.scenario, edits, there.map(|(_, plan)| plan))
    }
}

fn runner<'a>(scenario: &Scenario, edits: u32, plans: impl Iterator<Item = &'a SourcePlan>) -> RunnerSpec {
    let sources = plans.map(|plan| SourceSpec { id: plan.id.clone(), url: format!("http://{}.test/log", plan.id), rotated: vec![], selection: None });
    let senders = scenario.senders.iter().map(|name| {
        let name = name.parse().expect("scenarios give senders proper names");
        SenderSpec::Http(HttpSenderSpec {
            name,
            when: None,
            url: "http://sink.test/".into(),
            headers: BTreeMap::new(),
            compression: Compression::None,
            timeout_ms: 30_000,
        })
    });
    RunnerSpec {
        name: runner_name(),
        placement: Placement::Spread("all".into()),
        reader: ReaderSpec::Http(HttpReaderSpec {
            start_at: StartAt::Beginning,
            poll_ms: 500 + u64::from(edits),
            line_bytes_max: 1 << 20,
            headers: BTreeMap::new(),
            encoding: Encoding::Utf8,
            multiline: None,
        }),
        sources: sources.collect(),
        parse: ParseSpec::Raw,
        transform: TransformSpec::default(),
        enrich: EnrichSpec::default(),
        senders: senders.collect(),
        tests: vec![],
    }
}
