//! Configurations against the mock: applied, refused with their problems, listed, shown.

use ha_proto::control::*;

use crate::common::{Mock, Scene};

#[test]
fn problems_of_a_configuration_are_8_and_name_file_line_key_and_remedy() {
    let problem = ConfigProblem {
        file: "cluster.toml".into(),
        line: 12,
        key: "backend.app.check.fall".into(),
        found: "0".into(),
        remedy: "write a number from 1 to 100".into(),
    };
    let mock = Mock::start(Scene {
        apply: ApplyReply {
            problems: vec![problem],
            ..Default::default()
        },
        ..Scene::default()
    });
    let file = file_with("nonsense");
    for args in [&["apply", &file.path, "--yes"][..], &["diff", &file.path]] {
        let ran = mock.run(args);
        assert_eq!(ran.code, 8, "{ran:?}");
        let line =
            "cluster.toml:12: backend.app.check.fall: found 0; write a number from 1 to 100\n";
        assert_eq!(ran.out, line);
        assert!(
            ran.err
                .contains("1 problem in the configuration; nothing was changed"),
            "{}",
            ran.err
        );
        let (code, value) = mock.json(args);
        assert_eq!(
            (code, &value["problems"][0]["line"], &value["applied"]),
            (8, &12.into(), &false.into())
        );
    }
}

#[test]
fn apply_and_diff_print_the_difference() {
    let changes = vec![
        "+ backend app server gamma".to_string(),
        "- backend app server beta".into(),
    ];
    let mock = Mock::start(Scene {
        apply: ApplyReply {
            version: 8,
            changes,
            notes: vec!["server app/beta goes: its 3 sessions go on".into()],
            ..Default::default()
        },
        ..Scene::default()
    });
    let file = file_with("[cluster]\n");
    let ran = mock.run(&["apply", &file.path, "--yes", "--expect-version", "7"]);
    assert_eq!(
        (ran.code, ran.out.lines().last()),
        (0, Some("version 8 is in force")),
        "{ran:?}"
    );
    assert!(
        mock.last_asked().contains("expect_version: 7")
            && mock.last_asked().contains("dry_run: false")
    );
    let ran = mock.run(&["diff", &file.path]);
    assert_eq!(
        ran.out,
        "  + backend app server gamma\n  - backend app server beta\nnote: server app/beta goes: its 3 sessions go on\n"
    );
    assert!(mock.last_asked().contains("dry_run: true"));
    let (code, value) = mock.json(&["apply", &file.path, "--yes"]);
    assert_eq!(
        (code, &value["version"], &value["applied"]),
        (0, &8.into(), &true.into())
    );
    assert_eq!(mock.run(&["rollback", "6", "--yes"]).code, 0);
    assert!(mock.last_asked().contains("version: 6"));
}

#[test]
fn apply_without_anybody_to_ask_or_without_a_file_is_usage() {
    let mock = Mock::start(Scene::default());
    let file = file_with("");
    let ran = mock.run(&["apply", &file.path]);
    assert!(ran.code == 2 && ran.err.contains("--yes"), "{ran:?}");
    let ran = mock.run(&["diff", "/nowhere/cluster.toml"]);
    assert!(
        ran.code == 2 && ran.err.contains("/nowhere/cluster.toml"),
        "{ran:?}"
    );
    assert_eq!(mock.run(&["drain", "a", "--deadline", "5"]).code, 2);
    assert_eq!(mock.run(&["frobnicate"]).code, 2);
}

#[test]
fn configurations_are_listed_and_shown() {
    let version = |version, text: &str| ConfigVersion {
        version,
        at_ms: 1_709_210_096_000,
        by: "ann@desk".into(),
        summary: "1 server added".into(),
        text: text.into(),
    };
    let mock = Mock::start(Scene {
        history: vec![version(6, "old\n"), version(7, "new\n")],
        ..Scene::default()
    });
    let ran = mock.run(&["config", "history"]);
    assert!(
        ran.code == 0 && ran.out.contains("2024-02-29 12:34:56Z") && ran.out.contains("ann@desk"),
        "{ran:?}"
    );
    assert_eq!(
        mock.json(&["config", "history"]).1["versions"][0]["version"],
        7
    );
    assert_eq!(mock.run(&["config", "show"]).out, "new\n");
    assert_eq!(mock.run(&["config", "show", "6"]).out, "old\n");
    assert_eq!(mock.run(&["config", "show", "5"]).code, 7);
}

struct File {
    path: String,
    _dir: tempfile::TempDir,
}

fn file_with(text: &str) -> File {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cluster.toml");
    std::fs::write(&path, text).unwrap();
    File {
        path: path.display().to_string(),
        _dir: dir,
    }
}
