//! Bad luck: power, disks and people. What was acknowledged stays, and what cannot go on says why.

use std::net::TcpStream;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ha_tests::client::many;
use ha_tests::cluster::{Config, Plan, agent_program};
use ha_tests::scenario::{SOON, Watched};
use ha_tests::site::Site;
use ha_tests::system::System;
use ha_tests::{clock, disk, memory, process, require_root, sys, wait};

const BOUND: Duration = Duration::from_secs(20);

#[test]
fn what_was_acknowledged_survives_kills_in_the_middle_of_writing() {
    let rounds: u32 = if std::env::var("HA_FULL").is_ok() {
        200
    } else {
        15
    };
    let mut site = Site::start();
    let (mut given, mut acknowledged) = (0_u32, 0);
    let (mut told, mut late) = (0_u32, 0_u32);
    for round in 1..=rounds {
        // From a fixed sequence, so that the kill comes at many places of a write.
        let (pid, kill_after) = (
            site.agent.pid(),
            Duration::from_millis(5 + u64::from(round) * 37 % 160),
        );
        let killer = std::thread::spawn(move || {
            std::thread::sleep(kill_after);
            let _ = sys::signal(pid, libc::SIGKILL);
        });
        loop {
            given += 1;
            if !write(&site, given) {
                break;
            }
            acknowledged = given;
            told += 1;
        }
        killer.join().expect("the kill");
        site.agent.kill();
        site.start_again();
        // Until it leads again it does not know what was committed last.
        site.holds();
        let found =
            last_written(&site).unwrap_or_else(|| panic!("no events: {}", site.agent.tail()));
        assert!(
            (acknowledged..=given).contains(&found),
            "round {round}: {acknowledged} was acknowledged, {given} given, {found} is there"
        );
        // Committed, and killed before that was said.
        late += u32::from(found > acknowledged);
        if round % 50 == 0 {
            println!("{round}/{rounds} kills, {told} writes acknowledged");
        }
    }
    assert!(
        told > rounds / 3,
        "hardly anything was written: {told} in {rounds} rounds"
    );
    println!(
        "{rounds} kills, {told} of {given} writes acknowledged, none of them lost; {late} more were there"
    );
}

/// Whether it was acknowledged.
fn write(site: &Site, number: u32) -> bool {
    site.cli(&[
        "drain",
        "b/s",
        "--force",
        "--reason",
        &format!("write {number}"),
    ])
    .code
        == Some(0)
}

fn last_written(site: &Site) -> Option<u32> {
    let events = site.cli(&["events", "--grep", "write "]).ok().ok()?;
    Some(
        events
            .rsplit("write ")
            .next()
            .and_then(|rest| {
                rest.split(|c: char| !c.is_ascii_digit())
                    .next()?
                    .parse()
                    .ok()
            })
            .unwrap_or(0),
    )
}

#[test]
fn the_log_of_another_cluster_is_refused() {
    let (mut own, mut other) = (Site::start(), Site::start());
    own.agent.terminate(BOUND);
    other.agent.terminate(BOUND);
    std::fs::remove_dir_all(own.data().join("log")).expect("the own log");
    copy(&other.data(), &own.data(), &["identity"]);
    let refused = own.ha_agent("run").ok().expect_err("it must not start");
    assert!(
        refused.contains("holds the log of another cluster"),
        "{refused}"
    );
}

/// A byte is wrong somewhere in the log's file: the agent refuses to start and says what to do, or has lost nothing.
#[test]
fn a_damaged_log_is_refused_with_instructions_or_has_lost_nothing() {
    const WRITES: u32 = 20;
    let places: usize = if std::env::var("HA_FULL").is_ok() {
        200
    } else {
        16
    };
    let mut site = Site::start();
    for number in 1..=WRITES {
        wait::until("a write", BOUND, || {
            if write(&site, number) {
                Ok(())
            } else {
                Err(site.agent.tail())
            }
        });
    }
    site.agent.terminate(BOUND);
    let file = site.data().join("log/db");
    let before = tempfile::tempdir().expect("a directory");
    copy(&site.data(), before.path(), &["control.sock"]);
    let good = std::fs::read(&file).expect("the log");
    let used = good
        .iter()
        .rposition(|byte| *byte != 0)
        .expect("a log of something");
    let (mut refused, mut unhurt) = (0, 0);
    for place in 0..places {
        // All over, and every fourth at its very end.
        let at = if place % 4 == 3 {
            used - place
        } else {
            used * place / places
        };
        std::fs::remove_dir_all(site.data()).expect("the data");
        std::fs::create_dir(site.data()).expect("the data");
        copy(before.path(), &site.data(), &[]);
        let mut bad = good.clone();
        bad[at] ^= 0xff;
        std::fs::write(&file, bad).expect("the log");
        site.start_again();
        let ended = wait::until("the agent to hold, or to refuse", BOUND, || {
            match site.agent.ended() {
                Some(how) => Ok(Some(how)),
                None => site.leads().map(|()| None),
            }
        });
        if let Some(how) = ended {
            let said = process::tail(&site.agent.log, 3);
            assert!(
                how.code().is_some()
                    && said.contains("is damaged")
                    && said.contains("`ha-agent restore`"),
                "byte {at} of {used}: {how}, {said}"
            );
            refused += 1;
        } else {
            assert_eq!(last_written(&site), Some(WRITES), "byte {at} of {used}");
            site.agent.kill();
            unhurt += 1;
        }
    }
    assert!(
        refused > places / 4,
        "hardly anything was damaged: {refused} refused, {unhurt} unhurt"
    );
    println!("{places} places of {used} bytes: {refused} refused, {unhurt} without harm");
}

/// The holder lives, and somebody starts a second agent beside it, cleans up, or starts one with other data.
#[test]
fn a_second_agent_takes_nothing_from_the_first() {
    require_root!();
    let run = Watched::start(Plan::default());
    let holder = run.holder();
    let machine = run.cluster.machine(holder);
    let (own, other) = (
        machine.dir().join("agent.toml"),
        machine.dir().join("other.toml"),
    );
    let text = std::fs::read_to_string(&own).expect("its file");
    let data = machine.dir().join("data");
    assert!(text.contains(&*data.to_string_lossy()), "{text}");
    std::fs::write(
        &other,
        text.replace(
            &*data.to_string_lossy(),
            &machine.dir().join("other-data").to_string_lossy(),
        ),
    )
    .expect("a file");
    std::fs::create_dir(machine.dir().join("other-data")).expect("a directory");
    copy(&data, &machine.dir().join("other-data"), &["control.sock"]);
    let pid = run.cluster.agent(holder).pid();
    for words in [
        ["run", &*own.to_string_lossy()],
        ["run", &*other.to_string_lossy()],
        ["cleanup", &*own.to_string_lossy()],
    ] {
        let refused = machine.run(&[&agent_program(), words[0], "--config", words[1]], BOUND);
        assert!(
            refused.code == Some(1)
                && refused
                    .stderr
                    .contains(&format!("process {pid} manages the virtual IPs")),
            "{words:?}: {refused:?}"
        );
    }
    run.served_again();
    let log = std::fs::read_to_string(machine.dir().join("agent.log")).expect("its log");
    assert!(
        !log.contains("mended") && !log.contains("removed by somebody else"),
        "something was taken from it:\n{log}"
    );
    run.finish()
        .assert_changes_of_hand(0)
        .assert_nothing_failed();
}

#[test]
fn a_holder_whose_disk_is_full_says_so_gives_way_and_comes_back() {
    require_root!("mount", "umount");
    let mut run = Watched::start(Plan {
        config: Config::print(&[1, 2, 3]),
        ..Plan::default()
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
        ..Plan::default()
    });
    let holder = run.holder();
    disk::break_down(run.cluster.machine(holder), errno);
    let words = gives_way(run, holder, |run| {
        assert!(
            disk::was_hit(run.cluster.machine(holder)),
            "nothing was flushed, so nothing was tested"
        );
        disk::delay(run.cluster.machine(holder), Duration::ZERO);
    });
    assert!(
        words.contains(said),
        "it does not say what its disk has:\n{words}"
    );
}

/// Each newcomer is a binding more in the table. What cannot grow ends the program.
#[test]
fn a_holder_without_memory_for_its_table_gives_way_loses_no_binding_and_comes_back() {
    require_root!("cc");
    const NEWCOMERS: u32 = 4_000;
    let directory = tempfile::tempdir().expect("directory");
    let library = memory::library(directory.path()).expect("the guard looked for cc");
    let mut run = Watched::start(Plan {
        agent_env: memory::environment(&library),
        ..Plan::default()
    });
    let old = run.holder();
    let crowd = |run: &Watched| {
        many::ask(
            run.cluster.topology().client(1),
            NEWCOMERS,
            run.cluster.address(),
            SOON,
        )
    };
    memory::leave(
        run.cluster.machine(old),
        run.cluster.agent(old).pid(),
        256 << 10,
    );
    let met = crowd(&run);
    let new = run.cluster.wait_for_other_holder(old, SOON);
    run.served_again();
    run.cluster.stop_agent(old);
    let words =
        std::fs::read_to_string(run.cluster.machine(old).dir().join("agent.log")).expect("its log");
    // Most of the program can only end at once; what is told by an error ends it in good order.
    let how = ["memory allocation of", "Cannot allocate memory"]
        .into_iter()
        .find(|how| words.contains(how));
    let how = how.unwrap_or_else(|| panic!("it did not run out of memory:\n{words}"));
    // Whoever got through was bound, and is bound on those who stayed.
    many::assert_nobody_moved(&met, &crowd(&run));
    run.cluster.start_agent(old);
    run.cluster.wait_for_all_serving();
    run.phase("there is memory again");
    wait::until("it to hold again", SOON, || {
        run.cluster.move_leader(Some(old))
    });
    run.served_again();
    many::assert_nobody_moved(&met, &crowd(&run));
    println!(
        "{:?}: node-{old} ran out of memory ({how}), node-{new} took over",
        many::count(&met)
    );
    run.finish().assert_changes_of_hand(2);
}

/// The lease knows nothing of wall clocks; certificates and stamps do.
#[test]
fn wall_clocks_that_jump_by_hours_disturb_nobody() {
    require_root!("cc");
    let directory = tempfile::tempdir().expect("directory");
    let library = clock::library(directory.path()).expect("the guard looked for cc");
    let run = Watched::start(Plan {
        agent_env: clock::environment(&library),
        ..Plan::default()
    });
    let holder = run.holder();
    let other = run.cluster.other_than(holder);
    const HOUR: i64 = 3600;
    for (node, hours) in [
        (holder, 5),
        (holder, -5),
        (other, 20),
        (other, -20),
        (holder, 0),
        (other, 0),
    ] {
        clock::step(run.cluster.machine(node), hours * HOUR);
        // Something is written, stamped by the stepped clock, and connections are made under it.
        run.cluster
            .cli_at(node, &["drain", "terminal-servers/server-1"], SOON)
            .ok()
            .unwrap_or_else(|why| panic!("{hours} h on node-{node}: {why}"));
        run.cluster
            .cli_at(node, &["ready", "terminal-servers/server-1"], SOON)
            .ok()
            .unwrap_or_else(|why| panic!("{hours} h on node-{node}: {why}"));
        run.served_again();
        assert_eq!(run.holder(), holder);
    }
    // Set right again, what was stamped by a fast clock holds nothing back: a drain ends when it should.
    let drained = run.cluster.cli_at(
        holder,
        &[
            "drain",
            "terminal-servers/server-1",
            "--deadline",
            "2s",
            "--wait=20s",
        ],
        Duration::from_secs(25),
    );
    assert!(
        drained.text().contains("\"drained\"") || drained.text().contains("\"cut\""),
        "{drained:?}"
    );
    run.cluster
        .cli_at(holder, &["ready", "terminal-servers/server-1"], SOON)
        .ok()
        .expect("ready");
    // It reached the agents: the log has stamps of tomorrow.
    let events = run
        .cluster
        .cli_at(holder, &["events"], SOON)
        .ok()
        .expect("events");
    let events: Vec<serde_json::Value> = events
        .lines()
        .filter_map(|l| serde_json::from_str(l).ok())
        .collect();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_millis() as u64;
    assert!(
        events.iter().any(|e| e["at_ms"]
            .as_u64()
            .is_some_and(|at| at > now + 4 * 3_600_000)),
        "no event of the future: {events:?}"
    );
    // Whoever restarts meanwhile comes back.
    let mut run = run;
    clock::step(run.cluster.machine(other), -20 * HOUR);
    run.cluster.stop_agent(other);
    run.cluster.start_agent(other);
    run.cluster.wait_for_all_serving();
    run.finish()
        .assert_changes_of_hand(0)
        .assert_nothing_failed();
}

#[test]
fn an_agent_without_file_descriptors_goes_on_and_says_so() {
    require_root!("prlimit");
    let mut site = Site::start();
    site.agent.terminate(BOUND);
    site.start_under(&["prlimit", "--nofile=120:120"]);
    site.serves();
    // More than there are: some wait or are turned away.
    let crowd: Vec<TcpStream> = (0..300)
        .filter_map(|_| TcpStream::connect_timeout(&site.front, Duration::from_millis(200)).ok())
        .collect();
    assert!(crowd.len() > 60, "{}", crowd.len());
    wait::until("the operator to be told", BOUND, || {
        let status = site.cli(&["status"]).ok()?;
        if status.contains("file descriptors") {
            Ok(())
        } else {
            Err(status)
        }
    });
    drop(crowd);
    site.serves();
    site.holds();
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
        must(&[
            "mount",
            "-t",
            "tmpfs",
            "-o",
            options,
            "ha-test",
            &directory.to_string_lossy(),
        ]);
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
        must(&["umount", "--lazy", &self.0.to_string_lossy()]);
    }
}

fn must(words: &[&str]) {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    process::run(command, b"", BOUND)
        .ok()
        .unwrap_or_else(|why| panic!("{words:?}: {why}"));
}

/// Everything in there, except files whose name begins with one of these.
fn copy(from: &Path, to: &Path, except: &[&str]) {
    for entry in std::fs::read_dir(from)
        .expect("a directory")
        .map(|e| e.expect("an entry"))
    {
        let (name, target) = (entry.file_name(), to.join(entry.file_name()));
        if except.iter().any(|e| name.to_string_lossy().starts_with(e)) {
            continue;
        }
        if entry.path().is_dir() {
            std::fs::create_dir_all(&target).expect("a directory");
            copy(&entry.path(), &target, except);
        } else {
            std::fs::copy(entry.path(), &target).expect("a copy");
        }
    }
}
