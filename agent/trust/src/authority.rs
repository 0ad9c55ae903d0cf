//! The cluster's certificate authority: makes itself, signs for nodes and operators, travels sealed.

use crate::identity::{MEMBER, Subject, common_name, node_name};
use crate::{TrustError, digest, random};
use ha_core::id::NodeId;
use ha_core::time::Timestamp;
use ha_core::trust::Digest;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
    SanType,
};
use ring::aead;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use std::time::Duration;
use time::OffsetDateTime;
use zeroize::{Zeroize as _, Zeroizing};

/// How long an authority is good.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(3650 * 86_400);
/// Certificates are good so long before they were made: the clocks of servers are hours apart more often than one would think.
pub const BACKDATED: Duration = Duration::from_secs(86_400);

/// An authority that can sign.
pub struct Authority {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

/// With what the keys of authorities are encrypted; the same on every node, in no log.
#[derive(Clone, PartialEq, Eq)]
pub struct Seal(pub [u8; 32]);

impl Drop for Seal {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Seal {
    pub fn generate() -> Result<Seal, TrustError> {
        Ok(Seal(random()?))
    }

    fn key(&self) -> Result<aead::LessSafeKey, TrustError> {
        Ok(aead::LessSafeKey::new(
            aead::UnboundKey::new(&aead::CHACHA20_POLY1305, &self.0)
                .map_err(|_| TrustError::Sealed)?,
        ))
    }
}

impl Authority {
    /// A new authority for a cluster.
    pub fn generate(cluster: NodeId, now: Timestamp) -> Result<Authority, TrustError> {
        let key = KeyPair::generate()?;
        // A name of its own: else the signatures of one would be checked with the key of another.
        let mark: [u8; 4] = random()?;
        let name = format!(
            "ha-agent authority {:08x} of {cluster}",
            u32::from_be_bytes(mark)
        );
        let certificate = authority_params(&name, now)?
            .self_signed(&key)?
            .der()
            .clone();
        Ok(Authority { certificate, key })
    }

    /// A certificate that says: who believes this authority may believe `next` too. For whoever has not heard of
    /// `next` yet, such as an operator's context that was not used for a while.
    ///
    /// # Errors
    /// None in practice: both are authorities.
    pub fn cross_sign(&self, next: &Authority, now: Timestamp) -> Result<Vec<u8>, TrustError> {
        let mut params = authority_params(&common_name(&next.certificate)?, now)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &self.key)?;
        Ok(params.signed_by(&next.key, &issuer)?.der().to_vec())
    }

    /// Its certificate, in DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The SHA-256 of its certificate.
    pub fn fingerprint(&self) -> Digest {
        digest(&self.certificate)
    }

    /// Its key, encrypted so that only who has the seal can open it, and only as this authority's.
    pub fn sealed_key(&self, seal: &Seal) -> Result<Vec<u8>, TrustError> {
        let nonce: [u8; aead::NONCE_LEN] = random()?;
        let mut sealed = self.key.serialize_der();
        seal.key()?
            .seal_in_place_append_tag(
                aead::Nonce::assume_unique_for_key(nonce),
                aead::Aad::from(self.fingerprint().0),
                &mut sealed,
            )
            .map_err(|_| TrustError::Sealed)?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// An authority from what the log says and the seal of this node.
    ///
    /// # Errors
    /// Another seal, changed bytes.
    pub fn open(
        certificate: &[u8],
        sealed_key: &[u8],
        seal: &Seal,
    ) -> Result<Authority, TrustError> {
        let (nonce, sealed) = sealed_key
            .split_first_chunk::<{ aead::NONCE_LEN }>()
            .ok_or(TrustError::Sealed)?;
        let mut key = Zeroizing::new(sealed.to_vec());
        let opened = seal
            .key()?
            .open_in_place(
                aead::Nonce::assume_unique_for_key(*nonce),
                aead::Aad::from(digest(certificate).0),
                &mut key,
            )
            .map_err(|_| TrustError::Sealed)?;
        let key = KeyPair::try_from(&*opened)?;
        Ok(Authority {
            certificate: CertificateDer::from(certificate.to_vec()),
            key,
        })
    }

    /// A certificate for whoever made the request. Of the request only its key counts, and that its maker has it.
    ///
    /// # Errors
    /// A request that is none, or that its key did not sign.
    pub fn sign(
        &self,
        request: &[u8],
        subject: &Subject,
        cluster: NodeId,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<Vec<u8>, TrustError> {
        let asked = CertificateSigningRequestParams::from_der(
            &CertificateSigningRequestDer::from(request),
        )?;
        let mut params = params(&subject.to_string(), now, lifetime)?;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let san = |text: String| {
            text.try_into()
                .map_err(|_| TrustError::Certificate("a name that is not ASCII".to_owned()))
        };
        params.subject_alt_names = vec![SanType::URI(san(subject.uri(cluster))?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if let Subject::Node(id) = subject {
            params
                .extended_key_usages
                .push(ExtendedKeyUsagePurpose::ServerAuth);
            params
                .subject_alt_names
                .push(SanType::DnsName(san(MEMBER.to_owned())?));
            params
                .subject_alt_names
                .push(SanType::DnsName(san(node_name(*id))?));
        }
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &self.key)?;
        Ok(params.signed_by(&asked.public_key, &issuer)?.der().to_vec())
    }
}

/// A new key and the request for a certificate of it, both in DER.
pub fn request() -> Result<(KeyPair, Vec<u8>), TrustError> {
    let key = KeyPair::generate()?;
    let request = request_of(&key)?;
    Ok((key, request))
}

/// The request for another certificate of a key that is there already (PKCS #8).
///
/// # Errors
/// Bytes that are no such key.
pub fn request_for(key: &[u8]) -> Result<Vec<u8>, TrustError> {
    request_of(&KeyPair::try_from(key)?)
}

fn request_of(key: &KeyPair) -> Result<Vec<u8>, TrustError> {
    Ok(CertificateParams::default()
        .serialize_request(key)?
        .der()
        .to_vec())
}

/// Of the public key for which a certificate is requested.
///
/// # Errors
/// A request that is none.
pub fn requested_key(request: &[u8]) -> Result<Digest, TrustError> {
    let asked =
        CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request))?;
    Ok(digest(&asked.public_key.subject_public_key_info()))
}

/// One authority below it, which is the next one, and then who shows its certificate.
fn authority_params(name: &str, now: Timestamp) -> Result<CertificateParams, TrustError> {
    let mut params = params(name, now, AUTHORITY_LIFETIME)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn params(name: &str, now: Timestamp, lifetime: Duration) -> Result<CertificateParams, TrustError> {
    let at = |ms: u64| {
        let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
        OffsetDateTime::from_unix_timestamp(seconds).map_err(|e| {
            TrustError::Certificate(format!("the clock of this machine is far off: {e}"))
        })
    };
    let mut params = CertificateParams::default();
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    params.distinguished_name = called;
    params.not_before = at(now.0.saturating_sub(BACKDATED.as_millis() as u64))?;
    params.not_after = at(now.0.saturating_add(lifetime.as_millis() as u64))?;
    Ok(params)
}
