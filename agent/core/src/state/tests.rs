//! What commands change, and what they must not.
mod checks;
mod configure;
mod drains;
mod maintenance;
mod requests;
mod texts;
mod trust;
mod versions;

use super::*;
use crate::check::{CheckClose, Kind};
use crate::command::{AdminOrder, AdminTarget};
use crate::model::*;
use crate::testing::{self, backend, check, member, node, server};
use std::net::IpAddr;
use std::time::Duration;

fn config(servers: u8) -> ClusterConfig {
    testing::config(vec![backend("b", (1..=servers).map(server).collect())])
}

fn configure(config: ClusterConfig) -> Command {
    Command::Configure {
        config,
        text: String::new(),
        expect: None,
    }
}

struct Log {
    state: ClusterState,
    at: u64,
}
impl Log {
    fn new() -> Self {
        let mut log = Log {
            state: ClusterState::default(),
            at: 0,
        };
        for i in 1..=3 {
            log.ok(Command::AddMember(member(i)));
        }
        log.ok(configure(config(3)));
        log
    }
    fn apply(&mut self, command: Command) -> Answer {
        self.at += 1000;
        self.state.apply(&Stamped {
            at: Timestamp(self.at),
            by: "me".into(),
            command,
            request: None,
        })
    }
    fn ok(&mut self, command: Command) -> Outcome {
        self.apply(command).unwrap()
    }
    fn set(&mut self, target: AdminTarget, state: AdminState, force: bool) -> Answer {
        self.apply(Command::SetAdmin {
            target,
            order: AdminOrder {
                state,
                ..AdminOrder::default()
            },
            force,
            expect: None,
        })
    }
    fn server(&self, name: &str) -> ServerId {
        self.state.facts.server_id("b", name).unwrap()
    }
}

#[test]
fn a_refused_command_changes_nothing() {
    let mut log = Log::new();
    let before = log.state.facts.clone();
    for command in [
        Command::AddMember(Member {
            name: "other".into(),
            ..member(1)
        }),
        Command::AddMember(Member {
            id: node(9),
            ..member(1)
        }),
        Command::Rollback {
            version: Some(77),
            expect: None,
        },
        Command::Rollback {
            version: None,
            expect: None,
        },
        Command::Configure {
            config: config(1),
            text: String::new(),
            expect: Some(9),
        },
        Command::RemoveMember(node(9)),
        Command::Holder {
            node: node(9),
            epoch: Epoch(1),
            reason: String::new(),
        },
        Command::SetAdmin {
            target: AdminTarget::Servers(vec![ServerId(99)]),
            order: AdminOrder::default(),
            force: true,
            expect: None,
        },
    ] {
        assert!(log.apply(command.clone()).is_err(), "{command:?}");
        assert_eq!(log.state.facts, before, "{command:?}");
    }
}

#[test]
fn an_old_epoch_cannot_claim_to_hold() {
    let mut log = Log::new();
    log.ok(Command::Holder {
        node: node(2),
        epoch: Epoch(5),
        reason: "elected".into(),
    });
    assert!(
        log.apply(Command::Holder {
            node: node(1),
            epoch: Epoch(4),
            reason: "late".into()
        })
        .is_err()
    );
    assert_eq!(log.state.facts.holder.as_ref().unwrap().node, node(2));
}

#[test]
fn a_clock_that_was_fast_for_a_moment_holds_nothing_back() {
    let mut log = Log::new();
    let key = StickKey {
        group: "b".into(),
        client: IpAddr::from([10, 1, 1, 1]),
    };
    let entry = StickEntry {
        server: log.server("s1"),
        host: IpAddr::from([10, 0, 0, 1]),
        bound_at: Timestamp(1),
        used_at: Timestamp(1),
        expire: Duration::from_secs(3600),
    };
    // A day ahead, until somebody sets the clock of whoever led.
    log.state
        .apply(&Stamped {
            at: Timestamp(86_400_000),
            by: String::new(),
            command: Command::Note {
                kind: "x".into(),
                text: "y".into(),
            },
            request: None,
        })
        .unwrap();
    log.ok(Command::Bind(vec![(key.clone(), entry)]));
    assert!(
        log.state.stick.table().get(&key, log.state.clock).is_some(),
        "what was bound just now has not expired"
    );
    // A lock that ends by itself ends in time, and what follows is not younger than it.
    log.ok(Command::Lock {
        owner: "gone".into(),
        purpose: "p".into(),
        expires: Timestamp(log.at + 1500),
    });
    log.ok(Command::Lock {
        owner: "other".into(),
        purpose: "p".into(),
        expires: Timestamp(log.at + 90_000),
    });
    log.ok(Command::Unlock {
        owner: "other".into(),
    });
    log.ok(configure(config(2)));
    assert!(log.state.stick.table().get(&key, log.state.clock).is_some());
    let mut without = config(2);
    without.backends[0].servers.remove(0);
    log.ok(configure(without));
    assert!(
        log.state.stick.table().get(&key, log.state.clock).is_none(),
        "its server is gone"
    );
}

#[test]
fn a_restored_cluster_is_the_same_one_with_other_nodes() {
    let mut log = Log::new();
    log.ok(Command::Found {
        cluster_id: node(99),
        timing: Timing::Fast,
        version: crate::version::CURRENT.max,
    });
    log.ok(Command::SetAdmin {
        target: AdminTarget::Servers(vec![ServerId(1)]),
        order: AdminOrder {
            state: AdminState::Maintenance,
            ..AdminOrder::default()
        },
        force: true,
        expect: None,
    });
    log.ok(Command::SetAdmin {
        target: AdminTarget::Node(node(1)),
        order: AdminOrder {
            state: AdminState::Drain,
            ..AdminOrder::default()
        },
        force: true,
        expect: None,
    });
    let before = Facts::clone(&log.state.facts);
    let mut new = ClusterState::default();
    let at = Timestamp(1 << 40);
    new.apply(&Stamped {
        at,
        by: "restore".into(),
        command: Command::Restore(Box::new(before.clone())),
        request: None,
    })
    .unwrap();
    let after = &new.facts;
    assert_eq!(
        (
            after.cluster_id,
            after.timing,
            &after.config,
            &after.server_ids
        ),
        (node(99), Timing::Fast, &before.config, &before.server_ids)
    );
    assert_eq!(after.server_admin, before.server_admin);
    assert!(after.members.is_empty() && after.node_admin.is_empty() && after.holder.is_none());
    assert!(
        (1..=3).all(|i| after.trust.removed.contains_key(&node(i))),
        "who was a member is not heard"
    );
    new.apply(&Stamped {
        at,
        by: String::new(),
        command: Command::AddMember(member(7)),
        request: None,
    })
    .unwrap();
    assert_eq!(
        new.apply(&Stamped {
            at,
            by: String::new(),
            command: Command::Restore(Box::new(before)),
            request: None,
        }),
        Err(Rejection::AlreadyFounded)
    );
}
