//! What was answered to operators.

use crate::RecordError;
use crate::bytes::{In, Out};
use crate::form::Form;
use ha_core::command::{Answer, Outcome, Rejection};
use ha_core::id::{Epoch, NodeId, ServerId};
use ha_core::request::{Answered, Answers, RequestId};
use ha_core::time::Timestamp;
use ha_core::version::{RecordVersion, Speaks};

impl Form for RequestId {
    fn write(&self, out: &mut Out) {
        self.0.write(out);
    }
    fn read(from: &mut In<'_>) -> Result<Self, RecordError> {
        <[u8; 16]>::read(from).map(RequestId)
    }
}

/// The stamp of the newest that was forgotten, then those that are kept.
impl Form for Answers {
    fn write(&self, out: &mut Out) {
        self.forgotten().write(out);
        out.number(self.kept().len() as u64);
        self.kept().for_each(|answered| answered.write(out));
    }
    fn read(from: &mut In<'_>) -> Result<Self, RecordError> {
        let forgotten = Timestamp::read(from)?;
        Ok(Answers::of(forgotten, Vec::<Answered>::read(from)?))
    }
}

impl Form for Answer {
    fn write(&self, out: &mut Out) {
        match self {
            Ok(outcome) => {
                out.byte(0);
                outcome.write(out);
            }
            Err(rejection) => {
                out.byte(1);
                rejection.write(out);
            }
        }
    }
    fn read(from: &mut In<'_>) -> Result<Self, RecordError> {
        Ok(if bool::read(from)? {
            Err(Rejection::read(from)?)
        } else {
            Ok(Outcome::read(from)?)
        })
    }
}

structs! {
    Answered { id: RequestId, at: Timestamp, answer: Answer }
}

enums! {
    Outcome {
        0 => Done,
        1 => Configured(version: u64),
        2 => Ordered { since: Timestamp, number: u64 },
    }
    Rejection {
        0 => ConfigMoved { now: u64, expected: u64 },
        1 => OrderMoved { now: u64, expected: u64 },
        2 => AskedTooLongAgo,
        3 => VersionUnknown(version: u64),
        4 => NoEarlierVersion,
        5 => NodeUnknown(node: String),
        6 => ServerUnknown(server: ServerId),
        7 => IdTaken(node: NodeId, by: String),
        8 => NameTaken(name: String),
        9 => AddressTaken(address: String, by: String),
        10 => TokenUnknown(token: String),
        11 => TokenUsed(token: String, by: String),
        12 => TokenRevoked(token: String),
        13 => TokenExpired(token: String, seconds: u64),
        14 => TokenRole(token: String, of: String, wanted: String),
        15 => NodeRemoved(node: NodeId),
        16 => UserUnknown(user: String),
        17 => AuthorityUnknown(authority: String),
        18 => RotationUnderWay,
        19 => TooMany(what: String, max: u64),
        20 => LastServer { backend: String },
        21 => OtherNodeOut { node: String, by: String },
        22 => Locked { by: String, purpose: String, seconds: u64 },
        23 => CheckUnknown { kind: String, node: String },
        24 => VersionNotSpoken { version: RecordVersion, node: String },
        25 => VersionNotHigher { version: RecordVersion, active: RecordVersion },
        26 => VersionUnsuitable { node: String, speaks: Speaks, needed: RecordVersion },
        27 => TextRefused { field: String, why: String },
        28 => AlreadyFounded,
        29 => EpochOver(epoch: Epoch, now: Epoch),
        30 => AddressOfVirtualIp(address: String, virtual_ip: String),
    }
}
