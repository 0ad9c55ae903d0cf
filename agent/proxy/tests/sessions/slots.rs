//! Who waits for a slot, for how long, and who gets the next one. As HAProxy does it: a queue for each server and one for
//! the backend.

use crate::lab::*;
use ha_core::id::ServerId;
use ha_core::model::{Balance, BindingMode};
use ha_core::stick::{StickEntry, StickKey};
use ha_core::view::{BackendView, Cut};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

async fn lab(workers: usize, backend: BackendView) -> (Lab, SocketAddr) {
    let address = own_address();
    let [port] = free_ports(address).await;
    let routes = routes(frontend(address, &[port]), backend);
    (
        Lab::start(workers, routes).await,
        SocketAddr::new(address, port),
    )
}

/// Two servers with one slot each.
async fn two() -> BackendView {
    let mut servers = vec![
        server(1, echo_server("a").await),
        server(2, echo_server("b").await),
    ];
    servers.iter_mut().for_each(|s| s.maxconn = 1);
    backend("b", servers)
}

/// Who waits: for the first server, for the second, for any.
fn queued(lab: &Lab) -> (u32, u32, u32) {
    let c = lab.proxy.counters();
    let of = |id| c.servers[&ServerId(id)].queued;
    (of(1), of(2), c.queued["b"])
}

async fn connect_named(at: SocketAddr, name: char) -> TcpStream {
    let mut client = connect(at).await;
    assert_eq!(name_of(&mut client).await, name);
    client
}

#[tokio::test]
async fn any_freed_slot_serves_the_oldest_that_may_use_it_whichever_worker_it_is_on() {
    for (workers, balance) in [(1, Balance::LeastConn), (4, Balance::First)] {
        let mut b = two().await;
        b.balance = balance;
        let (lab, at) = lab(workers, b).await;
        let mut holders = [connect(at).await, connect(at).await];
        let names = [
            name_of(&mut holders[0]).await,
            name_of(&mut holders[1]).await,
        ];
        let mut holders: Vec<(char, TcpStream)> = names.into_iter().zip(holders).collect();
        let mut waiting = Vec::new();
        for n in 1..=12 {
            waiting.push(connect(at).await);
            until("it waits for any", || queued(&lab) == (0, 0, n)).await;
        }
        // Now one server's slot is freed, now the other's: the next in line has it each time.
        for (n, mut next) in waiting.into_iter().enumerate() {
            let (name, freed) = holders.remove(usize::from(n % 3 == 0));
            drop(freed);
            assert_eq!(name_of(&mut next).await, name, "{workers} workers, {n}");
            holders.push((name, next));
        }
        assert_eq!(queued(&lab), (0, 0, 0));
    }
}

#[tokio::test]
async fn a_client_that_belongs_to_a_server_waits_for_that_and_the_older_one_goes_first() {
    let mut b = two().await;
    (b.persistence, b.group, b.balance) = (sticky(BindingMode::Commit), "g".into(), Balance::First);
    let (lab, at) = lab(2, b).await;
    let to_a = connect_from([127, 97, 0, 1].into(), at).await;
    until("a is taken", || {
        lab.proxy.counters().servers[&ServerId(1)].now == 1
    })
    .await;
    let to_b = connect_from([127, 97, 0, 2].into(), at).await;
    until("b is taken", || {
        lab.proxy.counters().servers[&ServerId(2)].now == 1
    })
    .await;
    let client = IpAddr::from([127, 97, 0, 3]);
    let entry = StickEntry {
        server: ServerId(1),
        host: lab.view.borrow().routes.backends[0].servers[0]
            .address
            .unwrap(),
        bound_at: wall(),
        used_at: wall(),
        expire: Duration::from_secs(60),
    };
    let group = "g".into();
    lab.bind(StickKey { group, client }, entry);
    let mut any = connect_from([127, 97, 0, 4].into(), at).await;
    until("one waits for any", || queued(&lab) == (0, 0, 1)).await;
    let mut bound = connect_from(client, at).await;
    until("one waits for a", || queued(&lab) == (1, 0, 1)).await;
    let mut youngest = connect_from([127, 97, 0, 5].into(), at).await;
    until("another for any", || queued(&lab) == (1, 0, 2)).await;
    drop(to_a);
    assert_eq!(name_of(&mut any).await, 'a', "the oldest of those who may");
    drop(to_b);
    assert_eq!(name_of(&mut youngest).await, 'b', "the bound one may not");
    assert_eq!(queued(&lab), (1, 0, 0));
    drop(any);
    assert_eq!(name_of(&mut bound).await, 'a');
}

#[tokio::test]
async fn the_wait_for_a_slot_is_bounded_in_time_and_that_for_one_server_in_number() {
    let mut b = two().await;
    (b.balance, b.persistence) = (Balance::Source, None);
    (b.maxqueue, b.queue_timeout) = (1, Duration::from_millis(400));
    // By their hash all go to the same one, as they come from one address.
    b.servers[1].weight = 0;
    let (lab, at) = lab(2, b).await;
    let mut first = connect_named(at, 'a').await;
    let begin = Instant::now();
    let mut second = connect(at).await;
    until("it waits for a", || queued(&lab) == (1, 0, 0)).await;
    expect_refused(at).await;
    assert!(
        begin.elapsed() < Duration::from_millis(400),
        "the third is not kept waiting"
    );
    expect_reset(&mut second).await;
    assert!(begin.elapsed() >= Duration::from_millis(400));
    echoes(&mut first).await;
    lab.change(|_, b| b.queue_timeout = BOUND);
    let fourth = connect(at).await;
    until("it waits", || queued(&lab) == (1, 0, 0)).await;
    socket2::SockRef::from(&fourth)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(fourth);
    until("who left waits no more", || queued(&lab) == (0, 0, 0)).await;
}

#[tokio::test]
async fn a_server_that_comes_back_serves_those_who_wait_for_any() {
    let mut b = two().await;
    b.servers[1].up = false;
    let (lab, at) = lab(2, b).await;
    let _first = connect_named(at, 'a').await;
    let mut second = connect(at).await;
    until("it waits", || queued(&lab) == (0, 0, 1)).await;
    lab.change(|_, b| b.servers[1].up = true);
    assert_eq!(name_of(&mut second).await, 'b');
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_is_never_given_one_too_many_and_its_queue_moves_in_order() {
    const MAX: usize = 3;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (n, m) = (now.clone(), most.clone());
    let at = serve(own_address(), move |mut s| {
        let (now, most) = (n.clone(), m.clone());
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let done = async {
                s.write_all(b"s").await?;
                s.read_exact(&mut [0]).await
            };
            let result = done.await;
            // Down before the proxy can see the end: it counts a session until then.
            now.fetch_sub(1, Ordering::SeqCst);
            result.map(|_| ())
        }
    })
    .await;
    let mut s = server(1, at);
    s.maxconn = MAX as u32;
    let (lab, at) = lab(2, backend("b", vec![s])).await;
    let clients: Vec<_> = (0..60)
        .map(|_| {
            tokio::spawn(async move {
                let mut client = connect(at).await;
                name_of(&mut client).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
                client.write_all(b"x").await.unwrap();
                let _ = client.read(&mut [0]).await;
            })
        })
        .collect();
    until("some wait", || lab.proxy.counters().queued["b"] > 10).await;
    for client in clients {
        tokio::time::timeout(BOUND, client).await.unwrap().unwrap();
    }
    assert_eq!(
        most.load(Ordering::SeqCst),
        MAX,
        "never more, and used in full"
    );
    until("all slots are free", || {
        lab.proxy.counters().servers[&ServerId(1)].now == 0
    })
    .await;
    assert_eq!(lab.proxy.counters().queued["b"], 0);
}

#[tokio::test]
async fn who_waits_for_a_server_that_goes_away_gets_another() {
    let (a, b) = (echo_server("a").await, echo_server("b").await);
    let mut servers = vec![server(1, a), server(2, b)];
    servers[0].maxconn = 1;
    servers[1].up = false;
    let (lab, at) = lab(1, backend("b", servers)).await;
    let mut first = connect(at).await;
    assert_eq!(name_of(&mut first).await, 'a');
    let mut second = connect(at).await;
    until("it waits", || queued(&lab) == (0, 0, 1)).await;
    lab.change(|_, b| {
        (b.servers[0].up, b.servers[0].cut) = (false, Some(Cut::Down));
        b.servers[1].up = true;
    });
    assert_eq!(name_of(&mut second).await, 'b');
    expect_reset(&mut first).await;
}
