//! The calls of every day: the status, states, the leader, and what happened.

use ha_proto::control::{
    EventRecord, EventsRequest, ExplainVipReply, ExplainVipRequest, LockRequest, MoveLeaderReply,
    MoveLeaderRequest, SessionsReply, SessionsRequest, SetStateReply, SetStateRequest, StatusReply,
    StatusRequest, WhereisReply, WhereisRequest,
};
use tokio_stream::{Stream, StreamExt};
use tonic::Request;

use super::{Client, Cluster, Retry, asked_by, refusal};
use crate::exit::Failure;

/// Each fails with what the cluster said, or that nobody answered.
impl Cluster {
    /// The whole cluster, as the agent that answers sees it.
    pub async fn status(&mut self) -> Result<StatusReply, Failure> {
        let call = async |mut c: Client, q| c.status(q).await;
        self.ask(Retry::Yes, StatusRequest {}, call).await
    }

    /// Changes an administrative state. Who asks is filled in here.
    pub async fn set_state(&mut self, change: SetStateRequest) -> Result<SetStateReply, Failure> {
        let question = SetStateRequest {
            by: asked_by(),
            ..change
        };
        let call = async |mut c: Client, q| c.set_state(q).await;
        self.change(question, call).await
    }

    /// Takes or renews the maintenance lock for `ttl_ms` milliseconds; with 0 gives it back.
    pub async fn lock(
        &mut self,
        owner: String,
        purpose: String,
        ttl_ms: u64,
    ) -> Result<(), Failure> {
        let question = LockRequest {
            owner,
            purpose,
            ttl_ms,
            release: ttl_ms == 0,
            by: asked_by(),
        };
        let call = async |mut c: Client, q| c.lock(q).await;
        self.ask(Retry::Yes, question, call).await.map(drop)
    }

    /// Hands leadership and the virtual IPs over (to anybody eligible when `to` is empty).
    pub async fn move_leader(&mut self, to: String) -> Result<MoveLeaderReply, Failure> {
        let question = MoveLeaderRequest { to, by: asked_by() };
        let call = async |mut c: Client, q| c.move_leader(q).await;
        self.ask(Retry::No, question, call).await
    }

    /// The sessions of a client, of a server, or all (empty = any, limit 0 = all).
    pub async fn sessions(
        &mut self,
        client: String,
        server: String,
        limit: u32,
    ) -> Result<SessionsReply, Failure> {
        let question = SessionsRequest {
            client,
            server,
            limit,
        };
        let call = async |mut c: Client, q| c.sessions(q).await;
        self.ask(Retry::Yes, question, call).await
    }

    /// Which servers a client comes back to.
    pub async fn whereis(&mut self, client: String) -> Result<WhereisReply, Failure> {
        let call = async |mut c: Client, q| c.whereis(q).await;
        self.ask(Retry::Yes, WhereisRequest { client }, call).await
    }

    /// Events since an instant (0 = all), at most `limit` of the past (0 = all); with `follow` the stream goes on.
    pub async fn events(
        &mut self,
        since_ms: u64,
        grep: String,
        follow: bool,
        limit: u32,
    ) -> Result<impl Stream<Item = Result<EventRecord, Failure>> + Unpin + use<>, Failure> {
        let question = EventsRequest {
            since_ms,
            grep,
            follow,
            limit,
        };
        // The limit of `ask` is for the first answer; a stream that is followed has no end.
        let call = async |mut c: Client, q: Request<EventsRequest>| {
            c.events(Request::new(q.into_inner())).await
        };
        let stream = self.ask(Retry::Yes, question, call).await?;
        Ok(stream.map(|item| item.map_err(|status| refusal(&status))))
    }

    /// Why a virtual IP is where it is (empty = all).
    pub async fn explain_vip(&mut self, name: String) -> Result<ExplainVipReply, Failure> {
        let call = async |mut c: Client, q| c.explain_vip(q).await;
        self.ask(Retry::Yes, ExplainVipRequest { name }, call).await
    }
}
