//! Certificates of one cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ha_agent::sys::wall_now;
use ha_agent::wire::channels::PeerChannels;
use ha_core::id::NodeId;
use ha_core::model::CERTIFICATE_LIFETIME;
use ha_trust::authority::{Authority, Seal, request};
use ha_trust::identity::Subject;
use ha_trust::keyring::Keyring;
use ha_trust::store::TrustStore;

/// For what should take a moment.
pub const WITHIN: Duration = Duration::from_secs(5);

/// A cluster's authority, and what it gives to its nodes.
pub struct Cluster {
    pub authority: Authority,
    seal: Seal,
    dir: tempfile::TempDir,
}

pub const CLIENT: u128 = 1;
pub const SERVER: u128 = 2;

pub fn id(i: u128) -> NodeId {
    NodeId::from_random(i)
}

impl Cluster {
    pub fn new() -> Cluster {
        Cluster {
            authority: Authority::generate(id(9), wall_now()).expect("an authority"),
            seal: Seal::generate().expect("a seal"),
            dir: tempfile::tempdir().expect("a directory"),
        }
    }

    pub fn keyring(&self, node: u128, authorities: &[&Authority]) -> Keyring {
        let (key, asked) = request().expect("a request");
        let certificate = authorities[0]
            .sign(
                &asked,
                &Subject::Node(id(node)),
                id(9),
                wall_now(),
                CERTIFICATE_LIFETIME,
            )
            .expect("a certificate");
        let authorities = authorities
            .iter()
            .map(|a| a.certificate().to_vec())
            .collect();
        Keyring {
            generation: 1,
            authorities,
            crosses: Vec::new(),
            certificate,
            key: key.serialize_der().into(),
            seal: self.seal.clone(),
        }
    }

    pub fn trust(&self, node: u128) -> Arc<TrustStore> {
        let dir = self.directory(&node.to_string());
        self.keyring(node, &[&self.authority])
            .save(&dir)
            .expect("saved");
        Arc::new(TrustStore::open(&dir).expect("a store"))
    }

    pub fn channels(&self) -> PeerChannels {
        PeerChannels::new(id(CLIENT), self.trust(CLIENT))
    }

    pub fn directory(&self, name: &str) -> std::path::PathBuf {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = self.dir.path().join(format!("{name}-{next}"));
        std::fs::create_dir_all(&dir).expect("a directory");
        dir
    }
}
