//! What happens to one session until it has its server.

use std::time::Duration;

/// How long a session waits for its new binding to be committed; then it is forwarded all the same, and counted.
pub const COMMIT_WAIT: Duration = Duration::from_millis(200);
