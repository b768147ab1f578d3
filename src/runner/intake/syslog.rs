//! Syslog from the network: datagrams (RFC 5426), TCP (RFC 6587), TLS (RFC 5425). What a message says is the parse stage's.
//!
//! A full queue holds a connection back: its sender waits, as its own disk can. A datagram cannot wait: what there is no room for is dropped and
//! counted, here and by the kernel.

use std::{future::pending, io, net::SocketAddr, os::fd::AsRawFd, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::join3;
use logvine_cluster::spec::SyslogReaderSpec;
use tokio::{
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tokio_rustls::TlsAcceptor;

use super::{
    desk::Desk,
    framing::Framer,
    listen::{Stream, accepted, acceptor, bound, shaken},
    stdin::drain,
};
use crate::queue::{Entry, Queue};

/// Datagrams that wait while a group is being written. What comes beyond is dropped.
const WAITING_BYTES_MAX: usize = 8 << 20;
/// Asked of the kernel for datagrams; it gives as much as it may (`net.core.rmem_max`).
const SOCKET_BYTES: usize = 8 << 20;
const DATAGRAM_BYTES_MAX: usize = 64 << 10;
/// How often the kernel is asked how many datagrams it has dropped.
const DROPS_EVERY: Duration = Duration::from_secs(1);

/// Takes in until it is dropped.
pub(super) async fn run(spec: &SyslogReaderSpec, desk: &Arc<Desk>, queue: &Arc<Queue>) {
    let connections = Arc::new(Semaphore::new(spec.connections_max as usize));
    let datagrams = async {
        if let Some(at) = &spec.udp {
            let socket = bound(desk, "udp", at, |at| async move { UdpSocket::bind(at).await }).await;
            take_datagrams(&socket, spec.line_bytes_max, desk, queue).await;
        }
    };
    let plain = async {
        if let Some(at) = &spec.tcp {
            let listener = bound(desk, "tcp", at, TcpListener::bind).await;
            take_connections("tcp", &listener, None, spec.line_bytes_max, &connections, desk, queue).await;
        }
    };
    let sealed = async {
        if let (Some(at), Some(certificate), Some(key)) = (&spec.tls, &spec.certificate, &spec.key) {
            let acceptor = acceptor(desk, certificate, key).await;
            let listener = bound(desk, "tls", at, TcpListener::bind).await;
            take_connections("tls", &listener, Some(acceptor), spec.line_bytes_max, &connections, desk, queue).await;
        }
    };
    join3(datagrams, plain, sealed).await;
}

async fn take_connections(
    who: &'static str,
    listener: &TcpListener,
    acceptor: Option<TlsAcceptor>,
    bytes_max: usize,
    connections: &Arc<Semaphore>,
    desk: &Arc<Desk>,
    queue: &Arc<Queue>,
) {
    // Dropped with it, they close.
    let mut tasks = JoinSet::new();
    loop {
        let permit = connections.clone().acquire_owned().await.expect("it is never closed");
        let stream = accepted(desk, who, listener).await;
        while tasks.try_join_next().is_some() {}
        let (acceptor, desk, queue) = (acceptor.clone(), desk.clone(), queue.clone());
        tasks.spawn(async move {
            let _permit = permit;
            if let Err(error) = take_connection(stream, acceptor.as_ref(), bytes_max, &desk, &queue).await {
                desk.count(&format!("a connection failed: {error}"), 1);
            }
        });
    }
}

async fn take_connection(stream: TcpStream, acceptor: Option<&TlsAcceptor>, bytes_max: usize, desk: &Desk, queue: &Queue) -> io::Result<()> {
    let mut stream: Box<dyn Stream> = shaken(acceptor, stream).await?;
    let mut framer = Framer::syslog(bytes_max);
    let ended = drain(desk, queue, &mut framer, &mut stream).await;
    // What had come of a message before the connection broke is all that anybody has of it.
    desk.push(queue, framer.finish().into_iter().collect()).await;
    match ended {
        // Many senders close without a word (RFC 5425 section 4.4 asks for one).
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        ended => ended,
    }
}

async fn take_datagrams(socket: &UdpSocket, bytes_max: usize, desk: &Desk, queue: &Queue) {
    // It is a wish; what the kernel drops is counted.
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size(socket, SOCKET_BYTES);
    let (mut waiting, mut waiting_bytes) = (Vec::new(), 0);
    let mut writing = None;
    let mut drops = KernelDrops::new(socket);
    let mut look = interval(DROPS_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut block = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        if writing.is_none() && !waiting.is_empty() {
            waiting_bytes = 0;
            writing = Some(Box::pin(put(queue, std::mem::take(&mut waiting))));
        }
        let written = async {
            match &mut writing {
                Some(writing) => writing.await,
                None => pending().await,
            }
        };
        tokio::select! {
            lost = written => {
                writing = None;
                match lost {
                    Some((count, text)) => desk.count(&format!("{count} datagram(s) dropped: {text}"), count),
                    None => desk.note("udp", None),
                }
            }
            read = socket.recv(&mut block) => match read {
                Ok(_) if waiting_bytes >= WAITING_BYTES_MAX => desk.count("1 datagram(s) dropped: they come faster than the disk takes them", 1),
                Ok(read) => if let Some(entry) = datagram(&block[..read], bytes_max) {
                    waiting_bytes += entry.bytes.len();
                    waiting.push(entry);
                },
                // An ICMP answer to nothing that was sent.
                Err(error) => desk.note("udp", Some(format!("cannot receive: {error}"))),
            },
            _ = look.tick() => {
                let dropped = drops.since();
                if dropped > 0 {
                    desk.count(&format!("{dropped} datagram(s) dropped by the kernel: its buffer was full"), dropped);
                }
            }
        }
    }
}

/// Some: so many were lost, and why.
async fn put(queue: &Queue, entries: Vec<Entry>) -> Option<(u64, String)> {
    let count = entries.len() as u64;
    queue.push(entries).await.err().map(|error| (count, error.to_string()))
}

/// RFC 5426 section 3.1: one message each. What senders add to end it is not of it.
fn datagram(bytes: &[u8], bytes_max: usize) -> Option<Entry> {
    let end = bytes.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r' | 0)).map_or(0, |last| last + 1);
    (end > 0).then(|| Entry { bytes: Bytes::copy_from_slice(&bytes[..end.min(bytes_max)]), cut: end > bytes_max })
}

/// What the kernel says that it had to drop of a socket's datagrams.
struct KernelDrops {
    table: &'static str,
    inode: Option<u64>,
    seen: u64,
}

impl KernelDrops {
    fn new(socket: &UdpSocket) -> Self {
        let v6 = socket.local_addr().is_ok_and(|at: SocketAddr| at.is_ipv6());
        let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap_or_default();
        let inode = link.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
        Self { table: if v6 { "/proc/self/net/udp6" } else { "/proc/self/net/udp" }, inode, seen: 0 }
    }

    /// Since it was asked last.
    fn since(&mut self) -> u64 {
        let (Some(inode), Ok(table)) = (self.inode, std::fs::read_to_string(self.table)) else { return 0 };
        let now = drops_of(&table, inode).unwrap_or(self.seen);
        now.saturating_sub(std::mem::replace(&mut self.seen, now))
    }
}

/// The last column of the row whose tenth is the socket's inode (proc_pid_net(5)).
fn drops_of(table: &str, inode: u64) -> Option<u64> {
    let mut rows = table.lines().skip(1).map(|row| row.split_ascii_whitespace().collect::<Vec<_>>());
    rows.find(|row| row.get(9).is_some_and(|of| of.parse() == Ok(inode)))?.last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_dropped_is_in_the_row_of_the_socket() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
            1203: 0100007F:1B9E 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 51017 2 0000000000000000 0\n\
            7710: 00000000:1F92 00000000:0000 07 00000000:00033C00 00:00000000 00000000  1000        0 51020 2 0000000000000000 1931\n";
        assert_eq!((drops_of(table, 51020), drops_of(table, 51017), drops_of(table, 7)), (Some(1931), Some(0), None));
    }

    #[test]
    fn a_datagram_is_one_message() {
        let whole = |text: &'static str| Some(Entry { bytes: Bytes::from_static(text.as_bytes()), cut: false });
        assert_eq!(datagram(b"<13>two\nlines\n\0", 100), whole("<13>two\nlines"));
        assert_eq!(datagram(b"\r\n", 100), None);
        assert_eq!(datagram(b"<13>long", 4), Some(Entry { bytes: Bytes::from_static(b"<13>"), cut: true }));
    }
}
