//! Context files: where a cluster is, whom to believe there, and as whom to come. Made by `user add`, kept good by use.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ha_trust::identity::{CertificateClaims, Subject, key_id};
use ha_trust::keyring::write_private;
use ha_trust::tls::{self, ClientConfig, Shown};
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};

/// The context that is used when none is named and there is no agent on this machine.
const DEFAULT: &str = "default";

/// What a context file holds. Certificates and keys are DER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    pub cluster: String,
    /// `host:port` of every member.
    pub endpoints: Vec<String>,
    /// Certificates of the authorities that members must show to be believed.
    pub authorities: Vec<Vec<u8>>,
    /// What the operator shows to members.
    pub certificate: Vec<u8>,
    /// The private key of `certificate`, PKCS #8.
    pub key: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OnDisk {
    format: u32,
    cluster: String,
    endpoints: Vec<String>,
    authorities: Vec<String>,
    certificate: String,
    key: String,
}

const FORMAT: u32 = 1;

impl Context {
    /// Reads a file, named by its path or by its name in the operator's directory of contexts.
    ///
    /// # Errors
    /// No such file, or one that is no context.
    pub fn load(path: &Path) -> Result<Context, Failure> {
        let wrong = |found: String| {
            Failure::new(Exit::Usage, format!("context {}: {found}", path.display()))
        };
        let text = std::fs::read_to_string(path).map_err(|e| {
            wrong(e.to_string())
                .remedy("an admin makes one with `ha-cli user add NAME --role ROLE`")
        })?;
        let again =
            "it was damaged or is no context: an admin makes another with `ha-cli user add`";
        let disk: OnDisk =
            serde_json::from_str(&text).map_err(|e| wrong(e.to_string()).remedy(again))?;
        if disk.format != FORMAT {
            return Err(wrong(format!(
                "format {} is not known to this version (it knows {FORMAT})",
                disk.format
            )));
        }
        let bytes = |text: &str| {
            STANDARD
                .decode(text)
                .map_err(|e| wrong(e.to_string()).remedy(again))
        };
        let authorities = disk
            .authorities
            .iter()
            .map(|a| bytes(a))
            .collect::<Result<_, _>>()?;
        Ok(Context {
            cluster: disk.cluster,
            endpoints: disk.endpoints,
            authorities,
            certificate: bytes(&disk.certificate)?,
            key: bytes(&disk.key)?,
        })
    }

    /// Writes it so that only its owner can read it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Failure> {
        let disk = OnDisk {
            format: FORMAT,
            cluster: self.cluster.clone(),
            endpoints: self.endpoints.clone(),
            authorities: self
                .authorities
                .iter()
                .map(|a| STANDARD.encode(a))
                .collect(),
            certificate: STANDARD.encode(&self.certificate),
            key: STANDARD.encode(&self.key),
        };
        let text = serde_json::to_string_pretty(&disk).map_err(std::io::Error::from)?;
        write_private(path, text.as_bytes())
            .map_err(|e| Failure::new(Exit::Unexpected, format!("{}: {e}", path.display())))
    }

    /// What a connection believes and shows.
    ///
    /// # Errors
    /// Parts that do not go together.
    pub fn credentials(&self) -> Result<Arc<ClientConfig>, Failure> {
        let shown = Shown {
            certificate: &self.certificate,
            key: &self.key,
        };
        let config = tls::client(&self.authorities, Some(&shown)).map_err(|e| {
            Failure::new(
                Exit::Usage,
                format!("the context does not go together: {e}"),
            )
        })?;
        Ok(Arc::new(config))
    }

    /// The operator that the certificate names.
    ///
    /// # Errors
    /// A certificate that names no operator.
    pub fn identity(&self) -> Result<CertificateClaims, Failure> {
        let wrong =
            |e: String| Failure::new(Exit::Usage, format!("the context's certificate: {e}"));
        let identity =
            CertificateClaims::of(&self.certificate).map_err(|e| wrong(e.to_string()))?;
        if matches!(identity.subject, Subject::User { .. }) {
            Ok(identity)
        } else {
            Err(wrong("it names no operator".into()))
        }
    }

    /// Whether it is time for another certificate: a third of its life or less is left, or the members show
    /// certificates of another authority (`shown`, DER) than the one that signed this one.
    pub fn is_due(&self, now_ms: u64, shown: Option<&[u8]>) -> bool {
        let Ok(identity) = self.identity() else {
            return false;
        };
        let whole = identity.until.0.saturating_sub(identity.from.0);
        let other = shown
            .and_then(|authority| key_id(authority).ok())
            .is_some_and(|id| id != identity.signed_by);
        other || identity.until.0.saturating_sub(now_ms) <= whole / 3
    }
}

/// Where the file of a context is: a path as it is, a name in the operator's directory.
pub fn path_of(named: &str) -> PathBuf {
    if named.contains(['/', '.']) {
        return named.into();
    }
    directory().join(format!("{named}.json"))
}

/// The context that is used when none is named, if it is there.
pub fn default_path() -> Option<PathBuf> {
    Some(path_of(DEFAULT)).filter(|p| p.exists())
}

fn directory() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".config"));
    std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(home)
        .unwrap_or_default()
        .join("ha-cli")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ha_core::id::NodeId;
    use ha_core::time::Timestamp;
    use ha_core::trust::Access;
    use ha_trust::authority::{Authority, request};
    use std::time::Duration;

    const DAY: u64 = 86_400_000;
    const NOW: u64 = 1_800_000_000_000;

    fn context(authority: &Authority) -> Context {
        let (key, asked) = request().unwrap();
        let subject = Subject::User {
            name: "alice".into(),
            access: Access::Viewer,
        };
        let certificate = authority
            .sign(
                &asked,
                &subject,
                NodeId::from_random(9),
                Timestamp(NOW),
                Duration::from_millis(90 * DAY),
            )
            .unwrap();
        Context {
            cluster: "print".into(),
            endpoints: vec!["10.0.0.1:7400".into()],
            authorities: vec![authority.certificate().to_vec()],
            certificate,
            key: key.serialize_der(),
        }
    }

    #[test]
    fn a_context_is_private_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("alice.json");
        let context =
            context(&Authority::generate(NodeId::from_random(9), Timestamp(NOW)).unwrap());
        context.save(&path).unwrap();
        assert_eq!(Context::load(&path).unwrap(), context);
        context.credentials().unwrap();
        #[cfg(unix)]
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(
                &std::fs::metadata(&path).unwrap().permissions()
            ) & 0o777,
            0o600
        );
        let text = std::fs::read_to_string(&path).unwrap();
        for cut in [0, 1, text.len() / 2, text.len() - 1] {
            std::fs::write(&path, &text[..cut]).unwrap();
            assert_eq!(Context::load(&path).unwrap_err().exit, Exit::Usage);
        }
        std::fs::write(&path, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
        assert!(
            Context::load(&path)
                .unwrap_err()
                .message
                .contains("format 2")
        );
    }

    #[test]
    fn it_is_renewed_in_time_and_when_another_authority_signs() {
        let (own, other) = (
            Authority::generate(NodeId::from_random(9), Timestamp(NOW)).unwrap(),
            Authority::generate(NodeId::from_random(9), Timestamp(NOW)).unwrap(),
        );
        let context = context(&own);
        assert!(
            !context.is_due(NOW, None) && !context.is_due(NOW + 50 * DAY, Some(own.certificate()))
        );
        assert!(context.is_due(NOW + 62 * DAY, None));
        assert!(context.is_due(NOW, Some(other.certificate())));
    }

    #[test]
    fn a_name_is_looked_up_and_a_path_is_not() {
        assert!(path_of("alice").ends_with("ha-cli/alice.json"));
        assert_eq!(path_of("./alice.json"), PathBuf::from("./alice.json"));
    }
}
