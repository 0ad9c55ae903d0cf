//! At most one node answers for the address. A set of holders only grows by a claim, so looking then is enough.

/// What is wrong when `me` answers from now on.
pub fn on_claim(me: usize, holders: &[usize]) -> Result<(), String> {
    match holders.iter().find(|h| **h != me) {
        Some(other) => Err(format!(
            "one holder: node-{me} answers while node-{other} does"
        )),
        None => Ok(()),
    }
}
