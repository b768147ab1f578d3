//! A knock: does the host at an address say that nobody listens there?

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{net::UdpSocket, time::timeout};

/// Sends an empty datagram to `to` from a socket of its own that is connected to it, bound to `from`; true if the host refuses it within `wait`.
///
/// Only a connected socket is told of its peer's ICMP "port unreachable" (RFC 1122 section 4.1.3.3), and its random port makes that hard to forge from
/// elsewhere (RFC 5927). A live node drops an empty datagram without a word. Errors: none; what cannot be sent is not refused.
pub async fn knock(from: IpAddr, to: SocketAddr, wait: Duration) -> bool {
    timeout(wait, refused(from, to)).await.is_ok_and(|outcome| matches!(outcome, Err(error) if error.kind() == io::ErrorKind::ConnectionRefused))
}

async fn refused(from: IpAddr, to: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::bind((from, 0)).await?;
    socket.connect(to).await?;
    socket.send(&[]).await?;
    socket.recv(&mut [0; 1]).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    /// Longer than any scheduler sleeps; only the silent knock waits for it.
    const WAIT: Duration = Duration::from_millis(300);

    #[tokio::test]
    async fn a_port_that_nobody_listens_at_refuses() {
        let socket = std::net::UdpSocket::bind((HERE, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        assert!(!knock(HERE, address, WAIT).await, "somebody listens");
        drop(socket);
        assert!(knock(HERE, address, Duration::from_secs(60)).await);
    }

    #[tokio::test]
    async fn what_cannot_be_sent_is_not_refused() {
        let nobodys = "192.0.2.1".parse().unwrap(); // TEST-NET-1 (RFC 5737)
        assert!(!knock(nobodys, "127.0.0.1:9".parse().unwrap(), WAIT).await);
    }
}
