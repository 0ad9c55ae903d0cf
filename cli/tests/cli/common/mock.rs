//! A `Control` service on a local socket, as an agent has one. It answers from one [`Scene`] that the test
//! sets up and may change while a command waits.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use ha_proto::control::control_server::ControlServer;
use ha_proto::control::*;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::Status;

use super::service::Service;
use super::{Ran, run};

/// What the mock answers, and what it was asked.
#[derive(Default)]
pub struct Scene {
    pub status: StatusReply,
    /// Takes the place of `status` one by one, with each call.
    pub next_statuses: Vec<StatusReply>,
    pub refuse: Option<Status>,
    /// The first answers: so many times that there is no leader at the moment.
    pub elects: u32,
    /// The first changes of a state or of the configuration are made, and their answers lost.
    pub lost: u32,
    /// What is asked for before servers are taken out.
    pub confirm: Option<String>,
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
