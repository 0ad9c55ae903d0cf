//! What happens at the bounds of the ways in, over real sockets: each row of the table (`permissions/ways_in.rs`) that
//! has no other test names one here.

use std::net::SocketAddr;
use std::time::Duration;

use ha_agent::entrance::{Entrance, KNOWN, Presented, local_socket};
use ha_agent::outside;
use ha_agent::store::SledStore;
use ha_agent::sys::wall_now;
use ha_agent::threads::Handles;
use ha_agent::wire::channels::{STREAMS_MAX, server};
use ha_core::model::CERTIFICATE_LIFETIME;
use ha_core::trust::Access;
use ha_node::outside::MESSAGE_MAX;
use ha_proto::consensus::Envelope;
use ha_proto::consensus::consensus_client::ConsensusClient;
use ha_proto::consensus::consensus_server::ConsensusServer;
use ha_trust::authority::request;
use ha_trust::identity::Subject;
use ha_trust::tls::{self, ClientConfig, ClientStream, Shown};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::time::timeout;
use tonic::transport::Endpoint;

use crate::calls::{Echo, NoAddresses};
use crate::lab::{Cluster, SERVER, WITHIN, id};

/// Nothing came within this time.
const A_WHILE: Duration = Duration::from_millis(300);

impl Cluster {
    /// What a connection of `subject` shows and believes.
    fn papers(&self, subject: &Subject) -> Arc<ClientConfig> {
        let (key, asked) = request().expect("a request");
        let signed = self
            .authority
            .sign(&asked, subject, id(9), wall_now(), CERTIFICATE_LIFETIME);
        let certificate = signed.expect("a certificate");
        let shown = Shown {
            certificate: &certificate,
            key: &key.serialize_der(),
        };
        let authorities = [self.authority.certificate().to_vec()];
        Arc::new(tls::client(&authorities, Some(&shown)).expect("they go together"))
    }

    /// Lets in whoever has a certificate, also on a local socket, and answers everybody.
    async fn everybody(&self, local: Option<&std::path::Path>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("its address");
        let trust = self.trust(SERVER);
        let store = Arc::new(SledStore::open(&self.directory("store")).expect("a disk"));
        let outside = outside::of(id(SERVER), trust.clone(), store, Arc::new(NoAddresses));
        let incoming = Entrance {
            listener,
            local: local.map(|path| local_socket(path).expect("a socket")),
            trust,
            familiar: Arc::new(|_| true),
            known: Arc::new(|shows| !matches!(shows, Presented::Nothing)),
        }
        .open(outside.clock, &Handles::here())
        .expect("a thread");
        let service = || ConsensusServer::new(Echo).max_decoding_message_size(MESSAGE_MAX);
        let members = server()
            .add_service(service())
            .serve_with_incoming(incoming.members);
        let others = server()
            .add_service(service())
            .serve_with_incoming(incoming.others);
        tokio::spawn(async move { tokio::join!(members, others) });
        at
    }
}

/// A connection that is let in: the server's settings have come.
async fn connected(at: SocketAddr, papers: &Arc<ClientConfig>) -> ClientStream {
    let stream = TcpStream::connect(at).await.expect("it connects");
    let secured = tls::connect(stream, None, papers.clone()).await;
    let mut stream = secured.expect("a handshake");
    let mut first = [0];
    let came = timeout(WITHIN, stream.read_exact(&mut first)).await;
    came.expect("in time").expect("its settings");
    stream
}

/// Whether the other side has closed it.
async fn is_closed(stream: &mut ClientStream) -> bool {
    let mut buffer = [0; 1024];
    loop {
        match timeout(A_WHILE, stream.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return true,
            Ok(Ok(_)) => {}
            Err(_) => return false,
        }
    }
}

async fn the_oldest_goes(cluster: &Cluster, greedy: Subject, other: Subject) {
    let at = cluster.everybody(None).await;
    let (greedy, other) = (cluster.papers(&greedy), cluster.papers(&other));
    let mut of_other = connected(at, &other).await;
    let mut all = Vec::new();
    for _ in 0..KNOWN.0 + 3 {
        all.push(connected(at, &greedy).await);
    }
    for (n, stream) in all.iter_mut().enumerate() {
        // The oldest three, and nobody else.
        assert_eq!(is_closed(stream).await, n < 3, "{n}");
        if n == 4 {
            break;
        }
    }
    assert!(!is_closed(all.last_mut().expect("many")).await);
    assert!(!is_closed(&mut of_other).await);
}

fn user(name: &str) -> Subject {
    Subject::User {
        name: name.to_owned(),
        access: Access::Viewer,
    }
}

#[tokio::test]
async fn an_operator_with_more_connections_than_he_may_loses_his_oldest() {
    the_oldest_goes(&Cluster::new(), user("greedy"), user("other")).await;
}

#[tokio::test]
async fn a_member_with_more_connections_than_it_may_loses_its_oldest() {
    let node = |n| Subject::Node(id(n));
    the_oldest_goes(&Cluster::new(), node(1), node(3)).await;
}

#[tokio::test]
async fn on_the_local_socket_one_question_too_many_waits_and_only_its_owner_opens_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let cluster = Cluster::new();
    let path = cluster.directory("local").join("control.sock");
    cluster.everybody(Some(&path)).await;
    let mode = std::fs::metadata(&path)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o007, 0, "{mode:o}");
    let socket = path.clone();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://local");
    let channel = endpoint
        .connect_with_connector(connector)
        .await
        .expect("it connects");
    let envelope = |body: &[u8]| Envelope {
        from: Vec::new(),
        body: body.to_vec(),
    };
    let silent: Vec<_> = (0..STREAMS_MAX)
        .map(|_| {
            let (mut client, asked) = (ConsensusClient::new(channel.clone()), envelope(b"silence"));
            tokio::spawn(async move { client.vote(asked).await })
        })
        .collect();
    // All of them are under way.
    tokio::time::sleep(A_WHILE).await;
    let mut client = ConsensusClient::new(channel.clone());
    let waits = tokio::spawn(async move { client.lease(envelope(b"?")).await });
    tokio::time::sleep(A_WHILE).await;
    assert!(!waits.is_finished(), "it waits for one of the others");
    silent[0].abort();
    let answered = timeout(WITHIN, waits)
        .await
        .expect("in time")
        .expect("no panic");
    answered.expect("an answer");
}
