//! The peer under the same observer and client as the product: that the
//! harness measures real systems, and that the peer is set up well.

use std::time::Duration;

use ha_tests::client::{GapClient, many};
use ha_tests::observer::Observer;
use ha_tests::peer::{self, Adverts, Peer};
use ha_tests::require_root;
use ha_tests::system::System;

const BOUND: Duration = Duration::from_secs(20);

#[test]
fn keepalived_moves_an_address_and_the_observer_sees_exactly_one_change_of_hand() {
    require_root!("keepalived", "haproxy");
    let mut peer = Peer::start(3, Adverts::Fast);
    let vip = peer.address().ip();
    let observer = Observer::start(peer.topology(), &[vip]);
    let client = GapClient::start(peer.topology().client(1), peer.address());
    client.wait_for_service(50, BOUND);

    let old = peer.wait_for_holder(BOUND);
    peer.graceful_move(old);
    let new = peer.wait_for_other_holder(old, BOUND);
    client.wait_for_service(50, BOUND);

    let report = observer.finish();
    println!("{}\n{report}", client.finish());
    report.assert_changes_of_hand(vip, 1);
    assert_eq!(report.last_holder(vip), Some(format!("node-{new}")));
}

#[test]
fn keepalived_killed_alone_leaves_its_address_and_then_two_answer() {
    require_root!("keepalived", "haproxy");
    let mut peer = Peer::start(3, Adverts::Fast);
    let vip = peer.address().ip();
    let observer = Observer::start(peer.topology(), &[vip]);
    let old = peer.wait_for_holder(BOUND);
    many::ask(peer.topology().client(1), 10, peer.address(), BOUND);
    peer.kill_keepalived(old);
    let new = peer.wait_for_other_holder(old, BOUND);
    let both = peer.topology().who_has(vip);
    println!(
        "after kill -9 of keepalived on node-{old}, {both:?} have {vip}\n{}",
        observer.finish()
    );
    assert_eq!(
        both.len(),
        2,
        "node-{old} keeps the address that node-{new} took"
    );
}

#[test]
fn the_peer_says_what_is_missing() {
    require_root!("keepalived", "haproxy");
    assert_eq!(peer::available(), Ok(()));
}
