//! The real binary, against a `Control` service of our own or, in the demo, a stand-in for `ha-agent`.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a panic fails the test that caused it")]

mod commands;
mod common;
mod config;
mod confirm;
#[cfg(target_os = "linux")]
mod demo;
#[cfg(target_os = "linux")]
mod fake_agent;
mod majority;
mod rolling;
mod states;
mod trust;
