//! `ha-agent` as it will be at the next version: for tests of upgrades, built with the feature `next` and never shipped.

#[path = "main.rs"]
mod agent;

fn main() -> std::process::ExitCode {
    agent::main()
}
