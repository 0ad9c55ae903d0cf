//! The replicated state.

use crate::RecordError;
use crate::bytes::{In, Out};
use crate::form::Form;
use ha_core::command::DrainEnd;
use ha_core::events::EventLog;
use ha_core::id::{Epoch, NodeId, ServerId};
use ha_core::model::{AdminState, ClusterConfig, Member, Sticky, Timing};
use ha_core::request::Answers;
use ha_core::state::{
    AdminRecord, ClusterState, ConfigVersion, Facts, Former, HealthRecord, HolderRecord,
    MaintenanceLock, OrderNumbers, Recovery,
};
use ha_core::stick::StickIndex;
use ha_core::time::Timestamp;
use ha_core::trust::Trust;
use ha_core::version::RecordVersion;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

structs! {
    ClusterState { clock: Timestamp, facts: Arc<Facts>, stick: StickIndex }
    Facts {
        cluster_id: NodeId,
        timing: Timing,
        active_version: RecordVersion,
        members: Arc<BTreeMap<NodeId, Member>>,
        config: Arc<ClusterConfig>,
        config_version: u64,
        history: Arc<VecDeque<ConfigVersion>>,
        server_ids: Arc<BTreeMap<(String, String), ServerId>>,
        next_server_id: u32,
        server_admin: BTreeMap<ServerId, AdminRecord>,
        node_admin: BTreeMap<NodeId, AdminRecord>,
        orders: Arc<OrderNumbers>,
        answers: Arc<Answers>,
        health: Arc<BTreeMap<ServerId, HealthRecord>>,
        holder: Option<HolderRecord>,
        maintenance: Option<MaintenanceLock>,
        trust: Arc<Trust>,
        events: Arc<EventLog>,
        recovery: Option<Recovery>,
        #[cfg(feature = "next")]
        [2] rehearsal: String,
    }
    OrderNumbers {
        last: u64,
        nodes: BTreeMap<NodeId, u64>,
        servers: BTreeMap<ServerId, u64>,
    }
    ConfigVersion {
        version: u64,
        at: Timestamp,
        by: String,
        text: String,
        config: Arc<ClusterConfig>,
    }
    AdminRecord {
        state: AdminState,
        sticky: Sticky,
        deadline: Option<Timestamp>,
        then: Option<AdminState>,
        ended: Option<DrainEnd>,
        since: Timestamp,
        by: String,
        reason: String,
    }
    MaintenanceLock {
        owner: String,
        purpose: String,
        by: String,
        since: Timestamp,
        expires: Timestamp,
    }
    HealthRecord { up: bool, since: Timestamp, why: String }
    Recovery {
        generation: u64,
        at: Timestamp,
        node: NodeId,
        by: String,
        former: BTreeMap<NodeId, Former>,
    }
    Former { name: String, listen: SocketAddr, admin: Option<AdminRecord> }
    HolderRecord { node: NodeId, epoch: Epoch, since: Timestamp, reason: String }
}
