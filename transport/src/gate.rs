//! Decides which datagrams are worth a decryption, before it is paid: a flood of forged ones must not cost the node its time.
//!
//! ```text
//! source ─► its own bucket (a datagram: 1, one that did not open: 10) ─► opened lately? ─► open it
//!                                                                   └─ no ─► the strangers' bucket (one that did not open: 1)
//! ```
//! A source that sends garbage runs dry alone. Sources that are forged, each a new one, drain the strangers' bucket together; then only those are heard
//! whose datagrams opened lately: the members stay, and a node that joins waits for the flood to end.
//! Not here: what comes again although it opens (`logvine_gossip` takes each once).

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

/// Of one source, a second and at once. A thousand nodes behind one address send some 5,000 a second; opening 20,000 takes a tenth of a core.
const SOURCE: Rate = Rate { per_second: 20_000, burst: 40_000 };
/// What a datagram that did not open costs its source: 2,000 a second pass, which a fleet with a wrong key behind one address does not reach.
const REFUSED_COST: u32 = 10;
/// Of all sources together whose datagrams have not opened lately: a fiftieth of a core.
const STRANGERS: Rate = Rate { per_second: 5_000, burst: 10_000 };
/// How long a source counts as one of ours after it was opened: some announce periods (30 s).
const RECENT: Duration = Duration::from_secs(90);
/// Sources that are remembered: four times a cluster of 1,000, and of strangers enough that a few loud ones are known.
const FRIENDS_MAX: usize = 4096;
const STRANGERS_MAX: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    friends: Recent<Friend>,
    strangers: Recent<Bucket>,
    all_strangers: Bucket,
}

#[derive(Debug)]
struct Friend {
    bucket: Bucket,
    opened: Instant,
}

impl Gate {
    /// Whether a datagram from `ip` is to be opened.
    pub(crate) fn admits(&mut self, ip: IpAddr, now: Instant) -> bool {
        let source = source(ip);
        match self.friend(source, now) {
            Some(friend) => friend.bucket.take(SOURCE, 1, now),
            None => self.all_strangers.has_room(STRANGERS, now) && self.strangers.entry(source, STRANGERS_MAX).take(SOURCE, 1, now),
        }
    }

    /// A datagram from `ip` has opened, or not.
    pub(crate) fn settle(&mut self, ip: IpAddr, opened: bool, now: Instant) {
        let source = source(ip);
        match (self.friend(source, now), opened) {
            (Some(friend), true) => friend.opened = now,
            (Some(friend), false) => friend.bucket.charge(SOURCE, REFUSED_COST - 1, now),
            (None, true) => {
                let bucket = self.strangers.remove(source).unwrap_or_default();
                self.friends.insert(source, Friend { bucket, opened: now }, FRIENDS_MAX);
            }
            (None, false) => {
                self.strangers.entry(source, STRANGERS_MAX).charge(SOURCE, REFUSED_COST - 1, now);
                self.all_strangers.charge(STRANGERS, 1, now);
            }
        }
    }

    fn friend(&mut self, source: IpAddr, now: Instant) -> Option<&mut Friend> {
        if self.friends.peek(source).is_some_and(|friend| now.saturating_duration_since(friend.opened) >= RECENT) {
            self.friends.remove(source);
        }
        self.friends.get(source)
    }
}

/// What counts as one source: an IPv4 address; of IPv6 the network of a host, whose 2⁶⁴ addresses are all its own.
fn source(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Rate {
    per_second: u32,
    burst: u32,
}

/// A token bucket, as the time at which it is full again (GCRA, ITU-T I.371). The default is full.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    full_at: Option<Instant>,
}

impl Bucket {
    /// Takes `cost`, if there is so much.
    fn take(&mut self, rate: Rate, cost: u32, now: Instant) -> bool {
        let room = self.debt(now) + rate.time(cost) <= rate.time(rate.burst);
        if room {
            self.charge(rate, cost, now);
        }
        room
    }

    fn has_room(&self, rate: Rate, now: Instant) -> bool {
        self.debt(now) < rate.time(rate.burst)
    }

    /// Takes `cost`, whether or not there is so much; never deeper than twice the burst, so that a source is heard again soon.
    fn charge(&mut self, rate: Rate, cost: u32, now: Instant) {
        self.full_at = Some(now + (self.debt(now) + rate.time(cost)).min(rate.time(rate.burst) * 2));
    }

    fn debt(&self, now: Instant) -> Duration {
        self.full_at.map_or(Duration::ZERO, |full_at| full_at.saturating_duration_since(now))
    }
}

impl Rate {
    fn time(self, units: u32) -> Duration {
        Duration::from_secs(1) * units / self.per_second
    }
}

/// A map of bounded size, in which the least recently used entry makes room.
#[derive(Debug)]
struct Recent<V> {
    entries: BTreeMap<IpAddr, (u64, V)>,
    by_use: BTreeMap<u64, IpAddr>,
    uses: u64,
}

impl<V> Default for Recent<V> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), by_use: BTreeMap::new(), uses: 0 }
    }
}

impl<V> Recent<V> {
    fn peek(&self, key: IpAddr) -> Option<&V> {
        self.entries.get(&key).map(|(_, value)| value)
    }

    fn get(&mut self, key: IpAddr) -> Option<&mut V> {
        let (used, value) = self.entries.get_mut(&key)?;
        self.by_use.remove(used);
        self.uses += 1;
        *used = self.uses;
        self.by_use.insert(self.uses, key);
        Some(value)
    }

    fn insert(&mut self, key: IpAddr, value: V, most: usize) {
        self.remove(key);
        if self.entries.len() >= most
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.entries.remove(&oldest);
        }
        self.uses += 1;
        self.entries.insert(key, (self.uses, value));
        self.by_use.insert(self.uses, key);
    }

    fn remove(&mut self, key: IpAddr) -> Option<V> {
        let (used, value) = self.entries.remove(&key)?;
        self.by_use.remove(&used);
        Some(value)
    }
}

impl<V: Default> Recent<V> {
    fn entry(&mut self, key: IpAddr, most: usize) -> &mut V {
        if self.peek(key).is_none() {
            self.insert(key, V::default(), most);
        }
        self.get(key).expect("it is there, or was inserted")
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn ip(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    /// Sends `count` datagrams in even steps over `time`; how many were opened.
    fn send(gate: &mut Gate, from: IpAddr, count: u32, opens: bool, start: Instant, time: Duration) -> u32 {
        let mut passed = 0;
        for number in 0..count {
            let now = start + time * number / count;
            if gate.admits(from, now) {
                gate.settle(from, opens, now);
                passed += 1;
            }
        }
        passed
    }

    /// A seed of 1,000 nodes in a storm of joins takes some 500 a second, one behind whose address a whole cluster stands ten times that.
    #[test]
    fn members_never_meet_the_limit() {
        let (mut gate, start) = (Gate::default(), Instant::now());
        assert_eq!(send(&mut gate, ip(1), 50_000, true, start, Duration::from_secs(5)), 50_000);
        let stalled = start + Duration::from_secs(10);
        assert_eq!(send(&mut gate, ip(1), 30_000, true, stalled, Duration::ZERO), 30_000, "what a stall of seconds left in the socket");
        for source in 2..1_002 {
            assert_eq!(send(&mut gate, ip(source), 20, true, start, Duration::from_secs(1)), 20);
        }
    }

    #[test]
    fn who_sends_garbage_runs_dry_and_is_heard_again_later() {
        let (mut gate, start) = (Gate::default(), Instant::now());
        let passed = send(&mut gate, ip(1), 100_000, false, start, Duration::from_secs(1));
        assert!((4_000..8_000).contains(&passed), "{passed} of 100,000 were opened in a second");
        assert_eq!(
            send(&mut gate, ip(2), 1_000, true, start + Duration::from_secs(1), Duration::from_secs(1)),
            1_000,
            "another source is not touched"
        );
        assert!(gate.admits(ip(1), start + Duration::from_secs(4)));
    }

    #[test]
    fn a_flood_of_forged_sources_leaves_the_members_in() {
        let (mut gate, start) = (Gate::default(), Instant::now());
        let members = 10..110;
        members.clone().for_each(|member| assert_eq!(send(&mut gate, ip(member), 1, true, start, Duration::ZERO), 1));
        let (mut opened, mut forged) = (0, 0);
        for step in 0..1_000 {
            let now = start + Duration::from_millis(10) * step;
            for _ in 0..300 {
                forged += 1;
                opened += send(&mut gate, ip(0x0a00_0000 + forged), 1, false, now, Duration::ZERO);
            }
            let member = ip(10 + step % 100);
            assert_eq!(send(&mut gate, member, 1, true, now, Duration::ZERO), 1, "a member at step {step}");
        }
        assert!(opened < 62_000, "{opened} of {forged} forged ones were opened in 10 s");
        assert!(!gate.admits(ip(7), start + Duration::from_millis(9_990)), "a newcomer waits");
        assert!(gate.admits(ip(7), start + Duration::from_secs(15)), "until the flood is over");
        assert!(gate.strangers.entries.len() <= STRANGERS_MAX && gate.strangers.by_use.len() <= STRANGERS_MAX);
    }

    #[test]
    fn friends_are_bounded_and_the_silent_are_forgotten_first() {
        let (mut gate, start) = (Gate::default(), Instant::now());
        for number in 0..u32::try_from(FRIENDS_MAX).unwrap() {
            gate.settle(ip(number), true, start);
        }
        gate.settle(ip(0), true, start);
        gate.settle(ip(u32::MAX), true, start);
        assert_eq!((gate.friends.entries.len(), gate.friends.by_use.len()), (FRIENDS_MAX, FRIENDS_MAX));
        assert!(gate.friends.peek(ip(0)).is_some() && gate.friends.peek(ip(1)).is_none());
        assert!(gate.friend(ip(0), start + RECENT).is_none(), "who was silent for so long is a stranger");
    }

    #[test]
    fn a_hosts_ipv6_addresses_are_one_source_and_a_mapped_ipv4_address_is_itself() {
        let v6 = |host: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 3, 4, 5, host));
        assert_eq!(source(v6(1)), source(v6(2)));
        assert_ne!(source(v6(1)), source("2001:db8:1:3::1".parse().unwrap()));
        assert_eq!(source("::ffff:10.0.0.1".parse().unwrap()), ip(0x0a00_0001));
    }
}
