//! The Debian package on an empty root: it installs, is upgraded, is removed, and leaves nothing but data.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ha_tests::cluster::{agent_program, cli_program};
use ha_tests::process::{self, Finished};
use ha_tests::require_root;
use ha_tests::turn::Turn;

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

/// Builds a package of this version into a directory and gives its path.
pub fn build(version: &str, into: &Path) -> String {
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
    // Compressing is work: not beside a test that measures.
    let _turn = Turn::BesideOthers.take();
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
