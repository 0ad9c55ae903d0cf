//! Running out: of sessions, and of file descriptors in a process of its own.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails; its tasks belong to its runtime"
)]

mod lab;

use ha_core::model::ClientLimit;
use ha_proxy::{ProxyEvent, ProxySettings, Reach};
use lab::*;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Child, Command};
use std::time::Duration;
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

/// One client once took every session of a node.
#[tokio::test]
async fn a_client_has_as_many_sessions_as_its_limit_and_others_have_theirs() {
    let server_at = echo_server("a").await;
    let address = own_address();
    let [port] = free_ports(address).await;
    let at = SocketAddr::new(address, port);
    let settings = ProxySettings {
        workers: 2,
        reach: Reach::Bind,
        sessions_max: 40,
    };
    let with = |limit| {
        let mut frontend = frontend(address, &[port]);
        frontend.spec.limit = limit;
        routes(frontend, backend("b", vec![server(1, server_at)]))
    };
    // What the file does not say: a quarter.
    let usual = with(ClientLimit::default());
    let lab = Lab::with(settings, usual, TestBinder::new(true)).await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = connect(at).await;
        name_of(&mut client).await;
        clients.push(client);
    }
    for _ in 0..3 {
        expect_refused(at).await;
    }
    let of_frontend = || lab.proxy.counters().frontends["f"];
    assert_eq!(of_frontend().now, 10);
    assert_eq!(of_frontend().limited.connections, 3);
    let greedy = clients[0].local_addr().unwrap().ip();
    assert_eq!(of_frontend().limited.last, Some(greedy));
    assert_eq!(lab.proxy.counters().shed, 0, "there is room");
    // Another one is let in.
    let mut other = connect_from([127, 0, 0, 77].into(), at).await;
    name_of(&mut other).await;
    // Who ends a session may have another.
    drop(clients.pop());
    until("its session to end", || of_frontend().now == 10).await;
    let mut again = connect(at).await;
    name_of(&mut again).await;
    // A number in the file counts instead: a higher one, and a lower one, which ends nobody's session.
    let limit = |sessions| ClientLimit {
        sessions: Some(sessions),
        ..ClientLimit::default()
    };
    lab.publish(with(limit(11)));
    let mut eleventh = connect(at).await;
    name_of(&mut eleventh).await;
    expect_refused(at).await;
    lab.publish(with(limit(2)));
    expect_refused(at).await;
    clients.extend([again, eleventh, other]);
    for client in &mut clients {
        echoes(client).await;
    }
    // Without a limit nobody is counted.
    lab.publish(with(ClientLimit::NONE));
    name_of(&mut connect(at).await).await;
}

/// Something else in the process takes every descriptor, also the one that is kept back to shed with.
#[tokio::test]
async fn while_others_have_all_descriptors_it_waits_without_turning_and_goes_on_after() {
    let server_at = echo_server("a").await;
    let address = own_address();
    let [port] = free_ports(address).await;
    let at = SocketAddr::new(address, port);
    let mut child = child("the_child_whose_descriptors_are_taken", server_at, at);
    until("the child listens", || is_listening(at)).await;
    let mut before = connect(at).await;
    name_of(&mut before).await;
    let mut go = child.stdin.take().unwrap();
    go.write_all(b"take them\n").unwrap();
    // Newcomers all the while: some wait in the backlog, some are reset.
    let mut newcomers = Vec::new();
    for _ in 0..150 {
        newcomers.extend(timeout(BOUND, TcpStream::connect(at)).await.unwrap().ok());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    echoes(&mut before).await;
    drop(newcomers);
    let again = async { while try_name(at).await.is_none() {} };
    timeout(BOUND, again).await.expect("it accepts again");
    drop(go);
    assert!(child.wait().unwrap().success());
}

/// Processor time of this process so far.
fn used() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: it is large enough, and zeros are a valid value of it.
    let usage = unsafe {
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()), 0);
        usage.assume_init()
    };
    let of = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    of(usage.ru_utime) + of(usage.ru_stime)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "runs as the child of the test above"]
async fn the_child_whose_descriptors_are_taken() {
    let Some(lab) = lab_with_few_descriptors().await else {
        return;
    };
    let mut told = String::new();
    std::io::stdin().read_line(&mut told).unwrap();
    let (began, used_before) = (std::time::Instant::now(), used());
    let mut taken = Vec::new();
    while began.elapsed() < Duration::from_secs(1) {
        // All that there are, again and again: also what the proxy lets go for a moment.
        while let Ok(file) = std::fs::File::open("/dev/null") {
            taken.push(file);
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    let looked = lab.proxy.self_check().await;
    let used = used() - used_before;
    assert!(taken.len() > 20, "{}", taken.len());
    drop(taken);
    looked.expect("full is not broken");
    // Half of that is the taking itself; who turns in circles needs a whole processor for each worker.
    assert!(used < Duration::from_millis(700), "{used:?}");
    // The parent closes its end when it has seen enough.
    std::io::read_to_string(std::io::stdin()).unwrap();
    lab.proxy.shutdown();
}

const CHILD: &str = "HA_PROXY_TEST_FILES_CHILD";

fn child(test: &str, server_at: SocketAddr, at: SocketAddr) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(CHILD, format!("{server_at} {at}"))
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap()
}

/// In a child, as it was told: a proxy of two workers in a process that may have 100 descriptors.
async fn lab_with_few_descriptors() -> Option<Lab> {
    let told = std::env::var(CHILD).ok()?;
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
    let frontend = frontend(at.ip(), &[at.port()]);
    let routes = routes(frontend, backend("b", vec![server(1, server_at)]));
    Some(Lab::with(settings, routes, TestBinder::new(true)).await)
}

/// The proxy lives in a child with few descriptors; clients and server are here.
#[tokio::test]
async fn without_file_descriptors_it_sheds_and_recovers() {
    let server_at = echo_server("a").await;
    let address = own_address();
    let [port] = free_ports(address).await;
    let at = SocketAddr::new(address, port);
    let mut child = child("the_child_with_few_file_descriptors", server_at, at);
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
    let Some(mut lab) = lab_with_few_descriptors().await else {
        return;
    };
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
