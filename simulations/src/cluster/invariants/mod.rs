//! What must be true at every instant, one file each.
//!
//! | property | where it comes from (`docs/design.md`, `docs/semantics.md`) | file |
//! |---|---|---|
//! | at most one node answers for the address, by what the segment sees | "The lease" | `one_holder` |
//! | each claim has a higher epoch than all before; a witness never claims | "The lease" | `epochs` |
//! | who holds knows everything that was ever applied anywhere | Raft, "The lease" | `knowledge` |
//! | same log, same state | "State" | `same_state` |
//! | a binding on which a session was forwarded is known to every later holder | "Data plane" | `bindings` |
//! | a client stays at its server while that is usable, over all ports of its group | semantics, "Affinity" | `affinity` |
//! | a binding lives at least `expire` after its last use | semantics, "Affinity" | `affinity` |
//! | suspicion alone never rewrites a binding | semantics, "Affinity" | `suspicion` |
//! | a service that is back within the turn-around keeps its clients | semantics, "Trying to connect" | `turn_around` |
//! | a freed slot serves the oldest waiter that may use it, and no slot is free while such a one waits | semantics, "Slots" | `slots` |
//! | who forwards is who answers | "The lease" | `service` |
//! | a server in maintenance gets no session | semantics, "Administrative states" | `service` |
//! | a server that is known to be down gets no client | "Data plane" | `service` |
//! | orders, configuration and members are those of an ideal cluster that was told the same | "Operating" | `ideal` |
//! | a request takes effect once, however often it is asked for; a change is made to what its giver saw | semantics, "Asking again" | `once` |
//! | what a node answers to an operator is what is, or it says that it may be old | semantics, "Asking" | `ideal` |
//! | a drain keeps its sessions, gets no newcomer, and ends by its deadline | semantics, "Administrative states" | `drains`, `service` |
//! | a drain of the holder alone never moves the address, which would end the sessions on all servers | semantics, "Administrative states" | `drains` |
//! | a name belongs to one member, whatever is replaced | "State" | `unique` |
//! | a moved or lost address is elsewhere within bounds, when nothing else is wrong | "Bounds" | `bounds` (cluster) |
//! | no program applies what it does not know; the active version never falls, and every member has spoken it | "Versions" | `versions` |
//! | the product logs no ERROR | "Operating" | `story` (cluster) |

pub mod affinity;
pub mod bindings;
pub mod drains;
pub mod epochs;
pub mod ideal;
pub mod knowledge;
pub mod once;
pub mod one_holder;
pub mod same_state;
pub mod service;
pub mod slots;
pub mod suspicion;
pub mod turn_around;
pub mod unique;
pub mod versions;

/// All of them, with what they remember.
#[derive(Debug, Default)]
pub struct Invariants {
    pub epochs: epochs::Epochs,
    pub knowledge: knowledge::Knowledge,
    pub same_state: same_state::SameState,
    pub bindings: bindings::Bindings,
    pub affinity: affinity::Affinity,
    pub ideal: ideal::Ideal,
    pub once: once::Once,
    pub service: service::Service,
    pub versions: versions::Versions,
    pub moves: drains::Moves,
    pub turn_around: turn_around::TurnAround,
    pub slots: slots::Slots,
}
