//! The wire and the printed structs: the only file that knows the generated types.
//!
//! First one method of [`Cluster`] for each call, then the translations.

use ha_proto::control as wire;
use ha_proto::control::control_client::ControlClient as Client;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Channel;

use crate::client::{Again, Cluster, asked_by, refusal};
use crate::exit::{Exit, Failure};
use crate::report::{
    Applied, Authorities, Authority, Binding, ConfigVersion, Event, Explanation, Frontend, Moved,
    NewToken, Node, Papers, Problem, Server, Session, Sessions, StateChange, Status, Token, User,
    VirtualIp,
};

/// Largest backup that is taken, in bytes.
const BACKUP_MAX: usize = 64 << 20;

/// The calls. Each fails with what the cluster said, or that nobody answered.
#[allow(clippy::missing_errors_doc, reason = "said above, once")]
impl Cluster {
    /// Everything there is to see.
    pub async fn status(&mut self) -> Result<Status, Failure> {
        let question = wire::StatusRequest {};
        Ok(self
            .ask(Again::Yes, question, async |c, q| {
                Client::new(c).status(q).await
            })
            .await?
            .into())
    }

    /// Changes an administrative state; the servers that it concerns, as `backend/server`.
    pub async fn set_state(&mut self, change: StateChange) -> Result<Vec<String>, Failure> {
        let StateChange {
            target,
            state,
            deadline_ms,
            sticky,
            then,
            reason,
            force,
            lock,
        } = change;
        let by = asked_by();
        let question = wire::SetStateRequest {
            target,
            state,
            deadline_ms,
            sticky,
            then,
            reason,
            force,
            by,
            lock,
        };
        Ok(self
            .ask(Again::Yes, question, async |c, q| {
                Client::new(c).set_state(q).await
            })
            .await?
            .servers)
    }

    /// Takes or renews the maintenance lock; with a time of 0 gives it back.
    pub async fn lock(
        &mut self,
        owner: String,
        purpose: String,
        ttl_ms: u64,
    ) -> Result<(), Failure> {
        let question = wire::LockRequest {
            owner,
            purpose,
            ttl_ms,
            release: ttl_ms == 0,
            by: asked_by(),
        };
        self.ask(Again::Yes, question, async |c, q| {
            Client::new(c).lock(q).await
        })
        .await
        .map(drop)
    }

    /// Applies a configuration, or with `dry_run` says what it would change.
    pub async fn apply(
        &mut self,
        text: String,
        file: String,
        dry_run: bool,
        expect_version: u64,
    ) -> Result<Applied, Failure> {
        let question = wire::ApplyRequest {
            text,
            file,
            dry_run,
            expect_version,
            by: asked_by(),
        };
        let reply = if dry_run {
            self.ask(Again::Yes, question, async |c, q| {
                Client::new(c).diff(q).await
            })
            .await
        } else {
            self.ask(Again::No, question, async |c, q| {
                Client::new(c).apply(q).await
            })
            .await
        };
        let reply = reply.map_err(|failure| match failure.exit {
            Exit::Usage => Failure {
                exit: Exit::Invalid,
                ..failure
            },
            _ => failure,
        })?;
        let mut applied = Applied::from(reply);
        applied.applied = !dry_run && applied.problems.is_empty();
        Ok(applied)
    }

    /// Goes back to a version (0 = the one before the current).
    pub async fn rollback(&mut self, version: u64) -> Result<Applied, Failure> {
        let question = wire::RollbackRequest {
            version,
            by: asked_by(),
        };
        let reply = self
            .ask(Again::No, question, async |c, q| {
                Client::new(c).rollback(q).await
            })
            .await?;
        let mut applied = Applied::from(reply);
        applied.applied = applied.problems.is_empty();
        Ok(applied)
    }

    /// The versions that are kept; a version that is not 0 comes with its text.
    pub async fn config_history(&mut self, version: u64) -> Result<Vec<ConfigVersion>, Failure> {
        let question = wire::ConfigHistoryRequest { version };
        let reply = self
            .ask(Again::Yes, question, async |c, q| {
                Client::new(c).config_history(q).await
            })
            .await?;
        Ok(reply.versions.into_iter().map(Into::into).collect())
    }

    /// Takes a node out of the cluster.
    pub async fn remove_member(&mut self, node: String, force: bool) -> Result<String, Failure> {
        let question = wire::RemoveMemberRequest {
            node,
            force,
            by: asked_by(),
        };
        Ok(self
            .ask(Again::No, question, async |c, q| {
                Client::new(c).remove_member(q).await
            })
            .await?
            .message)
    }

    /// Makes a learner a voter.
    pub async fn promote_member(&mut self, node: String) -> Result<String, Failure> {
        let question = wire::PromoteMemberRequest {
            node,
            by: asked_by(),
        };
        Ok(self
            .ask(Again::No, question, async |c, q| {
                Client::new(c).promote_member(q).await
            })
            .await?
            .message)
    }

    /// Hands leadership and the virtual IPs over (to anybody eligible when `to` is empty).
    pub async fn move_leader(&mut self, to: String) -> Result<Moved, Failure> {
        let question = wire::MoveLeaderRequest { to, by: asked_by() };
        Ok(self
            .ask(Again::No, question, async |c, q| {
                Client::new(c).move_leader(q).await
            })
            .await?
            .into())
    }

    /// What a new cluster of the same identity is made from, not encrypted yet, and the cluster's name.
    pub async fn backup(&mut self) -> Result<(Vec<u8>, String), Failure> {
        let question = wire::BackupRequest { by: asked_by() };
        let reply = self
            .ask(Again::Yes, question, async |c, q| {
                Client::new(c)
                    .max_decoding_message_size(BACKUP_MAX)
                    .backup(q)
                    .await
            })
            .await?;
        Ok((reply.content, reply.cluster))
    }

    /// A new join token.
    pub async fn create_token(&mut self, ttl_ms: u64, role: String) -> Result<NewToken, Failure> {
        let question = wire::CreateTokenRequest {
            ttl_ms,
            role,
            by: asked_by(),
        };
        // One too many, made by an answer that was lost, expires unseen.
        Ok(self
            .ask(Again::Yes, question, async |c, q| {
                Client::new(c).create_token(q).await
            })
            .await?
            .into())
    }

    /// The join tokens.
    pub async fn tokens(&mut self) -> Result<Vec<Token>, Failure> {
        let reply = self
            .ask(Again::Yes, wire::TokensRequest {}, async |c, q| {
                Client::new(c).tokens(q).await
            })
            .await?;
        Ok(reply.tokens.into_iter().map(Into::into).collect())
    }

    /// Takes a join token back.
    pub async fn revoke_token(&mut self, id: String) -> Result<String, Failure> {
        let question = wire::RevokeTokenRequest { id, by: asked_by() };
        Ok(self
            .ask(Again::Yes, question, async |c, q| {
                Client::new(c).revoke_token(q).await
            })
            .await?
            .message)
    }

    /// Lets an operator in who has the key of this request.
    pub async fn add_user(
        &mut self,
        name: String,
        role: String,
        request: Vec<u8>,
    ) -> Result<Papers, Failure> {
        let question = wire::AddUserRequest {
            name,
            role,
            request,
            by: asked_by(),
        };
        Ok(self
            .ask(Again::No, question, async |c, q| {
                Client::new(c).add_user(q).await
            })
            .await?
            .into())
    }

    /// A new certificate for who asks.
    pub async fn renew(&mut self, request: Vec<u8>) -> Result<Papers, Failure> {
        let question = wire::RenewRequest {
            request,
            name: String::new(),
        };
        Ok(self
            .ask(Again::Yes, question, async |c, q| {
                Client::new(c).renew(q).await
            })
            .await?
            .into())
    }

    /// The operators.
    pub async fn users(&mut self) -> Result<Vec<User>, Failure> {
        let reply = self
            .ask(Again::Yes, wire::UsersRequest {}, async |c, q| {
                Client::new(c).users(q).await
            })
            .await?;
        Ok(reply.users.into_iter().map(Into::into).collect())
    }

    /// Shuts an operator out.
    pub async fn remove_user(&mut self, name: String) -> Result<String, Failure> {
        let question = wire::RemoveUserRequest {
            name,
            by: asked_by(),
        };
        Ok(self
            .ask(Again::No, question, async |c, q| {
                Client::new(c).remove_user(q).await
            })
            .await?
            .message)
    }

    /// The cluster's certificate authorities.
    pub async fn authorities(&mut self) -> Result<Authorities, Failure> {
        Ok(self
            .ask(Again::Yes, wire::AuthoritiesRequest {}, async |c, q| {
                Client::new(c).authorities(q).await
            })
            .await?
            .into())
    }

    /// Begins the change to another authority.
    pub async fn rotate_authority(&mut self) -> Result<String, Failure> {
        let question = wire::RotateAuthorityRequest { by: asked_by() };
        Ok(self
            .ask(Again::No, question, async |c, q| {
                Client::new(c).rotate_authority(q).await
            })
            .await?
            .message)
    }

    /// Ends the belief in the old authority.
    pub async fn retire_authority(&mut self, force: bool) -> Result<String, Failure> {
        let question = wire::RetireAuthorityRequest {
            by: asked_by(),
            force,
        };
        Ok(self
            .ask(Again::No, question, async |c, q| {
                Client::new(c).retire_authority(q).await
            })
            .await?
            .message)
    }

    /// The sessions of a client, of a server, or all (empty = any, limit 0 = all).
    pub async fn sessions(
        &mut self,
        client: String,
        server: String,
        limit: u32,
    ) -> Result<Sessions, Failure> {
        let question = wire::SessionsRequest {
            client,
            server,
            limit,
        };
        Ok(self
            .ask(Again::Yes, question, async |c, q| {
                Client::new(c).sessions(q).await
            })
            .await?
            .into())
    }

    /// The bindings of a client.
    pub async fn whereis(&mut self, client: String) -> Result<Vec<Binding>, Failure> {
        let question = wire::WhereisRequest { client };
        let reply = self
            .ask(Again::Yes, question, async |c, q| {
                Client::new(c).whereis(q).await
            })
            .await?;
        Ok(reply.bindings.into_iter().map(Into::into).collect())
    }

    /// Events since an instant; with `follow` the stream goes on.
    pub async fn events(
        &mut self,
        since_ms: u64,
        grep: String,
        follow: bool,
        limit: u32,
    ) -> Result<impl Stream<Item = Result<Event, Failure>> + Unpin + use<>, Failure> {
        let question = wire::EventsRequest {
            since_ms,
            grep,
            follow,
            limit,
        };
        let call = async |c: Channel, q: tonic::Request<wire::EventsRequest>| {
            // The limit of `ask` is for the first answer; a stream that is followed has no end.
            Client::new(c)
                .events(tonic::Request::new(q.into_inner()))
                .await
        };
        let stream = self.ask(Again::Yes, question, call).await?;
        Ok(stream.map(|item| item.map(Event::from).map_err(|status| refusal(&status))))
    }

    /// Why a virtual IP is where it is (empty = all).
    pub async fn explain_vip(&mut self, name: String) -> Result<Explanation, Failure> {
        let question = wire::ExplainVipRequest { name };
        let reply = self
            .ask(Again::Yes, question, async |c, q| {
                Client::new(c).explain_vip(q).await
            })
            .await?;
        Ok(Explanation {
            holder: reply.holder,
            lines: reply.lines,
        })
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
    CreateTokenReply => NewToken { token, id, expires_ms }
    TokenInfo => Token { id, role, state, made_ms, expires_ms, by, used_by }
    RenewReply => Papers { certificate, authorities, endpoints, cluster }
    UserInfo => User { name, role, since_ms, by }
    AuthoritiesReply => Authorities { waiting_for; authorities }
    AuthorityInfo => Authority { fingerprint, stage, since_ms, shown_by }
    EventRecord => Event { seq, at_ms, kind, text, by }
}

/// Whether it was applied is known by the call, not by the reply.
impl From<wire::ApplyReply> for Applied {
    fn from(m: wire::ApplyReply) -> Self {
        let problems = m.problems.into_iter().map(Into::into).collect();
        Applied {
            version: m.version,
            applied: false,
            changes: m.changes,
            problems,
        }
    }
}
