//! Keeps this node's certificate good and follows the authorities that the log names; on the leader, takes a
//! change of authority from step to step.
//!
//! A node signs its own renewal: every member has the authority's key, sealed, so asking another would add nothing
//! but a way to fail. One that was off for longer than its certificate lasts comes back the same way.

use crate::operate::Operations;
use ha_core::command::{Command, Stamped};
use ha_core::controller::RaftRole;
use ha_core::id::NodeId;
use ha_core::time::Timestamp;
use ha_core::trust::{Stage, Trust, next_step};
use ha_trust::TrustError;
use ha_trust::authority::{Authority, BACKDATED, request};
use ha_trust::identity::{CertificateClaims, Subject, key_id};
use ha_trust::store::Live;
use std::sync::Arc;
use std::time::Duration;

/// How long it waits between two looks.
const EVERY: Duration = Duration::from_millis(500);
/// After a renewal that failed.
const AGAIN: Duration = Duration::from_secs(10);
/// How long a majority may take to write the next step of a change of authority.
const PROPOSED_WITHIN: Duration = Duration::from_secs(10);
/// How long an authority is still believed after nobody shows its certificates: operators who are away have as long.
const GRACE: Duration = Duration::from_secs(30 * 86_400);

/// The task that renews this node's certificate.
pub struct Renewal {
    pub(super) node: Arc<Operations>,
}

impl Renewal {
    /// For as long as the agent runs.
    pub async fn run(self) {
        let node = &self.node;
        loop {
            node.outside.clock.sleep(EVERY).await;
            if let Err(error) = self.follow() {
                tracing::error!(%error, "this node's certificate could not be renewed; it is tried again");
                node.outside.clock.sleep(AGAIN).await;
            }
            self.advance().await;
        }
    }

    /// Believes whom the log says, and shows a certificate that is good for a while.
    fn follow(&self) -> Result<(), TrustError> {
        let (facts, live) = (self.node.consensus.read().facts, self.node.trust.live());
        let (trust, now) = (&facts.trust, self.node.outside.clock.wall());
        // An older state than what is on disk is one that is still being read.
        if trust.generation < live.keyring.generation || trust.signing().is_none() {
            return Ok(());
        }
        let mut keyring = live.keyring.clone();
        keyring.generation = trust.generation;
        keyring.authorities = authorities(trust);
        keyring.crosses = trust
            .authorities
            .iter()
            .filter(|a| !a.cross.is_empty())
            .map(|a| a.cross.clone())
            .collect();
        if is_due(&live.identity, trust, now)? {
            let (certificate, key) = renewed(
                trust,
                &live,
                facts.cluster_id,
                now,
                facts.config.certificate_lifetime,
            )?;
            (keyring.certificate, keyring.key) = (certificate, key.into());
            tracing::info!("this node has a new certificate");
        }
        if keyring != live.keyring {
            self.node.trust.replace(keyring)?;
        }
        Ok(())
    }

    /// The next step of a change of authority, when this node leads and all have followed the last one.
    async fn advance(&self) {
        let node = &self.node;
        if node.consensus.news().role != RaftRole::Leader {
            return;
        }
        let facts = node.consensus.read().facts;
        if facts.trust.authorities.len() < 2 {
            return;
        }
        let said = node
            .credentials(facts.members.keys().copied().collect())
            .await;
        let said = |id: NodeId| {
            said.iter()
                .find(|(m, _)| *m == id)
                .and_then(|(_, c)| c.as_ref())
        };
        let now = node.outside.clock.wall();
        let Some(order) = next_step(
            &facts.trust,
            facts.members.keys().copied(),
            said,
            now,
            GRACE,
        ) else {
            return;
        };
        // A leader that is cut off must still come to renew its own certificate.
        match tokio::time::timeout(
            PROPOSED_WITHIN,
            node.consensus.propose(Stamped {
                at: now,
                by: String::new(),
                command: Command::Trust(order),
                request: None,
            }),
        )
        .await
        {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the change of authority waits"),
            Err(_) => tracing::warn!(
                "the change of authority waits: no majority has written its next step within {PROPOSED_WITHIN:?}"
            ),
        }
    }
}

/// The one that signs first.
fn authorities(trust: &Trust) -> Vec<Vec<u8>> {
    let (signing, others): (Vec<_>, Vec<_>) = trust
        .authorities
        .iter()
        .partition(|a| a.stage == Stage::Signing);
    signing
        .into_iter()
        .chain(others)
        .map(|a| a.certificate.clone())
        .collect()
}

/// Whether a third of its life or less is left, or another authority signs by now.
fn is_due(identity: &CertificateClaims, trust: &Trust, now: Timestamp) -> Result<bool, TrustError> {
    let Some(signing) = trust.signing() else {
        return Ok(false);
    };
    let whole = identity
        .until
        .saturating_since(identity.from)
        .saturating_sub(BACKDATED);
    // One that was made by a clock that was fast is good from tomorrow only.
    Ok(identity.from > now
        || identity.until.saturating_since(now) <= whole / 3
        || identity.signed_by != key_id(&signing.certificate)?)
}

fn renewed(
    trust: &Trust,
    live: &Live,
    cluster: NodeId,
    now: Timestamp,
    lifetime: Duration,
) -> Result<(Vec<u8>, Vec<u8>), TrustError> {
    let signing = trust.signing().ok_or(TrustError::Sealed)?;
    let authority = Authority::open(
        &signing.certificate,
        &signing.sealed_key,
        &live.keyring.seal,
    )?;
    let (key, asked) = request()?;
    let Subject::Node(me) = live.identity.subject else {
        return Err(TrustError::NoIdentity(live.identity.subject.to_string()));
    };
    Ok((
        authority.sign(&asked, &Subject::Node(me), cluster, now, lifetime)?,
        key.serialize_der(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ha_core::trust::AuthorityRecord as Known;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn known(authority: &Authority, stage: Stage) -> Known {
        Known {
            fingerprint: authority.fingerprint(),
            certificate: authority.certificate().to_vec(),
            cross: Vec::new(),
            sealed_key: Vec::new(),
            stage,
            since: NOW,
        }
    }

    #[test]
    fn a_certificate_is_renewed_in_time_and_when_another_authority_signs() {
        let cluster = NodeId::from_random(9);
        let (old, new) = (
            Authority::generate(cluster, NOW).unwrap(),
            Authority::generate(cluster, NOW).unwrap(),
        );
        let (_, asked) = request().unwrap();
        let day = Duration::from_secs(86_400);
        let identity = CertificateClaims::of(
            &old.sign(
                &asked,
                &Subject::Node(NodeId::from_random(1)),
                cluster,
                NOW,
                90 * day,
            )
            .unwrap(),
        )
        .unwrap();
        let mut trust = Trust {
            authorities: vec![known(&old, Stage::Signing)],
            ..Trust::default()
        };
        for (after, due) in [(0, false), (59, false), (61, true), (89, true), (200, true)] {
            assert_eq!(
                is_due(&identity, &trust, NOW + after * day).unwrap(),
                due,
                "after {after} days"
            );
        }
        let early = Timestamp(NOW.0 - 2 * 86_400_000);
        assert!(
            is_due(&identity, &trust, early).unwrap(),
            "it was made by a clock that was days ahead"
        );
        trust.authorities.push(known(&new, Stage::Spreading));
        assert!(
            !is_due(&identity, &trust, NOW).unwrap(),
            "not before the others believe it"
        );
        trust.authorities = vec![known(&old, Stage::Leaving), known(&new, Stage::Signing)];
        assert!(is_due(&identity, &trust, NOW).unwrap());
        assert_eq!(authorities(&trust)[0], new.certificate());
    }
}
