//! What happened.

use crate::RecordError;
use crate::bytes::{In, Out};
use crate::form::Form;
use ha_core::command::DrainEnd;
use ha_core::events::{EventLog, EventRecord, Target, TrustChange, What};
use ha_core::id::Epoch;
use ha_core::model::{AdminState, Role};
use ha_core::time::Timestamp;
use ha_core::trust::Access;
use ha_core::version::{RecordVersion, Speaks};
use std::net::SocketAddr;

/// The number of the newest event, then those that are kept.
impl Form for EventLog {
    fn write(&self, out: &mut Out) {
        self.last_seq().write(out);
        out.number(self.len() as u64);
        self.kept().for_each(|event| event.write(out));
    }
    fn read(from: &mut In<'_>) -> Result<Self, RecordError> {
        let last = u64::read(from)?;
        Ok(EventLog::of(last, Vec::<EventRecord>::read(from)?))
    }
}

structs! {
    EventRecord { seq: u64, at: Timestamp, by: String, what: What }
}

enums! {
    What {
        0 => ConfigApplied { version: u64 },
        1 => AdminSet { target: Target, state: AdminState, reason: String },
        2 => DrainEnded {
            target: Target,
            began: Timestamp,
            end: DrainEnd,
            then: Option<AdminState>,
        },
        3 => LockTaken { purpose: String },
        4 => LockReturned,
        5 => ServerWentUp { server: String, why: String },
        6 => ServerWentDown { server: String, why: String },
        7 => HolderChanged { node: String, epoch: Epoch, reason: String },
        8 => MemberAdded { node: String, role: Role, listen: SocketAddr },
        9 => MemberAdmitted { node: String, role: Role, listen: SocketAddr, token: String },
        10 => MemberDescribed {
            node: String,
            agent_version: String,
            before: String,
            speaks: Speaks,
        },
        11 => VersionActivated { version: RecordVersion, before: RecordVersion },
        12 => MemberRemoved { node: String },
        13 => Trust(change: TrustChange),
        14 => Restored,
        15 => Note { kind: String, text: String },
        16 => Recovered { generation: u64, node: String },
        17 => MemberMoved { node: String, listen: SocketAddr, before: SocketAddr },
    }
    Target { 0 => Node(name: String), 1 => Servers(names: Vec<String>) }
    TrustChange {
        0 => AuthorityFounded(name: String),
        1 => AuthorityIntroduced(name: String),
        2 => AuthoritySigns(name: String),
        3 => AuthorityRetired(name: String),
        4 => TokenMade { id: String, role: Role },
        5 => TokenRevoked(id: String),
        6 => UserAdded { name: String, access: Access },
        7 => UserRemoved(name: String),
    }
}
