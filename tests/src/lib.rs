//! The end-to-end harness: machines as network namespaces on one switch, the
//! product and its peer on them, clients that measure and an observer that
//! watches every packet.
//!
//! ```text
//!   client-1      node-1   node-2   node-3        network namespaces
//!      |            |        |        |           veth pairs
//!   ---+------------+--------+--------+---        switch: a bridge in a namespace of its own
//!                   ^ observer (AF_PACKET), cuts (nftables), cables, power
//! ```
//!
//! * [`netns`] makes the machines and breaks them.
//! * [`disk`] makes a disk slow or broken, [`memory`] lets memory run out, [`mod@clock`] steps a clock; [`capture`] reads what goes over the wire; [`observer`] sees who answers for a virtual IP.
//! * [`client`] measures what a client notices; [`servers`] are what it talks to.
//! * [`cluster`] is the product, [`peer`] is keepalived + HAProxy; both are a [`system::System`].
//! * [`site`] is one agent on loopback, for what needs no root; [`booted`] is a machine with systemd.
//! * [`h2`] floods who speaks HTTP/2 inside TLS.
//! * [`linear`] decides whether what operators saw could have been one machine.
//! * [`turn`] says who may run beside whom.
//! * [`scenario`] puts them together for tests, [`mod@bench`] for benchmarks.
//!
//! `cargo test -p ha-tests` (as root, or everything says that it was skipped; one theme
//! with `--test failover`, one file of it with `--test failover moving::`; `HA_FULL=1` for the long counts; `CI=true` forbids skipping).
//! `cargo run --release -p ha-tests --bin bench-failover` and `bench-proxy` (`-- --help`).
//! The product is taken from `HA_BIN_DIR`, or built.
//!
//! Tests that measure have the machine for themselves, tests that wait share it
//! ([`turn`]): no `--test-threads 1` is needed, and more threads than processors
//! (`-- --test-threads 6`) let more tests wait at a time.

pub mod bench;
pub mod booted;
pub mod capture;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod disk;
pub mod guard;
pub mod h2;
pub mod linear;
pub mod memory;
pub mod netns;
pub mod observer;
pub mod peer;
pub mod preload;
pub mod process;
pub mod scenario;
pub mod servers;
pub mod site;
pub mod sys;
pub mod system;
pub mod turn;
pub mod wait;
