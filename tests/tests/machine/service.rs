//! The agent as a service: what the service manager hears, and how little the agent needs.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ha_tests::cluster::{Agent, Cluster, Config, Plan, agent_program};
use ha_tests::netns::Topology;
use ha_tests::process::Process;
use ha_tests::require_root;
use ha_tests::site::Site;
use ha_tests::turn::Turn;
use ha_tests::wait;

const SOON: Duration = Duration::from_secs(20);
/// As `setpriv` takes it: any user that is not root.
const SOMEBODY: u32 = 4711;

/// What a service manager would hear.
struct Ears(UnixDatagram);

impl Ears {
    fn on(path: &Path) -> Ears {
        let socket = UnixDatagram::bind(path).expect("a socket");
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .expect("a bound");
        Ears(socket)
    }

    fn hear(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        let length = self.0.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    fn until(&self, what: &str) -> String {
        let mut heard = Vec::new();
        wait::until(&format!("the service manager to hear {what}"), SOON, || {
            heard.extend(self.hear());
            heard
                .last()
                .filter(|said| said.contains(what))
                .cloned()
                .ok_or(format!("{heard:?}"))
        })
    }
}

#[test]
fn the_service_manager_hears_that_it_is_ready_lives_and_stops() {
    require_root!();
    // Short: a socket's path has room for 107 bytes.
    let directory = tempfile::Builder::new()
        .prefix("ha")
        .tempdir_in("/tmp")
        .expect("a directory");
    let path = directory.path().join("n");
    let ears = Ears::on(&path);
    let environment = vec![
        ("NOTIFY_SOCKET".to_owned(), path.display().to_string()),
        ("WATCHDOG_USEC".to_owned(), "1500000".to_owned()),
    ];
    let mut cluster = Cluster::start(Plan {
        nodes: 1,
        first_members: 1,
        config: Config::print(&[1]),
        agent_env: environment,
        ..Plan::beside_others()
    });
    ears.until("READY=1");
    let alive = ears.until("STATUS=holds the virtual IP in epoch");
    assert!(alive.contains("WATCHDOG=1"), "{alive}");

    // Stopped, it says nothing, and the watchdog of a service manager would end it.
    cluster.freeze(1);
    while ears.hear().is_some() {}
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(1500) {
        assert_eq!(ears.hear(), None);
    }
    cluster.thaw(1);
    ears.until("WATCHDOG=1");
    cluster.stop_agent(1);
    ears.until("STOPPING=1");
}

#[test]
fn a_user_of_its_own_with_three_capabilities_is_enough() {
    require_root!("setpriv");
    let (plan, topology) = (
        Plan {
            config: Config::print(&[1]),
            ..Plan::beside_others()
        },
        Topology::new(1, 1, Turn::BesideOthers),
    );
    let node = topology.node(1);
    let (agent, cluster) = (
        node.dir().join("agent.toml"),
        node.dir().join("cluster.toml"),
    );
    std::fs::write(&agent, Agent::of(node, &plan).to_toml()).expect("agent.toml");
    std::fs::write(&cluster, plan.config.to_toml()).expect("cluster.toml");
    for file in [node.dir(), &agent, &cluster] {
        std::os::unix::fs::chown(file, Some(SOMEBODY), Some(SOMEBODY)).expect("another owner");
    }
    let (user, group) = (format!("--reuid={SOMEBODY}"), format!("--regid={SOMEBODY}"));
    let capabilities = "+net_admin,+net_raw,+net_bind_service";
    let (inherited, ambient, bounding) = (
        format!("--inh-caps=-all,{capabilities}"),
        format!("--ambient-caps=-all,{capabilities}"),
        format!("--bounding-set=-all,{capabilities}"),
    );
    let as_somebody = [
        "setpriv",
        &user,
        &group,
        "--clear-groups",
        "--no-new-privs",
        &inherited,
        &ambient,
        &bounding,
    ];
    let program = agent_program();
    let (agent, cluster) = (agent.display().to_string(), cluster.display().to_string());
    let init: Vec<&str> = as_somebody
        .into_iter()
        .chain([
            program.as_str(),
            "init",
            "--config",
            &agent,
            "--cluster",
            &cluster,
        ])
        .collect();
    node.run(&init, SOON)
        .ok()
        .unwrap_or_else(|why| panic!("init: {why}"));

    let mut command = node.command(as_somebody[0]);
    command
        .args(&as_somebody[1..])
        .args([program.as_str(), "run", "--config", &agent]);
    let mut running = Process::start("ha-agent of a user", command, &node.dir().join("agent.log"));
    wait::until("the address to be held", SOON, || {
        if node.has_address(plan.vip()) {
            Ok(())
        } else {
            Err(running.tail())
        }
    });
    let tables = node
        .run(&["nft", "list", "tables"], SOON)
        .ok()
        .expect("tables");
    assert!(
        tables.contains("ha_fence") && tables.contains("ha_intercept"),
        "{tables}"
    );
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", running.pid())).expect("its status");
    assert!(
        status
            .lines()
            .any(|l| l.starts_with("Uid:") && l.split_whitespace().nth(1) == Some("4711")),
        "{status}"
    );
    assert!(status.contains("CapEff:\t0000000000003400"), "{status}");
    running.terminate(SOON);
    assert!(
        !node.has_address(plan.vip()),
        "an orderly stop takes the address off"
    );
}

/// Each line has its priority, and the time is the journal's.
#[test]
fn the_journal_hears_how_grave_a_line_is() {
    let mut site = Site::start();
    site.agent.terminate(SOON);
    let log = tempfile::NamedTempFile::new().expect("a file");
    let meta = log.as_file().metadata().expect("its number");
    let mut command = Command::new(agent_program());
    command.args([
        "run",
        "--config",
        &site.data().with_file_name("agent.toml").to_string_lossy(),
    ]);
    command.env("JOURNAL_STREAM", format!("{}:{}", meta.dev(), meta.ino()));
    // A log that is not there any more.
    std::fs::remove_dir_all(site.data().join("log")).expect("the log");
    let mut agent = Process::start("ha-agent", command, log.path());
    wait::until("it to refuse", SOON, || {
        agent.ended().map(drop).ok_or("it runs".into())
    });
    let said = std::fs::read_to_string(log.path()).expect("its log");
    assert!(
        said.lines().count() > 0
            && said
                .lines()
                .all(|l| ["<3>", "<4>", "<6>"].iter().any(|p| l.starts_with(p))),
        "{said}"
    );
    assert!(
        said.lines()
            .any(|l| l.starts_with("<3>the log of this node is gone")),
        "{said}"
    );
}

/// Started by hand in a terminal that is closed, it hands over as at any other end; started by nohup it stays.
#[test]
fn a_terminal_that_is_closed_ends_it_in_good_order() {
    let mut site = Site::start();
    site.agent.terminate(SOON);
    // These tests may have been started by nohup themselves.
    site.start_under(&["env", "--default-signal=HUP"]);
    site.holds();
    site.agent.signal(libc::SIGHUP);
    let ended = wait::until("it to end", SOON, || {
        site.agent.ended().ok_or("it runs".into())
    });
    assert_eq!(ended.code(), Some(0), "{}", site.agent.tail());
    site.start_under(&["nohup"]);
    site.holds();
    site.agent.signal(libc::SIGHUP);
    site.cli(&["status"]).ok().expect("it is still there");
    assert!(site.agent.ended().is_none());
}

/// Connects until the kernel takes no more for who listens there; what was taken is kept.
fn fill(at: SocketAddr) -> Vec<TcpStream> {
    let (mut taken, mut misses) = (Vec::new(), 0);
    // The longest backlog is what the kernel allows, 4096 by default.
    while misses < 3 && taken.len() < 10_000 {
        match TcpStream::connect_timeout(&at, Duration::from_millis(100)) {
            Ok(stream) => taken.push(stream),
            Err(_) => misses += 1,
        }
    }
    assert!(misses == 3, "{} connections fill no backlog", taken.len());
    taken
}

/// With a backlog that is full it once hung before it heard a signal.
#[test]
fn with_full_backlogs_everywhere_it_ends_in_good_order() {
    ha_tests::sys::open_files_max(20_000).expect("files");
    let mut site = Site::start();
    site.holds();
    site.agent.signal(libc::SIGSTOP);
    let (operators, clients) = (fill(site.listen), fill(site.front));
    println!("{} and {} wait", operators.len(), clients.len());
    let from = Instant::now();
    site.agent.signal(libc::SIGTERM);
    site.agent.signal(libc::SIGCONT);
    let ended = wait::until("it to end", SOON, || {
        site.agent.ended().ok_or("it runs".into())
    });
    assert_eq!(ended.code(), Some(0), "{}", site.agent.tail());
    // What the unit gives it (TimeoutStopSec) is 15 s.
    assert!(
        from.elapsed() < Duration::from_secs(10),
        "{:?}",
        from.elapsed()
    );
    drop((operators, clients));
    site.start_under(&["env"]);
    site.serves();
}

/// Somebody else has its port, and lets nobody in there.
#[test]
fn a_taken_port_with_a_full_backlog_is_named_and_does_not_keep_it_from_ending() {
    ha_tests::sys::open_files_max(20_000).expect("files");
    let mut site = Site::start();
    site.agent.terminate(SOON);
    let other = TcpListener::bind(site.listen).expect("it is free now");
    let _waiting = fill(site.listen);
    let mut command = Command::new(agent_program());
    let file = site.data().with_file_name("agent.toml");
    command.args(["run", "--config", &file.to_string_lossy()]);
    let log = tempfile::NamedTempFile::new().expect("a file");
    let mut agent = Process::start("ha-agent", command, log.path());
    let owner = format!("process {}", std::process::id());
    wait::until("the owner to be named", SOON, || {
        let said = std::fs::read_to_string(log.path()).expect("its log");
        if said.contains(&owner) && said.contains(&site.listen.to_string()) {
            Ok(())
        } else {
            Err(said)
        }
    });
    agent.signal(libc::SIGTERM);
    wait::until("it to end", SOON, || {
        agent.ended().map(drop).ok_or("it runs".into())
    });
    drop(other);
    site.start_under(&["env"]);
    site.serves();
}

/// Who is impatient ends it no sooner, and in no other order.
#[test]
fn further_signals_change_nothing() {
    let mut site = Site::start();
    site.holds();
    for signal in [
        libc::SIGTERM,
        libc::SIGTERM,
        libc::SIGINT,
        libc::SIGHUP,
        libc::SIGTERM,
    ] {
        site.agent.signal(signal);
    }
    let ended = wait::until("it to end", SOON, || {
        site.agent.ended().ok_or("it runs".into())
    });
    assert_eq!(ended.code(), Some(0), "{}", site.agent.tail());
    site.start_under(&["env"]);
    site.serves();
    site.holds();
}
