//! One simulated machine: its disk and clocks, and the process on it while there is one.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use logvine_cluster::{
    member::Phase,
    name::Name,
    node::{CallId, CommandId, Node, NodeConfig, RequestId},
    record::DiskId,
};
use logvine_gossip::{Generation, GossipConfig, Instant, Me, NodeId, Now, UnixMicros, marks};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use crate::{
    chance::{Concern, stream},
    disk::{Disk, DiskPlan, Image},
    faults::Standstill,
    machine::Machine,
    plane::{Plane, PlanePlan},
    scenario::NodePlan,
};

/// The true wall time when a run begins: 1 January 2026.
const EPOCH: UnixMicros = UnixMicros(1_767_225_600_000_000);
/// How long a node that stops in order is waited for.
pub const RESTART_GRACE: Duration = Duration::from_secs(60);
/// How long a node that starts waits for others to answer.
pub const JOIN_PATIENCE: Duration = Duration::from_secs(30);
/// What a machine bears that is never busy, in quarter octaves: a gigabyte a second.
const CAPACITY: u8 = 40;
const GOSSIP_PORT: u16 = 7946;
const QUIC_PORT: u16 = 7947;

/// Counts the processes of a host; what was meant for an earlier one does not reach a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life(pub u32);

/// Who waits for a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    pub host: usize,
    pub life: Life,
    pub call: CallId,
    pub gives_up: Instant,
}

/// A running node.
#[derive(Debug)]
pub struct Process {
    pub node: Node,
    pub plane: Plane,
    /// When the world will wake it.
    pub wake: Option<Instant>,
    /// Calls without an outcome.
    pub calls: BTreeSet<CallId>,
    /// Knocks without an outcome.
    pub knocks: BTreeSet<u64>,
    /// Peers' calls without a reply.
    pub requests: BTreeMap<RequestId, Caller>,
    /// Operators' words without an answer.
    pub commands: BTreeMap<CommandId, usize>,
    pub stopping: bool,
    /// Bytes that it has sent since its machine was last looked at.
    pub sent: u64,
    started: Instant,
    zero: Instant,
}

impl Process {
    /// When it was started, in true time.
    pub fn started(&self) -> Instant {
        self.started
    }
}

/// A machine.
#[derive(Debug)]
pub struct Host {
    pub name: String,
    pub id: NodeId,
    pub disk: Disk,
    /// A copy of the disk that was kept.
    pub image: Option<Image>,
    /// By what its node calls its disk while that is an old copy, of which it has not found that out yet.
    pub(crate) old_disk: Option<DiskId>,
    pub life: Life,
    pub process: Option<Process>,
    /// The machine itself is off: it does not even refuse.
    pub dark: bool,
    /// Kill it a moment after it next begins to flush.
    pub dies_flushing: bool,
    /// When it stopped in order, saying that it would be back, by who it was then; none of who it is while it runs.
    pub away_since: BTreeMap<NodeId, Instant>,
    /// Whether its process runs, or stands still now and then.
    pub(crate) standstill: Standstill,
    /// Its process ended by itself: whoever watches over it starts it again.
    pub restarts: bool,
    /// Since when nothing has befallen this machine or its process.
    pub healthy_since: Instant,
    /// Of the program that it starts.
    pub version: u32,
    /// The catalog's keys that were ever on this disk.
    pub(crate) knew: BTreeSet<Vec<u8>>,
    /// What a process said of itself when it was last looked at.
    pub(crate) phase: Option<(Life, Phase)>,
    /// Which process renewed itself last, and when.
    pub(crate) renewed: Option<(Life, Instant)>,
    /// The latest wall time that a process here has seen.
    pub(crate) wall_seen: UnixMicros,
    /// How far its wall clock is ahead of the true time.
    pub skew_ms: i64,
    drift_ppm: i64,
    /// None: it is never busy.
    pub(crate) machine: Option<Machine>,
    /// What its node says that it can bear, in quarter octaves.
    capacity: u8,
    rng: ChaCha8Rng,
}

impl Host {
    pub fn new(seed: u64, at: usize, plan: &NodePlan, disk: DiskPlan) -> Self {
        let id = node_id(&format!("{seed} {}", plan.name));
        Self {
            name: plan.name.clone(),
            id,
            disk: Disk::new(disk),
            image: None,
            old_disk: None,
            life: Life(0),
            process: None,
            dark: false,
            dies_flushing: false,
            away_since: BTreeMap::new(),
            standstill: Standstill::default(),
            restarts: false,
            healthy_since: Instant::ZERO,
            version: 1,
            knew: BTreeSet::new(),
            phase: None,
            renewed: None,
            wall_seen: UnixMicros(0),
            skew_ms: plan.skew_ms,
            drift_ppm: plan.drift_ppm,
            machine: plan.machine.map(Machine::new),
            capacity: plan.machine.map_or(CAPACITY, |machine| machine.capacity),
            rng: stream(seed, Concern::Node(at)),
        }
    }

    /// The true time as this host's clocks show it: the monotonic one counts from the process's own zero at its own pace, the wall's is askew.
    pub fn now(&self, at: Instant) -> Now {
        let wall = EPOCH.0 + at.as_micros();
        let at = self.process.as_ref().map_or(at, |process| process.zero + self.local(at.since(process.started)));
        Now { at, wall: UnixMicros(wall.saturating_add_signed(self.skew_ms * 1_000)) }
    }

    /// When it truly is what the process's monotonic clock calls `local`; never before it shows that.
    pub fn true_time(&self, local: Instant) -> Instant {
        let Some(process) = &self.process else { return local };
        let micros = micros(local.since(process.zero));
        let true_micros = if self.drift_ppm == 0 { micros } else { (micros * MILLION).div_ceil(self.pace()) };
        process.started + Duration::from_micros(u64::try_from(true_micros).unwrap_or(u64::MAX))
    }

    fn local(&self, true_time: Duration) -> Duration {
        let micros = if self.drift_ppm == 0 { micros(true_time) } else { micros(true_time) * self.pace() / MILLION };
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// Microseconds that its monotonic clock counts in a million.
    fn pace(&self) -> u128 {
        MILLION.saturating_add_signed(self.drift_ppm.into())
    }

    /// Starts a process on what the disk has.
    pub fn start(&mut self, at: Instant, own: usize, gossip: GossipConfig, plane: PlanePlan) {
        self.life = Life(self.life.0 + 1);
        self.dark = false;
        self.dies_flushing = false;
        self.restarts = false;
        self.away_since.remove(&self.id);
        self.standstill = Standstill::default();
        self.healthy_since = at;
        let wall = self.now(at).wall;
        if wall < self.wall_seen {
            marks::reached("a process started at an earlier wall time than the one before it had seen");
        }
        let zero = Instant::from_micros(self.rng.next_u64() % 3_600_000_000);
        let now = Now { at: zero, wall };
        let restored = self.disk.content();
        let me = Me { id: self.id, generation: Generation(0), gossip: gossip_address(own), quic: quic_address(own) };
        let config = NodeConfig {
            name: self.name.parse::<Name>().expect("scenarios name nodes by letters and digits"),
            tags: BTreeSet::new(),
            version: format!("simulated-{}", self.version),
            http: None,
            gossip,
            capacity: self.capacity,
            restart_grace: RESTART_GRACE,
            join_patience: JOIN_PATIENCE,
        };
        let node = Node::new(now, config, me, restored, self.rng.next_u64());
        self.process = Some(Process {
            node,
            plane: Plane::new(plane, self.rng.next_u64()),
            wake: None,
            calls: BTreeSet::new(),
            knocks: BTreeSet::new(),
            requests: BTreeMap::new(),
            commands: BTreeMap::new(),
            stopping: false,
            sent: 0,
            started: at,
            zero,
        });
    }

    /// Whether the process of `life` is to be woken now: what was put off to another time is not.
    pub(crate) fn is_woken(&self, life: Life, now: Instant) -> bool {
        self.life == life && self.process.as_ref().is_some_and(|process| process.wake == Some(now))
    }

    /// Whether what its node goes by is an old copy of its disk, and nobody is there who could tell it (DESIGN §5.3, "Restart").
    pub(crate) fn is_alone_with_an_old_disk(&self) -> bool {
        self.process.as_ref().is_some_and(|Process { node, .. }| {
            let sees_others = node.gossip().members().any(|member| member.id != self.id && member.status.is_live());
            !sees_others && self.old_disk == Some(node.witnesses().me().disk)
        })
    }

    /// The process, if it is still the one of `life`.
    pub fn process(&mut self, life: Life) -> Option<&mut Process> {
        if self.life == life { self.process.as_mut() } else { None }
    }
}

/// The id that a key makes.
pub fn node_id(key: &str) -> NodeId {
    let hash = Sha256::digest(key);
    NodeId(hash[..16].try_into().expect("SHA-256 has 32 bytes"))
}

const MILLION: u128 = 1_000_000;

fn micros(duration: Duration) -> u128 {
    duration.as_micros()
}

/// Where the host at a place listens for datagrams.
pub fn gossip_address(at: usize) -> SocketAddr {
    SocketAddr::from((ip(at), GOSSIP_PORT))
}

fn quic_address(at: usize) -> SocketAddr {
    SocketAddr::from((ip(at), QUIC_PORT))
}

fn ip(at: usize) -> Ipv4Addr {
    let number = u32::try_from(at + 1).expect("there are fewer hosts than addresses");
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + number)
}

/// Which place an address belongs to.
pub fn place(address: SocketAddr) -> Option<usize> {
    let SocketAddr::V4(address) = address else { return None };
    let number = u32::from(*address.ip()).checked_sub(u32::from(Ipv4Addr::new(10, 0, 0, 0)))?;
    usize::try_from(number).ok()?.checked_sub(1)
}
