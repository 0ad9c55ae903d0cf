//! The parts of the model of which records are made.

mod answers;
mod command;
mod config;
mod events;
mod facts;
mod plain;
mod stick;
mod trust;
