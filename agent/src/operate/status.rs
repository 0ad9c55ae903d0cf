//! `status`: what an operator sees at three in the morning.

use super::upgrade::progress;
use super::warnings::warnings;
use super::{Operations, RequestError};
use ha_core::command::{AdminTarget, DrainEnd};
use ha_core::controller::{Controller, Endurance, NodeReport, RaftNews, RaftRole};
use ha_core::events::{Target, What};
use ha_core::id::{NodeId, ServerId};
use ha_core::model::{AdminState, Backend, Member, Server};
use ha_core::placement::{self, Placement};
use ha_core::state::Facts;
use ha_core::time::Instant;
use ha_core::time::Timestamp;
use ha_core::view::{Newcomer, Routes};
use ha_proto::control as pb;
use ha_proxy::ProxyCounters;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Drains that ended, in one reply.
const ENDED_DRAINS_MAX: usize = 64;

/// What the controller alone knows.
pub(super) struct Seen {
    pub(super) raft: RaftNews,
    pub(super) lease_until: Option<Instant>,
    pub(super) unreachable: BTreeSet<NodeId>,
    pub(super) handing_over_to: Option<NodeId>,
    pub(super) reports: BTreeMap<NodeId, NodeReport>,
    checks: BTreeMap<ServerId, (String, String)>,
    pub(super) successor: Option<NodeId>,
    /// As the proxy has them.
    pub(super) routes: Routes,
    me: NodeId,
    pub(super) endurance: Option<Endurance>,
    /// The controller does not know it.
    pub(super) has_lost_its_log: BTreeSet<NodeId>,
    pub(super) in_touch: Instant,
    pub(super) out_of_touch: bool,
}

pub(super) fn see(now: Instant, c: &Controller) -> Seen {
    let facts = c.facts();
    Seen {
        routes: Routes::from_facts(facts, &c.overlay()),
        me: c.me(),
        endurance: c.endurance(now),
        has_lost_its_log: BTreeSet::new(),
        in_touch: c.last_in_touch(),
        out_of_touch: c.is_out_of_touch(now),
        raft: c.raft().clone(),
        lease_until: c.holding().map(|h| h.until),
        unreachable: c.unreachable(),
        handing_over_to: c.handing_over_to(),
        reports: facts
            .members
            .keys()
            .filter_map(|id| Some((*id, c.report_of(*id)?.clone())))
            .collect(),
        checks: facts
            .server_ids
            .values()
            .filter_map(|id| Some((*id, c.check_words(*id)?)))
            .collect(),
        successor: c.best_successor(),
    }
}

impl Operations {
    /// What the controller knows at this moment.
    ///
    /// # Errors
    /// Its driver has ended.
    pub(super) async fn seen(&self, now: Instant) -> Result<Seen, RequestError> {
        let seen = self.driver.ask(move |c| see(now, c)).await;
        let seen = seen.ok_or_else(|| RequestError::unavailable("the agent is stopping"))?;
        Ok(Seen {
            has_lost_its_log: self.consensus.has_lost_its_log(),
            ..seen
        })
    }

    pub(crate) async fn status(
        &self,
        _: pb::StatusRequest,
    ) -> Result<pb::StatusReply, RequestError> {
        let old = self.status_may_be_old().await;
        let now = self.outside.clock.now();
        let seen = self.seen(now).await?;
        let applied = self.consensus.read();
        let (facts, counters) = (&applied.facts, self.proxy.counters());
        let leads = seen.raft.role == RaftRole::Leader;
        let name = |id: Option<NodeId>| id.map_or_else(String::new, |id| facts.node_name(id));
        let lease_left = seen
            .lease_until
            .map_or(Duration::ZERO, |u| u.saturating_since(now));
        // The log may name a holder that is gone: the leader knows better whether it holds itself.
        let holder = facts.holder.as_ref().filter(|h| {
            if leads {
                h.node == self.member.id && !lease_left.is_zero()
            } else {
                Some(h.node) == seen.raft.leader
            }
        });
        let old = old.map(|old| (Timestamp(old.since_ms), old.why));
        let cut_off = self.is_cut_off(facts, &seen).or(old);
        Ok(pb::StatusReply {
            cut_off_since_ms: cut_off.as_ref().map_or(0, |(since, _)| since.0),
            cut_off: cut_off.map_or_else(String::new, |(_, why)| why),
            ended_drains: ended_drains(facts),
            active_version: facts.active_version.0,
            upgrade: upgrade_of(facts),
            endures: self.endurance(facts, &seen),
            cluster: facts.config.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            answered_by: self.member.name.clone(),
            term: seen.raft.term,
            leader: name(seen.raft.leader),
            holder: name(holder.map(|h| h.node)),
            epoch: holder.map_or(0, |h| h.epoch.0),
            holder_since_ms: holder.map_or(0, |h| h.since.0),
            holder_reason: holder.map_or_else(String::new, |h| h.reason.clone()),
            config_version: facts.config_version,
            nodes: by_name(facts)
                .into_iter()
                .map(|m| node_status(facts, &seen, m))
                .collect(),
            servers: placement::all(facts)
                .map(|p| server_status(facts, &seen, &counters, &p))
                .collect(),
            virtual_ips: facts
                .config
                .virtual_ips
                .iter()
                .map(|v| pb::VirtualIpStatus {
                    name: v.name.clone(),
                    address: format!("{}/{}", v.address, v.prefix),
                    holder: name(holder.map(|h| h.node)),
                })
                .collect(),
            frontends: facts
                .config
                .frontends
                .iter()
                .map(|f| frontend_status(f, &seen.routes, &counters, holder.is_some()))
                .collect(),
            sessions: counters.sessions,
            sessions_total: counters.total,
            bindings: applied.stick.len() as u64,
            bindings_uncommitted: counters.bindings_uncommitted,
            fence: self.outside.addresses.fence(),
            lease_left_ms: lease_left.as_millis() as u64,
            warnings: warnings(facts, &seen, &counters, leads, self.outside.clock.wall()),
        })
    }
}

impl Operations {
    /// Who answers does not lead, or leads nobody: since when, and that what it says may be old.
    fn is_cut_off(&self, facts: &Facts, seen: &Seen) -> Option<(Timestamp, String)> {
        let leads = seen.raft.role == RaftRole::Leader;
        if leads && !seen.out_of_touch {
            return None;
        }
        let now = self.outside.clock.now();
        let cut_off = self.cut_off_since(now, seen.in_touch, leads);
        let why = match seen.raft.leader {
            _ if seen.out_of_touch => cut_off.words,
            Some(leader) => format!(
                "the leader, {}, does not answer {}",
                facts.node_name(leader),
                self.member.name
            ),
            None => format!("{} knows no leader at the moment", self.member.name),
        };
        Some((cut_off.since, why))
    }
}

/// The newest ones, oldest first.
fn ended_drains(facts: &Facts) -> Vec<pb::DrainEnd> {
    let ended = facts.events.after(0).filter_map(|e| {
        let What::DrainEnded {
            target, began, end, ..
        } = &e.what
        else {
            return None;
        };
        Some(pb::DrainEnd {
            began_ms: began.0,
            targets: match target {
                Target::Node(name) => vec![name.clone()],
                Target::Servers(names) => names.clone(),
            },
            end: match end {
                DrainEnd::Empty => "empty",
                DrainEnd::Deadline => "deadline",
            }
            .to_owned(),
            at_ms: e.at.0,
        })
    });
    let mut ended: Vec<_> = ended.collect();
    ended.drain(..ended.len().saturating_sub(ENDED_DRAINS_MAX));
    ended
}

fn node_status(facts: &Facts, seen: &Seen, m: &Member) -> pb::NodeStatus {
    let voter = seen.raft.votes(m.id);
    let state = if seen.raft.leader == Some(m.id) {
        "leader"
    } else if !voter && !seen.raft.learners.contains(&m.id) {
        // A member by name that gets no log: a join or a removal that ended half way.
        "detached"
    } else if seen.unreachable.contains(&m.id) {
        "unreachable"
    } else if !voter {
        "learner"
    } else if seen.out_of_touch && m.id != seen.me {
        "unknown"
    } else {
        "follower"
    };
    let report = seen.reports.get(&m.id);
    let stalls = report.map_or_else(Default::default, |r| r.stalls);
    pb::NodeStatus {
        stalls: stalls.count,
        stalled_at_ms: stalls.last_at.0,
        stalled_ms: u64::try_from(stalls.last_for.as_millis()).unwrap_or(u64::MAX),
        id: m.id.to_string(),
        name: m.name.clone(),
        address: m.listen.to_string(),
        role: m.role.word().to_owned(),
        state: state.to_owned(),
        admin: facts
            .node_admin
            .get(&m.id)
            .map_or(AdminState::Ready, |a| a.state)
            .word()
            .to_owned(),
        // The log has the one with which it joined or was last described.
        version: report
            .map(|r| r.agent_version.clone())
            .filter(|v| !v.is_empty())
            .unwrap_or_else(|| m.version.clone()),
        voter,
        order: facts.order_of(&AdminTarget::Node(m.id)),
        fence: report.map_or_else(String::new, |r| r.fence.clone()),
    }
}

fn upgrade_of(facts: &Facts) -> String {
    let members = by_name(facts);
    let speaks: Vec<_> = members
        .iter()
        .map(|m| (m.name.as_str(), m.speaks))
        .collect();
    progress(facts.active_version, &speaks)
}

fn by_name(facts: &Facts) -> Vec<&Member> {
    let mut members: Vec<&Member> = facts.members.values().collect();
    members.sort_by(|a, b| a.name.cmp(&b.name));
    members
}

/// HAProxy's words, in its precedence: `MAINT`, then `DOWN`, then `DRAIN`, then `UP` or `no check`.
fn status_words(
    facts: &Facts,
    seen: &Seen,
    b: &Backend,
    s: &Server,
    id: ServerId,
    admin: AdminState,
) -> String {
    let up = facts.is_up(id);
    let words = seen.checks.get(&id).map(|(w, _)| w.clone());
    let health = words.unwrap_or_else(|| if up { "UP" } else { "DOWN" }.to_owned());
    let draining = admin == AdminState::Drain || s.weight == 0;
    match (admin, &b.check) {
        (AdminState::Maintenance, _) => "MAINT".to_owned(),
        (_, None) => if draining { "DRAIN" } else { "no check" }.to_owned(),
        _ if health.starts_with("DOWN") => health,
        _ if draining => health.replacen("UP", "DRAIN", 1),
        _ => health,
    }
}

fn server_status(
    facts: &Facts,
    seen: &Seen,
    counters: &ProxyCounters,
    place: &Placement<'_>,
) -> pb::ServerStatus {
    let (b, s, id) = (place.backend, place.server, place.id);
    let admin = facts.effective_admin(id, place.node_id());
    let count = counters.servers.get(&id).copied().unwrap_or_default();
    let address = place
        .address()
        .map_or_else(|| "?".to_owned(), |a| a.to_string());
    let port = s.port.map_or_else(String::new, |p| format!(":{p}"));
    let health_since = facts.health.get(&id).map_or(0, |h| h.since.0);
    pb::ServerStatus {
        backend: b.name.clone(),
        server: s.name.clone(),
        address: format!("{address}{port}"),
        status: status_words(facts, seen, b, s, id, admin.state),
        admin: admin.state.word().to_owned(),
        sessions: u64::from(count.now),
        sessions_total: count.total,
        queued: u64::from(count.queued),
        weight: u32::from(s.weight),
        backup: s.backup,
        since_ms: health_since.max(admin.since.0),
        check: seen.checks.get(&id).map_or_else(
            || {
                facts
                    .health
                    .get(&id)
                    .map_or_else(String::new, |h| h.why.clone())
            },
            |(_, last)| last.clone(),
        ),
        id: id.0,
        bytes_in: count.bytes_in,
        bytes_out: count.bytes_out,
        node: s.node.clone().unwrap_or_default(),
        reason: admin.reason,
        deadline_ms: admin.deadline.map_or(0, |d| d.0),
        connect_errors: count.connect_errors,
        order: facts.order_of(&AdminTarget::Servers(vec![id])),
    }
}

fn frontend_status(
    f: &ha_core::model::Frontend,
    routes: &Routes,
    counters: &ProxyCounters,
    held: bool,
) -> pb::FrontendStatus {
    let count = counters.frontends.get(&f.name).copied().unwrap_or_default();
    let full = f.maxconn > 0 && count.now >= f.maxconn;
    let backend = routes.backends.iter().find(|b| b.name == f.backend);
    let can_serve = backend.is_some_and(|b| b.servers.iter().any(|s| s.accepts(Newcomer::Bound)));
    let listeners: Vec<String> = f.listeners.iter().map(ToString::to_string).collect();
    pb::FrontendStatus {
        name: f.name.clone(),
        virtual_ip: f.virtual_ips.join(","),
        listeners: listeners.join(","),
        backend: f.backend.clone(),
        status: if !held {
            "STOP"
        } else if !can_serve {
            "NO SERVER"
        } else if full {
            "FULL"
        } else {
            "OPEN"
        }
        .to_owned(),
        sessions: u64::from(count.now),
        sessions_total: count.total,
        maxconn: u64::from(f.maxconn),
        limited: count.limited.connections,
        last_limited: count
            .limited
            .last
            .map_or_else(String::new, |client| client.to_string()),
    }
}
