//! Each claim has a higher epoch than all claims before it by other nodes; a witness never claims.

/// The newest claim of the address, with which the next is compared.
#[derive(Debug, Default)]
pub struct Epochs {
    newest: Option<(u64, usize)>,
}

impl Epochs {
    /// Node `me` answers from now on, as leader of `term`.
    pub fn on_claim(&mut self, me: usize, term: u64, is_witness: bool) -> Result<(), String> {
        if is_witness {
            return Err(format!("a witness never holds: node-{me} does"));
        }
        if let Some((newest, by)) = self.newest
            && (term < newest || (term == newest && by != me))
        {
            return Err(format!(
                "epoch grows: node-{me} claims in epoch {term} after node-{by} in {newest}"
            ));
        }
        self.newest = Some((term, me));
        Ok(())
    }
}
