//! One fault again and again on one system, with a client that asks every 5 ms:
//! what the client noticed, each time, and whether the observer agreed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Figures;
use crate::client::GapClient;
use crate::netns::Machine;
use crate::observer::Observer;
use crate::system::System;

const BOUND: Duration = Duration::from_secs(40);
const STEADY: usize = 100;
const KEPT: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(40);

/// What is done to the holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The power of its machine is cut.
    MachineLost,
    /// Every process of the system on it is killed; its servers live.
    ProcessKilled,
    /// Every process of the system on it is stopped and goes on when the address is elsewhere.
    ProcessStopped,
    /// The operator moves the address.
    GracefulMove,
}

impl Fault {
    /// All, in the order of the table.
    pub const ALL: [Fault; 4] = [
        Fault::MachineLost,
        Fault::ProcessKilled,
        Fault::ProcessStopped,
        Fault::GracefulMove,
    ];

    /// Its name in tables and arguments.
    pub fn name(self) -> &'static str {
        match self {
            Fault::MachineLost => "machine-lost",
            Fault::ProcessKilled => "process-killed",
            Fault::ProcessStopped => "process-stopped",
            Fault::GracefulMove => "graceful-move",
        }
    }
}

/// One run of a fault.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Longest time between the starts of two consecutive successes, in milliseconds.
    pub gap_ms: f64,
    /// The same between their ends: late answers count.
    pub stall_ms: f64,
    /// From the first connection that failed to the last one, in milliseconds: service may come back piecemeal.
    pub trouble_ms: f64,
    /// From the fault until the kernel of the old holder no longer had the address, in milliseconds;
    /// nothing when it kept it for 3 s. Of a machine without power: 0.
    pub gone_ms: Option<f64>,
    pub failed: usize,
    /// How they failed, and how many.
    pub failures: BTreeMap<String, usize>,
    /// Those of them that never were connected.
    pub never_connected: usize,
    /// The client's own longest pause: noise of the machine, in milliseconds.
    pub own_pause_ms: f64,
    /// Who had the address before and after.
    pub moved: (u8, u8),
    /// Whether the client's server was on the node that was hit.
    pub server_was_hit: bool,
    /// Pairs of nodes that answered at once.
    pub two_holders: usize,
}

/// All runs of one fault on one system.
#[derive(Clone, Debug, Serialize)]
pub struct Series {
    pub gap: Figures,
    pub stall: Figures,
    /// From the first failed connection to the last.
    pub trouble: Figures,
    /// From the fault until the old holder's kernel dropped the address, where it did.
    pub gone: Figures,
    /// Runs in which it did not within 3 s.
    pub kept: usize,
    /// Failed connections over all runs.
    pub failed: usize,
    /// Those of them that never were connected.
    pub never_connected: usize,
    /// Runs in which two nodes answered at once.
    pub two_holders: usize,
    pub runs: Vec<Run>,
}

/// Runs a fault so many times, saying each on standard error.
pub fn series(system: &mut dyn System, fault: Fault, runs: usize) -> Series {
    let done: Vec<_> = (1..=runs)
        .map(|number| {
            let run = once(system, fault);
            let (Run { gap_ms, failed, failures, trouble_ms, .. }, (from, to)) = (&run, run.moved);
            let name = fault.name();
            eprintln!("  {name:<15} {number:>3}/{runs}  node-{from} -> node-{to}  gap {gap_ms:7.1} ms, {failed} failed within {trouble_ms:.0} ms {failures:?}");
            run
        })
        .collect();
    let figures = |value: fn(&Run) -> f64| {
        Figures::of(
            done.iter()
                .map(|run| Duration::from_secs_f64(value(run) / 1000.0)),
        )
    };
    Series {
        gap: figures(|run| run.gap_ms),
        stall: figures(|run| run.stall_ms),
        trouble: figures(|run| run.trouble_ms),
        gone: Figures::of(
            done.iter()
                .filter_map(|run| run.gone_ms)
                .map(|ms| Duration::from_secs_f64(ms / 1000.0)),
        ),
        kept: done.iter().filter(|run| run.gone_ms.is_none()).count(),
        failed: done.iter().map(|run| run.failed).sum(),
        never_connected: done.iter().map(|run| run.never_connected).sum(),
        two_holders: done.iter().filter(|run| run.two_holders > 0).count(),
        runs: done,
    }
}

fn once(system: &mut dyn System, fault: Fault) -> Run {
    let old = system.wait_for_holder(BOUND);
    let observer = Observer::start(system.topology(), &[system.address().ip()]);
    let client = GapClient::start(system.topology().client(1), system.address());
    client.wait_for_service(STEADY, BOUND);
    let server = client
        .history()
        .servers()
        .into_iter()
        .max_by_key(|entry| entry.1)
        .map(|entry| entry.0);
    let at = match fault {
        Fault::MachineLost => system.kill_machine(old),
        Fault::ProcessKilled => system.kill_process(old),
        Fault::ProcessStopped => system.stop_process(old),
        Fault::GracefulMove => system.graceful_move(old),
    };
    let (topology, address) = (system.topology(), system.address().ip());
    let (new, gone) = std::thread::scope(|scope| {
        let gone = scope.spawn(|| gone_after(topology.node(old), address, at));
        let new = system.wait_for_other_holder(old, BOUND);
        client.wait_for_service(STEADY, BOUND);
        (new, gone.join().expect("it looks at addresses"))
    });
    if fault == Fault::ProcessStopped {
        // Watched while it wakes: that is when it could answer.
        system.restore(old);
        client.wait_for_service(STEADY, BOUND);
    }
    let report = observer.finish();
    let history = client.finish();
    let gap = history.gap();
    if fault != Fault::ProcessStopped {
        system.restore(old);
    }
    Run {
        gap_ms: gap.gap.as_secs_f64() * 1000.0,
        stall_ms: gap.stall.as_secs_f64() * 1000.0,
        gone_ms: gone.map(|after| after.as_secs_f64() * 1000.0),
        trouble_ms: history.trouble().as_secs_f64() * 1000.0,
        failed: gap.failed,
        failures: history
            .failures()
            .into_iter()
            .map(|(outcome, count)| (format!("{outcome:?}"), count))
            .collect(),
        never_connected: history
            .failures()
            .iter()
            .filter(|(outcome, _)| outcome.never_connected())
            .map(|(_, count)| count)
            .sum(),
        own_pause_ms: history.own_pause.as_secs_f64() * 1000.0,
        moved: (old, new),
        server_was_hit: server == Some(format!("server-{old}")),
        two_holders: report.violations().len(),
    }
}

/// How long after the fault the machine's kernel dropped the address.
fn gone_after(machine: &Machine, address: IpAddr, fault: Instant) -> Option<Duration> {
    while fault.elapsed() < KEPT {
        if !machine.is_on() || !machine.has_address(address) {
            return Some(if machine.is_on() {
                fault.elapsed()
            } else {
                Duration::ZERO
            });
        }
        std::thread::sleep(LOOK);
    }
    None
}

/// The results of one system: series by the name of the fault.
pub type Results = BTreeMap<String, Series>;
