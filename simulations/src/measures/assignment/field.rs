//! Many nodes that balance many sources: the real ranking, rates, balance and admission in a world of a second's grain, without gossip and epochs.
//!
//! Views are late by one to three seconds for each pair, one node in fifty sees everything ten seconds late, and a load is said when it is off by a
//! fiftieth: what gossip does to it. An offer is answered within the second, a handover takes two.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use logvine_cluster::{
    balance::{
        Arrival, Balance, Held, Kind, Move, Peer, Pool,
        load::{ByteCost, bearable},
        rate::Rate,
    },
    quantise,
    ranking::{Capacity, RankingKey, Rankings},
};
use logvine_gossip::{Instant, NodeId};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// From one tick of a node's balance to the next, in seconds.
const TICK: u64 = 5;
/// From the ADMIT until the new owner reads.
const HANDOVER: u64 = 2;
/// From a crash until its sources are decided on.
const TAKEOVER: u64 = 8;
/// What all nodes have of what they bear, in thousandths.
const UTILISATION: f64 = 0.6;
/// How far back a view looks at the most.
const LATEST: u64 = 10;

/// What is drawn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) nodes: usize,
    pub(crate) sources: usize,
    /// Of the rates' logarithm.
    pub(crate) sigma: f64,
    /// The largest source, in fair shares of the smallest node.
    pub(crate) largest: f64,
    /// Whether rates change: each by an Ornstein–Uhlenbeck process (0.4, 300 s), bursts of 6× for 60 s (0.2 an hour), 5 % drawn anew in an hour.
    pub(crate) noise: bool,
}

#[derive(Debug)]
struct Machine {
    id: NodeId,
    capacity: Capacity,
    live: bool,
    since: Instant,
    balance: Balance<u32>,
    owned: BTreeSet<u32>,
    /// What it said, and when: the newest last.
    said: VecDeque<(u64, u64)>,
    /// Views are so much later.
    late: u64,
}

#[derive(Debug)]
struct Flow {
    key: RankingKey,
    base: f64,
    drift: f64,
    burst_until: u64,
    bytes: f64,
    rate: Rate,
    owner: Option<usize>,
    since: Instant,
    moved: Option<Arrival>,
    leaving: bool,
}

/// A source that changed hands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moved {
    pub(crate) at: u64,
    pub(crate) source: u32,
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    /// None: its owner was dead.
    pub(crate) kind: Option<Kind>,
}

/// See the module's text. Time is in seconds.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) now: u64,
    plan: Plan,
    rng: ChaCha8Rng,
    machines: Vec<Machine>,
    flows: Vec<Flow>,
    rankings: Rankings<u32>,
    under_way: Vec<(u64, u32, usize, Kind)>,
    orphans: Vec<(u64, u32, NodeId)>,
    cap: f64,
    pub(crate) moves: Vec<Moved>,
    /// The greatest share that an admission left its receiver at, other than a giant's, in 1/65,536.
    pub(crate) admitted_most: u64,
}

fn at(second: u64) -> Instant {
    Instant::from_micros(second * 1_000_000)
}

fn bytes(of: f64) -> u64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // rates and their sums, far below 2^53
    let bytes = of as u64;
    bytes
}

/// A draw from the normal distribution (Box & Muller 1958).
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (u, v): (f64, f64) = (rng.random_range(f64::MIN_POSITIVE..1.0), rng.random());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

impl Field {
    /// A cold start: every source is new, and where its ranking says.
    pub(crate) fn new(seed: u64, plan: Plan) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut field = Self {
            now: 0,
            plan,
            machines: Vec::new(),
            flows: Vec::new(),
            rankings: Rankings::default(),
            under_way: Vec::new(),
            orphans: Vec::new(),
            cap: f64::INFINITY,
            moves: Vec::new(),
            admitted_most: 0,
            rng: ChaCha8Rng::seed_from_u64(rng.random()),
        };
        // 1, 1.5, 2, 3 and 4 times as much.
        (0..plan.nodes).for_each(|n| field.add(Capacity([16, 18, 20, 22, 24][n % 5])));
        let rates: Vec<f64> = (0..plan.sources).map(|_| (plan.sigma * normal(&mut rng)).exp()).collect();
        let bears: f64 = field.machines.iter().map(|machine| bearable(machine.capacity) as f64).sum();
        let scale = UTILISATION * bears / rates.iter().sum::<f64>();
        field.cap = plan.largest * UTILISATION * bearable(Capacity(16)) as f64;
        for (n, rate) in (0..).zip(rates) {
            let key = RankingKey::from_bits(rng.random());
            field.rankings.insert(n, key);
            let owner = field.home(n);
            field.machines[owner].owned.insert(n);
            let base = (rate * scale).min(field.cap);
            let rate = Rate::new(at(0), 0);
            let (drift, since) = (if plan.noise { 0.4 * normal(&mut rng) } else { 0.0 }, at(0));
            let flow = Flow { key, base, drift, burst_until: 0, bytes: 0.0, rate, owner: Some(owner), since, moved: None, leaving: false };
            field.flows.push(flow);
        }
        field
    }

    /// A node comes.
    pub(crate) fn add(&mut self, capacity: Capacity) {
        let id = NodeId(self.rng.random());
        self.rankings.set_node(id, capacity);
        let (late, since) = (if self.machines.len().is_multiple_of(50) { LATEST } else { 0 }, at(self.now));
        let (balance, owned, said) = (Balance::new(id), BTreeSet::new(), VecDeque::from([(self.now, 0)]));
        self.machines.push(Machine { id, capacity, live: true, since, balance, owned, said, late });
    }

    /// A node dies. Returns how many sources it had.
    pub(crate) fn crash(&mut self, machine: usize) -> usize {
        self.machines[machine].live = false;
        self.rankings.remove_node(&self.machines[machine].id);
        self.under_way.retain(|(_, source, to, _)| {
            let is_off = *to == machine || self.machines[machine].owned.contains(source);
            if is_off {
                self.flows[*source as usize].leaving = false;
            }
            !is_off
        });
        let owned = std::mem::take(&mut self.machines[machine].owned);
        for source in &owned {
            self.flows[*source as usize].owner = None;
            self.orphans.push((self.now + TAKEOVER, *source, self.machines[machine].id));
        }
        owned.len()
    }

    /// A node's capacity is another.
    pub(crate) fn set_capacity(&mut self, machine: usize, capacity: Capacity) {
        self.machines[machine].capacity = capacity;
        self.rankings.set_node(self.machines[machine].id, capacity);
    }

    pub(crate) fn run(&mut self, seconds: u64) {
        (0..seconds).for_each(|_| self.step());
    }

    fn step(&mut self) {
        self.now += 1;
        if self.plan.noise && self.now.is_multiple_of(TICK) {
            self.drift();
        }
        for flow in &mut self.flows {
            let burst = if self.now < flow.burst_until { 6.0 } else { 1.0 };
            flow.bytes += (flow.base * flow.drift.exp() * burst).min(self.cap);
        }
        self.arrive();
        self.take_over();
        for machine in 0..self.machines.len() {
            // Ticks are spread over the five seconds.
            if self.machines[machine].live && (self.now + machine as u64).is_multiple_of(TICK) {
                self.tick(machine);
            }
        }
        self.say();
    }

    fn drift(&mut self) {
        let (keep, stir) = ((-(TICK as f64) / 300.0).exp(), 0.4 * (1.0 - (-2.0 * TICK as f64 / 300.0).exp()).sqrt());
        let each = |per_hour: f64| per_hour * TICK as f64 / 3_600.0;
        let mean = self.flows.iter().map(|flow| flow.base).sum::<f64>() / self.flows.len() as f64;
        for flow in &mut self.flows {
            flow.drift = flow.drift * keep + stir * normal(&mut self.rng);
            if self.rng.random_bool(each(0.2)) {
                flow.burst_until = self.now + 60;
            }
            if self.rng.random_bool(each(0.05)) {
                let scale = mean / (self.plan.sigma * self.plan.sigma / 2.0).exp();
                flow.base = ((self.plan.sigma * normal(&mut self.rng)).exp() * scale).min(self.cap);
            }
        }
    }

    fn arrive(&mut self) {
        let (due, later) = std::mem::take(&mut self.under_way).into_iter().partition(|(due, ..)| *due <= self.now);
        self.under_way = later;
        for (_, source, to, kind) in due {
            let owner = self.flows[source as usize].owner.expect("a crash takes its handovers with it");
            let from = self.machines[owner].id;
            self.machines[owner].owned.remove(&source);
            self.give(source, to, from, Some(kind));
        }
    }

    fn give(&mut self, source: u32, to: usize, from: NodeId, kind: Option<Kind>) {
        let flow = &mut self.flows[source as usize];
        let now = at(self.now);
        flow.rate = Rate::known(now, bytes(flow.bytes), flow.rate.bytes_per_s());
        (flow.owner, flow.since, flow.leaving) = (Some(to), now, false);
        flow.moved = kind.map(|_| Arrival { from, at: now, rate: flow.rate.bytes_per_s() });
        self.machines[to].owned.insert(source);
        self.machines[to].balance.settle(&source);
        self.moves.push(Moved { at: self.now, source, from, to: self.machines[to].id, kind });
    }

    /// The first of the ranking decides on an orphan, by what it as a witness knows of its rate.
    fn take_over(&mut self) {
        let (due, later) = std::mem::take(&mut self.orphans).into_iter().partition(|(due, ..)| *due <= self.now);
        self.orphans = later;
        for (_, source, from) in due {
            let first = self.home(source);
            let (pool, held) = (self.pool(first), self.held(source));
            let targets = self.machines[first].balance.place(at(self.now), &pool, &held);
            let admits = targets.iter().find_map(|target| self.offer(source, *target, held.rate, Kind::Placed, self.machines[first].id));
            self.give(source, admits.unwrap_or(first), from, None);
        }
    }

    fn home(&mut self, source: u32) -> usize {
        let home = self.rankings.best(&source, |_| unreachable!("every source has its row")).next().expect("somebody lives");
        self.find(home)
    }

    fn find(&self, id: NodeId) -> usize {
        self.machines.iter().position(|machine| machine.id == id).expect("nobody is forgotten")
    }

    /// What a node has: what it owns, at what it knows of the rates, and what it has reserved.
    fn load(&self, machine: usize) -> u64 {
        let machine = &self.machines[machine];
        let owned: u64 = machine.owned.iter().map(|source| self.flows[*source as usize].rate.bytes_per_s()).sum();
        owned + machine.balance.reserved(at(self.now))
    }

    /// All live nodes as one of them sees them.
    fn pool(&self, by: usize) -> Pool {
        let own = self.load(by);
        let live = self.machines.iter().enumerate().filter(|(_, machine)| machine.live);
        let peer = |(n, machine): (usize, &Machine)| {
            // The same delay for a pair at all times.
            let delay = self.machines[by].late.max(1 + (by * 31 + n * 17) as u64 % 3);
            let heard = machine.said.iter().rev().find(|(said, _)| said + delay <= self.now).or(machine.said.front());
            let load = if n == by { own } else { heard.map_or(0, |(_, load)| *load) };
            (machine.id, Peer { capacity: machine.capacity, load, cost: ByteCost::default(), since: machine.since })
        };
        Pool::new(live.map(peer).collect::<BTreeMap<_, _>>())
    }

    fn held(&mut self, source: u32) -> Held<u32> {
        let best = self.rankings.best(&source, |_| unreachable!("every source has its row")).collect();
        let flow = &self.flows[source as usize];
        let (rate, known) = (flow.rate.bytes_per_s(), flow.rate.is_known());
        Held { key: source, ranking: flow.key, best, rate, known, since: flow.since, moved: flow.moved, leaving: flow.leaving }
    }

    fn tick(&mut self, machine: usize) {
        let owned: Vec<u32> = self.machines[machine].owned.iter().copied().collect();
        for source in &owned {
            let flow = &mut self.flows[*source as usize];
            flow.rate.observe(at(self.now), bytes(flow.bytes));
        }
        let pool = self.pool(machine);
        let held = owned.iter().map(|source| self.held(*source)).collect();
        let moves = self.machines[machine].balance.tick(at(self.now), vec![(pool, held)]);
        let from = self.machines[machine].id;
        for Move { key, rate, kind, targets } in moves {
            if let Some(to) = targets.iter().find_map(|target| self.offer(key, *target, rate, kind, from)) {
                self.flows[key as usize].leaving = true;
                self.under_way.push((self.now + HANDOVER, key, to, kind));
            }
        }
    }

    /// Asks a node whether it takes a source. A dead one says nothing.
    fn offer(&mut self, source: u32, target: NodeId, rate: u64, kind: Kind, from: NodeId) -> Option<usize> {
        let to = self.find(target);
        if !self.machines[to].live {
            return None;
        }
        let pool = self.pool(to);
        self.machines[to].balance.admit(at(self.now), &pool, &source, rate, kind, from).ok()?;
        if kind != Kind::Giant {
            self.admitted_most = self.admitted_most.max(pool.share(target, rate));
        }
        Some(to)
    }

    fn say(&mut self) {
        for n in 0..self.machines.len() {
            let load = self.load(n);
            let machine = &mut self.machines[n];
            let said = machine.said.back().map_or(0, |(_, load)| *load);
            let told = quantise::load(load, said, bearable(machine.capacity));
            if told != said {
                machine.said.push_back((self.now, told));
            }
            while machine.said.get(1).is_some_and(|(said, _)| said + LATEST < self.now) {
                machine.said.pop_front();
            }
        }
    }

    /// The greatest utilisation beside the mean one, by what the owners know of the rates.
    pub(crate) fn ratio(&self) -> f64 {
        let live: Vec<_> = (0..self.machines.len()).filter(|n| self.machines[*n].live).collect();
        let owned = |n: usize| self.machines[n].owned.iter().map(|source| self.flows[*source as usize].rate.bytes_per_s()).sum::<u64>() as f64;
        let bears = |n: usize| bearable(self.machines[n].capacity) as f64;
        let mean = live.iter().map(|n| owned(*n)).sum::<f64>() / live.iter().map(|n| bears(*n)).sum::<f64>();
        live.iter().map(|n| owned(*n) / bears(*n) / mean).fold(0.0, f64::max)
    }

    /// The same, if the sources could be placed at will, the largest first to whom it fills least (Graham's LPT): next to nothing does better.
    pub(crate) fn ratio_at_best(&self) -> f64 {
        let mut rates: Vec<f64> = self.flows.iter().map(|flow| flow.base).collect();
        rates.sort_by(|one, other| other.total_cmp(one));
        let mut loads: Vec<(f64, f64)> =
            self.machines.iter().filter(|machine| machine.live).map(|machine| (0.0, bearable(machine.capacity) as f64)).collect();
        for rate in &rates {
            let least = loads.iter_mut().min_by(|(a, c), (b, d)| ((a + rate) / c).total_cmp(&((b + rate) / d))).expect("somebody lives");
            least.0 += rate;
        }
        let mean = rates.iter().sum::<f64>() / loads.iter().map(|(_, bears)| bears).sum::<f64>();
        loads.iter().map(|(load, bears)| load / bears / mean).fold(0.0, f64::max)
    }

    /// The part of the sources that a node should have by its capacity.
    pub(crate) fn fair_count(&self, machine: usize) -> f64 {
        let bears: f64 = self.machines.iter().filter(|machine| machine.live).map(|machine| bearable(machine.capacity) as f64).sum();
        self.flows.len() as f64 * bearable(self.machines[machine].capacity) as f64 / bears
    }

    /// Sources that went back to where they came from within ten minutes, since `from`.
    pub(crate) fn returned(&self, from: u64) -> usize {
        let window = Duration::from_secs(600).as_secs();
        let moves = || self.moves.iter().filter(|moved| moved.at >= from);
        moves()
            .filter(|back| {
                moves().any(|out| {
                    out.source == back.source && out.from == back.to && out.to == back.from && out.at < back.at && back.at - out.at < window
                })
            })
            .count()
    }
}
