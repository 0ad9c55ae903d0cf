//! What operators do to a cluster: the first steps, members, configuration, restarts, backups, and who may do it.

mod authority;
mod backup;
mod configuration;
mod cut_off;
mod draining;
mod first_steps;
mod membership;
mod moving_house;
mod operator;
mod permissions;
mod power;
mod recovery;
mod rejoining;
mod rolling;
mod tokens;
mod two_servers;
mod upgrade;
mod wire;
