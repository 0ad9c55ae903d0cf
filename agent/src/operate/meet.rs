//! What this node says to others of its cluster of how it knows it, and what it takes from them.

use super::Operations;
use crate::entrance::Presented;
use crate::error::RequestError;
use crate::meet::Place;
use ha_core::command::{Command, Stamped};
use ha_core::controller::RaftRole;
use ha_core::id::NodeId;
use ha_core::meeting::{Known, Met, Outdated, judge};
use ha_core::time::Timestamp;
use ha_proto::consensus::{MeetReply, MeetRequest};
use ha_trust::identity::Subject;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::sync::watch;

/// Letters of a name that is believed.
const NAME_MAX: usize = 63;

/// That this node must take no part any more, once somebody has said so.
pub struct Told(watch::Sender<Option<Outdated>>);

impl Default for Told {
    fn default() -> Self {
        Told(watch::channel(None).0)
    }
}

impl Told {
    pub fn note(&self, why: Outdated) {
        self.0.send_replace(Some(why));
    }

    /// Returns when it was said.
    pub async fn heard(&self) -> Outdated {
        let mut told = self.0.subscribe();
        loop {
            if let Some(why) = told.borrow_and_update().clone() {
                return why;
            }
            if told.changed().await.is_err() {
                // The sender is here: that does not happen.
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Operations {
    /// How this node knows the cluster. A node that has just joined knows from its identity, before it has the log.
    pub(crate) fn known(&self) -> Known {
        let mut known = Known::of(&self.consensus.read().facts);
        known.generation = known.generation.max(self.generation);
        known
    }

    /// Answers who shows a node's certificate of this cluster, good or not any more.
    pub(crate) fn meet(
        self: &Arc<Self>,
        shows: &Presented,
        r: &MeetRequest,
    ) -> Result<MeetReply, RequestError> {
        let live = self.trust.live();
        let facts = self.consensus.read().facts;
        let asks = match shows {
            Presented::Certificate(claims)
                if claims.cluster == live.identity.cluster
                    && claims.until > self.outside.clock.wall()
                    && live.believes(claims) =>
            {
                match claims.subject {
                    Subject::Node(node) => node,
                    Subject::User { .. } => return Err(nodes_only()),
                }
            }
            _ => return Err(nodes_only()),
        };
        let removed = facts.trust.removed.contains_key(&asks);
        let known = self.known();
        if !removed && NodeId::from_slice(&r.cluster) == Some(live.identity.cluster) {
            self.take_from(asks, &known, r)?;
        }
        let (by, at, node) = match known.recovered {
            Some((id, by, at)) => (by, at.0, id.0.as_bytes().to_vec()),
            None => (String::new(), 0, Vec::new()),
        };
        Ok(MeetReply {
            cluster: live.identity.cluster.0.as_bytes().to_vec(),
            node: self.member.id.0.as_bytes().to_vec(),
            name: self.member.name.clone(),
            generation: known.generation,
            recovered_by: by,
            recovered_at_ms: at,
            recovered_node: node,
            removed,
        })
    }

    fn take_from(
        self: &Arc<Self>,
        asks: NodeId,
        known: &Known,
        r: &MeetRequest,
    ) -> Result<(), RequestError> {
        let bad = |what: &str| RequestError::invalid_argument(format!("{what}: it is none"));
        if r.recovered_by.len() > NAME_MAX {
            return Err(bad("recovered_by"));
        }
        let says = Met {
            name: r.recovered_by.clone(),
            known: Known {
                generation: r.generation,
                recovered: None,
            },
            removed: false,
        };
        // Of a rival only who has an id to compare can tell; this is for those of an earlier generation.
        if r.generation > known.generation
            && let Some(Outdated::Superseded {
                generation, own, ..
            }) = judge(known, &[says])
        {
            let (by, at) = (r.recovered_by.clone(), Timestamp(r.recovered_at_ms));
            self.told.note(Outdated::Superseded {
                generation,
                by,
                at,
                own,
            });
            return Ok(());
        }
        if r.generation != known.generation || r.listen.is_empty() {
            return Ok(());
        }
        let listen: SocketAddr = r.listen.parse().map_err(|_| bad("listen"))?;
        let address: IpAddr = r.address.parse().map_err(|_| bad("address"))?;
        let elsewhere = self.consensus.whereabouts().note(asks, listen);
        let facts = self.consensus.read().facts;
        let moved = facts
            .members
            .get(&asks)
            .is_some_and(|m| elsewhere || m.address != address);
        if moved && self.consensus.news().role == RaftRole::Leader {
            let node = self.clone();
            let relocating = async move { node.relocate(asks, listen, address).await };
            self.outside.tasks.spawn("relocate", Box::pin(relocating));
        }
        Ok(())
    }

    /// The log has it from now on where a member is reached, if it can.
    pub(crate) async fn relocate(&self, node: NodeId, listen: SocketAddr, address: IpAddr) {
        let command = Command::Relocate {
            node,
            listen,
            address,
        };
        let stamped = Stamped {
            request: None,
            at: self.outside.clock.wall(),
            by: String::new(),
            command,
        };
        match self.consensus.propose(stamped).await {
            Ok(Ok(_)) => {}
            Ok(Err(why)) => {
                tracing::warn!(%node, %listen, %why, "a member moved to where it cannot be")
            }
            Err(error) => {
                tracing::info!(%node, %listen, %error, "that a member moved is not in the log yet")
            }
        }
    }

    /// Members of before the last recovery that have not come back.
    pub(crate) fn former(&self) -> Vec<Place> {
        let facts = self.consensus.read().facts;
        let recovery = facts.recovery.iter();
        let former = recovery.flat_map(|r| r.former.values());
        let place = |f: &ha_core::state::Former| Place {
            name: f.name.clone(),
            listen: f.listen,
        };
        former.map(place).collect()
    }
}

fn nodes_only() -> RequestError {
    RequestError::unauthenticated("only nodes of this cluster ask that")
}
