//! Who gets a slot, and that none is lost.

use super::*;

fn pool(max: u32) -> Arc<Pool> {
    let pool = Pool::new(Arc::default(), ServerId(1));
    pool.set(max, true);
    pool
}

fn now(pool: &Arc<Pool>) -> Slot {
    match pool.acquire(0) {
        Acquired::Now(slot) => slot,
        other => panic!("{other:?}"),
    }
}

fn later(acquired: Acquired) -> Waiting {
    match acquired {
        Acquired::Later(waiting) => waiting,
        other => panic!("{other:?}"),
    }
}

fn ready(waiting: &mut Waiting) -> Option<Slot> {
    waiting.turn.try_recv().ok()
}

#[test]
fn slots_go_to_who_waits_in_order_and_past_who_left() {
    let pool = pool(1);
    let slot = now(&pool);
    let [mut first, left, mut third] = [0; 3].map(|_| later(pool.acquire(0)));
    assert_eq!((pool.used(), pool.waiting()), (1, 3));
    drop(left);
    drop(slot);
    let slot = ready(&mut first).expect("first in line");
    assert!(ready(&mut third).is_none());
    drop(slot);
    let slot = ready(&mut third).expect("second left");
    drop((first, third));
    assert_eq!((pool.used(), pool.waiting()), (1, 0));
    drop(slot);
    assert_eq!(pool.used(), 0);
}

#[test]
fn a_slot_given_to_who_then_leaves_is_not_lost() {
    let pool = pool(1);
    let slot = now(&pool);
    let waiting = later(pool.acquire(0));
    drop(slot);
    drop(waiting);
    assert_eq!(pool.used(), 0);
    drop(now(&pool));
}

#[test]
fn the_line_is_bounded_and_more_slots_shorten_it() {
    let pool = pool(1);
    let _slot = now(&pool);
    let mut waiting = later(pool.acquire(0));
    assert!(matches!(pool.acquire(1), Acquired::Full));
    pool.set(2, true);
    assert!(ready(&mut waiting).is_some());
}

#[test]
fn without_a_maximum_there_is_always_a_slot() {
    let pool = pool(0);
    let all: Vec<Slot> = (0..1000).map(|_| now(&pool)).collect();
    assert_eq!(pool.used(), 1000);
    drop(all);
    assert_eq!(pool.used(), 0);
}

/// Two servers of one backend, with a slot each.
fn two() -> [Arc<Pool>; 2] {
    let line: Arc<Line> = Arc::default();
    [1, 2].map(|id| {
        let pool = Pool::new(line.clone(), ServerId(id));
        pool.set(1, true);
        pool
    })
}

#[test]
fn a_freed_slot_of_any_server_serves_the_oldest_that_may_use_it() {
    for (first_freed, second_freed) in [(0, 1), (1, 0)] {
        let pools = two();
        let line = pools[0].line().clone();
        let mut slots = [Some(now(&pools[0])), Some(now(&pools[1]))];
        let mut oldest = later(line.acquire_any(pools.iter(), Vec::new()));
        let mut of_its_own = later(pools[second_freed].acquire(0));
        let mut youngest = later(line.acquire_any(pools.iter(), vec![ServerId(1)]));
        assert_eq!(
            (line.waiting_for_any(), pools[second_freed].waiting()),
            (2, 1)
        );
        slots[first_freed] = None;
        let got = ready(&mut oldest).expect("any slot will do");
        assert_eq!(got.server(), Some(pools[first_freed].server));
        slots[second_freed] = None;
        let own = ready(&mut of_its_own).expect("it is older than the youngest");
        assert!(ready(&mut youngest).is_none());
        drop((got, own));
        let last = ready(&mut youngest).expect("both are free");
        assert_eq!(last.server(), Some(ServerId(2)), "the other has failed it");
    }
}

#[test]
fn a_server_that_is_closed_to_newcomers_serves_its_own_line_only() {
    let pools = two();
    let line = pools[0].line().clone();
    let (slot, _other) = (now(&pools[0]), now(&pools[1]));
    let mut any = later(line.acquire_any(pools.iter(), Vec::new()));
    pools[0].set(1, false);
    drop(slot);
    assert!(ready(&mut any).is_none(), "it drains");
    drop(now(&pools[0]));
    pools[0].set(1, true);
    assert!(ready(&mut any).is_some(), "it is back");
}

#[test]
fn no_slot_is_lost_between_threads_that_take_give_back_and_wait() {
    let pools = two();
    let line = pools[0].line().clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            let (pools, line) = (pools.clone(), line.clone());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build()
                    .expect("a runtime");
                for round in 0..2_000 {
                    let acquired = match (worker + round) % 3 {
                        0 => line.acquire_any(pools.iter(), Vec::new()),
                        n => pools[n - 1].acquire(0),
                    };
                    let slot = match acquired {
                        Acquired::Now(slot) => slot,
                        // A wake-up that is lost would be waited for until the bound of the test.
                        Acquired::Later(turn) => runtime.block_on(turn),
                        Acquired::Full => panic!("there is no bound"),
                    };
                    drop(slot);
                }
            })
        })
        .collect();
    let ended = async {
        while !workers.iter().all(std::thread::JoinHandle::is_finished) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    runtime
        .block_on(async { tokio::time::timeout(std::time::Duration::from_secs(60), ended).await })
        .expect("a slot was given back and nobody was told");
    assert_eq!((pools[0].used(), pools[1].used()), (0, 0));
    assert_eq!(line.waiting.load(SeqCst), 0);
}
