//! What a snapshot covers. The state in it is a record of its own.

use crate::RecordError;
use crate::bytes::{In, Out};
use crate::form::Form;
use crate::membership::Decided;
use crate::vote::LogId;

/// How far a snapshot goes, and the membership at that place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The newest entry in it.
    pub last: Option<LogId>,
    /// The membership at that entry.
    pub membership: Decided,
}

structs! {
    Header { last: Option<LogId>, membership: Decided }
}
