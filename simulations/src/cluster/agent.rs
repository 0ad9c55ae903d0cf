//! The process of one node, put together as `ha-agent run` does it, from the product's parts.

use super::configuration;
use super::invariants::ideal::{RegisterKey, Value};
use super::machine::Running;
use super::operator::within_patience;
use super::planted::Planted;
use super::scheduler::{self, WORLD, world_now};
use super::segment::Hands;
use super::sessions::Open;
use super::slots::Slots;
use super::story;
use super::tamper;
use super::universe::Universe;
use super::upgrade::{ACTIVATE_AFTER, OLD};
use super::world::{NodeWorld, node_now};
use ha_core::check::Kind;
use ha_core::command::{Command, Stamped};
use ha_core::controller::ControllerSettings;
use ha_core::id::NodeId;
use ha_core::model::{Member, Role, Timing};
use ha_core::version::Speaks;
use ha_node::Node;
use ha_node::consensus::ConsensusSettings;
use ha_node::founding::write_first;
use ha_node::log_store::LogStore as _;
use ha_node::node::{NodeSettings, Parts, StartError};
use std::sync::Arc;
use std::time::Duration;

/// Often, so that snapshots happen in a short run.
const SNAPSHOT_EVERY: u64 = 30;
/// Much sooner than in the product, so that a short run has many changes of the voters.
const STEADY_FOR: Duration = Duration::from_millis(1000);
const KNOCK_EVERY: Duration = Duration::from_millis(150);
/// What keeps a service up starts it again after so many milliseconds.
const RESTART_AFTER: u64 = 1000;

/// Starts the process of a node, unless one is there already. `founding`: it cannot have promised anything yet.
pub fn start(universe: &Arc<Universe>, node: usize, founding: bool) {
    let is_free = universe.with(|s| {
        s.nodes[node].powered = true;
        !std::mem::replace(&mut s.nodes[node].started, true)
    });
    if !is_free {
        return;
    }
    let universe = universe.clone();
    scheduler::spawn_on(node, async move {
        let ended = run(universe.clone(), node, founding).await;
        story::note(&format!(
            "node-{node} ends: {}",
            ended.unwrap_or_else(|e| e.to_string())
        ));
        // What started it starts it again, as systemd does.
        scheduler::spawn_on(WORLD, async move {
            universe.kill(node);
            scheduler::world_ms(RESTART_AFTER).await;
            if universe.with(|s| s.nodes[node].powered) {
                start(&universe, node, false);
            }
        });
    });
}

/// Runs until consensus fails; why it did.
async fn run(universe: Arc<Universe>, me: usize, founding: bool) -> std::io::Result<String> {
    let planted = universe.planted;
    let (disk, real_role, speaks) = universe.with(|s| {
        let node = &s.nodes[me];
        (node.disk.clone(), node.role, node.program)
    });
    let role = if planted == Planted::WitnessHolds {
        Role::Server
    } else {
        real_role
    };
    let hands = Hands::new(me, &universe, planted);
    let world = Arc::new(NodeWorld {
        me,
        id: universe.id_of(me),
        universe: universe.clone(),
        disk,
        hands: hands.clone(),
    });
    let watched = universe.clone();
    let parts = Parts::new(node_now)
        .inbox_through(tamper::inbox(universe.clone(), me))
        .on_applied(move |consensus| watched.on_applied(me, consensus));
    let (view, binder, open) = (parts.view(), parts.binder(), Arc::<Open>::default());
    let settings = settings(&universe, me, role, speaks, founding);
    universe.with(|s| s.invariants.versions.on_started(world.id, speaks));
    let node = Node::start(parts, world.outside(), settings, open.clone())
        .await
        .map_err(|e| match e {
            StartError::Consensus(e) => {
                if e.kind() == std::io::ErrorKind::Unsupported {
                    universe.with(|s| s.counts.add("downgrades refused"));
                }
                e
            }
            e @ StartError::OtherCluster(_) => std::io::Error::other(e),
        })?;
    let slots = Slots::of(&universe, view.clone());
    universe.with(|s| {
        s.nodes[me].running = Some(Running {
            consensus: node.consensus.clone(),
            driver: node.driver.clone(),
            view,
            binder,
            hands: hands.clone(),
            open: open.clone(),
            slots,
        })
    });
    story::note(&format!("node-{me} runs"));
    node.ended().await;
    if node.consensus.versions().halted().is_some() {
        let noted = world.disk.active().ok().flatten();
        universe.with(|s| {
            let outcome = s.invariants.versions.on_halted(me, speaks, noted);
            s.check(outcome);
        });
    }
    Ok(format!(
        "consensus has failed: {}",
        node.consensus.failure().unwrap_or_default()
    ))
}

fn settings(
    universe: &Universe,
    me: usize,
    role: Role,
    speaks: Speaks,
    founding: bool,
) -> NodeSettings {
    let mut controller = ControllerSettings {
        voters_max: universe.voters_max(),
        activate_after: ACTIVATE_AFTER,
        steady_for: STEADY_FOR,
        ..ControllerSettings::of(universe.id_of(me), role, universe.promise)
    };
    if universe.planted == Planted::LeaseTooLong {
        controller.lease = Duration::from_millis(450);
    }
    NodeSettings {
        consensus: ConsensusSettings {
            me: universe.id_of(me),
            role,
            timing: Timing::Lan,
            promise: universe.promise,
            founding: founding || universe.planted == Planted::NoWaitAfterRestart,
            speaks,
            snapshot_every: SNAPSHOT_EVERY,
        },
        controller,
        cluster: None,
        agent_version: version_of(speaks),
        knock_every: KNOCK_EVERY,
    }
}

/// What a program calls itself.
fn version_of(speaks: Speaks) -> String {
    format!("0.{}", speaks.max)
}

/// What a node is to the others, under an id of its own or that of its successor.
pub fn member_as(universe: &Universe, node: usize, id: NodeId) -> Member {
    let address = Universe::address_of(node);
    let (role, speaks) = universe.with(|s| (s.nodes[node].role, s.nodes[node].program));
    Member {
        id,
        name: format!("node-{node}"),
        listen: Universe::listen_of(node),
        address,
        role,
        version: version_of(speaks),
        speaks,
        checks: Kind::known_set(),
    }
}

/// A command as an operator gives it.
pub fn stamped(running: &Running, command: Command) -> Stamped {
    Stamped {
        at: running.consensus.read().clock,
        by: "operator".to_owned(),
        command,
        request: None,
    }
}

/// Founds the cluster on the first node and lets the others join, one after the other, as operators do.
pub async fn found(universe: &Arc<Universe>) -> Result<(), String> {
    start(universe, 1, true);
    let first = until_running(universe, 1).await;
    let (config, file) = configuration::of(universe, 1);
    let as_written = file.clone();
    let commands = vec![
        Command::Found {
            cluster_id: NodeId::from_random(7),
            timing: Timing::Lan,
            version: OLD.max,
        },
        Command::AddMember(member_as(universe, 1, universe.id_of(1))),
        Command::Configure {
            config,
            text: file,
            expect: None,
        },
    ];
    let (hands, disk, whole) = (
        first.hands.clone(),
        universe.with(|s| s.nodes[1].disk.clone()),
        universe.clone(),
    );
    let consensus = first.consensus.clone();
    let written = scheduler::spawn_on(1, async move {
        let world = NodeWorld {
            me: 1,
            id: whole.id_of(1),
            universe: whole,
            disk,
            hands,
        };
        write_first(
            &world,
            &consensus,
            Universe::listen_of(1).to_string(),
            "init",
            commands,
        )
        .await
        .map_err(|e| e.to_string())
    });
    written.await.map_err(|e| e.to_string())??;
    universe.with(|s| {
        for (subject, value) in [
            (RegisterKey::Member(universe.id_of(1)), Value::Is(true)),
            (RegisterKey::Configuration, Value::Text(as_written)),
        ] {
            s.invariants
                .ideal
                .on_answered(world_now(), subject, &value, true);
        }
    });
    for node in 2..=universe.size() {
        start(universe, node, false);
        join_when_running(universe, node).await;
    }
    Ok(())
}

/// Lets a node into the cluster once its process is there.
pub async fn join_when_running(universe: &Arc<Universe>, node: usize) {
    until_running(universe, node).await;
    join(universe, node).await;
}

async fn until_running(universe: &Universe, node: usize) -> Running {
    loop {
        if let Some(running) = universe.running(node) {
            return running;
        }
        scheduler::world_ms(5).await;
    }
}

/// Lets a running node into the cluster and waits until it votes, or follows as a learner where there are voters enough.
async fn join(universe: &Arc<Universe>, node: usize) {
    loop {
        scheduler::world_ms(20).await;
        // Another machine may have taken its place meanwhile.
        let id = universe.id_of(node);
        let Some((at, leader)) = universe.leader() else {
            continue;
        };
        let news = leader.consensus.news();
        // One that was cut off may still believe that it leads: who holds the address is heard by a majority.
        let (steady, enough) = (
            universe.holder() == Some(at) && news.voters.len() == 1,
            // Where votes are given by who lives a newcomer may have to wait for the next one.
            !universe.voter_timeout().is_zero()
                || news
                    .voters
                    .iter()
                    .all(|set| set.len() >= universe.voters_max()),
        );
        // One that is known comes back as it is known: its program may be another by now, which the leader will hear.
        let known = leader.consensus.read().facts.members.get(&id).cloned();
        let listed = known.is_some();
        if steady
            && listed
            && (news.voters[0].contains(&id) || (enough && news.matched.contains_key(&id)))
        {
            return;
        }
        if listed && (news.learners.contains(&id) || news.votes(id)) {
            continue;
        }
        let member = known.unwrap_or_else(|| member_as(universe, node, id));
        // Whoever lets nodes in again may have done so with the machine before this one, in the instant of its removal.
        let facts = leader.consensus.read().facts;
        let before = facts.member_named(&member.name).map(|m| m.id);
        let before = before.filter(|other| *other != id);
        let whole = universe.clone();
        let asked = scheduler::spawn_on(at, async move {
            if let Some(before) = before {
                leader.consensus.remove(before).await.ok();
                let (about, gone) = (RegisterKey::Member(before), Value::Is(false));
                let remove = Command::RemoveMember(before);
                whole.told(about, gone, &leader, remove).await;
            }
            let known = whole
                .told(
                    RegisterKey::Member(id),
                    Value::Is(true),
                    &leader,
                    Command::AddMember(member),
                )
                .await
                .is_some_and(|answer| answer.is_ok());
            if known && !leader.consensus.news().votes(id) {
                leader
                    .consensus
                    .add_learner(id, Universe::listen_of(node).to_string())
                    .await
                    .ok();
            }
        });
        within_patience(asked).await;
    }
}
