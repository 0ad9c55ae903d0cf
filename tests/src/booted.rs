//! A machine of its own with systemd as its first process, over a copy of this one that is thrown away: an overlay of
//! the root directory, and namespaces for everything else. It has an interface `eth0` with 10.79.0.1/24.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::{Finished, Process, run};
use crate::turn::{Taken, Turn};
use crate::wait;

/// Boots within a second or two.
const BOUND: Duration = Duration::from_secs(30);

/// What the first process does before it becomes systemd. `$0` is a directory to work in.
const BOOT: &str = r#"
set -e
mount -t tmpfs ha-test "$0"
mkdir "$0/upper" "$0/work" "$0/root"
mount -t overlay ha-test -o "lowerdir=/,upperdir=$0/upper,workdir=$0/work" "$0/root"
cd "$0/root"
mount -t proc ha-test proc
mount -t sysfs ha-test sys
mount -t cgroup2 ha-test sys/fs/cgroup
mount -t tmpfs ha-test run
mount -t tmpfs ha-test tmp
mount --rbind /dev dev
ip link set lo up
ip link add eth0 type veth peer name cable
ip link set cable up
ip link set eth0 up
ip address add 10.79.0.1/24 dev eth0
pivot_root . mnt
umount -l /mnt
touch /run/ready-to-boot
exec env -i container=ha-test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=basic.target --show-status=0
"#;

/// See the module. Everything in it ends when it is dropped.
pub struct Booted {
    init: u32,
    cgroup: PathBuf,
    /// Where cgroups are, mounted here if nobody else had.
    mounted: Option<PathBuf>,
    outer: Process,
    _turn: Taken,
}

impl Booted {
    /// Beside others.
    ///
    /// # Errors
    /// This kernel lets nobody mount what a machine needs (an overlay, a cgroup2 hierarchy).
    pub fn boot(dir: &Path) -> Result<Booted, String> {
        let turn = Turn::BesideOthers.take();
        let (root, mounted) = cgroups(dir)?;
        let cgroup = root.join(format!("ha-tests-{}", std::process::id()));
        fs::create_dir(&cgroup).map_err(|e| format!("{}: {e}", cgroup.display()))?;
        let place = dir.join("machine");
        fs::create_dir(&place).expect("a directory");
        let spaces = [
            "--pid",
            "--fork",
            "--kill-child",
            "--mount",
            "--uts",
            "--ipc",
            "--cgroup",
            "--net",
            "--propagation",
            "private",
        ];
        // It enters the group of its own before it gets a view that begins there.
        let script = format!(
            "echo $$ > '{}/cgroup.procs' && exec unshare {} bash -c '{BOOT}' '{}'",
            cgroup.display(),
            spaces.join(" "),
            place.display()
        );
        let mut command = Command::new("bash");
        command.args(["-c", &script]);
        let log = dir.join("boot.log");
        let outer = Process::start("a machine", command, &log);
        let mut booted = Booted {
            init: 0,
            cgroup,
            mounted,
            outer,
            _turn: turn,
        };
        booted.init = wait::try_until(BOUND, || {
            if booted.outer.ended().is_some() {
                // Not worth waiting for; told below.
                return Ok(0);
            }
            let children =
                fs::read_to_string(format!("/proc/{0}/task/{0}/children", booted.outer.pid()))
                    .unwrap_or_default();
            let child = children
                .split_whitespace()
                .next()
                .and_then(|id| id.parse::<u32>().ok())
                .ok_or("no first process yet")?;
            if fs::read_to_string(format!("/proc/{child}/comm"))
                .is_ok_and(|name| name.trim() == "systemd")
            {
                Ok(child)
            } else {
                Err("no systemd yet".to_owned())
            }
        })?;
        if booted.init == 0 {
            return Err(fs::read_to_string(&log).unwrap_or_default());
        }
        wait::until("systemd to have booted", BOUND, || {
            let state = booted.run(&["systemctl", "is-system-running"]).text();
            if ["running", "degraded"].contains(&state.trim()) {
                Ok(())
            } else {
                Err(state)
            }
        });
        Ok(booted)
    }

    /// A command on that machine, to its end.
    pub fn run(&self, words: &[&str]) -> Finished {
        let mut command = Command::new("nsenter");
        command
            .args([
                "--target",
                &self.init.to_string(),
                "--all",
                "env",
                "-i",
                "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                "LC_ALL=C",
            ])
            .args(words);
        run(command, b"", BOUND)
    }

    /// The output of one that must succeed.
    #[track_caller]
    pub fn must(&self, words: &[&str]) -> String {
        self.run(words)
            .ok()
            .unwrap_or_else(|why| panic!("{words:?}: {why}"))
    }

    /// Where its files are, seen from here.
    pub fn path(&self, inside: &str) -> PathBuf {
        Path::new("/proc")
            .join(self.init.to_string())
            .join("root")
            .join(inside.trim_start_matches('/'))
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        // Its first process is killed with it, and with that all others.
        self.outer.kill();
        let _ = wait::try_until(BOUND, || {
            remove_groups(&self.cgroup).map_err(|e| e.to_string())
        });
        if let Some(mounted) = &self.mounted {
            let _ = run(umount(mounted), b"", BOUND);
        }
    }
}

fn umount(at: &Path) -> Command {
    let mut command = Command::new("umount");
    command.args(["--lazy".as_ref(), at.as_os_str()]);
    command
}

/// Groups are directories that cannot be removed before those in them.
fn remove_groups(at: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(at)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_groups(&path)?;
        }
    }
    fs::remove_dir(at)
}

fn cgroups(dir: &Path) -> Result<(PathBuf, Option<PathBuf>), String> {
    let mounts = fs::read_to_string("/proc/mounts").map_err(|e| e.to_string())?;
    let there = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| {
            fields.get(2) == Some(&"cgroup2") && fields.get(3).is_some_and(|o| o.starts_with("rw"))
        });
    if let Some(fields) = there {
        return Ok((PathBuf::from(fields[1]), None));
    }
    let own = dir.join("cgroups");
    fs::create_dir(&own).expect("a directory");
    let mut command = Command::new("mount");
    command.args(["-t", "cgroup2", "ha-test"]).arg(&own);
    run(command, b"", BOUND).ok()?;
    Ok((own.clone(), Some(own)))
}
