//! What is written to disk and sent to peers, in every version since the first.
//!
//! ```text
//!   record = version, kind, content            entry, vote, log id, snapshot header, state, backup
//!   message = version, kind, what the sender speaks, content         between peers
//! ```
//!
//! Each module has one record. [`encode`] writes one at the version that is asked for: what a cluster keeps at its
//! active version, what goes to a peer at the lower of both ends. [`decode`] reads every version up to the newest that
//! this program speaks, and nothing else: every byte must belong, and what is newer says so. How the parts are laid
//! out is described once (`form`), checked by the compiler against the model, and kept by golden files.

#![forbid(unsafe_code)]

mod bytes;
#[macro_use]
mod form;
mod parts;

pub mod backup;
pub mod entry;
pub mod lease;
pub mod membership;
pub mod peer;
#[doc(hidden)]
pub mod samples;
pub mod snapshot;
pub mod vote;

use bytes::{In, Out};
use form::Form;
use ha_core::command::Stamped;
use ha_core::state::{ClusterState, Facts};
use ha_core::version::{RecordVersion, Speaks};
use std::io;
use thiserror::Error;

/// The largest record that is written or read, in bytes. A snapshot of as many bindings as a configuration may ask for
/// has at most 258 MiB of them ([`ha_core::model::BINDINGS_MOST`]); the rest is for the configurations that are kept.
pub const RECORD_MAX: usize = 384 << 20;

/// The largest log entry, in bytes: half of what fits into a peer's message.
pub const ENTRY_MAX: usize = 4 << 20;

/// Something that is written with a version before it.
pub trait Record: Form {
    /// Tells it from every other record; never given to another one.
    const KIND: u8;
}

/// Gives each record its number.
macro_rules! kinds {
    ($($number:literal => $name:ty),* $(,)?) => {$(
        impl Record for $name {
            const KIND: u8 = $number;
        }
    )*};
}

kinds! {
    1 => entry::Entry,
    2 => vote::Vote,
    3 => Option<vote::LogId>,
    4 => snapshot::Header,
    5 => ClusterState,
    6 => backup::Backup,
    7 => Stamped,
    8 => Facts,
    16 => peer::Append,
    17 => peer::AppendAnswer,
    18 => peer::VoteRequest,
    19 => peer::VoteAnswer,
    20 => peer::Transfer,
    21 => peer::TransferAnswer,
    22 => peer::Snapshot,
    23 => peer::SnapshotAnswer,
    24 => ha_core::lease::Lease,
    25 => lease::LeaseAnswer,
    26 => lease::Released,
}

/// Why bytes are no record, or a value cannot be written as one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// A later program wrote it.
    #[error(
        "record of version {found}: this ha-agent speaks {speaks}. Install an ha-agent here that speaks version {found}"
    )]
    Newer {
        /// The version of the record.
        found: RecordVersion,
        /// What this program speaks.
        speaks: Speaks,
    },
    /// No program of ours wrote it.
    #[error("malformed record: {0}")]
    Malformed(&'static str),
    /// Nobody would read it. Nothing that it replaces may be thrown away.
    #[error(
        "it has {0} bytes, more than the {RECORD_MAX} that are read: use a smaller bindings_max"
    )]
    TooLarge(usize),
    /// It does not exist at the version that is to be written.
    #[error(
        "{what} needs version {needs}, and this cluster writes version {at}: upgrade ha-agent on every node; the version rises by itself a minute after the last"
    )]
    NotYet {
        /// The field or variant.
        what: &'static str,
        /// The version that has it.
        needs: RecordVersion,
        /// The version that was asked for.
        at: RecordVersion,
    },
}

impl RecordError {
    /// More should have come.
    pub(crate) const CUT: RecordError = RecordError::Malformed("it ends too early");

    /// The record error inside an error of the system.
    pub fn within(error: &io::Error) -> Option<&RecordError> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<RecordError> for io::Error {
    fn from(e: RecordError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, e)
    }
}

/// Writes a record at a version.
///
/// # Errors
/// Something that does not exist at that version.
pub fn encode<T: Record>(at: RecordVersion, record: &T) -> Result<Vec<u8>, RecordError> {
    let mut out = begun::<T>(at);
    record.write(&mut out);
    let bytes = out.done()?;
    if bytes.len() > RECORD_MAX {
        return Err(RecordError::TooLarge(bytes.len()));
    }
    Ok(bytes)
}

/// Reads a record of any version up to the newest that `speaks` names.
///
/// # Errors
/// A newer version, another record, or bytes that are none.
pub fn decode<T: Record>(speaks: Speaks, bytes: &[u8]) -> Result<T, RecordError> {
    let mut from = opened::<T>(speaks, bytes)?;
    let record = T::read(&mut from)?;
    from.end()?;
    Ok(record)
}

/// Writes a message to a peer, with what the sender speaks.
///
/// # Errors
/// As [`encode`].
pub fn encode_message<T: Record>(
    at: RecordVersion,
    own: Speaks,
    message: &T,
) -> Result<Vec<u8>, RecordError> {
    let mut out = begun::<T>(at);
    own.write(&mut out);
    message.write(&mut out);
    out.done()
}

/// Reads a message of a peer. What its sender speaks, [`sender_speaks`] says.
///
/// # Errors
/// As [`decode`].
pub fn decode_message<T: Record>(own: Speaks, bytes: &[u8]) -> Result<T, RecordError> {
    let mut from = opened::<T>(own, bytes)?;
    Speaks::read(&mut from)?;
    let message = T::read(&mut from)?;
    from.end()?;
    Ok(message)
}

/// What the sender of a message speaks. The head of a message is the same in every version, so that it is
/// understood also where the message is not.
pub fn sender_speaks(message: &[u8]) -> Option<Speaks> {
    let mut from = In::of(message, ANY);
    from.begin().ok()?;
    from.byte().ok()?;
    Speaks::read(&mut from).ok().filter(|s| s.min <= s.max)
}

/// The version of a record or message, whether or not this program reads it.
pub fn version_of(bytes: &[u8]) -> Option<RecordVersion> {
    In::of(bytes, ANY).begin().ok()
}

const ANY: Speaks = Speaks {
    min: RecordVersion(1),
    max: RecordVersion(u32::MAX),
};

fn begun<T: Record>(at: RecordVersion) -> Out {
    let mut out = Out::at(at);
    at.write(&mut out);
    out.byte(T::KIND);
    out
}

fn opened<T: Record>(speaks: Speaks, bytes: &[u8]) -> Result<In<'_>, RecordError> {
    if bytes.len() > RECORD_MAX {
        return Err(RecordError::TooLarge(bytes.len()));
    }
    let mut from = In::of(bytes, speaks);
    from.begin()?;
    if from.byte()? != T::KIND {
        return Err(RecordError::Malformed("another record was expected"));
    }
    Ok(from)
}

#[cfg(test)]
mod largest;
#[cfg(test)]
mod tests;
