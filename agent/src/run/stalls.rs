//! When this machine ran nothing: a thread that wants to run ten times a second sees that it did not.
//!
//! That is what a hypervisor's snapshot or move looks like from inside, and a suspend. The lease does not rest on it:
//! clocks that go on say that it is over, and the kernel's fence with them. This is for people, who look for why an
//! address moved.

use crate::outside::Consensus;
use crate::sys::platform::process::prefer_this_thread;
use crate::sys::{awake_now, boot_now, wall_now};
use ha_core::command::{Command, Stamped};
use ha_core::controller::{Controller, Stalls};
use ha_core::events::What;
use ha_core::id::NodeId;
use ha_core::state::Facts;
use ha_core::time::{Instant, Timestamp};
use ha_node::driver::DriverHandle;
use ha_node::outside::Outside;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The kind of the event.
const KIND: &str = "stall";
const EVERY: Duration = Duration::from_millis(100);
/// Later than this, more than this thread was in want of a processor: no lease of a node on one site outlives it.
const LATE: Duration = Duration::from_millis(500);
/// Between two looks of the leader at what the nodes report.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A new leader does not tell of old ones.
const TOLD_WITHIN: Duration = Duration::from_secs(300);

/// What the last beats were, by both clocks.
#[derive(Clone, Copy, Debug)]
struct Beat {
    boot: Instant,
    awake: Instant,
}

/// A time in which nothing ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    length: Duration,
    /// How much of it the machine was suspended: clocks that do not count that stood still.
    suspended: Duration,
}

impl Beat {
    fn now() -> Beat {
        Beat {
            boot: boot_now(),
            awake: awake_now(),
        }
    }

    /// The stall between two beats, if there was one.
    fn until(self, next: Beat) -> Option<Stall> {
        let passed = next.boot.saturating_since(self.boot);
        let awake = next.awake.saturating_since(self.awake);
        // It began somewhere in the pause between the two.
        (passed >= EVERY + LATE).then(|| Stall {
            length: passed - EVERY / 2,
            suspended: passed.saturating_sub(awake),
        })
    }
}

impl Stall {
    fn words(&self) -> String {
        let seconds = |d: Duration| d.as_secs_f64();
        let mut text = format!("stalled for {:.1} s", seconds(self.length));
        if self.suspended >= LATE {
            text += &format!(", suspended for {:.1} s of it", seconds(self.suspended));
        }
        text + ": this machine ran nothing (a snapshot or move by the hypervisor?)"
    }
}

/// What was seen since the agent started.
#[derive(Clone, Debug, Default)]
pub struct SeenStalls(Arc<Mutex<Stalls>>);

impl SeenStalls {
    /// Starts the thread, which ends soon after the last copy of this.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn watch() -> io::Result<SeenStalls> {
        let seen = SeenStalls::default();
        let mine = Arc::downgrade(&seen.0);
        let beat = move || {
            // Where it may not be preferred, a busy machine looks like one that stalled for as long.
            prefer_this_thread().ok();
            let mut last = Beat::now();
            while let Some(seen) = mine.upgrade() {
                let now = Beat::now();
                if let Some(stall) = last.until(now) {
                    tracing::warn!("{}", stall.words());
                    add(&seen, stall);
                }
                last = now;
                drop(seen);
                std::thread::sleep(EVERY);
            }
        };
        std::thread::Builder::new()
            .name("ha-heartbeat".to_owned())
            .spawn(beat)?;
        Ok(seen)
    }

    pub fn get(&self) -> Stalls {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(seen: &Mutex<Stalls>, stall: Stall) {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    *seen = Stalls {
        count: seen.count.saturating_add(1),
        last_at: wall_now(),
        last_for: stall.length,
    };
}

/// On the leader: writes what the nodes report down in the cluster's events, until the driver has ended. What a leader
/// before this one wrote down is not written again.
pub async fn note(outside: Outside, consensus: Consensus, driver: DriverHandle) {
    let mut told = BTreeMap::new();
    loop {
        outside.clock.sleep(LOOK_EVERY).await;
        let facts = consensus.read().facts;
        let ids: Vec<NodeId> = facts.members.keys().copied().collect();
        let of = move |c: &Controller| {
            let reported = |id| Some((id, c.report_of(id)?.stalls));
            ids.into_iter().filter_map(reported).collect::<Vec<_>>()
        };
        let Some(reported) = driver.ask(of).await else {
            return;
        };
        let now = outside.clock.wall();
        for (id, stalls) in reported {
            let age = Duration::from_millis(now.0.saturating_sub(stalls.last_at.0));
            if stalls.count == 0 || age > TOLD_WITHIN || told.get(&id) == Some(&stalls) {
                continue;
            }
            let text = words(&facts.node_name(id), &stalls);
            if is_written(&facts, &text) || write(&consensus, now, text).await {
                told.insert(id, stalls);
            }
        }
    }
}

fn words(node: &str, stalls: &Stalls) -> String {
    let length = stalls.last_for.as_secs_f64();
    let number = stalls.count;
    format!(
        "{node} stalled for {length:.1} s (number {number} since its agent started): its machine ran nothing"
    )
}

fn is_written(facts: &Facts, text: &str) -> bool {
    facts.events.after(0).any(|e| match &e.what {
        What::Note { kind, text: t } => kind == KIND && t == text,
        _ => false,
    })
}

/// Whether it is done: only a leader can.
async fn write(consensus: &Consensus, at: Timestamp, text: String) -> bool {
    let (kind, by) = (KIND.to_owned(), String::new());
    let command = Command::Note { kind, text };
    consensus
        .propose(Stamped {
            at,
            by,
            command,
            request: None,
        })
        .await
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_a_stall_from_half_a_second_and_says_whether_the_machine_was_suspended() {
        let at = |ms| Instant::from(Duration::from_millis(ms));
        let start = Beat {
            boot: at(9000),
            awake: at(7000),
        };
        // Both clocks, in milliseconds; how long it is said to have been, and suspended.
        let rows = [
            (100, 100, None),
            (599, 599, None),
            (599, 100, None),
            (2050, 2050, Some((2000, 0))),
            (60_050, 100, Some((60_000, 59_950))),
        ];
        for (boot, awake, expected) in rows {
            let next = Beat {
                boot: at(9000 + boot),
                awake: at(7000 + awake),
            };
            let stall = start.until(next);
            let found = stall.map(|s| (s.length.as_millis(), s.suspended.as_millis()));
            assert_eq!(found, expected, "{boot} {awake}");
        }
        let snapshot = start.until(Beat {
            boot: at(11_050),
            awake: at(9_050),
        });
        assert_eq!(
            snapshot.map(|s| s.words()).as_deref(),
            Some(
                "stalled for 2.0 s: this machine ran nothing (a snapshot or move by the hypervisor?)"
            )
        );
    }
}
