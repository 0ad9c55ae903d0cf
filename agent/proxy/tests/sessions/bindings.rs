//! Persistence: a client's binding is decided once, committed before its first byte, and honoured everywhere.

use crate::lab::*;
use ha_core::id::ServerId;
use ha_core::model::{Balance, BindingMode};
use ha_core::stick::{StickEntry, StickKey};
use ha_core::time::Timestamp;
use ha_core::view::Cut;
use ha_proxy::{ProxyEvent, ProxySettings, Reach};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

const SETTINGS: ProxySettings = ProxySettings {
    workers: 2,
    reach: Reach::Bind,
    sessions_max: 0,
};

async fn lab(mode: BindingMode, servers: &[SocketAddr], commits: bool) -> (Lab, [SocketAddr; 4]) {
    let servers = servers
        .iter()
        .zip(1..)
        .map(|(at, id)| server(id, *at))
        .collect();
    let mut b = backend("b", servers);
    (b.persistence, b.group) = (sticky(mode), "g".into());
    let address = own_address();
    let ports: [u16; 4] = free_ports(address).await;
    let lab = Lab::with(
        SETTINGS,
        routes(frontend(address, &ports), b),
        TestBinder::new(commits),
    )
    .await;
    (lab, ports.map(|p| SocketAddr::new(address, p)))
}

fn key(client: IpAddr) -> StickKey {
    StickKey {
        group: "g".into(),
        client,
    }
}

#[tokio::test]
async fn the_first_byte_waits_for_the_commit() {
    let (lab, at) = lab(BindingMode::Commit, &[echo_server("a").await], false).await;
    let mut client = connect(at[0]).await;
    until("connected to the server", || {
        lab.proxy.counters().servers[&ServerId(1)].total == 1
    })
    .await;
    let early = timeout(Duration::from_millis(50), client.read(&mut [0])).await;
    assert!(early.is_err(), "nothing is forwarded before the commit");
    lab.binder.commit_all();
    assert_eq!(name_of(&mut client).await, 'a');
    assert_eq!(lab.proxy.counters().bindings_uncommitted, 0);
}

#[tokio::test]
async fn a_commit_that_does_not_come_is_waited_for_200_ms_and_counted() {
    let (lab, at) = lab(BindingMode::Commit, &[echo_server("a").await], false).await;
    let begin = Instant::now();
    let mut client = connect(at[0]).await;
    assert_eq!(name_of(&mut client).await, 'a');
    let waited = begin.elapsed();
    assert!(
        waited >= Duration::from_millis(195) && waited < Duration::from_millis(400),
        "{waited:?}"
    );
    assert_eq!(lab.proxy.counters().bindings_uncommitted, 1);
    echoes(&mut client).await;
}

#[tokio::test]
async fn async_mode_waits_for_nothing() {
    let (lab, at) = lab(BindingMode::Async, &[echo_server("a").await], false).await;
    let begin = Instant::now();
    assert_eq!(name_of(&mut connect(at[0]).await).await, 'a');
    assert!(begin.elapsed() < Duration::from_millis(150));
    assert_eq!(
        (
            lab.proxy.counters().bindings_uncommitted,
            lab.binder.binds.lock().unwrap().len()
        ),
        (0, 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_connections_of_one_client_on_several_ports_and_workers_get_one_server() {
    let servers = [
        echo_server("a").await,
        echo_server("b").await,
        echo_server("c").await,
    ];
    let (_lab, at) = lab(BindingMode::Commit, &servers, false).await;
    let mut tasks = Vec::new();
    for client in 1..=20u8 {
        for port in at.into_iter().cycle().take(8) {
            tasks.push(tokio::spawn(async move {
                let mut c = connect_from(IpAddr::from([127, 99, 0, client]), port).await;
                (client, name_of(&mut c).await)
            }));
        }
    }
    let mut got: BTreeMap<u8, BTreeSet<char>> = BTreeMap::new();
    for task in tasks {
        let (client, name) = timeout(BOUND, task).await.unwrap().unwrap();
        got.entry(client).or_default().insert(name);
    }
    assert!(got.values().all(|names| names.len() == 1), "{got:?}");
    assert_eq!(
        got.values().flatten().collect::<BTreeSet<_>>().len(),
        3,
        "different clients spread"
    );
}

#[tokio::test]
async fn a_bound_client_comes_back_and_is_refreshed_sparingly() {
    let servers = [echo_server("a").await, echo_server("b").await];
    let (lab, at) = lab(BindingMode::Commit, &servers, true).await;
    let client = IpAddr::from([127, 98, 0, 1]);
    for (age, refreshes) in [(0, 0), (449_000, 0), (451_000, 1)] {
        let used_at = Timestamp(wall().0 - age);
        let entry = StickEntry {
            server: ServerId(2),
            host: servers[1].ip(),
            bound_at: used_at,
            used_at,
            expire: Duration::from_secs(1800),
        };
        lab.bind(key(client), entry);
        for port in &at {
            assert_eq!(name_of(&mut connect_from(client, *port).await).await, 'b');
        }
        let seen = lab.binder.refreshes.lock().unwrap().len();
        assert_eq!(seen, refreshes * at.len(), "age {age}");
    }
    assert!(lab.binder.binds.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_client_moved_by_redispatch_is_bound_to_where_it_went() {
    for commits in [true, false] {
        let (lab, at) = lab(
            BindingMode::Commit,
            &[refusing().await, echo_server("b").await],
            commits,
        )
        .await;
        lab.change(|_, b| b.balance = Balance::First);
        let mut client = connect(at[0]).await;
        if !commits {
            // The first binding has to be settled before there can be another.
            until("the first binding is asked for", || {
                lab.binder.binds.lock().unwrap().len() == 1
            })
            .await;
        }
        assert_eq!(name_of(&mut client).await, 'b');
        if commits {
            let bound: Vec<ServerId> = lab
                .binder
                .binds
                .lock()
                .unwrap()
                .iter()
                .map(|e| e.server)
                .collect();
            assert_eq!(bound, [ServerId(1), ServerId(2)]);
        }
    }
}

/// A client that is bound to the first of two servers, which refuses, and its turn-around.
async fn bound_to_one_that_refuses() -> (Lab, [SocketAddr; 4], SocketAddr, IpAddr) {
    const TURN_AROUND: Duration = Duration::from_millis(300);
    let gone = refusing().await;
    let servers = [gone, echo_server("b").await];
    let (lab, at) = lab(BindingMode::Commit, &servers, true).await;
    lab.change(|_, b| b.connect_timeout = TURN_AROUND);
    let client = IpAddr::from([127, 98, 0, 2]);
    let entry = StickEntry {
        server: ServerId(1),
        host: gone.ip(),
        bound_at: wall(),
        used_at: wall(),
        expire: Duration::from_secs(1800),
    };
    lab.bind(key(client), entry);
    (lab, at, gone, client)
}

#[tokio::test]
async fn a_bound_client_whose_server_refuses_is_bound_anew_with_its_last_try() {
    let (lab, at, _, client) = bound_to_one_that_refuses().await;
    let begin = Instant::now();
    assert_eq!(name_of(&mut connect_from(client, at[0]).await).await, 'b');
    assert!(
        begin.elapsed() > Duration::from_millis(550),
        "two turn-arounds"
    );
    let errors = lab.proxy.counters().servers[&ServerId(1)].connect_errors;
    assert_eq!(errors, 3, "of four tries the last goes elsewhere");
    let binds = lab.binder.binds.lock().unwrap();
    let bound: Vec<ServerId> = binds.iter().map(|e| e.server).collect();
    assert_eq!(bound, [ServerId(2)]);
}

#[tokio::test]
async fn a_service_that_is_back_within_the_turn_around_keeps_its_clients() {
    let (mut lab, at, gone, client) = bound_to_one_that_refuses().await;
    let mut session = connect_from(client, at[0]).await;
    let refused = |e: &ProxyEvent| matches!(e, ProxyEvent::ConnectFailed { .. });
    lab.event("it is refused", refused).await;
    let back = tokio::net::TcpListener::bind(gone).await.unwrap();
    let (mut served, _) = timeout(BOUND, back.accept()).await.unwrap().unwrap();
    served.write_all(b"1").await.unwrap();
    assert_eq!(name_of(&mut session).await, '1');
    assert!(
        lab.binder.binds.lock().unwrap().is_empty(),
        "bound as before"
    );
}

#[tokio::test]
async fn a_client_whose_server_is_found_down_in_the_turn_around_goes_elsewhere_unseen() {
    let (mut lab, at, _, client) = bound_to_one_that_refuses().await;
    let mut session = connect_from(client, at[0]).await;
    let refused = |e: &ProxyEvent| matches!(e, ProxyEvent::ConnectFailed { .. });
    lab.event("it is refused", refused).await;
    lab.change(|_, b| (b.servers[0].up, b.servers[0].cut) = (false, Some(Cut::Down)));
    assert_eq!(name_of(&mut session).await, 'b');
}

#[tokio::test]
async fn a_client_of_a_suspect_server_is_served_elsewhere_and_stays_bound() {
    let (lab, at, gone, client) = bound_to_one_that_refuses().await;
    lab.change(|_, b| b.servers[0].suspect = true);
    for port in at {
        assert_eq!(name_of(&mut connect_from(client, port).await).await, 'b');
    }
    assert!(lab.binder.binds.lock().unwrap().is_empty());
    let back = tokio::net::TcpListener::bind(gone).await.unwrap();
    lab.change(|_, b| b.servers[0].suspect = false);
    let _session = connect_from(client, at[0]).await;
    let comes_back = timeout(BOUND, back.accept()).await;
    comes_back.expect("it comes back").unwrap();
}
