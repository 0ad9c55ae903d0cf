//! Whether a node knows of a majority.
use super::*;

#[test]
fn a_node_that_hears_no_majority_knows_since_when() {
    let mut node = Node::new(Role::Server);
    node.wait(5000);
    assert_eq!((node.c.last_in_touch(), node.out()), (at(0), true));
    node.tell(Event::Promised { to: n(2) });
    node.wait(600);
    assert_eq!((node.c.last_in_touch(), node.out()), (at(5000), false));
    node.wait(1);
    assert!(node.out(), "a follower that hears no leader");

    let lease = sent(&node.lead(5)).unwrap();
    node.answer(1, lease);
    node.answer(2, lease);
    let led = node.now;
    assert_eq!((node.c.last_in_touch(), node.out()), (at(led), false));
    node.wait(EVERY);
    node.wait(800);
    assert!(node.out(), "a leader whom nobody answers");
}
