//! Histories that could have been, and histories that must be rejected.

use super::model::*;
use super::*;

fn call<O>(from: u64, to: u64, op: O) -> Call<O> {
    let to = (to > 0).then_some(to);
    Call { op, from, to }
}

fn orders(history: &[Call<OrderOp>]) -> bool {
    match check(&OrderOfNode, history) {
        Verdict::Linearizable => true,
        Verdict::Not(_) => false,
        Verdict::Undecided(n) => panic!("not decided in {n}"),
    }
}

use OrderOp::{Read, Set};
use Word::{Drain, Maint, Ready};

#[test]
fn one_after_the_other_is_and_a_read_of_what_was_is_not() {
    let good = [
        call(1, 2, Read(Ready, 0)),
        call(3, 4, Set(Drain)),
        call(5, 6, Read(Drain, 1)),
        call(7, 8, Set(Ready)),
        call(9, 10, Read(Ready, 2)),
    ];
    assert!(orders(&good));
    let mut stale = good.to_vec();
    stale.push(call(11, 12, Read(Drain, 1)));
    assert!(!orders(&stale));
    // The state would do; the number says that it is that of before.
    let mut stale = good.to_vec();
    stale.push(call(11, 12, Read(Ready, 0)));
    assert!(!orders(&stale));
}

#[test]
fn at_the_same_time_either_goes_first_and_both_readers_agree() {
    let together = [call(1, 10, Set(Drain)), call(2, 9, Set(Maint))];
    let reads = |first, second| {
        let mut all = together.to_vec();
        all.extend([call(11, 12, Read(first, 4)), call(13, 14, Read(second, 4))]);
        orders(&all)
    };
    assert!(reads(Drain, Drain) && reads(Maint, Maint));
    assert!(!reads(Drain, Maint) && !reads(Maint, Drain) && !reads(Ready, Ready));
}

#[test]
fn what_was_never_answered_may_come_late_once_or_never() {
    let ambiguous = call(1, 0, Set(Drain));
    let never = [ambiguous.clone(), call(2, 3, Read(Ready, 0))];
    assert!(orders(&never));
    let late = [
        ambiguous.clone(),
        call(2, 3, Read(Ready, 0)),
        call(4, 5, Read(Drain, 1)),
    ];
    assert!(orders(&late));
    let twice = [
        ambiguous.clone(),
        call(2, 3, Read(Drain, 1)),
        call(4, 5, Set(Ready)),
        call(6, 7, Read(Ready, 2)),
        call(8, 9, Read(Drain, 3)),
    ];
    assert!(!orders(&twice), "one call has one effect");
    let early = [call(1, 2, Read(Drain, 1)), call(3, 0, Set(Drain))];
    assert!(!orders(&early), "before it was asked for");
}

#[test]
fn an_order_that_was_acknowledged_and_lost_is_found() {
    let lost = [
        call(1, 2, Set(Drain)),
        call(3, 4, Read(Ready, 0)),
        call(5, 6, Set(Maint)),
        call(7, 8, Read(Maint, 2)),
    ];
    assert!(!orders(&lost));
}

/// Many that were never answered do not make it slow, whether or not the history could have been.
#[test]
fn thousands_of_calls_a_fifth_of_them_unanswered_are_decided() {
    let mut history = Vec::new();
    let (mut at, mut number) = (10, 0);
    let words = [Drain, Maint, Ready];
    for turn in 0..3000 {
        let word = words[turn % 3];
        if turn % 5 == 0 {
            history.push(call(at, 0, Set(word)));
            at += 10;
            // Every second one took effect.
            if turn % 2 == 1 {
                continue;
            }
        } else {
            // With somebody else's beside it, which it undoes.
            history.push(call(at, at + 30, Set(word)));
            history.push(call(at + 1, at + 9, Set(words[(turn + 1) % 3])));
            number += 1;
            at += 40;
        }
        number += 1;
        history.push(call(at, at + 5, Read(word, number)));
        at += 10;
    }
    assert!(orders(&history));
    let last = history.len() - 3;
    let stale = Call {
        op: Read(Maint, 1),
        ..call(at, at + 1, Set(Ready))
    };
    history.insert(last, stale);
    assert!(!orders(&history));
}

fn versions(history: &[Call<ConfigOp>]) -> Verdict {
    check(&Versions { first: 1 }, history)
}

#[test]
fn a_configuration_is_counted_and_goes_back_to_what_it_was() {
    use ConfigOp::{Apply, RollBack, Says, Version};
    let good = vec![
        call(1, 2, Apply(7, Some(2))),
        call(3, 4, Apply(7, Some(2))),
        call(5, 6, Says(2, 7)),
        call(7, 8, RollBack(Some(3))),
        call(9, 10, Says(3, 1)),
        call(11, 0, RollBack(None)),
        call(12, 13, Version(4)),
        call(14, 15, Says(4, 7)),
    ];
    assert_eq!(versions(&good), Verdict::Linearizable);
    let bad = |from, op| {
        let mut history = good.clone();
        history.push(call(from, from + 1, op));
        matches!(versions(&history), Verdict::Not(_))
    };
    assert!(bad(16, Version(3)), "stale");
    assert!(bad(16, Says(4, 1)), "another text");
    assert!(bad(16, Apply(8, Some(6))), "a version was left out");
    assert!(bad(16, RollBack(Some(4))), "done before");
}
