//! A cluster under watch: the product, an observer on the switch and a client
//! that asks every 5 ms, from before the first fault to the verdict.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::client::{Gap, GapClient, History, Outcome, Pace};
use crate::cluster::{Cluster, Plan};
use crate::observer::{Observer, Report};
use crate::system::System;

/// A bound for what should take a second or two.
pub const SOON: Duration = Duration::from_secs(15);
const STEADY: usize = 50;

/// A running cluster with its witnesses.
pub struct Watched {
    pub cluster: Cluster,
    pub observer: Observer,
    /// On `client-1`, at the first port of the plan.
    pub client: GapClient,
    vip: IpAddr,
}

/// What was seen, when it is over.
pub struct Seen {
    pub history: History,
    pub report: Report,
    pub vip: IpAddr,
}

impl Watched {
    /// Starts a cluster, and goes on when the client is served.
    pub fn start(plan: Plan) -> Watched {
        Watched::over(Cluster::start(plan))
    }

    /// The same with a client that waits so long for an answer, as a printer does, and not for a second.
    pub fn patient(plan: Plan, patience: Duration) -> Watched {
        Watched::with(Cluster::start(plan), patience)
    }

    /// Watches a running cluster that forwards to sample servers.
    pub fn over(cluster: Cluster) -> Watched {
        Watched::with(cluster, Pace::default().bound)
    }

    fn with(cluster: Cluster, bound: Duration) -> Watched {
        let vip = cluster.address().ip();
        let observer = Observer::start(cluster.topology(), &[vip]);
        let pace = Pace {
            bound,
            ..Pace::default()
        };
        let machine = cluster.topology().client(1);
        let client = GapClient::start_with(machine, None, cluster.address(), pace);
        client.wait_for_service(STEADY, SOON);
        Watched {
            cluster,
            observer,
            client,
            vip,
        }
    }

    /// Who holds the address, when status and kernel agree.
    #[track_caller]
    pub fn holder(&self) -> u8 {
        self.cluster.wait_for_agreed_holder(SOON)
    }

    /// A node that neither holds the address nor serves the client.
    #[track_caller]
    pub fn bystander(&self, holder: u8) -> u8 {
        let servers = self.client.history().servers();
        let served = servers.into_keys().next().expect("the client is served");
        (1..=3)
            .find(|&node| node != holder && served != format!("server-{node}"))
            .expect("three nodes")
    }

    /// Waits until the client is served steadily again.
    #[track_caller]
    pub fn served_again(&self) {
        self.client.wait_for_service(STEADY, SOON);
    }

    /// After a fault on the holder: another node takes over and serves. Gives the new holder and what the client noticed.
    #[track_caller]
    pub fn taken_over(&self, old: u8, fault: Instant) -> (u8, Gap) {
        let new = self.cluster.wait_for_other_holder(old, SOON);
        self.served_again();
        (
            new,
            self.client.history().gap_between(fault, Instant::now()),
        )
    }

    /// What the client noticed since an instant, now that it is served again.
    #[track_caller]
    pub fn noticed_since(&self, from: Instant) -> Gap {
        self.served_again();
        self.client.history().gap_between(from, Instant::now())
    }

    /// The fault is over and its holder established: an earlier holder may become one again.
    pub fn phase(&self, name: &str) {
        self.observer.phase(name);
    }

    /// Another port of the watched address.
    pub fn on(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.vip, port)
    }

    /// Ends client and observer; fails when two nodes answered at once.
    #[track_caller]
    pub fn finish(self) -> Seen {
        let report = self.observer.finish();
        let history = self.client.finish();
        println!("{history}\n{report}");
        report.assert_single_holder();
        Seen {
            history,
            report,
            vip: self.vip,
        }
    }
}

impl Seen {
    /// The address changed hands exactly so often.
    #[track_caller]
    pub fn assert_changes_of_hand(&self, expected: usize) -> &Seen {
        self.report.assert_changes_of_hand(self.vip, expected);
        self
    }

    /// The address changed hands so often, where the product may decide.
    #[track_caller]
    pub fn assert_changes_of_hand_within(&self, allowed: std::ops::RangeInclusive<usize>) -> &Seen {
        let seen = self.report.changes_of_hand(self.vip);
        assert!(
            allowed.contains(&seen),
            "{seen} changes of hand, allowed {allowed:?}\n{}",
            self.report
        );
        self
    }

    /// Not one connection failed.
    #[track_caller]
    pub fn assert_nothing_failed(&self) -> &Seen {
        assert!(
            self.history.failures().is_empty(),
            "connections failed: {}",
            self.history
        );
        self
    }

    /// Sessions that were open at the instant of a move are told by a reset, a few each; a connect fails once
    /// in a while at most (a first packet that neither node could keep).
    #[track_caller]
    pub fn assert_no_connect_failed(&self, moves: usize) -> &Seen {
        let failures = self.history.failures();
        let reset = failures.get(&Outcome::Reset).copied().unwrap_or(0);
        let late = failures.get(&Outcome::TimedOut).copied().unwrap_or(0);
        assert!(
            reset + late == failures.values().sum::<usize>() && reset <= 3 * moves && late <= moves,
            "connects failed: {}",
            self.history
        );
        self
    }
}

/// Panics when what the client noticed is longer than the promise. The client's own pauses are the machine's, not the product's.
#[track_caller]
pub fn assert_gap(gap: &Gap, promised: Duration, history: &History) {
    let allowed = promised + history.own_pause;
    assert!(
        gap.gap <= allowed,
        "the client was without service for {:?}; promised {promised:?}; {history}",
        gap.gap
    );
}
