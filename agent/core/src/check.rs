//! Checks: which kinds there are, and the state machine that their results go through.

mod health;

pub use health::{CheckResult, ServerHealth, Transition};
