//! What a controller is told when it starts.

use crate::id::NodeId;
use crate::model::Role;
use std::time::Duration;

/// What does not change while a node runs.
#[derive(Clone, Debug)]
pub struct ControllerSettings {
    pub me: NodeId,
    /// What it is for.
    pub role: Role,
    /// How long a voter stays promised.
    pub promise: Duration,
    /// How long after sending a `Lease` this node may hold on the strength of it.
    pub lease: Duration,
    /// Between two `Lease` messages.
    pub lease_every: Duration,
    /// A leader whose log stands still for so long hands over: longer than any expected disk stall.
    pub log_stall_max: Duration,
    /// As long as there are fewer voters, learners become voters by themselves.
    pub voters_max: usize,
    /// A node that was away votes again once it has answered and had the log for so long.
    pub steady_for: Duration,
    /// A newer version becomes active once all members have been heard and speak it for so long.
    pub activate_after: Duration,
}

impl ControllerSettings {
    /// The product's: a lease of four fifths of the promise, sent five times in its length.
    ///
    /// `lease * (1 + rho) + stop <= promise * (1 - rho)`: four fifths leave 20 % for drift and for stopping.
    pub const fn of(me: NodeId, role: Role, promise: Duration) -> Self {
        let lease = Duration::from_millis(promise.as_millis() as u64 * 4 / 5);
        ControllerSettings {
            me,
            role,
            promise,
            lease,
            lease_every: Duration::from_millis(lease.as_millis() as u64 / 5),
            log_stall_max: LOG_STALL_MAX,
            voters_max: VOTERS_MAX,
            steady_for: STEADY_FOR,
            activate_after: ACTIVATE_AFTER,
        }
    }
}

/// [`ControllerSettings::log_stall_max`] when nothing else is said.
pub const LOG_STALL_MAX: Duration = Duration::from_secs(30);

/// [`ControllerSettings::voters_max`] when nothing else is said: three of seven may fail, and every further voter makes each
/// entry and each lease wait for more answers. An operator may promote more.
pub const VOTERS_MAX: usize = 7;

/// [`ControllerSettings::steady_for`] when nothing else is said: each change of the voters is two entries that all of them
/// must have, and a machine that comes and goes is not worth them.
pub const STEADY_FOR: Duration = Duration::from_secs(10);

/// [`ControllerSettings::activate_after`] when nothing else is said: time to see that the new agent does not do, and to go back.
/// Tests of upgrades do not wait so long.
pub const ACTIVATE_AFTER: Duration =
    Duration::from_secs(if cfg!(feature = "next") { 3 } else { 60 });
