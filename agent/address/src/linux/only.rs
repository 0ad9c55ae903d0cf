//! One process at a time manages the addresses and tables of a network namespace.

use std::io;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use crate::types::VipError;

/// Abstract names belong to a network namespace, as addresses and tables do, whatever directories are shared;
/// and the kernel gives one back when its process ends, however that was.
const NAME: &[u8] = b"ha-agent/virtual-ips";

/// As long as it lives, no other process can have it. Children do not inherit it.
pub(super) struct Only {
    _name: UnixListener,
}

impl Only {
    /// # Errors
    /// [`VipError::InUse`] when another process has it.
    pub(super) fn take() -> Result<Only, VipError> {
        let name =
            SocketAddr::from_abstract_name(NAME).map_err(VipError::kernel("name the lock"))?;
        match UnixListener::bind_addr(&name) {
            Ok(listener) => Ok(Only { _name: listener }),
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
                Err(VipError::InUse(who_has(&name).unwrap_or(0)))
            }
            Err(e) => Err(VipError::kernel("take the lock")(e)),
        }
    }
}

fn who_has(name: &SocketAddr) -> io::Result<i32> {
    let asked = UnixStream::connect_addr(name)?;
    let mut who = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut size = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: both point to what they say, for as long as the call takes.
    let done = unsafe {
        libc::getsockopt(
            asked.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut who).cast(),
            &raw mut size,
        )
    };
    if done == 0 {
        Ok(who.pid)
    } else {
        Err(io::Error::last_os_error())
    }
}
