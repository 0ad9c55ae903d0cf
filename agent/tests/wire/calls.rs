//! Calls to a peer that says what it heard.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ha_agent::entrance::{Entrance, Presented};
use ha_agent::outside;
use ha_agent::store::SledStore;
use ha_agent::sys::wall_now;
use ha_agent::threads::Handles;
use ha_agent::wire::channels::{Idle, PeerChannels, server};
use ha_agent::wire::kept::KeptChannels;
use ha_core::model::VirtualIp;
use ha_node::outside::{Addressee, Addresses, Call, CallError, Intercepted, MESSAGE_MAX, Release};
use ha_proto::consensus::consensus_client::ConsensusClient;
use ha_proto::consensus::consensus_server::{Consensus, ConsensusServer};
use ha_proto::consensus::{Envelope, MeetReply, MeetRequest, SnapshotPiece};
use ha_trust::authority::Authority;
use ha_trust::keyring::Keyring;
use ha_trust::store::TrustStore;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::cable::Cable;
use crate::lab::{CLIENT, Cluster, SERVER, WITHIN, id};

const CALLS: [Call; 6] = [
    Call::AppendEntries,
    Call::Vote,
    Call::PreVote,
    Call::TransferLeader,
    Call::Lease,
    Call::Release,
];

/// Answers with the number of the method and what it was sent; a `Vote` is never answered.
pub struct Echo;

impl Echo {
    fn answer(method: u8, request: Request<Envelope>) -> Result<Response<Envelope>, Status> {
        let mut envelope = request.into_inner();
        envelope.body.insert(0, method);
        Ok(Response::new(envelope))
    }
}

#[tonic::async_trait]
impl Consensus for Echo {
    async fn append_entries(&self, r: Request<Envelope>) -> Result<Response<Envelope>, Status> {
        Echo::answer(0, r)
    }
    async fn vote(&self, r: Request<Envelope>) -> Result<Response<Envelope>, Status> {
        if r.get_ref().body == b"silence" {
            std::future::pending::<()>().await;
        }
        Echo::answer(1, r)
    }
    async fn pre_vote(&self, r: Request<Envelope>) -> Result<Response<Envelope>, Status> {
        Echo::answer(2, r)
    }
    async fn transfer_leader(&self, r: Request<Envelope>) -> Result<Response<Envelope>, Status> {
        Echo::answer(3, r)
    }
    async fn lease(&self, r: Request<Envelope>) -> Result<Response<Envelope>, Status> {
        Echo::answer(4, r)
    }
    async fn release(&self, r: Request<Envelope>) -> Result<Response<Envelope>, Status> {
        Echo::answer(5, r)
    }
    async fn meet(&self, _: Request<MeetRequest>) -> Result<Response<MeetReply>, Status> {
        Err(Status::unimplemented("nobody asks that here"))
    }
    async fn install_snapshot(
        &self,
        r: Request<Streaming<SnapshotPiece>>,
    ) -> Result<Response<Envelope>, Status> {
        let (mut pieces, mut count, mut sum) = (r.into_inner(), 0_u64, 0_u64);
        while let Some(piece) = pieces.message().await? {
            count += 1;
            sum += piece.data.iter().map(|b| u64::from(*b)).sum::<u64>();
        }
        let body = [count.to_le_bytes(), sum.to_le_bytes()].concat();
        Ok(Response::new(Envelope {
            from: Vec::new(),
            body,
        }))
    }
}

/// Nobody holds anything here.
pub struct NoAddresses;

impl Addresses for NoAddresses {
    fn configure(&self, _: &[VirtualIp], _: &[Intercepted]) {}
    fn hold(&self, _: ha_core::time::Instant, _: bool) {}
    fn release(&self, _: Release, done: Box<dyn FnOnce() + Send>) {
        done();
    }
    fn announce(&self) {}
    fn fence(&self) -> String {
        String::new()
    }
}

impl Cluster {
    /// Channels, and a node at the other end of them.
    async fn served(&self) -> (PeerChannels, Addressee) {
        let at = self.serve(loopback()).await;
        (self.channels(), server_at(at))
    }

    pub async fn serve(&self, at: SocketAddr) -> SocketAddr {
        self.serve_as(at, self.trust(SERVER)).await
    }

    async fn serve_as(&self, at: SocketAddr, trust: Arc<TrustStore>) -> SocketAddr {
        let listener = TcpListener::bind(at).await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let store = self.directory("store");
        let store = Arc::new(SledStore::open(&store).expect("a disk"));
        let outside = outside::of(id(SERVER), trust.clone(), store, Arc::new(NoAddresses));
        let incoming = Entrance {
            listener,
            local: None,
            trust,
            familiar: Arc::new(|_| true),
            known: Arc::new(|shows| matches!(shows, Presented::Certificate(_))),
        }
        .open(outside.clock, &Handles::here())
        .expect("a thread");
        tokio::spawn(async move {
            let _others = incoming.others;
            let service = ConsensusServer::new(Echo).max_decoding_message_size(MESSAGE_MAX);
            server()
                .add_service(service)
                .serve_with_incoming(incoming.members)
                .await
                .expect("it serves");
        });
        address
    }
}

pub fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

fn server_at(at: SocketAddr) -> Addressee {
    Addressee {
        node: id(SERVER),
        at: at.to_string(),
    }
}

#[tokio::test]
async fn each_call_reaches_its_method_and_brings_its_answer() {
    let cluster = Cluster::new();
    let (peers, to) = cluster.served().await;
    for (method, call) in CALLS.into_iter().enumerate() {
        let answer = peers
            .call(to.clone(), call, b"body".to_vec(), WITHIN)
            .await
            .expect("answered");
        assert_eq!(
            answer,
            [&[method as u8], b"body".as_slice()].concat(),
            "{call:?}"
        );
    }
}

#[tokio::test]
async fn a_snapshot_may_be_larger_than_any_message() {
    let cluster = Cluster::new();
    let (peers, to) = cluster.served().await;
    let body = vec![1; 2 * MESSAGE_MAX + 17];
    let answer = peers
        .call(
            to.clone(),
            Call::InstallSnapshot,
            body.clone(),
            Duration::from_secs(60),
        )
        .await
        .expect("answered");
    let number =
        |at: usize| u64::from_le_bytes(answer[at..at + 8].try_into().expect("eight bytes"));
    assert_eq!(number(8), body.len() as u64, "every byte came");
    assert!(number(0) > 16, "in {} pieces", number(0));
    let refused = peers.call(to, Call::AppendEntries, body, WITHIN).await;
    assert!(
        matches!(refused, Err(CallError::NoAnswer(_))),
        "any other message has its bound: {refused:?}"
    );
}

#[tokio::test]
async fn an_unanswered_call_ends_at_its_deadline_and_holds_nothing_up() {
    let cluster = Cluster::new();
    let (peers, to) = cluster.served().await;
    let within = Duration::from_millis(400);
    let began = Instant::now();
    let silent = peers.call(to.clone(), Call::Vote, b"silence".to_vec(), within);
    let meanwhile = async {
        let mut answered = 0;
        while began.elapsed() < within / 2 {
            peers
                .call(to.clone(), Call::Lease, Vec::new(), within)
                .await
                .expect("the connection is shared, its calls are not");
            answered += 1;
        }
        answered
    };
    let (silent, answered) = tokio::join!(silent, meanwhile);
    assert!(matches!(silent, Err(CallError::NoAnswer(_))), "{silent:?}");
    assert!(began.elapsed() >= within, "not before its time");
    assert!(answered > 0);
}

#[tokio::test]
async fn a_peer_that_is_not_there_is_unreachable_and_found_when_it_comes() {
    let reserved = TcpListener::bind(loopback()).await.expect("a port");
    let at = reserved.local_addr().expect("its address");
    drop(reserved);
    let cluster = Cluster::new();
    let peers = cluster.channels();
    let began = Instant::now();
    let nobody = peers
        .call(server_at(at), Call::Lease, Vec::new(), WITHIN)
        .await;
    assert!(
        matches!(nobody, Err(CallError::Unreachable(_))),
        "{nobody:?}"
    );
    assert!(began.elapsed() < WITHIN, "a refusal is not waited out");
    cluster.serve(at).await;
    let began = Instant::now();
    while peers
        .call(server_at(at), Call::Lease, Vec::new(), WITHIN)
        .await
        .is_err()
    {
        assert!(began.elapsed() < WITHIN, "not found again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// TCP alone would go on with the dead connection for minutes.
#[tokio::test]
async fn a_black_holed_connection_is_given_up_and_a_new_one_made() {
    let cluster = Cluster::new();
    let cable = Cable::to(cluster.serve(loopback()).await).await;
    let (peers, to) = (cluster.channels(), server_at(cable.address));
    let short = Duration::from_millis(100);
    for round in 1..=3 {
        peers
            .call(to.clone(), Call::Lease, Vec::new(), WITHIN)
            .await
            .expect("it works");
        assert_eq!(
            cable.made.load(Ordering::Relaxed),
            round,
            "one connection, and no more than it takes"
        );
        cable.cut();
        let cut = Instant::now();
        let lost = peers.call(to.clone(), Call::Lease, Vec::new(), short).await;
        assert!(matches!(lost, Err(CallError::NoAnswer(_))), "{lost:?}");
        while peers
            .call(to.clone(), Call::Lease, Vec::new(), short)
            .await
            .is_err()
        {
            assert!(
                cut.elapsed() < WITHIN,
                "the dead connection is still used after {:?}",
                cut.elapsed()
            );
        }
        println!(
            "round {round}: works again {:?} after the cut",
            cut.elapsed()
        );
    }
}

#[tokio::test]
async fn who_has_come_to_the_address_of_another_does_not_hear_what_is_for_that_one() {
    let cluster = Cluster::new();
    let at = cluster.serve(loopback()).await;
    let to = Addressee {
        node: id(3),
        at: at.to_string(),
    };
    let lost = cluster
        .channels()
        .call(to, Call::Lease, Vec::new(), WITHIN)
        .await;
    assert!(matches!(lost, Err(CallError::Unreachable(_))), "{lost:?}");
}

/// A self-made authority with the same names, on either side.
#[tokio::test]
async fn an_impostor_neither_speaks_nor_hears() {
    let (cluster, impostor) = (Cluster::new(), Cluster::new());
    let at = cluster.serve(loopback()).await;
    let refused = impostor
        .channels()
        .call(server_at(at), Call::Lease, Vec::new(), WITHIN)
        .await;
    assert!(
        matches!(refused, Err(CallError::Unreachable(_))),
        "{refused:?}"
    );
    let at = impostor.serve(loopback()).await;
    let refused = cluster
        .channels()
        .call(server_at(at), Call::Lease, Vec::new(), WITHIN)
        .await;
    assert!(
        matches!(refused, Err(CallError::Unreachable(_))),
        "{refused:?}"
    );
}

/// Calls go on while one authority takes the place of another, in the steps of the log: no call fails.
#[tokio::test]
async fn an_authority_follows_another_without_a_call_that_fails() {
    let cluster = Cluster::new();
    let next = Authority::generate(id(9), wall_now()).expect("another authority");
    let (client, served) = (cluster.trust(CLIENT), cluster.trust(SERVER));
    let to = server_at(cluster.serve_as(loopback(), served.clone()).await);
    let peers = PeerChannels::new(id(CLIENT), client.clone());
    let old = &cluster.authority;
    let both =
        |node, first: &Authority, second: &Authority| cluster.keyring(node, &[first, second]);
    let steps: [(&TrustStore, Keyring); 6] = [
        (&client, both(CLIENT, old, &next)),
        (&served, both(SERVER, old, &next)),
        (&served, both(SERVER, &next, old)),
        (&client, both(CLIENT, &next, old)),
        (&client, cluster.keyring(CLIENT, &[&next])),
        (&served, cluster.keyring(SERVER, &[&next])),
    ];
    for (store, keyring) in steps {
        for _ in 0..20 {
            peers
                .call(to.clone(), Call::Lease, Vec::new(), WITHIN)
                .await
                .expect("without a gap");
        }
        store.replace(keyring).expect("replaced");
    }
    peers
        .call(to.clone(), Call::Lease, Vec::new(), WITHIN)
        .await
        .expect("without a gap");
    // Who was away during all of it is not believed any more.
    let late = cluster
        .channels()
        .call(to, Call::Lease, Vec::new(), WITHIN)
        .await;
    assert!(late.is_err(), "{late:?}");
}

/// What a follower passes on to the leader: one handshake for all of it.
#[tokio::test]
async fn a_channel_is_kept_until_nothing_comes_back_by_it() {
    let cluster = Cluster::new();
    let cable = Cable::to(cluster.serve(loopback()).await).await;
    let (trust, at) = (cluster.trust(CLIENT), cable.address.to_string());
    let channels = KeptChannels::new(trust, Handle::current(), Idle::Closed);
    let ask = || async {
        let channel = channels.to(id(SERVER), &at).expect("an address");
        let mut client = ConsensusClient::new(channel);
        let answer = tokio::time::timeout(WITHIN, client.lease(Envelope::default())).await;
        answer.expect("in time").map_err(|status| status.code())
    };
    for _ in 0..20 {
        ask().await.expect("answered");
    }
    assert_eq!(cable.made.load(Ordering::Relaxed), 1);
    cable.cut();
    assert_eq!(ask().await.err(), Some(Code::Unavailable));
    channels.forget(id(SERVER), &at);
    ask().await.expect("answered by a new one");
    assert_eq!(cable.made.load(Ordering::Relaxed), 2);
}
