//! Drain, maintenance, ready: what the operator wants, and what follows a drain.

use super::{AdminRecord, Facts, MaintenanceLock};
use crate::command::{AdminOrder, AdminTarget, Answer, DrainEnd, Outcome, Rejection};
use crate::events::{Target, What};
use crate::id::NodeId;
use crate::model::AdminState;
use crate::placement::{self, Placement};
use crate::time::Timestamp;
use std::fmt;

/// A backend of which several hosts are out at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    pub backend: String,
    /// Servers that are out already, and why, as `name (drain by alice)`.
    pub out: Vec<String>,
    /// Servers that would be out.
    pub would_be: usize,
    /// Servers that it has.
    pub of: usize,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shortage {
            backend,
            out,
            would_be,
            of,
        } = self;
        write!(
            f,
            "{would_be} of {of} servers of backend {backend} would be out: out already {} {}",
            if out.len() == 1 { "is" } else { "are" },
            out.join(", ")
        )
    }
}

impl Facts {
    /// Backends of which servers on other hosts are out already when `target` is taken out too, as `order` at `at`
    /// says: somebody should know. What is refused anyway needs no question.
    pub fn shortages(
        &self,
        target: &AdminTarget,
        order: &AdminOrder,
        at: Timestamp,
    ) -> Vec<Shortage> {
        let taken_out = order.state != AdminState::Ready;
        if !taken_out
            || self
                .clone()
                .set_admin(target, order, false, at, "")
                .is_err()
        {
            return Vec::new();
        }
        let concerned = |p: &Placement<'_>| match target {
            AdminTarget::Node(node) => p.node_id() == Some(*node),
            AdminTarget::Servers(ids) => ids.contains(&p.id),
        };
        let backends = self.config.backends.iter();
        let found = backends.filter_map(|backend| {
            let (taken, others): (Vec<_>, Vec<_>) =
                placement::in_backend(self, backend).partition(concerned);
            let elsewhere = |p: &Placement<'_>| taken.iter().all(|t| t.address() != p.address());
            let out: Vec<String> = others
                .iter()
                .filter(|p| elsewhere(p))
                .filter_map(|p| Some(format!("{} ({})", p.server.name, self.why_out(p)?)))
                .collect();
            let out_too = others.iter().filter(|p| self.why_out(p).is_some()).count();
            let is_short = !taken.is_empty() && !out.is_empty();
            is_short.then(|| Shortage {
                backend: backend.name.clone(),
                would_be: taken.len() + out_too,
                of: taken.len() + others.len(),
                out,
            })
        });
        found.collect()
    }

    fn why_out(&self, place: &Placement<'_>) -> Option<String> {
        let admin = self.effective_admin(place.id, place.node_id());
        if admin.state != AdminState::Ready {
            return Some(match admin.by.as_str() {
                "" => admin.state.word().to_owned(),
                by => format!("{} by {by}", admin.state.word()),
            });
        }
        (!self.is_up(place.id)).then(|| "down".to_owned())
    }

    pub(super) fn set_admin(
        &mut self,
        target: &AdminTarget,
        order: &AdminOrder,
        force: bool,
        at: Timestamp,
        by: &str,
    ) -> Result<(), Rejection> {
        self.servers_of(target)?;
        if order.state != AdminState::Ready && !force {
            self.check_lock(&order.lock, at)?;
            // A node is taken out while all others are in.
            if let AdminTarget::Node(node) = target {
                self.all_in_but(Some(*node))?;
            }
        }
        let served_before: Vec<String> = self.backends_served();
        let record = AdminRecord {
            state: order.state,
            sticky: order.sticky,
            deadline: order.deadline,
            then: order.then,
            ended: None,
            since: at,
            by: by.to_owned(),
            reason: order.reason.clone(),
        };
        self.put_admin(target, record);
        if order.state != AdminState::Ready && !force {
            let served_now = self.backends_served();
            if let Some(backend) = served_before.into_iter().find(|b| !served_now.contains(b)) {
                return Err(Rejection::LastServer { backend });
            }
        }
        let what = What::AdminSet {
            target: self.describe(target),
            state: order.state,
            reason: order.reason.clone(),
        };
        self.event(at, what, by);
        Ok(())
    }

    fn all_in_but(&self, node: Option<NodeId>) -> Result<(), Rejection> {
        match self
            .node_admin
            .iter()
            .find(|(other, a)| Some(**other) != node && a.state != AdminState::Ready)
        {
            Some((other, a)) => Err(Rejection::OtherNodeOut {
                node: self.node_name(*other),
                by: a.by.clone(),
            }),
            None => Ok(()),
        }
    }

    fn check_lock(&self, owner: &str, at: Timestamp) -> Result<(), Rejection> {
        match &self.maintenance {
            Some(lock) if lock.owner != owner && lock.expires > at => Err(Rejection::Locked {
                by: lock.by.clone(),
                purpose: lock.purpose.clone(),
                seconds: lock.expires.saturating_since(at).as_secs().max(1),
            }),
            _ => Ok(()),
        }
    }

    pub(super) fn lock(
        &mut self,
        owner: &str,
        purpose: &str,
        expires: Timestamp,
        at: Timestamp,
        by: &str,
    ) -> Answer {
        self.check_lock(owner, at)?;
        let mine = self.maintenance.as_ref().filter(|l| l.owner == owner);
        let since = mine.map_or(at, |l| l.since);
        if mine.is_none() {
            self.all_in_but(None)?;
            let purpose = purpose.to_owned();
            self.event(at, What::LockTaken { purpose }, by);
        }
        self.maintenance = Some(MaintenanceLock {
            owner: owner.to_owned(),
            purpose: purpose.to_owned(),
            by: by.to_owned(),
            since,
            expires,
        });
        Ok(Outcome::Done)
    }

    pub(super) fn unlock(&mut self, owner: &str, at: Timestamp, by: &str) -> Outcome {
        if self.maintenance.as_ref().is_some_and(|l| l.owner == owner) {
            self.maintenance = None;
            self.event(at, What::LockReturned, by);
        }
        Outcome::Done
    }

    pub(super) fn drain_ended(
        &mut self,
        target: &AdminTarget,
        began: Timestamp,
        end: DrainEnd,
        at: Timestamp,
    ) -> Answer {
        self.servers_of(target)?;
        let now = match target {
            AdminTarget::Node(n) => self.node_admin.get(n).cloned(),
            AdminTarget::Servers(ids) => ids
                .first()
                .and_then(|id| self.server_admin.get(id).cloned()),
        };
        let Some(mut record) =
            now.filter(|r| r.state == AdminState::Drain && r.since == began && r.ended.is_none())
        else {
            return Ok(Outcome::Done);
        };
        let what = What::DrainEnded {
            target: self.describe(target),
            began,
            end,
            then: record.then,
        };
        self.event(at, what, "");
        match record.then {
            Some(then) => {
                record = AdminRecord {
                    state: then,
                    ended: Some(end).filter(|_| then != AdminState::Ready),
                    since: at,
                    by: record.by,
                    reason: record.reason,
                    ..AdminRecord::default()
                };
            }
            None => {
                record.ended = Some(end);
                record.deadline = None;
            }
        }
        self.put_admin(target, record);
        Ok(Outcome::Done)
    }

    fn put_admin(&mut self, target: &AdminTarget, record: AdminRecord) {
        let ready = record.state == AdminState::Ready;
        match target {
            AdminTarget::Node(n) if ready => drop(self.node_admin.remove(n)),
            AdminTarget::Node(n) => drop(self.node_admin.insert(*n, record)),
            AdminTarget::Servers(ids) => {
                for id in ids {
                    if ready {
                        self.server_admin.remove(id);
                    } else {
                        self.server_admin.insert(*id, record.clone());
                    }
                }
            }
        }
    }

    /// The servers that a target means, as `backend/server`.
    ///
    /// # Errors
    /// It means nothing that is known.
    pub fn servers_of(&self, target: &AdminTarget) -> Result<Vec<String>, Rejection> {
        match target {
            AdminTarget::Node(n) => {
                if !self.members.contains_key(n) {
                    return Err(Rejection::NodeUnknown(n.to_string()));
                }
                Ok(placement::on_node(self, *n).map(|p| p.name()).collect())
            }
            AdminTarget::Servers(ids) => ids
                .iter()
                .map(|id| {
                    self.server_name(*id)
                        .map(|(b, s)| format!("{b}/{s}"))
                        .ok_or(Rejection::ServerUnknown(*id))
                })
                .collect(),
        }
    }

    /// Backends that have at least one server which may get new sessions.
    fn backends_served(&self) -> Vec<String> {
        let mut served: Vec<String> = placement::all(self)
            .filter(|p| {
                self.effective_admin(p.id, p.node_id()).state == AdminState::Ready
                    && self.is_up(p.id)
                    && p.server.weight > 0
            })
            .map(|p| p.backend.name.clone())
            .collect();
        served.dedup();
        served
    }

    /// A target by the names of its parts.
    fn describe(&self, target: &AdminTarget) -> Target {
        match target {
            AdminTarget::Node(n) => Target::Node(self.node_name(*n)),
            AdminTarget::Servers(ids) => {
                let names = ids.iter().filter_map(|id| self.server_name(*id));
                Target::Servers(names.map(|(b, s)| format!("{b}/{s}")).collect())
            }
        }
    }
}
