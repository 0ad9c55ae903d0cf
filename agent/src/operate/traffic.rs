//! `sessions`, `whereis`, `events`.

use super::configure::brought;
use super::{Operations, RequestError};
use crate::entrance::Presented;
use crate::permissions::{Permission, may, who};
use ha_core::events::{TEXT_MAX, What};
use ha_core::state::Facts;
use ha_core::stick::mask;
use ha_core::trust::Access;
use ha_core::view::{Newcomer, Overlay, Routes};
use ha_proto::control as pb;
use ha_proxy::SessionFilter;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;

/// Sessions in one reply unless the operator asks for fewer.
const SESSIONS_MAX: usize = 10_000;
/// Between two looks at the event log of an operator that follows it.
const FOLLOW_EVERY: Duration = Duration::from_millis(100);

/// Events as they happen, the oldest first.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<pb::EventRecord, RequestError>> + Send>>;

fn client_address(text: &str) -> Result<IpAddr, RequestError> {
    text.parse().map_err(|_| {
        RequestError::invalid_argument(format!("client: found {text:?}; write an IP address"))
    })
}

impl Operations {
    pub(crate) async fn sessions(
        &self,
        r: pb::SessionsRequest,
    ) -> Result<pb::SessionsReply, RequestError> {
        let may_be_old = self.may_be_old().await?;
        let facts = self.consensus.read().facts;
        let server = if r.server.is_empty() {
            None
        } else {
            let found = r
                .server
                .split_once('/')
                .and_then(|(b, s)| facts.server_id(b, s));
            Some(found.ok_or_else(|| {
                RequestError::not_found(format!(
                    "there is no server {}; write BACKEND/SERVER",
                    r.server
                ))
            })?)
        };
        let client = if r.client.is_empty() {
            None
        } else {
            Some(client_address(&r.client)?)
        };
        let routes = Routes::from_facts(&facts, &Overlay::default());
        let limit = if r.limit == 0 {
            SESSIONS_MAX
        } else {
            (r.limit as usize).min(SESSIONS_MAX)
        };
        let (sessions, total) = self.proxy.sessions(SessionFilter { client, server }, limit);
        let now = self.outside.clock.wall();
        let one = |s: ha_proxy::SessionInfo| {
            let (backend, server) = s
                .server
                .and_then(|id| facts.server_name(id))
                .unwrap_or(("", ""));
            let address = s
                .server
                .and_then(|id| routes.server(id))
                .and_then(|(_, v)| Some((v.address?, v.port)));
            pb::SessionInfo {
                id: s.id,
                client: s.client.to_string(),
                frontend: s.frontend,
                port: u32::from(s.local.port()),
                backend: backend.to_owned(),
                server: server.to_owned(),
                server_address: address.map_or_else(String::new, |(a, p)| {
                    std::net::SocketAddr::new(a, p.unwrap_or(s.local.port())).to_string()
                }),
                age_ms: now.saturating_since(s.started).as_millis() as u64,
                bytes_in: s.bytes_in,
                bytes_out: s.bytes_out,
            }
        };
        Ok(pb::SessionsReply {
            may_be_old,
            sessions: sessions.into_iter().map(one).collect(),
            total: total as u64,
        })
    }

    pub(crate) async fn whereis(
        &self,
        r: pb::WhereisRequest,
    ) -> Result<pb::WhereisReply, RequestError> {
        let may_be_old = self.may_be_old().await?;
        let client = client_address(&r.client)?;
        let applied = self.consensus.read();
        let now = self.outside.clock.wall();
        let routes = Routes::from_facts(&applied.facts, &Overlay::default());
        let keys: Vec<IpAddr> = routes
            .backends
            .iter()
            .filter_map(|b| b.persistence.as_ref())
            .map(|p| mask(client, p.mask_v4, p.mask_v6))
            .collect();
        let found = applied
            .stick
            .iter()
            .filter(|(k, e)| keys.contains(&k.client) && e.is_alive(now))
            .map(|(k, e)| {
                let name = applied
                    .facts
                    .server_name(e.server)
                    .map_or_else(|| e.server.to_string(), |(b, s)| format!("{b}/{s}"));
                pb::BindingInfo {
                    group: k.group.to_string(),
                    client: k.client.to_string(),
                    server: name,
                    address: e.host.to_string(),
                    bound_at_ms: e.bound_at.0,
                    expires_in_ms: e.ends_at().saturating_since(now).as_millis() as u64,
                    usable: routes
                        .server(e.server)
                        .is_some_and(|(_, s)| s.accepts(Newcomer::Bound)),
                }
            });
        let bindings: Vec<_> = found.collect();
        Ok(pb::WhereisReply {
            may_be_old,
            bindings,
        })
    }
}

/// Events after a time, and with `follow` those that come, until the operator hangs up.
pub fn events(node: Arc<Operations>, shows: Presented, r: pb::EventsRequest) -> EventStream {
    let (send, receive) = tokio::sync::mpsc::channel(64);
    let tasks = node.outside.tasks.clone();
    let task = async move {
        let (mut seq, mut first) = (0, true);
        loop {
            // Who was shut out meanwhile hears no more.
            let still = who(
                &shows,
                &node.trust.live(),
                &node.consensus.read(),
                node.outside.clock.wall(),
            );
            if let Err(refused) =
                still.and_then(|caller| may(&caller, Permission::Access(Access::Viewer)))
            {
                send.send(Err(refused)).await.unwrap_or(());
                return;
            }
            let facts = node.consensus.read().facts;
            let log = &facts.events;
            let later = log.after(seq).filter(|e| e.at.0 >= r.since_ms);
            let told = later.map(|e| (e, line(&facts, &e.what)));
            let matching = told.filter(|(e, line)| {
                r.grep.is_empty()
                    || line.contains(&r.grep)
                    || e.what.kind().contains(&r.grep)
                    || e.by.contains(&r.grep)
            });
            let mut found: Vec<_> = matching.map(|(e, line)| (e.clone(), line)).collect();
            if first && r.limit > 0 && found.len() > r.limit as usize {
                found.drain(..found.len() - r.limit as usize);
            }
            (seq, first) = (log.last_seq(), false);
            for (e, text) in found {
                let record = pb::EventRecord {
                    seq: e.seq,
                    at_ms: e.at.0,
                    kind: e.what.kind().to_owned(),
                    text,
                    by: e.by,
                };
                if send.send(Ok(record)).await.is_err() {
                    return;
                }
            }
            if !r.follow || send.is_closed() {
                return;
            }
            node.outside.clock.sleep(FOLLOW_EVERY).await;
        }
    };
    tasks.spawn("events", Box::pin(task));
    Box::pin(ReceiverStream::new(receive))
}

/// An event for people. Which lines a configuration changed is told while it and the one before it are kept.
fn line(facts: &Facts, what: &What) -> String {
    let mut line = what.to_string();
    if let What::ConfigApplied { version } = what {
        for (n, change) in brought(facts, *version).into_iter().flatten().enumerate() {
            if line.len() + change.len() > TEXT_MAX {
                line.push_str("; ...");
                break;
            }
            line.push_str(if n == 0 { ": " } else { "; " });
            line.push_str(&change);
        }
    }
    line
}
