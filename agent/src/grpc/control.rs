//! The `Control` service: who asks is written into the request, and a follower passes it on to the leader.
//!
//! ```text
//!   request --> here, if this node leads --> operate --> reply
//!          \--> leader's Control, once (header `ha-forwarded`) --> its reply
//! ```

use super::guard::principal;
use super::leader::{forwarded, not_asked};
use super::why_of;
use crate::error::RequestError;
use crate::operate::{Operations, Removal, events};
use crate::permissions::{Caller, Principal};
use crate::wire::channels::Idle;
use crate::wire::kept::KeptChannels;
use ha_core::text::all_plain;
use ha_proto::control as pb;
use ha_proto::control::control_server::{Control, ControlServer};
use ha_proto::{CUT_OFF, HINT};
use serde::Serialize;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Code, Request, Response, Status};

/// Largest request, in bytes: a configuration file.
const REQUEST_MAX: usize = 4 << 20;

/// A leader that takes longer is not waited for by who has something to say himself.
pub(super) const STATUS_WITHIN: Duration = Duration::from_secs(1);

/// Events as they happen, the oldest first.
type EventStream = Pin<Box<dyn Stream<Item = Result<pb::EventRecord, Status>> + Send>>;

/// Answers operators, or passes them on to the node that leads.
pub struct Api {
    pub(super) node: Arc<Operations>,
    /// To nodes that lead.
    pub(super) channels: Arc<KeptChannels>,
}

impl Api {
    /// The service, ready to be added to servers. Its connections to the leader are on the threads that this is
    /// called on.
    pub fn server(node: Arc<Operations>) -> ControlServer<Self> {
        let (trust, threads) = (node.trust.clone(), Handle::current());
        let channels = Arc::new(KeptChannels::new(trust, threads, Idle::Closed));
        ControlServer::new(Api { node, channels }).max_decoding_message_size(REQUEST_MAX)
    }
}

/// Who asks, after every text of the request was looked at: what is stored or shown is one line without control
/// characters, in each request that there is or will be.
fn checked_principal<T: Serialize>(request: &Request<T>) -> Result<Principal, Status> {
    all_plain(request.get_ref()).map_err(|e| RequestError::invalid_argument(e.to_string()))?;
    principal(request)
}

/// A request that says who asks for it; the guard knows better.
trait SaysWho {
    fn by(&mut self) -> &mut String;
}

macro_rules! says_who {
    ($($request:ident),*) => { $(impl SaysWho for pb::$request {
        fn by(&mut self) -> &mut String {
            &mut self.by
        }
    })* };
}
says_who!(
    SetStateRequest,
    ApplyRequest,
    RollbackRequest,
    RemoveMemberRequest,
    PromoteMemberRequest,
    MoveLeaderRequest,
    CreateTokenRequest,
    RevokeTokenRequest,
    AddUserRequest,
    RemoveUserRequest,
    RotateAuthorityRequest,
    RetireAuthorityRequest,
    LockRequest,
    BackupRequest
);

/// Passes on to the leader, or answers here.
macro_rules! on_leader {
    ($self:ident, $request:ident, $method:ident) => {{
        let who = checked_principal(&$request)?;
        match $self.leader(&$request).await? {
            Some(mut leader) => {
                let question = forwarded(&who, $request.into_inner());
                let answer = leader.client.$method(question).await;
                leader.heard(answer).map_err(not_asked)
            }
            None => Ok(Response::new(
                $self.node.$method($request.into_inner()).await?,
            )),
        }
    }};
}

/// The same for a change, which is done by somebody.
macro_rules! change_on_leader {
    ($self:ident, $request:ident, $method:ident) => {{
        let mut request = $request;
        $self.signed(&mut request)?;
        on_leader!($self, request, $method)
    }};
}

impl Api {
    /// Writes into a request who asks for it.
    fn signed<T: SaysWho + Serialize>(&self, request: &mut Request<T>) -> Result<(), Status> {
        let who = checked_principal(request)?;
        let by = request.get_mut().by();
        *by = who.by(by, &self.node.member.name);
        Ok(())
    }
}

#[tonic::async_trait]
impl Control for Api {
    async fn status(
        &self,
        r: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusReply>, Status> {
        let who = checked_principal(&r)?;
        match self.leader(&r).await {
            // Without a leader, or while it does not answer, this node still says what it knows.
            Ok(Some(mut leader)) => match tokio::time::timeout(
                STATUS_WITHIN,
                leader.client.status(forwarded(&who, r.into_inner())),
            )
            .await
            .map(|answer| leader.heard(answer))
            {
                Ok(Ok(reply)) => Ok(reply),
                // It is out: what it knows is not what is.
                Ok(Err(refused))
                    if matches!(
                        refused.code(),
                        Code::PermissionDenied | Code::Unauthenticated
                    ) =>
                {
                    Err(refused)
                }
                _ => Ok(Response::new(self.node.status(pb::StatusRequest {}).await?)),
            },
            _ => Ok(Response::new(self.node.status(pb::StatusRequest {}).await?)),
        }
    }
    async fn set_state(
        &self,
        r: Request<pb::SetStateRequest>,
    ) -> Result<Response<pb::SetStateReply>, Status> {
        change_on_leader!(self, r, set_state)
    }
    async fn lock(&self, r: Request<pb::LockRequest>) -> Result<Response<pb::TrustReply>, Status> {
        change_on_leader!(self, r, lock)
    }
    async fn apply(
        &self,
        r: Request<pb::ApplyRequest>,
    ) -> Result<Response<pb::ApplyReply>, Status> {
        change_on_leader!(self, r, apply)
    }
    async fn rollback(
        &self,
        r: Request<pb::RollbackRequest>,
    ) -> Result<Response<pb::ApplyReply>, Status> {
        change_on_leader!(self, r, rollback)
    }
    async fn config_history(
        &self,
        r: Request<pb::ConfigHistoryRequest>,
    ) -> Result<Response<pb::ConfigHistoryReply>, Status> {
        on_leader!(self, r, config_history)
    }
    async fn join(&self, r: Request<pb::JoinRequest>) -> Result<Response<pb::JoinReply>, Status> {
        // What a member passes on was counted there.
        let who = checked_principal(&r)?;
        let from = who
            .from
            .filter(|_| !matches!(who.caller, Caller::Member(_)));
        self.node.show_a_token(from)?;
        // A block of its own: whatever ends it, the try is counted or not.
        let answer = async { on_leader!(self, r, join) }.await;
        let refused = answer.as_ref().err();
        let refused = refused.and_then(|s| Some((why_of(s)?, s.message())));
        self.node.shown_a_token(from, refused);
        answer
    }
    async fn diff(
        &self,
        mut r: Request<pb::ApplyRequest>,
    ) -> Result<Response<pb::ApplyReply>, Status> {
        r.get_mut().dry_run = true;
        let who = checked_principal(&r)?;
        match self.leader(&r).await? {
            Some(mut leader) => {
                let question = forwarded(&who, r.into_inner());
                let answer = leader.client.diff(question).await;
                leader.heard(answer)
            }
            None => Ok(Response::new(self.node.apply(r.into_inner()).await?)),
        }
    }
    async fn renew(
        &self,
        mut r: Request<pb::RenewRequest>,
    ) -> Result<Response<pb::RenewReply>, Status> {
        match checked_principal(&r)?.caller {
            Caller::User(name, _) => r.get_mut().name = name,
            Caller::Behind(..) => {}
            _ => {
                return Err(Status::failed_precondition(
                    "only an operator's own certificate is renewed by this",
                ));
            }
        }
        on_leader!(self, r, renew)
    }
    async fn backup(
        &self,
        r: Request<pb::BackupRequest>,
    ) -> Result<Response<pb::BackupReply>, Status> {
        change_on_leader!(self, r, backup)
    }
    async fn create_token(
        &self,
        r: Request<pb::CreateTokenRequest>,
    ) -> Result<Response<pb::CreateTokenReply>, Status> {
        change_on_leader!(self, r, create_token)
    }
    async fn tokens(
        &self,
        r: Request<pb::TokensRequest>,
    ) -> Result<Response<pb::TokensReply>, Status> {
        on_leader!(self, r, tokens)
    }
    async fn revoke_token(
        &self,
        r: Request<pb::RevokeTokenRequest>,
    ) -> Result<Response<pb::TrustReply>, Status> {
        change_on_leader!(self, r, revoke_token)
    }
    async fn add_user(
        &self,
        r: Request<pb::AddUserRequest>,
    ) -> Result<Response<pb::RenewReply>, Status> {
        change_on_leader!(self, r, add_user)
    }
    async fn users(
        &self,
        r: Request<pb::UsersRequest>,
    ) -> Result<Response<pb::UsersReply>, Status> {
        on_leader!(self, r, users)
    }
    async fn remove_user(
        &self,
        r: Request<pb::RemoveUserRequest>,
    ) -> Result<Response<pb::TrustReply>, Status> {
        change_on_leader!(self, r, remove_user)
    }
    async fn authorities(
        &self,
        r: Request<pb::AuthoritiesRequest>,
    ) -> Result<Response<pb::AuthoritiesReply>, Status> {
        on_leader!(self, r, authorities)
    }
    async fn rotate_authority(
        &self,
        r: Request<pb::RotateAuthorityRequest>,
    ) -> Result<Response<pb::TrustReply>, Status> {
        change_on_leader!(self, r, rotate_authority)
    }
    async fn retire_authority(
        &self,
        r: Request<pb::RetireAuthorityRequest>,
    ) -> Result<Response<pb::TrustReply>, Status> {
        change_on_leader!(self, r, retire_authority)
    }
    async fn remove_member(
        &self,
        r: Request<pb::RemoveMemberRequest>,
    ) -> Result<Response<pb::MemberReply>, Status> {
        let mut r = r;
        self.signed(&mut r)?;
        let (who, again) = (checked_principal(&r)?, r.get_ref().clone());
        match self.leader(&r).await? {
            Some(mut leader) => {
                let question = forwarded(&who, r.into_inner());
                let answer = leader.client.remove_member(question).await;
                leader.heard(answer)
            }
            None => match self.node.remove_member(r.into_inner()).await? {
                Removal::Done(reply) => Ok(Response::new(reply)),
                // This node leads and is the one to go: it has handed over, and the next leader does it.
                Removal::HandedOver => match self.leader(&Request::new(())).await? {
                    Some(mut leader) => {
                        let answer = leader.client.remove_member(forwarded(&who, again)).await;
                        leader.heard(answer)
                    }
                    None => Err(RequestError::unavailable(
                        "leadership could not be handed over: try again",
                    )
                    .into()),
                },
            },
        }
    }
    async fn promote_member(
        &self,
        r: Request<pb::PromoteMemberRequest>,
    ) -> Result<Response<pb::MemberReply>, Status> {
        change_on_leader!(self, r, promote_member)
    }
    async fn move_leader(
        &self,
        r: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderReply>, Status> {
        change_on_leader!(self, r, move_leader)
    }
    async fn sessions(
        &self,
        r: Request<pb::SessionsRequest>,
    ) -> Result<Response<pb::SessionsReply>, Status> {
        on_leader!(self, r, sessions)
    }
    async fn whereis(
        &self,
        r: Request<pb::WhereisRequest>,
    ) -> Result<Response<pb::WhereisReply>, Status> {
        on_leader!(self, r, whereis)
    }
    /// Without a majority this node says what it knows.
    async fn explain_vip(
        &self,
        r: Request<pb::ExplainVipRequest>,
    ) -> Result<Response<pb::ExplainVipReply>, Status> {
        let who = checked_principal(&r)?;
        match self.leader(&r).await {
            Ok(Some(mut leader)) => {
                let question = forwarded(&who, r.into_inner());
                let answer = leader.client.explain_vip(question).await;
                leader.heard(answer).map_err(not_asked)
            }
            // Soon there is one who knows.
            Err(why) if why.metadata().get(HINT).is_none_or(|h| h != CUT_OFF) => Err(why),
            _ => Ok(Response::new(self.node.explain_vip(r.into_inner()).await?)),
        }
    }

    /// Answered by the node that is asked, for itself.
    async fn reach(
        &self,
        r: Request<pb::ReachRequest>,
    ) -> Result<Response<pb::ReachReply>, Status> {
        let caller = checked_principal(&r)?.from;
        Ok(Response::new(
            self.node.reach(caller, &r.into_inner().listen).await?,
        ))
    }

    type EventsStream = EventStream;

    /// Answered by the node that is asked: the event log is everywhere.
    async fn events(
        &self,
        r: Request<pb::EventsRequest>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        let shows = checked_principal(&r)?.shows;
        let events = events(self.node.clone(), shows, r.into_inner());
        let events = events.map(|event| event.map_err(Status::from));
        Ok(Response::new(Box::pin(events)))
    }
}
