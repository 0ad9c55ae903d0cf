//! `rolling-restart` against the mock: how each step may fail, and what stays behind then.

use std::time::Duration;

use ha_proto::control::*;
use tonic::Status;

use crate::common::{Mock, Scene, a_status};

/// Three nodes that vote; of node-2's servers one is out on purpose.
fn well() -> StatusReply {
    let mut status = a_status();
    status.nodes[2].state = "follower".into();
    status.nodes[2].voter = true;
    status.servers[1].status = "MAINT".into();
    for server in &mut status.servers {
        server.node = "node-2".into();
    }
    status
}

fn mock() -> Mock {
    Mock::start(Scene {
        status: well(),
        ..Scene::default()
    })
}

fn asked(mock: &Mock, what: &str) -> usize {
    mock.scene
        .lock()
        .expect("no panic under it")
        .asked
        .iter()
        .filter(|a| a.contains(what))
        .count()
}

/// However it ended: the lock is free, and the node is as it was left.
fn stays_drained(mock: &Mock) {
    assert_eq!(
        (
            asked(mock, "state: \"drain\""),
            asked(mock, "state: \"ready\""),
            asked(mock, "release: true")
        ),
        (1, 0, 1)
    );
}

#[test]
fn a_node_is_drained_worked_on_and_made_ready_under_the_lock() {
    let mock = mock();
    let (code, value) = mock.json(&[
        "rolling-restart",
        "--node",
        "node-2",
        "--force",
        "--command",
        "test $HA_NODE-$HA_NODE_ADDRESS-$HA_NODE_HOST = node-2-10.0.0.2:7400-10.0.0.2",
    ]);
    assert_eq!(
        (code, &value["nodes"][0]["node"]),
        (0, &"node-2".into()),
        "{value}"
    );
    let asked = mock.scene.lock().unwrap().asked.clone();
    let at = |what: &str| {
        asked
            .iter()
            .position(|a| a.contains(what))
            .unwrap_or_else(|| panic!("{what}: {asked:#?}"))
    };
    assert!(at("purpose: \"rolling restart, now node-2\"") < at("state: \"drain\""));
    assert!(
        at("state: \"drain\"") < at("state: \"ready\"")
            && at("state: \"ready\"") < at("release: true")
    );
    assert!(
        asked[at("state: \"drain\"")].contains("force: true")
            && asked[at("purpose")].contains("ttl_ms: 60000"),
        "{asked:#?}"
    );
}

/// What the answering member says goes into the operator's shell, as ssh's words in the documented command.
#[test]
fn an_address_that_is_an_option_stops_it_before_anything_is_done() {
    let mock = mock();
    let ran = std::env::temp_dir().join(format!("ha-rolling-{}", std::process::id()));
    let option = format!("-oProxyCommand=touch {}", ran.display());
    for node in &mut mock.scene.lock().unwrap().status.nodes {
        node.address.clone_from(&option);
    }
    let command = format!("touch {}", ran.display());
    let refused = mock.run(&["rolling-restart", "--node", "node-2", "--command", &command]);
    assert!(
        refused.err.contains("nothing was done") && refused.code != 0,
        "{refused:?}"
    );
    assert!(!ran.exists());
    assert_eq!(asked(&mock, "state: \"drain\""), 0);
}

#[test]
fn a_command_that_fails_or_takes_too_long_leaves_the_node_drained() {
    let failing = mock();
    let ran = failing.run(&["rolling-restart", "--node", "node-2", "--command", "exit 9"]);
    assert!(
        ran.code == 1
            && ran.err.contains("the command for node-2 failed")
            && ran.err.contains("ha-cli ready node-2"),
        "{ran:?}"
    );
    assert!(ran.err.contains("no node was done"), "{ran:?}");
    stays_drained(&failing);

    let (slow, began) = (mock(), ha_cli::clock::now());
    let ran = slow.run(&[
        "rolling-restart",
        "--node",
        "node-2",
        "--command",
        "sleep 60",
        "--command-within",
        "200ms",
    ]);
    assert!(
        ran.code == 3 && ran.err.contains("not done after"),
        "{ran:?}"
    );
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "what the command started is ended with it"
    );
    stays_drained(&slow);
}

#[test]
fn a_node_that_does_not_come_back_stays_drained() {
    let mut gone = well();
    gone.nodes[1].state = "unreachable".into();
    let mock = Mock::start(Scene {
        next_statuses: vec![well(), well(), well(), well(), gone],
        ..Scene::default()
    });
    let ran = mock.run(&[
        "rolling-restart",
        "--node",
        "node-2",
        "--command",
        "true",
        "--back-within",
        "1s",
    ]);
    assert!(
        ran.code == 3 && ran.err.contains("node-2 stays drained"),
        "{ran:?}"
    );
    stays_drained(&mock);
}

#[test]
fn somebody_elses_lock_ends_it_before_anything_is_done() {
    let mock = Mock::start(Scene {
        status: well(),
        refuse_lock: Some(Status::failed_precondition(
            "bob holds the maintenance lock",
        )),
        ..Scene::default()
    });
    let ran = mock.run(&["rolling-restart", "--command", "true"]);
    assert!(
        ran.code == 4 && ran.err.contains("bob holds the maintenance lock"),
        "{ran:?}"
    );
    assert_eq!(asked(&mock, "state: \"drain\""), 0);
}

/// Who does not hear the leader knows of no session and of nobody who is out: that is no end of a drain.
#[test]
fn what_a_node_without_a_leader_shows_is_not_gone_by() {
    let mut alone = well();
    (alone.answered_by, alone.servers[0].sessions) = ("node-3".into(), 0);
    let scene = || Scene {
        status: alone.clone(),
        set_state: SetStateReply {
            servers: vec!["app/alpha".into()],
            began_ms: 0,
            ..SetStateReply::default()
        },
        ..Scene::default()
    };
    let mock = Mock::start(scene());
    let ran = mock.run(&["drain", "app/alpha", "--wait=700ms"]);
    assert!(ran.code == 3 && !ran.out.contains("is drained"), "{ran:?}");
}

/// A drain does not move the address: the node's turn includes that it is handed over before the command runs.
#[test]
fn the_node_that_leads_hands_over_after_its_drain_and_before_its_command() {
    let mut leads = well();
    leads.leader = "node-2".into();
    leads.holder = "node-2".into();
    leads.answered_by = "node-2".into();
    let mock = Mock::start(Scene {
        next_statuses: vec![leads.clone(), leads.clone(), leads.clone(), leads, well()],
        ..Scene::default()
    });
    let ran = mock.run(&["rolling-restart", "--node", "node-2", "--command", "true"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let asked = mock.scene.lock().unwrap().asked.clone();
    let at = |what: &str| {
        asked
            .iter()
            .position(|a| a.contains(what))
            .unwrap_or_else(|| panic!("{what}: {asked:#?}"))
    };
    assert!(at("state: \"drain\"") < at("MoveLeaderRequest"));
    assert!(at("MoveLeaderRequest") < at("state: \"ready\""));
}
