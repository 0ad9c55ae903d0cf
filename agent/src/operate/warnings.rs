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
    let mut found = super::claims::warnings(facts, now);
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
    for n in &seen.has_lost_its_log {
        let name = facts.node_name(*n);
        found.push(format!(
            "the log of {name} ends before what it once acknowledged: its disk was set back or exchanged. Stop its agent; `ha-agent rejoin` there lets it in again"
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
    found.extend(of_endurance(facts, seen));
    found.extend(of_recovery(facts));
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
    for (frontend, count) in &counters.frontends {
        if let Some(client) = count.limited.last {
            found.push(format!(
                "frontend {frontend}: {} connections of clients with as many sessions as they may have (limit) were reset, the last one of {client}",
                count.limited.connections
            ));
        }
    }
    found
}

/// Who must not come back as what it was.
fn of_recovery(facts: &Facts) -> Option<String> {
    let recovery = facts.recovery.as_ref().filter(|r| !r.former.is_empty())?;
    let names: Vec<&str> = recovery.former.values().map(|f| f.name.as_str()).collect();
    Some(format!(
        "generation {} since {} went on alone at {}; not back yet: {} (`ha-agent rejoin` there)",
        recovery.generation,
        recovery.by,
        recovery.at,
        names.join(", ")
    ))
}

/// That a single death would end the service, and what helps.
fn of_endurance(facts: &Facts, seen: &Seen) -> Option<String> {
    let endures = seen.endurance.as_ref().filter(|e| e.deaths == 0)?;
    if facts.members.len() == 1 {
        return None;
    }
    let names: Vec<String> = endures
        .critical
        .iter()
        .map(|n| facts.node_name(*n))
        .collect();
    let helps = if facts.members.len() == 2 {
        "add a third node or a witness"
    } else {
        "bring back the others"
    };
    Some(match names.as_slice() {
        [only] => {
            format!("{only} votes alone: when it dies the service stops until it is back; {helps}")
        }
        _ => format!(
            "when one of {} dies the service stops until it is back; {helps}",
            names.join(", ")
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::super::status::see;
    use super::*;
    use crate::config::parse_cluster;
    use ha_core::check::Kind;
    use ha_core::command::{Command, HealthChange, Stamped};
    use ha_core::controller::{Controller, ControllerSettings, Event, NodeReport};
    use ha_core::id::NodeId;
    use ha_core::model::{Member, Role};
    use ha_core::state::ClusterState;
    use ha_core::time::Instant;
    use ha_core::version::CURRENT;
    use std::time::Duration;

    /// A witness that leads, and one backend of one server.
    fn state() -> ClusterState {
        let mut state = ClusterState::default();
        let listen = std::net::SocketAddr::from(([10, 0, 0, 9], 7400));
        let witness = Member {
            id: NodeId::from_random(9),
            name: "witness-1".into(),
            listen,
            address: listen.ip(),
            role: Role::Witness,
            version: String::new(),
            speaks: CURRENT,
            checks: Kind::known_set(),
        };
        let text = "[[backend]]\nname = \"b\"\ncheck = { tcp = 1 }\n[[backend.server]]\nname = \"s\"\naddress = \"10.0.0.1\"\n";
        let config = parse_cluster("c", text).unwrap().config;
        apply(&mut state, Command::AddMember(witness));
        let (text, expect) = (String::new(), None);
        apply(
            &mut state,
            Command::Configure {
                config,
                text,
                expect,
            },
        );
        state
    }

    fn apply(state: &mut ClusterState, command: Command) {
        let (at, by) = (Timestamp(1), String::new());
        state
            .apply(&Stamped {
                at,
                by,
                command,
                request: None,
            })
            .unwrap();
    }

    fn warned(state: &ClusterState) -> Vec<String> {
        let me = NodeId::from_random(9);
        let settings = ControllerSettings::of(me, Role::Witness, Duration::from_millis(300));
        let mut controller = Controller::new(settings, Instant(0));
        let report = NodeReport {
            why_not: "it is a witness".into(),
            ..NodeReport::default()
        };
        for event in [Event::Applied(state.facts.clone()), Event::Own(report)] {
            controller.step(Instant(0), Timestamp(1), event);
        }
        let seen = see(Instant(0), &controller);
        let counters = ProxyCounters::default();
        warnings(&state.facts, &seen, &counters, true, Timestamp(1))
    }

    #[test]
    fn that_a_witness_does_not_hold_is_no_warning_and_that_nobody_serves_is() {
        let mut state = state();
        let found = warned(&state);
        assert!(
            !found.iter().any(|w| w.contains("may not hold")),
            "{found:?}"
        );
        assert!(!found.iter().any(|w| w.contains("backend b")), "{found:?}");
        let server = state.facts.server_id("b", "s").unwrap();
        let down = HealthChange {
            server,
            up: false,
            why: "L4CON".into(),
        };
        apply(&mut state, Command::Health(vec![down]));
        let found = warned(&state);
        let words = "backend b: no server can serve";
        assert!(found.iter().any(|w| w == words), "{found:?}");
    }
}
