//! An entry of the log. It keeps the version at which its proposer wrote it, on every disk and on every way.

use crate::RecordError;
use crate::bytes::{In, Out};
use crate::form::Form;
use crate::membership::Membership;
use crate::vote::LogId;
use ha_core::command::Stamped;
use ha_core::version::RecordVersion;
use std::sync::Arc;

/// One entry of the log, as it is on every disk and on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The active version where it was proposed.
    pub version: RecordVersion,
    /// Its place in the log: term and index.
    pub id: LogId,
    pub payload: Payload,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Nothing: a new leader's first.
    Blank,
    Command(Arc<Stamped>),
    /// Who votes and who learns from here on.
    Membership(Membership),
}

impl Form for Entry {
    fn write(&self, out: &mut Out) {
        self.version.write(out);
        out.within(self.version, |out| {
            self.id.write(out);
            self.payload.write(out);
        });
    }
    fn read(from: &mut In<'_>) -> Result<Self, RecordError> {
        from.within(|from, version| {
            Ok(Entry {
                version,
                id: LogId::read(from)?,
                payload: Payload::read(from)?,
            })
        })
    }
}

enums! {
    Payload { 0 => Blank, 1 => Command(stamped: Arc<Stamped>), 2 => Membership(membership: Membership) }
}
