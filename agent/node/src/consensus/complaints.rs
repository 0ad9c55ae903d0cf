//! What a member said that was refused is told with its name, and not each time.

use crate::outside::Call;
use ha_core::id::NodeId;
use ha_core::time::Instant;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Of one member, once in so long.
const EVERY: Duration = Duration::from_secs(10);
/// Members of which it is remembered; more than there are. At the bound all are forgotten.
const MEMBERS_MAX: usize = 256;

/// When each member was last complained of, and how often since.
#[derive(Debug, Default)]
pub struct Complaints(Mutex<BTreeMap<NodeId, (Instant, u64)>>);

impl Complaints {
    /// For whoever looks for the member that is broken, or not what it should be.
    pub fn tell(&self, now: Instant, from: NodeId, call: Call, why: &dyn Display) {
        if let Some(times) = self.note(now, from) {
            tracing::warn!(%from, ?call, %why, times, "a member says what is not believed");
        }
    }

    /// `from` said something at `now` that is refused. How often it has since that was last told, when it is time to.
    pub fn note(&self, now: Instant, from: NodeId) -> Option<u64> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MEMBERS_MAX && !seen.contains_key(&from) {
            seen.clear();
        }
        match seen.get_mut(&from) {
            Some((told, since)) if now.saturating_since(*told) < EVERY => {
                *since = since.saturating_add(1);
                None
            }
            before => {
                let times = before.map_or(0, |(_, since)| *since) + 1;
                seen.insert(from, (now, 0));
                Some(times)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_member_is_complained_of_now_and_then_with_how_often() {
        let (one, two) = (NodeId::from_random(1), NodeId::from_random(2));
        let at = |s| Instant::from(Duration::from_secs(s));
        let complaints = Complaints::default();
        assert_eq!(complaints.note(at(1), one), Some(1));
        assert_eq!(complaints.note(at(2), one), None);
        assert_eq!(complaints.note(at(2), two), Some(1));
        assert_eq!(complaints.note(at(3), one), None);
        assert_eq!(complaints.note(at(11), one), Some(3));
    }
}
