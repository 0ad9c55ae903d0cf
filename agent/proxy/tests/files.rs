//! Running out: of sessions, and of file descriptors in a process of its own.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails; its tasks belong to its runtime"
)]

mod lab;

use ha_proxy::{ProxyEvent, ProxySettings, Reach};
use lab::*;
use std::net::SocketAddr;
use std::process::Command;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

#[tokio::test]
async fn above_sessions_max_newcomers_are_reset_and_it_recovers() {
    let server_at = echo_server("a").await;
    let address = own_address();
    let [port] = free_ports(address).await;
    let at = SocketAddr::new(address, port);
    let settings = ProxySettings {
        workers: 2,
        reach: Reach::Bind,
        sessions_max: 5,
    };
    let mut lab = Lab::with(
        settings,
        routes(
            frontend(address, &[port]),
            backend("b", vec![server(1, server_at)]),
        ),
        TestBinder::new(true),
    )
    .await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = connect(at).await;
        name_of(&mut client).await;
        clients.push(client);
    }
    for _ in 0..10 {
        expect_refused(at).await;
    }
    lab.event("it says so", |e| matches!(e, ProxyEvent::Shedding { .. }))
        .await;
    assert_eq!(lab.proxy.counters().shed, 10);
    for client in &mut clients {
        echoes(client).await;
    }
    drop(clients);
    until("room again", || lab.proxy.counters().sessions == 0).await;
    name_of(&mut connect(at).await).await;
    let looked = lab.proxy.self_check().await;
    looked.expect("full is not broken: it finds no descriptor to look with");
    lab.event("it says that too", |e| *e == ProxyEvent::Recovered)
        .await;
}

const CHILD: &str = "HA_PROXY_TEST_FILES_CHILD";

/// The proxy lives in a child with few descriptors; clients and server are here.
#[tokio::test]
async fn without_file_descriptors_it_sheds_and_recovers() {
    let server_at = echo_server("a").await;
    let address = own_address();
    let [port] = free_ports(address).await;
    let at = SocketAddr::new(address, port);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "the_child_with_few_file_descriptors",
            "--ignored",
            "--nocapture",
        ])
        .env(CHILD, format!("{server_at} {at}"))
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    until("the child listens", || is_listening(at)).await;
    let mut served = Vec::new();
    let mut reset = 0;
    for _ in 0..120 {
        let client = async {
            let mut client = TcpStream::connect(at).await?;
            client.read_u8().await.map(|_| client)
        };
        match timeout(BOUND, client).await.expect("an answer in time") {
            Ok(client) => served.push(client),
            Err(_) => reset += 1,
        }
    }
    assert!(
        served.len() > 20 && reset > 20,
        "{} served, {reset} reset",
        served.len()
    );
    for client in &mut served {
        echoes(client).await;
    }
    drop(served);
    let again = async { while try_name(at).await.is_none() {} };
    timeout(BOUND, again).await.expect("it recovers");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[tokio::test]
#[ignore = "runs as the child of the test above"]
async fn the_child_with_few_file_descriptors() {
    let Ok(told) = std::env::var(CHILD) else {
        return;
    };
    let (server_at, at) = told.split_once(' ').unwrap();
    let (server_at, at): (SocketAddr, SocketAddr) =
        (server_at.parse().unwrap(), at.parse().unwrap());
    let few = libc::rlimit {
        rlim_cur: 100,
        rlim_max: 100,
    };
    // SAFETY: `few` is a valid rlimit.
    assert_eq!(
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const few) },
        0
    );
    let settings = ProxySettings {
        workers: 2,
        reach: Reach::Bind,
        sessions_max: 1000,
    };
    let mut lab = Lab::with(
        settings,
        routes(
            frontend(at.ip(), &[at.port()]),
            backend("b", vec![server(1, server_at)]),
        ),
        TestBinder::new(true),
    )
    .await;
    lab.event("it says so", |e| matches!(e, ProxyEvent::Shedding { .. }))
        .await;
    let looked = lab.proxy.self_check().await;
    looked.expect("full is not broken: it finds no descriptor to look with");
    lab.event("it says that too", |e| *e == ProxyEvent::Recovered)
        .await;
    // The parent closes its end when it has seen enough.
    std::io::read_to_string(std::io::stdin()).unwrap();
    assert!(lab.proxy.counters().shed > 20);
    lab.proxy.shutdown();
}
