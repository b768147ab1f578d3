//! Connections: how many there may be, and how long one may do nothing. A client that says nothing, or reads nothing, holds no others up.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum_server::accept::Accept;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep_until},
};

/// Half of the file descriptors that a process usually gets; the runners need the others.
const CONNECTIONS_MAX: usize = 512;
/// For a head, from its first byte to its last.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// Without a byte in either direction. Event streams say something every 15 s.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Connections beyond those that are told why they are refused.
const TURNED_AWAY_MAX: usize = 64;
/// For so long, and of so many bytes, the request of one that is refused is read.
const TURNED_AWAY_FOR: Duration = Duration::from_secs(1);
const TURNED_AWAY_BYTES: u64 = 64 << 10;

/// What one too many is told.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 5\r\nConnection: close\r\n\
Content-Length: 209\r\n\r\n{\"type\":\"urn:logvine:connections\",\"title\":\"Too many connections\",\"status\":503,\"detail\":\"This node's API has as \
many connections as it takes.\",\"action\":\"Close those that you do not need, or ask another node.\"}\n";

/// Counts connections, and refuses those that are too many.
#[derive(Debug, Clone)]
pub(super) struct Limited {
    free: Arc<Semaphore>,
    /// Those that are told so are not many, either: more are closed without a word.
    turned_away: Arc<Semaphore>,
    idle_max: Duration,
}

impl Limited {
    pub(super) fn new() -> Self {
        let turned_away = Arc::new(Semaphore::new(TURNED_AWAY_MAX));
        Self { free: Arc::new(Semaphore::new(CONNECTIONS_MAX)), turned_away, idle_max: IDLE_MAX }
    }

    /// Bounds the time for a head, which a trickle of bytes would draw out for ever. And what came whole is carried out, also if its client has closed
    /// its side by then: half a command is none, and a whole one does not depend on who waits for the answer.
    pub(super) fn prepare<A>(server: &mut axum_server::Server<SocketAddr, A>) {
        server.http_builder().http1().timer(hyper_util::rt::TokioTimer::new()).header_read_timeout(HEAD_PATIENCE).half_close(true);
    }
}

impl<S: Send + 'static> Accept<TcpStream, S> for Limited {
    type Stream = Patient;
    type Service = S;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Patient, S)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let permit = self.free.clone().try_acquire_owned();
        let (idle_max, turned_away) = (self.idle_max, self.turned_away.clone());
        Box::pin(async move {
            let Ok(permit) = permit else {
                if let Ok(_turn) = turned_away.try_acquire() {
                    turn_away(stream).await;
                }
                return Err(io::Error::other("too many connections"));
            };
            stream.set_nodelay(true)?;
            Ok((Patient::new(stream, permit, idle_max), service))
        })
    }
}

/// Says that there are too many. What is not read when a connection is closed has the kernel reset it, and the client never sees what it was told: so its
/// request is read, until it closes its side.
async fn turn_away(mut stream: TcpStream) {
    let told = async {
        // To a client of TLS it is noise, and ends the handshake.
        stream.write_all(FULL).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut (&mut stream).take(TURNED_AWAY_BYTES), &mut tokio::io::sink()).await
    };
    // Whoever is gone, or is slow, is told nothing.
    let _ = tokio::time::timeout(TURNED_AWAY_FOR, told).await;
}

/// A connection that fails when nothing passes for too long, in either direction.
#[derive(Debug)]
pub(super) struct Patient {
    stream: TcpStream,
    idle: Pin<Box<Sleep>>,
    idle_max: Duration,
    /// Given back when the connection ends.
    _permit: OwnedSemaphorePermit,
}

impl Patient {
    fn new(stream: TcpStream, permit: OwnedSemaphorePermit, idle_max: Duration) -> Self {
        Self { stream, idle: Box::pin(sleep_until(Instant::now() + idle_max)), idle_max, _permit: permit }
    }

    /// What a read or a write came to: progress begins the time anew, and waiting too long is an error.
    fn judge<T>(&mut self, context: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            let deadline = Instant::now() + self.idle_max;
            self.idle.as_mut().reset(deadline);
            return result;
        }
        self.idle.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.judge(context, result)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, result)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.judge(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (client.unwrap(), server.unwrap().0)
    }

    fn limited(connections: usize) -> Limited {
        let turned_away = Arc::new(Semaphore::new(1));
        Limited { free: Arc::new(Semaphore::new(connections)), turned_away, idle_max: Duration::from_millis(20) }
    }

    #[test]
    fn what_one_too_many_is_told_is_a_whole_answer() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{} bytes:\n{text}", body.len());
        assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap()["status"], 503);
    }

    #[tokio::test]
    async fn one_too_many_is_refused_until_another_ends() {
        let limited = limited(1);
        let (_first_client, first) = pair().await;
        let (kept, ()) = limited.accept(first, ()).await.unwrap();
        let (mut client, second) = pair().await;
        // Its request is there before it is accepted, as most are.
        client.write_all(b"GET /v1/self HTTP/1.1\r\nHost: here\r\n\r\n").await.unwrap();
        let read = async {
            let mut answer = Vec::new();
            let read = client.read_to_end(&mut answer).await;
            drop(client);
            read.map(|_| answer)
        };
        let (refused, answer) = tokio::join!(limited.accept(second, ()), read);
        assert!(refused.is_err());
        assert_eq!(answer.expect("it is not reset"), FULL);
        drop(kept);
        let (_third_client, third) = pair().await;
        limited.accept(third, ()).await.expect("there is room again");
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_is_given_up() {
        let (mut client, server) = pair().await;
        let (mut stream, ()) = limited(1).accept(server, ()).await.unwrap();
        client.write_all(b"GET").await.unwrap();
        let mut bytes = [0; 16];
        assert_eq!(stream.read(&mut bytes).await.unwrap(), 3);
        assert_eq!(stream.read(&mut bytes).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_client_that_reads_nothing_is_given_up() {
        let (_client, server) = pair().await;
        let (mut stream, ()) = limited(1).accept(server, ()).await.unwrap();
        let chunk = vec![0; 1 << 20];
        let error = loop {
            if let Err(error) = stream.write_all(&chunk).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
