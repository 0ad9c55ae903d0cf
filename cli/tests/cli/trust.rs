//! `token`, `user`, `ca`: the real binary against a mock.

use crate::common::{Mock, Scene};

#[test]
fn a_token_is_printed_alone_so_that_it_can_be_piped() {
    let mock = Mock::start(Scene::default());
    let ran = mock.run(&["token", "create", "--ttl", "10m", "--role", "witness"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "ha1-token\n"), "{ran:?}");
    let asked = mock.last_asked();
    assert!(
        asked.contains("600000") && asked.contains("witness"),
        "{asked}"
    );
    let (code, made) = mock.json(&["token", "create"]);
    assert_eq!(
        (code, &made["token"], &made["id"]),
        (0, &"ha1-token".into(), &"0a".into())
    );
    assert_eq!(mock.run(&["token", "create", "--role", "boss"]).code, 2);
}

#[test]
fn tokens_and_operators_are_listed_and_taken_back() {
    let mock = Mock::start(Scene::default());
    let ran = mock.run(&["token", "list"]);
    assert!(
        ran.out.contains("0a") && ran.out.contains("used") && ran.out.contains("root on node-1"),
        "{ran:?}"
    );
    assert_eq!(
        mock.json(&["token", "list"]).1["tokens"][1]["state"],
        "used"
    );
    assert!(
        mock.run(&["token", "revoke", "0a"])
            .out
            .contains("opens nothing")
    );
    assert!(mock.last_asked().contains("0a"));
    assert!(mock.run(&["user", "list"]).out.contains("alice"));
    assert_eq!(mock.json(&["user", "list"]).1["users"][0]["role"], "viewer");
    assert!(
        mock.run(&["user", "remove", "alice", "--yes"])
            .out
            .contains("may not enter")
    );
}

#[test]
fn an_operator_gets_a_file_that_is_not_written_over() {
    let (mock, dir) = (Mock::start(Scene::default()), tempfile::tempdir().unwrap());
    let path = dir.path().join("alice.json");
    let file = path.to_str().unwrap();
    let ran = mock.run(&["user", "add", "alice", "--role", "operator", "--file", file]);
    assert!(ran.code == 0 && ran.out.contains(file), "{ran:?}");
    assert!(
        std::fs::read_to_string(&path)
            .unwrap()
            .contains("10.0.0.1:7400")
    );
    let asked = mock.scene.lock().unwrap().asked.len();
    let again = mock.run(&["user", "add", "alice", "--role", "operator", "--file", file]);
    assert!(
        again.code == 2 && again.err.contains("is there already"),
        "{again:?}"
    );
    assert_eq!(
        mock.scene.lock().unwrap().asked.len(),
        asked,
        "nobody was asked"
    );
    assert_eq!(
        mock.run(&["user", "add", "alice", "--role", "king"]).code,
        2
    );
}

#[test]
fn a_change_of_authority_is_waited_for_and_says_for_whom() {
    let mock = Mock::start(Scene {
        waiting_for: vec!["node-3".into(), "node-2".into()],
        ..Scene::default()
    });
    let ran = mock.run(&["ca", "rotate", "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.err.contains("waiting for node-2") && ran.err.contains("waiting for node-3"),
        "{}",
        ran.err
    );
    assert!(
        ran.out.contains("signing") && ran.out.contains("node-1"),
        "{}",
        ran.out
    );
    assert_eq!(
        mock.json(&["ca", "show"]).1["authorities"][0]["stage"],
        "signing"
    );
    assert!(
        mock.run(&["ca", "retire", "--yes"])
            .out
            .contains("not believed any more")
    );
}

#[test]
fn a_backup_is_encrypted_and_writes_over_nothing() {
    let (mock, dir) = (Mock::start(Scene::default()), tempfile::tempdir().unwrap());
    let (file, phrase) = (dir.path().join("backup"), dir.path().join("phrase"));
    std::fs::write(&phrase, "correct horse\nanother line").unwrap();
    let words = [
        "backup",
        file.to_str().unwrap(),
        "--passphrase-file",
        phrase.to_str().unwrap(),
    ];
    let (code, said) = mock.json(&words);
    assert_eq!((code, &said["cluster"]), (0, &"print".into()));
    assert_eq!(
        ha_trust::passphrase::unlock("correct horse", &std::fs::read(&file).unwrap()).unwrap(),
        b"facts"
    );
    assert_eq!(mock.run(&words).code, 2, "it is there already");
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&phrase, "short").unwrap();
    let refused = mock.run(&words);
    assert!(
        refused.code == 2 && refused.err.contains("too short") && !file.exists(),
        "{refused:?}"
    );
}
