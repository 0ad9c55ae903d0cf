//! What a running agent believes and shows, and how it changes without a gap: connections that are made after a
//! change see it, those that are there go on.

use crate::TrustError;
use crate::identity::{CertificateClaims, key_id};
use crate::keyring::Keyring;
use crate::tls::{self, Shown};
use ha_core::trust::Credentials;
use rustls::{ClientConfig, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// The one place that says what is believed and shown at this moment.
pub struct TrustStore {
    data_dir: PathBuf,
    live: RwLock<Arc<Live>>,
}

/// One state of the store.
pub struct Live {
    pub keyring: Keyring,
    /// What the certificate of this node says.
    pub identity: CertificateClaims,
    /// For connections that are accepted.
    pub server: Arc<ServerConfig>,
    /// For connections that are made.
    pub client: Arc<ClientConfig>,
    key_ids: Vec<Vec<u8>>,
}

impl Live {
    fn of(keyring: Keyring) -> Result<Live, TrustError> {
        let shown = Shown {
            certificate: &keyring.certificate,
            key: &keyring.key,
        };
        let server = Arc::new(tls::server(&keyring.authorities, &keyring.crosses, &shown)?);
        let client = Arc::new(tls::client(&keyring.authorities, Some(&shown))?);
        let identity = CertificateClaims::of(&keyring.certificate)?;
        let key_ids = keyring
            .authorities
            .iter()
            .map(|a| key_id(a))
            .collect::<Result<_, _>>()?;
        Ok(Live {
            keyring,
            identity,
            server,
            client,
            key_ids,
        })
    }

    /// Whether the authority that signed it is believed at this moment.
    pub fn believes(&self, identity: &CertificateClaims) -> bool {
        self.key_ids.contains(&identity.signed_by)
    }

    /// What the leader is told.
    pub fn credentials(&self) -> Credentials {
        let trusts = self
            .keyring
            .authorities
            .iter()
            .map(|a| crate::digest(a))
            .collect();
        let signer = self
            .keyring
            .authorities
            .iter()
            .zip(&self.key_ids)
            .find(|(_, id)| **id == self.identity.signed_by);
        Credentials {
            trusts,
            shows: signer.map(|(a, _)| crate::digest(a)).unwrap_or_default(),
        }
    }
}

impl TrustStore {
    /// What is on disk.
    ///
    /// # Errors
    /// A file that is missing, damaged, or does not go together.
    pub fn open(data_dir: &Path) -> Result<TrustStore, TrustError> {
        Ok(TrustStore {
            data_dir: data_dir.to_owned(),
            live: RwLock::new(Arc::new(Live::of(Keyring::load(data_dir)?)?)),
        })
    }

    /// What holds at this moment.
    pub fn live(&self) -> Arc<Live> {
        self.live
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes another keyring: on disk first.
    ///
    /// # Errors
    /// Parts that do not go together, or a disk that refuses: then all stays as it was.
    pub fn replace(&self, keyring: Keyring) -> Result<(), TrustError> {
        let live = Arc::new(Live::of(keyring)?);
        live.keyring.save(&self.data_dir)?;
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = live;
        Ok(())
    }
}
