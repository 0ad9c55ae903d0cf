//! Garbage on every port closes that connection and nothing else. Needs no root: one agent on loopback.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ha_tests::site::Site;

/// Bytes from a fixed sequence: the same in every run.
fn garbage(seed: u64, length: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x as u8
        })
        .collect()
}

#[test]
fn garbage_closes_its_connection_and_nothing_else() {
    let mut site = Site::start();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let mut kept = TcpStream::connect(site.front).expect("a session that must survive");
    kept.set_read_timeout(Some(Duration::from_secs(2)))
        .expect("a bound");
    for seed in 0..60 {
        let noise = garbage(seed, 1 + (seed as usize * 37) % 3000);
        let bytes = match seed % 4 {
            0 => noise,
            1 => [preface.clone(), noise].concat(),
            2 => b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            // A frame that announces far more than follows.
            _ => [
                preface.clone(),
                vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1],
                noise,
            ]
            .concat(),
        };
        let mut stream = TcpStream::connect(site.listen).expect("the agent's port accepts");
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("a bound");
        // The agent may close while we are still writing.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let began = Instant::now();
        let mut rest = Vec::new();
        let _ = stream.take(1 << 20).read_to_end(&mut rest);
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "garbage {seed} was left hanging"
        );
    }
    kept.write_all(b"still").expect("the session is there");
    let mut answer = [0; 5];
    kept.read_exact(&mut answer).expect("and carries bytes");
    assert!(
        site.agent.ended().is_none(),
        "the agent ended:\n{}",
        site.agent.tail()
    );
    site.serves();
    assert!(
        !site.agent.tail().contains("panicked"),
        "{}",
        site.agent.tail()
    );
}

/// What no log entry can hold is refused before it is proposed: in the log it would end whoever leads.
#[test]
fn what_is_too_large_is_refused_and_harms_nobody() {
    let mut site = Site::start();
    let refused = site.cli(&["drain", "b/s", "--force", "--reason", &"x".repeat(20_000)]);
    assert!(
        refused.code == Some(2) && refused.stderr.contains("20000 bytes: at most 1024"),
        "{refused:?}"
    );

    let text = std::fs::read_to_string(site.data().with_file_name("cluster.toml"))
        .expect("the cluster's file");
    let large = site.data().with_file_name("large.toml");
    for (servers, fits) in [(4_000, true), (20_000, false)] {
        let mut file = text.clone();
        for n in 0..servers {
            file.push_str(&format!("[[backend.server]]\nname = \"server-number-{n}\"\naddress = \"127.0.0.1\"\nport = 9\n"));
        }
        std::fs::write(&large, &file).expect("a file");
        let applied = site.cli(&["apply", "--yes", &large.to_string_lossy()]);
        if fits {
            applied
                .ok()
                .unwrap_or_else(|why| panic!("{} bytes: {why}", file.len()));
        } else {
            assert!(
                applied.code == Some(8) && applied.text().contains("use at most 1048576"),
                "{} bytes: {}",
                file.len(),
                applied.text()
            );
        }
        assert!(
            site.agent.ended().is_none(),
            "the agent ended:\n{}",
            site.agent.tail()
        );
        site.holds();
    }
}

#[test]
fn a_second_agent_on_the_same_data_is_refused() {
    let site = Site::start();
    let refused = site
        .ha_agent("run")
        .ok()
        .expect_err("two agents on one data_dir");
    assert!(refused.contains("in use by another process"), "{refused}");
    site.serves();
}
