//! What comes in from peers, however it came here.

use crate::consensus::Consensus;
use crate::consensus::types::Runtime;
use crate::driver::DriverHandle;
use crate::outside::Call;
use ha_core::controller::Event;
use ha_core::id::NodeId;
use std::io;

/// Answers what peer `from` asks. `Err` closes that call and nothing else.
///
/// # Errors
/// Bytes that mean nothing, a vote that this node may not give, consensus that has ended.
pub async fn hear<R: Runtime>(
    consensus: &Consensus<R>,
    driver: &DriverHandle,
    from: NodeId,
    call: Call,
    body: &[u8],
) -> io::Result<Vec<u8>> {
    let answer = consensus.handle(from, call, body).await?;
    if call == Call::Lease && consensus.promised_to() == Some(from) {
        driver.tell(Event::Promised { to: from });
    }
    Ok(answer)
}
