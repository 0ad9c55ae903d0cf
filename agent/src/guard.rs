//! Who may ask what: the one table of every question and what it takes, and the one place where that is checked.
//!
//! ```text
//!   request + Visitor --who? (certificate still good, not removed)--> Caller --may it? (table)--> service, with Asker
//! ```

use crate::consensus::machine::Snap;
use crate::world::entrance::{Shows, Visitor};
use futures_util::future::{Either, Ready, ready};
use ha_core::id::NodeId;
use ha_core::time::Timestamp;
use ha_core::trust::{Access, Digest, Trust};
use ha_trust::identity::Subject;
use ha_trust::store::Live;
use http_body_util::Limited;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;

/// What it takes to ask something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing: what is asked is checked by other means.
    Nothing,
    /// That of a member: one agent asks another.
    Member,
    /// At least this access.
    Access(Access),
}

/// Marks a question that a follower passes on, so that it is not passed on again.
pub const FORWARDED: &str = "ha-forwarded";
/// The access of whoever asked the follower.
pub const ON_BEHALF: &str = "ha-access";
/// Name and key of the operator who asked the follower; nothing for who sits at its machine.
pub const NAMED: &str = "ha-user";

/// Every question, by its path without the dots before the service.
pub const TABLE: &[(&str, Takes)] = {
    use Access::{Admin, Operator, Viewer};
    use Takes::{Access as A, Member, Nothing};
    &[
        ("Consensus/AppendEntries", Member),
        ("Consensus/Vote", Member),
        ("Consensus/PreVote", Member),
        ("Consensus/TransferLeader", Member),
        ("Consensus/InstallSnapshot", Member),
        ("Consensus/Lease", Member),
        ("Consensus/Release", Member),
        // A join shows a token; to be reached is asked before there is any.
        ("Control/Join", Nothing),
        ("Control/Reach", Nothing),
        ("Control/Renew", A(Viewer)),
        ("Control/Status", A(Viewer)),
        ("Control/ConfigHistory", A(Viewer)),
        ("Control/Diff", A(Viewer)),
        ("Control/Sessions", A(Viewer)),
        ("Control/Whereis", A(Viewer)),
        ("Control/Events", A(Viewer)),
        ("Control/ExplainVip", A(Viewer)),
        ("Control/Authorities", A(Viewer)),
        ("Control/SetState", A(Operator)),
        ("Control/Lock", A(Operator)),
        ("Control/MoveLeader", A(Operator)),
        ("Control/Apply", A(Admin)),
        ("Control/Rollback", A(Admin)),
        ("Control/RemoveMember", A(Admin)),
        ("Control/PromoteMember", A(Admin)),
        ("Control/Backup", A(Admin)),
        ("Control/CreateToken", A(Admin)),
        ("Control/Tokens", A(Admin)),
        ("Control/RevokeToken", A(Admin)),
        ("Control/AddUser", A(Admin)),
        ("Control/Users", A(Admin)),
        ("Control/RemoveUser", A(Admin)),
        ("Control/RotateAuthority", A(Admin)),
        ("Control/RetireAuthority", A(Admin)),
    ]
};

/// What the question of this path takes; `None`: there is no such question.
pub fn takes(path: &str) -> Option<Takes> {
    let short = path.rsplit_once('.').map_or(path, |(_, short)| short);
    TABLE
        .iter()
        .find(|(name, _)| *name == short)
        .map(|(_, takes)| *takes)
}

/// Largest question of somebody who has shown no certificate, in bytes.
const STRANGERS_BODY_MAX: usize = 16 << 10;

/// Who asks, as far as that is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Nobody that we know.
    Stranger,
    /// A member of the cluster, for itself.
    Member(NodeId),
    /// An operator with a certificate.
    User(String, Access),
    /// Who sits at the machine and may open its socket.
    Local(String),
    /// Somebody who asked another member, which vouches for it.
    Behind(NodeId, Access),
}

impl Caller {
    /// What it may do as an operator.
    pub fn access(&self) -> Option<Access> {
        match self {
            Caller::Stranger | Caller::Member(_) => None,
            Caller::User(_, access) | Caller::Behind(_, access) => Some(*access),
            Caller::Local(_) => Some(Access::Admin),
        }
    }
}

/// Whether `caller` may ask what `takes` that.
///
/// # Errors
/// Why not, for the caller.
pub fn may(caller: &Caller, takes: Takes) -> Result<(), Status> {
    match takes {
        Takes::Nothing => Ok(()),
        Takes::Member if matches!(caller, Caller::Member(_)) => Ok(()),
        Takes::Member => Err(Status::permission_denied(
            "only members of the cluster ask that",
        )),
        Takes::Access(needed) => match caller.access() {
            Some(access) if access >= needed => Ok(()),
            Some(access) => Err(Status::permission_denied(format!(
                "this takes the role {}, and yours is {}: `ha-cli user add NAME --role {0}` by an admin gives it",
                needed.word(),
                access.word()
            ))),
            None => Err(unknown()),
        },
    }
}

fn unknown() -> Status {
    Status::unauthenticated(
        "nobody is let in without a certificate: use --context FILE (an admin makes one with `ha-cli user add NAME --role ROLE`), or the agent's own socket on the node itself",
    )
}

/// Who is asking, for the services behind the guard.
#[derive(Clone, Debug)]
pub struct Asker {
    /// As far as that is proven.
    pub caller: Caller,
    /// From where; `None`: from this machine.
    pub from: Option<IpAddr>,
    /// What the connection showed.
    pub shows: Shows,
    /// The operator's name and key.
    pub named: Option<(String, Digest)>,
}

impl Asker {
    /// Who did it, for the event log. `claimed` is what the caller says of itself: believed of who sits at the
    /// machine and of a member that passes a question on.
    pub fn by(&self, claimed: &str, node: &str) -> String {
        match &self.caller {
            Caller::User(name, _) => format!(
                "{name} from {}",
                self.from
                    .map_or_else(|| "an unknown address".to_owned(), |a| a.to_string())
            ),
            Caller::Local(user) if claimed.is_empty() => format!("{user} on {node}"),
            Caller::Local(user) => format!("{claimed} ({user} on {node})"),
            Caller::Behind(..) | Caller::Member(_) => claimed.to_owned(),
            Caller::Stranger => String::new(),
        }
    }
}

/// What the guard knows of this moment.
pub trait Knows: Send + Sync + 'static {
    /// The agreed state.
    fn snap(&self) -> Snap;
    /// Whom this node believes.
    fn live(&self) -> Arc<Live>;
    /// Unix time.
    fn wall(&self) -> Timestamp;
}

/// Finds out who is calling, from what the connection showed and what is true at this moment.
///
/// # Errors
/// A certificate that is not good any more.
pub fn who(shows: &Shows, live: &Live, snap: &Snap, now: Timestamp) -> Result<Caller, Status> {
    let identity = match shows {
        Shows::Nothing => return Ok(Caller::Stranger),
        Shows::Local(user) => return Ok(Caller::Local(user.clone())),
        Shows::Certificate(identity) => identity,
    };
    if identity.until <= now {
        return Err(Status::unauthenticated("this certificate has expired"));
    }
    if identity.cluster != live.identity.cluster || !live.believes(identity) {
        return Err(Status::unauthenticated(
            "this certificate was signed by an authority that is not believed any more",
        ));
    }
    let trust = &snap.facts.trust;
    match &identity.subject {
        Subject::Node(id) if trust.removed.contains_key(id) => Err(Status::permission_denied(
            "this node was removed from the cluster: stop its agent, empty its data_dir and join it anew",
        )),
        // It may have joined so lately that this node has not heard of it: the authority has signed for it.
        Subject::Node(id) => Ok(Caller::Member(*id)),
        Subject::User { name, access } => may_enter(trust, name, identity.key, *access)
            .map(|()| Caller::User(name.clone(), *access)),
    }
}

/// Whether an operator of that name, key and role is let in.
fn may_enter(trust: &Trust, name: &str, key: Digest, access: Access) -> Result<(), Status> {
    match trust.users.get(name) {
        Some(user) if user.key == key && user.access == access => Ok(()),
        Some(_) => Err(Status::unauthenticated(format!(
            "{name} has a newer certificate than this one"
        ))),
        None => Err(Status::unauthenticated(format!(
            "{name} may not enter any more"
        ))),
    }
}

/// Whoever is behind a member, as that says. An operator is looked up here too: the member may not have heard yet
/// that he was shut out.
fn behind(
    member: NodeId,
    headers: &http::HeaderMap,
    trust: &Trust,
) -> Result<Option<Caller>, Status> {
    let wrong =
        || Status::invalid_argument(format!("{ON_BEHALF}, {NAMED}: no role, or no name and key"));
    let text = |name: &str| {
        headers
            .get(name)
            .map(|value| value.to_str().map_err(|_| wrong()))
            .transpose()
    };
    let Some(access) = text(ON_BEHALF)? else {
        return Ok(None);
    };
    let access = Access::from_word(access).ok_or_else(wrong)?;
    if let Some(named) = text(NAMED)? {
        let (name, key) = named.split_once(' ').ok_or_else(wrong)?;
        may_enter(trust, name, key.parse().map_err(|_| wrong())?, access)?;
    }
    Ok(Some(Caller::Behind(member, access)))
}

/// Puts a guard before services.
#[derive(Clone)]
pub struct Guard(pub Arc<dyn Knows>);

/// Who asks, as the guard found out.
///
/// # Errors
/// A service that was put before its guard.
pub fn asker<T>(request: &tonic::Request<T>) -> Result<Asker, Status> {
    request
        .extensions()
        .get::<Asker>()
        .cloned()
        .ok_or_else(|| Status::internal("this question came past the guard"))
}

impl<S> tower::Layer<S> for Guard {
    type Service = Guarded<S>;
    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            guard: self.clone(),
            inner,
        }
    }
}

impl Guard {
    fn admit(&self, request: &http::Request<Body>) -> Result<Asker, Status> {
        let takes = takes(request.uri().path())
            .ok_or_else(|| Status::unimplemented("this agent does not know that question"))?;
        let visitor = request
            .extensions()
            .get::<Visitor>()
            .ok_or_else(|| Status::internal("nobody knows where this question comes from"))?;
        let (live, snap) = (self.0.live(), self.0.snap());
        let mut caller = who(&visitor.shows, &live, &snap, self.0.wall()).or_else(|refused| {
            // Who joins shows no certificate, or the one of an earlier life: neither matters.
            if takes == Takes::Nothing {
                Ok(Caller::Stranger)
            } else {
                Err(refused)
            }
        })?;
        if let Caller::Member(id) = caller
            && let Some(somebody) = behind(id, request.headers(), &snap.facts.trust)?
        {
            caller = somebody;
        }
        may(&caller, takes)?;
        let named = match (&caller, &visitor.shows) {
            (Caller::User(name, _), Shows::Certificate(identity)) => {
                Some((name.clone(), identity.key))
            }
            _ => None,
        };
        Ok(Asker {
            caller,
            from: visitor.from,
            shows: visitor.shows.clone(),
            named,
        })
    }
}

/// A service behind the guard.
#[derive(Clone)]
pub struct Guarded<S> {
    guard: Guard,
    inner: S,
}

impl<S> tower::Service<http::Request<Body>> for Guarded<S>
where
    S: tower::Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Either<Ready<Result<http::Response<Body>, Infallible>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        match self.guard.admit(&request) {
            Ok(asker) => {
                let stranger = asker.caller == Caller::Stranger;
                request.extensions_mut().insert(asker);
                // Who has shown nothing has little to say.
                let request = if stranger {
                    request.map(|body| Body::new(Limited::new(body, STRANGERS_BODY_MAX)))
                } else {
                    request
                };
                Either::Right(self.inner.call(request))
            }
            Err(refused) => Either::Left(ready(Ok(refused.into_http()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ha_core::model::CERTIFICATE_LIFETIME;
    use ha_core::state::Facts;
    use ha_core::trust::UserRecord;
    use ha_trust::authority::{Authority, Seal, request};
    use ha_trust::identity::Identity;
    use ha_trust::keyring::Keyring;
    use ha_trust::store::TrustStore;

    const CONSENSUS: &str = include_str!("../../proto/consensus.proto");
    const CONTROL: &str = include_str!("../../proto/control.proto");

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
            takes("/ha.control.v1.Control/SetState"),
            Some(Takes::Access(Access::Operator))
        );
        assert_eq!(
            takes("/ha.consensus.v1.Consensus/Lease"),
            Some(Takes::Member)
        );
        for wrong in [
            "/ha.control.v1.Control/Nothing",
            "",
            "/",
            "Control",
            "/ha.control.v1.Control/Status/more",
        ] {
            assert_eq!(takes(wrong), None, "{wrong}");
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
            let takes = takes(&format!("/ha.v1.{question}")).unwrap();
            for (caller, letter) in callers.iter().zip(letters.trim().chars()) {
                let answer = may(caller, takes);
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

    struct Town {
        authority: Authority,
        live: Arc<Live>,
        snap: Snap,
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
            key: key.serialize_der(),
            seal: Seal::generate().unwrap(),
        }
        .save(dir.path())
        .unwrap();
        let live = TrustStore::open(dir.path()).unwrap().live();
        Town {
            authority,
            live,
            snap: Snap::default(),
        }
    }

    impl Town {
        fn show(
            &self,
            authority: &Authority,
            subject: &Subject,
            cluster: u128,
        ) -> (Shows, ha_core::trust::Digest) {
            let (_, asked) = request().unwrap();
            let identity = Identity::of(
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
            (Shows::Certificate(Arc::new(identity)), key)
        }
        fn who(&self, shows: &Shows, now: Timestamp) -> Result<Caller, String> {
            who(shows, &self.live, &self.snap, now).map_err(|s| s.message().to_owned())
        }
        fn change(&mut self, f: impl FnOnce(&mut ha_core::trust::Trust)) {
            let mut facts = Facts::clone(&self.snap.facts);
            f(Arc::make_mut(&mut facts.trust));
            self.snap.facts = Arc::new(facts);
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
            let mut headers = http::HeaderMap::new();
            access.map(|a| headers.insert(ON_BEHALF, a.parse().unwrap()));
            named.map(|n| headers.insert(NAMED, n.parse().unwrap()));
            behind(member, &headers, &town.snap.facts.trust)
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
        assert_eq!(town.who(&Shows::Nothing, NOW), Ok(Caller::Stranger));
    }
}
