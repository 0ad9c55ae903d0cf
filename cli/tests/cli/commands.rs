//! What every command shares, and those that only ask, against the mock.

use ha_proto::control::*;
use tonic::Status;

use crate::common::{Mock, Scene, a_status, command, interrupt, read, run};

#[test]
fn status_shows_the_cluster_in_haproxys_words() {
    let mock = Mock::start(Scene {
        status: a_status(),
        ..Scene::default()
    });
    let ran = mock.run(&["status"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for text in [
        "cluster  test",
        "leader   node-1",
        "app/alpha",
        "UP",
        "DOWN",
        "OPEN",
        "5012, 5014-5019",
        "warning: beta is down",
    ] {
        assert!(ran.out.contains(text), "{text}: {}", ran.out);
    }
    assert!(
        !ran.out.contains('\x1b'),
        "no colours where there is no terminal"
    );
}

#[test]
fn status_as_json_has_the_documented_shape() {
    let mock = Mock::start(Scene {
        status: a_status(),
        ..Scene::default()
    });
    let (code, value) = mock.json(&["status"]);
    assert_eq!(code, 0);
    assert_eq!(value["cluster"], "test");
    assert_eq!(value["term"], 3);
    assert_eq!(
        (&value["leader"], &value["holder"], &value["epoch"]),
        (&"node-1".into(), &"node-1".into(), &3.into())
    );
    assert_eq!(value["nodes"][1]["state"], "follower");
    for key in ["id", "name", "address", "role", "state", "admin", "version"] {
        assert!(value["nodes"][0][key].is_string(), "{key}");
    }
    for key in ["backend", "server", "address", "status", "admin"] {
        assert!(value["servers"][0][key].is_string(), "{key}");
    }
    assert_eq!(
        (
            &value["servers"][0]["sessions"],
            &value["servers"][0]["weight"]
        ),
        (&2.into(), &1.into())
    );
    assert_eq!(value["sessions"], 2);
    assert!(
        value["virtual_ips"].is_array()
            && value["frontends"].is_array()
            && value["warnings"].is_array()
    );
}

#[test]
fn nobody_reachable_is_6_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = format!("unix:{}", dir.path().join("control.sock").display());
    for output in ["table", "json"] {
        let ran = run(&nowhere, &["status", "--output", output]);
        assert_eq!(ran.code, 6, "{ran:?}");
        assert!(
            ran.err.contains(&nowhere) && ran.err.contains("--address"),
            "{}",
            ran.err
        );
    }
}

#[test]
fn the_next_address_is_tried_when_one_does_not_answer() {
    let dir = tempfile::tempdir().unwrap();
    let silent = dir.path().join("silent.sock");
    let _silent = std::os::unix::net::UnixListener::bind(&silent).unwrap();
    let mock = Mock::start(Scene {
        status: a_status(),
        ..Scene::default()
    });
    let addresses = format!(
        "unix:{},unix:{},{}",
        dir.path().join("nowhere").display(),
        silent.display(),
        mock.address
    );
    let ran = run(&addresses, &["status", "--timeout", "300ms"]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn nobody_is_spoken_to_over_the_network_without_a_context() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ran = run(&free.local_addr().unwrap().to_string(), &["status"]);
    assert!(ran.code == 2 && ran.err.contains("--context"), "{ran:?}");
    let ran = run("", &["status", "--context", "/nowhere/alice.json"]);
    assert!(
        ran.code == 2 && ran.err.contains("alice.json") && ran.err.contains("user add"),
        "{ran:?}"
    );
}

#[test]
fn what_the_cluster_says_becomes_the_exit_code() {
    for (status, code) in [
        (
            Status::failed_precondition("app/alpha is the last usable server of app"),
            4,
        ),
        (Status::already_exists("node-9 is taken"), 4),
        (Status::permission_denied("this takes the role operator"), 4),
        (Status::not_found("no server app/alpha"), 7),
        (Status::invalid_argument("nonsense"), 2),
        (Status::internal("oops"), 1),
        (Status::unavailable("no leader"), 6),
    ] {
        let message = status.message().to_string();
        let mock = Mock::start(Scene {
            refuse: Some(status),
            ..Scene::default()
        });
        let ran = mock.run(&["drain", "app/alpha"]);
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.err.contains(&message), "{ran:?}");
        // The cluster says itself where --force helps; a viewer would be sent the wrong way.
        assert!(!ran.err.contains("--force"), "{ran:?}");
    }
}

#[test]
fn an_error_as_json_carries_code_and_message() {
    let mock = Mock::start(Scene {
        refuse: Some(Status::not_found("no node x")),
        ..Scene::default()
    });
    let ran = mock.run(&["drain", "x", "--output", "json"]);
    let error: serde_json::Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!(
        (&error["error"]["exit"], &error["error"]["kind"]),
        (&7.into(), &"not_found".into())
    );
    assert_eq!(error["error"]["message"], "no node x");
}

#[test]
fn a_wrong_command_line_is_told_in_the_format_that_is_asked_for() {
    for words in [
        &["frobnicate", "--output", "json"][..],
        &["--output=json", "drain"],
        &["drain", "a", "--deadline", "5", "--output", "json"],
    ] {
        let ran = run("unix:/nowhere", words);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
        let error: serde_json::Value = serde_json::from_str(&ran.err).unwrap();
        assert_eq!(
            (&error["error"]["exit"], &error["error"]["kind"]),
            (&2.into(), &"usage".into())
        );
        let message = error["error"]["message"].as_str().unwrap();
        assert!(
            !message.is_empty() && !message.contains("error:"),
            "{ran:?}"
        );
    }
    let ran = run("unix:/nowhere", &["frobnicate"]);
    assert!(ran.code == 2 && ran.err.contains("Usage:"), "{ran:?}");
}

#[test]
fn members_are_listed_removed_promoted_and_join_by_themselves() {
    let mock = Mock::start(Scene {
        status: a_status(),
        ..Scene::default()
    });
    assert!(mock.run(&["member", "list"]).out.contains("learner"));
    assert_eq!(
        mock.json(&["member", "list"]).1["nodes"][0]["name"],
        "node-1"
    );
    let ran = mock.run(&["member", "add", "node-4", "--listen", "10.0.0.4:7400"]);
    assert!(
        ran.out
            .contains("ha-agent join 10.0.0.1:7400 --token TOKEN --config agent.toml"),
        "{ran:?}"
    );
    assert!(ran.out.contains("listen = \"10.0.0.4:7400\""), "{ran:?}");
    assert_eq!(
        mock.json(&["member", "add"]).1["join"],
        "ha-agent join 10.0.0.1:7400 --token TOKEN --config agent.toml"
    );
    assert_eq!(mock.run(&["member", "add", "node-2"]).code, 4);
    assert_eq!(
        mock.run(&["member", "remove", "node-3", "--yes"]).out,
        "node-3 has left\n"
    );
    assert_eq!(
        mock.run(&["member", "promote", "node-3"]).out,
        "node-3 is promoted\n"
    );
    mock.scene.lock().unwrap().refuse = Some(Status::not_found("no node node-9"));
    assert_eq!(mock.run(&["member", "remove", "node-9", "--yes"]).code, 7);
}

#[test]
fn sessions_bindings_events_and_explanations() {
    let session = SessionInfo {
        id: 4,
        client: "10.1.1.1:4000".into(),
        frontend: "web".into(),
        port: 5012,
        backend: "app".into(),
        server: "alpha".into(),
        age_ms: 192_000,
        ..Default::default()
    };
    let event = |seq, text: &str| EventRecord {
        seq,
        at_ms: 1_709_210_096_000,
        kind: "holder".into(),
        text: text.into(),
        by: String::new(),
    };
    let mock = Mock::start(Scene {
        sessions: SessionsReply {
            sessions: vec![session],
            total: 12,
            ..SessionsReply::default()
        },
        events: vec![event(1, "node-1 holds"), event(2, "node-2 holds")],
        explain: ExplainVipReply {
            holder: "node-1".into(),
            lines: vec!["node-1 leads".into()],
            ..ExplainVipReply::default()
        },
        ..Scene::default()
    });
    let ran = mock.run(&["sessions", "--client", "10.1.1.1"]);
    assert!(
        ran.out.contains("3m 12s") && ran.out.contains("1 of 12 shown"),
        "{ran:?}"
    );
    assert!(mock.last_asked().contains("client: \"10.1.1.1\""));
    assert_eq!(mock.json(&["sessions"]).1["sessions"][0]["port"], 5012);

    let ran = mock.run(&["events", "--grep", "holds", "--since", "10m"]);
    assert!(
        ran.out.lines().count() == 2 && ran.out.contains("node-2 holds"),
        "{ran:?}"
    );
    assert!(mock.last_asked().contains("grep: \"holds\""));
    let lines = mock.run(&["events", "--output", "json"]).out;
    let seqs: Vec<u64> = lines
        .lines()
        .map(|l| {
            serde_json::from_str::<serde_json::Value>(l).unwrap()["seq"]
                .as_u64()
                .unwrap()
        })
        .collect();
    assert_eq!(seqs, [1, 2]);

    assert_eq!(
        mock.run(&["explain", "vip"]).out,
        "holder  node-1\n  node-1 leads\n"
    );
    assert_eq!(
        mock.json(&["explain", "vip", "print"]).1["holder"],
        "node-1"
    );

    assert_eq!(mock.run(&["whereis", "10.1.1.1"]).code, 7);
    let binding = BindingInfo {
        client: "10.1.1.1".into(),
        server: "app/alpha".into(),
        usable: true,
        ..Default::default()
    };
    mock.scene.lock().unwrap().bindings = vec![binding];
    assert!(mock.run(&["whereis", "10.1.1.1"]).out.contains("usable"));
    assert_eq!(
        mock.json(&["whereis", "10.1.1.1"]).1["bindings"][0]["server"],
        "app/alpha"
    );
}

#[test]
fn followed_events_are_shown_once_and_ctrl_c_is_their_normal_end() {
    let event = EventRecord {
        seq: 5,
        text: "once".into(),
        ..Default::default()
    };
    let mock = Mock::start(Scene {
        events: vec![event],
        ..Scene::default()
    });
    let child = command(&mock.address)
        .args(["events", "--follow"])
        .spawn()
        .unwrap();
    while mock.scene.lock().unwrap().asked.len() < 2 {
        std::thread::yield_now(); // the stream of the mock ends: it is asked for again
    }
    interrupt(child.id());
    let ran = read(child.wait_with_output().unwrap());
    assert_eq!(
        (ran.code, ran.out.matches("once").count()),
        (0, 1),
        "{ran:?}"
    );
}

#[test]
fn help_lists_the_exit_codes_and_completions_come_for_each_shell() {
    let ran = run("", &["--help"]);
    for code in 0..=9 {
        assert!(
            ran.out.contains(&format!("\n  {code}  ")),
            "{code}: {}",
            ran.out
        );
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = run("127.0.0.1:1", &["completions", shell]);
        assert!(ran.code == 0 && ran.out.contains("move-leader"), "{shell}");
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    let mock = Mock::start(Scene {
        status: a_status(),
        ..Scene::default()
    });
    let mut child = command(&mock.address).args(["status"]).spawn().unwrap();
    drop(child.stdout.take());
    let ran = read(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}
