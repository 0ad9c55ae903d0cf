//! What commands change, and what they must not.
use super::*;
use crate::check::{CheckClose, Kind};
use crate::command::{AdminOrder, AdminTarget};
use crate::model::*;
use crate::testing::{self, backend, check, member, node, server};
use crate::view::{Newcomer, Overlay, Routes};
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
        Command::Rollback(Some(77)),
        Command::Rollback(None),
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
        },
    ] {
        assert!(log.apply(command.clone()).is_err(), "{command:?}");
        assert_eq!(log.state.facts, before, "{command:?}");
    }
}

#[test]
fn the_last_usable_server_is_not_drained_without_force() {
    let mut log = Log::new();
    for (name, want) in [("s1", true), ("s2", true), ("s3", false)] {
        let target = AdminTarget::Servers(vec![log.server(name)]);
        assert_eq!(
            log.set(target, AdminState::Drain, false).is_ok(),
            want,
            "{name}"
        );
    }
    let last = AdminTarget::Servers(vec![log.server("s3")]);
    assert_eq!(
        log.set(last.clone(), AdminState::Maintenance, false),
        Err(Rejection::LastServer {
            backend: "b".into()
        })
    );
    assert!(log.set(last, AdminState::Drain, true).is_ok());
}

#[test]
fn a_server_that_is_down_does_not_count_as_usable() {
    let mut log = Log::new();
    let down: Vec<HealthChange> = ["s1", "s2"]
        .map(|s| HealthChange {
            server: log.server(s),
            up: false,
            why: "L4CON".into(),
        })
        .to_vec();
    log.ok(Command::Health(down));
    assert!(
        log.set(AdminTarget::Node(node(3)), AdminState::Drain, false)
            .is_err()
    );
}

#[test]
fn a_node_in_maintenance_takes_its_servers_with_it_and_gives_them_back() {
    let mut log = Log::new();
    assert_eq!(
        log.set(AdminTarget::Node(node(2)), AdminState::Maintenance, false),
        Ok(Outcome::Affected(vec!["b/s2".into()]))
    );
    let admin = |log: &Log| {
        Routes::from_facts(&log.state.facts, &Overlay::default()).backends[0]
            .servers
            .iter()
            .map(|s| s.admin)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        admin(&log),
        [
            AdminState::Ready,
            AdminState::Maintenance,
            AdminState::Ready
        ]
    );
    log.set(AdminTarget::Node(node(2)), AdminState::Ready, false)
        .unwrap();
    assert_eq!(admin(&log), [AdminState::Ready; 3]);
}

#[test]
fn a_drain_that_ends_does_what_was_said() {
    let mut log = Log::new();
    let target = AdminTarget::Servers(vec![log.server("s1")]);
    let order = AdminOrder {
        state: AdminState::Drain,
        then: Some(AdminState::Maintenance),
        ..AdminOrder::default()
    };
    log.ok(Command::SetAdmin {
        target: target.clone(),
        order,
        force: false,
    });
    let began = log.state.facts.server_admin[&log.server("s1")].since;
    log.ok(Command::DrainEnded {
        target: target.clone(),
        began,
        end: DrainEnd::Empty,
    });
    assert_eq!(
        log.state.facts.server_admin[&log.server("s1")].state,
        AdminState::Maintenance
    );
    log.set(target.clone(), AdminState::Ready, false).unwrap();
    log.ok(Command::DrainEnded {
        target,
        began,
        end: DrainEnd::Deadline,
    });
    assert!(
        log.state.facts.server_admin.is_empty(),
        "a drain that was taken back does not end"
    );
}

#[test]
fn a_drain_that_is_over_takes_nobody_any_more_and_another_one_is_another() {
    let mut log = Log::new();
    let target = AdminTarget::Servers(vec![log.server("s1")]);
    let order = AdminOrder {
        state: AdminState::Drain,
        deadline: Some(Timestamp(1 << 50)),
        ..AdminOrder::default()
    };
    let drain = |log: &mut Log| {
        log.ok(Command::SetAdmin {
            target: target.clone(),
            order: order.clone(),
            force: false,
        });
        log.state.facts.server_admin[&log.server("s1")].since
    };
    let (first, second) = (drain(&mut log), drain(&mut log));
    let bound = |log: &Log| {
        Routes::from_facts(&log.state.facts, &Overlay::default()).backends[0].servers[0]
            .accepts(Newcomer::Bound)
    };
    log.ok(Command::DrainEnded {
        target: target.clone(),
        began: first,
        end: DrainEnd::Deadline,
    });
    assert!(
        bound(&log),
        "the end of the first drain is none of the second"
    );
    log.ok(Command::DrainEnded {
        target,
        began: second,
        end: DrainEnd::Empty,
    });
    assert!(
        !bound(&log),
        "an operator was told that it is empty: so it stays"
    );
}

#[test]
fn servers_keep_their_numbers_through_changes_and_rollback() {
    let mut log = Log::new();
    let (one, three) = (log.server("s1"), log.server("s3"));
    log.ok(Command::Health(vec![HealthChange {
        server: three,
        up: false,
        why: String::new(),
    }]));
    assert_eq!(
        log.ok(configure(config(2))),
        Outcome::Configured(2, vec!["- server b/s3".into()])
    );
    assert!(log.state.facts.health.is_empty());
    assert_eq!(
        log.ok(Command::Rollback(None)),
        Outcome::Configured(3, vec!["+ server b/s3".into()])
    );
    assert_eq!(log.server("s1"), one);
    assert_ne!(log.server("s3"), three, "a number is never used again");
}

#[test]
fn the_same_configuration_again_is_no_new_version() {
    let mut log = Log::new();
    assert_eq!(log.ok(configure(config(3))), Outcome::Configured(1, vec![]));
    let mut heavier = config(3);
    heavier.backends[0].servers[1].weight = 5;
    assert_eq!(
        log.ok(configure(heavier)),
        Outcome::Configured(2, vec!["~ server b/s2: weight: 1 -> 5".into()])
    );
}

mod checks {
    use super::*;

    fn with_check(kind: Kind) -> ClusterConfig {
        let mut config = config(3);
        config.backends[0].check = Some(check(kind));
        config
    }
    fn later() -> Kind {
        Kind::from_record("later", "port = 80")
    }
    fn tcp() -> Kind {
        Kind::Tcp {
            port: Some(5022),
            close: CheckClose::Rst,
        }
    }
    fn knows_more(i: u8) -> Member {
        let mut member = member(i);
        member.checks.insert("later".into());
        member
    }
    fn unknown_to(i: u8) -> Answer {
        Err(Rejection::CheckUnknown {
            kind: "later".into(),
            node: format!("node-{i}"),
        })
    }

    #[test]
    fn apply_refuses_a_kind_that_a_member_does_not_know() {
        let mut log = Log::new();
        log.ok(configure(with_check(tcp())));
        let before = log.state.facts.clone();
        assert_eq!(log.apply(configure(with_check(later()))), unknown_to(1));
        assert_eq!(log.state.facts, before);
    }

    #[test]
    fn a_kind_that_every_member_knows_is_taken_by_agents_that_do_not_know_it_themselves() {
        let mut log = Log {
            state: ClusterState::default(),
            at: 0,
        };
        log.ok(Command::AddMember(knows_more(1)));
        log.ok(configure(with_check(later())));
        let kept = log.state.facts.config.backends[0].check.as_ref();
        assert_eq!(kept.map(|c| &c.kind), Some(&later()));
    }

    #[test]
    fn a_member_that_does_not_know_a_kind_in_use_does_not_come_in_and_the_kind_does_not_return() {
        let mut log = Log {
            state: ClusterState::default(),
            at: 0,
        };
        log.ok(Command::AddMember(knows_more(1)));
        log.ok(configure(with_check(later())));
        assert_eq!(log.apply(Command::AddMember(member(2))), unknown_to(2));
        log.ok(configure(with_check(tcp())));
        log.ok(Command::AddMember(member(2)));
        assert_eq!(log.apply(Command::Rollback(None)), unknown_to(2));
    }
}

#[test]
fn history_is_bounded_and_any_kept_version_can_return() {
    let mut log = Log::new();
    for w in 2..30 {
        let mut c = config(3);
        c.backends[0].servers[0].weight = w;
        log.ok(configure(c));
    }
    assert_eq!(log.state.facts.history.len(), HISTORY_MAX);
    let oldest = log.state.facts.history[0].version;
    assert!(log.apply(Command::Rollback(Some(oldest - 1))).is_err());
    log.ok(Command::Rollback(Some(oldest)));
    assert_eq!(
        u64::from(log.state.facts.config.backends[0].servers[0].weight),
        oldest
    );
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

mod trust {
    use super::*;
    use crate::trust::{Access, Digest, REMOVED_MAX, Stage, TOKENS_MAX, Ticket, TrustOrder};

    fn digest(i: u8) -> Digest {
        Digest([i; 32])
    }
    fn introduce(i: u8) -> Command {
        Command::Trust(TrustOrder::Introduce {
            fingerprint: digest(i),
            certificate: vec![i],
            cross: Vec::new(),
            sealed_key: vec![i],
        })
    }
    fn token(id: &str, role: Role, expires: u64) -> Command {
        Command::Trust(TrustOrder::MakeToken {
            id: id.into(),
            secret: digest(7),
            role,
            expires: Timestamp(expires),
        })
    }
    fn admit(i: u8, token: &str, key: u8) -> Command {
        Command::Admit {
            member: member(i),
            ticket: Ticket {
                token: token.into(),
                secret: digest(7),
                key: digest(key),
            },
        }
    }

    #[test]
    fn a_token_lets_one_node_in_once_and_says_why_not_again() {
        let mut log = Log::new();
        log.ok(token("t", Role::Server, 1_000_000));
        let wrong = Command::Admit {
            member: member(4),
            ticket: Ticket {
                token: "t".into(),
                secret: digest(8),
                key: digest(1),
            },
        };
        assert!(
            matches!(log.apply(wrong), Err(Rejection::TokenUnknown(_))),
            "a wrong secret is no token"
        );
        assert!(matches!(
            log.apply(admit(4, "other", 1)),
            Err(Rejection::TokenUnknown(_))
        ));
        let taken = Command::Admit {
            member: Member {
                name: "node-1".into(),
                ..member(4)
            },
            ticket: Ticket {
                token: "t".into(),
                secret: digest(7),
                key: digest(1),
            },
        };
        assert!(matches!(log.apply(taken), Err(Rejection::NameTaken(_))));
        log.ok(admit(4, "t", 1));
        assert!(log.state.facts.members.contains_key(&node(4)));
        log.ok(admit(4, "t", 1));
        for another in [admit(5, "t", 1), admit(4, "t", 2)] {
            assert!(
                matches!(log.apply(another), Err(Rejection::TokenUsed(_, by)) if by == "node-4")
            );
        }
        log.ok(Command::RemoveMember(node(4)));
        assert!(
            matches!(log.apply(admit(4, "t", 1)), Err(Rejection::TokenUsed(..))),
            "it does not come back by its old token"
        );
        log.ok(token("u", Role::Server, 1_000_000));
        assert!(
            matches!(log.apply(admit(4, "u", 1)), Err(Rejection::NodeRemoved(id)) if id == node(4))
        );
        log.ok(admit(5, "u", 1));
    }

    #[test]
    fn a_token_has_an_end_a_kind_and_may_be_revoked() {
        let mut log = Log::new();
        log.ok(token("late", Role::Server, 1));
        log.ok(token("witness", Role::Witness, 1_000_000));
        log.ok(token("revoked", Role::Server, 1_000_000));
        log.ok(Command::Trust(TrustOrder::RevokeToken("revoked".into())));
        assert!(matches!(
            log.apply(admit(4, "late", 1)),
            Err(Rejection::TokenExpired(..))
        ));
        assert!(matches!(
            log.apply(admit(4, "witness", 1)),
            Err(Rejection::TokenRole(..))
        ));
        assert!(matches!(
            log.apply(admit(4, "revoked", 1)),
            Err(Rejection::TokenRevoked(_))
        ));
        assert!(matches!(
            log.apply(Command::Trust(TrustOrder::RevokeToken("x".into()))),
            Err(Rejection::TokenUnknown(_))
        ));
        assert_eq!(log.state.facts.members.len(), 3);
    }

    #[test]
    fn spent_tokens_make_room_and_others_do_not() {
        let mut log = Log::new();
        for i in 0..TOKENS_MAX {
            log.ok(token(&format!("t{i:03}"), Role::Server, 1_000_000));
        }
        assert!(matches!(
            log.apply(token("more", Role::Server, 1_000_000)),
            Err(Rejection::TooMany(..))
        ));
        log.ok(Command::Trust(TrustOrder::RevokeToken("t005".into())));
        log.ok(token("more", Role::Server, 1_000_000));
        assert!(
            !log.state.facts.trust.tokens.contains_key("t005")
                && log.state.facts.trust.tokens.len() == TOKENS_MAX
        );
    }

    #[test]
    fn an_authority_follows_another_step_by_step() {
        let mut log = Log::new();
        log.ok(introduce(1));
        assert_eq!(
            log.state.facts.trust.signing().map(|a| a.fingerprint),
            Some(digest(1)),
            "the first signs at once"
        );
        log.ok(introduce(2));
        assert!(matches!(
            log.apply(introduce(3)),
            Err(Rejection::RotationUnderWay)
        ));
        assert_eq!(
            log.state.facts.trust.signing().map(|a| a.fingerprint),
            Some(digest(1))
        );
        assert!(matches!(
            log.apply(Command::Trust(TrustOrder::Advance(digest(1)))),
            Err(Rejection::AuthorityUnknown(_))
        ));
        log.ok(Command::Trust(TrustOrder::Advance(digest(2))));
        assert_eq!(
            log.state.facts.trust.signing().map(|a| a.fingerprint),
            Some(digest(2))
        );
        assert_eq!(
            log.state.facts.trust.authority(digest(1)).map(|a| a.stage),
            Some(Stage::Leaving)
        );
        assert!(
            matches!(
                log.apply(Command::Trust(TrustOrder::Retire(digest(2)))),
                Err(Rejection::AuthorityUnknown(_))
            ),
            "the one that signs stays"
        );
        log.ok(Command::Trust(TrustOrder::Retire(digest(1))));
        assert_eq!(
            log.state.facts.trust.fingerprints().collect::<Vec<_>>(),
            [digest(2)]
        );
    }

    #[test]
    fn operators_come_and_go_and_who_left_is_remembered_within_bounds() {
        let mut log = Log::new();
        let user = |key| {
            Command::Trust(TrustOrder::AddUser {
                name: "alice".into(),
                access: Access::Operator,
                key: digest(key),
            })
        };
        log.ok(user(1));
        log.ok(user(2));
        assert_eq!(
            log.state.facts.trust.users["alice"].key,
            digest(2),
            "the newer certificate is the one that counts"
        );
        log.ok(Command::Trust(TrustOrder::RemoveUser("alice".into())));
        assert!(matches!(
            log.apply(Command::Trust(TrustOrder::RemoveUser("alice".into()))),
            Err(Rejection::UserUnknown(_))
        ));
        let mut facts = Facts::clone(&log.state.facts);
        for i in 0..REMOVED_MAX as u128 + 5 {
            facts.shut_out(NodeId::from_random(i), Timestamp(i as u64));
        }
        assert_eq!(facts.trust.removed.len(), REMOVED_MAX);
        assert!(
            !facts.trust.removed.contains_key(&NodeId::from_random(4))
                && facts.trust.removed.contains_key(&NodeId::from_random(5))
        );
    }
}

mod maintenance {
    use super::*;

    fn drain(i: u8, owner: &str, force: bool) -> Command {
        let order = AdminOrder {
            state: AdminState::Drain,
            lock: owner.into(),
            ..AdminOrder::default()
        };
        Command::SetAdmin {
            target: AdminTarget::Node(node(i)),
            order,
            force,
        }
    }
    fn ready(i: u8) -> Command {
        Command::SetAdmin {
            target: AdminTarget::Node(node(i)),
            order: AdminOrder::default(),
            force: false,
        }
    }
    fn lock(owner: &str, until: u64) -> Command {
        Command::Lock {
            owner: owner.into(),
            purpose: "rolling restart".into(),
            expires: Timestamp(until),
        }
    }

    #[test]
    fn a_second_node_is_not_taken_out_and_it_is_said_who_took_out_the_first() {
        let mut log = Log::new();
        log.ok(drain(1, "", false));
        log.ok(drain(1, "", false));
        assert!(
            matches!(log.apply(drain(2, "", false)), Err(Rejection::OtherNodeOut { node, .. }) if node == "node-1")
        );
        assert!(matches!(
            log.apply(lock("alice", 1_000_000)),
            Err(Rejection::OtherNodeOut { .. })
        ));
        log.ok(drain(2, "", true));
        log.ok(ready(1));
        log.ok(ready(2));
        log.ok(drain(2, "", false));
    }

    #[test]
    fn who_holds_the_lock_takes_nodes_out_and_nobody_else_until_it_ends() {
        let mut log = Log::new();
        log.ok(lock("alice", 1_000_000));
        log.ok(lock("alice", 2_000_000));
        assert!(matches!(
            log.apply(lock("bob", 1_000_000)),
            Err(Rejection::Locked { .. })
        ));
        assert!(matches!(
            log.apply(drain(1, "", false)),
            Err(Rejection::Locked { .. })
        ));
        let one = AdminTarget::Servers(vec![log.server("s1")]);
        assert!(
            matches!(
                log.set(one, AdminState::Maintenance, false),
                Err(Rejection::Locked { .. })
            ),
            "nor a single server"
        );
        log.ok(drain(1, "alice", false));
        assert!(matches!(
            log.apply(drain(2, "alice", false)),
            Err(Rejection::OtherNodeOut { .. })
        ));
        log.ok(ready(1));
        log.ok(Command::Unlock {
            owner: "bob".into(),
        });
        assert!(
            matches!(
                log.apply(drain(1, "", false)),
                Err(Rejection::Locked { .. })
            ),
            "it is not bob's to give back"
        );
        log.ok(drain(1, "", true));
        log.ok(ready(1));
        log.ok(Command::Unlock {
            owner: "alice".into(),
        });
        log.ok(drain(1, "", false));
        log.ok(ready(1));
        log.ok(lock("carol", 5));
        log.at = 1_000_000;
        log.ok(drain(1, "", false));
        assert!(
            log.state
                .facts
                .maintenance
                .as_ref()
                .is_some_and(|l| l.owner == "carol"),
            "it has ended by itself"
        );
    }
}

mod versions {
    use super::*;
    use crate::version::{RecordVersion, Speaks};

    fn speaking(i: u8, min: u32, max: u32) -> Member {
        Member {
            speaks: Speaks {
                min: RecordVersion(min),
                max: RecordVersion(max),
            },
            ..member(i)
        }
    }
    fn describe(i: u8, version: &str, min: u32, max: u32) -> Command {
        let Member { speaks, checks, .. } = speaking(i, min, max);
        Command::Describe {
            node: node(i),
            agent_version: version.into(),
            speaks,
            checks,
        }
    }
    fn activate(version: u32) -> Command {
        Command::Activate(RecordVersion(version))
    }
    /// Founded at version 2 by an agent that speaks 1 to 3; the second member is a witness.
    fn founded() -> Log {
        let mut log = Log {
            state: ClusterState::default(),
            at: 0,
        };
        log.ok(Command::Found {
            cluster_id: node(99),
            timing: Timing::Lan,
            version: RecordVersion(2),
        });
        log.ok(Command::AddMember(speaking(1, 1, 3)));
        log.ok(Command::AddMember(Member {
            role: Role::Witness,
            ..speaking(2, 2, 2)
        }));
        log
    }

    #[test]
    fn a_version_becomes_active_when_every_member_speaks_it_and_not_before() {
        let mut log = founded();
        assert_eq!(
            log.apply(activate(3)),
            Err(Rejection::VersionNotSpoken {
                version: RecordVersion(3),
                node: "node-2".into()
            }),
            "a witness has a log too"
        );
        log.ok(describe(2, "3", 2, 3));
        log.ok(activate(3));
        assert_eq!(log.state.facts.active_version, RecordVersion(3));
    }

    #[test]
    fn the_active_version_is_never_lowered() {
        let mut log = founded();
        let before = log.state.facts.clone();
        for version in [0, 1, 2] {
            assert_eq!(
                log.apply(activate(version)),
                Err(Rejection::VersionNotHigher {
                    version: RecordVersion(version),
                    active: RecordVersion(2)
                })
            );
        }
        assert_eq!(log.state.facts, before);
    }

    #[test]
    fn a_node_that_does_not_speak_the_active_version_is_refused_and_told_which_it_is() {
        let mut log = founded();
        for (min, max) in [(1, 1), (3, 4), (0, 0)] {
            let refused = log.apply(Command::AddMember(speaking(3, min, max)));
            let words = refused.unwrap_err().to_string();
            assert!(words.contains("speaks version 2"), "{words}");
        }
        log.ok(Command::AddMember(speaking(3, 1, 2)));
    }

    #[test]
    fn a_description_replaces_what_is_known_of_the_agent_and_nothing_else() {
        let mut log = founded();
        log.ok(describe(1, "9.9", 1, 4));
        let expected = Member {
            version: "9.9".into(),
            ..speaking(1, 1, 4)
        };
        assert_eq!(log.state.facts.members[&node(1)], expected);
        let events = log.state.facts.events.last_seq();
        log.ok(describe(1, "9.9", 1, 4));
        assert_eq!(log.state.facts.events.last_seq(), events, "it is no news");
        assert!(log.apply(describe(7, "9.9", 1, 4)).is_err());
        assert!(matches!(
            log.apply(describe(1, "9.9", 3, 4)),
            Err(Rejection::VersionUnsuitable { .. })
        ));
    }
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
    });
    log.ok(Command::SetAdmin {
        target: AdminTarget::Node(node(1)),
        order: AdminOrder {
            state: AdminState::Drain,
            ..AdminOrder::default()
        },
        force: true,
    });
    let before = Facts::clone(&log.state.facts);
    let mut new = ClusterState::default();
    let at = Timestamp(1 << 40);
    new.apply(&Stamped {
        at,
        by: "restore".into(),
        command: Command::Restore(Box::new(before.clone())),
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
    })
    .unwrap();
    assert_eq!(
        new.apply(&Stamped {
            at,
            by: String::new(),
            command: Command::Restore(Box::new(before))
        }),
        Err(Rejection::AlreadyFounded)
    );
}
