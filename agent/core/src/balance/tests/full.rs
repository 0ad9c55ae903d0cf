//! What happens when servers are full.

use super::*;

#[test]
fn a_full_server_makes_a_bound_client_wait_and_a_new_one_go_elsewhere() {
    let mut b = backend(Balance::First, vec![server(1, 1), server(2, 1)]);
    b.servers.iter_mut().for_each(|s| s.maxconn = 1);
    let mut told = Told {
        sessions: [(2, 1)].into(),
        ..Told::default()
    };
    assert_eq!(one(&b, &bound_to(2), &mut told, &[]), Pick::Wait(1));
    assert_eq!(
        one(&b, &StickTable::default(), &mut told, &[]),
        Pick::Balanced(0)
    );
    told.sessions.insert(1, 1);
    assert_eq!(
        one(&b, &StickTable::default(), &mut told, &[]),
        Pick::WaitForAny,
        "of whichever server a slot is free first"
    );
    b.balance = Balance::Source;
    let hashed = b.ring.pick(client(7), |_| true).unwrap();
    for sessions in [[(1, 1), (2, 1)].to_vec(), vec![(b.servers[hashed].id.0, 1)]] {
        told.sessions = sessions.into_iter().collect();
        assert_eq!(
            one(&b, &StickTable::default(), &mut told, &[]),
            Pick::Wait(hashed),
            "a client belongs to a server by its hash, full or not"
        );
    }
}

#[test]
fn a_backup_that_is_the_last_resort_of_one_session_is_not_waited_for_by_all() {
    let mut b = backend(Balance::RoundRobin, vec![server(1, 1), server(2, 1)]);
    b.servers[1].backup = true;
    b.servers.iter_mut().for_each(|s| s.maxconn = 1);
    let mut told = Told {
        sessions: [(1, 1), (2, 1)].into(),
        ..Told::default()
    };
    let stick = StickTable::default();
    assert_eq!(open_to_newcomers(&b), [0]);
    assert_eq!(one(&b, &stick, &mut told, &[]), Pick::WaitForAny);
    assert_eq!(one(&b, &stick, &mut told, &[0]), Pick::Wait(1));
}
