//! What must be true at every instant, one file each.
//!
//! | property | where it comes from | file |
//! |---|---|---|
//! | at most one node answers for the address, by what the segment sees | DESIGN 5 | `one_holder` |
//! | each claim has a higher epoch than all before; a witness never claims | DESIGN 5 | `epochs` |
//! | who holds knows everything that was ever applied anywhere | Raft, DESIGN 5 | `knowledge` |
//! | same log, same state | DESIGN 4 | `same_state` |
//! | a binding on which a session was forwarded is known to every later holder | DESIGN 6 | `bindings` |
//! | a client stays at its server while that is usable, over all ports of its group | semantics 3 | `affinity` |
//! | who forwards is who answers | DESIGN 5 | `service` |
//! | a server in maintenance gets no session | semantics 5 | `service` |
//! | a server that is known to be down gets no client | DESIGN 7 | `service` |
//! | orders, configuration and members are those of an ideal cluster that was told the same | DESIGN 8 | `ideal` |
//! | a drain keeps its sessions, gets no newcomer, and ends by its deadline | semantics 5 | `drains`, `service` |
//! | a name belongs to one member, whatever is replaced | requirements | `unique` |
//! | a moved or lost address is elsewhere within bounds, when nothing else is wrong | DESIGN 5 | `bounds` (cluster) |
//! | the product logs no ERROR | style 13 | `story` (cluster) |

pub mod affinity;
pub mod bindings;
pub mod drains;
pub mod epochs;
pub mod ideal;
pub mod knowledge;
pub mod one_holder;
pub mod same_state;
pub mod service;
pub mod unique;

/// All of them, with what they remember.
#[derive(Debug, Default)]
pub struct Invariants {
    /// See [`epochs`].
    pub epochs: epochs::Epochs,
    /// See [`knowledge`].
    pub knowledge: knowledge::Knowledge,
    /// See [`same_state`].
    pub same_state: same_state::SameState,
    /// See [`bindings`].
    pub bindings: bindings::Bindings,
    /// See [`affinity`].
    pub affinity: affinity::Affinity,
    /// See [`ideal`].
    pub ideal: ideal::Ideal,
    /// See [`service`].
    pub service: service::Service,
}
