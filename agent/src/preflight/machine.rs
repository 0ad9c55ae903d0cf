//! The machine itself: kernel, privileges, file descriptors, clock, disk, port.

use super::NOT_HERE;
use super::{Inspection, Moment, Said};
use crate::sys::boot_now;
use crate::sys::platform::machine as facts;
use crate::sys::platform::ports::who_listens;
use std::fs;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

/// What the rules need: sets of ranges over two fields.
const KERNEL_MIN: (u32, u32) = (5, 6);
/// A session has two descriptors, and two more while `splice` carries it.
const FILES_WANTED: u64 = 65_536;
/// Flushes that are measured, and the size of each.
const FLUSHES: usize = 20;
/// Not much longer than this in all, however slow the disk is.
const MEASURED_FOR: Duration = Duration::from_millis(500);
const FLUSHED: [u8; 4096] = [0x5a; 4096];
/// A commit waits for two flushes; above this clients feel it.
const FLUSH_WANTED: Duration = Duration::from_millis(50);

pub(super) fn kernel(s: &Inspection) -> Said {
    if !s.config.holds_in_kernel() {
        return Said::skipped(NOT_HERE);
    }
    let (release, version) = facts::kernel_release();
    match version {
        None => Said::warning(
            format!("release {release:?}"),
            "Linux 5.6 or later is needed",
        ),
        Some(version) if version >= KERNEL_MIN => Said::ok(format!("Linux {release}")),
        Some(_) => Said::warning(
            format!("Linux {release}"),
            "use Linux 5.6 or later, unless the check of nftables below finds all that is needed",
        ),
    }
}

pub(super) fn privileges(s: &Inspection) -> Said {
    if !s.config.holds_in_kernel() {
        return Said::skipped("this node needs none");
    }
    let missing = facts::missing_privileges();
    if missing.is_empty() {
        return Said::ok("CAP_NET_ADMIN and CAP_NET_RAW");
    }
    let found = format!("{} missing", missing.join(" and "));
    Said(s.denied(), found, "run as root or with these capabilities (the systemd unit gives them), or set vip = \"bind\"".to_owned())
}

pub(super) fn files(_: &Inspection) -> Said {
    let max = match facts::open_files_max() {
        Ok(max) => max,
        Err(error) => return Said::warning(error.to_string(), ""),
    };
    let ports = facts::local_ports().map_or_else(String::new, |ports| {
        format!("; {ports} ports, enough for as many to each server")
    });
    let sessions = ha_proxy::sessions_for(max);
    let found = format!("{max} file descriptors, enough for {sessions} sessions{ports}");
    if max >= FILES_WANTED {
        Said::ok(found)
    } else {
        Said::warning(
            found,
            format!("raise the limit to {FILES_WANTED}: LimitNOFILE= in the unit, or `ulimit -Hn`"),
        )
    }
}

pub(super) fn clock(_: &Inspection) -> Said {
    match facts::clock_is_synchronised() {
        Ok(true) => Said::ok("the wall clock is synchronised"),
        Ok(false) => Said::warning(
            "the wall clock is not synchronised",
            "run chrony or systemd-timesyncd: event times and drain deadlines are wrong otherwise (the lease does not use that clock)",
        ),
        // The systemd unit does not let the agent near the clock.
        Err(error) => Said::skipped(&error.to_string()),
    }
}

pub(super) fn disk(s: &Inspection) -> Said {
    // A start must not wait for a slow disk.
    if s.moment == Moment::Starting {
        return Said::skipped("not measured at a start");
    }
    // Before `init` the directory may not be there; what will hold it is.
    let Some(place) = s.config.data_dir.ancestors().find(|p| p.is_dir()) else {
        return Said::failed(
            format!("{} cannot be made", s.config.data_dir.display()),
            "name a data_dir on a local disk",
        );
    };
    match flush_times(place) {
        Err(error) => Said::failed(
            format!("{}: {error}", place.display()),
            "the log is written there: it must be a writable local disk with space",
        ),
        Ok(mut times) => {
            times.sort();
            let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
            let found = format!(
                "{}: a flush takes {:.1} ms, at most {:.1} ms",
                place.display(),
                median.as_secs_f64() * 1e3,
                worst.as_secs_f64() * 1e3
            );
            if median <= FLUSH_WANTED {
                Said::ok(found)
            } else {
                Said::warning(
                    found,
                    format!(
                        "more than {FLUSH_WANTED:?} makes every new binding wait: put data_dir on a faster disk, or use `mode = \"async\"` for persistence"
                    ),
                )
            }
        }
    }
}

/// In the order of their happening; never empty.
fn flush_times(place: &Path) -> io::Result<Vec<Duration>> {
    let path = place.join(format!(".preflight-{}", std::process::id()));
    // Others may write there: what is there already is not ours.
    let file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path);
    if file.is_err() {
        return file.map(|_| Vec::new());
    }
    let times = file.and_then(|mut file| {
        let (first, mut times) = (boot_now(), Vec::new());
        while times.len() < FLUSHES && (times.is_empty() || boot_now() - first < MEASURED_FOR) {
            let began = boot_now();
            file.write_all(&FLUSHED)?;
            file.sync_data()?;
            times.push(boot_now() - began);
        }
        Ok(times)
    });
    fs::remove_file(&path).ok();
    times
}

pub(super) fn listen(s: &Inspection) -> Said {
    let at = s.config.listen;
    port(s, at, |e| {
        if e.kind() == io::ErrorKind::AddrInUse {
            Said::failed(
                in_use(at),
                "end that one, or set another `listen` in agent.toml; if it is an ha-agent, `systemctl stop ha-agent`",
            )
        } else {
            Said::failed(
                format!("{at}: {e}"),
                "listen must be an address of this machine",
            )
        }
    })
}

/// Says who has a port, as far as this machine tells.
pub(super) fn in_use(at: SocketAddr) -> String {
    match who_listens(at) {
        Some(who) => format!("{at} is in use by {who}"),
        None => format!("{at} is in use (`ss -ltnp` as root says by whom)"),
    }
}

/// Whether this node's agent can listen there, or does; what it means when it cannot.
pub(super) fn port(s: &Inspection, at: SocketAddr, cannot: impl FnOnce(io::Error) -> Said) -> Said {
    match TcpListener::bind(at) {
        Ok(_) => Said::ok(format!("{at} is free")),
        Err(e) if e.kind() == io::ErrorKind::AddrInUse && s.moment == Moment::Asked => {
            Said::ok(format!("{at} is in use: this node's agent is running"))
        }
        Err(e) => cannot(e),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use crate::config::AgentConfig;

    fn said(look: fn(&Inspection) -> Said, agent: &str) -> Said {
        let config = AgentConfig::parse("agent.toml", agent).unwrap();
        look(&Inspection {
            config: &config,
            cluster: None,
            promise: None,
            member: None,
            authority: None,
            moment: Moment::Joining,
        })
    }

    fn agent(listen: &str, data_dir: &Path) -> String {
        format!(
            "name = \"node-1\"\ndata_dir = \"{}\"\nlisten = \"{listen}\"\naddress = \"127.0.0.1\"\nvip = \"bind\"\n",
            data_dir.display()
        )
    }

    #[test]
    fn a_port_that_is_taken_is_found() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = taken.local_addr().unwrap().to_string();
        let dir = tempfile::tempdir().unwrap();
        let Said(verdict, found, _) = said(listen, &agent(&at, dir.path()));
        assert_eq!(verdict, Verdict::Failed);
        let by = format!("{at} is in use by process {} (", std::process::id());
        assert!(found.starts_with(&by), "{found}");
        drop(taken);
        assert_eq!(said(listen, &agent(&at, dir.path())).0, Verdict::Ok);
        assert_eq!(
            said(listen, &agent("192.0.2.77:7400", dir.path())).0,
            Verdict::Failed,
            "not an address of this machine"
        );
    }

    #[test]
    fn a_disk_is_measured_where_the_log_will_be_and_nothing_is_left_there() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("not/there/yet");
        let Said(verdict, found, _) = said(disk, &agent("127.0.0.1:1", &deep));
        assert!(
            verdict != Verdict::Failed && found.starts_with(&dir.path().display().to_string()),
            "{found}"
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(
            said(disk, &agent("127.0.0.1:1", Path::new("/proc/1"))).0,
            Verdict::Failed,
            "nothing can be written there"
        );
    }
}
