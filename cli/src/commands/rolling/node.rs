//! One node's turn: drained, worked on, waited for and made ready.

use std::net::SocketAddr;
use std::time::Duration;

use ha_proto::control::{ServerStatus, SetStateRequest, StatusReply};
use serde::Serialize;

use super::plan::{is_well, serves};
use super::{command, leaders_view};
use crate::args::RollingArgs;
use crate::client::new_request;
use crate::clock;
use crate::commands::Context;
use crate::commands::drain::{Asked, Drain, End};
use crate::commands::state::follow;
use crate::commands::wait::{PATIENCE, answered, wait};
use crate::exit::{Exit, Failure};
use crate::human::millis;
use crate::output::{Progress, note};
use crate::signal::Stop;

/// A drain is over a little after its deadline at the latest.
const DRAIN_GRACE: Duration = Duration::from_secs(15);
/// How long the address may take to move away from a node that is drained.
const MOVED_WITHIN: Duration = Duration::from_secs(15);
/// Between two tries to move it.
const MOVE_AGAIN: Duration = Duration::from_millis(200);
/// A node that was restarted must look well for so long: what is seen first may be from before.
const STEADY_MS: u64 = 5_000;

/// How long each step took at one node.
#[derive(Debug, Serialize)]
pub(super) struct Times {
    pub(super) node: String,
    pub(super) drained_ms: u64,
    pub(super) command_ms: u64,
    pub(super) back_ms: u64,
}

/// One node and what its turn needs.
pub(super) struct Turn<'a> {
    pub(super) ctx: &'a mut Context,
    pub(super) stop: &'a mut Stop,
    pub(super) args: &'a RollingArgs,
    /// Tells this run from every other that asks for the maintenance lock.
    pub(super) owner: &'a str,
    pub(super) node: &'a str,
}

impl Turn<'_> {
    /// All steps. Where one fails, the node stays as it is then.
    pub(super) async fn take(mut self) -> Result<Times, Failure> {
        let node = self.node;
        let before = leaders_view(self.ctx).await?;
        let up = serving(&before, node);
        // Before anything is done: an address goes into a command of the operator's shell.
        let address = address_of(&before, node)?;
        let began = clock::now();
        self.drain().await?;
        self.handed_over().await?;
        let drained_ms = millis(began.elapsed());

        let began = clock::now();
        command::run(self.ctx, self.stop, self.args, node, &address)
            .await
            .map_err(|f| {
                f.remedy(format!(
                    "{node} stays drained: `ha-cli ready {node}` brings it back"
                ))
            })?;
        let command_ms = millis(began.elapsed());

        let began = clock::now();
        self.back(&up).await?;
        self.make_ready().await?;
        self.serving_again(&up).await?;
        Ok(Times {
            node: node.to_owned(),
            drained_ms,
            command_ms,
            back_ms: millis(began.elapsed()),
        })
    }

    fn change(&self, state: &str) -> Result<SetStateRequest, Failure> {
        Ok(SetStateRequest {
            target: self.node.to_owned(),
            state: state.to_owned(),
            reason: "rolling restart".to_owned(),
            lock: self.owner.to_owned(),
            // It is asked for until it is answered, as one request.
            asked: Some(new_request()?),
            ..SetStateRequest::default()
        })
    }

    /// Drains it and waits until nobody is left; who is left at the deadline is cut, as asked for.
    async fn drain(&mut self) -> Result<(), Failure> {
        let node = self.node;
        let started_ms = clock::unix_ms();
        let drain = SetStateRequest {
            force: self.args.force,
            yes: self.args.yes.yes,
            deadline_ms: millis(self.args.deadline),
            ..self.change("drain")?
        };
        let accepted = answered(&self.ctx.out, PATIENCE, async || {
            self.ctx.cluster.set_state(drain.clone()).await
        })
        .await?;
        if accepted.servers.is_empty() {
            return Ok(());
        }
        let deadline_ms = started_ms + millis(self.args.deadline);
        let asked = Asked {
            target: node,
            started_ms,
            deadline_ms,
            then: false,
            ready_follows: false,
        };
        let followed = Drain::new(asked, accepted);
        let limit = self.args.deadline + DRAIN_GRACE;
        match follow(self.ctx, self.stop, limit, node, followed, deadline_ms).await? {
            End::Drained => Ok(()),
            End::Cut(cut) => {
                note(&format!("{node}: {cut} sessions were cut at the deadline"));
                Ok(())
            }
            End::Overdue(left) => Err(Failure::new(
                Exit::Deadline,
                format!("{node}: {left} sessions are left after the deadline"),
            )),
            End::TakenBack(server) => Err(Failure::new(
                Exit::Cancelled,
                format!("somebody made {server} ready again"),
            )),
        }
    }

    /// Has leadership and the virtual IPs handed to another node: a drain alone does not move them. A successor may
    /// need a moment before it can take over.
    async fn handed_over(&mut self) -> Result<(), Failure> {
        let (node, began) = (self.node, clock::now());
        let still = |f: Failure| {
            let message = format!("{node} still leads, drained: {}", f.message);
            Failure { message, ..f }.remedy("`ha-cli explain vip` says why")
        };
        loop {
            let status = leaders_view(self.ctx).await?;
            if status.leader != node && status.holder != node {
                return Ok(());
            }
            let moved = self.ctx.cluster.move_leader(String::new()).await;
            if let Err(failure) = moved
                && began.elapsed() > MOVED_WITHIN
            {
                return Err(still(failure));
            }
            if began.elapsed() > MOVED_WITHIN * 2 {
                let message = "it was handed over and is there again";
                return Err(still(Failure::new(Exit::Deadline, message)));
            }
            tokio::select! {
                biased;
                () = self.stop.asked() => {
                    return Err(Failure::new(Exit::Cancelled, format!("{node} stays drained")));
                }
                () = tokio::time::sleep(MOVE_AGAIN) => {}
            }
        }
    }

    /// Waits until the node votes and those of its servers answer that did, steadily.
    async fn back(&mut self, up: &[String]) -> Result<(), Failure> {
        let node = self.node;
        let mut progress = Progress::new(&self.ctx.out);
        let mut well_since = None;
        let look = |status: &StatusReply, now_ms: u64| {
            let since = *well_since.get_or_insert(now_ms);
            if !answers(status, node, up) {
                well_since = None;
            } else if now_ms >= since + STEADY_MS {
                return Some(());
            }
            let line = format!("waiting until {node} votes and its servers answer");
            progress.show(&line, &line);
            None
        };
        let end = wait(self.ctx, self.stop, self.args.back_within, look).await;
        progress.clear();
        end.map_err(|why| {
            why.failure(
                &format!("{node} stays drained"),
                &format!("look at its agent's log; `ha-cli ready {node}` brings it back"),
            )
        })
    }

    async fn make_ready(&mut self) -> Result<(), Failure> {
        let node = self.node;
        let ready = self.change("ready")?;
        let done = answered(&self.ctx.out, PATIENCE, async || {
            self.ctx.cluster.set_state(ready.clone()).await
        })
        .await;
        done.map(drop).map_err(|f| {
            f.remedy(format!(
                "{node} is well and stays drained: `ha-cli ready {node}` brings it back"
            ))
        })
    }

    /// Waits until those of its servers get clients that did.
    async fn serving_again(&mut self, up: &[String]) -> Result<(), Failure> {
        let look = |status: &StatusReply, _: u64| {
            let mut servers = status.servers.iter().filter(|s| up.contains(&s.path()));
            servers.all(serves).then_some(())
        };
        let end = wait(self.ctx, self.stop, self.args.back_within, look).await;
        end.map_err(|why| {
            why.failure(
                &format!("{} is ready and its servers are not up", self.node),
                "`ha-cli status` shows them",
            )
        })
    }
}

/// The node's servers that get clients, as `BACKEND/SERVER`. What is out or down by itself, on purpose or not,
/// need not be better afterwards.
fn serving(status: &StatusReply, node: &str) -> Vec<String> {
    let servers = status.servers.iter();
    servers
        .filter(|s| s.node == node && serves(s))
        .map(ServerStatus::path)
        .collect()
}

/// Where a node listens, as its cluster says: an address and a port and nothing else, whatever an agent says.
fn address_of(status: &StatusReply, node: &str) -> Result<String, Failure> {
    let found = status.nodes.iter().find(|n| n.name == node);
    let text = found.map_or("", |n| n.address.as_str());
    let address = text.parse::<SocketAddr>().map_err(|_| {
        Failure::new(
            Exit::Unexpected,
            format!("{node} is said to be at {text:?}, which is no IP address with a port: nothing was done"),
        )
        .remedy("whoever answered is broken or was broken into: ask another node (`--address`), and look at that one")
    })?;
    if !is_name(node) {
        return Err(Failure::new(
            Exit::Unexpected,
            format!("a node is said to be called {node:?}, which is no name: nothing was done"),
        ));
    }
    Ok(address.to_string())
}

/// What a command may be given as a word: letters, digits, `-`, `_` and `.`, not first a `-`.
fn is_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=63).contains(&name.len()) && name.chars().all(letter) && !name.starts_with('-')
}

/// Whether the node takes part again and none of these servers is down.
fn answers(status: &StatusReply, node: &str, up: &[String]) -> bool {
    let nodes = &status.nodes;
    let down = |s: &ServerStatus| up.contains(&s.path()) && s.status.starts_with("DOWN");
    nodes.iter().any(|n| n.name == node && is_well(status, n)) && !status.servers.iter().any(down)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ha_proto::control::NodeStatus;

    #[test]
    fn what_goes_into_a_shell_is_an_address_and_a_name() {
        let of = |name: &str, address: &str| {
            let node = NodeStatus {
                name: name.to_owned(),
                address: address.to_owned(),
                ..NodeStatus::default()
            };
            let status = StatusReply {
                nodes: vec![node],
                ..StatusReply::default()
            };
            address_of(&status, name)
        };
        for address in ["10.0.0.1:7400", "[fd00::1]:7400"] {
            assert_eq!(of("node-1", address).expect("an address"), address);
        }
        for address in [
            "",
            "-oProxyCommand=touch$IFS/tmp/x:7400",
            "10.0.0.1",
            "10.0.0.1:7400;id",
            "$(id):7400",
            "10.0.0.1:7400\n",
            "host:7400",
        ] {
            let failure = of("node-1", address).expect_err(address);
            assert!(failure.message.contains("nothing was done"), "{failure}");
        }
        for name in ["-oProxyCommand", "a b", "a;id", "a\x1b[2J"] {
            assert!(of(name, "10.0.0.1:7400").is_err(), "{name}");
        }
    }
}
