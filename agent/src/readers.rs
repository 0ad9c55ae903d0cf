//! Everything that reads bytes from outside, one function for each kind: what fuzzing feeds (`tests/fuzz`), and what
//! replays its finds. Each must end with a value or an error, whatever the bytes are.

mod rpc;

use crate::config::{AgentConfig, parse_cluster};
use ha_core::command::{Command, Stamped};
use ha_core::lease::Lease;
use ha_core::state::ClusterState;
use ha_core::time::Timestamp;
use ha_core::version::CURRENT;
use ha_node::consensus::convert::Recorded;
use ha_node::consensus::types::{LogId, SnapshotMeta, Types, Vote};
use ha_record::backup::Backup;
use ha_record::lease::LeaseAnswer;
use ha_record::{decode, decode_message, encode, sender_speaks};
use ha_trust::identity::{CertificateClaims, key_id};
use ha_trust::passphrase;
use ha_trust::token::Token;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft_rt_tokio::TokioRuntime;

type T = Types<TokioRuntime>;
type Entry = <T as openraft::RaftTypeConfig>::Entry;

/// Reads bytes of one kind.
pub type Reader = fn(&[u8]);

/// All of them, by the name of their fuzz target.
pub const READERS: &[(&str, Reader)] = &[
    ("agent_file", agent_file),
    ("cluster_file", cluster_file),
    ("join_token", join_token),
    ("certificate", certificate),
    ("peer_message", peer_message),
    ("stored_record", stored_record),
    ("command", command),
    ("backup_file", backup_file),
    ("rpc", rpc::rpc),
];

fn agent_file(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = AgentConfig::parse("agent.toml", text).map_err(|problems| problems.to_string());
    }
}

/// What can be read can be applied, and applied again over itself.
fn cluster_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match parse_cluster("cluster.toml", text) {
        Err(problems) => drop(problems.to_string()),
        Ok(file) => {
            let mut state = ClusterState::default();
            for at in 1..=2 {
                let command = Command::Configure {
                    config: file.config.clone(),
                    text: text.to_owned(),
                    expect: None,
                };
                let _ = state.apply(&Stamped {
                    at: Timestamp(at),
                    by: String::new(),
                    command,
                    request: None,
                });
            }
        }
    }
}

/// One that is read is written as it was.
fn join_token(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(token) = text.parse::<Token>() {
        assert_eq!(
            token.to_string().parse::<Token>().ok().as_ref(),
            Some(&token)
        );
    }
}

fn certificate(bytes: &[u8]) {
    let _ = (
        CertificateClaims::of(bytes),
        key_id(bytes),
        ha_trust::authority::requested_key(bytes),
    );
}

/// Every body that one agent takes from another, and what is made of it.
fn peer_message(bytes: &[u8]) {
    message::<AppendEntriesRequest<T>>(bytes);
    message::<AppendEntriesResponse<T>>(bytes);
    message::<VoteRequest<T>>(bytes);
    message::<VoteResponse<T>>(bytes);
    message::<TransferLeaderRequest<T>>(bytes);
    message::<TransferLeaderResponse<T>>(bytes);
    message::<(Vote<TokioRuntime>, SnapshotMeta<TokioRuntime>, Vec<u8>)>(bytes);
    message::<SnapshotResponse<T>>(bytes);
    let _ = decode_message::<Lease>(CURRENT, bytes);
    let _ = decode_message::<LeaseAnswer>(CURRENT, bytes);
    let _ = sender_speaks(bytes);
}

fn message<M: Recorded>(bytes: &[u8]) {
    if let Ok(record) = decode_message::<M::Record>(CURRENT, bytes) {
        let _ = M::from_record(record);
    }
}

/// Every record that the store keeps.
fn stored_record(bytes: &[u8]) {
    stored::<Entry>(bytes);
    stored::<Vote<TokioRuntime>>(bytes);
    stored::<Option<LogId<TokioRuntime>>>(bytes);
    stored::<SnapshotMeta<TokioRuntime>>(bytes);
    if let Ok(state) = decode::<ClusterState>(CURRENT, bytes) {
        let _ = encode(CURRENT.max, &state);
    }
}

fn stored<M: Recorded>(bytes: &[u8]) {
    if let Ok(record) = decode::<M::Record>(CURRENT, bytes) {
        let _ = M::from_record(record);
    }
}

/// A command that can be read can be applied, to a young cluster and once more.
fn command(bytes: &[u8]) {
    let Ok(stamped) = decode::<Stamped>(CURRENT, bytes) else {
        return;
    };
    let mut state = ClusterState::default();
    let _ = (state.apply(&stamped), state.apply(&stamped));
}

/// The file and, as if the passphrase were right, what is in it.
fn backup_file(bytes: &[u8]) {
    // What takes long on purpose is left out: the header says how long.
    let number = |at: usize| {
        let four = bytes.get(at..at + 4)?;
        Some(u32::from_be_bytes([four[0], four[1], four[2], four[3]]))
    };
    if let (Some(0..64), Some(0..4)) = (number(10), number(14)) {
        let _ = passphrase::unlock("a passphrase", bytes);
    }
    let _ = Backup::from_bytes(bytes);
}

/// For each reader, bytes that it takes: where fuzzing begins.
///
/// # Errors
/// What could not be made.
pub fn samples() -> Result<Vec<(&'static str, Vec<u8>)>, crate::error::Failure> {
    use ha_core::check::Kind;
    use ha_core::id::NodeId;
    use ha_core::model::{CERTIFICATE_LIFETIME, Member, Role, Timing};
    use ha_core::trust::{Access, Digest, Ticket, TrustOrder};
    use ha_trust::authority::{Authority, Seal, request};
    use ha_trust::identity::Subject;
    let (node, now) = (NodeId::from_random(1), Timestamp(1_800_000_000_000));
    let agent = "name = \"node-1\"\ndata_dir = \"/var/lib/ha-agent\"\nlisten = \"10.0.0.1:7400\"\nvip = \"bind\"\nrole = \"server\"\nsocket = \"/run/s\"\n";
    let cluster = include_str!("../../packaging/examples/cluster.toml");
    let config = parse_cluster("cluster.toml", cluster)?.config;
    let authority = Authority::generate(NodeId::from_random(9), now)?;
    let (_, asked) = request()?;
    let subject = Subject::User {
        name: "alice".to_owned(),
        access: Access::Viewer,
    };
    let member = Member {
        id: node,
        name: "node-1".into(),
        listen: ([10, 0, 0, 1], 7400).into(),
        address: [10, 0, 0, 1].into(),
        role: Role::Server,
        version: "1".into(),
        speaks: CURRENT,
        checks: Kind::known_set(),
    };
    let introduce = TrustOrder::Introduce {
        fingerprint: authority.fingerprint(),
        certificate: authority.certificate().to_vec(),
        cross: Vec::new(),
        sealed_key: authority.sealed_key(&Seal([7; 32]))?,
    };
    let ticket = Ticket {
        token: "0a".into(),
        secret: Digest([1; 32]),
        key: Digest([2; 32]),
    };
    let commands = [
        Command::Found {
            cluster_id: node,
            timing: Timing::Lan,
            version: CURRENT.max,
        },
        Command::Trust(introduce),
        Command::AddMember(member.clone()),
        Command::Admit {
            member,
            ticket,
            replaces: None,
        },
        Command::Configure {
            config,
            text: cluster.to_owned(),
            expect: Some(1),
        },
        Command::Rollback {
            version: None,
            expect: None,
        },
        Command::Lock {
            owner: "a".into(),
            purpose: "b".into(),
            expires: now,
        },
    ];
    let mut state = ClusterState::default();
    let mut samples = vec![
        ("agent_file", agent.as_bytes().to_vec()),
        ("cluster_file", cluster.as_bytes().to_vec()),
        (
            "join_token",
            Token::generate(authority.fingerprint())?
                .to_string()
                .into_bytes(),
        ),
        ("certificate", authority.certificate().to_vec()),
        (
            "certificate",
            authority.sign(&asked, &subject, node, now, CERTIFICATE_LIFETIME)?,
        ),
        ("certificate", asked),
        ("backup_file", passphrase::lock("a passphrase", b"content")?),
    ];
    for sample in ha_record::samples::all(CURRENT.max)? {
        samples.push(match sample.record {
            "backup" => ("backup_file", sample.bytes),
            _ if sample.is_message => ("peer_message", sample.bytes),
            _ => ("stored_record", sample.bytes),
        });
    }
    for command in commands {
        let stamped = Stamped {
            at: now,
            by: "me".into(),
            command,
            request: None,
        };
        let _ = state.apply(&stamped);
        samples.push(("command", encode(CURRENT.max, &stamped)?));
    }
    samples.extend(rpc::samples().into_iter().map(|asked| ("rpc", asked)));
    samples.push(("stored_record", encode(CURRENT.max, &state)?));
    let backup = Backup {
        made: now,
        version: "1".into(),
        promise_ms: 300,
        seal: [7; 32],
        facts: (*state.facts).clone(),
        bindings: state.stick.clone(),
    };
    samples.push(("backup_file", backup.to_bytes()?));
    samples.push((
        "command",
        encode(
            CURRENT.max,
            &Stamped {
                at: now,
                by: String::new(),
                command: Command::Restore(Box::new((*state.facts).clone())),
                request: None,
            },
        )?,
    ));
    Ok(samples)
}
