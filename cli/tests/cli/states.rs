//! Changing states and leadership against the mock, and waiting for the effect.

use ha_proto::control::*;

use crate::common::{Mock, Scene, a_status, command, interrupt, read, with_alpha};

#[test]
fn states_are_asked_for_with_all_their_options() {
    let scene = Scene {
        set_state: SetStateReply {
            servers: vec!["app/alpha".into()],
            began_ms: 0,
            ..SetStateReply::default()
        },
        ..Scene::default()
    };
    let mock = Mock::start(scene);
    let all = [
        "drain",
        "app/alpha",
        "--deadline",
        "30m",
        "--sticky",
        "move",
        "--then",
        "maintenance",
        "--reason",
        "paper jam",
    ];
    assert_eq!(mock.run(&all).code, 0);
    let asked = mock.last_asked();
    for text in [
        "deadline_ms: 1800000",
        "sticky: \"move\"",
        "then: \"maintenance\"",
        "reason: \"paper jam\"",
        "force: false",
    ] {
        assert!(asked.contains(text), "{text}: {asked}");
    }
    assert_eq!(mock.run(&["maintenance", "node-1", "--force"]).code, 0);
    assert!(
        mock.last_asked().contains("state: \"maint\"") && mock.last_asked().contains("force: true")
    );
    let (code, value) = mock.json(&["ready", "node-1"]);
    assert_eq!((code, &value["servers"][0]), (0, &"app/alpha".into()));
}

#[test]
fn a_drain_is_followed_to_its_end() {
    // The first look is that before the order.
    let mock = draining(vec![
        with_alpha("ready", 3),
        with_alpha("drain", 3),
        with_alpha("drain", 1),
        with_alpha("drain", 0),
    ]);
    let ran = mock.run(&["drain", "app/alpha", "--wait"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.err.contains("3 sessions left (app/alpha)") && ran.err.contains("1 session left"),
        "{}",
        ran.err
    );
    assert!(
        ran.out.contains("app/alpha is drained after"),
        "{}",
        ran.out
    );

    let mock = draining(vec![with_alpha("drain", 3), with_alpha("drain", 0)]);
    let (code, value) = mock.json(&["drain", "app/alpha", "--wait"]);
    assert_eq!(
        (code, &value["result"], &value["sessions"]),
        (0, &"drained".into(), &0.into())
    );
}

#[test]
fn a_drain_that_cuts_sessions_at_its_deadline_is_3() {
    let mut statuses = vec![with_alpha("drain", 3); 4];
    statuses.push(ended("deadline", with_alpha("maint", 0)));
    let mock = draining(statuses);
    let ran = mock.run(&[
        "drain",
        "app/alpha",
        "--wait",
        "--deadline",
        "300ms",
        "--then",
        "maintenance",
    ]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.err.contains("3 sessions had to be cut"), "{}", ran.err);
}

#[test]
fn a_wait_that_runs_out_is_3_and_says_what_goes_on() {
    let mock = draining(vec![with_alpha("drain", 3)]);
    let ran = mock.run(&["drain", "app/alpha", "--wait=300ms"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(
        ran.err.contains("goes on") && ran.err.contains("ha-cli ready app/alpha"),
        "{}",
        ran.err
    );
}

#[test]
fn a_drain_that_is_taken_back_is_5() {
    let mock = draining(vec![with_alpha("drain", 3), with_alpha("ready", 3)]);
    let ran = mock.run(&["drain", "app/alpha", "--wait"]);
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.err.contains("taken back"), "{}", ran.err);
}

#[test]
fn ctrl_c_while_waiting_is_5() {
    let mock = draining(vec![with_alpha("drain", 3)]);
    let child = command(&mock.address)
        .args(["drain", "app/alpha", "--wait"])
        .spawn()
        .unwrap();
    while mock.scene.lock().unwrap().asked.len() < 3 {
        std::thread::yield_now();
    }
    interrupt(child.id());
    let ran = read(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 5, "{ran:?}");
}

#[test]
fn waiting_for_ready_and_for_maintenance() {
    let mut status = with_alpha("ready", 0);
    status.servers[0].status = "DOWN 1/2".into();
    let mock = draining(vec![status, with_alpha("ready", 0)]);
    let ran = mock.run(&["ready", "app/alpha", "--wait"]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "app/alpha is ready\n"),
        "{ran:?}"
    );
    let ran = mock.run(&["maintenance", "app/alpha", "--wait=300ms"]);
    assert_eq!(ran.code, 3, "{ran:?}");
}

#[test]
fn leadership_moves_and_can_be_waited_for() {
    let mut after = a_status();
    (after.leader, after.answered_by) = ("node-2".into(), "node-2".into());
    let mut held = after.clone();
    held.holder = "node-2".into();
    let mock = Mock::start(Scene {
        next_statuses: vec![a_status(), after, held],
        moved: MoveLeaderReply {
            from: "node-1".into(),
            to: "node-2".into(),
            took_ms: 64,
        },
        ..Scene::default()
    });
    let ran = mock.run(&["move-leader", "node-2", "--wait"]);
    assert_eq!(
        ran.out, "node-2 leads now (was node-1), handed over in 64 ms\n",
        "{ran:?}"
    );
    assert_eq!(mock.json(&["move-leader"]).1["took_ms"], 64);
    mock.scene.lock().unwrap().status = a_status();
    assert_eq!(mock.run(&["move-leader", "--wait=300ms"]).code, 3);
}

/// The maintenance that follows a drain is there when the log has the end of the drain: a second after the last session.
#[test]
fn a_drain_that_something_follows_is_waited_for_until_that_is_so() {
    let mock = draining(vec![
        with_alpha("drain", 1),
        with_alpha("drain", 0),
        with_alpha("drain", 0),
        ended("empty", with_alpha("maint", 0)),
    ]);
    let ran = mock.run(&[
        "drain",
        "app/alpha",
        "--then",
        "maintenance",
        "--deadline",
        "20s",
        "--wait",
    ]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("no session was cut"), "{ran:?}");
    let looks = mock.scene.lock().unwrap().asked.len() - 1;
    assert_eq!(looks, 4, "it waits for the log");
    assert!(
        !ran.err.contains("0 sessions left, cut"),
        "nobody is cut: {ran:?}"
    );
}

#[test]
fn a_second_host_is_taken_out_only_when_that_is_meant() {
    let words = "2 of 3 servers of backend app would be out: out already is beta (drain by alice)";
    let mock = draining(vec![]);
    mock.scene.lock().unwrap().confirm = Some(words.into());
    for command in ["drain", "maintenance"] {
        let ran = mock.run(&[command, "app/alpha"]);
        assert_eq!(ran.code, 4, "{ran:?}");
        assert!(
            ran.err.contains(words) && ran.err.contains("use --yes"),
            "{ran:?}"
        );
        let ran = mock.run(&[command, "app/alpha", "--yes"]);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    assert_eq!(
        mock.run(&["ready", "app/alpha"]).code,
        0,
        "nobody asks about that"
    );
}

/// The log has the end of the drain that [`draining`] begins.
fn ended(end: &str, mut status: StatusReply) -> StatusReply {
    status.ended_drains = vec![DrainEnd {
        began_ms: 17,
        targets: vec!["app/alpha".into()],
        end: end.into(),
        at_ms: 0,
    }];
    status
}

fn draining(next_statuses: Vec<StatusReply>) -> Mock {
    let set_state = SetStateReply {
        servers: vec!["app/alpha".into()],
        began_ms: 17,
        ..SetStateReply::default()
    };
    Mock::start(Scene {
        next_statuses,
        set_state,
        ..Scene::default()
    })
}

/// Whether a change was made is not known when its answer is lost: it is asked for again, as the same request.
#[test]
fn a_change_whose_answer_is_lost_is_asked_for_again_under_one_id() {
    let mut status = a_status();
    status.nodes[0].order = 7;
    status.config_version = 12;
    let node = status.nodes[0].name.clone();
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let expected = ["expect_order: Some(7)", "expect_version: 12"];
    let rows = [vec!["ready", node.as_str()], vec!["apply", path, "--yes"]];
    for (words, expected) in rows.iter().zip(expected) {
        let mock = Mock::start(Scene {
            status: status.clone(),
            lost: 2,
            ..Scene::default()
        });
        let ran = mock.run(words);
        assert_eq!(ran.code, 0, "{ran:?}");
        let asked = mock.scene.lock().unwrap().asked.clone();
        let attempts: Vec<&str> = asked
            .iter()
            .filter(|a| a.contains(expected))
            .map(|a| a.split_once("id: \"").unwrap().1.get(..32).unwrap())
            .collect();
        assert_eq!(attempts.len(), 3, "{asked:?}");
        assert!(attempts.iter().all(|id| id == &attempts[0]), "{asked:?}");
        let other = mock.run(words);
        assert_eq!(other.code, 0, "{other:?}");
        assert!(!mock.last_asked().contains(attempts[0]), "another request");
    }
    let mock = Mock::start(Scene {
        status,
        lost: u32::MAX,
        ..Scene::default()
    });
    let ran = mock.run(&["ready", &node, "--timeout", "200ms"]);
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(ran.err.contains("it may have been done"), "{ran:?}");
}
