//! The configuration changes and changes back under load: no session is reset,
//! no address moves, a refused one changes nothing.

use std::time::Duration;

use ha_tests::client::Session;
use ha_tests::cluster::{Backend, Config, Frontend, Plan};
use ha_tests::require_root;
use ha_tests::scenario::{SOON, Watched, assert_gap};
use ha_tests::system::System;
use ha_tests::turn::Turn;
use ha_tests::wait;

const EXTRA_PORT: u16 = 9100;

#[test]
fn a_frontend_that_is_applied_serves_and_one_that_is_rolled_back_does_not() {
    require_root!();
    let run = Watched::start(plan());
    let client = run.cluster.topology().client(1);
    let mut session = Session::open(client, run.on(5022), SOON).expect("a session");
    let meets = || {
        Session::open(client, run.on(EXTRA_PORT), Duration::from_secs(1))
            .map(|session| session.server)
    };
    assert!(
        meets().is_err(),
        "nothing forwards {EXTRA_PORT} yet: {:?}",
        meets()
    );

    run.cluster.apply(&with_extra_frontend()).expect("apply");
    wait::until("the new frontend to serve", SOON, || {
        meets().map_err(|error| error.to_string())
    });
    session.ping().expect("open sessions go on over an apply");

    run.cluster.cli(&["rollback", "--yes"]).expect("rollback");
    wait::until("the new frontend to be gone", SOON, || match meets() {
        Err(_) => Ok(()),
        Ok(server) => Err(format!("{server} still answers")),
    });
    session.ping().expect("open sessions go on over a rollback");
    run.served_again();
    run.finish()
        .assert_changes_of_hand(0)
        .assert_nothing_failed();
}

#[test]
fn again_and_again_reconfigured_under_load_without_a_reset() {
    require_root!();
    let times = if std::env::var("HA_FULL").is_ok() {
        1000
    } else {
        50
    };
    let run = Watched::start(Plan {
        turn: Turn::Alone,
        ..plan()
    });
    let holder = run.holder();
    let client = run.cluster.topology().client(1);
    let mut sessions: Vec<_> = (0..20)
        .map(|_| Session::open(client, run.on(5022), SOON).expect("a session"))
        .collect();
    let (with, without) = (with_extra_frontend(), plan().config);
    for number in 1..=times {
        let config = if number % 2 == 1 { &with } else { &without };
        run.cluster
            .apply(config)
            .unwrap_or_else(|why| panic!("apply {number}: {why}"));
        for session in &mut sessions {
            session
                .ping()
                .unwrap_or_else(|error| panic!("apply {number} broke an open session: {error}"));
        }
        if number % 50 == 0 {
            println!("{number}/{times} reconfigurations");
        }
    }
    run.served_again();
    assert_eq!(run.holder(), holder);
    let history = run.client.history();
    assert_gap(&history.gap(), Duration::from_millis(150), &history);
    run.finish()
        .assert_changes_of_hand(0)
        .assert_nothing_failed();
}

#[test]
fn a_broken_configuration_is_refused_and_changes_nothing() {
    require_root!();
    let run = Watched::start(plan());
    let mut unknown = plan().config;
    unknown.frontends[0].backend = "nowhere".into();
    let mut twice = plan().config;
    twice.frontends[1].listeners = "5022".into();
    for (config, named) in [(unknown, "nowhere"), (twice, "5022")] {
        let refused = run
            .cluster
            .apply(&config)
            .expect_err("a broken configuration");
        assert!(
            refused.contains(named),
            "the error names {named}: {refused}"
        );
    }
    run.served_again();
    run.finish()
        .assert_changes_of_hand(0)
        .assert_nothing_failed();
}

#[test]
fn an_address_that_a_machine_has_is_refused_and_every_machine_stays_reachable() {
    require_root!();
    let run = Watched::start(plan());
    let leader = run.holder();
    let nodes = || run.cluster.topology().nodes().iter();
    let ip = |number: u8| run.cluster.machine(number).ip4().to_string();
    let other = run.cluster.other_than(leader);
    // As keepalived leaves it behind.
    let stray = ["10.77.0.151", "10.77.0.152"];
    for (number, address) in [(leader, stray[0]), (other, stray[1])] {
        let words = [
            "ip",
            "address",
            "add",
            &format!("{address}/24"),
            "dev",
            "eth0",
        ];
        let added = run.cluster.machine(number).run(&words, SOON);
        added.ok().expect("a stray address");
    }
    let client = run.cluster.topology().client(1).ip4().to_string();
    let own = |number| format!("is node-{number}'s own address");
    let rows = [
        (ip(leader), own(leader)),
        (ip(other), own(other)),
        (client.clone(), format!("{client} is answered for by")),
        (
            stray[0].to_owned(),
            "is a static address of this machine".to_owned(),
        ),
        (
            stray[1].to_owned(),
            format!("{} is answered for by", stray[1]),
        ),
    ];
    for (address, words) in rows {
        let mut config = plan().config;
        config.virtual_ips.push(format!("{address}/24"));
        let refused = run.cluster.apply(&config).expect_err(&address);
        assert!(
            refused.contains(&words) && refused.contains("virtual_ip.address"),
            "{address}: {refused}"
        );
        for node in nodes() {
            run.cluster
                .status_at(node.number)
                .unwrap_or_else(|why| panic!("{} after {address}: {why}", node.name));
        }
    }
    run.served_again();
    assert_eq!(run.holder(), leader);
    run.finish()
        .assert_changes_of_hand(0)
        .assert_nothing_failed();
}

#[test]
fn a_configuration_applied_on_one_leader_is_there_on_the_next() {
    require_root!();
    let mut run = Watched::start(plan());
    run.cluster.apply(&with_extra_frontend()).expect("apply");
    let old = run.holder();
    let at = run.cluster.kill_machine(old);
    run.taken_over(old, at);
    let client = run.cluster.topology().client(1);
    wait::until("the new frontend to serve on the new leader", SOON, || {
        Session::open(client, run.on(EXTRA_PORT), Duration::from_secs(1))
            .map_err(|error| error.to_string())
    });
    run.finish().assert_changes_of_hand(1);
}

/// The sample servers listen on one port more than the cluster forwards.
fn plan() -> Plan {
    let mut plan = Plan::beside_others();
    plan.ports.push(EXTRA_PORT);
    plan
}

fn with_extra_frontend() -> Config {
    let mut config = plan().config;
    let settings = format!(
        "balance = \"leastconn\"\ncheck = {{ tcp = {EXTRA_PORT}, inter = \"1s\", fall = 3, rise = 2 }}\n"
    );
    config
        .backends
        .push(Backend::on_nodes("extra", &settings, &[1, 2, 3]));
    config.frontends.push(Frontend {
        name: "extra".into(),
        listeners: EXTRA_PORT.to_string(),
        backend: "extra".into(),
    });
    config
}
