//! What a voter promises, what it votes, and when it answers nothing.

use super::*;

const P: Duration = Duration::from_millis(300);
fn n(i: u128) -> NodeId {
    NodeId::from_random(i)
}
fn at(ms: u64) -> Instant {
    Instant(ms * 1_000_000)
}
/// A `Lease` of a leader whose entries have come before it.
fn heard(p: &mut Promise, now: Instant, from: NodeId, lease: Lease) -> Result<(), Refusal> {
    p.note_term(lease.term);
    p.on_lease(now, from, lease)
}
fn lease(term: u64, ms: u64) -> Lease {
    Lease { term, sent: at(ms) }
}

#[test]
fn a_voter_never_promises_itself_to_two_leaders_at_once() {
    let mut p = Promise::fresh(P);
    assert_eq!(heard(&mut p, at(0), n(1), lease(5, 0)), Ok(()));
    assert_eq!(
        heard(&mut p, at(299), n(2), lease(6, 0)),
        Err(Refusal::Promised(n(1)))
    );
    assert_eq!(heard(&mut p, at(300), n(2), lease(6, 0)), Ok(()));
    assert_eq!(
        heard(&mut p, at(301), n(1), lease(5, 200)),
        Err(Refusal::LaterTerm(6))
    );
}

#[test]
fn a_voter_that_has_just_started_answers_nothing_for_one_promise() {
    let mut p = Promise::starting(at(1000), P, 7);
    assert_eq!(
        heard(&mut p, at(1299), n(1), lease(7, 0)),
        Err(Refusal::JustStarted)
    );
    assert_eq!(
        p.vote_in(at(1299), n(1), 8, Ballot::Vote),
        VoteDecision::Refuse
    );
    assert_eq!(
        p.vote_out(at(1299), n(9), 8, Ballot::PreVote),
        VoteDecision::Refuse
    );
    assert_eq!(
        heard(&mut p, at(1300), n(1), lease(6, 0)),
        Err(Refusal::LaterTerm(7))
    );
    assert_eq!(heard(&mut p, at(1300), n(1), lease(7, 0)), Ok(()));
}

#[test]
fn a_vote_inside_the_library_blocks_older_leases_until_it_is_answered() {
    let mut p = Promise::fresh(P);
    assert_eq!(p.vote_in(at(0), n(2), 9, Ballot::Vote), VoteDecision::Pass);
    assert_eq!(
        heard(&mut p, at(1), n(1), lease(8, 0)),
        Err(Refusal::LaterTerm(9))
    );
    p.vote_answered(8); // refused by the library: its own term stayed 8
    assert_eq!(heard(&mut p, at(2), n(1), lease(8, 1)), Ok(()));
}

#[test]
fn a_pre_vote_is_never_written_down() {
    let mut p = Promise::fresh(P);
    assert_eq!(
        p.vote_in(at(0), n(2), 9, Ballot::PreVote),
        VoteDecision::Pass
    );
    assert_eq!(
        p.vote_out(at(0), n(3), 9, Ballot::PreVote),
        VoteDecision::Pass
    );
    assert_eq!(heard(&mut p, at(1), n(1), lease(8, 0)), Ok(()));
}

#[test]
fn votes_are_refused_both_ways_while_a_promise_to_another_runs() {
    let mut p = Promise::fresh(P);
    heard(&mut p, at(0), n(1), lease(1, 0)).unwrap();
    assert_eq!(
        p.vote_in(at(10), n(2), 2, Ballot::Vote),
        VoteDecision::Refuse
    );
    assert_eq!(
        p.vote_out(at(10), n(3), 2, Ballot::Vote),
        VoteDecision::Refuse
    );
    assert_eq!(p.vote_in(at(10), n(1), 2, Ballot::Vote), VoteDecision::Pass);
    p.vote_answered(2);
    assert_eq!(
        p.vote_in(at(300), n(2), 3, Ballot::PreVote),
        VoteDecision::Pass
    );
}

#[test]
fn a_release_frees_the_voter_and_voids_leases_that_were_sent_before_it() {
    let mut p = Promise::fresh(P);
    heard(&mut p, at(0), n(1), lease(4, 100)).unwrap();
    p.on_release(n(1), lease(4, 120));
    assert_eq!(p.promised_to(at(1)), None);
    assert_eq!(
        heard(&mut p, at(2), n(1), lease(4, 110)),
        Err(Refusal::Released)
    );
    assert_eq!(heard(&mut p, at(2), n(1), lease(4, 121)), Ok(()));
}

/// Two of them, with the highest numbers there are, once stopped the service until the voters were restarted.
#[test]
fn a_release_is_heard_from_whom_this_voter_is_promised_to_and_of_a_term_that_it_knows() {
    let (leader, evil) = (n(1), n(2));
    let highest = Lease {
        term: u64::MAX,
        sent: Instant(u64::MAX),
    };
    let mut p = Promise::fresh(P);
    p.note_term(5);
    p.on_lease(at(0), leader, lease(5, 100)).unwrap();
    for (from, release) in [
        (evil, highest),
        (evil, lease(5, 200)),
        (leader, highest),
        (leader, lease(6, 200)),
        (leader, lease(4, 200)),
    ] {
        assert_eq!(p.on_release(from, release), ReleaseHeard::Refused);
        assert_eq!(p.promised_to(at(1)), Some(leader), "{release:?}");
    }
    // Nobody is kept from anything by what was refused.
    assert_eq!(p.on_lease(at(2), leader, lease(5, 101)), Ok(()));
    assert_eq!(p.on_release(leader, lease(5, 102)), ReleaseHeard::Ended);
    assert_eq!(p.on_release(evil, highest), ReleaseHeard::Refused);
    p.note_term(6);
    assert_eq!(p.on_lease(at(3), n(3), lease(6, 1)), Ok(()));
}

/// The most that a leader's own word can do: its own `Lease` messages of that term are void.
#[test]
fn a_release_from_far_in_the_future_binds_nobody_but_who_sent_it() {
    let mut p = Promise::fresh(P);
    p.note_term(5);
    p.on_lease(at(0), n(1), lease(5, 100)).unwrap();
    let far = Lease {
        term: 5,
        sent: Instant(u64::MAX),
    };
    assert_eq!(p.on_release(n(1), far), ReleaseHeard::Ended);
    assert_eq!(
        p.on_lease(at(1), n(1), lease(5, 120)),
        Err(Refusal::Released)
    );
    p.note_term(6);
    assert_eq!(p.on_lease(at(2), n(2), lease(6, 1)), Ok(()));
}

/// It was sent, delayed, and its leader holds again after all: what was promised on the later `Lease` stands.
#[test]
fn a_release_that_comes_behind_a_later_lease_ends_nothing() {
    let mut p = Promise::fresh(P);
    p.note_term(4);
    p.on_lease(at(0), n(1), lease(4, 100)).unwrap();
    p.on_lease(at(10), n(1), lease(4, 130)).unwrap();
    // One that was overtaken does not change on which one the promise rests.
    p.on_lease(at(11), n(1), lease(4, 110)).unwrap();
    assert_eq!(p.on_release(n(1), lease(4, 120)), ReleaseHeard::Late);
    assert_eq!(p.promised_to(at(12)), Some(n(1)));
    assert_eq!(
        p.vote_in(at(12), n(2), 5, Ballot::Vote),
        VoteDecision::Refuse
    );
    assert_eq!(p.on_release(n(1), lease(4, 140)), ReleaseHeard::Ended);
    assert_eq!(
        p.on_release(n(1), lease(4, 140)),
        ReleaseHeard::Late,
        "said twice"
    );
}

/// A leader was elected in its term, or its entries say so: what nobody else has heard of is no leader's.
#[test]
fn a_lease_of_a_term_that_the_voter_does_not_know_is_refused_and_changes_nothing() {
    let mut p = Promise::fresh(P);
    p.note_term(5);
    for term in [6, u64::MAX] {
        assert_eq!(
            p.on_lease(at(0), n(2), lease(term, 0)),
            Err(Refusal::UnknownTerm(5))
        );
    }
    assert_eq!(p.promised_to(at(1)), None);
    assert_eq!(p.on_lease(at(1), n(1), lease(5, 0)), Ok(()));
}

#[test]
fn a_release_of_an_older_term_frees_nobody() {
    let mut p = Promise::fresh(P);
    heard(&mut p, at(0), n(1), lease(5, 0)).unwrap();
    p.on_release(n(1), lease(4, 50));
    assert_eq!(p.promised_to(at(1)), Some(n(1)));
}

#[test]
fn a_hold_counts_by_when_the_lease_was_sent_and_needs_every_majority() {
    let (a, b, c) = (n(1), n(2), n(3));
    let set = |ids: &[NodeId]| ids.iter().copied().collect::<BTreeSet<_>>();
    let mut h = Hold::new(3);
    h.on_acknowledged(a, lease(3, 100));
    assert_eq!(h.until(&vec![set(&[a, b, c])], P), None);
    h.on_acknowledged(b, lease(3, 80));
    h.on_acknowledged(b, lease(3, 60)); // late answer: does not take the newer one back
    assert_eq!(h.until(&vec![set(&[a, b, c])], P), Some(at(380)));
    assert_eq!(
        h.until(&vec![set(&[a, b, c]), set(&[c])], P),
        None,
        "joint: both majorities"
    );
    h.on_acknowledged(c, lease(2, 500));
    assert_eq!(
        h.until(&vec![set(&[a, b, c]), set(&[c])], P),
        None,
        "another term does not count"
    );
    h.on_acknowledged(c, lease(3, 90));
    assert_eq!(h.until(&vec![set(&[a, b, c]), set(&[c])], P), Some(at(390)));
    h.release();
    h.on_acknowledged(a, lease(3, 900));
    assert_eq!(h.until(&vec![set(&[a])], P), None);
}

#[test]
fn a_hold_that_is_resumed_counts_nothing_that_its_release_has_ended() {
    let (a, b) = (n(1), n(2));
    let both = vec![[a, b].into()];
    let mut h = Hold::resumed(3, at(100));
    for voter in [a, b] {
        h.on_acknowledged(voter, lease(3, 100)); // late: the voter has heard the release since
    }
    assert_eq!(h.until(&both, P), None);
    for voter in [a, b] {
        h.on_acknowledged(voter, lease(3, 101));
    }
    assert_eq!(h.until(&both, P), Some(at(401)));
}

#[test]
fn a_voter_whose_library_is_in_a_later_term_refuses_the_old_leader() {
    let mut p = Promise::fresh(P);
    heard(&mut p, at(0), n(1), lease(4, 0)).unwrap();
    p.note_term(5); // elected itself
    assert_eq!(
        heard(&mut p, at(1), n(1), lease(4, 1)),
        Err(Refusal::LaterTerm(5))
    );
    assert_eq!(
        p.promised_to(at(1)),
        Some(n(1)),
        "what was promised stays promised"
    );
}

#[test]
fn half_of_an_even_membership_is_no_quorum() {
    let mut h = Hold::new(1);
    h.on_acknowledged(n(1), lease(1, 5));
    assert_eq!(h.until(&vec![[n(1), n(2)].into()], P), None);
    assert_eq!(h.until(&vec![], P), None);
    assert_eq!(h.until(&vec![BTreeSet::new()], P), None);
}
