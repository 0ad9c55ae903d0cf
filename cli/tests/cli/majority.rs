//! What an operator hears while there is no leader, and what monitoring does.

use ha_proto::CUT_OFF;
use ha_proto::control::*;
use tonic::Status;

use crate::common::{Mock, Scene, a_status, hint};

/// An election takes a moment: that is no reason to give up, and nothing was done that could be done twice.
#[test]
fn who_hears_that_there_is_no_leader_at_the_moment_asks_again() {
    for words in [
        &["status"][..],
        &["drain", "app/alpha"],
        &["move-leader"],
        &["member", "promote", "node-3"],
    ] {
        let mock = Mock::start(Scene {
            status: a_status(),
            elects: 2,
            ..Scene::default()
        });
        let ran = mock.run(words);
        assert_eq!(ran.code, 0, "{ran:?}");
        // Who gives an order looks first.
        let asked = if words[0] == "drain" { 4 } else { 3 };
        assert_eq!(mock.scene.lock().unwrap().asked.len(), asked, "{words:?}");
    }
    let mock = Mock::start(Scene {
        elects: u32::MAX,
        ..Scene::default()
    });
    let ran = mock.run(&["drain", "app/alpha", "--timeout", "300ms"]);
    assert_eq!(ran.code, 9, "{ran:?}");
    assert!(
        ran.err.contains("there is no leader") && !ran.err.contains("is ha-agent running"),
        "{ran:?}"
    );
}

#[test]
fn without_a_majority_a_command_ends_at_once_with_the_agents_words() {
    let words = "there is no majority: node-3 hears no leader (for 42 s)";
    let mock = Mock::start(Scene {
        refuse: Some(hint(Status::unavailable(words), CUT_OFF)),
        ..Scene::default()
    });
    let began = ha_cli::clock::now();
    let ran = mock.run(&["move-leader", "--timeout", "60s"]);
    assert_eq!(ran.code, 9, "{ran:?}");
    assert!(
        ran.err.contains(words) && ran.err.contains("nothing was changed"),
        "{ran:?}"
    );
    assert!(!ran.err.contains("is ha-agent running"), "{ran:?}");
    assert!(began.elapsed() < std::time::Duration::from_secs(30));
}

#[test]
fn the_status_of_an_agent_that_is_cut_off_says_so_first() {
    let mock = Mock::start(Scene {
        status: StatusReply {
            cut_off: "there is no majority: node-1 hears no leader (for 42 s)".into(),
            cut_off_since_ms: 1_709_210_096_000,
            ..a_status()
        },
        ..Scene::default()
    });
    let ran = mock.run(&["status"]);
    assert_eq!(ran.code, 9, "{ran:?}");
    let first = ran.out.lines().next().unwrap();
    assert!(
        first.starts_with("CUT OFF since 2024-02-29 12:34:56Z")
            && first.contains("node-1 hears no leader")
            && first.ends_with("what follows may be old"),
        "{first}"
    );
    let (code, value) = mock.json(&["status"]);
    assert_eq!(
        (code, &value["cut_off_since_ms"]),
        (9, &1_709_210_096_000_u64.into())
    );
    assert_eq!(mock.run(&["status", "--check"]).code, 9);
}

#[test]
fn monitoring_gets_one_line_and_a_code() {
    let mut status = a_status();
    let mock = Mock::start(Scene::default());
    for (frontend, code, line) in [
        (
            "OPEN",
            1,
            "DEGRADED: server app/beta is DOWN; beta is down\n",
        ),
        ("NO SERVER", 2, "NO SERVICE: frontend web is NO SERVER\n"),
    ] {
        status.frontends[0].status = frontend.into();
        mock.scene.lock().unwrap().status = status.clone();
        let ran = mock.run(&["status", "--check"]);
        assert_eq!((ran.code, ran.out.as_str()), (code, line), "{ran:?}");
    }
    assert_eq!(mock.json(&["status", "--check"]).1["result"], "no service");
}

/// What says the same on every row, or is of use once a year, makes no row longer than a terminal.
#[test]
fn the_table_of_nodes_fits_a_terminal_and_says_what_its_star_means() {
    let mut status = a_status();
    status.fence = "agent, nftables, address lifetime".into();
    for node in &mut status.nodes {
        node.id = "01234567-89ab-cdef-0123-456789abcdef".into();
        node.fence.clone_from(&status.fence);
    }
    let mock = Mock::start(Scene {
        status: status.clone(),
        ..Scene::default()
    });
    let nodes = |out: &str| {
        let table = out.lines().skip_while(|l| !l.starts_with("NODE"));
        let table: Vec<String> = table.take(4).map(str::to_owned).collect();
        table
    };
    let table = nodes(&mock.run(&["status"]).out);
    assert!(table[0].contains("HOLDS"), "{table:#?}");
    assert!(table.iter().all(|l| l.len() <= 80), "{table:#?}");
    assert!(mock.run(&["member", "list"]).out.contains("01234567"));
    status.nodes[1].fence = "address lifetime".into();
    mock.scene.lock().unwrap().status = status;
    let table = nodes(&mock.run(&["status"]).out);
    assert!(
        table[2].ends_with("address lifetime"),
        "where one differs, all are shown: {table:#?}"
    );
}

/// Who leads as far as it knows and has heard no majority: what it shows may be old, and that comes first.
#[test]
fn an_answer_that_may_be_old_says_so_first() {
    let explain = ExplainVipReply {
        holder: "node-1".into(),
        lines: vec!["node-1 leads".into()],
        may_be_old: Some(MayBeOld {
            why: "no majority answers node-1".into(),
            since_ms: 1_709_210_096_000,
        }),
    };
    let mock = Mock::start(Scene {
        explain,
        ..Scene::default()
    });
    let ran = mock.run(&["explain", "vip"]);
    assert_eq!(ran.code, 9, "{ran:?}");
    let first = ran.out.lines().next().unwrap_or_default();
    assert!(
        first.starts_with("MAY BE OLD, known for certain until 2024-02-29")
            && first.contains("no majority answers node-1"),
        "{ran:?}"
    );
    let (code, value) = mock.json(&["explain", "vip"]);
    assert_eq!(code, 9);
    assert_eq!(value["may_be_old"]["since_ms"], 1_709_210_096_000_u64);
}
