//! Which threads do what. What keeps the lease has its own, and waits for nobody who asks something of this node.
//!
//! ```text
//!   ha-lease      1  driver, reporter, binder, lease calls out and in, connections of members     preferred
//!   ha-consensus 10  the consensus library, which waits for disks; large messages of members      preferred
//!   ha-entrance   1  accepts connections, and says which threads they are for
//!   ha-control    4  everybody else: operators, handshakes of strangers, probes, renewal, preflight
//! ```
//!
//! Fence and addresses (`ha-address`, preferred too), the log's writer (`store`) and the data plane (`ha-proxy`) have
//! threads of their own beside these. "Preferred" threads run before others where the machine allows it.

use crate::sys::platform::process::prefer_this_thread;
use std::io;
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};

/// Nothing there ever waits for a disk or does long work. Two threads would wake each other for each message, several
/// hundred times a second while nothing happens; one also sends what belongs together at once.
const LEASE_THREADS: usize = 1;
/// While the disk stalls, the library, its state machine and whoever reads the log for a peer each wait in a thread:
/// enough for these with seven voters, and two for what comes in. Idle ones cost nothing.
const CONSENSUS_THREADS: usize = 10;
/// Threads for everything that does not keep the lease.
const CONTROL_THREADS: usize = 4;
/// What does not end by itself is left behind after this.
const END_WITHIN: Duration = Duration::from_secs(1);

/// Where to start what.
#[derive(Clone, Debug)]
pub struct Handles {
    /// What keeps the lease; nothing that blocks or computes for long.
    pub lease: Handle,
    pub consensus: Handle,
    /// Everything that somebody else can ask for.
    pub others: Handle,
}

impl Handles {
    /// All on the threads that this is called on: for programs that hold no address.
    ///
    /// # Panics
    /// Outside of tokio.
    pub fn here() -> Handles {
        let here = Handle::current();
        Handles {
            lease: here.clone(),
            consensus: here.clone(),
            others: here,
        }
    }
}

/// The threads of what keeps the lease. They end in the background when this is dropped.
pub struct Threads {
    handles: Handles,
    own: Vec<Runtime>,
}

impl Threads {
    /// Starts them; those that this is called on do everything else.
    ///
    /// # Errors
    /// The system gives no more threads or files.
    pub fn start() -> io::Result<Threads> {
        let lease = preferred("ha-lease", LEASE_THREADS)?;
        let consensus = preferred("ha-consensus", CONSENSUS_THREADS)?;
        let handles = Handles {
            lease: lease.handle().clone(),
            consensus: consensus.handle().clone(),
            others: Handle::current(),
        };
        Ok(Threads {
            handles,
            own: vec![lease, consensus],
        })
    }

    /// Where to start what.
    pub const fn handles(&self) -> &Handles {
        &self.handles
    }

    /// Ends them, and what runs on them; waits for that, at most a second each.
    pub async fn end(mut self) {
        let own = std::mem::take(&mut self.own);
        let ending = tokio::task::spawn_blocking(move || {
            for runtime in own {
                runtime.shutdown_timeout(END_WITHIN);
            }
        });
        ending.await.ok();
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        for runtime in self.own.drain(..) {
            // It may be dropped on a thread of tokio's, which must not wait.
            runtime.shutdown_background();
        }
    }
}

fn preferred(name: &str, threads: usize) -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(name)
        .on_thread_start(|| {
            if let Err(error) = prefer_this_thread() {
                tracing::debug!(%error, "what keeps the lease runs as everything else does: it may not be preferred (RLIMIT_NICE, CAP_SYS_NICE)");
            }
        })
        .enable_all()
        .build()
}

/// The threads of a program that keeps no lease, or of everything beside that.
///
/// # Errors
/// The system gives no more threads or files.
pub fn control() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("ha-control")
        .enable_all()
        .build()
}
