//! `status` and `explain vip`: what an operator sees at three in the morning.

use super::{Operations, RequestError};
use ha_core::controller::{Controller, NodeReport, RaftNews, RaftRole};
use ha_core::id::{NodeId, ServerId};
use ha_core::model::{AdminState, Backend, Failback, Member, Server};
use ha_core::placement::{self, Placement};
use ha_core::state::Facts;
use ha_core::time::Instant;
use ha_core::time::Timestamp;
use ha_proto::control as pb;
use ha_proxy::ProxyCounters;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What the controller alone knows.
struct Seen {
    raft: RaftNews,
    lease_until: Option<Instant>,
    unreachable: BTreeSet<NodeId>,
    handing_over_to: Option<NodeId>,
    reports: BTreeMap<NodeId, NodeReport>,
    checks: BTreeMap<ServerId, (String, String)>,
    successor: Option<NodeId>,
}

fn see(c: &Controller) -> Seen {
    let facts = c.facts();
    Seen {
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
    pub(crate) async fn status(
        &self,
        _: pb::StatusRequest,
    ) -> Result<pb::StatusReply, RequestError> {
        let seen = self
            .driver
            .ask(see)
            .await
            .ok_or_else(|| RequestError::unavailable("the agent is stopping"))?;
        let snap = self.consensus.read();
        let (facts, counters) = (&snap.facts, self.proxy.counters());
        let leads = seen.raft.role == RaftRole::Leader;
        let name = |id: Option<NodeId>| id.map_or_else(String::new, |id| facts.node_name(id));
        let lease_left = seen.lease_until.map_or(Duration::ZERO, |u| {
            u.saturating_since(self.outside.clock.now())
        });
        // The log may name a holder that is gone: the leader knows better whether it holds itself.
        let holder = facts.holder.as_ref().filter(|h| {
            if leads {
                h.node == self.member.id && !lease_left.is_zero()
            } else {
                Some(h.node) == seen.raft.leader
            }
        });
        Ok(pb::StatusReply {
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
                .map(|f| frontend_status(f, &counters, holder.is_some()))
                .collect(),
            sessions: counters.sessions,
            sessions_total: counters.total,
            bindings: snap.stick.len() as u64,
            bindings_uncommitted: counters.bindings_uncommitted,
            fence: self.outside.addresses.fence(),
            lease_left_ms: lease_left.as_millis() as u64,
            warnings: warnings(facts, &seen, &counters, leads, self.outside.clock.wall()),
        })
    }

    pub(crate) async fn explain_vip(
        &self,
        r: pb::ExplainVipRequest,
    ) -> Result<pb::ExplainVipReply, RequestError> {
        let seen = self
            .driver
            .ask(see)
            .await
            .ok_or_else(|| RequestError::unavailable("the agent is stopping"))?;
        let facts = self.consensus.read().facts;
        let vips: Vec<_> = facts
            .config
            .virtual_ips
            .iter()
            .filter(|v| r.name.is_empty() || v.name == r.name)
            .collect();
        if vips.is_empty() {
            return Err(RequestError::not_found(if r.name.is_empty() {
                "no virtual_ip is configured".to_owned()
            } else {
                format!("there is no virtual_ip {}", r.name)
            }));
        }
        let left = seen
            .lease_until
            .map(|u| u.saturating_since(self.outside.clock.now()));
        let mut lines: Vec<String> = vips
            .iter()
            .map(|v| format!("{} ({}/{})", v.name, v.address, v.prefix))
            .collect();
        let me = &self.member.name;
        match (&facts.holder, left) {
            (Some(h), Some(left)) if h.node == self.member.id => {
                lines.push(format!(
                    "is held by {me} since {}, epoch {}: {}",
                    h.since, h.epoch, h.reason
                ));
                lines.push(format!(
                    "its lease runs for another {} ms and is renewed by {} of {} voters",
                    left.as_millis(),
                    self.voters(&seen) - seen.unreachable.len(),
                    self.voters(&seen)
                ));
                lines.push(format!("enforced by: {}", self.outside.addresses.fence()));
            }
            _ => lines.push(format!(
                "is held by nobody: {me} leads, but {}",
                why_not_held(&facts, &seen, self.member.id)
            )),
        }
        lines.push(match &facts.config.failback {
            Failback::Never => "it stays where it is until that node fails or an operator moves it (failback = \"never\")".to_owned(),
            Failback::Manual => "it moves only by `ha-cli move-leader` (failback = \"manual\")".to_owned(),
            Failback::Auto { prefer, hold_down } => format!("it returns to {prefer} once that node was healthy for {hold_down:?} (failback = \"auto\")"),
        });
        for m in facts.members.values().filter(|m| m.id != self.member.id) {
            lines.push(format!("{}: {}", m.name, why_candidate(&facts, &seen, m)));
        }
        let holder = if left.is_some() {
            me.clone()
        } else {
            String::new()
        };
        Ok(pb::ExplainVipReply { lines, holder })
    }

    fn voters(&self, seen: &Seen) -> usize {
        seen.raft
            .voters
            .iter()
            .flatten()
            .collect::<BTreeSet<_>>()
            .len()
    }
}

fn why_not_held(facts: &Facts, seen: &Seen, me: NodeId) -> String {
    if let Some(to) = seen.handing_over_to {
        return format!("is handing over to {}", facts.node_name(to));
    }
    if seen.raft.applied_term != seen.raft.term {
        return "has not yet applied the log of its term (a slow disk?)".to_owned();
    }
    match seen.reports.get(&me) {
        Some(r) if !r.eligible => r.why_not.clone(),
        _ => "a majority has not promised itself in time".to_owned(),
    }
}

fn why_candidate(facts: &Facts, seen: &Seen, m: &Member) -> String {
    if seen.successor == Some(m.id) {
        return "would take over".to_owned();
    }
    if seen.raft.learners.contains(&m.id) {
        return "cannot take over: it does not vote yet".to_owned();
    }
    if seen.unreachable.contains(&m.id) {
        return "cannot take over: it does not answer".to_owned();
    }
    if let Some(a) = facts.node_admin.get(&m.id) {
        return format!(
            "takes over only when nobody else can: an operator set it to {}",
            a.state.word()
        );
    }
    match seen.reports.get(&m.id) {
        Some(r) if !r.eligible => format!("cannot take over: {}", r.why_not),
        Some(_) => "could take over".to_owned(),
        None => "has not answered yet".to_owned(),
    }
}

fn node_status(facts: &Facts, seen: &Seen, m: &Member) -> pb::NodeStatus {
    let voter = seen.raft.votes(m.id);
    let state = if seen.raft.leader == Some(m.id) {
        "leader"
    } else if seen.raft.learners.contains(&m.id) {
        "learner"
    } else if !voter {
        // A member by name that gets no log: a join or a removal that ended half way.
        "detached"
    } else if seen.unreachable.contains(&m.id) {
        "unreachable"
    } else {
        "follower"
    };
    pb::NodeStatus {
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
        version: m.version.clone(),
        voter,
        fence: seen
            .reports
            .get(&m.id)
            .map_or_else(String::new, |r| r.fence.clone()),
    }
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
    }
}

fn frontend_status(
    f: &ha_core::model::Frontend,
    counters: &ProxyCounters,
    held: bool,
) -> pb::FrontendStatus {
    let count = counters.frontends.get(&f.name).copied().unwrap_or_default();
    let full = f.maxconn > 0 && count.now >= f.maxconn;
    let listeners: Vec<String> = f.listeners.iter().map(ToString::to_string).collect();
    pb::FrontendStatus {
        name: f.name.clone(),
        virtual_ip: f.virtual_ip.clone(),
        listeners: listeners.join(","),
        backend: f.backend.clone(),
        status: if !held {
            "STOP"
        } else if full {
            "FULL"
        } else {
            "OPEN"
        }
        .to_owned(),
        sessions: u64::from(count.now),
        sessions_total: count.total,
        maxconn: u64::from(f.maxconn),
    }
}

fn warnings(
    facts: &Facts,
    seen: &Seen,
    counters: &ProxyCounters,
    leads: bool,
    now: Timestamp,
) -> Vec<String> {
    let mut found = super::claims::warnings(facts, now);
    if seen.raft.leader.is_none() {
        found.push(
            "there is no leader: a majority of the voters must be running and reach each other"
                .to_owned(),
        );
    }
    if let Some(lock) = facts.maintenance.as_ref().filter(|l| l.expires > now) {
        found.push(format!(
            "{} holds the maintenance lock: {}",
            lock.by, lock.purpose
        ));
    }
    if leads {
        for n in &seen.unreachable {
            found.push(format!("{} does not answer", facts.node_name(*n)));
        }
        for (n, r) in seen.reports.iter().filter(|(_, r)| !r.eligible) {
            found.push(format!(
                "{} may not hold the address: {}",
                facts.node_name(*n),
                r.why_not
            ));
        }
    }
    for place in placement::all(facts) {
        if let Some(node) = place.awaits() {
            found.push(format!(
                "server {} is on node {node}, which has not joined",
                place.name()
            ));
        }
    }
    let voters = seen.raft.voters.first().map_or(0, BTreeSet::len);
    if voters == 2 {
        found.push("two voters: when one dies the other cannot decide alone; add a third node or a witness".to_owned());
    }
    if counters.bindings_uncommitted > 0 {
        found.push(format!(
            "{} sessions were forwarded before their binding was on disk (slow disks?)",
            counters.bindings_uncommitted
        ));
    }
    if counters.shed > 0 {
        found.push(format!(
            "{} connections were turned away for lack of file descriptors or above sessions_max",
            counters.shed
        ));
    }
    found
}
