//! Who may ask what: the one table of every question and what it takes, and the one place where that is checked.
//!
//! ```text
//!   request + ConnectionInfo --who? (certificate still good, not removed)--> Caller --may it? (table)--> service, with Principal
//! ```

use crate::entrance::Presented;
use crate::error::RequestError;
use ha_core::id::NodeId;
use ha_core::time::Timestamp;
use ha_core::trust::{Access, Digest, Trust};
use ha_node::consensus::machine::AppliedState;
use ha_trust::identity::Subject;
use ha_trust::store::Live;
use std::net::IpAddr;
use std::sync::Arc;

/// What it takes to ask something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Nothing: what is asked is checked by other means.
    Nothing,
    /// That of a member: one agent asks another.
    Member,
    /// At least this access.
    Access(Access),
}

/// Every question, by its path without the dots before the service.
pub const TABLE: &[(&str, Permission)] = {
    use Access::{Admin, Operator, Viewer};
    use Permission::{Access as A, Member, Nothing};
    &[
        ("Consensus/AppendEntries", Member),
        ("Consensus/Vote", Member),
        ("Consensus/PreVote", Member),
        ("Consensus/TransferLeader", Member),
        ("Consensus/InstallSnapshot", Member),
        ("Consensus/Lease", Member),
        ("Consensus/Release", Member),
        // Who asks shows a node's certificate, which may count no more.
        ("Consensus/Meet", Nothing),
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
pub fn permission_for(path: &str) -> Option<Permission> {
    let short = path.rsplit_once('.').map_or(path, |(_, short)| short);
    TABLE
        .iter()
        .find(|(name, _)| *name == short)
        .map(|(_, needed)| *needed)
}

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

/// Whether `caller` may ask what takes the permission `needed`.
///
/// # Errors
/// Why not, for the caller.
pub fn may(caller: &Caller, needed: Permission) -> Result<(), RequestError> {
    match needed {
        Permission::Nothing => Ok(()),
        Permission::Member if matches!(caller, Caller::Member(_)) => Ok(()),
        Permission::Member => Err(RequestError::permission_denied(
            "only members of the cluster ask that",
        )),
        Permission::Access(needed) => match caller.access() {
            Some(access) if access >= needed => Ok(()),
            Some(access) => Err(RequestError::permission_denied(format!(
                "this takes the role {}, and yours is {}: `ha-cli user add NAME --role {0}` by an admin gives it",
                needed.word(),
                access.word()
            ))),
            None => Err(unknown()),
        },
    }
}

fn unknown() -> RequestError {
    RequestError::unauthenticated(
        "nobody is let in without a certificate: use --context FILE (an admin makes one with `ha-cli user add NAME --role ROLE`), or the agent's own socket on the node itself",
    )
}

/// Who is asking, for the services behind the guard.
#[derive(Clone, Debug)]
pub struct Principal {
    /// As far as that is proven.
    pub caller: Caller,
    /// From where; `None`: from this machine.
    pub from: Option<IpAddr>,
    /// What the connection showed.
    pub shows: Presented,
    /// The operator's name and key.
    pub named: Option<(String, Digest)>,
}

impl Principal {
    /// Who did it, for the event log. `claimed` is what the caller says of itself: believed of who sits at the
    /// machine and of a member that passes a question on.
    pub fn by(&self, claimed: &str, node: &str) -> String {
        match &self.caller {
            Caller::User(name, _) => format!(
                "{name} from {}",
                self.from
                    .map_or_else(|| "an unknown address".to_owned(), |a| a.to_string())
            ),
            Caller::Local(user) => {
                // Who came by `sudo` says as whom; the machine is this one.
                let who = claimed.split('@').next().unwrap_or(claimed);
                if who.is_empty() || who == user || who.starts_with("uid ") {
                    format!("{user} on {node}")
                } else {
                    format!("{who} ({user} on {node})")
                }
            }
            Caller::Behind(..) | Caller::Member(_) => claimed.to_owned(),
            Caller::Stranger => String::new(),
        }
    }
}

/// What the guard knows of this moment.
pub trait GuardContext: Send + Sync + 'static {
    /// What this node has applied, as of now.
    fn applied(&self) -> AppliedState;
    /// Whom this node believes.
    fn live(&self) -> Arc<Live>;
    /// The time since 1970 by the machine's own clock.
    fn wall(&self) -> Timestamp;
}

/// Finds out who is calling, from what the connection showed and what is true at this moment.
///
/// # Errors
/// A certificate that is not good any more.
pub fn who(
    shows: &Presented,
    live: &Live,
    applied: &AppliedState,
    now: Timestamp,
) -> Result<Caller, RequestError> {
    let identity = match shows {
        Presented::Nothing => return Ok(Caller::Stranger),
        Presented::Local(user) => return Ok(Caller::Local(user.clone())),
        Presented::Certificate(identity) => identity,
    };
    if identity.until <= now {
        return Err(RequestError::unauthenticated(
            "this certificate has expired",
        ));
    }
    if identity.cluster != live.identity.cluster || !live.believes(identity) {
        return Err(RequestError::unauthenticated(
            "this certificate was signed by an authority that is not believed any more",
        ));
    }
    let trust = &applied.facts.trust;
    match &identity.subject {
        Subject::Node(id) if trust.removed.contains_key(id) => {
            Err(RequestError::permission_denied(
                "this node was removed from the cluster: stop its agent; `ha-agent rejoin` there brings it back under its name",
            ))
        }
        // It may have joined so lately that this node has not heard of it: the authority has signed for it.
        Subject::Node(id) => Ok(Caller::Member(*id)),
        Subject::User { name, access } => may_enter(trust, name, identity.key, *access)
            .map(|()| Caller::User(name.clone(), *access)),
    }
}

/// Whether an operator of that name, key and role is let in.
fn may_enter(trust: &Trust, name: &str, key: Digest, access: Access) -> Result<(), RequestError> {
    match trust.users.get(name) {
        Some(user) if user.key == key && user.access == access => Ok(()),
        Some(_) => Err(RequestError::unauthenticated(format!(
            "{name} has a newer certificate than this one"
        ))),
        None => Err(RequestError::unauthenticated(format!(
            "{name} may not enter any more"
        ))),
    }
}

/// Whoever is behind a member, as that says. An operator is looked up here too: the member may not have heard yet
/// that he was shut out.
///
/// # Errors
/// Words that mean nothing, or an operator who may not enter.
pub fn behind(
    member: NodeId,
    access: Option<&str>,
    named: Option<&str>,
    trust: &Trust,
) -> Result<Option<Caller>, RequestError> {
    let wrong =
        || RequestError::invalid_argument("who is behind this member: no role, or no name and key");
    let Some(access) = access else {
        return Ok(None);
    };
    let access = Access::from_word(access).ok_or_else(wrong)?;
    if let Some(named) = named {
        let (name, key) = named.split_once(' ').ok_or_else(wrong)?;
        may_enter(trust, name, key.parse().map_err(|_| wrong())?, access)?;
    }
    Ok(Some(Caller::Behind(member, access)))
}

#[cfg(test)]
mod tests;
