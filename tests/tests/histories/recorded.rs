//! What operators asked and heard, as histories of the machines that they could have talked to.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_tests::linear::Call;
use ha_tests::linear::model::{ConfigOp, OrderOp, Word};
use serde_json::Value;

use crate::clients::{BOUND, What};

/// How far apart a change of a binding and the event that explains it may be, in nanoseconds.
const DOWN: u64 = 5_000_000_000;

/// What they asked and heard.
#[derive(Default)]
pub struct Recorded {
    /// Of node-1, node-2, node-3.
    pub orders: [Vec<Call<OrderOp>>; 3],
    pub config: Vec<Call<ConfigOp>>,
    /// By client: when it was asked and answered, and the server.
    pub bindings: BTreeMap<String, Vec<(u64, u64, String)>>,
    pub operations: u64,
    pub in_doubt: u64,
    /// An agent said that what it shows may be old, or that there is no majority.
    pub old: u64,
    pub refused: u64,
    pub unbound: u64,
    pub leaders: BTreeMap<u64, String>,
}

/// What a configuration says, by its text.
fn says(text: &str) -> u32 {
    let line = text.lines().find_map(|l| l.strip_prefix("weight = "));
    line.and_then(|n| n.parse().ok()).expect("a weight")
}

impl Recorded {
    pub fn answered(&mut self, what: &What, from: u64, to: u64, value: &Value) {
        let (answered, to) = (to, Some(to));
        let version = value["version"].as_u64();
        match what {
            What::Set(node, word) => self.orders[*node].push(Call {
                op: OrderOp::Set(*word),
                from,
                to,
            }),
            What::Apply(says) => self.config.push(Call {
                op: ConfigOp::Apply(*says, version),
                from,
                to,
            }),
            What::RollBack => self.config.push(Call {
                op: ConfigOp::RollBack(version),
                from,
                to,
            }),
            What::Show => {
                let says = says(value["text"].as_str().expect("a text"));
                let op = ConfigOp::Says(version.expect("a version"), says);
                self.config.push(Call { op, from, to });
            }
            What::Whereis(client) => {
                for b in value["bindings"].as_array().into_iter().flatten() {
                    let server = b["server"].as_str().unwrap_or_default().to_owned();
                    let seen = self.bindings.entry(client.clone()).or_default();
                    seen.push((from, answered, server));
                }
            }
            What::Status => self.saw(from, to, value),
        }
    }

    fn saw(&mut self, from: u64, to: Option<u64>, value: &Value) {
        let version = value["config_version"].as_u64().expect("a number");
        // The weight of the first server is what a configuration says.
        let mut servers = value["servers"].as_array().into_iter().flatten();
        let first = servers.find(|s| s["server"] == "server-1");
        let says = first.and_then(|s| s["weight"].as_u64()).expect("a weight");
        let op = ConfigOp::Says(version, says as u32);
        self.config.push(Call { op, from, to });
        if let (Some(term), Some(leader)) = (value["term"].as_u64(), value["leader"].as_str()) {
            self.leaders.insert(term, leader.to_owned());
        }
        for node in value["nodes"].as_array().into_iter().flatten() {
            let name = node["name"].as_str().unwrap_or_default();
            let Some(at) = (0..3).find(|n| name == format!("node-{}", n + 1)) else {
                continue;
            };
            let word = match node["admin"].as_str() {
                Some("ready") => Word::Ready,
                Some("drain") => Word::Drain,
                _ => Word::Maint,
            };
            let number = node["order"].as_u64().expect("a number");
            self.orders[at].push(Call {
                op: OrderOp::Read(word, number),
                from,
                to,
            });
        }
    }

    /// It may take effect at any time, or never; a question that was not answered says nothing.
    pub fn unanswered(&mut self, what: &What, from: u64) {
        let to = None;
        match what {
            What::Set(node, word) => self.orders[*node].push(Call {
                op: OrderOp::Set(*word),
                from,
                to,
            }),
            What::Apply(says) => self.config.push(Call {
                op: ConfigOp::Apply(*says, None),
                from,
                to,
            }),
            What::RollBack => self.config.push(Call {
                op: ConfigOp::RollBack(None),
                from,
                to,
            }),
            What::Show | What::Whereis(_) | What::Status => {}
        }
    }

    /// With what another operator saw.
    pub fn add(&mut self, other: Recorded) {
        for (mine, its) in self.orders.iter_mut().zip(other.orders) {
            mine.extend(its);
        }
        self.config.extend(other.config);
        for (client, seen) in other.bindings {
            self.bindings.entry(client).or_default().extend(seen);
        }
        self.operations += other.operations;
        self.in_doubt += other.in_doubt;
        self.old += other.old;
        self.refused += other.refused;
        self.unbound += other.unbound;
        self.leaders.extend(other.leaders);
    }

    fn changes(&self) -> usize {
        self.leaders.len().saturating_sub(1)
    }

    fn share(&self) -> f64 {
        self.in_doubt as f64 / self.operations.max(1) as f64
    }

    pub fn figures(&self, took: Duration) -> String {
        let looks: usize = self.bindings.values().map(Vec::len).sum();
        let minutes = took.as_secs_f64() / 60.0;
        format!(
            "{} operations in {took:.0?}, {:.0} % never answered, {} refused, {} said to be old or without a majority; {} changes of leader ({:.1} a minute); {looks} looks at {} bindings",
            self.operations,
            100.0 * self.share(),
            self.refused,
            self.old,
            self.changes(),
            self.changes() as f64 / minutes,
            self.bindings.len(),
        )
    }

    pub fn assert_worth_something(&self, took: Duration) {
        assert!(
            self.share() >= 0.2,
            "too few were never answered: {:.3}",
            self.share()
        );
        let each = self.changes() as f64 * 60.0 / took.as_secs_f64();
        assert!(each >= 5.0, "{each:.1} changes of leader a minute");
        assert!(self.orders.iter().all(|o| o.len() > 50) && self.config.len() > 50);
        assert!(
            self.bindings.len() as u32 > BOUND / 2,
            "{} clients",
            self.bindings.len()
        );
    }

    /// Clients that were seen at server-1, which nobody took out, and then elsewhere, although it was not down meanwhile.
    /// `down`: when it was, since the beginning.
    pub fn bindings_that_changed(&mut self, down: &[u64]) -> Vec<String> {
        let mut changed = Vec::new();
        for (client, seen) in &mut self.bindings {
            seen.sort_unstable();
            for pair in seen.windows(2) {
                let [(from, _, before), (_, to, after)] = pair else {
                    continue;
                };
                // Checks see it later, and the log has it later still.
                let (from_then, to_then) = (from.saturating_sub(DOWN), to + DOWN);
                let excused = down.iter().any(|at| (from_then..=to_then).contains(at));
                if before.ends_with("/server-1") && before != after && !excused {
                    changed.push(format!(
                        "{client}: {before} then {after}, between {from} and {to}"
                    ));
                }
            }
        }
        changed
    }
}
