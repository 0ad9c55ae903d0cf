//! What an operator describes.

use crate::RecordError;
use crate::bytes::{In, Out};
use crate::form::Form;
use ha_core::check::Kind;
use ha_core::model::{
    Backend, Balance, BindingMode, Check, ClientLimit, ClusterConfig, Failback, Frontend, OnDown,
    Persistence, PortRange, Server, VirtualIp,
};
use std::net::IpAddr;
use std::time::Duration;

structs! {
    ClusterConfig {
        name: String,
        virtual_ips: Vec<VirtualIp>,
        frontends: Vec<Frontend>,
        backends: Vec<Backend>,
        failback: Failback,
        bindings_max: u32,
        certificate_lifetime: Duration,
        voter_timeout: Option<Duration>,
    }
    VirtualIp { name: String, address: IpAddr, prefix: u8 }
    Frontend {
        name: String,
        virtual_ips: Vec<String>,
        listeners: Vec<PortRange>,
        backend: String,
        maxconn: u32,
        limit: ClientLimit,
        client_timeout: Duration,
        client_fin_timeout: Duration,
        keepalive: Duration,
    }
    ClientLimit { sessions: Option<u32>, mask_v4: u8, mask_v6: u8 }
    PortRange { first: u16, last: u16 }
    Backend {
        name: String,
        balance: Balance,
        persistence: Option<Persistence>,
        check: Option<Check>,
        on_down: OnDown,
        connect_timeout: Duration,
        server_timeout: Duration,
        server_fin_timeout: Duration,
        keepalive: Duration,
        queue_timeout: Duration,
        maxqueue: u32,
        retries: u32,
        redispatch: bool,
        observe: Option<u32>,
        servers: Vec<Server>,
    }
    Server {
        name: String,
        node: Option<String>,
        address: Option<IpAddr>,
        port: Option<u16>,
        weight: u16,
        backup: bool,
        maxconn: u32,
    }
    Persistence { expire: Duration, group: String, mask_v4: u8, mask_v6: u8, mode: BindingMode }
    Check {
        kind: Kind,
        inter: Duration,
        fastinter: Duration,
        downinter: Duration,
        timeout: Duration,
        rise: u16,
        fall: u16,
    }
}

enums! {
    Balance { 0 => RoundRobin, 1 => LeastConn, 2 => Source, 3 => First, 4 => Random }
    BindingMode { 0 => Commit, 1 => Async }
    OnDown { 0 => Purge, 1 => Keep }
    Failback { 0 => Never, 1 => Auto { prefer: String, hold_down: Duration }, 2 => Manual }
}

/// Its name and its settings as text: a further kind needs no other form.
impl Form for Kind {
    fn write(&self, out: &mut Out) {
        crate::form::write_text(self.name(), out);
        self.settings().write(out);
    }
    fn read(from: &mut In<'_>) -> Result<Self, RecordError> {
        let name = crate::form::read_text(from)?;
        Ok(Kind::from_record(name, crate::form::read_text(from)?))
    }
}
