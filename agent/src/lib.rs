//! The shell of `ha-agent`: everything that acts. What is decided stands in `ha-core`.
//!
//! ```text
//!   main > agent > driver > { consensus  proxy  vip  prober  api } > ha-core
//!                     \------ world
//! ```

pub mod config;
pub mod consensus;
pub mod driver;
pub mod peers;
pub mod world;
