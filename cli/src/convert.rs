//! The wire and the printed structs: the only file that knows the generated types.
//!
//! First one method of [`Cluster`] for each call, then the translations.

use ha_proto::control as wire;
use ha_proto::control::control_client::ControlClient as Client;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Channel;

use crate::client::{Again, Cluster, asked_by, refusal};
use crate::exit::{Exit, Failure};
use crate::report::{Applied, Binding, ConfigVersion, Event, Explanation, Frontend, Moved, Node, Problem, Server, Session, Sessions, StateChange, Status, VirtualIp};

/// The calls. Each fails with what the cluster said, or that nobody answered.
#[allow(clippy::missing_errors_doc, reason = "said above, once")]
impl Cluster {
    /// Everything there is to see.
    pub async fn status(&mut self) -> Result<Status, Failure> {
        let question = wire::StatusRequest {};
        Ok(self.ask(Again::Yes, question, async |c, q| Client::new(c).status(q).await).await?.into())
    }

    /// Changes an administrative state; the servers that it concerns, as `backend/server`.
    pub async fn set_state(&mut self, change: StateChange) -> Result<Vec<String>, Failure> {
        let StateChange { target, state, deadline_ms, sticky, then, reason, force } = change;
        let by = asked_by();
        let question = wire::SetStateRequest { target, state, deadline_ms, sticky, then, reason, force, by };
        Ok(self.ask(Again::Yes, question, async |c, q| Client::new(c).set_state(q).await).await?.servers)
    }

    /// Applies a configuration, or with `dry_run` says what it would change.
    pub async fn apply(&mut self, text: String, file: String, dry_run: bool, expect_version: u64) -> Result<Applied, Failure> {
        let question = wire::ApplyRequest { text, file, dry_run, expect_version, by: asked_by() };
        let again = if dry_run { Again::Yes } else { Again::No };
        let reply = self.ask(again, question, async |c, q| Client::new(c).apply(q).await).await;
        let reply = reply.map_err(|failure| match failure.exit {
            Exit::Usage => Failure { exit: Exit::Invalid, ..failure },
            _ => failure,
        })?;
        let mut applied = Applied::from(reply);
        applied.applied = !dry_run && applied.problems.is_empty();
        Ok(applied)
    }

    /// Goes back to a version (0 = the one before the current).
    pub async fn rollback(&mut self, version: u64) -> Result<Applied, Failure> {
        let question = wire::RollbackRequest { version, by: asked_by() };
        let reply = self.ask(Again::No, question, async |c, q| Client::new(c).rollback(q).await).await?;
        let mut applied = Applied::from(reply);
        applied.applied = applied.problems.is_empty();
        Ok(applied)
    }

    /// The versions that are kept; a version that is not 0 comes with its text.
    pub async fn config_history(&mut self, version: u64) -> Result<Vec<ConfigVersion>, Failure> {
        let question = wire::ConfigHistoryRequest { version };
        let reply = self.ask(Again::Yes, question, async |c, q| Client::new(c).config_history(q).await).await?;
        Ok(reply.versions.into_iter().map(Into::into).collect())
    }

    /// Takes a node out of the cluster.
    pub async fn remove_member(&mut self, node: String, force: bool) -> Result<String, Failure> {
        let question = wire::RemoveMemberRequest { node, force, by: asked_by() };
        Ok(self.ask(Again::No, question, async |c, q| Client::new(c).remove_member(q).await).await?.message)
    }

    /// Makes a learner a voter.
    pub async fn promote_member(&mut self, node: String) -> Result<String, Failure> {
        let question = wire::PromoteMemberRequest { node, by: asked_by() };
        Ok(self.ask(Again::No, question, async |c, q| Client::new(c).promote_member(q).await).await?.message)
    }

    /// Hands leadership and the virtual IPs over (to anybody eligible when `to` is empty).
    pub async fn move_leader(&mut self, to: String) -> Result<Moved, Failure> {
        let question = wire::MoveLeaderRequest { to, by: asked_by() };
        Ok(self.ask(Again::No, question, async |c, q| Client::new(c).move_leader(q).await).await?.into())
    }

    /// The sessions of a client, of a server, or all (empty = any, limit 0 = all).
    pub async fn sessions(&mut self, client: String, server: String, limit: u32) -> Result<Sessions, Failure> {
        let question = wire::SessionsRequest { client, server, limit };
        Ok(self.ask(Again::Yes, question, async |c, q| Client::new(c).sessions(q).await).await?.into())
    }

    /// The bindings of a client.
    pub async fn whereis(&mut self, client: String) -> Result<Vec<Binding>, Failure> {
        let question = wire::WhereisRequest { client };
        let reply = self.ask(Again::Yes, question, async |c, q| Client::new(c).whereis(q).await).await?;
        Ok(reply.bindings.into_iter().map(Into::into).collect())
    }

    /// Events since an instant; with `follow` the stream goes on.
    pub async fn events(&mut self, since_ms: u64, grep: String, follow: bool, limit: u32) -> Result<impl Stream<Item = Result<Event, Failure>> + Unpin + use<>, Failure> {
        let question = wire::EventsRequest { since_ms, grep, follow, limit };
        let call = async |c: Channel, q: tonic::Request<wire::EventsRequest>| {
            // The limit of `ask` is for the first answer; a stream that is followed has no end.
            Client::new(c).events(tonic::Request::new(q.into_inner())).await
        };
        let stream = self.ask(Again::Yes, question, call).await?;
        Ok(stream.map(|item| item.map(Event::from).map_err(|status| refusal(&status))))
    }

    /// Why a virtual IP is where it is (empty = all).
    pub async fn explain_vip(&mut self, name: String) -> Result<Explanation, Failure> {
        let question = wire::ExplainVipRequest { name };
        let reply = self.ask(Again::Yes, question, async |c, q| Client::new(c).explain_vip(q).await).await?;
        Ok(Explanation { holder: reply.holder, lines: reply.lines })
    }
}

/// Translates messages whose fields have the same names on both sides.
macro_rules! same_names {
    ($($wire:ident => $plain:ident { $($field:ident),* $(; $($list:ident),*)? })*) => {$(
        impl From<wire::$wire> for $plain {
            fn from(m: wire::$wire) -> Self {
                $plain {
                    $($field: m.$field,)*
                    $($($list: m.$list.into_iter().map(Into::into).collect(),)*)?
                }
            }
        }
    )*};
}

same_names! {
    StatusReply => Status {
        cluster, version, answered_by, term, leader, holder, epoch, holder_since_ms, holder_reason, lease_left_ms,
        fence, config_version, sessions, sessions_total, bindings, bindings_uncommitted, warnings;
        nodes, servers, virtual_ips, frontends
    }
    NodeStatus => Node { id, name, address, role, state, admin, version, voter, fence }
    ServerStatus => Server {
        backend, server, address, node, status, admin, reason, deadline_ms, sessions, sessions_total, queued, weight,
        backup, since_ms, check, id, bytes_in, bytes_out, connect_errors
    }
    VirtualIpStatus => VirtualIp { name, address, holder }
    FrontendStatus => Frontend {
        name, virtual_ip, listeners, backend, status, sessions, sessions_total, maxconn
    }
    ConfigProblem => Problem { file, line, key, found, remedy }
    ConfigVersion => ConfigVersion { version, at_ms, by, summary, text }
    MoveLeaderReply => Moved { from, to, took_ms }
    SessionsReply => Sessions { total; sessions }
    SessionInfo => Session {
        id, client, frontend, port, backend, server, server_address, age_ms, bytes_in, bytes_out
    }
    BindingInfo => Binding { group, client, server, address, bound_at_ms, expires_in_ms, usable }
    EventRecord => Event { seq, at_ms, kind, text, by }
}

/// Whether it was applied is known by the call, not by the reply.
impl From<wire::ApplyReply> for Applied {
    fn from(m: wire::ApplyReply) -> Self {
        let problems = m.problems.into_iter().map(Into::into).collect();
        Applied { version: m.version, applied: false, changes: m.changes, problems }
    }
}
