//! `explain vip`: why a virtual IP is where it is.

use super::status::Seen;
use super::{Operations, RequestError};
use ha_core::controller::RaftRole;
use ha_core::id::NodeId;
use ha_core::model::{Failback, Member};
use ha_core::state::Facts;
use ha_proto::control as pb;

impl Operations {
    pub(crate) async fn explain_vip(
        &self,
        r: pb::ExplainVipRequest,
    ) -> Result<pb::ExplainVipReply, RequestError> {
        let may_be_old = self.status_may_be_old().await;
        let now = self.outside.clock.now();
        let seen = self.seen(now).await?;
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
        let left = seen.lease_until.map(|u| u.saturating_since(now));
        let mut lines: Vec<String> = vips
            .iter()
            .map(|v| format!("{} ({}/{})", v.name, v.address, v.prefix))
            .collect();
        let me = &self.member.name;
        let leads = seen.raft.role == RaftRole::Leader;
        if !leads || seen.out_of_touch {
            // The lines say so themselves: that nobody decides is what is to be explained.
            lines.extend(self.as_far_as_is_known(&facts, &seen, leads));
            return Ok(pb::ExplainVipReply {
                may_be_old: None,
                lines,
                holder: String::new(),
            });
        }
        match (&facts.holder, left) {
            (Some(h), Some(left)) if h.node == self.member.id => {
                lines.push(format!(
                    "is held by {me} since {}, epoch {}: {}",
                    h.since, h.epoch, h.reason
                ));
                lines.push(format!(
                    "its lease runs for another {} ms and is renewed by {} of {} voters",
                    left.as_millis(),
                    self.voters() - seen.unreachable.len(),
                    self.voters()
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
        Ok(pb::ExplainVipReply {
            may_be_old: may_be_old.clone(),
            lines,
            holder,
        })
    }

    /// Who is asked does not lead, or leads nobody.
    fn as_far_as_is_known(&self, facts: &Facts, seen: &Seen, leads: bool) -> Vec<String> {
        let now = self.outside.clock.now();
        let why = if seen.out_of_touch {
            self.cut_off_since(now, seen.in_touch, leads).words
        } else {
            format!("the leader does not answer {}", self.member.name)
        };
        let held = facts.holder.as_ref().map_or_else(
            || "nobody held it when this node last knew".to_owned(),
            |h| {
                format!(
                    "{} held it when this node last knew; its lease has run out since unless a majority hears it",
                    facts.node_name(h.node)
                )
            },
        );
        vec![why, held]
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
