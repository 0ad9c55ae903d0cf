//! The Debian package on an empty root: it installs, is upgraded, is removed, and leaves nothing but data.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ha_tests::booted::Booted;
use ha_tests::cluster::{agent_program, cli_program};
use ha_tests::process::{self, Finished};
use ha_tests::{require_root, wait};

const BOUND: Duration = Duration::from_secs(120);

fn run(program: impl AsRef<std::ffi::OsStr>, words: &[&str]) -> Finished {
    let mut command = Command::new(program);
    // Packages that are thrown away need not be small.
    command.args(words).env("DPKG_DEB_COMPRESSOR_TYPE", "gzip");
    process::run(command, b"", BOUND)
}

struct Root(tempfile::TempDir);

impl Root {
    fn path(&self, inside: &str) -> PathBuf {
        self.0.path().join(inside)
    }

    /// `dpkg` on this root only; maintainer scripts run outside of it and are told where it is.
    fn dpkg(&self, words: &[&str]) -> Finished {
        let (root, admin) = (
            format!("--root={}", self.0.path().display()),
            format!("--admindir={}", self.path("var/lib/dpkg").display()),
        );
        let here = [
            &root,
            &admin,
            "--force-depends",
            "--force-script-chrootless",
            "--log=/dev/null",
        ];
        run("dpkg", &[&here, words].concat())
    }

    /// Every file that is there, the package manager's own and the list of users left out.
    fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        walk(self.0.path(), self.0.path(), &mut found);
        found.retain(|f| {
            !f.starts_with("var/lib/dpkg")
                && !["etc/passwd", "etc/group", "etc/shadow", "etc/gshadow"]
                    .contains(&f.trim_end_matches('-'))
                && f != "etc/.pwd.lock"
        });
        found.sort();
        found
    }
}

fn walk(root: &Path, at: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(at)
        .expect("a directory")
        .map(|e| e.expect("an entry").path())
    {
        if entry.is_dir() && !entry.is_symlink() {
            walk(root, &entry, found);
        } else {
            found.push(
                entry
                    .strip_prefix(root)
                    .expect("below")
                    .display()
                    .to_string(),
            );
        }
    }
}

fn packaging(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../packaging")
        .join(file)
}

fn build(version: &str, into: &Path) -> String {
    let binaries = Path::new(&agent_program())
        .parent()
        .expect("a directory")
        .to_path_buf();
    assert_eq!(Path::new(&cli_program()).parent(), Some(binaries.as_path()));
    let (binaries, into) = (binaries.to_string_lossy(), into.to_string_lossy());
    run(
        packaging("deb"),
        &["--binaries", &binaries, "--version", version, &into],
    )
    .ok()
    .unwrap_or_else(|why| panic!("packaging/deb: {why}"))
    .trim()
    .to_owned()
}

#[test]
fn a_package_installs_is_upgraded_and_removed_and_leaves_the_data() {
    require_root!(
        "dpkg",
        "dpkg-deb",
        "dpkg-shlibdeps",
        "systemd-sysusers",
        "strip"
    );
    let packages = tempfile::tempdir().expect("a directory");
    let root = Root(tempfile::tempdir().expect("a root"));
    std::fs::create_dir_all(root.path("var/lib/dpkg/updates")).expect("an empty database");
    std::fs::write(root.path("var/lib/dpkg/status"), "").expect("an empty database");
    assert_eq!(root.files(), Vec::<String>::new());

    root.dpkg(&["--install", &build("1.0.0", packages.path())])
        .ok()
        .unwrap_or_else(|why| panic!("install: {why}"));
    for file in [
        "usr/bin/ha-agent",
        "usr/bin/ha-cli",
        "usr/lib/systemd/system/ha-agent.service",
        "usr/share/man/man8/ha-agent.8.gz",
        "usr/share/man/man8/ha-cli-drain.8.gz",
        "usr/share/bash-completion/completions/ha-cli",
        "usr/share/doc/ha-agent/examples/cluster.toml",
    ] {
        assert!(
            root.path(file).is_file(),
            "{file} is missing: {:#?}",
            root.files()
        );
    }
    let users = std::fs::read_to_string(root.path("etc/passwd")).expect("users");
    assert!(users.contains("ha-agent:"), "{users}");
    let ran = run(root.path("usr/bin/ha-agent"), &["--version"]);
    assert!(
        ran.clone()
            .ok()
            .is_ok_and(|said| said.starts_with("ha-agent ")),
        "{ran:?}"
    );

    // What a node would have made.
    std::fs::create_dir_all(root.path("var/lib/ha-agent")).expect("data");
    std::fs::write(root.path("var/lib/ha-agent/identity.json"), "{}").expect("data");
    std::fs::write(root.path("etc/ha-agent/agent.toml"), "name = \"node-1\"")
        .expect("configuration");

    root.dpkg(&["--install", &build("1.0.1", packages.path())])
        .ok()
        .unwrap_or_else(|why| panic!("upgrade: {why}"));
    let state = root
        .dpkg(&["--status", "ha-agent"])
        .ok()
        .expect("it is installed");
    assert!(
        state.contains("Version: 1.0.1") && state.contains("install ok installed"),
        "{state}"
    );
    assert!(
        root.path("etc/ha-agent/agent.toml").is_file()
            && root.path("var/lib/ha-agent/identity.json").is_file()
    );

    root.dpkg(&["--remove", "ha-agent"])
        .ok()
        .unwrap_or_else(|why| panic!("remove: {why}"));
    assert_eq!(
        root.files(),
        ["etc/ha-agent/agent.toml", "var/lib/ha-agent/identity.json"],
        "configuration stays until it is purged"
    );
    root.dpkg(&["--purge", "ha-agent"])
        .ok()
        .unwrap_or_else(|why| panic!("purge: {why}"));
    assert_eq!(root.files(), ["var/lib/ha-agent/identity.json"]);
}

/// The same as a service, on a machine that systemd has booted.
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
    let machine = match Booted::boot(dir.path()) {
        Ok(machine) => machine,
        Err(why) => {
            return eprintln!("SKIPPED: this kernel boots no machine in a namespace: {why}");
        }
    };
    let install = |version: &str| {
        std::fs::copy(
            build(version, dir.path()),
            machine.path("/opt/ha-agent.deb"),
        )
        .expect("a copy");
        machine.must(&["dpkg", "--force-depends", "--install", "/opt/ha-agent.deb"])
    };
    let service = |property: &str| {
        machine
            .must(&[
                "systemctl",
                "show",
                "--property",
                property,
                "--value",
                "ha-agent",
            ])
            .trim()
            .to_owned()
    };
    let holds = || {
        wait::until("the service to hold the address", BOUND, || {
            let (status, addresses) = (
                service("StatusText"),
                machine.must(&["ip", "-4", "address", "show", "dev", "eth0"]),
            );
            if status.starts_with("holds the virtual IP") && addresses.contains("10.79.0.100/") {
                Ok(())
            } else {
                Err(format!("{status}\n{addresses}"))
            }
        });
    };
    install("1.0.0");
    let write = |file: &str, text: &str| std::fs::write(machine.path(file), text).expect("a file");
    let agent = "name = \"node-1\"\ndata_dir = \"/var/lib/ha-agent\"\nlisten = \"10.79.0.1:7400\"\ninterface = \"eth0\"\n";
    write("/etc/ha-agent/agent.toml", agent);
    write(
        "/etc/ha-agent/cluster.toml",
        "[[virtual_ip]]\nname = \"v\"\naddress = \"10.79.0.100/24\"\n[[frontend]]\nname = \"f\"\nvirtual_ip = \"v\"\nlisteners = [5022]\nbackend = \"b\"\n\
         [[backend]]\nname = \"b\"\n[[backend.server]]\nname = \"s\"\naddress = \"10.79.0.1\"\nport = 9\n",
    );
    machine.must(&[
        "ha-agent",
        "init",
        "--config",
        "/etc/ha-agent/agent.toml",
        "--cluster",
        "/etc/ha-agent/cluster.toml",
    ]);
    machine.must(&["systemctl", "enable", "--now", "ha-agent"]);
    holds();
    let first = service("MainPID");
    // As a user of its own, with what the unit gives it and no more; its data is nobody else's.
    assert_eq!(
        machine.must(&["ps", "-o", "user=", "-p", &first]).trim(),
        "ha-agent"
    );
    let capabilities = machine.must(&["grep", "CapEff", &format!("/proc/{first}/status")]);
    assert!(
        capabilities.trim().ends_with("0000000000003400"),
        "{capabilities}"
    );
    let open = machine.must(&[
        "find",
        "/var/lib/ha-agent",
        "-mindepth",
        "1",
        "-perm",
        "/077",
    ]);
    assert!(open.is_empty(), "others may read {open}");

    // root finds the socket by itself, and so does who is in the group; others are told what they lack.
    machine.must(&["ha-cli", "status"]);
    let group = machine
        .must(&["getent", "group", "ha-admin"])
        .split(':')
        .nth(2)
        .map(str::to_owned)
        .expect("a number");
    let as_nobody = |groups: &str| {
        machine.run(&[
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
    // Beside it nobody takes anything from it.
    let refused = machine.run(&[
        "ha-agent",
        "cleanup",
        "--config",
        "/etc/ha-agent/agent.toml",
    ]);
    assert!(
        refused.stderr.contains(&format!("process {first} manages")),
        "{refused:?}"
    );
    holds();

    // Killed, it is started again.
    machine.must(&["kill", "-9", &first]);
    wait::until("another process", BOUND, || {
        if ["0", &first].contains(&&*service("MainPID")) {
            Err(first.clone())
        } else {
            Ok(())
        }
    });
    holds();
    // Upgraded, the new one runs, with what the old one knew.
    let second = service("MainPID");
    machine.must(&[
        "ha-cli",
        "drain",
        "b/s",
        "--force",
        "--reason",
        "told before the upgrade",
    ]);
    install("1.0.1");
    holds();
    assert_ne!(service("MainPID"), second);
    assert!(
        machine
            .must(&["ha-cli", "events"])
            .contains("told before the upgrade")
    );

    // A file that is wrong is not tried again and again.
    write("/etc/ha-agent/agent.toml", "name = 7\n");
    assert_ne!(
        machine.run(&["systemctl", "restart", "ha-agent"]).code,
        Some(0)
    );
    wait::until("the service to have failed", BOUND, || {
        if service("ActiveState") == "failed" {
            Ok(())
        } else {
            Err(service("ActiveState"))
        }
    });
    assert_eq!(service("ExecMainStatus"), "8");
    write("/etc/ha-agent/agent.toml", agent);
    machine.must(&["systemctl", "reset-failed", "ha-agent"]);
    machine.must(&["systemctl", "start", "ha-agent"]);
    holds();

    machine.must(&["dpkg", "--remove", "ha-agent"]);
    assert_eq!(
        machine
            .run(&["systemctl", "is-active", "ha-agent"])
            .text()
            .trim(),
        "inactive"
    );
    assert!(
        !machine
            .must(&["ip", "address", "show", "dev", "eth0"])
            .contains("10.79.0.100")
    );
    assert_eq!(machine.must(&["nft", "list", "tables"]), "");
    machine.must(&["dpkg", "--purge", "ha-agent"]);
    assert!(
        machine.path("/var/lib/ha-agent/identity.json").exists()
            && !machine.path("/etc/ha-agent").exists()
    );
}

#[test]
fn without_a_package_install_and_uninstall_do_the_same() {
    require_root!("systemd-sysusers");
    let root = Root(tempfile::tempdir().expect("a root"));
    let path = root.0.path().display().to_string();
    let agent = |word: &str| run(agent_program(), &[word, "--root", &path]);
    for _ in 0..2 {
        agent("install")
            .ok()
            .unwrap_or_else(|why| panic!("install: {why}"));
    }
    assert_eq!(
        root.files(),
        [
            "etc/systemd/system/ha-agent.service",
            "etc/sysusers.d/ha-agent.conf",
            "usr/local/bin/ha-agent",
            "usr/local/bin/ha-cli"
        ]
    );
    let text = |file: &str| std::fs::read_to_string(root.path(file)).expect("a file");
    assert!(text("etc/passwd").contains("ha-agent:") && text("etc/group").contains("ha-admin:"));
    let unit = text("etc/systemd/system/ha-agent.service");
    assert!(
        unit.contains("ExecStart=/usr/local/bin/ha-agent run")
            && !unit.contains("/usr/bin/ha-agent")
    );
    run(root.path("usr/local/bin/ha-agent"), &["--version"])
        .ok()
        .expect("it runs from there");

    std::fs::create_dir_all(root.path("var/lib/ha-agent")).expect("data");
    std::fs::write(root.path("var/lib/ha-agent/identity.json"), "{}").expect("data");
    std::fs::write(root.path("etc/ha-agent/agent.toml"), "").expect("configuration");
    agent("uninstall")
        .ok()
        .unwrap_or_else(|why| panic!("uninstall: {why}"));
    assert_eq!(
        root.files(),
        ["etc/ha-agent/agent.toml", "var/lib/ha-agent/identity.json"]
    );
    agent("uninstall").ok().expect("nothing is left to remove");

    std::fs::create_dir_all(root.path("usr/bin")).expect("a directory");
    std::fs::write(root.path("usr/bin/ha-agent"), "").expect("a package's");
    let refused = agent("install").ok().expect_err("a package is there");
    assert!(refused.contains("package is installed"), "{refused}");
}

#[test]
fn the_examples_of_the_package_are_right() {
    let (agent, cluster) = (
        packaging("examples/agent.toml"),
        packaging("examples/cluster.toml"),
    );
    run(
        agent_program(),
        &[
            "check",
            "--config",
            &agent.to_string_lossy(),
            "--cluster",
            &cluster.to_string_lossy(),
        ],
    )
    .ok()
    .unwrap_or_else(|why| panic!("{why}"));
}

#[test]
fn the_unit_is_valid_and_exposes_little() {
    require_root!("systemd-analyze");
    let directory = tempfile::tempdir().expect("a directory");
    let unit = directory.path().join("ha-agent.service");
    // The program is where it was built.
    let text = std::fs::read_to_string(packaging("ha-agent.service"))
        .expect("the unit")
        .replace("/usr/bin/ha-agent", &agent_program());
    std::fs::write(&unit, text).expect("the unit");
    let unit = unit.to_string_lossy();
    let verified = run("systemd-analyze", &["verify", "--man=no", &unit]);
    assert!(
        verified.code == Some(0) && !verified.stderr.contains("ha-agent.service:"),
        "{verified:?}"
    );
    // 2.2 of 10 when this was written, where 10 is everything allowed.
    let exposure = run(
        "systemd-analyze",
        &["security", "--offline=yes", "--threshold=25", &unit],
    );
    assert_eq!(exposure.code, Some(0), "{exposure:?}");
}
