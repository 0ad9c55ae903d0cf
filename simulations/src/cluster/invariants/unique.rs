//! A name, and a place to listen at, belongs to one member; a member is counted under one id.

use ha_core::state::Facts;
use std::collections::BTreeSet;

/// A node has applied this.
pub fn on_applied(me: usize, facts: &Facts) -> Result<(), String> {
    let (mut names, mut places) = (BTreeSet::new(), BTreeSet::new());
    for member in facts.members.values() {
        if !names.insert(&member.name) || !places.insert(member.listen) {
            return Err(format!(
                "unique: node-{me} knows {} at {} twice",
                member.name, member.listen
            ));
        }
    }
    Ok(())
}
