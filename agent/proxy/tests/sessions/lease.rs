//! The gate: nobody is served without a lease, and every session ends with it.

use crate::lab::*;
use ha_core::dispatch::{Remembered, UnderWay};
use ha_core::model::BindingMode;
use ha_core::stick::{StickEntry, StickKey};
use ha_proxy::{Clock, Proxy, ProxyEvent, ProxySettings, Reach, WatchedGate};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::TcpStream;

const BIND: ProxySettings = ProxySettings {
    workers: 2,
    reach: Reach::Bind,
    sessions_max: 0,
};

async fn sessions(at: SocketAddr, n: usize) -> Vec<TcpStream> {
    let mut all = Vec::new();
    for _ in 0..n {
        let mut client = connect(at).await;
        name_of(&mut client).await;
        all.push(client);
    }
    all
}

#[tokio::test]
async fn a_closed_gate_resets_every_session_and_lets_nobody_in_until_it_opens() {
    let server_at = echo_server("a").await;
    let (lab, front) = Lab::in_front_of(2, server_at).await;
    for _ in 0..3 {
        let mut clients = sessions(front, 10).await;
        lab.gate.close();
        for client in &mut clients {
            expect_reset(client).await;
        }
        until("the listener is closed", || !is_listening(front)).await;
        expect_refused(front).await;
        until("all ended", || lab.proxy.counters().sessions == 0).await;
        lab.gate.open(boot() + Duration::from_secs(60));
        until("it listens again", || is_listening(front)).await;
    }
}

#[tokio::test]
async fn sessions_do_not_survive_a_close_that_an_open_follows_at_once() {
    let server_at = echo_server("a").await;
    let (lab, front) = Lab::in_front_of(2, server_at).await;
    let mut clients = sessions(front, 10).await;
    lab.gate.close();
    lab.gate.open(boot() + Duration::from_secs(60));
    for client in &mut clients {
        expect_reset(client).await;
    }
}

#[tokio::test]
async fn a_lease_that_runs_out_ends_sessions_without_anybody_saying_so() {
    let server_at = echo_server("a").await;
    let (lab, front) = Lab::in_front_of(2, server_at).await;
    let mut clients = sessions(front, 10).await;
    let end = boot() + Duration::from_millis(200);
    lab.gate.open(end);
    for client in &mut clients {
        expect_reset(client).await;
        assert!(boot() >= end, "not before its end");
    }
    let late = boot() - end;
    assert!(
        late < Duration::from_millis(100),
        "{late:?}: 10 ms and what a busy machine adds"
    );
    until("the listener is closed", || !is_listening(front)).await;
}

#[tokio::test]
async fn a_port_that_another_process_holds_is_told_and_taken_when_it_is_free() {
    let server_at = echo_server("a").await;
    let address = own_address();
    let [port] = free_ports(address).await;
    let at = SocketAddr::new(address, port);
    let holder = tokio::net::TcpListener::bind(at).await.unwrap();
    let mut lab = Lab::closed(
        BIND,
        routes(
            frontend(address, &[port]),
            backend("b", vec![server(1, server_at)]),
        ),
        TestBinder::new(true),
    );
    lab.gate.open(boot() + Duration::from_secs(60));
    lab.event(
        "the failure",
        |e| matches!(e, ProxyEvent::BindFailed { address, .. } if *address == at),
    )
    .await;
    drop(holder);
    until("it is taken", || is_listening(at)).await;
    sessions(at, 1).await;
}

#[tokio::test]
async fn two_proxies_never_both_listen() {
    let (a, b) = (echo_server("a").await, echo_server("b").await);
    let address = own_address();
    let [port] = free_ports(address).await;
    let at = SocketAddr::new(address, port);
    let first = Lab::start(
        2,
        routes(frontend(address, &[port]), backend("b", vec![server(1, a)])),
    )
    .await;
    let mut second = Lab::closed(
        BIND,
        routes(frontend(address, &[port]), backend("b", vec![server(1, b)])),
        TestBinder::new(true),
    );
    second.gate.open(boot() + Duration::from_secs(60));
    second
        .event("the failure", |e| {
            matches!(e, ProxyEvent::BindFailed { .. })
        })
        .await;
    for _ in 0..20 {
        assert_eq!(name_of(&mut connect(at).await).await, 'a');
    }
    first.gate.close();
    let name = async {
        loop {
            // The first one may still reset a newcomer or two.
            if let Some(name) = try_name(at).await {
                return name;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert_eq!(
        tokio::time::timeout(BOUND, name)
            .await
            .expect("the second takes over"),
        'b'
    );
}

#[tokio::test]
async fn the_self_check_hears_every_worker_even_with_a_closed_gate() {
    let lab = Lab::closed(
        ProxySettings { workers: 3, ..BIND },
        routes(frontend(own_address(), &[]), backend("b", vec![])),
        TestBinder::new(true),
    );
    lab.proxy.self_check().await.unwrap();
    lab.gate.open(boot() + Duration::from_secs(60));
    lab.proxy.self_check().await.unwrap();
}

/// While it is set, whoever asks for a binding stands still.
struct Stuck(AtomicBool);

impl UnderWay for Stuck {
    fn is_under_way(&self, _: &StickKey) -> bool {
        false
    }
}

impl ha_proxy::Binder for Stuck {
    fn bind(&self, _: StickKey, entry: StickEntry, _: Remembered) -> ha_proxy::Binding {
        while self.0.load(Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let (sender, committed) = tokio::sync::oneshot::channel();
        let _ = sender.send(());
        ha_proxy::Binding { entry, committed }
    }

    fn refresh(&self, key: StickKey, entry: StickEntry) -> ha_proxy::Binding {
        self.bind(key, entry, Remembered::Counts)
    }
}

#[tokio::test]
async fn a_worker_that_stands_still_is_a_fault_when_it_was_found_so_several_times() {
    let (address, [port]) = (own_address(), free_ports(own_address()).await);
    let mut b = backend("b", vec![server(1, echo_server("a").await)]);
    b.persistence = sticky(BindingMode::Commit);
    let stuck = std::sync::Arc::new(Stuck(AtomicBool::new(true)));
    let lab = Lab::start(1, routes(frontend(address, &[port]), b.clone())).await;
    let (view, seen) = tokio::sync::watch::channel(lab.view.borrow().clone());
    lab.proxy.shutdown();
    let (events, _told) = tokio::sync::mpsc::channel(100);
    let (gate, clock) = (WatchedGate::new(), Clock { now: boot, wall });
    gate.open(boot() + Duration::from_secs(3600));
    let settings = ProxySettings { workers: 1, ..BIND };
    let proxy = Proxy::start(settings, seen, gate, stuck.clone(), clock, events).unwrap();
    proxy.self_check().await.unwrap();
    let at = SocketAddr::new(address, port);
    until("it listens", || is_listening(at)).await;
    let client = connect(at).await;
    until("the worker stands still", || proxy.counters().total == 1).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let looks: Vec<bool> = [proxy.self_check().await, proxy.self_check().await]
        .map(|look| look.is_ok())
        .to_vec();
    let third = proxy.self_check().await.unwrap_err();
    assert_eq!(looks, [true, true], "one late look says little");
    assert!(third.contains("[0]"), "{third}");
    stuck.0.store(false, Relaxed);
    let again = async {
        while proxy.self_check().await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(BOUND, again)
        .await
        .expect("it goes round again");
    drop((client, view));
}

#[tokio::test]
async fn shutdown_resets_sessions_and_is_quick() {
    let server_at = echo_server("a").await;
    let (lab, front) = Lab::in_front_of(2, server_at).await;
    let mut clients = sessions(front, 10).await;
    let begin = tokio::time::Instant::now();
    lab.proxy.shutdown();
    assert!(begin.elapsed() < Duration::from_secs(1));
    for client in &mut clients {
        expect_reset(client).await;
    }
    assert!(!is_listening(front));
}

#[tokio::test]
async fn transparent_listeners_answer_the_self_check_and_reset_who_asks_for_no_frontend() {
    let [port] = free_ports([127, 0, 0, 1].into()).await;
    let probe = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    if let Err(e) = probe.set_ip_transparent_v4(true) {
        eprintln!("skipped: IP_TRANSPARENT needs CAP_NET_ADMIN ({e})");
        return;
    }
    let server_at = echo_server("a").await;
    // Without tproxy, a frontend on another port of loopback stands for intercepted traffic: nothing arrives there.
    let settings = ProxySettings {
        reach: Reach::Transparent { port },
        ..BIND
    };
    let lab = Lab::closed(
        settings,
        routes(
            frontend(own_address(), &[9]),
            backend("b", vec![server(1, server_at)]),
        ),
        TestBinder::new(true),
    );
    lab.proxy.self_check().await.unwrap();
    lab.gate.open(boot() + Duration::from_secs(60));
    lab.proxy.self_check().await.unwrap();
    assert_eq!(
        lab.proxy.counters().total,
        0,
        "self-checks are not sessions"
    );
}
