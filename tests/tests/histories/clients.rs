//! Operators: each asks one thing after the other, through `ha-cli` and members of its choice, and is now and then too
//! impatient to hear the answer.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ha_tests::client::many;
use ha_tests::cluster::{Cluster, Config, cli_program};
use ha_tests::linear::model::Word;
use ha_tests::process::{self, Finished};
use ha_tests::system::System;
use ha_tests::wait;
use serde_json::Value;

use crate::recorded::Recorded;

/// Clients that are bound.
pub const BOUND: u32 = 24;
/// After so long an answer is given up, whoever asked.
const LONGEST: Duration = Duration::from_secs(30);
/// `ha-cli` did not hear what came of it.
const IN_DOUBT: i32 = 6;

/// What operators know of the machines.
pub struct Site {
    program: String,
    sockets: Vec<String>,
    dir: PathBuf,
    config: Config,
    /// How long `ha-cli` takes lately, in microseconds.
    usual: AtomicU64,
}

impl Site {
    pub fn of(cluster: &Cluster) -> Site {
        let socket = |n| {
            let socket = cluster.machine(n).dir().join("data/control.sock");
            format!("unix:{}", socket.display())
        };
        Site {
            program: cli_program(),
            sockets: (1..=3).map(socket).collect(),
            dir: cluster.topology().dir().to_owned(),
            config: cluster.plan.config.clone(),
            usual: AtomicU64::new(100_000),
        }
    }

    fn ask(&self, members: &str, words: &[&str], bound: Duration) -> Finished {
        let mut command = Command::new(&self.program);
        command.args(["--address", members, "--output", "json"]);
        command.args(words);
        process::run(command, b"", bound)
    }
}

/// Numbers that follow from a seed.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// What is asked, and for whom it is written down.
pub enum What {
    Set(usize, Word),
    Apply(u32),
    RollBack,
    Show,
    Whereis(String),
    Status,
}

/// Asks until it is over.
pub fn work(site: &Site, began: Instant, seed: u64, ends: &AtomicBool) -> Recorded {
    let mut dice = Dice(seed);
    let mut recorded = Recorded::default();
    let file = site.dir.join(format!("cluster-{seed}.toml"));
    while !ends.load(Ordering::Relaxed) {
        let what = match dice.below(100) {
            0..=24 => {
                let word =
                    [Word::Ready, Word::Ready, Word::Drain, Word::Maint][dice.below(4) as usize];
                // Bindings to server-1 must not change: nobody takes it out.
                let node = if word == Word::Ready {
                    dice.below(3)
                } else {
                    1 + dice.below(2)
                };
                What::Set(node as usize, word)
            }
            25..=34 => What::Apply(1 + dice.below(9) as u32),
            35..=40 => What::RollBack,
            41..=46 => What::Show,
            47..=56 => {
                What::Whereis(many::address(dice.below(u64::from(BOUND)) as u32).to_string())
            }
            _ => What::Status,
        };
        let first = dice.below(3) as usize;
        let members = if dice.below(2) == 0 {
            site.sockets[first].clone()
        } else {
            let next = |n: usize| site.sockets[(first + n) % 3].as_str();
            [next(0), next(1), next(2)].join(",")
        };
        let usual = site.usual.load(Ordering::Relaxed);
        let bound = if dice.below(100) < 45 {
            Duration::from_micros(usual * (10 + dice.below(100)) / 100)
        } else {
            LONGEST
        };
        let timeout = ["300ms", "1s", "2s"][dice.below(3) as usize];
        one(
            site,
            began,
            &what,
            &members,
            timeout,
            bound,
            &file,
            &mut recorded,
        );
        std::thread::sleep(Duration::from_millis(dice.below(40)));
    }
    recorded
}

#[allow(
    clippy::too_many_arguments,
    reason = "one question with all that belongs to it"
)]
fn one(
    site: &Site,
    began: Instant,
    what: &What,
    members: &str,
    timeout: &str,
    bound: Duration,
    file: &std::path::Path,
    recorded: &mut Recorded,
) {
    let target = |node: &usize| format!("node-{}", node + 1);
    let path = file.to_string_lossy().into_owned();
    let (named, client);
    let words: Vec<&str> = match what {
        What::Set(node, word) => {
            named = target(node);
            let verb = match word {
                Word::Ready => "ready",
                Word::Drain => "drain",
                Word::Maint => "maintenance",
            };
            vec![verb, &named, "--force", "--yes"]
        }
        What::Apply(says) => {
            std::fs::write(file, text(&site.config, *says)).expect("a file can be written");
            vec!["apply", "--yes", &path]
        }
        What::RollBack => vec!["rollback", "--yes"],
        What::Show => vec!["config", "show"],
        What::Whereis(address) => {
            client = address.clone();
            vec!["whereis", &client]
        }
        What::Status => vec!["status"],
    };
    let words = [&words[..], &["--timeout", timeout]].concat();
    let now = || u64::try_from(began.elapsed().as_nanos()).expect("less than centuries");
    let from = now();
    let said = site.ask(members, &words, bound);
    let to = now();
    recorded.operations += 1;
    match said.code {
        Some(0) => {
            let took = u64::try_from(said.took.as_micros()).expect("seconds");
            let usual = site.usual.load(Ordering::Relaxed);
            site.usual
                .store((usual * 7 + took.min(400_000)) / 8, Ordering::Relaxed);
            let value: Value = serde_json::from_str(&said.text())
                .unwrap_or_else(|e| panic!("{words:?}: {e}: {}", said.text()));
            recorded.answered(what, from, to, &value);
        }
        None | Some(IN_DOUBT) => {
            recorded.in_doubt += 1;
            recorded.unanswered(what, from);
        }
        Some(9) => recorded.old += 1,
        Some(4) => recorded.refused += 1,
        Some(7) => recorded.unbound += 1,
        Some(code) => panic!("{words:?}: exit {code}: {}{}", said.stderr, said.text()),
    }
}

/// The configuration with this weight of the first server.
fn text(config: &Config, says: u32) -> String {
    config
        .to_toml()
        .replacen("weight = 1\n", &format!("weight = {says}\n"), 1)
}

/// The last looks, when all is well again: what was acknowledged is there.
pub fn look_until_answered(site: &Site, began: Instant, node: u8, recorded: &mut Recorded) {
    let members = &site.sockets[usize::from(node) - 1];
    let file = site.dir.join("unused.toml");
    let bound = Duration::from_secs(60);
    wait::until(&format!("node-{node} to answer"), bound, || {
        let before = recorded.config.len();
        one(
            site,
            began,
            &What::Status,
            members,
            "2s",
            LONGEST,
            &file,
            recorded,
        );
        let is_answered = recorded.config.len() > before;
        is_answered
            .then_some(())
            .ok_or_else(|| "not yet".to_owned())
    });
    one(
        site,
        began,
        &What::Show,
        members,
        "2s",
        LONGEST,
        &file,
        recorded,
    );
}

/// When server-1 was found down, in nanoseconds since it began, which was `wall` since 1970.
pub fn downs(site: &Site, wall: Duration) -> Vec<u64> {
    let words = ["events"];
    let said = site.ask(&site.sockets.join(","), &words, LONGEST);
    let text = said.ok().expect("events are told");
    let events = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
    let all = events.map(|e| e.expect("JSON"));
    let flat = all.flat_map(|e| e.as_array().cloned().unwrap_or_else(|| vec![e]));
    let since = |e: &Value| {
        let ms = e["at_ms"].as_u64().unwrap_or_default();
        ms.saturating_sub(wall.as_millis() as u64) * 1_000_000
    };
    let told: Vec<_> = flat.collect();
    let is_down = |e: &&Value| {
        e["text"]
            .as_str()
            .is_some_and(|t| t.contains("server-1 is DOWN"))
    };
    let mut down: Vec<u64> = told.iter().filter(is_down).map(since).collect();
    // Only the newest events are kept: of what was before nothing is known.
    let oldest = told.iter().map(since).min().unwrap_or_default();
    down.extend((0..oldest / 1_000_000_000).map(|s| s * 1_000_000_000));
    down
}
