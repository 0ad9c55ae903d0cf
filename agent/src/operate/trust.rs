//! `user`, and tokens that nodes show: who may enter. Whoever leads can sign: each member has the authority's key, sealed.

use super::{Operations, RequestError, Why, rejection_error};
use crate::config::agent_file::is_name;
use ha_core::command::Command;
use ha_core::model::Member;
use ha_core::trust::{Access, Ticket, TrustOrder};
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
/// The time in which [`WRONG_TOKENS_MAX`] are counted.
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
            authorities: facts.trust.certificates(),
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
}

pub(super) fn internal(e: TrustError) -> RequestError {
    RequestError::internal(e.to_string())
}
