//! What operators do to a cluster: members, configuration, restarts, backups, and who may do it.

mod backup;
mod configuration;
mod membership;
mod rolling;
mod trust;
