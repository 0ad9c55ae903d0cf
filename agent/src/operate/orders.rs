//! `drain`, `ready`, `maintenance`, `move-leader`.

use super::members::Leaving;
use super::{Operations, RequestError};
use ha_core::command::{AdminOrder, AdminTarget, Command, Outcome};
use ha_core::model::{AdminState, Sticky};
use ha_core::state::Facts;
use ha_proto::control as pb;
use std::time::Duration;

/// Letters of a reason.
const REASON_MAX: usize = 1000;
/// Letters of the maintenance lock's owner and of its purpose.
const LOCK_WORDS_MAX: usize = 256;
/// For how long the maintenance lock may be taken at once.
const LOCK_TTL_MAX: Duration = Duration::from_secs(86_400);

impl Operations {
    pub(crate) async fn set_state(
        &self,
        r: pb::SetStateRequest,
    ) -> Result<pb::SetStateReply, RequestError> {
        let facts = self.consensus.read().facts;
        if r.reason.len() > REASON_MAX || r.lock.len() > LOCK_WORDS_MAX {
            return Err(RequestError::invalid_argument(format!(
                "reason: found {} letters; use at most {REASON_MAX}",
                r.reason.len()
            )));
        }
        let target = target(&facts, &r.target)?;
        let order = AdminOrder {
            state: admin_state(&r.state)?,
            sticky: match r.sticky.as_str() {
                "" | "honour" => Sticky::Honour,
                "move" => Sticky::Move,
                other => {
                    return Err(RequestError::invalid_argument(format!(
                        "sticky: found {other:?}; use honour or move"
                    )));
                }
            },
            deadline: (r.deadline_ms > 0)
                .then(|| self.outside.clock.wall() + Duration::from_millis(r.deadline_ms)),
            then: if r.then.is_empty() {
                None
            } else {
                Some(admin_state(&r.then)?)
            },
            reason: r.reason,
            lock: r.lock,
        };
        let began = self.outside.clock.wall();
        if let Some(before) = self.answered_before(began, r.asked.as_ref()) {
            return Ok(ordered(&facts, &target, &before?));
        }
        if !r.force && !r.yes {
            let short = facts.shortages(&target, &order, began);
            if !short.is_empty() {
                let short: Vec<String> = short.iter().map(ToString::to_string).collect();
                return Err(RequestError::confirm(short.join("; ")));
            }
        }
        let command = Command::SetAdmin {
            target: target.clone(),
            order,
            force: r.force,
            expect: r.expect_order,
        };
        let request = Operations::attempt(began, r.asked.as_ref())?;
        let outcome = self.propose_at(began, &r.by, request, command).await?;
        Ok(ordered(&facts, &target, &outcome))
    }

    /// Takes, renews or gives back the maintenance lock.
    pub(crate) async fn lock(&self, r: pb::LockRequest) -> Result<pb::TrustReply, RequestError> {
        if r.owner.is_empty() || r.owner.len() > LOCK_WORDS_MAX || r.purpose.len() > LOCK_WORDS_MAX
        {
            return Err(RequestError::invalid_argument(format!(
                "owner and purpose: use 1 to {LOCK_WORDS_MAX} letters"
            )));
        }
        if r.release {
            self.propose(&r.by, Command::Unlock { owner: r.owner })
                .await?;
            return Ok(pb::TrustReply {
                message: "the maintenance lock is given back".to_owned(),
            });
        }
        let ttl = Duration::from_millis(r.ttl_ms);
        if ttl.is_zero() || ttl > LOCK_TTL_MAX {
            return Err(RequestError::invalid_argument(format!(
                "ttl: found {ttl:?}; use more than nothing and at most {LOCK_TTL_MAX:?}"
            )));
        }
        self.propose(
            &r.by,
            Command::Lock {
                owner: r.owner,
                purpose: r.purpose,
                expires: self.outside.clock.wall() + ttl,
            },
        )
        .await?;
        Ok(pb::TrustReply {
            message: format!("the maintenance lock is yours for {ttl:?}"),
        })
    }

    pub(crate) async fn move_leader(
        &self,
        r: pb::MoveLeaderRequest,
    ) -> Result<pb::MoveLeaderReply, RequestError> {
        let began = self.outside.clock.now();
        let to = if r.to.is_empty() {
            self.hand_over(&r.by, Leaving::No).await?
        } else {
            let member = self.node_called(&r.to)?;
            if member.id == self.member.id {
                return Ok(pb::MoveLeaderReply {
                    from: member.name.clone(),
                    to: member.name,
                    took_ms: 0,
                });
            }
            let id = member.id;
            let able = self.driver.ask(move |c| c.may_take_over(id)).await;
            able.unwrap_or_else(|| Err("the agent is stopping".to_owned()))
                .map_err(RequestError::failed_precondition)?;
            let by = if r.by.is_empty() {
                "an operator".to_owned()
            } else {
                r.by
            };
            let leads = self.move_to(id, by).await?;
            if leads != id {
                let other = self.consensus.read().facts.node_name(leads);
                return Err(RequestError::aborted(format!(
                    "{} did not take over in time, {other} leads now",
                    member.name
                )));
            }
            leads
        };
        let took = self.outside.clock.now().saturating_since(began);
        let facts = self.consensus.read().facts;
        Ok(pb::MoveLeaderReply {
            from: self.member.name.clone(),
            to: facts.node_name(to),
            took_ms: took.as_millis() as u64,
        })
    }
}

/// The reply to an order that is in force.
fn ordered(facts: &Facts, target: &AdminTarget, outcome: &Outcome) -> pb::SetStateReply {
    let (since, number) = match outcome {
        Outcome::Ordered { since, number } => (since.0, *number),
        _ => (0, 0),
    };
    pb::SetStateReply {
        // What went meanwhile is not affected.
        servers: facts.servers_of(target).unwrap_or_default(),
        began_ms: since,
        order: number,
    }
}

fn admin_state(word: &str) -> Result<AdminState, RequestError> {
    match word {
        "ready" => Ok(AdminState::Ready),
        "drain" => Ok(AdminState::Drain),
        "maint" | "maintenance" => Ok(AdminState::Maintenance),
        other => Err(RequestError::invalid_argument(format!(
            "state: found {other:?}; use ready, drain or maint"
        ))),
    }
}

/// `NODE`, `BACKEND/SERVER` or `NODE/BACKEND`.
fn target(facts: &Facts, text: &str) -> Result<AdminTarget, RequestError> {
    let Some((left, right)) = text.split_once('/') else {
        let node = facts.member_named(text).ok_or_else(|| {
            RequestError::not_found(format!(
                "there is no node {text}; a target is NODE, BACKEND/SERVER or NODE/BACKEND"
            ))
        })?;
        return Ok(AdminTarget::Node(node.id));
    };
    if let Some(id) = facts.server_id(left, right) {
        return Ok(AdminTarget::Servers(vec![id]));
    }
    let backend = facts.config.backends.iter().find(|b| b.name == right);
    let on_node = backend.into_iter().flat_map(|b| {
        b.servers
            .iter()
            .filter(|s| s.node.as_deref() == Some(left))
            .filter_map(|s| facts.server_id(&b.name, &s.name))
    });
    let ids: Vec<_> = on_node.collect();
    if ids.is_empty() {
        return Err(RequestError::not_found(format!(
            "there is no server {text}, and no server of backend {right} on a node {left}; a target is NODE, BACKEND/SERVER or NODE/BACKEND"
        )));
    }
    Ok(AdminTarget::Servers(ids))
}
