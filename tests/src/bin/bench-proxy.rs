//! The product's proxy against HAProxy, both in front of one server on one
//! loopback, on the same processors, in alternating short rounds.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use ha_tests::bench::load::{self, Work};
use ha_tests::bench::proxies::{Carries, Peer, Proxy, SERVER_PORT};
use ha_tests::bench::{echo, median, option, refuse_unknown};
use ha_tests::netns::Topology;
use ha_tests::turn::Turn;
use ha_tests::{guard, sys};
use serde::Serialize;

const USAGE: &str = "usage: bench-proxy [--rounds N] [--seconds S] [--workers 1|2] [--only ours|theirs] [--haproxy PATH] [--output table|json]

Needs root (a network namespace) and haproxy, as it is installed or named with --haproxy; it runs with
`option splice-auto`, as its own experts configure it. `copying` is HAProxy without it, for throughput only. With one worker the proxy has processor 0,
load and server have processor 1; with two everything shares both. Rounds alternate
ours, theirs, ours, ... and the ratio is the median of the rounds' ratios. `direct` is
without any proxy. `per cpu` is units per second of processor time that the proxy used.";

#[derive(Serialize)]
struct Row {
    workers: usize,
    work: &'static str,
    unit: &'static str,
    direct: f64,
    ours: Option<Side>,
    theirs: Option<Side>,
    /// Ours through theirs, the median of the rounds.
    ratio: Option<f64>,
    /// The same per second of processor time.
    ratio_per_cpu: Option<f64>,
    copying: Option<Side>,
    /// Ours through HAProxy's without splice.
    ratio_copying: Option<f64>,
}

/// What a benchmark was run against, and what came of it.
#[derive(Serialize)]
struct Report {
    haproxy: Option<Against>,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Against {
    version: String,
    settings: String,
}

#[derive(Clone, Copy, Serialize)]
struct Side {
    rate: f64,
    per_cpu: f64,
    failures: u64,
}

fn main() -> ExitCode {
    refuse_unknown(
        &[
            "--rounds",
            "--seconds",
            "--workers",
            "--only",
            "--haproxy",
            "--output",
        ],
        USAGE,
    );
    let only = option("--only").unwrap_or_default();
    let named = option("--haproxy");
    let mut tools = vec!["ip", "nft"];
    tools.extend((only != "ours" && named.is_none()).then_some("haproxy"));
    if !guard::ready(&tools) {
        return ExitCode::from(3);
    }
    let peer = (only != "ours").then(|| Peer::find(named.clone()));
    let Some(peer) = peer.map_or(Some(None), |found| found.map(Some)) else {
        eprintln!("--haproxy {}: no such program", named.unwrap_or_default());
        return ExitCode::from(2);
    };
    let rounds =
        option("--rounds").map_or(5, |text| text.parse().expect("--rounds takes a number"));
    let seconds =
        option("--seconds").map_or(2.0, |text| text.parse().expect("--seconds takes a number"));
    let time = Duration::from_secs_f64(seconds);
    let wanted = option("--workers");
    let topology = Topology::new(1, 0, Turn::Alone);
    // Connections that are closed but kept in mind would otherwise fill memory, not the measure.
    topology
        .node(1)
        .sysctl("net/ipv4/tcp_max_tw_buckets", "5000");
    topology
        .node(1)
        .sysctl("net/ipv4/ip_local_port_range", "1024 65000");
    let rows: Vec<_> = [1, 2]
        .into_iter()
        .filter(|workers| {
            wanted
                .as_deref()
                .is_none_or(|text| text == workers.to_string())
        })
        .flat_map(|workers| measure(&topology, workers, (&only, peer.as_ref()), rounds, time))
        .collect();
    let haproxy = peer.map(|peer| Against {
        version: peer.version(),
        settings: Peer::settings(
            1,
            ([127, 0, 0, 1], SERVER_PORT).into(),
            Carries::Splicing,
            "ADDRESS",
        ),
    });
    match option("--output").as_deref() {
        Some("json") => println!(
            "{}",
            serde_json::to_string_pretty(&Report { haproxy, rows }).expect("plain data")
        ),
        _ => {
            if let Some(haproxy) = haproxy {
                println!("against {}, with\n\n{}", haproxy.version, haproxy.settings);
            }
            print_table(&rows);
        }
    }
    ExitCode::SUCCESS
}

fn measure(
    topology: &Topology,
    workers: usize,
    (only, peer): (&str, Option<&Peer>),
    rounds: usize,
    time: Duration,
) -> Vec<Row> {
    let machine = topology.node(1);
    let (proxy_cpus, load_cpus): (&[usize], &[usize]) = if workers == 1 {
        (&[0], &[1])
    } else {
        (&[0, 1], &[0, 1])
    };
    let server = SocketAddr::from(([127, 0, 0, workers as u8], SERVER_PORT));
    let namespace = machine.namespace().to_owned();
    // Load and server run on threads born inside: they inherit namespace and processors.
    let inside = || {
        sys::enter_netns(&namespace).expect("the namespace is there");
        sys::pin(load_cpus).expect("processors exist");
        echo::serve(server, workers).expect("the server listens");
        let ours = (only != "theirs").then(|| Proxy::ours(machine, workers, proxy_cpus, server));
        let theirs = |carries| {
            peer.map(|peer| Proxy::theirs(machine, peer, carries, workers, proxy_cpus, server))
        };
        let (theirs, copying) = (theirs(Carries::Splicing), theirs(Carries::Copying));
        let works = [
            (Work::Download(16), "throughput", "MB/s", 1e6),
            (Work::Requests(64), "small requests", "1/s", 1.0),
            (Work::Connections(64), "new connections", "1/s", 1.0),
        ];
        works.map(|(work, name, unit, scale)| {
            let mut pairs = vec![];
            for round in 1..=rounds {
                let sides = [Some(&ours), Some(&theirs), matches!(work, Work::Download(_)).then_some(&copying)];
                let pair = sides.map(|proxy| proxy?.as_ref().map(|proxy| one(proxy, work, time, scale)));
                let shown = pair.map(|side| side.map_or("-".into(), |side: Side| format!("{:.0}", side.rate)));
                eprintln!("  {workers} worker(s), {name}, round {round}/{rounds}: ours {} theirs {} {unit}", shown[0], shown[1]);
                pairs.push(pair);
            }
            let direct = load::run(work, server, time).0 / scale;
            row(workers, name, unit, direct, &pairs)
        })
    };
    std::thread::scope(|scope| {
        scope
            .spawn(inside)
            .join()
            .expect("a benchmark does not panic")
            .into()
    })
}

fn one(proxy: &Proxy, work: Work, time: Duration, scale: f64) -> Side {
    let before = proxy.cpu();
    let (rate, failures) = load::run(work, proxy.address, time);
    let used = (proxy.cpu() - before).as_secs_f64() / time.as_secs_f64();
    Side {
        rate: rate / scale,
        per_cpu: rate / scale / used.max(0.01),
        failures,
    }
}

fn row(
    workers: usize,
    work: &'static str,
    unit: &'static str,
    direct: f64,
    pairs: &[[Option<Side>; 3]],
) -> Row {
    let side = |index: usize| {
        let rounds: Vec<_> = pairs.iter().filter_map(|pair| pair[index]).collect();
        let middle =
            |value: fn(&Side) -> f64| median(&rounds.iter().map(value).collect::<Vec<_>>());
        let failures = rounds.iter().map(|side| side.failures).sum();
        (!rounds.is_empty()).then(|| Side {
            rate: middle(|s| s.rate),
            per_cpu: middle(|s| s.per_cpu),
            failures,
        })
    };
    let ratio = |other: usize, value: fn(&Side) -> f64| {
        let both = pairs
            .iter()
            .filter_map(|pair| pair[0].as_ref().zip(pair[other].as_ref()));
        let ratios: Vec<_> = both
            .map(|(ours, theirs)| value(ours) / value(theirs))
            .collect();
        (!ratios.is_empty()).then(|| median(&ratios))
    };
    Row {
        workers,
        work,
        unit,
        direct,
        ours: side(0),
        theirs: side(1),
        ratio: ratio(1, |s| s.rate),
        ratio_per_cpu: ratio(1, |s| s.per_cpu),
        copying: side(2),
        ratio_copying: ratio(2, |s| s.rate),
    }
}

fn print_table(rows: &[Row]) {
    println!(
        "{:<7} {:<16} {:<5} {:>9} {:>9} {:>9} {:>6} {:>13} {:>13} {:>6} {:>9} {:>9} {:>6}",
        "workers",
        "work",
        "unit",
        "direct",
        "ours",
        "theirs",
        "ratio",
        "ours/cpu",
        "theirs/cpu",
        "ratio",
        "failures",
        "copying",
        "ratio"
    );
    for row in rows {
        let show = |value: Option<f64>, digits: usize| {
            value.map_or("-".into(), |value| format!("{value:.digits$}"))
        };
        let failures =
            |side: Option<Side>| side.map_or("-".into(), |side| side.failures.to_string());
        println!(
            "{:<7} {:<16} {:<5} {:>9.0} {:>9} {:>9} {:>6} {:>13} {:>13} {:>6} {:>9} {:>9} {:>6}",
            row.workers,
            row.work,
            row.unit,
            row.direct,
            show(row.ours.map(|s| s.rate), 0),
            show(row.theirs.map(|s| s.rate), 0),
            show(row.ratio, 2),
            show(row.ours.map(|s| s.per_cpu), 0),
            show(row.theirs.map(|s| s.per_cpu), 0),
            show(row.ratio_per_cpu, 2),
            format!("{}/{}", failures(row.ours), failures(row.theirs)),
            show(row.copying.map(|s| s.rate), 0),
            show(row.ratio_copying, 2),
        );
    }
}
