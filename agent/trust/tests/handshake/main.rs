//! Authorities, certificates and handshakes over real sockets: who is believed, and who is not.

#![allow(clippy::unwrap_used, reason = "a panic fails the test that caused it")]
#![allow(
    clippy::disallowed_methods,
    reason = "a test over real sockets, in real time"
)]

mod certificates;
mod keyring;

use ha_core::id::NodeId;
use ha_core::model::CERTIFICATE_LIFETIME;
use ha_core::time::Timestamp;
use ha_core::trust::Access;
use ha_trust::authority::{Authority, BACKDATED, Seal, request, requested_key};
use ha_trust::identity::{CertificateClaims, Subject, key_id};
use ha_trust::keyring::Keyring;
use ha_trust::store::TrustStore;
use ha_trust::tls::{self, OTHER_CLUSTER, Shown, TlsAcceptor};
use rustls::{ClientConfig, ServerConfig};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

fn now() -> Timestamp {
    Timestamp(
        u64::try_from(
            std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap()
                .as_millis(),
        )
        .unwrap(),
    )
}

fn id(i: u128) -> NodeId {
    NodeId::from_random(i)
}

/// A certificate and its key.
struct Papers {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Papers {
    fn of(authority: &Authority, subject: &Subject) -> Papers {
        Papers::until(authority, subject, now(), CERTIFICATE_LIFETIME)
    }
    fn until(
        authority: &Authority,
        subject: &Subject,
        at: Timestamp,
        lifetime: Duration,
    ) -> Papers {
        let (key, request) = request().unwrap();
        Papers {
            certificate: authority
                .sign(&request, subject, id(9), at, lifetime)
                .unwrap(),
            key: key.serialize_der(),
        }
    }
    fn shown(&self) -> Shown<'_> {
        Shown {
            certificate: &self.certificate,
            key: &self.key,
        }
    }
}

/// One connection from `client` to `server`: what the server sees of who calls, or why there was none.
async fn meet(
    server: ServerConfig,
    client: ClientConfig,
    node: Option<NodeId>,
) -> Result<Option<CertificateClaims>, String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let accepting = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(Arc::new(server))
            .accept(stream)
            .await
            .map_err(|e| format!("server: {e}"))?;
        stream
            .write_all(b"hello")
            .await
            .map_err(|e| e.to_string())?;
        stream.flush().await.map_err(|e| e.to_string())?;
        Ok(stream
            .get_ref()
            .1
            .peer_certificates()
            .map(|c| CertificateClaims::of(&c[0]).unwrap()))
    };
    let connecting = async {
        let mut stream = tls::connect(
            TcpStream::connect(&at).await.unwrap(),
            node,
            Arc::new(client),
        )
        .await
        .map_err(|e| e.to_string())?;
        let mut hello = [0; 5];
        stream
            .read_exact(&mut hello)
            .await
            .map(drop)
            .map_err(|e| format!("client: {e}"))
    };
    match tokio::join!(accepting, connecting) {
        (Ok(seen), Ok(())) => Ok(seen),
        (Err(e), Ok(())) | (Ok(_), Err(e)) => Err(e),
        (Err(a), Err(b)) => Err(format!("{a}; {b}")),
    }
}

fn authority() -> Authority {
    Authority::generate(id(9), now()).unwrap()
}

fn user(access: Access) -> Subject {
    Subject::User {
        name: "alice".into(),
        access,
    }
}

#[tokio::test]
async fn nodes_believe_each_other_and_see_who_it_is() {
    let ca = authority();
    let trusted = [ca.certificate().to_vec()];
    let (one, two, alice) = (
        Papers::of(&ca, &Subject::Node(id(1))),
        Papers::of(&ca, &Subject::Node(id(2))),
        Papers::of(&ca, &user(Access::Operator)),
    );
    let server = || tls::server(&trusted, &[], &one.shown()).unwrap();
    let client = |papers: &Papers| tls::client(&trusted, Some(&papers.shown())).unwrap();

    let seen = meet(server(), client(&two), Some(id(1)))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(seen.subject, Subject::Node(id(2)));
    let seen = meet(server(), client(&alice), None).await.unwrap().unwrap();
    assert_eq!(seen.subject, user(Access::Operator));
    let seen = meet(server(), tls::client(&trusted, None).unwrap(), None)
        .await
        .unwrap();
    assert_eq!(seen, None, "who shows nothing is nobody");
    let wrong = meet(server(), client(&two), Some(id(3))).await.unwrap_err();
    assert!(
        wrong.contains("not valid for name"),
        "another node answers at that address: {wrong}"
    );
    let operator = tls::server(&trusted, &[], &alice.shown()).unwrap();
    assert!(
        meet(operator, client(&two), None).await.is_err(),
        "an operator is no node"
    );
}

#[tokio::test]
async fn an_impostor_is_not_believed() {
    let (ca, own) = (authority(), authority());
    let trusted = [ca.certificate().to_vec()];
    let one = Papers::of(&ca, &Subject::Node(id(1)));
    let impostor = Papers::of(&own, &Subject::Node(id(1)));
    let expired = Papers::until(
        &ca,
        &Subject::Node(id(1)),
        Timestamp(now().0 - 3_600_000),
        Duration::from_secs(60),
    );
    let good = || tls::client(&trusted, Some(&one.shown())).unwrap();
    let own_trust = [own.certificate().to_vec(), ca.certificate().to_vec()];
    for false_server in [
        tls::server(&own_trust, &[], &impostor.shown()).unwrap(),
        tls::server(&trusted, &[], &expired.shown()).unwrap(),
    ] {
        let why = meet(false_server, good(), Some(id(1))).await.unwrap_err();
        assert!(why.contains("invalid peer certificate"), "{why}");
    }
    for false_client in [&impostor, &expired] {
        let client = tls::client(&own_trust, Some(&false_client.shown())).unwrap();
        let why = meet(
            tls::server(&trusted, &[], &one.shown()).unwrap(),
            client,
            None,
        )
        .await
        .unwrap_err();
        assert!(why.contains("invalid peer certificate"), "{why}");
    }
}

#[tokio::test]
async fn who_joins_believes_the_fingerprint_and_nothing_else() {
    let (ca, own) = (authority(), authority());
    let one = Papers::of(&ca, &Subject::Node(id(1)));
    let server =
        |papers: &Papers| tls::server(&[ca.certificate().to_vec()], &[], &papers.shown()).unwrap();
    let by =
        |a: Option<&Authority>| tls::client_by_fingerprint(a.map(Authority::fingerprint)).unwrap();
    assert_eq!(meet(server(&one), by(Some(&ca)), None).await, Ok(None));
    assert_eq!(meet(server(&one), by(None), None).await, Ok(None));
    let why = meet(server(&one), by(Some(&own)), None).await.unwrap_err();
    assert!(why.contains(OTHER_CLUSTER), "{why}");
    // It shows the right authority, and its own certificate is of another.
    let impostor = Papers::of(&own, &Subject::Node(id(1)));
    let chain = tls::server(&[own.certificate().to_vec()], &[], &impostor.shown()).unwrap();
    assert!(
        meet(chain, by(Some(&ca)), None)
            .await
            .unwrap_err()
            .contains(OTHER_CLUSTER)
    );
    let alice = Papers::of(&ca, &user(Access::Admin));
    assert!(
        meet(server(&alice), by(Some(&ca)), None).await.is_err(),
        "an operator is no node"
    );
}

#[tokio::test]
async fn who_knows_only_the_old_authority_believes_the_new_one_by_the_old_ones_word() {
    let (old, new) = (authority(), authority());
    let cross = [old.cross_sign(&new, now()).unwrap()];
    let (one, alice) = (
        Papers::of(&new, &Subject::Node(id(1))),
        Papers::of(&old, &user(Access::Viewer)),
    );
    let both = [new.certificate().to_vec(), old.certificate().to_vec()];
    let behind = || tls::client(&[old.certificate().to_vec()], Some(&alice.shown())).unwrap();
    let seen = meet(
        tls::server(&both, &cross, &one.shown()).unwrap(),
        behind(),
        Some(id(1)),
    )
    .await
    .unwrap()
    .unwrap();
    assert_eq!(
        seen.subject,
        user(Access::Viewer),
        "and is believed, while the old one is"
    );
    assert!(
        meet(
            tls::server(&both, &[], &one.shown()).unwrap(),
            behind(),
            None
        )
        .await
        .is_err(),
        "without that word it is not"
    );
    let by_token = tls::client_by_fingerprint(Some(old.fingerprint())).unwrap();
    assert_eq!(
        meet(
            tls::server(&both, &cross, &one.shown()).unwrap(),
            by_token,
            None
        )
        .await,
        Ok(None),
        "a token of before still names it"
    );
    let stranger = authority();
    let lie = [stranger.cross_sign(&new, now()).unwrap()];
    assert!(
        meet(
            tls::server(&both, &lie, &one.shown()).unwrap(),
            behind(),
            None
        )
        .await
        .is_err(),
        "anybody's word is not enough"
    );
}

#[tokio::test]
async fn what_is_no_tls_ends_the_handshake_and_nothing_else() {
    let ca = authority();
    let one = Papers::of(&ca, &Subject::Node(id(1)));
    let acceptor = TlsAcceptor::from(Arc::new(
        tls::server(&[ca.certificate().to_vec()], &[], &one.shown()).unwrap(),
    ));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    for plain in [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(),
        b"\x16\x03\x01\x00\x00",
        &[0; 64],
    ] {
        let calling = async {
            let mut stream = TcpStream::connect(at).await.unwrap();
            stream.write_all(plain).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            answer
        };
        let accepting = async {
            acceptor
                .accept(listener.accept().await.unwrap().0)
                .await
                .map(drop)
        };
        let (answer, accepted) = tokio::join!(calling, accepting);
        assert!(accepted.is_err());
        assert!(
            answer.is_empty() || answer[0] == 0x15,
            "an alert at most: {answer:?}"
        );
    }
}
