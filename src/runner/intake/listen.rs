//! Listening: what the policy allows, until it can be had; and connections, plain or TLS.

use std::{fs::File, io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::desk::{Desk, RETRY_AFTER};
use crate::policy::Policy;

/// For a TLS handshake.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);

/// A connection's bytes.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Binds by `bind` what the policy allows, again and again until it can be had; what is in the way is told.
pub(super) async fn bound<T, F: Future<Output = io::Result<T>>>(desk: &Desk, who: &'static str, at: &str, bind: impl Fn(SocketAddr) -> F) -> T {
    loop {
        let bound = match at.parse::<SocketAddr>() {
            Err(error) => Err(format!("`{at}`: {error}")),
            Ok(at) => match desk.policy.check_listen(at) {
                Err(denied) => Err(denied.to_string()),
                Ok(()) => bind(at).await.map_err(|error| format!("cannot listen on {at}: {error}")),
            },
        };
        match bound {
            Ok(bound) => {
                desk.note(who, None);
                return bound;
            }
            Err(text) => desk.note(who, Some(text)),
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

/// The next connection. One that failed by itself before it was accepted is no error of the listener's; to lack descriptors is, and passes.
pub(super) async fn accepted(desk: &Desk, who: &'static str, listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {}
            Err(error) => {
                desk.note(who, Some(format!("cannot accept connections: {error}")));
                tokio::time::sleep(RETRY_AFTER).await;
                desk.note(who, None);
            }
        }
    }
}

/// Makes a connection what its sender speaks. Errors: the handshake's.
pub(super) async fn shaken(acceptor: Option<&TlsAcceptor>, stream: TcpStream) -> io::Result<Box<dyn Stream>> {
    // One whose host has died is given up in time: two hours by Linux's own default, and it holds one of the connections.
    let keepalive = rustix::net::sockopt::set_socket_keepalive(&stream, true);
    keepalive.and_then(|()| rustix::net::sockopt::set_tcp_keepidle(&stream, Duration::from_secs(60)))?;
    match acceptor {
        None => Ok(Box::new(stream)),
        Some(acceptor) => match timeout(HANDSHAKE_PATIENCE, acceptor.accept(stream)).await {
            Ok(stream) => Ok(Box::new(stream?)),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        },
    }
}

/// What speaks TLS with this certificate, as soon as its files can be read; what is in the way is told.
pub(super) async fn acceptor(desk: &Desk, certificate: &str, key: &str) -> TlsAcceptor {
    loop {
        let (policy, certificate, key) = (desk.policy.clone(), certificate.to_owned(), key.to_owned());
        let read = tokio::task::spawn_blocking(move || server_config(&policy, &certificate, &key)).await;
        match read.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(config) => {
                desk.note("certificate", None);
                return TlsAcceptor::from(Arc::new(config));
            }
            Err(text) => desk.note("certificate", Some(text)),
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

fn server_config(policy: &Policy, certificate: &str, key: &str) -> Result<ServerConfig, String> {
    // An error says that the process has a provider already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let open = |path: &str| policy.open_read(Path::new(path)).map_err(|error| error.to_string());
    let chain: Result<Vec<CertificateDer>, _> = CertificateDer::pem_reader_iter(io::BufReader::<File>::new(open(certificate)?)).collect();
    let chain = chain.map_err(|error| format!("{certificate}: {error}"))?;
    if chain.is_empty() {
        return Err(format!("{certificate} holds no certificate: PEM is wanted, with the lines that begin with -----"));
    }
    let private = PrivateKeyDer::from_pem_reader(io::BufReader::new(open(key)?)).map_err(|error| format!("{key}: {error}"))?;
    ServerConfig::builder().with_no_client_auth().with_single_cert(chain, private).map_err(|error| format!("{certificate} and {key}: {error}"))
}
