//! Tokens, authorities, operators.
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
        replaces: None,
    }
}

/// The same node with the same key asks again, after its answer was lost and its agent was replaced.
#[test]
fn a_join_that_was_cut_short_goes_on_with_another_agent_and_with_nobody_else() {
    let mut log = Log::new();
    log.ok(token("t", Role::Server, 1_000_000));
    log.ok(admit(4, "t", 1));
    let again = |key, change: fn(&mut Member)| {
        let Command::Admit {
            mut member,
            ticket,
            replaces,
        } = admit(4, "t", key)
        else {
            unreachable!("it is one")
        };
        member.version = "0.3.0".into();
        change(&mut member);
        Command::Admit {
            member,
            ticket,
            replaces,
        }
    };
    log.ok(again(1, |_| {}));
    assert_eq!(log.state.facts.members[&node(4)].version, "0.3.0");
    let other = log.apply(again(2, |_| {}));
    assert!(matches!(other, Err(Rejection::TokenUsed(..))), "{other:?}");
    let elsewhere = log.apply(again(1, |m| m.listen.set_port(9)));
    assert!(
        matches!(elsewhere, Err(Rejection::IdTaken(..))),
        "{elsewhere:?}"
    );
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
        replaces: None,
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
        replaces: None,
    };
    assert!(matches!(log.apply(taken), Err(Rejection::NameTaken(_))));
    log.ok(admit(4, "t", 1));
    assert!(log.state.facts.members.contains_key(&node(4)));
    log.ok(admit(4, "t", 1));
    for another in [admit(5, "t", 1), admit(4, "t", 2)] {
        assert!(matches!(log.apply(another), Err(Rejection::TokenUsed(_, by)) if by == "node-4"));
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
    let left = &log.state.facts.trust.authorities;
    assert_eq!((left.len(), left[0].fingerprint), (1, digest(2)));
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
