//! `user`, `ca`, and tokens that nodes show: who may enter. Whoever leads can sign: each member has the authority's key, sealed.

use super::{Operations, RequestError, Why, rejection_error};
use crate::config::agent_file::is_name;
use ha_core::command::Command;
use ha_core::id::NodeId;
use ha_core::model::Member;
use ha_core::trust::{Access, Stage, Ticket, TrustOrder};
use ha_proto::control as pb;
use ha_trust::TrustError;
use ha_trust::authority::{Authority, requested_key};
use ha_trust::identity::Subject;
use ha_trust::token::Token;
use std::net::IpAddr;
use std::sync::PoisonError;
use std::time::Duration;

/// Tokens that are none, from one address within [`WRONG_TOKENS_WINDOW`].
pub const WRONG_TOKENS_MAX: u32 = 10;
/// See [`WRONG_TOKENS_MAX`].
pub const WRONG_TOKENS_WINDOW: Duration = Duration::from_secs(60);

impl Operations {
    /// Guessing is made slow. Counted before it is looked at, so that many at once are not free; [`Operations::shown_a_token`]
    /// takes back what was no guess.
    pub(crate) fn show_a_token(&self, from: Option<IpAddr>) -> Result<(), RequestError> {
        let Some(from) = from else { return Ok(()) };
        let (mut limiter, now) = (
            self.wrong_tokens
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
            self.outside.clock.now(),
        );
        if limiter.is_over(now, from) {
            return Err(RequestError::resource_exhausted(format!(
                "{WRONG_TOKENS_MAX} join tokens that are none came from {from}: try again in a minute, with the right one"
            )));
        }
        limiter.note(now, from);
        Ok(())
    }

    /// What came of it: only what was a guess stays counted.
    pub(crate) fn shown_a_token(&self, from: Option<IpAddr>, refused: Option<(Why, &str)>) {
        use Why::{AlreadyExists, InvalidArgument, NotFound, PermissionDenied, Unauthenticated};
        let Some(from) = from else { return };
        match refused {
            Some((
                NotFound | Unauthenticated | PermissionDenied | InvalidArgument | AlreadyExists,
                why,
            )) => tracing::warn!(%from, why, "a join was refused"),
            _ => self
                .wrong_tokens
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take_back(from),
        }
    }

    /// What a join shows, as the log wants it.
    pub(crate) fn ticket(
        &self,
        member: &Member,
        token: &str,
        request: &[u8],
    ) -> Result<Ticket, RequestError> {
        if token.is_empty() {
            return Err(RequestError::unauthenticated(
                "a node joins with a token: `ha-cli token create` on any member prints one",
            ));
        }
        let token: Token = token.parse().map_err(RequestError::unauthenticated)?;
        if self
            .consensus
            .read()
            .facts
            .trust
            .authority(token.authority)
            .is_none()
        {
            return Err(RequestError::permission_denied(format!(
                "this token is for another cluster: {}",
                ha_trust::tls::OTHER_CLUSTER
            )));
        }
        let key =
            requested_key(request).map_err(|e| RequestError::invalid_argument(e.to_string()))?;
        let ticket = Ticket {
            token: token.id(),
            secret: token.secret(),
            key,
        };
        // The log decides; what it would refuse in any case is not written into it by a stranger.
        let facts = self.consensus.read().facts;
        facts
            .check_ticket(member, &ticket, self.outside.clock.wall())
            .map_err(|r| rejection_error(&r))?;
        Ok(ticket)
    }

    /// The authority that signs at this moment, opened.
    pub(super) fn authority(&self) -> Result<Authority, RequestError> {
        let (facts, live) = (self.consensus.read().facts, self.trust.live());
        let signing = facts.trust.signing().ok_or_else(|| {
            RequestError::unavailable(
                "this node does not know the cluster's authority yet: try again",
            )
        })?;
        Authority::open(
            &signing.certificate,
            &signing.sealed_key,
            &live.keyring.seal,
        )
        .map_err(internal)
    }

    pub(crate) fn sign(&self, request: &[u8], subject: &Subject) -> Result<Vec<u8>, RequestError> {
        let facts = self.consensus.read().facts;
        let signed = self.authority()?.sign(
            request,
            subject,
            facts.cluster_id,
            self.outside.clock.wall(),
            facts.config.certificate_lifetime,
        );
        signed.map_err(|e| {
            if matches!(e, TrustError::Certificate(_)) {
                RequestError::invalid_argument(e.to_string())
            } else {
                internal(e)
            }
        })
    }

    pub(super) async fn order(
        &self,
        by: &str,
        asked: Option<&pb::Asked>,
        order: TrustOrder,
    ) -> Result<(), RequestError> {
        let done = self.propose_asked(by, asked, Command::Trust(order)).await;
        done.map(drop)
    }

    pub(crate) async fn add_user(
        &self,
        r: pb::AddUserRequest,
    ) -> Result<pb::RenewReply, RequestError> {
        let access = Access::from_word(&r.role).ok_or_else(|| {
            RequestError::invalid_argument(format!(
                "role: found {:?}; use viewer, operator or admin",
                r.role
            ))
        })?;
        if !is_name(&r.name) {
            return Err(RequestError::invalid_argument(format!(
                "name: found {:?}; use letters, digits, `-`, `_` and `.`, at most 63 of them",
                r.name
            )));
        }
        let key =
            requested_key(&r.request).map_err(|e| RequestError::invalid_argument(e.to_string()))?;
        let certificate = self.sign(
            &r.request,
            &Subject::User {
                name: r.name.clone(),
                access,
            },
        )?;
        self.order(
            &r.by,
            r.asked.as_ref(),
            TrustOrder::AddUser {
                name: r.name,
                access,
                key,
            },
        )
        .await?;
        Ok(self.papers(certificate))
    }

    /// Another certificate for the same operator and key. It only signs: who is shut out meanwhile stays that, and the
    /// certificate of before stays good as long as it says.
    pub(crate) async fn renew(&self, r: pb::RenewRequest) -> Result<pb::RenewReply, RequestError> {
        let user = self
            .consensus
            .read()
            .facts
            .trust
            .users
            .get(&r.name)
            .cloned();
        let user = user.ok_or_else(|| {
            RequestError::unauthenticated(format!("{} may not enter any more", r.name))
        })?;
        let key =
            requested_key(&r.request).map_err(|e| RequestError::invalid_argument(e.to_string()))?;
        if key != user.key {
            return Err(RequestError::permission_denied(
                "only the key that the operator was let in with is renewed: an admin gives another with `ha-cli user add`",
            ));
        }
        let certificate = self.sign(
            &r.request,
            &Subject::User {
                name: r.name,
                access: user.access,
            },
        )?;
        Ok(self.papers(certificate))
    }

    fn papers(&self, certificate: Vec<u8>) -> pb::RenewReply {
        let facts = self.consensus.read().facts;
        pb::RenewReply {
            certificate,
            authorities: facts
                .trust
                .authorities
                .iter()
                .map(|a| a.certificate.clone())
                .collect(),
            endpoints: facts
                .members
                .values()
                .map(|m| m.listen.to_string())
                .collect(),
            cluster: facts.config.name.clone(),
        }
    }

    pub(crate) async fn users(&self, _: pb::UsersRequest) -> Result<pb::UsersReply, RequestError> {
        let may_be_old = self.may_be_old().await?;
        let facts = self.consensus.read().facts;
        let users = facts.trust.users.iter().map(|(name, u)| pb::UserInfo {
            name: name.clone(),
            role: u.access.word().to_owned(),
            since_ms: u.since.0,
            by: u.by.clone(),
        });
        Ok(pb::UsersReply {
            may_be_old,
            users: users.collect(),
        })
    }

    pub(crate) async fn remove_user(
        &self,
        r: pb::RemoveUserRequest,
    ) -> Result<pb::TrustReply, RequestError> {
        self.order(
            &r.by,
            r.asked.as_ref(),
            TrustOrder::RemoveUser(r.name.clone()),
        )
        .await?;
        Ok(pb::TrustReply {
            message: format!("{} may not enter any more", r.name),
        })
    }

    pub(crate) async fn authorities(
        &self,
        _: pb::AuthoritiesRequest,
    ) -> Result<pb::AuthoritiesReply, RequestError> {
        let may_be_old = self.may_be_old().await?;
        let facts = self.consensus.read().facts;
        let members: Vec<NodeId> = facts.members.keys().copied().collect();
        let said = self.credentials(members).await;
        let name = |id: &NodeId| facts.node_name(*id);
        let one = |a: &ha_core::trust::Authority| pb::AuthorityInfo {
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

pub(super) fn internal(e: TrustError) -> RequestError {
    RequestError::internal(e.to_string())
}
