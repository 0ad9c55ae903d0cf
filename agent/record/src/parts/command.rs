//! What is proposed to the log.

use crate::RecordError;
use crate::bytes::{In, Out};
use crate::form::Form;
use ha_core::command::{AdminOrder, AdminTarget, Command, DrainEnd, HealthChange, Stamped};
use ha_core::id::{Epoch, NodeId, ServerId};
use ha_core::model::{AdminState, ClusterConfig, Member, Sticky, Timing};
use ha_core::request::{Request, RequestId};
use ha_core::state::Facts;
use ha_core::stick::{StickEntry, StickKey};
use ha_core::time::Timestamp;
use ha_core::trust::{Ticket, TrustOrder};
use ha_core::version::{RecordVersion, Speaks};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

structs! {
    Stamped { at: Timestamp, by: String, command: Command, request: Option<Request> }
    Request { id: RequestId, asked: Timestamp }
    AdminOrder {
        state: AdminState,
        sticky: Sticky,
        deadline: Option<Timestamp>,
        then: Option<AdminState>,
        reason: String,
        lock: String,
    }
    HealthChange { server: ServerId, up: bool, why: String }
}

enums! {
    Command {
        0 => Found { cluster_id: NodeId, timing: Timing, version: RecordVersion },
        1 => Restore(facts: Box<Facts>),
        2 => Configure { config: ClusterConfig, text: String, expect: Option<u64> },
        3 => Rollback { version: Option<u64>, expect: Option<u64> },
        4 => SetAdmin {
            target: AdminTarget,
            order: AdminOrder,
            force: bool,
            expect: Option<u64>,
        },
        5 => Lock { owner: String, purpose: String, expires: Timestamp },
        6 => Unlock { owner: String },
        7 => DrainEnded { target: AdminTarget, began: Timestamp, end: DrainEnd },
        8 => Health(changes: Vec<HealthChange>),
        9 => Bind(bindings: Vec<(StickKey, StickEntry)>),
        10 => AddMember(member: Member),
        11 => Admit { member: Member, ticket: Ticket, replaces: Option<NodeId> },
        12 => RemoveMember(node: NodeId),
        13 => Trust(order: TrustOrder),
        14 => Describe {
            node: NodeId,
            agent_version: String,
            speaks: Speaks,
            checks: BTreeSet<String>,
        },
        15 => Activate(version: RecordVersion),
        16 => Holder { node: NodeId, epoch: Epoch, reason: String },
        17 => Note { kind: String, text: String },
        18 => Recover { facts: Box<Facts>, was: NodeId, member: Member },
        19 => Relocate { node: NodeId, listen: SocketAddr, address: IpAddr },
        #[cfg(feature = "next")]
        [2] 20 => Rehearse { text: String },
    }
    AdminTarget { 0 => Node(node: NodeId), 1 => Servers(servers: Vec<ServerId>) }
}
