//! Choosing a server: the bound one if usable, else the balance algorithm. Pure; loads are told.

use crate::model::Balance;
use crate::stick::StickTable;
use crate::time::Timestamp;
use crate::view::{BackendView, Newcomer, ServerView};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

/// What came of choosing. Servers are indexes into [`BackendView::servers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// The server that the client is bound to.
    Sticky(usize),
    /// A server by the balance algorithm; the client is bound to it from now on, if the backend persists.
    Balanced(usize),
    /// The right server is full: wait for a slot of it.
    Wait(usize),
    /// All that would do are full: whichever has a slot first.
    WaitForAny,
    /// No server of the backend can take a client.
    Nothing,
}

/// What is known of the load, told by the proxy.
pub trait Loads {
    /// Sessions of that server now, waiting ones included.
    fn sessions(&self, server: &ServerView) -> u32;
    /// A number in which every bit is random.
    fn random(&mut self) -> u64;
}

/// The turns of `roundrobin` in one worker: smooth weighted round robin, as nginx has it.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    current: BTreeMap<u32, i64>,
    /// Turns that are still to be left out.
    skip: usize,
}

/// The turns of each backend, by its name. There are few, so a search costs less than a copy of the name.
#[derive(Clone, Debug, Default)]
pub struct AllTurns {
    of: Vec<(String, Turns)>,
    first: usize,
}

impl AllTurns {
    /// Those of the worker with that number: each begins at another server, or the first would get more than its share.
    pub const fn of_worker(number: usize) -> AllTurns {
        AllTurns {
            of: Vec::new(),
            first: number,
        }
    }

    /// Those of one backend.
    pub fn of(&mut self, backend: &str) -> &mut Turns {
        let known = self.of.iter().position(|(name, _)| name == backend);
        let place = known.unwrap_or_else(|| {
            let turns = Turns {
                skip: self.first,
                ..Turns::default()
            };
            self.of.push((backend.to_owned(), turns));
            self.of.len() - 1
        });
        &mut self.of[place].1
    }

    /// Forgets those of backends that are gone.
    pub fn keep_only(&mut self, kept: impl Fn(&str) -> bool) {
        self.of.retain(|(backend, _)| kept(backend));
    }
}

/// Decides where a new connection of `client` goes. `tried`: indexes that failed for this connection already.
///
/// A client whose server is suspect goes elsewhere meanwhile, by its hash: to the same one on all its ports.
pub fn pick(
    backend: &BackendView,
    stick: &StickTable,
    client: IpAddr,
    now: Timestamp,
    turns: &mut Turns,
    loads: &mut (impl Loads + ?Sized),
    tried: &[usize],
) -> Pick {
    let servers = &backend.servers;
    let usable = |i: &usize, who: Newcomer| !tried.contains(i) && servers[*i].accepts(who);
    let bound = backend
        .bound(stick, client, now)
        .filter(|i| usable(i, Newcomer::Bound));
    let better = |(j, s): (usize, &ServerView)| usable(&j, Newcomer::New) && !s.suspect;
    let displaced =
        bound.is_some_and(|i| servers[i].suspect) && servers.iter().enumerate().any(better);
    if let Some(i) = bound.filter(|_| !displaced) {
        return if is_full(&servers[i], loads) {
            Pick::Wait(i)
        } else {
            Pick::Sticky(i)
        };
    }
    let all = (0..servers.len()).filter(|i| usable(i, Newcomer::New));
    let candidates = narrowed(backend, all.collect());
    let free: Vec<usize> = candidates
        .iter()
        .copied()
        .filter(|i| !is_full(&servers[*i], loads))
        .collect();
    let by_hash = |from: &[usize]| backend.ring.pick(client, |i| from.contains(&i));
    let any_will_do = || {
        let open = open_to_newcomers(backend);
        candidates.iter().all(|i| open.contains(i))
    };
    match (backend.balance, free.is_empty()) {
        _ if candidates.is_empty() => Pick::Nothing,
        (_, false) if displaced => by_hash(&free).map_or(Pick::Nothing, Pick::Balanced),
        // Who belongs to a server by its hash waits for it, as who is bound to it does.
        (Balance::Source, _) if !displaced => match by_hash(&candidates) {
            None => Pick::Nothing,
            Some(i) if free.contains(&i) => Pick::Balanced(i),
            Some(i) => Pick::Wait(i),
        },
        (_, true) if any_will_do() => Pick::WaitForAny,
        (_, full) => {
            let from = if full { &candidates } else { &free };
            match by_balance(backend, from, client, turns, loads) {
                None => Pick::Nothing,
                Some(i) if full => Pick::Wait(i),
                Some(i) => Pick::Balanced(i),
            }
        }
    }
}

/// The servers of which a freed slot goes to clients that belong to none.
pub fn open_to_newcomers(backend: &BackendView) -> Vec<usize> {
    let servers = backend.servers.iter().enumerate();
    let open = servers.filter(|(_, s)| s.accepts(Newcomer::New));
    narrowed(backend, open.map(|(i, _)| i).collect())
}

/// Active servers before the first backup server; servers on reachable nodes before suspect ones.
fn narrowed(backend: &BackendView, all: Vec<usize>) -> Vec<usize> {
    let of = |keep: &dyn Fn(&ServerView) -> bool| -> Vec<usize> {
        all.iter()
            .copied()
            .filter(|i| keep(&backend.servers[*i]))
            .collect()
    };
    let steps: [&dyn Fn(&ServerView) -> bool; 4] = [
        &|s| !s.backup && !s.suspect,
        &|s| s.backup && !s.suspect,
        &|s| !s.backup,
        &|s| s.backup,
    ];
    for keep in steps {
        let mut found = of(keep);
        if !found.is_empty() {
            if backend.servers[found[0]].backup {
                found.truncate(1);
            }
            return found;
        }
    }
    Vec::new()
}

fn is_full(server: &ServerView, loads: &(impl Loads + ?Sized)) -> bool {
    server.maxconn > 0 && loads.sessions(server) >= server.maxconn
}

fn by_balance(
    backend: &BackendView,
    from: &[usize],
    client: IpAddr,
    turns: &mut Turns,
    loads: &mut (impl Loads + ?Sized),
) -> Option<usize> {
    let servers = &backend.servers;
    match (backend.balance, from) {
        (_, []) => None,
        (_, [only]) => Some(*only),
        (Balance::First, _) => from.first().copied(),
        (Balance::RoundRobin, _) => turns.next(servers, from),
        (Balance::LeastConn, _) => least_loaded(servers, from, turns, loads),
        (Balance::Source, _) => backend.ring.pick(client, |i| from.contains(&i)),
        (Balance::Random, _) => {
            let (a, b) = (
                by_weight(servers, from, loads.random()),
                by_weight(servers, from, loads.random()),
            );
            Some(
                if load_over_weight(&servers[b], loads) < load_over_weight(&servers[a], loads) {
                    b
                } else {
                    a
                },
            )
        }
    }
}

fn least_loaded(
    servers: &[ServerView],
    from: &[usize],
    turns: &mut Turns,
    loads: &(impl Loads + ?Sized),
) -> Option<usize> {
    let least = from
        .iter()
        .map(|i| load_over_weight(&servers[*i], loads))
        .min()?;
    // Round robin inside the group of equals, as HAProxy does: else the first would get every quiet client.
    let equals: Vec<usize> = from
        .iter()
        .copied()
        .filter(|i| load_over_weight(&servers[*i], loads) == least)
        .collect();
    turns.next(servers, &equals)
}

/// Sessions per weight, as an integer that compares exactly: HAProxy's `served * MAX_WEIGHT / weight`.
fn load_over_weight(server: &ServerView, loads: &(impl Loads + ?Sized)) -> u64 {
    u64::from(loads.sessions(server)) * 65_536 / u64::from(server.weight.max(1))
}

fn by_weight(servers: &[ServerView], from: &[usize], random: u64) -> usize {
    let total: u64 = from.iter().map(|i| u64::from(servers[*i].weight)).sum();
    let mut left = random % total.max(1);
    for i in from {
        let w = u64::from(servers[*i].weight);
        if left < w {
            return *i;
        }
        left -= w;
    }
    from[0]
}

impl Turns {
    fn next(&mut self, servers: &[ServerView], from: &[usize]) -> Option<usize> {
        for _ in 0..std::mem::take(&mut self.skip) {
            self.turn(servers, from);
        }
        self.turn(servers, from)
    }

    fn turn(&mut self, servers: &[ServerView], from: &[usize]) -> Option<usize> {
        let total: i64 = from.iter().map(|i| i64::from(servers[*i].weight)).sum();
        let mut best: Option<(usize, i64)> = None;
        for i in from {
            let current = self.current.entry(servers[*i].id.0).or_default();
            *current += i64::from(servers[*i].weight);
            if best.is_none_or(|(_, c)| *current > c) {
                best = Some((*i, *current));
            }
        }
        let (i, _) = best?;
        *self.current.entry(servers[i].id.0).or_default() -= total;
        Some(i)
    }
}

/// Points on a circle, as many for each server as its weight says. Adding or removing a server moves
/// only its own clients. Points come from the server's address, so that every node has the same circle.
///
/// They are sorted when they are first asked for, by who asks: of a thousand servers there may be a million, and
/// whoever publishes a view keeps the lease. Copies share them.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    shares: Vec<Share>,
    points: Arc<OnceLock<Vec<(u64, u16)>>>,
}

/// What one server has of the circle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    server: u16,
    seed: u64,
    points: u32,
}

/// Points on the circle for each unit of weight (HAProxy has 16).
const POINTS_PER_WEIGHT: u16 = 64;

/// The same servers have the same circle.
impl PartialEq for Ring {
    fn eq(&self, other: &Self) -> bool {
        self.shares == other.shares
    }
}

impl Eq for Ring {}

impl Ring {
    /// The circle of all servers with an address and a weight, whatever their state.
    pub fn of(servers: &[ServerView]) -> Ring {
        let scale = servers
            .iter()
            .map(|s| u32::from(s.weight))
            .max()
            .unwrap_or(1)
            .clamp(1, 256);
        let share = |(i, s): (usize, &ServerView)| {
            // Weights 1..=256 share out at most 64 * 16 points for the heaviest server.
            let points = if scale <= 16 {
                u32::from(s.weight) * u32::from(POINTS_PER_WEIGHT)
            } else {
                u32::from(s.weight) * 1024 / scale
            };
            Some(Share {
                server: i as u16,
                seed: hash_address(s.address?) ^ mix(u64::from(s.port.unwrap_or(0)) + 1),
                points: points.max(u32::from(s.weight > 0)),
            })
        };
        Ring {
            shares: servers.iter().enumerate().filter_map(share).collect(),
            points: Arc::default(),
        }
    }

    /// Whether somebody has asked for its points.
    #[cfg(test)]
    pub(crate) fn is_made(&self) -> bool {
        self.points.get().is_some()
    }

    /// The first server clockwise of the client's point for which `usable` holds.
    pub fn pick(&self, client: IpAddr, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let points = self.points.get_or_init(|| sorted(&self.shares));
        let at = mix(hash_address(client.to_canonical()));
        let start = points.partition_point(|(p, _)| *p < at);
        let (after, before) = (points.get(start..)?, points.get(..start)?);
        after
            .iter()
            .chain(before)
            .map(|(_, i)| usize::from(*i))
            .find(|i| usable(*i))
    }
}

fn sorted(shares: &[Share]) -> Vec<(u64, u16)> {
    let of_one = |share: &Share| {
        let Share { server, seed, .. } = *share;
        let point = move |k| (mix(seed.wrapping_add(mix(u64::from(k)))), server);
        (0..share.points).map(point)
    };
    let mut points: Vec<_> = shares.iter().flat_map(of_one).collect();
    points.sort_unstable();
    points
}

/// A fixed hash of an address: the same on every node, for ever.
fn hash_address(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(a) => mix(u64::from(u32::from(a)) | 4 << 40),
        IpAddr::V6(a) => {
            let bits = u128::from(a);
            mix(mix((bits >> 64) as u64) ^ bits as u64)
        }
    }
}

/// Spreads the bits of a number (the finalizer of splitmix64, by Sebastiano Vigna, public domain).
pub const fn mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
