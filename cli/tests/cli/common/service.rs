//! How the mock answers each call: from its [`Scene`], or with what the scene refuses.

use std::sync::{Arc, Mutex};

use ha_proto::control::control_server::Control;
use ha_proto::control::*;
use ha_proto::{AGAIN, CONFIRM, HINT};
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

use super::mock::Scene;

/// Answers from this scene and writes down there what it was asked.
pub struct Service(pub Arc<Mutex<Scene>>);

impl Service {
    fn answer<Q: std::fmt::Debug, A>(
        &self,
        request: Request<Q>,
        answer: impl FnOnce(&mut Scene) -> A,
    ) -> Result<Response<A>, Status> {
        let mut scene = self.0.lock().unwrap();
        scene.asked.push(format!("{:?}", request.into_inner()));
        if scene.elects > 0 {
            scene.elects -= 1;
            return Err(hint(Status::unavailable("there is no leader"), AGAIN));
        }
        match scene.refuse.clone() {
            Some(status) => Err(status),
            None => Ok(Response::new(answer(&mut scene))),
        }
    }
}

impl Service {
    /// What was answered, if the answer does not get lost.
    fn lost<A>(&self, answer: Result<Response<A>, Status>) -> Result<Response<A>, Status> {
        let mut scene = self.0.lock().unwrap();
        if scene.lost == 0 {
            return answer;
        }
        scene.lost -= 1;
        Err(Status::unavailable("the connection broke"))
    }
}

/// As the agent says what can be done about it.
pub fn hint(mut status: Status, hint: &'static str) -> Status {
    let hint = MetadataValue::from_static(hint);
    status.metadata_mut().insert(HINT, hint);
    status
}

#[tonic::async_trait]
impl Control for Service {
    async fn status(&self, q: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        self.answer(q, |scene| {
            if !scene.next_statuses.is_empty() {
                scene.status = scene.next_statuses.remove(0);
            }
            scene.status.clone()
        })
    }

    async fn set_state(
        &self,
        q: Request<SetStateRequest>,
    ) -> Result<Response<SetStateReply>, Status> {
        let asks = (q.get_ref().state != "ready" && !q.get_ref().yes)
            .then(|| self.0.lock().unwrap().confirm.clone())
            .flatten();
        if let Some(asks) = asks {
            return Err(hint(Status::failed_precondition(asks), CONFIRM));
        }
        self.lost(self.answer(q, |scene| scene.set_state.clone()))
    }

    async fn lock(&self, q: Request<LockRequest>) -> Result<Response<TrustReply>, Status> {
        let refused = self.0.lock().unwrap().refuse_lock.clone();
        let answer = self.answer(q, |_| TrustReply::default());
        refused.map_or(answer, Err)
    }

    async fn apply(&self, q: Request<ApplyRequest>) -> Result<Response<ApplyReply>, Status> {
        self.lost(self.answer(q, |scene| scene.apply.clone()))
    }

    async fn diff(&self, q: Request<ApplyRequest>) -> Result<Response<ApplyReply>, Status> {
        self.answer(q, |scene| scene.apply.clone())
    }

    async fn backup(&self, q: Request<BackupRequest>) -> Result<Response<BackupReply>, Status> {
        self.answer(q, |_| BackupReply {
            content: b"facts".to_vec(),
            cluster: "print".into(),
        })
    }

    async fn create_token(
        &self,
        q: Request<CreateTokenRequest>,
    ) -> Result<Response<CreateTokenReply>, Status> {
        self.answer(q, |_| CreateTokenReply {
            token: "ha1-token".into(),
            id: "0a".into(),
            expires_ms: 0,
        })
    }

    async fn tokens(&self, q: Request<TokensRequest>) -> Result<Response<TokensReply>, Status> {
        let token = |id: &str, state: &str| TokenInfo {
            id: id.into(),
            role: "server".into(),
            state: state.into(),
            by: "root on node-1".into(),
            ..Default::default()
        };
        self.answer(q, |_| TokensReply {
            may_be_old: None,
            tokens: vec![token("0a", "open"), token("0b", "used")],
        })
    }

    async fn revoke_token(
        &self,
        q: Request<RevokeTokenRequest>,
    ) -> Result<Response<TrustReply>, Status> {
        self.answer(q, |_| TrustReply {
            message: "token 0a opens nothing any more".into(),
        })
    }

    async fn add_user(&self, q: Request<AddUserRequest>) -> Result<Response<RenewReply>, Status> {
        self.answer(q, |_| RenewReply {
            endpoints: vec!["10.0.0.1:7400".into()],
            cluster: "print".into(),
            ..Default::default()
        })
    }

    async fn renew(&self, q: Request<RenewRequest>) -> Result<Response<RenewReply>, Status> {
        self.answer(q, |_| RenewReply::default())
    }

    async fn users(&self, q: Request<UsersRequest>) -> Result<Response<UsersReply>, Status> {
        self.answer(q, |_| UsersReply {
            may_be_old: None,
            users: vec![UserInfo {
                name: "alice".into(),
                role: "viewer".into(),
                since_ms: 0,
                by: String::new(),
            }],
        })
    }

    async fn remove_user(
        &self,
        q: Request<RemoveUserRequest>,
    ) -> Result<Response<TrustReply>, Status> {
        self.answer(q, |_| TrustReply {
            message: "alice may not enter any more".into(),
        })
    }

    async fn authorities(
        &self,
        q: Request<AuthoritiesRequest>,
    ) -> Result<Response<AuthoritiesReply>, Status> {
        self.answer(q, |scene| {
            let signing = AuthorityInfo {
                fingerprint: "ab".repeat(32),
                stage: "signing".into(),
                shown_by: vec!["node-1".into()],
                ..Default::default()
            };
            AuthoritiesReply {
                may_be_old: None,
                authorities: vec![signing],
                waiting_for: scene.waiting_for.pop().into_iter().collect(),
            }
        })
    }

    async fn rotate_authority(
        &self,
        q: Request<RotateAuthorityRequest>,
    ) -> Result<Response<TrustReply>, Status> {
        self.answer(q, |_| TrustReply::default())
    }

    async fn retire_authority(
        &self,
        q: Request<RetireAuthorityRequest>,
    ) -> Result<Response<TrustReply>, Status> {
        self.answer(q, |_| TrustReply {
            message: "authority abababab is not believed any more".into(),
        })
    }

    async fn rollback(&self, q: Request<RollbackRequest>) -> Result<Response<ApplyReply>, Status> {
        self.answer(q, |scene| scene.apply.clone())
    }

    async fn config_history(
        &self,
        q: Request<ConfigHistoryRequest>,
    ) -> Result<Response<ConfigHistoryReply>, Status> {
        let version = q.get_ref().version;
        self.answer(q, |scene| {
            let mut versions = scene.history.clone();
            versions.retain(|v| version == 0 || v.version == version);
            if version == 0 {
                versions.iter_mut().for_each(|v| v.text.clear());
            }
            ConfigHistoryReply {
                versions,
                may_be_old: None,
            }
        })
    }

    async fn join(&self, _: Request<JoinRequest>) -> Result<Response<JoinReply>, Status> {
        Err(Status::unimplemented("the CLI never joins"))
    }

    async fn reach(&self, _: Request<ReachRequest>) -> Result<Response<ReachReply>, Status> {
        Err(Status::unimplemented("only who joins asks that"))
    }

    async fn remove_member(
        &self,
        q: Request<RemoveMemberRequest>,
    ) -> Result<Response<MemberReply>, Status> {
        self.answer(q, |_| MemberReply {
            message: "node-3 has left".into(),
        })
    }

    async fn promote_member(
        &self,
        q: Request<PromoteMemberRequest>,
    ) -> Result<Response<MemberReply>, Status> {
        self.answer(q, |_| MemberReply::default())
    }

    async fn move_leader(
        &self,
        q: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderReply>, Status> {
        self.answer(q, |scene| scene.moved.clone())
    }

    async fn sessions(
        &self,
        q: Request<SessionsRequest>,
    ) -> Result<Response<SessionsReply>, Status> {
        self.answer(q, |scene| scene.sessions.clone())
    }

    async fn whereis(&self, q: Request<WhereisRequest>) -> Result<Response<WhereisReply>, Status> {
        self.answer(q, |scene| WhereisReply {
            may_be_old: None,
            bindings: scene.bindings.clone(),
        })
    }

    type EventsStream = tokio_stream::Iter<std::vec::IntoIter<Result<EventRecord, Status>>>;

    async fn events(
        &self,
        q: Request<EventsRequest>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        self.answer(q, |scene| {
            let events: Vec<_> = scene.events.iter().cloned().map(Ok).collect();
            tokio_stream::iter(events)
        })
    }

    async fn explain_vip(
        &self,
        q: Request<ExplainVipRequest>,
    ) -> Result<Response<ExplainVipReply>, Status> {
        self.answer(q, |scene| scene.explain.clone())
    }
}
