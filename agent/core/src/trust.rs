//! Who may speak in the cluster: authorities, join tokens, operators, and nodes that left. Public things only:
//! the authority's key is here sealed, and tokens as hashes.

use crate::id::NodeId;
use crate::model::Role;
use crate::time::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Tokens that are kept, used and expired ones included; the oldest of those make room.
pub const TOKENS_MAX: usize = 64;
/// Operators that may have a certificate at the same time.
pub const USERS_MAX: usize = 256;
/// Nodes that left and are remembered; the oldest are forgotten first.
pub const REMOVED_MAX: usize = 1024;

/// SHA-256 of something: a certificate in DER, a secret, a public key.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = String;
    /// From 64 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no fingerprint: 64 hexadecimal digits");
        let digits: Vec<u8> = text
            .chars()
            .map(|c| c.to_digit(16).map(|d| d as u8))
            .collect::<Option<_>>()
            .ok_or_else(wrong)?;
        let mut digest = [0; 32];
        if digits.len() != 64 {
            return Err(wrong());
        }
        for (byte, pair) in digest.iter_mut().zip(digits.chunks(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(Digest(digest))
    }
}

impl Digest {
    /// The first eight digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

/// What an operator may do; each includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Access {
    /// Reads everything and changes nothing.
    #[default]
    Viewer,
    /// And drain, take out, bring back, move the address.
    Operator,
    /// And change configuration, membership and who may enter.
    Admin,
}

impl Access {
    /// All of them, the weakest first.
    pub const ALL: [Access; 3] = [Access::Viewer, Access::Operator, Access::Admin];

    /// The word in commands and certificates.
    pub const fn word(self) -> &'static str {
        match self {
            Access::Viewer => "viewer",
            Access::Operator => "operator",
            Access::Admin => "admin",
        }
    }

    /// The access of that word.
    pub fn from_word(word: &str) -> Option<Access> {
        Access::ALL.into_iter().find(|a| a.word() == word)
    }
}

/// How far the change from one authority to the next has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Stage {
    /// Trusted, and not used before every node trusts it.
    Spreading,
    Signing,
    /// What it signed is still believed.
    Leaving,
}

/// A certificate authority of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuthorityRecord {
    /// The SHA-256 of its certificate.
    pub fingerprint: Digest,
    /// The certificate as DER.
    pub certificate: Vec<u8>,
    /// Its certificate once more, signed by the authority before it; empty for the first.
    pub cross: Vec<u8>,
    /// Its private key, encrypted with a key that is on every node and in no log.
    pub sealed_key: Vec<u8>,
    pub stage: Stage,
    /// When it came to this stage.
    pub since: Timestamp,
}

/// A join token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenRecord {
    /// The SHA-256 of its secret, which is nowhere else.
    pub secret: Digest,
    /// What may join with it.
    pub role: Role,
    /// From then on it counts for nothing.
    pub expires: Timestamp,
    /// When it was made.
    pub made: Timestamp,
    pub by: String,
    /// By which node and key it was used.
    pub used: Option<(NodeId, Digest)>,
    /// An operator took it back.
    pub revoked: bool,
}

impl TokenRecord {
    /// Whether it opens nothing any more.
    pub fn is_spent(&self, now: Timestamp) -> bool {
        self.revoked || self.used.is_some() || self.expires <= now
    }
}

/// An operator with a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UserRecord {
    /// What it may do.
    pub access: Access,
    /// Of the public key in its certificates.
    pub key: Digest,
    /// When it was let in.
    pub since: Timestamp,
    pub by: String,
}

/// What the log says of who may enter, and of those that left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Trust {
    /// Grows with each change of [`Trust::authorities`].
    pub generation: u64,
    /// At most two; the newer last. Empty until the cluster is founded.
    pub authorities: Vec<AuthorityRecord>,
    /// By their public id.
    pub tokens: BTreeMap<String, TokenRecord>,
    /// Those who may enter, by their name.
    pub users: BTreeMap<String, UserRecord>,
    /// Nodes that left, and when: what they say is not heard any more.
    pub removed: BTreeMap<NodeId, Timestamp>,
}

impl Trust {
    /// The authority that signs.
    pub fn signing(&self) -> Option<&AuthorityRecord> {
        self.authorities.iter().find(|a| a.stage == Stage::Signing)
    }

    /// The authority with that fingerprint.
    pub fn authority(&self, fingerprint: Digest) -> Option<&AuthorityRecord> {
        self.authorities
            .iter()
            .find(|a| a.fingerprint == fingerprint)
    }

    /// The certificates of all that are believed, as DER, the newer last.
    pub fn certificates(&self) -> Vec<Vec<u8>> {
        let each = self.authorities.iter();
        each.map(|a| a.certificate.clone()).collect()
    }
}

/// A change of who may speak.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum TrustOrder {
    /// A new authority: the first one signs at once, any other spreads first.
    Introduce {
        /// The SHA-256 of its certificate.
        fingerprint: Digest,
        /// The certificate as DER.
        certificate: Vec<u8>,
        /// The same, signed by the authority before it; empty for the first.
        cross: Vec<u8>,
        /// Its key, sealed with the secret of all members.
        sealed_key: Vec<u8>,
    },
    /// Every node trusts it: it signs from now on, and the one before it leaves.
    Advance(Digest),
    /// It is not believed any more.
    Retire(Digest),
    /// A token that may be used once.
    MakeToken {
        /// The part of a token that everybody may see.
        id: String,
        /// The SHA-256 of its secret, which is nowhere else.
        secret: Digest,
        /// What may join with it.
        role: Role,
        /// From then on it counts for nothing.
        expires: Timestamp,
    },
    /// It opens nothing any more.
    RevokeToken(String),
    /// An operator gets a certificate; an earlier one of the same name is not heard any more.
    AddUser {
        name: String,
        /// What it may do.
        access: Access,
        /// Of its public key.
        key: Digest,
    },
    /// An operator is not heard any more.
    RemoveUser(String),
}

/// What a machine that wants to join shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ticket {
    /// The token's public id.
    pub token: String,
    /// Of the secret that it showed.
    pub secret: Digest,
    /// Of the public key for which it wants a certificate.
    pub key: Digest,
}

/// What a node tells the leader about the certificates that it uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Credentials {
    /// The authorities that it believes at this moment.
    pub trusts: Vec<Digest>,
    /// Who signed the certificate that it shows.
    pub shows: Digest,
}

/// The next step of a change of authority, once every member has followed the one before.
///
/// `said` is what each member told last; who said nothing holds the change up. An authority that leaves is
/// retired once nobody shows its certificates and `grace` has passed, for operators who are not connected.
pub fn next_step<'a>(
    trust: &Trust,
    members: impl Iterator<Item = NodeId> + Clone,
    said: impl Fn(NodeId) -> Option<&'a Credentials>,
    now: Timestamp,
    grace: std::time::Duration,
) -> Option<TrustOrder> {
    let all = |ok: &dyn Fn(&Credentials) -> bool| members.clone().all(|m| said(m).is_some_and(ok));
    if let Some(new) = trust
        .authorities
        .iter()
        .find(|a| a.stage == Stage::Spreading)
    {
        return all(&|c| c.trusts.contains(&new.fingerprint))
            .then_some(TrustOrder::Advance(new.fingerprint));
    }
    let signing = trust.signing()?.fingerprint;
    let old = trust
        .authorities
        .iter()
        .find(|a| a.stage == Stage::Leaving && now.saturating_since(a.since) >= grace)?;
    all(&|c| c.shows == signing).then_some(TrustOrder::Retire(old.fingerprint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn digest(i: u8) -> Digest {
        Digest([i; 32])
    }

    fn authority(i: u8, stage: Stage) -> AuthorityRecord {
        AuthorityRecord {
            fingerprint: digest(i),
            certificate: vec![i],
            cross: Vec::new(),
            sealed_key: vec![i],
            stage,
            since: Timestamp(1000),
        }
    }

    #[test]
    fn a_fingerprint_survives_its_text_and_nothing_else_is_one() {
        let d = Digest(std::array::from_fn(|i| (i * 9) as u8));
        assert_eq!(d.to_string().parse::<Digest>(), Ok(d));
        for wrong in ["", "12", &"g".repeat(64), &"0".repeat(65), &"é".repeat(32)] {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_authority_advances_when_all_trust_it_and_the_old_one_retires_when_none_shows_it() {
        let nodes = [NodeId::from_random(1), NodeId::from_random(2)];
        let mut trust = Trust {
            authorities: vec![authority(1, Stage::Signing), authority(2, Stage::Spreading)],
            ..Trust::default()
        };
        let grace = Duration::from_secs(10);
        let step = |trust: &Trust, said: &BTreeMap<NodeId, Credentials>, now: u64| {
            next_step(
                trust,
                nodes.into_iter(),
                |n| said.get(&n),
                Timestamp(now),
                grace,
            )
        };
        let mut said = BTreeMap::from([(
            nodes[0],
            Credentials {
                trusts: vec![digest(1), digest(2)],
                shows: digest(1),
            },
        )]);
        assert_eq!(step(&trust, &said, 2000), None, "one has said nothing");
        said.insert(
            nodes[1],
            Credentials {
                trusts: vec![digest(1)],
                shows: digest(1),
            },
        );
        assert_eq!(step(&trust, &said, 2000), None, "one does not trust it yet");
        said.insert(
            nodes[1],
            Credentials {
                trusts: vec![digest(1), digest(2)],
                shows: digest(1),
            },
        );
        assert_eq!(
            step(&trust, &said, 2000),
            Some(TrustOrder::Advance(digest(2)))
        );
        trust.authorities = vec![authority(1, Stage::Leaving), authority(2, Stage::Signing)];
        assert_eq!(step(&trust, &said, 20_000), None, "both show the old one");
        said.values_mut().for_each(|c| c.shows = digest(2));
        assert_eq!(
            step(&trust, &said, 10_999),
            None,
            "its grace has not passed"
        );
        assert_eq!(
            step(&trust, &said, 11_000),
            Some(TrustOrder::Retire(digest(1)))
        );
        trust.authorities.remove(0);
        assert_eq!(step(&trust, &said, 99_000), None);
    }
}
