//! What `status` warns of.

use super::majority::majority_needed;
use super::status::Seen;
use ha_core::placement;
use ha_core::state::Facts;
use ha_core::time::Timestamp;
use ha_core::view::Newcomer;
use ha_proxy::ProxyCounters;
use std::collections::BTreeSet;

pub(super) fn warnings(
    facts: &Facts,
    seen: &Seen,
    counters: &ProxyCounters,
    leads: bool,
    now: Timestamp,
) -> Vec<String> {
    let mut found = Vec::new();
    if seen.raft.leader.is_none() {
        let voters: BTreeSet<_> = seen.raft.voters.iter().flatten().collect();
        found.push(format!(
            "there is no leader: {}",
            majority_needed(voters.len())
        ));
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
        // That a witness does not hold is no news.
        let servers = seen.reports.iter().filter(|(n, _)| facts.is_server(**n));
        for (n, r) in servers.filter(|(_, r)| !r.eligible) {
            found.push(format!(
                "{} may not hold the address: {}",
                facts.node_name(*n),
                r.why_not
            ));
        }
    }
    for backend in &seen.routes.backends {
        let usable = |who| backend.servers.iter().any(|s| s.accepts(who));
        if !usable(Newcomer::Bound) {
            found.push(format!("backend {}: no server can serve", backend.name));
        } else if !usable(Newcomer::New) {
            found.push(format!(
                "backend {}: no server takes new clients",
                backend.name
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
