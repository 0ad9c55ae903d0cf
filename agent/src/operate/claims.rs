//! Other machines' claims of a virtual IP, as the cluster's events have them.

use ha_core::events::What;
use ha_core::state::Facts;
use ha_core::time::Timestamp;

/// The kind of such an event.
pub(crate) const KIND: &str = "claim";
/// How long one stands among the warnings, in milliseconds.
const WARNED_FOR_MS: u64 = 10 * 60 * 1000;

/// The last one, if it is recent.
pub(super) fn warnings(facts: &Facts, now: Timestamp) -> Vec<String> {
    let claims = facts.events.after(0).filter_map(|e| match &e.what {
        What::Note { kind, text } if kind == KIND => Some((e.at, text)),
        _ => None,
    });
    let last = claims.last();
    let recent = last.filter(|(at, _)| now.0.saturating_sub(at.0) < WARNED_FOR_MS);
    let words = recent.map(|(_, text)| format!("{text} (`ha-cli events --grep {KIND}`)"));
    words.into_iter().collect()
}
