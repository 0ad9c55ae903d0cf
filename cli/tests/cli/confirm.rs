//! What is asked about before it is done, with and without a terminal.

use ha_proto::control::*;

use crate::common::{Mock, Scene, command, read};

#[test]
fn what_cannot_be_taken_back_is_asked_about() {
    let mock = Mock::start(Scene::default());
    for words in [
        &["rollback"][..],
        &["member", "remove", "node-3"],
        &["user", "remove", "alice"],
        &["ca", "rotate"],
        &["ca", "retire"],
    ] {
        mock.scene.lock().unwrap().history = vec![
            ConfigVersion {
                version: 7,
                ..Default::default()
            },
            ConfigVersion {
                version: 6,
                text: "old".into(),
                ..Default::default()
            },
        ];
        mock.scene.lock().unwrap().apply.changes = vec!["- backend b".into()];
        let ran = mock.run(words);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.contains("use --yes"), "{ran:?}");
        let done = |asked: &str| {
            ["Rollback", "Remove", "Rotate", "Retire"]
                .iter()
                .any(|w| asked.starts_with(w))
        };
        let asked = mock.scene.lock().unwrap().asked.clone();
        assert!(!asked.iter().any(|a| done(a)), "{asked:#?}");
        let ran = mock.run(&[words, &["--yes"]].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        mock.scene.lock().unwrap().asked.clear();
    }
}

#[test]
fn the_answer_on_the_terminal_counts() {
    let mock = Mock::start(Scene::default());
    for (answer, code) in [("n\n", 5), ("y\n", 0)] {
        let (mut terminal, other) = terminal();
        let child = command(&mock.address)
            .args(["member", "remove", "node-3"])
            .stdin(other)
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut terminal, answer.as_bytes()).unwrap();
        let ran = read(child.wait_with_output().unwrap());
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(
            ran.err.contains("Remove node-3?") && ran.err.contains("[y/N]"),
            "{ran:?}"
        );
    }
}

/// Both ends of a terminal: what somebody types, and what a program reads.
fn terminal() -> (std::fs::File, std::fs::File) {
    use std::os::fd::FromRawFd;
    let (mut ours, mut theirs) = (0, 0);
    let none = std::ptr::null_mut();
    // SAFETY: both integers are written, the other arguments may be null; the descriptors are ours alone after it.
    unsafe {
        let made = libc::openpty(&mut ours, &mut theirs, none, none.cast(), none.cast());
        assert_eq!(made, 0);
        (
            std::fs::File::from_raw_fd(ours),
            std::fs::File::from_raw_fd(theirs),
        )
    }
}
