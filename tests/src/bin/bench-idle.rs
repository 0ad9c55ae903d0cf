//! What an agent costs while nothing happens: processor time, memory, threads and how often it wakes up, for the leader
//! and for each follower of three nodes.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use ha_tests::bench::usage::{Memory, Usage};
use ha_tests::bench::{option, refuse_unknown};
use ha_tests::cluster::{Cluster, Plan, Timing, agent_program};
use ha_tests::guard;
use ha_tests::turn::Turn;
use serde::Serialize;

const USAGE: &str = "usage: bench-idle [--seconds N] [--settle N] [--timing lan|fast] [--output table|json]

Needs root (network namespaces). Three nodes with the print ports, a server beside each, no client. Processor time is
that of the agent and of its warden, in percent of one core; a busy machine does not change it by much.
Ends with 1 when the leader takes more than 1.5 %, a follower more than 0.8 %, or one of them more than 30 MiB (lan).";

/// Percent of a core, and MiB.
const LEADER_MAX: f64 = 1.5;
const FOLLOWER_MAX: f64 = 0.8;
const MEMORY_MAX: f64 = 30.0;

#[derive(Serialize)]
struct Row {
    node: String,
    role: &'static str,
    cpu_percent: f64,
    /// Of the warden, its helper that runs as a process of its own.
    warden_cpu_percent: f64,
    rss_mib: f64,
    /// What is this process's alone: not the pages of the program.
    private_mib: f64,
    threads: usize,
    wakeups_per_second: f64,
    /// By thread, the busiest first: percent of a core and wakeups in a second.
    by_thread: Vec<(String, f64, f64)>,
}

fn main() -> ExitCode {
    refuse_unknown(&["--seconds", "--settle", "--timing", "--output"], USAGE);
    if !guard::ready(&["ip", "nft"]) {
        return ExitCode::from(3);
    }
    let seconds = |name: &str, default: u64| {
        let given = option(name).map(|text| {
            text.parse()
                .unwrap_or_else(|_| panic!("{name} takes a number"))
        });
        Duration::from_secs(given.unwrap_or(default))
    };
    let fast = option("--timing").as_deref() == Some("fast");
    agent_program();
    let rows = measure(
        if fast { Timing::Fast } else { Timing::Lan },
        seconds("--settle", 10),
        seconds("--seconds", 60),
    );
    if option("--output").as_deref() == Some("json") {
        println!(
            "{}",
            serde_json::to_string_pretty(&rows).expect("plain data")
        );
    } else {
        print_table(&rows);
    }
    if fast || rows.iter().all(Row::is_modest) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Others may compile meanwhile: processor time is counted, not the clock's.
fn measure(timing: Timing, settle: Duration, over: Duration) -> Vec<Row> {
    let cluster = Cluster::start(Plan {
        turn: Turn::BesideOthers,
        ..Plan::timed(timing)
    });
    let leader = cluster.wait_for_agreed_holder(Duration::from_secs(20));
    eprintln!("node-{leader} leads; settling for {settle:?}, then {over:?}");
    std::thread::sleep(settle);
    let pids = [1, 2, 3].map(|node| cluster.agent(node).pid());
    let (before, began) = (pids.map(Usage::of), Instant::now());
    std::thread::sleep(over);
    let took = began.elapsed();
    let rows = (1..=3)
        .zip(pids.into_iter().zip(before))
        .map(|(node, (pid, before))| {
            let (used, memory) = (Usage::of(pid).since(&before), Memory::of(pid));
            Row {
                node: format!("node-{node}"),
                role: if node == leader { "leader" } else { "follower" },
                cpu_percent: percent(used.cpu, took),
                warden_cpu_percent: percent(used.children_cpu, took),
                rss_mib: memory.resident_mib,
                private_mib: memory.private_mib,
                threads: used.threads.len(),
                wakeups_per_second: used.threads.iter().map(|t| t.wakeups as f64).sum::<f64>()
                    / took.as_secs_f64(),
                by_thread: used
                    .threads
                    .iter()
                    .filter(|t| t.wakeups > 0)
                    .map(|t| {
                        (
                            t.name.clone(),
                            percent(t.cpu, took),
                            t.wakeups as f64 / took.as_secs_f64(),
                        )
                    })
                    .collect(),
            }
        });
    let rows = rows.collect();
    assert_eq!(
        cluster.wait_for_agreed_holder(Duration::from_secs(20)),
        leader,
        "leadership moved meanwhile: nothing was measured"
    );
    rows
}

fn percent(cpu: Duration, of: Duration) -> f64 {
    100.0 * cpu.as_secs_f64() / of.as_secs_f64()
}

impl Row {
    fn is_modest(&self) -> bool {
        let max = if self.role == "leader" {
            LEADER_MAX
        } else {
            FOLLOWER_MAX
        };
        self.cpu_percent + self.warden_cpu_percent <= max && self.rss_mib <= MEMORY_MAX
    }
}

fn print_table(rows: &[Row]) {
    println!(
        "{:<8} {:<9} {:>7} {:>8} {:>9} {:>12} {:>8} {:>10}",
        "node", "role", "cpu", "warden", "resident", "its own", "threads", "wakeups/s"
    );
    for r in rows {
        println!(
            "{:<8} {:<9} {:>5.2} % {:>6.2} % {:>5.1} MiB {:>8.1} MiB {:>8} {:>10.0}",
            r.node,
            r.role,
            r.cpu_percent,
            r.warden_cpu_percent,
            r.rss_mib,
            r.private_mib,
            r.threads,
            r.wakeups_per_second
        );
    }
    for r in rows {
        println!("\n{} ({}), by thread:", r.node, r.role);
        for (name, cpu, wakeups) in &r.by_thread {
            println!("  {name:<16} {cpu:>5.2} % {wakeups:>8.1} wakeups/s");
        }
    }
}
