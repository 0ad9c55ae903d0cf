//! An agent that gets no more memory or no more file descriptors.

use std::net::TcpStream;
use std::time::Duration;

use ha_tests::client::many;
use ha_tests::cluster::Plan;
use ha_tests::scenario::{SOON, Watched};
use ha_tests::site::Site;
use ha_tests::system::System;
use ha_tests::{memory, require_root, wait};

const BOUND: Duration = Duration::from_secs(20);

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

#[test]
fn an_agent_without_file_descriptors_goes_on_and_says_so() {
    require_root!("prlimit");
    let mut site = Site::start();
    // All connections are of one client here.
    let file = site.data().with_file_name("cluster.toml");
    let config = std::fs::read_to_string(&file).expect("its configuration");
    let unlimited = config.replacen("[[backend]]", "limit = { sessions = 0 }\n[[backend]]", 1);
    std::fs::write(&file, unlimited).expect("the new one");
    let applied = site.cli(&["apply", "--yes", &file.to_string_lossy()]);
    applied.ok().expect("applied");
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

/// As a service manager that stalls: its pipe is full. Every request is told on it.
#[test]
fn an_agent_whose_log_nobody_reads_goes_on() {
    require_root!("python3");
    let mut site = Site::start();
    site.agent.terminate(BOUND);
    let nobody_reads = "import os, sys\n\
        there, here = os.pipe()\n\
        os.set_inheritable(there, True)\n\
        os.dup2(here, 2)\n\
        os.environ['HA_LOG'] = 'trace'\n\
        os.execv(sys.argv[1], sys.argv[1:])";
    site.start_under(&["python3", "-c", nobody_reads]);
    site.serves();
    site.holds();
    wait::throughout("it to hold", Duration::from_secs(3), || site.leads());
}
