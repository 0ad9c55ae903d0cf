//! Thousands of clients, an address each: who is served by whom, and does it
//! stay so? All of 10.78.0.0/16 is local to `client-1` by one route, so that no
//! address has to be added.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::attempt::{Outcome, Pending};
use crate::netns::Machine;
use crate::sys;

const THREADS: usize = 4;

/// Which server each client met, or how it failed.
pub type Map = BTreeMap<Ipv4Addr, Outcome>;

/// The address of client `index`, from 0.
pub fn address(index: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 78, 1, 0)) + index)
}

/// Lets each of `count` clients connect once, a few at a time; a failed one tries again until `bound`.
pub fn ask(machine: &Machine, count: u32, to: SocketAddr, bound: Duration) -> Map {
    assert!(count <= 60_000, "the clients' network has room for 60000");
    let next = AtomicU32::new(0);
    let map = Mutex::new(Map::new());
    let namespace = machine.namespace();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                sys::enter_netns(namespace).expect("the client's namespace is there");
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    let outcome = insist(address(index), to, bound);
                    map.lock()
                        .expect("no panic under it")
                        .insert(address(index), outcome);
                }
            });
        }
    });
    map.into_inner().expect("no panic under it")
}

/// How many clients each server has; failures by their kind.
pub fn count(map: &Map) -> BTreeMap<&Outcome, usize> {
    let mut count = BTreeMap::new();
    for outcome in map.values() {
        *count.entry(outcome).or_default() += 1;
    }
    count
}

/// Panics when a client was not served, or by another server than before.
#[track_caller]
pub fn assert_nobody_moved(before: &Map, after: &Map) {
    let moved: Vec<_> = before
        .iter()
        .filter(|(client, server)| after.get(client) != Some(server))
        .collect();
    let shown: Vec<_> = moved
        .iter()
        .take(5)
        .map(|(client, was)| (client, was, after.get(client)))
        .collect();
    assert!(
        moved.is_empty(),
        "{} of {} clients changed server, such as {shown:?}",
        moved.len(),
        before.len()
    );
}

fn insist(source: Ipv4Addr, to: SocketAddr, bound: Duration) -> Outcome {
    let deadline = Instant::now() + bound;
    loop {
        let outcome = once(source, to);
        if matches!(outcome, Outcome::Answered(_)) || Instant::now() >= deadline {
            return outcome;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn once(source: Ipv4Addr, to: SocketAddr) -> Outcome {
    let bound = Duration::from_secs(1);
    let began = Instant::now();
    let mut attempt = match Pending::start(to, Some(IpAddr::from(source)), began) {
        Ok(attempt) => attempt,
        Err(outcome) => return outcome,
    };
    loop {
        let left = bound.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Outcome::TimedOut;
        }
        let mut entry = attempt.interest();
        // SAFETY: one entry, and its count.
        unsafe { libc::poll(&raw mut entry, 1, left.as_millis() as i32 + 1) };
        if entry.revents != 0
            && let Some(outcome) = attempt.advance()
        {
            return outcome;
        }
    }
}
