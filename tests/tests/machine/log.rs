//! The log on disk: what was acknowledged is in it after a kill, and one that is damaged or another's is refused.

use std::time::Duration;

use ha_tests::site::Site;
use ha_tests::{process, sys, wait};

use crate::files::copy;

const BOUND: Duration = Duration::from_secs(20);

#[test]
fn what_was_acknowledged_survives_kills_in_the_middle_of_writing() {
    let rounds: u32 = if std::env::var("HA_FULL").is_ok() {
        200
    } else {
        15
    };
    let mut site = Site::start();
    let (mut given, mut acknowledged) = (0_u32, 0);
    let (mut told, mut late) = (0_u32, 0_u32);
    for round in 1..=rounds {
        // From a fixed sequence, so that the kill comes at many places of a write.
        let (pid, kill_after) = (
            site.agent.pid(),
            Duration::from_millis(5 + u64::from(round) * 37 % 160),
        );
        let killer = std::thread::spawn(move || {
            std::thread::sleep(kill_after);
            let _ = sys::signal(pid, libc::SIGKILL);
        });
        loop {
            given += 1;
            if !write(&site, given) {
                break;
            }
            acknowledged = given;
            told += 1;
        }
        killer.join().expect("the kill");
        site.agent.kill();
        site.start_again();
        // Until it leads again it does not know what was committed last.
        site.holds();
        let found =
            last_written(&site).unwrap_or_else(|| panic!("no events: {}", site.agent.tail()));
        assert!(
            (acknowledged..=given).contains(&found),
            "round {round}: {acknowledged} was acknowledged, {given} given, {found} is there"
        );
        // Committed, and killed before that was said.
        late += u32::from(found > acknowledged);
        if round % 50 == 0 {
            println!("{round}/{rounds} kills, {told} writes acknowledged");
        }
    }
    assert!(
        told > rounds / 3,
        "hardly anything was written: {told} in {rounds} rounds"
    );
    println!(
        "{rounds} kills, {told} of {given} writes acknowledged, none of them lost; {late} more were there"
    );
}

#[test]
fn the_log_of_another_cluster_is_refused() {
    let (mut own, mut other) = (Site::start(), Site::start());
    own.agent.terminate(BOUND);
    other.agent.terminate(BOUND);
    std::fs::remove_dir_all(own.data().join("log")).expect("the own log");
    copy(&other.data(), &own.data(), &["identity"]);
    let refused = own.ha_agent("run").ok().expect_err("it must not start");
    assert!(refused.contains("identity.json names the log"), "{refused}");
}

/// A byte is wrong somewhere in the log's file: the agent refuses to start and says what to do, or has lost nothing.
#[test]
fn a_damaged_log_is_refused_with_instructions_or_has_lost_nothing() {
    const WRITES: u32 = 20;
    let places: usize = if std::env::var("HA_FULL").is_ok() {
        200
    } else {
        16
    };
    let mut site = Site::start();
    for number in 1..=WRITES {
        wait::until("a write", BOUND, || {
            if write(&site, number) {
                Ok(())
            } else {
                Err(site.agent.tail())
            }
        });
    }
    site.agent.terminate(BOUND);
    let file = site.data().join("log/db");
    let before = tempfile::tempdir().expect("a directory");
    copy(&site.data(), before.path(), &["control.sock"]);
    let good = std::fs::read(&file).expect("the log");
    let used = good
        .iter()
        .rposition(|byte| *byte != 0)
        .expect("a log of something");
    let (mut refused, mut unhurt) = (0, 0);
    for place in 0..places {
        // All over, and every fourth at its very end.
        let at = if place % 4 == 3 {
            used - place
        } else {
            used * place / places
        };
        std::fs::remove_dir_all(site.data()).expect("the data");
        std::fs::create_dir(site.data()).expect("the data");
        copy(before.path(), &site.data(), &[]);
        let mut bad = good.clone();
        bad[at] ^= 0xff;
        std::fs::write(&file, bad).expect("the log");
        site.start_again();
        let ended = wait::until("the agent to hold, or to refuse", BOUND, || {
            match site.agent.ended() {
                Some(how) => Ok(Some(how)),
                None => site.leads().map(|()| None),
            }
        });
        if let Some(how) = ended {
            let said = process::tail(&site.agent.log, 3);
            assert!(
                how.code().is_some()
                    && said.contains("is damaged")
                    && said.contains("`ha-agent restore`"),
                "byte {at} of {used}: {how}, {said}"
            );
            refused += 1;
        } else {
            assert_eq!(last_written(&site), Some(WRITES), "byte {at} of {used}");
            site.agent.kill();
            unhurt += 1;
        }
    }
    assert!(
        refused > places / 4,
        "hardly anything was damaged: {refused} refused, {unhurt} unhurt"
    );
    println!("{places} places of {used} bytes: {refused} refused, {unhurt} without harm");
}

/// Whether it was acknowledged.
fn write(site: &Site, number: u32) -> bool {
    site.cli(&[
        "drain",
        "b/s",
        "--force",
        "--reason",
        &format!("write {number}"),
    ])
    .code
        == Some(0)
}

fn last_written(site: &Site) -> Option<u32> {
    let events = site.cli(&["events", "--grep", "write "]).ok().ok()?;
    Some(
        events
            .rsplit("write ")
            .next()
            .and_then(|rest| {
                rest.split(|c: char| !c.is_ascii_digit())
                    .next()?
                    .parse()
                    .ok()
            })
            .unwrap_or(0),
    )
}
