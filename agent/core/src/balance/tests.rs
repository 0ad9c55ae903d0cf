//! The rules of choosing, a test each.
mod full;

use super::*;
use crate::id::ServerId;
use crate::model::{AdminState, BindingMode, OnDown, Persistence, Sticky};
use crate::stick::{StickEntry, StickIndex};
use std::time::Duration;

#[derive(Default)]
struct Told {
    sessions: BTreeMap<u32, u32>,
    seed: u64,
}
impl Loads for Told {
    fn sessions(&self, s: &ServerView) -> u32 {
        self.sessions.get(&s.id.0).copied().unwrap_or(0)
    }
    fn random(&mut self) -> u64 {
        self.seed += 1;
        mix(self.seed)
    }
}

fn server(id: u32, weight: u16) -> ServerView {
    ServerView {
        id: ServerId(id),
        name: format!("s{id}"),
        address: Some(IpAddr::from([10, 0, 0, id as u8])),
        port: None,
        weight,
        backup: false,
        maxconn: 0,
        admin: AdminState::Ready,
        sticky: Sticky::Honour,
        up: true,
        suspect: false,
        cut: None,
    }
}

fn backend(balance: Balance, servers: Vec<ServerView>) -> BackendView {
    let s = Duration::from_secs;
    let persistence = Some(Persistence {
        expire: s(1800),
        group: "b".into(),
        mask_v4: 32,
        mask_v6: 128,
        mode: BindingMode::Commit,
    });
    BackendView {
        name: "b".into(),
        balance,
        persistence,
        group: "b".into(),
        on_down: OnDown::Purge,
        connect_timeout: s(5),
        server_timeout: s(0),
        server_fin_timeout: s(0),
        keepalive: s(0),
        queue_timeout: s(5),
        maxqueue: 0,
        retries: 3,
        redispatch: true,
        ring: Ring::of(&servers),
        servers,
    }
}

fn client(n: u32) -> IpAddr {
    IpAddr::V4((0x0a4d_0000 + n).into())
}

/// How often each server is chosen for `n` different new clients.
fn shares(b: &BackendView, n: u32) -> Vec<u32> {
    let (mut turns, mut told, stick) = (Turns::default(), Told::default(), StickTable::default());
    let mut count = vec![0; b.servers.len()];
    for c in 0..n {
        match pick(
            b,
            &stick,
            client(c),
            Timestamp(0),
            &mut turns,
            &mut told,
            &[],
        ) {
            Pick::Balanced(i) => count[i] += 1,
            other => panic!("client {c}: {other:?}"),
        }
    }
    count
}

fn one(b: &BackendView, stick: &StickTable, told: &mut Told, tried: &[usize]) -> Pick {
    pick(
        b,
        stick,
        client(7),
        Timestamp(1),
        &mut Turns::default(),
        told,
        tried,
    )
}

fn bound_to(id: u32) -> StickTable {
    let b = backend(Balance::RoundRobin, vec![server(id, 1)]);
    let mut t = StickIndex::default();
    let entry = StickEntry {
        server: ServerId(id),
        host: IpAddr::from([10, 0, 0, id as u8]),
        bound_at: Timestamp(0),
        used_at: Timestamp(0),
        expire: Duration::from_secs(60),
    };
    t.put(b.stick_key(client(7)).unwrap(), entry, 10);
    t.table().clone()
}

#[test]
fn roundrobin_shares_by_weight_and_never_in_bursts() {
    assert_eq!(
        shares(
            &backend(
                Balance::RoundRobin,
                vec![server(1, 5), server(2, 1), server(3, 2)]
            ),
            800
        ),
        [500, 100, 200]
    );
    let b = backend(Balance::RoundRobin, vec![server(1, 2), server(2, 1)]);
    let (mut turns, mut told) = (Turns::default(), Told::default());
    let order: Vec<Pick> = (0..6)
        .map(|c| {
            pick(
                &b,
                &StickTable::default(),
                client(c),
                Timestamp(0),
                &mut turns,
                &mut told,
                &[],
            )
        })
        .collect();
    assert_eq!(order, [0, 1, 0, 0, 1, 0].map(Pick::Balanced));
}

#[test]
fn every_weight_above_zero_gets_a_share_and_zero_gets_nobody() {
    for balance in [Balance::RoundRobin, Balance::Source, Balance::Random] {
        let got = shares(
            &backend(balance, vec![server(1, 256), server(2, 1), server(3, 0)]),
            20_000,
        );
        assert!(got[1] > 0, "{balance:?}: {got:?}");
        assert_eq!(got[2], 0, "{balance:?}");
    }
}

#[test]
fn source_follows_weights_and_moves_only_the_clients_of_a_server_that_leaves() {
    let mut b = backend(
        Balance::Source,
        vec![server(1, 1), server(2, 2), server(3, 1)],
    );
    let got = shares(&b, 40_000);
    for (got, want) in got.iter().zip([10_000, 20_000, 10_000]) {
        assert!(got.abs_diff(want) < want / 4, "{got} of {want}");
    }
    let choose = |b: &BackendView, c| {
        pick(
            b,
            &StickTable::default(),
            client(c),
            Timestamp(0),
            &mut Turns::default(),
            &mut Told::default(),
            &[],
        )
    };
    let before: Vec<Pick> = (0..5000).map(|c| choose(&b, c)).collect();
    b.servers[2].up = false;
    for (c, was) in before.iter().enumerate() {
        let now = choose(&b, c as u32);
        if *was == Pick::Balanced(2) {
            assert_ne!(now, *was)
        } else {
            assert_eq!(now, *was)
        }
    }
}

#[test]
fn leastconn_counts_sessions_per_weight_and_takes_turns_among_equals() {
    let b = backend(
        Balance::LeastConn,
        vec![server(1, 1), server(2, 2), server(3, 1)],
    );
    let mut told = Told {
        sessions: [(1, 3), (2, 4), (3, 3)].into(),
        ..Told::default()
    };
    assert_eq!(
        one(&b, &StickTable::default(), &mut told, &[]),
        Pick::Balanced(1)
    );
    let mut turns = Turns::default();
    let mut idle = Told::default();
    let quiet: Vec<Pick> = (0..4)
        .map(|c| {
            pick(
                &b,
                &StickTable::default(),
                client(c),
                Timestamp(0),
                &mut turns,
                &mut idle,
                &[],
            )
        })
        .collect();
    assert!(
        [0, 1, 2]
            .iter()
            .all(|i| quiet.contains(&Pick::Balanced(*i))),
        "{quiet:?}"
    );
}

#[test]
fn first_fills_servers_in_order() {
    let mut b = backend(Balance::First, vec![server(1, 1), server(2, 1)]);
    b.servers[0].maxconn = 2;
    let mut told = Told::default();
    assert_eq!(
        one(&b, &StickTable::default(), &mut told, &[]),
        Pick::Balanced(0)
    );
    told.sessions.insert(1, 2);
    assert_eq!(
        one(&b, &StickTable::default(), &mut told, &[]),
        Pick::Balanced(1)
    );
}

#[test]
fn a_bound_client_comes_back_while_its_server_is_usable() {
    let mut b = backend(Balance::First, vec![server(1, 1), server(2, 1)]);
    let (stick, mut told) = (bound_to(2), Told::default());
    assert_eq!(one(&b, &stick, &mut told, &[]), Pick::Sticky(1));
    for (change, then) in [
        (
            (|s: &mut ServerView| s.admin = AdminState::Drain) as fn(&mut ServerView),
            Pick::Sticky(1),
        ),
        (|s| s.weight = 0, Pick::Sticky(1)),
        (
            |s| {
                s.admin = AdminState::Drain;
                s.sticky = Sticky::Move
            },
            Pick::Balanced(0),
        ),
        (|s| s.admin = AdminState::Maintenance, Pick::Balanced(0)),
        (|s| s.up = false, Pick::Balanced(0)),
        (|s| s.address = None, Pick::Balanced(0)),
        (|s| s.suspect = true, Pick::Balanced(0)),
    ] {
        b.servers[1] = server(2, 1);
        change(&mut b.servers[1]);
        assert_eq!(one(&b, &stick, &mut told, &[]), then, "{:?}", b.servers[1]);
    }
    b.servers[1] = server(2, 1);
    assert_eq!(
        one(&b, &stick, &mut told, &[1]),
        Pick::Balanced(0),
        "it failed for this connection"
    );
}

#[test]
fn a_binding_of_another_backend_of_the_group_leads_to_the_same_host() {
    let mut other = server(9, 1);
    other.address = Some(IpAddr::from([10, 0, 0, 2]));
    let b = backend(Balance::First, vec![server(1, 1), other]);
    assert_eq!(
        one(&b, &bound_to(2), &mut Told::default(), &[]),
        Pick::Sticky(1)
    );
}

#[test]
fn a_backup_serves_only_when_nothing_else_does() {
    let mut b = backend(
        Balance::RoundRobin,
        vec![server(1, 1), server(2, 1), server(3, 1)],
    );
    b.servers[1].backup = true;
    b.servers[2].backup = true;
    let (stick, mut told) = (StickTable::default(), Told::default());
    assert_eq!(one(&b, &stick, &mut told, &[]), Pick::Balanced(0));
    assert_eq!(
        one(&b, &stick, &mut told, &[0]),
        Pick::Balanced(1),
        "the first backup"
    );
    assert_eq!(one(&b, &stick, &mut told, &[0, 1, 2]), Pick::Nothing);
}

#[test]
fn clients_of_a_suspect_server_go_to_one_and_the_same_other_meanwhile() {
    let mut b = backend(Balance::RoundRobin, (1..=4).map(|n| server(n, 1)).collect());
    b.servers[1].suspect = true;
    let (mut turns, mut told) = (Turns::default(), Told::default());
    let mut go = || {
        pick(
            &b,
            &bound_to(2),
            client(7),
            Timestamp(1),
            &mut turns,
            &mut told,
            &[],
        )
    };
    let first = go();
    assert!(matches!(first, Pick::Balanced(i) if i != 1), "{first:?}");
    assert!((0..5).all(|_| go() == first));
}

#[test]
fn workers_begin_their_turns_at_different_servers() {
    let b = backend(Balance::RoundRobin, (1..=4).map(|n| server(n, 1)).collect());
    let first = |worker| {
        let (mut turns, mut told) = (AllTurns::of_worker(worker), Told::default());
        let stick = StickTable::default();
        pick(
            &b,
            &stick,
            client(1),
            Timestamp(0),
            turns.of("b"),
            &mut told,
            &[],
        )
    };
    let chosen: Vec<Pick> = (0..4).map(first).collect();
    assert_eq!(chosen, [0, 1, 2, 3].map(Pick::Balanced));
}

#[test]
fn a_suspect_server_is_better_than_none() {
    let mut b = backend(Balance::RoundRobin, vec![server(1, 1), server(2, 1)]);
    b.servers.iter_mut().for_each(|s| s.suspect = true);
    assert!(matches!(
        one(&b, &StickTable::default(), &mut Told::default(), &[]),
        Pick::Balanced(_)
    ));
}
