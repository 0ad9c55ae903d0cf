//! What the mock's cluster looks like.

use ha_proto::control::*;

/// A cluster of three with two servers.
pub fn a_status() -> StatusReply {
    let node = |name: &str, state: &str| NodeStatus {
        id: format!("id-of-{name}"),
        name: name.into(),
        address: format!("10.0.0.{}:7400", &name[5..]),
        role: "server".into(),
        state: state.into(),
        admin: "ready".into(),
        version: "0.1.0".into(),
        voter: state != "learner",
        fence: String::new(),
        ..Default::default()
    };
    let server = |name: &str, status: &str, sessions| ServerStatus {
        backend: "app".into(),
        server: name.into(),
        address: "10.0.0.9:80".into(),
        status: status.into(),
        admin: "ready".into(),
        sessions,
        weight: 1,
        ..Default::default()
    };
    StatusReply {
        cluster: "test".into(),
        version: "0.1.0".into(),
        answered_by: "node-1".into(),
        term: 3,
        leader: "node-1".into(),
        holder: "node-1".into(),
        epoch: 3,
        holder_reason: "elected".into(),
        config_version: 7,
        nodes: vec![
            node("node-1", "leader"),
            node("node-2", "follower"),
            node("node-3", "learner"),
        ],
        servers: vec![server("alpha", "UP", 2), server("beta", "DOWN", 0)],
        virtual_ips: vec![VirtualIpStatus {
            name: "print".into(),
            address: "10.0.0.100/24".into(),
            holder: "node-1".into(),
        }],
        frontends: vec![FrontendStatus {
            name: "web".into(),
            virtual_ip: "print".into(),
            listeners: "5012, 5014-5019".into(),
            backend: "app".into(),
            status: "OPEN".into(),
            ..Default::default()
        }],
        sessions: 2,
        warnings: vec!["beta is down".into()],
        ..Default::default()
    }
}

/// The same cluster with the state and sessions of `app/alpha` changed.
pub fn with_alpha(admin: &str, sessions: u64) -> StatusReply {
    let mut status = a_status();
    status.servers[0].admin = admin.into();
    status.servers[0].sessions = sessions;
    status
}
