//! `ca`: the authorities that the cluster believes, and how one takes the place of another.

use super::trust::internal;
use super::{Operations, RequestError};
use ha_core::id::NodeId;
use ha_core::trust::{Stage, TrustOrder};
use ha_proto::control as pb;
use ha_trust::authority::Authority;

impl Operations {
    pub(crate) async fn authorities(
        &self,
        _: pb::AuthoritiesRequest,
    ) -> Result<pb::AuthoritiesReply, RequestError> {
        let may_be_old = self.may_be_old().await?;
        let facts = self.consensus.read().facts;
        let members: Vec<NodeId> = facts.members.keys().copied().collect();
        let said = self.credentials(members).await;
        let name = |id: &NodeId| facts.node_name(*id);
        let one = |a: &ha_core::trust::AuthorityRecord| pb::AuthorityInfo {
            fingerprint: a.fingerprint.to_string(),
            stage: stage_word(a.stage).to_owned(),
            since_ms: a.since.0,
            shown_by: said
                .iter()
                .filter(|(_, c)| c.as_ref().is_some_and(|c| c.shows == a.fingerprint))
                .map(|(id, _)| name(id))
                .collect(),
        };
        // Whether it trusts the newest, and shows what the one that signs has signed.
        let newest = facts.trust.authorities.last().map(|a| a.fingerprint);
        let signing = facts.trust.signing().map(|a| a.fingerprint);
        let follows = |c: &ha_core::trust::Credentials| {
            newest.is_none_or(|n| c.trusts.contains(&n)) && signing.is_none_or(|s| c.shows == s)
        };
        let waiting_for = said
            .iter()
            .filter(|(_, c)| !c.as_ref().is_some_and(follows))
            .map(|(id, _)| name(id))
            .collect();
        Ok(pb::AuthoritiesReply {
            may_be_old,
            authorities: facts.trust.authorities.iter().map(one).collect(),
            waiting_for,
        })
    }

    /// What each of these members told last of its certificates.
    pub(crate) async fn credentials(
        &self,
        members: Vec<NodeId>,
    ) -> Vec<(NodeId, Option<ha_core::trust::Credentials>)> {
        let own = (self.member.id, self.trust.live().credentials());
        let told = self
            .driver
            .ask(move |c| {
                members
                    .into_iter()
                    .map(|m| (m, c.report_of(m).map(|r| r.credentials.clone())))
                    .collect::<Vec<_>>()
            })
            .await;
        let told = told.unwrap_or_default().into_iter();
        told.map(|(id, said)| {
            if id == own.0 {
                (id, Some(own.1.clone()))
            } else {
                (id, said)
            }
        })
        .collect()
    }

    pub(crate) async fn rotate_authority(
        &self,
        r: pb::RotateAuthorityRequest,
    ) -> Result<pb::TrustReply, RequestError> {
        let facts = self.consensus.read().facts;
        let new =
            Authority::generate(facts.cluster_id, self.outside.clock.wall()).map_err(internal)?;
        let sealed_key = new
            .sealed_key(&self.trust.live().keyring.seal)
            .map_err(internal)?;
        let cross = self
            .authority()?
            .cross_sign(&new, self.outside.clock.wall())
            .map_err(internal)?;
        let (fingerprint, certificate) = (new.fingerprint(), new.certificate().to_vec());
        self.order(
            &r.by,
            r.asked.as_ref(),
            TrustOrder::Introduce {
                fingerprint,
                certificate,
                cross,
                sealed_key,
            },
        )
        .await?;
        // At a further attempt it is that of the first.
        let facts = self.consensus.read().facts;
        let newest = facts.trust.authorities.last();
        let fingerprint = newest.map_or(fingerprint, |a| a.fingerprint);
        Ok(pb::TrustReply {
            message: format!(
                "authority {} is being made known to every node",
                fingerprint.short()
            ),
        })
    }

    pub(crate) async fn retire_authority(
        &self,
        r: pb::RetireAuthorityRequest,
    ) -> Result<pb::TrustReply, RequestError> {
        let now = self.outside.clock.wall();
        if let Some(before) = self.answered_before(now, r.asked.as_ref()) {
            before?;
            return Ok(pb::TrustReply {
                message: "the old authority is not believed any more".to_owned(),
            });
        }
        let facts = self.consensus.read().facts;
        let Some(old) = facts
            .trust
            .authorities
            .iter()
            .find(|a| a.stage != Stage::Signing)
        else {
            return Err(RequestError::failed_precondition(
                "there is one authority, and it signs: `ha-cli ca rotate` makes another",
            ));
        };
        let signing = facts.trust.signing().map(|a| a.fingerprint);
        let shown: Vec<String> = match old.stage {
            Stage::Leaving => {
                let said = self
                    .credentials(facts.members.keys().copied().collect())
                    .await;
                said.iter()
                    .filter(|(_, c)| c.as_ref().is_none_or(|c| Some(c.shows) != signing))
                    .map(|(id, _)| facts.node_name(*id))
                    .collect()
            }
            _ => Vec::new(),
        };
        if !shown.is_empty() && !r.force {
            return Err(RequestError::failed_precondition(format!(
                "{} would be shut out: their certificates are signed by it, or they do not answer. Start them and try again, or say --force and let them join anew",
                shown.join(", ")
            )));
        }
        self.order(&r.by, r.asked.as_ref(), TrustOrder::Retire(old.fingerprint))
            .await?;
        Ok(pb::TrustReply {
            message: format!(
                "authority {} is not believed any more",
                old.fingerprint.short()
            ),
        })
    }
}

fn stage_word(stage: Stage) -> &'static str {
    match stage {
        Stage::Spreading => "spreading",
        Stage::Signing => "signing",
        Stage::Leaving => "leaving",
    }
}
