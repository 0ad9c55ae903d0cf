//! Tables: written by the `nft` program, looked at over netlink.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::FromRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::clock::boot_now;
use super::elements::{NFPROTO_ARP, NFPROTO_INET, NFPROTO_NETDEV, SUBSYSTEM};
use super::netlink::Netlink;
use super::ruleset::{FENCE, INTERCEPT};
use super::wire::{Message, attributes, text};
use crate::types::VipError;

/// The program is killed after this, unless the caller has less time.
const BOUND: Duration = Duration::from_secs(2);
/// More of its output is not read.
const OUTPUT_MAX: u64 = 64 << 20;
const LOOK: Duration = Duration::from_millis(2);
const GETCHAIN: u16 = SUBSYSTEM | 4;
const NEWCHAIN: u16 = SUBSYSTEM | 3;
const GETRULE: u16 = SUBSYSTEM | 7;
const NEWRULE: u16 = SUBSYSTEM | 6;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const HANDLE: [(u16, u16); 2] = [(NEWCHAIN, 2), (NEWRULE, 3)];

/// A chain or rule of ours; its handle is never used twice, so equal lists mean equal tables.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Part {
    pub(super) family: u8,
    pub(super) table: String,
    pub(super) chain: String,
    pub(super) is_rule: bool,
    handle: Vec<u8>,
}

#[derive(Debug, Clone)]
pub(super) struct Nft {
    program: PathBuf,
}

impl Nft {
    pub(super) fn new(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
        }
    }

    /// Carries out `script` as one transaction; returns within about 2 s.
    pub(super) fn run(&self, script: &str) -> Result<(), VipError> {
        self.run_within(script, BOUND)
    }

    /// As `run`, with a bound of the caller's.
    pub(super) fn run_within(&self, script: &str, bound: Duration) -> Result<(), VipError> {
        self.with(&["-f", "-"], script, bound)
    }

    /// Lets the kernel check `script` without carrying it out; returns within about 2 s.
    pub(super) fn check(&self, script: &str) -> Result<(), VipError> {
        self.with(&["-c", "-f", "-"], script, BOUND)
    }

    /// All rules of this machine, without what is in named sets; returns within about 2 s.
    pub(super) fn rules(&self) -> Result<serde_json::Value, VipError> {
        let listed = self.output(&["-j", "-t", "list", "ruleset"], "", BOUND)?;
        serde_json::from_slice(&listed)
            .map_err(|e| VipError::Nft(format!("{}: what it lists: {e}", self.program.display())))
    }

    fn with(&self, arguments: &[&str], script: &str, bound: Duration) -> Result<(), VipError> {
        self.output(arguments, script, bound).map(drop)
    }

    fn output(
        &self,
        arguments: &[&str],
        script: &str,
        bound: Duration,
    ) -> Result<Vec<u8>, VipError> {
        let failed = |e: io::Error| VipError::Nft(format!("{}: {e}", self.program.display()));
        // Files in memory, not pipes: a program that neither reads nor ends cannot block us.
        let mut input = memory_file().map_err(failed)?;
        input
            .write_all(script.as_bytes())
            .and_then(|()| input.rewind())
            .map_err(failed)?;
        let mut output = memory_file().map_err(failed)?;
        let mut errors = memory_file().map_err(failed)?;
        let mut child = Command::new(&self.program)
            .args(arguments)
            .stdin(input)
            .stdout(output.try_clone().map_err(failed)?)
            .stderr(errors.try_clone().map_err(failed)?)
            .spawn()
            .map_err(failed)?;
        let end = boot_now() + bound;
        let status = loop {
            if let Some(status) = child.try_wait().map_err(failed)? {
                break status;
            }
            if boot_now() > end {
                // Both fail only when it has ended already.
                let _ = child.kill();
                let _ = child.wait();
                return Err(VipError::TimedOut("nft"));
            }
            std::thread::sleep(LOOK);
        };
        let mut words = Vec::new();
        if status.success() {
            output.rewind().map_err(failed)?;
            let mut output = output.take(OUTPUT_MAX);
            output.read_to_end(&mut words).map_err(failed)?;
            return Ok(words);
        }
        errors.rewind().map_err(failed)?;
        errors.take(4096).read_to_end(&mut words).map_err(failed)?;
        Err(VipError::Nft(format!(
            "{status}: {}",
            String::from_utf8_lossy(&words).trim()
        )))
    }
}

fn memory_file() -> io::Result<File> {
    // SAFETY: the name is a C string that outlives the call.
    let fd = unsafe { libc::memfd_create(c"ha-nft".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was just opened and nobody else has it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// All chains and rules of our tables, sorted.
pub(super) fn parts(netlink: &mut Netlink) -> io::Result<Vec<Part>> {
    let mut all = Vec::new();
    for (family, table) in [
        (NFPROTO_NETDEV, FENCE),
        (NFPROTO_ARP, FENCE),
        (NFPROTO_INET, FENCE),
        (NFPROTO_INET, INTERCEPT),
    ] {
        let read = |message: Message<'_>| part(family, message).filter(|p| p.table == table);
        let head = [family, 0, 0, 0];
        all.extend(netlink.dump(GETCHAIN, &head, |_| {}, read)?);
        all.extend(netlink.dump(GETRULE, &head, |out| out.put_str(RULE_TABLE, table), read)?);
    }
    all.sort();
    Ok(all)
}

fn part(family: u8, message: Message<'_>) -> Option<Part> {
    let (table_kind, chain_kind) = match message.kind {
        NEWCHAIN => (CHAIN_TABLE, CHAIN_NAME),
        NEWRULE => (RULE_TABLE, RULE_CHAIN),
        _ => return None,
    };
    let (mut table, mut chain, mut handle) = (String::new(), String::new(), Vec::new());
    for (kind, value) in attributes(message.payload.get(4..)?) {
        if kind == table_kind {
            table = text(value);
        } else if kind == chain_kind {
            chain = text(value);
        } else if HANDLE.contains(&(message.kind, kind)) {
            handle = value.to_vec();
        }
    }
    Some(Part {
        family,
        table,
        chain,
        is_rule: message.kind == NEWRULE,
        handle,
    })
}
