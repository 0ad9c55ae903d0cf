//! What the plain data knows of itself.

use super::*;

#[test]
fn port_ranges_overlap_when_they_share_a_port() {
    let r = |first, last| PortRange { first, last };
    for (a, b, overlap) in [
        (r(1, 1), r(2, 2), false),
        (r(1, 5), r(5, 9), true),
        (r(3, 4), r(1, 9), true),
        (r(1, 4), r(5, 9), false),
    ] {
        assert_eq!(
            (a.overlaps(b), b.overlaps(a)),
            (overlap, overlap),
            "{a} {b}"
        );
    }
}
