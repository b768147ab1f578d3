//! Typed calls between nodes over QUIC.
//!
//! ```text
//! call ─> slot of the peer ─(none, or ended)─> dial: mutual TLS, then compare the node id
//!            │                                    │
//!            └──────────> open a stream, write one frame, read one frame
//!                              └─(connection stale, request not acknowledged)─> dial again, once
//! ```
//! Connections are dialled on demand and closed when idle: no keep-alives between nodes that have nothing to say (PITFALLS §4). After a
//! restart a node answers packets of its former life with stateless resets (RFC 9000 §10.3), so its peers notice at once.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use logvine_gossip::{
    NodeId,
    seal::{ClusterId, Fingerprint, Keyring},
};
use quinn::{
    Connection, ConnectionError, EndpointConfig as QuicConfig, TransportConfig, VarInt, WriteError,
    crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig},
};
use quinn_proto::HashedConnectionIdGenerator;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use crate::{
    call::{CallError, Refusal},
    certificate::{self, CertificateError, Tls},
    frame::{self, ReadFrameError},
    key::NodeKey,
    pool::{Pool, Slot},
    serve::{self, Incoming, Limits},
};

/// The longest deadline of a call; longer ones are cut. It keeps QUIC's own idle time-out, which must be longer, bounded.
pub const DEADLINE_MAX: Duration = Duration::from_secs(60);

/// For peers to hear that this node closes; who does not acknowledge by then finds out by itself.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// Unread bytes of one connection: some of the largest frames, so that one slow call does not hold the rest.
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// Unread bytes of one call: the largest frame, with room for its header.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;

/// Bounds of an [`Endpoint`].
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// How long a connection that this node dialled stays open without a call.
    pub idle: Duration,
    /// Most connections that this node dials at a time; the least recently used one makes room.
    pub dialled_max: usize,
    /// Most connections of peers at a time; more are refused.
    pub accepted_max: usize,
    /// Most calls of one peer's connection at work at a time; more wait with the peer.
    pub calls_per_connection_max: u32,
    /// Most calls of all peers at work at a time; more are refused as [`Refusal::Busy`]. Each may hold 1 MiB.
    pub calls_max: usize,
    /// Most calls that wait for the host to take them; more are refused as [`Refusal::Busy`].
    pub calls_waiting_max: usize,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            // Gossip's QUIC exchanges and relays come in bursts; a handshake costs about a millisecond of CPU.
            idle: Duration::from_secs(30),
            dialled_max: 256,
            // A cluster of 1,000 (DESIGN §10), each with one connection to us at the worst.
            accepted_max: 1024,
            calls_per_connection_max: 64,
            calls_max: 512,
            calls_waiting_max: 256,
        }
    }
}

/// Why there is no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error("UDP {address} is in use; stop the other process (`ss -ulnp` shows it) or choose another --quic-port")]
    InUse { address: SocketAddr },
    #[error("UDP {address} is not an address of this machine; choose one that `ip address` shows for --bind")]
    NotLocal { address: SocketAddr },
    #[error("cannot bind UDP {address}")]
    Bind { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("cannot set up QUIC's encryption")]
    Quic(#[from] NoInitialCipherSuite),
}

/// Calls peers, and takes their calls. A handle: clones share everything; when the last is dropped, all connections are closed.
#[derive(Debug, Clone)]
pub struct Endpoint {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    quic: quinn::Endpoint,
    local: SocketAddr,
    cluster: ClusterId,
    pool: Pool,
    key: NodeKey,
    transport: Arc<TransportConfig>,
    ring: RwLock<Ring>,
    revoked: watch::Sender<()>,
}

/// What dialling needs of the ring, and which keys it has.
#[derive(Debug)]
struct Ring {
    client: quinn::ClientConfig,
    keys: Vec<Fingerprint>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.quic.close(Refusal::Closing.code(), b"");
    }
}

/// What became of one frame on one connection.
enum Lost {
    /// The connection ended. `acknowledged`: the peer had the request whole.
    Connection {
        error: ConnectionError,
        acknowledged: bool,
    },
    Call(CallError),
}

impl Endpoint {
    /// Binds `address` (port 0: any) as the node of `key` in the cluster of `keyring`. Must run inside a tokio runtime.
    ///
    /// Peers' calls come through the receiver; while it is full, or dropped, they are refused.
    pub fn bind(
        address: SocketAddr,
        key: &NodeKey,
        keyring: &Keyring,
        config: &EndpointConfig,
    ) -> Result<(Self, mpsc::Receiver<Incoming>), EndpointError> {
        let refused = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => EndpointError::InUse { address },
            io::ErrorKind::AddrNotAvailable => EndpointError::NotLocal { address },
            _ => EndpointError::Bind { address, source },
        };
        let transport = Arc::new(transport(config));
        let (client, server) = both_sides(key, keyring, &transport)?;
        let socket = std::net::UdpSocket::bind(address).map_err(refused)?;
        let quic = quinn::Endpoint::new(quic_config(key), Some(server), socket, Arc::new(quinn::TokioRuntime)).map_err(refused)?;
        let local = quic.local_addr().map_err(refused)?;

        let (calls, incoming) = mpsc::channel(config.calls_waiting_max);
        let (revoked, revocations) = watch::channel(());
        tokio::spawn(serve::accept(quic.clone(), Limits::new(config.accepted_max, config.calls_max, revocations), calls));
        let ring = RwLock::new(Ring { client, keys: keyring.fingerprints() });
        let (cluster, pool) = (keyring.cluster(), Pool::new(config.dialled_max));
        let inner = Arc::new(Inner { quic, local, cluster, pool, key: key.clone(), transport, ring, revoked });
        tokio::spawn(close_idle(Arc::downgrade(&inner), config.idle));
        Ok((Self { inner }, incoming))
    }

    /// The address that is bound.
    pub fn local(&self) -> SocketAddr {
        self.inner.local
    }

    /// Shows a certificate by this ring's first key, and lets in those by any of its keys, from now on. If it lacks a key of the ring before, all
    /// connections end when the calls at work have (those that peers dialled in two seconds), and come again by the keys that are left.
    ///
    /// Errors: nothing has changed.
    pub fn set_keyring(&self, keyring: &Keyring) -> Result<(), EndpointError> {
        let inner = &*self.inner;
        let (client, server) = both_sides(&inner.key, keyring, &inner.transport)?;
        let keys = keyring.fingerprints();
        inner.quic.set_server_config(Some(server));
        let before = std::mem::replace(&mut *inner.ring.write().unwrap_or_else(PoisonError::into_inner), Ring { client, keys: keys.clone() });
        if before.keys.iter().any(|key| !keys.contains(key)) {
            inner.pool.clear();
            inner.revoked.send_replace(());
        }
        Ok(())
    }

    /// Asks node `id` at `address`, and waits for its answer until `deadline` (at most [`DEADLINE_MAX`]) has passed.
    ///
    /// Nothing is sent before the peer has proved that it is `id`. If a connection kept from before turns out stale, the call is made again
    /// once over a new one; a peer that died between taking the request and acknowledging it (some milliseconds) may so be asked twice.
    /// Cancel-safe in so far as dropping the future gives the call up: the peer may have seen it.
    pub async fn call<Q, R>(&self, id: NodeId, address: SocketAddr, request: &Q, deadline: Duration) -> Result<R, CallError>
    where
        Q: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        let frame = frame::encode(request).map_err(|source| CallError::Request { source })?;
        let sent = AtomicBool::new(false);
        let body = timeout(deadline.min(DEADLINE_MAX), self.deliver(id, address, frame, &sent))
            .await
            .unwrap_or_else(|_| Err(CallError::Deadline { address, sent: sent.load(Relaxed) }))?;
        frame::decode_body(&body).map_err(|source| CallError::Answer { address, source })
    }

    /// Who is at `address`: shakes hands with whatever node of this cluster is there, says nothing and hangs up.
    ///
    /// For telling an operator what is wrong: [`CallError::NotOurCluster`] is an answer of a node with another cluster key.
    pub async fn greet(&self, address: SocketAddr, deadline: Duration) -> Result<NodeId, CallError> {
        let (id, connection) =
            timeout(deadline.min(DEADLINE_MAX), self.dial(address)).await.unwrap_or(Err(CallError::Deadline { address, sent: false }))?;
        connection.close(VarInt::from_u32(0), b"");
        Ok(id)
    }

    /// How many peers this node has dialled and not hung up on.
    pub fn dialled(&self) -> usize {
        self.inner.pool.len()
    }

    /// Refuses new calls, ends those at work, tells the peers, and returns when they know (or after a second).
    pub async fn close(&self) {
        self.inner.quic.close(Refusal::Closing.code(), b"");
        if timeout(CLOSE_PATIENCE, self.inner.quic.wait_idle()).await.is_err() {
            tracing::debug!("some peers did not acknowledge that this node closes");
        }
    }

    async fn deliver(&self, id: NodeId, address: SocketAddr, frame: Bytes, sent: &AtomicBool) -> Result<Bytes, CallError> {
        let pool = &self.inner.pool;
        let slot = pool
            .slot(id, Instant::now())
            .map_err(|_| CallError::NotSent { address, reason: "every connection that this node may dial has calls at work".to_owned() })?;
        let (connection, kept) = self.connection(&slot, id, address).await?;
        let outcome = match exchange(&connection, address, frame.clone(), sent).await {
            Err(Lost::Connection { acknowledged: false, error }) if kept => {
                tracing::debug!(peer = %id, %error, "a kept connection was stale");
                let (connection, _) = self.connection(&slot, id, address).await?;
                exchange(&connection, address, frame, sent).await
            }
            outcome => outcome,
        };
        pool.touch(id, Instant::now());
        outcome.map_err(|lost| match lost {
            Lost::Connection { error, .. } => CallError::of_connection(address, &error, sent.load(Relaxed)),
            Lost::Call(error) => error,
        })
    }

    /// The slot's connection, or a new one. True: it was kept from before.
    async fn connection(&self, slot: &Slot, id: NodeId, address: SocketAddr) -> Result<(Connection, bool), CallError> {
        let mut kept = slot.lock().await;
        if let Some((at, connection)) = &*kept
            && *at == address
            && connection.close_reason().is_none()
        {
            return Ok((connection.clone(), true));
        }
        *kept = None;
        let (found, connection) = self.dial(address).await?;
        if found != id {
            connection.close(VarInt::from_u32(0), b"");
            return Err(CallError::WrongIdentity { address, expected: id, found });
        }
        *kept = Some((address, connection.clone()));
        Ok((connection, false))
    }

    /// A new connection to whatever node of this cluster is at `address`.
    async fn dial(&self, address: SocketAddr) -> Result<(NodeId, Connection), CallError> {
        let Inner { quic, cluster, ring, .. } = &*self.inner;
        let client = ring.read().unwrap_or_else(PoisonError::into_inner).client.clone();
        let connecting = quic
            .connect_with(client, address, &certificate::server_name(*cluster))
            .map_err(|error| CallError::NotSent { address, reason: error.to_string() })?;
        let connection = connecting.await.map_err(|error| CallError::of_connection(address, &error, false))?;
        let found =
            serve::peer(&connection).ok_or_else(|| CallError::NotOurCluster { address, reason: "it has shown no node certificate".to_owned() })?;
        Ok((found, connection))
    }
}

/// One call over one connection.
async fn exchange(connection: &Connection, address: SocketAddr, frame: Bytes, sent: &AtomicBool) -> Result<Bytes, Lost> {
    let lost = |error, acknowledged| Lost::Connection { error, acknowledged };
    let refused = |code| Lost::Call(CallError::Refused { address, refusal: Refusal::of(code) });
    let broken = |reason: &dyn std::fmt::Display| Lost::Call(CallError::Interrupted { address, reason: reason.to_string() });

    let (mut send, mut recv) = connection.open_bi().await.map_err(|error| lost(error, false))?;
    sent.store(true, Relaxed);
    send.write_chunk(frame).await.map_err(|error| match error {
        WriteError::Stopped(code) => refused(code),
        WriteError::ConnectionLost(error) => lost(error, false),
        error => broken(&error),
    })?;
    send.finish().map_err(|error| broken(&error))?;

    let mut acknowledged = false;
    let stopped = send.stopped();
    let answer = frame::read(&mut recv);
    tokio::pin!(stopped, answer);
    let answer = loop {
        tokio::select! {
            biased;
            answer = &mut answer => break answer,
            stopped = &mut stopped, if !acknowledged => match stopped {
                Ok(None) => acknowledged = true,
                Ok(Some(code)) => return Err(refused(code)),
                Err(_) => break answer.await, // the connection is lost, and the reader says why
            },
        }
    };
    answer.map_err(|error| match error {
        ReadFrameError::Frame(source) => Lost::Call(CallError::Answer { address, source }),
        ReadFrameError::Stream(quinn::ReadError::Reset(code)) => refused(code),
        ReadFrameError::Stream(quinn::ReadError::ConnectionLost(error)) => lost(error, acknowledged),
        ReadFrameError::Stream(error) => broken(&error),
    })
}

/// Hangs up on peers that nobody has called for `idle`, until the endpoint is gone.
async fn close_idle(inner: Weak<Inner>, idle: Duration) {
    let mut ticks = tokio::time::interval(idle / 4);
    loop {
        ticks.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        inner.pool.close_idle(Instant::now(), idle);
    }
}

/// How to dial and how to be dialled, with this ring.
fn both_sides(
    key: &NodeKey,
    keyring: &Keyring,
    transport: &Arc<TransportConfig>,
) -> Result<(quinn::ClientConfig, quinn::ServerConfig), EndpointError> {
    let Tls { client, server } = Tls::new(key, keyring)?;
    let mut client = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(client)?));
    client.transport_config(transport.clone());
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server)?));
    server.transport_config(transport.clone());
    // Nodes do not roam; a connection from another address is a new one.
    server.migration(false);
    Ok((client, server))
}

fn transport(config: &EndpointConfig) -> TransportConfig {
    let mut transport = TransportConfig::default();
    // The dialler hangs up after `idle`; this is for a side that is gone without a word, and longer than any call may be silent.
    let silence = u32::try_from((config.idle + DEADLINE_MAX).as_millis()).map_or(VarInt::MAX, VarInt::from_u32);
    transport
        .max_idle_timeout(Some(silence.into()))
        .max_concurrent_bidi_streams(config.calls_per_connection_max.into())
        .max_concurrent_uni_streams(0_u8.into())
        .datagram_receive_buffer_size(None)
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(CONNECTION_WINDOW_BYTES.into())
        .send_window(u64::from(CONNECTION_WINDOW_BYTES));
    transport
}

/// Reset tokens and connection ids from the node's own key: a node that was restarted still knows what it would have said.
fn quic_config(key: &NodeKey) -> QuicConfig {
    let reset = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &*key.derive("logvine stateless reset 1"));
    let ids = key.derive("logvine connection id 1");
    let (seed, _) = ids.split_first_chunk().expect("8 of 32 bytes");
    let seed = u64::from_be_bytes(*seed);
    let mut config = QuicConfig::new(Arc::new(reset));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(seed)));
    config
}

#[cfg(test)]
mod tests;
