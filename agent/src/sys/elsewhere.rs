//! Systems on which the agent only forwards with `vip = "bind"` so far: there is nothing to ask beyond the standard library.

use ha_core::time::Instant;

/// Time since the agent started: there is no clock here yet that counts suspended time.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the clock that everybody else is told to ask"
)]
pub fn boot_now() -> Instant {
    use std::sync::OnceLock;
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    Instant::from(START.get_or_init(std::time::Instant::now).elapsed())
}

/// The same: nothing is known of suspended time.
pub fn awake_now() -> Instant {
    boot_now()
}

/// What the machine is and allows.
pub mod machine {
    use std::io;

    /// Is not known on this system.
    pub fn kernel_release() -> (String, Option<(u32, u32)>) {
        (String::new(), None)
    }

    /// Nothing, since no privilege is needed here.
    pub fn missing_privileges() -> Vec<&'static str> {
        Vec::new()
    }

    /// # Errors
    /// Always: there is no such thing on this system.
    pub fn open_files_max() -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// It is not known.
    pub fn local_ports() -> Option<u32> {
        None
    }

    /// # Errors
    /// Always: there is no such thing on this system.
    pub fn clock_is_synchronised() -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// There is no service manager that is told anything.
pub mod manager {
    use ha_node::driver::DriverHandle;
    use ha_node::outside::Clock;

    /// Tells nobody: there is no service manager.
    pub fn ready() {}

    /// Tells nobody: there is no service manager.
    pub fn stopping() {}

    /// Returns at once, since there is no service manager.
    pub async fn keep_telling(_: &dyn Clock, _: DriverHandle) {}
}

pub mod files {
    use std::fs::{File, OpenOptions};
    use std::io;
    use std::path::Path;

    /// # Errors
    /// As the options.
    pub fn open_plain(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
        options.open(path)
    }

    /// Nothing is locked.
    ///
    /// # Errors
    /// None.
    pub fn lock(_: &File) -> io::Result<bool> {
        Ok(true)
    }

    /// # Errors
    /// None: rights are inherited here.
    pub fn check_own_directory(_: &Path) -> io::Result<()> {
        Ok(())
    }

    /// # Errors
    /// None: rights are inherited here.
    pub fn check_own_file(_: &File, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// Who has a port.
pub mod ports {
    use std::net::SocketAddr;

    /// Nobody says so here.
    pub fn who_listens(_: SocketAddr) -> Option<String> {
        None
    }
}

pub mod process {
    use std::io;
    use std::path::Path;
    use tokio_util::sync::CancellationToken;

    /// The directory's own rights do that here.
    pub fn keep_files_private() {}

    /// # Errors
    /// None on this system; the others have some.
    pub fn let_through(_: &Path) -> io::Result<()> {
        Ok(())
    }

    /// Is not known on this system.
    pub fn boot_id() -> Option<String> {
        None
    }

    /// There is none on this system.
    pub fn runtime_dir() -> Option<std::path::PathBuf> {
        None
    }

    /// Windows cannot flush a directory; NTFS journals renames by itself.
    ///
    /// # Errors
    /// None.
    pub fn sync_directory(_: &Path) -> io::Result<()> {
        Ok(())
    }

    /// # Errors
    /// Always: threads run as they are.
    pub fn prefer_this_thread() -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Threads run as they are.
    pub fn yield_to_others() {}

    /// There is none on this system.
    pub fn stderr_is_the_journal() -> bool {
        false
    }

    /// # Errors
    /// None on this system; the others have some.
    #[allow(
        clippy::disallowed_methods,
        reason = "the one task that is not the agent's: it waits for a signal"
    )]
    pub fn stop_on_signal(stop: &CancellationToken) -> io::Result<()> {
        let stop = stop.clone();
        tokio::spawn(async move {
            tokio::signal::ctrl_c().await.ok();
            stop.cancel();
        });
        Ok(())
    }
}
