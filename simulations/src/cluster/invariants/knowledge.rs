//! What was applied anywhere was committed; who holds must have it.

/// The newest entry that any node has ever applied.
#[derive(Debug, Default)]
pub struct Knowledge {
    newest: u64,
}

impl Knowledge {
    /// Some node has applied up to there.
    pub fn on_applied(&mut self, index: u64) {
        self.newest = self.newest.max(index);
    }

    /// Node `me` answers from now on and has applied up to `index`.
    pub fn on_claim(&self, me: usize, index: u64) -> Result<(), String> {
        if index < self.newest {
            return Err(format!(
                "what was acknowledged survives: node-{me} holds with entry {index} applied, {} was applied before",
                self.newest
            ));
        }
        Ok(())
    }
}
