//! Everything there is: nodes, their disks and servers, the network, the segment, what is checked and counted.

pub use super::machine::{Node, Running, Service};
use super::state::State;

use super::Run;
use super::counts::Counts;
use super::disk::Disk;
use super::invariants::ideal::{RegisterKey, Value};
use super::invariants::{Invariants, one_holder, same_state, unique};
use super::network::{LOSS, Network};
use super::plan::Theme;
use super::planted::Planted;
use super::runtime::NodeRuntime;
use super::scheduler::{self, WORLD, world_now};
use super::segment::Segment;
use super::story;
use super::upgrade::OLD;
use super::world::wall_of;
use ha_core::balance::mix;
use ha_core::id::NodeId;
use ha_core::model::{AdminState, Role};
use ha_core::placement;
use ha_node::consensus::Consensus;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Unix time at which every run begins, in milliseconds.
pub const EPOCH_MS: u64 = 1_800_000_000_000;
/// Clients on the segment.
pub const CLIENTS: usize = 12;
/// The address that all of it is about.
pub const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100));
const PORT: u16 = 7400;
const VOTER_TIMEOUT: Duration = Duration::from_millis(700);

pub struct Universe {
    state: Mutex<State>,
    ids: Mutex<Vec<NodeId>>,
    size: usize,
    /// Which bug is planted.
    pub planted: Planted,
    /// What the run dwells on.
    pub theme: Theme,
    /// How long a voter is bound to whom it promised.
    pub promise: Duration,
    /// How many slots each server has; 0: as many as come.
    pub slots_each: u32,
    /// Operators give one order after the other.
    pub operators_desk: tokio::sync::Mutex<()>,
    calm: AtomicBool,
    /// The member that is evil at the moment.
    pub evil: Mutex<Option<NodeId>>,
}

impl Universe {
    /// The machines of a run, none running.
    pub fn new(run: &Run) -> Arc<Self> {
        let node = |i: usize| Node {
            role: run.role_of(i),
            powered: true,
            service: Service::Up,
            broken_since: None,
            disk: Disk::new(run.planted),
            program: OLD,
            started: false,
            running: None,
            pre_voted: 0,
            inbox_full: false,
        };
        let state = State {
            network: Network::default(),
            segment: Segment {
                neighbour: vec![None; CLIENTS],
                ..Segment::default()
            },
            nodes: (0..=run.nodes).map(node).collect(),
            invariants: Invariants::default(),
            counts: Counts::default(),
            violation: None,
        };
        let ids = (0..=run.nodes)
            .map(|i| NodeId::from_random(u128::from(mix(i as u64)) << 64 | i as u128))
            .collect();
        let (planted, theme) = (run.planted, run.theme);
        let universe = Arc::new(Universe {
            state: Mutex::new(state),
            ids: Mutex::new(ids),
            size: run.nodes,
            planted,
            theme,
            promise: Duration::from_millis(300),
            slots_each: match run.theme {
                Theme::Crowded => 2 + (mix(run.seed ^ 0x736c_6f74) % 3) as u32,
                _ => 0,
            },
            operators_desk: tokio::sync::Mutex::default(),
            calm: AtomicBool::new(false),
            evil: Mutex::default(),
        });
        universe.with(|s| s.network.loss = universe.usual_loss());
        universe
    }

    /// The faults are over.
    pub fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    /// Whether the faults are over.
    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// Packets in a thousand that are lost when nothing is wrong.
    pub fn usual_loss(&self) -> u64 {
        if matches!(self.theme, Theme::Quiet | Theme::Draining) {
            0
        } else {
            LOSS
        }
    }

    /// Looks at it or changes it. Never across an await.
    pub fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many machines there are.
    pub fn size(&self) -> usize {
        self.size
    }

    /// How many of them vote: all, but in a crowd five.
    pub fn voters_max(&self) -> usize {
        if self.size <= 7 { self.size } else { 5 }
    }

    /// After how long a silent voter loses its vote; zero: never. Much sooner than in the product.
    pub fn voter_timeout(&self) -> Duration {
        match self.theme {
            Theme::LastOfThree => VOTER_TIMEOUT,
            _ => Duration::ZERO,
        }
    }

    /// How many of them are no witness.
    pub fn servers(&self) -> usize {
        self.with(|s| {
            s.nodes
                .iter()
                .skip(1)
                .filter(|n| n.role == Role::Server)
                .count()
        })
    }

    /// Whether its process was started and not killed since.
    pub fn is_started(&self, node: usize) -> bool {
        self.with(|s| s.nodes[node].started)
    }

    /// The id of a node.
    pub fn id_of(&self, node: usize) -> NodeId {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)[node]
    }

    /// The id that the next machine of that name will have.
    pub fn next_id_of(&self, node: usize) -> NodeId {
        NodeId::from_random(
            u128::from(mix(self.id_of(node).0.as_u64_pair().0)) << 64 | node as u128,
        )
    }

    /// Another machine takes the place of a node that has lost its power: empty, and with a new id.
    pub fn replace(&self, node: usize) {
        let (old, new) = (self.id_of(node), self.next_id_of(node));
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)[node] = new;
        self.with(|s| {
            (s.nodes[node].disk, s.nodes[node].pre_voted) = (Disk::new(self.planted), 0);
            s.invariants.ideal.on_answered(
                world_now(),
                RegisterKey::Member(old),
                &Value::Is(false),
                true,
            );
        });
        story::note(&format!("node-{node} is another machine"));
    }

    /// The address of a node.
    pub fn address_of(node: usize) -> IpAddr {
        IpAddr::from([10, 0, 1, node as u8])
    }

    /// Where a node listens.
    pub fn listen_of(node: usize) -> SocketAddr {
        SocketAddr::new(Universe::address_of(node), PORT)
    }

    pub fn node_at(&self, listen: &str) -> Option<usize> {
        let listen: SocketAddr = listen.parse().ok()?;
        (1..=self.size()).find(|n| Universe::listen_of(*n) == listen)
    }

    /// Who has that address.
    pub fn node_with(&self, address: IpAddr) -> Option<usize> {
        (1..=self.size()).find(|n| Universe::address_of(*n) == address)
    }

    /// The process of a node.
    pub fn running(&self, node: usize) -> Option<Running> {
        self.with(|s| s.nodes[node].running.clone())
    }

    /// A running node that leads and believes in it, the one of the highest term.
    pub fn leader(&self) -> Option<(usize, Running)> {
        let all: Vec<(usize, Running)> = (1..=self.size())
            .filter_map(|n| Some((n, self.running(n)?)))
            .collect();
        let leading = all.into_iter().filter(|(n, r)| {
            !scheduler::is_paused(*n)
                && r.consensus.news().role == ha_core::controller::RaftRole::Leader
        });
        leading.max_by_key(|(_, r)| r.consensus.news().term)
    }

    /// The node that answers for the address.
    pub fn holder(&self) -> Option<usize> {
        self.with(|s| s.segment.holders().first().copied())
    }

    /// A kernel answers for the address until then.
    pub fn claim(self: &Arc<Self>, me: usize, until: u64) {
        let Some(running) = self.running(me) else {
            return;
        };
        let is_new = self.with(|s| {
            let holders = s.segment.holders();
            s.check(one_holder::on_claim(me, &holders));
            s.segment.answers_until.insert(me, until);
            !holders.contains(&me)
        });
        if !is_new {
            return;
        }
        let (term, applied) = (running.consensus.news().term, running.consensus.read());
        story::note(&format!(
            "node-{me} answers, epoch {term}, applied {}",
            applied.applied_index
        ));
        self.with(|s| {
            s.counts.add("claims");
            let is_witness = s.nodes[me].role == Role::Witness;
            let Invariants {
                epochs,
                knowledge,
                bindings,
                ideal,
                ..
            } = &mut s.invariants;
            let outcome = epochs.on_claim(me, term, is_witness);
            let outcome = outcome.and_then(|()| knowledge.on_claim(me, applied.applied_index));
            // The log's clock is that of its last command, which may have been stamped early.
            let now = applied.clock.max(wall_of(WORLD));
            let outcome = outcome.and_then(|()| bindings.on_claim(me, &applied.stick, now));
            let outcome = outcome.and_then(|()| ideal.on_claim(me, &applied.facts));
            s.check(outcome);
        });
        self.announce(me);
    }

    /// A kernel answers no more.
    pub fn give_up(&self, me: usize) {
        if self.with(|s| s.segment.answers_until.remove(&me)).is_some() {
            story::note(&format!("node-{me} answers no more"));
        }
    }

    /// Clients hear where the address is.
    pub fn announce(self: &Arc<Self>, me: usize) {
        for client in 0..CLIENTS {
            let universe = self.clone();
            scheduler::spawn_on(WORLD, async move {
                scheduler::world_ms(scheduler::between(1, 5)).await;
                if !scheduler::happens(20) {
                    universe.with(|s| s.segment.neighbour[client] = Some(me));
                }
            });
        }
    }

    /// A node has applied an entry.
    pub fn on_applied(&self, me: usize, consensus: &Consensus<NodeRuntime>) {
        let applied = consensus.read();
        let placed = placement::all(&applied.facts).filter_map(|p| Some((p.id, p.node_id()?)));
        let (mut maintenance, mut draining) = (Vec::new(), Vec::new());
        for (id, node) in placed {
            match applied.facts.effective_admin(id, Some(node)).state {
                AdminState::Maintenance => maintenance.push(id),
                AdminState::Drain => draining.push(id),
                AdminState::Ready => {}
            }
        }
        let down: Vec<_> = applied
            .facts
            .health
            .iter()
            .filter(|(_, h)| !h.up)
            .map(|(id, _)| *id)
            .collect();
        let hash = applied
            .applied_index
            .is_multiple_of(same_state::EVERY)
            .then(|| {
                let text = format!(
                    "{:?} {:?}",
                    applied.facts,
                    applied.stick.iter().collect::<Vec<_>>()
                );
                story::fnv(story::FNV, text.as_bytes())
            });
        self.with(|s| {
            let speaks = consensus.versions().speaks();
            let (index, versions) = (applied.applied_index, &mut s.invariants.versions);
            match versions.on_applied(me, speaks, index, &applied.facts) {
                Ok(true) => s.counts.add("versions activated"),
                Ok(false) => {}
                Err(what) => s.check(Err(what)),
            }
            s.invariants.knowledge.on_applied(applied.applied_index);
            s.invariants
                .service
                .on_applied(me, world_now(), &maintenance, &draining, &down);
            s.check(unique::on_applied(me, &applied.facts));
            if let Some(hash) = hash {
                let outcome = s
                    .invariants
                    .same_state
                    .on_applied(me, applied.applied_index, hash);
                s.check(outcome);
            }
        });
    }

    /// Lets go of all processes: each of them knows the universe, and a sweep has thousands of those.
    pub fn end(&self) {
        let ended: Vec<Running> = self.with(|s| {
            s.nodes
                .iter_mut()
                .filter_map(|n| n.running.take())
                .collect()
        });
        drop(ended);
    }

    /// The process of a node dies at once; its kernel and its disk live on.
    pub fn kill(&self, node: usize) {
        scheduler::crash(node);
        self.with(|s| {
            s.nodes[node].started = false;
            if let Some(running) = s.nodes[node].running.take() {
                s.invariants.slots.on_ended(running.slots.process());
            }
            s.invariants.service.on_ended(node);
        });
    }

    /// The power of a machine goes; batches that were not on the disk are lost.
    pub fn lose_power(&self, node: usize) {
        self.kill(node);
        let disk = self.with(|s| {
            s.nodes[node].powered = false;
            s.segment.answers_until.remove(&node);
            s.nodes[node].disk.clone()
        });
        let lost = disk.lose_power();
        story::note(&format!("node-{node} has lost its power and {lost} writes"));
    }
}
