//! The agent on its machine: before it starts, as a service, from a package, and when the machine lets it down.

mod disk;
mod package;
mod preflight;
mod service;
mod unlucky;
