//! The package as a service, on a machine that systemd has booted.

use std::path::Path;
use std::time::Duration;

use ha_tests::booted::Booted;
use ha_tests::{require_root, wait};

use crate::package::build;

const BOUND: Duration = Duration::from_secs(120);
const AGENT_FILE: &str = "/etc/ha-agent/agent.toml";
const CLUSTER_FILE: &str = "/etc/ha-agent/cluster.toml";
const AGENT: &str = "name = \"node-1\"\ndata_dir = \"/var/lib/ha-agent\"\nlisten = \"10.79.0.1:7400\"\ninterface = \"eth0\"\n";
const CLUSTER: &str = "[[virtual_ip]]\nname = \"v\"\naddress = \"10.79.0.100/24\"\n[[frontend]]\nname = \"f\"\nvirtual_ip = \"v\"\nlisteners = [5022]\nbackend = \"b\"\n\
     [[backend]]\nname = \"b\"\n[[backend.server]]\nname = \"s\"\naddress = \"10.79.0.1\"\nport = 9\n";

#[test]
fn the_service_starts_is_killed_is_upgraded_and_goes_with_its_package() {
    require_root!(
        "dpkg",
        "dpkg-deb",
        "dpkg-shlibdeps",
        "strip",
        "unshare",
        "nsenter",
        "pivot_root",
        "systemctl",
        "setpriv"
    );
    let dir = tempfile::tempdir().expect("a directory");
    let service = match Booted::boot(dir.path()) {
        Ok(machine) => Service { machine },
        Err(why) => {
            return eprintln!("SKIPPED: this kernel boots no machine in a namespace: {why}");
        }
    };
    service.install("1.0.0", dir.path());
    service.found();
    service.has_what_the_unit_gives_it_and_no_more();
    service.lets_in_root_and_its_group_only();
    service.loses_nothing_to_a_cleanup_beside_it();
    service.is_started_again_when_it_is_killed();
    service.is_replaced_by_an_upgrade(dir.path());
    service.is_not_started_again_with_a_wrong_file();
    service.goes_with_its_package();
}

/// The service on its machine.
struct Service {
    machine: Booted,
}

impl Service {
    fn install(&self, version: &str, into: &Path) {
        std::fs::copy(build(version, into), self.machine.path("/opt/ha-agent.deb"))
            .expect("a copy");
        self.machine
            .must(&["dpkg", "--force-depends", "--install", "/opt/ha-agent.deb"]);
    }

    /// What systemd says of it.
    fn property(&self, name: &str) -> String {
        self.machine
            .must(&[
                "systemctl",
                "show",
                "--property",
                name,
                "--value",
                "ha-agent",
            ])
            .trim()
            .to_owned()
    }

    fn holds(&self) {
        wait::until("the service to hold the address", BOUND, || {
            let (status, addresses) = (
                self.property("StatusText"),
                self.machine
                    .must(&["ip", "-4", "address", "show", "dev", "eth0"]),
            );
            if status.starts_with("holds the virtual IP") && addresses.contains("10.79.0.100/") {
                Ok(())
            } else {
                Err(format!("{status}\n{addresses}"))
            }
        });
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.machine.path(file), text).expect("a file");
    }

    /// A cluster of this one node, started.
    fn found(&self) {
        self.write(AGENT_FILE, AGENT);
        self.write(CLUSTER_FILE, CLUSTER);
        self.machine.must(&[
            "ha-agent",
            "init",
            "--config",
            AGENT_FILE,
            "--cluster",
            CLUSTER_FILE,
        ]);
        self.machine
            .must(&["systemctl", "enable", "--now", "ha-agent"]);
        self.holds();
    }

    /// It runs as a user of its own, and its data is nobody else's.
    fn has_what_the_unit_gives_it_and_no_more(&self) {
        let pid = self.property("MainPID");
        assert_eq!(
            self.machine.must(&["ps", "-o", "user=", "-p", &pid]).trim(),
            "ha-agent"
        );
        let capabilities = self
            .machine
            .must(&["grep", "CapEff", &format!("/proc/{pid}/status")]);
        assert!(
            capabilities.trim().ends_with("0000000000003400"),
            "{capabilities}"
        );
        let open = self.machine.must(&[
            "find",
            "/var/lib/ha-agent",
            "-mindepth",
            "1",
            "-perm",
            "/077",
        ]);
        assert!(open.is_empty(), "others may read {open}");
    }

    /// root finds the socket by itself, and so does who is in the group; others are told what they lack.
    fn lets_in_root_and_its_group_only(&self) {
        self.machine.must(&["ha-cli", "status"]);
        let group = self
            .machine
            .must(&["getent", "group", "ha-admin"])
            .split(':')
            .nth(2)
            .map(str::to_owned)
            .expect("a number");
        let as_nobody = |groups: &str| {
            self.machine.run(&[
                "setpriv", "--reuid", "65534", "--regid", "65534", groups, "ha-cli", "status",
            ])
        };
        let inside = as_nobody(&format!("--groups={group}"));
        assert_eq!(inside.code, Some(0), "{inside:?}");
        let outside = as_nobody("--clear-groups");
        assert!(
            outside.code == Some(2) && outside.stderr.contains("group ha-admin"),
            "{outside:?}"
        );
    }

    fn loses_nothing_to_a_cleanup_beside_it(&self) {
        let pid = self.property("MainPID");
        let refused = self
            .machine
            .run(&["ha-agent", "cleanup", "--config", AGENT_FILE]);
        assert!(
            refused
                .stderr
                .contains(&format!("process {pid} (ha-agent, uid"))
                && refused.stderr.contains("manages the virtual IPs"),
            "{refused:?}"
        );
        self.holds();
    }

    fn is_started_again_when_it_is_killed(&self) {
        let pid = self.property("MainPID");
        self.machine.must(&["kill", "-9", &pid]);
        wait::until("another process", BOUND, || {
            if ["0", &pid].contains(&&*self.property("MainPID")) {
                Err(pid.clone())
            } else {
                Ok(())
            }
        });
        self.holds();
    }

    /// The new one runs, with what the old one knew.
    fn is_replaced_by_an_upgrade(&self, packages: &Path) {
        let pid = self.property("MainPID");
        self.machine.must(&[
            "ha-cli",
            "drain",
            "b/s",
            "--force",
            "--reason",
            "told before the upgrade",
        ]);
        self.install("1.0.1", packages);
        self.holds();
        assert_ne!(self.property("MainPID"), pid);
        assert!(
            self.machine
                .must(&["ha-cli", "events"])
                .contains("told before the upgrade")
        );
    }

    fn is_not_started_again_with_a_wrong_file(&self) {
        self.write(AGENT_FILE, "name = 7\n");
        assert_ne!(
            self.machine.run(&["systemctl", "restart", "ha-agent"]).code,
            Some(0)
        );
        wait::until("the service to have failed", BOUND, || {
            match self.property("ActiveState") {
                state if state == "failed" => Ok(()),
                other => Err(other),
            }
        });
        assert_eq!(self.property("ExecMainStatus"), "8");
        self.write(AGENT_FILE, AGENT);
        self.machine
            .must(&["systemctl", "reset-failed", "ha-agent"]);
        self.machine.must(&["systemctl", "start", "ha-agent"]);
        self.holds();
    }

    /// Purged, it leaves its data and nothing else.
    fn goes_with_its_package(&self) {
        self.machine.must(&["dpkg", "--remove", "ha-agent"]);
        assert_eq!(
            self.machine
                .run(&["systemctl", "is-active", "ha-agent"])
                .text()
                .trim(),
            "inactive"
        );
        assert!(
            !self
                .machine
                .must(&["ip", "address", "show", "dev", "eth0"])
                .contains("10.79.0.100")
        );
        assert_eq!(self.machine.must(&["nft", "list", "tables"]), "");
        self.machine.must(&["dpkg", "--purge", "ha-agent"]);
        assert!(
            self.machine
                .path("/var/lib/ha-agent/identity.json")
                .exists()
                && !self.machine.path("/etc/ha-agent").exists()
        );
    }
}
