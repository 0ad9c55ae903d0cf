//! Suspicion alone never rewrites a binding: a client of a suspect server may be served elsewhere meanwhile, and comes back.

use ha_core::id::ServerId;
use ha_core::view::{Newcomer, ServerView};

/// A client that is bound to `own` is to be bound to `proposed`; `failed`: servers that its session has tried in vain.
pub fn on_bind(
    client: usize,
    own: &ServerView,
    proposed: ServerId,
    failed: &[ServerId],
) -> Result<(), String> {
    let could_be_kept = own.accepts(Newcomer::Bound) && !failed.contains(&own.id);
    if own.suspect && could_be_kept && own.id != proposed {
        return Err(format!(
            "suspicion: client {client} is bound to server {}, which is suspect and nothing worse, and is bound to {}",
            own.id.0, proposed.0
        ));
    }
    Ok(())
}
