//! The story of the demo, in order: start, steady, kill, takeover, back, and again.

use std::time::Duration;

use ha_proto::control::StatusReply;
use serde_json::json;

use super::Tally;
use super::agents::Agents;
use super::locate;
use super::places::{NODES, Places, SERVERS};
use super::screen::{Live, Screen, seen_json};
use super::servers::SampleServers;
use super::traffic::{Seen, Traffic};
use crate::args::DemoArgs;
use crate::clock;
use crate::exit::{Exit, Failure};

/// For everything that is not a takeover.
const PATIENCE: Duration = Duration::from_secs(30);
/// A takeover that takes longer is none.
const TAKEOVER: Duration = Duration::from_secs(10);
/// Answers after which "the client kept its server" is worth saying.
const ENOUGH: u64 = 50;

/// Tells it once, or until the caller drops it.
pub(super) async fn tell(
    args: &DemoArgs,
    screen: &mut Screen,
    tally: &mut Tally,
) -> Result<(), Failure> {
    let program = locate::agent(args.agent.as_deref(), screen).await?;
    // Dropped in the reverse order: client, agents, servers, and the directory last.
    let dir = tempfile::Builder::new().prefix("ha-demo-").tempdir()?;
    let places = Places::choose()?;
    let (configs, cluster) = places.write(dir.path())?;
    let virtual_address = places.virtual_address;
    let text = format!(
        "three agents on loopback, virtual address {virtual_address}, data in {}",
        dir.path().display()
    );
    screen.phase(
        "start",
        &text,
        json!({ "virtual_address": virtual_address, "dir": dir.path() }),
    )?;
    let text = "the sample servers live apart from the agents here (`address` in cluster.toml instead of `node`), so none dies with a killed agent";
    screen.phase("servers", text, json!({ "servers": SERVERS }))?;

    let servers = SampleServers::start(&SERVERS, places.servers)?;
    let agents = Agents::new(program, dir.path(), &places.agents, configs);
    let traffic = Traffic::start(places.client, virtual_address, &SERVERS)?;
    let route = format!("{} asks {virtual_address}", places.client);
    let mut stage = Stage {
        traffic,
        agents,
        screen,
        route,
        _servers: servers,
    };

    stage.form(&cluster).await?;
    loop {
        let leader = stage.steady(args.steady).await?;
        let killed = stage.kill_and_watch(&leader, tally).await?;
        if args.once {
            return Ok(());
        }
        stage.bring_back(killed).await?;
    }
}

/// Everything that plays along. Fields are dropped in this order.
struct Stage<'a> {
    traffic: Traffic,
    agents: Agents,
    _servers: SampleServers,
    screen: &'a mut Screen,
    route: String,
}

impl Stage<'_> {
    /// Makes one cluster of the three: the first founds it, the others join one after the other.
    async fn form(&mut self, cluster: &std::path::Path) -> Result<(), Failure> {
        self.agents.init(cluster).await?;
        self.agents.run(0)?;
        self.until(PATIENCE, "node-1 to lead", |status, _| {
            status.leader == NODES[0]
        })
        .await?;
        for (index, name) in NODES.iter().enumerate().skip(1) {
            self.agents.join(index).await?;
            self.agents.run(index)?;
            self.until(PATIENCE, &format!("{name} to take part"), |status, _| {
                votes(status, name) || follows(status, name)
            })
            .await?;
        }
        let status = self
            .until(PATIENCE, "the client's first answers", |status, seen| {
                !status.holder.is_empty()
                    && seen.answers >= ENOUGH
                    && NODES.iter().all(|name| votes(status, name))
            })
            .await?;
        let seen = self.traffic.seen();
        let text = format!(
            "{} leads and holds the address; the client is with {}",
            status.leader, seen.server
        );
        let fields = json!({ "leader": status.leader, "holder": status.holder, "epoch": status.epoch, "client": seen_json(&seen) });
        self.screen.phase("ready", &text, fields)
    }

    /// Lets the client ask for a while; the leader at the end of it.
    async fn steady(&mut self, time: Duration) -> Result<String, Failure> {
        self.traffic.mark();
        let start = clock::now();
        let status = self
            .until(
                time + PATIENCE,
                "the moment to kill the leader (all three vote, it holds the address)",
                |status, _| {
                    let whole = !status.leader.is_empty() && status.holder == status.leader;
                    start.elapsed() >= time && whole && NODES.iter().all(|name| votes(status, name))
                },
            )
            .await?;
        let seen = self.traffic.seen();
        self.same_server(&seen)?;
        let gap_ms = millis(seen.gap(clock::now()));
        let text = format!(
            "{} answers from {}, longest gap {gap_ms} ms",
            seen.answers_since_mark, seen.server
        );
        self.screen.phase(
            "steady",
            &text,
            json!({ "gap_ms": gap_ms, "client": seen_json(&seen) }),
        )?;
        Ok(status.leader)
    }

    /// Kills the leader and waits until another one serves; the index of the dead one.
    async fn kill_and_watch(&mut self, leader: &str, tally: &mut Tally) -> Result<usize, Failure> {
        let before = self.traffic.seen().server;
        self.traffic.mark();
        let Some((index, pid)) = self.agents.kill(leader) else {
            return Err(Failure::new(
                Exit::Unexpected,
                format!("the agents call {leader} their leader, which does not run"),
            ));
        };
        self.screen.phase(
            "kill",
            &format!("SIGKILL to {leader} (pid {pid})"),
            json!({ "node": leader, "pid": pid }),
        )?;
        let status = self
            .until(TAKEOVER, "another node to take over", |status, seen| {
                let other = |name: &str| !name.is_empty() && name != leader;
                other(&status.leader) && other(&status.holder) && seen.answers_since_mark >= ENOUGH
            })
            .await?;
        let seen = self.traffic.seen();
        let gap_ms = millis(seen.gap(clock::now()));
        let kept = seen.moves.is_empty() && seen.server == before;
        let text = format!(
            "{} took over; longest gap for the client {gap_ms} ms; its server before {before}, after {}",
            status.holder, seen.server
        );
        let fields = json!({ "killed": leader, "leader": status.leader, "holder": status.holder, "epoch": status.epoch,
                             "gap_ms": gap_ms, "server_before": before, "server_after": seen.server, "kept_server": kept });
        self.screen.phase("takeover", &text, fields)?;
        self.same_server(&seen)?;
        tally.gaps_ms.push(gap_ms);
        Ok(index)
    }

    /// Starts the dead one again and waits until it votes.
    async fn bring_back(&mut self, index: usize) -> Result<(), Failure> {
        let name = NODES[index];
        self.agents.run(index)?;
        let start = clock::now();
        // Asked itself: the others may not have noticed yet that it was away.
        let what = format!("{name} to come back");
        let back =
            |status: &StatusReply, _: &Seen| votes(status, name) && !status.leader.is_empty();
        let status = self
            .until_seen_by(Some(index), PATIENCE, &what, back)
            .await?;
        let took_ms = millis(start.elapsed());
        let text = format!(
            "{name} is back after {took_ms} ms, as follower of {}",
            status.leader
        );
        self.screen.phase(
            "back",
            &text,
            json!({ "node": name, "took_ms": took_ms, "leader": status.leader }),
        )
    }

    /// Looks again and again, and shows what it sees, until `done`.
    async fn until(
        &mut self,
        limit: Duration,
        what: &str,
        done: impl Fn(&StatusReply, &Seen) -> bool,
    ) -> Result<StatusReply, Failure> {
        self.until_seen_by(None, limit, what, done).await
    }

    /// The same, through the eyes of one agent.
    async fn until_seen_by(
        &mut self,
        whom: Option<usize>,
        limit: Duration,
        what: &str,
        done: impl Fn(&StatusReply, &Seen) -> bool,
    ) -> Result<StatusReply, Failure> {
        let start = clock::now();
        let now = format!("waiting for {what}");
        loop {
            self.agents.check()?;
            let status = self.agents.status(whom).await;
            let seen = self.traffic.seen();
            let live = Live {
                now: &now,
                status: status.as_ref(),
                seen: &seen,
                route: &self.route,
            };
            self.screen.live(&live, |name| self.agents.pid(name))?;
            if let Some(status) = status.filter(|status| done(status, &seen)) {
                return Ok(status);
            }
            if start.elapsed() > limit {
                let message = format!("waited {} s in vain for {what}", limit.as_secs());
                return Err(
                    Failure::new(Exit::Unexpected, message).remedy(self.agents.last_words())
                );
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// The servers of the demo are always usable, so the client has no reason to change.
    fn same_server(&self, seen: &Seen) -> Result<(), Failure> {
        match seen.moves.first() {
            None => Ok(()),
            Some((from, to)) => {
                let message =
                    format!("the client went from {from} to {to} although {from} was usable");
                Err(Failure::new(Exit::Unexpected, message).remedy(self.agents.last_words()))
            }
        }
    }
}

/// Whether a node has the log and no vote: the second one waits for the third, since two votes endure no more than one.
fn follows(status: &StatusReply, name: &str) -> bool {
    let mut nodes = status.nodes.iter();
    nodes.any(|node| node.name == name && node.state == "learner")
}

/// Whether a node is a voter that the others reach.
fn votes(status: &StatusReply, name: &str) -> bool {
    status
        .nodes
        .iter()
        .any(|node| node.name == name && matches!(node.state.as_str(), "leader" | "follower"))
}

fn millis(duration: Duration) -> u64 {
    crate::human::millis(duration)
}
