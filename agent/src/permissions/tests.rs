//! Who may ask what, cell by cell.

use super::*;
use ha_core::model::CERTIFICATE_LIFETIME;
use ha_core::state::Facts;
use ha_core::trust::UserRecord;
use ha_trust::authority::{Authority, Seal, request};
use ha_trust::identity::CertificateClaims;
use ha_trust::keyring::Keyring;
use ha_trust::store::TrustStore;

const CONSENSUS: &str = include_str!("../../../proto/consensus.proto");
const CONTROL: &str = include_str!("../../../proto/control.proto");

fn questions() -> Vec<String> {
    let of = |service: &str, text: &str| {
        text.lines()
            .filter_map(|l| {
                Some(format!(
                    "{service}/{}",
                    l.trim().strip_prefix("rpc ")?.split('(').next()?
                ))
            })
            .collect::<Vec<_>>()
    };
    [of("Consensus", CONSENSUS), of("Control", CONTROL)].concat()
}

#[test]
fn the_table_names_every_question_once_and_no_other() {
    let (mut in_table, mut asked): (Vec<&str>, Vec<String>) =
        (TABLE.iter().map(|(n, _)| *n).collect(), questions());
    in_table.sort_unstable();
    asked.sort_unstable();
    assert_eq!(in_table, asked);
    assert_eq!(
        permission_for("/ha.control.v1.Control/SetState"),
        Some(Permission::Access(Access::Operator))
    );
    assert_eq!(
        permission_for("/ha.consensus.v1.Consensus/Lease"),
        Some(Permission::Member)
    );
    for wrong in [
        "/ha.control.v1.Control/Nothing",
        "",
        "/",
        "Control",
        "/ha.control.v1.Control/RequestError/more",
    ] {
        assert_eq!(permission_for(wrong), None, "{wrong}");
    }
}

/// Written out once more, so that a slip of the table is seen: one letter for each of stranger, viewer,
/// operator, admin, local, member, and who is behind a member as viewer, operator, admin.
const CELLS: &str = "
    Consensus/AppendEntries   -----m---
    Consensus/Vote            -----m---
    Consensus/PreVote         -----m---
    Consensus/TransferLeader  -----m---
    Consensus/InstallSnapshot -----m---
    Consensus/Lease           -----m---
    Consensus/Release         -----m---
    Consensus/Meet            svoalmVOA
    Control/Join              svoalmVOA
    Control/Reach             svoalmVOA
    Control/Renew             -voal-VOA
    Control/Status            -voal-VOA
    Control/ConfigHistory     -voal-VOA
    Control/Diff              -voal-VOA
    Control/Sessions          -voal-VOA
    Control/Whereis           -voal-VOA
    Control/Events            -voal-VOA
    Control/ExplainVip        -voal-VOA
    Control/Authorities       -voal-VOA
    Control/SetState          --oal--OA
    Control/Lock              --oal--OA
    Control/MoveLeader        --oal--OA
    Control/Apply             ---al---A
    Control/Rollback          ---al---A
    Control/RemoveMember      ---al---A
    Control/PromoteMember     ---al---A
    Control/Backup            ---al---A
    Control/CreateToken       ---al---A
    Control/Tokens            ---al---A
    Control/RevokeToken       ---al---A
    Control/AddUser           ---al---A
    Control/Users             ---al---A
    Control/RemoveUser        ---al---A
    Control/RotateAuthority   ---al---A
    Control/RetireAuthority   ---al---A
";

#[test]
fn each_cell_is_as_it_is_written_here() {
    let user = |access| Caller::User("alice".into(), access);
    let behind = |access| Caller::Behind(NodeId::from_random(1), access);
    let callers = [
        Caller::Stranger,
        user(Access::Viewer),
        user(Access::Operator),
        user(Access::Admin),
        Caller::Local("root".into()),
        Caller::Member(NodeId::from_random(1)),
        behind(Access::Viewer),
        behind(Access::Operator),
        behind(Access::Admin),
    ];
    let mut cells = 0;
    for line in CELLS.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let (question, letters) = line.split_once(' ').unwrap();
        let needed = permission_for(&format!("/ha.v1.{question}")).unwrap();
        for (caller, letter) in callers.iter().zip(letters.trim().chars()) {
            let answer = may(caller, needed);
            assert_eq!(
                answer.is_ok(),
                letter != '-',
                "{question} by {caller:?}: {answer:?}"
            );
            cells += 1;
        }
    }
    assert_eq!(cells, TABLE.len() * callers.len());
}

#[test]
fn the_event_log_says_who_without_saying_it_twice() {
    let local = |claimed: &str| {
        let principal = Principal {
            caller: Caller::Local("root".into()),
            from: None,
            shows: Presented::Local("root".into()),
            named: None,
        };
        principal.by(claimed, "node-1")
    };
    for (claimed, by) in [
        ("", "root on node-1"),
        ("uid 0@vm", "root on node-1"),
        ("root@vm", "root on node-1"),
        ("alice@vm", "alice (root on node-1)"),
    ] {
        assert_eq!(local(claimed), by);
    }
}

struct Town {
    authority: Authority,
    live: Arc<Live>,
    applied: AppliedState,
}

const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn town() -> Town {
    let cluster = NodeId::from_random(9);
    let authority = Authority::generate(cluster, NOW).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (key, asked) = request().unwrap();
    let certificate = authority
        .sign(
            &asked,
            &Subject::Node(NodeId::from_random(1)),
            cluster,
            NOW,
            CERTIFICATE_LIFETIME,
        )
        .unwrap();
    Keyring {
        generation: 1,
        authorities: vec![authority.certificate().to_vec()],
        crosses: Vec::new(),
        certificate,
        key: key.serialize_der().into(),
        seal: Seal::generate().unwrap(),
    }
    .save(dir.path())
    .unwrap();
    let live = TrustStore::open(dir.path()).unwrap().live();
    Town {
        authority,
        live,
        applied: AppliedState::default(),
    }
}

impl Town {
    fn show(
        &self,
        authority: &Authority,
        subject: &Subject,
        cluster: u128,
    ) -> (Presented, ha_core::trust::Digest) {
        let (_, asked) = request().unwrap();
        let identity = CertificateClaims::of(
            &authority
                .sign(
                    &asked,
                    subject,
                    NodeId::from_random(cluster),
                    NOW,
                    CERTIFICATE_LIFETIME,
                )
                .unwrap(),
        )
        .unwrap();
        let key = identity.key;
        (Presented::Certificate(Arc::new(identity)), key)
    }
    fn who(&self, shows: &Presented, now: Timestamp) -> Result<Caller, String> {
        who(shows, &self.live, &self.applied, now).map_err(|s| s.text)
    }
    fn change(&mut self, f: impl FnOnce(&mut ha_core::trust::Trust)) {
        let mut facts = Facts::clone(&self.applied.facts);
        f(Arc::make_mut(&mut facts.trust));
        self.applied.facts = Arc::new(facts);
    }
}

#[test]
fn a_node_is_heard_until_it_is_removed() {
    let mut town = town();
    let (two, _) = town.show(&town.authority, &Subject::Node(NodeId::from_random(2)), 9);
    assert_eq!(
        town.who(&two, NOW),
        Ok(Caller::Member(NodeId::from_random(2)))
    );
    assert!(
        town.who(&two, NOW + CERTIFICATE_LIFETIME)
            .unwrap_err()
            .contains("expired")
    );
    town.change(|t| assert_eq!(t.removed.insert(NodeId::from_random(2), NOW), None));
    assert!(town.who(&two, NOW).unwrap_err().contains("removed"));
    let other = Authority::generate(NodeId::from_random(9), NOW).unwrap();
    let (foreign, _) = town.show(&other, &Subject::Node(NodeId::from_random(3)), 9);
    assert!(town.who(&foreign, NOW).unwrap_err().contains("authority"));
    let (elsewhere, _) = town.show(&town.authority, &Subject::Node(NodeId::from_random(3)), 8);
    assert!(town.who(&elsewhere, NOW).is_err(), "of another cluster");
}

#[test]
fn who_is_behind_a_member_is_looked_up_once_more() {
    let mut town = town();
    let (member, key) = (NodeId::from_random(2), Digest([5; 32]));
    town.change(|t| {
        assert!(
            t.users
                .insert(
                    "alice".into(),
                    UserRecord {
                        access: Access::Operator,
                        key,
                        since: NOW,
                        by: String::new()
                    }
                )
                .is_none()
        )
    });
    let ask = |town: &Town, access: Option<&str>, named: Option<String>| {
        behind(member, access, named.as_deref(), &town.applied.facts.trust)
    };
    assert_eq!(ask(&town, None, None).unwrap(), None);
    assert_eq!(
        ask(&town, Some("admin"), None).unwrap(),
        Some(Caller::Behind(member, Access::Admin)),
        "who sits there is not named"
    );
    assert_eq!(
        ask(&town, Some("operator"), Some(format!("alice {key}"))).unwrap(),
        Some(Caller::Behind(member, Access::Operator))
    );
    for (access, named) in [
        ("admin", format!("alice {key}")),
        ("operator", format!("alice {}", Digest([6; 32]))),
        ("operator", format!("bob {key}")),
        ("king", format!("alice {key}")),
        ("operator", "alice".into()),
    ] {
        assert!(
            ask(&town, Some(access), Some(named.clone())).is_err(),
            "{access} {named}"
        );
    }
    town.change(|t| t.users.clear());
    assert!(
        ask(&town, Some("operator"), Some(format!("alice {key}"))).is_err(),
        "shut out, and the member has not heard of it"
    );
}

#[test]
fn an_operator_is_heard_with_its_newest_certificate_only() {
    let mut town = town();
    let alice = Subject::User {
        name: "alice".into(),
        access: Access::Operator,
    };
    let (first, first_key) = town.show(&town.authority, &alice, 9);
    let (second, second_key) = town.show(&town.authority, &alice, 9);
    assert!(town.who(&first, NOW).is_err(), "nobody has let it in");
    let enter = |key| {
        move |t: &mut ha_core::trust::Trust| {
            drop(t.users.insert(
                "alice".into(),
                UserRecord {
                    access: Access::Operator,
                    key,
                    since: NOW,
                    by: String::new(),
                },
            ))
        }
    };
    town.change(enter(first_key));
    assert_eq!(
        town.who(&first, NOW),
        Ok(Caller::User("alice".into(), Access::Operator))
    );
    town.change(enter(second_key));
    assert!(town.who(&first, NOW).unwrap_err().contains("newer"));
    assert!(town.who(&second, NOW).is_ok());
    let (more, key) = town.show(
        &town.authority,
        &Subject::User {
            name: "alice".into(),
            access: Access::Admin,
        },
        9,
    );
    town.change(enter(key));
    assert!(
        town.who(&more, NOW).is_err(),
        "the role in the certificate is the one that was given"
    );
    town.change(|t| t.users.clear());
    assert!(town.who(&second, NOW).unwrap_err().contains("any more"));
    assert_eq!(town.who(&Presented::Nothing, NOW), Ok(Caller::Stranger));
}
