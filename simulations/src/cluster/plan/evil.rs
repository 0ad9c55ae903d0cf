//! What goes wrong beside a member that is evil: what makes the address move, and at the end, now and then, that member
//! is replaced.

use super::{Dice, Fault, Kind};

const KINDS: [Kind; 7] = [
    Kind::Cut,
    Kind::Mute,
    Kind::Deaf,
    Kind::Pause,
    Kind::Move,
    Kind::PowerLoss,
    Kind::CutPair,
];

/// The next fault from `at` on, of who leads then, and from when on the one after it may come.
pub(super) fn next(dice: &mut Dice, at: u64) -> (Vec<Fault>, u64) {
    let lasts = dice.between(100, 900);
    let kind = KINDS[dice.next(KINDS.len() as u64) as usize];
    let fault = Fault {
        at,
        kind,
        lasts,
        node: None,
        into: dice.next(60),
    };
    (vec![fault], at + lasts + dice.between(500, 2500))
}

/// The last one, half the time: the evil node, which is the last of `nodes`, is replaced.
pub(super) fn last(dice: &mut Dice, nodes: usize, length: u64) -> Option<Fault> {
    (dice.next(2) == 0).then_some(Fault {
        at: length,
        kind: Kind::Replaced,
        lasts: 500,
        node: Some(nodes),
        into: 0,
    })
}
