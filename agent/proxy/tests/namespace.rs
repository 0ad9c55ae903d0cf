//! What takes a network of the test's own: clients and servers that are gone without a word (nft(8) loses their packets),
//! and a machine that has no port left towards a server.
//!
//! Needs root; without it the tests say so and are passed over, but not with `CI=true`.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails; its tasks belong to its runtime"
)]

mod lab;

use ha_core::id::ServerId;
use ha_core::model::Balance;
use lab::*;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// The shortest that the kernel knows; an idle side that is gone is found out after five of them.
const KEEPALIVE: Duration = Duration::from_secs(1);

fn run(words: &str) {
    let mut words = words.split_whitespace();
    let status = Command::new(words.next().unwrap()).args(words).status();
    assert!(status.unwrap().success());
}

/// Runs a test in a network of its own; threads that it starts are in it too.
fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(|| {
        // SAFETY: no memory is involved; it moves this thread into a new network namespace.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            assert!(std::env::var("CI").is_err(), "with CI=true this needs root");
            eprintln!("skipped: a network namespace needs root");
            return;
        }
        run("ip link set lo up");
        run("nft add table inet loss");
        run("nft add chain inet loss in { type filter hook input priority 0 ; }");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test());
    });
    thread.join().unwrap();
}

/// From now on nothing goes to or comes from this port.
fn lose(port: u16) {
    run(&format!("nft add rule inet loss in tcp sport {port} drop"));
    run(&format!("nft add rule inet loss in tcp dport {port} drop"));
}

/// A proxy without timeouts, and a session through it.
async fn session(server_at: SocketAddr, keepalive: Duration) -> (Lab, TcpStream) {
    let (address, [port]) = (own_address(), free_ports(own_address()).await);
    let mut f = frontend(address, &[port]);
    let mut b = backend("b", vec![server(1, server_at)]);
    (f.spec.keepalive, b.keepalive) = (keepalive, keepalive);
    let lab = Lab::start(1, routes(f, b)).await;
    let mut client = connect(SocketAddr::new(address, port)).await;
    assert_eq!(name_of(&mut client).await, 'a');
    (lab, client)
}

async fn ends_within(lab: &Lab, bound: Duration) {
    let begin = Instant::now();
    until("it ends", || lab.proxy.counters().sessions == 0).await;
    assert!(begin.elapsed() < bound, "{:?}", begin.elapsed());
}

#[test]
fn a_client_that_was_switched_off_frees_its_slot() {
    in_namespace(|| async {
        let (lab, client) = session(echo_server("a").await, KEEPALIVE).await;
        lose(client.local_addr().unwrap().port());
        ends_within(&lab, Duration::from_secs(8)).await;
    });
}

#[test]
fn a_server_that_was_switched_off_lets_its_client_go() {
    in_namespace(|| async {
        let at = echo_server("a").await;
        let (lab, mut client) = session(at, KEEPALIVE).await;
        lose(at.port());
        ends_within(&lab, Duration::from_secs(8)).await;
        expect_reset(&mut client).await;
    });
}

#[test]
fn a_client_that_was_switched_off_in_the_middle_of_its_page_is_gone_too() {
    in_namespace(|| async {
        let at = serve(own_address(), |mut s| async move {
            s.write_all(b"a").await?;
            loop {
                s.write_all(&[7; 1000]).await?;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        let (lab, client) = session(at.await, KEEPALIVE).await;
        lose(client.local_addr().unwrap().port());
        // What is not acknowledged is sent again for a quarter of an hour, and keepalive waits for that.
        ends_within(&lab, Duration::from_secs(5)).await;
    });
}

#[test]
fn a_printer_without_paper_that_answers_is_not_gone() {
    in_namespace(|| async {
        let at = serve(own_address(), |mut s| async move {
            s.write_all(b"a").await?;
            loop {
                s.write_all(&[7; 100_000]).await?;
            }
        });
        let (lab, _client) = session(at.await, KEEPALIVE).await;
        // It reads nothing: its window is shut, and its kernel says so whenever it is asked.
        tokio::time::sleep(6 * KEEPALIVE).await;
        assert_eq!(lab.proxy.counters().sessions, 1);
    });
}

#[test]
fn without_a_port_towards_one_server_a_client_gets_another() {
    in_namespace(|| async {
        const PORTS: usize = 4;
        let servers = vec![
            server(1, echo_server("a").await),
            server(2, echo_server("b").await),
        ];
        let (address, [port]) = (own_address(), free_ports(own_address()).await);
        let mut b = backend("b", servers);
        b.balance = Balance::First;
        let lab = Lab::start(1, routes(frontend(address, &[port]), b)).await;
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40003").unwrap();
        let (mut clients, mut names) = (Vec::new(), String::new());
        for n in 0..PORTS {
            let from = [127, 96, 0, n as u8 + 1].into();
            let mut client = connect_from(from, SocketAddr::new(address, port)).await;
            names.push(name_of(&mut client).await);
            clients.push(client);
        }
        // How many ports the kernel gives of these it decides itself: the clients have some of them.
        let to_a = names.chars().take_while(|name| *name == 'a').count();
        assert!((1..PORTS).contains(&to_a), "{names}");
        assert!(names.chars().skip(to_a).all(|name| name == 'b'), "{names}");
        let errors = lab.proxy.counters().servers[&ServerId(1)].connect_errors;
        assert_eq!(errors, 0, "it is not the server's fault");
    });
}
