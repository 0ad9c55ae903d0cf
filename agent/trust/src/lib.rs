//! Who is who: the cluster's authority, certificates, join tokens, and the TLS that uses them.
//!
//! ```text
//!   authority --signs--> certificate of a node or an operator --identity--> who is calling
//!   token (fingerprint + secret) --> join: the authority is checked before anything is sent
//!   keyring (one file per node) --> store --> tls: both halves of every connection
//! ```
//!
//! TLS 1.3 by rustls with ring and nothing else; there is no way to speak without it. Certificates name their
//! holder in a URI (`ha://CLUSTER/node/ID`, `ha://CLUSTER/user/NAME/ROLE`); those of nodes name it as a DNS
//! name too, so that who connects to a node demands that very node.

#![forbid(unsafe_code)]

pub mod authority;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
pub mod identity;
pub mod keyring;
#[cfg(target_os = "linux")]
mod linux;
pub mod passphrase;
pub mod store;
pub mod tls;
pub mod token;

#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere as platform;
#[cfg(target_os = "linux")]
pub(crate) use linux as platform;

use ha_core::trust::Digest;

/// The SHA-256 of the bytes.
pub fn digest(bytes: &[u8]) -> Digest {
    let mut digest = Digest::default();
    digest
        .0
        .copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    digest
}

/// So many random bytes of the system.
///
/// # Errors
/// The system has none.
pub fn random<const N: usize>() -> Result<[u8; N], TrustError> {
    use ring::rand::SecureRandom as _;
    let mut bytes = [0; N];
    ring::rand::SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| TrustError::NoRandomness)?;
    Ok(bytes)
}

/// Why something is not believed, or could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A certificate or request that cannot be read or made.
    #[error("certificate: {0}")]
    Certificate(String),
    /// It belongs to none of ours.
    #[error("the certificate names no node and no operator: {0:?}")]
    NoIdentity(String),
    /// Encrypted with another key, or changed since.
    #[error(
        "the authority's key cannot be opened with this node's seal: was the data_dir put together from several?"
    )]
    Sealed,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandomness,
    /// TLS refuses the material.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// A file that cannot be read, written or understood.
    #[error("{file}: {found}")]
    File { file: String, found: String },
}

impl From<rcgen::Error> for TrustError {
    fn from(e: rcgen::Error) -> Self {
        TrustError::Certificate(e.to_string())
    }
}
