//! The program `ha-cli`; everything is in the library, where tests reach it.

use std::process::ExitCode;

/// One thread: the demo's agents die with the thread that started them, so that must be the main one.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    ha_cli::run().await
}
