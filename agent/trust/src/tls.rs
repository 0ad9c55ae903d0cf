//! Both halves of a connection: TLS 1.3, by rustls with ring. Nothing is resumed, so that each connection shows
//! its certificate.

use crate::TrustError;
use crate::identity::{MEMBER, node_name};
use ha_core::id::NodeId;
use ha_core::trust::Digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub use rustls::ClientConfig;
pub use tokio_rustls::TlsAcceptor;
/// What a connection is for who made it.
pub type ClientStream = tokio_rustls::client::TlsStream<TcpStream>;
/// What a connection is for who accepted it.
pub type ServerStream = tokio_rustls::server::TlsStream<TcpStream>;

const PROTOCOL: &[u8] = b"h2";

/// A certificate and its key, in DER.
pub struct Shown<'a> {
    pub certificate: &'a [u8],
    /// The private key, PKCS #8.
    pub key: &'a [u8],
}

impl Shown<'_> {
    fn owned<'b>(
        &'b self,
        beside: impl IntoIterator<Item = &'b Vec<u8>>,
    ) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = std::iter::once(self.certificate)
            .chain(beside.into_iter().map(Vec::as_slice))
            .map(|c| CertificateDer::from(c.to_vec()))
            .collect();
        (
            chain,
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.to_vec())),
        )
    }
}

/// For who accepts: shows `shown`, takes certificates of any of `authorities`, and callers without one: what
/// those may ask is decided for each question. The authorities are shown too, the one that signed first, for who has
/// only the fingerprint of one, and `crosses`, for who has not heard of the newest.
///
/// # Errors
/// Certificates or a key that do not go together.
pub fn server(
    authorities: &[Vec<u8>],
    crosses: &[Vec<u8>],
    shown: &Shown<'_>,
) -> Result<ServerConfig, TrustError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(authorities)?, provider())
        .allow_unauthenticated()
        .build()
        .map_err(|e| TrustError::Certificate(e.to_string()))?;
    let signed_by = crate::identity::CertificateClaims::of(shown.certificate)?.signed_by;
    let (signers, others): (Vec<_>, Vec<_>) = authorities
        .iter()
        .partition(|a| crate::identity::key_id(a).is_ok_and(|id| id == signed_by));
    let (chain, key) = shown.owned(signers.into_iter().chain(others).chain(crosses));
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// For who connects, believing `authorities` and showing `shown`.
///
/// # Errors
/// Certificates or a key that do not go together.
pub fn client(
    authorities: &[Vec<u8>],
    shown: Option<&Shown<'_>>,
) -> Result<ClientConfig, TrustError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots(authorities)?);
    let config = match shown.map(|s| s.owned([])) {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
        None => builder.with_no_client_auth(),
    };
    Ok(finished(config))
}

/// For who joins: believes the one authority that has this fingerprint. `None`: believes whoever answers, which
/// is good for asking how far away it is and nothing else.
///
/// # Errors
/// None in practice: the settings are fixed.
pub fn client_by_fingerprint(authority: Option<Digest>) -> Result<ClientConfig, TrustError> {
    let verifier = Arc::new(ByFingerprint {
        authority,
        provider: provider(),
    });
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(finished(config))
}

fn finished(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.resumption = Resumption::disabled();
    // The name is that of a node: who listens on the wire need not read it.
    config.enable_sni = false;
    config
}

/// Secures a connection, demanding the certificate of `node`, or of any node.
///
/// # Errors
/// Somebody who is not believed, or who does not speak TLS.
pub async fn connect(
    stream: TcpStream,
    node: Option<NodeId>,
    config: Arc<ClientConfig>,
) -> io::Result<ClientStream> {
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(node.map_or_else(|| MEMBER.to_owned(), node_name))
        .map_err(io::Error::other)?;
    TlsConnector::from(config).connect(name, stream).await
}

/// What a failed connection was about: "transport error" helps nobody, the cause at the bottom does.
pub fn cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(authorities: &[Vec<u8>]) -> Result<Arc<RootCertStore>, TrustError> {
    let mut roots = RootCertStore::empty();
    for a in authorities {
        roots.add(CertificateDer::from(a.as_slice()))?;
    }
    Ok(Arc::new(roots))
}

/// What is said when the authority is another one than the token's.
pub const OTHER_CLUSTER: &str = "it belongs to another cluster than the token, or its authority was changed since the token was made";

#[derive(Debug)]
struct ByFingerprint {
    authority: Option<Digest>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ByFingerprint {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(wanted) = self.authority else {
            return Ok(ServerCertVerified::assertion());
        };
        let authority = intermediates
            .iter()
            .find(|c| crate::digest(c) == wanted)
            .ok_or_else(|| rustls::Error::General(OTHER_CLUSTER.to_owned()))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
                .build()
                .map_err(|e| rustls::Error::General(e.to_string()))?;
        verifier.verify_server_cert(leaf, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General(
            "only TLS 1.3 is spoken here".to_owned(),
        ))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
