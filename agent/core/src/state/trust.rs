//! Changes of who may speak.

use super::Facts;
use super::configure::check_kinds;
use crate::command::{Answer, Outcome, Rejection};
use crate::events::{TrustChange, What};
use crate::id::NodeId;
use crate::model::Member;
use crate::time::Timestamp;
use crate::trust::{
    AuthorityRecord, REMOVED_MAX, Stage, TOKENS_MAX, Ticket, TokenRecord, Trust, TrustOrder,
    USERS_MAX, UserRecord,
};
use std::sync::Arc;

impl Facts {
    pub(super) fn change_trust(&mut self, order: &TrustOrder, at: Timestamp, by: &str) -> Answer {
        let trust = Arc::make_mut(&mut self.trust);
        if matches!(
            order,
            TrustOrder::Introduce { .. } | TrustOrder::Advance(_) | TrustOrder::Retire(_)
        ) {
            trust.generation += 1;
        }
        let said = match order {
            TrustOrder::Introduce {
                fingerprint,
                certificate,
                cross,
                sealed_key,
            } => {
                let first = trust.authorities.is_empty();
                if trust.authorities.len() > 1 {
                    return Err(Rejection::RotationUnderWay);
                }
                let stage = if first {
                    Stage::Signing
                } else {
                    Stage::Spreading
                };
                trust.authorities.push(AuthorityRecord {
                    fingerprint: *fingerprint,
                    certificate: certificate.clone(),
                    cross: cross.clone(),
                    sealed_key: sealed_key.clone(),
                    stage,
                    since: at,
                });
                if first {
                    TrustChange::AuthorityFounded(fingerprint.short())
                } else {
                    TrustChange::AuthorityIntroduced(fingerprint.short())
                }
            }
            TrustOrder::Advance(fingerprint) => {
                if !trust
                    .authorities
                    .iter()
                    .any(|a| a.fingerprint == *fingerprint && a.stage == Stage::Spreading)
                {
                    return Err(Rejection::AuthorityUnknown(fingerprint.short()));
                }
                for a in &mut trust.authorities {
                    a.stage = if a.fingerprint == *fingerprint {
                        Stage::Signing
                    } else {
                        Stage::Leaving
                    };
                    a.since = at;
                }
                TrustChange::AuthoritySigns(fingerprint.short())
            }
            TrustOrder::Retire(fingerprint) => {
                if trust
                    .authority(*fingerprint)
                    .is_none_or(|a| a.stage == Stage::Signing)
                {
                    return Err(Rejection::AuthorityUnknown(fingerprint.short()));
                }
                trust.authorities.retain(|a| a.fingerprint != *fingerprint);
                // Nobody is left who would believe by its word.
                trust.authorities.iter_mut().for_each(|a| a.cross.clear());
                TrustChange::AuthorityRetired(fingerprint.short())
            }
            TrustOrder::MakeToken {
                id,
                secret,
                role,
                expires,
            } => {
                make_room(trust, at)?;
                let record = TokenRecord {
                    secret: *secret,
                    role: *role,
                    expires: *expires,
                    made: at,
                    by: by.to_owned(),
                    used: None,
                    revoked: false,
                };
                trust.tokens.insert(id.clone(), record);
                TrustChange::TokenMade {
                    id: id.clone(),
                    role: *role,
                }
            }
            TrustOrder::RevokeToken(id) => {
                let token = trust
                    .tokens
                    .get_mut(id)
                    .ok_or_else(|| Rejection::TokenUnknown(id.clone()))?;
                token.revoked = true;
                TrustChange::TokenRevoked(id.clone())
            }
            TrustOrder::AddUser { name, access, key } => {
                if trust.users.len() >= USERS_MAX && !trust.users.contains_key(name) {
                    return Err(Rejection::TooMany("operators".to_owned(), USERS_MAX as u64));
                }
                trust.users.insert(
                    name.clone(),
                    UserRecord {
                        access: *access,
                        key: *key,
                        since: at,
                        by: by.to_owned(),
                    },
                );
                TrustChange::UserAdded {
                    name: name.clone(),
                    access: *access,
                }
            }
            TrustOrder::RemoveUser(name) => {
                trust
                    .users
                    .remove(name)
                    .ok_or_else(|| Rejection::UserUnknown(name.clone()))?;
                TrustChange::UserRemoved(name.clone())
            }
        };
        self.event(at, What::Trust(said), by);
        Ok(Outcome::Done)
    }

    /// Lets a node in that shows a token. The token is used up by this and by nothing less. The member that it replaces,
    /// if it does, is one no more.
    pub(super) fn admit(
        &mut self,
        member: &Member,
        ticket: &Ticket,
        replaces: Option<NodeId>,
        at: Timestamp,
    ) -> Answer {
        self.check_ticket(member, ticket, at)?;
        if let Some(known) = self.cut_short(member, ticket) {
            // With what its agent now is: it may have been replaced before the node asked again.
            check_kinds(&self.config, std::iter::once(member))?;
            let (id, version) = (known.id, member.version.clone());
            return self.describe_member(id, &version, member.speaks, &member.checks, at);
        }
        let by = self
            .trust
            .tokens
            .get(&ticket.token)
            .map_or_else(String::new, |t| {
                format!("token {} of {}", ticket.token, t.by)
            });
        if let Some(old) = replaces {
            self.give_way(old, member, at, &by)?;
        }
        let admitted = What::MemberAdmitted {
            node: member.name.clone(),
            role: member.role,
            listen: member.listen,
            token: ticket.token.clone(),
        };
        let done = self.take_in(member, admitted, at, &by)?;
        if let Some(token) = Arc::make_mut(&mut self.trust).tokens.get_mut(&ticket.token) {
            token.used = Some((member.id, ticket.key));
        }
        Ok(done)
    }

    /// The member that a node is already, when it was let in by the same token with the same key, and only its agent
    /// is another than then: name, addresses and role are what they were.
    fn cut_short(&self, member: &Member, ticket: &Ticket) -> Option<&Member> {
        let used = self.trust.tokens.get(&ticket.token)?.used;
        let known = self.members.get(&member.id)?;
        let same_but_for_agent = Member {
            version: known.version.clone(),
            speaks: known.speaks,
            checks: known.checks.clone(),
            ..member.clone()
        };
        (used == Some((member.id, ticket.key)) && same_but_for_agent == *known).then_some(known)
    }

    /// Whether a node that shows this would be let in at `at`.
    ///
    /// # Errors
    /// Why not.
    pub fn check_ticket(
        &self,
        member: &Member,
        ticket: &Ticket,
        at: Timestamp,
    ) -> Result<(), Rejection> {
        let id = || ticket.token.clone();
        let token = self
            .trust
            .tokens
            .get(&ticket.token)
            .filter(|t| t.secret == ticket.secret)
            .ok_or_else(|| Rejection::TokenUnknown(id()))?;
        match token.used {
            // The same node asks again because the answer was lost: no second node comes in by that.
            Some(used)
                if used == (member.id, ticket.key) && self.members.contains_key(&member.id) =>
            {
                return Ok(());
            }
            Some((by, _)) => return Err(Rejection::TokenUsed(id(), self.node_name(by))),
            None => {}
        }
        if token.revoked {
            return Err(Rejection::TokenRevoked(id()));
        }
        if token.expires <= at {
            return Err(Rejection::TokenExpired(
                id(),
                at.saturating_since(token.expires).as_secs(),
            ));
        }
        if token.role != member.role {
            return Err(Rejection::TokenRole(
                id(),
                token.role.word().to_owned(),
                member.role.word().to_owned(),
            ));
        }
        if self.trust.removed.contains_key(&member.id) {
            return Err(Rejection::NodeRemoved(member.id));
        }
        Ok(())
    }

    /// From now on nobody hears that node.
    pub(super) fn shut_out(&mut self, id: NodeId, at: Timestamp) {
        let removed = &mut Arc::make_mut(&mut self.trust).removed;
        removed.insert(id, at);
        while removed.len() > REMOVED_MAX {
            let Some(oldest) = removed
                .iter()
                .min_by_key(|(id, at)| (**at, **id))
                .map(|(id, _)| *id)
            else {
                break;
            };
            removed.remove(&oldest);
        }
    }
}

/// The oldest token that opens nothing makes room for the next.
fn make_room(trust: &mut Trust, now: Timestamp) -> Result<(), Rejection> {
    if trust.tokens.len() < TOKENS_MAX {
        return Ok(());
    }
    let spent = trust
        .tokens
        .iter()
        .filter(|(_, t)| t.is_spent(now))
        .min_by_key(|(id, t)| (t.made, (*id).clone()))
        .map(|(id, _)| id.clone());
    trust.tokens.remove(&spent.ok_or_else(|| {
        Rejection::TooMany(
            "join tokens that were not used".to_owned(),
            TOKENS_MAX as u64,
        )
    })?);
    Ok(())
}
