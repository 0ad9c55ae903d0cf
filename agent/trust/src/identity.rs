//! Who a certificate speaks for.

use crate::{TrustError, digest};
use ha_core::id::NodeId;
use ha_core::time::Timestamp;
use ha_core::trust::{Access, Digest};
use std::fmt;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The name that every node's certificate has.
pub const MEMBER: &str = "member.ha-agent.internal";

/// The name that only the certificate of that node has.
pub fn node_name(id: NodeId) -> String {
    format!("{id}.{MEMBER}")
}

/// Whom a certificate names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    Node(NodeId),
    User {
        name: String,
        /// What it may do.
        access: Access,
    },
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Node(id) => write!(f, "node {id}"),
            Subject::User { name, access } => write!(f, "{} {name}", access.word()),
        }
    }
}

impl Subject {
    /// As it stands in a certificate.
    pub fn uri(&self, cluster: NodeId) -> String {
        match self {
            Subject::Node(id) => format!("ha://{cluster}/node/{id}"),
            Subject::User { name, access } => {
                format!("ha://{cluster}/user/{name}/{}", access.word())
            }
        }
    }

    fn of_uri(uri: &str) -> Option<(NodeId, Subject)> {
        let mut parts = uri.strip_prefix("ha://")?.split('/');
        let cluster = parts.next()?.parse().ok()?;
        let subject = match (parts.next()?, parts.next()?, parts.next(), parts.next()) {
            ("node", id, None, None) => Subject::Node(id.parse().ok()?),
            ("user", name, Some(access), None) => Subject::User {
                name: name.to_owned(),
                access: Access::from_word(access)?,
            },
            _ => return None,
        };
        Some((cluster, subject))
    }
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateClaims {
    pub cluster: NodeId,
    pub subject: Subject,
    /// When it was made good from.
    pub from: Timestamp,
    /// Until when it is good.
    pub until: Timestamp,
    /// Of its public key.
    pub key: Digest,
    /// Which key signed it, as [`key_id`] of the authority's certificate.
    pub signed_by: Vec<u8>,
}

impl CertificateClaims {
    /// Reads a certificate in DER. Whether to believe it was decided before, by TLS.
    ///
    /// # Errors
    /// Bytes that are no certificate, or one that names none of ours.
    pub fn of(certificate: &[u8]) -> Result<CertificateClaims, TrustError> {
        let parsed = parse(certificate)?;
        let mut uris = Vec::new();
        let mut signed_by = Vec::new();
        for extension in parsed.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(names) => {
                    uris.extend(names.general_names.iter().filter_map(|n| {
                        if let GeneralName::URI(u) = n {
                            Some(*u)
                        } else {
                            None
                        }
                    }))
                }
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    signed_by = id
                        .key_identifier
                        .as_ref()
                        .map(|k| k.0.to_vec())
                        .unwrap_or_default()
                }
                _ => {}
            }
        }
        // Exactly one: a certificate does not speak for two.
        let [uri] = uris[..] else {
            return Err(TrustError::NoIdentity(uris.join(" ")));
        };
        let (cluster, subject) =
            Subject::of_uri(uri).ok_or_else(|| TrustError::NoIdentity(uri.to_owned()))?;
        let ms = |seconds: i64| Timestamp(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000));
        let validity = parsed.validity();
        Ok(CertificateClaims {
            cluster,
            subject,
            from: ms(validity.not_before.timestamp()),
            until: ms(validity.not_after.timestamp()),
            key: digest(parsed.public_key().raw),
            signed_by,
        })
    }
}

/// The name of an authority's key, by which certificates say who signed them.
///
/// # Errors
/// Bytes that are no certificate of an authority.
pub fn key_id(authority: &[u8]) -> Result<Vec<u8>, TrustError> {
    let parsed = parse(authority)?;
    let found = parsed.extensions().iter().find_map(|e| {
        if let ParsedExtension::SubjectKeyIdentifier(id) = e.parsed_extension() {
            Some(id.0.to_vec())
        } else {
            None
        }
    });
    found.ok_or_else(|| TrustError::Certificate("an authority without a key identifier".to_owned()))
}

/// What a certificate calls its holder, for people.
///
/// # Errors
/// Bytes that are no certificate, or one without a name.
pub fn common_name(certificate: &[u8]) -> Result<String, TrustError> {
    let parsed = parse(certificate)?;
    let name = parsed
        .subject()
        .iter_common_name()
        .next()
        .and_then(|n| n.as_str().ok())
        .map(str::to_owned);
    name.ok_or_else(|| TrustError::Certificate("a certificate without a name".to_owned()))
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, TrustError> {
    match X509Certificate::from_der(der) {
        Ok(([], parsed)) => Ok(parsed),
        Ok(_) => Err(TrustError::Certificate("bytes after its end".to_owned())),
        Err(e) => Err(TrustError::Certificate(e.to_string())),
    }
}
