//! Calls that come in: accepted, bounded, handed to the host, answered.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use logvine_gossip::NodeId;
use quinn::{Connection, RecvStream, SendStream, VarInt};
use rustls::pki_types::CertificateDer;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::{
        OwnedSemaphorePermit, Semaphore,
        mpsc::{self, error::TrySendError},
        oneshot, watch,
    },
    time::{sleep, timeout},
};

use crate::{
    call::Refusal,
    certificate,
    frame::{self, FrameError, ReadFrameError},
};

/// For a handshake. A peer takes milliseconds; who takes longer may not hold a place.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(5);

/// Handshakes at a time beyond which a stranger must first prove its address (QUIC retry), so that forged ones cost nothing.
const HANDSHAKES_UNPROVED_MAX: usize = 32;

/// For a request to arrive whole once its stream is open, and for an answer to be taken: 1 MiB over a poor link, with room.
const FRAME_PATIENCE: Duration = Duration::from_secs(10);

/// After a key was removed, for the calls at work over connections that may have been made by it; the order to remove it is one.
const REVOKED_GRACE: Duration = Duration::from_secs(2);

/// A peer's call. It waits for its [`Responder`]; dropped, the peer hears that it stays without answer.
#[derive(Debug)]
pub struct Incoming {
    /// Who calls: the connection's peer has proved that it has this node's key and the cluster's.
    pub from: NodeId,
    /// The request: MessagePack, at most 1 MiB, not looked at yet.
    pub body: Bytes,
    /// Where the answer goes.
    pub responder: Responder,
}

impl Incoming {
    /// The request as a `Q`. Unknown fields are ignored.
    pub fn request<Q: DeserializeOwned>(&self) -> Result<Q, FrameError> {
        frame::decode_body(&self.body)
    }
}

/// Takes the answer to one call.
#[derive(Debug)]
pub struct Responder {
    answer: oneshot::Sender<Result<Bytes, Refusal>>,
}

/// Why an answer was not sent. The peer has been told that none comes.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    #[error("the answer makes no frame")]
    Frame { source: FrameError },
    #[error("the peer no longer waits for the answer")]
    Gone,
}

impl Responder {
    /// Answers. Never waits: what is left to do is done by a task of the endpoint.
    pub fn reply<R: Serialize + ?Sized>(self, reply: &R) -> Result<(), ReplyError> {
        match frame::encode(reply) {
            Ok(frame) => self.answer.send(Ok(frame)).map_err(|_| ReplyError::Gone),
            Err(source) => {
                self.refuse(Refusal::Unanswered);
                Err(ReplyError::Frame { source })
            }
        }
    }

    /// Completes when the caller has given up: what is still being done for it may stop.
    pub async fn gone(&mut self) {
        self.answer.closed().await;
    }

    /// Answers that no answer comes, and why: `Format` for a request that cannot be read, `Busy` when there is too much to do.
    pub fn refuse(self, refusal: Refusal) {
        // A caller that is gone needs no answer.
        let _ = self.answer.send(Err(refusal));
    }
}

/// What bounds the work that peers can cause.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) handshakes: Arc<Semaphore>,
    pub(crate) calls: Arc<Semaphore>,
    /// Changes when a key was taken from the ring: what was let in by it must come again.
    pub(crate) revoked: watch::Receiver<()>,
}

impl Limits {
    pub(crate) fn new(connections: usize, calls: usize, revoked: watch::Receiver<()>) -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self { connections: semaphore(connections), handshakes: semaphore(HANDSHAKES_UNPROVED_MAX), calls: semaphore(calls), revoked }
    }
}

/// Accepts connections until the endpoint is closed.
pub(crate) async fn accept(endpoint: quinn::Endpoint, limits: Limits, calls: mpsc::Sender<Incoming>) {
    while let Some(incoming) = endpoint.accept().await {
        let address = incoming.remote_address();
        let Ok(place) = limits.connections.clone().try_acquire_owned() else {
            tracing::warn!(%address, "refused a connection: as many peers as this node bears are connected");
            incoming.refuse();
            continue;
        };
        let unproved = limits.handshakes.clone().try_acquire_owned().ok();
        if unproved.is_none() && !incoming.remote_address_validated() {
            // Sends it back for a token; an error means that it cannot be asked twice, and then it is dropped.
            let _ = incoming.retry();
            continue;
        }
        match incoming.accept() {
            Ok(connecting) => {
                tokio::spawn(serve(connecting, limits.clone(), calls.clone(), place, unproved));
            }
            Err(error) => tracing::debug!(%address, %error, "refused a connection"),
        }
    }
}

/// Serves one connection until it ends.
async fn serve(
    connecting: quinn::Connecting,
    mut limits: Limits,
    calls: mpsc::Sender<Incoming>,
    _place: OwnedSemaphorePermit,
    unproved: Option<OwnedSemaphorePermit>,
) {
    let address = connecting.remote_address();
    limits.revoked.borrow_and_update();
    let connection = match timeout(HANDSHAKE_PATIENCE, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            tracing::debug!(%address, %error, "a peer's handshake failed");
            return;
        }
        Err(_) => return,
    };
    drop(unproved);
    let Some(from) = peer(&connection) else {
        connection.close(Refusal::Format.code(), b"no node certificate");
        return;
    };
    let mut revoked = limits.revoked.clone();
    let end = async {
        // An endpoint that is gone closes its connections itself.
        if revoked.changed().await.is_ok() {
            sleep(REVOKED_GRACE).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::pin!(end);
    loop {
        tokio::select! {
            accepted = connection.accept_bi() => match accepted {
                Ok((send, recv)) => drop(tokio::spawn(answer(from, send, recv, limits.clone(), calls.clone()))),
                Err(_) => return,
            },
            () = &mut end => return connection.close(VarInt::from_u32(0), b"a key was removed: come again"),
        }
    }
}

/// The node at the other end, as its certificate has proved.
pub(crate) fn peer(connection: &Connection) -> Option<NodeId> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    certificate::node_id(chain.first()?).ok()
}

/// Serves one call: a bidirectional stream with one frame each way.
async fn answer(from: NodeId, mut send: SendStream, mut recv: RecvStream, limits: Limits, calls: mpsc::Sender<Incoming>) {
    let Ok(_permit) = limits.calls.try_acquire_owned() else { return refuse(&mut send, &mut recv, Refusal::Busy) };
    let body = match timeout(FRAME_PATIENCE, frame::read(&mut recv)).await {
        Ok(Ok(body)) => body,
        Ok(Err(ReadFrameError::Frame(error))) => {
            tracing::debug!(peer = %from, %error, "refused a call");
            return refuse(&mut send, &mut recv, Refusal::of_frame(&error));
        }
        Ok(Err(ReadFrameError::Stream(_))) => return, // the caller is gone
        Err(_) => return refuse(&mut send, &mut recv, Refusal::Format),
    };
    let (answer, answered) = oneshot::channel();
    match calls.try_send(Incoming { from, body, responder: Responder { answer } }) {
        Ok(()) => {}
        Err(TrySendError::Full(_)) => return refuse(&mut send, &mut recv, Refusal::Busy),
        Err(TrySendError::Closed(_)) => return refuse(&mut send, &mut recv, Refusal::Closing),
    }
    let stopped = send.stopped();
    tokio::select! {
        answer = answered => match answer {
            Ok(Ok(frame)) => write(&mut send, frame).await,
            Ok(Err(refusal)) => refuse(&mut send, &mut recv, refusal),
            Err(_) => refuse(&mut send, &mut recv, Refusal::Unanswered),
        },
        // The caller has given up; `Responder::reply` says so to the host.
        _ = stopped => {}
    }
}

async fn write(send: &mut SendStream, frame: Bytes) {
    match timeout(FRAME_PATIENCE, send.write_chunk(frame)).await {
        Ok(Ok(())) => {
            let _ = send.finish();
        }
        // The caller or its connection is gone, or it does not take what it asked for: half an answer is none.
        Ok(Err(_)) | Err(_) => {
            let _ = send.reset(Refusal::Unanswered.code());
        }
    }
}

/// A stream that has ended already needs no code, so errors say nothing.
fn refuse(send: &mut SendStream, recv: &mut RecvStream, refusal: Refusal) {
    let code: VarInt = refusal.code();
    let _ = recv.stop(code);
    let _ = send.reset(code);
}
