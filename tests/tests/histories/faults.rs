//! What happens to the nodes meanwhile, most of it to the one that leads.

use std::time::{Duration, Instant};

use ha_tests::client::many;
use ha_tests::cluster::Cluster;
use ha_tests::guard::say;
use ha_tests::system::System;

use crate::clients::{BOUND, Dice};

/// Between two faults, in milliseconds.
const PAUSE: (u64, u64) = (1500, 3500);
/// The node that comes and goes.
const EXTRA: u8 = 4;

/// One fault after the other, for so long. Clients are bound meanwhile.
pub fn make(cluster: &mut Cluster, length: Duration, seed: u64) {
    let began = Instant::now();
    let mut dice = Dice(seed);
    let mut joined = false;
    let mut turn = 0u64;
    bind(cluster);
    while began.elapsed() < length {
        let leader = cluster.holder().filter(|n| *n != EXTRA);
        let any = 1 + dice.below(3) as u8;
        let node = leader.filter(|_| dice.below(5) > 0).unwrap_or(any);
        let lasts = Duration::from_millis(500 + dice.below(1800));
        turn += 1;
        match (turn % 8, dice.below(4)) {
            (7, _) => {
                joined = change_members(cluster, joined);
            }
            (_, 0) => {
                cluster.kill_process(node);
                std::thread::sleep(lasts / 2);
                cluster.start_agent(node);
            }
            (_, 1) => {
                cluster.freeze(node);
                std::thread::sleep(lasts);
                cluster.thaw(node);
            }
            (_, 2) => {
                cluster.topology().cut_from_peers(node);
                std::thread::sleep(lasts);
                cluster.topology().heal();
            }
            _ => drop(cluster.cli_at(any, &["move-leader"], Duration::from_secs(5))),
        }
        let pause = PAUSE.0 + dice.below(PAUSE.1 - PAUSE.0);
        let until = Instant::now() + Duration::from_millis(pause);
        bind(cluster);
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
    }
}

/// Everything runs and reaches everything.
pub fn heal(cluster: &mut Cluster) {
    cluster.topology().heal();
    for node in 1..=3 {
        if cluster.agent_ended(node) {
            cluster.start_agent(node);
        }
        cluster.thaw(node);
    }
}

fn bind(cluster: &Cluster) {
    let client = cluster.topology().client(1);
    many::ask(client, BOUND, cluster.address(), Duration::from_millis(300));
}

/// The fourth node joins, or leaves. Whether it is there then.
fn change_members(cluster: &mut Cluster, joined: bool) -> bool {
    let through = cluster.holder().filter(|n| *n != EXTRA).unwrap_or(1);
    if joined {
        let words = ["member", "remove", "node-4", "--yes"];
        let left = cluster
            .cli_at(through, &words, Duration::from_secs(10))
            .ok();
        if let Err(why) = left {
            say(&format!("node-4 stays: {why}"));
            return true;
        }
        cluster.forget(EXTRA);
        let data = cluster.machine(EXTRA).dir().join("data");
        std::fs::remove_dir_all(data).ok();
        return false;
    }
    match cluster.try_join(EXTRA, through) {
        Ok(()) => true,
        Err(why) => {
            say(&format!("node-4 does not join: {why}"));
            let data = cluster.machine(EXTRA).dir().join("data");
            std::fs::remove_dir_all(data).ok();
            false
        }
    }
}
