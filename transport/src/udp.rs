//! One UDP socket for membership: seals what leaves, opens what comes, drops and counts the rest.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
    time::{Duration, Instant},
};

use logvine_gossip::seal::{Keyring, NONCE_BYTES, PAYLOAD_BYTES_MAX, SEALED_BYTES_MAX, SealError};
use socket2::SockRef;
use tokio::{io::Interest, net::UdpSocket};

use crate::gate::Gate;

/// Datagrams that the kernel keeps while the node is busy: some 2,000 of 1,400 B, what 1,000 nodes send it in seconds. The kernel may give less.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// How long a sender counts as recent: some announce periods (30 s), so that a seed that is merely slow is not forgotten between two.
const SENDERS_RECENT: Duration = Duration::from_secs(90);

/// Distinct senders remembered on each side. Beyond it the number says "many", which is all that an operator needs.
const SENDERS_MAX: usize = 64;

/// Most datagrams that one [`Udp::try_recv`] looks at, so that a flood of unsealed ones cannot hold its caller.
const DRAIN_REFUSED_MAX: usize = 1024;

/// Pause after an error of the socket that is not some peer's, so that a lasting one (no kernel memory) does not spin.
const ERROR_PAUSE: Duration = Duration::from_millis(20);

/// A bound UDP socket that carries sealed payloads only.
#[derive(Debug)]
pub struct Udp {
    socket: UdpSocket,
    /// The same socket without tokio's note of its readiness: asks the kernel itself, so that a drain after a stall misses nothing.
    direct: std::net::UdpSocket,
    local: SocketAddr,
    advertised: SocketAddr,
    keyring: RwLock<Keyring>,
    tally: Mutex<Tally>,
}

/// Why there is no socket, or a datagram did not leave.
#[derive(Debug, thiserror::Error)]
pub enum UdpError {
    #[error("UDP {address} is in use; stop the other process (`ss -ulnp` shows it) or choose another --gossip-port")]
    InUse { address: SocketAddr },
    #[error("UDP {address} is not an address of this machine; choose one that `ip address` shows for --bind")]
    NotLocal { address: SocketAddr },
    #[error("cannot bind UDP {address}")]
    Bind { address: SocketAddr, source: io::Error },
    #[error("payload of {bytes} bytes is over the limit of {PAYLOAD_BYTES_MAX}")]
    TooLarge { bytes: usize },
    #[error("cannot send to {to}")]
    Send { to: SocketAddr, source: io::Error },
    #[error("the system gives no randomness for a nonce")]
    Random { source: getrandom::Error },
}

/// Datagrams refused since the start, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refused {
    pub too_short: u64,
    pub too_large: u64,
    pub version: u64,
    pub key_unknown: u64,
    pub tag: u64,
    /// Not looked at: their sources had sent too much that did not open.
    pub limited: u64,
}

impl Refused {
    /// All of them.
    pub const fn total(&self) -> u64 {
        self.too_short + self.too_large + self.version + self.key_unknown + self.tag + self.limited
    }

    /// Each reason's name and number.
    pub const fn by_reason(&self) -> [(&'static str, u64); 6] {
        let Self { too_short, too_large, version, key_unknown, tag, limited } = *self;
        [("too_short", too_short), ("too_large", too_large), ("version", version), ("key_unknown", key_unknown), ("tag", tag), ("limited", limited)]
    }

    fn count(&mut self, reason: SealError) {
        match reason {
            SealError::TooShort { .. } => self.too_short += 1,
            SealError::TooLarge { .. } => self.too_large += 1,
            SealError::Version { .. } => self.version += 1,
            SealError::KeyUnknown { .. } => self.key_unknown += 1,
            SealError::Tag => self.tag += 1,
        }
    }
}

/// What has passed through the socket since it was bound. Bytes are those of datagrams, without IP and UDP headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UdpCounters {
    /// Datagrams opened.
    pub received: u64,
    pub received_bytes: u64,
    pub sent: u64,
    pub sent_bytes: u64,
    /// Datagrams that the kernel did not take: its buffer was full, or there is no way to the address.
    pub send_failed: u64,
    /// Errors that the socket gave instead of a datagram.
    pub receive_failed: u64,
    pub refused: Refused,
    /// Distinct addresses of the last 90 s whose datagrams were opened, at most 64.
    pub senders_accepted: usize,
    /// Distinct addresses of the last 90 s that sent what looks sealed, but with a key that is not ours, at most 64.
    pub senders_refused: usize,
}

impl UdpCounters {
    /// Whether somebody speaks to this node, sealed, and nobody with its key: an operator has given it another cluster's.
    pub const fn nobody_shares_our_key(&self) -> bool {
        self.senders_refused > 0 && self.senders_accepted == 0
    }
}

#[derive(Debug, Default)]
struct Tally {
    counters: UdpCounters,
    accepted: Senders,
    refused: Senders,
    gate: Gate,
}

/// Addresses heard lately, each with the time when last.
#[derive(Debug, Default)]
struct Senders(BTreeMap<SocketAddr, Instant>);

impl Senders {
    fn note(&mut self, from: SocketAddr, now: Instant) {
        if self.0.len() >= SENDERS_MAX && !self.0.contains_key(&from) {
            self.forget_old(now);
        }
        if self.0.len() < SENDERS_MAX || self.0.contains_key(&from) {
            self.0.insert(from, now);
        }
    }

    fn forget_old(&mut self, now: Instant) {
        self.0.retain(|_, heard| now.saturating_duration_since(*heard) < SENDERS_RECENT);
    }
}

impl Udp {
    /// Binds `address` (port 0: any). Must run inside a tokio runtime.
    ///
    /// `advertised` is the address under which the others reach this node, and from which they see its datagrams come; its port 0 means the bound one.
    pub fn bind(address: SocketAddr, mut advertised: SocketAddr, keyring: Keyring) -> Result<Self, UdpError> {
        let refused = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => UdpError::InUse { address },
            io::ErrorKind::AddrNotAvailable => UdpError::NotLocal { address },
            _ => UdpError::Bind { address, source },
        };
        let direct = std::net::UdpSocket::bind(address).map_err(refused)?;
        direct.set_nonblocking(true).map_err(refused)?;
        if let Err(error) = SockRef::from(&direct).set_recv_buffer_size(RECEIVE_BUFFER_BYTES) {
            tracing::debug!(%error, "no larger receive buffer");
        }
        let local = direct.local_addr().map_err(refused)?;
        let socket = UdpSocket::from_std(direct.try_clone().map_err(refused)?).map_err(refused)?;
        if advertised.port() == 0 {
            advertised.set_port(local.port());
        }
        Ok(Self { socket, direct, local, advertised, keyring: RwLock::new(keyring), tally: Mutex::default() })
    }

    /// Seals and opens with another ring from now on.
    pub fn set_keyring(&self, keyring: Keyring) {
        *self.keyring.write().unwrap_or_else(PoisonError::into_inner) = keyring;
    }

    fn keyring(&self) -> RwLockReadGuard<'_, Keyring> {
        self.keyring.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address that is bound.
    pub const fn local(&self) -> SocketAddr {
        self.local
    }

    /// The address that this node's datagrams are sealed for.
    pub const fn advertised(&self) -> SocketAddr {
        self.advertised
    }

    /// Seals and sends `payload`; never waits.
    ///
    /// Errors: the datagram did not leave. That is no more than a lost datagram, which the protocols above bear: count it and go on.
    pub fn send(&self, to: SocketAddr, payload: &[u8]) -> Result<(), UdpError> {
        let sent = self.seal_and_send(to, payload);
        let counters = &mut self.tally().counters;
        match sent {
            Ok(bytes) => {
                counters.sent += 1;
                counters.sent_bytes += bytes;
                Ok(())
            }
            Err(error) => {
                counters.send_failed += 1;
                Err(error)
            }
        }
    }

    fn seal_and_send(&self, to: SocketAddr, payload: &[u8]) -> Result<u64, UdpError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(UdpError::TooLarge { bytes: payload.len() });
        }
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|source| UdpError::Random { source })?;
        let datagram = self.keyring().seal(self.advertised, nonce, payload);
        self.direct.send_to(&datagram, to).map_err(|source| UdpError::Send { to, source })?;
        Ok(datagram.len() as u64)
    }

    /// The next opened payload and who sent it. Cancel-safe: a datagram is either returned or still in the socket.
    ///
    /// It never fails: refused datagrams and errors of the socket are counted, and it waits on.
    pub async fn recv(&self) -> (SocketAddr, Vec<u8>) {
        loop {
            match self.socket.async_io(Interest::READABLE, || self.receive()).await {
                Ok(Some(received)) => return received,
                Ok(None) => {}
                Err(error) if self.note_receive_error(&error) => {}
                Err(_) => tokio::time::sleep(ERROR_PAUSE).await,
            }
        }
    }

    /// The next opened payload that is here already; `None` when the socket is empty (or full of refused datagrams).
    ///
    /// Drain with it before firing timers: after a stall the answers that a timer misses lie in the socket (PITFALLS §1 row 5).
    pub fn try_recv(&self) -> Option<(SocketAddr, Vec<u8>)> {
        for _ in 0..DRAIN_REFUSED_MAX {
            match self.receive() {
                Ok(Some(received)) => return Some(received),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if self.note_receive_error(&error) => {}
                Err(_) => return None,
            }
        }
        None
    }

    /// One datagram from the kernel; `None` if it was refused.
    fn receive(&self) -> io::Result<Option<(SocketAddr, Vec<u8>)>> {
        // One byte more than allowed shows that a datagram was longer; on the stack, so that no future carries it.
        let mut buffer = [0; SEALED_BYTES_MAX + 1];
        let (bytes, from) = self.direct.recv_from(&mut buffer)?;
        if bytes == 0 {
            // A peer's knock, which looks only whether this host refuses: no noise, and no answer.
            return Ok(None);
        }
        Ok(self.open(from, &buffer[..bytes]).map(|payload| (unmapped(from), payload)))
    }

    /// What has passed so far.
    pub fn counters(&self) -> UdpCounters {
        let mut tally = self.tally();
        let now = Instant::now();
        tally.accepted.forget_old(now);
        tally.refused.forget_old(now);
        UdpCounters { senders_accepted: tally.accepted.0.len(), senders_refused: tally.refused.0.len(), ..tally.counters }
    }

    /// Who was refused in the last ninety seconds for want of a key that opens what it sends, and was not heard since. Anybody can write a source address:
    /// this is a hint, worth something where the address is known.
    pub fn unheard(&self) -> Vec<SocketAddr> {
        let mut tally = self.tally();
        tally.refused.forget_old(Instant::now());
        let is_heard = |from: &SocketAddr, refused: &Instant| tally.accepted.0.get(from).is_some_and(|accepted| accepted >= refused);
        let unheard = tally.refused.0.iter().filter(|(from, refused)| !is_heard(from, refused));
        unheard.map(|(from, _)| unmapped(*from)).collect()
    }

    fn open(&self, from: SocketAddr, datagram: &[u8]) -> Option<Vec<u8>> {
        let now = Instant::now();
        if !self.tally().gate.admits(from.ip(), now) {
            self.tally().counters.refused.limited += 1;
            return None;
        }
        let opened = self.keyring().open(from, datagram);
        let mut tally = self.tally();
        tally.gate.settle(from.ip(), opened.is_ok(), now);
        match opened {
            Ok(payload) => {
                tally.counters.received += 1;
                tally.counters.received_bytes += datagram.len() as u64;
                tally.accepted.note(from, now);
                Some(payload)
            }
            Err(reason) => {
                tally.counters.refused.count(reason);
                // A port scan is not a cluster with another key.
                if matches!(reason, SealError::KeyUnknown { .. } | SealError::Tag) {
                    tally.refused.note(from, now);
                }
                None
            }
        }
    }

    /// Counts it; true if it is news of some peer (its host told us that nobody listens there), false if it may last.
    fn note_receive_error(&self, error: &io::Error) -> bool {
        use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted, NetworkUnreachable};
        self.tally().counters.receive_failed += 1;
        tracing::debug!(%error, "the gossip socket gave an error instead of a datagram");
        matches!(error.kind(), ConnectionRefused | ConnectionReset | HostUnreachable | Interrupted | NetworkUnreachable)
    }

    /// Counts are whole after every statement that changes them, so a panic elsewhere spoils nothing.
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An IPv4 peer's address as everyone else writes it, also when an IPv6 socket shows it mapped.
fn unmapped(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(IpAddr::V4(ip), address.port()),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use logvine_gossip::seal::{ClusterId, ClusterKey, SEAL_VERSION};

    use super::*;

    const LOOPBACK: &str = "127.0.0.1:0";

    fn ring(secret: u8) -> Keyring {
        Keyring::new(vec![ClusterKey::new(ClusterId([1; 8]), [secret; 32])]).unwrap()
    }

    fn bind(secret: u8) -> Udp {
        let any = LOOPBACK.parse().unwrap();
        Udp::bind(any, any, ring(secret)).unwrap()
    }

    #[tokio::test]
    async fn a_payload_arrives_with_its_senders_address() {
        let (a, b) = (bind(1), bind(1));
        a.send(b.local(), b"vine").unwrap();
        assert_eq!(b.recv().await, (a.advertised(), b"vine".to_vec()));
        b.send(a.local(), &[]).unwrap();
        assert_eq!(a.recv().await, (b.advertised(), Vec::new()));
        let counters = a.counters();
        assert_eq!((counters.sent, counters.received, counters.refused.total()), (1, 1, 0));
        assert_eq!((counters.sent_bytes, counters.received_bytes), (46, 42));
    }

    /// PITFALLS §1 row 5: after a stall everything that has come is read before a timer fires, whatever the runtime knows of it.
    #[tokio::test]
    async fn a_drain_finds_all_that_has_come_without_waiting() {
        let (a, b) = (bind(1), bind(1));
        assert!(b.try_recv().is_none());
        for n in 0..10 {
            a.send(b.local(), &[n]).unwrap();
        }
        let drained: Vec<u8> = std::iter::from_fn(|| b.try_recv()).map(|(_, payload)| payload[0]).collect();
        assert_eq!(drained, (0..10).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn strangers_are_dropped_counted_and_told_apart() {
        let (a, stranger) = (bind(1), bind(2));
        let bare = std::net::UdpSocket::bind(LOOPBACK).unwrap();
        bare.send_to(b"GET / HTTP/1.1", a.local()).unwrap();
        bare.send_to(&[9; 60], a.local()).unwrap();
        bare.send_to(&vec![1; SEALED_BYTES_MAX + 1000], a.local()).unwrap();
        stranger.send(a.local(), b"1").unwrap();
        stranger.send(a.local(), b"2").unwrap();
        assert!(a.try_recv().is_none());

        let counters = a.counters();
        let Refused { too_short, too_large, version, key_unknown, tag, .. } = counters.refused;
        assert_eq!((too_short, version, too_large, key_unknown + tag), (1, 1, 1, 2));
        assert_eq!((counters.received, counters.senders_refused), (0, 1), "noise is not a sender with another key");
        assert!(counters.nobody_shares_our_key());

        assert_eq!(a.unheard(), [stranger.local()]);

        let friend = bind(1);
        friend.send(a.local(), b"3").unwrap();
        assert_eq!(a.recv().await.1, b"3");
        assert!(!a.counters().nobody_shares_our_key(), "one friend is enough to know that the key is right");
    }

    /// Garbage is not opened for ever; who speaks our key is heard all the same, even from the same address.
    #[tokio::test]
    async fn a_flood_is_counted_and_does_not_silence_a_friend() {
        let (a, friend) = (bind(1), bind(1));
        friend.send(a.local(), b"before").unwrap();
        assert_eq!(a.recv().await.1, b"before");
        let flooder: SocketAddr = "192.0.2.7:9".parse().unwrap();
        let looks_sealed = [SEAL_VERSION; 100];
        for _ in 0..30_000 {
            assert_eq!(a.open(flooder, &looks_sealed), None);
        }
        let refused = a.counters().refused;
        assert_eq!(refused.total(), 30_000);
        assert!(refused.limited > 10_000, "{refused:?}");
        friend.send(a.local(), b"after").unwrap();
        assert_eq!(a.recv().await.1, b"after");
    }

    #[tokio::test]
    async fn a_ring_is_changed_while_the_socket_is_open() {
        let (a, b) = (bind(1), bind(1));
        let [old, new] = [1, 2].map(|secret| ClusterKey::new(ClusterId([1; 8]), [secret; 32]));
        let both = Keyring::new(vec![old, new.clone()]).unwrap();
        a.set_keyring(both.clone());
        b.set_keyring(both.using(new.fingerprint()).unwrap());
        a.send(b.local(), b"by the old").unwrap();
        b.send(a.local(), b"by the new").unwrap();
        assert_eq!((b.recv().await.1, a.recv().await.1), (b"by the old".to_vec(), b"by the new".to_vec()));
        b.set_keyring(Keyring::new(vec![new.clone()]).unwrap());
        a.send(b.local(), b"by the old").unwrap();
        assert!(b.try_recv().is_none());
        assert_eq!((a.unheard(), b.unheard()), (Vec::new(), vec![a.local()]), "it was heard before, and is not now");
        a.set_keyring(both.using(new.fingerprint()).unwrap());
        a.send(b.local(), b"by the new").unwrap();
        assert!(b.try_recv().is_some() && b.unheard().is_empty());
    }

    /// A replay from another address does not open: membership's addresses are those that packets really come from.
    #[tokio::test]
    async fn a_datagram_advertised_for_another_address_is_refused() {
        let a = bind(1);
        let liar = Udp::bind(LOOPBACK.parse().unwrap(), "127.0.0.1:9".parse().unwrap(), ring(1)).unwrap();
        liar.send(a.local(), b"I am elsewhere").unwrap();
        assert!(a.try_recv().is_none());
        assert_eq!(a.counters().refused.tag, 1);
    }

    /// A dead peer's host answers with ICMP; that is no reason to stop hearing the others.
    #[tokio::test]
    async fn a_refused_send_does_not_end_the_socket() {
        let (a, b) = (bind(1), bind(1));
        let dead = bind(1).local();
        for _ in 0..3 {
            let _ = a.send(dead, b"anyone?");
        }
        b.send(a.local(), b"here").unwrap();
        assert_eq!(a.recv().await.1, b"here");
    }

    #[tokio::test]
    async fn a_port_in_use_is_named_with_what_to_do() {
        let a = bind(1);
        let error = Udp::bind(a.local(), a.local(), ring(1)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&a.local().to_string()) && text.contains("--gossip-port"), "{text}");
        let elsewhere = "192.0.2.1:0".parse().unwrap();
        let text = Udp::bind(elsewhere, elsewhere, ring(1)).unwrap_err().to_string();
        assert!(text.contains("192.0.2.1") && text.contains("--bind"), "{text}");
    }

    #[tokio::test]
    async fn a_payload_over_the_limit_is_not_sent() {
        let (a, b) = (bind(1), bind(1));
        assert!(matches!(a.send(b.local(), &vec![0; PAYLOAD_BYTES_MAX + 1]), Err(UdpError::TooLarge { .. })));
        a.send(b.local(), &vec![7; PAYLOAD_BYTES_MAX]).unwrap();
        assert_eq!(b.recv().await.1.len(), PAYLOAD_BYTES_MAX);
        assert_eq!(a.counters().send_failed, 1);
    }

    #[test]
    fn senders_are_bounded_and_forgotten() {
        let start = Instant::now();
        let mut senders = Senders::default();
        for port in 1..=1000 {
            senders.note(SocketAddr::new([127, 0, 0, 1].into(), port), start);
        }
        assert_eq!(senders.0.len(), SENDERS_MAX);
        senders.note(SocketAddr::new([127, 0, 0, 2].into(), 1), start + SENDERS_RECENT);
        assert_eq!(senders.0.len(), 1, "the old ones made room");
    }
}
