//! What must hold at every instant.
//!
//! | property | where it comes from |
//! |---|---|
//! | at most one node answers for the address | docs/design.md, "Promises" |
//! | the epoch grows with each change of holder | docs/design.md, "The lease" |

use ha_core::id::{Epoch, NodeId};

/// Watches who answers on the segment, as the kernel's timers would have it, not as nodes believe.
#[derive(Debug, Default)]
pub struct OneHolder {
    last: Option<(NodeId, Epoch)>,
    /// Changes of hand so far.
    pub changes: u64,
}

impl OneHolder {
    /// Takes the nodes that answer at this instant.
    ///
    /// # Errors
    /// What was violated.
    pub fn look(
        &mut self,
        mut answering: impl Iterator<Item = (NodeId, Epoch)>,
    ) -> Result<(), String> {
        let Some(one) = answering.next() else {
            return Ok(());
        };
        if let Some(other) = answering.next() {
            return Err(format!(
                "{} and {} answer at once, in epochs {} and {}",
                one.0, other.0, one.1, other.1
            ));
        }
        if let Some((node, epoch)) = self.last
            && node != one.0
        {
            if one.1 <= epoch {
                return Err(format!(
                    "epoch {} of {} does not follow {epoch} of {node}",
                    one.1, one.0
                ));
            }
            self.changes += 1;
        }
        self.last = Some(one);
        Ok(())
    }
}
