//! The same faults on the product and on keepalived + HAProxy, in turn, and the
//! gap that a client saw. Installs nothing; says so when the peer is not there.

use std::collections::BTreeMap;
use std::process::ExitCode;

use ha_tests::bench::faults::{Fault, Results, Series, series};
use ha_tests::bench::{option, refuse_unknown};
use ha_tests::cluster::{Cluster, Plan, Timing, agent_program};
use ha_tests::guard;
use ha_tests::peer::{self, Adverts, Peer};
use ha_tests::system::System;

const USAGE: &str = "usage: bench-failover [--runs N] [--timing lan|fast] [--only ours|theirs] \
[--fault machine-lost|process-killed|process-stopped|graceful-move] [--output table|json]

Needs root (network namespaces). The gap is the longest time between the starts of
two consecutive successful connections of a client that makes one every 5 ms.
theirs: keepalived (advert_int 1 with --timing lan, 0.1 with fast) + HAProxy.";

fn main() -> ExitCode {
    refuse_unknown(
        &["--runs", "--timing", "--only", "--fault", "--output"],
        USAGE,
    );
    if !guard::ready(&["ip", "nft"]) {
        return ExitCode::from(3);
    }
    let runs = option("--runs").map_or(10, |text| text.parse().expect("--runs takes a number"));
    let fast = option("--timing").as_deref() == Some("fast");
    let only = option("--only");
    let wanted = option("--fault");
    let faults: Vec<_> = Fault::ALL
        .into_iter()
        .filter(|fault| wanted.as_deref().is_none_or(|name| name == fault.name()))
        .collect();

    if only.as_deref() != Some("theirs") {
        // Said now and not after half an hour of the peer's runs.
        agent_program();
    }
    let mut results = BTreeMap::<&str, Results>::new();
    if only.as_deref() != Some("ours") {
        match peer::available() {
            Ok(()) => {
                let adverts = if fast {
                    Adverts::Fast
                } else {
                    Adverts::Default
                };
                results.insert(
                    "theirs",
                    measure(&mut Peer::start(3, adverts), &faults, runs),
                );
            }
            Err(missing) => eprintln!("theirs: left out, {missing}"),
        }
    }
    if only.as_deref() != Some("theirs") {
        let timing = if fast { Timing::Fast } else { Timing::Lan };
        results.insert(
            "ours",
            measure(&mut Cluster::start(Plan::timed(timing)), &faults, runs),
        );
    }
    match option("--output").as_deref() {
        Some("json") => println!(
            "{}",
            serde_json::to_string_pretty(&results).expect("plain data")
        ),
        _ => print_table(&results, &faults),
    }
    let violated = results
        .get("ours")
        .is_some_and(|ours| ours.values().any(|series| series.two_holders > 0));
    if violated {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn measure(system: &mut dyn System, faults: &[Fault], runs: usize) -> Results {
    eprintln!("{}", system.name());
    faults
        .iter()
        .map(|&fault| (fault.name().to_owned(), series(system, fault, runs)))
        .collect()
}

fn print_table(results: &BTreeMap<&str, Results>, faults: &[Fault]) {
    let head = [
        "fault",
        "system",
        "runs",
        "gap median",
        "p99",
        "max",
        "trouble",
        "gone max",
        "failed",
        "no connect",
        "two holders",
    ];
    let row = |cells: [String; 11]| {
        let [fault, system, runs, rest @ ..] = cells;
        println!(
            "{fault:<15} {system:<7} {runs:>5} {}",
            rest.map(|cell| format!("{cell:>12}")).concat()
        );
    };
    row(head.map(String::from));
    let ms = |value: f64| format!("{value:.1} ms");
    for fault in faults {
        let of = |system: &str| {
            results
                .get(system)
                .and_then(|found| found.get(fault.name()))
        };
        let name = || fault.name().to_owned();
        for (system, found) in ["ours", "theirs"]
            .into_iter()
            .filter_map(|system| Some((system, of(system)?)))
        {
            let (gap, count) = (found.gap, found.runs.len().to_string());
            let counts = [found.failed, found.never_connected, found.two_holders]
                .map(|count| count.to_string());
            let [failed, never, two] = counts;
            let gone = if found.kept > 0 {
                format!("kept {}x", found.kept)
            } else {
                ms(found.gone.max)
            };
            row([
                name(),
                system.into(),
                count,
                ms(gap.median),
                ms(gap.p99),
                ms(gap.max),
                ms(found.trouble.median),
                gone,
                failed,
                never,
                two,
            ]);
        }
        if let (Some(ours), Some(theirs)) = (of("ours"), of("theirs")) {
            let ratio = |value: fn(&Series) -> f64| format!("{:.1}x", value(theirs) / value(ours));
            let (median, p99, max) = (
                ratio(|s| s.gap.median),
                ratio(|s| s.gap.p99),
                ratio(|s| s.gap.max),
            );
            let trouble = ratio(|s| s.trouble.median);
            row([
                name(),
                "ratio".into(),
                String::new(),
                median,
                p99,
                max,
                trouble,
                String::new(),
                String::new(),
                String::new(),
                String::new(),
            ]);
        }
    }
    println!(
        "gap: longest time between the starts of two successful connections; trouble: median time from the first failed one to the last; gone: from the fault until the old holder's kernel dropped the address; no connect: failed connections that never were connected"
    );
}
