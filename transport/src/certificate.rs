//! Who may speak: a certificate authority that every holder of the cluster key can derive, and node certificates under it.
//!
//! ```text
//! cluster key ─HKDF─> CA key pair, the same on every node
//! node key ──────────> node certificate, signed by that CA, named `<node id>.<cluster id>.logvine`
//! ```
//! Both ends of a connection show theirs (TLS 1.3 only, no early data, no resumption) and both check: the chain leads to a CA of our ring,
//! the certificate's name carries our cluster id and the node id, and **the node id is the fingerprint of the key that has just signed**.
//! So a holder of the cluster key can be a node, but not another one. Clocks play no part: validity is checked at a fixed date.

use std::{sync::Arc, time::Duration};

use ed25519_dalek::SigningKey;
use logvine_gossip::{
    NodeId,
    seal::{ClusterId, ClusterKey, Keyring},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    SanType, date_time_ymd,
};
use rustls::{
    AlertDescription, CertificateError as Bad, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    server::{
        ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
    version::TLS13,
};

use crate::key::{self, NodeKey};

/// DER of an Ed25519 public key up to the key itself (RFC 8410 §4).
const ED25519_SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The date at which validity is checked (2001-09-09): a node whose clock is wrong is still a member.
const CHECKED_AT: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_000_000_000));

/// Why a node cannot be given a certificate. A fault of the libraries or of memory, not of input.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("cannot make the certificate of this node")]
    Make(#[from] rcgen::Error),
    #[error("cannot set up TLS for this node")]
    Tls(#[from] Error),
    #[error("cannot set up the check of peers' certificates")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// Both sides' TLS for one node of one cluster.
#[derive(Debug)]
pub(crate) struct Tls {
    pub(crate) client: rustls::ClientConfig,
    pub(crate) server: rustls::ServerConfig,
}

impl Tls {
    /// A certificate by the ring's first key; peers with one by any key of the ring are let in.
    pub(crate) fn new(node: &NodeKey, keyring: &Keyring) -> Result<Self, CertificateError> {
        let cluster = keyring.cluster();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let authorities = keyring.keys().iter().map(authority).collect::<Result<Vec<_>, _>>()?;
        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            roots.add(authority.der().clone())?;
        }
        let chain = vec![node_certificate(node, cluster, &authorities[0])?];
        let key = || PrivateKeyDer::from(PrivatePkcs8KeyDer::from(node.to_pkcs8().to_vec()));
        let verifier = Arc::new(Verifier::new(cluster, Arc::new(roots), &provider)?);

        let mut client = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_client_auth_cert(chain.clone(), key())?;
        client.alpn_protocols = vec![alpn(cluster)];
        client.resumption = Resumption::disabled();

        let own = OwnCertificate { name: server_name(cluster), certified: Arc::new(CertifiedKey::from_der(chain, key(), &provider)?) };
        let mut server = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(own));
        server.alpn_protocols = vec![alpn(cluster)];
        server.send_tls13_tickets = 0;
        server.max_early_data_size = 0;
        Ok(Self { client, server })
    }
}

/// The name that a dialler asks for (SNI): a process of another cluster at a reused address has no certificate for it.
pub(crate) fn server_name(cluster: ClusterId) -> String {
    format!("{cluster}.logvine")
}

/// The protocol that both sides must speak: the frame format and the cluster.
fn alpn(cluster: ClusterId) -> Vec<u8> {
    format!("logvine/{}/{cluster}", crate::frame::FRAME_FORMAT).into_bytes()
}

fn certificate_name(id: NodeId, cluster: ClusterId) -> String {
    format!("{id}.{cluster}.logvine")
}

/// The CA of a cluster key: every holder derives the same.
fn authority(key: &ClusterKey) -> Result<CertifiedIssuer<'static, KeyPair>, CertificateError> {
    let signing = SigningKey::from_bytes(&key.derive("logvine certificate authority 1"));
    let pair = KeyPair::try_from(key::to_pkcs8(&signing).as_slice())?;
    let mut params = params(&format!("logvine cluster {}", key.cluster()));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok(CertifiedIssuer::self_signed(params, pair)?)
}

fn node_certificate(
    node: &NodeKey,
    cluster: ClusterId,
    authority: &CertifiedIssuer<'static, KeyPair>,
) -> Result<CertificateDer<'static>, CertificateError> {
    let pair = KeyPair::try_from(node.to_pkcs8().as_slice())?;
    let mut params = params(&format!("logvine node {}", node.id()));
    params.subject_alt_names = vec![SanType::DnsName(certificate_name(node.id(), cluster).try_into()?)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params.signed_by(&pair, authority)?.der().clone())
}

/// A certificate that outlives every clock's error: revocation is a change of the cluster key.
fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(1975, 1, 1);
    params.not_after = date_time_ymd(4096, 1, 1);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

/// The id of the node whose certificate this is: the fingerprint of its key.
pub(crate) fn node_id(certificate: &CertificateDer<'_>) -> Result<NodeId, Error> {
    parsed_node_id(&ParsedCertificate::try_from(certificate)?)
}

fn parsed_node_id(certificate: &ParsedCertificate<'_>) -> Result<NodeId, Error> {
    let spki = certificate.subject_public_key_info();
    let public_key = spki.strip_prefix(&ED25519_SPKI_PREFIX).and_then(|key| <&[u8; 32]>::try_from(key).ok());
    public_key.map(key::fingerprint).ok_or(Error::InvalidCertificate(Bad::BadEncoding))
}

/// Shows this node's certificate to those who ask for its cluster, and none to others.
#[derive(Debug)]
struct OwnCertificate {
    name: String,
    certified: Arc<CertifiedKey>,
}

impl ResolvesServerCert for OwnCertificate {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        (hello.server_name() == Some(&self.name)).then(|| self.certified.clone())
    }
}

/// Checks a peer of either side.
#[derive(Debug)]
struct Verifier {
    cluster: ClusterId,
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
    clients: Arc<dyn ClientCertVerifier>,
}

impl Verifier {
    fn new(cluster: ClusterId, roots: Arc<RootCertStore>, provider: &Arc<CryptoProvider>) -> Result<Self, CertificateError> {
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build()?;
        Ok(Self { cluster, roots, algorithms: provider.signature_verification_algorithms, clients })
    }

    /// The name must be that of the key's own node, in our cluster.
    fn check_name(&self, certificate: &ParsedCertificate<'_>) -> Result<(), Error> {
        let name = certificate_name(parsed_node_id(certificate)?, self.cluster);
        let name = ServerName::try_from(name).map_err(|_| Error::InvalidCertificate(Bad::NotValidForName))?;
        verify_server_name(certificate, &name)
    }

    fn check_signature(&self, message: &[u8], cert: &CertificateDer<'_>, dss: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }
}

/// Only TLS 1.3 is offered, so nobody gets here.
fn never_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::AlertReceived(AlertDescription::ProtocolVersion))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>, // asks for the cluster; which node it is, is for the dialler to compare
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, CHECKED_AT, self.algorithms.all)?;
        self.check_name(&certificate)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(&self, _: &[u8], _: &CertificateDer<'_>, _: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        never_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] {
        self.clients.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.clients.verify_client_cert(end_entity, intermediates, CHECKED_AT)?;
        self.check_name(&ParsedCertificate::try_from(end_entity)?)?;
        Ok(verified)
    }

    fn verify_tls12_signature(&self, _: &[u8], _: &CertificateDer<'_>, _: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        never_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(cluster: u8, secret: u8) -> ClusterKey {
        ClusterKey::new(ClusterId([cluster; 8]), [secret; 32])
    }

    /// Whether a node with a ring of `ours` lets in `node`, shown with a certificate by `theirs` for the name of `named`; as both sides see it.
    fn lets_in(ours: &[ClusterKey], theirs: &ClusterKey, node: &NodeKey, named: &NodeKey) -> bool {
        let authority = authority(theirs).unwrap();
        let pair = KeyPair::try_from(node.to_pkcs8().as_slice()).unwrap();
        let mut params = params("a node");
        params.subject_alt_names = vec![SanType::DnsName(certificate_name(named.id(), theirs.cluster()).try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let shown = params.signed_by(&pair, &authority).unwrap();

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for key in ours {
            roots.add(super::authority(key).unwrap().der().clone()).unwrap();
        }
        let verifier = Verifier::new(ours[0].cluster(), Arc::new(roots), &provider).unwrap();
        let name = ServerName::try_from(server_name(ours[0].cluster())).unwrap();
        let in_1970 = UnixTime::since_unix_epoch(Duration::ZERO);
        let as_server = verifier.verify_server_cert(shown.der(), &[], &name, &[], in_1970).is_ok();
        let as_client = verifier.verify_client_cert(shown.der(), &[], in_1970).is_ok();
        assert_eq!(as_server, as_client, "both sides judge alike");
        as_server
    }

    #[test]
    fn only_a_certificate_by_our_ring_for_its_own_key_is_let_in() {
        let (node, other) = (NodeKey::generate().unwrap(), NodeKey::generate().unwrap());
        assert!(lets_in(&[key(1, 1)], &key(1, 1), &node, &node), "one of us, whatever our clock says");
        assert!(lets_in(&[key(1, 2), key(1, 1)], &key(1, 1), &node, &node), "by the ring's other key, while keys change");
        assert!(!lets_in(&[key(1, 1)], &key(1, 2), &node, &node), "same cluster id, another secret");
        assert!(!lets_in(&[key(1, 1)], &key(2, 1), &node, &node), "another cluster");
        assert!(!lets_in(&[key(1, 1)], &key(1, 1), &node, &other), "a holder of the cluster key that claims to be another node");
    }

    #[test]
    fn a_certificate_tells_its_node() {
        let (node, key) = (NodeKey::generate().unwrap(), key(1, 1));
        let certificate = node_certificate(&node, key.cluster(), &authority(&key).unwrap()).unwrap();
        assert_eq!(node_id(&certificate).unwrap(), node.id());
    }

    /// An authority is derived, not kept: two nodes that never met make the same.
    #[test]
    fn every_holder_of_the_key_derives_the_same_authority() {
        assert_eq!(authority(&key(1, 1)).unwrap().der(), authority(&key(1, 1)).unwrap().der());
        assert_ne!(authority(&key(1, 1)).unwrap().der(), authority(&key(1, 2)).unwrap().der());
    }

    #[test]
    fn another_kind_of_key_is_no_node() {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let issuer = authority(&key(1, 1)).unwrap();
        let certificate = params("ecdsa").signed_by(&pair, &issuer).unwrap();
        assert!(node_id(certificate.der()).is_err());
    }
}
