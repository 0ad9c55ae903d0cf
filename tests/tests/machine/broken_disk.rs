//! The holder cannot write: its disk is full, broken or read-only. It says so and another node takes over.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ha_tests::cluster::{Config, Plan};
use ha_tests::process::must;
use ha_tests::scenario::{SOON, Watched};
use ha_tests::system::System;
use ha_tests::{disk, require_root, wait};

use crate::files::copy;

#[test]
fn a_holder_whose_disk_is_full_says_so_gives_way_and_comes_back() {
    require_root!("mount", "umount");
    let mut run = Watched::start(Plan {
        config: Config::print(&[1, 2, 3]),
        ..Plan::beside_others()
    });
    let holder = run.holder();
    run.cluster.stop_agent(holder);
    let disk = Mount::over(&run.cluster.machine(holder).dir().join("data"), "size=48m");
    run.cluster.start_agent(holder);
    run.cluster.wait_for_all_serving();
    run.phase("the data is on a disk of its own");
    // It may not at once: it has to learn which addresses there are.
    wait::until("it to hold again", SOON, || {
        run.cluster.move_leader(Some(holder))
    });
    wait::until("its address to be there", SOON, || {
        run.cluster
            .holder()
            .filter(|now| *now == holder)
            .ok_or_else(|| run.cluster.agent(holder).tail())
    });
    run.phase("the disk is full");
    disk.fill();
    let words = gives_way(run, holder, |_| disk.empty());
    assert!(
        words.contains("No space left") || words.contains("full"),
        "it does not say that its disk is full:\n{words}"
    );
}

#[test]
fn a_holder_whose_disk_is_broken_says_so_gives_way_and_comes_back() {
    require_root!("cc");
    flushes_fail(libc::EIO, "Input/output error");
}

/// As the kernel makes a disk that it does not trust any more.
#[test]
fn a_holder_whose_disk_has_become_read_only_says_so_gives_way_and_comes_back() {
    require_root!("cc");
    flushes_fail(libc::EROFS, "Read-only file system");
}

fn flushes_fail(errno: i32, said: &str) {
    let directory = tempfile::tempdir().expect("directory");
    let library = disk::library(directory.path()).expect("the guard looked for cc");
    let run = Watched::start(Plan {
        agent_env: disk::environment(&library),
        config: Config::print(&[1, 2, 3]),
        ..Plan::beside_others()
    });
    let holder = run.holder();
    disk::break_down(run.cluster.machine(holder), errno);
    let words = gives_way(run, holder, |run| {
        assert!(
            disk::was_hit(run.cluster.machine(holder)),
            "nothing was flushed, so nothing was tested"
        );
        disk::delay(run.cluster.machine(holder), Duration::ZERO);
        let note = run.cluster.machine(holder).dir().join("data/failed");
        let text = std::fs::read_to_string(&note).expect("the failure is noted with its boot");
        // As the note looks after a restart of the machine; before that the agent does not start, see the store's tests.
        std::fs::write(&note, format!("another boot\n{text}")).expect("the note");
    });
    assert!(
        words.contains(said),
        "it does not say what its disk has:\n{words}"
    );
}

/// The holder cannot write: another node takes over and clients are served; with the disk mended and the agent
/// started again all is as before. What that agent wrote into its log until it was stopped.
fn gives_way(mut run: Watched, holder: u8, mend: impl FnOnce(&Watched)) -> String {
    let configs = [Config::print(&[1, 2, 3]), Config::print(&[1, 2])];
    let mut turns = 0;
    wait::until(
        "another node to take over from one that cannot write",
        Duration::from_secs(40),
        || {
            // Something must want to be written.
            turns += 1;
            let _ = run.cluster.apply(&configs[turns % 2]);
            run.cluster
                .holder()
                .filter(|now| *now != holder)
                .ok_or_else(|| run.cluster.agent(holder).tail())
        },
    );
    run.served_again();
    run.cluster.stop_agent(holder);
    let log = run.cluster.machine(holder).dir().join("agent.log");
    let words = std::fs::read_to_string(log).expect("its log");
    mend(&run);
    run.cluster.apply(&configs[0]).expect("a majority is there");
    run.cluster.start_agent(holder);
    run.cluster.wait_for_all_serving();
    run.served_again();
    run.finish();
    words
}

/// A disk of its own under a directory, with what was in there.
struct Mount(PathBuf);

impl Mount {
    fn over(directory: &Path, options: &str) -> Mount {
        let before = directory.with_file_name("data-before");
        std::fs::rename(directory, &before).expect("the data aside");
        std::fs::create_dir(directory).expect("a place");
        must(
            &[
                "mount",
                "-t",
                "tmpfs",
                "-o",
                options,
                "ha-test",
                &directory.to_string_lossy(),
            ],
            "",
        );
        copy(&before, directory, &[]);
        Mount(directory.to_owned())
    }

    /// What is left is taken.
    fn fill(&self) {
        let filler = std::fs::File::create(self.0.join("filler")).expect("a file");
        let mut at = 0;
        while filler.write_at(&[0x5a; 4096], at).is_ok_and(|n| n > 0) {
            at += 4096;
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("the filler");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        must(&["umount", "--lazy", &self.0.to_string_lossy()], "");
    }
}
