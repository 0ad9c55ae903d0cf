//! One node goes on alone, because the others are lost for good: a new log under a new id, with everything that the old
//! one says. The old one is read and never written.
//!
//! ```text
//!   open, look:  what is here, who else there was, whether anybody answers        nothing is changed
//!   go_on:       DIR/next-node is filled > switch: the old contents go aside
//! ```

use super::on_disk::OnDisk;
use super::{bindings, first_keyring, found_with, member, new_id, one_entry, switch};
use crate::config::AgentConfig;
use crate::error::Failure;
use crate::identity::Identity;
use crate::meet::{self, Heard, Place, known, places};
use crate::store::SledStore;
use crate::sys::wall_now;
use crate::written;
use ha_core::command::Command;
use ha_core::id::NodeId;
use ha_core::model::Role;
use ha_trust::authority::Authority;
use ha_trust::store::TrustStore;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long a machine that is on may take to answer: longer than at a start, there is time.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// A stopped node, its log open: no agent starts on it meanwhile.
pub struct Stopped {
    /// As it was.
    pub identity: Identity,
    /// What its log says.
    pub disk: OnDisk,
    trust: Arc<TrustStore>,
    store: SledStore,
}

impl Stopped {
    /// Opens the log of a node whose agent does not run.
    ///
    /// # Errors
    /// No node, an agent that runs, a log that cannot be read.
    pub fn open(config: &AgentConfig) -> Result<Stopped, Failure> {
        let identity = Identity::load(&config.data_dir)?;
        written::check(&config.data_dir)?;
        let store = SledStore::open_known(&config.data_dir, identity.store)?;
        let disk = OnDisk::read(&store)?;
        if disk.state.facts.cluster_id != identity.cluster_id {
            return Err(format!(
                "the log in {} is empty, or that of another cluster: there is nothing to go on from",
                config.data_dir.display()
            )
            .into());
        }
        let trust = Arc::new(TrustStore::open(&config.data_dir)?);
        Ok(Stopped {
            identity,
            disk,
            trust,
            store,
        })
    }

    /// What opens the authority's key.
    pub fn seal(&self) -> [u8; 32] {
        self.trust.live().keyring.seal.0
    }

    /// The other members, by their names.
    pub fn others(&self) -> BTreeSet<String> {
        let members = self.disk.state.facts.members.values();
        let others = members.filter(|m| m.id != self.identity.node_id);
        others.map(|m| m.name.clone()).collect()
    }

    /// Whether this node may go on alone, as far as it knows by itself.
    ///
    /// # Errors
    /// Why not.
    pub fn may_go_on(&self, config: &AgentConfig) -> Result<(), Failure> {
        let (facts, me) = (&self.disk.state.facts, self.identity.node_id);
        if let Some(why) = &self.identity.outdated {
            return Err(why.clone().into());
        }
        if config.role == Role::Witness {
            return Err("a witness holds no address and cannot go on alone: `ha-agent recover --alone` on a server".into());
        }
        if !facts.members.contains_key(&me) {
            return Err("this node is no member by its own log: it was removed, or has only just joined. Go on with another one".into());
        }
        if self.disk.voters() == BTreeSet::from([me]) {
            return Err("this node decides alone already: start its agent (`ha-agent run`); nothing needs to be recovered".into());
        }
        Ok(())
    }

    /// Asks every machine that may still serve. What was found out about those that are silent.
    ///
    /// # Errors
    /// One that answers.
    pub async fn nobody_answers(&self) -> Result<Vec<(Place, String)>, Failure> {
        let facts = &self.disk.state.facts;
        let question = meet::question(self.identity.cluster_id, &known(&self.identity, facts));
        let places = places(facts, self.identity.node_id);
        let mut silent = Vec::new();
        for (place, heard) in meet::ask(&self.trust, &places, &question, ANSWER_WITHIN).await {
            let says = match heard {
                Heard::Nobody(why) => {
                    silent.push((place, why));
                    continue;
                }
                Heard::Agent(_, met) => format!(
                    "an agent answers as {} (generation {})",
                    met.name, met.known.generation
                ),
                Heard::Somebody(says) => format!("an agent answers: {says}"),
            };
            return Err(format!(
                "{} is not lost: at {} {says}. Nothing was changed. Start the agent here and let the cluster decide; \
                 or, if that machine must not serve any more, switch it off first",
                place.name, place.listen
            )
            .into());
        }
        Ok(silent)
    }

    /// Goes on alone under a new id.
    ///
    /// # Errors
    /// A disk that refuses. Then everything is as it was, or the next run ends it.
    pub async fn go_on(
        self,
        config: &AgentConfig,
        id: Option<NodeId>,
    ) -> Result<Recovered, Failure> {
        let was = self.identity.node_id;
        let me = id.unwrap_or_else(new_id);
        let (state, live) = (self.disk.state, self.trust.live());
        let facts = &state.facts;
        if facts.members.contains_key(&me) || facts.trust.removed.contains_key(&me) {
            return Err(format!("node {me} was one of the cluster's before, and is not heard any more: choose another --id").into());
        }
        let identity = Identity {
            generation: self.identity.generation.max(facts.generation()) + 1,
            ..Identity::new(
                me,
                self.identity.cluster_id,
                new_id(),
                self.identity.timing(),
                self.identity.promise(),
            )
        };
        let signing = facts.trust.signing().ok_or("the log names no authority")?;
        let seal = live.keyring.seal.clone();
        let authority = Authority::open(&signing.certificate, &signing.sealed_key, &seal)?;
        let staged = AgentConfig {
            data_dir: switch::stage(&config.data_dir)?,
            ..config.clone()
        };
        let lifetime = facts.config.certificate_lifetime;
        first_keyring(&staged, &identity, &authority, seal, 0, lifetime)?;
        let events = facts.events.len();
        let carried = one_entry((**facts).clone())?;
        let left_out = events - carried.events.len();
        let recover = Command::Recover {
            facts: Box::new(carried),
            was,
            member: member(config, me),
        };
        let commands = std::iter::once(recover).chain(bindings(&state.stick));
        let identity = found_with(&staged, identity, commands, "recover --alone").await?;
        // From here on the agent of before must not start: what it would find is not what counts any more.
        drop(self.store);
        let kept = switch::commit(&config.data_dir, wall_now())?;
        Ok(Recovered {
            identity,
            kept,
            bindings: state.stick.table().len(),
            left_out,
        })
    }
}

/// What became of it.
pub struct Recovered {
    /// Of the node, from now on.
    pub identity: Identity,
    /// Where the data of before are.
    pub kept: PathBuf,
    /// How many were taken along.
    pub bindings: usize,
    /// Events, the oldest, for which there was no room.
    pub left_out: usize,
}
