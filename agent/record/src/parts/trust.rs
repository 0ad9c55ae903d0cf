//! Who may speak.

use crate::RecordError;
use crate::bytes::{In, Out};
use crate::form::Form;
use ha_core::id::NodeId;
use ha_core::model::Role;
use ha_core::time::Timestamp;
use ha_core::trust::{
    Access, AuthorityRecord, Credentials, Digest, Stage, Ticket, TokenRecord, Trust, TrustOrder,
    UserRecord,
};
use std::collections::BTreeMap;

impl Form for Digest {
    fn write(&self, out: &mut Out) {
        out.raw(&self.0);
    }
    fn read(from: &mut In<'_>) -> Result<Self, RecordError> {
        from.array().map(Digest)
    }
}

structs! {
    Trust {
        generation: u64,
        authorities: Vec<AuthorityRecord>,
        tokens: BTreeMap<String, TokenRecord>,
        users: BTreeMap<String, UserRecord>,
        removed: BTreeMap<NodeId, Timestamp>,
    }
    AuthorityRecord {
        fingerprint: Digest,
        certificate: Vec<u8>,
        cross: Vec<u8>,
        sealed_key: Vec<u8>,
        stage: Stage,
        since: Timestamp,
    }
    TokenRecord {
        secret: Digest,
        role: Role,
        expires: Timestamp,
        made: Timestamp,
        by: String,
        used: Option<(NodeId, Digest)>,
        revoked: bool,
    }
    UserRecord { access: Access, key: Digest, since: Timestamp, by: String }
    Ticket { token: String, secret: Digest, key: Digest }
    Credentials { trusts: Vec<Digest>, shows: Digest }
}

enums! {
    Access { 0 => Viewer, 1 => Operator, 2 => Admin }
    Stage { 0 => Spreading, 1 => Signing, 2 => Leaving }
    TrustOrder {
        0 => Introduce {
            fingerprint: Digest,
            certificate: Vec<u8>,
            cross: Vec<u8>,
            sealed_key: Vec<u8>,
        },
        1 => Advance(authority: Digest),
        2 => Retire(authority: Digest),
        3 => MakeToken { id: String, secret: Digest, role: Role, expires: Timestamp },
        4 => RevokeToken(id: String),
        5 => AddUser { name: String, access: Access, key: Digest },
        6 => RemoveUser(name: String),
    }
}
