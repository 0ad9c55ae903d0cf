//! Nodes meet: who shows no node's certificate of the cluster hears nothing, who was removed hears that, and where a
//! member says that it is, it is dialled from then on.

use std::net::SocketAddr;
use std::sync::Arc;

use ha_agent::meet::{Heard, Place, ask, question};
use ha_agent::sys::wall_now;
use ha_agent::wire::channels::{self, Idle};
use ha_core::command::{Command, Stamped};
use ha_core::id::NodeId;
use ha_core::meeting::{Known, Met};
use ha_proto::consensus::consensus_client::ConsensusClient;
use ha_trust::tls;
use tonic::Code;

use crate::lab::{Cluster, WITHIN, id};
use crate::nodes::{Running, cluster, holder, until};

fn known(generation: u64) -> Known {
    Known {
        generation,
        recovered: None,
    }
}

fn place(node: &Running) -> Place {
    Place {
        name: "it".into(),
        listen: node.at,
    }
}

/// What `node` says to whoever has these certificates and is of that generation.
fn met(
    nodes: &[Running],
    to: usize,
    trust: &Arc<ha_trust::store::TrustStore>,
    cluster: NodeId,
    generation: u64,
) -> Heard {
    let question = question(cluster, &known(generation));
    let heard = nodes[0]
        .others
        .block_on(ask(trust, &[place(&nodes[to])], &question, WITHIN));
    heard.into_iter().next().expect("one answer").1
}

#[test]
fn who_shows_no_certificate_of_a_node_hears_nothing_and_who_was_removed_hears_that() {
    let issuer = Cluster::new();
    let nodes = cluster(&issuer);
    let leads = holder(&nodes).expect("one holds");
    let config = Arc::new(tls::client_by_fingerprint(None).expect("settings"));
    let at = nodes[leads].at.to_string();
    let refused = nodes[0].others.block_on(async {
        let belief = Arc::new(move || config.clone());
        let channel = channels::channel(&at, None, belief, Idle::Closed).expect("an address");
        let mut client = ConsensusClient::new(channel);
        let asked = client.meet(question(id(9), &known(7))).await;
        asked.expect_err("a stranger")
    });
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    let other = Cluster::new();
    let foreign = met(&nodes, leads, &other.trust(1), id(9), 7);
    assert!(matches!(foreign, Heard::Nobody(_)), "{foreign:?}");

    let fourth = issuer.trust(4);
    let here = |removed| {
        let name = format!("node-{}", leads + 1);
        let known = known(1);
        Heard::Agent(
            id(leads as u128 + 1),
            Met {
                name,
                known,
                removed,
            },
        )
    };
    assert_eq!(met(&nodes, leads, &fourth, id(9), 1), here(false));
    let consensus = nodes[leads].node.consensus.clone();
    for command in [
        Command::AddMember(ha_core::model::Member {
            id: id(4),
            name: "node-4".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 9)),
            ..consensus.read().facts.members[&id(1)].clone()
        }),
        Command::RemoveMember(id(4)),
    ] {
        let at = wall_now();
        let by = String::new();
        let request = None;
        let stamped = Stamped {
            at,
            by,
            request,
            command,
        };
        let done = nodes[0].others.block_on(consensus.propose(stamped));
        done.expect("committed").expect("accepted");
    }
    assert_eq!(met(&nodes, leads, &fourth, id(9), 1), here(true));
    // Of a later generation, but not heard any more.
    assert_eq!(met(&nodes, leads, &fourth, id(9), 7), here(true));
    assert!(holder(&nodes).is_some());
}

#[test]
fn a_member_is_dialled_where_it_says_that_it_is() {
    let issuer = Cluster::new();
    let nodes = cluster(&issuer);
    let leads = holder(&nodes).expect("one holds");
    let moves = (leads + 1) % nodes.len();
    let consensus = nodes[leads].node.consensus.clone();
    let (who, trust) = (id(moves as u128 + 1), nodes[moves].trust.clone());
    let said = |listen: SocketAddr| {
        let question = ha_proto::consensus::MeetRequest {
            listen: listen.to_string(),
            address: listen.ip().to_string(),
            ..question(id(9), &known(1))
        };
        let leader = [place(&nodes[leads])];
        nodes[0]
            .others
            .block_on(ask(&trust, &leader, &question, WITHIN));
    };
    let elsewhere = SocketAddr::from(([127, 0, 0, 7], 7400));
    said(elsewhere);
    assert_eq!(consensus.news().addresses[&who], elsewhere.to_string());
    let logged = || consensus.read().facts.members[&who].listen;
    until("the log to have it", || logged() == elsewhere);
    // It is not there, so back it is found only by its own word.
    said(nodes[moves].at);
    until("the log to have it again", || logged() == nodes[moves].at);
    until("it to answer again", || {
        let news = consensus.news();
        news.matched.get(&who).copied() == Some(news.last_log)
    });
}
