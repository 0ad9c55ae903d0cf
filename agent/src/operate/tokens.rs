//! `token create`, `token list`, `token revoke`.

use super::trust::internal;
use super::{Operations, RequestError, role};
use ha_core::time::Timestamp;
use ha_core::trust::{TokenRecord, TrustOrder};
use ha_proto::control as pb;
use ha_trust::token::Token;
use std::time::Duration;

/// How long a token may be good at most.
const TOKEN_TTL_MAX: Duration = Duration::from_secs(7 * 86_400);

impl Operations {
    pub(crate) async fn create_token(
        &self,
        r: pb::CreateTokenRequest,
    ) -> Result<pb::CreateTokenReply, RequestError> {
        let ttl = Duration::from_millis(r.ttl_ms);
        if ttl.is_zero() || ttl > TOKEN_TTL_MAX {
            return Err(RequestError::invalid_argument(format!(
                "ttl: found {ttl:?}; use more than nothing and at most 7d"
            )));
        }
        let role = role(&r.role)?;
        let authority = self.authority()?.fingerprint();
        let now = self.outside.clock.wall();
        let token = match Operations::attempt(now, r.asked.as_ref())? {
            // Whoever leads makes the same of it at each attempt: the one that the first made known.
            Some(request) => {
                Token::of_request(authority, &self.trust.live().keyring.seal, request.id)
            }
            None => Token::generate(authority).map_err(internal)?,
        };
        let expires = now + ttl;
        self.order(
            &r.by,
            r.asked.as_ref(),
            TrustOrder::MakeToken {
                id: token.id(),
                secret: token.secret(),
                role,
                expires,
            },
        )
        .await?;
        let facts = self.consensus.read().facts;
        let known = facts.trust.tokens.get(&token.id());
        Ok(pb::CreateTokenReply {
            token: token.to_string(),
            id: token.id(),
            expires_ms: known.map_or(expires, |t| t.expires).0,
        })
    }

    pub(crate) async fn tokens(
        &self,
        _: pb::TokensRequest,
    ) -> Result<pb::TokensReply, RequestError> {
        let may_be_old = self.may_be_old().await?;
        let (facts, now) = (self.consensus.read().facts, self.outside.clock.wall());
        let one = |(id, t): (&String, &TokenRecord)| pb::TokenInfo {
            id: id.clone(),
            role: t.role.word().to_owned(),
            state: token_state(t, now).to_owned(),
            made_ms: t.made.0,
            expires_ms: t.expires.0,
            by: t.by.clone(),
            used_by: t
                .used
                .map_or_else(String::new, |(node, _)| facts.node_name(node)),
        };
        Ok(pb::TokensReply {
            may_be_old,
            tokens: facts.trust.tokens.iter().map(one).collect(),
        })
    }

    pub(crate) async fn revoke_token(
        &self,
        r: pb::RevokeTokenRequest,
    ) -> Result<pb::TrustReply, RequestError> {
        self.order(
            &r.by,
            r.asked.as_ref(),
            TrustOrder::RevokeToken(r.id.clone()),
        )
        .await?;
        Ok(pb::TrustReply {
            message: format!("token {} opens nothing any more", r.id),
        })
    }
}

fn token_state(t: &TokenRecord, now: Timestamp) -> &'static str {
    match t {
        t if t.used.is_some() => "used",
        t if t.revoked => "revoked",
        t if t.expires <= now => "expired",
        _ => "open",
    }
}
