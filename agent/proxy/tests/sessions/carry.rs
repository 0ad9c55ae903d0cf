//! Bytes: every one arrives, in both directions, whoever stops first; idle sessions end; views come and go.

use crate::lab::*;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

fn noise(seed: u64, len: usize) -> Vec<u8> {
    (0..len as u64)
        .map(|i| (ha_core::balance::mix(seed ^ (i / 8)) >> (i % 8 * 8)) as u8)
        .collect()
}

async fn say_and_hear(
    stream: &mut TcpStream,
    say: &[u8],
    chunk: usize,
) -> std::io::Result<Vec<u8>> {
    let (mut r, mut w) = stream.split();
    let mut heard = Vec::new();
    let say = async {
        for part in say.chunks(chunk) {
            w.write_all(part).await?;
        }
        w.shutdown().await
    };
    let (said, all) = tokio::join!(say, r.read_to_end(&mut heard));
    said?;
    all?;
    Ok(heard)
}

#[tokio::test]
async fn every_byte_arrives_in_both_directions_whoever_stops_first() {
    let rows: [(usize, usize, usize); 6] = [
        (8 << 20, 5 << 20, 1 << 20),
        (3 << 20, 9 << 20, 100_000),
        (0, 4 << 20, 70_000),
        (4 << 20, 0, 70_000),
        (0, 0, 1),
        (300_000, 200_000, 777),
    ];
    for (row, (up, down, chunk)) in rows.into_iter().enumerate() {
        let (up_bytes, down_bytes) = (noise(row as u64, up), noise(row as u64 + 100, down));
        let (expect, answer) = (up_bytes.clone(), down_bytes.clone());
        let at = serve(own_address(), move |mut s| {
            let (expect, answer) = (expect.clone(), answer.clone());
            async move {
                let heard = say_and_hear(&mut s, &answer, chunk).await?;
                assert!(
                    heard == expect,
                    "the server heard something else: {} of {} bytes",
                    heard.len(),
                    expect.len()
                );
                Ok(())
            }
        })
        .await;
        let (lab, front) = Lab::in_front_of(1, at).await;
        let mut client = connect(front).await;
        let heard = timeout(BOUND, say_and_hear(&mut client, &up_bytes, chunk))
            .await
            .expect("in time")
            .unwrap();
        assert!(
            heard == down_bytes,
            "row {row}: {} of {} bytes",
            heard.len(),
            down_bytes.len()
        );
        until("the session ends", || lab.proxy.counters().sessions == 0).await;
        let c = lab.proxy.counters().servers.into_values().next().unwrap();
        assert_eq!(
            (c.bytes_in, c.bytes_out, c.total, c.now),
            (up as u64, down as u64, 1, 0),
            "row {row}"
        );
    }
}

#[tokio::test]
async fn a_client_that_reads_slowly_gets_everything() {
    let down = noise(7, 6 << 20);
    let answer = down.clone();
    let at = serve(own_address(), move |mut s| {
        let answer = answer.clone();
        async move { s.write_all(&answer).await }
    })
    .await;
    let (_lab, front) = Lab::in_front_of(1, at).await;
    let mut client = connect(front).await;
    client.shutdown().await.unwrap();
    let mut heard = Vec::new();
    let mut part = vec![0; 30_000];
    loop {
        let n = timeout(BOUND, client.read(&mut part))
            .await
            .unwrap()
            .unwrap();
        if n == 0 {
            break;
        }
        heard.extend_from_slice(&part[..n]);
        tokio::task::yield_now().await;
    }
    assert!(heard == down);
}

#[tokio::test]
async fn a_reset_is_carried_as_a_reset_both_ways() {
    let (tell, mut told) = tokio::sync::mpsc::channel(1);
    let at = serve(own_address(), move |mut s| {
        let tell = tell.clone();
        async move {
            let mut b = [0];
            let got = s.read(&mut b).await;
            if matches!(got, Ok(1)) {
                socket2::SockRef::from(&s).set_linger(Some(Duration::ZERO))?;
            } else {
                let _ = tell.send(got.err().map(|e| e.kind())).await;
            }
            Ok(())
        }
    })
    .await;
    let (lab, front) = Lab::in_front_of(1, at).await;
    let mut client = connect(front).await;
    client.write_all(b"x").await.unwrap();
    expect_reset(&mut client).await;
    let client = connect(front).await;
    until("connected", || {
        lab.proxy.counters().servers.values().any(|s| s.total == 2)
    })
    .await;
    socket2::SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    assert_eq!(
        timeout(BOUND, told.recv()).await.unwrap().unwrap(),
        Some(std::io::ErrorKind::ConnectionReset)
    );
}

#[tokio::test]
async fn an_answer_given_while_the_client_still_sends_arrives() {
    // Like "413 too large": the server answers, says it is done, and closes with unread bytes before it.
    let at = serve(own_address(), |mut s| async move {
        let mut b = [0; 1000];
        s.read_exact(&mut b).await?;
        s.write_all(b"no").await?;
        s.shutdown().await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(())
    })
    .await;
    let (_lab, front) = Lab::in_front_of(1, at).await;
    let client = connect(front).await;
    let (mut r, mut w) = client.into_split();
    let sender = tokio::spawn(async move { while w.write_all(&[0; 10_000]).await.is_ok() {} });
    let mut answer = [0; 2];
    timeout(BOUND, r.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&answer, b"no");
    timeout(BOUND, sender)
        .await
        .expect("the client is told to stop")
        .unwrap();
}

#[tokio::test]
async fn a_session_in_which_one_end_says_nothing_for_its_timeout_is_reset() {
    for (client_ms, server_ms) in [(300, 0), (0, 300)] {
        let at = echo_server("a").await;
        let (address, [port]) = (own_address(), free_ports(own_address()).await);
        let (mut f, mut b) = (
            frontend(address, &[port]),
            backend("b", vec![server(1, at)]),
        );
        (f.spec.client_timeout, b.server_timeout) = (
            Duration::from_millis(client_ms),
            Duration::from_millis(server_ms),
        );
        let lab = Lab::start(1, routes(f, b)).await;
        let mut client = connect(SocketAddr::new(address, port)).await;
        assert_eq!(name_of(&mut client).await, 'a');
        // Twice the timeout with a word now and then is not idle.
        let talking = Instant::now();
        while talking.elapsed() < Duration::from_millis(600) {
            echoes(&mut client).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let silent = Instant::now();
        expect_reset(&mut client).await;
        let after = silent.elapsed();
        assert!(
            after > Duration::from_millis(200) && after < Duration::from_millis(900),
            "{after:?}"
        );
        until("it is gone", || lab.proxy.counters().sessions == 0).await;
    }
}

#[tokio::test]
async fn when_one_side_has_said_all_the_other_has_less_time() {
    // It says its name and then nothing, whatever it hears.
    let mute = serve(own_address(), |mut s| async move {
        s.write_all(b"a").await?;
        std::future::pending().await
    });
    let (address, [port]) = (own_address(), free_ports(own_address()).await);
    let mut b = backend("b", vec![server(1, mute.await)]);
    b.server_fin_timeout = Duration::from_millis(300);
    let lab = Lab::start(1, routes(frontend(address, &[port]), b)).await;
    let at = SocketAddr::new(address, port);
    let (mut goes_on, mut has_said_all) = (connect(at).await, connect(at).await);
    for client in [&mut goes_on, &mut has_said_all] {
        assert_eq!(name_of(client).await, 'a');
    }
    let begin = Instant::now();
    has_said_all.shutdown().await.unwrap();
    expect_reset(&mut has_said_all).await;
    assert!(
        begin.elapsed() >= Duration::from_millis(200),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(lab.proxy.counters().sessions, 1, "the other has no bound");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_view_changes_disturb_no_session() {
    let (a, b) = (echo_server("a").await, echo_server("b").await);
    let (address, [port]) = (own_address(), free_ports(own_address()).await);
    let lab = Lab::start(
        2,
        routes(
            frontend(address, &[port]),
            backend("b", vec![server(1, a), server(2, b)]),
        ),
    )
    .await;
    let at = SocketAddr::new(address, port);
    let clients: Vec<_> = (0..20)
        .map(|_| {
            tokio::spawn(async move {
                let mut client = connect(at).await;
                name_of(&mut client).await;
                let (message, mut back) = (noise(1, 50_000), vec![0; 50_000]);
                for _ in 0..100 {
                    let (mut r, mut w) = client.split();
                    let (said, heard) =
                        tokio::join!(w.write_all(&message), r.read_exact(&mut back));
                    said.unwrap();
                    heard.unwrap();
                    assert!(back == message);
                }
                for _ in 0..20 {
                    let mut newcomer = connect(at).await;
                    name_of(&mut newcomer).await;
                    echoes(&mut newcomer).await;
                }
            })
        })
        .collect();
    for n in 0..1000u32 {
        lab.change(|f, b| {
            f.spec.maxconn = 1000 + n;
            b.servers[0].weight = (n % 5 + 1) as u16;
            b.servers[1].maxconn = 500 + n % 3;
            b.servers[(n % 2) as usize].suspect = n % 3 == 0;
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for client in clients {
        timeout(BOUND, client)
            .await
            .expect("in time")
            .expect("undisturbed");
    }
    until("all sessions end", || lab.proxy.counters().sessions == 0).await;
    assert_eq!(lab.proxy.counters().total, 20 + 20 * 20);
}
