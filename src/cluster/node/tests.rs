//! A few nodes with a network, disks and data planes that do all at once, save where a test holds them back. What is random, slow or lossy is for
//! the simulations.

mod absence;
mod balance;
mod conditions;
mod contests;
mod counts;
mod days;
mod foresight;
mod forgetting;
mod images;
mod operations;
mod orphans;
mod phases;
mod plans;
mod queues;
mod renaming;
mod restarts;
mod revisions;
mod rewinds;
mod rollouts;
mod sources;
mod takeovers;
mod telling;
mod words;

use std::collections::BTreeMap;

use logvine_gossip::{GossipConfig, Stamp, Status, UnixMicros};

use super::*;
use crate::{
    checkpoint::{Checkpoint, FileKey, FileName, Position},
    command::{Answer, Command, CommandError, Said},
    instance::{Epoch, InstanceEvent, InstanceState, InstanceStatus},
    name::Name,
    spec::{RunnerSpec, SourceSpec},
};

/// A host of one node.
struct Host {
    node: Node,
    up: bool,
    /// What the disk holds, by table and key.
    disk: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    /// Transactions that are not on disk yet.
    unsynced: VecDeque<(Ticket, Vec<Write>)>,
    disk_stalls: bool,
    /// What the data plane reads: by runner and source, under which epoch.
    reading: BTreeMap<(Name, Name), (Epoch, Checkpoint)>,
    /// A data plane that answers nothing.
    plane_hangs: bool,
    /// Its data plane complains of this revision, and later ones.
    complains_from: Option<Stamp>,
    /// Its data plane can run nothing.
    fails: bool,
    commands: Vec<InstanceCommand>,
    answers: BTreeMap<CommandId, Answer>,
    told: Vec<Event>,
    stopped: bool,
    /// How far its wall clock is ahead.
    ahead: Duration,
}

/// A floor says that what is missing below it was deleted; with rows that cannot be read, more is missing (DESIGN §3.2).
#[test]
fn a_catalog_that_cannot_be_read_whole_has_no_floor() {
    let row = |table, key: &[u8], value: Vec<u8>| Write { table, key: key.to_vec(), value: Some(value) };
    let floor = row(Table::Meta, META_FLOOR, pack(&Stamp(7)).to_vec());
    let entry = logvine_gossip::Entry { stamp: Stamp(3), origin: id(1), value: None };
    let good = row(Table::Catalog, b"drain/x", pack(&entry).to_vec());
    let damaged = row(Table::Catalog, b"runner/web", vec![0xc1]);
    assert_eq!(Disk::read(vec![floor.clone(), good.clone()]).gossip.floor, Stamp(7));
    assert_eq!(Disk::read(vec![floor, good, damaged]).gossip.floor, Stamp::ZERO);
}

struct Cluster {
    now: Now,
    hosts: BTreeMap<NodeId, Host>,
    /// Who asked, by the number of the request.
    requests: BTreeMap<RequestId, (NodeId, CallId)>,
    requests_next: u64,
    /// Calls to this node are taken and never answered.
    swallows: BTreeSet<NodeId>,
    /// Calls from the one to the other find nobody.
    uncalled: Option<(NodeId, NodeId)>,
    /// How often a node was asked to pass an operation on.
    passed: usize,
    /// Who was told of orphans: when, by whom, and who.
    orphans: Vec<(Instant, NodeId, NodeId)>,
    /// Hosts say so where no process is; else they are silent.
    refuses: bool,
    /// Between these, in this direction, no datagram passes; calls do.
    deaf: BTreeSet<(NodeId, NodeId)>,
    /// By node, how often it asked for a vote on a further epoch.
    promises: BTreeMap<NodeId, usize>,
    /// Between these, in this direction, nothing passes.
    cut: BTreeSet<(NodeId, NodeId)>,
    commands_next: u64,
}

fn id(n: u8) -> NodeId {
    NodeId([n; 16])
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn gossip_address(id: NodeId) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, id.0[0]], 7946))
}

fn at(offset: u64) -> Checkpoint {
    let file = FileKey { lineage: 0, named: 0, name: FileName::of(b"head").unwrap() };
    let positions = BTreeMap::from([(name("out"), Position { offset, marker: offset })]);
    Checkpoint { files: BTreeMap::from([(file, positions)]), ..Checkpoint::default() }
}

fn spec(sources: &[&str]) -> RunnerSpec {
    let sources: Vec<_> = sources.iter().map(|id| serde_json::json!({ "id": id, "url": format!("http://{id}/") })).collect();
    let senders = serde_json::json!([{ "type": "stdout", "name": "out" }]);
    let spec =
        serde_json::json!({ "name": "logs", "placement": { "spread": "all" }, "reader": { "type": "http" }, "sources": sources, "senders": senders });
    serde_json::from_value(spec).unwrap()
}

fn source(id: &str) -> SourceSpec {
    SourceSpec { id: name(id), url: format!("http://{id}/"), rotated: vec![], selection: None }
}

impl Cluster {
    /// So many nodes, all of them active.
    fn of(nodes: u8) -> Self {
        let now = Now { at: Instant::ZERO, wall: UnixMicros(1_700_000_000_000_000) };
        let (hosts, requests) = (BTreeMap::new(), BTreeMap::new());
        let mut cluster = Self {
            now,
            hosts,
            requests,
            requests_next: 0,
            swallows: BTreeSet::new(),
            refuses: false,
            cut: BTreeSet::new(),
            deaf: BTreeSet::new(),
            promises: BTreeMap::new(),
            uncalled: None,
            passed: 0,
            orphans: Vec::new(),
            commands_next: 0,
        };
        for n in 1..=nodes {
            cluster.start(id(n), Vec::new());
        }
        cluster.run(40);
        for host in cluster.hosts.values() {
            assert_eq!((host.node.phase(), host.node.view().len()), (Phase::Active, usize::from(nodes)));
        }
        cluster
    }

    fn start(&mut self, id: NodeId, restored: Vec<Write>) {
        let gossip = gossip_address(id);
        let seeds = vec![gossip_address(self::id(1)), gossip_address(self::id(2))];
        let config = NodeConfig {
            name: name(&format!("n{}", id.0[0])),
            tags: BTreeSet::new(),
            version: "0".to_owned(),
            http: None,
            gossip: GossipConfig { seeds, ..GossipConfig::default() },
            capacity: 16,
            restart_grace: Duration::from_secs(60),
            join_patience: Duration::from_secs(30),
        };
        let disk = restored.iter().filter_map(|write| Some(((write.table, write.key.clone()), write.value.clone()?))).collect();
        let me = Me { id, generation: Generation(0), gossip, quic: gossip };
        let host = Host {
            node: Node::new(self.now, config, me, restored, u64::from(id.0[0])),
            up: true,
            disk,
            unsynced: VecDeque::new(),
            disk_stalls: false,
            reading: BTreeMap::new(),
            plane_hangs: false,
            complains_from: None,
            fails: false,
            commands: Vec::new(),
            answers: BTreeMap::new(),
            told: Vec::new(),
            stopped: false,
            ahead: Duration::ZERO,
        };
        self.hosts.insert(id, host);
        self.carry_out();
    }

    /// Kills it, and starts it again with what was on its disk.
    fn restart(&mut self, id: NodeId) {
        let disk = std::mem::take(&mut self.hosts.get_mut(&id).unwrap().disk);
        self.start(id, disk.into_iter().map(|((table, key), value)| Write { table, key, value: Some(value) }).collect());
    }

    fn run(&mut self, seconds: u64) {
        self.run_for(Duration::from_secs(seconds));
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now.at + time;
        self.carry_out();
        loop {
            let due = self.hosts.values().filter(|host| host.up).filter_map(|host| host.node.poll_timeout()).map(|(at, _)| at).min();
            let Some(due) = due.filter(|due| *due <= end) else { break };
            let due = due.max(self.now.at);
            self.advance(due);
            let now = self.now;
            for host in self.hosts.values_mut().filter(|host| host.up && host.node.poll_timeout().is_some_and(|(at, _)| at <= now.at)) {
                host.node.handle_timeout(host.now(now));
            }
            self.carry_out();
        }
        self.advance(end);
    }

    fn advance(&mut self, to: Instant) {
        let passed = to.since(self.now.at);
        self.now = Now { at: to, wall: UnixMicros(self.now.wall.0 + u64::try_from(passed.as_micros()).unwrap()) };
    }

    /// Does what the nodes want, until they want nothing.
    fn carry_out(&mut self) {
        loop {
            let next = self.hosts.iter_mut().filter(|(_, host)| host.up).find_map(|(id, host)| Some((*id, host.node.poll_output()?)));
            let Some((id, output)) = next else { break };
            self.output(id, output);
        }
    }

    fn output(&mut self, id: NodeId, output: Output) {
        let host = self.hosts.get_mut(&id).unwrap();
        let now = host.now(self.now);
        match output {
            Output::Datagram { to, payload } => {
                let from = gossip_address(id);
                let (cut, deaf) = (&self.cut, &self.deaf);
                let hears = |to: NodeId, host: &Host| host.up && !cut.contains(&(id, to)) && !deaf.contains(&(id, to));
                if let Some((_, host)) = self.hosts.iter_mut().find(|(id, host)| gossip_address(**id) == to && hears(**id, host)) {
                    host.node.handle_datagram(host.now(self.now), from, &payload).unwrap();
                }
            }
            Output::Knock { node, .. } => {
                let refused = self.refuses && self.hosts.get(&node).is_some_and(|host| !host.up);
                self.node(id).handle_knock(now, node, refused);
            }
            Output::Call { call, to, request, .. } => self.call(id, call, to.id, request),
            Output::Reply { request, reply } => {
                let (caller, call) = self.requests.remove(&request).unwrap();
                let host = self.hosts.get_mut(&caller).unwrap();
                host.node.handle_reply(host.now(self.now), call, Ok(reply));
            }
            Output::Persist { ticket, writes } => {
                host.unsynced.push_back((ticket, writes));
                if !host.disk_stalls {
                    host.sync(now);
                }
            }
            Output::Instance(command) => host.instance(now, command),
            Output::Answer { command, answer } => drop(host.answers.insert(command, answer)),
            Output::Tell(event) => host.told.push(event),
            Output::Superseded { .. } => host.up = false,
            Output::Stopped => (host.stopped, host.up) = (true, false),
        }
    }

    fn call(&mut self, from: NodeId, call: CallId, to: NodeId, request: Request) {
        let now = self.now;
        *self.promises.entry(from).or_default() += usize::from(matches!(request, Request::Promise { .. }));
        if self.swallows.contains(&to) {
            return;
        }
        if matches!(request, Request::Orphans(_)) {
            self.orphans.push((now.at, from, to));
        }
        self.passed += usize::from(matches!(request, Request::HoldFor { .. }));
        let reached = [(from, to), (to, from)].iter().all(|way| !self.cut.contains(way));
        let called = self.uncalled != Some((from, to));
        match self.hosts.get_mut(&to).filter(|host| host.up && reached && called) {
            Some(host) => {
                let number = RequestId(self.requests_next);
                self.requests_next += 1;
                self.requests.insert(number, (from, call));
                host.node.handle_request(host.now(now), number, from, request);
            }
            None => {
                let failed = Err(CallFailed { reason: "nobody there".to_owned() });
                let host = self.hosts.get_mut(&from).unwrap();
                host.node.handle_reply(host.now(now), call, failed);
            }
        }
    }

    fn command(&mut self, id: NodeId, command: Command) -> CommandId {
        self.order(id, command, Said::default())
    }

    fn order(&mut self, id: NodeId, command: Command, said: Said) -> CommandId {
        self.commands_next += 1;
        let number = CommandId(self.commands_next);
        let now = self.hosts[&id].now(self.now);
        self.node(id).handle_order(now, number, command, said).unwrap();
        self.carry_out();
        number
    }

    fn apply(&mut self, sources: &[&str]) {
        self.command(id(1), Command::PutRunner { spec: Box::new(spec(sources)) });
    }

    fn patch(&mut self, put: &[&str], remove: &[&str]) {
        let put = put.iter().map(|id| source(id)).collect();
        let remove = remove.iter().map(|id| name(id)).collect();
        self.command(id(1), Command::PatchSources { runner: name("logs"), put, remove });
    }

    fn drain(&mut self, node: NodeId, draining: bool) {
        self.command(id(1), Command::Drain { node, draining });
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        &mut self.hosts.get_mut(&id).unwrap().node
    }

    fn host(&mut self, id: NodeId) -> &mut Host {
        self.hosts.get_mut(&id).unwrap()
    }

    /// The one node that reads a source, and under which epoch.
    fn reader(&self, source: &str) -> Option<(NodeId, Epoch)> {
        let key = (name("logs"), name(source));
        let mut readers = self.hosts.iter().filter(|(_, host)| host.up).filter_map(|(id, host)| Some((*id, host.reading.get(&key)?.0)));
        let reader = readers.next();
        assert_eq!(readers.next(), None, "two nodes read {source}");
        reader
    }

    /// The key of a source as the catalog has it now.
    fn key(&self, source: &str) -> SourceKey {
        self.hosts[&id(1)].node.catalog().source(&name("logs"), &name(source)).unwrap().key.clone()
    }

    /// The senders of whoever reads a source have acknowledged it up to here.
    fn acknowledge(&mut self, source: &str, offset: u64) {
        let (reader, _) = self.reader(source).expect("somebody reads it");
        self.acknowledge_at(reader, source, offset);
    }

    /// The same where two read it.
    fn acknowledge_at(&mut self, reader: NodeId, source: &str, offset: u64) {
        let (now, key) = (self.now, (name("logs"), name(source)));
        let host = self.host(reader);
        let epoch = host.reading[&key].0;
        host.reading.insert(key, (epoch, at(offset)));
        let event = InstanceEvent::Checkpoint { runner: name("logs"), source: name(source), epoch: Some(epoch), checkpoint: at(offset), place: None };
        host.node.handle_instance(now, event);
        self.carry_out();
    }

    /// How far a majority holds a source, for whoever reads it.
    fn held(&mut self, source: &str) -> Checkpoint {
        let (key, (reader, _)) = (self.key(source), self.reader(source).expect("somebody reads it"));
        self.node(reader).owned_sources().find(|(other, _)| **other == key).unwrap().1.held().clone()
    }
}

impl Host {
    /// What its clocks show.
    fn now(&self, now: Now) -> Now {
        let ahead = u64::try_from(self.ahead.as_micros()).unwrap();
        Now { wall: UnixMicros(now.wall.0 + ahead), ..now }
    }

    /// All that was to be written is on disk now.
    fn sync(&mut self, now: Now) {
        for (ticket, writes) in std::mem::take(&mut self.unsynced) {
            for Write { table, key, value } in writes {
                match value {
                    Some(value) => self.disk.insert((table, key), value),
                    None => self.disk.remove(&(table, key)),
                };
            }
            self.node.handle_persisted(now, ticket);
        }
    }

    fn instance(&mut self, now: Now, command: InstanceCommand) {
        self.commands.push(command.clone());
        if self.plane_hangs {
            return;
        }
        match command {
            // As the real one has it: an epoch that is open already stays as it is.
            InstanceCommand::Open { runner, source, epoch, resume } => {
                let reading = self.reading.entry((runner, source.id.clone())).or_insert_with(|| (epoch, resume.clone()));
                if reading.0 != epoch {
                    *reading = (epoch, resume);
                }
            }
            InstanceCommand::Close { runner, source, epoch, .. } => {
                let checkpoint = self.reading.remove(&(runner.clone(), source.clone())).map(|(_, checkpoint)| checkpoint).unwrap_or_default();
                self.node.handle_instance(now, InstanceEvent::Closed { runner, source, epoch, checkpoint, flushed: true });
            }
            InstanceCommand::Restart { runner, operation } => {
                let status = InstanceStatus { restarted: operation, ..self.node.instances().find(|(name, _)| **name == runner).unwrap().1.clone() };
                self.node.handle_instance(now, InstanceEvent::Status { runner, status });
            }
            InstanceCommand::Stop { runner, .. } => self.node.handle_instance(now, InstanceEvent::Stopped { runner }),
            InstanceCommand::Start { runner, revision, .. } => {
                let error = self.complains_from.filter(|from| revision >= *from).map(|_| "no such field".to_owned());
                let status = match self.fails {
                    true => {
                        InstanceStatus { state: InstanceState::Failed, revision, error: Some("cannot run".to_owned()), ..InstanceStatus::default() }
                    }
                    false => InstanceStatus { state: InstanceState::Running, revision, error, ..InstanceStatus::default() },
                };
                self.node.handle_instance(now, InstanceEvent::Status { runner, status });
            }
            InstanceCommand::DropQueue { runner, operation, .. } => {
                self.node.handle_instance(now, InstanceEvent::QueueDropped { runner, operation, result: Ok(1_000) });
            }
            InstanceCommand::RemoveQueue { runner, uid } => {
                self.node.handle_instance(now, InstanceEvent::QueueRemoved { runner, uid, result: Ok(1_000) });
            }
            InstanceCommand::Rewind { .. } | InstanceCommand::ClearCounters { .. } | InstanceCommand::Held { .. } | InstanceCommand::Cap { .. } => {}
        }
    }
}
