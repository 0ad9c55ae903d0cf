//! What clients notice: which server they meet, what drains cost them, real programs, and garbage that some send.

mod affinity;
mod hostile;
mod programs;
mod servers;
