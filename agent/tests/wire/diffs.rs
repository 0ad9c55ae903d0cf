//! Who may only look cannot keep the lease's threads from their work, whatever file it sends.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ha_agent::config::cluster_file::FILE_MAX;
use ha_agent::config::parse_cluster;
use ha_agent::sys::boot_now;
use ha_agent::threads::control;
use ha_agent::wire::channels::Idle;
use ha_agent::wire::kept::KeptChannels;
use ha_proto::control::control_client::ControlClient;
use ha_proto::control::{ApplyRequest, LockRequest, SetStateRequest};
use tokio::runtime::Handle;
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::lab::{Cluster, id};
use crate::nodes::{SOON, cluster, holder};
use crate::threads::kept_throughout;

/// Long enough for twenty leases to run out.
const ASKED_FOR: Duration = Duration::from_secs(5);
const VIEWERS: usize = 6;

/// The largest that is taken: as many servers as may be, and a comment to the last byte.
fn largest() -> String {
    let mut text = String::from("[cluster]\nname = \"site\"\n");
    for backend in 0..4 {
        let _ = write!(text, "[[backend]]\nname = \"b{backend}\"\n");
        for server in 0..1024 {
            let _ = write!(
                text,
                "[[backend.server]]\nname = \"{backend}-{server}-{}\"\naddress = \"10.0.0.{}\"\nport = 1\n",
                "x".repeat(40),
                server % 256
            );
        }
    }
    text.push('#');
    text.extend(std::iter::repeat_n('x', FILE_MAX - text.len()));
    text
}

fn with_access<T>(request: T, access: &'static str) -> Request<T> {
    let mut request = Request::new(request);
    let access = access.parse().expect("letters");
    request.metadata_mut().insert("ha-access", access);
    request
}

#[test]
fn viewers_that_send_diffs_all_the_time_do_not_delay_the_lease() {
    let largest = largest();
    parse_cluster("cluster.toml", &largest).expect("it is taken");
    let head = "[[virtual_ip]]\nname = \"v\"\naddress = \"10.0.0.100/24\"\n[[frontend]]\nname = \"f\"\nvirtual_ip = \"v\"\nbackend = \"b\"\nlisteners = [";
    let zeroes = format!("{head}{}]\n", "0, ".repeat((FILE_MAX - 500) / 3));
    let fewer = format!("{head}{}]\n", "0, ".repeat(4000));
    let lines = "\n".repeat(FILE_MAX);
    let files = Arc::new([largest, zeroes, fewer, lines]);

    let nodes = cluster(&Cluster::new());
    let holds = holder(&nodes).expect("one holds");
    let (at, as_member) = (
        nodes[holds].at.to_string(),
        nodes[(holds + 1) % 3].trust.clone(),
    );
    let from = boot_now();
    let (answered, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let test = control().expect("threads");
    test.block_on(async {
        let viewers = (0..VIEWERS).map(|viewer| {
            let (files, answered, refused) = (files.clone(), &answered, &refused);
            let channel = channel(&as_member, holds, &at);
            async move {
                let mut client = ControlClient::new(channel);
                for file in (0..files.len()).cycle().skip(viewer) {
                    if boot_now().saturating_since(from) > ASKED_FOR {
                        return;
                    }
                    let question = ApplyRequest {
                        text: files[file].clone(),
                        ..ApplyRequest::default()
                    };
                    match client.diff(with_access(question, "viewer")).await {
                        Ok(answer) => {
                            assert!(answer.get_ref().problems.len() <= 101);
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(status) => {
                            assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            }
        });
        futures_util::future::join_all(viewers).await;
    });
    let to = boot_now();
    for (n, node) in nodes.iter().enumerate().filter(|(n, _)| *n != holds) {
        assert_eq!(node.addresses.since(from), [], "node {}", n + 1);
    }
    println!("{answered:?} diffs were answered, {refused:?} refused");
    assert!(answered.into_inner() >= files.len(), "each file was read");
    kept_throughout(&nodes[holds].addresses.since(from), from, to);
}

fn channel(as_member: &Arc<ha_trust::store::TrustStore>, holds: usize, at: &str) -> Channel {
    let channels = KeptChannels::new(as_member.clone(), Handle::current(), Idle::Closed);
    channels.to(id(holds as u128 + 1), at).expect("an address")
}

/// A reason with a line of its own would be a line in everybody's audit log.
#[test]
fn a_text_that_a_terminal_would_obey_is_refused_at_the_door() {
    let nodes = cluster(&Cluster::new());
    let holds = holder(&nodes).expect("one holds");
    let (at, as_member) = (
        nodes[holds].at.to_string(),
        nodes[(holds + 1) % 3].trust.clone(),
    );
    let test = control().expect("threads");
    test.block_on(async {
        let mut client = ControlClient::new(channel(&as_member, holds, &at));
        for evil in [
            "a\nb", "\x1b[2J", "\u{9b}2J", "\u{202e}", "\u{2028}", "\x7f",
        ] {
            let reason = SetStateRequest {
                target: "node-1".into(),
                state: "drain".into(),
                reason: evil.into(),
                ..SetStateRequest::default()
            };
            let purpose = LockRequest {
                owner: "me".into(),
                purpose: evil.into(),
                ttl_ms: 1000,
                ..LockRequest::default()
            };
            let by = LockRequest {
                owner: "me".into(),
                by: evil.into(),
                ttl_ms: 1000,
                ..LockRequest::default()
            };
            let answers = [
                client
                    .set_state(with_access(reason, "admin"))
                    .await
                    .map(drop),
                client.lock(with_access(purpose, "admin")).await.map(drop),
                client.lock(with_access(by, "admin")).await.map(drop),
            ];
            for answer in answers {
                let status = answer.expect_err(evil);
                assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
                assert!(
                    status.message().contains("control character U+"),
                    "{status:?}"
                );
            }
        }
        let plain = LockRequest {
            owner: "me".into(),
            purpose: "updates".into(),
            ttl_ms: 1000,
            ..LockRequest::default()
        };
        let taken = tokio::time::timeout(SOON, client.lock(with_access(plain, "admin")));
        taken.await.expect("in time").expect("plain text is taken");
    });
}
