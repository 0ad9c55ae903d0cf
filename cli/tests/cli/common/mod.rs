//! A `Control` service of our own, for commands to talk to, and a way to run the real binary.
//!
//! The mock answers from one [`Scene`] that the test sets up and may change while a command waits.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use ha_proto::control::control_server::{Control, ControlServer};
use ha_proto::control::*;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

/// What the mock answers, and what it was asked.
#[derive(Default)]
pub struct Scene {
    pub status: StatusReply,
    /// Takes the place of `status` one by one, with each call.
    pub next_statuses: Vec<StatusReply>,
    pub refuse: Option<Status>,
    pub refuse_lock: Option<Status>,
    pub set_state: SetStateReply,
    pub apply: ApplyReply,
    pub history: Vec<ConfigVersion>,
    pub moved: MoveLeaderReply,
    pub sessions: SessionsReply,
    pub bindings: Vec<BindingInfo>,
    pub events: Vec<EventRecord>,
    pub explain: ExplainVipReply,
    /// Nodes that do not follow a change of authority yet, one gone with each call.
    pub waiting_for: Vec<String>,
    /// Each request as its debug form.
    pub asked: Vec<String>,
}

/// A running mock on a local socket, as an agent has one; it ends with the test process.
pub struct Mock {
    pub address: String,
    pub scene: Arc<Mutex<Scene>>,
    _dir: Option<tempfile::TempDir>,
}

impl Mock {
    /// Starts one in a directory of its own.
    pub fn start(scene: Scene) -> Mock {
        let dir = tempfile::tempdir().expect("a directory");
        let mock = Mock::serve(&dir.path().join("control.sock"), scene);
        Mock {
            _dir: Some(dir),
            ..mock
        }
    }

    /// Serves on a socket of this name.
    pub fn serve(path: &Path, scene: Scene) -> Mock {
        let scene = Arc::new(Mutex::new(scene));
        let listener = UnixListener::bind(path).expect("the directory is there");
        let address = format!("unix:{}", path.display());
        listener
            .set_nonblocking(true)
            .expect("sockets can be non-blocking");
        let service = ControlServer::new(Service(scene.clone()));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let listener =
                    tokio::net::UnixListener::from_std(listener).expect("within a runtime");
                let incoming = UnixListenerStream::new(listener);
                tonic::transport::Server::builder()
                    .add_service(service)
                    .serve_with_incoming(incoming)
                    .await
            })
        });
        Mock {
            address,
            scene,
            _dir: None,
        }
    }

    /// Runs the real binary against the mock.
    pub fn run(&self, args: &[&str]) -> Ran {
        run(&self.address, args)
    }

    /// Runs it with `--output json` and reads what it printed.
    pub fn json(&self, args: &[&str]) -> (i32, serde_json::Value) {
        let ran = self.run(&[args, &["--output", "json"]].concat());
        let value = serde_json::from_str(&ran.out).unwrap_or_else(|why| panic!("{why}: {ran:?}"));
        (ran.code, value)
    }

    /// The last request, as its debug form.
    pub fn last_asked(&self) -> String {
        self.scene
            .lock()
            .unwrap()
            .asked
            .last()
            .cloned()
            .unwrap_or_default()
    }
}

/// What a run of the binary gave.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// The binary, with nothing of this environment that changes what it does.
pub fn command(address: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ha-cli"));
    command
        .env("HA_ADDRESS", address)
        .env_remove("NO_COLOR")
        .stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the binary to its end.
pub fn run(address: &str, args: &[&str]) -> Ran {
    read(
        command(address)
            .args(args)
            .output()
            .expect("the binary runs"),
    )
}

/// Ctrl-C for a child that was not yet waited for.
#[cfg(unix)]
pub fn interrupt(pid: u32) {
    // SAFETY: `kill` takes plain numbers; the process is our child, not yet waited for.
    let rc = unsafe { libc::kill(pid as libc::pid_t, libc::SIGINT) };
    assert_eq!(rc, 0);
}

/// The text of an output.
pub fn read(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A cluster of three with two servers.
pub fn a_status() -> StatusReply {
    let node = |name: &str, state: &str| NodeStatus {
        id: format!("id-of-{name}"),
        name: name.into(),
        address: format!("10.0.0.{}:7400", &name[5..]),
        role: "server".into(),
        state: state.into(),
        admin: "ready".into(),
        version: "0.1.0".into(),
        voter: state != "learner",
        fence: String::new(),
    };
    let server = |name: &str, status: &str, sessions| ServerStatus {
        backend: "app".into(),
        server: name.into(),
        address: "10.0.0.9:80".into(),
        status: status.into(),
        admin: "ready".into(),
        sessions,
        weight: 1,
        ..Default::default()
    };
    StatusReply {
        cluster: "test".into(),
        version: "0.1.0".into(),
        answered_by: "node-1".into(),
        term: 3,
        leader: "node-1".into(),
        holder: "node-1".into(),
        epoch: 3,
        holder_reason: "elected".into(),
        config_version: 7,
        nodes: vec![
            node("node-1", "leader"),
            node("node-2", "follower"),
            node("node-3", "learner"),
        ],
        servers: vec![server("alpha", "UP", 2), server("beta", "DOWN", 0)],
        virtual_ips: vec![VirtualIpStatus {
            name: "print".into(),
            address: "10.0.0.100/24".into(),
            holder: "node-1".into(),
        }],
        frontends: vec![FrontendStatus {
            name: "web".into(),
            virtual_ip: "print".into(),
            listeners: "5012, 5014-5019".into(),
            backend: "app".into(),
            status: "OPEN".into(),
            ..Default::default()
        }],
        sessions: 2,
        warnings: vec!["beta is down".into()],
        ..Default::default()
    }
}

/// The same cluster with the state and sessions of `app/alpha` changed.
pub fn with_alpha(admin: &str, sessions: u64) -> StatusReply {
    let mut status = a_status();
    status.servers[0].admin = admin.into();
    status.servers[0].sessions = sessions;
    status
}

struct Service(Arc<Mutex<Scene>>);

impl Service {
    fn answer<Q: std::fmt::Debug, A>(
        &self,
        request: Request<Q>,
        answer: impl FnOnce(&mut Scene) -> A,
    ) -> Result<Response<A>, Status> {
        let mut scene = self.0.lock().unwrap();
        scene.asked.push(format!("{:?}", request.into_inner()));
        match scene.refuse.clone() {
            Some(status) => Err(status),
            None => Ok(Response::new(answer(&mut scene))),
        }
    }
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
        self.answer(q, |scene| scene.set_state.clone())
    }

    async fn lock(&self, q: Request<LockRequest>) -> Result<Response<TrustReply>, Status> {
        let refused = self.0.lock().unwrap().refuse_lock.clone();
        let answer = self.answer(q, |_| TrustReply::default());
        refused.map_or(answer, Err)
    }

    async fn apply(&self, q: Request<ApplyRequest>) -> Result<Response<ApplyReply>, Status> {
        self.answer(q, |scene| scene.apply.clone())
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
            ConfigHistoryReply { versions }
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
