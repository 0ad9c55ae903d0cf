//! The shell of `ha-agent`: everything that acts. What is decided stands in `ha-core`.
//!
//! ```text
//!   main > agent > driver > { consensus  proxy  vip  prober  api } > { ha-core  ha-trust }
//!      \       \------ world
//!       \> preflight > { vip  world }
//! ```

pub mod addresses;
pub mod agent;
pub mod api;
pub mod backup;
pub mod binder;
pub mod config;
pub mod consensus;
pub mod driver;
pub mod guard;
pub mod identity;
#[cfg(unix)]
pub mod install;
pub mod peers;
pub mod preflight;
pub mod proxy;
pub mod readers;
#[cfg(target_os = "linux")]
pub mod vip;
pub mod world;
pub mod written;
