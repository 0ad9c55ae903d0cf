//! A whole question as it comes by the network: who asks, path, headers and body, through the guard.
//!
//! ```text
//!   byte: which caller | path \n header: value \n ... \n\n body
//! ```

use crate::entrance::{ConnectionInfo, Presented};
use crate::error::Failure;
use crate::grpc::guard::{Guard, STRANGERS_BODY_MAX};
use crate::permissions::{Caller, GuardContext, Principal, TABLE, may, permission_for};
use futures_util::FutureExt as _;
use ha_core::id::NodeId;
use ha_core::model::CERTIFICATE_LIFETIME;
use ha_core::time::Timestamp;
use ha_core::trust::Access;
use ha_node::consensus::machine::AppliedState;
use ha_trust::authority::{Authority, Seal, request};
use ha_trust::identity::{CertificateClaims, Subject};
use ha_trust::keyring::Keyring;
use ha_trust::store::{Live, TrustStore};
use http_body_util::{BodyExt as _, Full};
use std::convert::Infallible;
use std::sync::{Arc, LazyLock};
use tonic::body::Body;
use tower::{Layer as _, Service as _};

const NOW: Timestamp = Timestamp(1_800_000_000_000);

/// A cluster that knows one node, one operator who was let in and one who was not.
struct Scene {
    live: Arc<Live>,
    state: AppliedState,
    callers: Vec<Presented>,
}

impl GuardContext for Scene {
    fn applied(&self) -> AppliedState {
        self.state.clone()
    }
    fn live(&self) -> Arc<Live> {
        self.live.clone()
    }
    fn wall(&self) -> Timestamp {
        NOW
    }
}

fn scene() -> Result<Scene, Failure> {
    let cluster = NodeId::from_random(9);
    let authority = Authority::generate(cluster, NOW)?;
    let signed = |subject: &Subject| -> Result<_, Failure> {
        let (key, asked) = request()?;
        let certificate = authority.sign(&asked, subject, cluster, NOW, CERTIFICATE_LIFETIME)?;
        Ok((key, certificate))
    };
    let user = |name: &str, access| Subject::User {
        name: name.to_owned(),
        access,
    };
    let node = Subject::Node(NodeId::from_random(1));
    let mut callers = vec![Presented::Nothing, Presented::Local("root".to_owned())];
    for subject in [&node, &user("mallory", Access::Admin)] {
        let claims = CertificateClaims::of(&signed(subject)?.1)?;
        callers.push(Presented::Certificate(Arc::new(claims)));
    }
    let (key, certificate) = signed(&node)?;
    let keyring = Keyring {
        generation: 1,
        authorities: vec![authority.certificate().to_vec()],
        crosses: Vec::new(),
        certificate,
        key: key.serialize_der().into(),
        seal: Seal([7; 32]),
    };
    let directory = std::env::temp_dir().join(format!("ha-rpc-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let opened = keyring
        .save(&directory)
        .and_then(|()| TrustStore::open(&directory));
    std::fs::remove_dir_all(&directory)?;
    Ok(Scene {
        live: opened?.live(),
        state: AppliedState::default(),
        callers,
    })
}

static SCENE: LazyLock<Arc<Scene>> = LazyLock::new(|| {
    // Of a reader nothing is left to read with.
    Arc::new(scene().unwrap_or_else(|e| panic!("the scene of `rpc` could not be made: {e}")))
});

/// Nobody gets past the guard who may not, and no stranger with a large body.
pub(super) fn rpc(bytes: &[u8]) {
    let Some((question, who)) = question(bytes) else {
        return;
    };
    let needed = permission_for(question.uri().path());
    let behind = tower::service_fn(move |question: http::Request<Body>| async move {
        let principal = question.extensions().get::<Principal>().cloned();
        let caller = principal.map_or(Caller::Stranger, |principal| principal.caller);
        let granted = needed.is_some_and(|needed| may(&caller, needed).is_ok());
        assert!(
            granted,
            "{caller:?} got past the guard to {}",
            question.uri()
        );
        let stranger = caller == Caller::Stranger;
        if let Ok(body) = question.into_body().collect().await {
            assert!(!stranger || body.to_bytes().len() <= STRANGERS_BODY_MAX);
        }
        Ok::<_, Infallible>(http::Response::new(Body::default()))
    });
    let mut guarded = Guard(SCENE.clone()).layer(behind);
    let answered = guarded.call(question).now_or_never();
    assert!(answered.is_some(), "the guard waits: {who:?}");
}

fn question(bytes: &[u8]) -> Option<(http::Request<Body>, &'static Presented)> {
    let (which, rest) = bytes.split_first()?;
    let scene: &'static Scene = &SCENE;
    let who = &scene.callers[usize::from(*which) % scene.callers.len()];
    let end = rest.windows(2).position(|two| two == b"\n\n")?;
    let (head, body) = (std::str::from_utf8(&rest[..end]).ok()?, &rest[end + 2..]);
    let mut lines = head.split('\n');
    let mut made = http::Request::post(lines.next()?);
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        made = made.header(name, value);
    }
    let visitor = ConnectionInfo {
        from: None,
        shows: who.clone(),
        visit: None,
    };
    let body = Full::new(body.to_vec().into()).map_err(|e: Infallible| match e {});
    let question = made.extension(visitor).body(Body::new(body)).ok()?;
    Some((question, who))
}

/// Questions of the table by each caller, some with what a member says of who asked it.
pub(super) fn samples() -> Vec<Vec<u8>> {
    let headers = [
        "",
        "\nha-access: viewer",
        "\nha-access: admin\nha-user: a 00",
    ];
    let ask = |(n, (name, _)): (usize, &(&str, _))| {
        let (service, _) = name.split_once('/').unwrap_or((name, ""));
        let service = service.to_lowercase();
        let head = format!("/ha.{service}.v1.{name}{}\n\n", headers[n % headers.len()]);
        [&[n as u8], head.as_bytes(), &[0, 0, 0, 0, 2, 10, 0]].concat()
    };
    TABLE.iter().enumerate().step_by(4).map(ask).collect()
}
