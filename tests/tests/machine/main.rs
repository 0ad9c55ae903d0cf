//! The agent on its machine: before it starts, as a service, from a package, and when the machine lets it down.

mod booted;
mod broken_disk;
mod files;
mod limits;
mod log;
mod mishaps;
mod package;
mod preflight;
mod service;
mod slow_disk;
