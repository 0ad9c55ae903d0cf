//! Who votes and who learns.

use crate::RecordError;
use crate::bytes::{In, Out};
use crate::form::Form;
use crate::vote::LogId;
use ha_core::id::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// The membership of consensus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// The voters; two sets while it is joint.
    pub voters: Vec<BTreeSet<NodeId>>,
    /// Where each node listens, those that only learn too.
    pub nodes: BTreeMap<NodeId, String>,
}

/// A membership and the entry that decided it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    pub at: Option<LogId>,
    pub membership: Membership,
}

structs! {
    Membership { voters: Vec<BTreeSet<NodeId>>, nodes: BTreeMap<NodeId, String> }
    Decided { at: Option<LogId>, membership: Membership }
}
