//! `init`, `join` and the ways out: how a node comes to its identity.

pub mod export;
mod join;
pub mod on_disk;
pub mod recover;
mod rejoin;
pub mod switch;

pub use join::join;
pub use rejoin::{check_stopped, rejoin};

use crate::config::{AgentConfig, ClusterFile};
use crate::error::Failure;
use crate::identity::Identity;
use crate::outside::{self, Consensus};
use crate::store::SledStore;
use crate::sys::wall_now;
use crate::written;
use ha_core::check::Kind;
use ha_core::command::Command;
use ha_core::id::NodeId;
use ha_core::model::{Member, Role, Timing, VirtualIp};
use ha_core::state::Facts;
use ha_core::stick::StickIndex;
use ha_core::time::Instant;
use ha_core::trust::TrustOrder;
use ha_core::version::CURRENT;
use ha_node::consensus::{ConsensusSettings, PROPOSAL_MAX, SNAPSHOT_EVERY};
use ha_node::founding::write_first;
use ha_node::outside::{Addresses, Intercepted, Release};
use ha_record::backup::Backup;
use ha_record::encode;
use ha_trust::authority::{Authority, Seal, request};
use ha_trust::identity::Subject;
use ha_trust::keyring::Keyring;
use ha_trust::store::TrustStore;
use std::sync::Arc;
use std::time::Duration;

/// How long one node alone may take to found its cluster, a large table of bindings and its disk included.
const FOUND_WITHIN: Duration = Duration::from_secs(120);
/// How long a member may take to answer a join.
pub(crate) const JOIN_WITHIN: Duration = Duration::from_secs(15);

/// Founds a cluster of this node alone.
///
/// # Errors
/// A data directory in use, a disk that refuses, or a witness: it cannot be alone.
pub async fn found(
    config: &AgentConfig,
    cluster: ClusterFile,
    text: String,
    id: Option<NodeId>,
) -> Result<Identity, Failure> {
    if config.role == Role::Witness {
        return Err(
            "the first node cannot be a witness: it holds no address. Start with a server".into(),
        );
    }
    Identity::claim(&config.data_dir)?;
    let me = id.unwrap_or_else(new_id);
    let timing = cluster.timing.unwrap_or_default();
    let identity = Identity::new(
        me,
        new_id(),
        new_id(),
        timing,
        cluster.promise.unwrap_or_else(|| timing.promise()),
    );
    let first_authority = first_authority(config, &identity, cluster.config.certificate_lifetime)?;
    let commands = [
        Command::Found {
            cluster_id: identity.cluster_id,
            timing,
            version: CURRENT.max,
        },
        Command::Trust(first_authority),
        Command::AddMember(member(config, me)),
        Command::Configure {
            config: cluster.config,
            text,
            expect: None,
        },
    ];
    found_with(config, identity, commands, "init").await
}

/// Founds a cluster of this node alone that takes the place of the one of which `backup` was taken: the same
/// identity, configuration, authority and operators. Its other nodes join anew. `timing`: other timers than before.
///
/// # Errors
/// A data directory in use, a disk that refuses, a witness, a backup that does not go together.
pub async fn restore(
    config: &AgentConfig,
    backup: Backup,
    id: Option<NodeId>,
    timing: Option<Timing>,
) -> Result<Identity, Failure> {
    if config.role == Role::Witness {
        return Err(
            "the first node cannot be a witness: it holds no address. Restore on a server".into(),
        );
    }
    Identity::claim(&config.data_dir)?;
    let me = id.unwrap_or_else(new_id);
    let trust = &backup.facts.trust;
    if backup.facts.members.contains_key(&me) || trust.removed.contains_key(&me) {
        return Err(format!("node {me} was one of the cluster's before, and is not heard any more: choose another --id").into());
    }
    let (before, timing) = (backup.facts.timing, timing.unwrap_or(backup.facts.timing));
    // A promise that was made longer on purpose stays so.
    let promise = match backup.promise() {
        usual if usual == before.promise() => timing.promise(),
        longer => longer.max(timing.promise()),
    };
    let identity = Identity {
        generation: backup.facts.generation(),
        ..Identity::new(me, backup.facts.cluster_id, new_id(), timing, promise)
    };
    let seal = Seal(backup.seal);
    let signing = trust.signing().ok_or("the backup holds no authority")?;
    let authority = Authority::open(&signing.certificate, &signing.sealed_key, &seal)?;
    // The rest follows from the log when the agent runs.
    first_keyring(
        config,
        &identity,
        &authority,
        seal,
        0,
        backup.facts.config.certificate_lifetime,
    )?;
    let facts = Facts {
        timing,
        ..one_entry(backup.facts)?
    };
    let commands = [
        Command::Restore(Box::new(facts)),
        Command::AddMember(member(config, me)),
    ];
    let commands = commands.into_iter().chain(bindings(&backup.bindings));
    found_with(config, identity, commands, "restore").await
}

/// What fits into one log entry: of a cluster that has lived long, the oldest events and configurations are left out.
fn one_entry(mut facts: Facts) -> std::io::Result<Facts> {
    // A backup may be of a version that this program reads and does not write.
    facts.active_version = facts.active_version.max(CURRENT.min);
    // Beside it there is no more than the command's name, a stamp and who proposes it.
    while encode(facts.active_version, &facts)?.len() > PROPOSAL_MAX - (1 << 10) {
        if !Arc::make_mut(&mut facts.events).forget_half() {
            let history = Arc::make_mut(&mut facts.history);
            // The newest is the one in force. What is left is refused by name if it is still too large.
            if history.len() <= 1 {
                break;
            }
            history.pop_front();
        }
    }
    Ok(facts)
}

/// Bindings that one entry takes: with the longest names less than 2 MiB.
const BINDINGS_AT_ONCE: usize = 10_000;

/// What puts these into a log.
fn bindings(stick: &StickIndex) -> impl Iterator<Item = Command> + '_ {
    let mut all = stick
        .table()
        .iter()
        .map(|(key, entry)| (key.clone(), *entry));
    std::iter::from_fn(move || {
        let some: Vec<_> = all.by_ref().take(BINDINGS_AT_ONCE).collect();
        (!some.is_empty()).then_some(Command::Bind(some))
    })
}

/// Writes the log of a new cluster, and its identity when that is done.
async fn found_with(
    config: &AgentConfig,
    identity: Identity,
    commands: impl IntoIterator<Item = Command>,
    by: &str,
) -> Result<Identity, Failure> {
    let me = identity.node_id;
    let store = Arc::new(SledStore::create(&config.data_dir, identity.store)?);
    let trust = Arc::new(TrustStore::open(&config.data_dir)?);
    let outside = outside::of(me, trust, store, Arc::new(NoAddresses));
    let settings = ConsensusSettings {
        me,
        role: config.role,
        timing: identity.timing(),
        promise: identity.promise(),
        founding: true,
        speaks: CURRENT,
        snapshot_every: SNAPSHOT_EVERY,
    };
    let consensus = Consensus::start(outside.clone(), settings, Arc::new(|| {})).await?;
    tokio::time::timeout(
        FOUND_WITHIN,
        write_first(
            &*outside.clock,
            &consensus,
            config.listen.to_string(),
            by,
            commands,
        ),
    )
    .await
    .map_err(|_| {
        format!(
            "the log could not be written within {FOUND_WITHIN:?}: look at the disk of {}",
            config.data_dir.display()
        )
    })??;
    consensus.shutdown().await;
    written::note(&config.data_dir)?;
    identity.save(&config.data_dir)?;
    Ok(identity)
}

/// Makes the cluster's authority, and of this node its first member.
fn first_authority(
    config: &AgentConfig,
    identity: &Identity,
    lifetime: Duration,
) -> Result<TrustOrder, Failure> {
    let (authority, seal) = (
        Authority::generate(identity.cluster_id, wall_now())?,
        Seal::generate()?,
    );
    let order = TrustOrder::Introduce {
        fingerprint: authority.fingerprint(),
        certificate: authority.certificate().to_vec(),
        cross: Vec::new(),
        sealed_key: authority.sealed_key(&seal)?,
    };
    first_keyring(config, identity, &authority, seal, 1, lifetime)?;
    Ok(order)
}

/// What the first node of a cluster believes, shows and opens the authority's key with.
fn first_keyring(
    config: &AgentConfig,
    identity: &Identity,
    authority: &Authority,
    seal: Seal,
    generation: u64,
    lifetime: Duration,
) -> Result<(), Failure> {
    let (key, request) = request()?;
    let certificate = authority.sign(
        &request,
        &Subject::Node(identity.node_id),
        identity.cluster_id,
        wall_now(),
        lifetime,
    )?;
    let authorities = vec![authority.certificate().to_vec()];
    Ok(Keyring {
        generation,
        authorities,
        crosses: Vec::new(),
        certificate,
        key: key.serialize_der().into(),
        seal,
    }
    .save(&config.data_dir)?)
}

fn new_id() -> NodeId {
    NodeId::from_random(rand::random())
}

fn member(config: &AgentConfig, id: NodeId) -> Member {
    Member {
        id,
        name: config.name.clone(),
        listen: config.listen,
        address: config.address,
        role: config.role,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        speaks: CURRENT,
        checks: Kind::known_set(),
    }
}

/// While a cluster is founded nobody holds anything.
struct NoAddresses;
impl Addresses for NoAddresses {
    fn configure(&self, _: &[VirtualIp], _: &[Intercepted]) {}
    fn hold(&self, _: Instant, _: bool) {}
    fn release(&self, _: Release, done: Box<dyn FnOnce() + Send>) {
        done();
    }
    fn announce(&self) {}
    fn fence(&self) -> String {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ha_core::command::Stamped;
    use ha_core::events::What;
    use ha_core::model::ClusterConfig;
    use ha_core::state::ConfigVersion;
    use ha_core::time::Timestamp;

    /// A cluster that has lived long is restored too: what is left out is old.
    #[test]
    fn a_long_life_fits_into_one_entry() {
        let mut facts = Facts::default();
        for n in 0..3000 {
            Arc::make_mut(&mut facts.events).add(
                Timestamp(n),
                What::Note {
                    kind: "config".to_owned(),
                    text: "x".repeat(1800),
                },
                "an operator",
            );
        }
        for version in 1..=11 {
            let (text, config) = ("y".repeat(600 << 10), Arc::new(ClusterConfig::default()));
            let kept = ConfigVersion {
                version,
                at: Timestamp(1),
                by: "an operator".to_owned(),
                text,
                config,
            };
            Arc::make_mut(&mut facts.history).push_back(kept);
        }
        assert!(encode(CURRENT.max, &facts).unwrap().len() > 2 * PROPOSAL_MAX);
        let facts = one_entry(facts).unwrap();
        let restore = Stamped {
            at: Timestamp(u64::MAX),
            by: "restore".to_owned(),
            command: Command::Restore(Box::new(facts.clone())),
            request: None,
        };
        let size = encode(CURRENT.max, &restore).unwrap().len();
        assert!((PROPOSAL_MAX / 2..=PROPOSAL_MAX).contains(&size), "{size}");
        assert_eq!(facts.history.back().map(|v| v.version), Some(11));
    }
}
