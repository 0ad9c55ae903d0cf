//! The virtual IPs in the kernel of this node: addresses, fence, announcements, interception.
//!
//! It owns everything that touches the kernel's network state. It decides nothing: the
//! caller says until when the addresses may be held, and this module sees to it that the kernel
//! answers for them until then and not after, whatever becomes of this process.
//!
//! ```text
//!  hold / release ──> ha-fence ─────> ha-address ───> announcements
//!                     nftables        addresses with
//!                     elements        a lifetime
//!                        │ lost table     ▲ plan, carrier, foreign claim
//!                        ▼                │
//!  configure ───────> ha-tables       ha-watch <── kernel's link, address, ARP and ND news
//!                                        │ foreign claim
//!  release for a handover ──────────> ha-parking ──> clients' SYNs to the next holder
//! ```
//!
//! | thread | owns | never waits for |
//! |---|---|---|
//! | `ha-fence` | the lease elements in the nftables sets | anything but one netlink transaction |
//! | `ha-address` | the addresses and their announcements | the `nft` program |
//! | `ha-tables` | the tables, their rules, which address goes on which interface | |
//! | `ha-watch` | carrier, address events, other machines' claims | |
//! | `ha-parking` | connection attempts while an address is handed over | anybody |
//!
//! `warden` is a process of its own: it takes the addresses off when this one no longer speaks.
//!
//! One agent per network namespace, for the tables have fixed names: `only` sees to it.

mod address_thread;
mod addresses;
mod announce;
mod check;
mod claims;
mod cleanup;
mod clock;
mod contents;
mod elements;
pub mod examine;
mod fence_thread;
mod foreign;
mod frames;
mod gateway;
mod hands;
mod kernel;
mod links;
mod netlink;
mod nft;
mod only;
mod own;
mod packet;
mod packet_fields;
mod parking;
mod place;
mod probe;
mod ruleset;
mod shared;
mod tables_thread;
mod trial;
pub mod warden;
mod watch_thread;
mod wire;

pub use cleanup::cleanup;
pub use clock::boot_now;
pub use hands::start;
pub use kernel::Kernel;
