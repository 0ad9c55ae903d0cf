//! Which server a client gets, and what happens when it cannot have it.

use crate::lab::*;
use ha_core::id::ServerId;
use ha_core::model::{AdminState, Balance};
use ha_core::view::{BackendView, Cut};
use ha_proxy::{ProxyEvent, SessionFilter};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

async fn lab(workers: usize, backend: BackendView) -> (Lab, SocketAddr) {
    let address = own_address();
    let [port] = free_ports(address).await;
    (
        Lab::start(workers, routes(frontend(address, &[port]), backend)).await,
        SocketAddr::new(address, port),
    )
}

#[tokio::test]
async fn nothing_usable_is_a_reset_at_once() {
    let at = echo_server("a").await;
    let mut down = server(1, at);
    down.up = false;
    for servers in [
        vec![],
        vec![down],
        vec![server(2, refusing().await), server(3, refusing().await)],
    ] {
        let (lab, at) = lab(1, backend("b", servers)).await;
        let begin = Instant::now();
        expect_refused(at).await;
        assert!(begin.elapsed() < Duration::from_millis(500));
        until("counted", || lab.proxy.counters().sessions == 0).await;
    }
}

#[tokio::test]
async fn a_server_that_refuses_or_hangs_is_passed_over_unseen() {
    let (hanging, _listener, _fillers) = hanging().await;
    for (first, ms) in [(refusing().await, 0), (hanging, 200)] {
        let good = echo_server("g").await;
        let mut b = backend("b", vec![server(1, first), server(2, good)]);
        (b.balance, b.connect_timeout) = (Balance::First, Duration::from_millis(200));
        let (mut lab, at) = lab(1, b).await;
        let begin = Instant::now();
        let mut client = connect(at).await;
        assert_eq!(name_of(&mut client).await, 'g');
        assert!(begin.elapsed() >= Duration::from_millis(ms));
        echoes(&mut client).await;
        lab.event("the failure", |e| {
            *e == ProxyEvent::ConnectFailed {
                server: ServerId(1),
            }
        })
        .await;
        let c = lab.proxy.counters();
        assert_eq!(
            (
                c.servers[&ServerId(1)].connect_errors,
                c.servers[&ServerId(1)].now,
                c.servers[&ServerId(2)].now
            ),
            (1, 0, 1)
        );
        let (found, matching) = lab.proxy.sessions(
            SessionFilter {
                client: None,
                server: Some(ServerId(2)),
            },
            10,
        );
        assert_eq!(
            (found.len(), matching, found[0].frontend.as_str()),
            (1, 1, "f")
        );
        let _second = connect(at).await;
        until("there are two", || lab.proxy.counters().sessions == 2).await;
        let (all, _) = lab.proxy.sessions(SessionFilter::default(), 10);
        assert!(all[0].id != all[1].id && all.iter().all(|s| s.id > 0));
        assert_eq!(
            lab.proxy
                .sessions(
                    SessionFilter {
                        client: Some(IpAddr::from([9, 9, 9, 9])),
                        server: None
                    },
                    10
                )
                .1,
            0
        );
    }
}

#[tokio::test]
async fn without_redispatch_the_same_server_is_tried_again_after_a_pause() {
    let refusing = refusing().await;
    let other = echo_server("o").await;
    let mut b = backend("b", vec![server(1, refusing), server(2, other)]);
    (b.balance, b.redispatch, b.connect_timeout) =
        (Balance::First, false, Duration::from_millis(300));
    let (mut lab, at) = lab(1, b).await;
    let mut client = connect(at).await;
    lab.event("the first failure", |e| {
        *e == ProxyEvent::ConnectFailed {
            server: ServerId(1),
        }
    })
    .await;
    let begin = Instant::now();
    let back = tokio::net::TcpListener::bind(refusing).await.unwrap();
    let (mut arrived, _) = tokio::time::timeout(BOUND, back.accept())
        .await
        .unwrap()
        .unwrap();
    assert!(
        begin.elapsed() > Duration::from_millis(200),
        "a turn-around of 300 ms"
    );
    arrived.write_all(b"b").await.unwrap();
    assert_eq!(name_of(&mut client).await, 'b');
    lab.event("it works again", |e| {
        *e == ProxyEvent::ConnectWorked {
            server: ServerId(1),
        }
    })
    .await;
}

#[tokio::test]
async fn retries_are_counted() {
    let mut b = backend("b", Vec::new());
    for id in 1..=5 {
        b.servers.push(server(id, refusing().await));
    }
    b.retries = 2;
    let (lab, at) = lab(1, b).await;
    expect_refused(at).await;
    until("counted", || {
        lab.proxy
            .counters()
            .servers
            .values()
            .map(|s| s.connect_errors)
            .sum::<u64>()
            == 3
    })
    .await;
}

#[tokio::test]
async fn a_backup_server_is_used_only_when_no_other_is_usable() {
    let (a, b) = (echo_server("a").await, echo_server("b").await);
    let mut servers = vec![server(1, a), server(2, b)];
    servers[1].backup = true;
    let (lab, at) = lab(1, backend("b", servers)).await;
    for (up, expected) in [(true, 'a'), (false, 'b'), (true, 'a')] {
        lab.change(|_, b| b.servers[0].up = up);
        for _ in 0..3 {
            assert_eq!(name_of(&mut connect(at).await).await, expected);
        }
    }
}

#[tokio::test]
async fn the_sessions_of_a_server_that_is_cut_are_reset_and_no_others() {
    for (n, cut) in [Cut::Down, Cut::Maintenance, Cut::Drained]
        .into_iter()
        .enumerate()
    {
        let (a, b) = (echo_server("a").await, echo_server("b").await);
        let (lab, at) = lab(2, backend("b", vec![server(1, a), server(2, b)])).await;
        let (mut on_a, mut on_b) = (Vec::new(), Vec::new());
        while on_a.len() < 5 || on_b.len() < 5 {
            let mut client = connect(at).await;
            if name_of(&mut client).await == 'a' {
                on_a.push(client)
            } else {
                on_b.push(client)
            }
        }
        lab.change(|_, b| {
            b.servers[0].cut = Some(cut);
            b.servers[0].up = n != 0;
            b.servers[0].admin = [
                AdminState::Ready,
                AdminState::Maintenance,
                AdminState::Drain,
            ][n];
        });
        for client in &mut on_a {
            expect_reset(client).await;
        }
        for client in &mut on_b {
            echoes(client).await;
        }
        until("their slots are free", || {
            lab.proxy.counters().servers[&ServerId(1)].now == 0
        })
        .await;
    }
}

#[tokio::test]
async fn sessions_outlive_their_frontend_and_server_in_the_configuration() {
    let a = echo_server("a").await;
    let (lab, at) = lab(1, backend("b", vec![server(1, a)])).await;
    let mut client = connect(at).await;
    name_of(&mut client).await;
    lab.change(|f, b| {
        f.spec.listeners.clear();
        b.servers.clear();
    });
    until("the listener is gone", || !is_listening(at)).await;
    expect_refused(at).await;
    echoes(&mut client).await;
    assert_eq!(lab.proxy.counters().sessions, 1);
    drop(client);
    until("it ends", || lab.proxy.counters().sessions == 0).await;
    lab.change(|_, _| {});
    until("its counters are forgotten", || {
        lab.proxy.counters().servers.is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_frontend_at_its_maxconn_takes_the_next_when_one_ends() {
    let a = echo_server("a").await;
    let (lab, at) = lab(2, backend("b", vec![server(1, a)])).await;
    lab.change(|f, _| f.spec.maxconn = 2);
    let mut first = connect(at).await;
    name_of(&mut first).await;
    let mut second = connect(at).await;
    name_of(&mut second).await;
    let mut third = connect(at).await;
    let early = tokio::time::timeout(Duration::from_millis(200), third.read(&mut [0])).await;
    assert!(early.is_err(), "it waits in the backlog");
    assert_eq!(lab.proxy.counters().sessions, 2);
    drop(first);
    assert_eq!(name_of(&mut third).await, 'a');
    echoes(&mut second).await;
}
